//! Identifying images from population responses.

mod correlation;
mod error;
pub mod identification;
mod ranks;
mod repeats;

pub use correlation::correlate;
pub use error::{Error, Result};
pub use ranks::{Ranks, rank_by_correlation, top1_by_pool_size};
pub use repeats::{SelfRetrieval, nearest_neighbour, self_retrieval};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
