//! How much of a response repeats, and the ceilings that follow.
//!
//! Three numbers are easily mixed up and are types of their own here: a [`Correlation`] r, an
//! [`ExplainedVariance`] (the scale of r^2) and a [`Reliability`] rho. The ceiling of a correlation is
//! sqrt(rho); an explained variance is normalised by rho, never by rho^2.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A correlation coefficient r, in [-1, 1].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Correlation(f64);

/// A fraction of variance explained, on the scale of r^2: at most 1, negative when worse than the
/// mean or when an estimate of it falls below zero.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExplainedVariance(f64);

/// The reliability rho of a measurement: the share of its variance that is not noise. It is a ratio
/// of variances although it is estimated by a correlation between halves.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reliability(f64);

impl Correlation {
    /// A correlation from its value; rounding beyond 1 by up to 1e-6 is clipped.
    ///
    /// # Errors
    /// [`Error::Value`] outside [-1, 1].
    pub fn new(r: f64) -> Result<Self> {
        if r.abs() <= 1.0 + 1e-6 {
            return Ok(Self(r.clamp(-1.0, 1.0)));
        }
        Err(Error::value("correlation", "between -1 and 1", r))
    }

    /// Pearson's correlation of two samples.
    ///
    /// # Errors
    /// [`Error::TooFew`] below two pairs, [`Error::Shape`], [`Error::NotFinite`],
    /// [`Error::Constant`].
    pub fn pearson(x: &[f64], y: &[f64]) -> Result<Self> {
        Error::at_least("pairs", 2, x.len())?;
        if x.len() != y.len() {
            return Err(Error::shape("second sample", x.len(), y.len()));
        }
        Error::all_finite("first sample", x.iter().copied())?;
        Error::all_finite("second sample", y.iter().copied())?;
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let (mx, my) = (mean(x), mean(y));
        let mut moments = Moments::default();
        for (x, y) in x.iter().zip(y) {
            moments.add(x - mx, y - my);
        }
        moments.correlation("sample", 0)
    }

    /// The number r.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The explained variance of a linear prediction with this correlation, r^2.
    pub fn squared(self) -> ExplainedVariance {
        ExplainedVariance(self.0 * self.0)
    }

    /// The reliability of a measurement `lengths` times as long as each of the two parts whose
    /// correlation this is: rho = n r / (1 + (n - 1) r) (Spearman 1910, Brown 1910). Two for halves.
    ///
    /// # Errors
    /// [`Error::Value`] when `lengths` is below 1, or r so negative that the formula has no value
    /// (r <= -1 / (n - 1)).
    pub fn spearman_brown(self, lengths: f64) -> Result<Reliability> {
        if lengths.is_nan() || lengths < 1.0 {
            return Err(Error::value("lengths", "at least 1", lengths));
        }
        let denominator = 1.0 + (lengths - 1.0) * self.0;
        if denominator <= 0.0 {
            return Err(Error::value(
                "split-half correlation",
                format!("above {}", -1.0 / (lengths - 1.0)),
                self.0,
            ));
        }
        Ok(Reliability(lengths * self.0 / denominator))
    }

    /// The median of several.
    ///
    /// # Errors
    /// [`Error::TooFew`] for none.
    pub fn median(values: &[Self]) -> Result<Self> {
        Error::at_least("correlations", 1, values.len())?;
        let mut sorted: Vec<f64> = values.iter().map(|r| r.0).collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        Ok(Self(if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        }))
    }
}

impl ExplainedVariance {
    /// An explained variance from its value.
    ///
    /// # Errors
    /// [`Error::Value`] above 1 (beyond rounding of 1e-6) or not finite.
    pub fn new(value: f64) -> Result<Self> {
        if value.is_finite() && value <= 1.0 + 1e-6 {
            return Ok(Self(value.min(1.0)));
        }
        Err(Error::value("explained variance", "at most 1", value))
    }

    /// The fraction.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The mean of several.
    ///
    /// # Errors
    /// [`Error::TooFew`] for none.
    pub fn mean(values: &[Self]) -> Result<Self> {
        Error::at_least("explained variances", 1, values.len())?;
        Ok(Self(values.iter().map(|v| v.0).sum::<f64>() / values.len() as f64))
    }
}

impl Reliability {
    /// The number rho.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The largest correlation that a noise-free prediction can have with the measurement, sqrt(rho).
    ///
    /// # Errors
    /// [`Error::Value`] when rho is negative: there is no ceiling then.
    pub fn ceiling(self) -> Result<Correlation> {
        if self.0 >= 0.0 {
            return Ok(Correlation(self.0.sqrt().min(1.0)));
        }
        Err(Error::value("reliability", "not negative", self.0))
    }

    /// An explained variance as a fraction of the explainable: r^2 / rho. It may exceed 1 by the
    /// error of rho, so it is a plain number.
    ///
    /// # Errors
    /// [`Error::Value`] when rho is not positive.
    pub fn normalise(self, explained: ExplainedVariance) -> Result<f64> {
        if self.0 > 0.0 {
            return Ok(explained.0 / self.0);
        }
        Err(Error::value("reliability", "positive", self.0))
    }
}

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

fn check_rows(responses: ArrayView2<f32>, trials: &[Vec<usize>]) -> Result<()> {
    match trials.iter().flatten().find(|&&row| row >= responses.nrows()) {
        None => Ok(()),
        Some(row) => Err(Error::shape("trial", format!("a row below {}", responses.nrows()), row)),
    }
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

/// Unbiased variance of each column over some rows.
fn variances(block: ArrayView2<f32>, rows: &[usize]) -> Vec<f64> {
    let means = means(block, rows);
    let mut squares = vec![0.0; block.ncols()];
    for &row in rows {
        for ((sum, &value), mean) in squares.iter_mut().zip(block.row(row)).zip(&means) {
            *sum += (f64::from(value) - mean).powi(2);
        }
    }
    squares.iter().map(|s| s / (rows.len() - 1) as f64).collect()
}

fn means(block: ArrayView2<f32>, rows: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0; block.ncols()];
    for &row in rows {
        for (sum, &value) in sums.iter_mut().zip(block.row(row)) {
            *sum += f64::from(value);
        }
    }
    sums.iter().map(|s| s / rows.len() as f64).collect()
}

/// Sums of squares and products of two centred samples.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Moments {
    fn add(&mut self, x: f64, y: f64) {
        self.xx += x * x;
        self.yy += y * y;
        self.xy += x * y;
    }

    fn correlation(&self, what: &str, index: usize) -> Result<Correlation> {
        if self.xx > 0.0 && self.yy > 0.0 {
            Correlation::new(self.xy / (self.xx * self.yy).sqrt())
        } else {
            Err(constant(what, index, "correlation"))
        }
    }
}

fn constant(what: &str, index: usize, statistic: &str) -> Error {
    Error::Constant { what: what.into(), index, statistic: statistic.into() }
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

/// Blocks of columns that stay in cache while the rows go by.
fn column_blocks(columns: usize) -> Vec<Range<usize>> {
    const WIDTH: usize = 256;
    (0..columns).step_by(WIDTH).map(|start| start..(start + WIDTH).min(columns)).collect()
}

fn flatten<T>(blocks: Vec<Result<Vec<T>>>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for block in blocks {
        all.extend(block?);
    }
    Ok(all)
}

fn finite(what: &str, values: ArrayView2<f32>) -> Result<()> {
    Error::all_finite(what, values.iter().map(|&v| f64::from(v)))
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use dina_core::Seed;
    use ndarray::{Array, array};
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    /// A signal of variance `signal` and private noise of variance 1, `repeats` of each stimulus in
    /// turn.
    fn simulated(
        stimuli: usize,
        repeats: usize,
        neurons: usize,
        signal: f64,
    ) -> (Array2<f32>, Vec<Vec<usize>>) {
        let mut rng = Seed::new(1).stream("simulated");
        let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
        let signals = Array::from_shape_fn((stimuli, neurons), |_| signal.sqrt() * normal());
        let responses = Array::from_shape_fn((stimuli * repeats, neurons), |(t, n)| {
            (signals[[t % stimuli, n]] + normal()) as f32
        });
        let trials = (0..stimuli).map(|s| (0..repeats).map(|k| k * stimuli + s).collect()).collect();
        (responses, trials)
    }

    #[test]
    fn signal_variance_by_hand() {
        // Centred: (-1, 0, 1) and (-2, 2, 0): covariance 1, variances 1 and 4.
        let first = array![[1.0_f32], [2.0], [3.0]];
        let second = array![[0.0_f32], [4.0], [2.0]];
        let found = signal_variance(first.view(), second.view()).unwrap();
        assert_relative_eq!(found[0].get(), 1.0 / 2.5, epsilon = 1e-12);
        let r = split_half(first.view(), second.view()).unwrap();
        assert_relative_eq!(r[0].get(), 0.5, epsilon = 1e-12);
    }

    /// All three estimate signal / (signal + noise) = 0.2 of a single trial.
    #[test]
    fn estimators_agree_with_the_truth() {
        let (responses, trials) = simulated(400, 2, 300, 0.25);
        let halves = halves(responses.view(), &trials).unwrap();
        assert_eq!(halves.stimuli.len(), 400);
        let sv = signal_variance(halves.first.view(), halves.second.view()).unwrap();
        assert_relative_eq!(ExplainedVariance::mean(&sv).unwrap().get(), 0.2, epsilon = 0.01);
        let r = split_half(halves.first.view(), halves.second.view()).unwrap();
        assert_relative_eq!(Correlation::median(&r).unwrap().get(), 0.2, epsilon = 0.01);
        let fev = explainable_variance(responses.view(), &trials).unwrap();
        assert_relative_eq!(ExplainedVariance::mean(&fev).unwrap().get(), 0.2, epsilon = 0.01);
    }

    #[test]
    fn halves_are_even_and_odd_repeats() {
        let responses = array![[1.0_f32], [10.0], [3.0], [20.0], [7.0], [5.0]];
        let found = halves(responses.view(), &[vec![0, 1, 2, 3], vec![4], vec![5, 4]]).unwrap();
        assert_eq!(found.stimuli, [0, 2]);
        assert_eq!(found.first, array![[2.0], [5.0]]);
        assert_eq!(found.second, array![[15.0], [7.0]]);
    }

    /// Variances by hand: all trials 1, 3, 4, 8: 26/3; repeats 2 and 8: mean 5.
    #[test]
    fn explainable_variance_by_hand() {
        let responses = array![[1.0_f32], [3.0], [4.0], [8.0]];
        let found = explainable_variance(responses.view(), &[vec![0, 1], vec![2, 3]]).unwrap();
        let total = 26.0 / 3.0;
        assert_relative_eq!(found[0].get(), (total - 5.0) / total, epsilon = 1e-12);
    }

    #[test]
    fn ceiling_is_the_root_and_normalises_once() {
        let rho = Correlation::new(0.6).unwrap().spearman_brown(2.0).unwrap();
        assert_relative_eq!(rho.get(), 0.75);
        assert_relative_eq!(rho.ceiling().unwrap().get(), 0.75_f64.sqrt());
        let best = rho.ceiling().unwrap().squared();
        assert_relative_eq!(rho.normalise(best).unwrap(), 1.0, epsilon = 1e-12);
        assert!(Correlation::new(-1.0).unwrap().spearman_brown(2.0).is_err());
        let negative = Correlation::new(-0.2).unwrap().spearman_brown(2.0).unwrap();
        assert!(negative.ceiling().is_err());
    }

    #[test]
    fn many_columns_are_kept_in_order() {
        let (responses, trials) = simulated(10, 2, 600, 1.0);
        let all = explainable_variance(responses.view(), &trials).unwrap();
        let one = explainable_variance(responses.slice(s![.., 555..556]), &trials).unwrap();
        assert_eq!(all[555], one[0]);
    }

    #[test]
    fn refuses_nonsense() {
        let flat = array![[1.0_f32, 1.0], [2.0, 1.0], [4.0, 1.0]];
        assert!(matches!(signal_variance(flat.view(), flat.view()), Err(Error::Constant { index: 1, .. })));
        let nan = array![[1.0_f32], [f32::NAN]];
        assert!(matches!(split_half(nan.view(), nan.view()), Err(Error::NotFinite { index: 1, .. })));
        assert!(halves(flat.view(), &[vec![0], vec![1]]).is_err());
        assert!(halves(flat.view(), &[vec![0, 9]]).is_err());
        assert!(Correlation::new(f64::NAN).is_err());
    }
}
