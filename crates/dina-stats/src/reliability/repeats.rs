//! What repeats from one half of the trials to the other.

use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;

use super::{
    columns::{check_rows, column_blocks, finite, means},
    scale::{Correlation, ExplainedVariance, Moments, constant},
};
use crate::{Error, Result};

/// Two halves of a recording: the mean of the even and of the odd repeats of each stimulus.
#[derive(Debug, Clone, PartialEq)]
pub struct Halves {
    /// Mean of repeats 0, 2, 4, ... : stimuli x neurons.
    pub first: Array2<f32>,
    /// Mean of repeats 1, 3, 5, ... : stimuli x neurons.
    pub second: Array2<f32>,
    /// The stimulus of each row; those with fewer than two repeats are left out.
    pub stimuli: Vec<usize>,
}

/// Splits trials into halves. With two repeats these are repeat 1 and repeat 2 themselves.
///
/// - `responses`: presentations x neurons.
/// - `trials`: per stimulus its rows of `responses`, in the order shown.
///
/// # Errors
/// [`Error::TooFew`] when no stimulus has two repeats, [`Error::Shape`] for a row that is not there.
pub fn halves(responses: ArrayView2<f32>, trials: &[Vec<usize>]) -> Result<Halves> {
    check_rows(responses, trials)?;
    let stimuli: Vec<usize> = (0..trials.len()).filter(|&s| trials[s].len() > 1).collect();
    Error::at_least("stimuli with two repeats", 1, stimuli.len())?;
    let half = |parity: usize| {
        let mut means = Array2::<f32>::zeros((stimuli.len(), responses.ncols()));
        means.outer_iter_mut().into_par_iter().zip(&stimuli).for_each(|(mut mean, &stimulus)| {
            let rows: Vec<usize> = trials[stimulus].iter().skip(parity).step_by(2).copied().collect();
            for &row in &rows {
                mean += &responses.row(row);
            }
            mean /= rows.len() as f32;
        });
        means
    };
    Ok(Halves { first: half(0), second: half(1), stimuli })
}

/// Stringer's signal variance of each neuron, cov(r1, r2) / ((v1 + v2) / 2): the fraction of a single
/// response's variance over stimuli that repeats (Stringer et al. 2019).
///
/// `first`, `second`: stimuli x neurons, repeat 1 and repeat 2 (or the two [`halves`]).
///
/// # Errors
/// [`Error::TooFew`] below two stimuli, [`Error::Shape`], [`Error::NotFinite`], and
/// [`Error::Constant`] for a neuron that is constant in both.
pub fn signal_variance(first: ArrayView2<f32>, second: ArrayView2<f32>) -> Result<Vec<ExplainedVariance>> {
    paired_moments(first, second)?
        .iter()
        .enumerate()
        .map(|(neuron, m)| {
            let variance = (m.xx + m.yy) / 2.0;
            if variance > 0.0 {
                ExplainedVariance::new(m.xy / variance)
            } else {
                Err(constant("neuron", neuron, "signal variance"))
            }
        })
        .collect()
}

/// The correlation over stimuli between two halves, of each neuron. The reliability of the mean over
/// both halves is [`Correlation::spearman_brown`] of it with two lengths.
///
/// # Errors
/// As [`signal_variance`], but a neuron may not be constant in either half.
pub fn split_half(first: ArrayView2<f32>, second: ArrayView2<f32>) -> Result<Vec<Correlation>> {
    paired_moments(first, second)?
        .iter()
        .enumerate()
        .map(|(neuron, m)| m.correlation("neuron", neuron))
        .collect()
}

/// Moments of each column of two arrays of the same shape.
fn paired_moments(first: ArrayView2<f32>, second: ArrayView2<f32>) -> Result<Vec<Moments>> {
    if first.dim() != second.dim() {
        return Err(Error::shape("second half", first.dim(), second.dim()));
    }
    Error::at_least("stimuli", 2, first.nrows())?;
    finite("first half", first)?;
    finite("second half", second)?;
    let rows: Vec<usize> = (0..first.nrows()).collect();
    let blocks: Vec<Vec<Moments>> = column_blocks(first.ncols())
        .into_par_iter()
        .map(|columns| {
            let x = first.slice(s![.., columns.clone()]);
            let y = second.slice(s![.., columns]);
            let (mx, my) = (means(x, &rows), means(y, &rows));
            let mut moments = vec![Moments::default(); mx.len()];
            for (x, y) in x.rows().into_iter().zip(y.rows()) {
                for (i, moment) in moments.iter_mut().enumerate() {
                    moment.add(f64::from(x[i]) - mx[i], f64::from(y[i]) - my[i]);
                }
            }
            moments
        })
        .collect();
    Ok(blocks.concat())
}
