//! What the comparisons share: medians and ratios, peak memory, and peers in other languages.

mod flags;
mod measure;
mod peer;

pub use flags::Flags;
pub use measure::{median, peak_memory};
pub use peer::{Peer, numbers_of};
