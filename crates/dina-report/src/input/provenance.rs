use dina_core::ContentHash;
use serde::{Deserialize, Serialize};

/// Where the numbers come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of the program.
    pub version: String,
    /// The profile, such as `quick`.
    pub profile: String,
    /// The seed.
    pub seed: u64,
    /// The device, such as `cpu`.
    pub device: String,
    /// Number of threads.
    pub threads: usize,
    /// Hashes of what went in.
    pub hashes: Hashes,
    /// Time per stage, in order.
    pub stages: Vec<Stage>,
    /// Most memory held, in bytes, where the system tells.
    pub peak_memory_bytes: Option<u64>,
}

/// Hashes of what went in: two reports are comparable when they agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// Responses, stimulus ids and images.
    pub data: ContentHash,
    /// Which image is in which view.
    pub split: ContentHash,
    /// Every setting.
    pub configuration: ContentHash,
}

/// One stage of the study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its wall-clock time in seconds.
    pub seconds: f64,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked, such as "no image on both sides of the split".
    pub name: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was found.
    pub detail: String,
}
