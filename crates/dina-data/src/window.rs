//! The part of the image that the population sees, and images cut to it.

use dina_core::Seed;
use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, Zip, concatenate, s};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::linear::{Thin, moments, product, thin};
use crate::resample::Resampler;
use crate::view::{Role, Train, View};
use crate::{Error, Images, Result};

/// A rectangle of an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// First row, in pixels.
    pub top: usize,
    /// First column, in pixels.
    pub left: usize,
    /// Rows, in pixels.
    pub height: usize,
    /// Columns, in pixels.
    pub width: usize,
    /// Visual angle of a pixel, in degrees.
    pub degrees_per_pixel: f32,
}

impl Window {
    /// The whole image.
    pub fn whole(images: &Images) -> Self {
        let (_, height, width) = images.pixels.dim();
        Self { top: 0, left: 0, height, width, degrees_per_pixel: images.degrees_per_pixel }
    }

    /// First row, first column, height and width, in degrees from the corner of the image.
    pub fn degrees(&self) -> [f32; 4] {
        [self.top, self.left, self.height, self.width].map(|p| p as f32 * self.degrees_per_pixel)
    }

    /// # Errors
    /// When the window is empty or does not lie inside the images.
    pub(crate) fn check(&self, images: &Images) -> Result<()> {
        let (_, height, width) = images.pixels.dim();
        let inside = |start: usize, extent: usize, size: usize| {
            extent > 0 && start.checked_add(extent).is_some_and(|end| end <= size)
        };
        if inside(self.top, self.height, height) && inside(self.left, self.width, width) {
            return Ok(());
        }
        Err(Error::Core(dina_core::Error::value(
            "window",
            format!("at least one pixel, inside images of {height} x {width}"),
            format!("{} x {} from ({}, {})", self.height, self.width, self.top, self.left),
        )))
    }
}

/// How [`WindowEstimate::fit`] looks for the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowConfig {
    /// Square cells that the image is divided into, about.
    pub cells: usize,
    /// Neurons that are looked at, drawn at random where there are more.
    pub neurons: usize,
    /// How far the window reaches: around the cells that stand out, those with this part of the
    /// largest energy are taken in; at least 0, below 1.
    pub energy: f64,
    /// Added around the cells that count, in degrees.
    pub margin: f32,
    /// Of the draws: neurons, folds, halves and shuffles.
    pub seed: Seed,
}

impl Default for WindowConfig {
    /// 300 cells, 256 neurons, a fifth of the energy, a margin of 10 degrees, seed 0. The margin is
    /// wide because the surround of a receptive field matters too, and a window that is too tight
    /// costs more than one that is too wide: on 54 recorded neurons, bounding the strongest cells
    /// alone lowered two-way identification by ridge regression from 0.79 to 0.73.
    fn default() -> Self {
        Self { cells: 300, neurons: 256, energy: 0.2, margin: 10.0, seed: Seed::new(0) }
    }
}

/// Where a window comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowSource {
    /// From the receptive field of the population.
    ReceptiveField {
        /// Correlation of predicted and measured responses, cross-validated, mean over neurons.
        correlation: f64,
        /// Part of shuffles of the images that predict as well, counting the truth as one.
        p: f64,
        /// Cells whose energy counts.
        cells: usize,
    },
    /// The whole image, because no receptive field could be estimated.
    WholeImage {
        /// Why, in a sentence.
        reason: String,
    },
}

/// The window of a population, with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowEstimate {
    /// The window to use.
    pub window: Window,
    /// Where it comes from.
    pub source: WindowSource,
    /// Rows and columns of cells.
    pub grid: (usize, usize),
    /// Receptive-field energy of every cell, row by row, the largest being 1; values below 0 are
    /// noise around none. Empty where nothing was estimated.
    pub energy: Vec<f64>,
}

/// Penalties tried, times the number of images: features have variance 1.
const PENALTIES: [f64; 5] = [0.1, 1.0, 10.0, 100.0, 1000.0];
/// Parts of the training images for choosing the penalty.
const FOLDS: usize = 4;
/// Shuffles against which the prediction is tested.
const SHUFFLES: usize = 199;
/// A prediction this rarely beaten by shuffles counts.
const ALPHA: f64 = 0.01;
/// Random halvings over which the energy is averaged.
const HALVINGS: usize = 3;
/// Shuffles whose largest cell a cell has to exceed: 1 in 20 populations without any receptive
/// field would have such a cell.
const MAP_SHUFFLES: usize = 19;
/// Below this many training images there is nothing to estimate from.
const IMAGES: usize = 40;

impl WindowEstimate {
    /// Estimates which part of the image drives the population.
    ///
    /// `responses` holds one row per presentation of the recording, preprocessed. Only the training
    /// images and trials are used.
    ///
    /// Ridge regression predicts the response of each neuron, averaged over repeats and z-scored,
    /// from the mean grey and the standard deviation of grey in each cell (the second because
    /// complex cells answer to contrast of either sign). The penalty is chosen, and the prediction
    /// tested against shuffled images, by cross-validation over training images. The energy of a
    /// cell is `sum_n w_n (b1_n . b2_n)` with `b1` and `b2` the weights of the cell from two
    /// disjoint halves of the images, so that noise adds nothing on average, and `w_n` the squared
    /// cross-validated correlation of neuron n. The window is the bounding box, with a margin, of
    /// the cells whose energy is above that of any cell after shuffling, and of those around them
    /// whose energy is a part of the largest and above the noise.
    ///
    /// Where the data do not support this (too few images, no prediction, no cell that stands
    /// out), the window is the whole image and [`WindowEstimate::source`] says why.
    ///
    /// # Errors
    /// When `images` or `responses` do not belong to the recording or the configuration is out of
    /// range.
    pub fn fit(
        train: &View<'_, Train>,
        images: &Images,
        responses: &Array2<f32>,
        config: &WindowConfig,
    ) -> Result<Self> {
        train.check_images(images.len())?;
        let whole = Window::whole(images);
        whole.check(images)?;
        check(config)?;
        let grid = grid(&whole, config.cells);
        let fall_back = |reason: String, energy: Vec<f64>| Self {
            window: whole,
            source: WindowSource::WholeImage { reason },
            grid,
            energy,
        };
        let means = train.repeat_means(responses)?;
        if train.len() < IMAGES {
            let reason = format!("{} training images are too few, {IMAGES} needed", train.len());
            return Ok(fall_back(reason, Vec::new()));
        }
        let x = features(train, images, grid);
        let y = chosen_neurons(&means, config);
        let prediction = Prediction::validate(&x, &y, &config.seed)?;
        if prediction.p > ALPHA {
            let reason = format!(
                "responses are not predicted from coarse pixels: correlation {:.3}, p = {:.3}",
                prediction.correlation, prediction.p
            );
            return Ok(fall_back(reason, Vec::new()));
        }
        let Map { energy, noise } = Map::estimate(&x, &y, &prediction, &config.seed)?;
        let peak = energy.iter().copied().fold(0.0, f64::max);
        let cells = connected(&energy, noise, config.energy * peak, grid);
        let relative = energy.iter().map(|e| if peak > 0.0 { e / peak } else { 0.0 }).collect();
        if cells.is_empty() {
            let reason = format!(
                "responses are predicted (correlation {:.3}), but from no place in particular: no \
                 cell has more energy than shuffled images give",
                prediction.correlation
            );
            return Ok(fall_back(reason, relative));
        }
        Ok(Self {
            window: around(&cells, grid, &whole, config.margin),
            source: WindowSource::ReceptiveField {
                correlation: prediction.correlation,
                p: prediction.p,
                cells: cells.len(),
            },
            grid,
            energy: relative,
        })
    }
}

fn check(config: &WindowConfig) -> Result<()> {
    let fail = |what: &str, expected: &str, found: String| {
        Err(Error::Core(dina_core::Error::value(what, expected, found)))
    };
    if config.cells == 0 || config.neurons == 0 {
        let found = format!("{} and {}", config.cells, config.neurons);
        return fail("window cells and neurons", "at least 1", found);
    }
    if !(0.0..1.0).contains(&config.energy) {
        return fail("window energy", "at least 0 and below 1", config.energy.to_string());
    }
    if !(config.margin >= 0.0 && config.margin.is_finite()) {
        return fail("window margin", "at least 0", config.margin.to_string());
    }
    Ok(())
}

/// Rows and columns of about square cells, none smaller than two pixels where the image allows.
fn grid(whole: &Window, cells: usize) -> (usize, usize) {
    let cell = ((whole.height * whole.width) as f64 / cells as f64).sqrt().max(2.0);
    let count = |pixels: usize| ((pixels as f64 / cell).round() as usize).max(1);
    (count(whole.height), count(whole.width))
}

/// Training images x (mean grey of every cell, then its standard deviation), z-scored.
fn features(train: &View<'_, Train>, images: &Images, grid: (usize, usize)) -> Array2<f32> {
    let (_, height, width) = images.pixels.dim();
    let resampler = Resampler::new((height, width), grid);
    let cells = grid.0 * grid.1;
    let mut x = Array2::zeros((train.len(), 2 * cells));
    x.axis_iter_mut(Axis(0)).into_par_iter().zip(train.images()).for_each(|(mut row, &image)| {
        let pixels = images.pixels.index_axis(Axis(0), image as usize);
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

/// Images x neurons, z-scored; a random draw where there are more neurons than asked for.
fn chosen_neurons(means: &Array2<f32>, config: &WindowConfig) -> Array2<f32> {
    let mut neurons: Vec<usize> = (0..means.ncols()).collect();
    neurons.shuffle(&mut config.seed.stream("window neurons"));
    neurons.truncate(config.neurons);
    neurons.sort_unstable();
    let mut y = means.select(Axis(1), &neurons);
    z_score(&mut y);
    y
}

/// Column by column; a constant column becomes zero.
fn z_score(x: &mut Array2<f32>) {
    let (mean, sd) = moments(x.view());
    for mut row in x.rows_mut() {
        for ((v, mean), sd) in row.iter_mut().zip(&mean).zip(&sd) {
            let factor = if *sd > 1e-6 * mean.abs() { 1.0 / sd } else { 0.0 };
            *v = ((f64::from(*v) - mean) * factor) as f32;
        }
    }
}

/// Ridge regression on fixed features.
struct Ridge {
    svd: Thin,
    images: usize,
}

impl Ridge {
    fn new(x: ArrayView2<'_, f32>) -> Result<Self> {
        Ok(Self { images: x.nrows(), svd: thin(x, usize::MAX)? })
    }

    /// `diag(s / (s² + λ)) Uᵀ y`: the weights in the coordinates of the right singular vectors.
    fn coordinates(&self, y: ArrayView2<'_, f32>, penalty: f64) -> Array2<f32> {
        let mut z = product(self.svd.left.t(), y);
        for (mut row, s) in z.rows_mut().into_iter().zip(&self.svd.values) {
            row *= (s / (s * s + penalty * self.images as f64)) as f32;
        }
        z
    }

    /// Features x neurons.
    fn weights(&self, y: ArrayView2<'_, f32>, penalty: f64) -> Array2<f32> {
        product(self.svd.right.view(), self.coordinates(y, penalty).view())
    }
}

/// How well, and with which penalty, responses are predicted for images not fitted on.
struct Prediction {
    penalty: f64,
    correlation: f64,
    p: f64,
    /// Per neuron the squared correlation, 0 where it is negative.
    weights: Vec<f64>,
}

impl Prediction {
    fn validate(x: &Array2<f32>, y: &Array2<f32>, seed: &Seed) -> Result<Self> {
        let mut images: Vec<usize> = (0..x.nrows()).collect();
        images.shuffle(&mut seed.stream("window folds"));
        let folds: Vec<Vec<usize>> =
            (0..FOLDS).map(|fold| images.iter().copied().skip(fold).step_by(FOLDS).collect()).collect();
        // Rows of y and of the predictions, fold after fold.
        let measured = y.select(Axis(0), &folds.concat());
        let parts: Vec<Vec<Array2<f32>>> =
            folds.par_iter().map(|held_out| predict_fold(x, y, held_out)).collect::<Result<_>>()?;
        let mut predicted: Vec<Array2<f32>> = (0..PENALTIES.len())
            .map(|penalty| {
                let parts: Vec<_> = parts.iter().map(|fold| fold[penalty].view()).collect();
                concatenate(Axis(0), &parts)
                    .map_err(|e| dina_core::Error::value("folds", "equal widths", e).into())
            })
            .collect::<Result<_>>()?;
        // Shuffling rows changes no column's mean or spread: z-scored once, a correlation is a mean
        // of products.
        let mut measured = measured;
        z_score(&mut measured);
        predicted.iter_mut().for_each(z_score);
        let in_order: Vec<usize> = (0..measured.nrows()).collect();
        let means: Vec<f64> = predicted.iter().map(|p| mean_correlation(p, &measured, &in_order)).collect();
        let best = (0..PENALTIES.len()).max_by(|&a, &b| means[a].total_cmp(&means[b])).unwrap_or(0);
        // The penalty is chosen again for every shuffle, as it was for the truth.
        let as_good = (0..SHUFFLES)
            .into_par_iter()
            .filter(|&i| {
                let order = shuffled_within(&folds, &seed.child("window shuffles").index(i));
                predicted.iter().any(|p| mean_correlation(p, &measured, &order) >= means[best])
            })
            .count();
        let products = &predicted[best] * &measured;
        let (correlations, _) = moments(products.view());
        Ok(Self {
            penalty: PENALTIES[best],
            correlation: means[best],
            p: (1 + as_good) as f64 / (1 + SHUFFLES) as f64,
            weights: correlations.iter().map(|r| r.max(0.0).powi(2)).collect(),
        })
    }
}

/// Predictions for the held-out images, one matrix a penalty.
fn predict_fold(x: &Array2<f32>, y: &Array2<f32>, held_out: &[usize]) -> Result<Vec<Array2<f32>>> {
    let fitted: Vec<usize> = (0..x.nrows()).filter(|i| !held_out.contains(i)).collect();
    let ridge = Ridge::new(x.select(Axis(0), &fitted).view())?;
    let y = y.select(Axis(0), &fitted);
    let seen = product(x.select(Axis(0), held_out).view(), ridge.svd.right.view());
    Ok(PENALTIES
        .iter()
        .map(|&penalty| product(seen.view(), ridge.coordinates(y.view(), penalty).view()))
        .collect())
}

/// An order of the rows in which each fold is shuffled by itself: folds differ in their means.
fn shuffled_within(folds: &[Vec<usize>], seed: &Seed) -> Vec<usize> {
    let mut stream = seed.stream("order");
    let mut order: Vec<usize> = (0..folds.iter().map(Vec::len).sum()).collect();
    let mut start = 0;
    for fold in folds {
        order[start..start + fold.len()].shuffle(&mut stream);
        start += fold.len();
    }
    order
}

/// Mean over columns of the correlation of `a` with the rows of `b` in this order; both z-scored.
fn mean_correlation(a: &Array2<f32>, b: &Array2<f32>, order: &[usize]) -> f64 {
    let sum: f64 =
        order.iter().enumerate().map(|(row, &other)| f64::from(a.row(row).dot(&b.row(other)))).sum();
    sum / a.len().max(1) as f64
}

/// Receptive-field energy of every cell.
struct Map {
    energy: Vec<f64>,
    /// The largest energy of a cell that shuffled images gave.
    noise: f64,
}

impl Map {
    fn estimate(x: &Array2<f32>, y: &Array2<f32>, prediction: &Prediction, seed: &Seed) -> Result<Self> {
        let cells = x.ncols() / 2;
        // Row 0 is the truth, the others are shuffles.
        let mut sum = Array2::<f64>::zeros((1 + MAP_SHUFFLES, cells));
        let scale: Array1<f32> = prediction.weights.iter().map(|w| w.sqrt() as f32).collect();
        let weighted = y * &scale;
        for halving in 0..HALVINGS {
            let mut order: Vec<usize> = (0..x.nrows()).collect();
            let seed = seed.child("window halves").index(halving);
            order.shuffle(&mut seed.stream("order"));
            let (a, b) = order.split_at(order.len() / 2);
            let halves = [Half::new(x, &weighted, a)?, Half::new(x, &weighted, b)?];
            for shuffle in 0..=MAP_SHUFFLES {
                let [one, two] = [0, 1].map(|h| {
                    let seed = (shuffle > 0).then(|| seed.index(shuffle).index(h));
                    halves[h].weights(prediction.penalty, seed)
                });
                let both: Array1<f64> = (&one * &two)
                    .rows()
                    .into_iter()
                    .map(|row| row.iter().map(|&v| f64::from(v)).sum())
                    .collect();
                let mut row = sum.row_mut(shuffle);
                row += &both.slice(s![..cells]);
                row += &both.slice(s![cells..]);
            }
        }
        let largest = |row: usize| sum.row(row).iter().copied().fold(0.0, f64::max);
        Ok(Self { energy: sum.row(0).to_vec(), noise: (1..=MAP_SHUFFLES).map(largest).fold(0.0, f64::max) })
    }
}

/// One half of the images.
struct Half {
    ridge: Ridge,
    y: Array2<f32>,
}

impl Half {
    fn new(x: &Array2<f32>, y: &Array2<f32>, images: &[usize]) -> Result<Self> {
        Ok(Self { ridge: Ridge::new(x.select(Axis(0), images).view())?, y: y.select(Axis(0), images) })
    }

    /// Features x neurons, for shuffled images if there is a seed.
    fn weights(&self, penalty: f64, shuffle: Option<Seed>) -> Array2<f32> {
        let Some(seed) = shuffle else {
            return self.ridge.weights(self.y.view(), penalty);
        };
        let mut order: Vec<usize> = (0..self.y.nrows()).collect();
        order.shuffle(&mut seed.stream("order"));
        self.ridge.weights(self.y.select(Axis(0), &order).view(), penalty)
    }
}

/// The cells above `noise` and `part`, and those above `part` that touch them, directly or through
/// others. Noise is as often negative as positive: no cell counts that is not above the most
/// negative one.
fn connected(energy: &[f64], noise: f64, part: f64, grid: (usize, usize)) -> Vec<usize> {
    let low = energy.iter().fold(part, |low, e| low.max(-e));
    let high = noise.max(low);
    let mut chosen: Vec<bool> = energy.iter().map(|&e| e > high).collect();
    let mut open: Vec<usize> = (0..energy.len()).filter(|&c| chosen[c]).collect();
    while let Some(cell) = open.pop() {
        let (row, column) = (cell / grid.1, cell % grid.1);
        for row in row.saturating_sub(1)..(row + 2).min(grid.0) {
            for column in column.saturating_sub(1)..(column + 2).min(grid.1) {
                let next = row * grid.1 + column;
                if !chosen[next] && energy[next] > low {
                    chosen[next] = true;
                    open.push(next);
                }
            }
        }
    }
    (0..energy.len()).filter(|&c| chosen[c]).collect()
}

/// The bounding box of cells, with a margin, in pixels.
fn around(cells: &[usize], grid: (usize, usize), whole: &Window, margin: f32) -> Window {
    let margin = f64::from(margin) / f64::from(whole.degrees_per_pixel);
    let span = |cells: &mut dyn Iterator<Item = usize>, count: usize, pixels: usize| {
        let (first, last) = cells.fold((count, 0), |(f, l), c| (f.min(c), l.max(c)));
        let cell = pixels as f64 / count as f64;
        let start = (first as f64 * cell - margin).floor().max(0.0) as usize;
        let end = ((last + 1) as f64 * cell + margin).ceil().min(pixels as f64) as usize;
        (start, end - start)
    };
    let (top, height) = span(&mut cells.iter().map(|c| c / grid.1), grid.0, whole.height);
    let (left, width) = span(&mut cells.iter().map(|c| c % grid.1), grid.1, whole.width);
    Window { top, left, height, width, degrees_per_pixel: whole.degrees_per_pixel }
}

/// Mean image and contrast of the training images, to standardise all with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PixelStatistics {
    height: usize,
    width: usize,
    mean: Vec<f32>,
    sd: f32,
}

impl PixelStatistics {
    /// From the training images: the mean of each pixel, and one standard deviation around it over
    /// all pixels, so that the relative contrast of places is kept.
    ///
    /// `images` is the whole stimulus set, images x height x width, as from
    /// [`Images::crop_resize`].
    ///
    /// # Errors
    /// When `images` has another length than the stimulus set or the training images are all the
    /// same.
    pub fn fit(train: &View<'_, Train>, images: &Array3<f32>) -> Result<Self> {
        let chosen = train.select(images)?;
        let (count, height, width) = chosen.dim();
        let flat = chosen
            .into_shape_with_order((count, height * width))
            .map_err(|_| dina_core::Error::value("images", "in row order", "not"))?;
        let (mean, sds) = moments(flat.view());
        let variance = sds.iter().map(|sd| sd * sd).sum::<f64>() / sds.len().max(1) as f64;
        // Pixels are at most 255: below this, all differences are rounding.
        if variance.is_nan() || variance <= 1e-8 {
            return Err(Error::variable(
                train.recording().origin(),
                "imgs",
                "shows no difference between the training images in this window",
                "check the image file, or use the whole image",
            ));
        }
        Ok(Self { height, width, mean: mean.iter().map(|&m| m as f32).collect(), sd: variance.sqrt() as f32 })
    }

    /// Subtracts the mean and divides by the standard deviation.
    ///
    /// # Errors
    /// When images have another size than those fitted on.
    pub fn apply(&self, images: &mut Array3<f32>) -> Result<()> {
        let (_, height, width) = images.dim();
        if (height, width) != (self.height, self.width) || self.mean.len() != height * width {
            return Err(Error::Core(dina_core::Error::shape(
                "images to standardise",
                (self.height, self.width),
                (height, width),
            )));
        }
        images.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut image| {
            image.iter_mut().zip(&self.mean).for_each(|(v, mean)| *v = (*v - mean) / self.sd);
        });
        Ok(())
    }
}

impl Images {
    /// The images of one side of a split, cut, resized and standardised in one go: shorthand for
    /// [`Images::crop_resize`], [`PixelStatistics::apply`] and [`View::select`].
    ///
    /// # Errors
    /// As those.
    pub fn standardised<R: Role>(
        &self,
        view: &View<'_, R>,
        window: &Window,
        degrees_per_pixel: f32,
        statistics: &PixelStatistics,
    ) -> Result<Array3<f32>> {
        let mut chosen = view.select(&self.crop_resize(window, degrees_per_pixel)?)?;
        statistics.apply(&mut chosen)?;
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests;
