/// What can end a job. Every message names the file or variable and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Tensors, seeds, checkpoints.
    #[error(transparent)]
    Core(#[from] dina_core::Error),
    /// Files, recordings, splits, preprocessing.
    #[error(transparent)]
    Data(#[from] dina_data::Error),
    /// Identification and baselines.
    #[error(transparent)]
    Decode(#[from] dina_decode::Error),
    /// Analyses of the maps.
    #[error(transparent)]
    Interp(#[from] dina_interp::Error),
    /// Statistics.
    #[error(transparent)]
    Stats(#[from] dina_stats::Error),
    /// The report.
    #[error(transparent)]
    Report(#[from] dina_report::Error),
    /// A combination of settings or a state of the output folder that the job cannot work with.
    #[error("{0}")]
    Job(String),
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Core(error.into())
    }
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
