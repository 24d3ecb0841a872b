use std::path::Path;

use super::hash::{Hashes, Sums};
use super::lock::{LockFile, Pin, stamp};
use super::{DownloadError, Event, Fetched, How, Trust};
use crate::manifest::{FileName, Manifest, ManifestFile, Md5Sum, Sha256Sum};
use crate::{Error, Result};

/// What the content of a file has to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    pub size: Option<u64>,
    pub md5: Option<Md5Sum>,
    pub sha256: Option<Sha256Sum>,
}

pub(super) const EDIT: &str = "correct the manifest, or delete the lock file to learn anew";
const KEPT: &str =
    "it was there before and is never overwritten: delete or move it, and run the same command again";

impl Known {
    /// What manifest and lock file say together.
    pub(super) fn of(name: &FileName, file: Option<&ManifestFile>, pin: Option<&Pin>) -> Result<Self> {
        let manifest = file.map(|file| Self { size: file.size, md5: file.md5, sha256: file.sha256 });
        let lock = pin.map(|pin| Self { size: pin.size, md5: pin.md5, sha256: pin.sha256 });
        let (a, b) = (manifest.unwrap_or_default(), lock.unwrap_or_default());
        a.with(b, name, ["the manifest", "the lock file"], EDIT)
    }

    /// What two sources say together; where they contradict each other, an error that names both.
    pub(super) fn with(
        self,
        other: Self,
        name: &FileName,
        who: [&str; 2],
        remedy: &'static str,
    ) -> Result<Self> {
        fn one<T: PartialEq + ToString>(
            kind: &str,
            pair: (Option<T>, Option<T>),
            who: [&str; 2],
        ) -> Result<Option<T>, String> {
            match pair {
                (Some(a), Some(b)) if a != b => Err(format!(
                    "{kind} is {} in {} and {} in {}",
                    a.to_string(),
                    who[0],
                    b.to_string(),
                    who[1]
                )),
                (a, b) => Ok(a.or(b)),
            }
        }
        let conflict =
            |problem: String| DownloadError::Conflict { name: name.as_str().into(), problem, remedy };
        Ok(Self {
            size: one("size", (self.size, other.size), who).map_err(conflict)?,
            md5: one("MD5", (self.md5, other.md5), who).map_err(conflict)?,
            sha256: one("SHA-256", (self.sha256, other.sha256), who).map_err(conflict)?,
        })
    }

    pub(super) fn has_checksum(&self) -> bool {
        self.md5.is_some() || self.sha256.is_some()
    }

    /// Compares content with all that is known of it.
    pub(super) fn compare(&self, path: &Path, found: &Sums, remedy: &'static str) -> Result<Trust> {
        let mismatch = |kind, expected: String, found: String| {
            Err(DownloadError::Mismatch { path: path.into(), kind, expected, found, remedy }.into())
        };
        if let Some(size) = self.size.filter(|&size| size != found.bytes) {
            return mismatch("size", size.to_string(), found.bytes.to_string());
        }
        if let Some(sum) = self.sha256.filter(|&sum| sum != found.sha256) {
            return mismatch("SHA-256", sum.to_string(), found.sha256.to_string());
        }
        if let Some(sum) = self.md5.filter(|&sum| sum != found.md5) {
            return mismatch("MD5", sum.to_string(), found.md5.to_string());
        }
        Ok(if self.has_checksum() { Trust::Checksum } else { Trust::FirstUse })
    }
}

/// A file that was verified before and has not changed.
pub(super) fn present(
    manifest: &Manifest,
    folder: &Path,
    lock: &LockFile,
    name: &FileName,
) -> Result<Option<Fetched>> {
    let path = name.below(folder);
    let Some((size, modified)) = stamp(&path).map_err(|source| Error::Io { path: path.clone(), source })?
    else {
        return Ok(None);
    };
    let Some(pin) = lock.files.get(name) else { return Ok(None) };
    Known::of(name, manifest.file(name.as_str()), Some(pin))?;
    let unchanged = pin.size == Some(size) && pin.verified_modified_ns == Some(modified);
    let found = pin.sha256.filter(|_| unchanged);
    Ok(found.map(|sha256| Fetched {
        name: name.clone(),
        path,
        size,
        sha256,
        how: How::Present,
        trust: Trust::Checksum,
    }))
}

/// Reads a file that is there and compares it with what is known.
pub(super) fn verify(
    name: &FileName,
    path: &Path,
    known: &Known,
    observe: &dyn Fn(&Event<'_>),
) -> Result<(Fetched, Sums)> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    observe(&Event::Verifying { name: name.as_str(), size });
    let mut hashes = Hashes::default();
    hashes.read(file, |done| observe(&Event::Bytes { name: name.as_str(), done })).map_err(io)?;
    let sums = hashes.sums();
    let trust = known.compare(path, &sums, KEPT)?;
    let (size, sha256, how) = (sums.bytes, sums.sha256, How::Verified);
    Ok((Fetched { name: name.clone(), path: path.to_path_buf(), size, sha256, how, trust }, sums))
}
