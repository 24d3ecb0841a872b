//! The two towers of DINA: one maps images, the other the responses of a population of neurons, onto
//! the same feature maps.
//!
//! - [`ImageTower`]: Gabor energy model, divisive normalisation, a local and a global stream.
//! - [`Factorised`], [`Dense`], [`Mlp`]: three ways of reading responses into maps.
//! - [`Backbone`]: published image networks (VGG, ViT, CLIP, DINOv2) from safetensors files, cut at named layers.
//! - [`ops`]: the operations they are made of, with hand-written, checked backward passes (the crate `dina-ops`).
//! - [`init`]: random weights from our own streams.

mod backbone;
mod image;
pub mod init;
mod neural;
mod warm_start;

pub use backbone::{
    Activation, Backbone, BackboneConfig, BackboneFeatures, BackboneFile, BackboneName, FeatureOptions,
    ImageInput, Layer, Network, NetworkConfig, Origin as BackboneOrigin, PixelScale, ResizeFilter, Stage,
    VggConfig, VitConfig, VitFamily,
};
pub use dina_ops as ops;
pub use image::{GaborConfig, ImageTower, ImageTowerConfig, LEVEL};
pub use neural::{Dense, Factorised, Mlp, NeuralTowerConfig, ReadInKind};
pub use warm_start::{FeatureCovariance, WarmStart, WarmStartData};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
