//! Correlations, explained variances and reliabilities, which are not to be mixed up.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A correlation coefficient r, in [-1, 1].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Correlation(f64);

/// A fraction of variance explained, on the scale of r^2: at most 1, negative when worse than the
/// mean or when an estimate of it falls below zero.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExplainedVariance(f64);

/// The reliability rho of a measurement: the share of its variance that is not noise. It is a ratio
/// of variances although it is estimated by a correlation between halves.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reliability(f64);

impl Correlation {
    /// A correlation from its value; rounding beyond 1 by up to 1e-6 is clipped.
    ///
    /// # Errors
    /// [`Error::Value`] outside [-1, 1].
    pub fn new(r: f64) -> Result<Self> {
        if r.abs() <= 1.0 + 1e-6 {
            return Ok(Self(r.clamp(-1.0, 1.0)));
        }
        Err(Error::value("correlation", "between -1 and 1", r))
    }

    /// Pearson's correlation of two samples.
    ///
    /// # Errors
    /// [`Error::TooFew`] below two pairs, [`Error::Shape`], [`Error::NotFinite`],
    /// [`Error::Constant`].
    pub fn pearson(x: &[f64], y: &[f64]) -> Result<Self> {
        Error::at_least("pairs", 2, x.len())?;
        if x.len() != y.len() {
            return Err(Error::shape("second sample", x.len(), y.len()));
        }
        Error::all_finite("first sample", x.iter().copied())?;
        Error::all_finite("second sample", y.iter().copied())?;
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let (mx, my) = (mean(x), mean(y));
        let mut moments = Moments::default();
        for (x, y) in x.iter().zip(y) {
            moments.add(x - mx, y - my);
        }
        moments.correlation("sample", 0)
    }

    /// The number r.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The explained variance of a linear prediction with this correlation, r^2.
    pub fn squared(self) -> ExplainedVariance {
        ExplainedVariance(self.0 * self.0)
    }

    /// The reliability of a measurement `lengths` times as long as each of the two parts whose
    /// correlation this is: rho = n r / (1 + (n - 1) r) (Spearman 1910, Brown 1910). Two for halves.
    ///
    /// # Errors
    /// [`Error::Value`] when `lengths` is below 1, or r so negative that the formula has no value
    /// (r <= -1 / (n - 1)).
    pub fn spearman_brown(self, lengths: f64) -> Result<Reliability> {
        if lengths.is_nan() || lengths < 1.0 {
            return Err(Error::value("lengths", "at least 1", lengths));
        }
        let denominator = 1.0 + (lengths - 1.0) * self.0;
        if denominator <= 0.0 {
            return Err(Error::value(
                "split-half correlation",
                format!("above {}", -1.0 / (lengths - 1.0)),
                self.0,
            ));
        }
        Ok(Reliability(lengths * self.0 / denominator))
    }

    /// The median of several.
    ///
    /// # Errors
    /// [`Error::TooFew`] for none.
    pub fn median(values: &[Self]) -> Result<Self> {
        Error::at_least("correlations", 1, values.len())?;
        let mut sorted: Vec<f64> = values.iter().map(|r| r.0).collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        Ok(Self(if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        }))
    }
}

impl ExplainedVariance {
    /// An explained variance from its value.
    ///
    /// # Errors
    /// [`Error::Value`] above 1 (beyond rounding of 1e-6) or not finite.
    pub fn new(value: f64) -> Result<Self> {
        if value.is_finite() && value <= 1.0 + 1e-6 {
            return Ok(Self(value.min(1.0)));
        }
        Err(Error::value("explained variance", "at most 1", value))
    }

    /// The fraction.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The mean of several.
    ///
    /// # Errors
    /// [`Error::TooFew`] for none.
    pub fn mean(values: &[Self]) -> Result<Self> {
        Error::at_least("explained variances", 1, values.len())?;
        Ok(Self(values.iter().map(|v| v.0).sum::<f64>() / values.len() as f64))
    }
}

impl Reliability {
    /// The number rho.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The largest correlation that a noise-free prediction can have with the measurement, sqrt(rho).
    ///
    /// # Errors
    /// [`Error::Value`] when rho is negative: there is no ceiling then.
    pub fn ceiling(self) -> Result<Correlation> {
        if self.0 >= 0.0 {
            return Ok(Correlation(self.0.sqrt().min(1.0)));
        }
        Err(Error::value("reliability", "not negative", self.0))
    }

    /// An explained variance as a fraction of the explainable: r^2 / rho. It may exceed 1 by the
    /// error of rho, so it is a plain number.
    ///
    /// # Errors
    /// [`Error::Value`] when rho is not positive.
    pub fn normalise(self, explained: ExplainedVariance) -> Result<f64> {
        if self.0 > 0.0 {
            return Ok(explained.0 / self.0);
        }
        Err(Error::value("reliability", "positive", self.0))
    }
}

/// Sums of squares and products of two centred samples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    pub(super) xx: f64,
    pub(super) yy: f64,
    pub(super) xy: f64,
}

impl Moments {
    pub(super) fn add(&mut self, x: f64, y: f64) {
        self.xx += x * x;
        self.yy += y * y;
        self.xy += x * y;
    }

    pub(super) fn correlation(&self, what: &str, index: usize) -> Result<Correlation> {
        if self.xx > 0.0 && self.yy > 0.0 {
            Correlation::new(self.xy / (self.xx * self.yy).sqrt())
        } else {
            Err(constant(what, index, "correlation"))
        }
    }
}

pub(super) fn constant(what: &str, index: usize, statistic: &str) -> Error {
    Error::Constant { what: what.into(), index, statistic: statistic.into() }
}
