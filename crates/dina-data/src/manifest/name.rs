use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The longest name, in bytes. Most file systems allow 255 for one part of a path; ours get a prefix and a suffix.
const LONGEST: usize = 240;

/// Names that Windows keeps for devices, whatever follows behind a dot.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// The name of a file below the data folder: relative, with `/` between its parts, safe on every platform.
///
/// A name that could reach another place cannot be made: no absolute paths, no `..`, no drive letters or streams (`:`), no
/// backslashes, no control characters, no hidden files, no device names, no part that ends in a dot or a space. Names that
/// downloads use themselves (`*.lock.toml`) are refused too.
///
/// ```
/// use dina_data::manifest::FileName;
///
/// assert!(FileName::new("recordings/mouse-1.mat").is_ok());
/// for name in ["/etc/passwd", "../up.mat", "a/../../up.mat", "C:\\a.mat", "nul.mat", ""] {
///     assert!(FileName::new(name).is_err(), "{name}");
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FileName(String);

impl FileName {
    /// Checks a name.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that starts with the name.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        match problem(&name) {
            Some(problem) => Err(NameError { name, problem }),
            None => Ok(Self(name)),
        }
    }

    /// The name, with `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the file lies below a folder.
    pub fn below(&self, folder: &Path) -> PathBuf {
        self.0.split('/').fold(folder.to_path_buf(), |path, part| path.join(part))
    }

    /// What two names must not share: file systems that ignore case would give them one file.
    pub(crate) fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

/// A name that is not safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} {problem}")]
#[non_exhaustive]
pub struct NameError {
    /// The name.
    pub name: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

fn problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty");
    }
    if name.len() > LONGEST {
        return Some("is longer than 240 bytes");
    }
    if name.starts_with('/') || name.contains('\\') || name.contains(':') {
        return Some("is an absolute path, or has a backslash or colon");
    }
    if name.chars().any(|c| c.is_control() || "<>\"|?*".contains(c)) {
        return Some("has a character that file systems refuse");
    }
    if name.to_lowercase().ends_with(".lock.toml") {
        return Some("ends in .lock.toml, which downloads use themselves");
    }
    name.split('/').find_map(part_problem)
}

fn part_problem(part: &str) -> Option<&'static str> {
    let stem = part.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let numbered = ["com", "lpt"].iter().any(|device| {
        stem.strip_prefix(device).is_some_and(|rest| {
            let mut rest = rest.chars();
            rest.next().is_some_and(|c| c.is_ascii_digit() || "¹²³".contains(c)) && rest.next().is_none()
        })
    });
    if part.is_empty() {
        Some("has an empty part")
    } else if part == "." || part == ".." {
        Some("leaves or repeats the folder with `.` or `..`")
    } else if part.starts_with('.') {
        Some("has a part that starts with a dot")
    } else if part.ends_with(['.', ' ']) || part.starts_with(' ') {
        Some("has a part that starts with a space or ends in a space or a dot")
    } else if numbered || DEVICES.contains(&stem.as_str()) {
        Some("has a part that is the name of a device on Windows")
    } else {
        None
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for FileName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

impl TryFrom<String> for FileName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(name)
    }
}
