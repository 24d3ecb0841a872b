use std::collections::BTreeMap;

use dina_core::Seed;
use dina_data::Categories;
use dina_decode::identification::Pool;
use dina_decode::ridge::RidgeDesign;
use ndarray::{Array2, ArrayView2};

use super::features::{FeatureSet, GABOR, as_rows};
use super::{Case, Reading};
use crate::claims::category::one_hot;
use crate::claims::explained::{left_out, predicted};
use crate::claims::{Pairing, Sight};
use crate::decoding::Side;
use crate::fold::as_indices;
use crate::towers::level_array;
use crate::{Fold, Result};

/// Per image its category, and the one that is decoded.
type Answers = BTreeMap<usize, (u32, u32)>;

/// Responses and maps of the training and of the test images of a fold, items x features.
struct Sides {
    train: Array2<f32>,
    test: Array2<f32>,
}

/// How often the category of a test image is decoded: from the aligned maps, from what is left of them when the Gabor pyramid
/// of the image is partialled out, and from responses and images without towers.
///
/// Ridge regression on indicators of the categories; the penalty is chosen on left-out training images. What the pyramid predicts of the maps of a
/// training image is what it predicts when that image is left out.
pub(super) fn decoding(case: &Case<'_>, sets: &[Vec<FeatureSet>], seed: Seed) -> Result<Vec<Reading>> {
    let Some(categories) = case.categories() else { return Ok(Vec::new()) };
    let aligned = case.aligned(Sight::Full, Pairing::Shown)?;
    let mut found: Vec<(String, Answers)> = Vec::new();
    for (index, fold) in case.folds.iter().enumerate() {
        let views = fold.views(case.dataset)?;
        let responses = Sides {
            train: views.train.repeat_means(&fold.responses)?,
            test: views.test.repeat_means(&fold.responses)?,
        };
        let towers = &aligned.trained[index].members[0];
        let neural = |rows: &Array2<f32>| as_rows(&level_array(&towers.neural_maps(rows.view())?)?);
        let image = |ids: &[u32]| as_rows(&level_array(&towers.image_maps(fold.select(ids).view())?)?);
        let neural = Sides { train: neural(&responses.train)?, test: neural(&responses.test)? };
        let image = Sides { train: image(fold.split.train())?, test: image(fold.split.test())? };
        let low_level = case.low_level(index)?;
        let design = &low_level.design;
        let test = low_level.predictors.test.view();
        let sources = [
            ("neural maps", &neural),
            ("neural maps, Gabor energy partialled out", &partialled(design, test, &neural)?),
            ("image maps", &image),
            ("image maps, Gabor energy partialled out", &partialled(design, test, &image)?),
            ("responses", &responses),
        ];
        let gabor = sets[index].iter().find(|set| set.name == GABOR).map(|set| &set.predictors);
        let views = sources.map(|(name, sides)| (name, sides.train.view(), sides.test.view()));
        let gabor = gabor.map(|found| (GABOR, found.train.view(), found.test.view()));
        for (place, (name, train, test)) in views.into_iter().chain(gabor).enumerate() {
            if found.len() == place {
                found.push((name.to_owned(), Answers::new()));
            }
            found[place].1.extend(classified(fold, categories, train, test)?);
        }
    }
    let mut readings = Vec::new();
    for (name, images) in found {
        let (true_of, said): (Vec<u32>, Vec<u32>) = images.into_values().unzip();
        let hits: Vec<f64> = true_of.iter().zip(&said).map(|(a, b)| f64::from(u8::from(a == b))).collect();
        readings.extend(Reading::mean(&name, &hits, dealt(&true_of, &said), case, seed.child(&name))?);
    }
    Ok(readings)
}

/// How often answers would be right if they were dealt anew among the images.
fn dealt(true_of: &[u32], said: &[u32]) -> f64 {
    let n = true_of.len().max(1) as f64;
    let count = |of: &[u32], category: u32| of.iter().filter(|&&c| c == category).count() as f64 / n;
    let mut categories = said.to_vec();
    categories.sort_unstable();
    categories.dedup();
    categories.into_iter().map(|category| count(true_of, category) * count(said, category)).sum()
}

/// What predictors do not predict.
fn partialled(design: &RidgeDesign, test: ArrayView2<'_, f32>, sides: &Sides) -> Result<Sides> {
    let found = predicted(design, test, &sides.train)?;
    let train = &sides.train - &left_out(design, &sides.train, found.penalty)?;
    Ok(Sides { train, test: &sides.test - &found.test })
}

/// Of the test images of known category.
fn classified(
    fold: &Fold,
    categories: &Categories,
    train: ArrayView2<'_, f32>,
    test: ArrayView2<'_, f32>,
) -> Result<Answers> {
    let Some(scores) = scores(fold, categories, train, test)? else { return Ok(Answers::new()) };
    let ids = as_indices(fold.split.test());
    let images = ids.into_iter().zip(scores.outer_iter()).filter_map(|(image, scores)| {
        let said = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]))?;
        Some((image, (categories.of[image]?, said as u32)))
    });
    Ok(images.collect())
}

/// Items x categories; `None` where fewer than two categories are known among the training images.
fn scores(
    fold: &Fold,
    categories: &Categories,
    train: ArrayView2<'_, f32>,
    items: ArrayView2<'_, f32>,
) -> Result<Option<Array2<f32>>> {
    let known: Vec<usize> = as_indices(fold.split.train())
        .into_iter()
        .enumerate()
        .filter_map(|(row, image)| categories.of[image].map(|_| row))
        .collect();
    let ids: Vec<u32> = known.iter().map(|&row| fold.split.train()[row]).collect();
    let indicators = one_hot(&ids, &categories.of);
    let used = indicators.columns().into_iter().filter(|column| column.iter().any(|v| *v > 0.)).count();
    if used < 2 {
        return Ok(None);
    }
    let design = RidgeDesign::new(train.select(ndarray::Axis(0), &known).view(), None)?;
    Ok(Some(predicted(&design, items, &indicators)?.test))
}

/// Identification by what the responses say of the category, and by nothing else: candidates of one category are the same.
pub(super) fn by_category_alone(case: &Case<'_>) -> Result<Vec<Pool>> {
    let Some(categories) = case.categories() else { return Ok(Vec::new()) };
    let mut pools = Vec::new();
    for fold in case.folds {
        let views = fold.views(case.dataset)?;
        let test = Side::new(&views.test, &fold.responses)?;
        let (queries, truth) = test.queries(case.trials);
        let train = views.train.repeat_means(&fold.responses)?;
        let Some(scores) = scores(fold, categories, train.view(), queries)? else {
            return Ok(Vec::new());
        };
        let images = as_indices(fold.split.test());
        let similarity = Array2::from_shape_fn((queries.nrows(), images.len()), |(query, candidate)| {
            categories.of[images[candidate]].map_or(0., |category| scores[[query, category as usize]])
        });
        pools.push(Pool::new(similarity, truth, images)?);
    }
    Ok(pools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dealt_answers_are_right_by_their_shares() {
        // Half of the images are of 0; three of four answers are 0: 3/4 x 1/2 + 1/4 x 1/4.
        let found = dealt(&[0, 0, 1, 2], &[0, 0, 0, 1]);
        assert!((found - (0.375 + 0.0625)).abs() < 1e-12, "{found}");
    }
}
