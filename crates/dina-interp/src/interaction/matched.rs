use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::linalg::matmul;
use ndarray::{Array2, ArrayView2};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{InteractionConfig, additivity::tested};
use crate::{
    Result,
    neurons::differences,
    score::{check_responses, mean},
};

/// Correlations of neurons over trials once the mean over the trials of each stimulus is taken off, neurons x neurons;
/// 0 for neurons that do not vary within stimuli. Stimuli with a single trial tell nothing and are left out.
///
/// - `responses`: trials x neurons; `stimulus`: the stimulus of each trial.
///
/// # Errors
/// When lengths differ, values are not finite, or no stimulus has two trials.
pub fn noise_correlations(responses: ArrayView2<'_, f32>, stimulus: &[usize]) -> Result<Array2<f32>> {
    check_responses(responses, stimulus.len())?;
    let groups: Vec<Vec<usize>> =
        super::trials::groups(stimulus)?.into_iter().filter(|g| g.len() > 1).collect();
    let trials: usize = groups.iter().map(Vec::len).sum();
    let mut noise = Array2::<f32>::zeros((trials, responses.ncols()));
    let mut row = 0;
    for group in &groups {
        let mut centre = vec![0.; responses.ncols()];
        for &t in group {
            let share = group.len() as f64;
            centre.iter_mut().zip(responses.row(t)).for_each(|(c, &v)| *c += f64::from(v) / share);
        }
        for &t in group {
            let pairs = responses.row(t).into_iter().zip(&centre);
            noise
                .row_mut(row)
                .iter_mut()
                .zip(pairs)
                .for_each(|(to, (&v, c))| *to = (f64::from(v) - c) as f32);
            row += 1;
        }
    }
    for mut column in noise.columns_mut() {
        let length = column.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        if length > 0. {
            column.mapv_inplace(|v| (f64::from(v) / length) as f32);
        }
    }
    Ok(matmul(noise.t(), noise.view())?)
}

/// Which sets are compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MatchedConfig {
    /// Neurons of a set.
    pub size: usize,
    /// Pairs of sets.
    pub draws: usize,
    /// Of how many neurons nearest in what is matched the least correlated one is taken.
    pub nearest: usize,
    /// The tests over images.
    pub test: InteractionConfig,
}

impl MatchedConfig {
    /// 50 pairs of sets, the least correlated of the 5 nearest.
    pub fn new(size: usize) -> Self {
        Self { size, draws: 50, nearest: 5, test: InteractionConfig::default() }
    }
}

/// Correlated sets of neurons against independent ones of equal size that are as good one by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatchedSubsets {
    /// Neurons of a set.
    pub size: usize,
    /// Pairs of sets.
    pub draws: usize,
    /// Mean absolute correlation within correlated sets.
    pub correlation: f64,
    /// The same within independent sets.
    pub independent_correlation: f64,
    /// Mean of what was matched, in correlated sets.
    pub matched: f64,
    /// The same in independent sets: compare.
    pub independent_matched: f64,
    /// Mean score of correlated sets.
    pub correlated: f64,
    /// Mean score of independent sets.
    pub independent: f64,
    /// Correlated less independent.
    pub difference: f64,
    /// Lower end of the percentile bootstrap interval over images.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p by sign flips of images.
    pub p: f64,
}

impl fmt::Display for MatchedSubsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.p <= 0.05, self.difference > 0.) {
            (false, _) => "no evidence that correlated neurons differ from independent ones",
            (true, true) => "correlated neurons are worth more than independent ones",
            (true, false) => "correlated neurons are worth less than independent ones",
        };
        write!(
            f,
            "{verdict}: sets of {} score {:.4} and {:.4} (difference {:.4}, interval {:.4} to {:.4}, p = {:.4}); mean correlation \
             {:.3} and {:.3}, matched at {:.4} and {:.4}, {} pairs of sets",
            self.size,
            self.correlated,
            self.independent,
            self.difference,
            self.low,
            self.high,
            self.p,
            self.correlation,
            self.independent_correlation,
            self.matched,
            self.independent_matched,
            self.draws
        )
    }
}

/// Compares correlated with independent sets of neurons of equal size, matched for a property such as the single
/// contribution.
///
/// A correlated set starts at a random neuron and takes, one after the other, the neuron with the largest mean absolute correlation with
/// those it has. For each of its neurons the independent set takes, of the nearest unused ones in the matched
/// property, the one that is least correlated with those it has. Scores are averaged over pairs of sets, image by
/// image; interval and sign flips are over images.
///
/// - `correlation`: neurons x neurons, such as [`noise_correlations`]; `matched`: one value a neuron.
/// - `score`: given the neurons that are kept, ascending, one value an image.
///
/// # Errors
/// When lengths differ, values are not finite, there are fewer than twice `size` neurons, `size` is below 2, or there are no
/// draws; what `score` returns.
pub fn matched_subsets(
    correlation: ArrayView2<'_, f32>,
    matched: &[f64],
    score: impl Fn(&[usize]) -> Result<Vec<f64>> + Sync,
    config: &MatchedConfig,
    seed: Seed,
) -> Result<MatchedSubsets> {
    let neurons = matched.len();
    if correlation.dim() != (neurons, neurons) {
        return Err(CoreError::shape("correlations", [neurons, neurons], correlation.shape()).into());
    }
    if config.size < 2 || neurons < 2 * config.size || config.draws == 0 || config.nearest == 0 {
        let expected =
            format!("a size of 2 to {}, and at least one draw and one nearest neuron", neurons / 2);
        return Err(CoreError::value("configuration of sets", expected, format!("{config:?}")).into());
    }
    crate::score::check_finite("correlations", correlation)?;
    if matched.iter().any(|v| !v.is_finite()) {
        return Err(CoreError::value("matched property", "finite", "NaN or infinity").into());
    }
    let sets: Vec<[Vec<usize>; 2]> = (0..config.draws)
        .into_par_iter()
        .map(|d| draw(correlation, matched, config, seed.child("sets").index(d)))
        .collect();
    let scores: Vec<[Vec<f64>; 2]> =
        sets.par_iter().map(|[first, second]| Ok([score(first)?, score(second)?])).collect::<Result<_>>()?;
    let mut by_image = vec![0.; scores[0][0].len()];
    for [first, second] in &scores {
        let difference = differences(first, second)?;
        if difference.len() != by_image.len() {
            return Err(CoreError::shape("scores of images", by_image.len(), difference.len()).into());
        }
        by_image.iter_mut().zip(difference).for_each(|(sum, d)| *sum += d / config.draws as f64);
    }
    let found = tested(std::slice::from_ref(&by_image), &config.test, seed.child("test"))?;
    let over = |of: &dyn Fn(usize) -> f64| mean(&(0..config.draws).map(of).collect::<Vec<_>>());
    let inside = |set: &[usize]| {
        let pairs = set.iter().enumerate().flat_map(|(i, &n)| set[..i].iter().map(move |&m| (n, m)));
        mean(&pairs.map(|(n, m)| f64::from(correlation[[n, m]].abs())).collect::<Vec<_>>())
    };
    let value = |set: &[usize]| mean(&set.iter().map(|&n| matched[n]).collect::<Vec<_>>());
    Ok(MatchedSubsets {
        size: config.size,
        draws: config.draws,
        correlation: over(&|d| inside(&sets[d][0])),
        independent_correlation: over(&|d| inside(&sets[d][1])),
        matched: over(&|d| value(&sets[d][0])),
        independent_matched: over(&|d| value(&sets[d][1])),
        correlated: over(&|d| mean(&scores[d][0])),
        independent: over(&|d| mean(&scores[d][1])),
        difference: found[0].estimate,
        low: found[0].low,
        high: found[0].high,
        p: found[0].p_adjusted,
    })
}

/// A correlated set and its independent match, both ascending.
fn draw(
    correlation: ArrayView2<'_, f32>,
    matched: &[f64],
    config: &MatchedConfig,
    seed: Seed,
) -> [Vec<usize>; 2] {
    let neurons = matched.len();
    let mut used = vec![false; neurons];
    let mut first = vec![seed.stream("first neuron").random_range(0..neurons)];
    used[first[0]] = true;
    let mut together = vec![0.; neurons];
    let add = |together: &mut [f32], neuron: usize| {
        together.iter_mut().zip(correlation.row(neuron)).for_each(|(t, r)| *t += r.abs());
    };
    add(&mut together, first[0]);
    while first.len() < config.size {
        let free = (0..neurons).filter(|&n| !used[n]);
        let Some(next) = free.max_by(|&a, &b| together[a].total_cmp(&together[b]).then(b.cmp(&a))) else {
            break;
        };
        used[next] = true;
        add(&mut together, next);
        first.push(next);
    }
    let mut second: Vec<usize> = Vec::new();
    together.fill(0.);
    for &neuron in &first {
        let mut near: Vec<usize> = (0..neurons).filter(|&n| !used[n]).collect();
        let distance = |n: usize| (matched[n] - matched[neuron]).abs();
        near.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
        near.truncate(config.nearest);
        let Some(&next) = near.iter().min_by(|&&a, &&b| together[a].total_cmp(&together[b])) else { break };
        used[next] = true;
        add(&mut together, next);
        second.push(next);
    }
    first.sort_unstable();
    second.sort_unstable();
    [first, second]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{noise2, normals, on_one_and_two_threads};

    /// 40 neurons in groups of 4 with a common noise. A set is worth how well its mean finds the signal of each image.
    #[test]
    fn neurons_that_share_noise_are_worth_less() {
        let (signal, common, own) =
            (normals("signal", 100), noise2("common", [100, 10]), noise2("own", [100, 40]));
        let responses = |share: f32| {
            Array2::from_shape_fn((100, 40), |(i, n)| {
                signal[i] as f32 + share.sqrt() * common[[i, n / 4]] + (1. - share).sqrt() * own[[i, n]]
            })
        };
        let run = |share: f32| {
            let responses = responses(share);
            // The signal is known, so one trial a stimulus will do.
            let noise = Array2::from_shape_fn((100, 40), |(i, n)| responses[[i, n]] - signal[i] as f32);
            let correlation = noise_correlations(noise.view(), &[0; 100]).unwrap();
            let score = |kept: &[usize]| -> Result<Vec<f64>> {
                Ok((0..100)
                    .map(|i| {
                        let read = kept.iter().map(|&n| f64::from(responses[[i, n]])).sum::<f64>()
                            / kept.len() as f64;
                        -(read - signal[i]).powi(2)
                    })
                    .collect())
            };
            let single: Vec<f64> = (0..40).map(|n| crate::score::mean(&score(&[n]).unwrap())).collect();
            matched_subsets(correlation.view(), &single, score, &MatchedConfig::new(4), Seed::new(1)).unwrap()
        };
        let [one, two] = on_one_and_two_threads(|| run(0.8));
        assert_eq!(one, two);
        assert!(one.p < 0.01 && one.high < 0. && one.correlation > 0.6, "{one}");
        // A variance of 1 that does not average out: 0.8 + 0.2 / 4 against 1 / 4.
        assert!((one.difference + 0.6).abs() < 0.25, "{one}");
        assert!((one.matched - one.independent_matched).abs() < 0.2, "{one}");
    }

    #[test]
    fn impossible_sets_are_refused() {
        let correlation = Array2::eye(6);
        let run = |size| {
            let score = |_: &[usize]| Ok(vec![1.; 5]);
            matched_subsets(correlation.view(), &[1.; 6], score, &MatchedConfig::new(size), Seed::new(1))
                .is_err()
        };
        assert!(run(1) && run(4) && !run(3));
        assert!(noise_correlations(correlation.view(), &[0, 1, 2, 3, 4, 5]).is_err());
    }
}
