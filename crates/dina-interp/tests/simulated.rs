//! Every analysis returns what is true of the simulated populations, and no evidence where there is nothing.
//!
//! The two towers are as plain as can be: the image side is the contrast energy of squares of pixels, the neural side a ridge
//! read-in that is fitted on other images than those analysed.

#![allow(clippy::unwrap_used)] // helpers of tests

use dina_core::Seed;
use dina_data::simulate::{Population, Simulation, SimulationConfig, simulate};
use dina_interp::{
    alignment_scores,
    interaction::{InteractionConfig, NoiseConfig, group_interactions, noise_correlation_effect},
    neurons::{
        Baseline, ContributionConfig, Contributions, CurveConfig, LinearReadIn, MinimalConfig, Silenced,
        SubsetMethod, concentration, linear_contributions, minimal_subsets, recovery, subset_curves,
    },
    space::{Extent, ProfileConfig, SpatialProfile, spatial_profile},
};
use dina_stats::linalg::{matmul, symmetric_eigen};
use ndarray::{Array2, Array4, ArrayView2, Axis, s};

const IMAGES: usize = 1000;
const TRAIN: usize = 600;

/// A recording with its towers, on images that the read-in was not fitted on.
struct World {
    simulation: Simulation,
    image: Array4<f32>,
    weights: Array4<f32>,
    responses: Array2<f32>,
}

impl World {
    fn new(population: Population, neurons: usize, (height, width): (usize, usize), cell: usize) -> Self {
        let config = SimulationConfig {
            neurons,
            images: IMAGES,
            height,
            width,
            gray_every: 0,
            spontaneous_bins: 0,
            ..SimulationConfig::new(population)
        };
        let simulation = simulate(&config, &|_| ()).unwrap();
        let image = energy(&simulation, cell);
        let responses = averages(&simulation);
        let weights = ridge(responses.slice(s![..TRAIN, ..]), &image);
        let image = image.slice(s![TRAIN.., .., .., ..]).to_owned();
        let responses = responses.slice(s![TRAIN.., ..]).to_owned();
        Self { simulation, image, weights, responses }
    }

    fn read_in(&self) -> LinearReadIn<'_> {
        LinearReadIn { weights: self.weights.view() }
    }

    fn neural(&self) -> Array4<f32> {
        self.read_in().maps(self.responses.view()).unwrap()
    }

    fn informative(&self) -> Vec<bool> {
        self.simulation.truth.neurons.iter().map(|n| n.informative).collect()
    }

    fn contributions(&self) -> Contributions {
        let config = ContributionConfig { permutations: 300, replicates: 200, ..Default::default() };
        linear_contributions(self.image.view(), self.read_in(), self.responses.view(), &config, Seed::new(1))
            .unwrap()
    }
}

/// Logarithm of the variance of the grey levels of each square of pixels, and their mean: `[images, 2, rows, columns]`.
fn energy(simulation: &Simulation, cell: usize) -> Array4<f32> {
    let pixels = &simulation.images.pixels;
    let (images, height, width) = pixels.dim();
    Array4::from_shape_fn((images, 2, height / cell, width / cell), |(i, c, y, x)| {
        let square = pixels.slice(s![i, y * cell..(y + 1) * cell, x * cell..(x + 1) * cell]);
        let count = square.len() as f32;
        let mean = square.iter().map(|&v| f32::from(v)).sum::<f32>() / count;
        let variance = square.iter().map(|&v| (f32::from(v) - mean).powi(2)).sum::<f32>() / count;
        if c == 0 { (1. + variance).ln() } else { mean }
    })
}

/// Images x neurons: means over repeats, standard scores over the images of the fit.
fn averages(simulation: &Simulation) -> Array2<f32> {
    let recording = &simulation.recording;
    let mut means = Array2::zeros((recording.images(), recording.neurons()));
    for (mut mean, trials) in means.outer_iter_mut().zip(recording.trials()) {
        for &t in &trials {
            mean.scaled_add(1. / trials.len() as f32, &recording.responses().row(t));
        }
    }
    for mut column in means.columns_mut() {
        let fit = column.slice(s![..TRAIN]).to_owned();
        let (mean, sd) = (fit.mean().unwrap(), fit.std(0.));
        column.mapv_inplace(|v| (v - mean) / sd);
    }
    means
}

/// (R'R + p I)^-1 R' A on the first images, with a penalty of as much as there are images.
fn ridge(responses: ArrayView2<'_, f32>, image: &Array4<f32>) -> Array4<f32> {
    let (_, channels, height, width) = image.dim();
    let mut target = image
        .slice(s![..TRAIN, .., .., ..])
        .to_owned()
        .into_shape_with_order((TRAIN, channels * height * width))
        .unwrap();
    let mean = target.mean_axis(Axis(0)).unwrap();
    target -= &mean;
    let eigen = symmetric_eigen(matmul(responses.t(), responses).unwrap().view()).unwrap();
    let mut inner = matmul(eigen.vectors.t(), matmul(responses.t(), target.view()).unwrap().view()).unwrap();
    for (mut row, value) in inner.outer_iter_mut().zip(&eigen.values) {
        row.mapv_inplace(|v| v / (value + TRAIN as f32));
    }
    let weights = matmul(eigen.vectors.view(), inner.view()).unwrap();
    weights.into_shape_with_order((responses.ncols(), channels, height, width)).unwrap()
}

#[test]
fn sparse_is_concentrated_and_its_carriers_are_found() {
    let world = World::new(Population::Sparse, 100, (36, 72), 12);
    let found = world.contributions();
    let area = recovery(&found.estimates(), &world.informative(), 0.95).unwrap();
    println!("sparse: {found}; {area}");
    assert!(area.auc >= 0.9, "{area}");
    let config = ContributionConfig { permutations: 300, replicates: 200, ..Default::default() };
    let index = concentration(found.by_image.view(), &config, Seed::new(1)).unwrap();
    println!("{index}");
    assert!(index.p < 0.05 && index.gini.estimate > 0.8, "{index}");

    let informative = world.informative();
    let carriers = informative.iter().filter(|i| **i).count();
    let config = MinimalConfig { draws: 200, ..MinimalConfig::new(SubsetMethod::Greedy, carriers) };
    for method in [SubsetMethod::Greedy, SubsetMethod::L1] {
        let config = MinimalConfig { method, ..config };
        let set = minimal_subsets(
            world.image.view(),
            world.read_in(),
            world.responses.view(),
            &config,
            Seed::new(1),
        )
        .unwrap();
        println!("{set}");
        assert!(informative[set.chosen[0]] && set.p < 0.01, "{set}");
    }
}

#[test]
fn dense_needs_many_where_sparse_needs_few() {
    let needed = |population| {
        let world = World::new(population, 100, (36, 72), 12);
        let found = world.contributions();
        // Ordered on one half of the images, scored on the other.
        let half = (IMAGES - TRAIN) / 2;
        let config = ContributionConfig { permutations: 20, replicates: 20, ..Default::default() };
        let first = linear_contributions(
            world.image.slice(s![..half, .., .., ..]),
            world.read_in(),
            world.responses.slice(s![..half, ..]),
            &config,
            Seed::new(1),
        )
        .unwrap();
        let forward = |r: ArrayView2<'_, f32>| world.read_in().maps(r);
        let responses = world.responses.slice(s![half.., ..]);
        let silenced = Silenced::new(forward, responses, Baseline::Mean).unwrap();
        let score = |kept: &[usize]| {
            alignment_scores(world.image.slice(s![half.., .., .., ..]), silenced.maps(kept)?.view())
        };
        let rates = world.simulation.truth.rates.mean_axis(Axis(1)).unwrap();
        let strength: Vec<f64> = rates.iter().map(|&v| f64::from(v)).collect();
        let config =
            CurveConfig { counts: (1..=100).collect(), draws: 40, replicates: 20, ..Default::default() };
        let curves = subset_curves(&first.estimates(), &strength, score, &config, Seed::new(1)).unwrap();
        println!("{population}: {curves}");
        let config = ContributionConfig { permutations: 200, replicates: 200, ..Default::default() };
        (curves.needed[1].contribution, concentration(found.by_image.view(), &config, Seed::new(1)).unwrap())
    };
    let ((few, sparse), (many, dense)) = (needed(Population::Sparse), needed(Population::Dense));
    println!("{sparse}\n{dense}");
    assert!(dense.gini.estimate < sparse.gini.low, "{dense} {sparse}");
    assert!(few < many, "{few} {many}");
}

#[test]
fn null_gives_no_evidence() {
    let world = World::new(Population::Null, 100, (36, 72), 12);
    let found = world.contributions();
    assert!(found.significant(0.05).is_empty(), "{found}");
    let profiles = profile(&world, 12.);
    assert!(profiles.iter().all(|p| p.extent == Extent::NoEvidence), "{}", profiles[0]);
}

fn profile(world: &World, cell: f64) -> Vec<SpatialProfile> {
    let mut config = ProfileConfig { permutations: 300, ..ProfileConfig::new([cell, cell]) };
    config.extent.draws = 200;
    spatial_profile(world.image.view(), world.neural().view(), &config, Seed::new(1)).unwrap()
}

#[test]
fn local_is_local_and_distributed_is_distributed() {
    for (population, extent) in
        [(Population::Local, Extent::Local), (Population::Distributed, Extent::Distributed)]
    {
        let world = World::new(population, 300, (36, 120), 6);
        let profiles = profile(&world, 6.);
        profiles.iter().for_each(|p| println!("{population} {p}"));
        assert_eq!(profiles[0].extent, extent, "{}", profiles[0]);
    }
}

/// Deviations of single trials from the mean of each neuron.
fn deviations(simulation: &Simulation) -> (Array2<f32>, Vec<usize>) {
    let recording = &simulation.recording;
    let stimulus: Vec<usize> = recording.stimulus().iter().map(|s| s.unwrap() as usize).collect();
    let mut trials = recording.responses().clone();
    let mean = trials.mean_axis(Axis(0)).unwrap();
    trials -= &mean;
    let sd = trials.std_axis(Axis(0), 0.);
    trials /= &sd;
    // Bursts of shared activity would outweigh everything in a product.
    trials.mapv_inplace(|v| v.clamp(-1.5, 1.5));
    (trials, stimulus)
}

#[test]
fn interacting_neurons_work_only_in_pairs() {
    let config = SimulationConfig {
        neurons: 12,
        images: 1600,
        repeats: 4,
        height: 36,
        width: 72,
        gray_every: 0,
        spontaneous_bins: 0,
        ..SimulationConfig::new(Population::Interacting)
    };
    let simulation = simulate(&config, &|_| ()).unwrap();
    let signs = simulation.truth.pair_signs.as_ref().unwrap();
    let (trials, stimulus) = deviations(&simulation);
    // A tower that knows no pairs: every product of two neurons, weighted for each channel (the sign of a pair) by its
    // covariance with it over half of the images.
    let products: Vec<[usize; 2]> = (0..12).flat_map(|j| (0..j).map(move |i| [i, j])).collect();
    let channels = signs.nrows();
    let fit: Vec<usize> = (0..stimulus.len()).filter(|&t| stimulus[t] % 2 == 0).collect();
    let weights = Array2::from_shape_fn((products.len(), channels), |(p, c)| {
        let [i, j] = products[p];
        fit.iter().map(|&t| trials[[t, i]] * trials[[t, j]] * signs[[c, stimulus[t]]]).sum::<f32>()
            / fit.len() as f32
    });
    let held: Vec<usize> = (0..stimulus.len()).filter(|&t| stimulus[t] % 2 == 1).collect();
    let seen: Vec<usize> = held.iter().map(|&t| stimulus[t]).collect();
    let responses = trials.select(Axis(0), &held);
    // One value a trial: the mean product of map and sign over channels.
    let by_trial = |r: ArrayView2<'_, f32>| -> Vec<f64> {
        (0..r.nrows())
            .map(|t| {
                let read = |c: usize| {
                    products
                        .iter()
                        .enumerate()
                        .map(|(p, &[i, j])| weights[[p, c]] * r[[t, i]] * r[[t, j]])
                        .sum::<f32>()
                };
                (0..channels).map(|c| f64::from(read(c) * signs[[c, seen[t]]])).sum::<f64>() / channels as f64
            })
            .collect()
    };
    let score = |kept: &[usize]| {
        let mut silenced = Array2::zeros(responses.raw_dim());
        kept.iter().for_each(|&n| silenced.column_mut(n).assign(&responses.column(n)));
        // Means over the repeats of each image, which are not independent.
        let mut images = vec![0.; 800];
        by_trial(silenced.view()).iter().zip(&seen).for_each(|(v, &s)| images[s / 2] += v / 4.);
        Ok(images)
    };
    let groups: Vec<Vec<usize>> = (0..12).map(|n| vec![n]).collect();
    let sets: Vec<Vec<usize>> = products.iter().map(|p| p.to_vec()).collect();
    let config = InteractionConfig { permutations: 500, replicates: 200, ..Default::default() };
    let found = group_interactions(12, &groups, &sets, score, &config, Seed::new(1)).unwrap();
    let truth: Vec<bool> = products
        .iter()
        .map(|&[i, j]| {
            let first = &simulation.truth.neurons[i];
            first.informative && first.partner == Some(j)
        })
        .collect();
    let synergy: Vec<f64> = found.sets.iter().map(|s| -s.estimate).collect();
    let area = recovery(&synergy, &truth, 0.95).unwrap();
    println!("interacting: {found}; {area}");
    found.sets.iter().zip(&truth).filter(|(_, t)| **t).for_each(|(s, _)| println!("{s:?}"));
    assert!(area.auc >= 0.9, "{area}");
    let wrong = found.significant(0.05).into_iter().filter(|&i| !truth[i]).count();
    assert!(found.significant(0.05).len() >= 3 && wrong == 0, "{found}");

    let config = NoiseConfig { shuffles: 60, replicates: 200, ..Default::default() };
    let effect =
        noise_correlation_effect(responses.view(), &seen, |r| Ok(by_trial(r)), &config, Seed::new(1))
            .unwrap();
    println!("{effect}");
    assert!(effect.p < 0.05 && effect.effect.low > 0., "{effect}");
}
