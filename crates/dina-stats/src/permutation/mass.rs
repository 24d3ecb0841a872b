//! maxT for correlations and t statistics of many channels, as matrix products.
//!
//! Whatever the scheme, these statistics grow with the cosine between a rearranged weight per item and
//! the channel scaled to length one: Pearson's r is that cosine itself (both centred); the two-sample t
//! is r sqrt(df / (1 - r^2)) with the group as regressor; the one-sample t under sign flips is the same
//! function of the cosine with the signs, because flips leave the sum of squares as it is. The function
//! is increasing and equal for all channels, so that p-values of r are those of t. A block of
//! permutations is then one product, channels x items by items x permutations.
//!
//! All permutations are looked at, whatever [`Permutation::stop_after`] says: an early stop is for statistics that are slow
//! ([`Permutation::max_t_over`]).
//!
//! Memory beyond the data: one scaled copy of them, and half a megabyte a thread.

use std::fmt;

use dina_core::Seed;
use ndarray::{ArrayView2, Axis, concatenate};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{MaxT, Permutation, Scheme, Tail, max_t::Ladder, tail::extremeness, test::Plan};
use crate::{
    Error, Result,
    linalg::{Real, matmul_into},
};

/// Permutations in one product.
const PERMUTATIONS: usize = 256;
/// Channels in one product.
const CHANNELS: usize = 256;

/// The outcome of a test of many channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MassTest {
    /// Statistics, and p adjusted for the number of channels by step-down maxT.
    pub max_t: MaxT,
    /// p of each channel on its own, not corrected for their number.
    pub p: Vec<f64>,
}

impl fmt::Display for MassTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.max_t.fmt(f)
    }
}

/// Pearson correlation of one regressor with every channel; the regressor is rearranged.
///
/// - `regressor`: one value an item.
/// - `data`: items x channels. In `f32` a p-value can differ from that in `f64` where two statistics agree
///   to some 1e-6; such ties count as reached.
///
/// The statistic returned is r.
///
/// # Errors
/// [`Error::Shape`] when items differ from those of the scheme, [`Error::TooFew`] below three of them,
/// [`Error::NotFinite`], [`Error::Constant`] for the regressor or a channel.
pub fn correlation<T: Real>(
    permutation: &Permutation,
    regressor: &[f64],
    data: ArrayView2<T>,
    scheme: &Scheme,
    seed: Seed,
) -> Result<MassTest> {
    Error::at_least("items", 3, regressor.len())?;
    let mut weights = regressor.to_vec();
    Error::all_finite("regressor", weights.iter().copied())?;
    centre(&mut weights);
    unit("regressor", 0, &mut weights)?;
    run(permutation, &weights, &Scaled::new(data, true)?, scheme, seed, |r| r)
}

/// Student's t between two groups, in every channel; items are dealt anew to the groups.
///
/// - `first`, `second`: items x channels.
///
/// The statistic returned is t, positive where the first group is larger.
///
/// # Errors
/// As [`correlation`]; [`Error::TooFew`] for an empty group.
pub fn two_sample<T: Real>(
    permutation: &Permutation,
    first: ArrayView2<T>,
    second: ArrayView2<T>,
    seed: Seed,
) -> Result<MassTest> {
    let scheme = Scheme::two_groups(first.nrows(), second.nrows())?;
    Error::at_least("items", 3, scheme.items())?;
    let data = concatenate(Axis(0), &[first, second])
        .map_err(|_| Error::shape("channels of the second group", first.ncols(), second.ncols()))?;
    let mut weights = vec![1.0; first.nrows()];
    weights.resize(scheme.items(), 0.0);
    centre(&mut weights);
    unit("group", 0, &mut weights)?;
    let df = (scheme.items() - 2) as f64;
    run(permutation, &weights, &Scaled::new(data.view(), true)?, &scheme, seed, |r| t_of(r, df))
}

/// One-sample t of every channel, or of differences between paired conditions; signs are flipped.
///
/// - `data`: items x channels.
/// - `scheme`: [`Scheme::sign_flip`] or [`Scheme::sign_flip_blocks`].
///
/// The statistic returned is t.
///
/// # Errors
/// As [`correlation`]; [`Error::Constant`] for a channel that is zero throughout.
pub fn one_sample<T: Real>(
    permutation: &Permutation,
    data: ArrayView2<T>,
    scheme: &Scheme,
    seed: Seed,
) -> Result<MassTest> {
    Error::at_least("items", 2, data.nrows())?;
    let mut weights = vec![1.0; data.nrows()];
    unit("sign", 0, &mut weights)?;
    let df = (data.nrows() - 1) as f64;
    run(permutation, &weights, &Scaled::new(data, false)?, scheme, seed, |r| t_of(r, df))
}

/// The largest t that is told apart from infinity, for a channel without any residual.
fn t_of(cosine: f64, df: f64) -> f64 {
    cosine * (df / (1.0 - cosine * cosine).max(f64::EPSILON)).sqrt()
}

/// Takes the mean away. Equal values become zero, without the rounding error of their mean.
fn centre(values: &mut [f64]) {
    if values.iter().all(|v| *v == values[0]) {
        return values.fill(0.0);
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|v| *v -= mean);
}

/// Scales to length one.
fn unit(what: &str, index: usize, values: &mut [f64]) -> Result<()> {
    let length = values.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length < f64::MIN_POSITIVE {
        return Err(Error::Constant { what: what.into(), index, statistic: "statistic".into() });
    }
    values.iter_mut().for_each(|v| *v /= length);
    Ok(())
}

/// Channels x items, each channel of length one.
struct Scaled<T> {
    rows: Vec<T>,
    items: usize,
}

impl<T: Real> Scaled<T> {
    fn new(data: ArrayView2<T>, centred: bool) -> Result<Self> {
        let (items, channels) = data.dim();
        Error::at_least("channels", 1, channels)?;
        let scaled: Vec<Result<Vec<T>>> = (0..channels)
            .into_par_iter()
            .map(|channel| {
                let mut column: Vec<f64> = data.column(channel).iter().map(|v| v.wide()).collect();
                if let Some(item) = column.iter().position(|v| !v.is_finite()) {
                    return Err(Error::NotFinite { what: "data".into(), index: item * channels + channel });
                }
                if centred {
                    centre(&mut column);
                }
                unit("channel", channel, &mut column)?;
                Ok(column.into_iter().map(T::narrow).collect())
            })
            .collect();
        let mut rows = Vec::with_capacity(items * channels);
        for channel in scaled {
            rows.extend(channel?);
        }
        Ok(Self { rows, items })
    }

    fn row(&self, channel: usize) -> &[T] {
        &self.rows[channel * self.items..(channel + 1) * self.items]
    }
}

fn run<T: Real>(
    permutation: &Permutation,
    weights: &[f64],
    data: &Scaled<T>,
    scheme: &Scheme,
    seed: Seed,
    statistic: impl Fn(f64) -> f64,
) -> Result<MassTest> {
    for (what, items) in [("items of the data", data.items), ("items of the weights", weights.len())] {
        if items != scheme.items() {
            return Err(Error::shape(what, scheme.items(), items));
        }
    }
    let plan = permutation.plan(scheme)?;
    let cosines: Vec<f64> = data
        .rows
        .chunks_exact(data.items)
        .map(|row| row.iter().zip(weights).map(|(x, w)| x.wide() * w).sum())
        .collect();
    let ladder = Ladder::new(cosines.clone(), permutation.tail)?;
    // From the least to the most extreme channel, as the running maximum goes.
    let climb: Vec<usize> = ladder.order.iter().rev().copied().collect();
    let rows: Vec<T> = climb.iter().flat_map(|&channel| data.row(channel)).copied().collect();
    let reached = Climb {
        rows: &rows,
        bars: bars(&climb, &cosines, permutation.tail, data.items),
        items: data.items,
        weights,
        tail: permutation.tail,
    };
    let blocks: Vec<usize> = (0..plan.count).step_by(PERMUTATIONS).collect();
    // Counts are whole numbers, so that their sum does not depend on the order.
    let counts = blocks
        .into_par_iter()
        .map(|start| reached.block(&plan, start, seed))
        .reduce(|| Counts::new(climb.len()), Counts::add);
    let extra = if plan.exact { 0.0 } else { 1.0 };
    let mut p = vec![0.0; climb.len()];
    for (&channel, &count) in climb.iter().zip(&counts.alone) {
        p[channel] = (extra + f64::from(count)) / (extra + plan.count as f64);
    }
    let down: Vec<usize> = counts.maximum.iter().rev().map(|&count| count as usize).collect();
    let mut max_t = ladder.finish(&down, plan.count, plan.exact);
    max_t.statistic = cosines.into_iter().map(statistic).collect();
    Ok(MassTest { max_t, p })
}

/// What each channel has to reach: its own value, less what rounding may have taken.
fn bars<T: Real>(climb: &[usize], cosines: &[f64], tail: Tail, items: usize) -> Vec<T> {
    let slack = 8.0 * T::epsilon().wide() * (items as f64).sqrt();
    climb.iter().map(|&channel| T::narrow(extremeness(cosines[channel], tail) - slack)).collect()
}

/// How often each rung was reached.
struct Counts {
    /// By the channel of the rung itself.
    alone: Vec<u32>,
    /// By the maximum over it and all less extreme channels.
    maximum: Vec<u32>,
}

impl Counts {
    fn new(channels: usize) -> Self {
        Self { alone: vec![0; channels], maximum: vec![0; channels] }
    }

    fn add(mut self, other: Self) -> Self {
        self.alone.iter_mut().zip(other.alone).for_each(|(a, b)| *a += b);
        self.maximum.iter_mut().zip(other.maximum).for_each(|(a, b)| *a += b);
        self
    }
}

/// The channels in ascending order of how extreme they are.
struct Climb<'a, T> {
    rows: &'a [T],
    bars: Vec<T>,
    items: usize,
    weights: &'a [f64],
    tail: Tail,
}

impl<T: Real> Climb<'_, T> {
    /// One block of permutations over all channels.
    fn block(&self, plan: &Plan, start: usize, seed: Seed) -> Counts {
        let count = PERMUTATIONS.min(plan.count - start);
        let mut weights = vec![T::zero(); self.items * count];
        for b in 0..count {
            let arranged = plan.arrangement(start + b, seed).apply(self.weights);
            for (item, w) in arranged.into_iter().enumerate() {
                weights[item * count + b] = T::narrow(w);
            }
        }
        let mut counts = Counts::new(self.bars.len());
        let mut running = vec![T::neg_infinity(); count];
        let mut product = vec![T::zero(); CHANNELS * count];
        for (tile, rows) in self.rows.chunks(CHANNELS * self.items).enumerate() {
            let product = &mut product[..rows.len() / self.items * count];
            matmul_into(rows, &weights, product, self.items);
            for (i, values) in product.chunks_exact(count).enumerate() {
                let rung = tile * CHANNELS + i;
                let bar = self.bars[rung];
                (counts.alone[rung], counts.maximum[rung]) = match self.tail {
                    Tail::Greater => step(values, &mut running, bar, |v| v),
                    Tail::Less => step(values, &mut running, bar, |v| -v),
                    Tail::TwoSidedDoubled | Tail::TwoSidedAbsolute => {
                        step(values, &mut running, bar, |v| v.abs())
                    }
                };
            }
        }
        counts
    }
}

/// One rung of a block of permutations: how many of the values and of the running maxima reach the bar.
/// A plain loop over equal slices, which the compiler turns into vector instructions.
fn step<T: Real>(values: &[T], running: &mut [T], bar: T, extreme: impl Fn(T) -> T) -> (u32, u32) {
    let (mut alone, mut maximum) = (0, 0);
    for (&value, highest) in values.iter().zip(running) {
        let value = extreme(value);
        *highest = if value > *highest { value } else { *highest };
        alone += u32::from(value >= bar);
        maximum += u32::from(*highest >= bar);
    }
    (alone, maximum)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array, Array2};
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::reliability::Correlation;

    fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
        let mut rng = Seed::new(seed).stream("normals");
        Array::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
    }

    fn t_of_sample(values: &[f64]) -> f64 {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        mean / (variance / n).sqrt()
    }

    fn t_of_groups(values: &[f64], first: usize) -> f64 {
        let (a, b) = values.split_at(first);
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let squares = |v: &[f64]| v.iter().map(|x| (x - mean(v)).powi(2)).sum::<f64>();
        let pooled = (squares(a) + squares(b)) / (values.len() as f64 - 2.0);
        (mean(a) - mean(b)) / (pooled * (1.0 / a.len() as f64 + 1.0 / b.len() as f64)).sqrt()
    }

    fn columns(data: &Array2<f64>) -> Vec<Vec<f64>> {
        data.columns().into_iter().map(|c| c.to_vec()).collect()
    }

    fn same(fast: &MassTest, slow: &MaxT) {
        for (f, s) in fast.max_t.statistic.iter().zip(&slow.statistic) {
            assert_relative_eq!(f, s, max_relative = 1e-10);
        }
        assert_eq!(fast.max_t.adjusted_p, slow.adjusted_p);
    }

    /// More channels and permutations than fit one product, against the general test.
    #[test]
    fn as_the_general_test() {
        let data = normals(14, 300, 1);
        let channels = columns(&data);
        let regressor: Vec<f64> = (0..14).map(|i| f64::from(i % 5) + data[[i as usize, 7]]).collect();
        for tail in [Tail::Greater, Tail::Less, Tail::TwoSidedAbsolute] {
            let permutation = Permutation { count: 300, exact_up_to: 0, tail, ..Permutation::default() };
            let blocks: Vec<usize> = (0..14).map(|i| i % 2).collect();
            for scheme in [
                Scheme::free(14).unwrap(),
                Scheme::within_blocks(&blocks).unwrap(),
                Scheme::circular_shift(&[14], 2).unwrap(),
            ] {
                let fast = correlation(&permutation, &regressor, data.view(), &scheme, Seed::new(2)).unwrap();
                let slow = permutation
                    .max_t_over(
                        &scheme,
                        |g| {
                            let x = g.apply(&regressor);
                            channels.iter().map(|c| Correlation::pearson(&x, c).unwrap().get()).collect()
                        },
                        Seed::new(2),
                    )
                    .unwrap();
                same(&fast, &slow);
            }
            let flips = Scheme::sign_flip_blocks(&[0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]).unwrap();
            let fast = one_sample(&permutation, data.view(), &flips, Seed::new(3)).unwrap();
            let slow = permutation.max_t_over(
                &flips,
                |g| channels.iter().map(|c| t_of_sample(&g.apply(c))).collect(),
                Seed::new(3),
            );
            same(&fast, &slow.unwrap());
            let (first, second) = data.view().split_at(Axis(0), 5);
            let fast = two_sample(&permutation, first, second, Seed::new(4)).unwrap();
            let slow = permutation.max_t_over(
                &Scheme::two_groups(5, 9).unwrap(),
                |g| {
                    // Items that are dealt to the first group come first.
                    channels
                        .iter()
                        .map(|c| {
                            let mut values = vec![0.0; 14];
                            let labels: Vec<usize> = (0..14).filter(|&i| g.order()[i] < 5).collect();
                            let others = (0..14).filter(|&i| g.order()[i] >= 5);
                            for (slot, item) in labels.into_iter().chain(others).enumerate() {
                                values[slot] = c[item];
                            }
                            t_of_groups(&values, 5)
                        })
                        .collect()
                },
                Seed::new(4),
            );
            same(&fast, &slow.unwrap());
        }
    }

    #[test]
    fn single_precision_agrees() {
        let data = normals(20, 50, 5);
        let regressor: Vec<f64> = data.column(3).iter().map(|v| v + 1.0).collect();
        let permutation = Permutation { tail: Tail::TwoSidedAbsolute, ..Permutation::default() };
        let free = Scheme::free(20).unwrap();
        let double = correlation(&permutation, &regressor, data.view(), &free, Seed::new(6)).unwrap();
        let narrow = data.mapv(|v| v as f32);
        let single = correlation(&permutation, &regressor, narrow.view(), &free, Seed::new(6)).unwrap();
        for (s, d) in single.p.iter().zip(&double.p) {
            assert_relative_eq!(s, d, epsilon = 0.003);
        }
        assert_relative_eq!(double.max_t.adjusted_p[3], 1.0 / 1001.0);
        assert_eq!(single.max_t.significant(0.01), double.max_t.significant(0.01));
    }

    /// All 126 ways to deal nine items, against the test of one channel.
    #[test]
    fn exact_groups() {
        let data = normals(9, 4, 10);
        let permutation = Permutation { tail: Tail::TwoSidedAbsolute, ..Permutation::default() };
        let (first, second) = data.view().split_at(Axis(0), 4);
        let found = two_sample(&permutation, first, second, Seed::new(0)).unwrap();
        assert_eq!((found.max_t.exact, found.max_t.permutations), (true, 126));
        for (channel, values) in columns(&data).iter().enumerate() {
            let config = crate::comparison::TwoSample {
                location: crate::comparison::Location::Student,
                permutation,
                level: 0.95,
            };
            let alone = config.test(&values[..4], &values[4..], Seed::new(0)).unwrap();
            assert_relative_eq!(found.p[channel], alone.permutation.p);
            assert_relative_eq!(
                found.max_t.statistic[channel],
                alone.permutation.statistic,
                max_relative = 1e-10
            );
        }
    }

    /// The uncorrected p of a channel is that of its own test.
    #[test]
    fn exact_p_of_a_channel_alone() {
        let data = normals(6, 9, 8);
        let permutation = Permutation::default();
        let flips = Scheme::sign_flip(6).unwrap();
        let found = one_sample(&permutation, data.view(), &flips, Seed::new(0)).unwrap();
        assert!(found.max_t.exact);
        for (channel, values) in columns(&data).iter().enumerate() {
            let alone = permutation.test(&flips, |g| t_of_sample(&g.apply(values)), Seed::new(0)).unwrap();
            assert_relative_eq!(found.p[channel], alone.p);
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_p() {
        let data = normals(12, 600, 9);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let flips = Scheme::sign_flip(12).unwrap();
            let permutation = Permutation { exact_up_to: 0, ..Permutation::default() };
            pool.install(|| one_sample(&permutation, data.view(), &flips, Seed::new(3)))
        };
        assert_eq!(run(1), run(4));
    }

    #[test]
    fn refuses_what_has_no_statistic() {
        let permutation = Permutation::default();
        let free = Scheme::free(5).unwrap();
        let regressor = [1.0, 2.0, 3.0, 4.0, 6.0];
        let mut data = normals(5, 3, 1);
        let check = |data: &Array2<f64>, x: &[f64]| {
            correlation(&permutation, x, data.view(), &free, Seed::new(0)).unwrap_err()
        };
        assert!(matches!(check(&data, &regressor[..4]), Error::Shape { .. }));
        assert!(matches!(check(&data, &[0.1; 5]), Error::Constant { .. }));
        data.column_mut(1).fill(0.1);
        assert!(matches!(check(&data, &regressor), Error::Constant { index: 1, .. }));
        data[[2, 2]] = f64::NAN;
        data.column_mut(1).assign(&normals(5, 1, 2).column(0));
        assert!(matches!(check(&data, &regressor), Error::NotFinite { index: 8, .. }));
    }
}
