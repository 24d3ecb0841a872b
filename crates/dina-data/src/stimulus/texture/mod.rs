//! Textures after Portilla & Simoncelli (2000).

mod adjust;
mod pyramid;
mod statistics;
mod synthesis;

use dina_core::Seed;
use ndarray::parallel::prelude::*;
use ndarray::{Array3, Axis};
use serde::{Deserialize, Serialize};

pub use statistics::{GroupError, StatisticsGroup, TextureStatistics};
pub use synthesis::{TextureReport, similarity};

use super::stack::refused;
use super::{Stack, StackTransform};
use crate::Result;

/// Which statistics are taken, and how hard they are aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextureConfig {
    /// Octaves of the pyramid, 1 to 8.
    pub scales: usize,
    /// Orientations, 2 to 12.
    pub orientations: usize,
    /// Side of the neighbourhood over which autocorrelations are taken, in pixels of each scale;
    /// odd, 3 to 15.
    pub neighbourhood: usize,
    /// Rounds of projection, at least 1.
    pub iterations: usize,
}

impl Default for TextureConfig {
    /// Three scales, four orientations, a neighbourhood of 7 and 50 rounds. Portilla & Simoncelli
    /// have four scales, for images of 256 x 256 pixels; take as many as leave 8 pixels in the
    /// low-pass residual. On 64 x 64 pixels three scales leave every group of statistics within 5 %,
    /// four within 12 %; four on 128 x 128 within 5 %.
    fn default() -> Self {
        Self { scales: 3, orientations: 4, neighbourhood: 7, iterations: 50 }
    }
}

impl TextureConfig {
    fn check(&self) -> Result<()> {
        let within = |what: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(refused(what, format!("{low} to {high}"), value))
        };
        within("texture scales", self.scales, 1, 8)?;
        within("texture orientations", self.orientations, 2, 12)?;
        within("texture neighbourhood", self.neighbourhood, 3, 15)?;
        within("texture iterations", self.iterations, 1, 10_000)?;
        if self.neighbourhood.is_multiple_of(2) {
            return Err(refused("texture neighbourhood", "odd", self.neighbourhood));
        }
        Ok(())
    }
}

/// Replaces every image by a texture with its statistics: what is there, and no longer where.
///
/// The image counts as one texture. Photographs are none: take a part ([`Crop`](super::Crop)) small
/// enough to be one. Of what is finer than half the highest frequency of the pixels only the variance
/// is matched: images that are sharp to the pixel come out speckled, and a low-pass before
/// ([`Filter`](super::Filter) at half of [`Stack::nyquist`]) prevents it. Image `i` of a stack starts
/// from the seed and `i`. A note of the stack has the largest remaining error;
/// [`Texture::synthesise`] gives all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Texture {
    /// Which statistics, and how many rounds.
    pub config: TextureConfig,
}

impl Texture {
    /// The textures, and per image what was reached.
    ///
    /// # Errors
    /// When an image is uniform or too small, or the configuration is out of range.
    pub fn synthesise(&self, stack: &Stack, seed: Seed) -> Result<(Stack, Vec<TextureReport>)> {
        let made = stack
            .pixels()
            .axis_iter(Axis(0))
            .into_par_iter()
            .enumerate()
            .map(|(i, image)| {
                TextureStatistics::measure(image, &self.config)?.synthesise(image.dim(), seed.index(i))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut pixels = Array3::zeros(stack.pixels().dim());
        let mut reports = Vec::with_capacity(made.len());
        for (mut out, (picture, report)) in pixels.axis_iter_mut(Axis(0)).zip(made) {
            out.assign(&picture);
            reports.push(report);
        }
        // Nothing is where the labels say.
        Ok((stack.moved(pixels, None, stack.degrees_per_pixel()), reports))
    }
}

impl StackTransform for Texture {
    fn name(&self) -> &'static str {
        "texture synthesis"
    }

    fn apply(&self, stack: &Stack, seed: Seed) -> Result<Stack> {
        let (made, reports) = self.synthesise(stack, seed)?;
        let worst = reports.iter().map(TextureReport::worst).fold(0.0, f64::max);
        Ok(made.noted(format!(
            "texture synthesis: after {} rounds the largest relative error of a group of statistics \
             is {worst:.3}",
            self.config.iterations
        )))
    }
}

#[cfg(test)]
mod tests;
