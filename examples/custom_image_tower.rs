//! An image tower of one's own: two convolutions in place of the Gabor model, everything else unchanged.
//!
//!     cargo run --release --example custom_image_tower [DIR]

use std::process::ExitCode;

use candle_core::{Device, Tensor, Var};
use dina_core::{FeatureMaps, MapSpec, Mode, Parameter, Result, Seed, Tower};
use dina_examples::{exit, run_with};
use dina_model::{ImageTowerConfig, init::normal};
use dina_study::Parts;

struct ConvNet {
    filters: Var,
    mixing: Var,
    level: MapSpec,
}

impl ConvNet {
    fn new(image: &ImageTowerConfig, seed: Seed, device: &Device) -> Result<Self> {
        let mut stream = seed.stream("weights");
        let filters = normal(&[32, 1, 7, 7], 0.2, &mut stream, device)?;
        let mixing = normal(&[16, 32, 3, 3], 0.08, &mut stream, device)?;
        let (height, width) = (image.height.div_ceil(2), image.width.div_ceil(2));
        let level = MapSpec { name: "conv2".into(), channels: 16, height, width };
        Ok(Self { filters: Var::from_tensor(&filters)?, mixing: Var::from_tensor(&mixing)?, level })
    }
}

impl Tower for ConvNet {
    fn forward(&self, images: &Tensor, _: Mode<'_>) -> Result<FeatureMaps> {
        let hidden = images.conv2d(&self.filters, 3, 2, 1, 1)?.relu()?;
        FeatureMaps::single(&self.level.name, hidden.conv2d(&self.mixing, 1, 1, 1, 1)?)
    }

    fn levels(&self) -> Vec<MapSpec> {
        vec![self.level.clone()]
    }

    fn parameters(&self) -> Vec<Parameter> {
        let named = [("image.filters", &self.filters), ("image.mixing", &self.mixing)];
        named.map(|(name, var)| Parameter::new(name, var.clone())).into()
    }

    fn describe(&self) -> Vec<String> {
        ["image", "32 rectified filters of 7 x 7, stride 2", "3 x 3 mixing to 16"].map(String::from).into()
    }
}

fn main() -> ExitCode {
    // The name is part of every hash: it says what the tower is, settings included.
    exit(run_with(Parts::default().with_image_tower("conv net 32-16", |image, seed, device| {
        Ok(Box::new(ConvNet::new(image, seed, device)?))
    })))
}
