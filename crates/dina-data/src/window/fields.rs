use dina_core::Seed;
use ndarray::{Array2, Axis, concatenate, s};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::estimate::{WindowConfig, WindowEstimate, WindowSource};
use super::regression::{FOLDS, IMAGES, PENALTIES, Ridge, features, folds, grid, shuffled_within, z_score};
use crate::linear::{moments, product};
use crate::view::{Train, View};
use crate::{Error, Images, Result};

/// How [`ReceptiveFields::fit`] looks for receptive fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FieldConfig {
    /// How the window is found in which the fields are looked for; its seed is that of all draws here.
    pub window: WindowConfig,
    /// Square cells that the window is divided into, about.
    pub cells: usize,
    /// Share of neurons with a centre that may be without a receptive field (Benjamini & Hochberg
    /// 1995); above 0, below 1.
    pub false_discovery: f64,
}

impl Default for FieldConfig {
    /// The default window, 150 cells, a false-discovery rate of 5 %. On simulated cortex 300 and 600 cells
    /// placed centres worse: fields are larger than a cell either way.
    fn default() -> Self {
        Self { window: WindowConfig::default(), cells: 150, false_discovery: 0.05 }
    }
}

/// The receptive field of one neuron.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReceptiveField {
    /// Row and column of the centre, in degrees from the upper left corner of the image; `None`
    /// where the neuron is not predicted, or from no place in particular.
    pub centre: Option<[f32; 2]>,
    /// Pearson correlation of predicted and measured mean responses to training images that the
    /// prediction was not fitted on: the quality of the field.
    pub correlation: f64,
    /// Part of shuffles of the images that predict this neuron as well, the truth counted as one.
    pub p: f64,
    /// `p` adjusted for the number of neurons (Benjamini & Hochberg 1995).
    pub q: f64,
    /// How far the highest place of the map of weights stands out: its energy over that of the most
    /// negative place, which is noise. Above 1 where there is a centre.
    pub contrast: f64,
}

/// The receptive fields of a population, and the window around them.
///
/// On the simulated population `v1` (fields of 16 degrees full width at half maximum, two repeats),
/// 249 of 273 neurons that depend on the image got a centre from 2,800 images, with a median error of
/// 3.8 degrees (2.7 from the mean of the subunits that make up the field); from 1,500 images 204,
/// with 4.1 degrees.
///
/// ```
/// use dina_data::simulate::{SimulationConfig, simulate};
/// use dina_data::{FieldConfig, Preset, ReceptiveFields, Split, SplitConfig};
///
/// let config = SimulationConfig { neurons: 20, images: 80, height: 32, width: 48, ..SimulationConfig::default() };
/// let simulated = simulate(&config, &|_| ())?;
/// let (recording, images) = (&simulated.recording, &simulated.images);
/// let split = Split::draw(recording, &(0..80).collect::<Vec<_>>(), &SplitConfig::default())?;
/// let views = split.views(recording)?;
/// let responses = Preset::Standard.fit(&views.train)?.apply(recording)?;
/// let fields = ReceptiveFields::fit(&views.train, images, &responses, &FieldConfig::default())?;
/// let crop = images.crop_resize(&fields.window.window, 2.0)?; // what the population sees
/// assert_eq!((fields.fields.len(), crop.dim().0), (responses.ncols(), 80));
/// # Ok::<(), dina_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceptiveFields {
    /// The part of the image to use. Where it is the whole image because responses could not be
    /// predicted, neurons are judged one by one all the same.
    pub window: WindowEstimate,
    /// One per column of the responses.
    pub fields: Vec<ReceptiveField>,
    /// Ridge penalty that was chosen, as a multiple of the number of images.
    pub penalty: f64,
    /// Rank that was chosen; `None` is full.
    pub rank: Option<usize>,
    /// Height and width of a cell, in degrees: centres are not better than a part of it.
    pub cell: [f32; 2],
    /// Why no neuron has a centre, where none has.
    pub reason: Option<String>,
}

/// Ranks tried; `usize::MAX` is full.
const RANKS: [usize; 6] = [2, 5, 10, 20, 50, usize::MAX];
/// Shuffles against which each neuron is tested.
const SHUFFLES: usize = 999;
/// Random halvings over which maps are averaged.
const HALVINGS: usize = 4;
/// Standard deviations tried for the smoothing of maps, in cells.
const SMOOTHING: [f64; 4] = [1.0, 1.5, 2.25, 3.4];

impl ReceptiveFields {
    /// Estimates the window that drives the population and where in it each neuron looks.
    ///
    /// `responses` holds one row per presentation of the recording, preprocessed. Only the training
    /// images and trials are used.
    ///
    /// [`WindowEstimate`] gives the window. Within it, ridge regression of reduced rank predicts the
    /// mean responses, z-scored, from the mean grey and the standard deviation of grey of each cell.
    /// Penalty and rank are those that predict other training images best; for each fold they are
    /// chosen on the other folds, and each neuron is tested against shuffled images. The map of a
    /// neuron is `b1 b2`, summed over both kinds of features, with `b1` and `b2` its weights from two
    /// disjoint halves of the images, so that noise adds nothing on average (the mean over four
    /// halvings). The centre is where the smoothed map is highest, refined by its centre of mass
    /// there; it is given where the adjusted p is within the false-discovery rate and the map is
    /// higher there than it is negative anywhere.
    ///
    /// # Errors
    /// When `images` or `responses` do not belong to the recording or the configuration is out of
    /// range.
    pub fn fit(
        train: &View<'_, Train>,
        images: &Images,
        responses: &Array2<f32>,
        config: &FieldConfig,
    ) -> Result<Self> {
        if config.cells == 0 || !(config.false_discovery > 0.0 && config.false_discovery < 1.0) {
            return Err(Error::Core(dina_core::Error::value(
                "receptive-field cells and false-discovery rate",
                "at least 1, and above 0 and below 1",
                format!("{} and {}", config.cells, config.false_discovery),
            )));
        }
        let window = WindowEstimate::fit(train, images, responses, &config.window)?;
        let seed = config.window.seed.child("fields");
        let grid = grid(&window.window, config.cells);
        let [top, left, height, width] = window.window.degrees();
        let cell = [height / grid.0 as f32, width / grid.1 as f32];
        let mut y = train.repeat_means(responses)?;
        z_score(&mut y);
        if train.len() < IMAGES {
            let none = ReceptiveField { centre: None, correlation: 0.0, p: 1.0, q: 1.0, contrast: 0.0 };
            return Ok(Self {
                reason: Some(format!("{} training images are too few, {IMAGES} needed", train.len())),
                fields: vec![none; y.ncols()],
                penalty: PENALTIES[PENALTIES.len() - 1],
                rank: None,
                window,
                cell,
            });
        }
        let x = features(train, images, &window.window, grid);
        let Validation { choice, correlations, p } = Validation::of(&x, &y, &seed)?;
        let q = adjusted(&p);
        let maps = maps(&x, &y, choice, &seed)?;
        let fields: Vec<ReceptiveField> = maps
            .axis_iter(Axis(1))
            .into_par_iter()
            .enumerate()
            .map(|(n, map)| {
                let map: Vec<f64> = map.to_vec();
                let (place, contrast) = peak(&map, grid);
                let found = q[n] <= config.false_discovery && contrast > 1.0;
                let centre = [top + cell[0] * place[0] as f32, left + cell[1] * place[1] as f32];
                ReceptiveField {
                    centre: found.then_some(centre),
                    correlation: correlations[n],
                    p: p[n],
                    q: q[n],
                    contrast,
                }
            })
            .collect();
        let reason = fields.iter().all(|f| f.centre.is_none()).then(|| match &window.source {
            WindowSource::WholeImage { reason } => reason.clone(),
            WindowSource::ReceptiveField { .. } => {
                "no neuron by itself is predicted from a place that stands out".to_owned()
            }
        });
        let rank = (RANKS[choice.1] < usize::MAX).then(|| RANKS[choice.1]);
        Ok(Self { window, fields, penalty: PENALTIES[choice.0], rank, cell, reason })
    }
}

/// A penalty and a rank, by number.
type Choice = (usize, usize);

struct Validation {
    /// The best on all folds, for the maps.
    choice: Choice,
    correlations: Vec<f64>,
    p: Vec<f64>,
}

impl Validation {
    fn of(x: &Array2<f32>, y: &Array2<f32>, seed: &Seed) -> Result<Self> {
        let folds = folds(x.nrows(), seed);
        let fitted: Vec<Fitted> =
            folds.par_iter().map(|held_out| Fitted::new(x, y, held_out)).collect::<Result<_>>()?;
        let all: Vec<Choice> =
            (0..PENALTIES.len()).flat_map(|p| (0..RANKS.len()).map(move |r| (p, r))).collect();
        // scores[fold][choice]: mean correlation over neurons.
        let scores: Vec<Vec<f64>> = fitted
            .par_iter()
            .zip(&folds)
            .map(|(fitted, held_out)| {
                let measured = y.select(Axis(0), held_out);
                all.iter().map(|&choice| mean(&correlations(&fitted.predict(choice), &measured))).collect()
            })
            .collect();
        let best = |without: Option<usize>| {
            let score =
                |c: usize| -> f64 { (0..FOLDS).filter(|&f| Some(f) != without).map(|f| scores[f][c]).sum() };
            // The first of equals: the smaller rank.
            let best = (1..all.len()).fold(0, |best, c| if score(c) > score(best) { c } else { best });
            all[best]
        };
        let parts: Vec<Array2<f32>> =
            fitted.iter().enumerate().map(|(fold, fitted)| fitted.predict(best(Some(fold)))).collect();
        let views: Vec<_> = parts.iter().map(|p| p.view()).collect();
        let mut predicted = concatenate(Axis(0), &views)
            .map_err(|e| Error::Core(dina_core::Error::value("folds", "equal widths", e)))?;
        let mut measured = y.select(Axis(0), &folds.concat());
        // Once z-scored, a correlation is a mean of products in any order of the rows.
        z_score(&mut predicted);
        z_score(&mut measured);
        let (correlations, _) = moments((&predicted * &measured).view());
        let beaten = (0..SHUFFLES)
            .into_par_iter()
            .map(|i| {
                let order = shuffled_within(&folds, &seed.child("shuffles").index(i));
                let mut sums = vec![0.0f64; y.ncols()];
                for (row, &other) in order.iter().enumerate() {
                    let pairs = predicted.row(row).into_iter().zip(measured.row(other));
                    sums.iter_mut().zip(pairs).for_each(|(s, (a, b))| *s += f64::from(a * b));
                }
                let n = order.len() as f64;
                sums.iter().zip(&correlations).map(|(s, r)| u32::from(s / n >= *r)).collect::<Vec<_>>()
            })
            .reduce(
                || vec![0; y.ncols()],
                |mut a, b| {
                    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                    a
                },
            );
        let p = beaten.iter().map(|&b| f64::from(1 + b) / (1 + SHUFFLES) as f64).collect();
        Ok(Self { choice: best(None), correlations, p })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Column by column; 0 where one is constant.
fn correlations(a: &Array2<f32>, b: &Array2<f32>) -> Vec<f64> {
    let (mut a, mut b) = (a.clone(), b.clone());
    z_score(&mut a);
    z_score(&mut b);
    moments((a * b).view()).0
}

/// Regressions fitted on all but one fold.
struct Fitted {
    /// Images held out x components.
    seen: Array2<f32>,
    /// Per penalty components x neurons, and neurons x the most directions that a rank asks for.
    penalties: Vec<(Array2<f32>, Array2<f32>)>,
}

impl Fitted {
    fn new(x: &Array2<f32>, y: &Array2<f32>, held_out: &[usize]) -> Result<Self> {
        let kept: Vec<usize> = (0..x.nrows()).filter(|i| !held_out.contains(i)).collect();
        let ridge = Ridge::new(x.select(Axis(0), &kept).view())?;
        let y = y.select(Axis(0), &kept);
        let most = RANKS.iter().copied().filter(|&r| r < usize::MAX).max().unwrap_or(1);
        let penalties = PENALTIES
            .iter()
            .map(|&penalty| {
                let coordinates = ridge.coordinates(y.view(), penalty);
                let directions = ridge.directions(&coordinates, penalty, most)?;
                Ok((coordinates, directions))
            })
            .collect::<Result<_>>()?;
        let seen = product(x.select(Axis(0), held_out).view(), ridge.svd.right.view());
        Ok(Self { seen, penalties })
    }

    fn predict(&self, (penalty, rank): Choice) -> Array2<f32> {
        let (coordinates, directions) = &self.penalties[penalty];
        reduced(&product(self.seen.view(), coordinates.view()), directions, RANKS[rank])
    }
}

/// Rows x neurons, projected on the first directions.
fn reduced(rows: &Array2<f32>, directions: &Array2<f32>, rank: usize) -> Array2<f32> {
    if rank == usize::MAX {
        return rows.clone();
    }
    let directions = directions.slice(s![.., ..rank.min(directions.ncols())]);
    product(product(rows.view(), directions).view(), directions.t())
}

/// Cells x neurons: products of the weights from two halves of the images.
fn maps(x: &Array2<f32>, y: &Array2<f32>, (penalty, rank): Choice, seed: &Seed) -> Result<Array2<f64>> {
    let cells = x.ncols() / 2;
    let (penalty, rank) = (PENALTIES[penalty], RANKS[rank]);
    let mut sum = Array2::<f64>::zeros((cells, y.ncols()));
    for halving in 0..HALVINGS {
        let mut order: Vec<usize> = (0..x.nrows()).collect();
        order.shuffle(&mut seed.child("halves").index(halving).stream("order"));
        let (a, b) = order.split_at(order.len() / 2);
        let weights = |images: &[usize]| -> Result<Array2<f32>> {
            let ridge = Ridge::new(x.select(Axis(0), images).view())?;
            let coordinates = ridge.coordinates(y.select(Axis(0), images).view(), penalty);
            let directions = match rank {
                usize::MAX => Array2::zeros((0, 0)),
                rank => ridge.directions(&coordinates, penalty, rank)?,
            };
            Ok(product(ridge.svd.right.view(), reduced(&coordinates, &directions, rank).view()))
        };
        let both = weights(a)? * weights(b)?;
        sum.zip_mut_with(&both.slice(s![..cells, ..]), |s, v| *s += f64::from(*v));
        sum.zip_mut_with(&both.slice(s![cells.., ..]), |s, v| *s += f64::from(*v));
    }
    Ok(sum)
}

/// Where a map is highest, in cells from its upper left corner (the middle of the first cell is at
/// 1/2), and how far it stands out from its most negative place. The map is smoothed by the Gaussian,
/// of norm 1, that makes the peak highest: the matched filter for a field of that size in white
/// noise.
fn peak(map: &[f64], grid: (usize, usize)) -> ([f64; 2], f64) {
    let highest =
        |smooth: &[f64]| (0..map.len()).fold(0, |best, i| if smooth[i] > smooth[best] { i } else { best });
    let mut best: Option<(f64, Vec<f64>, usize)> = None;
    for sigma in SMOOTHING {
        let smooth = smoothed(map, grid, sigma);
        let top = highest(&smooth);
        if best.as_ref().is_none_or(|(_, other, place)| smooth[top] > other[*place]) {
            best = Some((sigma, smooth, top));
        }
    }
    let Some((sigma, smooth, top)) = best else {
        return ([0.0; 2], 0.0);
    };
    let noise = smooth.iter().fold(0.0f64, |most, v| most.max(-v));
    let contrast = if smooth[top] <= 0.0 { 0.0 } else { smooth[top] / noise.max(1e-3 * smooth[top]) };
    let columns = grid.1;
    let mut place = [(top / columns) as f64, (top % columns) as f64];
    // The centre of what is positive around the peak, moved there a few times.
    for _ in 0..10 {
        let mut sums = [0.0; 3];
        for (i, v) in map.iter().enumerate() {
            let (y, x) = ((i / columns) as f64, (i % columns) as f64);
            let weight = v.max(0.0) * gauss(y - place[0], 1.5 * sigma) * gauss(x - place[1], 1.5 * sigma);
            sums = [sums[0] + weight, sums[1] + weight * y, sums[2] + weight * x];
        }
        if sums[0] > 0.0 {
            place = [sums[1] / sums[0], sums[2] / sums[0]];
        }
    }
    ([place[0] + 0.5, place[1] + 0.5], contrast)
}

fn gauss(d: f64, sigma: f64) -> f64 {
    (-0.5 * (d / sigma).powi(2)).exp()
}

/// The map under a Gaussian whose squares add up to 1, nothing beyond the border.
fn smoothed(map: &[f64], (rows, columns): (usize, usize), sigma: f64) -> Vec<f64> {
    let reach = (3.0 * sigma).ceil() as usize;
    let mut kernel: Vec<f64> = (0..=2 * reach).map(|i| gauss(i as f64 - reach as f64, sigma)).collect();
    let norm = kernel.iter().map(|k| k * k).sum::<f64>().sqrt();
    kernel.iter_mut().for_each(|k| *k /= norm);
    let pass = |from: &dyn Fn(usize) -> f64, i: usize, n: usize| -> f64 {
        (i.saturating_sub(reach)..(i + reach + 1).min(n)).map(|j| kernel[j + reach - i] * from(j)).sum()
    };
    let across: Vec<f64> = (0..rows * columns)
        .map(|i| pass(&|x| map[i / columns * columns + x], i % columns, columns))
        .collect();
    (0..rows * columns).map(|i| pass(&|y| across[y * columns + i % columns], i / columns, rows)).collect()
}

/// Benjamini & Hochberg's adjusted p-values: `min over j >= i of m p_(j) / j`.
fn adjusted(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
    let mut adjusted = vec![1.0; p.len()];
    let mut least = 1.0f64;
    for (place, &n) in order.iter().enumerate() {
        let rank = (p.len() - place) as f64;
        least = least.min(p.len() as f64 * p[n] / rank);
        adjusted[n] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_p_of_a_known_family() {
        // 4 p / rank: 0.04, 0.04, 0.0533, 0.5; monotone from above.
        let found = adjusted(&[0.02, 0.5, 0.01, 0.04]);
        for (found, expected) in found.iter().zip([0.04, 0.5, 0.04, 4.0 * 0.04 / 3.0]) {
            assert!((found - expected).abs() < 1e-12, "{found}");
        }
    }

    #[test]
    fn the_peak_of_a_known_map() {
        let map: Vec<f64> = (0..12 * 20)
            .map(|i| {
                let (y, x) = ((i / 20) as f64 + 0.5, (i % 20) as f64 + 0.5);
                (-((y - 4.3).powi(2) + (x - 15.2).powi(2)) / 3.0).exp() - if i == 5 { 0.3 } else { 0.0 }
            })
            .collect();
        let (place, contrast) = peak(&map, (12, 20));
        assert!((place[0] - 4.3).abs() < 0.05 && (place[1] - 15.2).abs() < 0.05, "{place:?}");
        assert!(contrast > 3.0);
        assert_eq!(peak(&[-1.0; 6], (2, 3)).1, 0.0);
    }

    #[test]
    fn reduced_rank_is_the_best_of_its_rank() {
        // On orthonormal columns without penalty, the fit of rank r is the truncated singular value
        // decomposition of the projected responses.
        let x = ndarray::arr2(&[[0.5, 0.5], [0.5, -0.5], [-0.5, 0.5], [-0.5, -0.5]]);
        let y = ndarray::arr2(&[[3., 1., 0.], [1., 0., 2.], [0., 2., -1.], [-2., 1., 1.]]);
        let ridge = Ridge::new(x.view()).unwrap();
        let z = ridge.coordinates(y.view(), 0.0);
        let directions = ridge.directions(&z, 0.0, 1).unwrap();
        let fit = product(ridge.svd.left.view(), z.view());
        let svd = crate::linear::thin(fit.view(), 1).unwrap();
        let best = product(svd.left.view(), svd.right.t()) * svd.values[0] as f32;
        assert!((reduced(&fit, &directions, 1) - best).iter().all(|d| d.abs() < 1e-5));
    }
}
