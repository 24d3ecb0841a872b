//! Amplitude spectra: measured, imposed on images, and made flat.

use dina_core::Seed;
use ndarray::Axis;
use ndarray::parallel::prelude::*;
use serde::{Deserialize, Serialize};

use super::fourier::{Border, Spectral};
use super::stack::{positive, refused};
use super::{Stack, StackTransform};
use crate::Result;

/// Mean amplitude of every frequency over images.
///
/// Measure it on the training images where what follows is to be held out, and impose it on all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AmplitudeSpectrum {
    size: (usize, usize),
    isotropic: bool,
    /// Row by row, `|F(k)|`, first number of frequencies 0.
    amplitude: Vec<f64>,
}

impl AmplitudeSpectrum {
    /// The mean over images of `|F(k)|`, of the discrete Fourier transform; if `isotropic`, also the
    /// mean over directions, in rings one cycle per larger extent wide.
    ///
    /// # Errors
    /// When there is no image.
    pub fn measure(stack: &Stack, isotropic: bool) -> Result<Self> {
        let spectral = Spectral::new(stack.size(), Border::Periodic);
        let mut amplitude = mean_over_images(stack, &spectral, |c| c.norm())?;
        if isotropic {
            over_rings(&spectral, stack, &mut amplitude);
        }
        Ok(Self { size: stack.size(), isotropic, amplitude })
    }

    /// Gives every image these amplitudes and leaves its phases:
    /// `F'(k) = A(k) F(k) / |F(k)|`, with the mean grey of the images measured. A frequency that an
    /// image lacks altogether gets phase 0. An isotropic spectrum scales each ring of an image, so that its
    /// mean over directions becomes that of the spectrum and the direction of its structure stays.
    ///
    /// # Errors
    /// When the images have another size than those measured.
    pub fn impose(&self, stack: &Stack) -> Result<Stack> {
        if stack.size() != self.size || self.amplitude.len() != self.size.0 * self.size.1 {
            return Err(dina_core::Error::shape("images to equalise", self.size, stack.size()).into());
        }
        let spectral = Spectral::new(stack.size(), Border::Periodic);
        let rings = self.isotropic.then(|| rings(&spectral, stack));
        Ok(stack.each(|_, image, out| {
            let mut spectrum = spectral.analyse(image);
            let mut own: Vec<f64> = spectrum.iter().map(|c| c.norm()).collect();
            if let Some(rings) = &rings {
                ring_means(rings, &mut own);
            }
            // Below this, an amplitude is the rounding of the others.
            let floor = 1e-12 * own.iter().fold(0.0, |most: f64, v| most.max(*v));
            for ((c, own), wanted) in spectrum.iter_mut().zip(&own).zip(&self.amplitude) {
                *c = if *own > floor { *c * (wanted / own) } else { (*wanted).into() };
            }
            spectral.synthesise(spectrum, out);
        }))
    }
}

/// Gives all images of a stack their mean amplitude spectrum, so that they differ in phase alone
/// (Willenbockel et al. 2010). Shorthand for [`AmplitudeSpectrum::measure`] and
/// [`AmplitudeSpectrum::impose`] on the same stack.
///
/// Grey levels may leave the range of the screen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EqualiseAmplitude {
    /// Equalise the mean over directions only, and leave each image the direction of its structure.
    #[serde(default)]
    pub isotropic: bool,
}

impl StackTransform for EqualiseAmplitude {
    fn name(&self) -> &'static str {
        "amplitude equalisation"
    }

    fn apply(&self, stack: &Stack, _: Seed) -> Result<Stack> {
        AmplitudeSpectrum::measure(stack, self.isotropic)?.impose(stack)
    }
}

/// Makes the spectrum of images flat.
///
/// The result has mean 0 in every image and is in standard deviations, not grey levels:
/// [`Normalise`](super::Normalise) makes it visible. Beyond the border lies the image in the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Whitening {
    /// `F'(k) = F(k) / sqrt(P(k) + floor mean(P))` with `P` the mean power over the images of the
    /// stack: zero-phase (ZCA) whitening for a covariance that is the same everywhere in the image,
    /// which Fourier components diagonalise. Frequencies with much less power than the floor are not
    /// raised, so that noise is not. `F` is scaled so that a white picture has variance 1.
    Measured {
        /// Noise floor as a share of the mean power over frequencies; above 0.
        floor: f32,
        /// Power is averaged over directions, in rings: for few images, or to leave the
        /// preference of photographs for vertical and horizontal.
        isotropic: bool,
    },
    /// `F'(k) = F(k) f^exponent exp(-(f / cutoff)^4)`, the compensation of an amplitude spectrum of
    /// `1 / f^exponent` with a low-pass against noise (Olshausen & Field 1997, exponent 1). The stack
    /// is scaled to variance 1.
    Slope {
        /// Exponent of the amplitude spectrum compensated for.
        exponent: f32,
        /// Where the low-pass is at `1/e`, in cycles per degree.
        cutoff: f32,
    },
}

impl Default for Whitening {
    /// Measured, in rings, with a floor of a thousandth of the mean power.
    fn default() -> Self {
        Self::Measured { floor: 1e-3, isotropic: true }
    }
}

/// [`Whitening`] with what it measured, to be applied to other images of the same size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedWhitening {
    size: (usize, usize),
    gains: Vec<f64>,
}

impl Whitening {
    /// Measures the power of these images; take the training images where what follows is to be
    /// held out.
    ///
    /// # Errors
    /// When there is no image, all images are uniform, or a parameter is out of range.
    pub fn fit(&self, stack: &Stack) -> Result<FittedWhitening> {
        let spectral = Spectral::new(stack.size(), Border::Mirror);
        let mut power = mean_over_images(stack, &spectral, |c| c.norm_sqr())?;
        power[0] = 0.0;
        let n = spectral.len() as f64;
        let mean = power.iter().sum::<f64>() / (n - 1.0).max(1.0);
        if mean.is_nan() || mean <= 1e-9 {
            return Err(refused("images to whiten", "different pixels", "uniform images"));
        }
        let mut gains: Vec<f64> = match *self {
            Self::Measured { floor, isotropic } => {
                positive("noise floor", floor)?;
                if isotropic {
                    over_rings(&spectral, stack, &mut power);
                }
                let floor = f64::from(floor) * mean;
                power.iter().map(|p| (n / (p + floor)).sqrt()).collect()
            }
            Self::Slope { exponent, cutoff } => {
                positive("exponent", exponent)?;
                positive("cut-off", cutoff)?;
                let raw: Vec<f64> = spectral
                    .frequencies(stack.degrees_per_pixel())
                    .iter()
                    .map(|f| f.powf(f64::from(exponent)) * (-(f / f64::from(cutoff)).powi(4)).exp())
                    .collect();
                let variance = raw.iter().zip(&power).map(|(g, p)| g * g * p).sum::<f64>() / (n * n);
                if variance.is_nan() || variance <= f64::MIN_POSITIVE {
                    return Err(refused("cut-off", "in the range of the image's frequencies", cutoff));
                }
                raw.iter().map(|g| g / variance.sqrt()).collect()
            }
        };
        gains[0] = 0.0;
        Ok(FittedWhitening { size: stack.size(), gains })
    }
}

impl FittedWhitening {
    /// Whitens images.
    ///
    /// # Errors
    /// When they have another size than those measured.
    pub fn apply(&self, stack: &Stack) -> Result<Stack> {
        let spectral = Spectral::new(stack.size(), Border::Mirror);
        if stack.size() != self.size || self.gains.len() != spectral.len() {
            return Err(dina_core::Error::shape("images to whiten", self.size, stack.size()).into());
        }
        Ok(stack.each(|_, image, out| spectral.scaled(image, &self.gains, out)))
    }
}

impl StackTransform for Whitening {
    fn name(&self) -> &'static str {
        "whitening"
    }

    fn apply(&self, stack: &Stack, _: Seed) -> Result<Stack> {
        self.fit(stack)?.apply(stack)
    }
}

/// Images of one unit of parallel work: sums are added in the order of the images.
const AT_ONCE: usize = 16;

fn mean_over_images(
    stack: &Stack,
    spectral: &Spectral,
    value: impl Fn(&super::fourier::Complex) -> f64 + Sync,
) -> Result<Vec<f64>> {
    if stack.is_empty() {
        return Err(refused("images", "at least one", 0));
    }
    let parts: Vec<Vec<f64>> = stack
        .pixels()
        .axis_chunks_iter(Axis(0), AT_ONCE)
        .into_par_iter()
        .map(|images| {
            let mut sum = vec![0.0; spectral.len()];
            for image in images.axis_iter(Axis(0)) {
                sum.iter_mut().zip(spectral.analyse(image)).for_each(|(s, c)| *s += value(&c));
            }
            sum
        })
        .collect();
    let mut mean = vec![0.0; spectral.len()];
    for part in parts {
        mean.iter_mut().zip(part).for_each(|(m, p)| *m += p / stack.len() as f64);
    }
    Ok(mean)
}

/// The ring of each frequency: its distance from 0 in cycles per larger extent, rounded. Only the
/// mean is in ring 0.
fn rings(spectral: &Spectral, stack: &Stack) -> Vec<usize> {
    let (height, width) = spectral.size();
    let extent = height.max(width) as f64 * f64::from(stack.degrees_per_pixel());
    let ring = |f: f64| if f > 0.0 { ((f * extent).round() as usize).max(1) } else { 0 };
    spectral.frequencies(stack.degrees_per_pixel()).into_iter().map(ring).collect()
}

/// Replaces every value by the mean of its ring.
fn ring_means(rings: &[usize], values: &mut [f64]) {
    let count = rings.iter().copied().max().unwrap_or(0) + 1;
    let mut sums = vec![(0.0, 0.0); count];
    for (&ring, value) in rings.iter().zip(values.iter()) {
        sums[ring].0 += value;
        sums[ring].1 += 1.0;
    }
    for (&ring, value) in rings.iter().zip(values.iter_mut()) {
        *value = sums[ring].0 / sums[ring].1;
    }
}

fn over_rings(spectral: &Spectral, stack: &Stack, values: &mut [f64]) {
    ring_means(&rings(spectral, stack), values);
}
