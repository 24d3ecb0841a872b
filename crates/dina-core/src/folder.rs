use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::file::is_partial;
use crate::{Error, Result};

/// The right to write into a folder, held by one run at a time.
///
/// It is a lock of the operating system on a small file in the folder, which goes away with the process that holds
/// it: a run that was killed blocks nobody, and neither clock nor age of a file has a say. The file itself stays.
#[derive(Debug)]
pub struct FolderLock {
    path: PathBuf,
    /// Closing it gives the lock back.
    _file: File,
    held: bool,
}

impl FolderLock {
    /// Name of the file, unless [`FolderLock::named`] says another.
    pub const NAME: &str = ".dina.lock";

    /// Takes the lock of a folder, which is made where it is missing.
    ///
    /// # Errors
    /// [`Error::Busy`] with the folder and its holder when another run has it; [`Error::Io`] when the folder cannot be
    /// written into.
    pub fn acquire(folder: impl AsRef<Path>) -> Result<Self> {
        Self::named(folder, Self::NAME)
    }

    /// The same, on a file of another name.
    ///
    /// # Errors
    /// As [`FolderLock::acquire`].
    pub fn named(folder: impl AsRef<Path>, name: &str) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join(name);
        std::fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.to_path_buf(), source })?;
        let io = |source| Error::Io { path: path.clone(), source };
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
        let held = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Busy { folder: folder.to_path_buf(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) if knows_no_locks(&error) => false,
            Err(TryLockError::Error(source)) => return Err(io(source)),
        };
        if held {
            // For the message that the next one gets; a full disk must not keep anybody from reading what is there.
            let _ = sign(&mut file);
        }
        Ok(Self { path, _file: file, held })
    }

    /// Whether the file system gave a lock: one that knows none cannot keep two runs apart.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// The file that is locked.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what [`write_atomic`](crate::write_atomic) left half written in a folder when a run was killed, and returns how
    /// many files that were. Does nothing where the lock is not [held](FolderLock::is_held): another run may be writing them.
    ///
    /// `folder` has to be one that only the holder of this lock writes into; it may be missing.
    ///
    /// # Errors
    /// When the folder cannot be read, or such a file not be removed.
    pub fn remove_partial(&self, folder: impl AsRef<Path>) -> Result<usize> {
        let folder = folder.as_ref();
        let io = |path: &Path, source| Error::Io { path: path.to_path_buf(), source };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) if self.held => entries,
            Ok(_) => return Ok(0),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(source) => return Err(io(folder, source)),
        };
        let mut removed = 0;
        for entry in entries {
            let entry = entry.map_err(|source| io(folder, source))?;
            if is_partial(&entry.file_name()) {
                std::fs::remove_file(entry.path()).map_err(|source| io(&entry.path(), source))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Some network file systems have no locks, or nobody who keeps them (ENOLCK).
fn knows_no_locks(error: &std::io::Error) -> bool {
    let no_keeper = cfg!(target_os = "linux") && error.raw_os_error() == Some(37);
    no_keeper || error.kind() == std::io::ErrorKind::Unsupported
}

/// Says in the file who has it.
fn sign(file: &mut File) -> std::io::Result<()> {
    let program = std::env::current_exe().ok().and_then(|path| Some(path.file_stem()?.display().to_string()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let program = program.map_or(String::new(), |name| format!("`{name}`, "));
    let host = host.map_or(String::new(), |name| format!(" on {}", name.trim()));
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{program}process {}{host}", std::process::id())
}

/// What the holder says of itself, where that can be read.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // Not more than a line, whatever the file holds.
    match file.take(400).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.lines().next().unwrap_or_default().to_owned(),
        _ => "another process".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("dina-lock-{name}-{}", std::process::id()))
    }

    #[test]
    fn one_holder_at_a_time_and_age_does_not_matter() {
        let folder = folder("one");
        let first = FolderLock::acquire(&folder).unwrap();
        let error = FolderLock::acquire(&folder).unwrap_err().to_string();
        let process = format!("process {}", std::process::id());
        assert!(error.contains("dina-lock-one") && error.contains(&process), "{error}");
        drop(first);
        // The file that a dead run left, changed in the future or long ago, is taken over.
        for offset in [0, 4_000_000_000] {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(offset);
            let file = File::options().write(true).open(folder.join(FolderLock::NAME)).unwrap();
            file.set_modified(time).unwrap();
            drop(file);
            assert!(FolderLock::acquire(&folder).unwrap().is_held());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn only_half_written_files_are_removed() {
        let folder = folder("partial");
        let lock = FolderLock::acquire(&folder).unwrap();
        let kept = ["results.json", ".results.json.partial", "a.12-0.partial", ".b.x-1.partial", ".hidden"];
        for name in kept.iter().chain(&[".results.json.12-0.partial", ".a.b.7-33.partial"]) {
            std::fs::write(folder.join(name), "x").unwrap();
        }
        assert_eq!(lock.remove_partial(&folder).unwrap(), 2);
        assert!(kept.iter().all(|name| folder.join(name).exists()));
        assert_eq!(lock.remove_partial(folder.join("missing")).unwrap(), 0);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
