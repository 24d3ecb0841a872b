use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    bootstrap,
    linalg::matmul,
    permutation::{Permutation, Scheme, Tail, mass},
};
use ndarray::{Array1, Array2, Array4, ArrayView2, ArrayView4, Axis, s};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    score::{centre, centred_channel, check_pair, check_responses, constant, largest, root_mean_square},
};

/// A read-in whose maps are linear in the responses, up to an offset: map = sum over neurons of response x weight.
#[derive(Debug, Clone, Copy)]
pub struct LinearReadIn<'a> {
    /// `[neurons, channels, height, width]`.
    pub weights: ArrayView4<'a, f32>,
}

impl LinearReadIn<'_> {
    /// The maps of these responses, without the offset: `[images, channels, height, width]`.
    ///
    /// # Errors
    /// When the responses are of another number of neurons or not finite.
    pub fn maps(&self, responses: ArrayView2<'_, f32>) -> Result<Array4<f32>> {
        let (neurons, channels, height, width) = self.weights.dim();
        check_responses(responses, responses.nrows())?;
        if responses.ncols() != neurons {
            return Err(CoreError::shape("neurons of the read-in", neurons, responses.ncols()).into());
        }
        let maps = matmul(responses, crate::score::flat(self.weights).view())?;
        let shape = (responses.nrows(), channels, height, width);
        maps.into_shape_with_order(shape).map_err(|_| CoreError::shape("maps", shape, [0]).into())
    }
}

/// How contributions are tested.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ContributionConfig {
    /// Random permutations of the images (sign flips, for ablation).
    pub permutations: usize,
    /// Bootstrap replicates over images.
    pub replicates: usize,
    /// Coverage of the intervals.
    pub level: f64,
}

impl Default for ContributionConfig {
    /// 1,000 permutations, 1,000 replicates, 95 %.
    fn default() -> Self {
        Self { permutations: 1000, replicates: 1000, level: 0.95 }
    }
}

/// What one neuron adds to the alignment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NeuronContribution {
    /// The contribution, in units of the alignment (or of the score that was given).
    pub estimate: f64,
    /// Lower end of the percentile bootstrap interval over images.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// One-sided p of no positive contribution, corrected over neurons by step-down maxT.
    pub p_adjusted: f64,
}

/// What every neuron adds to the alignment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contributions {
    /// The whole that is divided: the mean alignment over channels, or the score.
    pub total: f64,
    /// Alignment of each channel; empty for ablation.
    pub alignment: Vec<f64>,
    /// Neurons x channels: what each neuron adds to each channel's alignment. Columns sum to `alignment`; empty
    /// for ablation.
    pub matrix: Vec<Vec<f64>>,
    /// The mean over channels, tested.
    pub neurons: Vec<NeuronContribution>,
    /// Coverage of the intervals.
    pub level: f64,
    /// Permutations.
    pub permutations: usize,
    /// Standard deviation of each estimate under the null: what a neuron that has nothing to do with the image would
    /// show by chance.
    pub noise: Vec<f64>,
    /// Contributions of single images, images x neurons, whose mean over images is `estimate`.
    #[serde(skip)]
    pub by_image: Array2<f32>,
}

impl Contributions {
    /// The contribution of every neuron.
    pub fn estimates(&self) -> Vec<f64> {
        self.neurons.iter().map(|n| n.estimate).collect()
    }

    /// Neurons whose adjusted p is at most `alpha`.
    pub fn significant(&self, alpha: f64) -> Vec<usize> {
        (0..self.neurons.len()).filter(|&n| self.neurons[n].p_adjusted <= alpha).collect()
    }
}

impl fmt::Display for Contributions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.significant(0.05).len();
        let of = self.neurons.len();
        if found == 0 {
            write!(f, "no evidence that any of {of} neurons contributes to a total of {:.3}", self.total)?;
        } else {
            write!(f, "{found} of {of} neurons contribute to a total of {:.3}", self.total)?;
        }
        write!(f, " (adjusted p <= 0.05, step-down maxT, {} permutations)", self.permutations)
    }
}

/// The contribution of every neuron to every channel, for a linear read-in.
///
/// The map of channel c is a sum of terms, one a neuron, and the alignment r_c = cov(A_c, B_c) / (sd A_c sd B_c), over images and
/// positions with every position centred over images, is linear in B_c. So the contribution of neuron n
/// is cov(A_c, response_n x weight_nc) / (sd A_c sd B_c), and the contributions add up to r_c exactly. Negative ones
/// work against alignment. Use images that the read-in was not fitted on.
///
/// The null permutes which response belongs to which image; the statistic is, for each neuron, the correlation over images
/// of its response with what its weights read from the image maps, so that strong and weak neurons are
/// tested alike.
///
/// - `image`: `[images, channels, height, width]`; `responses`: images x neurons, averaged over trials.
///
/// Memory: one matrix of images x neurons in single precision for one channel at a time, two that are kept, one copy of the
/// weights of a channel, and replicates x neurons in double precision: about 250 MB for 10,000 neurons, 500 images and
/// 1,000 replicates, with maps of 300 positions.
///
/// # Errors
/// When shapes do not fit, values are not finite, or a channel of either maps never changes.
pub fn linear_contributions(
    image: ArrayView4<'_, f32>,
    read_in: LinearReadIn<'_>,
    responses: ArrayView2<'_, f32>,
    config: &ContributionConfig,
    seed: Seed,
) -> Result<Contributions> {
    check_responses(responses, image.len_of(Axis(0)))?;
    let neural = read_in.maps(responses)?;
    check_pair(image, neural.view())?;
    let (images, channels, height, width) = image.dim();
    let neurons = responses.ncols();
    let mut centred = responses.to_owned();
    centre(&mut centred);
    let mut read = Array2::<f32>::zeros((images, neurons));
    let mut matrix = vec![Vec::with_capacity(channels); neurons];
    let mut alignment = Vec::with_capacity(channels);
    for channel in 0..channels {
        let scaled = scaled_channel(image, neural.view(), read_in, channel)?;
        let size = scaled.image_size * scaled.neural_size * (height * width) as f64;
        let share = matmul(scaled.image.view(), scaled.weights.t())? * (1. / size) as f32;
        let column = column_products(centred.view(), share.view());
        alignment.push(column.iter().sum());
        matrix.iter_mut().zip(&column).for_each(|(row, &value)| row.push(value));
        read.scaled_add(1. / channels as f32, &share);
    }
    let by_image = &centred * &read;
    let p = read_permuted(&centred, &read, config, seed.child("permutation"))?;
    let total = crate::score::mean(&alignment);
    let noise = permuted_deviations(&centred, &read);
    finish(by_image, p, Parts { total, alignment, matrix, noise }, config, seed)
}

/// The contribution of every neuron to any score, by silencing it: score of all less score of all but this one.
///
/// `score` is given the neurons that are kept, ascending, and returns one value an image (see [`crate::alignment_scores`] and
/// [`super::Silenced`]). It is called once for all and once for each neuron, in parallel. The null flips the
/// signs of the differences of single images; p is one-sided. These contributions need not add up to the total.
///
/// Memory: images x neurons in single precision, twice, and replicates x neurons in double precision.
///
/// # Errors
/// What `score` returns; for fewer than two neurons, or scores of different lengths.
pub fn ablation_contributions(
    neurons: usize,
    score: impl Fn(&[usize]) -> Result<Vec<f64>> + Sync,
    config: &ContributionConfig,
    seed: Seed,
) -> Result<Contributions> {
    if neurons < 2 {
        return Err(CoreError::value("neurons", "at least 2", neurons).into());
    }
    let all: Vec<usize> = (0..neurons).collect();
    let full = score(&all)?;
    let columns: Vec<Vec<f64>> = (0..neurons)
        .into_par_iter()
        .map(|left_out| {
            let kept: Vec<usize> = all.iter().copied().filter(|&n| n != left_out).collect();
            differences(&full, &score(&kept)?)
        })
        .collect::<Result<_>>()?;
    let by_image = Array2::from_shape_fn((full.len(), neurons), |(i, n)| columns[n][i] as f32);
    let p = sign_flipped(by_image.view(), config.permutations, Tail::Greater, seed.child("signs"))?;
    // Of a mean of values of random sign.
    let squares = |n: usize| columns[n].iter().map(|v| v * v).sum::<f64>();
    let noise = (0..neurons).map(|n| squares(n).sqrt() / full.len() as f64).collect();
    let parts = Parts { total: crate::score::mean(&full), alignment: Vec::new(), matrix: Vec::new(), noise };
    finish(by_image, p, parts, config, seed)
}

/// `first` less `second`, which have to be as long.
pub(crate) fn differences(first: &[f64], second: &[f64]) -> Result<Vec<f64>> {
    if first.len() != second.len() || first.is_empty() {
        return Err(CoreError::shape("scores of single images", first.len(), second.len()).into());
    }
    Ok(first.iter().zip(second).map(|(a, b)| a - b).collect())
}

/// p of each column by flips of the signs of whole rows, corrected over columns. A column that is zero
/// throughout has no sign, and p = 1.
pub(crate) fn sign_flipped(
    values: ArrayView2<'_, f32>,
    permutations: usize,
    tail: Tail,
    seed: Seed,
) -> Result<Vec<f64>> {
    let live: Vec<usize> =
        (0..values.ncols()).filter(|&n| values.column(n).iter().any(|v| *v != 0.)).collect();
    let mut p = vec![1.; values.ncols()];
    if live.is_empty() {
        return Ok(p);
    }
    let permutation = Permutation { count: permutations, tail, ..Permutation::default() };
    let scheme = Scheme::sign_flip(values.nrows())?;
    let test = mass::one_sample(&permutation, values.select(Axis(1), &live).view(), &scheme, seed)?;
    live.iter().zip(test.max_t.adjusted_p).for_each(|(&n, adjusted)| p[n] = adjusted);
    Ok(p)
}

/// One channel of both sides.
pub(super) struct ScaledChannel {
    /// Images x positions, centred over images.
    pub image: Array2<f32>,
    /// Neurons x positions.
    pub weights: Array2<f32>,
    /// Standard deviation of the image map over images and positions.
    pub image_size: f64,
    /// That of the neural map.
    pub neural_size: f64,
}

/// One channel of both sides; refuses one that never changes.
pub(super) fn scaled_channel(
    image: ArrayView4<'_, f32>,
    neural: ArrayView4<'_, f32>,
    read_in: LinearReadIn<'_>,
    channel: usize,
) -> Result<ScaledChannel> {
    let a = centred_channel(image, channel);
    let b = centred_channel(neural, channel);
    let image_size = root_mean_square(&a, largest(image, channel)).ok_or_else(|| constant(channel))?;
    let neural_size = root_mean_square(&b, largest(neural, channel)).ok_or_else(|| {
        let found = format!("constant in channel {channel}");
        CoreError::value("neural maps", "varying over images in every channel", found)
    })?;
    let weights = crate::score::flat(read_in.weights.slice(s![.., channel..=channel, .., ..]));
    Ok(ScaledChannel { image: a, weights, image_size, neural_size })
}

/// Mean over rows of the products of matching columns.
fn column_products(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Vec<f64> {
    let mut sums = vec![0.; a.ncols()];
    for (a, b) in a.outer_iter().zip(b.outer_iter()) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (&a, &b))| *sum += f64::from(a) * f64::from(b));
    }
    sums.iter().map(|sum| sum / a.nrows() as f64).collect()
}

/// Correlations of matching columns under permutations of the rows of one.
fn read_permuted(
    responses: &Array2<f32>,
    read: &Array2<f32>,
    config: &ContributionConfig,
    seed: Seed,
) -> Result<Vec<f64>> {
    // Columns that never change read nothing: they keep a correlation of 0.
    let responses = unit_columns(responses);
    let read = unit_columns(read);
    let (images, neurons) = read.dim();
    let permutation =
        Permutation { count: config.permutations, tail: Tail::Greater, ..Permutation::default() };
    let test = permutation.max_t_over(
        &Scheme::free(images)?,
        |arrangement| {
            let mut sums = vec![0.; neurons];
            for (i, &j) in arrangement.order().iter().enumerate() {
                let pairs = responses.row(i).into_iter().zip(read.row(j));
                sums.iter_mut().zip(pairs).for_each(|(sum, (&a, &b))| *sum += f64::from(a * b));
            }
            sums
        },
        seed,
    )?;
    Ok(test.adjusted_p)
}

/// Standard deviation of the mean product of matching columns under permutations of the rows of one, exactly: that of each
/// over the root of their number less 1.
fn permuted_deviations(responses: &Array2<f32>, read: &Array2<f32>) -> Vec<f64> {
    let freedom = (responses.nrows() as f64 - 1.).max(1.);
    let [responses, read] = [responses, read].map(|v| v.mapv(f64::from).var_axis(Axis(0), 0.));
    responses.iter().zip(&read).map(|(a, b)| (a * b / freedom).sqrt()).collect()
}

fn unit_columns(values: &Array2<f32>) -> Array2<f32> {
    let mut values = values.clone();
    centre(&mut values);
    for mut column in values.columns_mut() {
        let length = column.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        if length > 0. {
            column.mapv_inplace(|v| (f64::from(v) / length) as f32);
        }
    }
    values
}

/// What is known before the intervals.
pub(super) struct Parts {
    pub total: f64,
    pub alignment: Vec<f64>,
    pub matrix: Vec<Vec<f64>>,
    pub noise: Vec<f64>,
}

pub(super) fn finish(
    by_image: Array2<f32>,
    p: Vec<f64>,
    parts: Parts,
    config: &ContributionConfig,
    seed: Seed,
) -> Result<Contributions> {
    let images = by_image.nrows();
    let counts = resample_counts(images, config.replicates, seed.child("bootstrap"));
    let replicates = matmul(counts.view(), by_image.view())?;
    let mean: Array1<f64> = by_image
        .columns()
        .into_iter()
        .map(|c| c.iter().map(|&v| f64::from(v)).sum::<f64>() / images as f64)
        .collect();
    let neurons = (0..by_image.ncols())
        .into_par_iter()
        .map(|n| {
            let drawn: Vec<f64> = replicates.column(n).iter().map(|&v| f64::from(v)).collect();
            let interval = bootstrap::interval(mean[n], &drawn, None, config.level)?;
            Ok(NeuronContribution {
                estimate: mean[n],
                low: interval.low,
                high: interval.high,
                p_adjusted: p[n],
            })
        })
        .collect::<Result<_>>()?;
    let Parts { total, alignment, matrix, noise } = parts;
    let permutations = config.permutations;
    let level = config.level;
    Ok(Contributions { total, alignment, matrix, neurons, level, permutations, noise, by_image })
}

/// Replicates x images: the share of each image in each bootstrap sample.
pub(crate) fn resample_counts(images: usize, replicates: usize, seed: Seed) -> Array2<f32> {
    let mut counts = Array2::zeros((replicates, images));
    counts.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(b, mut row)| {
        let mut stream = seed.index(b).stream("images");
        for _ in 0..images {
            row[stream.random_range(0..images)] += 1. / images as f32;
        }
    });
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        neurons::{Baseline, Silenced},
        score::alignment_scores,
        testing::{noise2, noise4, on_one_and_two_threads},
    };

    /// Neurons 0 to 3 of 12 carry the maps, with weights of falling size.
    fn world() -> (Array4<f32>, Array4<f32>, Array2<f32>) {
        let responses = noise2("responses", [80, 12]);
        let mut weights = noise4("weights", [12, 2, 2, 3]);
        let truth = {
            let mut carried = weights.clone();
            for n in 0..12 {
                let size = if n < 4 { 1. / (1. + n as f32 * 0.4) } else { 0. };
                carried.index_axis_mut(Axis(0), n).mapv_inplace(|w| w * size);
            }
            LinearReadIn { weights: carried.view() }.maps(responses.view()).unwrap()
        };
        weights.slice_mut(s![4.., .., .., ..]).mapv_inplace(|w| 0.3 * w);
        (truth + 0.5 * noise4("noise", [80, 2, 2, 3]), weights, responses)
    }

    #[test]
    fn contributions_add_up_and_find_who_contributes() {
        let (image, weights, responses) = world();
        let read_in = LinearReadIn { weights: weights.view() };
        let config = ContributionConfig { permutations: 400, replicates: 200, ..Default::default() };
        let found =
            linear_contributions(image.view(), read_in, responses.view(), &config, Seed::new(1)).unwrap();
        let direct = alignment_scores(image.view(), read_in.maps(responses.view()).unwrap().view()).unwrap();
        assert!((found.total - crate::score::mean(&direct)).abs() < 1e-5);
        for channel in 0..2 {
            let sum: f64 = found.matrix.iter().map(|row| row[channel]).sum();
            assert!((sum - found.alignment[channel]).abs() < 1e-9);
        }
        assert!((found.estimates().iter().sum::<f64>() - found.total).abs() < 1e-5);
        assert_eq!(found.significant(0.05), [0, 1, 2, 3], "{:?}", found.neurons);
        assert!(found.neurons[..4].iter().all(|n| n.low > 0.05), "{:?}", found.neurons);
    }

    #[test]
    fn ablation_agrees_about_who_contributes() {
        let (image, weights, responses) = world();
        let read_in = LinearReadIn { weights: weights.view() };
        let silenced =
            Silenced::new(|r: ArrayView2<'_, f32>| read_in.maps(r), responses.view(), Baseline::Mean)
                .unwrap();
        let score = |kept: &[usize]| alignment_scores(image.view(), silenced.maps(kept)?.view());
        let config = ContributionConfig { permutations: 400, replicates: 200, ..Default::default() };
        let found = ablation_contributions(12, score, &config, Seed::new(1)).unwrap();
        let mut strongest: Vec<usize> = (0..12).collect();
        strongest.sort_by(|&a, &b| found.neurons[b].estimate.total_cmp(&found.neurons[a].estimate));
        strongest.truncate(4);
        strongest.sort_unstable();
        assert_eq!(strongest, [0, 1, 2, 3]);
        assert!(found.matrix.is_empty() && found.neurons[0].p_adjusted < 0.05);
    }

    #[test]
    fn shuffled_images_give_no_evidence_and_threads_do_not_matter() {
        let (image, weights, responses) = world();
        let order: Vec<usize> = (0..80).map(|i| (i * 7 + 3) % 80).collect();
        let image = image.select(Axis(0), &order);
        let read_in = LinearReadIn { weights: weights.view() };
        let config = ContributionConfig { permutations: 200, replicates: 100, ..Default::default() };
        let [one, two] = on_one_and_two_threads(|| {
            linear_contributions(image.view(), read_in, responses.view(), &config, Seed::new(1)).unwrap()
        });
        assert_eq!(one, two);
        assert!(one.significant(0.05).is_empty());
        assert!(one.to_string().starts_with("no evidence"), "{one}");
    }
}
