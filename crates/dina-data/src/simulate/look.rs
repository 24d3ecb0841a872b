use std::ops::Range;

use dina_core::Seed;
use ndarray::{Array3, ArrayViewMut2, Axis};
use rayon::prelude::*;
use rustfft::num_complex::Complex;
use serde::{Deserialize, Serialize};

use super::{
    config::within,
    scene::SceneMaker,
    texture::{Direction, transform},
};
use crate::{Images, Result};

/// Grey level that stands for the mean where an image's own must not be known.
const GREY: f32 = 116.0;
/// Keeps a black image from becoming infinite contrast.
const DARK: f32 = 5.0;

/// What of an image the neurons of a population look at.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Look {
    /// The image, as contrast relative to its mean.
    #[default]
    Whole,
    /// The part of it below this spatial frequency, in cycles per degree.
    Below(f32),
    /// The part of it from this spatial frequency upwards, relative to a grey level that is the
    /// same for all images.
    From(f32),
    /// Where the objects are, white on black.
    Silhouettes,
    /// On each screen the surface of its object, spread over the whole screen.
    Surfaces,
}

impl Look {
    /// The spatial frequencies, in cycles per degree, that are seen of an image.
    pub(super) fn band(self) -> Range<f32> {
        match self {
            Self::Below(cutoff) => 0.0..cutoff,
            Self::From(cutoff) => cutoff..f32::INFINITY,
            Self::Whole | Self::Silhouettes | Self::Surfaces => 0.0..f32::INFINITY,
        }
    }

    pub(super) fn check(self) -> Result<()> {
        match self {
            // One band of the normalising energy has to lie on either side.
            Self::Below(cutoff) | Self::From(cutoff) => within("cortex.look", cutoff, 0.02, 0.16),
            Self::Whole | Self::Silhouettes | Self::Surfaces => Ok(()),
        }
    }

    /// What is seen of `images`, images x height x width; `seed` is the one they were made from.
    pub(super) fn planes(self, maker: &SceneMaker, images: &Images, seed: Seed) -> Array3<f32> {
        match self {
            Self::Whole => contrast(images, None),
            Self::Below(_) => filtered(contrast(images, None), &self.band()),
            Self::From(_) => filtered(contrast(images, Some(GREY)), &self.band()),
            Self::Silhouettes => maker.silhouettes(seed, images.len()),
            Self::Surfaces => maker.surfaces(seed, images.len()),
        }
    }
}

/// Contrast relative to the given grey level or to each image's mean.
fn contrast(images: &Images, grey: Option<f32>) -> Array3<f32> {
    let mut planes = images.pixels.mapv(f32::from);
    planes.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut plane| {
        let mean = grey.unwrap_or_else(|| plane.mean().unwrap_or(GREY));
        plane.mapv_inplace(|level| (level - mean) / (mean + DARK));
    });
    planes
}

/// The parts of planes of one degree a pixel whose spatial frequency, in cycles per degree, lies in
/// `band`.
///
/// A plane is continued by its mirror image, so that its borders are no edges.
pub(super) fn filtered(mut planes: Array3<f32>, band: &Range<f32>) -> Array3<f32> {
    planes.axis_iter_mut(Axis(0)).into_par_iter().for_each(|plane| filter(plane, band));
    planes
}

fn filter(mut plane: ArrayViewMut2<f32>, band: &Range<f32>) {
    let (height, width) = plane.dim();
    let (tall, wide) = (2 * height, 2 * width);
    let mirrored = |i: usize, n: usize| if i < n { i } else { 2 * n - 1 - i };
    let mut mirror: Vec<_> = (0..tall * wide)
        .map(|p| Complex::new(plane[[mirrored(p / wide, height), mirrored(p % wide, width)]], 0.0))
        .collect();
    transform(&mut mirror, tall, wide, Direction::Forward);
    let scale = 1.0 / (tall * wide) as f32;
    for (p, value) in mirror.iter_mut().enumerate() {
        let frequency = |i: usize, n: usize| super::texture::signed(i, n) / n as f32;
        let frequency = frequency(p / wide, tall).hypot(frequency(p % wide, wide));
        *value *= if band.contains(&frequency) { scale } else { 0.0 };
    }
    transform(&mut mirror, tall, wide, Direction::Inverse);
    for (row, mut line) in plane.outer_iter_mut().enumerate() {
        line.iter_mut().zip(&mirror[row * wide..]).for_each(|(to, from)| *to = from.re);
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    #[test]
    fn bands_add_up_and_keep_what_they_should() {
        let (height, width) = (24, 40);
        let mirrored = |k: usize, x: usize, n: usize| {
            (std::f32::consts::PI * k as f32 * (x as f32 + 0.5) / n as f32).cos()
        };
        // Half a cycle over the width is 0.0125, ten over the height 0.21 cycles per degree.
        let slow = Array3::from_shape_fn((1, height, width), |(_, _, x)| 3.0 * mirrored(1, x, width));
        let fast = Array3::from_shape_fn((1, height, width), |(_, y, _)| 2.0 * mirrored(10, y, height));
        let both = &slow + &fast;
        let close = |a: &Array3<f32>, b: &Array3<f32>| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(close(&filtered(both.clone(), &(0.0..0.05)), &slow));
        assert!(close(&filtered(both.clone(), &(0.05..f32::INFINITY)), &fast));
        assert!(close(&filtered(both.clone(), &(0.0..f32::INFINITY)), &both));
    }
}
