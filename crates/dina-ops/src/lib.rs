#![doc = include_str!("../README.md")]

pub mod check;
mod conv;
mod image_stack;
mod matrix;
mod mix;
mod normalise;
mod read_in;
mod real;
mod unfold;
mod vector;

pub use conv::{Convolution, convolve, convolve_composed};
pub use image_stack::{StackParameters, image_stack, image_stack_composed};
pub use mix::{energy_features, normalized_mix, normalized_mix_composed};
pub use read_in::{read_in, read_in_composed};
