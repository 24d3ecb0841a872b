/// What can go wrong in an analysis of maps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Maps of the wrong shape or with values that are not finite.
    #[error(transparent)]
    Core(#[from] dina_core::Error),
    /// A test that could not be made.
    #[error(transparent)]
    Stats(#[from] dina_stats::Error),
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
