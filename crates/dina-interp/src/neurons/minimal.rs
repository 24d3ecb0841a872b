use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    bootstrap::{Bootstrap, Interval, Resampling},
    linalg::matmul,
    permutation::{Tail, p_value},
};
use ndarray::{Array2, ArrayView2, ArrayView4, Axis};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{LinearReadIn, contribution::scaled_channel};
use crate::{
    Result,
    score::{centre, check_pair, check_responses, mean},
};

/// Penalties of a path, and most sweeps over all neurons for each.
const PENALTIES: usize = 200;
const SWEEPS: usize = 200;

/// How a small set of neurons is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubsetMethod {
    /// Forward selection: in each step the neuron that raises the alignment most.
    Greedy,
    /// Non-negative garrote (Breiman 1995): the factors s >= 0 of the neurons' terms that minimise
    /// |A - sum s_n term_n|^2 / 2 + lambda sum s, with the lambda at which the wanted number of neurons has a factor
    /// above 0. L1 of the terms, so that a neuron is in or out for all channels and positions.
    L1,
}

/// Which subsets are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MinimalConfig {
    /// How.
    pub method: SubsetMethod,
    /// Number of neurons.
    pub size: usize,
    /// Resamples of the images (each with its own seed) in which the choice is made again.
    pub resamples: usize,
    /// Draws of random subsets for the null of the overlap.
    pub draws: usize,
    /// Coverage of intervals.
    pub level: f64,
}

impl MinimalConfig {
    /// 20 resamples, 1,000 draws, 95 %.
    pub fn new(method: SubsetMethod, size: usize) -> Self {
        Self { method, size, resamples: 20, draws: 1000, level: 0.95 }
    }
}

/// A small set of neurons that rebuilds the alignment, and whether it would be chosen again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MinimalSubsets {
    /// How it was chosen.
    pub method: SubsetMethod,
    /// Neurons in all.
    pub neurons: usize,
    /// The set from all images, in the order in which neurons came in.
    pub chosen: Vec<usize>,
    /// Alignment of the summed terms of the first k of them, k = 1, 2, ..., on the images of the choice: optimistic; score
    /// the set on other images.
    pub alignment: Vec<f64>,
    /// Alignment of all neurons.
    pub full: f64,
    /// The choices in resamples of the images.
    pub resampled: Vec<Vec<usize>>,
    /// For each neuron the share of resamples that chose it.
    pub frequency: Vec<f64>,
    /// Mean over pairs of resamples of the Jaccard index, intersection over union, with a bootstrap interval over resamples.
    pub jaccard: Interval,
    /// Mean Jaccard index of as many random sets of the same sizes.
    pub chance: f64,
    /// Mean of Kuncheva's index, (intersection n - k^2) / (k (n - k)): 1 for equal sets, 0 at chance (Kuncheva 2007), for
    /// sets of different sizes with k^2 and k (n - k) replaced by the expected and the largest excess. 0 where every neuron
    /// is chosen.
    pub kuncheva: f64,
    /// p of an overlap as large by chance.
    pub p: f64,
}

impl fmt::Display for MinimalSubsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} neurons reach an alignment of {:.3} of {:.3}; resamples of the images choose sets with a Jaccard index of \
             {:.3} ({:.3} to {:.3}; chance {:.3}, p = {:.4}), Kuncheva's index {:.3}",
            self.chosen.len(),
            self.neurons,
            self.alignment.last().copied().unwrap_or(0.),
            self.full,
            self.jaccard.estimate,
            self.jaccard.low,
            self.jaccard.high,
            self.chance,
            self.p,
            self.kuncheva
        )
    }
}

/// A smallest set of neurons for a linear read-in, chosen on all images and again on resamples of them.
///
/// Everything follows from the products of the terms with each other and with the image maps, every channel scaled so that the
/// full neural map has variance 1: <term_n, term_m> = (responses' responses)_nm x (weights weights')_nm. Resamples draw
/// half of the images without replacement (a bootstrap sample would hold images twice). As half of the images of two resamples
/// may be shared, stability is that of the choice on such data, not over new images. Give images that the read-in was not
/// fitted on.
///
/// Memory: two matrices of neurons x neurons in single precision, and one more a thread: for 10,000 neurons 0.4 GB each; select
/// neurons by contribution first where that is too much.
///
/// # Errors
/// When shapes do not fit, values are not finite, a channel never changes, or the size, resamples or draws are impossible.
pub fn minimal_subsets(
    image: ArrayView4<'_, f32>,
    read_in: LinearReadIn<'_>,
    responses: ArrayView2<'_, f32>,
    config: &MinimalConfig,
    seed: Seed,
) -> Result<MinimalSubsets> {
    let (images, neurons) = responses.dim();
    check_responses(responses, image.shape()[0])?;
    if config.size == 0 || config.size > neurons {
        return Err(CoreError::value("size of the set", format!("1 to {neurons}"), config.size).into());
    }
    if config.resamples < 3 || config.draws == 0 || images < 6 {
        let found = format!("{}, {} and {images}", config.resamples, config.draws);
        let expected = "at least 3, 1 and 6";
        return Err(CoreError::value("resamples, draws and images", expected, found).into());
    }
    let terms = Terms::new(image, read_in, responses)?;
    let all: Vec<usize> = (0..images).collect();
    let products = terms.products(&all)?;
    let chosen = products.choose(config.method, config.size);
    let alignment = (1..=chosen.len()).map(|k| products.alignment(&chosen[..k])).collect();
    let full = products.alignment(&(0..neurons).collect::<Vec<_>>());
    drop(products);
    let resampled: Vec<Vec<usize>> = (0..config.resamples)
        .into_par_iter()
        .map(|b| {
            let half = draw(images, images / 2, seed.child("images").index(b));
            let mut set = terms.products(&half)?.choose(config.method, config.size);
            set.sort_unstable();
            Ok(set)
        })
        .collect::<Result<_>>()?;
    let mut frequency = vec![0.; neurons];
    resampled.iter().flatten().for_each(|&n| frequency[n] += 1. / config.resamples as f64);
    let jaccards = table(&resampled, jaccard);
    let interval = Bootstrap { replicates: 1000, level: config.level, bca: false }.interval(
        &Resampling::items(config.resamples),
        |items| overall(&jaccards, items),
        seed.child("bootstrap"),
    )?;
    let every: Vec<usize> = (0..config.resamples).collect();
    let null: Vec<f64> = (0..config.draws)
        .into_par_iter()
        .map(|d| {
            let seed = seed.child("random sets").index(d);
            let random = |(i, set): (usize, &Vec<usize>)| draw(neurons, set.len(), seed.index(i));
            let sets: Vec<Vec<usize>> = resampled.iter().enumerate().map(random).collect();
            overall(&table(&sets, jaccard), &every)
        })
        .collect();
    let p = p_value(interval.estimate, &null, Tail::Greater, false)?;
    Ok(MinimalSubsets {
        method: config.method,
        neurons,
        chosen,
        alignment,
        full,
        frequency,
        jaccard: interval,
        chance: mean(&null),
        kuncheva: overall(&table(&resampled, |a, b| kuncheva(a, b, neurons)), &every),
        p,
        resampled,
    })
}

/// Some of the images (or neurons), ascending.
fn draw(of: usize, size: usize, seed: Seed) -> Vec<usize> {
    let mut all: Vec<usize> = (0..of).collect();
    let (drawn, _) = all.partial_shuffle(&mut seed.stream("subset"), size);
    let mut drawn = drawn.to_vec();
    drawn.sort_unstable();
    drawn
}

fn intersection(a: &[usize], b: &[usize]) -> f64 {
    a.iter().filter(|n| b.binary_search(n).is_ok()).count() as f64
}

fn jaccard(a: &[usize], b: &[usize]) -> f64 {
    let common = intersection(a, b);
    let union = (a.len() + b.len()) as f64 - common;
    if union > 0. { common / union } else { 0. }
}

fn kuncheva(a: &[usize], b: &[usize], neurons: usize) -> f64 {
    let expected = (a.len() * b.len()) as f64 / neurons as f64;
    let largest = a.len().min(b.len()) as f64 - expected;
    if largest > 0. { (intersection(a, b) - expected) / largest } else { 0. }
}

/// An index of every two sets.
fn table(sets: &[Vec<usize>], index: impl Fn(&[usize], &[usize]) -> f64) -> Array2<f64> {
    Array2::from_shape_fn((sets.len(), sets.len()), |(i, j)| index(&sets[i], &sets[j]))
}

/// Mean over pairs of different resamples among those drawn; of all where only one was drawn.
fn overall(table: &Array2<f64>, drawn: &[usize]) -> f64 {
    let (mut sum, mut count) = (0., 0.);
    for (k, &i) in drawn.iter().enumerate() {
        for &j in drawn[..k].iter().filter(|j| **j != i) {
            sum += table[[i, j]];
            count += 1.;
        }
    }
    if count > 0. { sum / count } else { overall(table, &(0..table.nrows()).collect::<Vec<_>>()) }
}

/// What the terms of the neurons are made of.
struct Terms {
    /// Images x neurons, centred over all images.
    responses: Array2<f32>,
    /// Images x neurons: the weights' reading of the image maps.
    read: Array2<f32>,
    /// Products of the weights, neurons x neurons.
    weights: Array2<f32>,
}

impl Terms {
    fn new(
        image: ArrayView4<'_, f32>,
        read_in: LinearReadIn<'_>,
        responses: ArrayView2<'_, f32>,
    ) -> Result<Self> {
        let neural = read_in.maps(responses)?;
        check_pair(image, neural.view())?;
        let (images, channels, height, width) = image.dim();
        let neurons = responses.ncols();
        let mut centred = responses.to_owned();
        centre(&mut centred);
        let mut read = Array2::zeros((images, neurons));
        let mut products = Array2::zeros((neurons, neurons));
        let share = 1. / (channels * height * width) as f64;
        for channel in 0..channels {
            let scaled = scaled_channel(image, neural.view(), read_in, channel)?;
            let (weights, size) = (scaled.weights, scaled.neural_size);
            read.scaled_add(
                (share / (scaled.image_size * size)) as f32,
                &matmul(scaled.image.view(), weights.t())?,
            );
            products.scaled_add((share / (size * size)) as f32, &matmul(weights.view(), weights.t())?);
        }
        Ok(Self { responses: centred, read, weights: products })
    }

    fn products(&self, images: &[usize]) -> Result<Products> {
        let responses = self.responses.select(Axis(0), images);
        let share = 1. / images.len() as f32;
        let mut terms = matmul(responses.t(), responses.view())?;
        terms.zip_mut_with(&self.weights, |r, w| *r *= w * share);
        let neurons = responses.ncols();
        let with_image = (0..neurons)
            .map(|n| {
                let products = responses
                    .column(n)
                    .into_iter()
                    .zip(images)
                    .map(|(&r, &i)| f64::from(r) * f64::from(self.read[[i, n]]));
                products.sum::<f64>() / images.len() as f64
            })
            .collect();
        Ok(Products { terms, with_image })
    }
}

/// Products of terms with each other, and with the image maps of variance 1.
struct Products {
    terms: Array2<f32>,
    with_image: Vec<f64>,
}

impl Products {
    /// Correlation of the sum of some terms with the image maps; 0 where the sum is nothing.
    fn alignment(&self, set: &[usize]) -> f64 {
        let shared: f64 = set.iter().map(|&n| self.with_image[n]).sum();
        let square: f64 =
            set.iter().map(|&n| set.iter().map(|&m| f64::from(self.terms[[n, m]])).sum::<f64>()).sum();
        if square > 0. { shared / square.sqrt() } else { 0. }
    }

    fn choose(&self, method: SubsetMethod, size: usize) -> Vec<usize> {
        match method {
            SubsetMethod::Greedy => self.greedy(size),
            SubsetMethod::L1 => self.garrote(size),
        }
    }

    fn greedy(&self, size: usize) -> Vec<usize> {
        let neurons = self.with_image.len();
        let mut chosen = Vec::with_capacity(size);
        let mut inside = vec![false; neurons];
        // Of every neuron with the sum of those chosen.
        let mut cross = vec![0.; neurons];
        let (mut shared, mut square) = (0., 0.);
        for _ in 0..size {
            let gain = |n: usize| {
                let square: f64 = square + 2. * cross[n] + f64::from(self.terms[[n, n]]);
                if square > 0. { (shared + self.with_image[n]) / square.sqrt() } else { 0. }
            };
            let best = (0..neurons)
                .filter(|&n| !inside[n])
                .max_by(|&a, &b| gain(a).total_cmp(&gain(b)).then(b.cmp(&a)));
            let Some(best) = best else { break };
            shared += self.with_image[best];
            square += 2. * cross[best] + f64::from(self.terms[[best, best]]);
            cross.iter_mut().zip(self.terms.row(best)).for_each(|(c, &t)| *c += f64::from(t));
            inside[best] = true;
            chosen.push(best);
        }
        chosen
    }

    /// Cyclic coordinate descent along a falling penalty, each start being the solution before; fewer than `size` neurons
    /// where no more have a positive factor at a thousandth of the largest penalty.
    fn garrote(&self, size: usize) -> Vec<usize> {
        let neurons = self.with_image.len();
        let largest = self.with_image.iter().copied().fold(0., f64::max);
        let mut factors = vec![0.; neurons];
        // What of each product with the image maps the sum does not explain.
        let mut left = self.with_image.clone();
        let mut entered: Vec<usize> = Vec::new();
        for step in 1..=PENALTIES {
            let penalty = largest * 1e-3f64.powf(step as f64 / PENALTIES as f64);
            for _ in 0..SWEEPS {
                let mut moved = 0f64;
                for n in 0..neurons {
                    let own = f64::from(self.terms[[n, n]]);
                    if own <= 0. {
                        continue;
                    }
                    let factor = ((left[n] + own * factors[n] - penalty) / own).max(0.);
                    let change: f64 = factor - factors[n];
                    if change != 0. {
                        left.iter_mut()
                            .zip(self.terms.row(n))
                            .for_each(|(l, &t)| *l -= change * f64::from(t));
                        factors[n] = factor;
                        moved = moved.max(change.abs() * own.sqrt());
                    }
                }
                if moved < 1e-6 {
                    break;
                }
            }
            entered.retain(|&n| factors[n] > 0.);
            let mut new: Vec<usize> =
                (0..neurons).filter(|&n| factors[n] > 0. && !entered.contains(&n)).collect();
            new.sort_by(|&a, &b| factors[b].total_cmp(&factors[a]));
            entered.extend(new);
            if entered.len() >= size {
                break;
            }
        }
        entered.truncate(size);
        entered
    }
}

#[cfg(test)]
mod tests {
    use ndarray::s;

    use super::*;
    use crate::testing::{noise2, noise4, on_one_and_two_threads};

    /// Neurons 0, 1 and 2 of 30 carry the maps.
    fn found(method: SubsetMethod) -> MinimalSubsets {
        let responses = noise2("responses", [60, 30]);
        let mut weights = noise4("weights", [30, 2, 2, 3]);
        weights.slice_mut(s![3.., .., .., ..]).mapv_inplace(|w| 0.2 * w);
        let mut carried = weights.clone();
        carried.slice_mut(s![3.., .., .., ..]).fill(0.);
        let image = LinearReadIn { weights: carried.view() }.maps(responses.view()).unwrap();
        let image = image + 0.5 * noise4("noise", [60, 2, 2, 3]);
        let config = MinimalConfig { draws: 200, ..MinimalConfig::new(method, 3) };
        let read_in = LinearReadIn { weights: weights.view() };
        minimal_subsets(image.view(), read_in, responses.view(), &config, Seed::new(1)).unwrap()
    }

    #[test]
    fn the_carriers_are_chosen_again_and_again() {
        for method in [SubsetMethod::Greedy, SubsetMethod::L1] {
            let [one, two] = on_one_and_two_threads(|| found(method));
            assert_eq!(one, two);
            let mut chosen = one.chosen.clone();
            chosen.sort_unstable();
            assert_eq!(chosen, [0, 1, 2], "{method:?}");
            assert!(one.jaccard.low > 0.8 && one.kuncheva > 0.9 && one.p < 0.01, "{one}");
            assert!((one.chance - 0.055).abs() < 0.02, "{}", one.chance);
            assert!(one.alignment.is_sorted() && one.alignment[2] > 0.9 * one.full, "{one:?}");
            assert!(one.frequency[0] > 0.95 && one.frequency[10] < 0.05);
        }
    }

    /// Orthogonal terms: the garrote's factors are (b - lambda) / own, and neurons come in by b.
    #[test]
    fn orthogonal_terms_enter_by_their_product_with_the_image() {
        let terms = Array2::from_diag(&ndarray::arr1(&[1f32, 1., 1., 1.]));
        let products = Products { terms, with_image: vec![0.2, 0.5, -0.9, 0.4] };
        assert_eq!(products.garrote(3), [1, 3, 0]);
        assert_eq!(products.garrote(4), [1, 3, 0]);
        // Greedy stops at no number: it takes what harms least.
        assert_eq!(products.greedy(4), [1, 3, 0, 2]);
        assert!((products.alignment(&[1, 3]) - 0.9 / 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn indices_by_hand() {
        assert_eq!(jaccard(&[0, 1, 2], &[1, 2, 3]), 0.5);
        assert!((kuncheva(&[0, 1, 2], &[1, 2, 3], 6) - 0.5 / 1.5).abs() < 1e-12);
        assert_eq!(kuncheva(&[0, 1], &[0, 1], 2), 0.);
    }
}
