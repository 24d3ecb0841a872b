//! The image tower: Gabor energy, divisive normalisation, a local and a global stream.

mod gabor;

use candle_core::{DType, Device, Tensor, Var};
use dina_core::{Error, FeatureMaps, MapSpec, Mode, Parameter, Result, Seed, Tower};
use serde::{Deserialize, Serialize};

use self::gabor::GaborBank;
pub use self::gabor::GaborConfig;
use crate::init::normal;
use crate::ops::{StackParameters, energy_features, image_stack};

/// Shape and layers of [`ImageTower`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageTowerConfig {
    /// Rows of the input image.
    pub height: usize,
    /// Columns of the input image.
    pub width: usize,
    /// Visual angle of a pixel in degrees; only names frequencies, the arithmetic is in pixels.
    pub degrees_per_pixel: f64,
    /// The filter bank.
    pub gabor: GaborConfig,
    /// Channels of the feature map.
    pub channels: usize,
    /// Hidden channels of the local stream.
    pub hidden: usize,
}

/// Images `[batch, 1, height, width]` to one level `v1`, `[batch, channels, height / stride, width / stride]`.
///
/// Quadrature Gabor filters, ON/OFF simple and energy channels, divisive normalisation and a mixing
/// matrix ([`normalized_mix`](crate::ops::normalized_mix)) give a linear-nonlinear stage `z`. A local stream adds
/// `V relu(K * z + b)` (3 x 3 convolution); a global stream takes the channel means over the map, `g`,
/// and scales and shifts every channel by `1 + tanh(G g)` and `H g`. Both streams start at nothing, so that an
/// untrained tower is a classical V1 model. A learned centre is subtracted last.
pub struct ImageTower {
    config: ImageTowerConfig,
    bank: GaborBank,
    /// Pool weights and semi-saturation before their softplus.
    pool: Var,
    mixing: Var,
    local_in: Var,
    local_bias: Var,
    local_out: Var,
    gain: Var,
    shift: Var,
    center: Var,
}

impl ImageTower {
    /// A tower with random mixing.
    ///
    /// # Errors
    /// When a size is zero or the filter bank's configuration is refused.
    pub fn new(config: ImageTowerConfig, seed: Seed, device: &Device) -> Result<Self> {
        Self::with_dtype(config, seed, DType::F32, device)
    }

    /// The same in another precision, for gradient checks.
    ///
    /// # Errors
    /// As [`ImageTower::new`].
    pub fn with_dtype(config: ImageTowerConfig, seed: Seed, dtype: DType, device: &Device) -> Result<Self> {
        let ImageTowerConfig { height, width, channels, hidden, .. } = config;
        if [height, width, channels, hidden].contains(&0) {
            return Err(Error::value("image tower sizes", "all at least 1", format!("{config:?}")));
        }
        let bank = GaborBank::new(&config.gabor, height, width, dtype, device)?;
        let features = 5 * config.gabor.pairs();
        let (rows, columns) = bank.output(height, width);
        let mut stream = seed.stream("image.weights");
        let mut random = |dims: &[usize], sd: f64| -> Result<Var> {
            Ok(Var::from_tensor(&normal(dims, sd, &mut stream, device)?.to_dtype(dtype)?)?)
        };
        let mixing = random(&[channels, features], (1. / features as f64).sqrt() * 4.)?;
        let local_in = random(&[hidden, channels, 3, 3], (2. / (9. * channels as f64)).sqrt())?;
        let zeros = |dims: &[usize]| -> Result<Var> { Ok(Var::zeros(dims, dtype, device)?) };
        // The pool is the mean over channels, with a semi-saturation of a half.
        let mut pool = vec![inverse_softplus(1. / features as f64); features];
        pool.push(inverse_softplus(0.5));
        Ok(Self {
            pool: Var::from_tensor(&Tensor::new(pool, device)?.to_dtype(dtype)?)?,
            mixing,
            local_in,
            local_bias: zeros(&[1, hidden, 1, 1])?,
            local_out: zeros(&[channels, hidden, 1, 1])?,
            gain: zeros(&[channels, channels])?,
            shift: zeros(&[channels, channels])?,
            center: zeros(&[1, channels, rows, columns])?,
            bank,
            config,
        })
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &ImageTowerConfig {
        &self.config
    }

    /// The mixing matrix `[channels, features]`.
    pub(crate) fn mixing(&self) -> &Var {
        &self.mixing
    }

    /// The centre `[1, channels, rows, columns]`.
    pub(crate) fn center(&self) -> &Var {
        &self.center
    }

    /// The normalised simple and complex channels `[batch, 5 x pairs, rows, columns]` before mixing.
    ///
    /// # Errors
    /// When the images have another shape than the configuration says.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.expect_images(images)?;
        Ok(energy_features(&self.bank.forward(images)?, &softplus(&self.pool)?)?)
    }

    fn expect_images(&self, images: &Tensor) -> Result<()> {
        let (height, width) = (self.config.height, self.config.width);
        match images.dims() {
            [_, 1, h, w] if (*h, *w) == (height, width) => Ok(()),
            dims => Err(Error::shape("images", format!("[batch, 1, {height}, {width}]"), dims)),
        }
    }
}

impl Tower for ImageTower {
    fn forward(&self, images: &Tensor, _: Mode<'_>) -> Result<FeatureMaps> {
        self.expect_images(images)?;
        let parameters = StackParameters {
            kernels: &self.bank.kernels()?,
            pool: &softplus(&self.pool)?,
            mixing: &self.mixing,
            local_in: &self.local_in,
            local_bias: &self.local_bias,
            local_out: &self.local_out,
            gain: &self.gain,
            shift: &self.shift,
            center: &self.center,
        };
        let maps = image_stack(&self.bank.pyramid(images)?, &parameters, self.bank.convolution())?;
        FeatureMaps::single(LEVEL, maps)
    }

    fn levels(&self) -> Vec<MapSpec> {
        let (height, width) = self.bank.output(self.config.height, self.config.width);
        vec![MapSpec { name: LEVEL.into(), channels: self.config.channels, height, width }]
    }

    fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.bank.parameters();
        parameters.extend([
            Parameter::new("pool", self.pool.clone()).without_decay(),
            Parameter::new("mixing", self.mixing.clone()),
            Parameter::new("local.in", self.local_in.clone()),
            Parameter::new("local.bias", self.local_bias.clone()).without_decay(),
            Parameter::new("local.out", self.local_out.clone()),
            Parameter::new("global.gain", self.gain.clone()),
            Parameter::new("global.shift", self.shift.clone()),
            Parameter::new("center", self.center.clone()).without_decay(),
        ]);
        for parameter in &mut parameters {
            parameter.name.insert_str(0, "image.");
        }
        parameters
    }

    fn describe(&self) -> Vec<String> {
        let ImageTowerConfig { height, width, degrees_per_pixel, gabor, channels, hidden } = &self.config;
        let frequencies: Vec<String> = gabor
            .dilations
            .iter()
            .map(|&d| format!("{:.3}", gabor.frequency / (d as f64 * degrees_per_pixel)))
            .collect();
        vec![
            format!("image {height} x {width}, {degrees_per_pixel:.2} deg/pixel"),
            format!(
                "{} quadrature Gabor pairs, {} x {} taps, from {} cycles/deg",
                gabor.pairs(),
                gabor.kernel,
                gabor.kernel,
                frequencies.join(", ")
            ),
            format!("ON/OFF simple and energy channels: {}", 5 * gabor.pairs()),
            "divisive normalisation".into(),
            format!("mixing to {channels} channels"),
            format!("local stream: 3 x 3 convolution, {hidden} hidden"),
            "global stream: gain and shift from pooled context".into(),
        ]
    }
}

/// The one aligned level of the towers of this crate.
pub const LEVEL: &str = "v1";

/// `log(1 + e^x)`, exact enough for the moderate values that pool weights take.
fn softplus(x: &Tensor) -> Result<Tensor> {
    Ok((x.exp()? + 1.)?.log()?)
}

fn inverse_softplus(y: f64) -> f64 {
    (y.exp() - 1.).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{gradient_error, normal};

    pub(crate) fn small() -> ImageTowerConfig {
        ImageTowerConfig {
            height: 8,
            width: 10,
            degrees_per_pixel: 2.,
            gabor: GaborConfig { kernel: 5, orientations: 2, dilations: vec![1, 2], ..Default::default() },
            channels: 3,
            hidden: 4,
        }
    }

    #[test]
    fn gradients_of_every_parameter_agree_with_finite_differences() {
        let tower = ImageTower::with_dtype(small(), Seed::new(1), DType::F64, &Device::Cpu).unwrap();
        let parameters = tower.parameters();
        // Move what starts at nothing, or its gradient would be checked at a special point.
        for (index, parameter) in parameters.iter().enumerate() {
            let noise = normal(&format!("{index}"), parameter.var.dims()).unwrap();
            parameter.var.set(&(parameter.var.as_tensor() + (noise * 0.1).unwrap()).unwrap()).unwrap();
        }
        let images = normal("images", &[2, 1, 8, 10]).unwrap();
        let vars: Vec<&Var> = parameters.iter().map(|p| &p.var).collect();
        let error = gradient_error(&vars, || {
            let maps = tower.forward(&images, Mode::Eval).unwrap();
            Ok(maps.get(LEVEL).unwrap().clone())
        })
        .unwrap();
        assert!(error < 1e-5, "{error}");
    }

    #[test]
    fn levels_say_what_forward_returns() {
        let tower = ImageTower::new(small(), Seed::new(1), &Device::Cpu).unwrap();
        let images = normal("images", &[3, 1, 8, 10]).unwrap().to_dtype(DType::F32).unwrap();
        assert_eq!(tower.forward(&images, Mode::Eval).unwrap().specs(), tower.levels());
        assert!(tower.forward(&images.narrow(2, 0, 7).unwrap(), Mode::Eval).is_err());
    }
}
