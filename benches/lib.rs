//! What the comparisons share: medians and ratios, peak memory, and peers in other languages.

mod measure;
mod peer;

pub use measure::{median, peak_memory};
pub use peer::{Peer, numbers_of};
