//! Effect sizes with intervals.
//!
//! Standardised differences have exact intervals by the noncentral t distribution, which assume normal
//! data: Cohen's d, and Hedges' g without its bias. Cliff's delta and rank-biserial correlations ask only
//! for an order.

use std::fmt;

use dina_core::Seed;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    bootstrap::{Bootstrap, Resampling},
    distribution::{falling_root, log_gamma, noncentral_t_cdf, normal_quantile, student_quantile},
    proportion::{check_level, clopper_pearson},
    rank::midranks,
    sentence::{Ci, Number},
};

/// Which effect size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EffectKind {
    /// Difference of two means over their pooled standard deviation.
    CohenD,
    /// [`EffectKind::CohenD`] times the factor that makes it unbiased.
    HedgesG,
    /// Mean over standard deviation, of one sample or of differences between pairs (d_z).
    CohenDz,
    /// [`EffectKind::CohenDz`] times the factor that makes it unbiased.
    HedgesGz,
    /// P(a > b) - P(a < b) over two samples; equal to the rank-biserial correlation 2 U / (n1 n2) - 1.
    CliffDelta,
    /// (W+ - W-) / (W+ + W-) with the sums of the ranks of positive and negative differences.
    MatchedRankBiserial,
    /// Pearson's r.
    PearsonR,
    /// Spearman's rank correlation.
    SpearmanR,
}

impl EffectKind {
    fn name(self) -> &'static str {
        match self {
            Self::CohenD => "Cohen's d",
            Self::HedgesG => "Hedges' g",
            Self::CohenDz => "Cohen's d_z",
            Self::HedgesGz => "Hedges' g_z",
            Self::CliffDelta => "Cliff's delta",
            Self::MatchedRankBiserial => "matched-pairs rank-biserial r",
            Self::PearsonR => "Pearson's r",
            Self::SpearmanR => "Spearman's rho",
        }
    }
}

/// How the interval of an effect size was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EffectInterval {
    /// Noncentralities of t that the data do not reject; for normal data exact.
    NoncentralT,
    /// Feng and Cliff's asymmetric interval from Cliff's consistent variance.
    CliffConsistent,
    /// Bootstrap, bias-corrected and accelerated where that is defined.
    Bootstrap,
    /// Clopper and Pearson's of the proportion of signs, where all differences have the same one.
    SignProportion,
    /// Fisher's z with the standard error 1/sqrt(n - 3), for Spearman sqrt((1 + r^2/2) / (n - 3)).
    FisherZ,
}

/// An effect size with its interval. Prints as `Hedges' g = 0.420, 95 % CI [0.110, 0.730]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Which one.
    pub kind: EffectKind,
    /// The estimate.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Nominal coverage.
    pub level: f64,
    /// How the interval was made.
    pub method: EffectInterval,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ci = Ci { low: self.low, high: self.high, level: self.level };
        write!(f, "{} = {}, {ci}", self.kind.name(), Number(self.estimate))
    }
}

impl Effect {
    fn scaled(self, factor: f64, kind: EffectKind) -> Self {
        Self {
            kind,
            estimate: self.estimate * factor,
            low: self.low * factor,
            high: self.high * factor,
            ..self
        }
    }
}

/// Cohen's d of two independent samples, (m1 - m2) / s_pooled, with the interval of the noncentral t
/// (Cohen 1988; Steiger and Fouladi 1997).
///
/// # Errors
/// [`Error::TooFew`] below two values a sample, [`Error::NotFinite`], [`Error::Constant`] where neither
/// varies, [`Error::Value`] for the level.
pub fn cohen_d(first: &[f64], second: &[f64], level: f64) -> Result<Effect> {
    let (a, b) = (Sample::new("first sample", first)?, Sample::new("second sample", second)?);
    let df = a.n + b.n - 2.0;
    let pooled = ((a.squares + b.squares) / df).sqrt();
    if pooled <= 0.0 {
        return Err(constant("both samples", "Cohen's d"));
    }
    let estimate = (a.mean - b.mean) / pooled;
    standardised(EffectKind::CohenD, estimate, df, a.n * b.n / (a.n + b.n), level)
}

/// Hedges' g of two independent samples: [`cohen_d`] times J(n1 + n2 - 2), where
/// J(m) = Gamma(m/2) / (sqrt(m/2) Gamma((m - 1)/2)) takes away the bias of d (Hedges 1981).
///
/// # Errors
/// As [`cohen_d`].
pub fn hedges_g(first: &[f64], second: &[f64], level: f64) -> Result<Effect> {
    let d = cohen_d(first, second, level)?;
    Ok(d.scaled(hedges_factor((first.len() + second.len() - 2) as f64), EffectKind::HedgesG))
}

/// Cohen's d_z of one sample against zero, mean / s, with the interval of the noncentral t. Of paired
/// data, give the differences.
///
/// # Errors
/// As [`cohen_d`].
pub fn cohen_dz(differences: &[f64], level: f64) -> Result<Effect> {
    let sample = Sample::new("differences", differences)?;
    let sd = (sample.squares / (sample.n - 1.0)).sqrt();
    if sd <= 0.0 {
        return Err(constant("differences", "Cohen's d_z"));
    }
    standardised(EffectKind::CohenDz, sample.mean / sd, sample.n - 1.0, sample.n, level)
}

/// [`cohen_dz`] times J(n - 1), without its bias.
///
/// # Errors
/// As [`cohen_d`]; [`Error::TooFew`] below three differences, for which d_z has no expectation.
pub fn hedges_gz(differences: &[f64], level: f64) -> Result<Effect> {
    Error::at_least("differences", 3, differences.len())?;
    let d = cohen_dz(differences, level)?;
    Ok(d.scaled(hedges_factor(differences.len() as f64 - 1.0), EffectKind::HedgesGz))
}

fn hedges_factor(df: f64) -> f64 {
    (log_gamma(df / 2.0) - log_gamma((df - 1.0) / 2.0)).exp() / (df / 2.0).sqrt()
}

/// The noncentralities at which t = d sqrt(size) is the upper or the lower quantile, over sqrt(size).
fn standardised(kind: EffectKind, estimate: f64, df: f64, size: f64, level: f64) -> Result<Effect> {
    check_level(level)?;
    let t = estimate * size.sqrt();
    let tail = (1.0 - level) / 2.0;
    // Roughly four widths to either side of t are a start.
    let reach = 5.0 * (1.0 + t * t / (2.0 * df)).sqrt() + 5.0;
    let noncentrality = |p: f64| {
        let excess = |d: f64| noncentral_t_cdf(t, df, d) - p;
        let (mut low, mut high) = (t - reach, t + reach);
        for _ in 0..60 {
            if excess(low) > 0.0 && excess(high) < 0.0 {
                break;
            }
            low -= high - low;
            high += high - low;
        }
        falling_root(excess, low, high)
    };
    Ok(Effect {
        kind,
        estimate,
        low: noncentrality(1.0 - tail) / size.sqrt(),
        high: noncentrality(tail) / size.sqrt(),
        level,
        method: EffectInterval::NoncentralT,
    })
}

/// Cliff's delta of two independent samples, P(a > b) - P(a < b): the rank-biserial correlation (Cliff
/// 1993). The interval is Feng and Cliff's (2004), (d - d^3 +- q s sqrt((1 - d^2)^2 + q^2 s^2)) /
/// (1 - d^2 + q^2 s^2), with the consistent variance s^2 and the quantile q of t with n1 + n2 - 2 degrees of
/// freedom. Where the samples do not overlap, its inner end is (n - q^2) / (n + q^2) with n the smaller
/// sample.
///
/// # Errors
/// [`Error::TooFew`] below two values a sample, [`Error::NotFinite`], [`Error::Value`] for the level.
pub fn cliff_delta(first: &[f64], second: &[f64], level: f64) -> Result<Effect> {
    check_level(level)?;
    Sample::new("first sample", first)?;
    Sample::new("second sample", second)?;
    let (n, m) = (first.len() as f64, second.len() as f64);
    let (rows, ties) = dominance(first, second);
    let (columns, _) = dominance(second, first);
    let delta = rows.iter().sum::<f64>() / n;
    let quantile = student_quantile(0.5 + level / 2.0, n + m - 2.0);
    let (low, high) = if delta.abs() >= 1.0 {
        let inner = (n.min(m) - quantile.powi(2)) / (n.min(m) + quantile.powi(2));
        if delta > 0.0 { (inner, 1.0) } else { (-1.0, -inner) }
    } else {
        let by_row: f64 = rows.iter().map(|d| (d - delta).powi(2)).sum();
        let by_column: f64 = columns.iter().map(|d| (d + delta).powi(2)).sum();
        // Dominances are -1, 0 or 1, so that their squares count the pairs without a tie.
        let all = n * m - ties - n * m * delta * delta;
        let variance = (m * m * by_row + n * n * by_column - all) / (n * m * (n - 1.0) * (m - 1.0));
        let s2 = variance.max((1.0 - delta * delta) / (n * m - 1.0));
        let q2 = quantile * quantile;
        let (centre, room) = (delta - delta.powi(3), 1.0 - delta * delta);
        let half = quantile * (s2 * (room * room + q2 * s2)).sqrt();
        let scale = room + q2 * s2;
        (((centre - half) / scale).max(-1.0), ((centre + half) / scale).min(1.0))
    };
    Ok(Effect {
        kind: EffectKind::CliffDelta,
        estimate: delta,
        low,
        high,
        level,
        method: EffectInterval::CliffConsistent,
    })
}

/// Per value of `first`, the share of `second` below it less the share above; and the number of ties.
fn dominance(first: &[f64], second: &[f64]) -> (Vec<f64>, f64) {
    let mut sorted = second.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut ties = 0;
    let values = first
        .iter()
        .map(|a| {
            let below = sorted.partition_point(|b| b < a);
            let up_to = sorted.partition_point(|b| b <= a);
            ties += up_to - below;
            (below as f64 - (sorted.len() - up_to) as f64) / sorted.len() as f64
        })
        .collect();
    (values, ties as f64)
}

/// The matched-pairs rank-biserial correlation, (W+ - W-) / (W+ + W-) over the ranks of the sizes of the
/// differences, zeros left out (Kerby 2014). The interval is a bootstrap over pairs. Where all n differences have
/// the same sign no resample differs; the inner end is then that of the signs alone, 2 p - 1 with Clopper and
/// Pearson's end p = (alpha/2)^(1/n) for n of n.
///
/// # Errors
/// [`Error::TooFew`] below two differences or where all are zero, [`Error::NotFinite`]; as
/// [`Bootstrap::interval`].
pub fn matched_rank_biserial(differences: &[f64], bootstrap: &Bootstrap, seed: Seed) -> Result<Effect> {
    Sample::new("differences", differences)?;
    let nonzero = differences.iter().filter(|d| **d != 0.0).count();
    Error::at_least("differences that are not zero", 1, nonzero)?;
    let statistic =
        |items: &[usize]| signed_rank_share(&items.iter().map(|&i| differences[i]).collect::<Vec<f64>>());
    let found = bootstrap.interval(&Resampling::items(differences.len()), statistic, seed)?;
    if found.estimate.abs() >= 1.0 {
        let inner = 2.0 * clopper_pearson(nonzero, nonzero, found.level)?.low - 1.0;
        let (low, high) = if found.estimate > 0.0 { (inner, 1.0) } else { (-1.0, -inner) };
        return Ok(Effect {
            kind: EffectKind::MatchedRankBiserial,
            estimate: found.estimate,
            low,
            high,
            level: found.level,
            method: EffectInterval::SignProportion,
        });
    }
    Ok(Effect {
        kind: EffectKind::MatchedRankBiserial,
        estimate: found.estimate,
        low: found.low,
        high: found.high,
        level: found.level,
        method: EffectInterval::Bootstrap,
    })
}

/// (W+ - W-) / (W+ + W-); 0 for nothing but zeros, which a resample may draw.
fn signed_rank_share(differences: &[f64]) -> f64 {
    let nonzero: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let sizes: Vec<f64> = nonzero.iter().map(|d| d.abs()).collect();
    let ranks = midranks(&sizes);
    let total: f64 = ranks.iter().sum();
    if total == 0.0 {
        return 0.0;
    }
    nonzero.iter().zip(&ranks).map(|(d, rank)| d.signum() * rank).sum::<f64>() / total
}

/// Pearson's r or Spearman's rho as an effect, with the interval of Fisher's z; the standard error is
/// 1/sqrt(n - 3), for Spearman sqrt((1 + r^2/2) / (n - 3)) (Bonett and Wright 2000). Items have to be
/// independent.
///
/// # Errors
/// [`Error::TooFew`] below four items, [`Error::Value`] for another kind, the level or r outside [-1, 1].
pub fn correlation_interval(kind: EffectKind, r: f64, n: usize, level: f64) -> Result<Effect> {
    check_level(level)?;
    Error::at_least("items", 4, n)?;
    if !(-1.0..=1.0).contains(&r) {
        return Err(Error::value("correlation", "between -1 and 1", r));
    }
    let inflation = match kind {
        EffectKind::PearsonR => 1.0,
        EffectKind::SpearmanR => 1.0 + r * r / 2.0,
        other => return Err(Error::value("kind of correlation", "Pearson or Spearman", other.name())),
    };
    let half = normal_quantile(0.5 + level / 2.0) * (inflation / (n as f64 - 3.0)).sqrt();
    let end = |by: f64| if r.abs() == 1.0 { r } else { (r.atanh() + by).tanh() };
    Ok(Effect { kind, estimate: r, low: end(-half), high: end(half), level, method: EffectInterval::FisherZ })
}

/// Size, mean and sum of squared deviations.
struct Sample {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Sample {
    fn new(what: &str, values: &[f64]) -> Result<Self> {
        Error::at_least(&format!("values of the {what}"), 2, values.len())?;
        Error::all_finite(what, values.iter().copied())?;
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        // Equal values have a mean that may differ from them in the last digit.
        let varies = values.iter().any(|v| *v != values[0]);
        let squares = if varies { values.iter().map(|v| (v - mean).powi(2)).sum() } else { 0.0 };
        Ok(Self { n, mean, squares })
    }
}

fn constant(what: &str, statistic: &str) -> Error {
    Error::Constant { what: what.into(), index: 0, statistic: statistic.into() }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn by_hand() {
        // Means 4 and 2, both variances 4.
        let (a, b) = ([2.0, 4.0, 6.0], [0.0, 2.0, 4.0]);
        let d = cohen_d(&a, &b, 0.95).unwrap();
        assert_relative_eq!(d.estimate, 1.0);
        assert!(d.low < 0.0 && d.high > 1.0);
        // J(4) = Gamma(2) / (sqrt 2 Gamma(3/2)).
        let j = 1.0 / (2.0_f64.sqrt() * std::f64::consts::PI.sqrt() / 2.0);
        assert_relative_eq!(hedges_g(&a, &b, 0.95).unwrap().estimate, j, max_relative = 1e-12);
        // Pairs: 2>0, 2=2, 2<4; 4>0, 4>2, 4=4; 6 above all: 6 above, 1 below, 2 ties.
        assert_relative_eq!(cliff_delta(&a, &b, 0.95).unwrap().estimate, 5.0 / 9.0);
        // Ranks of sizes 1, 2, 3: positive 2 + 3, negative 1.
        assert_relative_eq!(signed_rank_share(&[-0.5, 1.0, 0.0, 4.0]), 4.0 / 6.0);
    }

    #[test]
    fn the_other_way_round_is_the_mirror_image() {
        let (a, b) = ([1.0, 2.5, 3.0, 7.0, 2.2], [0.3, 2.0, 3.0, 1.0]);
        for effect in [cohen_d, hedges_g, cliff_delta] {
            let (one, other) = (effect(&a, &b, 0.9).unwrap(), effect(&b, &a, 0.9).unwrap());
            assert_relative_eq!(one.estimate, -other.estimate, epsilon = 1e-12);
            assert_relative_eq!(one.low, -other.high, epsilon = 1e-9);
            assert_relative_eq!(one.high, -other.low, epsilon = 1e-9);
        }
    }

    #[test]
    fn samples_that_do_not_overlap_keep_an_interval() {
        let found = cliff_delta(&[5.0, 6.0, 7.0, 8.0, 9.0], &[1.0, 2.0, 3.0, 4.0], 0.95).unwrap();
        assert_eq!((found.estimate, found.high), (1.0, 1.0));
        assert!(found.low < 1.0);
    }

    #[test]
    fn prints_a_sentence() {
        let text = cohen_d(&[2.0, 4.0, 6.0], &[0.0, 2.0, 4.0], 0.95).unwrap().to_string();
        assert!(text.starts_with("Cohen's d = 1.000, 95 % CI [-"), "{text}");
    }

    #[test]
    fn refuses_nonsense() {
        assert!(matches!(cohen_d(&[0.1; 3], &[0.1; 4], 0.95), Err(Error::Constant { .. })));
        assert!(matches!(cohen_dz(&[1.0], 0.95), Err(Error::TooFew { .. })));
        assert!(matches!(cliff_delta(&[1.0, f64::NAN], &[1.0, 2.0], 0.95), Err(Error::NotFinite { .. })));
        assert!(cohen_d(&[1.0, 2.0], &[1.0, 3.0], 1.0).is_err());
        assert!(correlation_interval(EffectKind::PearsonR, 0.5, 3, 0.95).is_err());
        assert!(correlation_interval(EffectKind::CohenD, 0.5, 9, 0.95).is_err());
    }
}
