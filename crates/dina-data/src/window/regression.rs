//! Ridge regression from the cells of an image to responses.

use dina_core::Seed;
use ndarray::{Array2, ArrayView2, Axis, Zip, s};
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::Window;
use crate::linear::{Thin, moments, product, thin};
use crate::resample::Resampler;
use crate::view::{Train, View};
use crate::{Images, Result};

/// Penalties tried, times the number of images: features have variance 1.
pub(super) const PENALTIES: [f64; 5] = [0.1, 1.0, 10.0, 100.0, 1000.0];
/// Parts of the training images for choosing the penalty.
pub(super) const FOLDS: usize = 4;
/// Below this many training images there is nothing to estimate from.
pub(super) const IMAGES: usize = 40;

/// Rows and columns of about square cells, none smaller than two pixels where the image allows.
pub(super) fn grid(whole: &Window, cells: usize) -> (usize, usize) {
    let cell = ((whole.height * whole.width) as f64 / cells as f64).sqrt().max(2.0);
    let count = |pixels: usize| ((pixels as f64 / cell).round() as usize).max(1);
    (count(whole.height), count(whole.width))
}

/// Training images x (mean grey of every cell of the window, then its standard deviation), z-scored.
pub(super) fn features(
    train: &View<'_, Train>,
    images: &Images,
    window: &Window,
    grid: (usize, usize),
) -> Array2<f32> {
    let resampler = Resampler::new((window.height, window.width), grid);
    let place = s![window.top..window.top + window.height, window.left..window.left + window.width];
    let cells = grid.0 * grid.1;
    let mut x = Array2::zeros((train.len(), 2 * cells));
    x.axis_iter_mut(Axis(0)).into_par_iter().zip(train.images()).for_each(|(mut row, &image)| {
        let image = images.pixels.index_axis(Axis(0), image as usize);
        let pixels = image.slice(place);
        let mut grey = Array2::zeros(grid);
        let mut square = Array2::zeros(grid);
        resampler.apply(pixels, f32::from, grey.view_mut());
        resampler.apply(pixels, |v| f32::from(v).powi(2), square.view_mut());
        Zip::from(&mut square).and(&grey).for_each(|s, g| *s = (*s - g * g).max(0.0).sqrt());
        row.iter_mut().zip(grey.iter().chain(square.iter())).for_each(|(to, from)| *to = *from);
    });
    z_score(&mut x);
    x
}

/// Column by column; a constant column becomes zero.
pub(super) fn z_score(x: &mut Array2<f32>) {
    let (mean, sd) = moments(x.view());
    for mut row in x.rows_mut() {
        for ((v, mean), sd) in row.iter_mut().zip(&mean).zip(&sd) {
            let factor = if *sd > 1e-6 * mean.abs() { 1.0 / sd } else { 0.0 };
            *v = ((f64::from(*v) - mean) * factor) as f32;
        }
    }
}

/// Ridge regression on fixed features.
pub(super) struct Ridge {
    pub svd: Thin,
    images: usize,
}

impl Ridge {
    pub fn new(x: ArrayView2<'_, f32>) -> Result<Self> {
        Ok(Self { images: x.nrows(), svd: thin(x, usize::MAX)? })
    }

    /// `diag(s / (s² + λ)) Uᵀ y`: the weights in the coordinates of the right singular vectors.
    pub fn coordinates(&self, y: ArrayView2<'_, f32>, penalty: f64) -> Array2<f32> {
        let mut z = product(self.svd.left.t(), y);
        for (mut row, s) in z.rows_mut().into_iter().zip(&self.svd.values) {
            row *= (s / (s * s + penalty * self.images as f64)) as f32;
        }
        z
    }

    /// The directions in the space of responses, neurons x at most `most`, along which the fit varies
    /// most: `V_r` of `diag(sqrt(s² + λ)) Z`, with `Z` the coordinates. Projected on them, `Z V_r V_rᵀ`
    /// is the ridge regression of rank r (Mukherjee & Zhu 2011).
    pub fn directions(&self, coordinates: &Array2<f32>, penalty: f64, most: usize) -> Result<Array2<f32>> {
        let mut fit = coordinates.clone();
        for (mut row, s) in fit.rows_mut().into_iter().zip(&self.svd.values) {
            row *= (s * s + penalty * self.images as f64).sqrt() as f32;
        }
        Ok(thin(fit.view(), most)?.right)
    }

    /// Features x neurons.
    pub fn weights(&self, y: ArrayView2<'_, f32>, penalty: f64) -> Array2<f32> {
        product(self.svd.right.view(), self.coordinates(y, penalty).view())
    }
}

/// An order of the rows in which each fold is shuffled by itself: folds differ in their means.
pub(super) fn shuffled_within(folds: &[Vec<usize>], seed: &Seed) -> Vec<usize> {
    let mut stream = seed.stream("order");
    let mut order: Vec<usize> = (0..folds.iter().map(Vec::len).sum()).collect();
    let mut start = 0;
    for fold in folds {
        order[start..start + fold.len()].shuffle(&mut stream);
        start += fold.len();
    }
    order
}

/// The numbers 0 to `images`, dealt at random into [`FOLDS`].
pub(super) fn folds(images: usize, seed: &Seed) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut seed.stream("window folds"));
    (0..FOLDS).map(|fold| order.iter().copied().skip(fold).step_by(FOLDS).collect()).collect()
}
