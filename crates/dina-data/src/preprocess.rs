//! From recorded responses to numbers a model can use, in steps that are fitted on the training
//! view and applied to everything.

mod preset;
mod reliability;
mod step;

use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

pub use preset::{Candidate, Matching, Preset};
pub use reliability::{Keep, NeuronSelection, VarianceComponents};
pub use step::{Curve, Reference, Step, Weight};

use crate::view::{Role, Train, View};
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
        let mut fitted = self.fit_rows(train.recording(), &train.rows())?;
        if let Some(by) = self.selects() {
            let neurons = fitted.neurons.clone();
            fitted.selections.push(NeuronSelection::new(by, neurons, Train::NAME, Some(train.split_hash())));
        }
        Ok(fitted)
    }

    /// What neurons are chosen by, where a step chooses some by their responses to images.
    fn selects(&self) -> Option<&'static str> {
        self.steps.iter().any(|s| matches!(s, Step::SelectReliable(_))).then_some("reliability")
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
            selections: Vec::new(),
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    selections: Vec<NeuronSelection>,
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

    /// Choices of neurons by their responses, with the side of the split that each has used up: for
    /// [`LeakageReport::with_selection`](crate::LeakageReport::with_selection).
    pub fn selections(&self) -> &[NeuronSelection] {
        &self.selections
    }

    /// Preprocessed responses of one side, averaged over the presentations of each image: images of
    /// the view x kept neurons. Each presentation goes through the steps by itself, then the mean is
    /// taken.
    ///
    /// # Errors
    /// As [`FittedPreprocessing::transform`].
    pub fn repeat_means<R: Role>(&self, view: &View<'_, R>) -> Result<Array2<f32>> {
        let mut means = Array2::zeros((view.len(), self.neurons.len()));
        // Images at a time: bounds the copy of their presentations.
        const AT_ONCE: usize = 256;
        for (trials, mut out) in
            view.trials().chunks(AT_ONCE).zip(means.axis_chunks_iter_mut(Axis(0), AT_ONCE))
        {
            let rows = trials.concat();
            let responses = self.transform(view.recording().responses().select(Axis(0), &rows).view())?;
            let mut next = 0;
            for (mut mean, trials) in out.rows_mut().into_iter().zip(trials) {
                for row in next..next + trials.len() {
                    mean += &responses.row(row);
                }
                mean /= trials.len() as f32;
                next += trials.len();
            }
        }
        Ok(means)
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
