//! Recordings of neural responses to images, from files or from a simulated visual cortex.
//!
//! - Files: [`load_recording`], [`load_images`], [`load_categories`] and their writers; [`contents`] lists what any supported file
//!   holds; [`mat`] and [`npz`] are the formats themselves.
//! - [`simulate`]: images, a population of V1 neurons or of another known code, and its responses, with the truth behind them.
//! - [`Split`], [`Folds`], [`View`]: images are divided, never trials, and fitting takes the training view by type.
//! - [`Preset`], [`Preprocessing`]: steps that are fitted on the training view and applied to any.
//! - [`WindowEstimate`], [`PixelStatistics`]: the part of the image that the population sees, standardised.
//! - [`manifest`]: what a deposit holds, under which licence and with which checksums; with the cargo feature `download` also
//!   `download`, which fetches it.
//! - [`near_duplicates`], [`LeakageReport`]: what keeps the sides of a split apart.

mod container;
#[cfg(feature = "download")]
pub mod download;
mod duplicates;
mod error;
mod leakage;
mod linear;
mod load;
pub mod manifest;
pub mod mat;
pub mod npz;
mod numeric;
mod preprocess;
mod recording;
mod resample;
pub mod simulate;
mod source;
mod split;
mod summary;
mod view;
mod window;

pub use container::{Contents, Format, VariableInfo, contents};
pub use duplicates::{DUPLICATE_CORRELATION, near_duplicates};
pub use error::{Error, Result};
pub use leakage::{LeakageReport, SideCount};
pub use load::{
    RecordingFile, Session, load_categories, load_images, load_recording, write_categories_mat,
    write_images_mat, write_recording_mat,
};
pub use numeric::{DType, Numeric};
pub use preprocess::{
    Candidate, Curve, FittedPreprocessing, Matching, Preprocessing, Preset, Reference, Step,
};
pub use recording::{Categories, Images, Recording};
pub use split::{Folds, Share, Split, SplitConfig};
pub use summary::Summary;
pub use view::{Averages, RepeatHalves, Role, Test, Train, Validation, View, Views, repeat_halves};
pub use window::{PixelStatistics, Window, WindowConfig, WindowEstimate, WindowSource};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
