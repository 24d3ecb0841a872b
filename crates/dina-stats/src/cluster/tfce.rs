//! Threshold-free cluster enhancement.

use std::fmt;

use dina_core::Seed;
use serde::{Deserialize, Serialize};

use super::{Adjacency, forest::Forest, maxima};
use crate::{
    Error, Result,
    permutation::{Arrangement, Permutation, Progress, Scheme, Tail, extremeness, p_value},
    sentence::PValue,
};

/// Threshold-free cluster enhancement: each point receives the integral over heights h below its own of
/// e(h)^E h^H dh, where e(h) is the number of points of its cluster at height h (Smith and Nichols 2009).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tfce {
    /// E, the exponent of the extent.
    pub extent: f64,
    /// H, the exponent of the height.
    pub height: f64,
    /// Width of the steps of a sum over h = step, 2 step, ... in place of the integral, as other software
    /// does it; the first step counts. `None`, the default, integrates exactly, which is as fast and has no
    /// step to choose.
    pub step: Option<f64>,
}

impl Default for Tfce {
    /// E = 0.5, H = 2, exact.
    fn default() -> Self {
        Self { extent: 0.5, height: 2.0, step: None }
    }
}

impl Tfce {
    /// The enhanced map; points below zero are enhanced by themselves, and stay below zero.
    ///
    /// # Errors
    /// [`Error::Shape`] when the map has not one value a point, [`Error::NotFinite`], [`Error::Value`] for an
    /// exponent or step that is not positive.
    pub fn enhance(&self, map: &[f64], adjacency: &Adjacency) -> Result<Vec<f64>> {
        self.check()?;
        if map.len() != adjacency.points() {
            return Err(Error::shape("points of a map", adjacency.points(), map.len()));
        }
        Error::all_finite("map", map.iter().copied())?;
        Ok(self.both_signs(map, adjacency))
    }

    fn check(&self) -> Result<()> {
        let values = [
            ("extent exponent", Some(self.extent)),
            ("height exponent", Some(self.height)),
            ("step", self.step),
        ];
        for (what, value) in values {
            if let Some(value) = value
                && !(value > 0.0 && value.is_finite())
            {
                return Err(Error::value(what, "positive", value));
            }
        }
        Ok(())
    }

    fn both_signs(&self, map: &[f64], adjacency: &Adjacency) -> Vec<f64> {
        let negated: Vec<f64> = map.iter().map(|v| -v).collect();
        let (above, below) = (self.positive(map, adjacency), self.positive(&negated, adjacency));
        above.iter().zip(&below).map(|(a, b)| a - b).collect()
    }

    /// The enhanced points above zero; 0 elsewhere.
    fn positive(&self, map: &[f64], adjacency: &Adjacency) -> Vec<f64> {
        let mut descending: Vec<usize> = (0..map.len()).filter(|&point| map[point] > 0.0).collect();
        descending.sort_by(|&a, &b| map[b].total_cmp(&map[a]));
        let mut forest = Forest::new(adjacency);
        match self.step {
            None => self.integrate(map, &descending, &mut forest),
            Some(step) => self.sum(map, &descending, &mut forest, step),
        }
        let mut enhanced = vec![0.0; map.len()];
        for &point in &descending {
            enhanced[point] = forest.received(point);
        }
        enhanced
    }

    /// From the top down a component keeps its size between two events, over which e^E h^H has a closed
    /// integral: e^E (top^(H+1) - bottom^(H+1)) / (H+1).
    fn integrate(&self, map: &[f64], descending: &[usize], forest: &mut Forest) {
        let mut top = vec![0.0; map.len()];
        let close = |forest: &mut Forest, root: usize, top: f64, bottom: f64| {
            let p = self.height + 1.0;
            let amount = (forest.size(root) as f64).powf(self.extent) * (top.powf(p) - bottom.powf(p)) / p;
            forest.give(root, amount);
        };
        for &point in descending {
            for root in forest.touched(point) {
                close(forest, root, top[root], map[point]);
            }
            let root = forest.add(point);
            top[root] = map[point];
        }
        for root in forest.roots() {
            close(forest, root, top[root], 0.0);
        }
    }

    fn sum(&self, map: &[f64], descending: &[usize], forest: &mut Forest, step: f64) {
        let Some(&highest) = descending.first() else { return };
        let steps = (map[highest] / step).ceil() as usize;
        let mut next = 0;
        for height in (1..=steps).rev().map(|k| k as f64 * step) {
            while next < descending.len() && map[descending[next]] > height {
                forest.add(descending[next]);
                next += 1;
            }
            for root in forest.roots() {
                let amount = (forest.size(root) as f64).powf(self.extent) * height.powf(self.height) * step;
                forest.give(root, amount);
            }
        }
    }
}

/// The outcome of a test by threshold-free cluster enhancement, one entry a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TfceTest {
    /// The map of the data.
    pub statistic: Vec<f64>,
    /// The map enhanced, with the sign of the statistic.
    pub enhanced: Vec<f64>,
    /// p of each point, corrected for all points by the largest enhanced value of each permutation.
    pub p: Vec<f64>,
    /// Permutations looked at.
    pub permutations: usize,
    /// Whether these were all there are.
    pub exact: bool,
    /// Which values counted as extreme.
    pub tail: Tail,
}

impl fmt::Display for TfceTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let smallest = self.p.iter().copied().fold(1.0, f64::min);
        write!(
            f,
            "{} of {} points at p <= 0.05 (smallest {}; TFCE, largest value of each of {}{} permutations, {})",
            self.p.iter().filter(|p| **p <= 0.05).count(),
            self.p.len(),
            PValue(smallest),
            if self.exact { "all " } else { "" },
            self.permutations,
            self.tail
        )
    }
}

/// Tests every point of a map by threshold-free cluster enhancement. `statistic` returns the map, such as one t
/// a point, for an arrangement of the data. Two-sided tails take both signs, by the absolute value.
///
/// # Errors
/// As [`Tfce::enhance`] and [`Permutation::test`].
pub fn tfce_test(
    permutation: &Permutation,
    scheme: &Scheme,
    adjacency: &Adjacency,
    tfce: Tfce,
    statistic: impl Fn(&Arrangement) -> Vec<f64> + Sync,
    seed: Seed,
) -> Result<TfceTest> {
    tfce_watched(permutation, scheme, adjacency, tfce, statistic, seed, |_| ())
}

/// As [`tfce_test`]; `progress` is called from this thread after every 128 permutations.
///
/// # Errors
/// As [`tfce_test`].
pub fn tfce_watched(
    permutation: &Permutation,
    scheme: &Scheme,
    adjacency: &Adjacency,
    tfce: Tfce,
    statistic: impl Fn(&Arrangement) -> Vec<f64> + Sync,
    seed: Seed,
    progress: impl FnMut(Progress),
) -> Result<TfceTest> {
    tfce.check()?;
    let tail = permutation.tail;
    let extreme = |map: &[f64]| -> Vec<f64> {
        let enhanced = tfce.both_signs(map, adjacency);
        enhanced.into_iter().map(|v| extremeness(v, tail)).collect()
    };
    let largest = |map: &[f64]| extreme(map).into_iter().fold(0.0, f64::max);
    let (observed, null, exact) =
        maxima(permutation, scheme, adjacency.points(), statistic, largest, seed, progress)?;
    let p = extreme(&observed)
        .into_iter()
        .map(|v| p_value(v, &null, Tail::Greater, exact))
        .collect::<Result<_>>()?;
    Ok(TfceTest {
        enhanced: tfce.both_signs(&observed, adjacency),
        statistic: observed,
        p,
        permutations: null.len(),
        exact,
        tail,
    })
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use rand::RngExt;

    use super::*;
    use crate::cluster::Neighbourhood;

    #[test]
    fn by_hand() {
        // A peak of 2 on a plateau of three points at 1: above 1 one point, below three.
        let chain = Adjacency::chain(5).unwrap();
        let found = Tfce::default().enhance(&[0.0, 1.0, 2.0, 1.0, -3.0], &chain).unwrap();
        let plateau = 3.0_f64.sqrt() / 3.0;
        assert_relative_eq!(found[1], plateau, max_relative = 1e-12);
        assert_relative_eq!(found[3], plateau, max_relative = 1e-12);
        assert_relative_eq!(found[2], plateau + (8.0 - 1.0) / 3.0, max_relative = 1e-12);
        assert_relative_eq!(found[4], -27.0 / 3.0, max_relative = 1e-12);
        assert_eq!(found[0], 0.0);
        // In steps of 0.75: heights 0.75 (three points, and one below zero), 1.5 (one).
        let stepped = Tfce { step: Some(0.75), ..Tfce::default() };
        let found = stepped.enhance(&[0.0, 1.0, 2.0, 1.0, -0.8], &chain).unwrap();
        let first = 0.75_f64.powi(3);
        assert_relative_eq!(found[1], 3.0_f64.sqrt() * first, max_relative = 1e-12);
        assert_relative_eq!(found[2], 3.0_f64.sqrt() * first + 1.5_f64.powi(2) * 0.75, max_relative = 1e-12);
        assert_relative_eq!(found[4], -first, max_relative = 1e-12);
    }

    /// Fine steps come to the integral, on a random map of a grid.
    #[test]
    fn steps_approach_the_integral() {
        let grid = Adjacency::grid(9, 11, Neighbourhood::Eight).unwrap();
        let mut rng = Seed::new(1).stream("map");
        let map: Vec<f64> = (0..99).map(|_| 4.0 * rng.random::<f64>() - 2.0).collect();
        let exact = Tfce::default().enhance(&map, &grid).unwrap();
        let fine = Tfce { step: Some(2e-4), ..Tfce::default() }.enhance(&map, &grid).unwrap();
        for (e, f) in exact.iter().zip(&fine) {
            assert_relative_eq!(e, f, epsilon = 0.01);
        }
    }

    #[test]
    fn refuses_nonsense() {
        let chain = Adjacency::chain(3).unwrap();
        assert!(Tfce { step: Some(0.0), ..Tfce::default() }.enhance(&[1.0; 3], &chain).is_err());
        assert!(Tfce::default().enhance(&[1.0; 2], &chain).is_err());
        assert!(Tfce::default().enhance(&[1.0, f64::NAN, 0.0], &chain).is_err());
    }
}
