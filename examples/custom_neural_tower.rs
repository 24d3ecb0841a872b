//! A neural tower of one's own: the population is summed up in 24 latent numbers, everything else unchanged.
//!
//!     cargo run --release --example custom_neural_tower [DIR]

use std::process::ExitCode;

use candle_core::{Device, Tensor, Var};
use dina_core::{FeatureMaps, MapSpec, Mode, Parameter, Result, Seed, Tower};
use dina_examples::{exit, run_with};
use dina_model::init::normal;
use dina_study::Parts;
use rand::RngExt;

struct Latent {
    encode: Var,
    decode: Var,
    level: MapSpec,
}

impl Latent {
    fn new(neurons: usize, level: MapSpec, seed: Seed, device: &Device) -> Result<Self> {
        let mut stream = seed.stream("weights");
        let encode = normal(&[neurons, 24], (neurons as f64).powf(-0.5), &mut stream, device)?;
        let decode = normal(&[24, level.len()], 0.2, &mut stream, device)?;
        Ok(Self { encode: Var::from_tensor(&encode)?, decode: Var::from_tensor(&decode)?, level })
    }
}

impl Tower for Latent {
    fn forward(&self, responses: &Tensor, mode: Mode<'_>) -> Result<FeatureMaps> {
        let mut latent = responses.matmul(&self.encode)?;
        // Whatever is random comes from the stream, so that a resumed training draws it again.
        if let Mode::Train(stream) = mode {
            let gains: Vec<f32> = (0..latent.dim(0)?).map(|_| stream.random_range(0.7..1.3)).collect();
            latent = latent.broadcast_mul(&Tensor::new(gains, latent.device())?.unsqueeze(1)?)?;
        }
        let MapSpec { name, channels, height, width } = &self.level;
        let maps = latent.tanh()?.matmul(&self.decode)?;
        FeatureMaps::single(name, maps.reshape(((), *channels, *height, *width))?)
    }
    fn levels(&self) -> Vec<MapSpec> {
        vec![self.level.clone()]
    }
    fn parameters(&self) -> Vec<Parameter> {
        let named = [("neural.encode", &self.encode), ("neural.decode", &self.decode)];
        named.map(|(name, var)| Parameter::new(name, var.clone())).into()
    }
    fn describe(&self) -> Vec<String> {
        ["responses", "24 latent numbers, tanh", "read-out to maps"].map(String::from).into()
    }
}

fn main() -> ExitCode {
    let parts = Parts::default().with_neural_tower("latent 24, gain 0.3", |neural, levels, seed, device| {
        Ok(Box::new(Latent::new(neural.neurons, levels[0].clone(), seed, device)?))
    });
    exit(run_with(parts))
}
