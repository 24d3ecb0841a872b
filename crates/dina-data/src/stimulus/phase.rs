//! Pictures with the spectrum of an image and nothing else of it.

use std::f64::consts::{PI, TAU};

use dina_core::{Seed, Stream};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::fourier::{Border, Complex, Spectral, negative};
use super::stack::{positive, refused};
use super::{Stack, StackTransform};
use crate::Result;

/// Adds random phases, which leaves the amplitude spectrum of each image as it is and its layout
/// and edges to chance.
///
/// `F'(k) = F(k) exp(i strength phi(k))` with `phi` uniform in -pi to pi and `phi(-k) = -phi(k)`, so
/// that the result is real by construction and no imaginary part is thrown away. Frequencies that
/// are their own negative (half a cycle a pixel) change sign with probability `strength / 2`; the
/// mean grey stays. At strength 1 every phase is uniform, whatever the image. The spectrum is that
/// of the discrete Fourier transform, for which the image repeats beyond its border. Grey levels
/// follow a normal distribution afterwards and may leave the range of the screen.
///
/// Image `i` of a stack takes its phases from the seed and `i`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PhaseScramble {
    /// Share of a full turn by which phases are moved, 0 to 1.
    pub strength: f32,
}

impl Default for PhaseScramble {
    fn default() -> Self {
        Self { strength: 1.0 }
    }
}

impl StackTransform for PhaseScramble {
    fn name(&self) -> &'static str {
        "phase scrambling"
    }

    fn apply(&self, stack: &Stack, seed: Seed) -> Result<Stack> {
        if !(0.0..=1.0).contains(&self.strength) {
            return Err(refused("strength", "0 to 1", self.strength));
        }
        let spectral = Spectral::new(stack.size(), Border::Periodic);
        Ok(stack.each(|i, image, out| {
            let mut random = seed.index(i).stream("phases");
            scramble(&spectral, image, out, f64::from(self.strength), &mut random);
        }))
    }
}

fn scramble(
    spectral: &Spectral,
    image: ArrayView2<'_, f32>,
    out: ArrayViewMut2<'_, f32>,
    strength: f64,
    random: &mut Stream,
) {
    let mut spectrum = spectral.analyse(image);
    let (height, width) = spectral.size();
    // Number 0 is the mean.
    for i in 1..spectrum.len() {
        let partner = negative(i, height, width);
        let turn = strength * PI * (2.0 * random.random::<f64>() - 1.0);
        if partner == i {
            let flip = random.random::<f64>() < 0.5 * strength;
            spectrum[i] *= if flip { -1.0 } else { 1.0 };
        } else if i < partner {
            let turned = spectrum[i] * Complex::from_polar(1.0, turn);
            spectrum[i] = turned;
            spectrum[partner] = turned.conj();
        }
    }
    spectral.synthesise(spectrum, out);
}

/// How [`LocalPhaseScramble`] divides an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tiles {
    /// Tiles with cosine windows, each half over the next: no borders to be seen. Local mean grey is
    /// kept, local variance on average, and the spectrum up to the resolution of a tile.
    #[default]
    Overlapping,
    /// Tiles side by side: the amplitude spectrum of every tile is exactly kept, and borders between
    /// them can be seen.
    Abutting,
}

/// Phase scrambling within tiles: layout coarser than a tile stays, what is finer is left to
/// chance, with the spectrum that it had there.
///
/// With [`Tiles::Overlapping`], tile `t` has the window `w_t` (the root of a Hann window along each
/// axis, so that `sum_t w_t^2 = 1`) and the mean `m_t` weighted by `w_t^2`; with `S` for phase
/// scrambling at full strength,
///
/// ```text
/// y = sum_t w_t^2 m_t + 2 sum_t w_t S(w_t (x - m_t))
/// ```
///
/// The factor 2 makes up for the second window: the mean of `w^2` is 1/4. Beyond the border lies the
/// image in the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LocalPhaseScramble {
    /// Side of a tile, in degrees; rounded to an even number of pixels (overlapping) or so that
    /// whole tiles fill the image (abutting).
    pub patch: f32,
    /// How the image is divided.
    #[serde(default)]
    pub tiles: Tiles,
}

impl StackTransform for LocalPhaseScramble {
    fn name(&self) -> &'static str {
        "local phase scrambling"
    }

    fn apply(&self, stack: &Stack, seed: Seed) -> Result<Stack> {
        positive("patch in degrees", self.patch)?;
        let side = stack.pixels_of(self.patch);
        let (height, width) = stack.size();
        if side < 4 || side > height.min(width) {
            let [h, w] = stack.extent();
            let range = format!("at least 4 pixels and at most the image, {h} x {w} degrees");
            return Err(refused("patch in degrees", range, self.patch));
        }
        let seeds = |i: usize| seed.index(i).stream("phases");
        Ok(match self.tiles {
            Tiles::Abutting => stack.each(|i, image, out| abutting(image, out, side, &mut seeds(i))),
            Tiles::Overlapping => {
                let half = side.div_ceil(2);
                let spectral = Spectral::new((2 * half, 2 * half), Border::Periodic);
                stack.each(|i, image, out| overlapping(&spectral, image, out, half, &mut seeds(i)))
            }
        })
    }
}

fn abutting(image: ArrayView2<'_, f32>, mut out: ArrayViewMut2<'_, f32>, side: usize, random: &mut Stream) {
    let (height, width) = image.dim();
    let cuts = |n: usize| {
        let tiles = (n as f64 / side as f64).round().max(1.0) as usize;
        (0..tiles).map(move |i| i * n / tiles..(i + 1) * n / tiles)
    };
    for rows in cuts(height) {
        for columns in cuts(width) {
            let place = s![rows.clone(), columns.clone()];
            let spectral = Spectral::new((rows.len(), columns.len()), Border::Periodic);
            scramble(&spectral, image.slice(place), out.slice_mut(place), 1.0, random);
        }
    }
}

fn overlapping(
    spectral: &Spectral,
    image: ArrayView2<'_, f32>,
    mut out: ArrayViewMut2<'_, f32>,
    half: usize,
    random: &mut Stream,
) {
    let (height, width) = image.dim();
    let side = 2 * half;
    let window = root_hann(side);
    // The first tile starts half a tile before the image.
    let tiles = |n: usize| n.div_ceil(half) + 1;
    let mut sum = Array2::<f32>::zeros(((tiles(height) + 1) * half, (tiles(width) + 1) * half));
    let at = |i: usize, n: usize| mirrored(i as isize - half as isize, n);
    let mut scrambled = Array2::zeros((side, side));
    for ty in 0..tiles(height) {
        for tx in 0..tiles(width) {
            let (top, left) = (ty * half, tx * half);
            let tile = Array2::from_shape_fn((side, side), |(y, x)| {
                image[[at(top + y, height), at(left + x, width)]]
            });
            let weighted = tile.indexed_iter().map(|((y, x), v)| v * (window[y] * window[x]).powi(2));
            // The squared window sums to a quarter of the tile.
            let mean = weighted.sum::<f32>() / (half * half) as f32;
            let piece =
                Array2::from_shape_fn((side, side), |(y, x)| window[y] * window[x] * (tile[[y, x]] - mean));
            scramble(spectral, piece.view(), scrambled.view_mut(), 1.0, random);
            let mut place = sum.slice_mut(s![top..top + side, left..left + side]);
            for ((y, x), v) in place.indexed_iter_mut() {
                let w = window[y] * window[x];
                *v += w * (w * mean + 2.0 * scrambled[[y, x]]);
            }
        }
    }
    out.assign(&sum.slice(s![half..half + height, half..half + width]));
}

/// The root of a periodic Hann window: squares of two, shifted by half, add up to 1.
fn root_hann(side: usize) -> Vec<f32> {
    (0..side).map(|i| (0.5 - 0.5 * (TAU * (i as f64 + 0.5) / side as f64).cos()).sqrt() as f32).collect()
}

/// Pixel `i` of an image of `n` pixels that is continued in the mirror, again and again.
fn mirrored(i: isize, n: usize) -> usize {
    let n = n as isize;
    let i = i.rem_euclid(2 * n);
    (if i < n { i } else { 2 * n - 1 - i }) as usize
}
