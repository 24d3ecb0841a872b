//! What decoding rests on, as a description beside the claims: nothing is decided by it.
//!
//! - [`Condition`]: identification with responses, images or pairs that hold nothing, beside identification as it is.
//! - [`Basis::distractors`]: against which other images the image shown is told apart, and against which it is not.
//! - [`Basis::wrong`]: what the best wrong answer shares with the image shown.
//! - [`Partition`]: how much of the responses pixels, Gabor energy, texture statistics, categories and layers of networks
//!   explain, each alone and beyond all others.

mod category;
mod conditions;
mod distractors;
mod features;
mod report;
mod variance;
mod wrong;

use std::collections::BTreeMap;

use dina_core::Seed;
use dina_model::BackboneFile;
use serde::{Deserialize, Serialize};

pub use conditions::Condition;
pub use features::Origin;
pub(super) use report::panels;
pub use variance::{Partition, SetShare};

use self::features::{FeatureSet, feature_sets};
use super::{Case, Effect};
use crate::Result;

/// A mean over images with its interval, beside what chance gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// What it is.
    pub name: String,
    /// The mean.
    pub value: f64,
    /// Lower end of its 95 % interval, images resampled.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// What chance gives.
    pub chance: f64,
    /// Images that it is measured on.
    pub images: usize,
}

impl Reading {
    fn new(name: impl Into<String>, effect: &Effect, chance: f64) -> Self {
        let Effect { estimate, low, high, images, .. } = *effect;
        Self { name: name.into(), value: estimate, ci_low: low, ci_high: high, chance, images }
    }

    /// The mean of one value an image; `None` for fewer than two images.
    pub(super) fn mean(
        name: impl Into<String>,
        values: &[f64],
        chance: f64,
        case: &Case<'_>,
        seed: Seed,
    ) -> Result<Option<Self>> {
        if values.len() < 2 {
            return Ok(None);
        }
        Ok(Some(Self::new(name, &Effect::mean(values, 0., &case.settings, seed)?, chance)))
    }
}

/// What decoding rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// Identification as it is, and where it has nothing to rest on.
    pub conditions: Vec<Condition>,
    /// Identification by models that may use one thing only: coarse detail, fine detail, the category.
    pub restricted: Vec<Condition>,
    /// How often the category of a test image is decoded, with and without what a Gabor pyramid predicts.
    pub category: Vec<Reading>,
    /// Two-way identification against kinds of distractors.
    pub distractors: Vec<Reading>,
    /// What the best wrong answer shares with the image shown: of the other wrong answers, the share that is less like it.
    pub wrong: Vec<Reading>,
    /// The share of trials whose best wrong answer is better than the right one.
    pub wrong_share: f64,
    /// What explains the responses.
    pub partition: Option<Partition>,
    /// Why something is absent, a sentence each.
    pub absent: Vec<String>,
}

/// Describes what the decoding of a case rests on. `backbones` are networks with weights, whose layers are looked at beside
/// pixels, Gabor energy, texture statistics and categories, each with the same network of random weights as a control.
///
/// # Errors
/// When a model cannot be fitted, or weights not be read.
pub fn basis(case: &Case<'_>, backbones: &[BackboneFile], seed: Seed) -> Result<Basis> {
    let mut absent = Vec::new();
    let sets: Vec<Vec<FeatureSet>> = (0..case.folds.len())
        .map(|fold| feature_sets(case, fold, backbones, seed.child("random weights"), &mut absent))
        .collect::<Result<_>>()?;
    let conditions = conditions::conditions(case, seed.child("conditions"), &mut absent)?;
    let (wrong, wrong_share) = wrong::shared(case, &sets, seed.child("wrong"))?;
    let found = Basis {
        conditions,
        restricted: conditions::restricted(case, seed.child("restricted"))?,
        category: category::decoding(case, &sets, seed.child("category"))?,
        distractors: distractors::distractors(case, &sets, seed.child("distractors"))?,
        wrong,
        wrong_share,
        partition: variance::partition(case, &sets, seed.child("partition"), &mut absent)?,
        absent,
    };
    Ok(found)
}

/// The share of others that a value is larger than, ties half; `None` of none.
fn ahead(value: f64, others: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = others.len();
    let won =
        others.map(|other| f64::from(u8::from(value > other)) + 0.5 * f64::from(u8::from(value == other)));
    (count > 0).then(|| won.sum::<f64>() / count as f64)
}

/// Says something once.
fn say(absent: &mut Vec<String>, why: String) {
    if !absent.contains(&why) {
        absent.push(why);
    }
}

/// Values of trials and what chance gives, summed over the trials of an image.
#[derive(Default)]
struct Tally(BTreeMap<usize, [f64; 3]>);

impl Tally {
    fn add(&mut self, image: usize, value: f64, chance: f64) {
        let sums = self.0.entry(image).or_default();
        sums.iter_mut().zip([value, chance, 1.]).for_each(|(sum, v)| *sum += v);
    }

    /// One mean an image, and the mean of what chance gives.
    fn finish(self) -> (Vec<f64>, f64) {
        let (values, chances): (Vec<f64>, Vec<f64>) =
            self.0.into_values().map(|[value, chance, trials]| (value / trials, chance / trials)).unzip();
        let chance = chances.iter().sum::<f64>() / chances.len().max(1) as f64;
        (values, chance)
    }
}
