//! The test of one statistic.

use std::fmt;

use dina_core::Seed;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Arrangement, Scheme, SchemeKind, Tail, sequential::Sequential, tail::share};
use crate::{Error, Result, sentence::PValue};

/// Permutations between two calls of the progress callback, and the step in which an early stop looks.
pub(crate) const BATCH: usize = 128;

/// How to permute. The default is 1,000 permutations, one-sided (greater), enumerated exactly where
/// there are no more than 5,000 in all, without an early stop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Permutation {
    /// Number of random permutations.
    pub count: usize,
    /// Enumerate all permutations where there are at most this many.
    pub exact_up_to: usize,
    /// Which statistics count as extreme.
    pub tail: Tail,
    /// Stop a Monte-Carlo test once so many permutations were as extreme as the data, with p = h / l
    /// after l permutations; `count` is then the most that are looked at. p stays valid (Besag and
    /// Clifford 1991): under the null hypothesis it is at most x with probability at most x. 10 to 20 is
    /// usual; the smallest p cost as much as without. With [`Tail::TwoSidedDoubled`] both sides have to
    /// have stopped.
    #[serde(default)]
    pub stop_after: Option<usize>,
}

impl Default for Permutation {
    fn default() -> Self {
        Self { count: 1000, exact_up_to: 5000, tail: Tail::Greater, stop_after: None }
    }
}

/// How far a test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Permutations done.
    pub done: usize,
    /// Permutations at most.
    pub of: usize,
}

/// The outcome of a permutation test.
///
/// Prints as `statistic 2.31, p = 0.0156 (all 64 sign flips, one-sided, greater; smallest possible p
/// 1/64)`.
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
    /// What was exchanged.
    pub scheme: SchemeKind,
    /// The smallest p that any outcome of this test could have had: with six sign flips 1/64 one-sided.
    /// No effect is strong enough to go below it.
    pub smallest_p: f64,
    /// Whether the test stopped early, so that p = h / l.
    pub stopped: bool,
    /// Mean of the statistic over the permutations.
    pub null_mean: f64,
    /// Standard deviation of the statistic over the permutations.
    pub null_sd: f64,
}

impl PermutationTest {
    /// The Monte-Carlo standard error of p, sqrt(p (1 - p) / B); 0 for an exact test.
    pub fn standard_error(&self) -> f64 {
        if self.exact {
            return 0.0;
        }
        (self.p * (1.0 - self.p) / self.permutations as f64).sqrt()
    }
}

impl fmt::Display for PermutationTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statistic {:.4}, {} ({})", self.statistic, PValue(self.p), self.how())
    }
}

impl PermutationTest {
    /// How p was found, for a sentence.
    pub(crate) fn how(&self) -> String {
        let number = match (self.exact, self.stopped) {
            (true, _) => format!("all {}", self.permutations),
            (_, true) => format!("sequential, stopped after {} random", self.permutations),
            _ => format!("{} random", self.permutations),
        };
        format!(
            "{number} {}, {}; smallest possible p {}",
            self.scheme,
            self.tail,
            fraction(self.smallest_p, self.permutations + usize::from(!self.exact), self.stopped)
        )
    }
}

/// A multiple of 1/`of` as `k/of`, where it is one.
fn fraction(p: f64, of: usize, stopped: bool) -> String {
    let multiple = (p * of as f64).round();
    if stopped || (multiple - p * of as f64).abs() > 1e-6 {
        return format!("{p:.2e}");
    }
    // 2/64 reads as 1/32.
    let divisor = gcd(multiple as usize, of).max(1);
    format!("{}/{}", multiple as usize / divisor, of / divisor)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Permutation {
    /// Tests `statistic` under a scheme. The statistic is given the arrangement of the data;
    /// [`Arrangement::apply`] rearranges one variable by it.
    ///
    /// # Errors
    /// [`Error::TooFew`] for no permutation, [`Error::NotFinite`] for the statistic, [`Error::Value`] for
    /// an early stop after none.
    pub fn test(
        &self,
        scheme: &Scheme,
        statistic: impl Fn(&Arrangement) -> f64 + Sync,
        seed: Seed,
    ) -> Result<PermutationTest> {
        self.test_watched(scheme, statistic, seed, |_| ())
    }

    /// As [`Permutation::test`]; `progress` is called from this thread after every 128 permutations.
    ///
    /// # Errors
    /// As [`Permutation::test`].
    pub fn test_watched(
        &self,
        scheme: &Scheme,
        statistic: impl Fn(&Arrangement) -> f64 + Sync,
        seed: Seed,
        mut progress: impl FnMut(Progress),
    ) -> Result<PermutationTest> {
        let plan = self.plan(scheme)?;
        let observed = statistic(&Arrangement::identity(scheme.items()));
        Error::all_finite("observed statistic", [observed])?;
        let mut stop = match self.stop_after {
            Some(0) => return Err(Error::value("early stop", "after at least 1 exceedance", 0)),
            Some(after) if !plan.exact => Some(Sequential::new(after, self.tail)),
            _ => None,
        };
        let mut null = Vec::with_capacity(plan.count);
        while null.len() < plan.count {
            let next = null.len()..plan.count.min(null.len() + BATCH);
            let batch: Vec<f64> =
                next.into_par_iter().map(|b| statistic(&plan.arrangement(b, seed))).collect();
            Error::all_finite("permuted statistics", batch.iter().copied())?;
            null.extend(&batch);
            progress(Progress { done: null.len(), of: plan.count });
            if let Some(stop) = &mut stop
                && let Some(p) = stop.look(observed, &null)
            {
                null.truncate(stop.looked);
                return Ok(PermutationTest { stopped: true, p, ..self.outcome(&plan, observed, &null) });
            }
        }
        let outcome = self.outcome(&plan, observed, &null);
        // One of the two sides may have stopped.
        let p = stop.map_or(outcome.p, |stop| stop.p(null.len()));
        Ok(PermutationTest { p, ..outcome })
    }

    fn outcome(&self, plan: &Plan, observed: f64, null: &[f64]) -> PermutationTest {
        let n = null.len() as f64;
        let mean = null.iter().sum::<f64>() / n;
        let square = null.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        PermutationTest {
            statistic: observed,
            p: share(observed, null, self.tail, plan.exact),
            permutations: null.len(),
            exact: plan.exact,
            tail: self.tail,
            scheme: plan.scheme.kind(),
            smallest_p: plan.smallest_p(null, self.tail),
            stopped: false,
            null_mean: mean,
            null_sd: square.sqrt(),
        }
    }

    /// Permutes the labels of `n` items within `blocks` (per item the name of its block; `None` is one
    /// block). `statistic` is given, per item, the item whose label it takes; the data as they are
    /// is `0, 1, 2, ...`. A short form of [`Permutation::test`].
    ///
    /// # Errors
    /// As [`Permutation::test`] and [`Scheme::within_blocks`]; [`Error::Shape`] when `blocks` has another
    /// length.
    pub fn labels(
        &self,
        n: usize,
        blocks: Option<&[usize]>,
        statistic: impl Fn(&[usize]) -> f64 + Sync,
        seed: Seed,
    ) -> Result<PermutationTest> {
        self.test(&label_scheme(n, blocks)?, |arrangement| statistic(arrangement.order()), seed)
    }

    /// Flips the sign of each of `n` items. `statistic` is given a sign (1 or -1) per item; the data
    /// as they are is all ones. With n items the smallest exact one-sided p is 2^-n: 1/64 for six
    /// mice. A short form of [`Permutation::test`].
    ///
    /// # Errors
    /// As [`Permutation::test`] and [`Scheme::sign_flip`].
    pub fn sign_flips(
        &self,
        n: usize,
        statistic: impl Fn(&[f64]) -> f64 + Sync,
        seed: Seed,
    ) -> Result<PermutationTest> {
        self.test(&Scheme::sign_flip(n)?, |arrangement| statistic(arrangement.signs()), seed)
    }

    /// Which arrangements this test looks at.
    pub(crate) fn plan<'a>(&self, scheme: &'a Scheme) -> Result<Plan<'a>> {
        Error::at_least("permutations", 1, self.count)?;
        let all = scheme.arrangements().filter(|&total| total <= self.exact_up_to);
        Ok(Plan { scheme, count: all.unwrap_or(self.count), exact: all.is_some() })
    }
}

/// A free scheme, or one within blocks.
pub(super) fn label_scheme(n: usize, blocks: Option<&[usize]>) -> Result<Scheme> {
    match blocks {
        None => Scheme::free(n),
        Some(blocks) if blocks.len() == n => Scheme::within_blocks(blocks),
        Some(blocks) => Err(Error::shape("blocks", n, blocks.len())),
    }
}

/// The arrangements that a test looks at.
pub(crate) struct Plan<'a> {
    pub(crate) scheme: &'a Scheme,
    pub(crate) count: usize,
    pub(crate) exact: bool,
}

impl Plan<'_> {
    pub(crate) fn arrangement(&self, number: usize, seed: Seed) -> Arrangement {
        if self.exact { self.scheme.enumerated(number) } else { self.scheme.random(seed.index(number)) }
    }

    /// The p of the most extreme of the arrangements, had it been observed. Ties, such as those of a
    /// mirror image in a two-sided test, are in it. Random arrangements go down to 1 / (1 + B), but no
    /// lower than one of all there are.
    fn smallest_p(&self, null: &[f64], tail: Tail) -> f64 {
        if self.exact {
            let lowest = null.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = null.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let p = |extreme| share(extreme, null, tail, true);
            return p(lowest).min(p(highest));
        }
        let sides = if tail == Tail::TwoSidedDoubled { 2.0 } else { 1.0 };
        let one = 1.0 / (1.0 + self.count as f64);
        (sides * self.scheme.arrangements().map_or(one, |all| one.max(1.0 / all as f64))).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::permutation::p_value;

    fn normals(n: usize, seed: Seed) -> Vec<f64> {
        let mut rng = seed.stream("normals");
        (0..n).map(|_| StandardNormal.sample(&mut rng)).collect()
    }

    fn product(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn exact_p_by_hand() {
        // Of the 24 orders of 1..4 only the identity reaches sum i^2.
        let a = [1.0, 2.0, 3.0, 4.0];
        let free = Scheme::free(4).unwrap();
        let found = Permutation::default().test(&free, |g| product(&a, &g.apply(&a)), Seed::new(0)).unwrap();
        assert!(found.exact);
        assert_relative_eq!(found.p, 1.0 / 24.0);
        // All six mice positive: 1/64, and 1/32 two-sided.
        let mice = [0.3, 0.1, 0.5, 0.2, 0.9, 0.4];
        let sum = |signs: &[f64]| product(signs, &mice);
        let mut permutation = Permutation::default();
        let one = permutation.sign_flips(6, sum, Seed::new(0)).unwrap();
        assert_relative_eq!(one.p, 1.0 / 64.0);
        assert_relative_eq!(one.smallest_p, 1.0 / 64.0);
        assert_eq!(
            one.to_string(),
            "statistic 2.4000, p = 0.0156 (all 64 sign flips, one-sided, greater; smallest possible p 1/64)"
        );
        permutation.tail = Tail::TwoSidedAbsolute;
        let two = permutation.sign_flips(6, sum, Seed::new(0)).unwrap();
        assert_relative_eq!(two.p, 1.0 / 32.0);
        assert_relative_eq!(two.smallest_p, 1.0 / 32.0);
        assert!(two.to_string().ends_with("smallest possible p 1/32)"));
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

    /// Under the null, p is at most x with probability x; one that stopped early, with no more.
    #[test]
    fn p_is_uniform_under_the_null() {
        let runs = 1000;
        let bounds = [0.05, 0.25, 0.5, 0.9];
        for (stop_after, tail) in [
            (None, Tail::Greater),
            (None, Tail::TwoSidedDoubled),
            (Some(5), Tail::Greater),
            (Some(5), Tail::TwoSidedDoubled),
        ] {
            let permutation = Permutation { count: 99, exact_up_to: 0, tail, stop_after };
            let mut counts = [0; 4];
            for run in 0..runs {
                let seed = Seed::new(5).index(run);
                let (a, b) = (normals(12, seed.child("a")), normals(12, seed.child("b")));
                let p = permutation
                    .test(&Scheme::free(12).unwrap(), |g| product(&a, &g.apply(&b)), seed)
                    .unwrap()
                    .p;
                for (count, bound) in counts.iter_mut().zip(bounds) {
                    *count += usize::from(p <= bound + 1e-9);
                }
            }
            for (count, bound) in counts.iter().zip(bounds) {
                let (mean, sd) = (runs as f64 * bound, (runs as f64 * bound * (1.0 - bound)).sqrt());
                let excess = *count as f64 - mean;
                assert!(excess < 4.0 * sd, "{stop_after:?} {tail:?}: {count} at {bound}");
                // The sequential p is discrete, and so only roughly uniform from below.
                let floor = if stop_after.is_none() { 4.0 * sd } else { 0.35 * mean };
                assert!(excess > -floor, "{stop_after:?} {tail:?}: {count} at {bound}");
            }
        }
    }

    #[test]
    fn an_early_stop_is_h_over_l() {
        let (a, b) = (normals(20, Seed::new(1)), normals(20, Seed::new(2)));
        let free = Scheme::free(20).unwrap();
        let statistic = |g: &Arrangement| product(&a, &g.apply(&b));
        let whole = Permutation { count: 2000, exact_up_to: 0, ..Permutation::default() };
        let early = Permutation { stop_after: Some(10), ..whole };
        let found = early.test(&free, statistic, Seed::new(3)).unwrap();
        // The same permutations, counted by hand.
        let observed = statistic(&Arrangement::identity(20));
        let plan = whole.plan(&free).unwrap();
        let mut exceedances = 0;
        let at = (0..2000)
            .find(|&b| {
                exceedances += usize::from(statistic(&plan.arrangement(b, Seed::new(3))) >= observed - 1e-12);
                exceedances == 10
            })
            .unwrap()
            + 1;
        assert!(found.stopped && !found.exact);
        assert_eq!(found.permutations, at);
        assert_relative_eq!(found.p, 10.0 / at as f64);
        // An effect that no permutation reaches runs to the end.
        let strong = early.test(&free, |g| product(&a, &g.apply(&a)), Seed::new(3)).unwrap();
        assert!(!strong.stopped);
        assert_relative_eq!(strong.p, 1.0 / 2001.0);
        assert!(Permutation { stop_after: Some(0), ..whole }.test(&free, statistic, Seed::new(3)).is_err());
    }

    #[test]
    fn progress_is_told_in_order() {
        let mut told = Vec::new();
        let permutation = Permutation { count: 300, ..Permutation::default() };
        let free = Scheme::free(20).unwrap();
        permutation.test_watched(&free, |_| 1.0, Seed::new(0), |p| told.push((p.done, p.of))).unwrap();
        assert_eq!(told, [(128, 300), (256, 300), (300, 300)]);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_p() {
        let (a, b) = (normals(30, Seed::new(1)), normals(30, Seed::new(2)));
        let run = |threads, stop_after| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let permutation = Permutation { stop_after, ..Permutation::default() };
            let free = Scheme::free(30).unwrap();
            pool.install(|| permutation.test(&free, |g| product(&a, &g.apply(&b)), Seed::new(3)))
        };
        assert_eq!(run(1, None), run(4, None));
        assert_eq!(run(1, Some(9)), run(4, Some(9)));
    }

    #[test]
    fn refuses_nonsense() {
        let permutation = Permutation::default();
        assert!(permutation.labels(1, None, |_| 0.0, Seed::new(0)).is_err());
        assert!(permutation.labels(3, Some(&[0]), |_| 0.0, Seed::new(0)).is_err());
        assert!(permutation.labels(3, None, |_| f64::NAN, Seed::new(0)).is_err());
        let none = Permutation { count: 0, ..permutation };
        assert!(none.sign_flips(3, |_| 0.0, Seed::new(0)).is_err());
    }
}
