//! The fraction of explainable variance, and how much of it a model explains.

use std::fmt;
use std::ops::Range;

use ndarray::{ArrayView2, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    columns::{check_rows, column_blocks, finite, flatten, variances},
    scale::{ExplainedVariance, constant},
};
use crate::{Error, Result, sentence::Number};

/// The fraction of explainable variance of each neuron, FEV = (s2_tot - s2_noise) / s2_tot, with
/// s2_noise the mean over stimuli of the variance over repeats and s2_tot the variance over all trials
/// (Cadena et al. 2019). Stimuli shown once count in s2_tot only.
///
/// - `responses`: presentations x neurons.
/// - `trials`: per stimulus its rows of `responses`.
///
/// # Errors
/// [`Error::TooFew`] when no stimulus has two repeats, [`Error::Shape`] for a row that is not there,
/// [`Error::NotFinite`], [`Error::Constant`].
pub fn explainable_variance(
    responses: ArrayView2<f32>,
    trials: &[Vec<usize>],
) -> Result<Vec<ExplainedVariance>> {
    check_rows(responses, trials)?;
    let repeated = trials.iter().filter(|rows| rows.len() > 1).count();
    Error::at_least("stimuli with two repeats", 1, repeated)?;
    finite("responses", responses)?;
    let blocks: Vec<Result<Vec<ExplainedVariance>>> = column_blocks(responses.ncols())
        .into_par_iter()
        .map(|columns| explainable_block(responses, trials, columns))
        .collect();
    flatten(blocks)
}

fn explainable_block(
    responses: ArrayView2<f32>,
    trials: &[Vec<usize>],
    columns: Range<usize>,
) -> Result<Vec<ExplainedVariance>> {
    let block = responses.slice(s![.., columns.clone()]);
    let all: Vec<usize> = trials.iter().flatten().copied().collect();
    let total = variances(block, &all);
    let mut noise = vec![0.0; columns.len()];
    let repeated = trials.iter().filter(|rows| rows.len() > 1);
    for rows in repeated.clone() {
        for (sum, variance) in noise.iter_mut().zip(variances(block, rows)) {
            *sum += variance;
        }
    }
    let stimuli = repeated.count() as f64;
    total
        .iter()
        .zip(&noise)
        .enumerate()
        .map(|(i, (&total, noise))| {
            if total > 0.0 {
                ExplainedVariance::new((total - noise / stimuli) / total)
            } else {
                Err(constant("neuron", columns.start + i, "fraction of explainable variance"))
            }
        })
        .collect()
}

/// The fraction of explainable variance explained by a model (FEVE), of the neurons that have enough to
/// explain. Prints as a sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feve {
    /// The smallest fraction of explainable variance of a neuron that was kept.
    pub threshold: f64,
    /// The neurons kept.
    pub neurons: Vec<usize>,
    /// FEVE of each neuron kept: 1 - (MSE - s2_noise) / (s2_tot - s2_noise). A plain number, because the errors
    /// of its parts take it above 1.
    pub values: Vec<f64>,
    /// The neurons dropped.
    pub dropped: Vec<usize>,
    /// The fraction of explainable variance of every neuron.
    pub explainable: Vec<ExplainedVariance>,
}

impl Feve {
    /// The mean over the neurons kept.
    ///
    /// # Errors
    /// [`Error::TooFew`] where none was kept.
    pub fn mean(&self) -> Result<f64> {
        Error::at_least("neurons with enough explainable variance", 1, self.values.len())?;
        Ok(self.values.iter().sum::<f64>() / self.values.len() as f64)
    }
}

impl fmt::Display for Feve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mean() {
            Ok(mean) => write!(f, "mean FEVE {} over {} neurons", Number(mean), self.neurons.len())?,
            Err(_) => write!(f, "no FEVE")?,
        }
        write!(
            f,
            " ({} of {} dropped for a fraction of explainable variance below {})",
            self.dropped.len(),
            self.explainable.len(),
            self.threshold
        )
    }
}

/// The fraction of explainable variance that a model explains, FEVE = 1 - (MSE - s2_noise) / (s2_tot - s2_noise),
/// of the neurons whose [`explainable_variance`] is at least `threshold` (Cadena et al. 2019, who use 0.15).
/// MSE is over the single trials of all stimuli.
///
/// - `responses`: presentations x neurons.
/// - `trials`: per stimulus its rows of `responses`.
/// - `predictions`: stimuli x neurons, of a model that was not fitted to these stimuli.
///
/// # Errors
/// As [`explainable_variance`]; [`Error::Shape`] for predictions of another shape; [`Error::Value`] for a
/// threshold that is not positive, with which FEVE would divide by zero.
pub fn explained_explainable(
    responses: ArrayView2<f32>,
    trials: &[Vec<usize>],
    predictions: ArrayView2<f32>,
    threshold: f64,
) -> Result<Feve> {
    if !(threshold > 0.0 && threshold < 1.0) {
        return Err(Error::value("FEV threshold", "above 0 and below 1", threshold));
    }
    if predictions.dim() != (trials.len(), responses.ncols()) {
        return Err(Error::shape("predictions", (trials.len(), responses.ncols()), predictions.dim()));
    }
    finite("predictions", predictions)?;
    let explainable = explainable_variance(responses, trials)?;
    let (neurons, dropped): (Vec<usize>, Vec<usize>) =
        (0..explainable.len()).partition(|&neuron| explainable[neuron].get() >= threshold);
    let all: Vec<usize> = trials.iter().flatten().copied().collect();
    let values = neurons
        .par_iter()
        .with_min_len(16)
        .map(|&neuron| {
            let (observed, predicted) = (responses.column(neuron), predictions.column(neuron));
            let mut squares = 0.0;
            for (stimulus, rows) in trials.iter().enumerate() {
                for &row in rows {
                    squares += (f64::from(observed[row]) - f64::from(predicted[stimulus])).powi(2);
                }
            }
            let mse = squares / all.len() as f64;
            let total = variances(responses.slice(s![.., neuron..=neuron]), &all)[0];
            let noise = total * (1.0 - explainable[neuron].get());
            1.0 - (mse - noise) / (total - noise)
        })
        .collect();
    Ok(Feve { threshold, neurons, values, dropped, explainable })
}
