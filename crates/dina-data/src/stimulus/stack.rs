use ndarray::parallel::prelude::*;
use ndarray::{Array3, ArrayView2, ArrayViewMut2, Axis};

use crate::{Error, Images, Result};

/// Images as numbers that transforms work on: images x height x width, in grey levels of any
/// range, with the visual angle of a pixel.
///
/// Rows count from the upper edge, columns from the left. Every pixel is finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    pixels: Array3<f32>,
    degrees_per_pixel: f32,
    labels: Option<Array3<u16>>,
    notes: Vec<String>,
}

impl Stack {
    /// Checks and keeps a stack.
    ///
    /// - `pixels`: images x height x width.
    /// - `degrees_per_pixel`: visual angle of the side of a pixel.
    ///
    /// # Errors
    /// When an image has no pixels, a pixel is not finite, or the angle is not positive.
    pub fn new(pixels: Array3<f32>, degrees_per_pixel: f32) -> Result<Self> {
        let (_, height, width) = pixels.dim();
        if height == 0 || width == 0 {
            return Err(refused("image size", "at least 1 x 1", format!("{height} x {width}")));
        }
        positive("degrees per pixel", degrees_per_pixel)?;
        if let Some((place, value)) = pixels.indexed_iter().find(|(_, v)| !v.is_finite()) {
            return Err(refused(&format!("pixel {place:?}"), "finite", value.to_string()));
        }
        Ok(Self {
            pixels: pixels.as_standard_layout().into_owned(),
            degrees_per_pixel,
            labels: None,
            notes: Vec::new(),
        })
    }

    /// The images of a stimulus set, in grey levels from 0 to 255.
    ///
    /// # Errors
    /// As [`Stack::new`].
    pub fn from_images(images: &Images) -> Result<Self> {
        Self::new(images.pixels.mapv(f32::from), images.degrees_per_pixel)
    }

    /// Adds which object each pixel belongs to, images x height x width; 0 is the background.
    /// Transforms that move pixels move their labels too.
    ///
    /// # Errors
    /// When the shape differs from that of the pixels.
    pub fn with_labels(mut self, labels: Array3<u16>) -> Result<Self> {
        if labels.dim() != self.pixels.dim() {
            return Err(dina_core::Error::shape("labels", self.pixels.dim(), labels.dim()).into());
        }
        self.labels = Some(labels.as_standard_layout().into_owned());
        Ok(self)
    }

    /// Grey levels, images x height x width.
    pub fn pixels(&self) -> &Array3<f32> {
        &self.pixels
    }

    /// The grey levels, taken out.
    pub fn into_pixels(self) -> Array3<f32> {
        self.pixels
    }

    /// Which object each pixel belongs to; 0 is the background.
    pub fn labels(&self) -> Option<&Array3<u16>> {
        self.labels.as_ref()
    }

    /// Visual angle of the side of a pixel, in degrees.
    pub fn degrees_per_pixel(&self) -> f32 {
        self.degrees_per_pixel
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.pixels.len_of(Axis(0))
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height and width in pixels.
    pub fn size(&self) -> (usize, usize) {
        let (_, height, width) = self.pixels.dim();
        (height, width)
    }

    /// Height and width in degrees.
    pub fn extent(&self) -> [f32; 2] {
        let (height, width) = self.size();
        [height as f32 * self.degrees_per_pixel, width as f32 * self.degrees_per_pixel]
    }

    /// The highest frequency that pixels can show along a row or column, in cycles per degree:
    /// half a cycle a pixel.
    pub fn nyquist(&self) -> f32 {
        0.5 / self.degrees_per_pixel
    }

    /// What happened on the way that a reader of the results should know, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The images with these numbers, counted from 0, in this order: the training images of a view
    /// are `stack.select(view.images())`.
    ///
    /// # Errors
    /// When a number is not below the number of images.
    pub fn select(&self, images: &[u32]) -> Result<Self> {
        let images: Vec<usize> = images.iter().map(|&i| i as usize).collect();
        if let Some(missing) = images.iter().find(|&&i| i >= self.len()) {
            return Err(refused("image", format!("below {}", self.len()), missing.to_string()));
        }
        Ok(Self {
            pixels: self.pixels.select(Axis(0), &images),
            labels: self.labels.as_ref().map(|l| l.select(Axis(0), &images)),
            degrees_per_pixel: self.degrees_per_pixel,
            notes: self.notes.clone(),
        })
    }

    /// As a stimulus set: rounded to whole grey levels and bounded to 0 to 255. The second value is
    /// the share of pixels that had to be bounded; where it is not about 0, normalise first.
    pub fn to_images(&self) -> (Images, f64) {
        let pixels = self.pixels.mapv(|v| v.round().clamp(0.0, 255.0) as u8);
        let outside = self.pixels.iter().filter(|v| !(-0.5..255.5).contains(*v)).count();
        let share = outside as f64 / self.pixels.len().max(1) as f64;
        (Images { pixels, degrees_per_pixel: self.degrees_per_pixel }, share)
    }

    /// Pixels that a length in degrees covers: rounded, at least 1.
    pub(super) fn pixels_of(&self, degrees: f32) -> usize {
        ((f64::from(degrees) / f64::from(self.degrees_per_pixel)).round() as usize).max(1)
    }

    /// Other grey levels of the same size in the same places.
    pub(super) fn with_pixels(&self, pixels: Array3<f32>) -> Self {
        Self { pixels, ..self.without_pixels() }
    }

    /// Grey levels of another size or in other places, with the labels that belong to them.
    pub(super) fn moved(&self, pixels: Array3<f32>, labels: Option<Array3<u16>>, degrees: f32) -> Self {
        Self { pixels, labels, degrees_per_pixel: degrees, notes: self.notes.clone() }
    }

    /// All but the pixels, which would be copied for nothing.
    fn without_pixels(&self) -> Self {
        Self {
            pixels: Array3::zeros((0, 1, 1)),
            degrees_per_pixel: self.degrees_per_pixel,
            labels: self.labels.clone(),
            notes: self.notes.clone(),
        }
    }

    pub(super) fn noted(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Makes every image anew from the old one, all on their own.
    pub(super) fn each(&self, f: impl Fn(usize, ArrayView2<'_, f32>, ArrayViewMut2<'_, f32>) + Sync) -> Self {
        let mut pixels = Array3::zeros(self.pixels.dim());
        pixels
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .zip(self.pixels.axis_iter(Axis(0)))
            .enumerate()
            .for_each(|(i, (out, image))| f(i, image, out));
        self.with_pixels(pixels)
    }
}

/// A value outside the range in which a transform is defined.
pub(super) fn refused(what: &str, expected: impl Into<String>, found: impl std::fmt::Display) -> Error {
    dina_core::Error::value(what, expected, found).into()
}

pub(super) fn positive(what: &str, value: f32) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(refused(what, "positive and finite", value))
}

pub(super) fn finite(what: &str, value: f32) -> Result<()> {
    if value.is_finite() {
        return Ok(());
    }
    Err(refused(what, "finite", value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_input_is_refused() {
        assert!(Stack::new(Array3::zeros((2, 0, 4)), 1.0).is_err());
        assert!(Stack::new(Array3::zeros((2, 3, 4)), 0.0).is_err());
        assert!(Stack::new(Array3::from_elem((1, 2, 2), f32::NAN), 1.0).is_err());
        let stack = Stack::new(Array3::zeros((2, 3, 4)), 0.5).unwrap();
        assert!(stack.clone().with_labels(Array3::zeros((2, 4, 3))).is_err());
        assert!(stack.select(&[2]).is_err());
        assert_eq!((stack.extent(), stack.nyquist()), ([1.5, 2.0], 1.0));
    }

    #[test]
    fn grey_levels_come_back_and_what_is_cut_is_counted() {
        let images = Images {
            pixels: Array3::from_shape_fn((2, 3, 4), |(i, y, x)| (i * 100 + y * 10 + x) as u8),
            degrees_per_pixel: 1.0,
        };
        let stack = Stack::from_images(&images).unwrap();
        assert_eq!(stack.to_images(), (images, 0.0));
        let half = Stack::new(Array3::from_shape_fn((1, 1, 4), |(.., x)| x as f32 * 128.0), 1.0).unwrap();
        assert_eq!(half.to_images().1, 0.5);
    }
}
