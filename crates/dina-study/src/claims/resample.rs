//! From one value an image to an effect: interval, p of the null, p of an effect that matters.

use dina_core::Seed;
use dina_stats::bootstrap::interval;
use dina_stats::permutation::{Permutation, Tail};
use rand::RngExt;

use super::{Effect, Settings};
use crate::{Error, Result};

/// Coverage of every interval.
const LEVEL: f64 = 0.95;

/// The effect that is the mean of one value an image, minus what the null says.
///
/// p is of a sign-flip test over images: under the null values lie evenly about 0. The interval and the p of an effect
/// as large as `smallest` resample images.
pub(super) fn mean_effect(values: &[f64], smallest: f64, settings: &Settings, seed: Seed) -> Result<Effect> {
    let mut effect = Effect::mean(values, smallest, settings, seed)?;
    effect.p = sign_flip(values, settings, seed)?;
    Ok(effect)
}

/// p that values lie evenly about 0, against a larger mean.
pub(super) fn sign_flip(values: &[f64], settings: &Settings, seed: Seed) -> Result<f64> {
    let test = Permutation { count: settings.permutations, tail: Tail::Greater, ..Permutation::default() };
    let flipped = |signs: &[f64]| signs.iter().zip(values).map(|(s, v)| s * v).sum::<f64>();
    Ok(test.sign_flips(values.len(), flipped, seed.child("signs"))?.p)
}

impl Effect {
    /// The effect that is the mean of one value an image, as [`Effect::resampled`].
    ///
    /// # Errors
    /// As [`Effect::resampled`].
    pub fn mean(values: &[f64], smallest: f64, settings: &Settings, seed: Seed) -> Result<Self> {
        let mean = |items: &[usize]| items.iter().map(|&i| values[i]).sum::<f64>() / items.len() as f64;
        Self::resampled(values.len(), mean, smallest, settings, seed)
    }

    /// An effect with its percentile interval over `images`, and p of both hypotheses from the same resamples: of an
    /// effect not above 0, and of one of at least `smallest`. `statistic` is given the items drawn, with repetition.
    ///
    /// Where the null says what is exchangeable, a permutation test is the better p: put it into [`Effect::p`].
    ///
    /// # Errors
    /// For fewer than two images, or a statistic that is not finite.
    pub fn resampled(
        images: usize,
        statistic: impl Fn(&[usize]) -> f64 + Sync,
        smallest: f64,
        settings: &Settings,
        seed: Seed,
    ) -> Result<Self> {
        if images < 2 {
            return Err(Error::Job(format!(
                "an effect over images needs at least 2 of them to resample, found {images}"
            )));
        }
        let all: Vec<usize> = (0..images).collect();
        let estimate = statistic(&all);
        let mut stream = seed.stream("resamples");
        let mut drawn = vec![0; images];
        let replicates: Vec<f64> = (0..settings.replicates)
            .map(|_| {
                drawn.iter_mut().for_each(|i| *i = stream.random_range(0..images));
                statistic(&drawn)
            })
            .collect();
        let found = interval(estimate, &replicates, None, LEVEL)?;
        let beyond = |count: usize| (1. + count as f64) / (1. + replicates.len() as f64);
        Ok(Effect {
            estimate,
            low: found.low,
            high: found.high,
            p: beyond(replicates.iter().filter(|&&r| r <= 0.).count()),
            p_small: beyond(replicates.iter().filter(|&&r| r >= smallest).count()),
            images,
            ..Effect::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_told_from_zero_and_from_one_that_matters() {
        let mut stream = Seed::new(3).stream("values");
        let mut values =
            |mean: f64| -> Vec<f64> { (0..100).map(|_| mean + stream.random::<f64>() - 0.5).collect() };
        let settings = Settings::smoke();
        let run = |values: &[f64]| mean_effect(values, 0.2, &settings, Seed::new(1)).unwrap();
        let large = run(&values(0.3));
        assert!(large.p < 0.01 && large.p_small > 0.9 && large.low > 0.2, "{large:?}");
        let small = run(&values(0.));
        assert!(small.p > 0.01 && small.p_small < 0.01 && small.high < 0.2, "{small:?}");
    }
}
