use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{DownloadError, Event};
use crate::manifest::{FileName, Manifest, Md5Sum, Sha256Sum};
use crate::{Error, Result};

const SCHEMA: u32 = 1;

/// What is known of the files of one deposit in one folder: `NAME.lock.toml`.
///
/// It pins what the deposit said and what was verified, so that a second run asks nobody, and a deposit that changes is noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LockFile {
    /// Version of the schema.
    pub schema: u32,
    /// Name of the manifest.
    pub manifest: FileName,
    /// Address of the listing, where the whole listing of the deposit stands in `files`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// What is known, by name.
    #[serde(rename = "file", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<FileName, Pin>,
}

/// What is known of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Pin {
    /// Number of the file in the deposit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Address, as the deposit lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// MD5 of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<Md5Sum>,
    /// SHA-256 of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Sum>,
    /// Version of the content that a partial file is of, as the server calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When the verified file was last changed, in nanoseconds since 1970: a file with this time and size is not read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_modified_ns: Option<i64>,
}

impl LockFile {
    /// Where the lock file of a manifest lies.
    pub fn path(folder: &Path, manifest: &Manifest) -> PathBuf {
        folder.join(format!("{}.lock.toml", manifest.name))
    }

    /// Reads the lock file of a manifest; an empty one where there is none.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] with line and key where it is damaged, or of another manifest or schema.
    pub fn load(folder: &Path, manifest: &Manifest) -> Result<Self> {
        let path = Self::path(folder, manifest);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self {
                    schema: SCHEMA,
                    manifest: manifest.name.clone(),
                    listing: None,
                    files: BTreeMap::new(),
                });
            }
            Err(source) => return Err(Error::Io { path, source }),
        };
        let malformed = |what: String| Error::Malformed {
            path: path.clone(),
            what: format!(
                "{what}; delete the lock file: files that are there are verified again, not fetched"
            ),
        };
        let lock: Self = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if lock.schema != SCHEMA || lock.manifest != manifest.name {
            return Err(malformed(format!(
                "is of schema {} and manifest {}, expected {SCHEMA} and {}",
                lock.schema, lock.manifest, manifest.name
            )));
        }
        Ok(lock)
    }

    /// Writes it, whole or not at all.
    pub(super) fn save(&self, folder: &Path, manifest: &Manifest) -> Result<()> {
        let path = Self::path(folder, manifest);
        let text = toml::to_string(self)
            .map_err(|error| Error::Malformed { path: path.clone(), what: error.to_string() })?;
        Ok(dina_core::write_atomic(&path, |writer| {
            writer.write_all(
                b"# Written by DINA. Pins what was learned of the deposit and verified here.\n\n",
            )?;
            writer.write_all(text.as_bytes())
        })?)
    }

    /// The pin of a file, made where there is none.
    pub(super) fn pin(&mut self, name: &FileName) -> &mut Pin {
        self.files.entry(name.clone()).or_default()
    }
}

/// Size and time of change of a file, as the lock file keeps them.
pub(super) fn stamp(path: &Path) -> std::io::Result<Option<(u64, i64)>> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() {
        return Err(std::io::Error::other("is not a file"));
    }
    let since = |time: std::time::SystemTime| match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    };
    Ok(Some((metadata.len(), metadata.modified().map_or(0, since))))
}

/// The right to write into a folder, held by one process at a time. The operating system takes it back when a process dies.
pub(super) struct FolderLock {
    _lock: dina_core::FolderLock,
}

/// How often another process is asked for.
const POLL: Duration = Duration::from_millis(100);

impl FolderLock {
    pub(super) fn acquire(
        folder: &Path,
        patience: Option<Duration>,
        observe: &dyn Fn(&Event<'_>),
    ) -> Result<Self> {
        let start = Instant::now();
        let mut told = false;
        loop {
            match dina_core::FolderLock::named(folder, ".dina-download.lock") {
                Ok(lock) => return Ok(Self { _lock: lock }),
                Err(dina_core::Error::Busy { .. }) => {}
                Err(dina_core::Error::Io { path, source }) => return Err(Error::Io { path, source }),
                Err(error) => return Err(error.into()),
            }
            if !told {
                observe(&Event::Waiting { folder });
                told = true;
            }
            if let Some(patience) = patience.filter(|&patience| start.elapsed() >= patience) {
                return Err(DownloadError::Busy { folder: folder.into(), waited: patience }.into());
            }
            std::thread::sleep(POLL);
        }
    }
}
