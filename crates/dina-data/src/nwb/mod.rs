//! Recordings in NWB 2 files (Neurodata Without Borders; cargo feature `hdf5`).
//!
//! What is used of a file:
//!
//! - *Presentations*: a table of intervals (`start_time`, `stop_time`) with a column that says what
//!   was shown, `intervals/trials` before others, or an `IndexSeries`. The columns that are known
//!   are [`COLUMNS`]. Numbers count images from 0, and what is negative or not a number is the gray
//!   screen; texts are names of template images, or where there are none are numbered in their order.
//! - *Responses*: a `RoiResponseSeries`, in `DfOverF` before `Fluorescence` before elsewhere, of
//!   which each presentation gets the mean of the samples from start to stop, as they are stored; or
//!   `units`, of which each presentation gets the spikes per second.
//! - *Images*: `stimulus/templates`, grey levels in one byte, height x width, in the order of
//!   `order_of_images` or of their names.
//!
//! Where a file leaves a choice, it has to be made ([`NwbChoice`]); nothing is picked at random.
//! NWB 1 files are listed, and not read as recordings.

mod presentations;
mod responses;
mod templates;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use presentations::{COLUMNS, Presentations};

use crate::hdf5::Hdf5File;
use crate::{Error, Format, Result};

/// What to use of a file that holds several tables, series or templates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NwbChoice {
    /// Path of the table of presentations, such as `intervals/natural_scenes_presentations`.
    pub table: Option<String>,
    /// Its column that says what was shown.
    pub column: Option<String>,
    /// Path of a `RoiResponseSeries`, or `units`.
    pub responses: Option<String>,
    /// Path of the templates.
    pub templates: Option<String>,
    /// What counts as the response: from and to so many seconds after the start of a presentation,
    /// instead of from start to stop.
    pub window: Option<[f64; 2]>,
}

/// An NWB 2 file whose directory has been read.
#[derive(Debug)]
pub struct NwbFile {
    file: Hdf5File,
}

/// Whether an HDF5 file says that it is one of NWB, of version 1 or 2.
pub(crate) fn is_nwb(file: &Hdf5File) -> Result<bool> {
    Ok(file.text_attribute("", "nwb_version")?.is_some()
        || file.datasets().iter().any(|d| d == "nwb_version"))
}

/// Whether datasets of these paths may be presentations and responses.
pub(crate) fn may_be_recording<'a>(paths: impl Iterator<Item = &'a str> + Clone) -> bool {
    let shown = paths.clone().any(|path| {
        (path.starts_with("intervals/") || path.starts_with("stimulus/presentation/"))
            && path.rsplit('/').next().is_some_and(|name| COLUMNS.contains(&name) || name == "data")
    });
    let mut paths = paths;
    shown
        && paths.any(|path| {
            path == responses::SPIKES || (path.starts_with("processing/") && path.ends_with("/data"))
        })
}

impl NwbFile {
    /// Reads the directory of a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unsupported`] for a file of another format or of NWB 1;
    /// [`Error::Malformed`] where the file is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = Hdf5File::open(path)?;
        if file.text_attribute("", "nwb_version")?.is_some() {
            return Ok(Self { file });
        }
        if is_nwb(&file)? {
            return Err(Error::Unsupported {
                path: path.to_path_buf(),
                what: "a recording in NWB 1".to_owned(),
                remedy: "convert it to NWB 2 with pynwb, or save its arrays with `numpy.savez_compressed`"
                    .to_owned(),
            });
        }
        Err(Format::Hdf5.unsupported(path))
    }

    /// The file as HDF5.
    pub fn hdf5(&self) -> &Hdf5File {
        &self.file
    }

    /// Paths of groups of this type, such as `RoiResponseSeries`.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the file is damaged.
    pub fn groups_of_type(&self, neurodata_type: &str) -> Result<Vec<&str>> {
        let mut found = Vec::new();
        for group in self.file.groups() {
            if self.file.text_attribute(group, "neurodata_type")?.as_deref() == Some(neurodata_type) {
                found.push(group.as_str());
            }
        }
        Ok(found)
    }

    /// The one of several, or an error that lists them.
    fn only<'a>(&self, what: &str, option: &str, found: &[&'a str]) -> Result<&'a str> {
        match found {
            [only] => Ok(only),
            [] => Err(self.file.variable(
                what,
                "is not in this file",
                format!("give a file with {what}, or save responses and ids with `numpy.savez_compressed`"),
            )),
            several => Err(self.file.variable(
                what,
                format!("may be any of {}", several.join(", ")),
                format!("choose one with `NwbChoice::{option}`"),
            )),
        }
    }
}
