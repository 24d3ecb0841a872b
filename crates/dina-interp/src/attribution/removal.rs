use candle_core::Tensor;
use dina_core::{Error as CoreError, Seed};
use ndarray::Array2;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{
    Attribution, Baseline, Completeness, Explainer, Groups, Method,
    explainer::Items,
    gradient::{Moments, add},
};
use crate::Result;

/// How [`Explainer::shapley`] samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shapley {
    /// What an absent input is replaced by.
    pub baseline: Baseline,
    /// Pairs of a random order and its reverse, an item.
    pub pairs: usize,
}

impl Default for Shapley {
    /// Zero for what is absent, 32 pairs.
    fn default() -> Self {
        Self { baseline: Baseline::Zero, pairs: 32 }
    }
}

impl Shapley {
    /// The order in which `groups` groups join, `order` counting from 0 to twice the pairs; odd orders are the reverse of those before:
    /// what makes a computation elsewhere comparable order by order.
    pub fn order(&self, item: usize, order: usize, groups: usize, seed: Seed) -> Vec<usize> {
        let mut walk: Vec<usize> = (0..groups).collect();
        walk.shuffle(&mut seed.index(item).index(order / 2).stream("shapley"));
        if order % 2 == 1 {
            walk.reverse();
        }
        walk
    }
}

impl Explainer<'_> {
    /// Occlusion (Zeiler and Fergus 2014): the target minus the target with a group at its baseline. `groups` of
    /// the result holds that number; in `values` an input has the mean of the groups that it is in, or 0 in none.
    /// `groups + 1` forward rows an item, and no gradient.
    ///
    /// # Errors
    /// When the tower refuses the input, something is not finite, or groups or baseline are of other inputs.
    pub fn occlusion(&self, inputs: &Tensor, groups: &Groups, baseline: &Baseline) -> Result<Attribution> {
        let items = Items::new(inputs)?;
        groups.check(items.width)?;
        let baseline = baseline.values(items.width)?;
        let targets = self.targets_of(&items)?;
        let without = |row: usize, values: &mut [f64]| {
            let item = row / groups.len();
            values.copy_from_slice(items.row(item));
            groups.members(row % groups.len()).iter().for_each(|&input| values[input] = baseline[input]);
            item
        };
        let mut lost = Vec::with_capacity(items.count * groups.len());
        self.evaluate(&items, items.count * groups.len(), without, |row, target| {
            lost.push(targets[row / groups.len()] - target);
        })?;
        let cover = groups.cover();
        let values = spread(&lost, groups, items.width, |_, input| 1. / cover[input] as f64);
        Ok(Attribution {
            values: items.array(&values)?,
            method: Method::Occlusion,
            targets,
            completeness: None,
            standard_error: None,
            groups: Some(table(&lost, groups)?),
            checks: None,
        })
    }

    /// Shapley values of groups by random orders (Castro, Gomez and Tejada 2009), each order paired with its reverse
    /// (Mitchell et al. 2022), which is exact for pairwise interactions. The value of a group is what the target
    /// gains when the group joins those before it in the order, averaged over orders. `groups` of the result
    /// holds it; in `values` the inputs of a group share it equally. Inputs in no group are always present.
    /// `2 pairs (groups - 1) + 2` forward rows an item. Standard errors are those over pairs.
    ///
    /// # Errors
    /// As [`Explainer::occlusion`]; when groups overlap or there are fewer than two pairs.
    pub fn shapley(
        &self,
        inputs: &Tensor,
        groups: &Groups,
        config: &Shapley,
        seed: Seed,
    ) -> Result<Attribution> {
        if config.pairs < 2 {
            return Err(CoreError::value("pairs of orders", "2 or more", config.pairs).into());
        }
        let items = Items::new(inputs)?;
        groups.check(items.width)?;
        if groups.cover().iter().any(|&count| count > 1) {
            return Err(CoreError::value("groups of Shapley values", "without overlap", "overlapping").into());
        }
        let baseline = config.baseline.values(items.width)?;
        let absent = |item: usize| {
            let mut row = items.row(item).to_vec();
            (0..groups.len()).flat_map(|g| groups.members(g)).for_each(|&input| row[input] = baseline[input]);
            row
        };
        // An empty coalition and all of them are the same in every order.
        let mut ends = vec![[0.; 2]; items.count];
        let bare = |row: usize, values: &mut [f64]| {
            let item = row / 2;
            values.copy_from_slice(items.row(item));
            if row.is_multiple_of(2) {
                values.copy_from_slice(&absent(item));
            }
            item
        };
        self.evaluate(&items, 2 * items.count, bare, |row, target| ends[row / 2][row % 2] = target)?;

        let orders = Orders { groups: groups.len(), config, seed };
        let mut walk = Vec::new();
        let mut current = Vec::new();
        let joined = |row: usize, values: &mut [f64]| {
            let (item, order, step) = orders.place(row);
            if step == 0 {
                walk = orders.order(item, order);
                current = absent(item);
            }
            let x = items.row(item);
            groups.members(walk[step]).iter().for_each(|&input| current[input] = x[input]);
            values.copy_from_slice(&current);
            item
        };
        let mut tally = Tally::new(&orders, items.count);
        if groups.len() == 1 {
            (0..items.count).for_each(|item| tally.single(item, ends[item]));
        }
        self.evaluate(&items, orders.rows(items.count), joined, |row, target| {
            tally.add(&orders, row, target, &ends);
        })?;
        let (gains, errors) = tally.moments.finish(config.pairs);
        let share = |group: usize, _: usize| 1. / groups.members(group).len() as f64;
        let steps = vec![2 * config.pairs; items.count];
        Ok(Attribution {
            values: items.array(&spread(&gains, groups, items.width, share))?,
            method: Method::Shapley,
            targets: ends.iter().map(|ends| ends[1]).collect(),
            completeness: Some(Completeness::of(&gains, items.epsilon(), &ends, steps, 1e-3)),
            standard_error: Some(items.array(&spread(&errors, groups, items.width, share))?),
            groups: Some(table(&gains, groups)?),
            checks: None,
        })
    }
}

/// The numbers of groups, `[items, groups]`, on the inputs; `share` is the factor of an input of a group.
fn spread(numbers: &[f64], groups: &Groups, width: usize, share: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut values = vec![0.; numbers.len() / groups.len() * width];
    for (row, numbers) in values.chunks_mut(width).zip(numbers.chunks(groups.len())) {
        for (group, number) in numbers.iter().enumerate() {
            groups.members(group).iter().for_each(|&input| row[input] += number * share(group, input));
        }
    }
    values
}

fn table(numbers: &[f64], groups: &Groups) -> Result<Array2<f32>> {
    let narrow = numbers.iter().map(|&v| v as f32).collect();
    Array2::from_shape_vec((numbers.len() / groups.len(), groups.len()), narrow)
        .map_err(|_| CoreError::shape("groups", groups.len(), numbers.len()).into())
}

/// The orders in which groups join, and the rows that they take.
struct Orders<'a> {
    groups: usize,
    config: &'a Shapley,
    seed: Seed,
}

impl Orders<'_> {
    /// Rows an order: the last group to join gives the item itself, which is known.
    fn steps(&self) -> usize {
        self.groups - 1
    }

    fn rows(&self, items: usize) -> usize {
        items * 2 * self.config.pairs * self.steps()
    }

    /// Item, order and step of a row.
    fn place(&self, row: usize) -> (usize, usize, usize) {
        let (order, step) = (row / self.steps(), row % self.steps());
        (order / (2 * self.config.pairs), order % (2 * self.config.pairs), step)
    }

    fn order(&self, item: usize, order: usize) -> Vec<usize> {
        self.config.order(item, order, self.groups, self.seed)
    }
}

/// Gains of the pair of orders at hand, and their moments.
struct Tally {
    moments: Moments,
    walk: Vec<usize>,
    before: f64,
    pair: Vec<f64>,
}

impl Tally {
    fn new(orders: &Orders<'_>, items: usize) -> Self {
        Self {
            moments: Moments::new(items * orders.groups),
            walk: Vec::new(),
            before: 0.,
            pair: vec![0.; orders.groups],
        }
    }

    /// The one group there is gains everything, in every order.
    fn single(&mut self, item: usize, [absent, present]: [f64; 2]) {
        self.moments.0[item][0] = present - absent;
    }

    fn add(&mut self, orders: &Orders<'_>, row: usize, target: f64, ends: &[[f64; 2]]) {
        let (item, order, step) = orders.place(row);
        if step == 0 {
            self.walk = orders.order(item, order);
            self.before = ends[item][0];
        }
        self.pair[self.walk[step]] += (target - self.before) / 2.;
        self.before = target;
        if step + 1 < orders.steps() {
            return;
        }
        self.pair[self.walk[step + 1]] += (ends[item][1] - target) / 2.;
        if order % 2 == 1 {
            add(&mut self.moments.0[item * orders.groups..], order / 2, self.pair.iter().copied());
            self.pair.fill(0.);
        }
    }
}
