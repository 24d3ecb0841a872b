use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::mat::MatFile;
use crate::npz;
use crate::{Error, Result};

/// The format of a file, recognised by its content.
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
    /// HDF5, NWB included.
    #[serde(rename = "hdf5")]
    Hdf5,
    /// `numpy.savez` and `numpy.savez_compressed`.
    #[serde(rename = "npz")]
    Npz,
    /// `numpy.save`.
    #[serde(rename = "npy")]
    Npy,
}

const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";

impl Format {
    /// Recognises a file by its first bytes; the name does not matter.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unsupported`] where no known format starts like this.
    pub fn detect(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |source| Error::Io { path: path.to_path_buf(), source };
        let mut head = Vec::new();
        File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head)).map_err(io)?;
        Self::of(&head).ok_or_else(|| Error::Unsupported {
            path: path.to_path_buf(),
            what: match head.len() {
                0 => "an empty file".to_owned(),
                n => format!("a file that starts with {:02x?}", &head[..n.min(8)]),
            },
            remedy: "give a MATLAB file (up to -v7) or a numpy .npz or .npy file".to_owned(),
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
        } else {
            None
        }
    }

    /// The error for a format that is recognised and not read.
    pub(crate) fn unsupported(self, path: &Path) -> Error {
        let (what, remedy) = match self {
            Self::MatV73 => ("MATLAB v7.3 (HDF5)", "save it again in MATLAB with `save(..., '-v7')`"),
            Self::Hdf5 => {
                ("HDF5 (NWB included)", "export the arrays with h5py or pynwb and `numpy.savez_compressed`")
            }
            Self::Npz | Self::Npy => ("a numpy file in this place", "give a MATLAB file"),
            Self::MatV4 | Self::MatV5 => ("a MATLAB file in this place", "give a numpy file"),
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
    /// The class in MATLAB (as `scipy.io.whosmat` names it); `ndarray` in numpy files.
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
        Format::MatV4 | Format::MatV5 => {
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
        Format::Npz | Format::Npy => {
            let file = npz::NpzFile::open(path)?;
            for name in file.names() {
                let array = file.read(name)?;
                variables.push(VariableInfo {
                    name: name.to_owned(),
                    class: "ndarray".to_owned(),
                    shape: array.shape().to_vec(),
                    dtype: array.dtype().to_owned(),
                    sum: array.sum().filter(|sum| sum.is_finite()),
                });
            }
        }
        Format::MatV73 | Format::Hdf5 => return Err(format.unsupported(path)),
    }
    Ok(Contents { format, variables })
}
