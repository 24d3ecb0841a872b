//! What of a response repeats, and what that costs.

use dina_core::ContentHash;
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::view::{Role, View};
use crate::{Error, Result};

/// Signal and noise variance of every neuron, from repeats of the same image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VarianceComponents {
    /// Variance over images of the expected response; an unbiased estimate, so below 0 where there is
    /// none by chance.
    pub signal: Vec<f64>,
    /// Variance over presentations of one image, mean over images.
    pub noise: Vec<f64>,
}

impl VarianceComponents {
    /// Analysis of variance with images as a random factor. `responses` is presentations x
    /// neurons, `trials` the rows of each image; images with one presentation do not count.
    ///
    /// With `n_i` presentations of image `i` of `I`, `N` in all,
    ///
    /// ```text
    /// noise  = MSW = sum_i sum_j (x_ij - mean_i)^2 / (N - I)
    /// MSB    = sum_i n_i (mean_i - mean)^2 / (I - 1)
    /// n0     = (N - sum_i n_i^2 / N) / (I - 1)
    /// signal = (MSB - MSW) / n0
    /// ```
    ///
    /// # Errors
    /// When fewer than two images have two presentations.
    pub(crate) fn of(responses: ArrayView2<'_, f32>, trials: &[Vec<usize>], origin: &str) -> Result<Self> {
        let trials: Vec<&Vec<usize>> = trials.iter().filter(|t| t.len() >= 2).collect();
        if trials.len() < 2 {
            return Err(Error::variable(
                origin,
                "stim.istim",
                format!(
                    "shows {} images of this side twice, 2 or more are needed to tell signal from noise",
                    trials.len()
                ),
                "leave out what looks at reliability, or give a recording with repeats",
            ));
        }
        let images = trials.len() as f64;
        let count: f64 = trials.iter().map(|t| t.len() as f64).sum();
        let squares: f64 = trials.iter().map(|t| (t.len() as f64).powi(2)).sum();
        let n0 = (count - squares / count) / (images - 1.0);
        let (signal, noise) = (0..responses.ncols())
            .into_par_iter()
            .map(|n| {
                let value = |row: &usize| f64::from(responses[[*row, n]]);
                let means: Vec<f64> =
                    trials.iter().map(|t| t.iter().map(value).sum::<f64>() / t.len() as f64).collect();
                let mean = trials.iter().zip(&means).map(|(t, m)| t.len() as f64 * m).sum::<f64>() / count;
                let (mut within, mut between) = (0.0, 0.0);
                for (t, m) in trials.iter().zip(&means) {
                    within += t.iter().map(|row| (value(row) - m).powi(2)).sum::<f64>();
                    between += t.len() as f64 * (m - mean).powi(2);
                }
                let noise = within / (count - images);
                ((between / (images - 1.0) - noise) / n0, noise)
            })
            .unzip();
        Ok(Self { signal, noise })
    }

    /// Reliability of a single response of every neuron, `signal / (signal + noise)`: the intraclass
    /// correlation ICC(1,1) of Shrout & Fleiss (1979), with two repeats about the correlation between them.
    /// 0 for a neuron that never changes.
    pub fn reliability(&self) -> Vec<f64> {
        let share = |(s, n): (&f64, &f64)| if s + n > 0.0 { s / (s + n) } else { 0.0 };
        self.signal.iter().zip(&self.noise).map(share).collect()
    }
}

impl<R: Role> View<'_, R> {
    /// Signal and noise variance of every column of `responses` over the images of this side.
    /// `responses` holds one row per presentation of the recording, as recorded or preprocessed.
    ///
    /// The analysis of variance is that of a one-way design with random images: see
    /// [`VarianceComponents`].
    ///
    /// # Errors
    /// When fewer than two images have two presentations, or `responses` has another number of rows.
    pub fn variance_components(&self, responses: &Array2<f32>) -> Result<VarianceComponents> {
        let recording = self.recording();
        if responses.nrows() != recording.presentations() {
            return Err(Error::variable(
                recording.origin(),
                "responses",
                format!("have {} rows for {} presentations", responses.nrows(), recording.presentations()),
                "give the responses to all presentations of the recording",
            ));
        }
        VarianceComponents::of(responses.view(), self.trials(), recording.origin())
    }
}

/// How many neurons a selection keeps, the most reliable first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// This many; all where there are fewer.
    Count(usize),
    /// This share, rounded, at least one; above 0, at most 1.
    Fraction(f32),
    /// Those with a reliability of a single response of at least this.
    AtLeast(f32),
}

impl Keep {
    /// Columns to keep, ascending; none where none qualifies.
    pub(super) fn choose(self, reliability: &[f64]) -> Result<Vec<usize>> {
        let all = reliability.len();
        let count = match self {
            Self::Count(0) => return Err(refused("count", "at least 1", "0")),
            Self::Count(count) => count.min(all),
            Self::Fraction(share) if share > 0.0 && share <= 1.0 => {
                ((f64::from(share) * all as f64).round() as usize).clamp(1, all)
            }
            Self::Fraction(share) => {
                return Err(refused("fraction", "above 0, at most 1", &share.to_string()));
            }
            Self::AtLeast(least) if least.is_finite() => {
                return Ok((0..all).filter(|&n| reliability[n] >= f64::from(least)).collect());
            }
            Self::AtLeast(least) => return Err(refused("reliability", "finite", &least.to_string())),
        };
        let mut order: Vec<usize> = (0..all).collect();
        // Stable: the first of equals stays first.
        order.sort_by(|&a, &b| reliability[b].total_cmp(&reliability[a]));
        order.truncate(count);
        order.sort_unstable();
        Ok(order)
    }
}

fn refused(what: &str, expected: &str, found: &str) -> Error {
    Error::Core(dina_core::Error::value(format!("{what} of neurons to keep"), expected, found))
}

/// Neurons chosen by their responses to the images of one side of a split.
///
/// The choice uses that side up: a figure on it is no longer held out. Making one takes the view by
/// value, and [`LeakageReport::with_selection`](crate::LeakageReport::with_selection) says so in the
/// report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeuronSelection {
    /// What they were chosen by.
    pub by: String,
    /// The neurons, as columns of the recording, ascending.
    pub neurons: Vec<usize>,
    /// `train`, `validation`, `test` or `whole recording`.
    pub side: String,
    /// The split whose side that is; `None` for the whole recording.
    pub split: Option<ContentHash>,
}

impl NeuronSelection {
    pub(super) fn new(by: &str, neurons: Vec<usize>, side: &str, split: Option<ContentHash>) -> Self {
        Self { by: by.to_owned(), neurons, side: side.to_owned(), split }
    }

    /// The most reliable neurons on this side, by [`VarianceComponents::reliability`] of the
    /// responses as recorded. Inside a chain of steps,
    /// [`Step::SelectReliable`](super::Step::SelectReliable) does the same on the training view.
    ///
    /// # Errors
    /// As [`View::variance_components`]; when the number is out of range or no neuron is left.
    pub fn reliable<R: Role>(view: View<'_, R>, keep: Keep) -> Result<Self> {
        let reliability = view.variance_components(view.recording().responses())?.reliability();
        let neurons = keep.choose(&reliability)?;
        if neurons.is_empty() {
            return Err(Error::variable(
                view.recording().origin(),
                "stim.resp",
                format!("has no neuron left: all {} are less reliable than asked for", reliability.len()),
                "lower the reliability that is asked for",
            ));
        }
        Ok(Self::new("reliability", neurons, R::NAME, Some(view.split_hash())))
    }
}
