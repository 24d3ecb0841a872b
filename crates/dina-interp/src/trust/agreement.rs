use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    bootstrap::{Bootstrap, Interval, Resampling},
    classical::spearman,
};
use serde::{Deserialize, Serialize};

use super::{Check, CheckKind};
use crate::{Result, attribution::Attribution};

/// How alike the attributions of two or more towers are.
///
/// Where the input enters the attribution, as in gradient x input, two unrelated linear towers already agree
/// to about 0.5, because the size of the input is common to both. So chance is not 0: compare with what
/// [`cascade`](super::cascade()) leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Similarity {
    /// Per item Spearman's correlation of the absolute attributions, over inputs; of several towers the mean over pairs.
    pub items: Vec<f64>,
    /// Pairs of items in which one attribution is the same for every input, and which count as 0.
    pub constant: usize,
    /// The mean over items with its bootstrap interval over items.
    pub mean: Interval,
}

impl Similarity {
    /// Whether the attribution differs from that of a tower that knows nothing: the interval has to end below `largest`.
    /// `kind` is [`CheckKind::Untrained`] or [`CheckKind::LabelRandomisation`].
    pub fn differs(&self, kind: CheckKind, largest: f64) -> Check {
        Check::below(kind, ends(&self.mean), largest)
    }

    /// Whether towers trained with other seeds agree: the interval has to begin above `smallest`.
    pub fn agrees(&self, smallest: f64) -> Check {
        Check::above(CheckKind::SeedAgreement, ends(&self.mean), smallest)
    }
}

impl fmt::Display for Similarity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank correlation of absolute attributions {}, n = {} items", self.mean, self.items.len())
    }
}

pub(super) fn ends(interval: &Interval) -> [f64; 3] {
    [interval.estimate, interval.low, interval.high]
}

/// Compares two attributions of the same inputs.
///
/// # Errors
/// When the shapes differ, there are fewer than two items, or fewer than two inputs.
pub fn similarity(
    first: &Attribution,
    second: &Attribution,
    bootstrap: &Bootstrap,
    seed: Seed,
) -> Result<Similarity> {
    agreement(&[first, second], bootstrap, seed)
}

/// Compares the attributions of the same inputs by several towers, pair by pair.
///
/// # Errors
/// As [`similarity`]; for fewer than two attributions.
pub fn agreement(attributions: &[&Attribution], bootstrap: &Bootstrap, seed: Seed) -> Result<Similarity> {
    if attributions.len() < 2 {
        return Err(CoreError::value("attributions to compare", "2 or more", attributions.len()).into());
    }
    let shape = attributions[0].values.shape();
    if let Some(other) = attributions.iter().find(|a| a.values.shape() != shape) {
        return Err(CoreError::shape("attributions to compare", shape, other.values.shape()).into());
    }
    let absolute: Vec<Vec<Vec<f64>>> = attributions.iter().map(|a| a.absolute()).collect();
    let pairs: Vec<(usize, usize)> = (0..absolute.len()).flat_map(|a| (0..a).map(move |b| (b, a))).collect();
    let mut constant = 0;
    let mut items = Vec::with_capacity(shape[0]);
    for (item, own) in absolute[0].iter().enumerate() {
        let mut sum = 0.;
        let of = |index: usize| if index == 0 { own } else { &absolute[index][item] };
        for &(a, b) in &pairs {
            match rank_correlation(of(a), of(b))? {
                Some(r) => sum += r,
                None => constant += 1,
            }
        }
        items.push(sum / pairs.len() as f64);
    }
    let mean = mean_interval(&items, bootstrap, seed)?;
    Ok(Similarity { items, constant, mean })
}

/// `None` where one of the two is constant.
pub(super) fn rank_correlation(first: &[f64], second: &[f64]) -> Result<Option<f64>> {
    match spearman(first, second) {
        Ok(r) => Ok(Some(r.get())),
        Err(dina_stats::Error::Constant { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The mean over items and its interval.
pub(super) fn mean_interval(items: &[f64], bootstrap: &Bootstrap, seed: Seed) -> Result<Interval> {
    let mean = |drawn: &[usize]| drawn.iter().map(|&i| items[i]).sum::<f64>() / drawn.len() as f64;
    Ok(bootstrap.interval(&Resampling::items(items.len()), mean, seed)?)
}
