use dina_core::Seed;
use dina_decode::ridge::RidgeDesign;
use ndarray::{Array2, Axis, concatenate, s};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::features::{FeatureSet, Origin};
use super::{Case, Effect, Reading, say};
use crate::Result;
use crate::claims::explained::{Halves, Predicted, predicted};
use crate::claims::low_level::Predictors;
use crate::fold::evenly;

/// Training images that models of responses are fitted on, at most: the cost grows with their cube.
const TRAINING: usize = 1000;

/// Training images that the weights of sets are chosen on, at most.
const TRIED: usize = 300;

/// Weightings of the sets that are tried beside equal weights.
const WEIGHTINGS: usize = 8;

/// What explains the responses to held-out images.
///
/// Ridge regression with a weight for every set of features and one penalty, both chosen on left-out training images, from equal
/// weights and random ones (banded ridge by random search, Dupré la Tour et al. 2022). Explained variance is free of noise by
/// products of two halves of the repeats, over all neurons, as a share of what could be explained. Negative parts stay: what
/// does not generalise costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    /// One entry a set of features.
    pub sets: Vec<SetShare>,
    /// By all of them, without networks of random weights.
    pub all: Reading,
    /// Training images of every fold, at most.
    pub training_images: usize,
}

/// How much one set of features explains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetShare {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// How many features.
    pub features: usize,
    /// Alone.
    pub alone: Reading,
    /// By all sets less by all but this one; absent for networks of random weights, which are no part of all.
    pub unique: Option<Reading>,
}

/// What is left of the variance of an image by every model, and what could be explained.
struct Left {
    explainable: f64,
    all: f64,
    alone: Vec<f64>,
    without: Vec<f64>,
}

pub(super) fn partition(
    case: &Case<'_>,
    sets: &[Vec<FeatureSet>],
    seed: Seed,
    absent: &mut Vec<String>,
) -> Result<Option<Partition>> {
    let Some(first) = sets.first() else { return Ok(None) };
    let mut images = Vec::new();
    let mut training_images = 0;
    for (fold, sets) in sets.iter().enumerate() {
        // A set that one fold has and another has not cannot be summed up.
        if sets.len() != first.len() {
            say(
                absent,
                "Not all folds have the same sets of features, so that variance is not parted.".into(),
            );
            return Ok(None);
        }
        let (left, used) = explained(case, fold, sets, seed.child("weights"))?;
        training_images = training_images.max(used);
        images.extend(left);
    }
    let explainable: f64 = images.iter().map(|image| image.explainable).sum();
    if images.len() < 2 || explainable <= 0. {
        say(absent, "The two halves of the repeats have nothing in common that could be explained.".into());
        return Ok(None);
    }
    let reading = |name: &str, part: &(dyn Fn(&Left) -> f64 + Sync)| -> Result<Reading> {
        let share = |items: &[usize]| {
            let sum = |of: &dyn Fn(&Left) -> f64| items.iter().map(|&i| of(&images[i])).sum::<f64>();
            let whole = sum(&|image| image.explainable);
            if whole > 0. { sum(part) / whole } else { 0. }
        };
        let effect = Effect::resampled(images.len(), share, 0., &case.settings, seed.child("images"))?;
        Ok(Reading::new(name, &effect, 0.))
    };
    let all = reading("all", &|image| image.explainable - image.all)?;
    let mut shares = Vec::new();
    let mut place = 0;
    for (index, set) in first.iter().enumerate() {
        let unique = if set.origin == Origin::RandomWeights {
            None
        } else {
            place += 1;
            let own = place - 1;
            Some(reading(&set.name, &move |image| image.without[own] - image.all)?)
        };
        shares.push(SetShare {
            name: set.name.clone(),
            origin: set.origin,
            features: set.features,
            alone: reading(&set.name, &move |image| image.explainable - image.alone[index])?,
            unique,
        });
    }
    Ok(Some(Partition { sets: shares, all, training_images }))
}

/// The test images of a fold, and how many training images were used.
fn explained(case: &Case<'_>, index: usize, sets: &[FeatureSet], seed: Seed) -> Result<(Vec<Left>, usize)> {
    let fold = &case.folds[index];
    let views = fold.views(case.dataset)?;
    let halves = Halves::new(&views, fold)?;
    let train = views.train.repeat_means(&fold.responses)?;
    let fit = |chosen: &[usize]| -> Result<Array2<f32>> {
        let members: Vec<&Predictors> = chosen.iter().map(|&set| &sets[set].predictors).collect();
        model(&members, &train, halves.images(), seed)
    };
    let parts: Vec<usize> =
        (0..sets.len()).filter(|&set| sets[set].origin != Origin::RandomWeights).collect();
    let all = fit(&parts)?;
    let alone = (0..sets.len()).map(|set| fit(&[set])).collect::<Result<Vec<_>>>()?;
    let without = parts
        .iter()
        .map(|&left_out| {
            let others: Vec<usize> = parts.iter().copied().filter(|&set| set != left_out).collect();
            fit(&others)
        })
        .collect::<Result<Vec<_>>>()?;
    let of = |image: usize, predictions: &[Array2<f32>]| -> Vec<f64> {
        predictions.iter().map(|prediction| halves.left(image, prediction)).collect()
    };
    let left = (0..halves.images())
        .map(|image| Left {
            explainable: halves.explainable(image),
            all: halves.left(image, &all),
            alone: of(image, &alone),
            without: of(image, &without),
        })
        .collect();
    Ok((left, train.nrows().min(TRAINING)))
}

/// Responses to the test images as a model of some sets predicts them: the weighting and then the penalty that predict left-out
/// training images best. The mean response where there is no set, or nothing predicts better.
fn model(sets: &[&Predictors], responses: &Array2<f32>, images: usize, seed: Seed) -> Result<Array2<f32>> {
    let mut chosen = None;
    let mut tried = weightings(sets.len(), seed);
    if tried.len() > 1 {
        let few = evenly(responses.nrows(), TRIED);
        let of_few = responses.select(Axis(0), &few);
        let mut least = f64::INFINITY;
        for weights in tried.drain(..) {
            let error = fitted(sets, &weights, &few, &of_few, 0)?.map_or(f64::INFINITY, |found| found.error);
            if error < least {
                (least, chosen) = (error, Some(weights));
            }
        }
    } else {
        chosen = tried.pop();
    }
    let rows = evenly(responses.nrows(), TRAINING);
    let of_rows = responses.select(Axis(0), &rows);
    let mean = Predicted::mean(&of_rows, images);
    let Some(weights) = chosen.filter(|weights| !weights.is_empty()) else { return Ok(mean.test) };
    let found = fitted(sets, &weights, &rows, &of_rows, images)?;
    Ok(found.filter(|found| found.error < mean.error).unwrap_or(mean).test)
}

/// Ridge regression on weighted sets, of some training images, and what it predicts for the first test images; `None` where no
/// feature changes.
fn fitted(
    sets: &[&Predictors],
    weights: &[f32],
    rows: &[usize],
    responses: &Array2<f32>,
    images: usize,
) -> Result<Option<Predicted>> {
    let side = |of: &dyn Fn(&Predictors) -> Array2<f32>| -> Result<Array2<f32>> {
        let parts: Vec<Array2<f32>> = sets.iter().zip(weights).map(|(set, w)| of(set) * *w).collect();
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        Ok(concatenate(Axis(1), &views)
            .map_err(|_| dina_core::Error::shape("sets of features", rows.len(), 0))?)
    };
    let train = side(&|set| set.train.select(Axis(0), rows))?;
    let test = side(&|set| set.test.slice(s![..images, ..]).to_owned())?;
    match RidgeDesign::new(train.view(), None) {
        Ok(design) => Ok(Some(predicted(&design, test.view(), responses)?)),
        Err(dina_decode::Error::Value { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Factors of the sets, whose squares add up to one: equal, and evenly over all shares (Dirichlet of ones).
fn weightings(sets: usize, seed: Seed) -> Vec<Vec<f32>> {
    let factors = |shares: Vec<f64>| -> Vec<f32> {
        let total: f64 = shares.iter().sum();
        shares.into_iter().map(|share| (share / total).sqrt() as f32).collect()
    };
    let mut all = vec![factors(vec![1.; sets])];
    if sets > 1 {
        let mut stream = seed.index(sets).stream("weightings");
        let mut draw = || factors((0..sets).map(|_| -stream.random::<f64>().max(1e-9).ln()).collect());
        all.extend((0..WEIGHTINGS).map(|_| draw()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_add_up_to_one() {
        let found = weightings(4, Seed::new(1));
        assert_eq!(found.len(), WEIGHTINGS + 1);
        for factors in found {
            let total: f32 = factors.iter().map(|f| f * f).sum();
            assert!(factors.len() == 4 && (total - 1.).abs() < 1e-5, "{factors:?}");
        }
        assert_eq!(weightings(1, Seed::new(1)), vec![vec![1.]]);
    }
}
