use candle_core::{DType, Device, Tensor, Var};
use dina_core::{FeatureMaps, MapSpec, Mode, Parameter, Result, Seed, Tower};

use crate::init::normal;
use crate::ops::read_in;

/// The factorised neural tower: neuron n adds `r_n * sum_k s_kn(h, w) f_kn(c)` to the map, a spatial mask times
/// a channel vector, so that each neuron's place and feature can be read off the weights
/// (the transpose of the readout of Klindt et al. 2017).
pub struct Factorised {
    level: MapSpec,
    dropout: f64,
    /// `[neurons, rank, channels]`.
    features: Var,
    /// `[neurons, rank, positions]`.
    masks: Var,
}

impl Factorised {
    /// A tower with random factors, for responses of variance 1.
    ///
    /// # Errors
    /// When a size is zero or the dropout is not in `[0, 1)`.
    pub fn new(
        neurons: usize,
        rank: usize,
        level: MapSpec,
        dropout: f64,
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        Self::with_dtype(neurons, rank, level, dropout, seed, DType::F32, device)
    }

    pub(crate) fn with_dtype(
        neurons: usize,
        rank: usize,
        level: MapSpec,
        dropout: f64,
        seed: Seed,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        super::check(neurons * rank, &level, dropout)?;
        let mut stream = seed.stream("neural.weights");
        let mut random = |last: usize, sd: f64| -> Result<Var> {
            let tensor = normal(&[neurons, rank, last], sd, &mut stream, device)?;
            Ok(Var::from_tensor(&tensor.to_dtype(dtype)?)?)
        };
        // Maps of about unit variance, shared evenly between the two factors.
        let sd = (1. / (neurons * rank) as f64).sqrt().sqrt();
        Ok(Self {
            features: random(level.channels, sd)?,
            masks: random(level.height * level.width, sd)?,
            level,
            dropout,
        })
    }

    /// Channel vectors `[neurons, rank, channels]`.
    pub fn features(&self) -> &Tensor {
        &self.features
    }

    /// Spatial masks `[neurons, rank, height x width]`.
    pub fn masks(&self) -> &Tensor {
        &self.masks
    }

    /// Pairs of mask and channel vector per neuron.
    pub fn rank(&self) -> usize {
        self.features.dims()[1]
    }

    pub(crate) fn set_factors(&self, features: &Tensor, masks: &Tensor) -> Result<()> {
        self.features.set(features)?;
        Ok(self.masks.set(masks)?)
    }
}

impl Tower for Factorised {
    fn forward(&self, input: &Tensor, mode: Mode<'_>) -> Result<FeatureMaps> {
        let responses = super::responses(input, self.features.dims()[0], self.dropout, mode)?;
        let maps = read_in(&responses, &self.features, &self.masks)?;
        let MapSpec { name, channels, height, width } = self.level.clone();
        FeatureMaps::single(name, maps.reshape((responses.dim(0)?, channels, height, width))?)
    }

    fn channel(&self, input: &Tensor, mode: Mode<'_>, level: &str, channel: usize) -> Result<Tensor> {
        super::check_channel(&self.level, level, channel)?;
        let responses = super::responses(input, self.features.dims()[0], self.dropout, mode)?;
        // Detached: no gradient of the parameters is wanted, and that would be most of the work.
        let features = self.features.as_tensor().detach().narrow(2, channel, 1)?.contiguous()?;
        let maps = read_in(&responses, &features, &self.masks.as_tensor().detach())?;
        Ok(maps.reshape((responses.dim(0)?, 1, self.level.height, self.level.width))?)
    }

    fn levels(&self) -> Vec<MapSpec> {
        vec![self.level.clone()]
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![
            Parameter::new("neural.features", self.features.clone()),
            Parameter::new("neural.masks", self.masks.clone()),
        ]
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("responses of {} neurons", self.features.dims()[0]),
            format!("neuron dropout {}", self.dropout),
            format!("factorised read-in: {} masks x channel vectors per neuron", self.rank()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{gradient_error, normal};

    pub(crate) fn level() -> MapSpec {
        MapSpec { name: "v1".into(), channels: 3, height: 2, width: 4 }
    }

    #[test]
    fn single_channels_are_those_of_all() {
        let tower =
            Factorised::with_dtype(6, 2, level(), 0., Seed::new(2), DType::F64, &Device::Cpu).unwrap();
        crate::neural::check_single_channels(&tower, &normal("responses", &[5, 6]).unwrap());
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let tower =
            Factorised::with_dtype(6, 2, level(), 0., Seed::new(2), DType::F64, &Device::Cpu).unwrap();
        let input = normal("responses", &[5, 6]).unwrap();
        let parameters = tower.parameters();
        let vars: Vec<&Var> = parameters.iter().map(|p| &p.var).collect();
        let error = gradient_error(&vars, || {
            Ok(tower.forward(&input, Mode::Eval).unwrap().get("v1").unwrap().clone())
        })
        .unwrap();
        assert!(error < 1e-6, "{error}");
    }

    #[test]
    fn dropout_keeps_the_mean_and_follows_its_stream() {
        let tower = Factorised::new(4000, 1, level(), 0.5, Seed::new(2), &Device::Cpu).unwrap();
        let input = Tensor::ones((1, 4000), DType::F32, &Device::Cpu).unwrap();
        let kept = |seed: u64| {
            let mut stream = Seed::new(seed).stream("dropout");
            super::super::responses(&input, 4000, 0.5, Mode::Train(&mut stream)).unwrap()
        };
        let mean = kept(1).mean_all().unwrap().to_scalar::<f32>().unwrap();
        assert!((mean - 1.).abs() < 0.06, "{mean}");
        assert_eq!(kept(1).to_vec2::<f32>().unwrap(), kept(1).to_vec2::<f32>().unwrap());
        assert_ne!(kept(1).to_vec2::<f32>().unwrap(), kept(2).to_vec2::<f32>().unwrap());
        assert!(tower.forward(&input.narrow(1, 0, 9).unwrap(), Mode::Eval).is_err());
        assert!(Factorised::new(4, 1, level(), 1., Seed::new(2), &Device::Cpu).is_err());
    }
}
