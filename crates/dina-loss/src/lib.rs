//! What the two towers are trained for.
//!
//! [`InfoNce`] is the symmetric contrastive objective on [`cosine_logits`], the similarity of maps, flat or
//! per channel ([`Similarity`]).
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use dina_core::{FeatureMaps, Objective, Seed, Targets};
//! use dina_loss::{InfoNce, InfoNceConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::Cpu;
//! let maps = Tensor::new(&[[1f32, 0.], [0., 1.]], &device)?.reshape((2, 1, 1, 2))?;
//! let maps = FeatureMaps::single("v1", maps)?;
//! let objective = InfoNce::new(InfoNceConfig::default(), &device)?;
//! let targets = Targets { trials: vec![0, 1], images: vec![0, 1], ..Default::default() };
//! let loss = objective.loss(&maps, &maps, &targets)?.total()?.to_scalar::<f32>()?;
//! // Two candidates, cosines 1 and 0, temperature 0.07: log(1 + e^(-1/0.07)).
//! assert!((loss - (1. + (-1f32 / 0.07).exp()).ln()).abs() < 1e-6);
//! # Ok(())
//! # }
//! ```

mod info_nce;
mod similarity;

pub use info_nce::{InfoNce, InfoNceConfig};
pub use similarity::{Similarity, cosine_logits};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
