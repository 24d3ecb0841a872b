//! What the two towers are trained for.
//!
//! All are [`dina_core::Objective`]s, and so is yours: an implementation of that trait trains as they do, alone or
//! as a part of [`Weighted`].
//!
//! Maps drawn together directly:
//! - [`InfoNce`]: symmetric contrast, several positives, learnable temperature.
//! - [`SigLip`]: every pair judged by itself, without a softmax over the batch.
//! - [`VicReg`]: no negatives; variance and covariance keep the maps from collapsing.
//!
//! Maps aligned only by what both carry:
//! - [`Classification`]: the category of the image, through one linear head.
//! - [`Reconstruction`]: its pixels, through one linear decoder.
//!
//! [`Weighted`] is the weighted sum of any of them. [`cosine_logits`] is the similarity of maps, flat or per channel
//! ([`Similarity`]), that contrastive objectives and identification share.
//!
//! Losses are computed in `f32` from maps of any lower precision, and their gradients are checked against finite
//! differences in `f64`.
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

mod batch;
#[cfg(test)]
mod check;
mod classification;
mod info_nce;
mod numerics;
mod reconstruction;
mod sig_lip;
mod similarity;
mod vic_reg;
mod weighted;

pub use batch::Pooling;
pub use classification::{Classification, ClassificationConfig};
pub use info_nce::{InfoNce, InfoNceConfig};
pub use reconstruction::{PixelDecoder, Reconstruction, ReconstructionConfig};
pub use sig_lip::{SigLip, SigLipConfig};
pub use similarity::{Similarity, cosine_logits};
pub use vic_reg::{VicReg, VicRegConfig};
pub use weighted::{Weighted, WeightedPart};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
