//! Recordings of neural responses to images, from files or from a simulated visual cortex.

mod container;
mod error;
mod load;
pub mod mat;
pub mod npz;
mod numeric;
mod recording;
pub mod simulate;
mod source;

pub use container::{Contents, Format, VariableInfo, contents};
pub use error::{Error, Result};
pub use load::{
    RecordingFile, Session, load_categories, load_images, load_recording, write_categories_mat,
    write_images_mat, write_recording_mat,
};
pub use numeric::{DType, Numeric};
pub use recording::{Categories, Images, Recording};
