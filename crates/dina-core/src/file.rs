use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Writes a file whole or not at all: the content goes to a temporary file in the same folder,
/// is flushed to the disk, and takes the name only then. Missing folders are made.
///
/// The temporary file is removed when `write` fails, so that a full disk leaves nothing behind. A process that is killed
/// while it writes leaves `.NAME.PROCESS-COUNT.partial`, which nothing reads; see
/// [`FolderLock::remove_partial`](crate::FolderLock::remove_partial).
///
/// # Errors
/// [`Error::Io`] with the path, from `write` or from the file system.
pub fn write_atomic(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    write_then_rename(path, write).map_err(|source| Error::Io { path: path.to_path_buf(), source })
}

fn write_then_rename(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file name"))?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    let (temporary, file) = temporary(folder, name)?;
    let written = (|| {
        let mut writer = BufWriter::new(file);
        write(&mut writer)?;
        writer.into_inner().map_err(|e| e.into_error())?.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // The first error is the one worth reporting.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// A new file of a name that nobody else writes: neither another thread, nor a process of the same number on another
/// machine that shares the folder.
fn temporary(folder: &Path, name: &OsStr) -> std::io::Result<(PathBuf, File)> {
    let mut count = 0;
    loop {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{count}{PARTIAL}", std::process::id()));
        let path = folder.join(hidden);
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && count < 1000 => count += 1,
            Err(error) => return Err(error),
        }
    }
}

const PARTIAL: &str = ".partial";

/// Whether a file has a name that [`write_atomic`] gives to one it has not finished.
pub(crate) fn is_partial(name: &OsStr) -> bool {
    let numbers = || {
        let stem = name.as_encoded_bytes().strip_prefix(b".")?.strip_suffix(PARTIAL.as_bytes())?;
        let last = stem.rsplit(|&byte| byte == b'.').next().filter(|last| last.len() < stem.len())?;
        std::str::from_utf8(last).ok()?.split_once('-')
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers().is_some_and(|(process, count)| is_number(process) && is_number(count))
}

/// A SHA-256 over data, splits or configuration: two results are comparable when it is equal.
///
/// Displays as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of a sequence of byte strings; the borders between them count.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for ContentHash {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let wrong = || Error::value("content hash", "64 hexadecimal digits", &text);
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("dina-core-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = folder("atomic");
        let path = folder.join("result.json");
        write_atomic(&path, |w| w.write_all(b"old")).unwrap();
        let error = write_atomic(&path, |w| {
            w.write_all(b"half of the new")?;
            Err(std::io::Error::other("disk full"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("result.json"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn threads_that_write_one_file_leave_one_of_their_contents() {
        let folder = folder("threads");
        let path = folder.join("result.json");
        let content = |thread: u8| vec![b'a' + thread; 100_000];
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..5 {
                        write_atomic(path, |w| w.write_all(&content(thread))).unwrap();
                    }
                });
            }
        });
        let found = std::fs::read(&path).unwrap();
        assert!((0..4).any(|thread| found == content(thread)));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn hash_borders_count_and_text_round_trips() {
        let hash = ContentHash::of([b"ab".as_slice(), b"c"]);
        assert_ne!(hash, ContentHash::of([b"a".as_slice(), b"bc"]));
        assert_eq!(ContentHash::try_from(hash.to_string()).unwrap(), hash);
        assert!(ContentHash::try_from("zz".to_owned()).is_err());
        assert_eq!(hash.short().len(), 12);
    }
}
