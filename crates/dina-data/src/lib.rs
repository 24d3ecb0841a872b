//! Recordings of neural responses to images, from files or from a simulated visual cortex.

mod duplicates;
mod error;
mod leakage;
mod linear;
mod preprocess;
mod recording;
mod resample;
mod split;
mod summary;
mod view;
mod window;

pub use duplicates::{DUPLICATE_CORRELATION, near_duplicates};
pub use error::{Error, Result};
pub use leakage::{LeakageReport, SideCount};
pub use preprocess::{
    Candidate, Curve, FittedPreprocessing, Matching, Preprocessing, Preset, Reference, Step,
};
pub use recording::{Categories, Images, Recording};
pub use split::{Folds, Share, Split, SplitConfig};
pub use summary::Summary;
pub use view::{RepeatHalves, Role, Test, Train, Validation, View, Views, repeat_halves};
pub use window::{PixelStatistics, Window, WindowConfig, WindowEstimate, WindowSource};
