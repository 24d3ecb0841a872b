//! Whether p-values and intervals do what they say, by simulation: p uniform under the null hypothesis, intervals
//! that cover. `examples/coverage.rs` does the same with more runs and more conditions.
//!
//! Bounds are four standard deviations of a binomial, so that a right test fails once in some 10,000 seeds, and the
//! seeds are fixed.

// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used)]

use dina_core::Seed;
use dina_stats::bootstrap::{Bootstrap, Resampling};
use dina_stats::cluster::{Adjacency, ClusterMeasure, ClusterThreshold, Tfce, cluster_test, tfce_test};
use dina_stats::comparison::{Association, Location, Paired, TwoSample};
use dina_stats::effect::{self, EffectKind};
use dina_stats::meta::random_effects;
use dina_stats::permutation::{Arrangement, Permutation, Scheme, Tail, mass};
use dina_stats::reliability::Correlation;
use dina_stats::similarity::cka::cka_test;
use dina_stats::similarity::dissimilarity::Dissimilarities;
use dina_stats::similarity::rsa::{RdmCorrelation, rsa_test};
use ndarray::{Array, Array2};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

fn normals(n: usize, seed: Seed) -> Vec<f64> {
    let mut rng = seed.stream("normals");
    (0..n).map(|_| StandardNormal.sample(&mut rng)).collect()
}

fn normal_matrix(rows: usize, columns: usize, seed: Seed) -> Array2<f64> {
    Array::from_shape_vec((rows, columns), normals(rows * columns, seed)).unwrap()
}

/// `runs` values, each from its own seed.
fn simulate<T: Send>(runs: usize, of: impl Fn(Seed) -> T + Sync) -> Vec<T> {
    (0..runs).into_par_iter().map(|run| of(Seed::new(77).index(run))).collect()
}

/// Refuses a share of p at or below a level that differs from the level. `floor` is what a discrete p may lack.
fn uniform(name: &str, p: &[f64], floor: f64) {
    for level in [0.05, 0.2, 0.5, 0.8] {
        let share = p.iter().filter(|p| **p <= level + 1e-9).count() as f64 / p.len() as f64;
        let slack = 4.0 * (level * (1.0 - level) / p.len() as f64).sqrt();
        assert!(share < level + slack, "{name}: {share} of p at or below {level}");
        assert!(share > level - slack - floor, "{name}: {share} of p at or below {level}");
    }
}

/// Refuses a coverage that is off its level by more than chance and `bias`.
fn covers(name: &str, level: f64, hits: &[bool], bias: f64) {
    let share = hits.iter().filter(|hit| **hit).count() as f64 / hits.len() as f64;
    let slack = 4.0 * (level * (1.0 - level) / hits.len() as f64).sqrt() + bias;
    assert!((share - level).abs() < slack, "{name}: covers {share} at {level}");
}

fn quick(tail: Tail) -> Permutation {
    Permutation { count: 99, exact_up_to: 0, tail, stop_after: None }
}

fn few() -> Bootstrap {
    Bootstrap { replicates: 20, ..Bootstrap::default() }
}

#[test]
fn p_of_comparisons_is_uniform() {
    let permutation = quick(Tail::TwoSidedAbsolute);
    for location in [Location::Welch, Location::RankSum] {
        let config = TwoSample { location, permutation, level: 0.95 };
        let p = simulate(1000, |seed| {
            let (a, b) = (normals(9, seed.child("a")), normals(14, seed.child("b")));
            config.test(&a, &b, seed).unwrap().permutation.p
        });
        uniform(&location.to_string(), &p, 0.01);
    }
    let config = Paired { permutation, bootstrap: few() };
    let p = simulate(1000, |seed| config.test(&normals(10, seed), seed).unwrap().permutation.p);
    uniform("paired", &p, 0.01);
    let config = Association { permutation, ..Association::default() };
    let free = Scheme::free(12).unwrap();
    let p = simulate(1000, |seed| {
        let (x, y) = (normals(12, seed.child("x")), normals(12, seed.child("y")));
        config.test(&x, &y, &free, seed).unwrap().permutation.p
    });
    uniform("correlation", &p, 0.01);
}

/// Two samples of one mean but of unequal sizes and spreads: Welch's t keeps its level, the plain difference of means
/// does not.
#[test]
fn welch_holds_where_the_mean_difference_fails() {
    let rejections = |location| {
        let config = TwoSample { location, permutation: quick(Tail::TwoSidedAbsolute), level: 0.95 };
        let p = simulate(1000, |seed| {
            let a: Vec<f64> = normals(8, seed.child("a")).iter().map(|v| 3.0 * v).collect();
            config.test(&a, &normals(32, seed.child("b")), seed).unwrap().permutation.p
        });
        p.iter().filter(|p| **p <= 0.05).count()
    };
    assert!(rejections(Location::Welch) < 90);
    assert!(rejections(Location::MeanDifference) > 150);
}

/// Series with autocorrelation: shifts keep the level, free permutation does not.
#[test]
fn shifts_keep_their_level_on_slow_series() {
    let slow = |seed: Seed| -> Vec<f64> {
        let mut state = 0.0;
        normals(260, seed)
            .into_iter()
            .map(|v| {
                state = 0.8 * state + v;
                state
            })
            .skip(60)
            .collect()
    };
    let rejections = |scheme: &Scheme| {
        let config = Association { permutation: quick(Tail::TwoSidedAbsolute), ..Association::default() };
        let p = simulate(800, |seed| {
            config.test(&slow(seed.child("x")), &slow(seed.child("y")), scheme, seed).unwrap().permutation.p
        });
        p.iter().filter(|p| **p <= 0.05).count()
    };
    // 40 expected, and some more because shifts of one series are not independent.
    let shifted = rejections(&Scheme::circular_shift(&[200], 20).unwrap());
    assert!((16..=68).contains(&shifted), "{shifted}");
    let free = rejections(&Scheme::free(200).unwrap());
    assert!(free > 160, "{free}");
}

/// Under the null hypothesis the smallest adjusted p is the p of the whole family.
#[test]
fn family_wise_error_is_kept() {
    let permutation = quick(Tail::TwoSidedAbsolute);
    let flips = Scheme::sign_flip(10).unwrap();
    let smallest = |p: Vec<f64>| p.into_iter().fold(1.0, f64::min);
    let p = simulate(800, |seed| {
        // Channels that are correlated.
        let mut data = normal_matrix(10, 20, seed.child("own"));
        let shared = normal_matrix(10, 1, seed.child("shared"));
        data += &shared;
        smallest(mass::one_sample(&permutation, data.view(), &flips, seed).unwrap().max_t.adjusted_p)
    });
    uniform("maxT", &p, 0.01);
}

fn t_map(data: &Array2<f64>, arrangement: &Arrangement) -> Vec<f64> {
    let n = data.nrows() as f64;
    data.columns()
        .into_iter()
        .map(|column| {
            let values = arrangement.apply(&column.to_vec());
            let mean = values.iter().sum::<f64>() / n;
            let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            mean / (squares / (n * (n - 1.0))).sqrt()
        })
        .collect()
}

#[test]
fn cluster_p_is_valid_under_the_null() {
    let permutation = quick(Tail::TwoSidedAbsolute);
    let (flips, chain) = (Scheme::sign_flip(9).unwrap(), Adjacency::chain(25).unwrap());
    let smooth = |seed: Seed| {
        let raw = normal_matrix(9, 27, seed);
        Array2::from_shape_fn((9, 25), |(i, j)| raw[[i, j]] + raw[[i, j + 1]] + raw[[i, j + 2]])
    };
    let forming = ClusterThreshold { threshold: 1.0, measure: ClusterMeasure::Mass };
    let p = simulate(500, |seed| {
        let data = smooth(seed.child("data"));
        let map = |g: &Arrangement| t_map(&data, g);
        let found = cluster_test(&permutation, &flips, &chain, forming, map, seed).unwrap();
        found.clusters.first().map_or(1.0, |cluster| cluster.p)
    });
    uniform("clusters", &p, 0.02);
    let p = simulate(500, |seed| {
        let data = smooth(seed.child("data"));
        let map = |g: &Arrangement| t_map(&data, g);
        let found = tfce_test(&permutation, &flips, &chain, Tfce::default(), map, seed).unwrap();
        found.p.into_iter().fold(1.0, f64::min)
    });
    uniform("TFCE", &p, 0.01);
}

#[test]
fn p_of_similarities_is_uniform() {
    let permutation = quick(Tail::Greater);
    let free = Scheme::free(12).unwrap();
    let p = simulate(800, |seed| {
        let (x, y) = (normal_matrix(12, 5, seed.child("x")), normal_matrix(12, 8, seed.child("y")));
        cka_test(&permutation, x.view(), y.view(), &free, seed).unwrap().permutation.p
    });
    uniform("CKA", &p, 0.01);
    let p = simulate(800, |seed| {
        let rdm = |name| Dissimilarities::correlation(normal_matrix(8, 6, seed.child(name)).view()).unwrap();
        let mice = [rdm("a"), rdm("b")];
        rsa_test(&permutation, &rdm("model"), &mice, RdmCorrelation::RhoA, seed).unwrap().permutation.p
    });
    uniform("RSA", &p, 0.01);
}

#[test]
fn standardised_differences_cover() {
    // A true d of 0.8 and, over pairs, d_z of 0.5.
    let hits = simulate(1000, |seed| {
        let a: Vec<f64> = normals(10, seed.child("a")).iter().map(|v| v + 0.8).collect();
        let found = effect::cohen_d(&a, &normals(15, seed.child("b")), 0.9).unwrap();
        found.low < 0.8 && 0.8 < found.high
    });
    covers("Cohen's d", 0.9, &hits, 0.0);
    let hits = simulate(1000, |seed| {
        let a: Vec<f64> = normals(12, seed).iter().map(|v| v + 0.5).collect();
        let found = effect::cohen_dz(&a, 0.9).unwrap();
        found.low < 0.5 && 0.5 < found.high
    });
    covers("Cohen's d_z", 0.9, &hits, 0.0);
}

/// g is unbiased where d is not.
#[test]
fn hedges_g_has_no_bias() {
    let both = simulate(4000, |seed| {
        let a: Vec<f64> = normals(5, seed.child("a")).iter().map(|v| v + 1.0).collect();
        let b = normals(5, seed.child("b"));
        (effect::cohen_d(&a, &b, 0.5).unwrap().estimate, effect::hedges_g(&a, &b, 0.5).unwrap().estimate)
    });
    let n = both.len() as f64;
    let (d, g) = both.iter().fold((0.0, 0.0), |(d, g), (x, y)| (d + x / n, g + y / n));
    // The standard error of either mean is some 0.012.
    assert!((g - 1.0).abs() < 0.05, "{g}");
    assert!(d > 1.06, "{d}");
}

#[test]
fn cliff_delta_covers() {
    // P(A > B) of normals with means 1 and 0: Phi(1 / sqrt 2) = 0.760250.
    let truth = 2.0 * 0.760_249_938_906_524 - 1.0;
    let hits = simulate(1000, |seed| {
        let a: Vec<f64> = normals(15, seed.child("a")).iter().map(|v| v + 1.0).collect();
        let found = effect::cliff_delta(&a, &normals(20, seed.child("b")), 0.9).unwrap();
        found.low < truth && truth < found.high
    });
    covers("Cliff's delta", 0.9, &hits, 0.02);
}

#[test]
fn correlation_intervals_cover() {
    let rho = 0.6_f64;
    let hits = simulate(1000, |seed| {
        let (x, noise) = (normals(20, seed.child("x")), normals(20, seed.child("noise")));
        let y: Vec<f64> = x.iter().zip(&noise).map(|(x, e)| rho * x + (1.0 - rho * rho).sqrt() * e).collect();
        let r = Correlation::pearson(&x, &y).unwrap().get();
        let found = effect::correlation_interval(EffectKind::PearsonR, r, 20, 0.9).unwrap();
        found.low < rho && rho < found.high
    });
    covers("Pearson's r", 0.9, &hits, 0.01);
}

/// Few mice that differ: Hartung and Knapp cover, the normal interval does not.
#[test]
fn hartung_knapp_covers_with_six_mice() {
    let both = simulate(1500, |seed| {
        let (mice, errors) = (normals(6, seed.child("mice")), normals(6, seed.child("errors")));
        let variances = [0.05, 0.1, 0.2, 0.1, 0.3, 0.05];
        let effects: Vec<f64> =
            (0..6).map(|i| 0.4 + 0.5 * mice[i] + errors[i] * f64::sqrt(variances[i])).collect();
        let found = random_effects(&effects, &variances, 0.95, false).unwrap();
        let inside = |[low, high]: [f64; 2]| low < 0.4 && 0.4 < high;
        (inside([found.low, found.high]), inside(found.normal))
    });
    let (knapp, normal): (Vec<bool>, Vec<bool>) = both.into_iter().unzip();
    covers("Hartung-Knapp", 0.95, &knapp, 0.01);
    let share = normal.iter().filter(|hit| **hit).count() as f64 / normal.len() as f64;
    assert!(share < 0.93, "{share}");
}

#[test]
fn hierarchical_bootstrap_covers_mice() {
    // Twenty mice, whose means vary as much as single images do.
    let (mice, images) = (20, 10);
    let mouse: Vec<usize> = (0..mice * images).map(|i| i / images).collect();
    let image: Vec<usize> = (0..mice * images).map(|i| i % images).collect();
    let nested = Resampling::nested(&mouse, &image);
    let items = Resampling::items(mice * images);
    let both = simulate(300, |seed| {
        let (of_mouse, noise) =
            (normals(mice, seed.child("mice")), normals(mice * images, seed.child("noise")));
        let data: Vec<f64> = noise.iter().zip(&mouse).map(|(e, &m)| of_mouse[m] + e).collect();
        let mean = |items: &[usize]| items.iter().map(|&i| data[i]).sum::<f64>() / items.len() as f64;
        let bootstrap = Bootstrap { replicates: 300, level: 0.9, bca: false };
        let inside = |resampling| {
            let found = bootstrap.interval(resampling, mean, seed.child("bootstrap")).unwrap();
            found.low < 0.0 && 0.0 < found.high
        };
        (inside(&nested), inside(&items))
    });
    let (nested, items): (Vec<bool>, Vec<bool>) = both.into_iter().unzip();
    covers("hierarchical bootstrap", 0.9, &nested, 0.02);
    assert!(items.iter().filter(|hit| **hit).count() < 180);
}
