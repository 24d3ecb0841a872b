//! Towers whose attributions are known.

use candle_core::{DType, Device, Tensor, Var};
use dina_core::{FeatureMaps, MapSpec, Mode, Parameter, Result, Seed, Tower};
use dina_model::{GaborConfig, ImageTower, ImageTowerConfig};

/// Maps of one position, `[batch, channels, 1, 1]`, as a function of the flattened input.
pub(crate) struct Toy<F> {
    pub(crate) channels: usize,
    pub(crate) parameters: Vec<Var>,
    pub(crate) function: F,
}

impl<F: Fn(&Tensor) -> candle_core::Result<Tensor> + Send + Sync> Tower for Toy<F> {
    fn forward(&self, input: &Tensor, _: Mode<'_>) -> Result<FeatureMaps> {
        let map = (self.function)(&input.flatten_from(1)?)?;
        FeatureMaps::single("v1", map.reshape((input.dim(0)?, self.channels, 1, 1))?)
    }

    fn levels(&self) -> Vec<MapSpec> {
        vec![MapSpec { name: "v1".into(), channels: self.channels, height: 1, width: 1 }]
    }

    fn parameters(&self) -> Vec<Parameter> {
        let parameters = self.parameters.iter().enumerate();
        parameters.map(|(index, var)| Parameter::new(format!("toy.{index}"), var.clone())).collect()
    }

    fn describe(&self) -> Vec<String> {
        vec!["toy".into()]
    }
}

/// A default image tower of 8 x 10 pixels and three channels.
pub(crate) fn image_tower(seed: u64) -> ImageTower {
    let config = ImageTowerConfig {
        height: 8,
        width: 10,
        degrees_per_pixel: 2.,
        gabor: GaborConfig { kernel: 5, orientations: 2, dilations: vec![1, 2], ..Default::default() },
        channels: 3,
        hidden: 4,
    };
    ImageTower::new(config, Seed::new(seed), &Device::Cpu).unwrap()
}

/// `f(x) = w x` in one channel.
pub(crate) fn linear(weights: &[f32]) -> impl Tower + use<> {
    let column = Tensor::from_slice(weights, (weights.len(), 1), &Device::Cpu).unwrap();
    let var = Var::from_tensor(&column).unwrap();
    let inner = var.clone();
    Toy { channels: 1, parameters: vec![var], function: move |x: &Tensor| x.matmul(&inner) }
}

pub(crate) fn rows(values: &[&[f32]]) -> Tensor {
    let flat: Vec<f32> = values.concat();
    Tensor::from_vec(flat, (values.len(), values[0].len()), &Device::Cpu).unwrap()
}

/// Normal inputs.
pub(crate) fn noise(dims: &[usize], seed: u64) -> Tensor {
    use rand_distr::{Distribution, StandardNormal};
    let mut stream = Seed::new(seed).stream("inputs");
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| StandardNormal.sample(&mut stream)).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()
}
