use dina_core::Seed;
use ndarray::{ArrayView, Axis, Dimension};
use serde::{Deserialize, Serialize};

use super::stack::{finite, refused};
use super::{Stack, StackTransform};
use crate::Result;

/// What has the mean and contrast that [`Normalise`] asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every image by itself.
    #[default]
    Image,
    /// All images together, so that differences between them stay.
    Stack,
}

/// Mean grey and contrast: `y = mean + rms (x - m) / s`, with `m` the mean and `s` the standard
/// deviation (divided by n) of the pixels of the image or of the stack.
///
/// The contrast is RMS contrast in grey levels (Peli 1990): over `mean` it is the coefficient of
/// variation of luminance, if grey levels are linear in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Normalise {
    /// Mean grey level afterwards.
    pub mean: f32,
    /// Standard deviation afterwards, in grey levels; `None` leaves the contrast and moves the
    /// mean only.
    pub rms: Option<f32>,
    /// Over what both are taken.
    #[serde(default)]
    pub scope: Scope,
}

impl Default for Normalise {
    /// Grey 128 with a standard deviation of 40 in every image: 3.2 standard deviations fit the range
    /// of 8 bits.
    fn default() -> Self {
        Self { mean: 128.0, rms: Some(40.0), scope: Scope::Image }
    }
}

impl StackTransform for Normalise {
    fn name(&self) -> &'static str {
        "normalisation"
    }

    fn apply(&self, stack: &Stack, _: Seed) -> Result<Stack> {
        finite("mean grey", self.mean)?;
        if let Some(rms) = self.rms
            && !(rms >= 0.0 && rms.is_finite())
        {
            return Err(refused("contrast", "0 or above, in grey levels", rms));
        }
        let statistics: Vec<(f64, f64)> = match self.scope {
            Scope::Image => stack.pixels().axis_iter(Axis(0)).map(mean_and_sd).collect(),
            Scope::Stack => vec![mean_and_sd(stack.pixels().view()); stack.len()],
        };
        // Uniform but for the rounding of the mean.
        let uniform = |&(mean, sd): &(f64, f64)| sd <= 1e-6 * mean.abs() || sd == 0.0;
        if self.rms.is_some()
            && let Some(i) = statistics.iter().position(uniform)
        {
            return Err(refused(&format!("contrast of image {i}"), "above 0 to be normalised", 0));
        }
        Ok(stack.each(|i, image, mut out| {
            let (mean, sd) = statistics[i];
            let factor = self.rms.map_or(1.0, |rms| f64::from(rms) / sd);
            out.zip_mut_with(&image, |to, &v| {
                *to = (f64::from(self.mean) + factor * (f64::from(v) - mean)) as f32;
            });
        }))
    }
}

pub(super) fn mean_and_sd<D: Dimension>(pixels: ArrayView<'_, f32, D>) -> (f64, f64) {
    let n = pixels.len().max(1) as f64;
    let mean = pixels.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let square = pixels.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    (mean, square.sqrt())
}
