use serde::{Deserialize, Serialize};

/// A value at a training step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Optimiser steps taken.
    pub step: u64,
    /// The value.
    pub value: f64,
}

/// The curves of one training run: one per fold where there are folds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRun {
    /// The run's name, such as `fold 3`.
    pub label: String,
    /// Training loss.
    pub train_loss: Vec<Sample>,
    /// Validation loss; may be empty.
    pub validation_loss: Vec<Sample>,
    /// Validation identification (top-1); may be empty.
    pub validation_top1: Vec<Sample>,
    /// The step whose weights were kept.
    pub kept_step: Option<u64>,
}
