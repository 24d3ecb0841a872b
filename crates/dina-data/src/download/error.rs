use std::path::PathBuf;
use std::time::Duration;

/// Why a file could not be fetched. Every message names the file or the address, and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The network or the server failed, more often than a download tries again.
    #[error(
        "{name}: {problem}, after {attempts} attempt(s) at {url}; run the same command again: what has come is kept"
    )]
    Network {
        /// The file, or `listing`.
        name: String,
        /// The address.
        url: String,
        /// How often it was tried.
        attempts: u32,
        /// What happened last.
        problem: String,
    },
    /// The server answered, and trying again will not change the answer.
    #[error(
        "{name}: {problem} at {url}; check the address in the manifest, --base-url and the page of the deposit"
    )]
    Refused {
        /// The file, or `listing`.
        name: String,
        /// The address.
        url: String,
        /// What it answered.
        problem: String,
    },
    /// The content is not what was promised.
    #[error(
        "{path}: {kind} is {found}, expected {expected}; {remedy}", path = path.display()
    )]
    Mismatch {
        /// The file on disk.
        path: PathBuf,
        /// What was compared: `size`, `MD5` or `SHA-256`.
        kind: &'static str,
        /// What manifest, lock file or deposit say.
        expected: String,
        /// What is there.
        found: String,
        /// What the user can do.
        remedy: &'static str,
    },
    /// Manifest, lock file and deposit contradict each other.
    #[error("{name}: {problem}; {remedy}")]
    Conflict {
        /// The file.
        name: String,
        /// Who says what.
        problem: String,
        /// What the user can do.
        remedy: &'static str,
    },
    /// The disk is too small.
    #[error(
        "{folder}: {name} needs {needed} more bytes and the disk has {available} free; free some, or give another folder with --dir or DINA_DATA_DIR",
        folder = folder.display()
    )]
    Space {
        /// The folder that is written to.
        folder: PathBuf,
        /// The file.
        name: String,
        /// Bytes that are still to come.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// Offline, and the file is not there.
    #[error("{path}: is not there, and --offline asks no server; run without --offline, or put the file there", path = path.display())]
    Offline {
        /// Where the file should be.
        path: PathBuf,
    },
    /// What the deposit lists cannot be used.
    #[error("listing at {url}: {problem}; report it to the deposit, or pin the files in the manifest")]
    Listing {
        /// The address.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// The deposit does not list a file of the manifest.
    #[error("{name}: the deposit lists {listed} files at {url}, and none of this name; correct the manifest")]
    Unlisted {
        /// The file.
        name: String,
        /// The address of the listing.
        url: String,
        /// How many files it has.
        listed: usize,
    },
    /// No file matches what was asked for.
    #[error("--only {pattern}: {problem}; files are {known}")]
    Selection {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        problem: String,
        /// Some names that exist.
        known: String,
    },
    /// Another process downloads into the same folder.
    #[error(
        "{folder}: another process has been downloading into it for {waited:?}; wait for it, or give another folder",
        folder = folder.display()
    )]
    Busy {
        /// The folder.
        folder: PathBuf,
        /// How long this process has waited.
        waited: Duration,
    },
    /// There is no place for a cache.
    #[error("no folder to keep data in: {problem}; set DINA_DATA_DIR, or give --dir")]
    NoFolder {
        /// What is missing.
        problem: String,
    },
    /// An address that cannot be used.
    #[error("{url}: {problem}; give a whole http or https address")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
}
