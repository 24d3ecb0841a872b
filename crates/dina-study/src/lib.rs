//! The main job of DINA: from a recording, or a simulated one, to trained towers, identification against tuned
//! baselines, and a report.
//!
//! [`Job::run`] does all of it; its stages ([`Job::prepare`], [`Job::train`], [`Job::finish`]) also run one at a
//! time over an output folder, which is how `train` and `decode` work and how a killed job goes on.
//!
//! - [`JobConfig`], [`Profile`], [`Source`]: what a result depends on.
//! - [`Dataset`], [`RecordingSummary`]: a recording with its images, and what can be said of it.
//! - [`Fold`]: a split with everything fitted on its training view.
//! - [`ModelConfig`], [`Towers`], [`Training`]: what is trained and how.
//! - [`ObjectiveKind`], [`ObjectiveConfig`], [`Start`]: what they are trained for, and from where.
//! - [`Parts`]: towers and objectives of a user's own in their place.
//! - [`compare_objectives`], [`claims_by_objective`]: the same towers under several objectives, at equal budget, and what claims come
//!   to with them; `objectives.json` is an [`ObjectiveReport`].
//! - [`decode`], [`identification`], [`compare`]: DINA and the baselines on the same queries.
//! - [`claims`]: registered experiments, with the measured error rates of their instruments.
//! - [`cohort`]: one image tower for several mice, leave-one-mouse-out, agreement of channels.
//! - [`jobs`]: independent pieces of work, on this machine or on a cluster.
//! - [`Interpretation`]: what trained towers share, where, and which neurons carry it; `interpretation.json`.
//! - [`JobSize`]: how much memory a job takes, before it begins.
//! - [`Results`]: what `results.json` holds.

#[cfg(feature = "tensorboard")]
mod board;
pub mod claims;
pub mod cohort;
mod comparison;
mod config;
mod dataset;
mod decoding;
mod error;
mod fold;
mod interpretation;
mod job;
pub mod jobs;
mod memory;
mod objective;
mod objectives;
mod parts;
mod progress;
mod report;
mod results;
mod towers;
mod training;

pub use comparison::{Comparison, Measure, compare};
pub use config::{HELD_OUT_FROM, JobConfig, Profile, Source};
pub use dataset::{Dataset, RecordingSummary};
pub use decoding::{Choices, Decoded, decode, identification};
pub use error::{Error, Result};
pub use fold::{Fold, prepare};
pub use interpretation::{
    AttributionResult, ChannelFootprint, ChosenChannel, ChosenSubset, ContributionMethod, ExcitingOf,
    ExcitingResult, Interpretation, InterpretationConfig, Interpreted, LevelProfile, NeuronAnalyses,
    NeuronProperties, TowerSide,
};
pub use job::{Job, Prepared};
pub use memory::JobSize;
pub use objective::{ObjectiveConfig, ObjectiveKind, Start, WeightedObjective};
pub use objectives::{
    MapCharacteristics, ObjectiveComparison, ObjectiveFinding, ObjectivePair, ObjectiveReport, ObjectiveRun,
    ObjectiveStudy, SeedDifference, claims_by_objective, compare_objectives,
};
pub use parts::Parts;
pub use progress::{Progress, Silent};
pub use results::{BaselineChoice, Hashes, Results, SCHEMA, peak_memory};
pub use towers::{ModelConfig, Towers, TrainingRecord};
pub use training::{Checkpoints, Reference, Trained, Training};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
