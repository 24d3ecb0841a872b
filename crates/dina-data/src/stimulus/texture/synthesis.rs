use dina_core::Seed;
use ndarray::{Array2, ArrayView2, s};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::super::fourier::{Border, Complex, Fft2, Spectral};
use super::super::stack::refused;
use super::adjust::{match_autocovariance, match_covariance, match_kurtosis, match_skewness};
use super::pyramid::{Pyramid, complex, real};
use super::statistics::{
    GroupError, Marginal, NOTHING, Parents, TextureStatistics, centre, lags, magnitudes, reaches,
};
use crate::Result;

/// Each round is followed by this share of its change once more, which halves the rounds that are
/// needed (as the authors' code does).
const MOMENTUM: f64 = 0.8;

/// What a synthesis reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextureReport {
    /// Rounds of projection.
    pub iterations: usize,
    /// What is left of the difference, group by group.
    pub groups: Vec<GroupError>,
}

impl TextureReport {
    /// The largest error of a group.
    pub fn worst(&self) -> f64 {
        self.groups.iter().map(|g| g.error).fold(0.0, f64::max)
    }
}

impl TextureStatistics {
    /// A new picture of this size, height x width, with these statistics, from normal noise.
    ///
    /// Each round takes the picture apart, gives every part its statistics from coarse to fine, puts
    /// it together and gives the pixels theirs (Portilla & Simoncelli 2000). The statistics disturb
    /// each other, so the rounds approach them and do not reach them: the report says how near. The
    /// picture continues over opposite borders if its sides are multiples of `2^scales`; otherwise it
    /// is cut from such a one.
    ///
    /// # Errors
    /// When the size is too small for the scales, or numbers get out of range.
    pub fn synthesise(&self, size: (usize, usize), seed: Seed) -> Result<(Array2<f32>, TextureReport)> {
        let config = &self.config;
        let up = |n: usize| n.div_ceil(1 << config.scales) << config.scales;
        let whole = (up(size.0), up(size.1));
        if whole.0 >> config.scales < 4
            || whole.1 >> config.scales < 4
            || size.0.saturating_mul(size.1) > 1 << 28
        {
            return Err(refused(
                "size of a texture",
                format!("more than {} pixels along each side, and at most 2^28 in all", 3 << config.scales),
                format!("{} x {}", size.0, size.1),
            ));
        }
        if reaches(whole, config).iter().zip(&self.reaches).any(|(here, there)| here < there) {
            return Err(refused(
                "size of a texture",
                "large enough for the neighbourhoods measured",
                format!("{} x {}; synthesise it at the size of its source", size.0, size.1),
            ));
        }
        let pyramid = Pyramid::new(whole, config.scales, config.orientations);
        let mut random = seed.stream("texture");
        let sd = self.pixels.variance.sqrt();
        let mut image: Vec<f64> = (0..whole.0 * whole.1)
            .map(|_| {
                let normal: f64 = StandardNormal.sample(&mut random);
                self.pixels.mean + sd * normal
            })
            .collect();
        for round in 0..config.iterations {
            let next = self.project(&pyramid, &image)?;
            let last = round + 1 == config.iterations;
            let ahead = if last { 0.0 } else { MOMENTUM };
            image.iter_mut().zip(next).for_each(|(old, new)| *old = new + ahead * (new - *old));
        }
        let reached = Self::of(&pyramid, &image, config, &self.reaches)?;
        let report = TextureReport { iterations: config.iterations, groups: self.compare(&reached)? };
        let picture = Array2::from_shape_fn(whole, |(y, x)| image[y * whole.1 + x] as f32);
        Ok((picture.slice(s![..size.0, ..size.1]).to_owned(), report))
    }

    /// One round.
    fn project(&self, pyramid: &Pyramid, image: &[f64]) -> Result<Vec<f64>> {
        let mut parts = pyramid.analyse(image);
        let scales = self.config.scales;
        let mut next = complex(&parts.low);
        pyramid.last.forward(&mut next);
        self.scale(&pyramid.last, pyramid.last_size, &mut next, scales)?;
        for s in (0..scales).rev() {
            let level = &pyramid.levels[s];
            let parents = parts.bands.get(s + 1).map(|bands| Parents::of(pyramid, s, bands));
            self.magnitudes(pyramid, s, &mut parts.bands[s], parents.as_ref())?;
            let mut coefficients: Vec<Vec<f64>> = parts.bands[s].iter().map(|b| real(b)).collect();
            centre(&mut coefficients);
            let octave = &self.octaves[s];
            let (fixed, cross) = match (&parents, &octave.parents) {
                (Some(parents), Some((_, cross))) => (parents.phases.as_slice(), Some(cross)),
                _ => (&[][..], None),
            };
            match_covariance(&mut coefficients, &octave.coefficients, fixed, cross)?;
            let spectra: Vec<Vec<Complex>> = coefficients.iter().map(|c| level.forward(c)).collect();
            for (k, spectrum) in spectra.iter().enumerate() {
                parts.bands[s][k] = level.analytic(spectrum, k);
            }
            next = level.combine(&spectra, &next);
            self.scale(&level.fft, level.size, &mut next, s)?;
        }
        let n = image.len() as f64;
        let power = parts.high.iter().map(|c| c.norm_sqr()).sum::<f64>() / (n * n);
        if power > 0.0 {
            let factor = (self.high / power).sqrt();
            parts.high.iter_mut().for_each(|c| *c *= factor);
        }
        let mut image = pyramid.synthesise(&next, &parts.high);
        self.marginal(&mut image);
        Ok(image)
    }

    /// Gives the magnitudes of an octave their means, autocorrelations and covariances; phases stay.
    fn magnitudes(
        &self,
        pyramid: &Pyramid,
        s: usize,
        bands: &mut [Vec<Complex>],
        parents: Option<&Parents>,
    ) -> Result<()> {
        let (level, octave) = (&pyramid.levels[s], &self.octaves[s]);
        let old = magnitudes(bands);
        let mut new = old.clone();
        centre(&mut new);
        let (fixed, cross) = match (parents, &octave.parents) {
            (Some(parents), Some((cross, _))) => (parents.magnitudes.as_slice(), Some(cross)),
            _ => (&[][..], None),
        };
        match_covariance(&mut new, &octave.magnitudes, fixed, cross)?;
        let lags = lags(self.reaches[s]);
        for (k, plane) in new.iter_mut().enumerate() {
            let mut spectrum = level.forward(plane);
            match_autocovariance(&level.fft, level.size, &mut spectrum, &lags, &octave.autocovariance[k])?;
            *plane = level.inverse(spectrum);
            for ((c, old), new) in bands[k].iter_mut().zip(&old[k]).zip(plane.iter()) {
                let wanted = (new + octave.means[k]).max(0.0);
                *c = if *old > 1e-12 { *c * (wanted / old) } else { Complex::new(wanted, 0.0) };
            }
        }
        Ok(())
    }

    /// Gives the image at one scale, as its spectrum, its autocorrelation, skewness and kurtosis.
    fn scale(&self, fft: &Fft2, size: (usize, usize), spectrum: &mut Vec<Complex>, s: usize) -> Result<()> {
        let target = &self.scales[s];
        let mean = spectrum[0];
        spectrum[0] = Complex::default();
        if target.marginal.variance > NOTHING * self.pixels.variance {
            match_autocovariance(fft, size, spectrum, &lags(self.reaches[s]), &target.autocovariance)?;
            fft.inverse(spectrum);
            let mut plane = real(spectrum);
            match_skewness(&mut plane, target.marginal.skewness);
            match_kurtosis(&mut plane, target.marginal.kurtosis);
            *spectrum = complex(&plane);
            fft.forward(spectrum);
        }
        spectrum[0] = mean;
        Ok(())
    }

    /// Gives pixels their mean, variance, skewness, kurtosis and range.
    fn marginal(&self, image: &mut [f64]) {
        let now = Marginal::of(image);
        let factor = (self.pixels.variance / now.variance.max(1e-300)).sqrt();
        image.iter_mut().for_each(|v| *v = factor * (*v - now.mean));
        match_skewness(image, self.pixels.skewness);
        match_kurtosis(image, self.pixels.kurtosis);
        let [low, high] = self.range;
        image.iter_mut().for_each(|v| *v = (*v + self.pixels.mean).clamp(low, high));
    }
}

/// The largest correlation of two pictures of one size over all circular shifts: 1 for a copy,
/// however moved, and about 0 for pictures that share statistics only. 0 where one is uniform.
///
/// # Errors
/// When the sizes differ.
pub fn similarity(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Result<f64> {
    if a.dim() != b.dim() || a.is_empty() {
        return Err(dina_core::Error::shape("pictures to compare", a.dim(), b.dim()).into());
    }
    let spectral = Spectral::new(a.dim(), Border::Periodic);
    let [mut x, mut y] = [a, b].map(|image| spectral.analyse(image));
    (x[0], y[0]) = (Complex::default(), Complex::default());
    let energy = |s: &[Complex]| s.iter().map(|c| c.norm_sqr()).sum::<f64>();
    let scale = (energy(&x) * energy(&y)).sqrt();
    if scale <= 0.0 {
        return Ok(0.0);
    }
    let n = x.len() as f64;
    let product: Vec<Complex> = x.iter().zip(&y).map(|(a, b)| a * b.conj() * (n / scale)).collect();
    let mut plane = Array2::zeros(a.dim());
    spectral.synthesise(product, plane.view_mut());
    Ok(plane.iter().fold(f64::MIN, |most, &v| most.max(f64::from(v))))
}
