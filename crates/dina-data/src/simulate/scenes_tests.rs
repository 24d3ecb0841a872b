use dina_core::Seed;
use ndarray::Axis;

use super::*;
use crate::stimulus::{Filter, Pass, PhaseScramble, Pipeline};

fn made(name: &str) -> Simulation {
    let config = SimulationConfig {
        neurons: 24,
        images: 60,
        height: 32,
        width: 64,
        gray_every: 0,
        spontaneous_bins: 0,
        seed: 3,
        ..SimulationConfig::new(name.parse().unwrap())
    };
    simulate(&config, &|_| ()).unwrap()
}

#[test]
fn the_images_that_were_shown_give_the_rates_of_the_simulation() {
    for population in Population::ALL {
        let simulation = made(&population.to_string());
        let scenes = simulation.scenes();
        assert_eq!(simulation.rates(&scenes).unwrap(), simulation.truth.rates, "{population}");
        // Any of them, in any order.
        let some = [7, 3, 59];
        let rates = simulation.rates(&scenes.select(&some).unwrap()).unwrap();
        let expected = simulation.truth.rates.select(Axis(1), &some);
        let close = rates.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-4 * b.abs().max(1.0));
        assert!(close, "{population}");
    }
    assert!(made("v1").scenes().select(&[60]).is_err());
}

#[test]
fn another_mouse_is_shown_images_too() {
    let first = made("v1");
    let config = SimulationConfig { mouse: 2, ..first.truth.config.clone() };
    let other = simulate(&config, &|_| ()).unwrap();
    assert_eq!(other.rates(&first.scenes()).unwrap(), other.truth.rates);
    assert_ne!(other.truth.rates, first.truth.rates);
}

#[test]
fn shape_and_texture_see_their_side_of_a_scene_only() {
    let (shape, texture) = (made("shape"), made("texture"));
    let scenes = shape.scenes();
    let outlines = scenes.silhouettes_alone(&Default::default()).unwrap();
    let surfaces = scenes.surfaces_alone(&Pipeline::default(), Seed::new(1)).unwrap();
    let scrambled = scenes.phase_scrambled(Seed::new(1)).unwrap();
    assert_eq!(outlines.images.pixels.iter().filter(|v| ![40, 200].contains(*v)).count(), 0);
    let same_everywhere = |rates: &ndarray::Array2<f32>| {
        rates.outer_iter().all(|row| row.iter().all(|v| (v - row[0]).abs() <= 1e-4 * row[0].abs().max(1.0)))
    };
    assert_eq!(shape.rates(&outlines).unwrap(), shape.truth.rates);
    assert!(same_everywhere(&shape.rates(&surfaces).unwrap()));
    assert_eq!(texture.rates(&surfaces).unwrap(), texture.truth.rates);
    assert!(same_everywhere(&texture.rates(&outlines).unwrap()));
    for simulation in [&shape, &texture] {
        let rates = simulation.rates(&scrambled).unwrap();
        assert!(!same_everywhere(&rates));
        assert_ne!(rates, simulation.truth.rates);
    }
}

#[test]
fn what_cannot_be_known_is_said() {
    let filter = Filter::new(Pass::Low { cutoff: 0.1 });
    for (population, missing) in [
        ("shape", "silhouettes"),
        ("texture", "surfaces"),
        ("category", "categories"),
        ("mixed", "categories"),
    ] {
        let simulation = made(population);
        let blurred = simulation.scenes().transformed(&filter, Seed::new(1)).unwrap();
        let message = simulation.rates(&blurred).unwrap_err().to_string();
        assert!(message.contains(missing) && message.contains(population), "{message}");
    }
    let v1 = made("v1");
    let blurred = v1.scenes().transformed(&filter, Seed::new(1)).unwrap();
    assert_ne!(v1.rates(&blurred).unwrap(), v1.truth.rates);
    assert!(blurred.silhouettes_alone(&Default::default()).is_err());
    assert!(blurred.surfaces_alone(&PhaseScramble::default(), Seed::new(1)).is_err());
    let mut cut = blurred.clone();
    cut.images.pixels = cut.images.pixels.slice(ndarray::s![.., 1.., ..]).to_owned();
    let message = v1.rates(&cut).unwrap_err().to_string();
    assert!(message.contains("31 x 64") && message.contains("Crop"), "{message}");
    let mut broken = v1.scenes();
    broken.surfaces = Some(ndarray::Array3::zeros((1, 2, 3)));
    assert!(v1.rates(&broken).is_err());
    assert!(v1.respond(&blurred, 0, Seed::new(1)).is_err());
}

#[test]
fn single_responses_scatter_about_the_rates() {
    for name in ["v1", "interacting"] {
        let simulation = made(name);
        let scenes = simulation.scenes().select(&(0..20).collect::<Vec<_>>()).unwrap();
        let recording = simulation.respond(&scenes, 60, Seed::new(5)).unwrap();
        assert_eq!(recording, simulation.respond(&scenes, 60, Seed::new(5)).unwrap());
        assert_eq!((recording.images(), recording.repeats()), (20, 60));
        let rates = simulation.rates(&scenes).unwrap();
        let mean = recording.responses().mean_axis(Axis(0)).unwrap();
        let expected = rates.mean_axis(Axis(1)).unwrap();
        // Shared activity moves all neurons: over neurons and bins the two agree.
        let (found, wanted) = (mean.sum(), expected.sum());
        assert!((found / wanted - 1.0).abs() < 0.05, "{name}: {found} {wanted}");
    }
    // The pairs of these images, and not of those of the simulation.
    let simulation = made("interacting");
    let signs = simulation.truth.pair_signs.as_ref().unwrap();
    let last: Vec<usize> = (0..60).rev().collect();
    let scenes = simulation.scenes().select(&last).unwrap();
    let recording = simulation.respond(&scenes, 80, Seed::new(5)).unwrap();
    let (mut product, mut count) = (0.0, 0.0);
    let mean = recording.responses().mean_axis(Axis(0)).unwrap();
    let sd = recording.responses().std_axis(Axis(0), 0.0);
    for (row, stimulus) in recording.responses().outer_iter().zip(recording.stimulus()) {
        let image = last[stimulus.unwrap() as usize];
        for pair in 0..12 {
            if simulation.truth.neurons[2 * pair].informative {
                let z = |n: usize| ((row[n] - mean[n]) / sd[n]).clamp(-2.0, 2.0);
                product += signs[[pair, image]] * z(2 * pair) * z(2 * pair + 1);
                count += 1.0;
            }
        }
    }
    assert!(product / count > 0.02, "{}", product / count);
}
