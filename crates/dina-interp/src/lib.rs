#![doc = include_str!("../README.md")]

mod alignability;
#[cfg(feature = "candle")]
pub mod attribution;
mod error;
#[cfg(feature = "candle")]
pub mod exciting;
pub mod interaction;
pub mod neurons;
mod score;
mod shape_texture;
pub mod space;
#[cfg(test)]
mod testing;
#[cfg(feature = "candle")]
pub mod trust;

pub use alignability::{Alignability, AlignabilityConfig, ChannelAlignability, alignability};
pub use dina_core::Seed;
pub use error::{Error, Result};
pub use score::{alignment_scores, top_one_scores, two_way_scores};
pub use shape_texture::{
    Coding, Compare, ShapeTexture, ShapeTextureAnalysis, ShapeTextureConfig, Similarity, StimulusVersions,
    shape_texture,
};
