//! The part of the image that the population sees, and images cut to it.

mod estimate;
mod fields;
mod regression;

use ndarray::{Array3, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use estimate::{WindowConfig, WindowEstimate, WindowSource};
pub use fields::{FieldConfig, ReceptiveField, ReceptiveFields};

use crate::linear::moments;
use crate::view::{Role, Train, View};
use crate::{Error, Images, Result};

/// A rectangle of an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// First row, in pixels.
    pub top: usize,
    /// First column, in pixels.
    pub left: usize,
    /// Rows, in pixels.
    pub height: usize,
    /// Columns, in pixels.
    pub width: usize,
    /// Visual angle of a pixel, in degrees.
    pub degrees_per_pixel: f32,
}

impl Window {
    /// The whole image.
    pub fn whole(images: &Images) -> Self {
        let (_, height, width) = images.pixels.dim();
        Self { top: 0, left: 0, height, width, degrees_per_pixel: images.degrees_per_pixel }
    }

    /// First row, first column, height and width, in degrees from the corner of the image.
    pub fn degrees(&self) -> [f32; 4] {
        [self.top, self.left, self.height, self.width].map(|p| p as f32 * self.degrees_per_pixel)
    }

    /// # Errors
    /// When the window is empty or does not lie inside the images.
    pub(crate) fn check(&self, images: &Images) -> Result<()> {
        let (_, height, width) = images.pixels.dim();
        let inside = |start: usize, extent: usize, size: usize| {
            extent > 0 && start.checked_add(extent).is_some_and(|end| end <= size)
        };
        if inside(self.top, self.height, height) && inside(self.left, self.width, width) {
            return Ok(());
        }
        Err(Error::Core(dina_core::Error::value(
            "window",
            format!("at least one pixel, inside images of {height} x {width}"),
            format!("{} x {} from ({}, {})", self.height, self.width, self.top, self.left),
        )))
    }
}

/// Mean image and contrast of the training images, to standardise all with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PixelStatistics {
    height: usize,
    width: usize,
    mean: Vec<f32>,
    sd: f32,
}

impl PixelStatistics {
    /// From the training images: the mean of each pixel, and one standard deviation around it over
    /// all pixels, so that the relative contrast of places is kept.
    ///
    /// `images` is the whole stimulus set, images x height x width, as from
    /// [`Images::crop_resize`].
    ///
    /// # Errors
    /// When `images` has another length than the stimulus set or the training images are all the
    /// same.
    pub fn fit(train: &View<'_, Train>, images: &Array3<f32>) -> Result<Self> {
        let chosen = train.select(images)?;
        let (count, height, width) = chosen.dim();
        let flat = chosen
            .into_shape_with_order((count, height * width))
            .map_err(|_| dina_core::Error::value("images", "in row order", "not"))?;
        let (mean, sds) = moments(flat.view());
        let variance = sds.iter().map(|sd| sd * sd).sum::<f64>() / sds.len().max(1) as f64;
        // Pixels are at most 255: below this, all differences are rounding.
        if variance.is_nan() || variance <= 1e-8 {
            return Err(Error::variable(
                train.recording().origin(),
                "imgs",
                "shows no difference between the training images in this window",
                "check the image file, or use the whole image",
            ));
        }
        Ok(Self { height, width, mean: mean.iter().map(|&m| m as f32).collect(), sd: variance.sqrt() as f32 })
    }

    /// Subtracts the mean and divides by the standard deviation.
    ///
    /// # Errors
    /// When images have another size than those fitted on.
    pub fn apply(&self, images: &mut Array3<f32>) -> Result<()> {
        let (_, height, width) = images.dim();
        if (height, width) != (self.height, self.width) || self.mean.len() != height * width {
            return Err(Error::Core(dina_core::Error::shape(
                "images to standardise",
                (self.height, self.width),
                (height, width),
            )));
        }
        images.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut image| {
            image.iter_mut().zip(&self.mean).for_each(|(v, mean)| *v = (*v - mean) / self.sd);
        });
        Ok(())
    }
}

impl Images {
    /// The images of one side of a split, cut, resized and standardised in one go: shorthand for
    /// [`Images::crop_resize`], [`PixelStatistics::apply`] and [`View::select`].
    ///
    /// # Errors
    /// As those.
    pub fn standardised<R: Role>(
        &self,
        view: &View<'_, R>,
        window: &Window,
        degrees_per_pixel: f32,
        statistics: &PixelStatistics,
    ) -> Result<Array3<f32>> {
        let mut chosen = view.select(&self.crop_resize(window, degrees_per_pixel)?)?;
        statistics.apply(&mut chosen)?;
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests;
