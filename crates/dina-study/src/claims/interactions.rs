use dina_core::Seed;
use dina_data::simulate::Population;
use dina_decode::identification::Trials;
use dina_stats::linalg::matmul;
use dina_stats::reliability::Correlation;
use ndarray::{Array2, ArrayView1, Axis, s};

use super::bands::standard_score;
use super::low_level::LowLevel;
use super::resample::mean_effect;
use super::{Case, Claim, Experiment, Measured, Pairing, Sight};
use crate::{Fold, Result};

/// Claim 4, interactions: how neurons vary together says what none of them says alone.
///
/// The difference of two halves of the repeats of an image is free of every neuron's mean response to it. For every pair of
/// neurons, ridge regression on a Gabor pyramid predicts the product of their differences; pairs that it predicts on
/// left-out training images are kept, and the test image whose predicted products resemble the observed ones most is
/// named. This is added to the similarity of the aligned towers, which are linear in single neurons.
#[derive(Debug, Clone, Copy, Default)]
pub struct Interactions;

/// Gain of sensitivity that matters, in standard deviations of the similarity of other images.
const SMALLEST: f64 = 0.2;

/// Penalty in units of the mean eigenvalue of the predictors.
const PENALTY: f64 = 3.;

/// Correlation with left-out predictions from which a pair is kept, in standard errors.
const KEPT: f64 = 3.;

/// Neurons that pairs are made of, at most: the first ones.
const NEURONS: usize = 1000;

/// Pairs that are regressed at a time.
const BLOCK: usize = 8192;

/// Differences are bounded at so many standard deviations: bursts would outweigh everything in a product.
const BOUND: f32 = 1.;

/// Weights of co-variation beside the similarity of the towers, both in standard scores over the candidates.
const WEIGHTS: [f64; 6] = [0., 0.25, 0.5, 1., 2., 4.];

impl Claim for Interactions {
    fn experiment(&self) -> Experiment {
        Experiment {
            statistic: "sensitivity, the similarity of the image shown in standard scores of the other test images, by the aligned \
                towers and by products of the difference of two halves of the repeats over pairs of neurons, weighted as \
                does best on the other half of the test images, minus that by the towers alone".into(),
            null: "the gain, image by image, lies evenly about 0".into(),
            exchangeable: "the sign of the gain of an image; images are resampled".into(),
            effect: "gain of sensitivity, in standard scores".into(),
            smallest: SMALLEST,
            holds_on: vec![Population::Interacting],
            fails_on: vec![
                Population::V1,
                Population::Coarse,
                Population::Fine,
                Population::Dense,
                Population::Sparse,
                Population::Null,
            ],
            ..Experiment::new(
                "interactions",
                "Claim 4: sparse strong neurons and their interactions",
                "How neurons vary together identifies images beyond what single neurons do.",
            )
        }
    }

    fn measure(&self, case: &Case<'_>, seed: Seed) -> Result<Measured> {
        let aligned = case.aligned(Sight::Full, Pairing::Shown)?;
        let pools = aligned.pools(Trials::Mean);
        let (mut gains, mut alone, mut together, mut kept) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for (fold, pool) in pools.iter().enumerate() {
            if pool.truth().len() < 4 {
                continue;
            }
            let towers = scored(&pool.similarity().mapv(f64::from));
            let (pairs, found) = co_variation(case, fold)?;
            let pairs = scored(&pairs);
            let sensitivity = |weight: f64, towers_too: f64| -> Vec<f64> {
                let of_query = |(query, &truth): (usize, &usize)| {
                    let row = &towers.row(query) * towers_too + &(&pairs.row(query) * weight);
                    let others: Vec<f64> =
                        row.iter().enumerate().filter(|(c, _)| *c != truth).map(|(_, v)| *v).collect();
                    standard_score(row[truth], &others).unwrap_or(0.)
                };
                pool.truth().iter().enumerate().map(of_query).collect()
            };
            let by_weight: Vec<Vec<f64>> =
                WEIGHTS.into_iter().map(|weight| sensitivity(weight, 1.)).collect();
            // For even images chosen on the odd ones, and the other way round.
            let chosen = [1, 0].map(|parity| best(&by_weight, parity));
            let gain = |query: usize| chosen[query % 2][query] - by_weight[0][query];
            gains.extend((0..pool.truth().len()).map(gain));
            alone.extend(&by_weight[0]);
            together.extend(sensitivity(1., 0.));
            kept += found;
        }
        if gains.len() < 4 {
            return Ok(Measured::Impossible("fewer than 4 test images in every fold".into()));
        }
        let mut effect = mean_effect(&gains, SMALLEST, &case.settings, seed)?;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        effect.details.insert("sensitivity_single_neurons".into(), mean(&alone));
        effect.details.insert("sensitivity_pairs_alone".into(), mean(&together));
        effect.details.insert("pairs_kept".into(), kept as f64);
        Ok(Measured::Effect(effect))
    }
}

/// The values, one list a weight, with the largest sum over every other image from `first` on; the first of those that tie.
fn best(by_weight: &[Vec<f64>], first: usize) -> &[f64] {
    let score = |values: &[f64]| values.iter().skip(first).step_by(2).sum::<f64>();
    let mut best = &by_weight[0];
    for values in by_weight {
        if score(values) > score(best) {
            best = values;
        }
    }
    best
}

/// Standard scores of every row.
fn scored(similarity: &Array2<f64>) -> Array2<f64> {
    let mut scores = similarity.clone();
    for mut row in scores.rows_mut() {
        let n = row.len() as f64;
        let mean = row.sum() / n;
        row -= mean;
        let sd = (row.dot(&row) / n).sqrt();
        if sd > 0. {
            row /= sd;
        }
    }
    scores
}

/// How well the products predicted for every test image fit those of every test image, queries x candidates, and how
/// many pairs were kept for it. The mean product of a pair over the training images is left out.
fn co_variation(case: &Case<'_>, index: usize) -> Result<(Array2<f64>, usize)> {
    let [train, test] = differences(case, &case.folds[index])?;
    let low_level = case.low_level(index)?;
    let LowLevel { predictors, design } = &*low_level;
    let penalty = [PENALTY * design.mean_eigenvalue()];
    let neurons = train.ncols();
    let pairs: Vec<(usize, usize)> = (0..neurons).flat_map(|j| (0..j).map(move |i| (i, j))).collect();
    let least = KEPT / (train.nrows() as f64).sqrt();
    let mut scores = Array2::zeros((test.nrows(), test.nrows()));
    let mut kept = 0;
    for block in pairs.chunks(BLOCK) {
        let targets = products(&train, block);
        let ridge = design.regress(targets.view())?;
        let left_out = ridge.leave_one_out(targets.view(), &penalty)?;
        let mean = ridge.mean();
        let good: Vec<usize> = (0..block.len())
            .filter(|&p| correlation(left_out.column(p), targets.column(p)) >= least)
            .collect();
        if good.is_empty() {
            continue;
        }
        kept += good.len();
        let mut predicted = ridge.predict(predictors.test.view(), &penalty)?.select(Axis(1), &good);
        let chosen: Vec<(usize, usize)> = good.iter().map(|&p| block[p]).collect();
        let mut observed = products(&test, &chosen);
        let mean = mean.select(Axis(0), &good);
        predicted -= &mean;
        observed -= &mean;
        scores += &matmul(observed.view(), predicted.t())?.mapv(f64::from);
    }
    Ok((scores, kept))
}

/// Differences of two halves of the repeats of the training and of the test images, in standard deviations, bounded.
fn differences(case: &Case<'_>, fold: &Fold) -> Result<[Array2<f32>; 2]> {
    let views = fold.views(case.dataset)?;
    let some = |(first, second): (Array2<f32>, Array2<f32>)| {
        let kept = first.ncols().min(NEURONS);
        (first - second).slice_move(s![.., ..kept])
    };
    let mut train = some(views.train.halves(&fold.responses)?);
    let mut test = some(views.test.halves(&fold.responses)?);
    for n in 0..train.ncols() {
        let column = train.column(n);
        let sd = (column.dot(&column) / column.len() as f32).sqrt();
        let scale = if sd > 0. { 1. / sd } else { 0. };
        for side in [&mut train, &mut test] {
            side.column_mut(n).mapv_inplace(|v| (v * scale).clamp(-BOUND, BOUND));
        }
    }
    Ok([train, test])
}

/// Images x pairs.
fn products(differences: &Array2<f32>, pairs: &[(usize, usize)]) -> Array2<f32> {
    let mut products = Array2::zeros((differences.nrows(), pairs.len()));
    for (mut to, from) in products.outer_iter_mut().zip(differences.outer_iter()) {
        to.iter_mut().zip(pairs).for_each(|(to, &(i, j))| *to = from[i] * from[j]);
    }
    products
}

/// Pearson's correlation; 0 where one side does not vary.
fn correlation(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    let [a, b] = [a, b].map(|column| column.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>());
    Correlation::pearson(&a, &b).map_or(0., Correlation::get)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn scores_by_hand() {
        let scores = scored(&array![[1., 2., 3.], [5., 5., 5.]]);
        assert!((scores[[0, 2]] - 1.5_f64.sqrt()).abs() < 1e-12 && scores[[1, 0]] == 0.);
    }

    #[test]
    fn products_of_pairs() {
        let differences = array![[1_f32, 2., 3.], [0., -1., 2.]];
        assert_eq!(products(&differences, &[(0, 1), (1, 2)]), array![[2., 6.], [0., -2.]]);
        let (a, b) = (array![1_f32, 2., 3.], array![2_f32, 4., 6.]);
        assert!((correlation(a.view(), b.view()) - 1.).abs() < 1e-9);
        assert_eq!(correlation(a.view(), array![1_f32, 1., 1.].view()), 0.);
    }
}
