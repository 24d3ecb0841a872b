//! Predictions against noisy repeats.

use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{columns::finite, scale::constant};
use crate::{Error, Result};

/// One value for each neuron for which it is defined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerNeuron<T> {
    /// The neurons.
    pub neurons: Vec<usize>,
    /// Their values.
    pub values: Vec<T>,
    /// Neurons without measurable signal, whose value would divide by zero or a negative number.
    pub dropped: Vec<usize>,
}

impl<T> PerNeuron<T> {
    fn new(all: Vec<Option<T>>) -> Self {
        let mut found = Self { neurons: Vec::new(), values: Vec::new(), dropped: Vec::new() };
        for (neuron, value) in all.into_iter().enumerate() {
            match value {
                Some(value) => {
                    found.neurons.push(neuron);
                    found.values.push(value);
                }
                None => found.dropped.push(neuron),
            }
        }
        found
    }
}

/// The fraction of explainable variance explained with two repeats and no estimate of the noise,
/// 1 - sum (r1 - p)(r2 - p) / sum r1 r2 over stimuli, with responses and predictions less the mean response to
/// the *training* stimuli. The noise of two repeats is independent, so that it cancels in both sums. Neurons
/// with a denominator that is not positive are dropped.
///
/// - `first`, `second`, `predictions`: stimuli x neurons.
/// - `training_mean`: one value a neuron.
///
/// # Errors
/// [`Error::TooFew`] for no stimulus, [`Error::Shape`], [`Error::NotFinite`].
pub fn cross_repeat(
    first: ArrayView2<f32>,
    second: ArrayView2<f32>,
    predictions: ArrayView2<f32>,
    training_mean: ArrayView1<f32>,
) -> Result<PerNeuron<f64>> {
    Error::at_least("stimuli", 1, first.nrows())?;
    for (what, array) in [("first repeat", first), ("second repeat", second), ("predictions", predictions)] {
        if array.dim() != first.dim() {
            return Err(Error::shape(what, first.dim(), array.dim()));
        }
        finite(what, array)?;
    }
    if training_mean.len() != first.ncols() {
        return Err(Error::shape("training mean", first.ncols(), training_mean.len()));
    }
    Error::all_finite("training mean", training_mean.iter().map(|&v| f64::from(v)))?;
    Ok(PerNeuron::new(each(first.ncols(), |neuron| {
        let mean = f64::from(training_mean[neuron]);
        let (mut left, mut signal) = (0.0, 0.0);
        for stimulus in 0..first.nrows() {
            let at = |array: &ArrayView2<f32>| f64::from(array[[stimulus, neuron]]) - mean;
            let (r1, r2, p) = (at(&first), at(&second), at(&predictions));
            left += (r1 - p) * (r2 - p);
            signal += r1 * r2;
        }
        (signal > 0.0).then(|| 1.0 - left / signal)
    })))
}

/// A correlation normalised by its ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ccnorm {
    /// cov(p, mean r) / sqrt(Var(p) SP): CC_abs / CC_max. A plain number, because the error of SP takes it
    /// above 1.
    pub normalised: f64,
    /// The correlation with the mean response.
    pub absolute: f64,
    /// The largest correlation that a noise-free prediction could have, sqrt(SP / Var(mean r)).
    pub ceiling: f64,
    /// The signal power SP.
    pub signal_power: f64,
}

/// The normalised correlation coefficient of Schoppe et al. (2016): with R repeats and
/// SP = \[Var(sum_k r_k) - sum_k Var(r_k)\] / (R (R - 1)), CCnorm = cov(p, mean r) / sqrt(Var(p) SP). Variances are over
/// stimuli, unbiased. Neurons whose SP is not positive are dropped.
///
/// - `repeats`: per repeat, stimuli x neurons.
/// - `predictions`: stimuli x neurons.
///
/// # Errors
/// [`Error::TooFew`] below two repeats or stimuli, [`Error::Shape`], [`Error::NotFinite`], [`Error::Constant`] for a
/// prediction that does not vary.
pub fn normalised_correlation(
    repeats: &[ArrayView2<f32>],
    predictions: ArrayView2<f32>,
) -> Result<PerNeuron<Ccnorm>> {
    Error::at_least("repeats", 2, repeats.len())?;
    Error::at_least("stimuli", 2, predictions.nrows())?;
    for (repeat, array) in repeats.iter().enumerate() {
        if array.dim() != predictions.dim() {
            return Err(Error::shape(format!("repeat {repeat}"), predictions.dim(), array.dim()));
        }
        finite(&format!("repeat {repeat}"), *array)?;
    }
    finite("predictions", predictions)?;
    let (stimuli, neurons) = predictions.dim();
    let r = repeats.len() as f64;
    let values = each(neurons, |neuron| {
        let column = |array: &ArrayView2<f32>| -> Vec<f64> {
            array.column(neuron).iter().map(|&v| f64::from(v)).collect()
        };
        let columns: Vec<Vec<f64>> = repeats.iter().map(column).collect();
        let sum: Vec<f64> = (0..stimuli).map(|s| columns.iter().map(|c| c[s]).sum()).collect();
        let predicted = column(&predictions);
        if predicted.iter().all(|v| *v == predicted[0]) {
            return Err(constant("prediction of neuron", neuron, "normalised correlation"));
        }
        let alone: f64 = columns.iter().map(|c| covariance(c, c)).sum();
        let of_sum = covariance(&sum, &sum);
        let signal_power = (of_sum - alone) / (r * (r - 1.0));
        if signal_power <= 0.0 {
            return Ok(None);
        }
        let (with, own) = (covariance(&predicted, &sum) / r, covariance(&predicted, &predicted));
        let mean_variance = of_sum / (r * r);
        Ok(Some(Ccnorm {
            normalised: with / (own * signal_power).sqrt(),
            absolute: with / (own * mean_variance).sqrt(),
            ceiling: (signal_power / mean_variance).sqrt(),
            signal_power,
        }))
    });
    Ok(PerNeuron::new(values.into_iter().collect::<Result<_>>()?))
}

/// One value a neuron. Neighbouring columns go to one thread, because they share cache lines.
fn each<T: Send>(neurons: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    (0..neurons).into_par_iter().with_min_len(16).map(&of).collect()
}

fn covariance(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / (n - 1.0)
}
