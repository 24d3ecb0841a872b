use ndarray::{ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

/// Input that cannot be decoded, or a fit that is not defined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// A value outside the range in which the operation is defined.
    #[error("{what} is {found}; it must be {expected}")]
    Value {
        /// The quantity concerned.
        what: String,
        /// The values that are accepted.
        expected: String,
        /// The value that was given.
        found: String,
    },
    /// A value that is NaN or infinite.
    #[error("{what} holds a value that is not finite (row {row}, column {column}); repair it first")]
    NotFinite {
        /// The array concerned.
        what: String,
        /// Row of the first such value, counted from 0.
        row: usize,
        /// Column of the first such value, counted from 0.
        column: usize,
    },
    /// A statistic that is not defined for this input.
    #[error(transparent)]
    Statistics(#[from] dina_stats::Error),
}

impl Error {
    pub(crate) fn shape(
        what: impl Into<String>,
        expected: impl std::fmt::Debug,
        found: impl std::fmt::Debug,
    ) -> Self {
        Self::Shape { what: what.into(), expected: format!("{expected:?}"), found: format!("{found:?}") }
    }

    pub(crate) fn value(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::Value { what: what.into(), expected: expected.into(), found: found.to_string() }
    }

    /// Refuses the first value that is NaN or infinite.
    pub(crate) fn all_finite(what: &str, values: ArrayView2<f32>) -> Result<()> {
        // Without an early end, which the compiler turns into vector instructions.
        let finite = |row: ArrayView1<f32>| match row.as_slice() {
            Some(row) => row.iter().fold(true, |all, v| all & v.is_finite()),
            None => row.iter().all(|v| v.is_finite()),
        };
        match values.axis_iter(Axis(0)).into_par_iter().position_first(|row| !finite(row)) {
            None => Ok(()),
            Some(row) => {
                let column = values.row(row).iter().position(|v| !v.is_finite()).unwrap_or(0);
                Err(Self::NotFinite { what: what.into(), row, column })
            }
        }
    }
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
