//! A learnable bank of quadrature Gabor filters over several scales.

use std::f64::consts::PI;

use candle_core::{D, DType, Device, Tensor, Var};
use dina_core::{Error, Parameter, Result};
use serde::{Deserialize, Serialize};

use crate::ops::{Convolution, convolve};

/// The filter bank's layout. Frequencies follow from the scales: a filter of scale `d` (its dilation)
/// starts at `frequency / (d * degrees_per_pixel)` cycles per degree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GaborConfig {
    /// Kernel extent in taps, odd.
    pub kernel: usize,
    /// Distance of filter positions in pixels.
    pub stride: usize,
    /// Distance of taps in pixels, one entry a scale. The image is blurred to match.
    pub dilations: Vec<usize>,
    /// Orientations per scale, evenly spaced.
    pub orientations: usize,
    /// Initial frequency in cycles per tap.
    pub frequency: f64,
    /// Initial standard deviation of the envelope in taps.
    pub sigma: f64,
}

impl Default for GaborConfig {
    /// Three octaves around the preferred frequency of mouse V1: at 2 degrees a pixel they start at
    /// 0.1, 0.05 and 0.025 cycles per degree; Niell & Stryker 2008 (J. Neurosci. 28:7520) report
    /// most cells between 0.02 and 0.08, with a bandwidth near 2.5 octaves, hence the narrow envelope.
    fn default() -> Self {
        Self { kernel: 9, stride: 2, dilations: vec![1, 2, 4], orientations: 8, frequency: 0.2, sigma: 2. }
    }
}

impl GaborConfig {
    /// Number of quadrature pairs.
    pub fn pairs(&self) -> usize {
        self.dilations.len() * self.orientations
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: &str, expected: &str, found: String| Err(Error::value(what, expected, found));
        if self.kernel.is_multiple_of(2) {
            return wrong("Gabor kernel extent", "odd", self.kernel.to_string());
        }
        if self.pairs() == 0 || self.stride == 0 || self.dilations.contains(&0) {
            return wrong("Gabor bank", "at least one scale, orientation and stride", format!("{self:?}"));
        }
        if !(self.frequency > 0. && self.frequency <= 0.5) {
            return wrong("Gabor frequency", "in (0, 0.5] cycles per tap", self.frequency.to_string());
        }
        if self.sigma.is_nan() || self.sigma <= 0. {
            return wrong("Gabor envelope", "positive", self.sigma.to_string());
        }
        Ok(())
    }
}

/// The bank: per pair an orientation, a frequency and an envelope, all learnable; both filters of
/// a pair share them, so that they stay in quadrature.
pub(super) struct GaborBank {
    orientation: Var,
    log_frequency: Var,
    log_sigma: Var,
    conv: Convolution,
    kernel: usize,
    /// Horizontal and vertical tap positions, `[1, kernel^2]`.
    taps: [Tensor; 2],
    /// Per scale the blur along rows and along columns.
    blurs: Vec<Option<[Tensor; 2]>>,
}

impl GaborBank {
    pub(super) fn new(
        config: &GaborConfig,
        height: usize,
        width: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        let scales = config.dilations.len();
        let orientation: Vec<f64> = (0..config.pairs())
            .map(|pair| {
                let (scale, index) = (pair / config.orientations, pair % config.orientations);
                // Each scale is turned a little, so that the bank covers more orientations.
                (index as f64 + scale as f64 / scales as f64) * PI / config.orientations as f64
            })
            .collect();
        let same = |value: f64| vec![value; config.pairs()];
        let var = |values: Vec<f64>| -> Result<Var> {
            let tensor = Tensor::from_vec(values, (config.pairs(), 1), device)?.to_dtype(dtype)?;
            Ok(Var::from_tensor(&tensor)?)
        };
        let half = (config.kernel / 2) as isize;
        let tap = |along: bool| -> Result<Tensor> {
            let values: Vec<f64> = (-half..=half)
                .flat_map(|y| (-half..=half).map(move |x| if along { x as f64 } else { y as f64 }))
                .collect();
            Ok(Tensor::from_vec(values, (1, config.kernel * config.kernel), device)?.to_dtype(dtype)?)
        };
        let blurs = config
            .dilations
            .iter()
            .map(|&dilation| blur(dilation, height, width, dtype, device))
            .collect::<Result<_>>()?;
        Ok(Self {
            orientation: var(orientation)?,
            log_frequency: var(same(config.frequency.ln()))?,
            log_sigma: var(same(config.sigma.ln()))?,
            conv: Convolution { stride: config.stride, dilations: config.dilations.clone() },
            kernel: config.kernel,
            taps: [tap(true)?, tap(false)?],
            blurs,
        })
    }

    pub(super) fn parameters(&self) -> Vec<Parameter> {
        [
            ("orientation", &self.orientation),
            ("log_frequency", &self.log_frequency),
            ("log_sigma", &self.log_sigma),
        ]
        .map(|(name, var)| Parameter::new(format!("gabor.{name}"), var.clone()).without_decay())
        .to_vec()
    }

    /// Filters `[2 x pairs, 1, kernel, kernel]`, even and odd of a pair side by side, each of unit norm
    /// and blind to a constant image.
    pub(super) fn kernels(&self) -> Result<Tensor> {
        let [x, y] = &self.taps;
        let (cos, sin) = (self.orientation.cos()?, self.orientation.sin()?);
        let along = (cos.broadcast_mul(x)? + sin.broadcast_mul(y)?)?;
        let radius = (x.sqr()? + y.sqr()?)?;
        let precision = (self.log_sigma.exp()?.sqr()?.recip()? * -0.5)?;
        let envelope = precision.broadcast_mul(&radius)?.exp()?;
        let phase = along.broadcast_mul(&(self.log_frequency.exp()? * (2. * PI))?)?;
        let even = (phase.cos()? * &envelope)?;
        let dc = even.sum_keepdim(D::Minus1)?.div(&envelope.sum_keepdim(D::Minus1)?)?;
        let even = (even - envelope.broadcast_mul(&dc)?)?;
        let odd = (phase.sin()? * &envelope)?;
        let unit = |filter: Tensor| -> Result<Tensor> {
            let norm = (filter.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?;
            Ok(filter.broadcast_div(&norm)?)
        };
        let both = Tensor::stack(&[unit(even)?, unit(odd)?], 1)?;
        let pairs = self.orientation.dim(0)?;
        Ok(both.reshape((2 * pairs, 1, self.kernel, self.kernel))?)
    }

    /// Images `[batch, 1, height, width]` blurred for every scale, `[batch, scales, height, width]`.
    pub(super) fn pyramid(&self, images: &Tensor) -> Result<Tensor> {
        let scales = self
            .blurs
            .iter()
            .map(|blur| match blur {
                None => Ok(images.clone()),
                Some([rows, columns]) => Ok(rows.broadcast_matmul(&images.broadcast_matmul(columns)?)?),
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&scales, 1)?)
    }

    /// Geometry of the filters.
    pub(super) fn convolution(&self) -> &Convolution {
        &self.conv
    }

    /// Images `[batch, 1, height, width]` to filter outputs `[batch, 2 x pairs, rows, columns]`.
    pub(super) fn forward(&self, images: &Tensor) -> Result<Tensor> {
        Ok(convolve(&self.pyramid(images)?, &self.kernels()?, &self.conv)?)
    }

    pub(super) fn output(&self, height: usize, width: usize) -> (usize, usize) {
        self.conv.output(height, width)
    }
}

/// Gaussian blur before sampling every `dilation`-th pixel, as matrices for rows and columns. At the
/// borders the weights are renormalised, so that a constant image stays constant.
fn blur(
    dilation: usize,
    height: usize,
    width: usize,
    dtype: DType,
    device: &Device,
) -> Result<Option<[Tensor; 2]>> {
    if dilation == 1 {
        return Ok(None);
    }
    // A pixel is already an average over its own width: variances add up to those of a wide pixel.
    let sigma = 0.5 * ((dilation * dilation - 1) as f64).sqrt();
    let matrix = |n: usize| -> Result<Tensor> {
        let mut values = Vec::with_capacity(n * n);
        for i in 0..n {
            let row: Vec<f64> =
                (0..n).map(|j| (-0.5 * ((i as f64 - j as f64) / sigma).powi(2)).exp()).collect();
            let sum: f64 = row.iter().sum();
            values.extend(row.into_iter().map(|value| value / sum));
        }
        Ok(Tensor::from_vec(values, (n, n), device)?.to_dtype(dtype)?)
    };
    Ok(Some([matrix(height)?, matrix(width)?.t()?.contiguous()?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_in_quadrature_of_unit_norm_and_blind_to_a_constant() {
        let bank = GaborBank::new(&GaborConfig::default(), 20, 24, DType::F64, &Device::Cpu).unwrap();
        let kernels = bank.kernels().unwrap().flatten_from(1).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(kernels.len(), 48);
        for pair in kernels.chunks(2) {
            let dot: f64 = pair[0].iter().zip(&pair[1]).map(|(a, b)| a * b).sum();
            assert!(dot.abs() < 1e-10);
            for filter in pair {
                assert!((filter.iter().map(|v| v * v).sum::<f64>() - 1.).abs() < 1e-6);
                assert!(filter.iter().sum::<f64>().abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_grating_excites_its_own_orientation_most() {
        let config = GaborConfig { dilations: vec![1], ..GaborConfig::default() };
        let bank = GaborBank::new(&config, 32, 32, DType::F64, &Device::Cpu).unwrap();
        for preferred in [0, 3] {
            let angle = preferred as f64 * PI / 8.;
            let grating: Vec<f64> = (0..32 * 32)
                .map(|i| {
                    let along = (i % 32) as f64 * angle.cos() + (i / 32) as f64 * angle.sin();
                    (2. * PI * 0.2 * along).cos()
                })
                .collect();
            let image = Tensor::from_vec(grating, (1, 1, 32, 32), &Device::Cpu).unwrap();
            let energy = bank.forward(&image).unwrap().sqr().unwrap().sum((2, 3)).unwrap();
            let energy = energy.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let best = (0..8).max_by(|&a, &b| (energy[2 * a]).total_cmp(&energy[2 * b])).unwrap();
            assert_eq!(best, preferred);
        }
    }

    #[test]
    fn wrong_configurations_are_refused() {
        for config in [
            GaborConfig { kernel: 8, ..Default::default() },
            GaborConfig { frequency: 0.7, ..Default::default() },
            GaborConfig { sigma: f64::NAN, ..Default::default() },
            GaborConfig { dilations: vec![], ..Default::default() },
        ] {
            assert!(GaborBank::new(&config, 8, 8, DType::F32, &Device::Cpu).is_err());
        }
    }
}
