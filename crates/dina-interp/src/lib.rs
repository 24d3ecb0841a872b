#![doc = include_str!("../README.md")]

mod alignability;
mod error;

pub use alignability::{Alignability, AlignabilityConfig, ChannelAlignability, alignability};
pub use error::{Error, Result};
