//! Intervals for a proportion of independent trials.

use std::fmt;

use crate::{
    Error, Result,
    distribution::{beta_quantile, normal_quantile},
    sentence::Ci,
};
use serde::{Deserialize, Serialize};

/// A proportion with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Proportion {
    /// Successes over trials.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Successes.
    pub successes: usize,
    /// Trials.
    pub trials: usize,
    /// Nominal coverage.
    pub level: f64,
}

impl fmt::Display for Proportion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ci = Ci { low: self.low, high: self.high, level: self.level };
        write!(f, "{} of {} ({:.3}, {ci})", self.successes, self.trials, self.estimate)
    }
}

/// Wilson's score interval: the proportions that a normal test at `level` does not reject. The one
/// to print; it stays inside `[0, 1]` and covers well for few trials (Wilson 1927).
///
/// # Errors
/// [`Error::TooFew`] without trials, [`Error::Value`] for more successes than trials or a level
/// outside (0, 1).
pub fn wilson(successes: usize, trials: usize, level: f64) -> Result<Proportion> {
    check(successes, trials, level)?;
    let n = trials as f64;
    let p = successes as f64 / n;
    let z = normal_quantile(0.5 + level / 2.0);
    let denominator = 1.0 + z * z / n;
    let centre = (p + z * z / (2.0 * n)) / denominator;
    let half = z / denominator * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    Ok(Proportion {
        estimate: p,
        low: if successes == 0 { 0.0 } else { (centre - half).max(0.0) },
        high: if successes == trials { 1.0 } else { (centre + half).min(1.0) },
        successes,
        trials,
        level,
    })
}

/// Clopper and Pearson's interval from beta quantiles: coverage is at least `level`, at the price of
/// width (Clopper and Pearson 1934). The one for decision rules.
///
/// # Errors
/// As [`wilson`].
pub fn clopper_pearson(successes: usize, trials: usize, level: f64) -> Result<Proportion> {
    check(successes, trials, level)?;
    let tail = (1.0 - level) / 2.0;
    let (k, n) = (successes as f64, trials as f64);
    let low = if successes == 0 { 0.0 } else { beta_quantile(tail, k, n - k + 1.0) };
    let high = if successes == trials { 1.0 } else { beta_quantile(1.0 - tail, k + 1.0, n - k) };
    Ok(Proportion { estimate: k / n, low, high, successes, trials, level })
}

fn check(successes: usize, trials: usize, level: f64) -> Result<()> {
    Error::at_least("trials", 1, trials)?;
    if successes > trials {
        return Err(Error::value("successes", format!("at most the {trials} trials"), successes));
    }
    check_level(level)
}

/// Refuses a confidence level outside (0, 1).
pub(crate) fn check_level(level: f64) -> Result<()> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(Error::value("confidence level", "between 0 and 1", level))
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    /// scipy 1.17.1: `binomtest(7, 50).proportion_ci(0.95, method="wilson" | "exact")`.
    #[test]
    fn as_scipy() {
        let w = wilson(7, 50, 0.95).unwrap();
        assert_relative_eq!(w.low, 0.069_508_334_270_162_92, max_relative = 1e-12);
        assert_relative_eq!(w.high, 0.261_861_937_105_855_37, max_relative = 1e-12);
        let c = clopper_pearson(7, 50, 0.95).unwrap();
        assert_relative_eq!(c.low, 0.058_191_700_339_973_44, max_relative = 1e-10);
        assert_relative_eq!(c.high, 0.267_396_002_497_068_46, max_relative = 1e-10);
    }

    #[test]
    fn none_and_all() {
        // Closed form of the exact interval: 1 - (alpha/2)^(1/n).
        let none = clopper_pearson(0, 10, 0.95).unwrap();
        assert_eq!(none.low, 0.0);
        assert_relative_eq!(none.high, 1.0 - 0.025_f64.powf(0.1), max_relative = 1e-9);
        let all = wilson(10, 10, 0.95).unwrap();
        assert_eq!(all.high, 1.0);
        assert!(all.low > 0.6);
    }

    #[test]
    fn refuses_nonsense() {
        assert!(wilson(1, 0, 0.95).is_err());
        assert!(wilson(3, 2, 0.95).is_err());
        assert!(clopper_pearson(1, 2, f64::NAN).is_err());
    }
}
