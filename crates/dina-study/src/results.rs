use std::collections::BTreeMap;
use std::path::Path;

use dina_core::{ContentHash, write_atomic};
use dina_decode::Choice;
use dina_decode::identification::{Decoder, Identification};
use dina_interp::Alignability;
use serde::{Deserialize, Serialize};

use crate::claims::{BandIdentification, Basis, Judged};
use crate::{Comparison, Error, RecordingSummary, Result};

/// Version of the form of `results.json`; it grows when a field changes its meaning.
pub const SCHEMA: u32 = 1;

/// What `results.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of this crate.
    pub version: String,
    /// `smoke`, `quick` or `full`.
    pub profile: String,
    /// The seed.
    pub seed: u64,
    /// `cpu`, `cuda` or `metal`.
    pub device: String,
    /// Threads used.
    pub threads: usize,
    /// What the result depends on.
    pub hashes: Hashes,
    /// Wall time of each stage.
    pub seconds: BTreeMap<String, f64>,
    /// Largest resident memory, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// The recording.
    pub recording: RecordingSummary,
    /// Every decoder, way of taking trials, and direction.
    pub identification: Vec<Identification>,
    /// DINA against each baseline.
    pub comparisons: Vec<Comparison>,
    /// What each baseline chose on validation images, one entry a fold.
    pub baselines: Vec<BaselineChoice>,
    /// Alignability of the channels of the first fold's first model.
    pub alignability: Option<Alignability>,
    /// The claims that were put to the test; empty where none was.
    #[serde(default)]
    pub claims: Vec<Judged>,
    /// Hash of the experiments that were registered for them.
    #[serde(default)]
    pub registration: Option<ContentHash>,
    /// Identification as a function of spatial frequency.
    #[serde(default)]
    pub spectrum: Vec<BandIdentification>,
    /// What decoding rests on.
    #[serde(default)]
    pub basis: Option<Basis>,
    /// What a reader should know, a sentence each.
    pub notes: Vec<String>,
}

/// What makes two results comparable.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hashes {
    /// Responses, order of presentation, images.
    pub data: ContentHash,
    /// Every split.
    pub split: ContentHash,
    /// The configuration.
    pub configuration: ContentHash,
}

/// What a baseline chose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineChoice {
    /// The baseline.
    pub decoder: Decoder,
    /// Its settings.
    pub choice: Choice,
}

impl Results {
    /// The JSON Schema (draft 2020-12) of `results.json`, which is `schema/results.schema.json` of this crate. A field that is
    /// added changes it, and [`SCHEMA`] stays; a field that changes its meaning changes both.
    pub const JSON_SCHEMA: &str = include_str!("../schema/results.schema.json");

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }
}

/// Writes a value as JSON for people to read, the file whole or not at all.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| Error::Job(format!("{}: {e}", path.display())))?;
    Ok(write_atomic(path, |writer| writeln!(writer, "{text}"))?)
}

/// Largest resident memory of this process so far, in bytes, where the system tells (Linux).
pub fn peak_memory() -> Option<u64> {
    bytes_of("/proc/self/status", "VmHWM:")
}

/// Resident memory of this process now, in bytes, where the system tells (Linux).
pub(crate) fn resident_memory() -> Option<u64> {
    bytes_of("/proc/self/status", "VmRSS:")
}

/// A number of kibibytes that Linux tells in a file, in bytes.
fn bytes_of(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
