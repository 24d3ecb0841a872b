//! Every analysis returns what is true of the simulated populations, and no evidence where there is nothing. One seed here;
//! the example `recovery` counts how often that is so on others.

#![allow(clippy::unwrap_used)] // helpers of tests

mod populations;

use dina_data::simulate::Population;
use dina_interp::{
    Coding,
    neurons::{Carriers, Contributions, SubsetMethod},
    space::Extent,
};
use ndarray::Array2;
use populations::{World, nothing_found, pairs, shape_or_texture, smallest_of_neurons, smallest_of_places};
use serde::{Serialize, de::DeserializeOwned};

const SEED: u64 = 0;

#[test]
fn sparse_is_concentrated_and_its_carriers_are_found() {
    let world = World::small(Population::Sparse, SEED).unwrap();
    let found = world.contributions().unwrap();
    let area = world.recovery(&found).unwrap();
    println!("sparse: {found}; {area}");
    assert!(area.auc >= 0.9, "{area}");
    let index = world.concentration(&found).unwrap();
    println!("{index}");
    assert!(index.p < 0.05 && index.gini.estimate > 0.8, "{index}");
    assert_eq!(index.carriers, Carriers::Few, "{index}");
    let informative = world.informative();
    for method in [SubsetMethod::Greedy, SubsetMethod::L1] {
        let set = world.minimal(method).unwrap();
        println!("{set}");
        assert!(informative[set.chosen[0]] && set.p < 0.01, "{set}");
        assert_eq!(read_back(&set), set);
    }
    assert_eq!(read_back(&index), index);
    // Contributions of single images, images x neurons, stay out of the file.
    assert_eq!(read_back(&found), Contributions { by_image: Array2::default((0, 0)), ..found });
}

#[test]
fn dense_needs_many_where_sparse_needs_few() {
    let [(few, sparse), (many, dense)] = [Population::Sparse, Population::Dense].map(|population| {
        let world = World::small(population, SEED).unwrap();
        let curves = world.curves().unwrap();
        println!("{population}: {curves}");
        assert_eq!(read_back(&curves), curves);
        let found = world.contributions().unwrap();
        (curves.needed[1].contribution, world.concentration(&found).unwrap())
    });
    println!("{sparse}\n{dense}");
    assert!(dense.gini.estimate < sparse.gini.low, "{dense} {sparse}");
    assert!(few < many, "{few} {many}");
    assert_eq!(dense.carriers, Carriers::Many, "{dense}");
}

#[test]
fn null_gives_no_evidence() {
    let world = World::small(Population::Null, SEED).unwrap();
    let found = world.contributions().unwrap();
    assert!(found.significant(0.05).is_empty(), "{found}");
    let profiles = world.profile().unwrap();
    assert!(profiles.iter().all(|p| p.extent == Extent::NoEvidence), "{}", profiles[0]);
    assert_eq!(world.concentration(&found).unwrap().carriers, Carriers::NoEvidence);
    assert!(nothing_found(&[smallest_of_neurons(&found), smallest_of_places(&profiles)]).unwrap());
}

#[test]
fn local_is_local_and_distributed_is_distributed() {
    for (population, extent) in
        [(Population::Local, Extent::Local), (Population::Distributed, Extent::Distributed)]
    {
        let world = World::wide(population, SEED).unwrap();
        let profiles = world.profile().unwrap();
        profiles.iter().for_each(|p| println!("{population} {p}"));
        assert_eq!(profiles[0].extent, extent, "{}", profiles[0]);
        assert_eq!(read_back(&profiles), profiles);
        let area = world.recovery(&world.contributions().unwrap()).unwrap();
        println!("{population}: {area}; by reliability {}", world.reliability().unwrap());
        assert!(area.auc >= 0.9, "{area}");
    }
}

#[test]
fn shape_follows_outlines_and_texture_follows_surfaces() {
    for (population, coding, other) in [
        (Population::Shape, Coding::Shape, Coding::Texture),
        (Population::Texture, Coding::Texture, Coding::Shape),
    ] {
        let found = shape_or_texture(population, SEED).unwrap();
        println!("{population}: {}\n  encoding ({:.2}): {}", found.neural, found.predicted, found.encoding);
        let count = |coding| found.neural.channels.iter().filter(|c| c.coding == coding).count();
        assert!(count(other) == 0, "{}", found.neural);
        // Another sample of a surface drives texture neurons only partly as the surface itself does: single channels may not
        // decide, the mean of them has to.
        let most = 2 * count(coding) > found.neural.channels.len();
        assert!(most || population == Population::Texture, "{}", found.neural);
        let index = found.neural.mean_index;
        assert!(if coding == Coding::Shape { index.low > 0. } else { index.high < 0. }, "{}", found.neural);
    }
    let none = shape_or_texture(Population::Null, SEED).unwrap().neural;
    assert_eq!(none.counts[3], none.channels.len(), "{none}");
}

#[test]
fn interacting_neurons_work_only_in_pairs() {
    let pairs = pairs(SEED).unwrap();
    println!("interacting: {}; {}", pairs.found, pairs.area);
    pairs.found.sets.iter().zip(&pairs.truth).filter(|(_, t)| **t).for_each(|(s, _)| println!("{s:?}"));
    assert!(pairs.area.auc >= 0.9, "{}", pairs.area);
    let (hits, errors) = pairs.hits_and_errors();
    assert!(hits >= 3 && errors == 0, "{}", pairs.found);
    println!("{}", pairs.noise);
    assert!(pairs.noise.p < 0.05 && pairs.noise.effect.low > 0., "{}", pairs.noise);
    assert_eq!(read_back(&pairs.found), pairs.found);
    assert_eq!(read_back(&pairs.noise), pairs.noise);
}

/// A result from the JSON of it.
fn read_back<T: Serialize + DeserializeOwned>(result: &T) -> T {
    serde_json::from_str(&serde_json::to_string(result).unwrap()).unwrap()
}
