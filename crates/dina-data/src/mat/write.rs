//! Writes MAT v5 files, every variable compressed.

use std::io::{Error, ErrorKind, Result, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use ndarray::{ArrayViewD, Axis, Ix2};

use super::v5::{
    FLAG_LOGICAL, MI_COMPRESSED, MI_INT8, MI_INT32, MI_MATRIX, MI_UINT8, MI_UINT32, MI_UTF16, class_number,
};
use super::value::Class;

/// Longer names are cut off by MATLAB.
const MAX_NAME: usize = 63;
/// Responses are mostly noise: higher levels gain a few percent and take many times as long, while
/// level 1 uses fixed codes, which expand noise.
const LEVEL: Compression = Compression::new(2);
/// Columns that are gathered at once from a row-major matrix: a cache line of `f32`.
const BLOCK: usize = 16;

/// A value to write. Arrays are borrowed and written from where they lie, in any memory order.
///
/// Shapes of fewer than two axes become MATLAB's: a number is 1 x 1, a vector of n is n x 1.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Item<'a> {
    /// Class `int8`.
    Int8(ArrayViewD<'a, i8>),
    /// Class `uint8`.
    UInt8(ArrayViewD<'a, u8>),
    /// Class `int16`.
    Int16(ArrayViewD<'a, i16>),
    /// Class `uint16`.
    UInt16(ArrayViewD<'a, u16>),
    /// Class `int32`.
    Int32(ArrayViewD<'a, i32>),
    /// Class `uint32`.
    UInt32(ArrayViewD<'a, u32>),
    /// Class `int64`.
    Int64(ArrayViewD<'a, i64>),
    /// Class `uint64`.
    UInt64(ArrayViewD<'a, u64>),
    /// Class `single`.
    Float32(ArrayViewD<'a, f32>),
    /// Class `double`.
    Float64(ArrayViewD<'a, f64>),
    /// Class `logical`.
    Logical(ArrayViewD<'a, bool>),
    /// A single number of class `double`.
    Number(f64),
    /// Class `char`, one row.
    Text(&'a str),
    /// Class `char`, one row for each string, padded with spaces to the longest.
    Rows(Vec<&'a str>),
    /// A plain struct.
    Struct(Vec<(&'a str, Item<'a>)>),
    /// A struct array of shape 1 x n: the values of all fields, entry after entry.
    StructArray {
        /// Names of the fields.
        fields: Vec<&'a str>,
        /// One value for each field.
        entries: Vec<Vec<Item<'a>>>,
    },
    /// A cell array, its values column by column.
    Cell {
        /// The extent of every axis.
        shape: Vec<usize>,
        /// As many values as the shape has places.
        values: Vec<Item<'a>>,
    },
}

/// Writes the variables to a file, whole or not at all.
///
/// Numbers go from where they lie into the compressor; only compressed bytes are kept until
/// their number, which precedes them in the file, is known.
///
/// # Errors
/// [`Error::Core`](crate::Error::Core) naming the path: the file cannot be written; a name is not
/// one that MATLAB allows (a letter, then letters, digits and underscores, 63 at most); an array
/// of structs or cells is not filled; or a variable takes 4 GiB or more, which the format cannot
/// express.
pub fn write_mat(path: impl AsRef<Path>, variables: &[(&str, Item<'_>)]) -> crate::Result<()> {
    dina_core::write_atomic(path, |out| {
        out.write_all(&file_header())?;
        for (name, item) in variables {
            check_name(name)?;
            let size = item.size(name)?;
            let mut packed = ZlibEncoder::new(Vec::new(), LEVEL);
            tag(&mut packed, MI_MATRIX, size)?;
            item.write(&mut packed, name)?;
            let packed = packed.finish()?;
            tag(out, MI_COMPRESSED, packed.len() as u64)?;
            out.write_all(&packed)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// 116 bytes of text, no subsystem, version, and the mark of little-endian order.
fn file_header() -> [u8; 128] {
    let mut header = [b' '; 128];
    let text = concat!("MATLAB 5.0 MAT-file, written by dina-data ", env!("CARGO_PKG_VERSION"));
    header[..text.len()].copy_from_slice(text.as_bytes());
    header[116..124].fill(0);
    header[124..].copy_from_slice(&[0x00, 0x01, b'I', b'M']);
    header
}

fn refuse<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidInput, what.into()))
}

fn check_name(name: &str) -> Result<()> {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if letters && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.len() <= MAX_NAME {
        return Ok(());
    }
    refuse(format!(
        "`{name}` is not a MATLAB name: a letter, then letters, digits and underscores, {MAX_NAME} at most"
    ))
}

fn tag(out: &mut (impl Write + ?Sized), kind: u32, size: u64) -> Result<()> {
    let Ok(size) = u32::try_from(size) else {
        return refuse("a variable of 4 GiB or more does not fit MAT v5; write it as npz or in parts");
    };
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&size.to_le_bytes())
}

/// A data element, padded to eight bytes.
fn element(out: &mut impl Write, kind: u32, bytes: &[u8]) -> Result<()> {
    tag(out, kind, bytes.len() as u64)?;
    out.write_all(bytes)?;
    pad(out, bytes.len() as u64)
}

fn pad(out: &mut impl Write, written: u64) -> Result<()> {
    let missing = written.next_multiple_of(8) - written;
    out.write_all(&[0; 8][..missing as usize])
}

fn element_size(bytes: u64) -> u64 {
    8 + bytes.next_multiple_of(8)
}

fn product(shape: &[usize]) -> u64 {
    shape.iter().map(|&n| n as u64).product()
}

/// A number as the file holds it.
trait Plain: Copy {
    const KIND: u32;
    const SIZE: u64;

    fn put(self, out: &mut Vec<u8>);
}

macro_rules! plain {
    ($($kind:ty = $number:expr),*) => {
        $(impl Plain for $kind {
            const KIND: u32 = $number;
            const SIZE: u64 = size_of::<$kind>() as u64;

            #[inline]
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        })*

        impl Plain for bool {
            const KIND: u32 = MI_UINT8;
            const SIZE: u64 = 1;

            fn put(self, out: &mut Vec<u8>) {
                out.push(self.into());
            }
        }
    };
}

plain!(
    i8 = MI_INT8,
    u8 = MI_UINT8,
    i16 = 3,
    u16 = 4,
    i32 = MI_INT32,
    u32 = MI_UINT32,
    i64 = 12,
    u64 = 13,
    f32 = 7,
    f64 = 9
);

macro_rules! numeric_items {
    ($($variant:ident $kind:ty),*) => {
        $(impl<'a> From<ArrayViewD<'a, $kind>> for Item<'a> {
            fn from(array: ArrayViewD<'a, $kind>) -> Self {
                Self::$variant(array)
            }
        })*

        /// Runs `$body` with `$array` bound to the view of numbers, else `$other`.
        macro_rules! with_numbers {
            ($item:expr, $array:ident => $body:expr, $rest:ident => $other:expr) => {
                match $item {
                    $(Item::$variant($array) => $body,)*
                    $rest => $other,
                }
            };
        }
    };
}

numeric_items!(
    Int8 i8, UInt8 u8, Int16 i16, UInt16 u16, Int32 i32, UInt32 u32, Int64 i64, UInt64 u64,
    Float32 f32, Float64 f64, Logical bool
);

impl Item<'_> {
    fn class(&self) -> Class {
        match self {
            Self::Int8(_) => Class::Int8,
            Self::UInt8(_) | Self::Logical(_) => Class::UInt8,
            Self::Int16(_) => Class::Int16,
            Self::UInt16(_) => Class::UInt16,
            Self::Int32(_) => Class::Int32,
            Self::UInt32(_) => Class::UInt32,
            Self::Int64(_) => Class::Int64,
            Self::UInt64(_) => Class::UInt64,
            Self::Float32(_) => Class::Single,
            Self::Float64(_) | Self::Number(_) => Class::Double,
            Self::Text(_) | Self::Rows(_) => Class::Char,
            Self::Struct(_) | Self::StructArray { .. } => Class::Struct,
            Self::Cell { .. } => Class::Cell,
        }
    }

    fn shape(&self) -> Vec<usize> {
        let shape = with_numbers!(self, array => array.shape().to_vec(), other => match other {
            Self::Text("") => vec![0, 0],
            Self::Text(text) => vec![1, text.encode_utf16().count()],
            Self::Rows(rows) => vec![rows.len(), longest(rows)],
            Self::StructArray { entries, .. } => vec![1, entries.len()],
            Self::Cell { shape, .. } => shape.clone(),
            _ => vec![1, 1],
        });
        match shape.as_slice() {
            [] => vec![1, 1],
            [n] => vec![*n, 1],
            _ => shape,
        }
    }

    /// Bytes of the matrix element without its tag; also checks what is checked at all.
    fn size(&self, name: &str) -> Result<u64> {
        let shape = self.shape();
        if shape.iter().any(|&n| i32::try_from(n).is_err()) {
            return refuse(format!("`{name}` has shape {shape:?}, beyond what MAT v5 can express"));
        }
        let head = 16 + element_size(4 * shape.len() as u64) + element_size(name.len() as u64);
        let body = with_numbers!(self, array => number_bytes(array), other => match other {
            Self::Number(_) => element_size(8),
            Self::Text(_) | Self::Rows(_) => element_size(2 * product(&shape)),
            Self::Struct(fields) => {
                let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
                field_names_size(&names)? + nested_size(fields.iter().map(|(_, item)| item))?
            }
            Self::StructArray { fields, entries } => {
                if entries.iter().any(|entry| entry.len() != fields.len()) {
                    return refuse(format!("an entry of `{name}` does not fill {} fields", fields.len()));
                }
                field_names_size(fields)? + nested_size(entries.iter().flatten())?
            }
            Self::Cell { values, .. } => {
                if product(&shape) != values.len() as u64 {
                    return refuse(format!(
                        "cell array `{name}` of shape {shape:?} has {} values", values.len()
                    ));
                }
                nested_size(values)?
            }
            _ => 0,
        });
        Ok(head + body)
    }

    fn write(&self, out: &mut impl Write, name: &str) -> Result<()> {
        let logical = if matches!(self, Self::Logical(_)) { FLAG_LOGICAL } else { 0 };
        let flags = [(class_number(self.class()) | logical).to_le_bytes(), [0; 4]];
        element(out, MI_UINT32, flags.as_flattened())?;
        let shape = self.shape();
        let axes: Vec<[u8; 4]> = shape.iter().map(|&n| (n as u32).to_le_bytes()).collect();
        element(out, MI_INT32, axes.as_flattened())?;
        element(out, MI_INT8, name.as_bytes())?;
        with_numbers!(self, array => numbers(out, array), other => match other {
            Self::Number(number) => element(out, f64::KIND, &number.to_le_bytes()),
            Self::Text(text) => text_rows(out, &[*text]),
            Self::Rows(rows) => text_rows(out, rows),
            Self::Struct(fields) => {
                let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
                field_names(out, &names)?;
                nested(out, fields.iter().map(|(_, item)| item))
            }
            Self::StructArray { fields, entries } => {
                field_names(out, fields)?;
                nested(out, entries.iter().flatten())
            }
            Self::Cell { values, .. } => nested(out, values),
            _ => Ok(()),
        })
    }
}

fn nested<'i, 'a: 'i>(out: &mut impl Write, items: impl IntoIterator<Item = &'i Item<'a>>) -> Result<()> {
    // Recursion through `&mut dyn Write` would be a type without end.
    let mut out: &mut dyn Write = out;
    for item in items {
        tag(&mut out, MI_MATRIX, item.size("")?)?;
        item.write(&mut out, "")?;
    }
    Ok(())
}

fn nested_size<'i, 'a: 'i>(items: impl IntoIterator<Item = &'i Item<'a>>) -> Result<u64> {
    items.into_iter().try_fold(0, |sum, item| Ok(sum + 8 + item.size("")?))
}

/// Width of a field name with its closing zero.
fn field_width(names: &[&str]) -> usize {
    names.iter().map(|name| name.len()).max().unwrap_or(0) + 1
}

fn field_names_size(names: &[&str]) -> Result<u64> {
    names.iter().try_for_each(|name| check_name(name))?;
    Ok(8 + element_size((names.len() * field_width(names)) as u64))
}

fn field_names(out: &mut impl Write, names: &[&str]) -> Result<()> {
    let width = field_width(names);
    // The format demands a small data element here: size and type in one word.
    out.write_all(&(4 << 16 | MI_INT32).to_le_bytes())?;
    out.write_all(&(width as u32).to_le_bytes())?;
    let mut bytes = vec![0; names.len() * width];
    for (slot, name) in bytes.chunks_exact_mut(width).zip(names) {
        slot[..name.len()].copy_from_slice(name.as_bytes());
    }
    element(out, MI_INT8, &bytes)
}

fn longest(rows: &[&str]) -> usize {
    rows.iter().map(|row| row.encode_utf16().count()).max().unwrap_or(0)
}

fn text_rows(out: &mut impl Write, rows: &[&str]) -> Result<()> {
    let width = longest(rows);
    let mut units = vec![u16::from(b' '); rows.len() * width];
    for (row, text) in rows.iter().enumerate() {
        for (column, unit) in text.encode_utf16().enumerate() {
            units[column * rows.len() + row] = unit;
        }
    }
    let bytes: Vec<[u8; 2]> = units.iter().map(|unit| unit.to_le_bytes()).collect();
    element(out, MI_UTF16, bytes.as_flattened())
}

fn number_bytes<T: Plain>(array: &ArrayViewD<'_, T>) -> u64 {
    element_size(product(array.shape()).saturating_mul(T::SIZE))
}

/// An array column by column, a few columns at a time.
fn numbers<T: Plain>(out: &mut impl Write, array: &ArrayViewD<'_, T>) -> Result<()> {
    let bytes = array.len() as u64 * T::SIZE;
    tag(out, T::KIND, bytes)?;
    let mut buffer = Vec::new();
    match array.view().into_dimensionality::<Ix2>() {
        // Row-major: columns are gathered together, so that each cache line is fetched once.
        Ok(matrix) if matrix.ncols() > 1 && matrix.strides()[0] != 1 => {
            let rows = matrix.nrows();
            let mut block = Vec::new();
            for columns in matrix.axis_chunks_iter(Axis(1), BLOCK) {
                block.clear();
                for row in columns.rows() {
                    match row.as_slice() {
                        Some(row) => block.extend_from_slice(row),
                        None => block.extend(row.iter().copied()),
                    }
                }
                buffer.clear();
                for column in 0..columns.ncols() {
                    for row in 0..rows {
                        block[row * columns.ncols() + column].put(&mut buffer);
                    }
                }
                out.write_all(&buffer)?;
            }
        }
        _ => {
            for &value in array.t() {
                value.put(&mut buffer);
                if buffer.len() >= 1 << 16 {
                    out.write_all(&buffer)?;
                    buffer.clear();
                }
            }
            out.write_all(&buffer)?;
        }
    }
    pad(out, bytes)
}
