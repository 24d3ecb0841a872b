use dina_core::Seed;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, Array3, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::segment::{blurred, edges, figure, grown};
use super::stack::{finite, positive, refused};
use super::{Stack, StackTransform};
use crate::Result;

/// Paints figures in one grey and the ground in another: shape without surface.
///
/// Figures are the pixels whose label is not 0, where the stack has labels. Where it has none, they
/// are found in the image: after a Gaussian blur, the geodesic distance of each pixel from the border
/// of the image (grey-level differences summed along the path that has the least; Wei et al. 2012) is
/// parted in near and far (Otsu 1979), and far is figure. So a figure has to stand out along its
/// whole outline and not touch the border; an image without such a one becomes ground, which a note
/// counts. The labels of the result are 1 on figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Silhouette {
    /// Grey level of figures.
    pub figure: f32,
    /// Grey level of the ground.
    pub ground: f32,
    /// Standard deviation of the blur, in degrees. Without use where there are labels.
    pub smoothing: f32,
    /// Diameter of the smallest spot and hole that is kept, and twice the width of the thinnest part,
    /// in degrees. Without use where there are labels.
    pub smallest: f32,
}

impl Default for Silhouette {
    /// Dark (40) on light (200), a blur of 1.5 degrees, nothing below 8 degrees: for images of tens of
    /// degrees, as mice are shown.
    fn default() -> Self {
        Self { figure: 40.0, ground: 200.0, smoothing: 1.5, smallest: 8.0 }
    }
}

impl StackTransform for Silhouette {
    fn name(&self) -> &'static str {
        "silhouettes"
    }

    fn apply(&self, stack: &Stack, _: Seed) -> Result<Stack> {
        finite("grey of figures", self.figure)?;
        finite("grey of the ground", self.ground)?;
        positive("smallest figure in degrees", self.smallest)?;
        let sigma = sigma(stack, self.smoothing)?;
        let diameter = self.smallest / stack.degrees_per_pixel();
        let labels = match stack.labels() {
            Some(labels) => labels.mapv(|l| u16::from(l != 0)),
            None => {
                let find = |image: ArrayView2<'_, f32>| figure(&blurred(image, sigma), diameter);
                each(stack, find).mapv(u16::from)
            }
        };
        let pixels = labels.mapv(|l| if l == 0 { self.ground } else { self.figure });
        let without = labels.axis_iter(Axis(0)).filter(|image| image.iter().all(|&l| l == 0)).count();
        let from = if stack.labels().is_some() { "labels" } else { "segmentation" };
        let made = stack.moved(pixels, Some(labels), stack.degrees_per_pixel());
        Ok(made
            .noted(format!("silhouettes: from {from}; {without} of {} images have no figure", stack.len())))
    }
}

/// Draws outlines and nothing else.
///
/// Where the stack has labels: the pixels of an object beside a pixel of another label. Where it has
/// none: edges of the image after a Gaussian blur, by the maxima of its gradient (Canny 1986).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contour {
    /// Grey level of lines.
    pub line: f32,
    /// Grey level of the ground.
    pub ground: f32,
    /// Width of a line, in degrees; at least one pixel is drawn.
    pub width: f32,
    /// Standard deviation of the blur, in degrees. Without use where there are labels.
    pub smoothing: f32,
    /// Share of the pixels, those of the steepest gradient, on which an edge may start; above 0, at most
    /// 1. Without use where there are labels.
    pub edges: f32,
}

impl Default for Contour {
    /// Dark lines (40) of one degree on light ground (200), a blur of 1.5 degrees, edges from a tenth of the
    /// pixels.
    fn default() -> Self {
        Self { line: 40.0, ground: 200.0, width: 1.0, smoothing: 1.5, edges: 0.1 }
    }
}

impl StackTransform for Contour {
    fn name(&self) -> &'static str {
        "contours"
    }

    fn apply(&self, stack: &Stack, _: Seed) -> Result<Stack> {
        finite("grey of lines", self.line)?;
        finite("grey of the ground", self.ground)?;
        positive("width of a line in degrees", self.width)?;
        if !(self.edges > 0.0 && self.edges <= 1.0) {
            return Err(refused("share of edge pixels", "above 0, at most 1", self.edges));
        }
        let sigma = sigma(stack, self.smoothing)?;
        let reach = 0.5 * (self.width / stack.degrees_per_pixel() - 1.0).max(0.0);
        let lines = match stack.labels() {
            Some(labels) => {
                let mut lines = Array3::from_elem(labels.dim(), false);
                for (mut line, labels) in lines.axis_iter_mut(Axis(0)).zip(labels.axis_iter(Axis(0))) {
                    line.assign(&outline(labels));
                }
                lines
            }
            None => each(stack, |image| edges(&blurred(image, sigma), self.edges)),
        };
        let mut pixels = Array3::from_elem(lines.dim(), self.ground);
        pixels.axis_iter_mut(Axis(0)).into_par_iter().zip(lines.axis_iter(Axis(0))).for_each(
            |(mut out, lines)| {
                let thick = grown(&lines.to_owned(), reach);
                out.zip_mut_with(&thick, |to, &line| *to = if line { self.line } else { *to });
            },
        );
        let from = if stack.labels().is_some() { "labels" } else { "gradients" };
        Ok(stack.with_pixels(pixels).noted(format!("contours: from {from}")))
    }
}

fn sigma(stack: &Stack, smoothing: f32) -> Result<f32> {
    let [height, width] = stack.extent();
    if !(smoothing >= 0.0 && smoothing <= height.min(width)) {
        return Err(refused("smoothing in degrees", "0 to the extent of the image", smoothing));
    }
    Ok(smoothing / stack.degrees_per_pixel())
}

/// Pixels of an object (label not 0) beside one of a smaller label, so that a border between two
/// objects is drawn once.
fn outline(labels: ArrayView2<'_, u16>) -> Array2<bool> {
    let (height, width) = labels.dim();
    Array2::from_shape_fn((height, width), |(y, x)| {
        [(y.wrapping_sub(1), x), (y + 1, x), (y, x.wrapping_sub(1)), (y, x + 1)]
            .into_iter()
            .any(|(v, u)| v < height && u < width && labels[[v, u]] < labels[[y, x]])
    })
}

fn each(stack: &Stack, f: impl Fn(ArrayView2<'_, f32>) -> Array2<bool> + Sync) -> Array3<bool> {
    let mut out = Array3::from_elem(stack.pixels().dim(), false);
    out.axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(stack.pixels().axis_iter(Axis(0)))
        .for_each(|(mut out, image)| out.assign(&f(image)));
    out
}
