//! What the comparisons share: medians and ratios, peak memory, and peers in other languages.

mod flags;
mod measure;
mod peer;

pub use dina_study::peak_memory;
pub use flags::Flags;
pub use measure::{median, normal, reset_peak_memory, timed};
pub use peer::{Peer, numbers_of};

/// Rows and columns of the images of the training benches: a window of the default job.
pub const IMAGE: (usize, usize) = (36, 48);
