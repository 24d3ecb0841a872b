use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

#[cfg(feature = "hdf5")]
use crate::DType;
use crate::Numeric;

/// The class of a MATLAB variable, by the name MATLAB's `class` (and scipy's `whosmat`) gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Class {
    Cell,
    Struct,
    Object,
    Char,
    Sparse,
    Double,
    Single,
    Int8,
    UInt8,
    Int16,
    UInt16,
    Int32,
    UInt32,
    Int64,
    UInt64,
    Logical,
    Function,
    Opaque,
}

impl Class {
    /// The name, such as `double`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cell => "cell",
            Self::Struct => "struct",
            Self::Object => "object",
            Self::Char => "char",
            Self::Sparse => "sparse",
            Self::Double => "double",
            Self::Single => "single",
            Self::Int8 => "int8",
            Self::UInt8 => "uint8",
            Self::Int16 => "int16",
            Self::UInt16 => "uint16",
            Self::Int32 => "int32",
            Self::UInt32 => "uint32",
            Self::Int64 => "int64",
            Self::UInt64 => "uint64",
            Self::Logical => "logical",
            Self::Function => "function",
            Self::Opaque => "opaque",
        }
    }

    /// The class of numbers of this name.
    #[cfg(feature = "hdf5")]
    pub(super) fn numeric(name: &str) -> Option<Self> {
        let numeric = [
            Self::Double,
            Self::Single,
            Self::Int8,
            Self::UInt8,
            Self::Int16,
            Self::UInt16,
            Self::Int32,
            Self::UInt32,
            Self::Int64,
            Self::UInt64,
        ];
        numeric.into_iter().find(|class| class.name() == name)
    }

    /// The class whose numbers are stored like this.
    #[cfg(feature = "hdf5")]
    pub(super) fn of(stored: DType) -> Self {
        match stored {
            DType::Float32 => Self::Single,
            DType::Float64 => Self::Double,
            other => Self::numeric(other.name()).unwrap_or(Self::Double),
        }
    }
}

/// What a variable holds.
///
/// Arrays keep MATLAB's shape (never fewer than two axes) and, unless [`Selection::single`] asked
/// otherwise, MATLAB's column-major memory order.
///
/// [`Selection::single`]: crate::mat::Selection::single
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Real numbers. MATLAB stores whole numbers of class `double` in fewer bytes: `values` has
    /// the stored type, `class` the one MATLAB works with.
    Numeric {
        /// The class in MATLAB.
        class: Class,
        /// The numbers.
        values: Numeric,
    },
    /// Complex numbers.
    Complex(Box<Complex>),
    /// Truth values.
    Logical(ArrayD<bool>),
    /// Text.
    Char(Text),
    /// A cell array.
    Cell(ArrayD<Value>),
    /// A struct, struct array, or object of an old-style class.
    Struct(Struct),
    /// A sparse matrix.
    Sparse(Box<Sparse>),
    /// Something whose content only MATLAB can interpret: a function handle, or an object of a
    /// class defined in MATLAB.
    Opaque(Opaque),
}

impl Value {
    /// The class, as [`Variable::class`](crate::mat::Variable::class) has it.
    pub fn class(&self) -> Class {
        match self {
            Self::Numeric { class, .. } => *class,
            Self::Complex(complex) => complex.class,
            Self::Logical(_) => Class::Logical,
            Self::Char(_) => Class::Char,
            Self::Cell(_) => Class::Cell,
            Self::Struct(s) if s.class_name.is_some() => Class::Object,
            Self::Struct(_) => Class::Struct,
            Self::Sparse(s) if s.logical => Class::Logical,
            Self::Sparse(_) => Class::Sparse,
            Self::Opaque(opaque) => opaque.class,
        }
    }

    /// The extent of every axis.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Numeric { values, .. } => values.shape(),
            Self::Complex(complex) => complex.real.shape(),
            Self::Logical(array) => array.shape(),
            Self::Char(text) => &text.shape,
            Self::Cell(cells) => cells.shape(),
            Self::Struct(s) => &s.shape,
            Self::Sparse(sparse) => &sparse.shape,
            Self::Opaque(opaque) => &opaque.shape,
        }
    }

    /// The type of the elements as numpy names it; for others the class.
    pub fn dtype(&self) -> &'static str {
        match self {
            Self::Numeric { values, .. } => values.dtype().name(),
            Self::Complex(complex) => complex.dtype(),
            Self::Logical(_) => "bool",
            Self::Sparse(s) if s.logical => "bool",
            Self::Sparse(s) if s.imaginary.is_some() => "complex128",
            Self::Sparse(s) => s.values.dtype().name(),
            other => other.class().name(),
        }
    }

    /// The sum of all elements in `f64`; `None` where they are not real numbers or truth values.
    pub fn sum(&self) -> Option<f64> {
        match self {
            Self::Numeric { values, .. } => Some(values.sum()),
            Self::Logical(array) => Some(array.iter().filter(|&&v| v).count() as f64),
            Self::Sparse(sparse) if sparse.imaginary.is_none() => Some(sparse.values.sum()),
            _ => None,
        }
    }

    /// The numbers as `f64`, column by column; truth values as 0 and 1. `None` for other classes.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        match self {
            Self::Numeric { values, .. } => Some(values.to_f64()),
            Self::Logical(array) => Some(array.t().iter().map(|&v| f64::from(v)).collect()),
            _ => None,
        }
    }

    /// The number, where it is a single one; a truth value as 0 or 1.
    pub fn scalar(&self) -> Option<f64> {
        match self {
            Self::Numeric { values, .. } => values.scalar(),
            Self::Logical(array) if array.len() == 1 => array.first().map(|&v| f64::from(v)),
            _ => None,
        }
    }

    /// The text, where it has one row; no row is the empty text.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Char(text) => match text.rows().as_slice() {
                [] => Some(String::new()),
                [row] => Some(row.clone()),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Complex numbers: two arrays of one shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Complex {
    /// The class in MATLAB.
    pub class: Class,
    /// Real parts.
    pub real: Numeric,
    /// Imaginary parts.
    pub imaginary: Numeric,
}

impl Complex {
    fn dtype(&self) -> &'static str {
        match (&self.real, &self.imaginary) {
            (Numeric::Float32(_), Numeric::Float32(_)) => "complex64",
            _ => "complex128",
        }
    }
}

/// An array of characters, in UTF-16 code units as MATLAB counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub(super) shape: Vec<usize>,
    /// Column-major.
    pub(super) units: Vec<u16>,
}

impl Text {
    /// The extent of every axis, in code units.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// One string per row, the other axes read in MATLAB's order. Code units that are no
    /// character (half of a surrogate pair) become U+FFFD.
    pub fn rows(&self) -> Vec<String> {
        let rows = self.shape.first().copied().unwrap_or(0);
        if self.units.is_empty() {
            return Vec::new();
        }
        (0..rows)
            .map(|row| {
                let units: Vec<u16> = self.units.iter().skip(row).step_by(rows).copied().collect();
                String::from_utf16_lossy(&units)
            })
            .collect()
    }
}

/// A struct array: for each field one value per entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Struct {
    pub(super) shape: Vec<usize>,
    pub(super) fields: Vec<(String, Vec<Value>)>,
    pub(super) class_name: Option<String>,
}

impl Struct {
    /// The extent of every axis; `[1, 1]` for a plain struct.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The class, where it is an object.
    pub fn class_name(&self) -> Option<&str> {
        self.class_name.as_deref()
    }

    /// Names of the fields that were read, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// One value per entry, column by column.
    pub fn field(&self, name: &str) -> Option<&[Value]> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, values)| values.as_slice())
    }

    /// Moves a field of a plain struct out, so that nothing large is copied.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.fields.iter().position(|(n, v)| n == name && v.len() == 1)?;
        self.fields.remove(at).1.pop()
    }
}

/// A sparse matrix in compressed columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Sparse {
    pub(super) shape: [usize; 2],
    pub(super) rows: Vec<u32>,
    pub(super) starts: Vec<u32>,
    pub(super) values: Numeric,
    pub(super) imaginary: Option<Numeric>,
    pub(super) logical: bool,
}

impl Sparse {
    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The row of each stored value, from 0.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Where each column starts among the stored values; one more entry than columns.
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// The stored values (real parts).
    pub fn values(&self) -> &Numeric {
        &self.values
    }

    /// Imaginary parts, where complex.
    pub fn imaginary(&self) -> Option<&Numeric> {
        self.imaginary.as_ref()
    }

    /// Whether the values are truth values.
    pub fn is_logical(&self) -> bool {
        self.logical
    }
}

/// A value that is listed and checked for damage, but not interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opaque {
    pub(super) class: Class,
    pub(super) shape: Vec<usize>,
    pub(super) class_name: String,
}

impl Opaque {
    /// The class in MATLAB, such as `datetime`; `function_handle` for a function.
    pub fn class_name(&self) -> &str {
        &self.class_name
    }
}
