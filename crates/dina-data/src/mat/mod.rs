//! MATLAB files: level 5 (`save -v6` and `-v7`, the format of most deposits), level 4 and, with the
//! cargo feature `hdf5`, v7.3 to read, level 5 to write.
//!
//! [`MatFile::open`] lists the variables without reading them; [`MatFile::read`] and
//! [`MatFile::read_selected`] read them, several at a time in parallel. A compressed variable is
//! inflated by threads of its own while another converts what comes out straight into its place, so
//! that no second copy of it exists. [`write_mat`] writes compressed level 5 files.
//!
//! Every size in a file is checked against what the file can hold before memory is reserved for
//! it; damage is an error that names the file, the variable and the byte.
//!
//! ```
//! use dina_data::mat::{Item, MatFile, write_mat};
//! use ndarray::array;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("small.mat");
//! let resp = array![[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]].into_dyn();
//! write_mat(&path, &[("stim", Item::Struct(vec![("resp", Item::from(resp.view()))]))])?;
//!
//! let file = MatFile::open(&path)?;
//! assert_eq!(file.variables().next().map(|v| v.name()), Some("stim"));
//! let stim = file.read("stim")?;
//! # let dina_data::mat::Value::Struct(stim) = stim else { unreachable!() };
//! assert_eq!(stim.field("resp").map(|v| v[0].shape()), Some([2, 3].as_slice()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod opaque;
mod selection;
mod v4;
mod v5;
#[cfg(feature = "hdf5")]
mod v73;
mod value;
mod write;

use std::fs::File;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use selection::Selection;
pub(crate) use v4::recognises as is_v4;
pub use value::{Class, Complex, Opaque, Sparse, Struct, Text, Value};
pub use write::{Item, write_mat};

use crate::numeric::ByteOrder;
use crate::source::{Broken, Extent, Outcome, Packing, Source};
use crate::{Error, Numeric, Result};

/// Where the variables of a level 5 file start.
const HEADER: u64 = 128;

/// What a file's directory says of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    name: String,
    class: Class,
    shape: Vec<usize>,
    complex: bool,
}

impl Variable {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The class in MATLAB.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The extent of every axis; two at least.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether the numbers are complex.
    pub fn is_complex(&self) -> bool {
        self.complex
    }
}

/// A MATLAB file whose directory has been read.
#[derive(Debug, Clone)]
pub struct MatFile {
    path: PathBuf,
    version: Version,
    order: ByteOrder,
    entries: Vec<Entry>,
    subsystem: Option<Extent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V5,
    #[cfg(feature = "hdf5")]
    V73,
}

/// A variable and where it lies.
#[derive(Debug, Clone)]
struct Entry {
    variable: Variable,
    /// The element with its tag; of v7.3 nothing.
    extent: Extent,
    /// Only level 4 has one per variable.
    v4: Option<v4::Header>,
}

impl MatFile {
    /// Reads the directory of a file: of each variable only the first few bytes.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unsupported`] for a file of another format, and for v7.3 without the
    /// cargo feature `hdf5`; [`Error::Malformed`] where the file is cut short or damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match crate::Format::of_content(path)? {
            crate::Format::MatV4 => Self::open_v4(path),
            crate::Format::MatV5 => Self::open_v5(path),
            #[cfg(feature = "hdf5")]
            crate::Format::MatV73 => Self::open_v73(path),
            other => Err(other.unsupported(path)),
        }
    }

    fn open_v5(path: &Path) -> Result<Self> {
        let at = |offset| move |broken| error(path, None, offset, Packing::Stored, broken);
        let length = file_length(path)?;
        let whole =
            |offset| Extent { offset, length: length.saturating_sub(offset), packing: Packing::Stored };
        let head: [u8; HEADER as usize] =
            whole(0).with_source(path, |source| source.array()).map_err(at(0))?;
        let order = match &head[126..128] {
            b"IM" => ByteOrder::Little,
            _ => ByteOrder::Big,
        };
        let mut file = Self {
            path: path.to_path_buf(),
            version: Version::V5,
            order,
            entries: Vec::new(),
            subsystem: None,
        };
        let (_, subsystem, _) = (&head[..116], &head[116..124], &head[124..]);
        let mut subsystem_at = 0;
        <u64 as crate::numeric::Element>::decode(subsystem, order, |v| subsystem_at = v);
        let mut offset = HEADER;
        while offset < length {
            let (extent, next) = whole(offset)
                .with_source(path, |source| top_level(source, order, offset))
                .map_err(|broken| {
                // What is cut short has a name all the same.
                let name = name_at(path, order, whole(offset));
                error(path, name.as_deref(), offset, Packing::Stored, broken)
            })?;
            if offset == subsystem_at {
                file.subsystem = Some(extent);
            } else {
                let variable = file
                    .with_element(extent, &Selection::all(), |parser, end| parser.variable(end))
                    .map_err(|broken| error(path, None, offset, extent.packing, broken))?;
                // Other writers leave the subsystem's position out, but not a name in.
                if variable.name.is_empty() {
                    file.subsystem = Some(extent);
                } else {
                    file.entries.push(Entry { variable, extent, v4: None });
                }
            }
            offset = next;
        }
        Ok(file)
    }

    fn open_v4(path: &Path) -> Result<Self> {
        let length = file_length(path)?;
        let mut entries = Vec::new();
        let mut order = ByteOrder::Little;
        let mut offset = 0;
        while offset < length {
            let rest = Extent { offset, length: length - offset, packing: Packing::Stored };
            let (variable, header) = rest
                .with_source(path, |source| v4::header(source, rest.length))
                .map_err(|broken| error(path, None, offset, Packing::Stored, broken))?;
            order = header.order;
            let extent = Extent { length: header.end, ..rest };
            offset += header.end;
            entries.push(Entry { variable, extent, v4: Some(header) });
        }
        Ok(Self { path: path.to_path_buf(), version: Version::V4, order, entries, subsystem: None })
    }

    #[cfg(feature = "hdf5")]
    fn open_v73(path: &Path) -> Result<Self> {
        let nowhere = Extent { offset: 0, length: 0, packing: Packing::Stored };
        let variables = v73::variables(path)?.into_iter();
        let entries = variables.map(|variable| Entry { variable, extent: nowhere, v4: None }).collect();
        let (version, order) = (Version::V73, ByteOrder::Little);
        Ok(Self { path: path.to_path_buf(), version, order, entries, subsystem: None })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The variables in the order of the file.
    pub fn variables(&self) -> impl ExactSizeIterator<Item = &Variable> {
        self.entries.iter().map(|entry| &entry.variable)
    }

    /// Reads one variable; of several with one name the last, as MATLAB does.
    ///
    /// # Errors
    /// [`Error::Variable`] where there is none of this name, and as [`MatFile::read_selected`].
    pub fn read(&self, name: &str) -> Result<Value> {
        let entry = self
            .entries
            .iter()
            .rev()
            .find(|entry| entry.variable.name == name)
            .ok_or_else(|| self.missing(name))?;
        #[cfg(feature = "hdf5")]
        if self.version == Version::V73 {
            let read = self.read_selected(&Selection::only([name]))?;
            return read.into_iter().next().map(|(_, value)| value).ok_or_else(|| self.missing(name));
        }
        self.read_entry(entry, &Selection::all())
    }

    /// The error for a variable that is not there, with those that are.
    pub(crate) fn missing(&self, name: &str) -> Error {
        let names: Vec<&str> = self.variables().map(Variable::name).collect();
        Error::variable(
            self.path.display().to_string(),
            name,
            "is not in this file",
            format!("it holds {}", if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }),
        )
    }

    /// Reads what is selected, in parallel, in the order of the file. Variables that are not
    /// selected are not touched.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] naming the variable and the byte where the file is
    /// damaged; [`Error::Unsupported`] for level 4 files of machines that no longer exist.
    pub fn read_selected(&self, selection: &Selection) -> Result<Vec<(String, Value)>> {
        #[cfg(feature = "hdf5")]
        if self.version == Version::V73 {
            let mut read = Vec::new();
            v73::for_each(&self.path, selection, |variable, value| {
                read.push((variable.name, value));
                Ok(())
            })?;
            return Ok(read);
        }
        self.entries
            .par_iter()
            .filter(|entry| selection.wants(&entry.variable.name))
            .map(|entry| Ok((entry.variable.name.clone(), self.read_entry(entry, selection)?)))
            .collect()
    }

    /// Calls `f` with each variable and its value, one after the other, so that no more than one
    /// is in memory.
    pub(crate) fn for_each(&self, mut f: impl FnMut(&Variable, Value)) -> Result<()> {
        #[cfg(feature = "hdf5")]
        if self.version == Version::V73 {
            return v73::for_each(&self.path, &Selection::all(), |variable, value| {
                f(&variable, value);
                Ok(())
            });
        }
        for entry in &self.entries {
            f(&entry.variable, self.read_entry(entry, &Selection::all())?);
        }
        Ok(())
    }

    fn read_entry(&self, entry: &Entry, selection: &Selection) -> Result<Value> {
        let name = &entry.variable.name;
        // Where in the variable it broke, which is more than its name.
        let mut path = name.clone();
        let read = match (self.version, &entry.v4) {
            (Version::V4, Some(header)) => entry
                .extent
                .with_source(&self.path, |source| v4::value(source, header, &entry.variable, selection)),
            _ => self.with_element(entry.extent, selection, |parser, end| {
                let value = parser.value(end);
                path.clone_from(&parser.path);
                let value = value?;
                if !parser.references.is_empty()
                    && let Some(objects) = self.objects()?
                {
                    opaque::check(&parser.references, objects).map_err(|what| parser.source.broken(what))?;
                }
                Ok(value)
            }),
        };
        read.map_err(|broken| {
            error(&self.path, Some(&path), entry.extent.offset, entry.extent.packing, broken)
        })
    }

    /// Runs `read` inside the matrix of a top-level element; the end of a compressed stream is
    /// checked where `read` went to the end of the matrix.
    fn with_element<T>(
        &self,
        extent: Extent,
        selection: &Selection,
        read: impl FnOnce(&mut v5::Parser<'_, '_>, u64) -> Outcome<T>,
    ) -> Outcome<T> {
        extent.with_source(&self.path, |source| {
            let capacity = source.capacity();
            let mut parser = v5::Parser::new(source, self.order, selection);
            let tag = parser.matrix(capacity)?;
            let read = read(&mut parser, tag.next)?;
            if extent.packing == Packing::Zlib && source.at() == tag.next {
                source.finish()?;
            }
            Ok(read)
        })
    }

    /// The number of objects in the subsystem; see the module `opaque`.
    fn objects(&self) -> Outcome<Option<usize>> {
        let Some(extent) = self.subsystem else {
            return Ok(None);
        };
        let bytes = self.with_element(extent, &Selection::all(), |parser, end| parser.value(end))?;
        let Value::Numeric { values: Numeric::UInt8(bytes), .. } = bytes else {
            return Ok(None);
        };
        let bytes: Vec<u8> = bytes.iter().copied().collect();
        // A small file of its own: four bytes of version and byte order, four of padding.
        let mut source = Source::of_bytes(bytes.get(8..).unwrap_or_default());
        let end = source.capacity();
        let everything = Selection::all();
        let mut parser = v5::Parser::new(&mut source, self.order, &everything);
        let tag = parser.matrix(end)?;
        parser.value(tag.next)?;
        Ok(parser.store.as_ref().and_then(opaque::objects))
    }
}

fn file_length(path: &Path) -> Result<u64> {
    File::open(path)
        .and_then(|file| file.metadata())
        .map(|metadata| metadata.len())
        .map_err(|source| Error::Io { path: path.to_path_buf(), source })
}

/// The extent of the element at the start of `source`, and where in the file the next one starts.
fn top_level(source: &mut Source<'_>, order: ByteOrder, offset: u64) -> Outcome<(Extent, u64)> {
    let end = source.capacity();
    let everything = Selection::all();
    let mut parser = v5::Parser::new(source, order, &everything);
    let tag = parser.tag(end)?;
    match tag.kind {
        v5::MI_COMPRESSED => {
            Ok((Extent { offset: offset + 8, length: tag.size, packing: Packing::Zlib }, offset + tag.next))
        }
        v5::MI_MATRIX if tag.size > 0 => {
            Ok((Extent { offset, length: tag.next, packing: Packing::Stored }, offset + tag.next))
        }
        kind => Err(Broken::Bytes {
            at: 0,
            what: format!("a variable expected, found an element of type {kind} and {} bytes", tag.size),
        }),
    }
}

/// The name of a variable whose element the file does not hold whole.
fn name_at(path: &Path, order: ByteOrder, rest: Extent) -> Option<String> {
    let mut words = Vec::new();
    let tag: [u8; 8] = rest.with_source(path, |source| source.array()).ok()?;
    <u32 as crate::numeric::Element>::decode(&tag, order, |word| words.push(word));
    let extent = match *words.first()? {
        v5::MI_MATRIX => rest,
        v5::MI_COMPRESSED => {
            Extent { offset: rest.offset + 8, length: rest.length - 8, packing: Packing::Zlib }
        }
        _ => return None,
    };
    let everything = Selection::all();
    let variable = extent.with_source(path, |source| {
        let mut parser = v5::Parser::new(source, order, &everything);
        let tag = parser.matrix(u64::MAX / 2)?;
        parser.variable(tag.next)
    });
    variable.ok().map(|variable| variable.name).filter(|name| !name.is_empty())
}

/// Adds what the parser does not know: the file, the variable and where it lies.
fn error(path: &Path, variable: Option<&str>, offset: u64, packing: Packing, broken: Broken) -> Error {
    match broken {
        Broken::Io(source) => Error::Io { path: path.to_path_buf(), source },
        Broken::Unsupported { what, remedy } => Error::Unsupported { path: path.to_path_buf(), what, remedy },
        Broken::Memory(error) => Broken::too_large(error, path, variable),
        Broken::Picks { what } => {
            let name = variable.unwrap_or_default();
            Error::variable(path.display().to_string(), name, what, "ask for what is in it")
        }
        Broken::Bytes { at, what } => {
            let variable = variable.map_or(String::new(), |name| format!("variable `{name}`, "));
            let place = match packing {
                Packing::Stored => format!("byte {}", offset + at),
                _ => format!("inflated byte {at} of the element at byte {offset}"),
            };
            Error::Malformed {
                path: path.to_path_buf(),
                what: format!("{variable}{place}: {what}; the file is damaged or incomplete, get it again"),
            }
        }
    }
}
