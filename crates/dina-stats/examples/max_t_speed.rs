//! How long step-down maxT takes: permutations, items and channels from the command line.
//!
//!     cargo run --release -p dina-stats --example max_t_speed -- 10000 60 10000

use std::time::Instant;

use dina_core::Seed;
use dina_stats::permutation::{Permutation, Scheme, Tail, mass};
use ndarray::{Array, Array2};
use rand_distr::{Distribution, StandardNormal};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut sizes = [10_000, 60, 10_000];
    for (size, argument) in sizes.iter_mut().zip(std::env::args().skip(1)) {
        *size = argument.parse()?;
    }
    let [count, items, channels] = sizes;
    let mut rng = Seed::new(1).stream("data");
    let mut data: Array2<f32> =
        Array::from_shape_simple_fn((items, channels), || StandardNormal.sample(&mut rng));
    // An effect in the first hundredth of the channels.
    data.slice_mut(ndarray::s![.., ..channels / 100]).mapv_inplace(|v| v + 1.0);
    let regressor: Vec<f64> = (0..items).map(|_| StandardNormal.sample(&mut rng)).collect();
    let permutation = Permutation { count, exact_up_to: 0, tail: Tail::TwoSidedAbsolute, stop_after: None };

    let report = |name: &str, start: Instant, found: mass::MassTest| {
        println!("{name}: {:.2} s; {found}", start.elapsed().as_secs_f64());
    };
    let start = Instant::now();
    let flips = Scheme::sign_flip(items)?;
    report("one-sample t, f32", start, mass::one_sample(&permutation, data.view(), &flips, Seed::new(2))?);
    let start = Instant::now();
    let free = Scheme::free(items)?;
    let found = mass::correlation(&permutation, &regressor, data.view(), &free, Seed::new(2))?;
    report("correlation, f32", start, found);
    let wide = data.mapv(f64::from);
    let start = Instant::now();
    let found = mass::correlation(&permutation, &regressor, wide.view(), &free, Seed::new(2))?;
    report("correlation, f64", start, found);
    Ok(())
}
