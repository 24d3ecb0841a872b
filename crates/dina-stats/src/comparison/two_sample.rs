//! Two independent samples.

use std::fmt;

use dina_core::Seed;
use serde::{Deserialize, Serialize};

use super::thorough;
use crate::{
    Result,
    classical::{TTest, welch_t},
    effect::{Effect, cliff_delta, hedges_g},
    permutation::{Permutation, PermutationTest, Scheme},
    rank::midranks,
    sentence::{Ci, Number, PValue},
};

/// What is compared between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Location {
    /// Welch's t. The permutation test of it is exact where the distributions are equal, and asymptotically
    /// valid for equal *means* of unequal distributions, which the others are not (Janssen 1997; Chung and
    /// Romano 2013).
    Welch,
    /// Student's t with a pooled variance.
    Student,
    /// The difference of the means.
    MeanDifference,
    /// Mann and Whitney's U less its expectation.
    RankSum,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Welch => "Welch's t",
            Self::Student => "Student's t",
            Self::MeanDifference => "mean difference",
            Self::RankSum => "U - n1 n2 / 2",
        })
    }
}

/// How to compare two samples. The default is Welch's t, two-sided, 9,999 permutations or all of them where
/// there are no more than 10,000, level 0.95.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TwoSample {
    /// The statistic.
    pub location: Location,
    /// The permutations.
    pub permutation: Permutation,
    /// Nominal coverage of all intervals.
    pub level: f64,
}

impl Default for TwoSample {
    fn default() -> Self {
        Self { location: Location::Welch, permutation: thorough(), level: 0.95 }
    }
}

/// Two samples compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TwoSampleTest {
    /// Values in each sample.
    pub n: [usize; 2],
    /// Mean of each.
    pub means: [f64; 2],
    /// The first mean less the second, with Welch's interval, and Welch's test without permutations.
    pub welch: TTest,
    /// The statistic that was permuted.
    pub location: Location,
    /// Its test.
    pub permutation: PermutationTest,
    /// Hedges' g.
    pub hedges_g: Effect,
    /// Cliff's delta, the rank-biserial correlation.
    pub cliff_delta: Effect,
}

impl fmt::Display for TwoSampleTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ci = Ci { low: self.welch.low, high: self.welch.high, level: self.welch.level };
        write!(
            f,
            "means {} (n = {}) and {} (n = {}), difference {}, {ci} (Welch); {} = {}, {} ({}); {}; {}",
            Number(self.means[0]),
            self.n[0],
            Number(self.means[1]),
            self.n[1],
            Number(self.welch.estimate),
            self.location,
            Number(self.permutation.statistic),
            PValue(self.permutation.p),
            self.permutation.how(),
            self.hedges_g,
            self.cliff_delta
        )
    }
}

impl TwoSample {
    /// Compares two samples of independent values. Values of one mouse or image are not independent: average
    /// them first.
    ///
    /// # Errors
    /// [`crate::Error::TooFew`] below two values a sample, [`crate::Error::NotFinite`], [`crate::Error::Constant`] where neither
    /// varies, [`crate::Error::Value`] for a level.
    pub fn test(&self, first: &[f64], second: &[f64], seed: Seed) -> Result<TwoSampleTest> {
        let level = self.level;
        // The effect sizes refuse what cannot be compared.
        let hedges_g = hedges_g(first, second, level)?;
        let cliff_delta = cliff_delta(first, second, level)?;
        let all = [first, second].concat();
        let ranks = midranks(&all);
        let scheme = Scheme::two_groups(first.len(), second.len())?;
        let n = first.len();
        // Differences do not depend on the mean, but without it lose fewer digits, so that ties stay ties.
        let mean_of_all = mean(&all);
        let values: Vec<f64> = match self.location {
            Location::RankSum => ranks,
            _ => all.iter().map(|v| v - mean_of_all).collect(),
        };
        let statistic = |order: &[usize]| {
            let dealt: Vec<f64> = order.iter().map(|&i| values[i]).collect();
            self.location.of(&dealt[..n], &dealt[n..])
        };
        let permutation = self.permutation.test(&scheme, |g| statistic(g.order()), seed)?;
        Ok(TwoSampleTest {
            n: [first.len(), second.len()],
            means: [mean(first), mean(second)],
            welch: welch_t(first, second, self.permutation.tail, level)?,
            location: self.location,
            permutation,
            hedges_g,
            cliff_delta,
        })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

impl Location {
    fn of(self, a: &[f64], b: &[f64]) -> f64 {
        let (n, m) = (a.len() as f64, b.len() as f64);
        let difference = mean(a) - mean(b);
        match self {
            Self::MeanDifference => difference,
            // `a` and `b` are ranks.
            Self::RankSum => a.iter().sum::<f64>() - n * (n + m + 1.0) / 2.0,
            Self::Student => {
                let pooled = (squares(a) + squares(b)) / (n + m - 2.0);
                ratio(difference, pooled * (1.0 / n + 1.0 / m))
            }
            Self::Welch => ratio(difference, squares(a) / (n * (n - 1.0)) + squares(b) / (m * (m - 1.0))),
        }
    }
}

fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|v| (v - mean).powi(2)).sum()
}

/// A difference over its standard error. An arrangement that separates two values exactly has none: it is
/// the most extreme there is, by a number whose square is still finite.
pub(super) fn ratio(difference: f64, variance: f64) -> f64 {
    if variance > 0.0 {
        difference / variance.sqrt()
    } else if difference == 0.0 {
        0.0
    } else {
        1e100_f64.copysign(difference)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;
    use crate::permutation::Tail;

    const A: [f64; 5] = [5.1, 6.3, 4.8, 7.7, 6.0];
    const B: [f64; 4] = [3.9, 5.0, 4.1, 5.5];

    /// Every one of the 126 ways to deal nine values, by hand.
    #[test]
    fn exact_p_by_brute_force() {
        let all = [A.as_slice(), B.as_slice()].concat();
        for location in [Location::Welch, Location::Student, Location::MeanDifference] {
            let observed = location.of(&A, &B).abs();
            let mut reached = 0;
            for mask in 0_u32..512 {
                if mask.count_ones() != 5 {
                    continue;
                }
                let side = |inside: bool| -> Vec<f64> {
                    (0..9).filter(|i| (mask >> i & 1 == 1) == inside).map(|i| all[i]).collect()
                };
                reached += usize::from(location.of(&side(true), &side(false)).abs() >= observed - 1e-9);
            }
            let test = TwoSample { location, ..TwoSample::default() }.test(&A, &B, Seed::new(0)).unwrap();
            assert!(test.permutation.exact);
            assert_relative_eq!(test.permutation.p, reached as f64 / 126.0);
        }
    }

    /// The exact test of ranks is Mann and Whitney's.
    #[test]
    fn ranks_are_mann_whitney() {
        let config = TwoSample { location: Location::RankSum, ..TwoSample::default() };
        let found = config.test(&A, &B, Seed::new(0)).unwrap();
        let classical = crate::classical::mann_whitney(&A, &B, Tail::TwoSidedAbsolute).unwrap();
        assert_relative_eq!(found.permutation.p, classical.p, max_relative = 1e-12);
        assert_relative_eq!(found.permutation.statistic, classical.statistic - 10.0);
    }

    #[test]
    fn prints_all_that_is_asked_for() {
        let text = TwoSample::default().test(&A, &B, Seed::new(0)).unwrap().to_string();
        for part in
            ["n = 5", "difference 1.355", "95 % CI", "Welch's t", "all 126", "Hedges' g", "Cliff's delta"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn refuses_nonsense() {
        let config = TwoSample::default();
        assert!(config.test(&[1.0], &B, Seed::new(0)).is_err());
        assert!(config.test(&[2.0; 3], &[2.0; 4], Seed::new(0)).is_err());
        assert!(config.test(&[f64::NAN, 1.0], &B, Seed::new(0)).is_err());
    }
}
