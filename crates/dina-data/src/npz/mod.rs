//! Arrays that numpy saved: `.npz` (stored or deflated, zip64 included) and single `.npy` files.
//!
//! Real numbers, truth values and text in both byte orders and memory orders are read; arrays of other
//! types (complex, dates, records, Python objects) are listed with type and shape, and not
//! interpreted. Nothing is ever unpickled.
//!
//! ```
//! use dina_data::npz::NpzFile;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("ids.npy");
//! # let mut bytes = b"\x93NUMPY\x01\x00\x3e\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }".to_vec();
//! # bytes.resize(10 + 0x3e, b' ');
//! # bytes.extend([7, 9]);
//! # std::fs::write(&path, bytes)?;
//! let file = NpzFile::open(&path)?;
//! assert_eq!(file.names().collect::<Vec<_>>(), ["array"]);
//! assert_eq!(file.read("array")?.sum(), Some(16.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod npy;
mod zip;

use std::path::{Path, PathBuf};

use ndarray::{ArrayD, IxDyn, ShapeBuilder};

use crate::numeric::{ByteOrder, DType, Element, Numeric, with_element};
use crate::source::{Broken, Extent, MemoryOrder, Outcome, Packing, Picks, Source, Target};
use crate::{Error, Format, Result};

/// The name under which the array of a `.npy` file is listed, which has none.
const NPY: &str = "array";
/// Texts that take no byte in the file, and still memory.
const MOST_EMPTY: usize = 1 << 20;

/// An array that numpy saved.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum NpyArray {
    /// Real numbers, in the memory order of the file.
    Numeric(Numeric),
    /// Truth values.
    Bool(ArrayD<bool>),
    /// Text of fixed length.
    Text {
        /// numpy's description, such as `<U5`.
        dtype: String,
        /// The elements, without the zeros that fill them up.
        values: ArrayD<String>,
    },
    /// An array of a type that is not read.
    Other {
        /// numpy's description, such as `<U5`.
        dtype: String,
        /// The extent of every axis.
        shape: Vec<usize>,
    },
}

impl NpyArray {
    /// The extent of every axis.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Numeric(array) => array.shape(),
            Self::Bool(array) => array.shape(),
            Self::Text { values, .. } => values.shape(),
            Self::Other { shape, .. } => shape,
        }
    }

    /// The type of the elements as numpy names it.
    pub fn dtype(&self) -> &str {
        match self {
            Self::Numeric(array) => array.dtype().name(),
            Self::Bool(_) => "bool",
            Self::Text { dtype, .. } | Self::Other { dtype, .. } => dtype,
        }
    }

    /// The sum of all elements in `f64`; `None` where they are not real numbers or truth values.
    pub fn sum(&self) -> Option<f64> {
        match self {
            Self::Numeric(array) => Some(array.sum()),
            Self::Bool(array) => Some(array.iter().filter(|&&v| v).count() as f64),
            Self::Text { .. } | Self::Other { .. } => None,
        }
    }
}

/// A `.npz` or `.npy` file whose directory has been read.
#[derive(Debug, Clone)]
pub struct NpzFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// One array and where it lies.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    extent: Extent,
    /// Length and checksum of the unpacked bytes; a bare `.npy` has no checksum.
    length: u64,
    crc: Option<u32>,
}

impl NpzFile {
    /// Reads the directory of a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unsupported`] for a file of another format, an encrypted archive or
    /// a compression that numpy does not write; [`Error::Malformed`] where the file is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let entries = match Format::of_content(path)? {
            Format::Npz => zip::entries(path).map_err(|broken| error(path, None, 0, broken))?,
            Format::Npy => {
                let length = std::fs::metadata(path)
                    .map_err(|source| Error::Io { path: path.to_path_buf(), source })?
                    .len();
                vec![Entry {
                    name: NPY.to_owned(),
                    extent: Extent { offset: 0, length, packing: Packing::Stored },
                    length,
                    crc: None,
                }]
            }
            other => return Err(other.unsupported(path)),
        };
        Ok(Self { path: path.to_path_buf(), entries })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the arrays, in the order of the file; `array` for the one of a `.npy` file.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Whether there is an array of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.names().any(|n| n == name)
    }

    /// Reads one array.
    ///
    /// # Errors
    /// [`Error::Variable`] where there is none of this name; [`Error::Io`]; [`Error::Malformed`]
    /// naming the array and the byte where the file is damaged.
    pub fn read(&self, name: &str) -> Result<NpyArray> {
        self.read_as(name, Target::AsStored)
    }

    /// Reads one array of real numbers as `f32`; matrices come in row-major order.
    ///
    /// # Errors
    /// As [`NpzFile::read`]; [`Error::Variable`] where the elements are not real numbers.
    pub fn read_single(&self, name: &str) -> Result<ArrayD<f32>> {
        self.read_picked(name, &Picks::ALL)
    }

    /// The same of some rows and columns of a matrix.
    pub(crate) fn read_picked(&self, name: &str, picks: &Picks) -> Result<ArrayD<f32>> {
        match self.read_as(name, Target::Single(picks))? {
            NpyArray::Numeric(array) => Ok(array.into_f32()),
            other => Err(Error::variable(
                self.path.display().to_string(),
                name,
                format!("has type {}, expected real numbers", other.dtype()),
                "save it as float32",
            )),
        }
    }

    fn read_as(&self, name: &str, target: Target<'_>) -> Result<NpyArray> {
        let entry = self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            Error::variable(
                self.path.display().to_string(),
                name,
                "is not in this file",
                format!("it holds {}", names.join(", ")),
            )
        })?;
        entry
            .extent
            .with_source(&self.path, |source| entry.array(source, target))
            .map_err(|broken| error(&self.path, Some(name), entry.extent.offset, broken))
    }
}

impl Entry {
    fn array(&self, source: &mut Source<'_>, target: Target<'_>) -> Outcome<NpyArray> {
        if self.length > source.capacity() {
            return Err(source.broken(format!(
                "{} bytes are declared, which {} compressed bytes cannot hold",
                self.length, self.extent.length
            )));
        }
        // What is not read is not checked.
        let partial = matches!(target, Target::Single(picks) if !picks.is_all());
        let checked = self.crc.filter(|_| !partial);
        if checked.is_some() {
            source.checksum();
        }
        let header = npy::header(source, self.length)?;
        let left = self.length - source.at();
        let array = match npy::element(&header.descr) {
            Some((kind, order)) => {
                let size = match kind {
                    npy::Kind::Number(stored) => stored.size(),
                    npy::Kind::Bool => 1,
                    npy::Kind::Unicode(length) => length.saturating_mul(4),
                    npy::Kind::Bytes(length) => length,
                };
                let bytes = crate::source::elements(&header.shape)
                    .and_then(|n| n.checked_mul(size))
                    .map(|n| n as u64);
                if bytes != Some(left) {
                    return Err(source.broken(format!(
                        "{left} bytes of {} do not make an array of shape {:?}",
                        header.descr, header.shape
                    )));
                }
                read_elements(source, kind, order, &header, target)?
            }
            None => {
                source.skip_to(self.length)?;
                NpyArray::Other { dtype: header.descr, shape: header.shape }
            }
        };
        source.finish()?;
        if let Some(expected) = checked
            && source.checked() != Some(expected)
        {
            return Err(source.broken("the checksum is wrong"));
        }
        Ok(array)
    }
}

fn read_elements(
    source: &mut Source<'_>,
    kind: npy::Kind,
    order: ByteOrder,
    header: &npy::Header,
    target: Target<'_>,
) -> Outcome<NpyArray> {
    match kind {
        npy::Kind::Number(stored) => {
            source.numeric(stored, order, &header.shape, header.memory, target).map(NpyArray::Numeric)
        }
        npy::Kind::Bool => {
            let stored = DType::UInt8;
            let array = with_element!(stored, T => {
                source.array_of::<T, bool>(order, &header.shape, header.memory, |v| v.wide() != 0.0)?
            });
            Ok(NpyArray::Bool(array))
        }
        npy::Kind::Unicode(length) => text(source, header, 4 * length, |bytes| {
            let mut text = String::new();
            <u32 as Element>::decode(bytes, order, |code| {
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            });
            text
        }),
        npy::Kind::Bytes(length) => {
            text(source, header, length, |bytes| String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

/// Elements of `size` bytes as text.
fn text(
    source: &mut Source<'_>,
    header: &npy::Header,
    size: usize,
    decode: impl Fn(&[u8]) -> String,
) -> Outcome<NpyArray> {
    let count = crate::source::elements(&header.shape).unwrap_or(0);
    if size == 0 && count > MOST_EMPTY {
        return Err(source.broken(format!("{count} texts without a character")));
    }
    let mut values = Vec::new();
    for _ in 0..count {
        let element = source.bytes(size)?;
        values.push(decode(&element).trim_end_matches('\0').to_owned());
    }
    let shape = IxDyn(&header.shape).set_f(header.memory == MemoryOrder::ColumnMajor);
    match ArrayD::from_shape_vec(shape, values) {
        Ok(values) => Ok(NpyArray::Text { dtype: header.descr.clone(), values }),
        Err(_) => Err(source.broken(format!("shape {:?} is impossible", header.shape))),
    }
}

fn error(path: &Path, name: Option<&str>, offset: u64, broken: Broken) -> Error {
    match broken {
        Broken::Io(source) => Error::Io { path: path.to_path_buf(), source },
        Broken::Unsupported { what, remedy } => Error::Unsupported { path: path.to_path_buf(), what, remedy },
        Broken::Memory(error) => Broken::too_large(error, path, name),
        Broken::Picks { what } => {
            let name = name.unwrap_or_default();
            Error::variable(path.display().to_string(), name, what, "ask for what is in it")
        }
        Broken::Bytes { at, what } => {
            let place = match name {
                Some(name) => format!("array `{name}`, byte {at} of the data at byte {offset}"),
                None => format!("byte {at}"),
            };
            Error::Malformed {
                path: path.to_path_buf(),
                what: format!("{place}: {what}; the file is damaged or incomplete, get it again"),
            }
        }
    }
}
