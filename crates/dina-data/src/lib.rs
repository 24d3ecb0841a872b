//! Recordings of neural responses to images, from files or from a simulated visual cortex.

mod error;
mod recording;
pub mod simulate;

pub use error::{Error, Result};
pub use recording::{Categories, Images, Recording};
