use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Name and shape of one aligned level, without the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapSpec {
    /// The level's name, the same in both towers.
    pub name: String,
    /// Number of channels.
    pub channels: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl MapSpec {
    /// Channels, height, width.
    pub fn dims(&self) -> (usize, usize, usize) {
        (self.channels, self.height, self.width)
    }

    /// Values per map set: channels x height x width.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether a map of this level holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An ordered, named set of feature maps, each `[batch, channels, height, width]`, one per aligned
/// level. All levels have the same batch.
#[derive(Debug, Clone)]
pub struct FeatureMaps {
    levels: Vec<(String, Tensor)>,
}

impl FeatureMaps {
    /// Checks names and shapes and keeps the order given.
    ///
    /// # Errors
    /// When there is no level, a name occurs twice, a tensor is not four-dimensional, or the
    /// batches differ.
    pub fn new<N: Into<String>>(levels: impl IntoIterator<Item = (N, Tensor)>) -> Result<Self> {
        let levels: Vec<(String, Tensor)> =
            levels.into_iter().map(|(name, map)| (name.into(), map)).collect();
        let Some((_, first)) = levels.first() else {
            return Err(Error::Level("at least one level is needed".into()));
        };
        let batch = first.dim(0)?;
        for (index, (name, map)) in levels.iter().enumerate() {
            if levels[..index].iter().any(|(other, _)| other == name) {
                return Err(Error::Level(format!("level `{name}` occurs twice")));
            }
            if map.rank() != 4 || map.dim(0)? != batch {
                return Err(Error::shape(
                    format!("feature map `{name}`"),
                    format!("[{batch}, channels, height, width]"),
                    map.dims(),
                ));
            }
        }
        Ok(Self { levels })
    }

    /// One level.
    ///
    /// # Errors
    /// As [`FeatureMaps::new`].
    pub fn single(name: impl Into<String>, map: Tensor) -> Result<Self> {
        Self::new([(name.into(), map)])
    }

    /// Number of items in the batch.
    pub fn batch(&self) -> usize {
        self.levels[0].1.dims()[0]
    }

    /// Levels in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.levels.iter().map(|(name, map)| (name.as_str(), map))
    }

    /// The map of one level.
    ///
    /// # Errors
    /// When there is no level of this name; the message lists those there are.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.levels.iter().find_map(|(level, map)| (level == name).then_some(map)).ok_or_else(|| {
            let names: Vec<&str> = self.iter().map(|(name, _)| name).collect();
            Error::Level(format!("no level `{name}`; there are {names:?}"))
        })
    }

    /// Name and shape of every level.
    pub fn specs(&self) -> Vec<MapSpec> {
        self.levels
            .iter()
            .map(|(name, map)| MapSpec {
                name: name.clone(),
                channels: map.dims()[1],
                height: map.dims()[2],
                width: map.dims()[3],
            })
            .collect()
    }

    /// Pairs the levels of two map sets by name.
    ///
    /// # Errors
    /// When the levels differ in name, number or shape; batches may differ.
    pub fn pair<'a>(&'a self, other: &'a Self) -> Result<Vec<(&'a str, &'a Tensor, &'a Tensor)>> {
        let (ours, theirs) = (self.specs(), other.specs());
        if ours != theirs {
            return Err(Error::Level(format!(
                "the two towers must return the same levels; one returns {ours:?}, the other {theirs:?}"
            )));
        }
        Ok(self.levels.iter().zip(&other.levels).map(|((name, a), (_, b))| (name.as_str(), a, b)).collect())
    }

    /// Stacks the batches of several map sets, in order.
    ///
    /// # Errors
    /// When there is none, or the levels differ.
    pub fn cat(parts: &[Self]) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Err(Error::Level("nothing to stack".into()));
        };
        for part in parts {
            first.pair(part)?;
        }
        Self::new(
            (0..first.levels.len())
                .map(|level| {
                    let maps: Vec<&Tensor> = parts.iter().map(|p| &p.levels[level].1).collect();
                    Ok((first.levels[level].0.clone(), Tensor::cat(&maps, 0)?))
                })
                .collect::<Result<Vec<_>>>()?,
        )
    }

    /// The same values, cut off from the graph that made them.
    pub fn detach(&self) -> Self {
        let levels = self.levels.iter();
        Self { levels: levels.map(|(n, map)| (n.clone(), map.detach())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn zeros(dims: &[usize]) -> Tensor {
        Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap()
    }

    #[test]
    fn levels_are_found_by_name_and_refused_when_they_disagree() {
        let maps = FeatureMaps::new([("a", zeros(&[2, 3, 4, 5])), ("b", zeros(&[2, 1, 2, 2]))]).unwrap();
        assert_eq!(maps.batch(), 2);
        assert_eq!(maps.get("b").unwrap().dims(), [2, 1, 2, 2]);
        assert!(maps.get("c").unwrap_err().to_string().contains("\"a\""));
        assert!(FeatureMaps::new([("a", zeros(&[2, 3, 4]))]).is_err());
        assert!(FeatureMaps::new([("a", zeros(&[2, 3, 4, 1])), ("b", zeros(&[3, 3, 4, 1]))]).is_err());
        assert!(FeatureMaps::new(Vec::<(String, Tensor)>::new()).is_err());
    }

    #[test]
    fn stacking_keeps_levels_and_adds_batches() {
        let one = FeatureMaps::single("a", zeros(&[2, 3, 4, 5])).unwrap();
        let two = FeatureMaps::single("a", zeros(&[1, 3, 4, 5])).unwrap();
        assert_eq!(FeatureMaps::cat(&[one.clone(), two]).unwrap().batch(), 3);
        let other = FeatureMaps::single("b", zeros(&[1, 3, 4, 5])).unwrap();
        assert!(FeatureMaps::cat(&[one, other]).is_err());
    }
}
