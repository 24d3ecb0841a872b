use dina_core::Seed;
use ndarray::parallel::prelude::*;
use ndarray::{Array3, Axis, s};
use serde::{Deserialize, Serialize};

use super::stack::{positive, refused};
use super::{Stack, StackTransform};
use crate::resample::Resampler;
use crate::{Result, Window};

pub use crate::resample::Kernel;

/// A rectangle of the visual field, in degrees from the upper left corner of the image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// Upper edge.
    pub top: f32,
    /// Left edge.
    pub left: f32,
    /// Height.
    pub height: f32,
    /// Width.
    pub width: f32,
}

impl From<Window> for Area {
    fn from(window: Window) -> Self {
        let [top, left, height, width] = window.degrees();
        Self { top, left, height, width }
    }
}

impl Area {
    /// First row, first column, rows and columns: edges rounded to whole pixels, at least one.
    pub(super) fn pixels(&self, stack: &Stack) -> Result<[usize; 4]> {
        let [height, width] = stack.extent();
        // A window in degrees was rounded: it may end a thousandth of a pixel outside.
        let slack = 1e-3 * stack.degrees_per_pixel();
        let inside = |start: f32, length: f32, extent: f32| {
            start >= -slack && length > 0.0 && start + length <= extent + slack
        };
        if !(inside(self.top, self.height, height) && inside(self.left, self.width, width)) {
            return Err(refused(
                "area in degrees",
                format!("inside the image, {height} x {width}"),
                format!("{} x {} from ({}, {})", self.height, self.width, self.top, self.left),
            ));
        }
        let (rows, columns) = stack.size();
        let span = |start: f32, length: f32, n: usize| {
            let pixel = |degrees: f32| (degrees / stack.degrees_per_pixel()).round().max(0.0) as usize;
            let first = pixel(start).min(n - 1);
            [first, pixel(start + length).clamp(first + 1, n) - first]
        };
        let ([top, height], [left, width]) =
            (span(self.top, self.height, rows), span(self.left, self.width, columns));
        Ok([top, left, height, width])
    }
}

/// Cuts an area out of every image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    /// What stays.
    pub area: Area,
}

impl StackTransform for Crop {
    fn name(&self) -> &'static str {
        "crop"
    }

    fn apply(&self, stack: &Stack, _: Seed) -> Result<Stack> {
        let [top, left, height, width] = self.area.pixels(stack)?;
        let place = s![.., top..top + height, left..left + width];
        let labels = stack.labels().map(|l| l.slice(place).to_owned());
        Ok(stack.moved(stack.pixels().slice(place).to_owned(), labels, stack.degrees_per_pixel()))
    }
}

/// Brings images to another resolution, without aliasing.
///
/// The size is the extent over the new pixel, rounded, at least one; edges stay where they are, so a
/// pixel may be up to half a pixel per extent larger or smaller than asked. Labels are taken from
/// the nearest pixel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    /// Visual angle of a new pixel, in degrees.
    pub degrees_per_pixel: f32,
    /// How pixels are weighted.
    #[serde(default)]
    pub kernel: Kernel,
}

impl StackTransform for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn apply(&self, stack: &Stack, _: Seed) -> Result<Stack> {
        positive("degrees per pixel", self.degrees_per_pixel)?;
        let (height, width) = stack.size();
        let scale = f64::from(stack.degrees_per_pixel()) / f64::from(self.degrees_per_pixel);
        let new = |n: usize| ((n as f64 * scale).round() as usize).max(1);
        let size = (new(height), new(width));
        if size.0.saturating_mul(size.1).saturating_mul(stack.len().max(1)) > MOST_PIXELS {
            return Err(refused(
                "degrees per pixel",
                format!("large enough for at most {MOST_PIXELS} pixels in all"),
                self.degrees_per_pixel,
            ));
        }
        let resampler = Resampler::with_kernel((height, width), size, self.kernel);
        let mut pixels = Array3::zeros((stack.len(), size.0, size.1));
        pixels
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .zip(stack.pixels().axis_iter(Axis(0)))
            .for_each(|(out, image)| resampler.apply(image, |v| v, out));
        let nearest = |i: usize, old: usize, new: usize| ((2 * i + 1) * old / (2 * new)).min(old - 1);
        let labels = stack.labels().map(|labels| {
            Array3::from_shape_fn((stack.len(), size.0, size.1), |(i, y, x)| {
                labels[[i, nearest(y, height, size.0), nearest(x, width, size.1)]]
            })
        });
        Ok(stack.moved(pixels, labels, self.degrees_per_pixel))
    }
}

/// Bound on what a resize may allocate: 16 GiB.
const MOST_PIXELS: usize = 1 << 32;
