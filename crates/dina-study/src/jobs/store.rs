use std::path::{Path, PathBuf};

use dina_core::{ContentHash, write_atomic};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// Results by key, a JSON file each.
///
/// Files are written whole or not at all, so several processes may share a folder: the worst that happens is that one
/// result is computed twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// A store in a folder, which is made when something is first kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is kept under a key; `None` where there is nothing, or nothing that can be read: it is then made again.
    pub fn get<T: DeserializeOwned>(&self, key: ContentHash) -> Option<T> {
        serde_json::from_str(&std::fs::read_to_string(self.path(key)).ok()?).ok()
    }

    /// Whether something is kept under a key, readable or not.
    pub fn has(&self, key: ContentHash) -> bool {
        self.path(key).exists()
    }

    /// Keeps a result.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put<T: Serialize>(&self, key: ContentHash, value: &T) -> Result<()> {
        let path = self.path(key);
        std::fs::create_dir_all(&self.folder)
            .map_err(|source| dina_core::Error::Io { path: self.folder.clone(), source })?;
        let text =
            serde_json::to_string(value).map_err(|e| Error::Job(format!("{}: {e}", path.display())))?;
        Ok(write_atomic(path, |writer| writeln!(writer, "{text}"))?)
    }

    fn path(&self, key: ContentHash) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("new"));
        let key = ContentHash::of([b"a".as_slice()]);
        assert_eq!(store.get::<Vec<f64>>(key), None);
        assert!(!store.has(key));
        store.put(key, &vec![0.1, 1e-300]).unwrap();
        assert_eq!(store.get(key), Some(vec![0.1, 1e-300]));
        std::fs::write(store.path(key), "[0.1, 1e-3").unwrap();
        assert_eq!(store.get::<Vec<f64>>(key), None);
        assert!(store.has(key));
    }
}
