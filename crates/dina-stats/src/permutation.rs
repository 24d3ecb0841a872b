//! Permutation tests of any statistic.
//!
//! A statistic is a closure. For label permutations it is given, per item, the index of the item
//! whose label it now carries; for sign flips, a sign per item. Exchangeability holds within blocks
//! (mouse, recording, image) where there are blocks.

use std::collections::BTreeMap;

use dina_core::Seed;
use ndarray::ArrayView2;
use rand::{RngExt, seq::SliceRandom};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which statistics count as extreme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tail {
    /// As large or larger.
    Greater,
    /// As small or smaller.
    Less,
    /// Twice the smaller of the two one-sided p, capped at 1.
    TwoSidedDoubled,
    /// As large or larger in absolute value.
    TwoSidedAbsolute,
}

/// How to permute. The default is 1,000 permutations, one-sided (greater), enumerated exactly where
/// there are no more than 5,000 in all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Permutation {
    /// Number of random permutations.
    pub count: usize,
    /// Enumerate all permutations where there are at most this many.
    pub exact_up_to: usize,
    /// Which statistics count as extreme.
    pub tail: Tail,
}

impl Default for Permutation {
    fn default() -> Self {
        Self { count: 1000, exact_up_to: 5000, tail: Tail::Greater }
    }
}

/// The outcome of a permutation test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PermutationTest {
    /// The statistic of the data as they are.
    pub statistic: f64,
    /// The p-value.
    pub p: f64,
    /// Permutations looked at.
    pub permutations: usize,
    /// Whether these were all there are.
    pub exact: bool,
    /// Which statistics counted as extreme.
    pub tail: Tail,
}

/// The p-value of an observed statistic under a null sample.
///
/// Monte Carlo: p = (1 + #{T* >= T}) / (1 + B), which is never 0 (Phipson and Smyth 2010). Exact
/// enumeration, in which the observed arrangement is one of the null: p = #{T* >= T} / B. Values that
/// differ from T by less than 1e-12 of it count as equal, because sums of the same numbers in another
/// order differ by rounding.
///
/// # Errors
/// [`Error::TooFew`] for an empty null, [`Error::NotFinite`].
pub fn p_value(observed: f64, null: &[f64], tail: Tail, exact: bool) -> Result<f64> {
    Error::at_least("null statistics", 1, null.len())?;
    Error::all_finite("observed statistic", [observed])?;
    Error::all_finite("null statistics", null.iter().copied())?;
    let slack = tolerance(observed);
    let extra = if exact { 0.0 } else { 1.0 };
    let share = |extreme: &dyn Fn(f64) -> bool| {
        let count = null.iter().filter(|&&t| extreme(t)).count() as f64;
        (extra + count) / (extra + null.len() as f64)
    };
    let greater = || share(&|t| t >= observed - slack);
    let less = || share(&|t| t <= observed + slack);
    Ok(match tail {
        Tail::Greater => greater(),
        Tail::Less => less(),
        Tail::TwoSidedDoubled => (2.0 * greater().min(less())).min(1.0),
        Tail::TwoSidedAbsolute => share(&|t| t.abs() >= observed.abs() - slack),
    })
}

fn tolerance(observed: f64) -> f64 {
    1e-12 * observed.abs()
}

impl Permutation {
    /// Permutes the labels of `n` items within `blocks` (per item the name of its block; `None` is one
    /// block). `statistic` is given, per item, the item whose label it takes; the data as they are
    /// is `0, 1, 2, ...`.
    ///
    /// # Errors
    /// [`Error::TooFew`] for fewer than two items or no permutation, [`Error::Shape`] when `blocks`
    /// has another length, [`Error::NotFinite`] for the statistic.
    pub fn labels(
        &self,
        n: usize,
        blocks: Option<&[usize]>,
        statistic: impl Fn(&[usize]) -> f64 + Sync,
        seed: Seed,
    ) -> Result<PermutationTest> {
        let plan = self.plan(n, blocks)?;
        let identity: Vec<usize> = (0..n).collect();
        let null: Vec<f64> =
            (0..plan.count).into_par_iter().map(|b| statistic(&plan.arrangement(b, seed))).collect();
        self.test(statistic(&identity), &null, plan.exact)
    }

    /// Flips the sign of each of `n` items. `statistic` is given a sign (1 or -1) per item; the data
    /// as they are is all ones. With n items the smallest exact one-sided p is 2^-n: 1/64 for six
    /// mice.
    ///
    /// # Errors
    /// [`Error::TooFew`] for no item or no permutation, [`Error::NotFinite`] for the statistic.
    pub fn sign_flips(
        &self,
        n: usize,
        statistic: impl Fn(&[f64]) -> f64 + Sync,
        seed: Seed,
    ) -> Result<PermutationTest> {
        Error::at_least("items to flip", 1, n)?;
        Error::at_least("permutations", 1, self.count)?;
        let total = u32::try_from(n).ok().and_then(|n| 1_usize.checked_shl(n));
        let all = total.filter(|&t| t > 0 && t <= self.exact_up_to);
        let null: Vec<f64> = (0..all.unwrap_or(self.count))
            .into_par_iter()
            .map(|b| {
                let sign = |negative: bool| if negative { -1.0 } else { 1.0 };
                let signs: Vec<f64> = if all.is_some() {
                    (0..n).map(|i| sign(b >> i & 1 == 1)).collect()
                } else {
                    let mut rng = seed.index(b).stream("sign flips");
                    (0..n).map(|_| sign(rng.random())).collect()
                };
                statistic(&signs)
            })
            .collect();
        self.test(statistic(&vec![1.0; n]), &null, all.is_some())
    }

    fn test(&self, observed: f64, null: &[f64], exact: bool) -> Result<PermutationTest> {
        Ok(PermutationTest {
            statistic: observed,
            p: p_value(observed, null, self.tail, exact)?,
            permutations: null.len(),
            exact,
            tail: self.tail,
        })
    }

    fn plan(&self, n: usize, blocks: Option<&[usize]>) -> Result<Plan> {
        Error::at_least("items to permute", 2, n)?;
        Error::at_least("permutations", 1, self.count)?;
        let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        match blocks {
            None => {
                members.insert(0, (0..n).collect());
            }
            Some(blocks) if blocks.len() == n => {
                for (item, &block) in blocks.iter().enumerate() {
                    members.entry(block).or_default().push(item);
                }
            }
            Some(blocks) => return Err(Error::shape("blocks", n, blocks.len())),
        }
        let blocks: Vec<Vec<usize>> = members.into_values().collect();
        let total = blocks
            .iter()
            .flat_map(|block| 1..=block.len())
            .try_fold(1_usize, |product, k| product.checked_mul(k))
            .filter(|&total| total <= self.exact_up_to);
        Ok(Plan { blocks, items: n, count: total.unwrap_or(self.count), exact: total.is_some() })
    }

    /// Step-down maxT over many channels at once (Westfall and Young 1993, algorithm 4.1).
    ///
    /// `statistic` returns one value a channel for an arrangement of the labels, as in
    /// [`Permutation::labels`]. With the channels in descending order of |t|, each permutation gives
    /// u_j = max(u_{j+1}, |t*_(j)|), and p_(j) = (1 + #{u_j >= |t|_(j)}) / (1 + B), made monotone.
    /// Two-sided by the absolute value, unless `tail` is [`Tail::Greater`] or [`Tail::Less`], which
    /// take t or -t in its place.
    ///
    /// # Errors
    /// As [`Permutation::labels`], and [`Error::Shape`] when the number of channels varies.
    pub fn max_t(
        &self,
        n: usize,
        blocks: Option<&[usize]>,
        statistic: impl Fn(&[usize]) -> Vec<f64> + Sync,
        seed: Seed,
    ) -> Result<MaxT> {
        let plan = self.plan(n, blocks)?;
        let identity: Vec<usize> = (0..n).collect();
        let ladder = Ladder::new(statistic(&identity), self.tail)?;
        let counts = (0..plan.count)
            .into_par_iter()
            .map(|b| ladder.exceedances(&statistic(&plan.arrangement(b, seed))))
            .try_reduce(
                || vec![0; ladder.order.len()],
                |a, b| Ok(a.iter().zip(&b).map(|(a, b)| a + b).collect()),
            )?;
        Ok(ladder.finish(&counts, plan.count, plan.exact))
    }
}

/// Step-down maxT from a null that was computed elsewhere: `null` is permutations x channels, without
/// the observed arrangement. The formula is that of [`Permutation::max_t`].
///
/// # Errors
/// [`Error::TooFew`] for no permutation or channel, [`Error::Shape`], [`Error::NotFinite`].
pub fn step_down_max_t(observed: &[f64], null: ArrayView2<f64>, tail: Tail) -> Result<MaxT> {
    Error::at_least("permutations", 1, null.nrows())?;
    let ladder = Ladder::new(observed.to_vec(), tail)?;
    let mut counts = vec![0; observed.len()];
    for row in null.rows() {
        for (total, count) in counts.iter_mut().zip(ladder.exceedances(&row.to_vec())?) {
            *total += count;
        }
    }
    Ok(ladder.finish(&counts, null.nrows(), false))
}

/// The outcome of a step-down maxT test, one entry a channel, in the order given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaxT {
    /// The statistics of the data as they are.
    pub statistic: Vec<f64>,
    /// p-values adjusted for the number of channels: they control the family-wise error.
    pub adjusted_p: Vec<f64>,
    /// Permutations looked at.
    pub permutations: usize,
    /// Whether these were all there are.
    pub exact: bool,
    /// Which statistics counted as extreme; a two-sided one is by the absolute value.
    pub tail: Tail,
}

/// The observed channels in descending order of how extreme they are.
struct Ladder {
    statistic: Vec<f64>,
    order: Vec<usize>,
    tail: Tail,
}

impl Ladder {
    fn new(statistic: Vec<f64>, tail: Tail) -> Result<Self> {
        Error::at_least("channels", 1, statistic.len())?;
        Error::all_finite("observed statistics", statistic.iter().copied())?;
        let mut order: Vec<usize> = (0..statistic.len()).collect();
        order.sort_by(|&a, &b| extremeness(statistic[b], tail).total_cmp(&extremeness(statistic[a], tail)));
        Ok(Self { statistic, order, tail })
    }

    /// Per rung, whether the running maximum of this permutation reaches the observed value.
    fn exceedances(&self, permuted: &[f64]) -> Result<Vec<usize>> {
        if permuted.len() != self.order.len() {
            return Err(Error::shape("channels of a permutation", self.order.len(), permuted.len()));
        }
        Error::all_finite("permuted statistics", permuted.iter().copied())?;
        let mut running = f64::NEG_INFINITY;
        let mut reached = vec![0; self.order.len()];
        for (rung, &channel) in self.order.iter().enumerate().rev() {
            running = running.max(extremeness(permuted[channel], self.tail));
            let observed = extremeness(self.statistic[channel], self.tail);
            reached[rung] = usize::from(running >= observed - tolerance(observed));
        }
        Ok(reached)
    }

    fn finish(self, counts: &[usize], permutations: usize, exact: bool) -> MaxT {
        let extra = if exact { 0.0 } else { 1.0 };
        let mut adjusted_p = vec![0.0; self.order.len()];
        let mut running = 0.0_f64;
        for (&channel, &count) in self.order.iter().zip(counts) {
            running = running.max((extra + count as f64) / (extra + permutations as f64));
            adjusted_p[channel] = running;
        }
        MaxT { statistic: self.statistic, adjusted_p, permutations, exact, tail: self.tail }
    }
}

fn extremeness(t: f64, tail: Tail) -> f64 {
    match tail {
        Tail::Greater => t,
        Tail::Less => -t,
        Tail::TwoSidedDoubled | Tail::TwoSidedAbsolute => t.abs(),
    }
}

/// The arrangements that a test looks at.
struct Plan {
    blocks: Vec<Vec<usize>>,
    items: usize,
    count: usize,
    exact: bool,
}

impl Plan {
    fn arrangement(&self, number: usize, seed: Seed) -> Vec<usize> {
        if self.exact { self.enumerated(number) } else { self.random(seed.index(number)) }
    }

    fn random(&self, seed: Seed) -> Vec<usize> {
        let mut rng = seed.stream("permutation");
        let mut arrangement = vec![0; self.items];
        for block in &self.blocks {
            let mut shuffled = block.clone();
            shuffled.shuffle(&mut rng);
            for (&item, &label) in block.iter().zip(&shuffled) {
                arrangement[item] = label;
            }
        }
        arrangement
    }

    /// The digits of `number` in the factorial number system pick each label from those left over.
    fn enumerated(&self, mut number: usize) -> Vec<usize> {
        let mut arrangement = vec![0; self.items];
        for block in &self.blocks {
            let mut left = block.clone();
            for &item in block {
                let choice = number % left.len();
                number /= left.len();
                arrangement[item] = left.remove(choice);
            }
        }
        arrangement
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use approx::assert_relative_eq;
    use ndarray::Array2;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn normals(n: usize, seed: Seed) -> Vec<f64> {
        let mut rng = seed.stream("normals");
        (0..n).map(|_| StandardNormal.sample(&mut rng)).collect()
    }

    fn product(a: &[f64], b: &[f64], order: &[usize]) -> f64 {
        a.iter().zip(order).map(|(a, &i)| a * b[i]).sum()
    }

    #[test]
    fn enumeration_meets_every_arrangement_once() {
        let plan = Permutation::default().plan(7, Some(&[0, 1, 0, 1, 0, 0, 1])).unwrap();
        assert!(plan.exact);
        assert_eq!(plan.count, 24 * 6);
        let all: BTreeSet<Vec<usize>> = (0..plan.count).map(|b| plan.enumerated(b)).collect();
        assert_eq!(all.len(), plan.count);
        for arrangement in all {
            for (item, label) in arrangement.iter().enumerate() {
                assert_eq!([1, 3, 6].contains(&item), [1, 3, 6].contains(label));
            }
        }
    }

    #[test]
    fn exact_p_by_hand() {
        // Of the 24 orders of 1..4 only the identity reaches sum i^2.
        let a = [1.0, 2.0, 3.0, 4.0];
        let found =
            Permutation::default().labels(4, None, |order| product(&a, &a, order), Seed::new(0)).unwrap();
        assert!(found.exact);
        assert_relative_eq!(found.p, 1.0 / 24.0);
        // All six mice positive: 1/64, and 1/32 two-sided.
        let mice = [0.3, 0.1, 0.5, 0.2, 0.9, 0.4];
        let sum = |signs: &[f64]| signs.iter().zip(&mice).map(|(s, m)| s * m).sum();
        let mut permutation = Permutation::default();
        assert_relative_eq!(permutation.sign_flips(6, sum, Seed::new(0)).unwrap().p, 1.0 / 64.0);
        permutation.tail = Tail::TwoSidedAbsolute;
        assert_relative_eq!(permutation.sign_flips(6, sum, Seed::new(0)).unwrap().p, 1.0 / 32.0);
    }

    #[test]
    fn p_of_each_tail() {
        let null = [1.0, 2.0, 3.0, -4.0];
        let p = |tail, exact| p_value(2.0, &null, tail, exact).unwrap();
        assert_relative_eq!(p(Tail::Greater, false), 3.0 / 5.0);
        assert_relative_eq!(p(Tail::Greater, true), 2.0 / 4.0);
        assert_relative_eq!(p(Tail::Less, false), 4.0 / 5.0);
        assert_relative_eq!(p(Tail::TwoSidedDoubled, false), 1.0);
        assert_relative_eq!(p(Tail::TwoSidedAbsolute, false), 4.0 / 5.0);
        assert_relative_eq!(p_value(9.0, &null, Tail::Greater, false).unwrap(), 0.2);
        assert!(p_value(f64::NAN, &null, Tail::Greater, false).is_err());
        assert!(p_value(0.0, &[], Tail::Greater, false).is_err());
    }

    /// Under the null, p is at most x with probability x.
    #[test]
    fn p_is_uniform_under_the_null() {
        let permutation = Permutation { count: 99, exact_up_to: 0, tail: Tail::Greater };
        let runs = 1000;
        let mut counts = [0; 4];
        for run in 0..runs {
            let seed = Seed::new(5).index(run);
            let (a, b) = (normals(12, seed.child("a")), normals(12, seed.child("b")));
            let p = permutation.labels(12, None, |order| product(&a, &b, order), seed).unwrap().p;
            for (count, bound) in counts.iter_mut().zip([0.05, 0.25, 0.5, 0.9]) {
                *count += usize::from(p <= bound + 1e-9);
            }
        }
        for (count, bound) in counts.iter().zip([0.05, 0.25, 0.5, 0.9]) {
            let (mean, sd) = (runs as f64 * bound, (runs as f64 * bound * (1.0 - bound)).sqrt());
            assert!((*count as f64 - mean).abs() < 4.0 * sd, "{count} at {bound}");
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_p() {
        let (a, b) = (normals(30, Seed::new(1)), normals(30, Seed::new(2)));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let permutation = Permutation::default();
                let one = permutation.labels(30, None, |o| product(&a, &b, o), Seed::new(3));
                let many = permutation.max_t(
                    30,
                    None,
                    |o| vec![product(&a, &b, o), product(&b, &a, o)],
                    Seed::new(3),
                );
                (one, many)
            })
        };
        assert_eq!(run(1), run(4));
    }

    #[test]
    fn step_down_by_hand() {
        let null = Array2::from_shape_vec(
            (4, 3),
            vec![
                1.0, -6.0, 0.5, //
                0.0, 1.0, 3.0, //
                -2.5, 0.0, 0.0, //
                0.1, 0.1, 0.1,
            ],
        )
        .unwrap();
        // Descending |t|: channel 1 (5), 0 (-2), 2 (1). Running maxima of the four permutations:
        // 6 1 0.5 | 3 3 3 | 2.5 2.5 0 | 0.1 0.1 0.1.
        let found = step_down_max_t(&[-2.0, 5.0, 1.0], null.view(), Tail::TwoSidedAbsolute).unwrap();
        assert_eq!(found.adjusted_p, [3.0 / 5.0, 2.0 / 5.0, 3.0 / 5.0]);
    }

    /// With one channel it is the ordinary test.
    #[test]
    fn one_channel_is_the_ordinary_test() {
        let (a, b) = (normals(20, Seed::new(6)), normals(20, Seed::new(7)));
        let permutation = Permutation { tail: Tail::TwoSidedAbsolute, ..Permutation::default() };
        let single = permutation.labels(20, None, |o| product(&a, &b, o), Seed::new(8)).unwrap();
        let many = permutation.max_t(20, None, |o| vec![product(&a, &b, o)], Seed::new(8)).unwrap();
        assert_relative_eq!(single.p, many.adjusted_p[0]);
    }

    #[test]
    fn refuses_nonsense() {
        let permutation = Permutation::default();
        assert!(permutation.labels(1, None, |_| 0.0, Seed::new(0)).is_err());
        assert!(permutation.labels(3, Some(&[0]), |_| 0.0, Seed::new(0)).is_err());
        assert!(permutation.labels(3, None, |_| f64::NAN, Seed::new(0)).is_err());
        assert!(permutation.max_t(3, None, |o| vec![0.0; o[0] + 1], Seed::new(0)).is_err());
    }
}
