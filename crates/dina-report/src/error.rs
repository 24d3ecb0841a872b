use thiserror::Error;

/// What can go wrong while a report is put together or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A picture or a set of maps whose values do not fill its shape.
    #[error("{what}: expected {expected} values for its shape, found {found}; {remedy}")]
    Shape {
        /// What was being made.
        what: String,
        /// The number of values the shape holds.
        expected: String,
        /// The number of values given.
        found: usize,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A figure could not be drawn as PNG.
    #[cfg(feature = "png")]
    #[error("figure `{figure}` as PNG: {what}")]
    Png {
        /// The name of the figure.
        figure: String,
        /// Why not, and what to do about it.
        what: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    Core(#[from] dina_core::Error),
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
