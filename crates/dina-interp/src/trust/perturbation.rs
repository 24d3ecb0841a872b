use std::fmt;

use candle_core::Tensor;
use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    bootstrap::{Bootstrap, Interval},
    permutation::{Permutation, PermutationTest},
};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{
    Check, CheckKind,
    agreement::{ends, mean_interval},
};
use crate::{
    Result,
    attribution::{Attribution, Baseline, Explainer, Items},
};

/// How [`deletion_insertion`] takes inputs away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerturbationConfig {
    /// Equal steps in which all inputs go.
    pub steps: usize,
    /// Random orders an item to compare with.
    pub orders: usize,
    /// What replaces an input.
    pub baseline: Baseline,
    /// Intervals over items.
    pub bootstrap: Bootstrap,
    /// The sign-flip test over items.
    pub permutation: Permutation,
    /// The level at which the test has to be significant.
    pub alpha: f64,
}

impl Default for PerturbationConfig {
    /// 20 steps to zero, 10 random orders, 9,999 sign flips one-sided at 0.05.
    fn default() -> Self {
        Self {
            steps: 20,
            orders: 10,
            baseline: Baseline::Zero,
            bootstrap: Bootstrap::default(),
            permutation: Permutation { count: 9999, ..Permutation::default() },
            alpha: 0.05,
        }
    }
}

/// One curve against that of random orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderTest {
    /// Per step the mean target over items, attributed order; from 0 at the baseline, in units of the mean
    /// |target - target of the baseline|.
    pub curve: Vec<f64>,
    /// The same over random orders.
    pub random: Vec<f64>,
    /// Area under `curve` (trapezoid; its width is 1).
    pub area: f64,
    /// Area under `random`.
    pub random_area: f64,
    /// Per item by how much the attributed order's area is better than the mean of random ones.
    pub gains: Vec<f64>,
    /// Mean gain with its interval over items.
    pub gain: Interval,
    /// Whether the gains are symmetric about 0.
    pub test: PermutationTest,
    /// Passed if the gain's interval lies above 0 and the test is significant.
    pub check: Check,
}

/// The outcome of [`deletion_insertion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Perturbation {
    /// Share of inputs that are gone (deletion) or there (insertion), per step.
    pub fractions: Vec<f64>,
    /// Inputs are taken from the item: the lower the better.
    pub deletion: OrderTest,
    /// Inputs are put into the baseline: the higher the better.
    pub insertion: OrderTest,
}

impl fmt::Display for Perturbation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.deletion.check, self.insertion.check)
    }
}

/// Deletion and insertion curves (Petsiuk, Das and Saenko 2018) against random order.
///
/// Inputs go in the order of their signed attributions, those that raise the target most first. An item's gain is
/// the difference between its area under the curve and the mean area of random orders of the same item, the
/// positive way round; p is by sign flips over items. The baseline may lie outside what the tower was trained
/// on, for both orders alike. `2 (1 + orders) (steps - 1) + 2` forward rows an item.
///
/// # Errors
/// When the attribution has another shape than the inputs, there are fewer than two items or two steps or no random
/// order, the target never changes, or the tower refuses the inputs.
pub fn deletion_insertion(
    explainer: &Explainer<'_>,
    inputs: &Tensor,
    attribution: &Attribution,
    config: &PerturbationConfig,
    seed: Seed,
) -> Result<Perturbation> {
    let items = Items::new(inputs)?;
    if attribution.values.shape() != items.dims() {
        return Err(CoreError::shape("attribution", items.dims(), attribution.values.shape()).into());
    }
    if config.steps < 2 || config.orders == 0 {
        let found = format!("{} steps, {} orders", config.steps, config.orders);
        return Err(CoreError::value("deletion and insertion", "2 steps and 1 order or more", found).into());
    }
    let baseline = config.baseline.values(items.width)?;
    let bounds = explainer.ends(&items, &baseline)?;
    let unit = bounds.iter().map(|[low, high]| (high - low).abs()).sum::<f64>() / items.count as f64;
    if unit == 0. {
        return Err(CoreError::value(
            "target",
            "changed by the inputs",
            "that of the baseline, for every item",
        )
        .into());
    }
    let fractions: Vec<f64> = (0..=config.steps).map(|step| step as f64 / config.steps as f64).collect();
    let curves = |insert: bool| {
        let walk = Walk { items: &items, baseline: &baseline, attribution, config, insert, seed };
        walk.curves(explainer, &bounds, unit)
    };
    let deletion = compare(&curves(false)?, false, config, seed.child("deletion"))?;
    let insertion = compare(&curves(true)?, true, config, seed.child("insertion"))?;
    Ok(Perturbation { fractions, deletion, insertion })
}

/// The curves of every item: first the attributed order, then the random ones.
struct Walk<'a> {
    items: &'a Items,
    baseline: &'a [f64],
    attribution: &'a Attribution,
    config: &'a PerturbationConfig,
    insert: bool,
    seed: Seed,
}

impl Walk<'_> {
    /// `[items][orders][steps + 1]`.
    fn curves(
        &self,
        explainer: &Explainer<'_>,
        bounds: &[[f64; 2]],
        unit: f64,
    ) -> Result<Vec<Vec<Vec<f64>>>> {
        let (steps, orders) = (self.config.steps, self.config.orders + 1);
        let width = self.items.width;
        // Both ends of every curve are known.
        let inner = steps - 1;
        let mut curves: Vec<Vec<Vec<f64>>> = bounds
            .iter()
            .map(|&[low, high]| {
                let mut curve = vec![0.; steps + 1];
                let full = (high - low) / unit;
                curve[if self.insert { steps } else { 0 }] = full;
                vec![curve; orders]
            })
            .collect();
        let mut order = Vec::new();
        let make = |row: usize, values: &mut [f64]| {
            let (item, number, step) = (row / inner / orders, row / inner % orders, row % inner + 1);
            if step == 1 {
                order = self.order(item, number);
            }
            let x = self.items.row(item);
            let (from, to) = if self.insert { (self.baseline, x) } else { (x, self.baseline) };
            values.copy_from_slice(from);
            order[..step * width / steps].iter().for_each(|&input| values[input] = to[input]);
            item
        };
        explainer.evaluate(self.items, self.items.count * orders * inner, make, |row, target| {
            let (item, number, step) = (row / inner / orders, row / inner % orders, row % inner + 1);
            curves[item][number][step] = (target - bounds[item][0]) / unit;
        })?;
        Ok(curves)
    }

    fn order(&self, item: usize, number: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.items.width).collect();
        // Shuffled first, so that ties are in random order.
        order.shuffle(&mut self.seed.index(item).index(number).stream("deletion order"));
        if number == 0 {
            let values: Vec<f32> =
                self.attribution.values.index_axis(ndarray::Axis(0), item).iter().copied().collect();
            order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        }
        order
    }
}

fn compare(
    curves: &[Vec<Vec<f64>>],
    insert: bool,
    config: &PerturbationConfig,
    seed: Seed,
) -> Result<OrderTest> {
    let steps = config.steps;
    let area = |curve: &[f64]| (curve.iter().sum::<f64>() - (curve[0] + curve[steps]) / 2.) / steps as f64;
    let average = |of: &[&Vec<f64>]| -> Vec<f64> {
        (0..=steps).map(|step| of.iter().map(|curve| curve[step]).sum::<f64>() / of.len() as f64).collect()
    };
    let gains: Vec<f64> = curves
        .iter()
        .map(|orders| {
            let random = orders[1..].iter().map(|curve| area(curve)).sum::<f64>() / config.orders as f64;
            (area(&orders[0]) - random) * if insert { 1. } else { -1. }
        })
        .collect();
    let curve = average(&curves.iter().map(|orders| &orders[0]).collect::<Vec<_>>());
    let random = average(&curves.iter().flat_map(|orders| &orders[1..]).collect::<Vec<_>>());
    let gain = mean_interval(&gains, &config.bootstrap, seed)?;
    let n = gains.len();
    let flipped = |signs: &[f64]| signs.iter().zip(&gains).map(|(s, g)| s * g).sum::<f64>() / n as f64;
    let test = config.permutation.sign_flips(n, flipped, seed)?;
    let kind = if insert { CheckKind::Insertion } else { CheckKind::Deletion };
    let check = Check::above(kind, ends(&gain), 0.).with_p(test.p, config.alpha);
    Ok(OrderTest { area: area(&curve), random_area: area(&random), curve, random, gains, gain, test, check })
}
