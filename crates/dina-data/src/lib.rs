//! Recordings of neural responses to images, from files or from a simulated visual cortex.
//!
//! - Files: [`RecordingFile`], [`load_images`], [`load_categories`] and their writers; [`contents`] lists what any supported file
//!   holds; [`mat`], [`npz`], [`table`], [`sensorium`] and, with the feature `hdf5`, `hdf5` and `nwb` are the formats themselves.
//! - [`simulate`]: images, a population of V1 neurons or of another known code, and its responses, with the truth behind them.
//! - [`stimulus`]: images made out of images, in degrees and cycles per degree, and their energy per band.
//! - [`Split`], [`Folds`], [`View`]: images are divided, never trials, and fitting takes the training
//!   view by type; [`Cohort`] and [`MouseFolds`] hold out a whole mouse as well.
//! - [`Preset`], [`Preprocessing`]: steps that are fitted on the training view and applied to any.
//! - [`WindowEstimate`], [`ReceptiveFields`], [`PixelStatistics`]: the part of the image that the
//!   population and each neuron sees, standardised.
//! - [`manifest`]: what a deposit holds, under which licence and with which checksums; with the cargo feature `download` also
//!   `download`, which fetches it.
//! - [`near_duplicates`], [`duplicate_pairs`], [`LeakageReport`]: what keeps the sides of a split apart.

mod cohort;
mod container;
#[cfg(feature = "download")]
pub mod download;
mod duplicates;
mod error;
#[cfg(feature = "hdf5")]
pub mod hdf5;
mod inflate;
mod leakage;
mod linear;
mod load;
pub mod manifest;
pub mod mat;
pub mod npz;
mod numeric;
#[cfg(feature = "hdf5")]
pub mod nwb;
mod preprocess;
mod recording;
mod resample;
pub mod sensorium;
pub mod simulate;
mod source;
mod split;
pub mod stimulus;
mod summary;
pub mod table;
mod view;
mod window;

pub use cohort::{Cohort, MouseFold, MouseFolds, MouseViews};
pub use container::{Contents, Format, VariableInfo, contents};
pub use duplicates::{DUPLICATE_CORRELATION, DuplicatePair, duplicate_pairs, near_duplicates};
pub use error::{Error, Result};
pub use leakage::{LeakageReport, SideCount};
pub use load::{
    RecordingFile, Session, load_categories, load_images, load_recording, write_categories_mat,
    write_images_mat, write_recording_mat,
};
pub use numeric::{DType, Numeric};
pub use preprocess::{
    Candidate, Curve, FittedPreprocessing, Keep, Matching, NeuronSelection, Preprocessing, Preset, Reference,
    Step, VarianceComponents, Weight,
};
pub use recording::{Categories, Images, Recording};
pub use split::{Folds, Share, Split, SplitConfig};
pub use summary::Summary;
pub use view::{Averages, RepeatHalves, Role, Test, Train, Validation, View, Views, repeat_halves};
pub use window::{
    FieldConfig, PixelStatistics, ReceptiveField, ReceptiveFields, Window, WindowConfig, WindowEstimate,
    WindowSource,
};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
