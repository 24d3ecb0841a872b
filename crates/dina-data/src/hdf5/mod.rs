//! HDF5 files (cargo feature `hdf5`): what is in them, and their arrays.
//!
//! Numbers, truth values, complex numbers, text and references are read, whatever the layout and
//! compression; other elements are listed with type and shape. Soft links are followed, links into
//! other files are not. The datasets of NWB and of MATLAB v7.3 files can be read like this too;
//! [`MatFile`](crate::mat::MatFile) reads the latter as MATLAB means them.
//!
//! ```no_run
//! use dina_data::hdf5::Hdf5File;
//!
//! let file = Hdf5File::open("session.nwb")?;
//! for path in file.datasets() {
//!     println!("{path} {:?}", file.dataset(path)?.shape());
//! }
//! let starts = file.read("intervals/trials/start_time")?;
//! println!("{:?}", starts.sum());
//! # Ok::<(), dina_data::Error>(())
//! ```

mod container;
mod header;
mod pure;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayD, Ix2, IxDyn};

pub use container::Kind;
use container::{Container, Fault, Layout};

use crate::numeric::CompensatedSum;
use crate::source::{Picks, elements};
use crate::{DType, Error, Format, Numeric, Result};

/// Bytes of a block that is read at once, where chunks do not demand more.
const BLOCK: usize = 4 << 20;
/// Longer chains of links are circles.
const MOST_LINKS: usize = 16;

/// An HDF5 file whose directory has been read.
pub struct Hdf5File {
    path: PathBuf,
    container: Box<dyn Container>,
}

impl fmt::Debug for Hdf5File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hdf5File").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What a file says of a dataset.
#[derive(Debug, Clone)]
pub struct Dataset {
    path: String,
    layout: Layout,
}

impl Dataset {
    /// The path, soft links resolved, without a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The extent of every axis, as h5py gives it; empty for a single value.
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// What the elements are.
    pub fn kind(&self) -> &Kind {
        &self.layout.kind
    }

    /// The type of the elements as h5py and numpy name it, such as `float32`; `object` for text
    /// of variable length and for references.
    pub fn dtype(&self) -> &str {
        &self.layout.dtype
    }

    pub(crate) fn chunk(&self) -> Option<&[usize]> {
        self.layout.chunk.as_deref()
    }
}

/// The content of a dataset.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Hdf5Array {
    /// Real numbers, in row-major order.
    Numeric(Numeric),
    /// Truth values.
    Bool(ArrayD<bool>),
    /// Complex numbers.
    Complex {
        /// Real parts.
        real: Numeric,
        /// Imaginary parts.
        imaginary: Numeric,
    },
    /// Text.
    Text(ArrayD<String>),
    /// Paths of other objects; `None` for a null reference.
    Reference(ArrayD<Option<String>>),
}

impl Hdf5Array {
    /// The sum of all elements in `f64`; `None` where they are not real numbers or truth values.
    pub fn sum(&self) -> Option<f64> {
        match self {
            Self::Numeric(array) => Some(array.sum()),
            Self::Bool(array) => Some(array.iter().filter(|&&v| v).count() as f64),
            _ => None,
        }
    }
}

impl Hdf5File {
    /// Reads the directory of a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unsupported`] for a file of another format; [`Error::Malformed`]
    /// where the file is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match Format::of_content(path)? {
            Format::Hdf5 | Format::Nwb | Format::MatV73 => {}
            other => return Err(other.unsupported(path)),
        }
        match pure::Reader::open(path) {
            Ok(reader) => Ok(Self { path: path.to_path_buf(), container: Box::new(reader) }),
            Err(fault) => Err(error(path, None, fault)),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Paths of all datasets, without a leading slash.
    pub fn datasets(&self) -> &[String] {
        self.container.datasets()
    }

    /// Paths of all groups but the root, without a leading slash.
    pub fn groups(&self) -> &[String] {
        self.container.groups()
    }

    /// Whether there is a group or dataset of this path, soft links followed.
    pub fn contains(&self, path: &str) -> bool {
        let path = self.resolve(path);
        self.datasets().contains(&path) || self.groups().contains(&path)
    }

    /// Names of the datasets directly in a group, in the order of the file.
    pub fn members<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a str> {
        children(self.datasets(), group)
    }

    /// Names of the groups directly in a group, in the order of the file.
    pub fn subgroups<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a str> {
        children(self.groups(), group)
    }

    fn resolve(&self, path: &str) -> String {
        let mut path = path.trim_matches('/').to_owned();
        for _ in 0..MOST_LINKS {
            match self.container.resolve(&path) {
                Some(target) => path = target,
                None => break,
            }
        }
        path
    }

    /// Shape and type of a dataset, soft links followed.
    ///
    /// # Errors
    /// [`Error::Variable`] where there is no such dataset, or it declares more than the file can
    /// hold; [`Error::Malformed`] where the file is damaged; [`Error::Unsupported`] for one whose
    /// content lies in other files.
    pub fn dataset(&self, path: &str) -> Result<Dataset> {
        let path = self.resolve(path);
        match self.container.layout(&path) {
            Ok(layout) => Ok(Dataset { path, layout }),
            Err(fault) => Err(self.error(&path, fault)),
        }
    }

    /// Reads a dataset.
    ///
    /// # Errors
    /// As [`Hdf5File::dataset`]; [`Error::Unsupported`] for elements of another kind.
    pub fn read(&self, path: &str) -> Result<Hdf5Array> {
        let dataset = self.dataset(path)?;
        let shape = dataset.shape();
        match dataset.kind() {
            Kind::Number(stored) => {
                let whole: Vec<Range<usize>> = shape.iter().map(|&n| 0..n).collect();
                self.block(&dataset, *stored, &whole).map(Hdf5Array::Numeric)
            }
            Kind::Half => {
                let values = self.ask(&dataset, |c| c.half(dataset.path()))?;
                let values = self.shaped(&dataset, values)?;
                Ok(Hdf5Array::Numeric(values.into()))
            }
            Kind::Bool => {
                let whole: Vec<Range<usize>> = shape.iter().map(|&n| 0..n).collect();
                let values = self.block(&dataset, DType::UInt8, &whole)?;
                let mut truth = Vec::with_capacity(values.len());
                values.for_each(|v| truth.push(v != 0.0));
                self.shaped(&dataset, truth).map(Hdf5Array::Bool)
            }
            Kind::Complex(stored) => {
                let [real, imaginary] = self.ask(&dataset, |c| c.complex(dataset.path(), *stored))?;
                Ok(Hdf5Array::Complex {
                    real: real.reshaped(shape, false).map_err(|what| self.damaged(&dataset, what))?,
                    imaginary: imaginary
                        .reshaped(shape, false)
                        .map_err(|what| self.damaged(&dataset, what))?,
                })
            }
            Kind::Text => {
                let text = self.ask(&dataset, |c| c.text(dataset.path()))?;
                self.shaped(&dataset, text).map(Hdf5Array::Text)
            }
            Kind::Reference => {
                let references = self.ask(&dataset, |c| c.references(dataset.path()))?;
                self.shaped(&dataset, references).map(Hdf5Array::Reference)
            }
            Kind::Other => Err(Error::Unsupported {
                path: self.path.clone(),
                what: format!("dataset `{}` of type {}", dataset.path(), dataset.dtype()),
                remedy: "save it as numbers or text".to_owned(),
            }),
        }
    }

    /// A block of a dataset of numbers, in row-major order.
    ///
    /// # Errors
    /// As [`Hdf5File::dataset`]; [`Error::Variable`] where the block lies outside the dataset or
    /// its elements are not numbers.
    pub fn read_block(&self, path: &str, block: &[Range<usize>]) -> Result<Numeric> {
        let dataset = self.dataset(path)?;
        let &Kind::Number(stored) = dataset.kind() else {
            return Err(self.not_numbers(&dataset));
        };
        let inside = block.len() == dataset.shape().len()
            && block.iter().zip(dataset.shape()).all(|(r, &n)| r.start <= r.end && r.end <= n);
        if !inside {
            return Err(self.variable(
                dataset.path(),
                format!("has shape {:?}, which {block:?} is not a part of", dataset.shape()),
                "ask for a part of the dataset",
            ));
        }
        self.block(&dataset, stored, block)
    }

    /// The sum of a dataset of numbers or truth values, a block at a time; `None` for others.
    pub(crate) fn sum(&self, dataset: &Dataset) -> Result<Option<f64>> {
        let stored = match dataset.kind() {
            Kind::Number(stored) => *stored,
            Kind::Bool => DType::UInt8,
            Kind::Half => return self.read(dataset.path()).map(|array| array.sum()),
            _ => return Ok(None),
        };
        let mut sum = CompensatedSum::default();
        for block in blocks(dataset, stored.size()) {
            let numbers = self.block(dataset, stored, &block)?;
            numbers.for_each(|v| sum.add(v));
        }
        Ok(Some(sum.total()))
    }

    /// What is picked of a dataset of two axes, as `f32` in row-major order: of the dataset as it is,
    /// or `transposed`, as MATLAB stores a matrix.
    ///
    /// Chunks that hold nothing of it are not read, and of the others a few at a time.
    pub(crate) fn matrix(&self, dataset: &Dataset, transposed: bool, picks: &Picks) -> Result<Array2<f32>> {
        let (&Kind::Number(stored), &[first, second]) = (dataset.kind(), dataset.shape()) else {
            return Err(self.not_numbers(dataset));
        };
        let (rows, columns) = if transposed { (second, first) } else { (first, second) };
        let (height, width) = picks
            .within(rows, columns)
            .map_err(|what| self.variable(dataset.path(), what, "ask for what is in it"))?;
        let mut out = Array2::<f32>::zeros((height, width));
        let axes = if transposed { [&picks.columns, &picks.rows] } else { [&picks.rows, &picks.columns] };
        let [outer, inner] = tiles(dataset, stored.size(), axes.map(Option::as_deref));
        for outer in &outer {
            for inner in &inner {
                let block = [outer.covered.clone(), inner.covered.clone()];
                let tile = self.block(dataset, stored, &block)?.into_f32();
                let Ok(tile) = tile.into_dimensionality::<Ix2>() else {
                    return Err(self.damaged(dataset, "a block has another shape than was asked for"));
                };
                let (rows, columns) = if transposed { (inner, outer) } else { (outer, inner) };
                let tile = if transposed { tile.reversed_axes() } else { tile };
                for (row, at) in rows.wanted.iter().zip(rows.first..) {
                    let from = tile.row(row - rows.covered.start);
                    let mut to = out.row_mut(at);
                    for (column, at) in columns.wanted.iter().zip(columns.first..) {
                        to[at] = from[column - columns.covered.start];
                    }
                }
            }
        }
        Ok(out)
    }

    /// All numbers of a dataset as `f64`, last axis fastest; truth values as 0 and 1.
    pub(crate) fn numbers(&self, path: &str) -> Result<Vec<f64>> {
        match self.read(path)? {
            Hdf5Array::Numeric(numbers) => {
                let mut values = Vec::with_capacity(numbers.len());
                numbers.for_each(|v| values.push(v));
                Ok(values)
            }
            Hdf5Array::Bool(truth) => Ok(truth.iter().map(|&v| f64::from(v)).collect()),
            _ => Err(self.not_numbers(&self.dataset(path)?)),
        }
    }

    fn block(&self, dataset: &Dataset, stored: DType, block: &[Range<usize>]) -> Result<Numeric> {
        let shape: Vec<usize> = block.iter().map(ExactSizeIterator::len).collect();
        let values = match elements(&shape) {
            Some(0) => Numeric::empty(stored),
            _ => self.ask(dataset, |c| c.block(dataset.path(), stored, block))?,
        };
        values.reshaped(&shape, false).map_err(|what| self.damaged(dataset, what))
    }

    fn ask<T>(
        &self,
        dataset: &Dataset,
        f: impl FnOnce(&dyn Container) -> container::Outcome<T>,
    ) -> Result<T> {
        f(self.container.as_ref()).map_err(|fault| self.error(dataset.path(), fault))
    }

    fn shaped<T>(&self, dataset: &Dataset, values: Vec<T>) -> Result<ArrayD<T>> {
        let count = values.len();
        ArrayD::from_shape_vec(IxDyn(dataset.shape()), values).map_err(|_| {
            self.damaged(dataset, format!("{count} elements do not make the shape {:?}", dataset.shape()))
        })
    }

    /// A text attribute of a group or dataset (the empty path is the root); `None` where it has
    /// none.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the file is damaged.
    pub fn text_attribute(&self, path: &str, name: &str) -> Result<Option<String>> {
        let path = self.resolve(path);
        self.container.text_attribute(&path, name).map_err(|fault| self.error(&path, fault))
    }

    /// An attribute of a group or dataset that is one number; `None` where it has none.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the file is damaged; [`Error::Unsupported`] for an attribute of
    /// a group in a file of the newer kind, whose groups are not read for numbers.
    pub fn number_attribute(&self, path: &str, name: &str) -> Result<Option<f64>> {
        let path = self.resolve(path);
        self.container.number_attribute(&path, name).map_err(|fault| self.error(&path, fault))
    }

    /// A variable error about an object of this file.
    pub(crate) fn variable(
        &self,
        path: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Error {
        Error::variable(self.path.display().to_string(), path, problem, remedy)
    }

    fn not_numbers(&self, dataset: &Dataset) -> Error {
        let problem = format!("has type {}, expected numbers", dataset.dtype());
        self.variable(dataset.path(), problem, "save it as numbers")
    }

    pub(crate) fn damaged(&self, dataset: &Dataset, what: impl Into<String>) -> Error {
        self.error(dataset.path(), Fault::Damaged(what.into()))
    }

    fn error(&self, object: &str, fault: Fault) -> Error {
        if matches!(fault, Fault::Missing) {
            let name = object.rsplit('/').next().unwrap_or_default();
            let like: Vec<&str> = self
                .datasets()
                .iter()
                .filter(|path| path.rsplit('/').next() == Some(name))
                .map(String::as_str)
                .take(3)
                .collect();
            let remedy = match like.as_slice() {
                [] => format!("it holds {} datasets, see `dina_data::contents`", self.datasets().len()),
                like => format!("it holds {}", like.join(", ")),
            };
            return self.variable(object, "is not in this file", remedy);
        }
        error(&self.path, Some(object), fault)
    }
}

/// The part of each path after `group`, where it is one name.
fn children<'a>(paths: &'a [String], group: &'a str) -> impl Iterator<Item = &'a str> {
    let group = group.trim_matches('/');
    paths.iter().filter_map(move |path| {
        let name = match group {
            "" => path.as_str(),
            _ => path.strip_prefix(group)?.strip_prefix('/')?,
        };
        (!name.is_empty() && !name.contains('/')).then_some(name)
    })
}

/// Blocks that cover a dataset: whole chunks along the first axis, everything along the others.
fn blocks(dataset: &Dataset, size: usize) -> Vec<Vec<Range<usize>>> {
    let shape = dataset.shape();
    let Some((&rows, rest)) = shape.split_first() else {
        return vec![Vec::new()];
    };
    let row = elements(rest).unwrap_or(usize::MAX).saturating_mul(size).max(1);
    let chunk = dataset.chunk().and_then(|c| c.first().copied()).unwrap_or(1).max(1);
    let at_once = (BLOCK / row).max(1).next_multiple_of(chunk).min(rows.max(1));
    (0..rows)
        .step_by(at_once)
        .map(|first| {
            let rows = first..(first + at_once).min(rows);
            std::iter::once(rows).chain(rest.iter().map(|&n| 0..n)).collect()
        })
        .collect()
}

/// Part of an axis that is read at once.
struct Tile {
    /// What is read.
    covered: Range<usize>,
    /// What is wanted of it.
    wanted: Vec<usize>,
    /// The place of the first of these among all that are wanted.
    first: usize,
}

/// Tiles of both axes: whole chunks, as far as they are wanted, of about [`BLOCK`] bytes.
fn tiles(dataset: &Dataset, size: usize, picks: [Option<&[usize]>; 2]) -> [Vec<Tile>; 2] {
    let extent = [dataset.shape()[0], dataset.shape()[1]];
    let chunk = dataset.chunk().map_or([1, 1], |c| [c[0].max(1), c[1].max(1)]);
    // All of the second axis, unless a row of chunks is too large for that.
    let row = chunk[0].saturating_mul(extent[1]).saturating_mul(size);
    let inner = if row <= 8 * BLOCK {
        extent[1].max(1)
    } else {
        (BLOCK / chunk[0].saturating_mul(size)).max(1).next_multiple_of(chunk[1])
    };
    let outer = (BLOCK / inner.saturating_mul(size).max(1)).max(1).next_multiple_of(chunk[0]);
    [(outer, 0), (inner, 1)].map(|(step, axis)| {
        let mut tiles: Vec<Tile> = Vec::new();
        // Without chunks, what is not wanted between two runs is not read either.
        let runs = match dataset.chunk() {
            Some(_) => Picks::runs(None, extent[axis]),
            None => Picks::runs(picks[axis], extent[axis]),
        };
        let mut first = 0;
        for run in runs {
            for start in (run.start / step..run.end.div_ceil(step)).map(|n| n * step) {
                let border = start.max(run.start)..(start + step).min(run.end);
                let wanted: Vec<usize> = match picks[axis] {
                    None => border.collect(),
                    Some(picks) => {
                        let from = picks.partition_point(|&p| p < border.start);
                        picks[from..].iter().copied().take_while(|p| border.contains(p)).collect()
                    }
                };
                if let (Some(&low), Some(&high)) = (wanted.first(), wanted.last()) {
                    let count = wanted.len();
                    tiles.push(Tile { covered: low..high + 1, wanted, first });
                    first += count;
                }
            }
        }
        tiles
    })
}

/// Adds what the container does not know: the file and the object.
fn error(path: &Path, object: Option<&str>, fault: Fault) -> Error {
    let object = object.filter(|o| !o.is_empty()).map_or(String::new(), |name| format!("`{name}`: "));
    match fault {
        Fault::Io(source) => Error::Io { path: path.to_path_buf(), source },
        Fault::Damaged(what) => Error::Malformed {
            path: path.to_path_buf(),
            what: format!("{object}{what}; the file is damaged or incomplete, get it again"),
        },
        Fault::Unsupported { what, remedy } => {
            Error::Unsupported { path: path.to_path_buf(), what: format!("{object}{what}"), remedy }
        }
        Fault::Missing => Error::Malformed {
            path: path.to_path_buf(),
            what: format!("{object}is missing; the file is damaged or incomplete, get it again"),
        },
    }
}
