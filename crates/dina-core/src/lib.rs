//! The vocabulary that every DINA crate speaks.
//!
//! - [`Seed`] and [`Stream`]: one seed, split into named random streams that are the same on
//!   every platform and for any number of threads.
//! - [`ArrayLike`]: a read-only `f32` view that both an ndarray array and a candle tensor satisfy,
//!   so that statistics, decoding and interpretation take either.
//! - [`FeatureMaps`], [`Tower`], [`Objective`] (feature `candle`, on by default): what a tower
//!   returns, what a tower is, and what an objective makes of two of them.
//! - [`write_atomic`]: a file is either the old one or the whole new one, never half of it; [`FolderLock`]: one run a
//!   folder at a time.
//! - [`require_memory`]: what would not fit into memory is refused before it begins.
//!
//! ```
//! use dina_core::Seed;
//! use rand::Rng;
//!
//! let seed = Seed::new(7);
//! let mut dropout = seed.stream("dropout");
//! let mut again = Seed::new(7).stream("dropout");
//! assert_eq!(dropout.next_u64(), again.next_u64());
//! assert_ne!(dropout.next_u64(), seed.stream("weights").next_u64());
//! ```

mod array;
mod error;
mod file;
mod folder;
#[cfg(feature = "candle")]
mod maps;
mod memory;
#[cfg(feature = "candle")]
mod objective;
mod seed;
#[cfg(feature = "candle")]
mod tensor_file;
#[cfg(feature = "candle")]
mod tower;

pub use array::ArrayLike;
pub use error::{Error, Result};
pub use file::{ContentHash, write_atomic};
pub use folder::FolderLock;
#[cfg(feature = "candle")]
pub use maps::{FeatureMaps, MapSpec};
pub use memory::{MEMORY_LIMIT, available_memory, require_memory};
#[cfg(feature = "candle")]
pub use objective::{LossTerms, Objective, Targets};
pub use seed::{Seed, Stream};
#[cfg(feature = "candle")]
pub use tensor_file::TensorFile;
#[cfg(feature = "candle")]
pub use tower::{Mode, Parameter, Tower};

/// Compiles the example of the README, which has tensors in it.
#[cfg(all(doctest, feature = "candle"))]
#[doc = include_str!("../README.md")]
struct Readme;
