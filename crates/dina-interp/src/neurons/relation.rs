use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    bootstrap::{Bootstrap, Interval, Resampling},
    multiplicity::holm,
    permutation::{Permutation, Scheme, Tail},
    rank::midranks,
};
use serde::{Deserialize, Serialize};

use crate::{Result, score::mean};

/// How relations are tested.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RelationConfig {
    /// Random permutations of the neurons.
    pub permutations: usize,
    /// Bootstrap replicates over neurons.
    pub replicates: usize,
    /// Coverage of the intervals.
    pub level: f64,
    /// Neurons of about equal value of what is held fixed, per stratum.
    pub stratum: usize,
}

impl Default for RelationConfig {
    /// 2,000 permutations, 1,000 replicates, 95 %, strata of 10 neurons.
    fn default() -> Self {
        Self { permutations: 2000, replicates: 1000, level: 0.95, stratum: 10 }
    }
}

/// How contribution goes with one property of neurons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactorRelation {
    /// The property.
    pub factor: String,
    /// What is held fixed in `partial` and `matched`.
    pub fixed: Vec<String>,
    /// Spearman's correlation, nothing held fixed.
    pub plain: f64,
    /// Partial rank correlation: that of what the ranks of the fixed properties leave of both, by linear and
    /// quadratic regression.
    pub partial: Interval,
    /// Two-sided p of `partial`, by free permutation of what is left, corrected over properties by Holm.
    pub p_partial: f64,
    /// The same correlation of what is left, within strata of neurons with about equal values of the property
    /// held fixed.
    pub matched: f64,
    /// Two-sided p of `matched`: permutations within strata, so that only neurons of about equal reliability (or
    /// strength) are exchanged; corrected over properties by Holm.
    pub p_matched: f64,
}

impl FactorRelation {
    /// Whether both tests find the relation at this level.
    pub fn found(&self, alpha: f64) -> bool {
        self.p_partial <= alpha && self.p_matched <= alpha
    }
}

/// How contribution goes with strength, reliability and position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relations {
    /// Neurons.
    pub neurons: usize,
    /// Strength with reliability fixed, reliability with strength fixed, then every coordinate with both fixed.
    pub factors: Vec<FactorRelation>,
}

impl fmt::Display for Relations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, factor) in self.factors.iter().enumerate() {
            let join = if i == 0 { "" } else { "; " };
            let verdict = if factor.found(0.05) {
                "contribution goes with"
            } else {
                "no evidence that contribution goes with"
            };
            write!(
                f,
                "{join}{verdict} {} at equal {} (partial rank correlation {:.3}, interval {:.3} to {:.3}, p = {:.4}; matched \
                 {:.3}, p = {:.4}; {:.3} with nothing fixed)",
                factor.factor,
                factor.fixed.join(" and "),
                factor.partial.estimate,
                factor.partial.low,
                factor.partial.high,
                factor.p_partial,
                factor.matched,
                factor.p_matched,
                factor.plain
            )?;
        }
        write!(f, "; {} neurons", self.neurons)
    }
}

/// Tells whether neurons contribute because they are strong, or because they are reliable, which strong ones are too.
///
/// - `contribution`, `strength`, `reliability`: one value a neuron.
/// - `position`: one name and one value a neuron for each coordinate; may be empty.
///
/// Two ways that fail differently: a partial rank correlation, which assumes that ranks go together
/// smoothly, and permutation within strata of neurons matched for what is fixed, which does not. Positions are matched for
/// reliability. Reliability is measured with error, and what is held fixed is the measured one: where it is noisy, a
/// part of true reliability stays behind and can look like strength. Measure it on many repeats.
///
/// # Errors
/// When lengths differ, there are fewer than 20 neurons, a value is not finite, or a property is the same for all
/// neurons, alone or once the others are fixed.
pub fn relations(
    contribution: &[f64],
    strength: &[f64],
    reliability: &[f64],
    position: &[(&str, &[f64])],
    config: &RelationConfig,
    seed: Seed,
) -> Result<Relations> {
    let neurons = contribution.len();
    let named = [("contribution", contribution), ("strength", strength), ("reliability", reliability)];
    for (name, values) in named.iter().chain(position) {
        check(name, values, neurons)?;
    }
    if config.stratum < 2 {
        return Err(CoreError::value("neurons of a stratum", "at least 2", config.stratum).into());
    }
    let (strong, reliable) = (("strength", strength), ("reliability", reliability));
    let mut factors = vec![
        factor(contribution, strong, &[reliable], config, seed.child("strength"))?,
        factor(contribution, reliable, &[strong], config, seed.child("reliability"))?,
    ];
    for (i, &coordinate) in position.iter().enumerate() {
        let seed = seed.child("position").index(i);
        factors.push(factor(contribution, coordinate, &[reliable, strong], config, seed)?);
    }
    let partial = holm(&factors.iter().map(|f| f.p_partial).collect::<Vec<_>>())?;
    let matched = holm(&factors.iter().map(|f| f.p_matched).collect::<Vec<_>>())?;
    for (factor, (partial, matched)) in factors.iter_mut().zip(partial.into_iter().zip(matched)) {
        factor.p_partial = partial;
        factor.p_matched = matched;
    }
    Ok(Relations { neurons, factors })
}

fn check(name: &str, values: &[f64], neurons: usize) -> Result<()> {
    if values.len() != neurons {
        return Err(CoreError::shape(name, neurons, values.len()).into());
    }
    if neurons < 20 {
        return Err(CoreError::value("neurons", "at least 20", neurons).into());
    }
    if values.iter().any(|v| !v.is_finite()) {
        return Err(CoreError::value(name, "finite", "NaN or infinity").into());
    }
    if values.iter().all(|v| *v == values[0]) {
        return Err(CoreError::value(name, "different between neurons", "the same for all").into());
    }
    Ok(())
}

fn factor(
    contribution: &[f64],
    (name, values): (&str, &[f64]),
    fixed: &[(&str, &[f64])],
    config: &RelationConfig,
    seed: Seed,
) -> Result<FactorRelation> {
    let all: Vec<usize> = (0..values.len()).collect();
    let columns: Vec<&[f64]> = fixed.iter().map(|(_, values)| *values).collect();
    let (y, x) = (left(contribution, &columns, &all), left(values, &columns, &all));
    let (Some(y), Some(x)) = (y, x) else {
        let found = format!("nothing once {} is fixed", fixed[0].0);
        return Err(CoreError::value(name, "different between neurons at equal rank", found).into());
    };
    let bootstrap = Bootstrap { replicates: config.replicates, level: config.level, bca: false };
    let partial = bootstrap.interval(
        &Resampling::items(all.len()),
        |items| {
            // A resample in which nothing is left has no relation.
            let (y, x) = (left(contribution, &columns, items), left(values, &columns, items));
            y.zip(x).map_or(0., |(y, x)| dot(&y, &x))
        },
        seed.child("bootstrap"),
    )?;
    let permutation =
        Permutation { count: config.permutations, tail: Tail::TwoSidedAbsolute, ..Permutation::default() };
    let exchanged = |order: &[usize]| order.iter().zip(&x).map(|(&i, x)| y[i] * x).sum::<f64>();
    let free = Scheme::free(all.len())?;
    let p_partial = permutation.test(&free, |g| exchanged(g.order()), seed.child("free"))?.p;
    let strata = strata(columns[0], config.stratum);
    let within = (within_strata(&y, &strata), within_strata(&x, &strata));
    let (Some(y), Some(x)) = within else {
        return Err(CoreError::value(name, "different between neurons of a stratum", "the same").into());
    };
    let matched = permutation.test(
        &Scheme::within_blocks(&strata)?,
        |g| g.order().iter().zip(&x).map(|(&i, x)| y[i] * x).sum(),
        seed.child("matched"),
    )?;
    let plain = dina_stats::classical::spearman(contribution, values)?.get();
    Ok(FactorRelation {
        factor: name.into(),
        fixed: fixed.iter().map(|(name, _)| (*name).into()).collect(),
        plain,
        partial,
        p_partial,
        matched: matched.statistic,
        p_matched: matched.p,
    })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What ranks of the fixed properties, and their squares, leave of the ranks of `values`, of these neurons, scaled to
/// length 1. `None` where nothing is left.
fn left(values: &[f64], fixed: &[&[f64]], items: &[usize]) -> Option<Vec<f64>> {
    let ranks = |values: &[f64]| {
        let mut ranks = midranks(&items.iter().map(|&i| values[i]).collect::<Vec<_>>());
        let middle = mean(&ranks);
        ranks.iter_mut().for_each(|r| *r = (*r - middle) / items.len() as f64);
        ranks
    };
    // Gram-Schmidt, twice for the sake of rounding.
    let mut basis: Vec<Vec<f64>> = vec![vec![1. / (items.len() as f64).sqrt(); items.len()]];
    for fixed in fixed {
        let linear = ranks(fixed);
        let square: Vec<f64> = linear.iter().map(|r| r * r).collect();
        for mut column in [linear, square] {
            if let Some(unit) = remainder(&mut column, &basis) {
                basis.push(unit);
            }
        }
    }
    remainder(&mut ranks(values), &basis)
}

fn remainder(column: &mut [f64], basis: &[Vec<f64>]) -> Option<Vec<f64>> {
    let before = dot(column, column).sqrt();
    for _ in 0..2 {
        for unit in basis {
            let along = dot(column, unit);
            column.iter_mut().zip(unit).for_each(|(c, u)| *c -= along * u);
        }
    }
    let length = dot(column, column).sqrt();
    (length > 1e-9 * before && length > 0.).then(|| column.iter().map(|c| c / length).collect())
}

/// Strata of about `size` neurons by rank.
fn strata(values: &[f64], size: usize) -> Vec<usize> {
    let count = (values.len() / size).max(1);
    let mut order = super::curves::descending(values);
    order.reverse();
    let mut strata = vec![0; values.len()];
    order.iter().enumerate().for_each(|(rank, &neuron)| strata[neuron] = rank * count / values.len());
    strata
}

/// Without the mean of each stratum, scaled to length 1.
fn within_strata(values: &[f64], strata: &[usize]) -> Option<Vec<f64>> {
    let count = strata.iter().max().map_or(0, |last| last + 1);
    let (mut sums, mut sizes) = (vec![0.; count], vec![0.; count]);
    for (&stratum, value) in strata.iter().zip(values) {
        sums[stratum] += value;
        sizes[stratum] += 1.;
    }
    let centred: Vec<f64> = strata.iter().zip(values).map(|(&s, v)| v - sums[s] / sizes[s]).collect();
    let length = dot(&centred, &centred).sqrt();
    (length > 1e-12).then(|| centred.iter().map(|v| v / length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normals;

    /// Strength and reliability that correlate by 0.8, and contribution by one of the two.
    fn world(by_strength: bool) -> [Vec<f64>; 4] {
        let noise = ["strength", "reliability", "contribution", "x"].map(|name| normals(name, 300));
        let strength = noise[0].clone();
        let reliability: Vec<f64> = strength.iter().zip(&noise[1]).map(|(s, e)| 0.8 * s + 0.6 * e).collect();
        let cause = if by_strength { &strength } else { &reliability };
        // Exponential, as strengths are; ranks do not mind.
        let contribution = cause.iter().zip(&noise[2]).map(|(c, e)| (c + 0.7 * e).exp()).collect();
        [contribution, strength.iter().map(|s| s.exp()).collect(), reliability, noise[3].clone()]
    }

    #[test]
    fn strong_and_reliable_are_told_apart() {
        for by_strength in [false, true] {
            let [contribution, strength, reliability, x] = world(by_strength);
            let config = RelationConfig { permutations: 999, replicates: 200, ..Default::default() };
            let found =
                relations(&contribution, &strength, &reliability, &[("x", &x)], &config, Seed::new(1))
                    .unwrap();
            let [strong, reliable, place] = &found.factors[..] else { panic!() };
            assert!(strong.plain > 0.5 && reliable.plain > 0.5, "{found}");
            let (cause, other) = if by_strength { (strong, reliable) } else { (reliable, strong) };
            assert!(cause.found(0.01) && cause.partial.low > 0.3 && cause.matched > 0.2, "{found}");
            assert!(!other.found(0.05) && other.p_partial > 0.05 && other.p_matched > 0.05, "{found}");
            assert!(!place.found(0.05), "{found}");
            assert!(found.to_string().contains("no evidence that contribution goes with x"), "{found}");
        }
    }

    #[test]
    fn impossible_properties_are_refused() {
        let [contribution, strength, reliability, _] = world(true);
        let config = RelationConfig { permutations: 99, replicates: 50, ..Default::default() };
        let run = |c: &[f64], s: &[f64], r: &[f64]| relations(c, s, r, &[], &config, Seed::new(1)).is_err();
        assert!(run(&contribution, &[1.; 300], &reliability));
        assert!(run(&contribution, &strength, &strength));
        assert!(run(&contribution, &strength[1..], &reliability));
        assert!(run(&contribution[..10], &strength[..10], &reliability[..10]));
    }
}
