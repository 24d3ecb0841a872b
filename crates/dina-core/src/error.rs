use std::path::PathBuf;

use crate::memory::bytes;

/// What can go wrong in the shared vocabulary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two shapes that must agree do not.
    #[error("{what}: expected shape {expected}, found {found}")]
    Shape {
        /// The array or tensor concerned.
        what: String,
        /// The shape that was needed.
        expected: String,
        /// The shape that was given.
        found: String,
    },
    /// A level name that the feature maps do not hold, or hold twice.
    #[error("feature maps: {0}")]
    Level(String),
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
    /// Reading or writing a file failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another run writes into a folder.
    #[error(
        "{folder}: another run writes into this folder ({holder}); wait until it is done, or choose another folder",
        folder = folder.display()
    )]
    Busy {
        /// The folder.
        folder: PathBuf,
        /// What the other run says of itself: program, process and machine.
        holder: String,
    },
    /// Something would take more memory than there is.
    #[error(
        "{what} would take about {needed} of memory, and {available} are available; {remedy}",
        needed = bytes(*needed),
        available = bytes(*available)
    )]
    Memory {
        /// What would take it.
        what: String,
        /// Bytes that are needed, as far as can be said before.
        needed: u64,
        /// Bytes that are there, or that [`MEMORY_LIMIT`](crate::MEMORY_LIMIT) allows.
        available: u64,
        /// What can be done.
        remedy: String,
    },
    /// A tensor operation failed.
    #[cfg(feature = "candle")]
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// A [`Error::Shape`] from anything that prints.
    pub fn shape(
        what: impl Into<String>,
        expected: impl std::fmt::Debug,
        found: impl std::fmt::Debug,
    ) -> Self {
        Self::Shape { what: what.into(), expected: format!("{expected:?}"), found: format!("{found:?}") }
    }

    /// A [`Error::Value`] from anything that prints.
    pub fn value(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::Value { what: what.into(), expected: expected.into(), found: found.to_string() }
    }
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
