use candle_core::Tensor;
use dina_core::{Error as CoreError, Seed};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::{
    Attribution, Completeness, Explainer, Method,
    explainer::{Baseline, Items},
};
use crate::Result;

/// How [`Explainer::smooth_grad`] averages.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SmoothGrad {
    /// Noisy copies an item.
    pub samples: usize,
    /// Standard deviation of the noise, as a share of the item's range (largest minus smallest value).
    pub noise: f64,
    /// Whether to multiply the mean gradient with the input, so that it compares with the other methods.
    pub times_input: bool,
}

impl Default for SmoothGrad {
    /// 50 samples, noise of a tenth of the range, times input.
    fn default() -> Self {
        Self { samples: 50, noise: 0.1, times_input: true }
    }
}

impl SmoothGrad {
    /// The standard normal draws of a noisy copy, one an input: what makes a computation elsewhere comparable sample by
    /// sample.
    pub fn draws(&self, item: usize, sample: usize, inputs: usize, seed: Seed) -> Vec<f64> {
        let mut stream = seed.index(item).index(sample).stream("smooth_grad");
        (0..inputs).map(|_| StandardNormal.sample(&mut stream)).collect()
    }
}

impl Explainer<'_> {
    /// Gradient times input, `x_i df/dx_i`: for a tower that is linear in its input the exact share of
    /// every input, elsewhere a first-order one. The completeness reported is that against the zero input, with a
    /// tolerance of 1e-3; it says how far the tower is from linear.
    ///
    /// # Errors
    /// When the tower refuses the input, gives no gradient, or something is not finite.
    pub fn gradient_input(&self, inputs: &Tensor) -> Result<Attribution> {
        let items = Items::new(inputs)?;
        let ends = self.ends(&items, &Baseline::Zero.values(items.width)?)?;
        let mut values = Vec::with_capacity(items.values.len());
        let as_is = |row: usize, values: &mut [f64]| {
            values.copy_from_slice(items.row(row));
            row
        };
        self.differentiate(&items, items.count, as_is, |pass| {
            let inputs = &items.values[pass.first * items.width..];
            values.extend(inputs.iter().zip(pass.gradients).map(|(x, g)| x * g));
        })?;
        Ok(Attribution {
            values: items.array(&values)?,
            method: Method::GradientInput,
            targets: ends.iter().map(|ends| ends[1]).collect(),
            completeness: Some(Completeness::of(&values, items.epsilon(), &ends, vec![1; items.count], 1e-3)),
            standard_error: None,
            groups: None,
            checks: None,
        })
    }

    /// SmoothGrad (Smilkov et al. 2017): the gradient averaged over noisy copies of the input, times the
    /// input where asked. The standard errors are those of the average over noise.
    ///
    /// # Errors
    /// As [`Explainer::gradient_input`]; for fewer than two samples or noise that is negative.
    pub fn smooth_grad(&self, inputs: &Tensor, config: &SmoothGrad, seed: Seed) -> Result<Attribution> {
        let SmoothGrad { samples, noise, times_input } = *config;
        if samples < 2 || !noise.is_finite() || noise < 0. {
            return Err(CoreError::value(
                "SmoothGrad",
                "2 samples or more, noise of 0 or more",
                format!("{config:?}"),
            )
            .into());
        }
        let items = Items::new(inputs)?;
        let noisy = |row: usize, values: &mut [f64]| {
            let item = row / samples;
            let x = items.row(item);
            let low = x.iter().copied().fold(f64::INFINITY, f64::min);
            let high = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sd = noise * (high - low);
            let draws = config.draws(item, row % samples, items.width, seed);
            for ((value, x), draw) in values.iter_mut().zip(x).zip(draws) {
                *value = x + sd * draw;
            }
            item
        };
        let mut moments = Moments::new(items.values.len());
        self.differentiate(&items, items.count * samples, noisy, |pass| {
            pass.accumulate(
                &mut moments.0,
                samples,
                |item| item,
                |part, row, _, gradient| {
                    add(part, row % samples, gradient.iter().copied());
                },
            );
        })?;
        let (mut values, mut errors) = moments.finish(samples);
        if times_input {
            values.iter_mut().zip(&items.values).for_each(|(v, x)| *v *= x);
            errors.iter_mut().zip(&items.values).for_each(|(e, x)| *e *= x.abs());
        }
        Ok(Attribution {
            values: items.array(&values)?,
            method: Method::SmoothGrad,
            targets: self.targets_of(&items)?,
            completeness: None,
            standard_error: Some(items.array(&errors)?),
            groups: None,
            checks: None,
        })
    }

    /// Per item the target of the baseline and of the item.
    pub(crate) fn ends(&self, items: &Items, baseline: &[f64]) -> Result<Vec<[f64; 2]>> {
        let make = |row: usize, values: &mut [f64]| {
            values.copy_from_slice(if row.is_multiple_of(2) { baseline } else { items.row(row / 2) });
            row / 2
        };
        let mut targets = Vec::with_capacity(2 * items.count);
        self.evaluate(items, 2 * items.count, make, |_, target| targets.push(target))?;
        Ok(targets.chunks(2).map(|pair| [pair[0], pair[1]]).collect())
    }
}

/// Mean and sum of squared deviations of samples that arrive one after the other.
pub(super) struct Moments(pub(super) Vec<[f64; 2]>);

impl Moments {
    pub(super) fn new(len: usize) -> Self {
        Self(vec![[0.; 2]; len])
    }

    /// Means of `samples` samples and their standard errors.
    pub(super) fn finish(self, samples: usize) -> (Vec<f64>, Vec<f64>) {
        let divisor = (samples * (samples - 1)) as f64;
        self.0.into_iter().map(|[mean, squares]| (mean, (squares / divisor).sqrt())).unzip()
    }
}

/// Adds a sample to moments that `before` samples were added to (Welford 1962).
pub(super) fn add(moments: &mut [[f64; 2]], before: usize, sample: impl IntoIterator<Item = f64>) {
    let share = 1. / (before + 1) as f64;
    for ([mean, squares], value) in moments.iter_mut().zip(sample) {
        let deviation = value - *mean;
        *mean += deviation * share;
        *squares += deviation * (value - *mean);
    }
}
