use std::ops::Range;

use crate::{DType, Numeric};

/// What stands in a file where an HDF5 file should, or why it is not read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The operating system refused.
    Io(std::io::Error),
    /// The bytes are not what the format promises.
    Damaged(String),
    /// Sound as far as it is known, but not read.
    Unsupported { what: String, remedy: String },
    /// There is no such object.
    Missing,
}

pub(super) type Outcome<T> = std::result::Result<T, Fault>;

/// What the elements of a dataset are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Whole or floating-point numbers.
    Number(DType),
    /// IEEE half precision, read as `f32`, which holds every such number.
    Half,
    /// Truth values as h5py writes them: an enumeration of FALSE and TRUE.
    Bool,
    /// Complex numbers: a compound of two numbers of this type.
    Complex(DType),
    /// Text of fixed or variable length.
    Text,
    /// References to other objects of the file.
    Reference,
    /// Anything else: listed, and not read.
    Other,
}

/// How a dataset is laid out.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub shape: Vec<usize>,
    pub kind: Kind,
    /// The name of the type in numpy, as h5py reads it.
    pub dtype: String,
    /// The extent of a chunk, where it is stored in chunks.
    pub chunk: Option<Vec<usize>>,
}

/// What DINA needs of a library that reads HDF5.
///
/// Everything that depends on such a library lies behind this trait, so that another one can take
/// its place. Paths have no leading slash. An implementation opens nothing but the file itself:
/// links into other files are not followed.
pub(super) trait Container {
    /// Paths of all datasets that hard links of this file lead to.
    fn datasets(&self) -> &[String];

    /// Paths of all groups but the root.
    fn groups(&self) -> &[String];

    /// The path that a soft link at `path` (or at one of its parents) leads to.
    fn resolve(&self, path: &str) -> Option<String>;

    /// Shape and type of a dataset, whose size the file can hold.
    fn layout(&self, path: &str) -> Outcome<Layout>;

    /// A block of numbers or truth values, in one dimension, last axis fastest.
    fn block(&self, path: &str, stored: DType, block: &[Range<usize>]) -> Outcome<Numeric>;

    /// All numbers of a half-precision dataset.
    fn half(&self, path: &str) -> Outcome<Vec<f32>>;

    /// Real and imaginary parts of all elements.
    fn complex(&self, path: &str, stored: DType) -> Outcome<[Numeric; 2]>;

    /// All elements of a text dataset.
    fn text(&self, path: &str) -> Outcome<Vec<String>>;

    /// The paths that the elements of a reference dataset lead to; `None` for a null reference.
    fn references(&self, path: &str) -> Outcome<Vec<Option<String>>>;

    /// A text attribute of a dataset or group; the empty path is the root. `None` where there is
    /// none.
    fn text_attribute(&self, path: &str, name: &str) -> Outcome<Option<String>>;

    /// A single number that is an attribute of a dataset or group.
    fn number_attribute(&self, path: &str, name: &str) -> Outcome<Option<f64>>;
}
