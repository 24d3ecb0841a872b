use ndarray::{Array2, ArrayView2, ArrayView3, Axis, s};
use rayon::prelude::*;

use super::Subunit;
use crate::Images;

/// Resolutions at which images are kept: 1, 2 and 4 degrees a pixel.
const LEVELS: usize = 3;
/// A grating needs five samples a cycle for its filter to be the one that was meant.
const CYCLES_PER_PIXEL: f32 = 0.2;
/// Standard deviations of a Gaussian window that are looked at.
const REACH: f32 = 2.3;

/// What the eye sends on: contrast relative to each image's mean luminance, at several
/// resolutions.
pub(super) struct Retina {
    levels: Vec<Level>,
}

struct Level {
    pitch: usize,
    width: usize,
    height: usize,
    /// Pixels x images, so that a filter runs along many images at once.
    contrast: Array2<f32>,
}

impl Level {
    /// Means over squares of two by two pixels.
    fn halved(&self) -> Self {
        let (height, width) = (self.height / 2, self.width / 2);
        let mut contrast = Array2::zeros((height * width, self.contrast.ncols()));
        contrast.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(p, mut pixel)| {
            let first = 2 * (p / width) * self.width + 2 * (p % width);
            for offset in [0, 1, self.width, self.width + 1] {
                pixel.scaled_add(0.25, &self.contrast.row(first + offset));
            }
        });
        Self { pitch: 2 * self.pitch, width, height, contrast }
    }
}

/// A rectangle of pixels at one resolution.
#[derive(Debug, Clone)]
pub(super) struct Window {
    level: usize,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
}

impl Retina {
    /// The views of several sets of images, one after another.
    pub fn new(sets: &[&Images]) -> Self {
        let (_, height, width) = sets[0].pixels.dim();
        let images: Vec<_> = sets.iter().flat_map(|s| s.pixels.outer_iter()).collect();
        let means: Vec<f32> = images
            .par_iter()
            .map(|i| i.iter().map(|&v| f32::from(v)).sum::<f32>() / i.len() as f32)
            .collect();
        let mut contrast = Array2::zeros((height * width, images.len()));
        contrast.axis_chunks_iter_mut(Axis(0), width).into_par_iter().enumerate().for_each(
            |(row, mut pixels)| {
                for (i, (image, mean)) in images.iter().zip(&means).enumerate() {
                    for (column, &level) in image.row(row).iter().enumerate() {
                        // The constant keeps a black image from becoming infinite contrast.
                        pixels[[column, i]] = (f32::from(level) - mean) / (mean + 5.0);
                    }
                }
            },
        );
        Self::with(contrast, height, width)
    }

    /// The views of several sets of planes of contrast, images x height x width, one after another.
    pub fn of(sets: &[ArrayView3<f32>]) -> Self {
        let (_, height, width) = sets[0].dim();
        let planes: Vec<_> = sets.iter().flat_map(|s| s.outer_iter()).collect();
        let mut contrast = Array2::zeros((height * width, planes.len()));
        contrast.axis_chunks_iter_mut(Axis(0), width).into_par_iter().enumerate().for_each(
            |(row, mut pixels)| {
                for (i, plane) in planes.iter().enumerate() {
                    pixels.column_mut(i).assign(&plane.row(row));
                }
            },
        );
        Self::with(contrast, height, width)
    }

    fn with(contrast: Array2<f32>, height: usize, width: usize) -> Self {
        let mut levels = vec![Level { pitch: 1, width, height, contrast }];
        while levels.len() < LEVELS {
            let coarser = levels[levels.len() - 1].halved();
            levels.push(coarser);
        }
        Self { levels }
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.levels[0].contrast.ncols()
    }

    /// The smallest window that shows all these subunits, at the coarsest sufficient resolution.
    pub fn window(&self, subunits: &[Subunit]) -> Window {
        let fastest = subunits.iter().fold(0.0_f32, |f, s| f.max(s.frequency));
        let level = (0..self.levels.len())
            .rev()
            .find(|&l| fastest * self.levels[l].pitch as f32 <= CYCLES_PER_PIXEL)
            .unwrap_or(0);
        let Level { pitch, width, height, .. } = self.levels[level];
        let span = |centre: fn(&Subunit) -> f32, end: usize| {
            let low = subunits.iter().map(|s| centre(s) - REACH * s.sigma).fold(f32::INFINITY, f32::min);
            let high = subunits.iter().map(|s| centre(s) + REACH * s.sigma).fold(f32::NEG_INFINITY, f32::max);
            let pixel = |degrees: f32| degrees / pitch as f32;
            // A subunit may lie beyond the edge of the screen: at least the pixel next to it stays.
            let low = (pixel(low).floor().max(0.0) as usize).min(end - 1);
            let high = (pixel(high).ceil().max(0.0) as usize).clamp(low + 1, end);
            low..high
        };
        Window { level, rows: span(|s| s.row, height), columns: span(|s| s.column, width) }
    }

    /// Even and odd filters of the subunits (`2k` and `2k + 1`), filters x pixels of the window.
    ///
    /// Both are blind to mean luminance, and scaled so that the best grating at contrast 1 gives 1.
    pub fn filters(&self, window: &Window, subunits: &[Subunit]) -> Array2<f32> {
        let pitch = self.levels[window.level].pitch as f32;
        let pixels = window.rows.len() * window.columns.len();
        let mut filters = Array2::zeros((2 * subunits.len(), pixels));
        let mut envelope = vec![0.0; pixels];
        for (k, subunit) in subunits.iter().enumerate() {
            let (cos, sin) = (subunit.orientation.cos(), subunit.orientation.sin());
            let mut p = 0;
            for row in window.rows.clone() {
                let y = (row as f32 + 0.5) * pitch - subunit.row;
                for column in window.columns.clone() {
                    let x = (column as f32 + 0.5) * pitch - subunit.column;
                    let distance = (x * x + y * y) / (subunit.sigma * subunit.sigma);
                    envelope[p] = (-0.5 * distance).exp();
                    let turn =
                        std::f32::consts::TAU * subunit.frequency * (cos * x + sin * y) + subunit.phase;
                    filters[[2 * k, p]] = envelope[p] * turn.cos();
                    filters[[2 * k + 1, p]] = envelope[p] * turn.sin();
                    p += 1;
                }
            }
            let mass: f32 = envelope.iter().sum::<f32>().max(1e-6);
            for f in [2 * k, 2 * k + 1] {
                let mut filter = filters.row_mut(f);
                let mean = filter.sum() / mass;
                filter.iter_mut().zip(&envelope).for_each(|(v, e)| *v = (*v - mean * e) * 2.0 / mass);
            }
        }
        filters
    }

    /// Products of filters with the images, filters x images; `block` holds the window's pixels
    /// meanwhile.
    pub fn filter(&self, window: &Window, filters: &Array2<f32>, block: &mut Vec<f32>) -> Array2<f32> {
        /// Images at a time, so that the block stays in the cache.
        const IMAGES: usize = 512;
        let Level { width, contrast, .. } = &self.levels[window.level];
        let pixels = filters.ncols();
        let mut products = Array2::zeros((filters.nrows(), self.images()));
        for start in (0..self.images()).step_by(IMAGES) {
            let end = (start + IMAGES).min(self.images());
            block.clear();
            for row in window.rows.clone() {
                for column in window.columns.clone() {
                    block.extend(contrast.slice(s![row * width + column, start..end]));
                }
            }
            if let Ok(view) = ArrayView2::from_shape((pixels, end - start), block) {
                let mut part = products.slice_mut(s![.., start..end]);
                ndarray::linalg::general_mat_mul(1.0, filters, &view, 0.0, &mut part);
            }
        }
        products
    }
}
