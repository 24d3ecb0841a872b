//! A complex steerable pyramid, in the frequency domain.

use std::f64::consts::{FRAC_PI_2, PI};

use super::super::fourier::{Complex, Fft2, signed};

/// The pyramid of images of one size: a high-pass residual, `scales` octaves of `orientations`
/// analytic bands, each octave on a grid half as fine, and a low-pass residual.
///
/// With `r` the radial frequency in radians per pixel of a grid and `q = log2(2 r / pi)`:
///
/// ```text
/// L0(r) = 1 below pi/2, cos(pi q / 2) to pi, 0 above      H0^2 = 1 - L0^2
/// L1(r) = L0(2 r)                                         H1^2 = 1 - L1^2
/// A_k(a) = c cos(a - pi k / K)^(K-1)                      sum_k A_k^2 = 1
/// ```
///
/// so that the whole is a tight frame: analysis followed by synthesis with the same filters gives
/// the image back, and the energy of the real parts adds up to that of the image (Simoncelli & Freeman
/// 1995; Portilla & Simoncelli 2000, whose bands these are).
pub(super) struct Pyramid {
    high: Vec<f64>,
    low: Vec<f64>,
    pub levels: Vec<Level>,
    /// Transforms of the low-pass residual.
    pub last: Fft2,
    pub last_size: (usize, usize),
    fft: Fft2,
}

/// One octave.
pub(super) struct Level {
    pub size: (usize, usize),
    pub fft: Fft2,
    /// Per orientation the filter of the real part.
    bands: Vec<Vec<Complex>>,
    /// Per orientation 2 in the half-plane that the analytic band keeps, 0 in the other.
    half: Vec<Vec<f64>>,
    /// Towards the next octave.
    low: Vec<f64>,
}

/// An image taken apart.
pub(super) struct Parts {
    /// Spectrum of the high-pass residual.
    pub high: Vec<Complex>,
    /// Per octave the spectrum of what is analysed there.
    pub spectra: Vec<Vec<Complex>>,
    /// Per octave and orientation the analytic band.
    pub bands: Vec<Vec<Vec<Complex>>>,
    /// The low-pass residual.
    pub low: Vec<f64>,
}

impl Pyramid {
    /// Height and width have to be multiples of `2^scales`.
    pub fn new(size: (usize, usize), scales: usize, orientations: usize) -> Self {
        let radii = polar(size).0;
        let levels = (0..scales).map(|s| Level::new((size.0 >> s, size.1 >> s), orientations)).collect();
        let last_size = (size.0 >> scales, size.1 >> scales);
        Self {
            high: radii.iter().map(|&r| complement(low_pass(r))).collect(),
            low: radii.iter().map(|&r| low_pass(r)).collect(),
            levels,
            last: Fft2::new(last_size.0, last_size.1),
            last_size,
            fft: Fft2::new(size.0, size.1),
        }
    }

    pub fn analyse(&self, image: &[f64]) -> Parts {
        let mut whole = complex(image);
        self.fft.forward(&mut whole);
        let high = whole.iter().zip(&self.high).map(|(c, h)| c * h).collect();
        let mut spectrum: Vec<Complex> = whole.iter().zip(&self.low).map(|(c, l)| c * l).collect();
        let mut spectra = Vec::new();
        let mut bands = Vec::new();
        for level in &self.levels {
            bands.push(
                (0..level.bands.len())
                    .map(|k| level.analytic(&filtered(&spectrum, &level.bands[k]), k))
                    .collect(),
            );
            let narrow: Vec<Complex> = spectrum.iter().zip(&level.low).map(|(c, l)| c * l).collect();
            spectra.push(spectrum);
            spectrum = shrink(&narrow, level.size);
        }
        self.last.inverse(&mut spectrum);
        Parts { high, spectra, bands, low: real(&spectrum) }
    }

    /// The image of the first octave's spectrum and of the high-pass residual.
    pub fn synthesise(&self, first: &[Complex], high: &[Complex]) -> Vec<f64> {
        let mut whole: Vec<Complex> = first
            .iter()
            .zip(&self.low)
            .zip(high.iter().zip(&self.high))
            .map(|((a, low), (b, high))| a * low + b * high)
            .collect();
        self.fft.inverse(&mut whole);
        real(&whole)
    }
}

impl Level {
    fn new(size: (usize, usize), orientations: usize) -> Self {
        let (radii, angles) = polar(size);
        let order = orientations as i32 - 1;
        let norm = normalisation(orientations);
        // The real part is even or odd as the order is.
        let phase = Complex::new(0.0, -1.0).powi(order);
        let turned = |a: f64, k: usize| (a - PI * k as f64 / orientations as f64).cos();
        let band = |k: usize| {
            let filter = radii
                .iter()
                .zip(&angles)
                .map(|(&r, &a)| phase * (complement(low_pass(2.0 * r)) * norm * turned(a, k).powi(order)));
            filter.collect()
        };
        let half = |k: usize| angles.iter().map(|&a| if turned(a, k) > 0.0 { 2.0 } else { 0.0 }).collect();
        Self {
            size,
            fft: Fft2::new(size.0, size.1),
            bands: (0..orientations).map(band).collect(),
            half: (0..orientations).map(half).collect(),
            low: radii.iter().map(|&r| low_pass(2.0 * r)).collect(),
        }
    }

    /// The analytic band whose real part has this spectrum.
    pub fn analytic(&self, spectrum: &[Complex], orientation: usize) -> Vec<Complex> {
        let mut band: Vec<Complex> =
            spectrum.iter().zip(&self.half[orientation]).map(|(c, half)| c * half).collect();
        self.fft.inverse(&mut band);
        band
    }

    /// The spectrum of this octave from the spectra of the real parts of its bands and the spectrum
    /// of the next octave.
    pub fn combine(&self, bands: &[Vec<Complex>], next: &[Complex]) -> Vec<Complex> {
        let mut sum: Vec<Complex> =
            grow(next, self.size).iter().zip(&self.low).map(|(c, low)| c * low).collect();
        for (band, filter) in bands.iter().zip(&self.bands) {
            for ((s, c), f) in sum.iter_mut().zip(band).zip(filter) {
                *s += c * f.conj();
            }
        }
        sum
    }

    pub fn forward(&self, plane: &[f64]) -> Vec<Complex> {
        let mut plane = complex(plane);
        self.fft.forward(&mut plane);
        plane
    }

    pub fn inverse(&self, mut spectrum: Vec<Complex>) -> Vec<f64> {
        self.fft.inverse(&mut spectrum);
        real(&spectrum)
    }

    /// A band of the next octave on the grid of this one.
    pub fn expand(&self, next: &Fft2, band: &[Complex]) -> Vec<Complex> {
        let mut spectrum = band.to_vec();
        next.forward(&mut spectrum);
        let mut wide = grow(&spectrum, self.size);
        self.fft.inverse(&mut wide);
        wide
    }
}

/// `c` of `A_k`: `2^(K-1) (K-1)! / sqrt(K (2 (K-1))!)`.
fn normalisation(orientations: usize) -> f64 {
    let factorial = |n: usize| (1..=n).map(|i| i as f64).product::<f64>();
    let n = orientations - 1;
    2f64.powi(n as i32) * factorial(n) / (orientations as f64 * factorial(2 * n)).sqrt()
}

fn low_pass(r: f64) -> f64 {
    if r <= FRAC_PI_2 {
        1.0
    } else if r >= PI {
        0.0
    } else {
        (FRAC_PI_2 * (2.0 * r / PI).log2()).cos()
    }
}

fn complement(gain: f64) -> f64 {
    (1.0 - gain * gain).max(0.0).sqrt()
}

/// Radial frequency, in radians per pixel, and direction of every number.
fn polar((height, width): (usize, usize)) -> (Vec<f64>, Vec<f64>) {
    (0..height * width)
        .map(|i| {
            let y = 2.0 * PI * signed(i / width, height) / height as f64;
            let x = 2.0 * PI * signed(i % width, width) / width as f64;
            (y.hypot(x), y.atan2(x))
        })
        .unzip()
}

fn filtered(spectrum: &[Complex], filter: &[Complex]) -> Vec<Complex> {
    spectrum.iter().zip(filter).map(|(c, f)| c * f).collect()
}

/// The lower half of the frequencies of each axis, on a grid half as fine, same grey levels.
fn shrink(spectrum: &[Complex], (height, width): (usize, usize)) -> Vec<Complex> {
    let (h, w) = (height / 2, width / 2);
    let from = |i: usize, n: usize| if i < n.div_ceil(2) { i } else { i + n };
    (0..h * w).map(|i| spectrum[from(i / w, h) * width + from(i % w, w)] * 0.25).collect()
}

/// Undoes [`shrink`] where the upper half holds nothing.
fn grow(spectrum: &[Complex], (height, width): (usize, usize)) -> Vec<Complex> {
    let (h, w) = (height / 2, width / 2);
    let to = |i: usize, n: usize| if i < n.div_ceil(2) { i } else { i + n };
    let mut out = vec![Complex::default(); height * width];
    for (i, c) in spectrum.iter().enumerate() {
        out[to(i / w, h) * width + to(i % w, w)] = c * 4.0;
    }
    out
}

pub(super) fn complex(plane: &[f64]) -> Vec<Complex> {
    plane.iter().map(|&v| Complex::new(v, 0.0)).collect()
}

pub(super) fn real(plane: &[Complex]) -> Vec<f64> {
    plane.iter().map(|c| c.re).collect()
}

#[cfg(test)]
mod tests {
    use dina_core::Seed;
    use rand::RngExt;

    use super::*;

    fn noise(n: usize) -> Vec<f64> {
        let mut random = Seed::new(1).stream("noise");
        (0..n).map(|_| random.random::<f64>() - 0.3).collect()
    }

    #[test]
    fn synthesis_undoes_analysis_and_energy_is_kept() {
        for (size, scales, orientations) in [((32, 48), 3, 4), ((16, 16), 2, 3), ((24, 40), 2, 6)] {
            let pyramid = Pyramid::new(size, scales, orientations);
            let image = noise(size.0 * size.1);
            let parts = pyramid.analyse(&image);
            // Energy: every octave has a quarter of the pixels of the one before.
            let n = image.len() as f64;
            let mut energy = parts.high.iter().map(|c| c.norm_sqr()).sum::<f64>() / n;
            let mut scale = 1.0;
            for bands in &parts.bands {
                energy += bands.iter().flatten().map(|c| c.re * c.re).sum::<f64>() * scale;
                scale *= 4.0;
            }
            energy += parts.low.iter().map(|v| v * v).sum::<f64>() * scale;
            let expected = image.iter().map(|v| v * v).sum::<f64>();
            assert!((energy / expected - 1.0).abs() < 1e-9, "{energy} of {expected}");

            let mut next = complex(&parts.low);
            pyramid.last.forward(&mut next);
            for (level, bands) in pyramid.levels.iter().zip(&parts.bands).rev() {
                let spectra: Vec<_> = bands.iter().map(|b| level.forward(&real(b))).collect();
                next = level.combine(&spectra, &next);
            }
            let again = pyramid.synthesise(&next, &parts.high);
            assert!(image.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-10));
        }
    }

    #[test]
    fn a_grating_is_in_its_band() {
        // A quarter of the Nyquist frequency, varying downwards: the second octave (peak at
        // pi/4 of the finest grid), third orientation of four.
        let size = (64, 64);
        let image: Vec<f64> = (0..64 * 64).map(|i| (PI / 4.0 * (i / 64) as f64).cos()).collect();
        let parts = Pyramid::new(size, 4, 4).analyse(&image);
        let energy = |s: usize, k: usize| {
            parts.bands[s][k].iter().map(|c| c.norm_sqr()).sum::<f64>() / parts.bands[s][k].len() as f64
        };
        for s in 0..4 {
            for k in 0..4 {
                let share = energy(s, k) / energy(1, 2);
                assert!(if (s, k) == (1, 2) { share == 1.0 } else { share < 0.2 }, "{s} {k}: {share}");
            }
        }
        // The magnitude of an analytic band is the envelope: uniform for a grating.
        let magnitudes: Vec<f64> = parts.bands[1][2].iter().map(|c| c.norm()).collect();
        assert!(magnitudes.iter().all(|m| (m / magnitudes[0] - 1.0).abs() < 1e-6));
    }
}
