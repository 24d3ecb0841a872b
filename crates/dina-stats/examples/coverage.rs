//! Whether intervals cover and p-values are uniform, with as many runs as asked for. The tests of this crate do the
//! same with few.
//!
//!     cargo run --release -p dina-stats --example coverage -- 20000

use dina_core::Seed;
use dina_stats::bootstrap::{Bootstrap, Resampling};
use dina_stats::classical::{student_t, welch_t};
use dina_stats::comparison::{Association, Location, Paired, TwoSample};
use dina_stats::effect::{self, EffectKind};
use dina_stats::meta::random_effects;
use dina_stats::permutation::{Permutation, Scheme, Tail};
use dina_stats::proportion::wilson;
use dina_stats::reliability::Correlation;
use rand_distr::{Distribution, Exp1, StandardNormal};
use rayon::prelude::*;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Hit = Result<bool, dina_stats::Error>;

fn main() -> Result<(), Failure> {
    let runs: usize = std::env::args().nth(1).map_or(Ok(2000), |argument| argument.parse())?;
    println!("coverage of 95 % intervals over {runs} runs, with its 95 % interval\n");
    covers("Cohen's d = 0.8, n = 10 and 15", runs, |s| cohen(s, 0.8, 10, 15))?;
    covers("Cohen's d = 3, n = 6 and 6", runs, |s| cohen(s, 3.0, 6, 6))?;
    covers("Cohen's d_z = 0.5, n = 6", runs, |s| cohen_z(s, 0.5, 6))?;
    covers("Cliff's delta, normal shift 1, n = 8 and 8", runs, |s| cliff(s, 8))?;
    covers("Cliff's delta, normal shift 1, n = 30 and 30", runs, |s| cliff(s, 30))?;
    covers("Student, equal spreads, n = 8 and 32", runs, |s| means(s, 1.0, false))?;
    covers("Student, spreads 3 to 1, n = 8 and 32", runs, |s| means(s, 3.0, false))?;
    covers("Welch, spreads 3 to 1, n = 8 and 32", runs, |s| means(s, 3.0, true))?;
    covers("Pearson's r = 0.6, n = 15", runs, |s| pearson(s, 15))?;
    covers("Hartung-Knapp, six mice", runs, |s| meta(s, true))?;
    covers("normal (DerSimonian-Laird), six mice", runs, |s| meta(s, false))?;
    covers("BCa of a mean, normal, n = 40", runs.min(4000), |s| bca(s, 40, false))?;
    covers("BCa of a mean, exponential, n = 40", runs.min(4000), |s| bca(s, 40, true))?;
    covers("BCa of a mean, normal, n = 6", runs.min(4000), |s| bca(s, 6, false))?;
    covers("hierarchical bootstrap, 6 mice", runs.min(4000), |s| nested(s, 6))?;
    covers("hierarchical bootstrap, 20 mice", runs.min(4000), |s| nested(s, 20))?;

    println!("\nshare of p <= 0.05 where nothing is there\n");
    let permutation =
        Permutation { count: 199, exact_up_to: 0, tail: Tail::TwoSidedAbsolute, stop_after: None };
    let early = Permutation { stop_after: Some(10), ..permutation };
    for (name, permutation) in [("", permutation), (", early stop", early)] {
        for (location, spread) in
            [(Location::Welch, 1.0), (Location::Welch, 3.0), (Location::MeanDifference, 3.0)]
        {
            let config = TwoSample { location, permutation, level: 0.95 };
            covers(&format!("{location}, spreads {spread} to 1{name}"), runs, |s| {
                let a = scaled(&normals(8, s.child("a")), spread);
                Ok(config.test(&a, &normals(32, s.child("b")), s)?.permutation.p <= 0.05)
            })?;
        }
        let config = Paired { permutation, bootstrap: Bootstrap { replicates: 20, ..Bootstrap::default() } };
        covers(&format!("paired{name}"), runs, |s| {
            Ok(config.test(&normals(12, s), s)?.permutation.p <= 0.05)
        })?;
        let config = Association { permutation, ..Association::default() };
        let free = Scheme::free(20)?;
        covers(&format!("correlation{name}"), runs, |s| {
            let (x, y) = (normals(20, s.child("x")), normals(20, s.child("y")));
            Ok(config.test(&x, &y, &free, s)?.permutation.p <= 0.05)
        })?;
    }
    Ok(())
}

/// Counts how often something holds and prints the share.
fn covers(name: &str, runs: usize, hit: impl Fn(Seed) -> Hit + Sync) -> Result<(), Failure> {
    let seed = Seed::new(1).child(name);
    let hits = (0..runs).into_par_iter().map(|run| hit(seed.index(run))).collect::<Result<Vec<bool>, _>>()?;
    println!("{name:50} {}", wilson(hits.iter().filter(|hit| **hit).count(), runs, 0.95)?);
    Ok(())
}

fn normals(n: usize, seed: Seed) -> Vec<f64> {
    let mut rng = seed.stream("normals");
    (0..n).map(|_| StandardNormal.sample(&mut rng)).collect()
}

fn shifted(values: &[f64], by: f64) -> Vec<f64> {
    values.iter().map(|v| v + by).collect()
}

fn scaled(values: &[f64], by: f64) -> Vec<f64> {
    values.iter().map(|v| v * by).collect()
}

fn inside(low: f64, truth: f64, high: f64) -> Hit {
    Ok(low <= truth && truth <= high)
}

fn cohen(seed: Seed, truth: f64, n: usize, m: usize) -> Hit {
    let a = shifted(&normals(n, seed.child("a")), truth);
    let found = effect::cohen_d(&a, &normals(m, seed.child("b")), 0.95)?;
    inside(found.low, truth, found.high)
}

fn cohen_z(seed: Seed, truth: f64, n: usize) -> Hit {
    let found = effect::cohen_dz(&shifted(&normals(n, seed), truth), 0.95)?;
    inside(found.low, truth, found.high)
}

/// Of normals one standard deviation apart delta is 2 Phi(1 / sqrt 2) - 1.
fn cliff(seed: Seed, n: usize) -> Hit {
    let a = shifted(&normals(n, seed.child("a")), 1.0);
    let found = effect::cliff_delta(&a, &normals(n, seed.child("b")), 0.95)?;
    inside(found.low, 2.0 * 0.760_249_938_906_524 - 1.0, found.high)
}

fn means(seed: Seed, spread: f64, welch: bool) -> Hit {
    let (a, b) = (scaled(&normals(8, seed.child("a")), spread), normals(32, seed.child("b")));
    let test = if welch { welch_t } else { student_t };
    let found = test(&a, &b, Tail::TwoSidedAbsolute, 0.95)?;
    inside(found.low, 0.0, found.high)
}

fn pearson(seed: Seed, n: usize) -> Hit {
    let (x, noise) = (normals(n, seed.child("x")), normals(n, seed.child("noise")));
    let y: Vec<f64> = x.iter().zip(&noise).map(|(x, e)| 0.6 * x + 0.8 * e).collect();
    let r = Correlation::pearson(&x, &y)?.get();
    let found = effect::correlation_interval(EffectKind::PearsonR, r, n, 0.95)?;
    inside(found.low, 0.6, found.high)
}

fn meta(seed: Seed, knapp: bool) -> Hit {
    let (mice, errors) = (normals(6, seed.child("mice")), normals(6, seed.child("errors")));
    let variances = [0.05_f64, 0.1, 0.2, 0.1, 0.3, 0.05];
    let effects: Vec<f64> = (0..6).map(|i| 0.4 + 0.5 * mice[i] + errors[i] * variances[i].sqrt()).collect();
    let found = random_effects(&effects, &variances, 0.95, false)?;
    match knapp {
        true => inside(found.low, 0.4, found.high),
        false => inside(found.normal[0], 0.4, found.normal[1]),
    }
}

fn bca(seed: Seed, n: usize, exponential: bool) -> Hit {
    let mut rng = seed.stream("data");
    let (data, truth): (Vec<f64>, f64) = match exponential {
        true => ((0..n).map(|_| Exp1.sample(&mut rng)).collect(), 1.0),
        false => ((0..n).map(|_| StandardNormal.sample(&mut rng)).collect(), 0.0),
    };
    let mean = |items: &[usize]| items.iter().map(|&i| data[i]).sum::<f64>() / items.len() as f64;
    let bootstrap = Bootstrap { replicates: 1000, ..Bootstrap::default() };
    let found = bootstrap.interval(&Resampling::items(n), mean, seed.child("bootstrap"))?;
    inside(found.low, truth, found.high)
}

fn nested(seed: Seed, mice: usize) -> Hit {
    let images = 10;
    let (of_mouse, noise) = (normals(mice, seed.child("mice")), normals(mice * images, seed.child("noise")));
    let data: Vec<f64> = (0..mice * images).map(|i| of_mouse[i / images] + noise[i]).collect();
    let outer: Vec<usize> = (0..data.len()).map(|i| i / images).collect();
    let inner: Vec<usize> = (0..data.len()).map(|i| i % images).collect();
    let mean = |items: &[usize]| items.iter().map(|&i| data[i]).sum::<f64>() / items.len() as f64;
    let bootstrap = Bootstrap { replicates: 500, bca: false, ..Bootstrap::default() };
    let found = bootstrap.interval(&Resampling::nested(&outer, &inner), mean, seed.child("bootstrap"))?;
    inside(found.low, 0.0, found.high)
}
