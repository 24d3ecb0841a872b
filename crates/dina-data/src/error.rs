use std::path::PathBuf;

/// What can be wrong with data. Every message names the file, the variable and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: {source}; check the path, the permissions and the disk", path = path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The bytes of a file are not what its format promises.
    #[error("{path}: {what}", path = path.display())]
    Malformed {
        /// The file concerned.
        path: PathBuf,
        /// Where the file breaks its format, and what can be done.
        what: String,
    },
    /// The file is sound, and holds something that this version does not read.
    #[error("{path}: {what} is not supported; {remedy}", path = path.display())]
    Unsupported {
        /// The file concerned.
        path: PathBuf,
        /// The format or feature.
        what: String,
        /// What the user can do.
        remedy: String,
    },
    /// A variable is missing or has an unusable value.
    #[error("{origin}: `{variable}` {problem}; {remedy}")]
    Variable {
        /// The file or population.
        origin: String,
        /// The variable concerned, such as `stim.resp`.
        variable: String,
        /// Expected and found.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// A file could not be fetched.
    #[cfg(feature = "download")]
    #[error(transparent)]
    Download(#[from] Box<crate::download::DownloadError>),
    /// An error of the shared vocabulary.
    #[error(transparent)]
    Core(#[from] dina_core::Error),
}

#[cfg(feature = "download")]
impl From<crate::download::DownloadError> for Error {
    fn from(error: crate::download::DownloadError) -> Self {
        Box::new(error).into()
    }
}

impl Error {
    /// An [`Error::Variable`] from its four parts.
    pub fn variable(
        origin: impl Into<String>,
        variable: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Variable {
            origin: origin.into(),
            variable: variable.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
