//! Which statistics count as extreme, and the p-value of a null sample.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which statistics count as extreme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tail {
    /// As large or larger.
    Greater,
    /// As small or smaller.
    Less,
    /// Twice the smaller of the two one-sided p, capped at 1.
    TwoSidedDoubled,
    /// As large or larger in absolute value.
    TwoSidedAbsolute,
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greater => "one-sided, greater",
            Self::Less => "one-sided, less",
            Self::TwoSidedDoubled => "two-sided by doubling",
            Self::TwoSidedAbsolute => "two-sided by absolute value",
        })
    }
}

/// The p-value of an observed statistic under a null sample.
///
/// Monte Carlo: p = (1 + #{T* >= T}) / (1 + B), which is never 0 (Phipson and Smyth 2010). Exact
/// enumeration, in which the observed arrangement is one of the null: p = #{T* >= T} / B. Values that
/// differ from T by less than 1e-12 of it count as equal, because sums of the same numbers in another
/// order differ by rounding.
///
/// # Errors
/// [`Error::TooFew`] for an empty null, [`Error::NotFinite`].
pub fn p_value(observed: f64, null: &[f64], tail: Tail, exact: bool) -> Result<f64> {
    Error::at_least("null statistics", 1, null.len())?;
    Error::all_finite("observed statistic", [observed])?;
    Error::all_finite("null statistics", null.iter().copied())?;
    Ok(share(observed, null, tail, exact))
}

/// [`p_value`] of values that were checked.
pub(super) fn share(observed: f64, null: &[f64], tail: Tail, exact: bool) -> f64 {
    let extra = if exact { 0.0 } else { 1.0 };
    let one_sided = |side: Side| {
        let count = null.iter().filter(|&&t| side.reaches(t, observed)).count() as f64;
        (extra + count) / (extra + null.len() as f64)
    };
    match tail {
        Tail::TwoSidedDoubled => (2.0 * one_sided(Side::Up).min(one_sided(Side::Down))).min(1.0),
        _ => one_sided(Side::of(tail)),
    }
}

/// One direction in which a statistic can be extreme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Up,
    Down,
    Away,
}

impl Side {
    /// The side of a tail that has one; the upper of a doubled one.
    pub(super) fn of(tail: Tail) -> Self {
        match tail {
            Tail::Greater | Tail::TwoSidedDoubled => Self::Up,
            Tail::Less => Self::Down,
            Tail::TwoSidedAbsolute => Self::Away,
        }
    }

    /// Whether `t` is at least as extreme as `observed`.
    pub(super) fn reaches(self, t: f64, observed: f64) -> bool {
        let slack = tolerance(observed);
        match self {
            Self::Up => t >= observed - slack,
            Self::Down => t <= observed + slack,
            Self::Away => t.abs() >= observed.abs() - slack,
        }
    }
}

/// By how much two statistics may differ and still count as equal.
pub(super) fn tolerance(observed: f64) -> f64 {
    1e-12 * observed.abs()
}

/// The statistic, turned so that larger is more extreme. Doubling has no such order over channels, so
/// both two-sided tails take the absolute value.
pub(crate) fn extremeness(t: f64, tail: Tail) -> f64 {
    match tail {
        Tail::Greater => t,
        Tail::Less => -t,
        Tail::TwoSidedDoubled | Tail::TwoSidedAbsolute => t.abs(),
    }
}
