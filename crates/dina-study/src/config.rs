use std::path::PathBuf;
use std::str::FromStr;

use dina_core::ContentHash;
use dina_data::Preset;
use dina_data::simulate::{Population, SimulationConfig};
use dina_model::BackboneFile;
use serde::{Deserialize, Serialize};

use crate::{Error, ObjectiveKind, Parts, Result, Start};

/// How much work a job does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Seconds: every stage runs, the figures mean little.
    Smoke,
    /// Minutes on two cores.
    #[default]
    Quick,
    /// The whole calibrated population and long training.
    Full,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 3] = [Self::Smoke, Self::Quick, Self::Full];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }

    /// The default simulated recording: a part of the calibrated population, whose neurons and
    /// images are the first of the whole one.
    pub fn simulation(self, seed: u64) -> SimulationConfig {
        let (neurons, images, spontaneous_bins) = match self {
            Self::Smoke => (120, 200, 400),
            Self::Quick => (400, 1600, 1500),
            Self::Full => (10_000, 2800, 7000),
        };
        SimulationConfig { neurons, images, spontaneous_bins, seed, ..SimulationConfig::new(Population::V1) }
    }

    /// Permutations of every test.
    pub fn permutations(self) -> usize {
        match self {
            Self::Smoke => 199,
            Self::Quick => 1000,
            Self::Full => 10_000,
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == text)
            .ok_or_else(|| Error::Job(format!("no profile `{text}`; choose smoke, quick or full")))
    }
}

/// Where the recording comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A simulated population.
    Simulated(Box<SimulationConfig>),
    /// Recorded files.
    Files {
        /// The responses.
        #[serde(with = "path")]
        recording: PathBuf,
        /// The images that were shown.
        #[serde(with = "path")]
        images: PathBuf,
        /// Their categories.
        #[serde(with = "path::optional")]
        classes: Option<PathBuf>,
    },
}

/// Paths as text where they are text, and as their bytes where they are not: jobs are told apart by what they are
/// serialised to, so every path has to be something, and no two the same.
mod path {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Bytes(Vec<u8>),
    }

    impl From<&Path> for Form {
        fn from(path: &Path) -> Self {
            match path.to_str() {
                Some(text) => Self::Text(text.into()),
                None => Self::Bytes(path.as_os_str().as_encoded_bytes().to_vec()),
            }
        }
    }

    impl Form {
        fn path(self) -> Result<PathBuf, &'static str> {
            match self {
                Self::Text(text) => Ok(text.into()),
                #[cfg(unix)]
                Self::Bytes(bytes) => {
                    Ok(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes).into())
                }
                #[cfg(not(unix))]
                Self::Bytes(_) => Err("a path of this system, which is not text"),
            }
        }
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        Form::from(path).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Form::deserialize(deserializer)?.path().map_err(serde::de::Error::custom)
    }

    pub(super) mod optional {
        use super::*;

        pub(in super::super) fn serialize<S: Serializer>(
            path: &Option<PathBuf>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            path.as_deref().map(Form::from).serialize(serializer)
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<PathBuf>, D::Error> {
            let form = Option::<Form>::deserialize(deserializer)?;
            form.map(|form| form.path().map_err(serde::de::Error::custom)).transpose()
        }
    }
}

/// Everything that a job's result depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobConfig {
    /// Where the recording comes from.
    pub source: Source,
    /// How much work is done.
    pub profile: Profile,
    /// What every random draw comes from.
    pub seed: u64,
    /// Cross-validation over images with this many folds; `None` decides by the number of images:
    /// below [`HELD_OUT_FROM`] six folds, else one held-out test set.
    pub folds: Option<usize>,
    /// How responses are preprocessed.
    pub preset: Preset,
    /// What the towers are trained for.
    #[serde(default)]
    pub objective: ObjectiveKind,
    /// What the towers start from.
    #[serde(default)]
    pub start: Start,
    /// Towers and an objective of a user's own; none by default.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    pub parts: Parts,
    /// Networks with weights, whose layers are looked at beside other features of the images; none by default. No model
    /// depends on them, and so they are not part of the hash: results name the hash of the weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backbones: Vec<BackboneFile>,
}

/// From this many images on, a held-out test set is large enough to report on, and held-out validation images to
/// choose settings on.
pub const HELD_OUT_FROM: usize = 500;

/// Folds where there are fewer.
const DEFAULT_FOLDS: usize = 6;

impl JobConfig {
    /// The default job of a profile: its simulated recording.
    pub fn simulated(profile: Profile, seed: u64) -> Self {
        let source = Source::Simulated(Box::new(profile.simulation(seed)));
        // A smoke run has too few images for a held-out set to mean much, and no time for folds.
        let folds = (profile == Profile::Smoke).then_some(1);
        Self { folds, ..Self::new(source, profile, seed) }
    }

    /// A job on recorded files.
    pub fn recorded(
        recording: PathBuf,
        images: PathBuf,
        classes: Option<PathBuf>,
        profile: Profile,
        seed: u64,
    ) -> Self {
        let source = Source::Files { recording, images, classes };
        Self::new(source, profile, seed)
    }

    fn new(source: Source, profile: Profile, seed: u64) -> Self {
        let (objective, start) = (ObjectiveKind::default(), Start::default());
        let (parts, backbones) = (Parts::default(), Vec::new());
        Self {
            source,
            profile,
            seed,
            folds: None,
            preset: Preset::Standard,
            objective,
            start,
            parts,
            backbones,
        }
    }

    /// Number of folds for this many usable images; 1 is a held-out test set.
    pub fn folds_for(&self, images: usize) -> usize {
        self.folds.unwrap_or(if images < HELD_OUT_FROM { DEFAULT_FOLDS } else { 1 })
    }

    /// Whether a recording with this many usable images counts as small: no images are held out for validation,
    /// settings are fixed in advance or chosen by cross-validation inside the training images.
    pub fn is_small(&self, images: usize) -> bool {
        images < HELD_OUT_FROM
    }

    /// Hash of the configuration, without the paths of files: their content is in the data hash, and that of the
    /// categories in the identity of the models that were trained on them.
    pub fn hash(&self) -> ContentHash {
        let mut stripped = self.clone();
        // How many folds there are is in the split's hash, whether it was asked for or decided.
        stripped.folds = None;
        stripped.backbones = Vec::new();
        if let Source::Files { recording, images, classes } = &mut stripped.source {
            (*recording, *images, *classes) = (PathBuf::new(), PathBuf::new(), None);
        }
        // A configuration of plain numbers and names always serialises.
        let text = serde_json::to_string(&stripped).unwrap_or_default();
        ContentHash::of([text.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_json() {
        for config in [
            JobConfig::simulated(Profile::Smoke, 3),
            JobConfig::recorded("r.mat".into(), "i.mat".into(), Some("c.mat".into()), Profile::Quick, 1),
        ] {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<JobConfig>(&text).unwrap(), config);
        }
        let plain = JobConfig::recorded("r.mat".into(), "i.mat".into(), None, Profile::Quick, 1);
        assert!(
            serde_json::to_string(&plain)
                .unwrap()
                .contains(r#""recording":"r.mat","images":"i.mat","classes":null"#)
        );
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_are_no_text_are_kept_apart() {
        use std::os::unix::ffi::OsStringExt;

        let config = |byte| {
            let odd = PathBuf::from(std::ffi::OsString::from_vec(vec![b'r', byte]));
            JobConfig::recorded(odd.clone(), "i.mat".into(), Some(odd), Profile::Quick, 1)
        };
        let (first, second) = (config(0xff), config(0xfe));
        let text = |config| serde_json::to_string(config).unwrap();
        assert_ne!(text(&first), text(&second));
        assert_eq!(serde_json::from_str::<JobConfig>(&text(&first)).unwrap(), first);
        // The hash is that of the work, not of the place of the files.
        assert_eq!(first.hash(), second.hash());
    }
}
