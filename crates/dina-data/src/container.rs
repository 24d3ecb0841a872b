use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::mat::MatFile;
use crate::{Error, Result, npz, sensorium, table};

/// The format of a file or folder, recognised by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Format {
    /// MATLAB `save -v6` or `-v7`.
    #[serde(rename = "mat-v5")]
    MatV5,
    /// MATLAB `save -v4`.
    #[serde(rename = "mat-v4")]
    MatV4,
    /// MATLAB `save -v7.3`, which is HDF5.
    #[serde(rename = "mat-v7.3")]
    MatV73,
    /// Neurodata Without Borders, which is HDF5; recognised with the cargo feature `hdf5` only.
    #[serde(rename = "nwb")]
    Nwb,
    /// Any other HDF5.
    #[serde(rename = "hdf5")]
    Hdf5,
    /// `numpy.savez` and `numpy.savez_compressed`.
    #[serde(rename = "npz")]
    Npz,
    /// `numpy.save`.
    #[serde(rename = "npy")]
    Npy,
    /// A table of responses as text, or the folder that holds it; see [`table`].
    #[serde(rename = "csv")]
    Csv,
    /// A folder of PNG and JPEG files.
    #[serde(rename = "images")]
    ImageFolder,
    /// A folder in the layout of the Sensorium challenges; see [`sensorium`].
    #[serde(rename = "sensorium")]
    Sensorium,
}

/// What every HDF5 file has, at byte 0, 512, 1024 and so on.
pub(crate) const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";

impl Format {
    /// Recognises a file by what is in it, and a folder by the files in it; names of files do not
    /// matter, but for those that a layout prescribes.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unsupported`] where it is no known format; of HDF5 files also
    /// [`Error::Malformed`], as telling NWB from others takes reading their directory.
    pub fn detect(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match Self::of_content(path)? {
            #[cfg(feature = "hdf5")]
            Self::Hdf5 if crate::nwb::is_nwb(&crate::hdf5::Hdf5File::open(path)?)? => Ok(Self::Nwb),
            other => Ok(other),
        }
    }

    /// The same without opening HDF5 files: NWB is not told from others.
    pub(crate) fn of_content(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_path_buf(), source };
        let mut file = File::open(path).map_err(io)?;
        let unknown = |what: String| Error::Unsupported {
            path: path.to_path_buf(),
            what,
            remedy: "give a MATLAB, HDF5, NWB, numpy or CSV file, or a folder in the layout of Sensorium or \
                     with `responses.csv` or images"
                .to_owned(),
        };
        if file.metadata().map_err(io)?.is_dir() {
            let found = if sensorium::is_layout(path) {
                Some(Self::Sensorium)
            } else if path.join(table::RESPONSES).is_file() {
                Some(Self::Csv)
            } else if table::holds_images(path).map_err(io)? {
                Some(Self::ImageFolder)
            } else {
                None
            };
            return found.ok_or_else(|| unknown("a folder of another layout".to_owned()));
        }
        let mut head = Vec::new();
        (&mut file).take(HEAD).read_to_end(&mut head).map_err(io)?;
        Self::of(&head).ok_or_else(|| {
            unknown(match head.len() {
                0 => "an empty file".to_owned(),
                n => format!("a file that starts with {:02x?}", &head[..n.min(8)]),
            })
        })
    }

    fn of(head: &[u8]) -> Option<Self> {
        // HDF5 may follow a user block of 512 bytes or a power of two times as many.
        let hdf5 = |at: usize| head.get(at..).is_some_and(|rest| rest.starts_with(HDF5));
        let version = head.get(124..128);
        if hdf5(512) && head.starts_with(b"MATLAB 7.3") {
            Some(Self::MatV73)
        } else if hdf5(0) || hdf5(512) || hdf5(1024) || hdf5(2048) {
            Some(Self::Hdf5)
        } else if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            Some(Self::Npz)
        } else if head.starts_with(b"\x93NUMPY") {
            Some(Self::Npy)
        } else if matches!(version, Some(b"\x00\x01IM" | b"\x01\x00MI")) {
            Some(Self::MatV5)
        } else if crate::mat::is_v4(head) {
            Some(Self::MatV4)
        } else if table::recognises(head) {
            Some(Self::Csv)
        } else {
            None
        }
    }

    /// Whether [`MatFile`] reads it.
    pub(crate) fn is_mat(self) -> bool {
        matches!(self, Self::MatV4 | Self::MatV5 | Self::MatV73)
    }

    /// The error for a format that is recognised and not read.
    pub(crate) fn unsupported(self, path: &Path) -> Error {
        let (what, remedy) = match self {
            #[cfg(not(feature = "hdf5"))]
            Self::MatV73 => (
                "MATLAB v7.3 (HDF5) in a build without the cargo feature `hdf5` of dina-data",
                "build with it, or save it again in MATLAB with `save(..., '-v7')`",
            ),
            #[cfg(not(feature = "hdf5"))]
            Self::Hdf5 | Self::Nwb => (
                "HDF5 (NWB included) in a build without the cargo feature `hdf5` of dina-data",
                "build with it, or save the arrays with h5py and `numpy.savez_compressed`",
            ),
            #[cfg(feature = "hdf5")]
            Self::MatV73 => ("a MATLAB v7.3 file in this place", "give a file of another format"),
            #[cfg(feature = "hdf5")]
            Self::Hdf5 | Self::Nwb => (
                "an HDF5 file that is neither MATLAB v7.3 nor NWB 2 in this place",
                "save the arrays with h5py and `numpy.savez_compressed`",
            ),
            Self::Npz | Self::Npy => ("a numpy file in this place", "give a MATLAB file"),
            Self::MatV4 | Self::MatV5 => ("a MATLAB file in this place", "give a numpy file"),
            Self::Csv => ("a table of text in this place", "give a MATLAB or numpy file"),
            Self::ImageFolder => ("a folder of images in this place", "give the recording"),
            Self::Sensorium => ("a Sensorium folder in this place", "give a MATLAB or numpy file"),
        };
        Error::Unsupported { path: path.to_path_buf(), what: what.to_owned(), remedy: remedy.to_owned() }
    }
}

/// How much of a file decides on its format: the last place for the mark of HDF5.
const HEAD: u64 = 2048 + 8;

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// The format.
    pub format: Format,
    /// The variables at the top, in the order of the file.
    pub variables: Vec<VariableInfo>,
}

/// A variable in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariableInfo {
    /// The name.
    pub name: String,
    /// The class in MATLAB (as `scipy.io.whosmat` names it); `ndarray` in numpy files and folders
    /// of them, `dataset` in other HDF5 files, `table` and `images` of text tables and folders.
    pub class: String,
    /// The extent of every axis.
    pub shape: Vec<usize>,
    /// The type in which the file stores the elements, as numpy names it; for text, structs and
    /// the like the class.
    pub dtype: String,
    /// The sum of all elements in `f64`; `None` where they are not real numbers or truth values,
    /// or the sum is not a number that JSON can express.
    pub sum: Option<f64>,
}

impl VariableInfo {
    /// What is to be said of an array that numpy saved.
    pub(crate) fn of_array(name: &str, array: &npz::NpyArray) -> Self {
        Self {
            name: name.to_owned(),
            class: "ndarray".to_owned(),
            shape: array.shape().to_vec(),
            dtype: array.dtype().to_owned(),
            sum: array.sum().filter(|sum| sum.is_finite()),
        }
    }
}

impl Contents {
    /// Whether the variables are those of a recording; whether it is sound, loading it tells.
    pub fn is_recording(&self) -> bool {
        let has = |name: &str| self.variables.iter().any(|variable| variable.name == name);
        match self.format {
            Format::MatV4 | Format::MatV5 | Format::MatV73 => {
                self.variables.iter().any(|v| v.name == "stim" && v.class == "struct")
            }
            Format::Npz => has("responses") && has("stimulus_ids"),
            Format::Csv => has("responses"),
            Format::Sensorium => has("data/responses"),
            #[cfg(feature = "hdf5")]
            Format::Nwb => crate::nwb::may_be_recording(self.variables.iter().map(|v| v.name.as_str())),
            _ => false,
        }
    }
}

/// Reads a whole file, one variable at a time, and tells what is in it.
///
/// Everything is read, not only the directory, so that damage anywhere is found.
///
/// # Errors
/// [`Error::Io`]; [`Error::Unsupported`] for formats that are not read, with the way around;
/// [`Error::Malformed`] naming the variable and the byte where the file is damaged.
pub fn contents(path: impl AsRef<Path>) -> Result<Contents> {
    let path = path.as_ref();
    let format = Format::detect(path)?;
    let mut variables = Vec::new();
    match format {
        #[cfg(not(feature = "hdf5"))]
        Format::MatV73 | Format::Hdf5 | Format::Nwb => return Err(format.unsupported(path)),
        #[cfg(feature = "hdf5")]
        Format::Hdf5 | Format::Nwb => {
            let file = crate::hdf5::Hdf5File::open(path)?;
            for name in file.datasets() {
                let dataset = file.dataset(name)?;
                let sum = file.sum(&dataset)?;
                variables.push(VariableInfo {
                    name: name.clone(),
                    class: "dataset".to_owned(),
                    shape: dataset.shape().to_vec(),
                    dtype: dataset.dtype().to_owned(),
                    sum: sum.filter(|sum| sum.is_finite()),
                });
            }
        }
        Format::Csv | Format::ImageFolder => variables = table::contents(path)?,
        Format::Sensorium => variables = sensorium::contents(path)?,
        _ if format.is_mat() => {
            MatFile::open(path)?.for_each(|variable, value| {
                variables.push(VariableInfo {
                    name: variable.name().to_owned(),
                    class: value.class().name().to_owned(),
                    shape: value.shape().to_vec(),
                    dtype: value.dtype().to_owned(),
                    sum: value.sum().filter(|sum| sum.is_finite()),
                });
            })?;
        }
        _ => {
            let file = npz::NpzFile::open(path)?;
            for name in file.names() {
                variables.push(VariableInfo::of_array(name, &file.read(name)?));
            }
        }
    }
    Ok(Contents { format, variables })
}
