use std::fmt;

use dina_core::{Error as CoreError, Seed};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{InteractionConfig, additivity::tested};
use crate::{Result, neurons::differences, score::mean};

/// How many permutations are sampled, and how they are tested.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShapleyConfig {
    /// Random orders of the players, for each pair.
    pub orders: usize,
    /// The tests over images.
    pub test: InteractionConfig,
}

impl Default for ShapleyConfig {
    /// 64 orders.
    fn default() -> Self {
        Self { orders: 64, test: InteractionConfig::default() }
    }
}

/// The Shapley interaction index of two players.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShapleyInteraction {
    /// The two groups.
    pub pair: [usize; 2],
    /// The index. Positive: they are worth more together than apart (synergy). Negative: redundancy.
    pub estimate: f64,
    /// Standard error of the sampling of orders.
    pub standard_error: f64,
    /// Lower end of the percentile bootstrap interval over images.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p, by sign flips of images, corrected over pairs by step-down maxT.
    pub p_adjusted: f64,
}

impl fmt::Display for ShapleyInteraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [i, j] = self.pair;
        let what = match (self.p_adjusted <= 0.05, self.estimate > 0.) {
            (false, _) => "no evidence of interaction",
            (true, true) => "synergy",
            (true, false) => "redundancy",
        };
        write!(
            f,
            "{what} of {i} and {j}: Shapley interaction index {:.4} (sampling error {:.4}, interval {:.4} to {:.4}), adjusted \
             p = {:.4}",
            self.estimate, self.standard_error, self.low, self.high, self.p_adjusted
        )
    }
}

/// The Shapley interaction index of pairs of groups of neurons, by sampling.
///
/// I_ij = sum over S without i and j of (n - s - 2)! s! / (n - 1)! [v(S + i + j) - v(S + i) - v(S + j) + v(S)], with n players and s of
/// them in S (Grabisch and Roubens 1999): the mean of the bracket over random orders in which i and j are one player and S comes
/// before it. Unlike ablation it asks in every company, and not only in that of all others. Neurons that are in
/// no group are kept throughout.
///
/// - `score` is v: given the neurons that are kept, ascending, one value an image.
///
/// Every order is used forwards and backwards, which reduces the error where v is monotone; the standard error is over such pairs of
/// orders. Calls `score` 8 x ceil(orders / 2) times a pair.
///
/// # Errors
/// As [`super::group_interactions`]; for fewer than three orders.
pub fn shapley_interactions(
    neurons: usize,
    groups: &[Vec<usize>],
    pairs: &[[usize; 2]],
    score: impl Fn(&[usize]) -> Result<Vec<f64>> + Sync,
    config: &ShapleyConfig,
    seed: Seed,
) -> Result<Vec<ShapleyInteraction>> {
    if config.orders < 3 {
        return Err(CoreError::value("orders", "at least 3", config.orders).into());
    }
    super::additivity::check(neurons, groups, &pairs.iter().map(|p| p.to_vec()).collect::<Vec<_>>())?;
    let fixed: Vec<usize> = (0..neurons).filter(|n| !groups.iter().any(|g| g.contains(n))).collect();
    let value = |players: &[usize]| {
        let mut kept = fixed.clone();
        kept.extend(players.iter().flat_map(|&p| groups[p].iter().copied()));
        kept.sort_unstable();
        kept.dedup();
        score(&kept)
    };
    let bracket = |others: &[usize], [i, j]: [usize; 2]| -> Result<Vec<f64>> {
        let with = |extra: &[usize]| value(&[others, extra].concat());
        let both = differences(&with(&[i, j])?, &with(&[i])?)?;
        differences(&both, &differences(&with(&[j])?, &with(&[])?)?)
    };
    let twins = config.orders.div_ceil(2);
    let sampled: Vec<(Vec<f64>, f64)> = pairs
        .iter()
        .enumerate()
        .map(|(index, &pair)| {
            let seed = seed.child("orders").index(index);
            let samples: Vec<Vec<f64>> = (0..twins)
                .into_par_iter()
                .map(|order| {
                    // The merged player is the last index.
                    let mut others: Vec<usize> = (0..groups.len()).filter(|p| !pair.contains(p)).collect();
                    let merged = groups.len();
                    others.push(merged);
                    others.shuffle(&mut seed.index(order).stream("players"));
                    let place = others.iter().position(|&p| p == merged).unwrap_or(0);
                    let forwards = bracket(&others[..place], pair)?;
                    let backwards = bracket(&others[place + 1..], pair)?;
                    if forwards.len() != backwards.len() {
                        return differences(&forwards, &backwards);
                    }
                    Ok(forwards.iter().zip(&backwards).map(|(a, b)| (a + b) / 2.).collect())
                })
                .collect::<Result<_>>()?;
            Ok(averaged(&samples))
        })
        .collect::<Result<_>>()?;
    let by_image: Vec<Vec<f64>> = sampled.iter().map(|(values, _)| values.clone()).collect();
    let found = tested(&by_image, &config.test, seed.child("images"))?;
    Ok(pairs
        .iter()
        .zip(found.iter().zip(&sampled))
        .map(|(&pair, (t, (_, standard_error)))| ShapleyInteraction {
            pair,
            estimate: t.estimate,
            standard_error: *standard_error,
            low: t.low,
            high: t.high,
            p_adjusted: t.p_adjusted,
        })
        .collect())
}

/// The mean over samples of each image, without what is rounding, and the standard error of the overall mean.
fn averaged(samples: &[Vec<f64>]) -> (Vec<f64>, f64) {
    let count = samples.len() as f64;
    let mut values = vec![0.; samples[0].len()];
    for sample in samples {
        values.iter_mut().zip(sample).for_each(|(v, s)| *v += s / count);
    }
    values.iter_mut().filter(|v| v.abs() < 1e-9).for_each(|v| *v = 0.);
    let means: Vec<f64> = samples.iter().map(|s| mean(s)).collect();
    let middle = mean(&means);
    let squares: f64 = means.iter().map(|m| (m - middle).powi(2)).sum();
    (values, (squares / (count * (count - 1.))).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{normals, on_one_and_two_threads};

    /// v = x0 x1 + x2 x3 x4 and two additive players. The index of 0 and 1 is 1, of 2 and 3 a half (4 is there in half of the
    /// orders), of 5 and 6 nothing.
    fn score(kept: &[usize]) -> Result<Vec<f64>> {
        let on = |n: usize| f64::from(u8::from(kept.contains(&n)));
        let v = on(0) * on(1) + on(2) * on(3) * on(4) + on(5) + on(6);
        Ok(normals("images", 40).iter().map(|e| v * (1. + 0.3 * e)).collect())
    }

    #[test]
    fn the_index_of_products() {
        let groups: Vec<Vec<usize>> = (0..7).map(|n| vec![n]).collect();
        let config =
            ShapleyConfig { orders: 60, test: InteractionConfig { permutations: 300, ..Default::default() } };
        let pairs = [[0, 1], [2, 3], [5, 6]];
        let [one, two] = on_one_and_two_threads(|| {
            shapley_interactions(7, &groups, &pairs, score, &config, Seed::new(1)).unwrap()
        });
        assert_eq!(one, two);
        let gain = 1. + 0.3 * mean(&normals("images", 40));
        assert!((one[0].estimate - gain).abs() < 1e-9 && one[0].standard_error < 1e-9, "{}", one[0]);
        let [_, half, none] = &one[..] else { panic!() };
        // Forwards or backwards, 4 is there exactly once.
        assert!((half.estimate - gain / 2.).abs() < 1e-6, "{half}");
        assert!(one[0].p_adjusted < 0.01 && half.p_adjusted < 0.01);
        assert!(none.estimate == 0. && none.p_adjusted == 1.);
        assert!(none.to_string().starts_with("no evidence"));
    }
}
