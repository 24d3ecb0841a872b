//! The training loop of two towers.
//!
//! - [`Trainer`]: steps, validation, weight averaging, early stop; [`TrainConfig`] holds the field's defaults.
//! - [`PairedData`]: images and the responses to them, as a source of batches; [`Batches`] for your own.
//! - [`AdamW`]: the optimiser, with state that can be stored.
//!
//! A run is a function of its configuration, seed and data: everything random in step `n` is drawn from
//! streams made from the seed and `n`. A run that was killed and resumed from its checkpoint therefore equals
//! the uninterrupted one bit for bit on the CPU, for any number of threads.

mod adamw;
mod batches;
mod config;
mod trainer;

pub use adamw::AdamW;
pub use batches::{Batch, Batches, PairedData};
pub use config::TrainConfig;
pub use trainer::{Evaluation, LogEntry, Model, Outcome, Trainer};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
