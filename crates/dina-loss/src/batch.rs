//! What the rows of a batch have to do with each other.

use candle_core::{DType, Device, Tensor, Var};
use dina_core::{Error, FeatureMaps, MapSpec, Result, Seed, Targets};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// How a map becomes the row of numbers that a linear layer or a covariance is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean over positions: one number a channel.
    Mean,
    /// All of it: channels x height x width numbers.
    Flat,
}

impl Pooling {
    /// Numbers a row has for maps of these levels.
    pub(crate) fn width(self, levels: &[MapSpec]) -> usize {
        let of_level = |level: &MapSpec| match self {
            Self::Mean => level.channels,
            Self::Flat => level.len(),
        };
        levels.iter().map(of_level).sum()
    }

    /// One row per item, the levels side by side.
    pub(crate) fn rows(self, maps: &FeatureMaps) -> Result<Tensor> {
        let rows = maps.iter().map(|(_, map)| self.level(map)).collect::<Result<Vec<_>>>()?;
        match rows.as_slice() {
            [one] => Ok(one.clone()),
            several => Ok(Tensor::cat(several, 1)?),
        }
    }

    /// One row per item of one level.
    pub(crate) fn level(self, map: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Mean => map.flatten_from(2)?.mean(2)?,
            Self::Flat => map.flatten_from(1)?,
        })
    }
}

/// Refuses a batch whose maps and identities differ in number.
pub(crate) fn check_ids(image: &FeatureMaps, neural: &FeatureMaps, targets: &Targets) -> Result<()> {
    let (expected, found) = ([neural.batch(), image.batch()], [targets.trials.len(), targets.images.len()]);
    if expected == found { Ok(()) } else { Err(Error::shape("stimulus ids of a batch", expected, found)) }
}

/// Refuses maps that an objective was not made for.
pub(crate) fn check_levels(levels: &[MapSpec], image: &FeatureMaps, neural: &FeatureMaps) -> Result<()> {
    image.pair(neural)?;
    let found = image.specs();
    if found == levels {
        return Ok(());
    }
    Err(Error::Level(format!("the objective was made for {levels:?}, the towers return {found:?}")))
}

/// The trials of a batch whose image is in the batch too.
pub(crate) struct Pairs {
    /// Rows of the neural maps.
    pub(crate) trials: Vec<u32>,
    /// For each the row of its image; the first of equal ones.
    pub(crate) images: Vec<u32>,
}

impl Pairs {
    /// Refuses a batch without a pair.
    pub(crate) fn new(targets: &Targets) -> Result<Self> {
        let mut pairs = Self { trials: Vec::new(), images: Vec::new() };
        for (trial, id) in (0..).zip(&targets.trials) {
            if let Some(image) = targets.images.iter().position(|other| other == id) {
                pairs.trials.push(trial);
                pairs.images.push(image as u32);
            }
        }
        if pairs.trials.is_empty() {
            return Err(Error::value("trials whose image is in the batch", "at least one", 0));
        }
        Ok(pairs)
    }
}

/// Some rows of a matrix; all of them, in order, are the matrix itself.
pub(crate) fn select(rows: &Tensor, chosen: &[u32]) -> Result<Tensor> {
    if chosen.len() == rows.dim(0)? && chosen.iter().enumerate().all(|(place, &row)| place == row as usize) {
        return Ok(rows.clone());
    }
    Ok(rows.index_select(&Tensor::new(chosen, rows.device())?, 0)?)
}

/// A linear layer with weights `[inputs, outputs]` of standard deviation `inputs^(-1/2)`, so that inputs of variance 1 give
/// outputs of variance 1, and biases of zero.
pub(crate) struct Linear {
    pub(crate) weight: Var,
    pub(crate) bias: Var,
}

impl Linear {
    pub(crate) fn new(
        (inputs, outputs): (usize, usize),
        seed: Seed,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let mut stream = seed.stream("weights");
        let scale = 1. / (inputs as f64).sqrt();
        let values: Vec<f64> = (0..inputs * outputs)
            .map(|_| {
                let value: f64 = StandardNormal.sample(&mut stream);
                value * scale
            })
            .collect();
        // Converted on the processor: some devices have no f64.
        let weight = Tensor::from_vec(values, (inputs, outputs), &Device::Cpu)?.to_dtype(dtype)?;
        Ok(Self {
            weight: Var::from_tensor(&weight.to_device(device)?)?,
            bias: Var::from_tensor(&Tensor::zeros(outputs, dtype, device)?)?,
        })
    }

    /// Of rows `[n, inputs]`, which take the precision of the weights.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let rows = as_dtype(rows, self.weight.dtype())?;
        Ok(rows.matmul(&self.weight)?.broadcast_add(&self.bias)?)
    }
}

/// The same values in this precision.
pub(crate) fn as_dtype(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype { Ok(x.clone()) } else { Ok(x.to_dtype(dtype)?) }
}

/// A parameter of one number.
pub(crate) fn scalar(value: f64, dtype: DType, device: &Device) -> Result<Var> {
    Ok(Var::from_tensor(&Tensor::new(value, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::normal;

    #[test]
    fn trials_find_their_images_and_strangers_are_left_out() {
        let targets = Targets { trials: vec![5, 9, 7, 5], images: vec![7, 5, 5], ..Default::default() };
        let pairs = Pairs::new(&targets).unwrap();
        assert_eq!((pairs.trials, pairs.images), (vec![0, 2, 3], vec![1, 0, 1]));
        let strangers = Targets { trials: vec![1], images: vec![2], ..Default::default() };
        assert!(Pairs::new(&strangers).is_err());
    }

    #[test]
    fn levels_lie_side_by_side() {
        let (one, two) = (normal("one", &[2, 3, 2, 2]), normal("two", &[2, 1, 1, 2]));
        let maps = FeatureMaps::new([("one", one.clone()), ("two", two.clone())]).unwrap();
        assert_eq!(Pooling::Flat.rows(&maps).unwrap().dims(), [2, Pooling::Flat.width(&maps.specs())]);
        let means = Pooling::Mean.rows(&maps).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(means[0].len(), Pooling::Mean.width(&maps.specs()));
        let last = two.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert!((means[1][3] - (last[2] + last[3]) / 2.).abs() < 1e-12);
    }
}
