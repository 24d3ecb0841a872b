//! What the comparisons share: medians and ratios, peak memory, and peers in other languages.

mod flags;
mod measure;
mod peer;

pub use dina_study::peak_memory;
pub use flags::Flags;
pub use measure::median;
pub use peer::{Peer, numbers_of};
