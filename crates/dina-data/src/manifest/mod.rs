//! Manifests: what a deposit of data holds, under which licence, and how its files are checked.
//!
//! A manifest is a TOML file (`data-manifests/` of the repository holds three). It says what is known of a deposit and leaves out
//! what is not: sizes and checksums that it does not pin are learned from the deposit's own listing at download time. The schema
//! is in `docs/downloads.md`.
//!
//! ```
//! use dina_data::manifest::Manifest;
//!
//! let manifest = Manifest::parse(
//!     "two-mice.toml",
//!     r#"
//! schema = 1
//! name = "two-mice"
//! title = "Two mice, one image set"
//! licence = "CC BY 4.0"
//! citation = "A. Author, B. Author (2020)"
//!
//! [source]
//! kind = "urls"
//! base = "https://data.example.org/two-mice"
//!
//! [[file]]
//! name = "a.mat"
//! size = 1024
//! md5 = "0123456789abcdef0123456789abcdef"
//!
//! [[session]]
//! mouse = "A"
//! date = "2020-01-31"
//! recording = "a.mat"
//! "#,
//! )?;
//! assert_eq!(manifest.mice(), ["A"]);
//! assert_eq!(manifest.file("a.mat").and_then(|file| file.size), Some(1024));
//!
//! let error = Manifest::parse("escape.toml", &manifest.to_toml()?.replace("a.mat", "../a.mat")).unwrap_err();
//! assert!(error.to_string().contains("file[0].name"));
//! # Ok::<(), dina_data::Error>(())
//! ```

mod check;
mod digest;
mod name;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use digest::{HexDigest, Md5Sum, Sha256Sum};
pub use name::FileName;

use crate::{Error, Result};

/// The version of the schema that this crate reads.
pub const SCHEMA: u32 = 1;

/// The largest file that a manifest or a listing may declare, 2^40 bytes: a size beyond it is a mistake or a lie.
pub const MAX_FILE_BYTES: u64 = 1 << 40;

/// One deposit: its licence, its files and its recordings. Checked when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "check::Raw")]
#[non_exhaustive]
pub struct Manifest {
    /// Version of the schema, [`SCHEMA`].
    pub schema: u32,
    /// Short name; the cache folder and the lock file are called so.
    pub name: FileName,
    /// Title of the deposit.
    pub title: String,
    /// Digital object identifier of the deposit, where it has one, such as `10.25378/janelia.6845348`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doi: Option<String>,
    /// Name of the licence or terms of use.
    pub licence: String,
    /// Where the licence can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence_url: Option<String>,
    /// What a publication that uses the data cites.
    pub citation: String,
    /// Anything else that a user should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Where the files come from.
    pub source: Source,
    /// The files that are known by name.
    #[serde(rename = "file")]
    pub files: Vec<ManifestFile>,
    /// The recordings.
    #[serde(rename = "session", skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionFiles>,
    /// Groups of files, by pattern.
    #[serde(rename = "set", skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<FileSet>,
}

/// Where the files of a deposit come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Source {
    /// A deposit with the interface of figshare: `API/articles/ARTICLE/files` lists name, size, address and MD5 of every file.
    Figshare {
        /// Number of the article, the last part of the DOI.
        article: u64,
        /// Address of the interface, version included.
        #[serde(default = "figshare_api")]
        api: String,
        /// Address below which a file lies by its id.
        #[serde(default = "figshare_files")]
        files: String,
    },
    /// Plain web addresses; there is nobody to ask for sizes and checksums.
    Urls {
        /// A file without an address of its own is at `base/name`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<String>,
    },
}

fn figshare_api() -> String {
    "https://api.figshare.com/v2".to_owned()
}

fn figshare_files() -> String {
    "https://ndownloader.figshare.com/files".to_owned()
}

/// One file of a deposit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ManifestFile {
    /// Name in the deposit and below the data folder.
    pub name: FileName,
    /// What it holds, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Number of the file in the deposit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Address, where the source does not imply it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// MD5 of the content, which is what deposits publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<Md5Sum>,
    /// SHA-256 of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Sum>,
    /// Whether it is fetched only when it is asked for by name or pattern.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// One recording: whose, when, and in which files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionFiles {
    /// The animal. Recordings of one animal belong on one side of a split over animals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mouse: Option<String>,
    /// Day of the recording, `YYYY-MM-DD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// File of the responses.
    pub recording: FileName,
    /// File of the images that were shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<FileName>,
    /// Name of the stimulus set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stimuli: Option<String>,
}

/// A group of files of a deposit, by pattern, whether the manifest knows their names or only the deposit does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileSet {
    /// Name of the group.
    pub name: String,
    /// Shell pattern over file names (`*`, `?`, `[...]`).
    pub pattern: String,
    /// What the files are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Error::Io`]; else as [`Manifest::parse`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads a manifest from text; `origin` stands in errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] with line and key where it is not TOML, or a key is unknown, missing or of another type;
    /// [`Error::Variable`] with the key where a value cannot be used: a name that leaves the data folder, a name that stands
    /// twice, a size of 0 or beyond [`MAX_FILE_BYTES`], a checksum of the wrong length, an address that is not http or https, a
    /// session whose file is not listed.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let raw: check::Raw = toml::from_str(text).map_err(|error| Error::Malformed {
            path: origin.into(),
            what: format!("{error}; the schema of manifests is in docs/downloads.md"),
        })?;
        raw.check(origin)
    }

    /// The manifest as TOML, which [`Manifest::parse`] reads back.
    ///
    /// # Errors
    /// [`Error::Malformed`] where a number does not fit into TOML (ids above 2^63).
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::Malformed { path: self.name.as_str().into(), what: error.to_string() })
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> Option<&ManifestFile> {
        self.files.iter().find(|file| file.name.as_str() == name)
    }

    /// The animals, in the order in which they first appear.
    pub fn mice(&self) -> Vec<&str> {
        let mut mice = Vec::new();
        for mouse in self.sessions.iter().filter_map(|session| session.mouse.as_deref()) {
            if !mice.contains(&mouse) {
                mice.push(mouse);
            }
        }
        mice
    }

    /// Title, DOI, licence and citation in lines for people: what has to be shown before anything is fetched.
    pub fn notice(&self) -> String {
        let mut lines = vec![self.title.clone()];
        lines.extend(self.doi.as_ref().map(|doi| format!("DOI       https://doi.org/{doi}")));
        let url = self.licence_url.as_ref().map(|url| format!(", {url}")).unwrap_or_default();
        lines.push(format!("licence   {}{url}", self.licence));
        lines.push(format!("citation  {}", self.citation));
        lines.extend(self.notes.as_ref().map(|notes| format!("note      {notes}")));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests;
