use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    bootstrap::{Bootstrap, Resampling},
    permutation::{Tail, step_down_max_t},
};
use ndarray::Array2;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Result, score::mean};

/// Which subsets of neurons are looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurveConfig {
    /// Numbers of neurons, ascending; empty for about 20 of them, evenly spaced in the logarithm, the last being all.
    pub counts: Vec<usize>,
    /// Fractions of the score of all neurons that have to be reached.
    pub fractions: Vec<f64>,
    /// Random orders.
    pub draws: usize,
    /// Bootstrap replicates over images.
    pub replicates: usize,
    /// Coverage of the intervals and of the band of random orders.
    pub level: f64,
    /// What the score is without any neuron: 0 for a correlation, 0.5 for two-way identification. Fractions are
    /// of what exceeds it.
    pub chance: f64,
}

impl Default for CurveConfig {
    /// 50, 80 and 90 %, 200 random orders, 1,000 replicates, 95 %, a chance score of 0.
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            fractions: vec![0.5, 0.8, 0.9],
            draws: 200,
            replicates: 1000,
            level: 0.95,
            chance: 0.,
        }
    }
}

/// The score of the first k neurons of one order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderCurve {
    /// Score at each count.
    pub score: Vec<f64>,
    /// Lower end of the percentile bootstrap interval over images.
    pub low: Vec<f64>,
    /// Upper end.
    pub high: Vec<f64>,
    /// One-sided p of being no better than as many random neurons, corrected over counts by step-down maxT.
    pub p_better: Vec<f64>,
    /// The same of being no worse.
    pub p_worse: Vec<f64>,
    /// The smallest count that reaches each fraction.
    pub needed: Vec<usize>,
}

/// How many neurons a fraction of the score takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CountsNeeded {
    /// The fraction.
    pub fraction: f64,
    /// In the order of contribution.
    pub contribution: usize,
    /// Strongest first.
    pub strongest: usize,
    /// Weakest first.
    pub weakest: usize,
    /// Median of random orders.
    pub random: usize,
    /// Lower end of the band of random orders.
    pub random_low: usize,
    /// Upper end.
    pub random_high: usize,
}

/// Scores of subsets of neurons of equal size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubsetCurves {
    /// Neurons in all.
    pub neurons: usize,
    /// The counts looked at.
    pub counts: Vec<usize>,
    /// The score of all neurons.
    pub full: f64,
    /// The score of none, as configured.
    pub chance: f64,
    /// Largest contribution first.
    pub contribution: OrderCurve,
    /// Strongest response first.
    pub strongest: OrderCurve,
    /// Weakest response first.
    pub weakest: OrderCurve,
    /// Mean over random orders at each count.
    pub random: Vec<f64>,
    /// Lower end of the central band of random orders.
    pub random_low: Vec<f64>,
    /// Upper end.
    pub random_high: Vec<f64>,
    /// Random orders.
    pub draws: usize,
    /// Coverage of intervals and band.
    pub level: f64,
    /// Neurons needed for each fraction; empty where the score of all is not above chance.
    pub needed: Vec<CountsNeeded>,
}

impl fmt::Display for SubsetCurves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.needed.is_empty() {
            let (full, chance) = (self.full, self.chance);
            return write!(f, "all neurons score {full:.3}, which is not above {chance}: nothing to rebuild");
        }
        for (i, needed) in self.needed.iter().enumerate() {
            let join = if i == 0 { "" } else { "; " };
            write!(
                f,
                "{join}{:.0} % of a score of {:.3} take {} of {} neurons by contribution, {} strongest first, {} \
                 ({} to {}) at random, {} weakest first",
                needed.fraction * 100.,
                self.full,
                needed.contribution,
                self.neurons,
                needed.strongest,
                needed.random,
                needed.random_low,
                needed.random_high,
                needed.weakest
            )?;
        }
        Ok(())
    }
}

/// Scores of the first k neurons by contribution, by strength, at random and weakest first, at equal k.
///
/// `score` is given the neurons that are kept, ascending, and returns one value an image: reconstruction
/// ([`crate::alignment_scores`] against the image maps, or against the maps of all neurons), identification ([`crate::two_way_scores`],
/// [`crate::top_one_scores`]) or anything else. Contributions should come from other images than the score, or else
/// their order is better than it will be elsewhere. The null of an order are random orders.
///
/// Calls `score` (3 + draws) x counts times, on all threads; one call a thread is in memory, and a table of draws x
/// counts.
///
/// # Errors
/// What `score` returns; when lengths differ, a value is not finite, a count or fraction is impossible, or there are no draws.
pub fn subset_curves(
    contribution: &[f64],
    strength: &[f64],
    score: impl Fn(&[usize]) -> Result<Vec<f64>> + Sync,
    config: &CurveConfig,
    seed: Seed,
) -> Result<SubsetCurves> {
    let neurons = contribution.len();
    check(contribution, strength, config)?;
    let counts = if config.counts.is_empty() { spaced(neurons) } else { config.counts.clone() };
    let all: Vec<usize> = (0..neurons).collect();
    let full = mean(&score(&all)?);
    let scored = |order: &[usize], count: usize| {
        let mut kept = order[..count].to_vec();
        kept.sort_unstable();
        score(&kept)
    };
    let jobs: Vec<(usize, usize)> =
        (0..config.draws).flat_map(|draw| counts.iter().map(move |&count| (draw, count))).collect();
    let random: Vec<f64> = jobs
        .par_iter()
        .map(|&(draw, count)| {
            let mut order = all.clone();
            order.shuffle(&mut seed.index(draw).stream("random order"));
            Ok(mean(&scored(&order, count)?))
        })
        .collect::<Result<_>>()?;
    let random = Array2::from_shape_fn((config.draws, counts.len()), |(d, c)| random[d * counts.len() + c]);
    let targets: Vec<f64> =
        config.fractions.iter().map(|f| config.chance + f * (full - config.chance)).collect();
    let reach = |curve: &[f64]| -> Vec<usize> {
        let first = |target: &f64| curve.iter().position(|v| v >= target).map_or(neurons, |i| counts[i]);
        targets.iter().map(first).collect()
    };
    let curve = |order: &[usize]| -> Result<OrderCurve> {
        let values: Vec<Vec<f64>> =
            counts.par_iter().map(|&count| scored(order, count)).collect::<Result<_>>()?;
        let bootstrap = Bootstrap { replicates: config.replicates, level: config.level, bca: false };
        let (mut low, mut high) = (Vec::new(), Vec::new());
        for values in &values {
            let draw = |items: &[usize]| items.iter().map(|&i| values[i]).sum::<f64>() / items.len() as f64;
            // The same resamples at every count and for every order, so that curves can be compared.
            let interval =
                bootstrap.interval(&Resampling::items(values.len()), draw, seed.child("images"))?;
            low.push(interval.low);
            high.push(interval.high);
        }
        let score: Vec<f64> = values.iter().map(|v| mean(v)).collect();
        let (standard, null) = standardised(&score, &random);
        let p = |tail| step_down_max_t(&standard, null.view(), tail).map(|t| t.adjusted_p);
        let (p_better, p_worse) = (p(Tail::Greater)?, p(Tail::Less)?);
        let needed = reach(&score);
        Ok(OrderCurve { low, high, p_better, p_worse, needed, score })
    };
    let contribution = curve(&descending(contribution))?;
    let strongest_first = descending(strength);
    let strongest = curve(&strongest_first)?;
    let weakest_first: Vec<usize> = strongest_first.iter().rev().copied().collect();
    let weakest = curve(&weakest_first)?;
    let drawn: Vec<Vec<usize>> = random.outer_iter().map(|row| reach(&row.to_vec())).collect();
    let tail = (1. - config.level) / 2.;
    let needed = if full > config.chance {
        config
            .fractions
            .iter()
            .enumerate()
            .map(|(i, &fraction)| {
                let mut of: Vec<usize> = drawn.iter().map(|d| d[i]).collect();
                of.sort_unstable();
                let at = |q: f64| of[(q * (of.len() - 1) as f64).round() as usize];
                CountsNeeded {
                    fraction,
                    contribution: contribution.needed[i],
                    strongest: strongest.needed[i],
                    weakest: weakest.needed[i],
                    random: at(0.5),
                    random_low: at(tail),
                    random_high: at(1. - tail),
                }
            })
            .collect()
    } else {
        Vec::new()
    };
    let band = |q: f64| -> Vec<f64> {
        random
            .columns()
            .into_iter()
            .map(|column| {
                let mut sorted = column.to_vec();
                sorted.sort_unstable_by(f64::total_cmp);
                sorted[(q * (sorted.len() - 1) as f64).round() as usize]
            })
            .collect()
    };
    Ok(SubsetCurves {
        neurons,
        full,
        chance: config.chance,
        contribution,
        strongest,
        weakest,
        random: random.columns().into_iter().map(|c| mean(&c.to_vec())).collect(),
        random_low: band(tail),
        random_high: band(1. - tail),
        draws: config.draws,
        level: config.level,
        needed,
        counts,
    })
}

fn check(contribution: &[f64], strength: &[f64], config: &CurveConfig) -> Result<()> {
    let neurons = contribution.len();
    if neurons < 2 || strength.len() != neurons {
        return Err(CoreError::shape("strength of neurons", neurons.max(2), strength.len()).into());
    }
    if contribution.iter().chain(strength).any(|v| !v.is_finite()) {
        return Err(CoreError::value("contribution or strength", "finite", "NaN or infinity").into());
    }
    if let Some(count) = config.counts.iter().find(|c| **c > neurons) {
        return Err(CoreError::value("number of neurons kept", format!("at most {neurons}"), count).into());
    }
    if !config.counts.is_sorted() {
        return Err(CoreError::value("numbers of neurons kept", "ascending", "another order").into());
    }
    if let Some(fraction) = config.fractions.iter().find(|f| !(**f > 0. && **f <= 1.)) {
        return Err(CoreError::value("fraction", "above 0 and at most 1", fraction).into());
    }
    if config.draws == 0 {
        return Err(CoreError::value("random orders", "at least 1", 0).into());
    }
    Ok(())
}

/// Score and random scores of each count in standard deviations over both from their mean: few neurons vary more than many,
/// and a maximum over counts would hear of nothing else. 0 where all are equal, as with all neurons.
pub(crate) fn standardised(score: &[f64], random: &Array2<f64>) -> (Vec<f64>, Array2<f64>) {
    let mut standard = score.to_vec();
    let mut null = random.clone();
    for (value, mut column) in standard.iter_mut().zip(null.columns_mut()) {
        let all: Vec<f64> = column.iter().copied().chain([*value]).collect();
        let middle = mean(&all);
        let size = mean(&all.iter().map(|v| (v - middle).powi(2)).collect::<Vec<_>>()).sqrt();
        let scale = if size > 1e-9 * middle.abs() { 1. / size } else { 0. };
        *value = (*value - middle) * scale;
        column.mapv_inplace(|v| (v - middle) * scale);
    }
    (standard, null)
}

/// Indices by falling value; ties in the order of the indices.
pub(super) fn descending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order
}

/// About 20 counts from 1 to all.
fn spaced(neurons: usize) -> Vec<usize> {
    let mut counts: Vec<usize> =
        (0..20).map(|i| (neurons as f64).powf(f64::from(i) / 19.).round() as usize).collect();
    counts.dedup();
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::on_one_and_two_threads;

    /// The score of an image is the sum of what is kept, of values 0 to 9 over 45.
    fn additive(kept: &[usize]) -> Result<Vec<f64>> {
        let sum = kept.iter().sum::<usize>() as f64 / 45.;
        Ok((0..6).map(|i| sum * (0.9 + 0.04 * f64::from(i))).collect())
    }

    #[test]
    fn counts_by_hand() {
        let contribution: Vec<f64> = (0..10).map(f64::from).collect();
        // Strength has nothing to do with it: odd ones first.
        let strength: Vec<f64> = (0..10).map(|n| f64::from(n % 2) * 100. - f64::from(n)).collect();
        let config = CurveConfig { counts: (1..=10).collect(), ..Default::default() };
        let [one, two] = on_one_and_two_threads(|| {
            subset_curves(&contribution, &strength, additive, &config, Seed::new(1)).unwrap()
        });
        assert_eq!(one, two);
        assert!((one.full - 1.).abs() < 1e-9);
        // 9 + 8 + 7 = 24 of 45; with 6, 5, 4 it is 39 (0.867), with 3 it is 42 (0.93).
        assert_eq!(one.contribution.needed, [3, 6, 7]);
        let half = one.needed[0];
        assert!(half.random > 3 && half.random_low >= 3 && half.weakest >= half.random, "{half:?}");
        assert!(one.contribution.p_better[2] < 0.05 && one.contribution.p_worse[2] > 0.5);
        assert!((one.random[4] - 0.5).abs() < 0.03);
        assert!(one.contribution.low[2] < one.contribution.score[2]);
    }

    #[test]
    fn nothing_above_chance_is_said_so() {
        let config = CurveConfig { chance: 0.5, draws: 20, ..Default::default() };
        let flat = |_: &[usize]| Ok(vec![0.5; 8]);
        let found = subset_curves(&[1., 2., 3.], &[1., 2., 3.], flat, &config, Seed::new(1)).unwrap();
        assert!(found.needed.is_empty() && found.to_string().contains("not above"));
        assert!(found.contribution.p_better.iter().all(|p| *p == 1.));
        let bad = CurveConfig { counts: vec![4], ..config };
        assert!(subset_curves(&[1., 2., 3.], &[1., 2., 3.], flat, &bad, Seed::new(1)).is_err());
    }
}
