use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{bootstrap, linalg::matmul, permutation::Tail};
use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::kept;
use crate::{
    Result,
    neurons::{differences, resample_counts, sign_flipped},
    score::mean,
};

/// How interactions are tested.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct InteractionConfig {
    /// Random sign flips of the images.
    pub permutations: usize,
    /// Bootstrap replicates over images.
    pub replicates: usize,
    /// Coverage of the intervals.
    pub level: f64,
}

impl Default for InteractionConfig {
    /// 1,000 sign flips, 1,000 replicates, 95 %.
    fn default() -> Self {
        Self { permutations: 1000, replicates: 1000, level: 0.95 }
    }
}

/// The interaction of one set of groups of neurons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupInteraction {
    /// Which of the groups.
    pub groups: Vec<usize>,
    /// What silencing all of them takes from the score, less the sum of what silencing each takes. Negative: they only work
    /// together, so that the loss of one is the loss of all (synergy). Positive: each stands in for the others
    /// (redundancy). 0: additive.
    pub estimate: f64,
    /// Lower end of the percentile bootstrap interval over images.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p, by sign flips of images, corrected over all sets by step-down maxT.
    pub p_adjusted: f64,
}

/// Interactions beyond additivity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interactions {
    /// The score with nothing silenced.
    pub full: f64,
    /// What silencing each group alone takes.
    pub single: Vec<f64>,
    /// One entry a set.
    pub sets: Vec<GroupInteraction>,
    /// Images.
    pub images: usize,
    /// Coverage of the intervals.
    pub level: f64,
}

impl Interactions {
    /// Sets whose adjusted p is at most `alpha`.
    pub fn significant(&self, alpha: f64) -> Vec<usize> {
        (0..self.sets.len()).filter(|&i| self.sets[i].p_adjusted <= alpha).collect()
    }
}

impl fmt::Display for Interactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.significant(0.05);
        let of = self.sets.len();
        if found.is_empty() {
            write!(f, "no evidence of interaction in any of {of} sets")?;
        } else {
            let synergies = found.iter().filter(|&&i| self.sets[i].estimate < 0.).count();
            let redundancies = found.len() - synergies;
            write!(f, "of {of} sets {synergies} interact by synergy and {redundancies} by redundancy")?;
        }
        write!(
            f,
            " (adjusted p <= 0.05, step-down maxT over sets, {} images, score {:.3})",
            self.images, self.full
        )
    }
}

/// What silencing several groups of neurons takes from a score beyond the sum of what silencing each takes.
///
/// - `groups`: the neurons of each group; single neurons for pairwise interactions.
/// - `sets`: which groups are silenced together.
/// - `score`: given the neurons that are kept, ascending, one value an image (or trial).
///
/// The null flips the signs of the interactions of single images, which an additive score leaves symmetric
/// about 0. Repeated presentations are not independent: average their values first.
///
/// Calls `score` once for all neurons, once a group and once a set, in parallel. Memory: images x (groups + sets).
///
/// # Errors
/// What `score` returns; when a group is empty or names a neuron that is not there, groups of a set overlap, or a
/// set has fewer than two groups.
pub fn group_interactions(
    neurons: usize,
    groups: &[Vec<usize>],
    sets: &[Vec<usize>],
    score: impl Fn(&[usize]) -> Result<Vec<f64>> + Sync,
    config: &InteractionConfig,
    seed: Seed,
) -> Result<Interactions> {
    check(neurons, groups, sets)?;
    let full = score(&kept(neurons, &[]))?;
    let loss = |silenced: &[usize]| differences(&full, &score(&kept(neurons, silenced))?);
    let single: Vec<Vec<f64>> = groups.par_iter().map(|group| loss(group)).collect::<Result<_>>()?;
    let by_image: Vec<Vec<f64>> = sets
        .par_iter()
        .map(|set| {
            let all: Vec<usize> = set.iter().flat_map(|&g| groups[g].iter().copied()).collect();
            let mut beyond = loss(&all)?;
            for &group in set {
                beyond.iter_mut().zip(&single[group]).for_each(|(b, s)| *b -= s);
            }
            // Rounding of an additive score is no interaction.
            let size = full.iter().fold(0f64, |size, v| size.max(v.abs()));
            beyond.iter_mut().filter(|b| b.abs() < 1e-6 * size).for_each(|b| *b = 0.);
            Ok(beyond)
        })
        .collect::<Result<_>>()?;
    let found = tested(&by_image, config, seed)?;
    let sets = sets
        .iter()
        .zip(found)
        .map(|(groups, t)| GroupInteraction {
            groups: groups.clone(),
            estimate: t.estimate,
            low: t.low,
            high: t.high,
            p_adjusted: t.p_adjusted,
        })
        .collect();
    Ok(Interactions {
        full: mean(&full),
        single: single.iter().map(|s| mean(s)).collect(),
        sets,
        images: full.len(),
        level: config.level,
    })
}

/// A mean over images, tested against 0.
pub(super) struct Tested {
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
    pub p_adjusted: f64,
}

/// Means over images, one a row of values, with percentile intervals and two-sided p corrected over rows.
pub(super) fn tested(by_image: &[Vec<f64>], config: &InteractionConfig, seed: Seed) -> Result<Vec<Tested>> {
    let values = columns(by_image);
    let p =
        sign_flipped(values.view(), config.permutations, Tail::TwoSidedAbsolute, seed.child("sign flips"))?;
    with_intervals(by_image, p, config, seed)
}

/// The same where p is known.
pub(super) fn with_intervals(
    by_image: &[Vec<f64>],
    p: Vec<f64>,
    config: &InteractionConfig,
    seed: Seed,
) -> Result<Vec<Tested>> {
    let values = columns(by_image);
    let counts = resample_counts(values.nrows(), config.replicates, seed.child("bootstrap"));
    let drawn = matmul(counts.view(), values.view())?;
    by_image
        .iter()
        .zip(p)
        .enumerate()
        .map(|(s, (values, p_adjusted))| {
            let drawn: Vec<f64> = drawn.column(s).iter().map(|&v| f64::from(v)).collect();
            let interval = bootstrap::interval(mean(values), &drawn, None, config.level)?;
            Ok(Tested { estimate: interval.estimate, low: interval.low, high: interval.high, p_adjusted })
        })
        .collect()
}

/// Images x rows.
fn columns(by_image: &[Vec<f64>]) -> Array2<f32> {
    let images = by_image.first().map_or(0, Vec::len);
    Array2::from_shape_fn((images, by_image.len()), |(i, s)| by_image[s][i] as f32)
}

pub(super) fn check(neurons: usize, groups: &[Vec<usize>], sets: &[Vec<usize>]) -> Result<()> {
    if sets.is_empty() {
        return Err(CoreError::value("sets of groups", "at least one", "none").into());
    }
    for (g, group) in groups.iter().enumerate() {
        if group.is_empty() || group.iter().any(|&n| n >= neurons) {
            let expected = format!("neurons below {neurons}, at least one");
            return Err(CoreError::value(format!("group {g}"), expected, format!("{group:?}")).into());
        }
    }
    for set in sets {
        if set.len() < 2 || set.iter().any(|&g| g >= groups.len()) {
            let expected = format!("at least two groups below {}", groups.len());
            return Err(CoreError::value("set of groups", expected, format!("{set:?}")).into());
        }
        let mut seen = vec![false; neurons];
        for &n in set.iter().flat_map(|&g| &groups[g]) {
            if std::mem::replace(&mut seen[n], true) {
                return Err(CoreError::value(
                    "set of groups",
                    "disjoint groups",
                    format!("neuron {n} twice"),
                )
                .into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{normals, on_one_and_two_threads};

    /// Neurons 0 and 1 work only together, 2 and 3 stand in for each other, 4 and 5 are additive.
    fn score(kept: &[usize]) -> Result<Vec<f64>> {
        let on = |n: usize| f64::from(u8::from(kept.contains(&n)));
        let noise: Vec<Vec<f64>> = (0..6).map(|n| normals(&format!("image {n}"), 60)).collect();
        Ok((0..60)
            .map(|i| {
                let own: f64 = (0..6).map(|n| 0.2 * on(n) * noise[n][i]).sum();
                let both = on(0) * on(1) * (1. + 0.5 * noise[0][i]);
                let either = on(2).max(on(3)) * (1. + 0.5 * noise[2][i]);
                own + both + either + 0.5 * on(4) + 0.5 * on(5)
            })
            .collect())
    }

    #[test]
    fn synergy_redundancy_and_additivity() {
        let groups: Vec<Vec<usize>> = (0..6).map(|n| vec![n]).collect();
        let sets: Vec<Vec<usize>> = (0..6).flat_map(|i| (0..i).map(move |j| vec![j, i])).collect();
        let config = InteractionConfig { permutations: 500, replicates: 300, ..Default::default() };
        let [one, two] = on_one_and_two_threads(|| {
            group_interactions(6, &groups, &sets, score, &config, Seed::new(1)).unwrap()
        });
        assert_eq!(one, two);
        for (i, set) in one.sets.iter().enumerate() {
            let expected = match set.groups[..] {
                [0, 1] => -1.,
                [2, 3] => 1.,
                _ => 0.,
            };
            assert!((set.estimate - expected).abs() < 0.25, "{set:?}");
            assert_eq!(one.significant(0.05).contains(&i), expected != 0., "{set:?}");
            assert!(expected == 0. || (set.low..=set.high).contains(&expected), "{set:?}");
        }
        let together = vec![vec![0, 2], vec![1, 3]];
        let found = group_interactions(6, &together, &[vec![0, 1]], score, &config, Seed::new(1)).unwrap();
        // Synergy of one pair and redundancy of the other cancel.
        assert!(found.sets[0].estimate.abs() < 0.3, "{found:?}");
    }

    #[test]
    fn impossible_groups_are_refused() {
        let run = |groups: &[Vec<usize>], sets: &[Vec<usize>]| {
            group_interactions(6, groups, sets, score, &InteractionConfig::default(), Seed::new(1)).is_err()
        };
        assert!(run(&[vec![0], vec![0]], &[vec![0, 1]]));
        assert!(run(&[vec![0], vec![6]], &[vec![0, 1]]));
        assert!(run(&[vec![0], vec![1]], &[vec![0]]));
        assert!(run(&[vec![0], vec![]], &[vec![0, 1]]));
    }
}
