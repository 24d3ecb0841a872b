use dina_core::Seed;
use dina_data::simulate::{Dial, Population};
use dina_decode::ridge::RidgeDesign;
use ndarray::Array2;

use super::explained::{Halves, predicted};
use super::low_level::Predictors;
use super::resample::sign_flip;
use super::{Case, Claim, Effect, Experiment, Measured};
use crate::Result;

/// Claim 2, category: responses follow the category of an image beyond what its low-level structure predicts.
///
/// A ridge regression predicts the responses of all neurons from a Gabor pyramid of the image, with and without its
/// category as further predictors. How much the category explains of held-out images is what counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct CategoryBeyondLowLevel;

/// Share of the explainable variance that matters.
const SMALLEST: f64 = 0.05;

/// Weights of the category beside the Gabor pyramid, as total variance; chosen on left-out training images.
const WEIGHTS: [f32; 3] = [0.1, 1., 10.];

impl Claim for CategoryBeyondLowLevel {
    fn experiment(&self) -> Experiment {
        Experiment {
            statistic: "variance of the responses to held-out images, free of noise by products of two halves of the repeats, that \
                ridge regression on a Gabor pyramid and the category explains, minus that on the pyramid alone".into(),
            null: "the gain, image by image, lies evenly about 0".into(),
            exchangeable: "the sign of the gain of an image; images are resampled".into(),
            effect: "gain over the explainable variance of all neurons".into(),
            smallest: SMALLEST,
            holds_on: vec![Population::Category, Population::Mixed(Dial::HALF)],
            fails_on: vec![Population::V1, Population::Coarse, Population::Fine, Population::Null],
            ..Experiment::new(
                "category",
                "Claim 2: coarse, not fine, not semantic",
                "Responses carry the semantic category of the image beyond its low-level structure.",
            )
        }
    }

    fn measure(&self, case: &Case<'_>, seed: Seed) -> Result<Measured> {
        let Some(categories) = case.categories() else {
            return Ok(Measured::Impossible("no categories of the images are known".into()));
        };
        let mut images = Vec::new();
        for fold in 0..case.folds.len() {
            images.extend(gains(case, fold, &categories.of)?);
        }
        let explainable: f64 = images.iter().map(|i| i.explainable).sum();
        if images.len() < 2 || explainable <= 0. {
            let why = "the two halves of the repeats have nothing in common that could be explained";
            return Ok(Measured::Impossible(why.into()));
        }
        let share = |items: &[usize]| {
            let sum = |of: &dyn Fn(&Gain) -> f64| items.iter().map(|&i| of(&images[i])).sum::<f64>();
            // A resample without explainable variance has no share.
            let of = sum(&|i| i.explainable);
            if of > 0. { sum(&|i| i.gain) / of } else { 0. }
        };
        let mut effect = Effect::resampled(images.len(), share, SMALLEST, &case.settings, seed)?;
        let gains: Vec<f64> = images.iter().map(|i| i.gain).collect();
        effect.p = sign_flip(&gains, &case.settings, seed)?;
        let left: f64 = images.iter().map(|i| i.left).sum();
        effect.details.insert("explained_by_gabor".into(), 1. - left / explainable);
        effect.details.insert("explained_by_both".into(), 1. - left / explainable + effect.estimate);
        Ok(Measured::Effect(effect))
    }
}

/// What the category gains for one image, summed over neurons.
struct Gain {
    /// Squared error of the pyramid minus that of both, each a product of two halves.
    gain: f64,
    /// Squared error of the pyramid.
    left: f64,
    /// Variance that could be explained.
    explainable: f64,
}

/// The gain of every test image of a fold.
fn gains(case: &Case<'_>, index: usize, of: &[Option<u32>]) -> Result<Vec<Gain>> {
    let fold = &case.folds[index];
    let views = fold.views(case.dataset)?;
    let known = |ids: &[u32]| ids.iter().any(|&id| of[id as usize].is_some());
    if !known(views.train.images()) || !known(views.test.images()) {
        return Ok(Vec::new());
    }
    let train = views.train.repeat_means(&fold.responses)?;
    let halves = Halves::new(&views, fold)?;
    let low_level = case.low_level(index)?;
    let hot = |ids: &[u32]| one_hot(ids, of);
    let category =
        Predictors { train: hot(views.train.images()), test: hot(views.test.images()) }.standardised();
    let low = predicted(&low_level.design, low_level.predictors.test.view(), &train)?;
    let mut both = low.clone();
    for weight in WEIGHTS {
        let joined = low_level.predictors.beside(&category, weight.sqrt())?;
        let design = RidgeDesign::new(joined.train.view(), None)?;
        let tried = predicted(&design, joined.test.view(), &train)?;
        if tried.error < both.error {
            both = tried;
        }
    }
    Ok((0..halves.images())
        .map(|image| {
            let left = halves.left(image, &low.test);
            Gain { gain: left - halves.left(image, &both.test), left, explainable: halves.explainable(image) }
        })
        .collect())
}

/// A column a category: 1 for images of it.
pub(super) fn one_hot(ids: &[u32], of: &[Option<u32>]) -> Array2<f32> {
    let categories = of.iter().flatten().max().map_or(0, |&most| most as usize + 1);
    Array2::from_shape_fn((ids.len(), categories), |(row, column)| {
        f32::from(u8::from(of[ids[row] as usize] == Some(column as u32)))
    })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn an_unknown_category_is_no_category() {
        let of = [Some(1), None, Some(0)];
        assert_eq!(one_hot(&[0, 1, 2], &of), array![[0., 1.], [0., 0.], [1., 0.]]);
    }
}
