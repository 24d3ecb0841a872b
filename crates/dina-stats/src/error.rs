/// Input that a statistic is not defined for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fewer items than the statistic needs.
    #[error("{what}: found {found}, at least {needed} are needed")]
    TooFew {
        /// The items counted.
        what: String,
        /// The smallest number that will do.
        needed: usize,
        /// The number given.
        found: usize,
    },
    /// Two sizes that must agree do not.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The array concerned.
        what: String,
        /// The size that was needed.
        expected: String,
        /// The size that was given.
        found: String,
    },
    /// A value that is NaN or infinite.
    #[error("{what} holds a value that is not finite (entry {index}); remove or repair it first")]
    NotFinite {
        /// The array concerned.
        what: String,
        /// The first such entry, counted from 0 in row-major order.
        index: usize,
    },
    /// A variable without variance, where the statistic divides by its variance.
    #[error("{what} {index} never changes, so its {statistic} is undefined; remove it first")]
    Constant {
        /// What is constant, such as `neuron`.
        what: String,
        /// Which one, counted from 0.
        index: usize,
        /// The statistic that was asked for.
        statistic: String,
    },
    /// A value outside the range in which the statistic is defined.
    #[error("{what} is {found}; it must be {expected}")]
    Value {
        /// The quantity concerned.
        what: String,
        /// The values that are accepted.
        expected: String,
        /// The value that was given.
        found: String,
    },
    /// A decomposition that did not converge.
    #[error("the eigendecomposition of a {size} x {size} matrix did not converge; check its scale")]
    NoConvergence {
        /// Rows of the matrix.
        size: usize,
    },
}

impl Error {
    /// An [`Error::Shape`] from anything that prints.
    pub fn shape(
        what: impl Into<String>,
        expected: impl std::fmt::Debug,
        found: impl std::fmt::Debug,
    ) -> Self {
        Self::Shape { what: what.into(), expected: format!("{expected:?}"), found: format!("{found:?}") }
    }

    /// An [`Error::Value`] from anything that prints.
    pub fn value(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::Value { what: what.into(), expected: expected.into(), found: found.to_string() }
    }

    /// Refuses fewer than `needed` items.
    pub(crate) fn at_least(what: &str, needed: usize, found: usize) -> Result<()> {
        if found >= needed {
            return Ok(());
        }
        Err(Self::TooFew { what: what.into(), needed, found })
    }

    /// Refuses the first value that is NaN or infinite.
    pub(crate) fn all_finite(what: &str, values: impl IntoIterator<Item = f64>) -> Result<()> {
        match values.into_iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(index) => Err(Self::NotFinite { what: what.into(), index }),
        }
    }
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
