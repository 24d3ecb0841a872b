//! The tests of the textbooks, with p-values from a distribution rather than from permutations: Student,
//! Welch, Pearson and Spearman, Mann and Whitney, Wilcoxon. Results agree with `scipy.stats`.
//!
//! Where items are few or not normal, the permutation tests of [`crate::comparison`] assume less.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    distribution::{normal_cdf, student_quantile, student_sf},
    permutation::Tail,
    proportion::check_level,
    rank::{midranks, tie_term},
    reliability::Correlation,
    sentence::{Ci, Number, PValue},
};

/// The outcome of a t test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TTest {
    /// The statistic t.
    pub t: f64,
    /// Degrees of freedom; not a whole number for Welch's test.
    pub df: f64,
    /// The p-value.
    pub p: f64,
    /// Which t counted as extreme.
    pub tail: Tail,
    /// The mean, or the first mean less the second.
    pub estimate: f64,
    /// Lower end of the two-sided interval of the estimate.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Nominal coverage of the interval.
    pub level: f64,
}

impl fmt::Display for TTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ci = Ci { low: self.low, high: self.high, level: self.level };
        write!(
            f,
            "t({}) = {:.3}, {} ({}), mean difference {}, {ci}",
            // Whole degrees of freedom without decimals.
            (self.df * 100.0).round() / 100.0,
            self.t,
            PValue(self.p),
            self.tail,
            Number(self.estimate)
        )
    }
}

/// One-sample t test of a mean of zero; of paired data, give the differences.
///
/// # Errors
/// [`Error::TooFew`] below two values, [`Error::NotFinite`], [`Error::Constant`], [`Error::Value`] for the
/// level.
pub fn one_sample_t(values: &[f64], tail: Tail, level: f64) -> Result<TTest> {
    let (n, mean, variance) = moments("sample", values)?;
    t_test(mean, (variance / n).sqrt(), n - 1.0, tail, level)
}

/// Student's t test of equal means, for equal variances.
///
/// # Errors
/// As [`one_sample_t`].
pub fn student_t(first: &[f64], second: &[f64], tail: Tail, level: f64) -> Result<TTest> {
    let (n, a, va) = moments("first sample", first)?;
    let (m, b, vb) = moments("second sample", second)?;
    let df = n + m - 2.0;
    let pooled = ((n - 1.0) * va + (m - 1.0) * vb) / df;
    t_test(a - b, (pooled * (1.0 / n + 1.0 / m)).sqrt(), df, tail, level)
}

/// Welch's t test of equal means, whatever the variances, with Satterthwaite's degrees of freedom.
///
/// # Errors
/// As [`one_sample_t`].
pub fn welch_t(first: &[f64], second: &[f64], tail: Tail, level: f64) -> Result<TTest> {
    let (n, a, va) = moments("first sample", first)?;
    let (m, b, vb) = moments("second sample", second)?;
    let (sa, sb) = (va / n, vb / m);
    let df = (sa + sb).powi(2) / (sa * sa / (n - 1.0) + sb * sb / (m - 1.0));
    t_test(a - b, (sa + sb).sqrt(), df, tail, level)
}

pub(crate) fn t_test(estimate: f64, se: f64, df: f64, tail: Tail, level: f64) -> Result<TTest> {
    check_level(level)?;
    if se <= 0.0 {
        return Err(Error::Constant { what: "sample".into(), index: 0, statistic: "t".into() });
    }
    let t = estimate / se;
    let half = student_quantile(0.5 + level / 2.0, df) * se;
    let p = student_p(t, df, tail);
    Ok(TTest { t, df, p, tail, estimate, low: estimate - half, high: estimate + half, level })
}

fn student_p(t: f64, df: f64, tail: Tail) -> f64 {
    match tail {
        Tail::Greater => student_sf(t, df),
        Tail::Less => student_sf(-t, df),
        Tail::TwoSidedDoubled | Tail::TwoSidedAbsolute => (2.0 * student_sf(t.abs(), df)).min(1.0),
    }
}

/// Size, mean and unbiased variance.
fn moments(what: &str, values: &[f64]) -> Result<(f64, f64, f64)> {
    Error::at_least(&format!("values of the {what}"), 2, values.len())?;
    Error::all_finite(what, values.iter().copied())?;
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let varies = values.iter().any(|v| *v != values[0]);
    let squares = if varies { values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() } else { 0.0 };
    Ok((n, mean, squares / (n - 1.0)))
}

/// The outcome of a test of ranks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RankTest {
    /// U of the first sample, or the sum of the ranks of positive differences.
    pub statistic: f64,
    /// The p-value.
    pub p: f64,
    /// Which statistics counted as extreme.
    pub tail: Tail,
    /// Whether p is that of the exact distribution; otherwise of the normal one with a correction for ties.
    pub exact: bool,
    /// Values, or differences other than zero, that were ranked.
    pub n: usize,
}

impl fmt::Display for RankTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.exact { "exact" } else { "normal approximation" };
        write!(
            f,
            "rank statistic {}, n = {}, {} ({how}, {})",
            self.statistic,
            self.n,
            PValue(self.p),
            self.tail
        )
    }
}

/// Mann and Whitney's U test of two independent samples. Exact where there are no ties and n1 n2 is at
/// most 2,500, else normal with corrections for ties and continuity (scipy's `mannwhitneyu`).
///
/// # Errors
/// [`Error::TooFew`] for an empty sample, [`Error::NotFinite`], [`Error::Constant`] where all values are
/// equal.
pub fn mann_whitney(first: &[f64], second: &[f64], tail: Tail) -> Result<RankTest> {
    Error::at_least("values of the first sample", 1, first.len())?;
    Error::at_least("values of the second sample", 1, second.len())?;
    let all = [first, second].concat();
    Error::all_finite("samples", all.iter().copied())?;
    let (n, m, total) = (first.len() as f64, second.len() as f64, all.len() as f64);
    let u = midranks(&all)[..first.len()].iter().sum::<f64>() - n * (n + 1.0) / 2.0;
    let ties = tie_term(&all);
    let exact = ties == 0.0 && first.len() * second.len() <= 2_500;
    let p = if exact {
        let counts = u_distribution(first.len(), second.len());
        tail_of(u, tail, |v| upper_share(&counts, v), n * m)
    } else {
        let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
        if variance <= 0.0 {
            return Err(Error::Constant { what: "sample".into(), index: 0, statistic: "U".into() });
        }
        let upper = |v: f64| normal_cdf((n * m / 2.0 + 0.5 - v) / variance.sqrt()).min(1.0);
        tail_of(u, tail, upper, n * m)
    };
    Ok(RankTest { statistic: u, p, tail, exact, n: all.len() })
}

/// Wilcoxon's signed-rank test of paired differences; zeros are left out. Exact where no sizes tie and
/// there are at most 50, else normal with a correction for ties (scipy's `wilcoxon`).
///
/// # Errors
/// [`Error::TooFew`] without a difference other than zero, [`Error::NotFinite`].
pub fn wilcoxon(differences: &[f64], tail: Tail) -> Result<RankTest> {
    Error::all_finite("differences", differences.iter().copied())?;
    let nonzero: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    Error::at_least("differences that are not zero", 1, nonzero.len())?;
    let sizes: Vec<f64> = nonzero.iter().map(|d| d.abs()).collect();
    let ranks = midranks(&sizes);
    let w: f64 = nonzero.iter().zip(&ranks).filter(|(d, _)| **d > 0.0).map(|(_, rank)| rank).sum();
    let n = nonzero.len() as f64;
    let largest = n * (n + 1.0) / 2.0;
    let ties = tie_term(&sizes);
    // With zeros left out the distribution is that of the others only if zeros are never ties.
    let exact = ties == 0.0 && nonzero.len() <= 50 && nonzero.len() == differences.len();
    let p = if exact {
        let counts = signed_rank_distribution(nonzero.len());
        tail_of(w, tail, |v| upper_share(&counts, v), largest)
    } else {
        let variance = (n * (n + 1.0) * (2.0 * n + 1.0) - ties / 2.0) / 24.0;
        let upper = |v: f64| normal_cdf((largest / 2.0 - v) / variance.sqrt());
        tail_of(w, tail, upper, largest)
    };
    Ok(RankTest { statistic: w, p, tail, exact, n: nonzero.len() })
}

/// p of a statistic that is symmetric between 0 and `largest`, from its upper tail.
fn tail_of(statistic: f64, tail: Tail, upper: impl Fn(f64) -> f64, largest: f64) -> f64 {
    match tail {
        Tail::Greater => upper(statistic),
        Tail::Less => upper(largest - statistic),
        Tail::TwoSidedDoubled | Tail::TwoSidedAbsolute => {
            (2.0 * upper(statistic.max(largest - statistic))).min(1.0)
        }
    }
}

/// P(X >= value) from the frequencies of 0, 1, 2, ...
fn upper_share(frequencies: &[f64], value: f64) -> f64 {
    let from = value.round() as usize;
    frequencies.iter().skip(from).sum::<f64>() / frequencies.iter().sum::<f64>()
}

/// Numbers of orders with each U, by whether the largest value is of the first sample, and so above all m
/// of the second, or of the second (Mann and Whitney 1947). Sums only, so that large numbers stay exact in
/// all their digits.
fn u_distribution(n: usize, m: usize) -> Vec<f64> {
    let shorter = |longer: &[f64], u: usize| longer.get(u).copied().unwrap_or(0.0);
    let mut row = vec![vec![1.0]; m + 1];
    for i in 1..=n {
        for j in 1..=m {
            let (before, after) = row.split_at(j);
            let (largest_second, largest_first) = (&before[j - 1], &after[0]);
            row[j] = (0..=i * j)
                .map(|u| {
                    let first = if u >= j { shorter(largest_first, u - j) } else { 0.0 };
                    first + shorter(largest_second, u)
                })
                .collect();
        }
    }
    row.pop().unwrap_or_default()
}

/// Relative frequencies of the signed-rank sum: each rank is in it or not.
fn signed_rank_distribution(n: usize) -> Vec<f64> {
    let mut counts = vec![0.0; n * (n + 1) / 2 + 1];
    counts[0] = 1.0;
    for rank in 1..=n {
        for w in (rank..counts.len()).rev() {
            counts[w] += counts[w - rank];
        }
    }
    counts
}

/// p of Pearson's r for normal data, by t = r sqrt((n - 2) / (1 - r^2)); also used for Spearman's rho.
///
/// # Errors
/// [`Error::TooFew`] below three pairs.
pub fn correlation_p(r: Correlation, n: usize, tail: Tail) -> Result<f64> {
    Error::at_least("pairs", 3, n)?;
    let df = n as f64 - 2.0;
    let t = r.get() * (df / ((1.0 - r.get()) * (1.0 + r.get())).max(f64::MIN_POSITIVE)).sqrt();
    Ok(student_p(t, df, tail))
}

/// Spearman's rank correlation, ties sharing the mean of their ranks.
///
/// # Errors
/// As [`Correlation::pearson`].
pub fn spearman(x: &[f64], y: &[f64]) -> Result<Correlation> {
    Error::all_finite("first sample", x.iter().copied())?;
    Error::all_finite("second sample", y.iter().copied())?;
    Correlation::pearson(&midranks(x), &midranks(y))
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn distributions_of_ranks_by_hand() {
        // Of the ten ways to choose 2 of 5: U from 0 to 6.
        assert_eq!(u_distribution(2, 3), [1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0]);
        assert_eq!(u_distribution(3, 2), u_distribution(2, 3));
        assert_eq!(signed_rank_distribution(3), [1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]);
        let found = mann_whitney(&[4.0, 5.0], &[1.0, 2.0, 3.0], Tail::Greater).unwrap();
        assert_eq!((found.statistic, found.exact), (6.0, true));
        assert_relative_eq!(found.p, 0.1);
        assert_relative_eq!(wilcoxon(&[1.0, 2.0, 3.0], Tail::Greater).unwrap().p, 1.0 / 8.0);
    }

    #[test]
    fn prints_a_sentence() {
        let text = one_sample_t(&[1.0, 2.0, 3.0], Tail::TwoSidedAbsolute, 0.95).unwrap().to_string();
        assert!(text.starts_with("t(2) = 3.464, p = 0.0742 ("), "{text}");
        let text = wilcoxon(&[1.0, 2.0, 3.0], Tail::Greater).unwrap().to_string();
        assert_eq!(text, "rank statistic 6, n = 3, p = 0.125 (exact, one-sided, greater)");
    }

    #[test]
    fn refuses_nonsense() {
        assert!(one_sample_t(&[0.1; 5], Tail::Greater, 0.95).is_err());
        assert!(welch_t(&[1.0], &[1.0, 2.0], Tail::Greater, 0.95).is_err());
        assert!(mann_whitney(&[1.0; 300], &[1.0; 300], Tail::Greater).is_err());
        assert!(wilcoxon(&[0.0, 0.0], Tail::Greater).is_err());
        assert!(spearman(&[1.0, 2.0, f64::NAN], &[1.0, 2.0, 3.0]).is_err());
    }
}
