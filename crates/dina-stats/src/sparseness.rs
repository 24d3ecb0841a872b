//! Sparseness of responses, and concentration of contributions.
//!
//! Sparseness is of nonnegative rates. Z-scored or baseline-subtracted responses have no sparseness, and are
//! refused.

use std::fmt;

use dina_core::Seed;
use ndarray::{ArrayView1, ArrayView2, Axis};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, proportion::check_level, sentence::percent};

/// Treves and Rolls' activity ratio, A = (sum r / n)^2 / (sum r^2 / n): 1 when all are equal, 1/n when one alone
/// responds (Treves and Rolls 1991). Smaller is sparser.
///
/// # Errors
/// [`Error::TooFew`] for no rate, [`Error::NotFinite`], [`Error::Value`] for a negative rate, [`Error::Constant`]
/// where all are zero.
pub fn treves_rolls(rates: ArrayView1<f64>) -> Result<f64> {
    check(rates, 1, "activity ratio")?;
    Ok(activity_ratio(rates))
}

/// Vinje and Gallant's sparseness, (1 - A) / (1 - 1/n) with [`treves_rolls`]' A: 0 when all are equal, 1 when one
/// alone responds (Vinje and Gallant 2000).
///
/// # Errors
/// As [`treves_rolls`]; [`Error::TooFew`] below two rates.
pub fn vinje_gallant(rates: ArrayView1<f64>) -> Result<f64> {
    check(rates, 2, "sparseness")?;
    Ok(((1.0 - activity_ratio(rates)) / (1.0 - 1.0 / rates.len() as f64)).clamp(0.0, 1.0))
}

/// Lifetime sparseness: [`vinje_gallant`] over stimuli, of each neuron.
///
/// - `rates`: stimuli x neurons.
///
/// # Errors
/// As [`vinje_gallant`]; the error of a silent neuron carries its index.
pub fn lifetime(rates: ArrayView2<f64>) -> Result<Vec<f64>> {
    along(rates, Axis(1), "neuron")
}

/// Population sparseness: [`vinje_gallant`] over neurons, of each stimulus.
///
/// - `rates`: stimuli x neurons.
///
/// # Errors
/// As [`vinje_gallant`]; the error of a stimulus without response carries its index.
pub fn population(rates: ArrayView2<f64>) -> Result<Vec<f64>> {
    along(rates, Axis(0), "stimulus")
}

fn along(rates: ArrayView2<f64>, axis: Axis, what: &str) -> Result<Vec<f64>> {
    let lanes: Vec<ArrayView1<f64>> = rates.axis_iter(axis).collect();
    lanes
        .into_par_iter()
        .enumerate()
        .map(|(index, lane)| {
            vinje_gallant(lane).map_err(|error| match error {
                Error::Constant { statistic, .. } => Error::Constant { what: what.into(), index, statistic },
                other => other,
            })
        })
        .collect()
}

/// Gini's index, sum_i (2i - n - 1) x_(i) / (n sum x) with x ascending: 0 when all are equal, (n - 1)/n when one
/// has everything.
///
/// # Errors
/// As [`treves_rolls`].
pub fn gini(values: ArrayView1<f64>) -> Result<f64> {
    check(values, 1, "Gini index")?;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let weighted: f64 = sorted.iter().enumerate().map(|(i, x)| (2.0 * (i as f64 + 1.0) - n - 1.0) * x).sum();
    Ok(weighted / (n * sorted.iter().sum::<f64>()))
}

fn activity_ratio(rates: ArrayView1<f64>) -> f64 {
    // Scaled, so that the squares of tiny or huge rates stay in range.
    let largest = rates.iter().copied().fold(0.0, f64::max);
    let n = rates.len() as f64;
    let sum: f64 = rates.iter().map(|r| r / largest).sum();
    let squares: f64 = rates.iter().map(|r| (r / largest).powi(2)).sum();
    (sum / n).powi(2) / (squares / n)
}

fn check(values: ArrayView1<f64>, needed: usize, statistic: &str) -> Result<()> {
    Error::at_least("rates", needed, values.len())?;
    Error::all_finite("rates", values.iter().copied())?;
    if let Some((index, value)) = values.iter().enumerate().find(|(_, v)| **v < 0.0) {
        return Err(Error::value(
            format!("rate {index}"),
            "not negative (of z-scored or baseline-subtracted responses there is no sparseness)",
            value,
        ));
    }
    if values.iter().all(|v| *v == 0.0) {
        return Err(Error::Constant { what: "rate".into(), index: 0, statistic: statistic.into() });
    }
    Ok(())
}

/// The share of a total that the first k neurons hold, for k = 1, 2, ..., in three orders. All three end at 1; at
/// equal k they say how much more the strongest hold than as many chosen at random, or than the weakest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConcentrationCurves {
    /// Strongest first.
    pub strongest: Vec<f64>,
    /// Mean over random orders, which is k/n.
    pub random: Vec<f64>,
    /// Weakest first.
    pub weakest: Vec<f64>,
}

/// Shares held by the first k of some contributions.
///
/// # Errors
/// As [`treves_rolls`].
pub fn concentration_curves(contributions: ArrayView1<f64>) -> Result<ConcentrationCurves> {
    check(contributions, 1, "concentration")?;
    let mut sorted = contributions.to_vec();
    sorted.sort_by(f64::total_cmp);
    let weakest = cumulative(sorted.iter());
    let n = sorted.len();
    Ok(ConcentrationCurves {
        strongest: cumulative(sorted.iter().rev()),
        random: (1..=n).map(|k| k as f64 / n as f64).collect(),
        weakest,
    })
}

/// Sums of the first k over the total. The last is 1 by definition, whatever the rounding.
fn cumulative<'a>(values: impl Iterator<Item = &'a f64>) -> Vec<f64> {
    let mut running = 0.0;
    let sums: Vec<f64> = values
        .map(|v| {
            running += v;
            running
        })
        .collect();
    sums.iter().map(|sum| sum / running).collect()
}

/// How many neurons hold a fraction of a contribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NeuronsNeeded {
    /// The fraction.
    pub fraction: f64,
    /// Neurons in all.
    pub of: usize,
    /// The fewest that hold it: the strongest.
    pub strongest: usize,
    /// Mean number over random orders.
    pub random: f64,
    /// Lower end of the range of random orders.
    pub random_low: usize,
    /// Upper end of the range of random orders.
    pub random_high: usize,
    /// Share of the random orders in that range.
    pub level: f64,
    /// The most that may be needed: weakest first.
    pub weakest: usize,
    /// Share of random orders that needed as few as the strongest, with the +1: a p of the concentration being
    /// no more than chance order gives.
    pub p: f64,
}

impl fmt::Display for NeuronsNeeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} % of the contribution is held by {} of {} neurons, strongest first; random orders need {:.1} \
             ({} % range {} to {}), weakest first {}",
            percent(self.fraction),
            self.strongest,
            self.of,
            self.random,
            percent(self.level),
            self.random_low,
            self.random_high,
            self.weakest
        )
    }
}

/// How many neurons hold each of some fractions (0.5, 0.8, 0.9) of a contribution, in order of strength, in
/// random order and weakest first. For contributions that do not add up, such as decoding by k neurons, measure the
/// curve and use [`first_reaching`].
///
/// - `orders`: number of random orders; their range covers `level`.
///
/// # Errors
/// As [`treves_rolls`]; [`Error::Value`] for a fraction outside (0, 1] or the level, [`Error::TooFew`] for no
/// random order.
pub fn neurons_needed(
    contributions: ArrayView1<f64>,
    fractions: &[f64],
    orders: usize,
    level: f64,
    seed: Seed,
) -> Result<Vec<NeuronsNeeded>> {
    check_level(level)?;
    Error::at_least("random orders", 1, orders)?;
    if let Some(fraction) = fractions.iter().find(|f| !(**f > 0.0 && **f <= 1.0)) {
        return Err(Error::value("fraction", "above 0 and at most 1", fraction));
    }
    let curves = concentration_curves(contributions)?;
    let count = |curve: &[f64], fraction| first_reaching(curve, fraction).unwrap_or(curve.len());
    let values = contributions.to_vec();
    let drawn: Vec<Vec<usize>> = (0..orders)
        .into_par_iter()
        .map(|order| {
            let mut shuffled = values.clone();
            shuffled.shuffle(&mut seed.index(order).stream("order of neurons"));
            let curve = cumulative(shuffled.iter());
            fractions.iter().map(|&fraction| count(&curve, fraction)).collect()
        })
        .collect();
    let tail = (1.0 - level) / 2.0;
    Ok(fractions
        .iter()
        .enumerate()
        .map(|(i, &fraction)| {
            let mut random: Vec<usize> = drawn.iter().map(|counts| counts[i]).collect();
            random.sort_unstable();
            let at = |p: f64| random[(p * (orders - 1) as f64).round() as usize];
            let strongest = count(&curves.strongest, fraction);
            let as_few = random.iter().filter(|&&k| k <= strongest).count();
            NeuronsNeeded {
                fraction,
                of: values.len(),
                strongest,
                random: random.iter().sum::<usize>() as f64 / orders as f64,
                random_low: at(tail),
                random_high: at(1.0 - tail),
                level,
                weakest: count(&curves.weakest, fraction),
                p: (1 + as_few) as f64 / (1 + orders) as f64,
            }
        })
        .collect())
}

/// The smallest k at which a curve over k = 1, 2, ... reaches a value; `None` where it never does. Values less
/// than 1e-12 below count as reached.
pub fn first_reaching(curve: &[f64], value: f64) -> Option<usize> {
    curve.iter().position(|&v| v >= value - 1e-12 * value.abs()).map(|position| position + 1)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array1, array};

    use super::*;

    #[test]
    fn one_hot_and_flat() {
        let mut one = Array1::zeros(100);
        one[17] = 3.0;
        assert_relative_eq!(treves_rolls(one.view()).unwrap(), 0.01);
        assert_relative_eq!(vinje_gallant(one.view()).unwrap(), 1.0);
        assert_relative_eq!(gini(one.view()).unwrap(), 0.99);
        let flat = Array1::from_elem(100, 0.3);
        assert_relative_eq!(treves_rolls(flat.view()).unwrap(), 1.0, epsilon = 1e-12);
        assert_relative_eq!(vinje_gallant(flat.view()).unwrap(), 0.0, epsilon = 1e-12);
        assert_relative_eq!(gini(flat.view()).unwrap(), 0.0, epsilon = 1e-12);
    }

    #[test]
    fn by_hand() {
        let rates = array![1.0, 3.0];
        // (4/2)^2 / (10/2), and (1 - 0.8) / (1 - 1/2).
        assert_relative_eq!(treves_rolls(rates.view()).unwrap(), 0.8);
        assert_relative_eq!(vinje_gallant(rates.view()).unwrap(), 0.4, epsilon = 1e-12);
        // (-1 + 3) / (2 * 4).
        assert_relative_eq!(gini(rates.view()).unwrap(), 0.25);
        let both = array![[1.0, 0.0], [3.0, 2.0]];
        assert_relative_eq!(lifetime(both.view()).unwrap()[0], 0.4, epsilon = 1e-12);
        assert_relative_eq!(lifetime(both.view()).unwrap()[1], 1.0);
        assert_relative_eq!(population(both.view()).unwrap()[0], 1.0);
        // Scale does not matter, however small.
        assert_relative_eq!(treves_rolls((rates * 1e-200).view()).unwrap(), 0.8, epsilon = 1e-12);
    }

    #[test]
    fn neurons_needed_by_hand() {
        let values = array![5.0, 1.0, 2.0, 1.0, 1.0];
        let found = neurons_needed(values.view(), &[0.5, 0.8, 1.0], 2000, 0.95, Seed::new(1)).unwrap();
        let counts: Vec<[usize; 2]> = found.iter().map(|f| [f.strongest, f.weakest]).collect();
        // Descending 5 2 1 1 1, ascending 1 1 1 2 5, of 10.
        assert_eq!(counts, [[1, 4], [3, 5], [5, 5]]);
        // The strongest comes with the first neuron one time in five.
        assert_relative_eq!(found[0].p, 0.2, epsilon = 0.04);
        assert!(found[0].random > 1.0 && found[0].random_low == 1);
        assert!(found[0].to_string().starts_with("50 % of the contribution is held by 1 of 5 neurons"));
        let curves = concentration_curves(values.view()).unwrap();
        assert_eq!(curves.strongest[1], 0.7);
        assert_eq!(curves.random[1], 0.4);
        assert_eq!(curves.weakest[1], 0.2);
    }

    #[test]
    fn a_curve_that_never_gets_there() {
        assert_eq!(first_reaching(&[0.1, 0.5, 0.4], 0.5), Some(2));
        assert_eq!(first_reaching(&[0.1, 0.5], 0.6), None);
    }

    #[test]
    fn refuses_what_has_no_sparseness() {
        assert!(matches!(treves_rolls(array![1.0, -0.1].view()), Err(Error::Value { .. })));
        assert!(matches!(gini(array![0.0, 0.0].view()), Err(Error::Constant { .. })));
        assert!(matches!(vinje_gallant(array![1.0].view()), Err(Error::TooFew { .. })));
        assert!(matches!(treves_rolls(array![1.0, f64::NAN].view()), Err(Error::NotFinite { index: 1, .. })));
        let silent = array![[1.0, 0.0], [1.0, 0.0]];
        assert!(matches!(lifetime(silent.view()), Err(Error::Constant { index: 1, .. })));
        assert!(neurons_needed(array![1.0].view(), &[1.5], 10, 0.9, Seed::new(0)).is_err());
    }
}
