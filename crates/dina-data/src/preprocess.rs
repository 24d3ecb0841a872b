//! From recorded responses to numbers a model can use, in steps that are fitted on the training
//! view and applied to everything.

mod preset;
mod step;

use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

pub use preset::{Candidate, Matching, Preset};
pub use step::{Curve, Reference, Step};

use crate::view::{Train, View};
use crate::{Error, Recording, Result};
use step::{FittedStep, Material};

/// Steps in the order in which they are done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Preprocessing {
    /// The steps; none leaves responses as they are.
    pub steps: Vec<Step>,
}

impl Preprocessing {
    /// Steps in this order.
    pub fn new(steps: impl Into<Vec<Step>>) -> Self {
        Self { steps: steps.into() }
    }

    /// Fits every step on the training trials, each on what the steps before it leave, and, where
    /// a step says so, on spontaneous activity.
    ///
    /// # Errors
    /// When a step needs spontaneous activity that the recording lacks or has too little of, has a
    /// parameter out of range, or leaves no neuron.
    pub fn fit(&self, train: &View<'_, Train>) -> Result<FittedPreprocessing> {
        self.fit_rows(train.recording(), &train.rows())
    }

    /// Fits on these presentations.
    fn fit_rows(&self, recording: &Recording, rows: &[usize]) -> Result<FittedPreprocessing> {
        let mut material = Material::new(recording, rows);
        let mut fitted = FittedPreprocessing {
            inputs: recording.neurons(),
            neurons: (0..recording.neurons()).collect(),
            steps: Vec::new(),
            notes: Vec::new(),
            candidates: Vec::new(),
        };
        for step in &self.steps {
            for part in step.fit(&material, &mut fitted.notes)? {
                if let FittedStep::Keep { columns } = &part {
                    fitted.neurons = columns.iter().map(|&c| fitted.neurons[c]).collect();
                }
                material.apply(&part);
                fitted.steps.push(part);
            }
        }
        Ok(fitted)
    }
}

/// Steps with everything they learned from the training view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedPreprocessing {
    /// Neurons of the recording.
    inputs: usize,
    neurons: Vec<usize>,
    steps: Vec<FittedStep>,
    notes: Vec<String>,
    candidates: Vec<Candidate>,
}

impl FittedPreprocessing {
    /// The neurons that are left, as columns of the recording.
    pub fn neurons(&self) -> &[usize] {
        &self.neurons
    }

    /// What happened that a reader of the results should know, a sentence each: neurons
    /// that were dropped, a label that the recording does not have.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Between what [`Preset::Standard`] chose, and how each did; empty otherwise.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// All responses of a recording: presentations x kept neurons, rows as in
    /// [`Recording::responses`].
    ///
    /// # Errors
    /// As [`FittedPreprocessing::transform`].
    pub fn apply(&self, recording: &Recording) -> Result<Array2<f32>> {
        self.transform(recording.responses().view())
    }

    /// Responses of the same population, trials x neurons of the recording, to trials x kept
    /// neurons.
    ///
    /// # Errors
    /// When the number of neurons differs from that of the recording fitted on.
    pub fn transform(&self, responses: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        if responses.ncols() != self.inputs {
            return Err(Error::variable(
                "preprocessing",
                "neurons",
                format!("are {}, fitted were {}", responses.ncols(), self.inputs),
                "fit on the training view of this recording",
            ));
        }
        // Dropping neurons first saves the copy of those.
        let mut steps = self.steps.iter().peekable();
        let mut out = match steps.peek() {
            Some(FittedStep::Keep { columns }) => {
                let kept = check(columns.iter().all(|&c| c < self.inputs))
                    .map(|()| responses.select(Axis(1), columns))?;
                steps.next();
                kept
            }
            _ => responses.to_owned(),
        };
        for step in steps {
            check(step.fits(out.ncols()))?;
            step.apply(&mut out);
        }
        Ok(out)
    }
}

/// Fitted steps always fit each other; steps read from a file need not.
fn check(fits: bool) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(Error::variable(
        "preprocessing",
        "steps",
        "do not agree on the number of neurons",
        "fit them again: the stored ones were changed",
    ))
}

#[cfg(test)]
mod tests;
