use std::f32::consts::TAU;

use dina_core::Seed;
use rand::RngExt;
use rayon::prelude::*;
use rustfft::{FftPlanner, num_complex::Complex};
use serde::{Deserialize, Serialize};

/// Side of a texture tile, in samples. The tile wraps around.
const SIDE: usize = 256;
/// Tiles of each family: enough that two leaves rarely show the same piece.
const VARIANTS: usize = 3;

/// How the surface of a leaf looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TextureFamily {
    /// Isotropic noise with an amplitude spectrum of 1/f.
    Grain,
    /// The same spectrum within 15 degrees of one orientation.
    Stripes,
    /// Sparse bright blobs of one size.
    Spots,
}

impl TextureFamily {
    /// Every family.
    pub const ALL: [Self; 3] = [Self::Grain, Self::Stripes, Self::Spots];

    /// Amplitude at a spatial frequency in cycles per tile.
    fn amplitude(self, fx: f32, fy: f32) -> f32 {
        let f = fx.hypot(fy);
        if f == 0.0 {
            return 0.0;
        }
        match self {
            Self::Grain => 1.0 / f,
            Self::Stripes => {
                let angle = fy.atan2(fx.abs());
                let tuning = (-0.5 * (angle / 0.26).powi(2)).exp();
                // In the plane an oriented band of width constant in angle keeps the slope of 1/f.
                tuning / f
            }
            // One octave around a period of 12 samples.
            Self::Spots => (-0.5 * ((f * 12.0 / SIDE as f32).log2() / 0.4).powi(2)).exp() / f,
        }
    }
}

/// Tiles that leaves take their texture from.
pub(super) struct Atlas {
    /// Family-major, then variant; each tile has mean 0 and standard deviation 1.
    tiles: Vec<Vec<f32>>,
}

impl Atlas {
    pub fn new(seed: Seed) -> Self {
        let tiles = (0..TextureFamily::ALL.len() * VARIANTS)
            .into_par_iter()
            .map(|t| tile(TextureFamily::ALL[t / VARIANTS], seed.index(t)))
            .collect();
        Self { tiles }
    }

    /// A tile of a family, chosen by a number in `[0, 1)`.
    pub fn tile(&self, family: TextureFamily, choice: f32) -> Tile<'_> {
        let variant = ((choice * VARIANTS as f32) as usize).min(VARIANTS - 1);
        Tile(&self.tiles[family as usize * VARIANTS + variant])
    }
}

/// A texture that wraps around.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a>(&'a [f32]);

impl Tile<'_> {
    /// Bilinear sample; coordinates in samples.
    pub fn at(self, x: f32, y: f32) -> f32 {
        let (x0, y0) = (x.floor(), y.floor());
        let (dx, dy) = (x - x0, y - y0);
        // `SIDE` is a power of two: masking wraps negative coordinates as well.
        let (x0, y0) = (x0 as i32 as usize, y0 as i32 as usize);
        let column = |x: usize| x & (SIDE - 1);
        let row = |y: usize| (y & (SIDE - 1)) * SIDE;
        let (a, b) = (column(x0), column(x0.wrapping_add(1)));
        let (top, bottom) = (row(y0), row(y0.wrapping_add(1)));
        let upper = self.0[top + a] * (1.0 - dx) + self.0[top + b] * dx;
        let lower = self.0[bottom + a] * (1.0 - dx) + self.0[bottom + b] * dx;
        upper * (1.0 - dy) + lower * dy
    }
}

/// Random-phase noise with the spectrum of a family.
fn tile(family: TextureFamily, seed: Seed) -> Vec<f32> {
    let mut random = seed.stream("phase");
    let mut plane: Vec<Complex<f32>> = (0..SIDE * SIDE)
        .map(|i| {
            let (fy, fx) = (signed(i / SIDE, SIDE), signed(i % SIDE, SIDE));
            Complex::from_polar(family.amplitude(fx, fy), TAU * random.random::<f32>())
        })
        .collect();
    transform(&mut plane, SIDE, SIDE, Direction::Inverse);
    let mut values: Vec<f32> = plane.iter().map(|c| c.re).collect();
    if family == TextureFamily::Spots {
        standardise(&mut values);
        for v in &mut values {
            *v = 1.0 / (1.0 + (-6.0 * (*v - 1.0)).exp());
        }
    }
    standardise(&mut values);
    values
}

fn standardise(values: &mut [f32]) {
    let n = values.len() as f32;
    let mean = values.iter().sum::<f32>() / n;
    let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
    for v in values {
        *v = (*v - mean) / sd;
    }
}

/// Frequency of bin `i` of `n`, negative in the upper half.
pub(super) fn signed(i: usize, n: usize) -> f32 {
    if i <= n / 2 { i as f32 } else { i as f32 - n as f32 }
}

#[derive(Clone, Copy)]
pub(super) enum Direction {
    Forward,
    Inverse,
}

/// Two-dimensional Fourier transform in place, row-major, not normalised.
pub(super) fn transform(plane: &mut [Complex<f32>], height: usize, width: usize, direction: Direction) {
    let mut planner = FftPlanner::new();
    let mut plan = |n| match direction {
        Direction::Forward => planner.plan_fft_forward(n),
        Direction::Inverse => planner.plan_fft_inverse(n),
    };
    plan(width).process(plane);
    let mut turned = vec![Complex::default(); plane.len()];
    for y in 0..height {
        for x in 0..width {
            turned[x * height + y] = plane[y * width + x];
        }
    }
    plan(height).process(&mut turned);
    for y in 0..height {
        for x in 0..width {
            plane[y * width + x] = turned[x * height + y];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_standardised_and_wrap() {
        let atlas = Atlas::new(Seed::new(1));
        for family in TextureFamily::ALL {
            let tile = atlas.tile(family, 0.5);
            let mean = tile.0.iter().sum::<f32>() / tile.0.len() as f32;
            assert!(mean.abs() < 1e-3);
            let side = SIDE as f32;
            assert!((tile.at(3.25, 7.5) - tile.at(3.25 - side, 7.5 + side)).abs() < 1e-4);
        }
    }

    #[test]
    fn transforming_back_returns_the_plane() {
        let start: Vec<_> = (0..12 * 10).map(|i| Complex::new((i * 7 % 13) as f32, 0.0)).collect();
        let mut plane = start.clone();
        transform(&mut plane, 12, 10, Direction::Forward);
        transform(&mut plane, 12, 10, Direction::Inverse);
        for (a, b) in start.iter().zip(&plane) {
            assert!((a.re - b.re / 120.0).abs() < 1e-4);
        }
    }
}
