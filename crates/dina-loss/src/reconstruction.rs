use candle_core::{DType, Device, Tensor};
use dina_core::{Error, FeatureMaps, LossTerms, MapSpec, Objective, Parameter, Result, Seed, Targets};
use serde::{Deserialize, Serialize};

use crate::batch::{Linear, Pairs, as_dtype, check_ids, check_levels, select};

/// How pixels are read out of a map; linear in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelDecoder {
    /// The channels at each position give `subpixels` x `subpixels` pixels there, by the same weights at every
    /// position: a 1 x 1 convolution followed by a rearrangement into pixels (Shi et al. 2016). A map of H x W
    /// positions gives H `subpixels` x W `subpixels` pixels.
    Local {
        /// Pixels per position and axis, at least 1.
        subpixels: usize,
    },
    /// All of the map gives each pixel, with weights of its own.
    Flat {
        /// Rows of the reconstruction.
        rows: usize,
        /// Columns of the reconstruction.
        columns: usize,
    },
}

/// Settings of [`Reconstruction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconstructionConfig {
    /// Height of the images in `Targets::pixels`.
    pub height: usize,
    /// Their width.
    pub width: usize,
    /// How pixels are read out, and at which resolution.
    pub decoder: PixelDecoder,
}

impl ReconstructionConfig {
    /// The default for images of this size: four pixels (2 x 2) a position of the map.
    pub fn new(height: usize, width: usize) -> Self {
        Self { height, width, decoder: PixelDecoder::Local { subpixels: 2 } }
    }
}

/// Reconstruction of the image from the maps of either tower, at a coarse resolution.
///
/// One linear decoder D per level, shared by both towers, and the image X averaged over the area of each pixel of the
/// decoder's grid: `L = 1/2 mean (D(A_i) - X_i)^2 + 1/2 mean (D(B_t) - X_i(t))^2`, over items and pixels, averaged over
/// levels. Pixels are in the units of `Targets::pixels`: standardised ones give the fraction of variance not explained.
///
/// Nothing compares the map of an image with that of a trial: the two are aligned only as far as carrying the same
/// pixels through the same decoder aligns them. Trials whose image is not in the batch are left out.
pub struct Reconstruction {
    config: ReconstructionConfig,
    specs: Vec<MapSpec>,
    levels: Vec<Level>,
}

/// Decoder and target grid of one level.
struct Level {
    decoder: Linear,
    /// Averages rows of pixels, transposed: `[height, rows]`.
    rows: Tensor,
    /// Averages columns: `[width, columns]`.
    columns: Tensor,
}

impl Reconstruction {
    /// An objective with random decoders, for towers that return `levels`.
    ///
    /// # Errors
    /// When there is no level, or a size is zero.
    pub fn new(
        config: ReconstructionConfig,
        levels: &[MapSpec],
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        Self::with_dtype(config, levels, seed, DType::F32, device)
    }

    fn with_dtype(
        config: ReconstructionConfig,
        specs: &[MapSpec],
        seed: Seed,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        if specs.is_empty() || specs.iter().any(MapSpec::is_empty) {
            return Err(Error::Level(
                "reconstruction needs at least one level, and none that is empty".into(),
            ));
        }
        let seed = seed.child("reconstruction");
        let levels = specs
            .iter()
            .map(|spec| {
                let ((rows, columns), inputs, outputs) = match config.decoder {
                    PixelDecoder::Local { subpixels: k } => {
                        ((spec.height * k, spec.width * k), spec.channels, k * k)
                    }
                    PixelDecoder::Flat { rows, columns } => ((rows, columns), spec.len(), rows * columns),
                };
                if rows * columns * config.height * config.width == 0 {
                    let found = format!("{rows} x {columns} from {} x {}", config.height, config.width);
                    return Err(Error::value("reconstruction", "at least one pixel", found));
                }
                Ok(Level {
                    decoder: Linear::new((inputs, outputs), seed.child(&spec.name), dtype, device)?,
                    rows: area_average(config.height, rows, dtype, device)?,
                    columns: area_average(config.width, columns, dtype, device)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { config, specs: specs.to_vec(), levels })
    }

    /// The reconstruction from the maps of either tower, one tensor `[batch, rows, columns]` a level.
    ///
    /// # Errors
    /// When the maps have other levels than the objective was made for.
    pub fn reconstruct(&self, maps: &FeatureMaps) -> Result<Vec<Tensor>> {
        check_levels(&self.specs, maps, maps)?;
        self.levels.iter().zip(maps.iter()).map(|(level, (_, map))| level.decode(map, self.config)).collect()
    }

    /// What is to be reconstructed of images `[batch, 1, height, width]`, one tensor `[batch, rows, columns]` a level.
    ///
    /// # Errors
    /// When the images have another size than the objective was made for.
    pub fn target(&self, pixels: &Tensor) -> Result<Vec<Tensor>> {
        let (height, width) = (self.config.height, self.config.width);
        let count = pixels.dims().first().copied().unwrap_or(0);
        if pixels.dims() != [count, 1, height, width] {
            return Err(Error::shape(
                "pixels of a batch",
                format!("[images, 1, {height}, {width}]"),
                pixels.dims(),
            ));
        }
        let pixels = pixels.detach().reshape((count * height, width))?;
        self.levels.iter().map(|level| level.average(&pixels, count)).collect()
    }
}

impl Level {
    fn decode(&self, map: &Tensor, config: ReconstructionConfig) -> Result<Tensor> {
        let (count, channels, height, width) = map.dims4()?;
        match config.decoder {
            PixelDecoder::Local { subpixels: k } => {
                let rows = map.permute((0, 2, 3, 1))?.contiguous()?.reshape(((), channels))?;
                let pixels = self.decoder.forward(&rows)?.reshape((count, height, width, k, k))?;
                Ok(pixels.permute((0, 1, 3, 2, 4))?.reshape((count, height * k, width * k))?)
            }
            PixelDecoder::Flat { rows, columns } => {
                Ok(self.decoder.forward(&map.flatten_from(1)?)?.reshape((count, rows, columns))?)
            }
        }
    }

    /// Area averages of images whose rows are the rows of `pixels`.
    fn average(&self, pixels: &Tensor, count: usize) -> Result<Tensor> {
        let ((height, rows), columns) = (self.rows.dims2()?, self.columns.dim(1)?);
        let pixels = as_dtype(pixels, self.columns.dtype())?.matmul(&self.columns)?;
        let turned = pixels.reshape((count, height, columns))?.transpose(1, 2)?.contiguous()?;
        let averaged = turned.reshape((count * columns, height))?.matmul(&self.rows)?;
        Ok(averaged.reshape((count, columns, rows))?.transpose(1, 2)?.contiguous()?)
    }
}

impl Objective for Reconstruction {
    fn loss(&self, image: &FeatureMaps, neural: &FeatureMaps, targets: &Targets) -> Result<LossTerms> {
        check_ids(image, neural, targets)?;
        image.pair(neural)?;
        let Some(pixels) = &targets.pixels else {
            return Err(Error::value("pixels of a batch", "its images", "missing"));
        };
        if pixels.dims().first() != Some(&image.batch()) {
            return Err(Error::shape("images in the pixels of a batch", image.batch(), pixels.dims()));
        }
        let pairs = Pairs::new(targets)?;
        let wanted = self.target(pixels)?;
        let half = 0.5 / self.levels.len() as f64;
        let mean = |errors: Vec<Tensor>| -> Result<Tensor> {
            let errors = Tensor::stack(&errors, 0)?;
            Ok((errors.sum_all()? * half)?)
        };
        let of_images = self
            .reconstruct(image)?
            .iter()
            .zip(&wanted)
            .map(|(found, wanted)| Ok((found - wanted)?.sqr()?.mean_all()?))
            .collect::<Result<Vec<_>>>()?;
        let of_trials = self
            .reconstruct(neural)?
            .iter()
            .zip(&wanted)
            .map(|(found, wanted)| {
                let (found, wanted) = (select(found, &pairs.trials)?, select(wanted, &pairs.images)?);
                Ok((found - wanted)?.sqr()?.mean_all()?)
            })
            .collect::<Result<Vec<_>>>()?;
        LossTerms::new([
            ("reconstruction_image", mean(of_images)?),
            ("reconstruction_neural", mean(of_trials)?),
        ])
    }

    fn parameters(&self) -> Vec<Parameter> {
        let of_level = |(level, spec): (&Level, &MapSpec)| {
            let name = |part: &str| format!("objective.decoder.{}.{part}", spec.name);
            [
                Parameter::new(name("weight"), level.decoder.weight.clone()),
                Parameter::new(name("bias"), level.decoder.bias.clone()).without_decay(),
            ]
        };
        self.levels.iter().zip(&self.specs).flat_map(of_level).collect()
    }
}

/// Column `to` holds the share of each of `from` equal cells in the `to`-th of `into` equal cells of the same length:
/// averages where there are fewer, copies where there are more.
fn area_average(from: usize, into: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let overlap = |source: usize, to: usize| {
        // In units of 1 / (from x into) of the length, so that edges are whole numbers.
        let (start, end) = ((source * into).max(to * from), ((source + 1) * into).min((to + 1) * from));
        end.saturating_sub(start) as f64 / from as f64
    };
    let shares: Vec<f64> =
        (0..from).flat_map(|source| (0..into).map(move |to| overlap(source, to))).collect();
    Ok(Tensor::from_vec(shares, (from, into), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{maps, normal, objective_gradients_agree, total};

    const LOCAL: PixelDecoder = PixelDecoder::Local { subpixels: 2 };
    const FLAT: PixelDecoder = PixelDecoder::Flat { rows: 2, columns: 3 };

    fn objective(decoder: PixelDecoder) -> Reconstruction {
        let config = ReconstructionConfig { height: 5, width: 4, decoder };
        let levels = maps(&normal("a", &[2, 3, 2, 2])).specs();
        Reconstruction::with_dtype(config, &levels, Seed::new(1), DType::F64, &Device::Cpu).unwrap()
    }

    fn targets() -> Targets {
        let pixels = Some(normal("pixels", &[2, 1, 5, 4]));
        Targets { trials: vec![4, 9, 7], images: vec![7, 4], labels: None, pixels }
    }

    #[test]
    fn area_averages_keep_the_mean_and_copy_where_finer() {
        let of = |from, into| {
            let matrix = area_average(from, into, DType::F64, &Device::Cpu).unwrap();
            matrix.t().unwrap().to_vec2::<f64>().unwrap()
        };
        assert_eq!(of(4, 2), [[0.5, 0.5, 0., 0.], [0., 0., 0.5, 0.5]]);
        assert_eq!(of(2, 4), [[1., 0.], [1., 0.], [0., 1.], [0., 1.]]);
        let thirds = of(3, 2);
        assert!((thirds[0][0] - 2. / 3.).abs() < 1e-12 && (thirds[0][1] - 1. / 3.).abs() < 1e-12);
        assert!(of(5, 3).iter().all(|row| (row.iter().sum::<f64>() - 1.).abs() < 1e-12));
    }

    #[test]
    fn a_decoder_without_weights_costs_the_power_of_the_target() {
        for decoder in [LOCAL, FLAT] {
            let objective = objective(decoder);
            for parameter in objective.parameters() {
                parameter.var.set(&parameter.var.zeros_like().unwrap()).unwrap();
            }
            let targets = targets();
            let target = objective.target(targets.pixels.as_ref().unwrap()).unwrap().remove(0);
            let power = |row: usize| {
                let image = target.get(row).unwrap();
                image.sqr().unwrap().mean_all().unwrap().to_scalar::<f64>().unwrap()
            };
            // Trial 0 shows the second image, trial 2 the first, trial 1 one that is not there.
            let loss = total(&objective, &normal("a", &[2, 3, 2, 2]), &normal("b", &[3, 3, 2, 2]), &targets);
            assert!((loss.to_scalar::<f64>().unwrap() - (power(0) + power(1)) / 2.).abs() < 1e-12);
        }
    }

    /// One channel that is the image itself, read out with weight 1, is a perfect reconstruction.
    #[test]
    fn subpixels_lie_where_they_belong() {
        let objective = {
            let config = ReconstructionConfig { height: 4, width: 6, decoder: LOCAL };
            let levels = maps(&normal("a", &[2, 4, 2, 3])).specs();
            Reconstruction::with_dtype(config, &levels, Seed::new(1), DType::F64, &Device::Cpu).unwrap()
        };
        objective.levels[0].decoder.weight.set(&Tensor::eye(4, DType::F64, &Device::Cpu).unwrap()).unwrap();
        let pixels = normal("pixels", &[2, 1, 4, 6]);
        // Channel 2 r + c holds the pixel at row r and column c of each 2 x 2 block.
        let blocks = pixels.reshape((2, 2, 2, 3, 2)).unwrap().permute((0, 2, 4, 1, 3)).unwrap();
        let map = blocks.reshape((2, 4, 2, 3)).unwrap();
        let targets = Targets { trials: vec![0, 1], images: vec![0, 1], labels: None, pixels: Some(pixels) };
        assert!(total(&objective, &map, &map, &targets).to_scalar::<f64>().unwrap() < 1e-24);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for decoder in [LOCAL, FLAT] {
            let (a, b) = (normal("a", &[2, 3, 2, 2]), normal("b", &[3, 3, 2, 2]));
            objective_gradients_agree(&objective(decoder), &a, &b, &targets());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let objective = objective(LOCAL);
        let (a, b) = (maps(&normal("a", &[2, 3, 2, 2])), maps(&normal("b", &[3, 3, 2, 2])));
        let refused = |targets: Targets| objective.loss(&a, &b, &targets).unwrap_err().to_string();
        assert!(refused(Targets { pixels: None, ..targets() }).contains("pixels"));
        assert!(
            refused(Targets { pixels: Some(normal("p", &[2, 1, 4, 4])), ..targets() })
                .contains("[2, 1, 4, 4]")
        );
        assert!(
            refused(Targets { pixels: Some(normal("p", &[1, 1, 5, 4])), ..targets() }).contains("images")
        );
        assert!(refused(Targets { trials: vec![4, 7], ..targets() }).contains("ids"));
        let flat = PixelDecoder::Flat { rows: 0, columns: 2 };
        let levels = a.specs();
        let made =
            |config, levels: &[MapSpec]| Reconstruction::new(config, levels, Seed::new(1), &Device::Cpu);
        assert!(made(ReconstructionConfig { height: 5, width: 4, decoder: flat }, &levels).is_err());
        assert!(made(ReconstructionConfig::new(5, 4), &[]).is_err());
        assert!(made(ReconstructionConfig::new(5, 0), &levels).is_err());
    }
}
