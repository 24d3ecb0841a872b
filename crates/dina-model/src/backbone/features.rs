use candle_core::Tensor;
use dina_core::{Error, MapSpec, Mode, Result, Tower};
use ndarray::{Array4, ArrayView3, Axis};
use serde::{Deserialize, Serialize};

use super::Backbone;
use super::resize::{Filter, Resize};

/// How features are taken out of many images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureOptions {
    /// Bytes that go through the network at a time, about; one image where it alone takes more. The features themselves come
    /// on top: 4 bytes x images x channels x rows x columns of every level.
    pub memory: usize,
    /// Averages every level of more than 1 x 1 over the cells of a grid of these rows and columns; `None` keeps it as it is.
    pub grid: Option<(usize, usize)>,
}

impl Default for FeatureOptions {
    /// Half a gibibyte at a time, levels as they are.
    fn default() -> Self {
        Self { memory: 512 << 20, grid: None }
    }
}

/// One level's features of many images.
#[derive(Debug, Clone, PartialEq)]
pub struct BackboneFeatures {
    /// Name and shape of the level.
    pub level: MapSpec,
    /// Images x channels x rows x columns.
    pub values: Array4<f32>,
}

impl Backbone {
    /// The features of many images (images x height x width, grey levels as [`ImageInput::pixels`](super::ImageInput) says), a
    /// few images at a time. One entry a level, in the order of the layers.
    ///
    /// # Errors
    /// When there is no image, one has another size than the configuration says or a pixel is not finite, the grid is
    /// empty, or the features do not fit into memory.
    pub fn features(
        &self,
        images: ArrayView3<f32>,
        options: &FeatureOptions,
    ) -> Result<Vec<BackboneFeatures>> {
        let (count, height, width) = images.dim();
        let input = &self.config.input;
        if count == 0 || (height, width) != (input.height, input.width) {
            let expected = format!("[at least 1, {}, {}]", input.height, input.width);
            return Err(Error::Shape {
                what: "images".into(),
                expected,
                found: format!("{:?}", images.dim()),
            });
        }
        if let Some((place, value)) = images.indexed_iter().find(|(_, value)| !value.is_finite()) {
            return Err(Error::value(format!("pixel {place:?} (image, row, column)"), "finite", value));
        }
        let averages =
            self.levels.iter().map(|level| self.average(level, options.grid)).collect::<Result<Vec<_>>>()?;
        let mut values = Vec::new();
        for (level, _) in &averages {
            let mut room = Vec::<f32>::new();
            // Said up front, and not when the machine has none left.
            room.try_reserve_exact(count * level.len()).map_err(|_| {
                Error::value(
                    format!("features of {count} images at `{}`", level.name),
                    "small enough for the memory; average them over a grid, or take fewer images at a time",
                    format!("{} MiB", (4 * count * level.len()) >> 20),
                )
            })?;
            values.push(room);
        }
        let at_a_time = (options.memory / self.working_bytes().max(1)).clamp(1, count);
        for first in (0..count).step_by(at_a_time) {
            let part = images.slice_axis(Axis(0), (first..count.min(first + at_a_time)).into());
            let len = part.len_of(Axis(0));
            let part =
                Tensor::from_iter(part.iter().copied(), &self.device)?.reshape((len, 1, height, width))?;
            let maps = self.forward(&part, Mode::Eval)?;
            for (((_, map), (_, average)), values) in maps.iter().zip(&averages).zip(&mut values) {
                values.extend(average.apply(&map.detach())?.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        let arrays = averages.into_iter().zip(values).map(|((level, _), values)| {
            let shape = (count, level.channels, level.height, level.width);
            let values = Array4::from_shape_vec(shape, values).map_err(|e| {
                Error::value(format!("features at `{}`", level.name), "of the level's shape", e)
            })?;
            Ok(BackboneFeatures { level, values })
        });
        arrays.collect()
    }

    /// A level after averaging, and what averages it.
    fn average(&self, level: &MapSpec, grid: Option<(usize, usize)>) -> Result<(MapSpec, Resize)> {
        let size = (level.height, level.width);
        let to = match grid {
            Some((0, _) | (_, 0)) => {
                return Err(Error::value("grid of features", "at least 1 x 1", format!("{grid:?}")));
            }
            Some(grid) if size != (1, 1) => grid,
            _ => size,
        };
        let spec = MapSpec { height: to.0, width: to.1, ..level.clone() };
        Ok((spec, Resize::new(size, to, Filter::Area, &self.device)?))
    }
}
