#![doc = include_str!("../README.md")]

mod alignability;
#[cfg(feature = "candle")]
pub mod attribution;
mod error;
#[cfg(feature = "candle")]
pub mod exciting;
#[cfg(feature = "candle")]
pub mod trust;

pub use alignability::{Alignability, AlignabilityConfig, ChannelAlignability, alignability};
pub use error::{Error, Result};
