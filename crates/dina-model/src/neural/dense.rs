//! The alternatives that the factorised read-in is measured against.

use candle_core::{DType, Device, Tensor, Var};
use dina_core::{FeatureMaps, MapSpec, Mode, Parameter, Result, Seed, Tower};

use crate::init::normal;

/// A weight per neuron, channel and position.
pub struct Dense {
    level: MapSpec,
    dropout: f64,
    /// `[neurons, channels x positions]`.
    weights: Var,
}

impl Dense {
    /// A tower with random weights, for responses of variance 1.
    ///
    /// # Errors
    /// When a size is zero or the dropout is not in `[0, 1)`.
    pub fn new(neurons: usize, level: MapSpec, dropout: f64, seed: Seed, device: &Device) -> Result<Self> {
        super::check(neurons, &level, dropout)?;
        let mut stream = seed.stream("neural.weights");
        let weights = normal(&[neurons, level.len()], (1. / neurons as f64).sqrt(), &mut stream, device)?;
        Ok(Self { weights: Var::from_tensor(&weights)?, level, dropout })
    }
}

impl Tower for Dense {
    fn forward(&self, input: &Tensor, mode: Mode<'_>) -> Result<FeatureMaps> {
        let responses = super::responses(input, self.weights.dims()[0], self.dropout, mode)?;
        to_maps(responses.matmul(&self.weights)?, &self.level)
    }

    fn channel(&self, input: &Tensor, mode: Mode<'_>, level: &str, channel: usize) -> Result<Tensor> {
        let weights = channel_columns(&self.weights, &self.level, level, channel)?;
        let responses = super::responses(input, self.weights.dims()[0], self.dropout, mode)?;
        one_map(responses.matmul(&weights)?, &self.level)
    }

    fn levels(&self) -> Vec<MapSpec> {
        vec![self.level.clone()]
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter::new("neural.weights", self.weights.clone())]
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("responses of {} neurons", self.weights.dims()[0]),
            format!("neuron dropout {}", self.dropout),
            "dense read-in".into(),
        ]
    }
}

/// One hidden layer of rectified units between responses and maps.
pub struct Mlp {
    level: MapSpec,
    dropout: f64,
    /// `[neurons, hidden]`.
    first: Var,
    /// `[1, hidden]`.
    bias: Var,
    /// `[hidden, channels x positions]`.
    second: Var,
}

impl Mlp {
    /// A tower with random weights, for responses of variance 1.
    ///
    /// # Errors
    /// When a size is zero or the dropout is not in `[0, 1)`.
    pub fn new(
        neurons: usize,
        hidden: usize,
        level: MapSpec,
        dropout: f64,
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        super::check(neurons * hidden, &level, dropout)?;
        let mut stream = seed.stream("neural.weights");
        let first = normal(&[neurons, hidden], (2. / neurons as f64).sqrt(), &mut stream, device)?;
        let second = normal(&[hidden, level.len()], (1. / hidden as f64).sqrt(), &mut stream, device)?;
        Ok(Self {
            first: Var::from_tensor(&first)?,
            bias: Var::zeros((1, hidden), DType::F32, device)?,
            second: Var::from_tensor(&second)?,
            level,
            dropout,
        })
    }
}

impl Tower for Mlp {
    fn forward(&self, input: &Tensor, mode: Mode<'_>) -> Result<FeatureMaps> {
        let responses = super::responses(input, self.first.dims()[0], self.dropout, mode)?;
        let hidden = responses.matmul(&self.first)?.broadcast_add(&self.bias)?.relu()?;
        to_maps(hidden.matmul(&self.second)?, &self.level)
    }

    fn channel(&self, input: &Tensor, mode: Mode<'_>, level: &str, channel: usize) -> Result<Tensor> {
        let second = channel_columns(&self.second, &self.level, level, channel)?;
        let responses = super::responses(input, self.first.dims()[0], self.dropout, mode)?;
        let (first, bias) = (self.first.as_tensor().detach(), self.bias.as_tensor().detach());
        let hidden = responses.matmul(&first)?.broadcast_add(&bias)?.relu()?;
        one_map(hidden.matmul(&second)?, &self.level)
    }

    fn levels(&self) -> Vec<MapSpec> {
        vec![self.level.clone()]
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![
            Parameter::new("neural.first", self.first.clone()),
            Parameter::new("neural.bias", self.bias.clone()).without_decay(),
            Parameter::new("neural.second", self.second.clone()),
        ]
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("responses of {} neurons", self.first.dims()[0]),
            format!("neuron dropout {}", self.dropout),
            format!("MLP read-in, {} hidden units", self.first.dims()[1]),
        ]
    }
}

fn to_maps(flat: Tensor, level: &MapSpec) -> Result<FeatureMaps> {
    let shape = (flat.dim(0)?, level.channels, level.height, level.width);
    FeatureMaps::single(&level.name, flat.reshape(shape)?)
}

/// The columns of `[inputs, channels x positions]` that make one channel, without gradient.
fn channel_columns(weights: &Var, level: &MapSpec, name: &str, channel: usize) -> Result<Tensor> {
    super::check_channel(level, name, channel)?;
    let positions = level.height * level.width;
    Ok(weights.as_tensor().detach().narrow(1, channel * positions, positions)?.contiguous()?)
}

fn one_map(flat: Tensor, level: &MapSpec) -> Result<Tensor> {
    Ok(flat.reshape((flat.dim(0)?, 1, level.height, level.width))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::normal as random;

    #[test]
    fn towers_return_their_levels_and_every_parameter_learns() {
        let level = MapSpec { name: "v1".into(), channels: 3, height: 2, width: 4 };
        let seed = Seed::new(5);
        let towers: [Box<dyn Tower>; 2] = [
            Box::new(Dense::new(6, level.clone(), 0., seed, &Device::Cpu).unwrap()),
            Box::new(Mlp::new(6, 8, level.clone(), 0., seed, &Device::Cpu).unwrap()),
        ];
        let input = random("responses", &[5, 6]).unwrap().to_dtype(DType::F32).unwrap();
        for tower in towers {
            let maps = tower.forward(&input, Mode::Eval).unwrap();
            assert_eq!(maps.specs(), tower.levels());
            crate::neural::check_single_channels(tower.as_ref(), &input);
            let gradients = maps.get("v1").unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
            for parameter in tower.parameters() {
                let gradient = gradients.get(&parameter.var).expect("a gradient");
                assert!(gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.);
            }
        }
    }
}
