//! Identification of an image from another repeat of it: a ceiling, not a decoder of unseen images.

use dina_stats::reliability::halves;
use ndarray::{Array2, ArrayView2, Axis, concatenate};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    correlation::correlate,
    identification::Pool,
    ranks::{Ranks, rank_by_correlation},
};

/// The self-retrieval ceiling: how well one half of the repeats identifies the image in the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelfRetrieval {
    /// Number of candidates, which are all images given that have two repeats.
    pub pool: usize,
    /// Fraction of rank 1.
    pub top1: f64,
    /// Fraction of rank 5 or better.
    pub top5: f64,
    /// Two-way identification.
    pub two_way: f64,
    /// Median rank.
    pub median_rank: f64,
}

impl From<&Ranks> for SelfRetrieval {
    fn from(ranks: &Ranks) -> Self {
        Self {
            pool: ranks.pool(),
            top1: ranks.top(1),
            top5: ranks.top(5),
            two_way: ranks.two_way(),
            median_rank: ranks.median(),
        }
    }
}

/// Identifies each image from the mean of its even repeats (the first, third, ...) among the means of the
/// odd ones; with two repeats, repeat 1 among repeats 2, which is the direction of Stringer et al.
///
/// Every neuron is scaled by its standard deviation over the single trials of the pool and centred
/// within each half, and the similarity is the correlation over neurons. With more than two repeats a
/// neuron so keeps the weight that its reliability gives it: the means of an unreliable one vary
/// less. A neuron that never changes says nothing.
///
/// The responses are taken as they are otherwise: give them after the transformations (a logarithm, removed
/// components) that the decoder under comparison sees.
///
/// - `responses`: presentations x neurons.
/// - `trials`: per image of the pool its rows of `responses`, in the order shown. Images with fewer than
///   two repeats are left out.
///
/// # Errors
/// [`Error::Statistics`] when no image has two repeats or a row is not there, [`Error::Shape`] when
/// only one image has, [`Error::NotFinite`].
pub fn self_retrieval(responses: ArrayView2<f32>, trials: &[Vec<usize>]) -> Result<Ranks> {
    let halves = halves(responses, trials)?;
    let rows: Vec<usize> = halves.stimuli.iter().flat_map(|&s| &trials[s]).copied().collect();
    let scale = inverse_deviation(responses, &rows)?;
    let truth: Vec<usize> = (0..halves.stimuli.len()).collect();
    rank_by_correlation(
        centred_and_scaled(halves.first, &scale).view(),
        centred_and_scaled(halves.second, &scale).view(),
        &truth,
    )
}

fn column_means(values: ArrayView2<f32>, rows: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0_f64; values.ncols()];
    for &row in rows {
        for (sum, &v) in sums.iter_mut().zip(values.row(row)) {
            *sum += f64::from(v);
        }
    }
    sums.iter().map(|sum| sum / rows.len() as f64).collect()
}

/// 1 / standard deviation of each column over some rows; 0 for a constant column.
fn inverse_deviation(values: ArrayView2<f32>, rows: &[usize]) -> Result<Vec<f64>> {
    Error::all_finite("responses", values)?;
    let means = column_means(values, rows);
    let mut squares = vec![0.0_f64; values.ncols()];
    for &row in rows {
        for ((sum, &v), mean) in squares.iter_mut().zip(values.row(row)).zip(&means) {
            *sum += (f64::from(v) - mean).powi(2);
        }
    }
    let count = rows.len() as f64;
    Ok(squares
        .iter()
        .zip(&means)
        .map(|(&square, mean)| {
            // Rounding leaves a constant column with a tiny variance.
            let varies = square > 1e-12 * count * mean * mean && square > 0.0;
            if varies { (count / square).sqrt() } else { 0.0 }
        })
        .collect())
}

fn centred_and_scaled(mut half: Array2<f32>, scale: &[f64]) -> Array2<f32> {
    let means = column_means(half.view(), &(0..half.nrows()).collect::<Vec<_>>());
    half.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut row| {
        for ((v, mean), scale) in row.iter_mut().zip(&means).zip(scale) {
            *v = ((f64::from(*v) - mean) * scale) as f32;
        }
    });
    half
}

/// Stringer's nearest neighbour, on single trials: each trial against the other repeats of every
/// candidate, by correlation over neurons.
///
/// Repeat k of an image is compared, for every candidate, with the mean of the candidate's repeats
/// other than its k-th, so that all candidates are averaged over equally many. With two repeats that is
/// each repeat against the other one. The responses are taken as they are: preprocess them first.
///
/// - `responses`: presentations x neurons.
/// - `trials`: per candidate its rows of `responses`; at least two each.
/// - `images`: the number of each candidate in the stimulus set.
///
/// The queries of the pool go repeat by repeat: the first of every candidate, then the second, ...
///
/// # Errors
/// [`Error::Value`] for a candidate with fewer than two repeats or a row that is not there,
/// [`Error::NotFinite`], and as [`Pool::new`].
pub fn nearest_neighbour(
    responses: ArrayView2<f32>,
    trials: &[Vec<usize>],
    images: &[usize],
) -> Result<Pool> {
    if let Some(few) = trials.iter().map(Vec::len).find(|&n| n < 2) {
        return Err(Error::value("repeats of a candidate", "at least 2", few));
    }
    if let Some(row) = trials.iter().flatten().find(|&&r| r >= responses.nrows()) {
        return Err(Error::value("trial", format!("a row below {}", responses.nrows()), row));
    }
    let repeats = trials.iter().map(Vec::len).max().unwrap_or(0);
    let mut truth = Vec::new();
    let mut similarity = Vec::new();
    for k in 0..repeats {
        let shown: Vec<usize> = (0..trials.len()).filter(|&i| trials[i].len() > k).collect();
        let rows: Vec<usize> = shown.iter().map(|&i| trials[i][k]).collect();
        let queries = responses.select(Axis(0), &rows);
        let others = means_without(responses, trials, k);
        similarity.push(correlate(queries.view(), others.view())?);
        truth.extend(shown);
    }
    let blocks: Vec<_> = similarity.iter().map(|block| block.view()).collect();
    let similarity = concatenate(Axis(0), &blocks)
        .map_err(|error| Error::shape("similarity", error.to_string(), blocks.len()))?;
    Pool::new(similarity, truth, images.to_vec())
}

/// Per candidate the mean over its repeats but the k-th.
fn means_without(responses: ArrayView2<f32>, trials: &[Vec<usize>], k: usize) -> Array2<f32> {
    let mut means = Array2::<f32>::zeros((trials.len(), responses.ncols()));
    means.axis_iter_mut(Axis(0)).into_par_iter().zip(trials).for_each(|(mut mean, rows)| {
        let others = rows.iter().enumerate().filter(|(repeat, _)| *repeat != k);
        let mut count = 0.0;
        for (_, &row) in others {
            mean += &responses.row(row);
            count += 1.0;
        }
        mean /= count;
    });
    means
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use dina_core::Seed;
    use ndarray::Array;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn recording(
        images: usize,
        repeats: usize,
        neurons: usize,
        noise: f32,
    ) -> (Array2<f32>, Vec<Vec<usize>>) {
        let mut rng = Seed::new(5).stream("recording");
        let mut normal = || -> f32 { StandardNormal.sample(&mut rng) };
        let signal = Array::from_shape_simple_fn((images, neurons), &mut normal);
        // A large offset and gain on one neuron, which z-scoring has to take out.
        let responses = Array::from_shape_fn((images * repeats, neurons), |(t, n)| {
            let value = signal[[t % images, n]] + noise * normal();
            if n == 0 { 500.0 + 100.0 * value } else { value }
        });
        let trials = (0..images).map(|i| (0..repeats).map(|k| k * images + i).collect()).collect();
        (responses, trials)
    }

    #[test]
    fn repeats_find_each_other() {
        let (responses, trials) = recording(80, 2, 200, 1.0);
        let ranks = self_retrieval(responses.view(), &trials).unwrap();
        let found = SelfRetrieval::from(&ranks);
        assert_eq!(found.pool, 80);
        assert!(found.top1 > 0.95, "{found:?}");
        let pool =
            nearest_neighbour(responses.slice(ndarray::s![.., 1..]), &trials, &(0..80).collect::<Vec<_>>())
                .unwrap();
        assert_eq!(pool.similarity().dim(), (160, 80));
        assert!(pool.ranks().unwrap().top(1) > 0.95);
    }

    #[test]
    fn noise_is_at_chance() {
        let (responses, trials) = recording(200, 2, 50, 100.0);
        let ranks = self_retrieval(responses.view(), &trials).unwrap();
        assert_relative_eq!(ranks.two_way(), 0.5, epsilon = 0.1);
        assert!(ranks.top(1) < 0.05);
    }

    /// A trial never meets itself: otherwise pure noise would be identified.
    #[test]
    fn more_repeats_leave_the_own_trial_out() {
        let (responses, trials) = recording(40, 5, 60, 1000.0);
        let pool =
            nearest_neighbour(responses.slice(ndarray::s![.., 1..]), &trials, &(0..40).collect::<Vec<_>>())
                .unwrap();
        let ranks = pool.ranks().unwrap();
        assert_eq!(ranks.len(), 200);
        assert!(ranks.top(1) < 0.1, "{}", ranks.top(1));
        assert_relative_eq!(ranks.two_way(), 0.5, epsilon = 0.1);
    }

    #[test]
    fn a_silent_half_says_nothing() {
        let (mut responses, trials) = recording(30, 2, 40, 0.5);
        responses.slice_mut(ndarray::s![..30, 3]).fill(0.1);
        assert!(self_retrieval(responses.view(), &trials).unwrap().top(1) > 0.9);
    }

    #[test]
    fn refuses_nonsense() {
        let (responses, mut trials) = recording(5, 2, 4, 1.0);
        trials[2].pop();
        assert!(nearest_neighbour(responses.view(), &trials, &[0, 1, 2, 3, 4]).is_err());
        assert_eq!(self_retrieval(responses.view(), &trials).unwrap().pool(), 4);
        trials[2].push(99);
        assert!(nearest_neighbour(responses.view(), &trials, &[0, 1, 2, 3, 4]).is_err());
    }
}
