//! The training loop of two towers.
//!
//! - [`Trainer`]: steps, validation, weight averaging, early stop; [`TrainConfig`] holds the field's defaults.
//! - [`PairedData`]: images and the responses to them, as a source of batches; [`Batches`] for your own.
//! - [`AdamW`]: the optimiser, with state that can be stored.
//! - `write_events` (feature `tensorboard`): the log as event files for TensorBoard.
//!
//! A run is a function of its configuration, seed and data: everything random in step `n` is drawn from
//! streams made from the seed and `n`. A run that was killed and resumed from its checkpoint therefore equals
//! the uninterrupted one bit for bit on the CPU, for any number of threads.

mod adamw;
mod batches;
mod config;
#[cfg(feature = "tensorboard")]
mod tensorboard;
mod trainer;

pub use adamw::AdamW;
pub use batches::{Batch, Batches, PairedData};
pub use config::TrainConfig;
#[cfg(feature = "tensorboard")]
pub use tensorboard::{events_name, write_events};
pub use trainer::{Evaluation, LogEntry, Model, Outcome, Trainer};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
