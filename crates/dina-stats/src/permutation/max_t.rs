//! Step-down maxT over many channels (Westfall and Young 1993, algorithm 4.1).

use std::fmt;

use dina_core::Seed;
use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Arrangement, Permutation, Progress, Scheme, Tail,
    tail::{extremeness, tolerance},
    test::{BATCH, label_scheme},
};
use crate::{Error, Result};

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

impl MaxT {
    /// The channels whose adjusted p is at most `alpha`.
    pub fn significant(&self, alpha: f64) -> Vec<usize> {
        (0..self.adjusted_p.len()).filter(|&channel| self.adjusted_p[channel] <= alpha).collect()
    }
}

impl fmt::Display for MaxT {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let smallest = self.adjusted_p.iter().copied().fold(1.0, f64::min);
        write!(
            f,
            "{} of {} channels at adjusted p <= 0.05 (smallest {}; step-down maxT, {}{} permutations, {})",
            self.significant(0.05).len(),
            self.adjusted_p.len(),
            crate::sentence::PValue(smallest),
            if self.exact { "all " } else { "" },
            self.permutations,
            self.tail
        )
    }
}

impl Permutation {
    /// Step-down maxT over many channels at once (Westfall and Young 1993, algorithm 4.1).
    ///
    /// `statistic` returns one value a channel for an arrangement of the data. With the channels in
    /// descending order of |t|, each permutation gives u_j = max(u_{j+1}, |t*_(j)|), and
    /// p_(j) = (1 + #{u_j >= |t|_(j)}) / (1 + B), made monotone. Two-sided by the absolute value, unless
    /// `tail` is [`Tail::Greater`] or [`Tail::Less`], which take t or -t in its place.
    ///
    /// With `stop_after` every channel is a sequential test of its own (Besag and Clifford 1991) on the same permutations: it
    /// stops at its h-th exceedance, with p_(j) = h / l after l permutations, and the whole ends when all
    /// channels have stopped. The p of the largest true null is then valid whatever the others do, and that is all that the step-down
    /// argument needs. As u_1 is the largest, that end is soon where nothing is extreme, and never where something is. For
    /// correlations and t statistics [`super::mass`] is much faster, and does not stop early.
    ///
    /// # Errors
    /// As [`Permutation::test`], and [`Error::Shape`] when the number of channels varies.
    pub fn max_t_over(
        &self,
        scheme: &Scheme,
        statistic: impl Fn(&Arrangement) -> Vec<f64> + Sync,
        seed: Seed,
    ) -> Result<MaxT> {
        self.max_t_watched(scheme, statistic, seed, |_| ())
    }

    /// As [`Permutation::max_t_over`]; `progress` is called from this thread after every 128 permutations.
    ///
    /// # Errors
    /// As [`Permutation::max_t_over`].
    pub fn max_t_watched(
        &self,
        scheme: &Scheme,
        statistic: impl Fn(&Arrangement) -> Vec<f64> + Sync,
        seed: Seed,
        mut progress: impl FnMut(Progress),
    ) -> Result<MaxT> {
        let plan = self.plan(scheme)?;
        let after = match self.stop_after {
            Some(0) => return Err(Error::value("early stop", "after at least 1 exceedance", 0)),
            Some(after) if !plan.exact => after,
            _ => usize::MAX,
        };
        let ladder = Ladder::new(statistic(&Arrangement::identity(scheme.items())), self.tail)?;
        let mut rungs = Rungs::new(ladder.order.len(), after);
        while rungs.looked < plan.count && !rungs.stopped() {
            let next = rungs.looked..plan.count.min(rungs.looked + BATCH);
            let batch: Vec<Vec<usize>> = next
                .into_par_iter()
                .map(|b| ladder.exceedances(&statistic(&plan.arrangement(b, seed))))
                .collect::<Result<_>>()?;
            rungs.look(&batch);
            progress(Progress { done: rungs.looked, of: plan.count });
        }
        Ok(ladder.finish_at(&rungs, plan.exact))
    }

    /// [`Permutation::max_t_over`] with labels permuted within `blocks`, as in [`Permutation::labels`].
    ///
    /// # Errors
    /// As [`Permutation::labels`] and [`Permutation::max_t_over`].
    pub fn max_t(
        &self,
        n: usize,
        blocks: Option<&[usize]>,
        statistic: impl Fn(&[usize]) -> Vec<f64> + Sync,
        seed: Seed,
    ) -> Result<MaxT> {
        self.max_t_over(&label_scheme(n, blocks)?, |arrangement| statistic(arrangement.order()), seed)
    }
}

/// Step-down maxT from a null that was computed elsewhere: `null` is permutations x channels, without
/// the observed arrangement. The formula is that of [`Permutation::max_t_over`].
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

/// The observed channels in descending order of how extreme they are.
pub(super) struct Ladder {
    statistic: Vec<f64>,
    pub(super) order: Vec<usize>,
    tail: Tail,
}

impl Ladder {
    pub(super) fn new(statistic: Vec<f64>, tail: Tail) -> Result<Self> {
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

    /// p from rungs that may have stopped at different times.
    fn finish_at(self, rungs: &Rungs, exact: bool) -> MaxT {
        let extra = if exact { 0.0 } else { 1.0 };
        let looked = rungs.looked as f64;
        let p = rungs.counts.iter().zip(&rungs.stopped_at).map(|(&count, stopped)| match stopped {
            Some(at) => rungs.after as f64 / *at as f64,
            None => (extra + count as f64) / (extra + looked),
        });
        self.monotone(p.collect(), rungs.looked, exact)
    }

    pub(super) fn finish(self, counts: &[usize], permutations: usize, exact: bool) -> MaxT {
        let extra = if exact { 0.0 } else { 1.0 };
        let p = counts.iter().map(|&count| (extra + count as f64) / (extra + permutations as f64));
        self.monotone(p.collect(), permutations, exact)
    }

    /// From p of each rung to p of each channel: no channel is more significant than one that is more extreme.
    fn monotone(self, p: Vec<f64>, permutations: usize, exact: bool) -> MaxT {
        let mut adjusted_p = vec![0.0; self.order.len()];
        let mut running = 0.0_f64;
        for (&channel, p) in self.order.iter().zip(p) {
            running = running.max(p);
            adjusted_p[channel] = running;
        }
        MaxT { statistic: self.statistic, adjusted_p, permutations, exact, tail: self.tail }
    }
}

/// How often every rung was reached, and when it stopped counting.
struct Rungs {
    after: usize,
    looked: usize,
    counts: Vec<usize>,
    stopped_at: Vec<Option<usize>>,
}

impl Rungs {
    fn new(rungs: usize, after: usize) -> Self {
        Self { after, looked: 0, counts: vec![0; rungs], stopped_at: vec![None; rungs] }
    }

    /// Looks at permutations one by one; ends where all rungs have stopped.
    fn look(&mut self, batch: &[Vec<usize>]) {
        for reached in batch {
            if self.stopped() {
                return;
            }
            self.looked += 1;
            let rungs = self.counts.iter_mut().zip(&mut self.stopped_at).zip(reached);
            for ((count, stopped), reached) in rungs.filter(|((_, stopped), _)| stopped.is_none()) {
                *count += reached;
                if *count == self.after {
                    *stopped = Some(self.looked);
                }
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stopped_at.iter().all(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::Array2;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn normals(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = Seed::new(seed).stream("normals");
        (0..n).map(|_| StandardNormal.sample(&mut rng)).collect()
    }

    fn product(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
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
        assert_eq!(found.significant(0.5), [1]);
    }

    /// With one channel it is the ordinary test.
    #[test]
    fn one_channel_is_the_ordinary_test() {
        let (a, b) = (normals(20, 6), normals(20, 7));
        let permutation = Permutation { tail: Tail::TwoSidedAbsolute, ..Permutation::default() };
        let free = Scheme::free(20).unwrap();
        let single = permutation.test(&free, |g| product(&a, &g.apply(&b)), Seed::new(8)).unwrap();
        let many = permutation.max_t_over(&free, |g| vec![product(&a, &g.apply(&b))], Seed::new(8)).unwrap();
        assert_relative_eq!(single.p, many.adjusted_p[0]);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_p() {
        let (a, b) = (normals(30, 1), normals(30, 2));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let statistic = |o: &[usize]| {
                let of = |a: &[f64], b: &[f64]| a.iter().zip(o).map(|(a, &i)| a * b[i]).sum();
                vec![of(&a, &b), of(&b, &a)]
            };
            pool.install(|| Permutation::default().max_t(30, None, statistic, Seed::new(3)))
        };
        assert_eq!(run(1), run(4));
    }

    #[test]
    fn progress_is_told_in_order() {
        let mut told = Vec::new();
        let permutation = Permutation { count: 200, ..Permutation::default() };
        let free = Scheme::free(9).unwrap();
        permutation
            .max_t_watched(&free, |g| vec![g.order()[0] as f64, 1.0], Seed::new(0), |p| told.push(p.done))
            .unwrap();
        assert_eq!(told, [128, 200]);
    }

    /// Every channel is the sequential test of its running maximum, and without anything extreme the end is early.
    #[test]
    fn an_early_stop_is_h_over_l_in_every_channel() {
        let (a, b) = (normals(20, 1), normals(20, 2));
        let free = Scheme::free(20).unwrap();
        let statistic = |g: &Arrangement| vec![product(&a, &g.apply(&b)), product(&b, &g.apply(&b))];
        let whole = Permutation { count: 4000, tail: Tail::TwoSidedAbsolute, ..Permutation::default() };
        let early = Permutation { stop_after: Some(10), ..whole };
        let found = early.max_t_over(&free, |g| vec![product(&a, &g.apply(&b))], Seed::new(3)).unwrap();
        let single = early.test(&free, |g| product(&a, &g.apply(&b)), Seed::new(3)).unwrap();
        assert_eq!((found.adjusted_p[0], found.permutations), (single.p, single.permutations));
        assert!(found.permutations < 4000 && found.adjusted_p[0] == 10.0 / found.permutations as f64);
        // The second channel is at its largest as it is: it never stops, and its p is that of all permutations.
        let both = early.max_t_over(&free, statistic, Seed::new(3)).unwrap();
        let all = whole.max_t_over(&free, statistic, Seed::new(3)).unwrap();
        assert_eq!(both.permutations, 4000);
        assert_eq!(both.adjusted_p[1], all.adjusted_p[1]);
        assert!((both.adjusted_p[0] / all.adjusted_p[0] - 1.0).abs() < 0.6, "{both:?} {all:?}");
        assert!(
            Permutation { stop_after: Some(0), ..whole }.max_t_over(&free, statistic, Seed::new(3)).is_err()
        );
    }

    /// Under the null of all channels the smallest adjusted p is below 0.1 in at most a tenth of the tests.
    #[test]
    fn an_early_stop_keeps_the_family_wise_error() {
        let permutation =
            Permutation { count: 199, stop_after: Some(8), tail: Tail::TwoSidedAbsolute, exact_up_to: 0 };
        let free = Scheme::free(10).unwrap();
        let runs = 400;
        let rejected = (0..runs)
            .filter(|&run| {
                let channels: Vec<Vec<f64>> = (0..5).map(|c| normals(10, 100 + 7 * run + c)).collect();
                let regressor = normals(10, 50_000 + run);
                let statistic = |g: &Arrangement| {
                    let moved = g.apply(&regressor);
                    channels.iter().map(|channel| product(channel, &moved)).collect()
                };
                let found = permutation.max_t_over(&free, statistic, Seed::new(run)).unwrap();
                found.adjusted_p.iter().any(|p| *p <= 0.1)
            })
            .count();
        // 40 expected at most, with a standard deviation of 6.
        assert!(rejected <= 64, "{rejected} of {runs}");
    }

    #[test]
    fn refuses_channels_that_vary() {
        let found = Permutation::default().max_t(3, None, |o| vec![0.0; o[0] + 1], Seed::new(0));
        assert!(matches!(found, Err(Error::Shape { .. })));
    }
}
