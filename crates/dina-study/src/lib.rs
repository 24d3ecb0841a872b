//! The main job of DINA, from a recording to a report.

mod config;
mod dataset;
mod error;
mod fold;
mod progress;
mod towers;
mod training;

pub use config::{HELD_OUT_FROM, JobConfig, Profile, Source};
pub use dataset::{Dataset, RecordingSummary};
pub use error::{Error, Result};
pub use fold::{Fold, prepare};
pub use progress::{Progress, Silent};
pub use towers::{ModelConfig, Towers, TrainingRecord};
pub use training::{Checkpoints, Trained, Training};
