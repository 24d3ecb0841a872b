//! Downloads of what a [`Manifest`] names: resumed, verified, pinned, and never made twice. Cargo feature `download`.
//!
//! [`download`] fetches into a folder and returns where the files are; where they are already, it asks nobody. What was learned of
//! the deposit and what was verified is kept beside the files, in a [`LockFile`]. `docs/downloads.md` says what happens in which
//! case.
//!
//! ```no_run
//! use dina_data::download::{DownloadConfig, download};
//! use dina_data::manifest::Manifest;
//!
//! # fn main() -> dina_data::Result<()> {
//! let manifest = Manifest::load("data-manifests/stringer-natimg2800.toml")?;
//! println!("{}", manifest.notice());
//! let mut config = DownloadConfig::default();
//! config.only = vec!["*MP032_2017-09-14.mat".to_owned()];
//! for file in download(&manifest, &config, &|_| {})? {
//!     let recording = dina_data::load_recording(&file.path)?;
//! }
//! # Ok(())
//! # }
//! ```

mod cache;
mod error;
mod hash;
mod http;
mod known;
mod listing;
mod lock;
mod plan;
mod retry;
mod transfer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use cache::{DATA_DIR_VARIABLE, cache_dir};
pub use error::DownloadError;
pub use lock::{LockFile, Pin};

use crate::Result;
use crate::manifest::{FileName, Manifest, Md5Sum, Sha256Sum};

/// Bytes that are read, hashed and written at a time.
const BUFFER: usize = 256 << 10;

/// What to fetch, from where, to where, and with how much patience.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DownloadConfig {
    /// Folder of the files; without it [`cache_dir`] and the name of the manifest.
    pub dir: Option<PathBuf>,
    /// Patterns of the file names to fetch (`*`, `?`, `[...]`; `*` matches `/` too); without any, all that are not optional.
    pub only: Vec<String>,
    /// Address that takes the place of scheme and host of every other: a mirror with the paths of the original.
    pub base_url: Option<String>,
    /// Whether to ask no server and write nothing.
    pub offline: bool,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a server may send nothing.
    pub read_timeout: Duration,
    /// How often an attempt that brought nothing is repeated. Every mebibyte that arrives starts the count anew.
    pub retries: u32,
    /// The first wait between two attempts; it doubles.
    pub first_wait: Duration,
    /// The longest wait between two attempts; a server that asks for more ends the download.
    pub longest_wait: Duration,
    /// How long to wait for another process that downloads into the same folder; without it, as long as it lives.
    pub folder_patience: Option<Duration>,
    /// What the jitter of the waits is drawn from.
    pub seed: u64,
}

impl Default for DownloadConfig {
    /// Patience for a bad line; a connection that sends nothing for 30 seconds is given up.
    fn default() -> Self {
        Self {
            dir: None,
            only: Vec::new(),
            base_url: None,
            offline: false,
            connect_timeout: Duration::from_secs(20),
            read_timeout: Duration::from_secs(30),
            retries: 6,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(120),
            folder_patience: None,
            // Clients that failed together should not come back together.
            seed: std::process::id().into(),
        }
    }
}

impl DownloadConfig {
    /// The folder in which the files of a manifest are.
    ///
    /// # Errors
    /// As [`cache_dir`].
    pub fn folder(&self, manifest: &Manifest) -> Result<PathBuf> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(manifest.name.below(&cache_dir()?)),
        }
    }
}

/// Something that happens in a download, for whoever watches.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Another process downloads into the same folder; this one waits.
    Waiting {
        /// The folder.
        folder: &'a Path,
    },
    /// The deposit is asked for its files.
    Listing {
        /// The address.
        url: &'a str,
    },
    /// A file is begun or continued. May come again, where it has to be begun anew.
    Start {
        /// The file.
        name: &'a str,
        /// Bytes that are there.
        from: u64,
        /// Size, where it is known.
        size: Option<u64>,
    },
    /// Bytes have arrived, or were read for verification.
    Bytes {
        /// The file.
        name: &'a str,
        /// Bytes that are there.
        done: u64,
    },
    /// A file that was there is read to verify it.
    Verifying {
        /// The file.
        name: &'a str,
        /// Size on disk.
        size: u64,
    },
    /// An attempt failed and is repeated.
    Retry {
        /// The file, or `listing`.
        name: &'a str,
        /// What happened.
        problem: &'a str,
        /// The wait before the next attempt.
        after: Duration,
    },
    /// A file is there and verified.
    Done {
        /// The file.
        file: &'a Fetched,
    },
}

/// A file that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fetched {
    /// Name in the manifest or in the deposit.
    pub name: FileName,
    /// Where it is.
    pub path: PathBuf,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: Sha256Sum,
    /// How it came to be there.
    pub how: How,
    /// What it was compared with.
    pub trust: Trust,
}

/// How a file came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum How {
    /// It was, and size and time of change are those of the last verification.
    Present,
    /// It was, and was read and verified now.
    Verified,
    /// It was fetched.
    Fetched,
    /// A part of it was there; the rest was fetched.
    Resumed,
}

/// What the content of a file was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Trust {
    /// A checksum that manifest, deposit or lock file state.
    Checksum,
    /// Nothing: nobody publishes a checksum. What came first is pinned and compared with from now on.
    FirstUse,
}

/// A file that could be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Available {
    /// Name in the manifest or in the deposit.
    pub name: FileName,
    /// Size in bytes, where it is known.
    pub size: Option<u64>,
    /// MD5, where it is known.
    pub md5: Option<Md5Sum>,
    /// What it is, for people.
    pub about: Option<String>,
    /// Whether it is fetched only when it is asked for.
    pub optional: bool,
    /// Bytes of it that are on disk.
    pub present: u64,
}

/// Fetches the files of a manifest and returns where they are, in the order of the manifest.
///
/// The first file that cannot be had ends it; what has come is kept, and the next call goes on from there.
///
/// # Errors
/// [`crate::Error::Download`] with what happened and the remedy; [`crate::Error::Io`]; [`crate::Error::Malformed`] for a damaged
/// lock file.
pub fn download(
    manifest: &Manifest,
    config: &DownloadConfig,
    observe: &dyn Fn(&Event<'_>),
) -> Result<Vec<Fetched>> {
    let folder = config.folder(manifest)?;
    if let Some(files) = plan::all_present(manifest, config, &folder)? {
        for file in &files {
            observe(&Event::Done { file });
        }
        return Ok(files);
    }
    if config.offline {
        return plan::offline(manifest, config, &folder, observe);
    }
    let client = http::Client::new(config)?;
    let _held = lock::FolderLock::acquire(&folder, config.folder_patience, observe)?;
    // Read again under the lock: another process may have fetched what is missing.
    let mut lock = LockFile::load(&folder, manifest)?;
    let targets = plan::targets(manifest, config, &folder, &client, &mut lock, observe)?;
    let mut fetched = Vec::with_capacity(targets.len());
    for target in &targets {
        let mut transfer = transfer::Transfer { manifest, config, folder: &folder, client: &client, observe };
        let file = transfer.run(target, &mut lock)?;
        observe(&Event::Done { file: &file });
        fetched.push(file);
    }
    Ok(fetched)
}

/// Lists the files of a manifest and of its deposit that [`DownloadConfig::only`] selects, all of them where it is empty. Writes
/// nothing; asks the deposit unless it is offline or the lock file holds its listing.
///
/// # Errors
/// As [`download`].
pub fn list(
    manifest: &Manifest,
    config: &DownloadConfig,
    observe: &dyn Fn(&Event<'_>),
) -> Result<Vec<Available>> {
    let folder = config.folder(manifest)?;
    plan::available(manifest, config, &folder, observe)
}
