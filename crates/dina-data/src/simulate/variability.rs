use dina_core::{Seed, Stream};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand_distr::{Distribution, Gamma, StandardNormal};
use rayon::prelude::*;

use super::{NeuronTruth, pairs::Pairs};

/// How a neuron follows the shared modes.
pub(super) struct Loadings {
    /// Neurons x modes.
    weights: Array2<f32>,
}

impl Loadings {
    /// The loadings of neuron `i` come from `seed.index(i)`. Mode `n` has variance in proportion to
    /// `1/n`; most neurons follow the first, arousal, in the same direction.
    pub fn new(neurons: &[NeuronTruth], modes: usize, seed: Seed) -> Self {
        let total: f32 = (1..=modes).map(|n| 1.0 / n as f32).sum();
        let mut weights = Array2::zeros((neurons.len(), modes));
        weights.axis_iter_mut(Axis(0)).into_par_iter().zip(neurons).enumerate().for_each(
            |(i, (mut row, neuron))| {
                let mut random = seed.index(i).stream("loadings");
                for (n, weight) in row.iter_mut().enumerate() {
                    let z: f32 = StandardNormal.sample(&mut random);
                    let z = if n == 0 { 0.6 + 0.8 * z } else { z };
                    *weight = z * (1.0 / (total * (n + 1) as f32)).sqrt();
                }
                let power = row.dot(&row).max(1e-12);
                row *= (neuron.shared_variance / power).sqrt();
            },
        );
        Self { weights }
    }
}

/// Time courses of the shared modes: modes x bins, bin `b` from `seed(b)`.
pub(super) fn courses(modes: usize, bins: usize, seed: impl Fn(usize) -> Seed + Sync) -> Array2<f32> {
    let mut courses = Array2::zeros((bins, modes));
    courses.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(b, mut row)| {
        let mut random = seed(b).stream("state");
        row.iter_mut().for_each(|v| *v = StandardNormal.sample(&mut random));
    });
    courses.reversed_axes()
}

/// What the stimuli do to the neurons.
pub(super) struct Stimulation<'a> {
    /// Mean driven rate, neurons x stimuli.
    pub rates: ArrayView2<'a, f32>,
    /// How pairs are driven together, if they are.
    pub pairs: Option<&'a Pairs>,
}

/// Single responses, neurons x bins.
///
/// The rate in a bin is `baseline * e^h + drive * e^(h + g)`, where `h` is shared activity and `g`
/// the state-dependent gain, both with mean effect 1; the response is Gamma distributed about it
/// with variance `fano * rate`, skewed as deconvolved fluorescence is. So the mean over noise is
/// exactly `gain * (baseline + drive)`.
///
/// `stimulus` names the stimulus of a bin; `noise` seeds neuron `i` with `noise.index(i)`. `tick` is called with a number of neurons as they are done.
pub(super) fn responses(
    neurons: &[NeuronTruth],
    loadings: &Loadings,
    courses: &Array2<f32>,
    stimulation: &Stimulation,
    stimulus: impl Fn(usize) -> usize + Sync,
    noise: Seed,
    tick: &(dyn Fn(usize) + Sync),
) -> Array2<f32> {
    /// Neurons whose shared activity is computed in one matrix product.
    const TOGETHER: usize = 32;
    let bins = courses.ncols();
    let mut responses = Array2::zeros((neurons.len(), bins));
    responses.axis_chunks_iter_mut(Axis(0), TOGETHER).into_par_iter().enumerate().for_each(
        |(chunk, mut rows)| {
            let first = chunk * TOGETHER;
            let weights = loadings.weights.slice(ndarray::s![first..first + rows.nrows(), ..]);
            let shared = weights.dot(courses);
            for (k, mut row) in rows.outer_iter_mut().enumerate() {
                let neuron = &neurons[first + k];
                let weights = weights.row(k);
                let variance = weights.dot(&weights);
                let gain = neuron.state_gain;
                let driven_variance = variance + gain * (gain + 2.0 * weights[0]);
                let together =
                    stimulation.pairs.map(|pairs| pairs.factors(first + k, bins, &stimulus, noise));
                let mut random = noise.index(first + k).stream("private");
                for b in 0..bins {
                    let h = shared[[k, b]];
                    let mut driven = stimulation.rates[[first + k, stimulus(b)]];
                    if let Some(factors) = &together {
                        driven *= factors[b];
                    }
                    let mut rate = neuron.baseline * (h - 0.5 * variance).exp();
                    if driven > 0.0 {
                        rate += driven * (h + gain * courses[[0, b]] - 0.5 * driven_variance).exp();
                    }
                    row[b] = neuron.gain * gamma(rate, neuron.fano, &mut random);
                }
            }
            tick(rows.nrows());
        },
    );
    responses
}

/// Gamma distributed with this mean and variance `fano * mean`.
fn gamma(mean: f32, fano: f32, random: &mut Stream) -> f32 {
    // The only refusals are a rate or Fano factor of zero: then nothing varies.
    Gamma::new(mean / fano, fano).map_or(mean, |distribution| distribution.sample(random))
}

/// Share of the variance of single responses that the image explains, by the model above.
pub(super) fn signal_variance(
    neuron: &NeuronTruth,
    loadings: &Loadings,
    i: usize,
    drive: Array1<f32>,
) -> f32 {
    let mean = drive.mean().unwrap_or(0.0);
    let power = drive.mapv(|d| d * d).mean().unwrap_or(0.0);
    let signal = power - mean * mean;
    let weights = loadings.weights.row(i);
    let variance = weights.dot(&weights);
    let covariance = variance + neuron.state_gain * weights[0];
    let driven = covariance + neuron.state_gain * (weights[0] + neuron.state_gain);
    let b = neuron.baseline;
    let shared = b * b * variance.exp_m1() + 2.0 * b * mean * covariance.exp_m1() + power * driven.exp_m1();
    let total = signal + shared + neuron.fano * (b + mean);
    if total > 0.0 { signal / total } else { 0.0 }
}
