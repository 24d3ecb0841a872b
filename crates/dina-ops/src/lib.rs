#![doc = include_str!("../README.md")]

mod adamw;
pub mod check;
mod conv;
mod cosine;
mod gpu;
mod image_stack;
mod info_nce;
mod matrix;
mod memory;
mod mix;
mod normalise;
mod read_in;
mod real;
mod unfold;
mod vector;

pub use adamw::{AdamWStep, adamw, running_average, squared_norm, squared_norms};
pub use conv::{Convolution, convolve, convolve_composed};
pub use cosine::{grouped_cosine, grouped_cosine_composed};
pub use image_stack::{StackParameters, image_stack, image_stack_composed};
pub use info_nce::{Positives, info_nce, info_nce_composed};
pub use memory::keep_large_blocks;
pub use mix::{energy_features, normalized_mix, normalized_mix_composed};
pub use read_in::{read_in, read_in_composed};
