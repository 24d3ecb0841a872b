use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    linalg::{matmul, symmetric_eigen},
    permutation::{Tail, step_down_max_t},
};
use ndarray::{Array2, ArrayView2, ArrayView4, Axis, concatenate};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    ContributionConfig, Contributions,
    contribution::{Parts, finish},
    curves::standardised,
};
use crate::{
    Result,
    alignability::orders,
    score::{centre, centred_channel, check_finite, check_responses, constant, largest, root_mean_square},
};

/// How [`cross_fitted_contributions`] fits and tests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CrossFitConfig {
    /// Parts of the images; each is read with weights that were fitted on the others.
    pub folds: usize,
    /// Ridge penalty over the number of images of a fit, for responses of variance 1. Small: what a neuron adds that no
    /// other has (of two alike, either is superfluous). Large: what it has in common with the image, whatever
    /// others have, the activation pattern of Haufe et al. (2014).
    pub penalty: f64,
    /// Permutations, replicates and coverage.
    pub test: ContributionConfig,
}

impl Default for CrossFitConfig {
    /// Five folds, a penalty of 100, the tests of [`ContributionConfig`].
    fn default() -> Self {
        Self { folds: 5, penalty: 100., test: ContributionConfig::default() }
    }
}

/// The contribution of every neuron to the alignment of image maps with a ridge read-in of its own, all images being held
/// out in turn.
///
/// For a fold of the images the read-in is fitted on the other folds, `W = (R'R + p m I)^-1 R'A` with R the responses (standard scores)
/// of m images and A the image maps (centred at every position, variance 1 in every channel). With B = R W on the held-out
/// images the pooled alignment is sum_c cov(A_c, B_c) / sqrt(sum_c var A_c sum_c var B_c), over images and positions; it is a sum over
/// neurons, whose terms are the contributions. Channels that cannot be read count for little. In
/// [`Contributions::matrix`] each channel is divided by its own standard deviations, and sums to its correlation.
///
/// Against [`super::linear_contributions`], which takes the read-in as given and needs images that it was not
/// fitted on, all images are scored: noise is smaller by the root of their number.
///
/// The null permutes which map belongs to which response and fits again: the weights of one fold were fitted on the images of the
/// others, so that permuting with weights as they are would give a null that is too narrow, by a root of 2. The
/// statistic of a neuron is its contribution over its standard deviation under permutation; p is one-sided and corrected by
/// step-down maxT. Intervals resample images with the weights as they are, and do not hold the uncertainty
/// of the weights.
///
/// - `image`: `[images, channels, height, width]`; `responses`: images x neurons, averaged over trials.
///
/// Time: permutations x images^2 x neurons products. Memory: a copy of the maps, two matrices of images x images, one more a thread,
/// and permutations x neurons in double precision.
///
/// # Errors
/// When shapes do not fit, values are not finite, a channel never changes, folds have fewer than three images, the penalty is not
/// positive, or there are no permutations.
pub fn cross_fitted_contributions(
    image: ArrayView4<'_, f32>,
    responses: ArrayView2<'_, f32>,
    config: &CrossFitConfig,
    seed: Seed,
) -> Result<Contributions> {
    let (images, channels, height, width) = image.dim();
    check_responses(responses, images)?;
    check_finite("image maps", image)?;
    check(images, config)?;
    let maps = scaled(image)?;
    let scores = standard_scores(responses);
    let folds = Folds::new(&scores, config, seed.child("folds"))?;
    let positions = height * width;

    // What each neuron shares with each channel, and the size of what is read of it.
    let mut shared = Array2::<f64>::zeros((responses.ncols(), channels));
    let mut sizes = vec![0.; channels];
    for fold in &folds.0 {
        let weights = matmul(fold.operator.view(), maps.select(Axis(0), &fold.fitted).view())?;
        let (held, own) = (maps.select(Axis(0), &fold.held), scores.select(Axis(0), &fold.held));
        let read = matmul(own.view(), weights.view())?;
        let common = matmul(own.t(), held.view())?;
        let channel = |flat: usize| flat / positions;
        for (mut row, (w, g)) in shared.outer_iter_mut().zip(weights.outer_iter().zip(common.outer_iter())) {
            w.iter()
                .zip(g)
                .enumerate()
                .for_each(|(i, (&w, &g))| row[channel(i)] += f64::from(w) * f64::from(g));
        }
        for row in read.outer_iter() {
            row.iter().enumerate().for_each(|(i, &v)| sizes[channel(i)] += f64::from(v).powi(2));
        }
    }
    let values = (images * positions) as f64;
    let pooled = (sizes.iter().sum::<f64>() / (values * channels as f64)).sqrt();
    if pooled <= f64::from(f32::MIN_POSITIVE) {
        return Err(CoreError::value("responses", "at least one neuron that changes", "none").into());
    }
    let own: Vec<f64> = sizes.iter().map(|s| (s / values).sqrt()).collect();
    let matrix: Vec<Vec<f64>> = shared
        .outer_iter()
        .map(|row| {
            row.iter().zip(&own).map(|(s, own)| if *own > 0. { s / (values * own) } else { 0. }).collect()
        })
        .collect();
    let alignment = (0..channels).map(|c| matrix.iter().map(|row| row[c]).sum()).collect();

    let kernel =
        matmul(maps.view(), maps.t())? * (1. / (values * channels as f64 / images as f64 * pooled)) as f32;
    let every: Vec<u32> = (0..images as u32).collect();
    let by_image = &scores * &folds.read(&kernel, &every)?;
    let orders = orders(images, config.test.permutations, seed.child("permutation"));
    let rows: Vec<Vec<f64>> = orders
        .par_iter()
        .map(|order| Ok(column_means(&(&scores * &folds.read(&kernel, order)?))))
        .collect::<Result<_>>()?;
    let null = Array2::from_shape_fn((rows.len(), responses.ncols()), |(b, n)| rows[b][n]);
    let observed = column_means(&by_image);
    let (standard, standard_null) = standardised(&observed, &null);
    let p = step_down_max_t(&standard, standard_null.view(), Tail::Greater)?.adjusted_p;
    let noise =
        null.columns().into_iter().map(|c| (c.iter().map(|v| v * v).sum::<f64>() / c.len() as f64).sqrt());
    let parts = Parts { total: observed.iter().sum(), alignment, matrix, noise: noise.collect() };
    finish(by_image, p, parts, &config.test, seed)
}

fn check(images: usize, config: &CrossFitConfig) -> Result<()> {
    if config.folds < 2 || images / config.folds.max(1) < 3 {
        let expected = format!("at least 2, of at least 3 of {images} images each");
        return Err(CoreError::value("folds", expected, config.folds).into());
    }
    if !(config.penalty > 0. && config.penalty.is_finite()) {
        return Err(CoreError::value("ridge penalty", "positive and finite", config.penalty).into());
    }
    if config.test.permutations == 0 {
        return Err(CoreError::value("permutations", "at least 1", 0).into());
    }
    Ok(())
}

/// Images x (channels x positions): centred at every position, variance 1 in every channel.
fn scaled(image: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
    let channels: Vec<Array2<f32>> = (0..image.len_of(Axis(1)))
        .map(|c| {
            let rows = centred_channel(image, c);
            let size = root_mean_square(&rows, largest(image, c)).ok_or_else(|| constant(c))?;
            Ok(rows * (1. / size) as f32)
        })
        .collect::<Result<_>>()?;
    let views: Vec<_> = channels.iter().map(|c| c.view()).collect();
    concatenate(Axis(1), &views).map_err(|_| CoreError::shape("maps", image.shape(), [0]).into())
}

/// Columns of mean 0 and variance 1; what never changes is 0.
fn standard_scores(responses: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut scores = responses.to_owned();
    centre(&mut scores);
    let images = scores.nrows() as f64;
    for (mut column, raw) in scores.columns_mut().into_iter().zip(responses.columns()) {
        let size = (column.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / images).sqrt();
        let largest = raw.iter().fold(0., |m: f64, &v| m.max(f64::from(v.abs())));
        let scale = if size > 1e-6 * largest { 1. / size } else { 0. };
        column.mapv_inplace(|v| (f64::from(v) * scale) as f32);
    }
    scores
}

/// One part of the images.
struct Fold {
    held: Vec<usize>,
    fitted: Vec<usize>,
    /// Neurons x fitted images: `(R'R + p m I)^-1 R'`.
    operator: Array2<f32>,
}

struct Folds(Vec<Fold>);

impl Folds {
    fn new(scores: &Array2<f32>, config: &CrossFitConfig, seed: Seed) -> Result<Self> {
        let images = scores.nrows();
        let mut shuffled: Vec<usize> = (0..images).collect();
        shuffled.shuffle(&mut seed.stream("folds"));
        (0..config.folds)
            .map(|fold| {
                let part = |held: bool| {
                    let mut part: Vec<usize> = (0..images)
                        .filter(|i| (i % config.folds == fold) == held)
                        .map(|i| shuffled[i])
                        .collect();
                    part.sort_unstable();
                    part
                };
                let (held, fitted) = (part(true), part(false));
                let operator = operator(&scores.select(Axis(0), &fitted), config.penalty)?;
                Ok(Fold { held, fitted, operator })
            })
            .collect::<Result<Vec<_>>>()
            .map(Self)
    }

    /// What weights fitted on the other folds read from the maps of every image, images x neurons, where response i belongs to
    /// map `order[i]`. `kernel` holds the products of the maps of every two images.
    fn read(&self, kernel: &Array2<f32>, order: &[u32]) -> Result<Array2<f32>> {
        let neurons = self.0.first().map_or(0, |f| f.operator.nrows());
        let mut read = Array2::zeros((order.len(), neurons));
        for fold in &self.0 {
            let block = Array2::from_shape_fn((fold.held.len(), fold.fitted.len()), |(i, j)| {
                kernel[[order[fold.held[i]] as usize, order[fold.fitted[j]] as usize]]
            });
            let part = matmul(block.view(), fold.operator.t())?;
            fold.held.iter().zip(part.outer_iter()).for_each(|(&i, row)| read.row_mut(i).assign(&row));
        }
        Ok(read)
    }
}

/// The ridge operator, by the smaller of the two matrices of products.
fn operator(scores: &Array2<f32>, penalty: f64) -> Result<Array2<f32>> {
    let (images, neurons) = scores.dim();
    let ridge = (penalty * images as f64) as f32;
    let few = neurons <= images;
    let products = if few { matmul(scores.t(), scores.view())? } else { matmul(scores.view(), scores.t())? };
    let eigen = symmetric_eigen(products.view())?;
    let mut scaled = eigen.vectors.clone();
    for (mut column, value) in scaled.columns_mut().into_iter().zip(&eigen.values) {
        column.mapv_inplace(|v| v / (value.max(0.) + ridge));
    }
    let inverse = matmul(scaled.view(), eigen.vectors.t())?;
    Ok(if few { matmul(inverse.view(), scores.t())? } else { matmul(scores.t(), inverse.view())? })
}

fn column_means(values: &Array2<f32>) -> Vec<f64> {
    let mut sums = vec![0.; values.ncols()];
    for row in values.outer_iter() {
        sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v));
    }
    sums.iter().map(|sum| sum / values.nrows() as f64).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;
    use crate::{
        neurons::LinearReadIn,
        testing::{noise2, noise4, on_one_and_two_threads},
    };

    /// Neurons 0 to 3 of `neurons` drive the maps of 90 images, with noise.
    fn world(neurons: usize) -> (Array4<f32>, Array2<f32>) {
        let responses = noise2("responses", [90, neurons]);
        let mut weights = noise4("weights", [neurons, 2, 2, 3]);
        weights.slice_mut(ndarray::s![4.., .., .., ..]).fill(0.);
        let maps = LinearReadIn { weights: weights.view() }.maps(responses.view()).unwrap();
        (maps + noise4("noise", [90, 2, 2, 3]), responses)
    }

    fn config(permutations: usize) -> CrossFitConfig {
        let test = ContributionConfig { permutations, replicates: 100, ..Default::default() };
        CrossFitConfig { test, ..Default::default() }
    }

    #[test]
    fn who_drives_the_maps_is_found_and_sums_hold() {
        let (image, responses) = world(12);
        for penalty in [0.1, 100.] {
            let config = CrossFitConfig { penalty, ..config(300) };
            let [one, two] = on_one_and_two_threads(|| {
                cross_fitted_contributions(image.view(), responses.view(), &config, Seed::new(1)).unwrap()
            });
            assert_eq!(one, two);
            assert_eq!(one.significant(0.05), [0, 1, 2, 3], "{:?}", one.neurons);
            assert!((one.estimates().iter().sum::<f64>() - one.total).abs() < 1e-6);
            for channel in 0..2 {
                let sum: f64 = one.matrix.iter().map(|row| row[channel]).sum();
                assert!((sum - one.alignment[channel]).abs() < 1e-9);
            }
            // Signal 4 of variance 5 can be read at best; fitting 12 weights on 72 images costs some of it.
            assert!(penalty > 1. || (0.75..0.8f64.sqrt()).contains(&one.total), "{}", one.total);
        }
    }

    /// The operator from either matrix of products, and the read-in from either side, are the same.
    #[test]
    fn more_neurons_than_images_read_alike() {
        let scores = standard_scores(noise2("responses", [20, 30]).view());
        let dual = operator(&scores, 0.5).unwrap();
        let ridge = 0.5 * 20.;
        // (R'R + p) M = R'.
        let mut products = scores.t().dot(&scores);
        products.diag_mut().mapv_inplace(|v| v + ridge);
        let back = products.dot(&dual);
        assert!(back.iter().zip(scores.t().iter()).all(|(a, b)| (a - b).abs() < 1e-3));
    }

    #[test]
    fn p_values_hold_under_the_null() {
        // Smallest adjusted p of 8 neurons that have nothing to do with the maps, over 60 draws.
        let image = noise4("image", [40, 2, 2, 2]);
        let below = (0..60)
            .filter(|draw| {
                let responses = noise2(&format!("draw {draw}"), [40, 8]);
                let found =
                    cross_fitted_contributions(image.view(), responses.view(), &config(60), Seed::new(1))
                        .unwrap();
                !found.significant(0.1).is_empty()
            })
            .count();
        // 6 expected; 13 or more have a chance of 0.005.
        assert!((1..13).contains(&below), "{below}");
    }

    #[test]
    fn impossible_requests_are_refused() {
        let (image, responses) = world(12);
        let run = |config: &CrossFitConfig| {
            cross_fitted_contributions(image.view(), responses.view(), config, Seed::new(1)).is_err()
        };
        assert!(
            run(&CrossFitConfig { folds: 1, ..config(10) })
                && run(&CrossFitConfig { folds: 31, ..config(10) })
        );
        assert!(run(&CrossFitConfig { penalty: 0., ..config(10) }) && run(&config(0)));
        let still = Array2::zeros((90, 3));
        assert!(cross_fitted_contributions(image.view(), still.view(), &config(10), Seed::new(1)).is_err());
        let flat = Array4::zeros((90, 1, 2, 2));
        assert!(
            cross_fitted_contributions(flat.view(), responses.view(), &config(10), Seed::new(1)).is_err()
        );
    }
}
