use candle_core::{DType, Device, Tensor, Var};
use dina_core::{Error as CoreError, Seed, Tower};
use ndarray::{ArrayD, IxDyn};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::target::{Target, host};
use crate::Result;

/// What an input is compared with, or replaced by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Baseline {
    /// All zeros: the grey image, where images are centred, or silence.
    #[default]
    Zero,
    /// One input in the shape of an item, flattened: a mean image, mean rates.
    Given(Vec<f32>),
}

impl Baseline {
    pub(crate) fn values(&self, width: usize) -> Result<Vec<f64>> {
        match self {
            Self::Zero => Ok(vec![0.; width]),
            Self::Given(values) if values.len() != width => {
                Err(CoreError::shape("baseline", width, values.len()).into())
            }
            Self::Given(values) if values.iter().any(|v| !v.is_finite()) => {
                Err(CoreError::value("baseline", "finite", "NaN or infinity").into())
            }
            Self::Given(values) => Ok(values.iter().map(|&v| f64::from(v)).collect()),
        }
    }
}

/// A tower and what is to be explained of it. The methods are listed in the [module](super).
pub struct Explainer<'a> {
    tower: &'a dyn Tower,
    target: Target,
    batch: usize,
}

impl<'a> Explainer<'a> {
    /// An explainer that passes at most 64 rows through the tower at a time.
    ///
    /// # Errors
    /// When the tower has no such level or channel, or the target's maps have another shape than the level.
    pub fn new(tower: &'a dyn Tower, target: Target) -> Result<Self> {
        target.check(&tower.levels())?;
        Ok(Self { tower, target, batch: 64 })
    }

    /// The same with at most `rows` (at least 1) in a pass: less memory, or more speed.
    pub fn with_batch(mut self, rows: usize) -> Self {
        self.batch = rows.max(1);
        self
    }

    /// The target of every item.
    ///
    /// # Errors
    /// When the tower refuses the input or returns something that is not finite.
    pub fn targets(&self, inputs: &Tensor) -> Result<Vec<f64>> {
        self.targets_of(&Items::new(inputs)?)
    }

    pub(crate) fn targets_of(&self, items: &Items) -> Result<Vec<f64>> {
        let mut targets = Vec::with_capacity(items.count);
        let make = |row: usize, values: &mut [f64]| {
            values.copy_from_slice(items.row(row));
            row
        };
        self.evaluate(items, items.count, make, |_, target| targets.push(target))?;
        Ok(targets)
    }

    /// The largest relative difference, over `directions` random directions, between the tower's directional derivative
    /// and its central finite difference with steps of `step`, in units of each item's root mean square.
    ///
    /// The difference is relative to the root mean square of the finite differences, over items and directions.
    /// Take a step of 1e-3 in `f32`: right gradients then leave less than 1e-2. Larger steps cross the kinks of rectified towers
    /// (the default image tower shows 0.15 at 3e-3 and 2e-4 at 1e-3). What stays at any step is a wrong gradient.
    ///
    /// # Errors
    /// As [`Explainer::gradient_input`]; when a step is not positive or there is no direction.
    pub fn gradient_error(&self, inputs: &Tensor, directions: usize, step: f64, seed: Seed) -> Result<f64> {
        if directions == 0 || !step.is_finite() || step <= 0. {
            let found = format!("{directions} directions, step {step}");
            return Err(
                CoreError::value("gradient check", "a direction or more, a positive step", found).into()
            );
        }
        let items = Items::new(inputs)?;
        let direction = |item: usize, index: usize| -> Vec<f64> {
            let mut stream = seed.index(item).index(index).stream("gradient check");
            let values: Vec<f64> = (0..items.width).map(|_| StandardNormal.sample(&mut stream)).collect();
            let row = items.row(item);
            let scale = (row.iter().map(|v| v * v).sum::<f64>() / items.width as f64).sqrt();
            let scale = step * if scale > 0. { scale } else { 1. };
            values.into_iter().map(|v| v * scale).collect()
        };
        let mut slopes = vec![0.; items.count * directions];
        let as_is = |row: usize, values: &mut [f64]| {
            values.copy_from_slice(items.row(row));
            row
        };
        self.differentiate(&items, items.count, as_is, |pass| {
            for (item, gradient) in (pass.first..).zip(pass.gradients.chunks(items.width)) {
                for index in 0..directions {
                    let along = direction(item, index);
                    slopes[item * directions + index] = along.iter().zip(gradient).map(|(a, g)| a * g).sum();
                }
            }
        })?;
        let mut ends = Vec::with_capacity(2 * slopes.len());
        let moved = |row: usize, values: &mut [f64]| {
            let (item, index, sign) =
                (row / 2 / directions, row / 2 % directions, (row % 2) as f64 * 2. - 1.);
            for ((value, x), d) in values.iter_mut().zip(items.row(item)).zip(direction(item, index)) {
                *value = x + sign * d;
            }
            item
        };
        self.evaluate(&items, 2 * slopes.len(), moved, |_, target| ends.push(target))?;
        let differences: Vec<f64> = ends.chunks(2).map(|pair| (pair[1] - pair[0]) / 2.).collect();
        let scale = (differences.iter().map(|d| d * d).sum::<f64>() / differences.len() as f64).sqrt();
        let worst = slopes.iter().zip(&differences).map(|(a, b)| (a - b).abs()).fold(0., f64::max);
        Ok(if worst == 0. { 0. } else { worst / scale.max(f64::MIN_POSITIVE) }.min(f64::MAX))
    }

    /// Targets of `count` rows. `make` fills a row and returns which item it belongs to; `take` is given row and target.
    /// Both are called row by row, in order.
    pub(crate) fn evaluate(
        &self,
        items: &Items,
        count: usize,
        mut make: impl FnMut(usize, &mut [f64]) -> usize,
        mut take: impl FnMut(usize, f64),
    ) -> Result<()> {
        for first in (0..count).step_by(self.batch) {
            let count = self.batch.min(count - first);
            let mut values = vec![0.; count * items.width];
            let rows = values.chunks_mut(items.width).enumerate();
            let owners: Vec<usize> = rows.map(|(row, values)| make(first + row, values)).collect();
            let map = self.target.select(self.tower, &items.tensor(values, count)?)?;
            let targets = finite(host(&self.target.read(&map.detach(), &owners)?)?)?;
            targets.into_iter().enumerate().for_each(|(row, target)| take(first + row, target));
        }
        Ok(())
    }

    /// Targets of `count` rows and their gradients with respect to the rows. `make` is as in [`Explainer::evaluate`], but
    /// rows are made in parallel; `take` is given one pass after the other, in order.
    pub(crate) fn differentiate(
        &self,
        items: &Items,
        count: usize,
        make: impl Fn(usize, &mut [f64]) -> usize + Sync,
        mut take: impl FnMut(Pass<'_>),
    ) -> Result<()> {
        for first in (0..count).step_by(self.batch) {
            let count = self.batch.min(count - first);
            let mut values = vec![0.; count * items.width];
            let rows = values.par_chunks_mut(items.width).enumerate();
            let owners: Vec<usize> = rows.map(|(row, values)| make(first + row, values)).collect();
            let input = Var::from_tensor(&items.tensor(values, count)?).map_err(CoreError::from)?;
            let map = self.target.select(self.tower, input.as_tensor())?;
            let targets = self.target.read(&map, &owners)?;
            let gradients = gradient(&targets, &input)?;
            let targets = finite(host(&targets)?)?;
            take(Pass { first, targets: &targets, gradients: &gradients, width: items.width });
        }
        Ok(())
    }

    /// Per row of a chunk of items: the maps that the target reads and its gradient with respect to them.
    pub(crate) fn maps(&self, items: &Items, mut take: impl FnMut(usize, f64, &[f64], &[f64])) -> Result<()> {
        for first in (0..items.count).step_by(self.batch) {
            let owners: Vec<usize> = (first..items.count.min(first + self.batch)).collect();
            let values = items.values[first * items.width..][..owners.len() * items.width].to_vec();
            let map = self.target.select(self.tower, &items.tensor(values, owners.len())?)?;
            let map = Var::from_tensor(&map.detach()).map_err(CoreError::from)?;
            let targets = self.target.read(map.as_tensor(), &owners)?;
            let gradients = gradient(&targets, &map)?;
            let (targets, maps) = (finite(host(&targets)?)?, host(&map)?);
            let width = maps.len() / targets.len();
            let parts = maps.chunks(width).zip(gradients.chunks(width));
            for (row, (target, (map, gradient))) in targets.into_iter().zip(parts).enumerate() {
                take(first + row, target, map, gradient);
            }
        }
        Ok(())
    }

    /// Channels, rows and columns of what the target reads.
    pub(crate) fn map_dims(&self) -> (usize, usize, usize) {
        let levels = self.tower.levels();
        let level = levels.iter().find(|level| level.name == self.target.level);
        let (channels, height, width) = level.map_or((0, 0, 0), dina_core::MapSpec::dims);
        (if self.target.channel.is_some() { 1 } else { channels }, height, width)
    }
}

/// The rows of one pass through the tower: their targets, and the gradients `[rows, width]`.
pub(crate) struct Pass<'a> {
    /// The number of the first row.
    pub(crate) first: usize,
    pub(crate) targets: &'a [f64],
    pub(crate) gradients: &'a [f64],
    width: usize,
}

impl Pass<'_> {
    /// Adds every row to the state of its item, `[items, width]`. Items have `each` rows one after the other, and `item` says
    /// which is the first, second and so on. `add` is given a part of the state, the row, where the part begins in it, and the gradient there. Parts are worked on
    /// in parallel, each in the order of rows, so that sums do not depend on the number of threads.
    pub(crate) fn accumulate<T: Send>(
        &self,
        state: &mut [T],
        each: usize,
        item: impl Fn(usize) -> usize,
        add: impl Fn(&mut [T], usize, usize, &[f64]) + Sync,
    ) {
        const PART: usize = 1024;
        let (width, end) = (self.width, self.first + self.targets.len());
        for place in self.first / each..end.div_ceil(each) {
            let rows = self.first.max(place * each)..end.min((place + 1) * each);
            let state = state[item(place) * width..][..width].par_chunks_mut(PART).enumerate();
            state.for_each(|(index, part)| {
                let begin = index * PART;
                for row in rows.clone() {
                    let at = (row - self.first) * width + begin;
                    add(part, row, begin, &self.gradients[at..][..part.len()]);
                }
            });
        }
    }
}

fn finite(targets: Vec<f64>) -> Result<Vec<f64>> {
    if targets.iter().all(|v| v.is_finite()) {
        return Ok(targets);
    }
    Err(CoreError::value("target", "finite", "NaN or infinity").into())
}

/// Items do not influence one another, so the gradient of their sum holds the gradient of each.
fn gradient(targets: &Tensor, input: &Var) -> Result<Vec<f64>> {
    let sum = targets.sum_all().map_err(CoreError::from)?;
    let store = sum.backward().map_err(CoreError::from)?;
    let Some(gradient) = store.get(input.as_tensor()) else {
        // Either an operation without a gradient (candle's fused norms), or a tower that detaches its input.
        let expected = "differentiable with respect to its input";
        return Err(CoreError::value("tower", expected, "one whose output carries no gradient").into());
    };
    let values = host(gradient)?;
    if values.iter().all(|v| v.is_finite()) {
        return Ok(values);
    }
    Err(CoreError::value("gradient of the target", "finite", "NaN or infinity").into())
}

/// Inputs on the host, and how they go back to the tower.
pub(crate) struct Items {
    pub(crate) values: Vec<f64>,
    pub(crate) count: usize,
    /// Inputs an item.
    pub(crate) width: usize,
    dims: Vec<usize>,
    dtype: DType,
    device: Device,
}

impl Items {
    pub(crate) fn new(inputs: &Tensor) -> Result<Self> {
        let dims = inputs.dims().to_vec();
        if dims.len() < 2 || dims.contains(&0) {
            let expected = "[items, neurons] or [items, 1, height, width], none of them 0";
            return Err(CoreError::shape("inputs", expected, dims).into());
        }
        let values = host(inputs)?;
        if values.iter().any(|v| !v.is_finite()) {
            return Err(CoreError::value("inputs", "finite", "NaN or infinity").into());
        }
        let count = dims[0];
        let width = values.len() / count;
        Ok(Self { values, count, width, dims, dtype: inputs.dtype(), device: inputs.device().clone() })
    }

    pub(crate) fn row(&self, item: usize) -> &[f64] {
        &self.values[item * self.width..][..self.width]
    }

    /// The shape of the inputs.
    pub(crate) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The precision of what the tower computes with.
    pub(crate) fn epsilon(&self) -> f64 {
        match self.dtype {
            DType::F64 => f64::EPSILON,
            DType::BF16 => 2f64.powi(-8),
            DType::F16 => 2f64.powi(-10),
            _ => f64::from(f32::EPSILON),
        }
    }

    /// Rows as the tower takes them.
    pub(crate) fn tensor(&self, values: Vec<f64>, rows: usize) -> Result<Tensor, CoreError> {
        let mut dims = self.dims.clone();
        dims[0] = rows;
        let tensor = Tensor::from_vec(values, dims, &Device::Cpu)?;
        Ok(tensor.to_dtype(self.dtype)?.to_device(&self.device)?)
    }

    /// Values an input, in the shape of the inputs.
    pub(crate) fn array(&self, values: &[f64]) -> Result<ArrayD<f32>> {
        self.array_of(values, self.count)
    }

    /// The same for another number of items.
    pub(crate) fn array_of(&self, values: &[f64], items: usize) -> Result<ArrayD<f32>> {
        let mut dims = self.dims.clone();
        dims[0] = items;
        let narrow = values.iter().map(|&v| v as f32).collect();
        ArrayD::from_shape_vec(IxDyn(&dims), narrow)
            .map_err(|_| CoreError::shape("attributions", &dims, values.len()).into())
    }
}
