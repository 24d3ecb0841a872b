//! Paired differences, and one sample against zero.

use std::fmt;

use dina_core::Seed;
use serde::{Deserialize, Serialize};

use super::{thorough, two_sample::ratio};
use crate::{
    Error, Result,
    bootstrap::Bootstrap,
    classical::{TTest, t_test},
    effect::{Effect, hedges_gz, matched_rank_biserial},
    permutation::{Permutation, PermutationTest, Scheme},
    sentence::{Ci, Number, PValue},
};

/// How to test paired differences. The default is a sign-flip test of t, two-sided, exact up to 10,000
/// arrangements (13 pairs), else 9,999 random ones, level 0.95.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// The sign flips.
    pub permutation: Permutation,
    /// The bootstrap of the rank-biserial correlation; its level is that of all intervals.
    pub bootstrap: Bootstrap,
}

impl Default for Paired {
    fn default() -> Self {
        Self { permutation: thorough(), bootstrap: Bootstrap::default() }
    }
}

/// Paired differences tested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairedTest {
    /// Differences.
    pub n: usize,
    /// Units whose signs were flipped: blocks, or the differences themselves.
    pub units: usize,
    /// Differences above, below and at zero.
    pub signs: [usize; 3],
    /// The mean difference, with Student's interval; of blocks, with the cluster-robust one. It is wider than a
    /// bootstrap interval where units are few, which then covers too rarely.
    pub mean: TTest,
    /// The test of t.
    pub permutation: PermutationTest,
    /// Mean over standard deviation, without bias.
    pub hedges_gz: Effect,
    /// Of the signed ranks.
    pub rank_biserial: Effect,
}

impl fmt::Display for PairedTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ci = Ci { low: self.mean.low, high: self.mean.high, level: self.mean.level };
        write!(f, "mean difference {}, {ci}, n = {}", Number(self.mean.estimate), self.n)?;
        if self.units < self.n {
            write!(f, " in {} blocks", self.units)?;
        }
        write!(
            f,
            " ({} positive, {} negative); t({}) = {}, {} ({}); {}; {}",
            self.signs[0],
            self.signs[1],
            self.mean.df,
            Number(self.permutation.statistic),
            PValue(self.permutation.p),
            self.permutation.how(),
            self.hedges_gz,
            self.rank_biserial
        )
    }
}

impl Paired {
    /// Tests whether differences are symmetric about zero, with t as statistic.
    ///
    /// # Errors
    /// [`Error::TooFew`] below three differences, [`Error::NotFinite`], [`Error::Constant`] where all are
    /// equal, [`Error::Value`] for a level.
    pub fn test(&self, differences: &[f64], seed: Seed) -> Result<PairedTest> {
        let blocks: Vec<usize> = (0..differences.len()).collect();
        self.test_blocks(differences, &blocks, seed)
    }

    /// As [`Paired::test`] where differences come in dependent blocks: `blocks` names the block (mouse) of
    /// each. Blocks are flipped whole, and the standard error of t is that of block sums (CR1 of Liang and Zeger
    /// 1986, with t of blocks - 1 degrees of freedom). Hedges' g_z and the rank-biserial correlation describe
    /// the differences; their intervals take them for independent.
    ///
    /// # Errors
    /// As [`Paired::test`]; [`Error::Shape`], [`Error::TooFew`] for a single block.
    pub fn test_blocks(&self, differences: &[f64], blocks: &[usize], seed: Seed) -> Result<PairedTest> {
        if blocks.len() != differences.len() {
            return Err(Error::shape("blocks", differences.len(), blocks.len()));
        }
        let hedges_gz = hedges_gz(differences, self.bootstrap.level)?;
        let scheme = Scheme::sign_flip_blocks(blocks)?;
        let units = names(blocks);
        let number = units.iter().max().map_or(0, |last| last + 1);
        Error::at_least("blocks", 2, number)?;
        let t = |values: &[f64]| {
            let (mean, variance) = mean_and_variance(values, &units, number);
            ratio(mean, variance)
        };
        let permutation =
            self.permutation.test(&scheme, |g| t(&g.apply(differences)), seed.child("permutation"))?;
        let (mean, variance) = mean_and_variance(differences, &units, number);
        let mean =
            t_test(mean, variance.sqrt(), number as f64 - 1.0, self.permutation.tail, self.bootstrap.level)?;
        let rank_biserial = matched_rank_biserial(differences, &self.bootstrap, seed.child("ranks"))?;
        let count = |holds: fn(&f64) -> bool| differences.iter().filter(|d| holds(d)).count();
        Ok(PairedTest {
            n: differences.len(),
            units: number,
            signs: [count(|d| *d > 0.0), count(|d| *d < 0.0), count(|d| *d == 0.0)],
            mean,
            permutation,
            hedges_gz,
            rank_biserial,
        })
    }
}

/// Blocks by number, from 0.
fn names(blocks: &[usize]) -> Vec<usize> {
    let mut sorted = blocks.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    blocks.iter().map(|block| sorted.partition_point(|name| name < block)).collect()
}

/// The mean, and its variance from the sums of residuals of each block: G/(G-1) sum_g (sum_i (d_i - m))^2 / n^2.
/// With one value a block it is the usual one.
fn mean_and_variance(values: &[f64], units: &[usize], number: usize) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let mut sums = vec![0.0; number];
    for (value, &unit) in values.iter().zip(units) {
        sums[unit] += value - mean;
    }
    let g = number as f64;
    (mean, g / (g - 1.0) * sums.iter().map(|s| s * s).sum::<f64>() / (n * n))
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    const MICE: [f64; 6] = [0.31, 0.12, 0.48, 0.22, 0.85, 0.43];

    #[test]
    fn six_mice() {
        let found = Paired::default().test(&MICE, Seed::new(1)).unwrap();
        assert_relative_eq!(found.permutation.p, 2.0 / 64.0);
        assert_eq!((found.signs, found.units), ([6, 0, 0], 6));
        // All signs agree: the interval is not [1, 1].
        assert_eq!((found.rank_biserial.estimate, found.rank_biserial.high), (1.0, 1.0));
        assert_relative_eq!(found.rank_biserial.low, 2.0 * 0.025_f64.powf(1.0 / 6.0) - 1.0, epsilon = 1e-9);
        let text = found.to_string();
        for part in ["mean difference 0.402", "6 positive", "p = 0.0312", "smallest possible p 1/32", "g_z"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    /// Twenty images of each of four mice are four flips and not eighty.
    #[test]
    fn blocks_flip_whole() {
        let data: Vec<f64> = (0..80).map(|i| 1.0 + f64::from(i % 7) / 10.0).collect();
        let blocks: Vec<usize> = (0..80).map(|i| i / 20).collect();
        let found = Paired::default().test_blocks(&data, &blocks, Seed::new(1)).unwrap();
        assert_eq!(found.units, 4);
        assert_relative_eq!(found.permutation.p, 2.0 / 16.0);
        // Blocks of equal size: the t test of their means.
        let means: Vec<f64> = data.chunks(20).map(|block| block.iter().sum::<f64>() / 20.0).collect();
        let of_means = Paired::default().test(&means, Seed::new(1)).unwrap().mean;
        assert_relative_eq!(found.mean.low, of_means.low, max_relative = 1e-9);
        assert_eq!(found.mean.df, 3.0);
        assert!(found.to_string().contains("n = 80 in 4 blocks (80 positive"), "{found}");
    }

    #[test]
    fn the_interval_is_students() {
        let found = Paired::default().test(&MICE, Seed::new(1)).unwrap();
        let t = crate::classical::one_sample_t(&MICE, found.mean.tail, 0.95).unwrap();
        assert_relative_eq!(found.mean.low, t.low, max_relative = 1e-12);
        assert_relative_eq!(found.permutation.statistic, t.t, max_relative = 1e-12);
    }

    #[test]
    fn refuses_nonsense() {
        let config = Paired::default();
        assert!(config.test(&[1.0], Seed::new(0)).is_err());
        assert!(config.test(&[1.0, 1.0], Seed::new(0)).is_err());
        assert!(config.test_blocks(&MICE, &[0; 6], Seed::new(0)).is_err());
        assert!(config.test_blocks(&MICE, &[0; 5], Seed::new(0)).is_err());
    }
}
