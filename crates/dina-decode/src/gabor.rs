//! Gabor-pyramid features of images: what a bank of V1-like filters makes of them.
//!
//! A filter at (cx, cy) is exp(-((x-cx)^2 + (y-cy)^2) / (2 s^2)) exp(2 pi i f ((x-cx) cos a +
//! (y-cy) sin a)), minus that multiple of its envelope which makes it blind to a constant image, scaled
//! to unit norm. The envelope is round, so that a filter is a product of a function of x and one of y,
//! and an image is filtered along its columns first and its rows next. Real and imaginary part are
//! the even and odd phase.

use std::{f32::consts::PI, ops::Range};

use ndarray::{Array2, ArrayView2, ArrayView3, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What is read out of the two phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GaborKind {
    /// Even and odd phase: linear simple cells.
    Linear,
    /// The positive and the negative part of each phase: ON and OFF simple cells.
    Rectified,
    /// sqrt(even^2 + odd^2): complex cells.
    Energy,
    /// [`GaborKind::Linear`] and [`GaborKind::Energy`].
    LinearAndEnergy,
}

impl GaborKind {
    fn channels(self) -> usize {
        match self {
            Self::Energy => 1,
            Self::Linear => 2,
            Self::LinearAndEnergy => 3,
            Self::Rectified => 4,
        }
    }
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Which filters, and what is read out of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GaborConfig {
    /// Spatial frequencies, in cycles per degree.
    pub frequencies: Vec<f32>,
    /// Orientations, evenly over 180 degrees.
    pub orientations: usize,
    /// Standard deviation of the envelope, in wavelengths.
    pub sigma: f32,
    /// Distance of neighbouring filters, in wavelengths.
    pub spacing: f32,
    /// What is read out.
    pub kind: GaborKind,
    /// Each value v becomes sign(v) |v|^compression; 1 leaves it.
    pub compression: f32,
}

impl Default for GaborConfig {
    /// 0.02 to 0.18 cycles per degree in steps of 0.8 octaves, which covers what mouse V1 prefers
    /// (Niell and Stryker 2008), eight orientations, linear and energy channels.
    fn default() -> Self {
        Self {
            frequencies: vec![0.02, 0.035, 0.06, 0.1, 0.18],
            orientations: 8,
            sigma: 0.4,
            spacing: 0.6,
            kind: GaborKind::LinearAndEnergy,
            compression: 1.0,
        }
    }
}

/// A bank of filters, ready for images of one size.
#[derive(Debug, Clone)]
pub struct GaborPyramid {
    levels: Vec<Level>,
    size: (usize, usize),
    kind: GaborKind,
    compression: f32,
}

/// The filters of one frequency.
#[derive(Debug, Clone)]
struct Level {
    rows: Vec<Tap>,
    columns: Vec<Tap>,
    /// Per orientation the phases along rows and along columns, and the answer to a constant image.
    orientations: Vec<Orientation>,
    /// The envelope's answer to a constant image, at each position.
    flat: Vec<f32>,
    norm: f32,
}

/// The envelope along one axis around one centre.
#[derive(Debug, Clone)]
struct Tap {
    support: Range<usize>,
    envelope: Vec<f32>,
    offset: Vec<f32>,
}

#[derive(Debug, Clone)]
struct Orientation {
    rows: Vec<Phase>,
    columns: Vec<Phase>,
    flat: Vec<[f32; 2]>,
}

/// A [`Tap`]'s envelope times the carrier: real and imaginary part.
#[derive(Debug, Clone)]
struct Phase {
    start: usize,
    re: Vec<f32>,
    im: Vec<f32>,
}

impl GaborPyramid {
    /// Builds the bank.
    ///
    /// - `size`: height and width of the images in pixels.
    /// - `degrees_per_pixel`: visual angle of a pixel.
    /// - `window`: where filter centres lie; `None` is the whole image. Pixels outside are still seen by
    ///   the filters at its edge.
    ///
    /// # Errors
    /// [`Error::Value`] for a frequency that the pixels cannot carry (above half a cycle per pixel),
    /// an empty bank, parameters that are not positive, or a window outside the image.
    pub fn new(
        config: &GaborConfig,
        size: (usize, usize),
        degrees_per_pixel: f32,
        window: Option<Window>,
    ) -> Result<Self> {
        let window = window.unwrap_or(Window { top: 0, left: 0, height: size.0, width: size.1 });
        check(config, size, degrees_per_pixel, window)?;
        let levels = config
            .frequencies
            .iter()
            .map(|&f| Level::new(config, f * degrees_per_pixel, size, window))
            .collect();
        Ok(Self { levels, size, kind: config.kind, compression: config.compression })
    }

    /// Number of features of an image.
    pub fn len(&self) -> usize {
        self.kind.channels() * self.levels.iter().map(Level::filters).sum::<usize>()
    }

    /// Whether there is no feature; never so for a bank that was built.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The features, images x features, of images (`images x height x width`). By frequency, then
    /// orientation, then channel (even, odd, energy; or even +, even -, odd +, odd -), then row and
    /// column of the grid.
    ///
    /// # Errors
    /// [`Error::Shape`] when the images have another size than the bank was built for,
    /// [`Error::Value`] when a pixel is not finite.
    pub fn features(&self, images: ArrayView3<f32>) -> Result<Array2<f32>> {
        let (count, height, width) = images.dim();
        if (height, width) != self.size {
            return Err(Error::shape("image size", self.size, (height, width)));
        }
        if let Some(bad) = images.iter().find(|v| !v.is_finite()) {
            return Err(Error::value("a pixel", "finite", bad));
        }
        let mut features = Array2::zeros((count, self.len()));
        features.axis_iter_mut(Axis(0)).into_par_iter().zip(images.axis_iter(Axis(0))).for_each(
            |(mut row, image)| {
                // A row of a fresh array is contiguous.
                if let Some(out) = row.as_slice_mut() {
                    self.filter(image, out);
                }
            },
        );
        Ok(features)
    }

    fn filter(&self, image: ArrayView2<f32>, mut out: &mut [f32]) {
        let pixels: Vec<f32> = image.iter().copied().collect();
        let mut scratch = Scratch::default();
        for level in &self.levels {
            let envelope = level.envelope_answers(&pixels, self.size.1, &mut scratch);
            for orientation in &level.orientations {
                let phases = level.answers(orientation, &envelope, &pixels, self.size.1, &mut scratch);
                let mut push = |read: &dyn Fn([f32; 2]) -> f32| {
                    let (block, rest) = std::mem::take(&mut out).split_at_mut(phases.len());
                    out = rest;
                    for (slot, &phase) in block.iter_mut().zip(&phases) {
                        *slot = compress(read(phase), self.compression);
                    }
                };
                match self.kind {
                    GaborKind::Linear => {
                        push(&|p| p[0]);
                        push(&|p| p[1]);
                    }
                    GaborKind::Energy => push(&energy),
                    GaborKind::LinearAndEnergy => {
                        push(&|p| p[0]);
                        push(&|p| p[1]);
                        push(&energy);
                    }
                    GaborKind::Rectified => {
                        push(&|p| p[0].max(0.0));
                        push(&|p| (-p[0]).max(0.0));
                        push(&|p| p[1].max(0.0));
                        push(&|p| (-p[1]).max(0.0));
                    }
                }
            }
        }
    }
}

fn energy(phase: [f32; 2]) -> f32 {
    phase[0].hypot(phase[1])
}

fn compress(value: f32, exponent: f32) -> f32 {
    if exponent == 1.0 { value } else { value.abs().powf(exponent).copysign(value) }
}

fn check(config: &GaborConfig, size: (usize, usize), degrees_per_pixel: f32, window: Window) -> Result<()> {
    let positive = |what: &str, value: f32| {
        if value.is_finite() && value > 0.0 { Ok(()) } else { Err(Error::value(what, "positive", value)) }
    };
    positive("degrees per pixel", degrees_per_pixel)?;
    positive("sigma in wavelengths", config.sigma)?;
    positive("spacing in wavelengths", config.spacing)?;
    positive("compression", config.compression)?;
    if config.frequencies.is_empty() || config.orientations == 0 {
        return Err(Error::value("the Gabor bank", "at least one frequency and orientation", "empty"));
    }
    for &frequency in &config.frequencies {
        positive("spatial frequency", frequency)?;
        if frequency * degrees_per_pixel > 0.5 {
            return Err(Error::value(
                "spatial frequency",
                format!("at most {} cycles per degree", 0.5 / degrees_per_pixel),
                frequency,
            ));
        }
    }
    let inside = window.height > 0
        && window.width > 0
        && window.top + window.height <= size.0
        && window.left + window.width <= size.1;
    if inside {
        return Ok(());
    }
    Err(Error::value("window", format!("within {} x {} pixels", size.0, size.1), format!("{window:?}")))
}

/// Memory that is used again for each filter.
#[derive(Default)]
struct Scratch {
    re: Vec<f32>,
    im: Vec<f32>,
}

impl Level {
    /// `frequency` is in cycles per pixel.
    fn new(config: &GaborConfig, frequency: f32, size: (usize, usize), window: Window) -> Self {
        let sigma = config.sigma / frequency;
        let step = config.spacing / frequency;
        let rows = taps(window.top, window.height, size.0, sigma, step);
        let columns = taps(window.left, window.width, size.1, sigma, step);
        let mut level = Self {
            rows,
            columns,
            orientations: Vec::new(),
            flat: Vec::new(),
            // The norm of each phase of an uncropped filter: half of the integral of the squared
            // envelope, pi s^2.
            norm: (PI * sigma * sigma / 2.0).sqrt(),
        };
        let sum = |tap: &Tap| tap.envelope.iter().sum::<f32>();
        level.flat = level.over_grid(|r, c| sum(&level.rows[r]) * sum(&level.columns[c]));
        level.orientations = (0..config.orientations)
            .map(|k| {
                let angle = PI * k as f32 / config.orientations as f32;
                Orientation::new(&level, frequency, angle)
            })
            .collect();
        level
    }

    fn positions(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    fn filters(&self) -> usize {
        self.positions() * self.orientations.len()
    }

    fn over_grid<T>(&self, value: impl Fn(usize, usize) -> T) -> Vec<T> {
        (0..self.rows.len())
            .flat_map(|r| (0..self.columns.len()).map(move |c| (r, c)))
            .map(|(r, c)| value(r, c))
            .collect()
    }

    /// The envelope's answer at each position, over its answer to a constant image: a local mean.
    fn envelope_answers(&self, pixels: &[f32], width: usize, scratch: &mut Scratch) -> Vec<f32> {
        let mut means = Vec::with_capacity(self.positions());
        for row in &self.rows {
            scratch.re.clear();
            scratch.re.resize(width, 0.0);
            for (y, weight) in row.support.clone().zip(&row.envelope) {
                add_scaled(&mut scratch.re, *weight, &pixels[y * width..][..width]);
            }
            for column in &self.columns {
                let part = &scratch.re[column.support.clone()];
                means.push(dot(part, &column.envelope) / self.flat[means.len()]);
            }
        }
        means
    }

    /// Even and odd answer at each position.
    fn answers(
        &self,
        orientation: &Orientation,
        means: &[f32],
        pixels: &[f32],
        width: usize,
        scratch: &mut Scratch,
    ) -> Vec<[f32; 2]> {
        let mut answers = Vec::with_capacity(self.positions());
        for row in &orientation.rows {
            for part in [&mut scratch.re, &mut scratch.im] {
                part.clear();
                part.resize(width, 0.0);
            }
            for (i, (re, im)) in row.re.iter().zip(&row.im).enumerate() {
                let line = &pixels[(row.start + i) * width..][..width];
                add_scaled(&mut scratch.re, *re, line);
                add_scaled(&mut scratch.im, *im, line);
            }
            for column in &orientation.columns {
                let support = column.start..column.start + column.re.len();
                let (re, im) = (&scratch.re[support.clone()], &scratch.im[support]);
                let even = dot(re, &column.re) - dot(im, &column.im);
                let odd = dot(re, &column.im) + dot(im, &column.re);
                let position = answers.len();
                let (mean, flat) = (means[position], orientation.flat[position]);
                answers.push([(even - mean * flat[0]) / self.norm, (odd - mean * flat[1]) / self.norm]);
            }
        }
        answers
    }
}

impl Orientation {
    fn new(level: &Level, frequency: f32, angle: f32) -> Self {
        let (sin, cos) = angle.sin_cos();
        let phases = |taps: &[Tap], f: f32| taps.iter().map(|tap| tap.carry(f)).collect();
        let rows: Vec<Phase> = phases(&level.rows, frequency * sin);
        let columns: Vec<Phase> = phases(&level.columns, frequency * cos);
        let flat = level.over_grid(|r, c| {
            let ([a, b], [x, y]) = (rows[r].sum(), columns[c].sum());
            [a * x - b * y, a * y + b * x]
        });
        Self { rows, columns, flat }
    }
}

impl Tap {
    fn carry(&self, frequency: f32) -> Phase {
        let part = |wave: fn(f32) -> f32| {
            let samples = self.envelope.iter().zip(&self.offset);
            samples.map(|(e, o)| e * wave(2.0 * PI * frequency * o)).collect()
        };
        Phase { start: self.support.start, re: part(f32::cos), im: part(f32::sin) }
    }
}

impl Phase {
    fn sum(&self) -> [f32; 2] {
        [self.re.iter().sum(), self.im.iter().sum()]
    }
}

/// Envelopes at a grid of centres, `step` apart and centred in the window, cut at three standard
/// deviations and at the edge of the image.
fn taps(start: usize, length: usize, size: usize, sigma: f32, step: f32) -> Vec<Tap> {
    let room = (length - 1) as f32;
    let count = (room / step) as usize + 1;
    let first = start as f32 + (room - (count - 1) as f32 * step) / 2.0;
    (0..count)
        .map(|k| {
            let centre = first + k as f32 * step;
            let low = (centre - 3.0 * sigma).ceil().max(0.0) as usize;
            let high = ((centre + 3.0 * sigma).floor() as usize + 1).min(size);
            let offset: Vec<f32> = (low..high).map(|x| x as f32 - centre).collect();
            let envelope = offset.iter().map(|o| (-o * o / (2.0 * sigma * sigma)).exp()).collect();
            Tap { support: low..high, envelope, offset }
        })
        .collect()
}

fn add_scaled(sum: &mut [f32], weight: f32, values: &[f32]) {
    for (s, v) in sum.iter_mut().zip(values) {
        *s += weight * v;
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array, Array3, s};

    use super::*;

    fn config(kind: GaborKind) -> GaborConfig {
        GaborConfig { frequencies: vec![0.05, 0.1], orientations: 4, kind, ..GaborConfig::default() }
    }

    fn grating(frequency: f32, angle: f32, phase: f32) -> Array3<f32> {
        Array::from_shape_fn((1, 60, 70), |(_, y, x)| {
            let along = (x as f32 - 35.0) * angle.cos() + (y as f32 - 30.0) * angle.sin();
            7.0 + (2.0 * PI * frequency * along + phase).cos()
        })
    }

    fn bank(kind: GaborKind) -> GaborPyramid {
        GaborPyramid::new(&config(kind), (60, 70), 1.0, None).unwrap()
    }

    #[test]
    fn a_constant_image_has_no_features() {
        let bank = bank(GaborKind::LinearAndEnergy);
        let features = bank.features(Array3::from_elem((1, 60, 70), 100.0).view()).unwrap();
        assert_eq!(features.ncols(), bank.len());
        assert!(
            features.iter().all(|v| v.abs() < 1e-2),
            "{:?}",
            features.iter().fold(0.0_f32, |a, v| a.max(v.abs()))
        );
    }

    /// The filter is separable only on paper: here it is summed over the image directly.
    #[test]
    fn as_a_plain_sum() {
        let bank = bank(GaborKind::Linear);
        let image = Array::from_shape_fn((1, 60, 70), |(_, y, x)| ((x * 3 + y * y) as f32 * 0.7).sin());
        let found = bank.features(image.view()).unwrap();
        let (frequency, sigma, step) = (0.05_f32, 8.0_f32, 12.0_f32);
        let columns = (69.0 / step) as usize + 1;
        let rows = (59.0 / step) as usize + 1;
        let (r, c, k) = (1, 2, 1);
        let cy = (59.0 - (rows - 1) as f32 * step) / 2.0 + r as f32 * step;
        let cx = (69.0 - (columns - 1) as f32 * step) / 2.0 + c as f32 * step;
        let angle = PI * k as f32 / 4.0;
        let (mut even, mut flat, mut mean, mut weight) = (0.0, 0.0, 0.0, 0.0);
        for ((_, y, x), v) in image.indexed_iter() {
            let (dx, dy) = (x as f32 - cx, y as f32 - cy);
            if dx.abs() > 3.0 * sigma || dy.abs() > 3.0 * sigma {
                continue;
            }
            let g = (-(dx * dx + dy * dy) / (2.0 * sigma * sigma)).exp();
            let wave = (2.0 * PI * frequency * (dx * angle.cos() + dy * angle.sin())).cos();
            even += v * g * wave;
            flat += g * wave;
            mean += v * g;
            weight += g;
        }
        let expected = (even - flat * mean / weight) / (PI * sigma * sigma / 2.0).sqrt();
        let index = k * 2 * rows * columns + r * columns + c;
        assert_relative_eq!(found[[0, index]], expected, epsilon = 1e-3);
    }

    /// Energy is largest for the filter that matches, and does not depend on the phase.
    #[test]
    fn energy_is_tuned_and_blind_to_phase() {
        let bank = bank(GaborKind::Energy);
        let level = bank.levels[0].positions();
        let angle = PI / 4.0;
        let mean_energy = |phase: f32| {
            let features = bank.features(grating(0.05, angle, phase).view()).unwrap();
            (0..4)
                .map(|k| features.slice(s![0, k * level..(k + 1) * level]).sum() / level as f32)
                .collect::<Vec<f32>>()
        };
        let (a, b) = (mean_energy(0.3), mean_energy(1.7));
        assert!(a[1] > 2.0 * a[0] && a[1] > 2.0 * a[2] && a[1] > 4.0 * a[3], "{a:?}");
        assert_relative_eq!(a[1], b[1], max_relative = 0.05);
    }

    #[test]
    fn rectified_channels_add_up() {
        let image = grating(0.08, 0.5, 0.2);
        let linear = bank(GaborKind::Linear).features(image.view()).unwrap();
        let halves = bank(GaborKind::Rectified).features(image.view()).unwrap();
        let positions = bank(GaborKind::Linear).levels[0].positions();
        for p in 0..positions {
            assert_relative_eq!(halves[[0, p]] - halves[[0, p + positions]], linear[[0, p]]);
        }
        assert!(halves.iter().all(|&v| v >= 0.0));
    }

    #[test]
    fn the_window_bounds_the_centres() {
        let window = Window { top: 0, left: 40, height: 60, width: 20 };
        let part = GaborPyramid::new(&config(GaborKind::Energy), (60, 70), 1.0, Some(window)).unwrap();
        assert!(part.len() < bank(GaborKind::Energy).len() / 2);
        let outside = Window { left: 60, ..window };
        assert!(GaborPyramid::new(&config(GaborKind::Energy), (60, 70), 1.0, Some(outside)).is_err());
    }

    #[test]
    fn refuses_what_pixels_cannot_carry() {
        let coarse = GaborPyramid::new(&config(GaborKind::Energy), (60, 70), 6.0, None);
        assert!(matches!(coarse, Err(Error::Value { .. })));
        assert!(bank(GaborKind::Energy).features(Array3::zeros((1, 9, 9)).view()).is_err());
    }
}
