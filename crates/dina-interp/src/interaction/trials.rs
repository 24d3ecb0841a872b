use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    bootstrap::{Bootstrap, Interval, Resampling},
    permutation::{Tail, p_value},
};
use ndarray::{Array2, ArrayView2};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    score::{check_responses, mean},
};

/// How trials of a stimulus are exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialShuffle {
    /// All neurons together: what neurons share in a trial stays; only the order of trials changes.
    Preserving,
    /// Each neuron on its own: means, variances and every neuron's own distribution stay; correlations within
    /// a stimulus (noise correlations) go.
    Destroying,
}

/// Exchanges trials of equal stimuli.
///
/// - `responses`: trials x neurons; `stimulus`: the stimulus of each trial.
///
/// # Errors
/// When lengths differ, values are not finite, or no stimulus has two trials, so that there is nothing to exchange.
pub fn shuffle_trials(
    responses: ArrayView2<'_, f32>,
    stimulus: &[usize],
    shuffle: TrialShuffle,
    seed: Seed,
) -> Result<Array2<f32>> {
    check_responses(responses, stimulus.len())?;
    let groups = groups(stimulus)?;
    let mut shuffled = responses.to_owned();
    match shuffle {
        TrialShuffle::Preserving => {
            let order = order(stimulus.len(), &groups, seed);
            for (mut to, from) in shuffled.outer_iter_mut().zip(order) {
                to.assign(&responses.row(from));
            }
        }
        TrialShuffle::Destroying => {
            for neuron in 0..responses.ncols() {
                let order = order(stimulus.len(), &groups, seed.index(neuron));
                for (to, from) in order.into_iter().enumerate() {
                    shuffled[[to, neuron]] = responses[[from, neuron]];
                }
            }
        }
    }
    Ok(shuffled)
}

/// Trials of each stimulus.
pub(super) fn groups(stimulus: &[usize]) -> Result<Vec<Vec<usize>>> {
    let mut order: Vec<usize> = (0..stimulus.len()).collect();
    order.sort_by_key(|&t| stimulus[t]);
    let groups: Vec<Vec<usize>> =
        order.chunk_by(|&a, &b| stimulus[a] == stimulus[b]).map(<[usize]>::to_vec).collect();
    if groups.iter().all(|g| g.len() < 2) {
        return Err(CoreError::value("trials of a stimulus", "at least 2, of some stimulus", 1).into());
    }
    Ok(groups)
}

fn order(trials: usize, groups: &[Vec<usize>], seed: Seed) -> Vec<usize> {
    let mut stream = seed.stream("trials");
    let mut order: Vec<usize> = (0..trials).collect();
    for group in groups {
        let mut dealt = group.clone();
        dealt.shuffle(&mut stream);
        group.iter().zip(dealt).for_each(|(&to, from)| order[to] = from);
    }
    order
}

/// How the effect of noise correlations is tested.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NoiseConfig {
    /// Shuffles of each kind.
    pub shuffles: usize,
    /// Bootstrap replicates over stimuli.
    pub replicates: usize,
    /// Coverage of the interval.
    pub level: f64,
}

impl Default for NoiseConfig {
    /// 200 shuffles, 1,000 replicates, 95 %.
    fn default() -> Self {
        Self { shuffles: 200, replicates: 1000, level: 0.95 }
    }
}

/// What noise correlations do for a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseCorrelationEffect {
    /// The score of the trials as they were.
    pub intact: f64,
    /// Mean score over shuffles that keep noise correlations; differs from `intact` only where the score depends on the
    /// order of trials.
    pub preserved: f64,
    /// Mean score over shuffles that destroy them.
    pub destroyed: f64,
    /// Lower end of the central range of those: the null.
    pub destroyed_low: f64,
    /// Upper end.
    pub destroyed_high: f64,
    /// Preserved less destroyed, with an interval over stimuli: positive where noise correlations help.
    pub effect: Interval,
    /// Two-sided p by doubling, of the intact trials among shuffles that destroy.
    pub p: f64,
    /// Shuffles of each kind.
    pub shuffles: usize,
}

impl fmt::Display for NoiseCorrelationEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.p <= 0.05, self.effect.estimate > 0.) {
            (false, _) => "no evidence that noise correlations matter",
            (true, true) => "noise correlations help",
            (true, false) => "noise correlations hurt",
        };
        write!(
            f,
            "{verdict}: score {:.4} with and {:.4} without them (null {:.4} to {:.4}; difference {:.4}, interval {:.4} to {:.4}), p \
             = {:.4}, {} shuffles",
            self.intact,
            self.destroyed,
            self.destroyed_low,
            self.destroyed_high,
            self.effect.estimate,
            self.effect.low,
            self.effect.high,
            self.p,
            self.shuffles
        )
    }
}

/// Scores trials as they are, with noise correlations kept and with noise correlations destroyed.
///
/// - `responses`: trials x neurons; `stimulus`: the stimulus of each trial, of which some have at least two.
/// - `score`: one value a trial; a score that averages trials before anything nonlinear cannot see noise correlations.
///
/// If neurons vary independently given the stimulus, the trials as they were are one more of the destroying shuffles, and
/// p is valid. With R trials of a stimulus an independent shuffle leaves two neurons paired in 1/R of the trials, so that this
/// share of the effect stays in `destroyed`: the difference is (R - 1)/R of it. The interval is over stimuli, since trials of one are not independent.
///
/// Calls `score` 1 + 2 x shuffles times in parallel; memory: one copy of the responses a thread, and 3 values a trial.
///
/// # Errors
/// As [`shuffle_trials`]; what `score` returns; where it returns another number than that of trials; for no shuffles.
pub fn noise_correlation_effect(
    responses: ArrayView2<'_, f32>,
    stimulus: &[usize],
    score: impl Fn(ArrayView2<'_, f32>) -> Result<Vec<f64>> + Sync,
    config: &NoiseConfig,
    seed: Seed,
) -> Result<NoiseCorrelationEffect> {
    if config.shuffles == 0 {
        return Err(CoreError::value("shuffles", "at least 1", 0).into());
    }
    let checked = |responses: ArrayView2<'_, f32>| {
        let scores = score(responses)?;
        if scores.len() != stimulus.len() {
            return Err(CoreError::shape("scores of trials", stimulus.len(), scores.len()).into());
        }
        crate::Result::Ok(scores)
    };
    check_responses(responses, stimulus.len())?;
    let intact = mean(&checked(responses)?);
    // Sums over shuffles in blocks of fixed size, added in order.
    let run = |shuffle: TrialShuffle, seed: Seed| -> Result<(Vec<f64>, Vec<f64>)> {
        let (mut means, mut by_trial) = (Vec::new(), vec![0.; stimulus.len()]);
        for start in (0..config.shuffles).step_by(16) {
            let block: Vec<Vec<f64>> = (start..config.shuffles.min(start + 16))
                .into_par_iter()
                .map(|s| checked(shuffle_trials(responses, stimulus, shuffle, seed.index(s))?.view()))
                .collect::<Result<_>>()?;
            for scores in block {
                means.push(mean(&scores));
                let share = config.shuffles as f64;
                by_trial.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score / share);
            }
        }
        Ok((means, by_trial))
    };
    let (preserved, kept) = run(TrialShuffle::Preserving, seed.child("preserving"))?;
    let (mut destroyed, lost) = run(TrialShuffle::Destroying, seed.child("destroying"))?;
    let p = p_value(intact, &destroyed, Tail::TwoSidedDoubled, false)?;
    let difference: Vec<f64> = kept.iter().zip(&lost).map(|(k, l)| k - l).collect();
    let bootstrap = Bootstrap { replicates: config.replicates, level: config.level, bca: false };
    let effect = bootstrap.interval(
        &Resampling::groups(stimulus),
        |items| items.iter().map(|&t| difference[t]).sum::<f64>() / items.len() as f64,
        seed.child("bootstrap"),
    )?;
    let without = mean(&destroyed);
    destroyed.sort_unstable_by(f64::total_cmp);
    let at = |q: f64| destroyed[(q * (destroyed.len() - 1) as f64).round() as usize];
    let tail = (1. - config.level) / 2.;
    Ok(NoiseCorrelationEffect {
        intact,
        preserved: mean(&preserved),
        destroyed: without,
        destroyed_low: at(tail),
        destroyed_high: at(1. - tail),
        effect,
        p,
        shuffles: config.shuffles,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{noise2, on_one_and_two_threads};

    fn trials() -> (Array2<f32>, Vec<usize>) {
        let stimulus: Vec<usize> = (0..120).map(|t| t % 20).collect();
        let mut responses = noise2("trials", [120, 4]);
        for mut row in responses.outer_iter_mut() {
            // 0 and 1 share their noise.
            row[1] = 0.8 * row[0] + 0.6 * row[1];
        }
        (responses, stimulus)
    }

    /// The product of two neurons in each trial.
    fn product(a: usize, b: usize) -> impl Fn(ArrayView2<'_, f32>) -> Result<Vec<f64>> + Sync {
        move |r| Ok(r.outer_iter().map(|r| f64::from(r[a] * r[b])).collect())
    }

    #[test]
    fn a_score_of_products_sees_noise_correlations() {
        let (responses, stimulus) = trials();
        let config = NoiseConfig { shuffles: 99, replicates: 300, ..Default::default() };
        let run = |a, b| {
            noise_correlation_effect(responses.view(), &stimulus, product(a, b), &config, Seed::new(1))
                .unwrap()
        };
        let [one, two] = on_one_and_two_threads(|| run(0, 1));
        assert_eq!(one, two);
        assert!(one.p < 0.03 && one.effect.low > 0.4 && one.destroyed.abs() < 0.3, "{one}");
        assert!((one.preserved - one.intact).abs() < 1e-9);
        let none = run(2, 3);
        assert!(none.p > 0.05 && none.effect.low < 0. && none.effect.high > 0., "{none}");
        assert!(none.to_string().starts_with("no evidence"));
    }

    #[test]
    fn shuffles_keep_what_they_promise() {
        let (responses, stimulus) = trials();
        for kind in [TrialShuffle::Preserving, TrialShuffle::Destroying] {
            let shuffled = shuffle_trials(responses.view(), &stimulus, kind, Seed::new(1)).unwrap();
            assert_ne!(shuffled, responses);
            for s in 0..20 {
                for n in 0..4 {
                    let of = |r: &Array2<f32>| {
                        let mut v: Vec<f32> =
                            (0..120).filter(|&t| stimulus[t] == s).map(|t| r[[t, n]]).collect();
                        v.sort_by(f32::total_cmp);
                        v
                    };
                    assert_eq!(of(&shuffled), of(&responses));
                }
            }
            let rows = shuffled.outer_iter().all(|row| responses.outer_iter().any(|other| other == row));
            assert_eq!(rows, kind == TrialShuffle::Preserving);
        }
        let single: Vec<usize> = (0..120).collect();
        assert!(shuffle_trials(responses.view(), &single, TrialShuffle::Preserving, Seed::new(1)).is_err());
    }
}
