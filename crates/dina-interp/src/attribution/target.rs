use candle_core::{DType, Device, Tensor};
use dina_core::{Error as CoreError, Mode, Tower};
use ndarray::{Array3, Array4};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The number that is explained, one an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The level.
    pub(crate) level: String,
    /// The channel; `None` is all channels of the level, which needs `maps`.
    pub(crate) channel: Option<usize>,
    /// `[items or 1, channels, height, width]`: what the map is multiplied with; `None` is the mean.
    pub(crate) maps: Option<Array4<f32>>,
}

impl Target {
    /// The mean over the map of a channel.
    pub fn channel(level: impl Into<String>, channel: usize) -> Self {
        Self { level: level.into(), channel: Some(channel), maps: None }
    }

    /// The dot product of the map of a channel with a given map: `[items, height, width]`, such as the other tower's
    /// maps of the same images, or `[1, height, width]` for one weighting of positions.
    pub fn channel_matching(level: impl Into<String>, channel: usize, maps: Array3<f32>) -> Self {
        let maps = maps.insert_axis(ndarray::Axis(1));
        Self { level: level.into(), channel: Some(channel), maps: Some(maps) }
    }

    /// The dot product of all maps of a level with given ones, `[items or 1, channels, height, width]`.
    pub fn level_matching(level: impl Into<String>, maps: Array4<f32>) -> Self {
        Self { level: level.into(), channel: None, maps: Some(maps) }
    }

    /// The level's name.
    pub fn level(&self) -> &str {
        &self.level
    }

    /// Whether the target is the same for every item.
    pub(crate) fn is_shared(&self) -> bool {
        self.maps.as_ref().is_none_or(|maps| maps.dim().0 == 1)
    }

    /// The map or maps of some rows that the target reads, `[rows, channels, height, width]`.
    pub(crate) fn select(&self, tower: &dyn Tower, rows: &Tensor) -> Result<Tensor> {
        Ok(match self.channel {
            Some(channel) => tower.channel(rows, Mode::Eval, &self.level, channel)?,
            None => tower.forward(rows, Mode::Eval)?.get(&self.level)?.clone(),
        })
    }

    /// The targets `[rows]` of selected maps; `items` names the item of every row.
    pub(crate) fn read(&self, map: &Tensor, items: &[usize]) -> Result<Tensor, CoreError> {
        let flat = map.flatten_from(1)?;
        let Some(maps) = &self.maps else { return Ok(flat.mean(1)?) };
        let count = maps.dim().0;
        let mut weights = Vec::with_capacity(items.len() * flat.dim(1)?);
        for &item in items {
            let row = if count == 1 { 0 } else { item };
            if row >= count {
                let expected = format!("one for each of more than {item} items, or a single one");
                return Err(CoreError::shape("maps of the target", expected, maps.shape()));
            }
            weights.extend(maps.index_axis(ndarray::Axis(0), row).iter().map(|&v| f64::from(v)));
        }
        let weights = Tensor::from_vec(weights, flat.shape(), &Device::Cpu)?;
        let weights = weights.to_dtype(flat.dtype())?.to_device(flat.device())?;
        Ok((flat * weights)?.sum(1)?)
    }

    /// Refuses a target that the tower does not have.
    pub(crate) fn check(&self, levels: &[dina_core::MapSpec]) -> Result<()> {
        let Some(level) = levels.iter().find(|level| level.name == self.level) else {
            let names: Vec<&str> = levels.iter().map(|level| level.name.as_str()).collect();
            return Err(CoreError::Level(format!("no level `{}`; there are {names:?}", self.level)).into());
        };
        if let Some(channel) = self.channel.filter(|&channel| channel >= level.channels) {
            let expected = format!("below {}", level.channels);
            return Err(
                CoreError::value(format!("channel of level `{}`", self.level), expected, channel).into()
            );
        }
        let channels = if self.channel.is_some() { 1 } else { level.channels };
        if let Some(maps) = &self.maps {
            if maps.shape()[1..] != [channels, level.height, level.width] {
                let expected = format!("[items or 1, {channels}, {}, {}]", level.height, level.width);
                return Err(CoreError::shape("maps of the target", expected, maps.shape()).into());
            }
            if maps.iter().any(|v| !v.is_finite()) {
                return Err(CoreError::value("maps of the target", "finite", "NaN or infinity").into());
            }
        }
        Ok(())
    }
}

/// Any tensor as `f64` on the host, row by row.
pub(crate) fn host(tensor: &Tensor) -> Result<Vec<f64>, CoreError> {
    let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
    Ok(flat.to_dtype(DType::F64)?.to_vec1::<f64>()?)
}
