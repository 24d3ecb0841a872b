//! An effect in six mice, told in full: signs, exact test, effect size, hierarchical interval, meta-analysis.
//!
//!     cargo run --release -p dina-stats --example six_mice

use dina_stats::Seed;
use dina_stats::bootstrap::{Bootstrap, Resampling};
use dina_stats::comparison::{Paired, SignTable};
use dina_stats::meta::random_effects;
use dina_stats::permutation::Tail;

fn main() -> dina_stats::Result<()> {
    // The gain in decoding (in percent) of one model over another, for eight images of each of six mice.
    let mice = ["MP027", "MP030", "MP031", "MP032", "MP033", "MP034"];
    let level = [4.1, 1.2, 6.3, 2.4, 3.6, 0.9];
    let gains: Vec<f64> = (0..48).map(|i| level[i / 8] + 4.0 * (i as f64 * 12.9898).sin()).collect();
    let mouse: Vec<usize> = (0..48).map(|i| i / 8).collect();
    let image: Vec<usize> = (0..48).map(|i| i % 8).collect();

    let means: Vec<f64> = gains.chunks(8).map(mean).collect();
    let variances: Vec<f64> =
        gains.chunks(8).map(|g| g.iter().map(|v| (v - mean(g)).powi(2)).sum::<f64>() / 7.0 / 8.0).collect();

    println!("{}\n", SignTable::new(&mice, &[("gain", &means)], Tail::TwoSidedDoubled)?);
    println!("Mice as units: {}\n", Paired::default().test(&means, Seed::new(1))?);
    let nested = Resampling::nested(&mouse, &image);
    let interval = Bootstrap::default().interval(&nested, |items| mean_of(&gains, items), Seed::new(2))?;
    println!("Mice, then images: mean {interval}\n");
    println!("Meta-analysis: {}", random_effects(&means, &variances, 0.95, true)?);
    Ok(())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn mean_of(values: &[f64], items: &[usize]) -> f64 {
    items.iter().map(|&i| values[i]).sum::<f64>() / items.len() as f64
}
