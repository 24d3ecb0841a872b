//! Two-dimensional Fourier transforms of images, with the border that a method asks for.

use std::sync::Arc;

use ndarray::{ArrayView2, ArrayViewMut2};
use rustfft::{Fft, FftPlanner};
use serde::{Deserialize, Serialize};

pub(super) type Complex = rustfft::num_complex::Complex<f64>;

/// What lies beyond the border of an image, for methods that work in the frequency domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// The image in the mirror (the border pixel is repeated once). Opposite borders do not touch,
    /// so no edge is made up. Twice the size in both directions; frequencies are those of a cosine
    /// transform.
    #[default]
    Mirror,
    /// The image again: what the discrete Fourier transform itself assumes. Where opposite borders
    /// differ, that edge is part of the spectrum, along the vertical and horizontal axis.
    Periodic,
}

/// A plan for planes of one size.
pub(super) struct Fft2 {
    height: usize,
    width: usize,
    rows: [Arc<dyn Fft<f64>>; 2],
    columns: [Arc<dyn Fft<f64>>; 2],
}

impl Fft2 {
    pub fn new(height: usize, width: usize) -> Self {
        let mut planner = FftPlanner::new();
        Self {
            height,
            width,
            rows: [planner.plan_fft_forward(width), planner.plan_fft_inverse(width)],
            columns: [planner.plan_fft_forward(height), planner.plan_fft_inverse(height)],
        }
    }

    /// `F(k) = sum_x f(x) exp(-2 pi i k x / n)`.
    pub fn forward(&self, plane: &mut Vec<Complex>) {
        self.pass(plane, 0);
    }

    /// Undoes [`Fft2::forward`].
    pub fn inverse(&self, plane: &mut Vec<Complex>) {
        self.pass(plane, 1);
        let scale = 1.0 / (self.height * self.width) as f64;
        plane.iter_mut().for_each(|c| *c *= scale);
    }

    fn pass(&self, plane: &mut Vec<Complex>, direction: usize) {
        self.rows[direction].process(plane);
        *plane = transposed(plane, self.height, self.width);
        self.columns[direction].process(plane);
        *plane = transposed(plane, self.width, self.height);
    }
}

fn transposed(plane: &[Complex], height: usize, width: usize) -> Vec<Complex> {
    // Tiles that fit the cache.
    const TILE: usize = 16;
    let mut out = vec![Complex::default(); plane.len()];
    for top in (0..height).step_by(TILE) {
        for left in (0..width).step_by(TILE) {
            for y in top..(top + TILE).min(height) {
                for x in left..(left + TILE).min(width) {
                    out[x * height + y] = plane[y * width + x];
                }
            }
        }
    }
    out
}

/// Frequency number `i` of `n`, from -n/2 to n/2: cycles per extent.
pub(super) fn signed(i: usize, n: usize) -> f64 {
    if i <= n / 2 { i as f64 } else { i as f64 - n as f64 }
}

/// The number of the frequency that is the negative of number `i` in a plane.
pub(super) fn negative(i: usize, height: usize, width: usize) -> usize {
    let (y, x) = (i / width, i % width);
    (height - y) % height * width + (width - x) % width
}

/// Images of one size as spectra and back.
pub(super) struct Spectral {
    fft: Fft2,
    /// Of the image.
    inner: (usize, usize),
    /// Of the plane that is transformed.
    outer: (usize, usize),
}

impl Spectral {
    pub fn new((height, width): (usize, usize), border: Border) -> Self {
        let factor = match border {
            Border::Mirror => 2,
            Border::Periodic => 1,
        };
        let outer = (factor * height, factor * width);
        Self { fft: Fft2::new(outer.0, outer.1), inner: (height, width), outer }
    }

    /// Height and width of the plane of frequencies.
    pub fn size(&self) -> (usize, usize) {
        self.outer
    }

    /// Number of frequencies.
    pub fn len(&self) -> usize {
        self.outer.0 * self.outer.1
    }

    pub fn analyse(&self, image: ArrayView2<'_, f32>) -> Vec<Complex> {
        let (height, width) = self.inner;
        let mirror = |i: usize, n: usize| if i < n { i } else { 2 * n - 1 - i };
        let mut plane = Vec::with_capacity(self.len());
        for y in 0..self.outer.0 {
            let row = image.row(mirror(y, height));
            plane.extend((0..self.outer.1).map(|x| Complex::new(f64::from(row[mirror(x, width)]), 0.0)));
        }
        self.fft.forward(&mut plane);
        plane
    }

    pub fn synthesise(&self, mut spectrum: Vec<Complex>, mut out: ArrayViewMut2<'_, f32>) {
        self.fft.inverse(&mut spectrum);
        for (mut row, plane) in out.rows_mut().into_iter().zip(spectrum.chunks(self.outer.1)) {
            row.iter_mut().zip(plane).for_each(|(to, from)| *to = from.re as f32);
        }
    }

    /// The spatial frequency of every number, in cycles per degree, whatever the direction.
    pub fn frequencies(&self, degrees_per_pixel: f32) -> Vec<f64> {
        let (height, width) = self.outer;
        let pixel = f64::from(degrees_per_pixel);
        (0..self.len())
            .map(|i| {
                let fy = signed(i / width, height) / (height as f64 * pixel);
                let fx = signed(i % width, width) / (width as f64 * pixel);
                fy.hypot(fx)
            })
            .collect()
    }

    /// Multiplies every frequency by a real factor that is the same for a frequency and its
    /// negative.
    pub fn scaled(&self, image: ArrayView2<'_, f32>, factors: &[f64], out: ArrayViewMut2<'_, f32>) {
        let mut spectrum = self.analyse(image);
        spectrum.iter_mut().zip(factors).for_each(|(c, factor)| *c *= factor);
        self.synthesise(spectrum, out);
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn a_grating_has_one_frequency_and_its_negative() {
        let (height, width) = (6, 10);
        let image = Array2::from_shape_fn((height, width), |(y, x)| {
            let phase = 2.0 * y as f32 / 6.0 - 3.0 * x as f32 / 10.0;
            (std::f32::consts::TAU * phase).cos()
        });
        let spectral = Spectral::new((height, width), Border::Periodic);
        let spectrum = spectral.analyse(image.view());
        // Frequency (2, -3): row 2, column 7.
        let expected = 2 * width + 7;
        for (i, c) in spectrum.iter().enumerate() {
            let size = if i == expected || i == negative(expected, height, width) { 30.0 } else { 0.0 };
            assert!((c.re - size).abs() < 1e-5 && c.im.abs() < 1e-5, "{i}: {c}");
        }
        let f = spectral.frequencies(0.5)[expected];
        assert!((f - ((2.0 / 3.0f64).powi(2) + (3.0 / 5.0f64).powi(2)).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn both_borders_give_the_image_back() {
        let image = Array2::from_shape_fn((5, 7), |(y, x)| ((y * 31 + x * 17) % 13) as f32);
        for border in [Border::Mirror, Border::Periodic] {
            let spectral = Spectral::new((5, 7), border);
            let mut out = Array2::zeros((5, 7));
            spectral.synthesise(spectral.analyse(image.view()), out.view_mut());
            assert!((&out - &image).iter().all(|d| d.abs() < 1e-5));
        }
    }
}
