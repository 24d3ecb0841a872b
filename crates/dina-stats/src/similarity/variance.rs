//! Which of two models explains what: partition of held-out explained variance.

use std::fmt;

use dina_core::Seed;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    bootstrap::{Bootstrap, Interval, Resampling},
    reliability::ExplainedVariance,
    sentence::Number,
};

/// R^2 = 1 - sum (y - p)^2 / sum (y - mean y)^2 of a prediction of responses that it was not fitted to; negative
/// where the prediction is worse than their mean.
///
/// # Errors
/// [`Error::TooFew`] below two responses, [`Error::Shape`], [`Error::NotFinite`], [`Error::Constant`].
pub fn r_squared(observed: &[f64], predicted: &[f64]) -> Result<ExplainedVariance> {
    check(observed, predicted)?;
    let items: Vec<usize> = (0..observed.len()).collect();
    ExplainedVariance::new(r_squared_of(observed, predicted, &items))
}

/// The partition of explained variance between two models A and B and both together (commonality analysis).
/// Negative parts stay: a model that overfits has a negative unique part, and two that work
/// only together (suppression) have a negative shared one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VariancePartition {
    /// Of A beyond B: R2_AB - R2_B.
    pub unique_a: f64,
    /// Of B beyond A: R2_AB - R2_A.
    pub unique_b: f64,
    /// Of either: R2_A + R2_B - R2_AB.
    pub shared: f64,
}

impl VariancePartition {
    /// The partition from the three held-out R^2.
    pub fn new(a: ExplainedVariance, b: ExplainedVariance, both: ExplainedVariance) -> Self {
        let (a, b, both) = (a.get(), b.get(), both.get());
        Self { unique_a: both - b, unique_b: both - a, shared: a + b - both }
    }
}

/// A partition with intervals over held-out items. Prints as a sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionIntervals {
    /// Held-out items.
    pub n: usize,
    /// R^2 of A, of B and of both.
    pub r_squared: [f64; 3],
    /// Of A beyond B.
    pub unique_a: Interval,
    /// Of B beyond A.
    pub unique_b: Interval,
    /// Of either.
    pub shared: Interval,
}

impl fmt::Display for PartitionIntervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, both] = self.r_squared;
        write!(
            f,
            "held-out R^2 of A {}, of B {}, of both {} (n = {}); unique to A {}; unique to B {}; shared {}",
            Number(a),
            Number(b),
            Number(both),
            self.n,
            self.unique_a,
            self.unique_b,
            self.shared
        )
    }
}

/// Partitions the variance of held-out responses, with bootstrap intervals.
///
/// - `observed`: held-out responses, one an item.
/// - `a`, `b`, `both`: predictions by either model and by one fitted on the features of both.
/// - `resampling`: what is drawn; images where items are trials.
///
/// # Errors
/// As [`r_squared`] and [`Bootstrap::interval`]; [`Error::NotFinite`] where a resample of few items is
/// constant; [`Error::Shape`] where the resampling names items that are not there.
pub fn partition(
    bootstrap: &Bootstrap,
    resampling: &Resampling,
    observed: &[f64],
    [a, b, both]: [&[f64]; 3],
    seed: Seed,
) -> Result<PartitionIntervals> {
    let r_squared =
        [r_squared(observed, a)?.get(), r_squared(observed, b)?.get(), r_squared(observed, both)?.get()];
    if let Some(item) = resampling.last_item().filter(|&item| item >= observed.len()) {
        return Err(Error::shape("resampled item", format!("below {}", observed.len()), item));
    }
    let interval = |part: &(dyn Fn(VariancePartition) -> f64 + Sync)| {
        let statistic = |items: &[usize]| {
            let of = |predicted| r_squared_of(observed, predicted, items);
            let (a, b, both) = (of(a), of(b), of(both));
            part(VariancePartition { unique_a: both - b, unique_b: both - a, shared: a + b - both })
        };
        // The same resamples for all three, so that the parts add up in each.
        bootstrap.interval(resampling, statistic, seed)
    };
    Ok(PartitionIntervals {
        n: observed.len(),
        r_squared,
        unique_a: interval(&|p| p.unique_a)?,
        unique_b: interval(&|p| p.unique_b)?,
        shared: interval(&|p| p.shared)?,
    })
}

fn check(observed: &[f64], predicted: &[f64]) -> Result<()> {
    Error::at_least("responses", 2, observed.len())?;
    if predicted.len() != observed.len() {
        return Err(Error::shape("predictions", observed.len(), predicted.len()));
    }
    Error::all_finite("responses", observed.iter().copied())?;
    Error::all_finite("predictions", predicted.iter().copied())?;
    if observed.iter().all(|v| *v == observed[0]) {
        return Err(Error::Constant { what: "response".into(), index: 0, statistic: "R^2".into() });
    }
    Ok(())
}

fn r_squared_of(observed: &[f64], predicted: &[f64], items: &[usize]) -> f64 {
    let mean = items.iter().map(|&i| observed[i]).sum::<f64>() / items.len() as f64;
    let total: f64 = items.iter().map(|&i| (observed[i] - mean).powi(2)).sum();
    let left: f64 = items.iter().map(|&i| (observed[i] - predicted[i]).powi(2)).sum();
    1.0 - left / total
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn by_hand() {
        // Total 5 about the mean 2.5; left over 1 + 1.
        let found = r_squared(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 3.0, 3.0]).unwrap();
        assert_relative_eq!(found.get(), 1.0 - 2.0 / 5.0);
        let r2 = |v| ExplainedVariance::new(v).unwrap();
        let parts = VariancePartition::new(r2(0.3), r2(-0.1), r2(0.25));
        assert_relative_eq!(parts.unique_a, 0.35);
        assert_relative_eq!(parts.unique_b, -0.05);
        assert_relative_eq!(parts.shared, -0.05, epsilon = 1e-12);
    }

    /// Two independent features: each unique part is its variance, nothing is shared.
    #[test]
    fn independent_features_share_nothing() {
        let a: Vec<f64> = (0..400).map(|i| f64::from(i % 2) * 2.0 - 1.0).collect();
        let b: Vec<f64> = (0..400).map(|i| f64::from(i / 2 % 2) * 2.0 - 1.0).collect();
        let noise = |i: usize| (i as f64 * 12.9898).sin();
        let observed: Vec<f64> = (0..400).map(|i| 2.0 * a[i] + b[i] + noise(i)).collect();
        let (of_a, of_b): (Vec<f64>, Vec<f64>) = (a.iter().map(|v| 2.0 * v).collect(), b.clone());
        let both: Vec<f64> = of_a.iter().zip(&of_b).map(|(a, b)| a + b).collect();
        let bootstrap = Bootstrap { replicates: 400, ..Bootstrap::default() };
        let found =
            partition(&bootstrap, &Resampling::items(400), &observed, [&of_a, &of_b, &both], Seed::new(1))
                .unwrap();
        assert_relative_eq!(found.unique_a.estimate, 4.0 / 5.5, epsilon = 0.02);
        assert_relative_eq!(found.unique_b.estimate, 1.0 / 5.5, epsilon = 0.02);
        assert!(found.shared.low < 0.0 && found.shared.high > 0.0);
        assert!(found.unique_b.low > 0.1);
        assert!(found.to_string().contains("(n = 400); unique to A 0.7"), "{found}");
        let too_far = Resampling::items(500);
        assert!(partition(&bootstrap, &too_far, &observed, [&of_a, &of_b, &both], Seed::new(1)).is_err());
    }

    #[test]
    fn refuses_nonsense() {
        assert!(r_squared(&[1.0, 1.0], &[1.0, 2.0]).is_err());
        assert!(r_squared(&[1.0, 2.0], &[1.0]).is_err());
        assert!(r_squared(&[1.0, 2.0], &[1.0, f64::INFINITY]).is_err());
    }
}
