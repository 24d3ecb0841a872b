use dina_core::Seed;
use ndarray::{Array1, Array2, Axis, concatenate, s};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Window;
use super::regression::{IMAGES, PENALTIES, Ridge, features, folds, grid, shuffled_within, z_score};
use crate::linear::{moments, product};
use crate::view::{Train, View};
use crate::{Error, Images, Result};

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

/// Shuffles against which the prediction is tested.
const SHUFFLES: usize = 199;
/// A prediction this rarely beaten by shuffles counts.
const ALPHA: f64 = 0.01;
/// Random halvings over which the energy is averaged.
const HALVINGS: usize = 3;
/// Shuffles whose largest cell a cell has to exceed: 1 in 20 populations without any receptive
/// field would have such a cell.
const MAP_SHUFFLES: usize = 19;

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
    /// [`ReceptiveFields`](super::ReceptiveFields) goes on from here to single neurons.
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
        let x = features(train, images, &whole, grid);
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
        let folds = folds(x.nrows(), seed);
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
pub(super) fn connected(energy: &[f64], noise: f64, part: f64, grid: (usize, usize)) -> Vec<usize> {
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
