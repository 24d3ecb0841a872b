use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::super::fourier::{Complex, Fft2};
use super::super::stack::refused;
use super::TextureConfig;
use super::pyramid::{Parts, Pyramid, complex, real};
use crate::Result;

/// A group of the statistics of a texture, by the part of its appearance that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StatisticsGroup {
    /// Mean, standard deviation, skewness, kurtosis and range of the pixels.
    Pixels,
    /// Skewness and kurtosis of the image at every scale.
    ScaleMarginals,
    /// Autocorrelation of the image at every scale: periodicity and the spectrum.
    Autocorrelation,
    /// Variance of the high-pass residual.
    HighPass,
    /// Mean magnitude of every band.
    MagnitudeMeans,
    /// Autocorrelation of the magnitude of every band: where structure repeats.
    MagnitudeAutocorrelation,
    /// Covariance of magnitudes between orientations: corners and crossings.
    MagnitudeAcrossOrientations,
    /// Covariance of magnitudes between neighbouring scales: edges and lines.
    MagnitudeAcrossScales,
    /// Covariance of the real parts of bands between orientations.
    CoefficientsAcrossOrientations,
    /// Covariance of real parts with the phase-doubled band one scale coarser: the polarity of
    /// edges, and shading.
    PhaseAcrossScales,
}

/// How far one group of statistics is from that of another image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupError {
    /// The group.
    pub group: StatisticsGroup,
    /// Number of statistics in it.
    pub count: usize,
    /// Euclidean distance of the statistics over the length of those aimed at, each in the units
    /// of the energies aimed at: 0 is equal, 1 as far as if all were 0. Where those aimed at are
    /// hardly there (a root mean square below a hundredth of the unit), over that hundredth.
    pub error: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Marginal {
    pub mean: f64,
    pub variance: f64,
    pub skewness: f64,
    pub kurtosis: f64,
}

impl Marginal {
    pub fn of(values: &[f64]) -> Self {
        let n = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / n;
        let moment = |order: i32| values.iter().map(|v| (v - mean).powi(order)).sum::<f64>() / n;
        let variance = moment(2);
        let scaled = |order: i32| {
            if variance > 0.0 { moment(order) / variance.powf(f64::from(order) / 2.0) } else { 0.0 }
        };
        Self { mean, variance, skewness: scaled(3), kurtosis: scaled(4) }
    }
}

/// The image at one scale: its low-pass version there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    pub marginal: Marginal,
    /// Circular autocovariance at [`lags`].
    pub autocovariance: Vec<f64>,
}

/// The bands of one octave.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Octave {
    pub means: Vec<f64>,
    pub autocovariance: Vec<Vec<f64>>,
    pub magnitudes: Array2<f64>,
    pub coefficients: Array2<f64>,
    /// With the next coarser octave, where there is one: magnitudes x magnitudes, then real parts x
    /// (real, then imaginary parts of the phase-doubled bands).
    pub parents: Option<(Array2<f64>, Array2<f64>)>,
    /// Variances of the phase-doubled parts of the next coarser octave.
    pub phase_energies: Vec<f64>,
}

/// The statistics of a texture after Portilla & Simoncelli (2000): what two pictures have to share to
/// look like the same texture at a glance.
///
/// Taken on a complex steerable pyramid of [`TextureConfig::scales`] octaves and
/// [`TextureConfig::orientations`]; octave `s` (from 0) is centred on `2^-s / (4 d)` cycles per
/// degree with `d` the degrees of a pixel. The image counts as periodic.
///
/// ```
/// use dina_core::Seed;
/// use dina_data::stimulus::{TextureConfig, TextureStatistics};
/// use ndarray::Array2;
///
/// let stripes = Array2::from_shape_fn((32, 32), |(y, x)| ((x + y / 4) % 8) as f32 * 20.0);
/// let config = TextureConfig { scales: 2, iterations: 5, ..TextureConfig::default() };
/// let target = TextureStatistics::measure(stripes.view(), &config)?;
/// let (picture, report) = target.synthesise((32, 48), Seed::new(1))?;
/// assert_eq!(picture.dim(), (32, 48));
/// assert!(report.worst() < 1.0);
/// # Ok::<(), dina_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TextureStatistics {
    pub(super) config: TextureConfig,
    pub(super) reaches: Vec<usize>,
    pub(super) pixels: Marginal,
    pub(super) range: [f64; 2],
    pub(super) high: f64,
    /// Octaves, then the low-pass residual.
    pub(super) scales: Vec<Scale>,
    pub(super) octaves: Vec<Octave>,
}

impl TextureStatistics {
    /// Measures the statistics of an image, height x width. What is beyond the largest multiple of
    /// `2^scales` rows and columns, in the middle, is left out.
    ///
    /// # Errors
    /// When the image is uniform or too small for so many scales (the low-pass residual needs
    /// 4 x 4 pixels), or a parameter is out of range.
    pub fn measure(image: ArrayView2<'_, f32>, config: &TextureConfig) -> Result<Self> {
        config.check()?;
        let (height, width) = image.dim();
        let cut = |n: usize| n >> config.scales << config.scales;
        let size = (cut(height), cut(width));
        if size.0 >> config.scales < 4 || size.1 >> config.scales < 4 {
            return Err(refused(
                "image of a texture",
                format!("at least {0} x {0} pixels for {1} scales", 4 << config.scales, config.scales),
                format!("{height} x {width}; ask for fewer scales"),
            ));
        }
        let (top, left) = ((height - size.0) / 2, (width - size.1) / 2);
        let pixels: Vec<f64> =
            (0..size.0 * size.1).map(|i| f64::from(image[[top + i / size.1, left + i % size.1]])).collect();
        let pyramid = Pyramid::new(size, config.scales, config.orientations);
        Self::of(&pyramid, &pixels, config, &reaches(size, config))
    }

    pub(super) fn of(
        pyramid: &Pyramid,
        pixels: &[f64],
        config: &TextureConfig,
        reaches: &[usize],
    ) -> Result<Self> {
        let marginal = Marginal::of(pixels);
        if marginal.variance.is_nan() || marginal.variance <= 1e-12 * marginal.mean.powi(2).max(1e-6) {
            return Err(refused("image of a texture", "pixels that differ", "a uniform image"));
        }
        let parts = pyramid.analyse(pixels);
        let n = pixels.len() as f64;
        let range = pixels.iter().fold([f64::MAX, f64::MIN], |[low, high], &v| [low.min(v), high.max(v)]);
        let mut scales: Vec<Scale> = Vec::new();
        for ((level, spectrum), &reach) in pyramid.levels.iter().zip(&parts.spectra).zip(reaches) {
            scales.push(Scale::of(&level.fft, level.size, &level.inverse(spectrum.clone()), reach));
        }
        scales.push(Scale::of(&pyramid.last, pyramid.last_size, &parts.low, reaches[config.scales]));
        Ok(Self {
            config: *config,
            reaches: reaches.to_vec(),
            pixels: marginal,
            range,
            high: parts.high.iter().map(|c| c.norm_sqr()).sum::<f64>() / (n * n),
            scales,
            octaves: (0..config.scales).map(|s| Octave::of(pyramid, &parts, s, reaches[s])).collect(),
        })
    }

    /// All statistics as numbers, in units of the energies of `unit` and in an order that only depends on it: features that
    /// compare images with each other. Take one image as the unit of all.
    pub fn relative_to(&self, unit: &Self) -> Vec<f64> {
        self.groups(unit).into_iter().flat_map(|(_, values)| values).collect()
    }

    /// How far the statistics of another image are from these, group by group.
    ///
    /// # Errors
    /// When they were taken with another configuration or their numbers differ because of the size
    /// of the image.
    pub fn compare(&self, other: &Self) -> Result<Vec<GroupError>> {
        let (wanted, found) = (self.groups(self), other.groups(self));
        let agree = wanted.len() == found.len()
            && wanted.iter().zip(&found).all(|((a, x), (b, y))| a == b && x.len() == y.len());
        if !agree {
            return Err(refused(
                "statistics to compare",
                "of the same scales and neighbourhood",
                "other ones",
            ));
        }
        Ok(wanted
            .into_iter()
            .zip(found)
            .map(|((group, wanted), (_, found))| {
                let distance: f64 = wanted.iter().zip(&found).map(|(a, b)| (a - b).powi(2)).sum();
                let length: f64 = wanted.iter().map(|a| a * a).sum();
                let least = (wanted.len() as f64 * HUNDREDTH * HUNDREDTH).max(f64::MIN_POSITIVE);
                GroupError { group, count: wanted.len(), error: (distance / length.max(least)).sqrt() }
            })
            .collect())
    }

    /// Every statistic in units of the energies of `unit`: variances, and for magnitudes, which have a
    /// mean, mean squares.
    fn groups(&self, unit: &Self) -> Vec<(StatisticsGroup, Vec<f64>)> {
        use StatisticsGroup as G;
        let sd = unit.pixels.variance.sqrt();
        let p = &self.pixels;
        let mut groups = vec![
            (
                G::Pixels,
                vec![
                    (p.mean - unit.pixels.mean) / sd + 1.0,
                    p.variance.sqrt() / sd,
                    p.skewness,
                    p.kurtosis,
                    (self.range[0] - unit.pixels.mean) / sd,
                    (self.range[1] - unit.pixels.mean) / sd,
                ],
            ),
            (G::ScaleMarginals, Vec::new()),
            (G::Autocorrelation, Vec::new()),
            (G::HighPass, vec![self.high / unit.high.max(UNSEEN * unit.pixels.variance)]),
            (G::MagnitudeMeans, Vec::new()),
            (G::MagnitudeAutocorrelation, Vec::new()),
            (G::MagnitudeAcrossOrientations, Vec::new()),
            (G::MagnitudeAcrossScales, Vec::new()),
            (G::CoefficientsAcrossOrientations, Vec::new()),
            (G::PhaseAcrossScales, Vec::new()),
        ];
        let mut add = |group: G, values: &mut dyn Iterator<Item = f64>| {
            if let Some((_, all)) = groups.iter_mut().find(|(g, _)| *g == group) {
                all.extend(values);
            }
        };
        for (scale, unit_scale) in self.scales.iter().zip(&unit.scales) {
            let variance = unit_scale.marginal.variance.max(f64::MIN_POSITIVE);
            if unit_scale.marginal.variance > UNSEEN * unit.pixels.variance {
                add(G::ScaleMarginals, &mut [scale.marginal.skewness, scale.marginal.kurtosis].into_iter());
                add(G::Autocorrelation, &mut scale.autocovariance.iter().map(|a| a / variance));
            }
        }
        for (s, (octave, unit_octave)) in self.octaves.iter().zip(&unit.octaves).enumerate() {
            let floor = UNSEEN * sd * sd;
            let root = |v: f64| v.max(floor).sqrt();
            let energies = |octave: &Octave| -> Vec<f64> {
                octave.magnitudes.diag().iter().zip(&octave.means).map(|(v, m)| root(v + m * m)).collect()
            };
            let magnitude = energies(unit_octave);
            let coefficient: Vec<f64> = unit_octave.coefficients.diag().iter().map(|&v| root(v)).collect();
            add(
                G::MagnitudeMeans,
                &mut octave.means.iter().zip(&unit_octave.means).map(|(m, u)| m / u.max(floor.sqrt())),
            );
            for (values, m) in octave.autocovariance.iter().zip(&magnitude) {
                add(G::MagnitudeAutocorrelation, &mut values.iter().map(|v| v / (m * m)));
            }
            let square = |matrix: &Array2<f64>, rows: &[f64], columns: &[f64]| -> Vec<f64> {
                matrix.indexed_iter().map(|((i, j), v)| v / (rows[i] * columns[j])).collect()
            };
            add(
                G::MagnitudeAcrossOrientations,
                &mut square(&octave.magnitudes, &magnitude, &magnitude).into_iter(),
            );
            add(
                G::CoefficientsAcrossOrientations,
                &mut square(&octave.coefficients, &coefficient, &coefficient).into_iter(),
            );
            if let Some((across, phase)) = &octave.parents {
                let parent = unit.octaves.get(s + 1).map(energies).unwrap_or_default();
                let phases: Vec<f64> = unit_octave.phase_energies.iter().map(|&v| root(v)).collect();
                add(G::MagnitudeAcrossScales, &mut square(across, &magnitude, &parent).into_iter());
                add(G::PhaseAcrossScales, &mut square(phase, &coefficient, &phases).into_iter());
            }
        }
        groups
    }
}

/// Least root mean square of statistics, in their units, that an error is a share of.
const HUNDREDTH: f64 = 0.01;

/// Variances below this share of that of the pixels (a hundredth of the contrast) are no unit to
/// measure in: what differs in an empty band is not seen.
const UNSEEN: f64 = 1e-4;

/// Below this share of the variance of the pixels, a band holds nothing but rounding and is left
/// alone.
pub(super) const NOTHING: f64 = 1e-7;

impl Scale {
    fn of(fft: &Fft2, size: (usize, usize), plane: &[f64], reach: usize) -> Self {
        let marginal = Marginal::of(plane);
        let centred: Vec<f64> = plane.iter().map(|v| v - marginal.mean).collect();
        Self { marginal, autocovariance: autocovariance(fft, &centred, &lags(reach), size) }
    }
}

impl Octave {
    fn of(pyramid: &Pyramid, parts: &Parts, s: usize, reach: usize) -> Self {
        let level = &pyramid.levels[s];
        let mut magnitudes = magnitudes(&parts.bands[s]);
        let means = centre(&mut magnitudes);
        let lags = lags(reach);
        let coefficients: Vec<Vec<f64>> = parts.bands[s].iter().map(|b| real(b)).collect();
        let parents = parts.bands.get(s + 1).map(|bands| Parents::of(pyramid, s, bands));
        let variances = |planes: &[Vec<f64>]| covariance(planes, planes).diag().to_vec();
        Self {
            means,
            autocovariance: magnitudes
                .iter()
                .map(|m| autocovariance(&level.fft, m, &lags, level.size))
                .collect(),
            phase_energies: parents.as_ref().map(|p| variances(&p.phases)).unwrap_or_default(),
            parents: parents
                .map(|p| (covariance(&magnitudes, &p.magnitudes), covariance(&coefficients, &p.phases))),
            magnitudes: covariance(&magnitudes, &magnitudes),
            coefficients: covariance(&coefficients, &coefficients),
        }
    }
}

/// The bands of the next coarser octave on the grid of a finer one.
pub(super) struct Parents {
    /// Magnitudes, centred.
    pub magnitudes: Vec<Vec<f64>>,
    /// Real, then imaginary parts after doubling the phase: a feature turns its phase twice as fast
    /// in a band of twice the frequency.
    pub phases: Vec<Vec<f64>>,
}

impl Parents {
    /// `bands` are those of octave `s + 1`.
    pub fn of(pyramid: &Pyramid, s: usize, bands: &[Vec<Complex>]) -> Self {
        let next = &pyramid.levels[s + 1].fft;
        let wide: Vec<Vec<Complex>> = bands.iter().map(|b| pyramid.levels[s].expand(next, b)).collect();
        let mut magnitudes = magnitudes(&wide);
        centre(&mut magnitudes);
        let doubled: Vec<Vec<Complex>> =
            wide.iter().map(|band| band.iter().map(|c| c * c / c.norm().max(1e-12)).collect()).collect();
        let imaginary = doubled.iter().map(|b| b.iter().map(|c| c.im).collect());
        let mut phases: Vec<Vec<f64>> = doubled.iter().map(|b| real(b)).chain(imaginary).collect();
        centre(&mut phases);
        Self { magnitudes, phases }
    }
}

pub(super) fn magnitudes(bands: &[Vec<Complex>]) -> Vec<Vec<f64>> {
    bands.iter().map(|band| band.iter().map(|c| c.norm()).collect()).collect()
}

/// Subtracts the mean of each plane; the means.
pub(super) fn centre(planes: &mut [Vec<f64>]) -> Vec<f64> {
    planes
        .iter_mut()
        .map(|plane| {
            let mean = plane.iter().sum::<f64>() / plane.len().max(1) as f64;
            plane.iter_mut().for_each(|v| *v -= mean);
            mean
        })
        .collect()
}

/// Mean products of planes that are centred.
pub(super) fn covariance(a: &[Vec<f64>], b: &[Vec<f64>]) -> Array2<f64> {
    Array2::from_shape_fn((a.len(), b.len()), |(i, j)| {
        a[i].iter().zip(&b[j]).map(|(x, y)| x * y).sum::<f64>() / a[i].len().max(1) as f64
    })
}

/// How far autocovariances reach at every scale, low-pass residual last: half the neighbourhood,
/// less where the plane is too small for lags to be told apart.
pub(super) fn reaches((height, width): (usize, usize), config: &TextureConfig) -> Vec<usize> {
    let most = |s: usize| ((height.min(width) >> s) / 2).saturating_sub(1);
    (0..=config.scales).map(|s| (config.neighbourhood / 2).min(most(s))).collect()
}

/// The lags of a neighbourhood, one of each pair of opposites, 0 first: down 0 to `reach`, across
/// `-reach` to `reach`.
pub(super) fn lags(reach: usize) -> Vec<(isize, isize)> {
    let reach = reach as isize;
    (0..=reach)
        .flat_map(|y| (-reach..=reach).map(move |x| (y, x)))
        .filter(|&(y, x)| y > 0 || x >= 0)
        .collect()
}

/// Circular autocovariance of a centred plane at these lags.
fn autocovariance(fft: &Fft2, plane: &[f64], lags: &[(isize, isize)], size: (usize, usize)) -> Vec<f64> {
    let mut spectrum = complex(plane);
    fft.forward(&mut spectrum);
    let power: Vec<f64> = spectrum.iter().map(|c| c.norm_sqr()).collect();
    let all = from_power(fft, &power);
    lags.iter().map(|&lag| at(&all, size, lag)).collect()
}

/// The circular autocovariance at every lag, from the power spectrum.
pub(super) fn from_power(fft: &Fft2, power: &[f64]) -> Vec<f64> {
    let mut plane: Vec<Complex> = power.iter().map(|&p| Complex::new(p / power.len() as f64, 0.0)).collect();
    fft.inverse(&mut plane);
    real(&plane)
}

pub(super) fn at(plane: &[f64], (height, width): (usize, usize), (y, x): (isize, isize)) -> f64 {
    let (y, x) = (y.rem_euclid(height as isize) as usize, x.rem_euclid(width as isize) as usize);
    plane[y * width + x]
}
