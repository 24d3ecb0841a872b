//! Kernel ridge from maps to responses, with a prior that receptive fields are local.

use candle_core::{Device, Tensor};
use dina_core::{Error, Result};
use rayon::prelude::*;

use super::linear::{Cholesky, dot};

/// Ridge penalties relative to the mean of the kernel's diagonal.
const PENALTIES: [f32; 8] = [0.1, 0.3, 1., 2., 4., 8., 16., 50.];

/// Neurons on which the penalty is chosen.
const CHOOSERS: usize = 32;

/// Map positions between neighbouring places, at least, and places along the longer side, at most.
const SPACING: usize = 3;
const PLACES: usize = 7;

/// Weight of the whole map beside the places: receptive fields may be larger than one.
const EVERYWHERE: f32 = 0.15;

/// Maps `[images, channels x positions]`, row by row, of a known layout.
pub(super) struct Maps<'a> {
    pub values: &'a Tensor,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// The fit of every neuron.
pub(super) struct Encoding {
    /// The shared penalty.
    pub penalty: f32,
    /// `[channels x positions, neurons]`.
    pub weights: Tensor,
    /// Leave-one-image-out predictions of the mean responses, `[images, neurons]`.
    pub held_out: Tensor,
    /// Their explained variance, one a neuron.
    pub explained: Vec<f64>,
}

/// A neuron's prior: the variance of its weights is `sum_b a_b g_b(p)^2` at position p, with Gaussian places `g_b` and
/// shares `a_b` that its own responses choose (as in the automatic locality determination of Park & Pillow 2011, PLoS
/// Comput. Biol. 7:e1002219, with a coarse set of places in the place of a continuous one).
///
/// The evidence for place b is that of a weak Gaussian-process signal with the kernel of the features there: with
/// `z_b` the standard score of `r' K_b r` under no signal, its logarithm is about `z_b^2 / 4` where `z_b > 0`.
/// Shares are proportional to the evidence, which leaves a neuron without a visible field an even prior.
struct Places {
    /// Squared Gaussians `[places][positions]`; the last place is the whole map.
    gains: Vec<Vec<f32>>,
    /// Kernels `[images, images]` of the features at a place, mean diagonal 1.
    kernels: Vec<Vec<f32>>,
    /// Standard deviation of `r' K r / r' r` under no signal.
    spread: Vec<f32>,
}

impl Places {
    fn new(maps: &Maps<'_>) -> Result<Self> {
        let mut places = Self { gains: Vec::new(), kernels: Vec::new(), spread: Vec::new() };
        for mut gains in gaussians(maps.height, maps.width) {
            let (kernel, mean) = kernel(maps, &gains)?;
            gains.iter_mut().for_each(|gain| *gain /= mean);
            // The mean diagonal is 1, so the trace is the number of images.
            places.spread.push((2. * dot(&kernel, &kernel) / kernel.len() as f32).sqrt());
            places.gains.push(gains);
            places.kernels.push(kernel);
        }
        Ok(places)
    }

    /// Shares of the places for every neuron, from its centred mean responses (`[images, neurons]`).
    fn shares(&self, means: &Tensor) -> Result<Vec<Vec<f32>>> {
        let (images, neurons) = means.dims2()?;
        let power: Vec<f32> = means.sqr()?.sum(0)?.to_vec1()?;
        let last = self.kernels.len() - 1;
        // A product of matrices for each place, and not a quadratic form for each neuron and place.
        let evidence = self.kernels[..last]
            .iter()
            .zip(&self.spread)
            .map(|(kernel, spread)| {
                let kernel = Tensor::from_slice(kernel, (images, images), &Device::Cpu)?;
                let forms: Vec<f32> = (kernel.matmul(means)? * means)?.sum(0)?.to_vec1()?;
                let of_neuron = |(form, power): (&f32, &f32)| {
                    let z = ((form / power.max(f32::MIN_POSITIVE) - 1.) / spread).max(0.);
                    z * z / 4.
                };
                Ok(forms.iter().zip(&power).map(of_neuron).collect())
            })
            .collect::<Result<Vec<Vec<f32>>>>()?;
        Ok((0..neurons).map(|n| shares(evidence.iter().map(|place| place[n]))).collect())
    }

    fn mixed(&self, shares: &[f32]) -> Vec<f32> {
        let mut kernel = vec![0.; self.kernels[0].len()];
        for (share, part) in shares.iter().zip(&self.kernels) {
            if *share > 1e-3 {
                kernel.iter_mut().zip(part).for_each(|(sum, value)| *sum += share * value);
            }
        }
        kernel
    }

    fn gain(&self, shares: &[f32]) -> Vec<f32> {
        let mut gain = vec![0.; self.gains[0].len()];
        for (share, part) in shares.iter().zip(&self.gains) {
            if *share > 1e-3 {
                gain.iter_mut().zip(part).for_each(|(sum, value)| *sum += share * value);
            }
        }
        gain
    }
}

/// Shares in proportion to the evidence, whose logarithms are given, and that of the whole map.
fn shares(evidence: impl Iterator<Item = f32> + Clone) -> Vec<f32> {
    let highest = evidence.clone().fold(0., f32::max);
    let weights: Vec<f32> = evidence.map(|e| (e - highest).exp()).collect();
    let total: f32 = weights.iter().sum();
    weights.iter().map(|w| (1. - EVERYWHERE) * w / total).chain([EVERYWHERE]).collect()
}

/// Squared Gaussian windows on an even grid of places, and a flat one last.
fn gaussians(height: usize, width: usize) -> Vec<Vec<f32>> {
    let spacing = (height.max(width) as f32 / PLACES as f32).max(SPACING as f32);
    let along = |size: usize| -> Vec<f32> {
        let count = ((size as f32 / spacing).round() as usize).max(1);
        (0..count).map(|k| (k as f32 + 0.5) * size as f32 / count as f32 - 0.5).collect()
    };
    let mut windows = Vec::new();
    for y0 in along(height) {
        for &x0 in &along(width) {
            let gain = |p: usize| {
                let (dy, dx) = ((p / width) as f32 - y0, (p % width) as f32 - x0);
                let squared = (-(dy * dy + dx * dx) / (spacing * spacing)).exp();
                if squared < 0.02 { 0. } else { squared }
            };
            windows.push((0..height * width).map(gain).collect());
        }
    }
    windows.push(vec![1.; height * width]);
    windows
}

/// The kernel of the features at a place, scaled to a mean diagonal of 1, and that mean.
fn kernel(maps: &Maps<'_>, gains: &[f32]) -> Result<(Vec<f32>, f32)> {
    let images = maps.values.dim(0)?;
    let inside: Vec<u32> = (0..gains.len() as u32).filter(|&p| gains[p as usize] > 0.).collect();
    let roots: Vec<f32> = inside.iter().map(|&p| gains[p as usize].sqrt()).collect();
    let count = inside.len();
    let positions = Tensor::new(inside, &Device::Cpu)?;
    let part = maps
        .values
        .reshape((images, maps.channels, maps.height * maps.width))?
        .index_select(&positions, 2)?
        .broadcast_mul(&Tensor::from_vec(roots, (1, 1, count), &Device::Cpu)?)?
        .flatten_from(1)?;
    let kernel = part.matmul(&part.t()?)?.flatten_all()?.to_vec1::<f32>()?;
    let mean = (0..images).map(|i| kernel[i * images + i]).sum::<f32>() / images as f32;
    let mean = mean.max(f32::MIN_POSITIVE);
    Ok((kernel.into_iter().map(|v| v / mean).collect(), mean))
}

/// One neuron's fit.
struct Fit {
    /// Dual weights.
    dual: Vec<f32>,
    /// Leave-one-out residuals.
    residual: Vec<f32>,
}

impl Fit {
    /// Ridge in the dual: `alpha = (K + lambda)^-1 r`, with the exact leave-one-out residual `alpha_i / (K + lambda)^-1_ii`.
    fn new(mut kernel: Vec<f32>, responses: &[f32], penalty: f32) -> Result<Self> {
        let n = responses.len();
        (0..n).for_each(|i| kernel[i * n + i] += penalty);
        let inverse = Cholesky::new(kernel, n)?.inverse();
        let dual: Vec<f32> = inverse.chunks(n).map(|row| dot(row, responses)).collect();
        let residual = dual.iter().enumerate().map(|(i, a)| a / inverse[i * n + i]).collect();
        Ok(Self { dual, residual })
    }

    fn explained(&self, responses: &[f32]) -> f64 {
        let error = f64::from(dot(&self.residual, &self.residual));
        1. - error / f64::from(dot(responses, responses).max(f32::MIN_POSITIVE))
    }
}

impl Encoding {
    /// `means`: centred mean responses `[images, neurons]`.
    pub(super) fn fit(maps: &Maps<'_>, means: &Tensor) -> Result<Self> {
        let (images, neurons) = means.dims2()?;
        let columns = means.t()?.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
        let columns: Vec<&[f32]> = columns.chunks(images).collect();
        let places = Places::new(maps)?;
        let shares = places.shares(means)?;
        let penalty = choose(&places, &shares, &columns)?;
        let fits: Vec<Fit> = columns
            .par_iter()
            .zip(&shares)
            .map(|(responses, shares)| Fit::new(places.mixed(shares), responses, penalty))
            .collect::<Result<_>>()?;
        let explained = fits.iter().zip(&columns).map(|(fit, r)| fit.explained(r)).collect();
        let turned = |part: &dyn Fn(&Fit) -> &[f32]| -> Result<Tensor> {
            let values: Vec<f32> = fits.iter().flat_map(|fit| part(fit).iter().copied()).collect();
            Ok(Tensor::from_vec(values, (neurons, images), &Device::Cpu)?)
        };
        let held_out = (means - turned(&|fit| &fit.residual)?.t()?)?;
        // Weights of neuron n at channel c and position p: gain_n(p) times the dual weights' sum of maps.
        let weights = turned(&|fit| &fit.dual)?.matmul(maps.values)?;
        let gains: Vec<f32> = shares.iter().flat_map(|shares| places.gain(shares)).collect();
        let positions = maps.height * maps.width;
        let gains = Tensor::from_vec(gains, (neurons, 1, positions), &Device::Cpu)?;
        let weights = weights.reshape((neurons, maps.channels, positions))?.broadcast_mul(&gains)?;
        let weights = weights.flatten_from(1)?.t()?.contiguous()?;
        Ok(Self { penalty, weights, held_out, explained })
    }
}

/// The penalty under which evenly drawn neurons are predicted best, those that cannot be predicted left out.
fn choose(places: &Places, shares: &[Vec<f32>], columns: &[&[f32]]) -> Result<f32> {
    let step = columns.len().div_ceil(CHOOSERS);
    let choosers: Vec<usize> = (0..columns.len()).step_by(step).collect();
    let mut best: Option<(f64, f32)> = None;
    for penalty in PENALTIES {
        let explained: Vec<f64> = choosers
            .par_iter()
            .map(|&n| Ok(Fit::new(places.mixed(&shares[n]), columns[n], penalty)?.explained(columns[n])))
            .collect::<Result<_>>()?;
        let score: f64 = explained.iter().map(|r| r.max(0.)).sum();
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, penalty));
        }
    }
    best.map(|(_, penalty)| penalty)
        .ok_or_else(|| Error::value("ridge error", "finite for some penalty", "none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::normal;
    use candle_core::DType;

    /// Two neurons that each read one place of a map: the prior moves there, and prediction gains by it.
    #[test]
    fn the_prior_finds_the_place() {
        let (images, channels, height, width) = (150, 4, 9, 12);
        let values =
            normal("maps", &[images, channels * height * width]).unwrap().to_dtype(DType::F32).unwrap();
        let maps = Maps { values: &values, channels, height, width };
        let flat = values.to_vec2::<f32>().unwrap();
        let noise = normal("noise", &[images]).unwrap().to_vec1::<f64>().unwrap();
        let reader = |y0: usize, x0: usize| -> Vec<f32> {
            (0..images)
                .map(|i| {
                    let mut sum = 0.;
                    for c in 0..channels {
                        for p in 0..height * width {
                            let near = (p / width).abs_diff(y0) <= 1 && (p % width).abs_diff(x0) <= 1;
                            sum += if near { flat[i][c * height * width + p] * (c as f32 - 1.2) } else { 0. };
                        }
                    }
                    sum / 8. + noise[i] as f32
                })
                .collect()
        };
        let places = Places::new(&maps).unwrap();
        for (y0, x0) in [(2, 2), (7, 10)] {
            let responses = reader(y0, x0);
            let mean = responses.iter().sum::<f32>() / images as f32;
            let responses: Vec<f32> = responses.iter().map(|r| r - mean).collect();
            let column = Tensor::from_slice(&responses, (images, 1), &Device::Cpu).unwrap();
            let shares = places.shares(&column).unwrap().remove(0);
            let gain = places.gain(&shares);
            let at = |y: usize, x: usize| gain[y * width + x];
            assert!(at(y0, x0) > 3. * at(height - 1 - y0, width - 1 - x0), "{shares:?}");
            let local = Fit::new(places.mixed(&shares), &responses, 1.).unwrap().explained(&responses);
            let mut even = vec![0.; shares.len()];
            *even.last_mut().unwrap() = 1.;
            let even = Fit::new(places.mixed(&even), &responses, 1.).unwrap().explained(&responses);
            assert!(local > even + 0.05, "{local} {even}");
        }
    }
}
