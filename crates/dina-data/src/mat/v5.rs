//! One variable of a MAT v5 file (MathWorks, *MAT-File Format*, "Level 5 MAT-Files").

use ndarray::{ArrayD, IxDyn, ShapeBuilder};

use super::value::{Class, Complex, Opaque, Sparse, Struct, Text, Value};
use super::{Selection, Variable};
use crate::Numeric;
use crate::numeric::{ByteOrder, DType, Element, with_element};
use crate::source::{Broken, MemoryOrder, Outcome, Source, Target, elements};

/// Table 1-1 of the format: types of data elements that are not plain numbers.
pub(super) const MI_INT8: u32 = 1;
pub(super) const MI_UINT8: u32 = 2;
pub(super) const MI_UINT16: u32 = 4;
pub(super) const MI_INT32: u32 = 5;
pub(super) const MI_UINT32: u32 = 6;
pub(super) const MI_MATRIX: u32 = 14;
pub(super) const MI_COMPRESSED: u32 = 15;
pub(super) const MI_UTF8: u32 = 16;
pub(super) const MI_UTF16: u32 = 17;
pub(super) const MI_UTF32: u32 = 18;

/// Byte 2 of the array flags.
pub(super) const FLAG_LOGICAL: u32 = 0x0200;
const FLAG_COMPLEX: u32 = 0x0800;

/// Deeper nesting than this has no use and would exhaust the stack.
const MAX_DEPTH: usize = 64;
/// Values in one variable: 200 fields for each of 20,000 neurons. Every value costs about 200
/// bytes of memory and, as an empty one, only eight bytes of a file, hence a limit.
const MAX_VALUES: usize = 4 << 20;
/// MATLAB itself stops far earlier.
const MAX_AXES: u64 = 32;
/// MATLAB's names have at most 63 characters; other writers are more generous.
const MAX_NAME: u64 = 4096;

/// The type of plain numbers.
pub(super) fn number(kind: u32) -> Option<DType> {
    Some(match kind {
        MI_INT8 => DType::Int8,
        MI_UINT8 => DType::UInt8,
        3 => DType::Int16,
        MI_UINT16 => DType::UInt16,
        MI_INT32 => DType::Int32,
        MI_UINT32 => DType::UInt32,
        7 => DType::Float32,
        9 => DType::Float64,
        12 => DType::Int64,
        13 => DType::UInt64,
        _ => return None,
    })
}

/// Table 1-3: array types. Order matters: the number is the position, counted from 1.
const CLASSES: [Class; 17] = [
    Class::Cell,
    Class::Struct,
    Class::Object,
    Class::Char,
    Class::Sparse,
    Class::Double,
    Class::Single,
    Class::Int8,
    Class::UInt8,
    Class::Int16,
    Class::UInt16,
    Class::Int32,
    Class::UInt32,
    Class::Int64,
    Class::UInt64,
    Class::Function,
    Class::Opaque,
];

/// The number of a class in the array flags.
pub(super) fn class_number(class: Class) -> u32 {
    CLASSES.iter().position(|&c| c == class).map_or(0, |at| at as u32 + 1)
}

/// A tag: type and size of the data that follow.
pub(super) struct Tag {
    pub kind: u32,
    pub size: u64,
    /// Where the next element starts.
    pub next: u64,
}

/// Flags, dimensions and name: what is known of a value before its data.
struct Header {
    class: Class,
    logical: bool,
    complex: bool,
    shape: Vec<usize>,
    name: String,
}

/// The parser: where it is, for selection and messages.
pub(super) struct Parser<'s, 'r> {
    pub source: &'s mut Source<'r>,
    order: ByteOrder,
    selection: &'s Selection,
    /// References to MATLAB objects that were met; see the module `opaque`.
    pub references: Vec<Vec<u32>>,
    /// Content of the subsystem's object store, where that is what is read.
    pub store: Option<Value>,
    /// The variable or field being read.
    pub path: String,
    depth: usize,
    values: usize,
}

impl<'s, 'r> Parser<'s, 'r> {
    pub fn new(source: &'s mut Source<'r>, order: ByteOrder, selection: &'s Selection) -> Self {
        Self {
            source,
            order,
            selection,
            references: Vec::new(),
            store: None,
            path: String::new(),
            depth: 0,
            values: 0,
        }
    }

    fn u32(&self, bytes: [u8; 4]) -> u32 {
        match self.order {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }
    }

    /// The next tag, of an element that ends by `end`.
    pub fn tag(&mut self, end: u64) -> Outcome<Tag> {
        let start = self.source.at();
        if end.saturating_sub(start) < 8 {
            return Err(self.source.broken("an element is missing"));
        }
        let word = self.source.array()?;
        let word = self.u32(word);
        let (kind, size, next) = if word >> 16 == 0 {
            let size = self.source.array()?;
            let size = u64::from(self.u32(size));
            // Matrices are padded inside, compressed elements not at all; a missing padding at
            // the very end does no harm.
            let padded = match word {
                MI_MATRIX | MI_COMPRESSED => size,
                _ => size.next_multiple_of(8),
            };
            if start + 8 + size > end {
                return Err(self
                    .source
                    .broken(format!("an element declares {size} bytes where {} are left", end - start - 8)));
            }
            (word, size, (start + 8 + padded).min(end))
        } else {
            // A small data element: size and type share a word, the data are in the next.
            let size = u64::from(word >> 16);
            if size > 4 {
                return Err(self.source.broken(format!("a small element declares {size} bytes")));
            }
            (word & 0xffff, size, start + 8)
        };
        Ok(Tag { kind, size, next })
    }

    /// An element of 32-bit integers, whichever sign its tag claims.
    fn integers(&mut self, end: u64, what: &str, most: u64) -> Outcome<Vec<u32>> {
        let tag = self.tag(end)?;
        if !matches!(tag.kind, MI_INT32 | MI_UINT32) || tag.size % 4 != 0 || tag.size / 4 > most {
            return Err(self.source.broken(format!(
                "{what} expected, found an element of type {} and {} bytes",
                tag.kind, tag.size
            )));
        }
        let bytes = self.source.bytes(tag.size as usize)?;
        let mut numbers = Vec::with_capacity(bytes.len() / 4);
        u32::decode(&bytes, self.order, |v| numbers.push(v));
        self.source.skip_to(tag.next)?;
        Ok(numbers)
    }

    /// An element of ASCII or UTF-8 bytes, padded with zeros or not.
    fn bytes(&mut self, end: u64, what: &str, most: u64) -> Outcome<Vec<u8>> {
        let tag = self.tag(end)?;
        if !matches!(tag.kind, MI_INT8 | MI_UINT8 | MI_UTF8) || tag.size > most {
            return Err(self.source.broken(format!(
                "{what} expected, found an element of type {} and {} bytes",
                tag.kind, tag.size
            )));
        }
        let bytes = self.source.bytes(tag.size as usize)?;
        self.source.skip_to(tag.next)?;
        Ok(bytes)
    }

    fn name(&mut self, end: u64, what: &str) -> Outcome<String> {
        let bytes = self.bytes(end, what, MAX_NAME)?;
        self.ascii(&bytes, what)
    }

    /// Names are ASCII: a name beyond it is a sign of damage.
    fn ascii(&self, bytes: &[u8], what: &str) -> Outcome<String> {
        let bytes = bytes.split(|&b| b == 0).next().unwrap_or_default();
        match std::str::from_utf8(bytes) {
            Ok(name) if name.is_ascii() => Ok(name.to_owned()),
            _ => Err(self.source.broken(format!("{what} is not ASCII text"))),
        }
    }

    /// The tag of a matrix at the top of the file or of a compressed stream.
    pub fn matrix(&mut self, end: u64) -> Outcome<Tag> {
        let tag = self.tag(end)?;
        if tag.kind != MI_MATRIX {
            return Err(self
                .source
                .broken(format!("a variable expected, found an element of type {}", tag.kind)));
        }
        Ok(tag)
    }

    fn header(&mut self, end: u64) -> Outcome<Header> {
        let flags = self.integers(end, "array flags", 2)?;
        let &[flags, _] = flags.as_slice() else {
            return Err(self.source.broken("array flags are too short"));
        };
        let class = (flags & 0xff)
            .checked_sub(1)
            .and_then(|n| CLASSES.get(n as usize))
            .copied()
            .ok_or_else(|| self.source.broken(format!("array class {} is unknown", flags & 0xff)))?;
        let (shape, name) = if class == Class::Opaque {
            // Objects have no dimensions of their own.
            (vec![1, 1], self.name(end, "a variable name")?)
        } else {
            let shape = self.integers(end, "dimensions", MAX_AXES)?;
            let shape = self.shape(&shape)?;
            (shape, self.name(end, "a variable name")?)
        };
        Ok(Header {
            class,
            logical: flags & FLAG_LOGICAL != 0,
            complex: flags & FLAG_COMPLEX != 0,
            shape,
            name,
        })
    }

    fn shape(&self, axes: &[u32]) -> Outcome<Vec<usize>> {
        if axes.is_empty() || axes.iter().any(|&n| n > i32::MAX as u32) {
            return Err(self.source.broken(format!("dimensions {axes:?} are impossible")));
        }
        let mut shape: Vec<usize> = axes.iter().map(|&n| n as usize).collect();
        if shape.len() == 1 {
            shape.push(1);
        }
        match elements(&shape) {
            Some(_) => Ok(shape),
            None => Err(self.source.broken(format!("dimensions {axes:?} are impossible"))),
        }
    }

    /// What is known of a variable without its data.
    pub fn variable(&mut self, end: u64) -> Outcome<Variable> {
        let header = self.header(end)?;
        let logical = header.logical && is_number(header.class);
        Ok(Variable {
            name: header.name,
            class: if logical { Class::Logical } else { header.class },
            shape: header.shape,
            complex: header.complex,
        })
    }

    /// A value whose matrix tag has been read; it ends at `end`.
    pub fn value(&mut self, end: u64) -> Outcome<Value> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Broken::Unsupported {
                what: format!("a variable of more than {MAX_VALUES} nested values"),
                remedy: "split it in MATLAB".to_owned(),
            });
        }
        if self.source.at() == end {
            // An element without content: MATLAB's [].
            let empty = ArrayD::<f64>::zeros(IxDyn(&[0, 0]));
            return Ok(Value::Numeric { class: Class::Double, values: empty.into() });
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.source.broken(format!("values are nested more than {MAX_DEPTH} deep")));
        }
        let header = self.header(end)?;
        if self.path.is_empty() {
            self.path.clone_from(&header.name);
        }
        let value = match header.class {
            Class::Cell => self.cells(header, end)?,
            Class::Struct => self.fields(header, None, end)?,
            Class::Object => {
                let class_name = self.name(end, "a class name")?;
                self.fields(header, Some(class_name), end)?
            }
            Class::Char => Value::Char(self.text(header, end)?),
            Class::Sparse => self.sparse(header, end)?,
            Class::Function => self.function(header, end)?,
            Class::Opaque => self.opaque(end)?,
            _ => self.numbers(header, end)?,
        };
        self.source.skip_to(end)?;
        self.depth -= 1;
        Ok(value)
    }

    /// A nested value, tag included.
    fn nested(&mut self, end: u64) -> Outcome<Value> {
        let tag = self.matrix(end)?;
        self.value(tag.next)
    }

    /// How many values the rest of an element can hold at most: a tag takes eight bytes.
    fn expect_values(&self, count: Option<usize>, end: u64) -> Outcome<usize> {
        let left = end - self.source.at();
        count
            .filter(|&n| n as u64 <= left / 8)
            .ok_or_else(|| self.source.broken("more values are declared than can follow"))
    }

    fn cells(&mut self, header: Header, end: u64) -> Outcome<Value> {
        let count = self.expect_values(elements(&header.shape), end)?;
        let path = self.path.len();
        self.path.push_str("{}");
        // Not reserved ahead: a small stream may promise many.
        let mut cells = Vec::new();
        for _ in 0..count {
            cells.push(self.nested(end)?);
        }
        self.path.truncate(path);
        ArrayD::from_shape_vec(IxDyn(&header.shape).f(), cells)
            .map(Value::Cell)
            .map_err(|_| self.impossible(&header.shape))
    }

    fn fields(&mut self, header: Header, class_name: Option<String>, end: u64) -> Outcome<Value> {
        let width = self.integers(end, "a field name length", 1)?;
        let width = width.first().map_or(0, |&n| n as usize);
        let names = self.bytes(end, "field names", end)?;
        if (width == 0 && !names.is_empty()) || (width > 0 && !names.len().is_multiple_of(width)) {
            return Err(self
                .source
                .broken(format!("{} bytes of field names, each of {width} bytes", names.len())));
        }
        let names = names
            .chunks_exact(width.max(1))
            .map(|name| self.ascii(name, "a field name"))
            .collect::<Outcome<Vec<String>>>()?;
        let entries = elements(&header.shape).unwrap_or(0);
        let count = match names.len() {
            // Without fields nothing follows, however many entries are declared.
            0 => 0,
            fields => {
                self.expect_values(entries.checked_mul(fields), end)?;
                entries
            }
        };
        let path = self.path.len();
        let mut wanted = Vec::with_capacity(names.len());
        for name in &names {
            self.enter(path, name);
            wanted.push(self.selection.wants(&self.path));
        }
        let mut values = vec![Vec::new(); names.len()];
        for _ in 0..count {
            for ((name, values), &wanted) in names.iter().zip(&mut values).zip(&wanted) {
                self.enter(path, name);
                let tag = self.matrix(end)?;
                if wanted {
                    values.push(self.value(tag.next)?);
                } else {
                    self.source.skip_to(tag.next)?;
                }
            }
        }
        self.path.truncate(path);
        let fields = names.into_iter().zip(values).zip(wanted);
        Ok(Value::Struct(Struct {
            shape: header.shape,
            fields: fields.filter_map(|(field, wanted)| wanted.then_some(field)).collect(),
            class_name,
        }))
    }

    fn enter(&mut self, parent: usize, field: &str) {
        self.path.truncate(parent);
        self.path.push('.');
        self.path.push_str(field);
    }

    fn impossible(&self, shape: &[usize]) -> Broken {
        self.source.broken(format!("shape {shape:?} is impossible"))
    }

    /// An element of plain numbers of exactly this shape.
    fn array(&mut self, shape: &[usize], target: Target<'_>, end: u64) -> Outcome<Numeric> {
        let (tag, stored) = self.number_tag(end)?;
        self.expect_bytes(shape, stored, tag.size)?;
        let array = self.source.numeric(stored, self.order, shape, MemoryOrder::ColumnMajor, target)?;
        self.source.skip_to(tag.next)?;
        Ok(array)
    }

    fn number_tag(&mut self, end: u64) -> Outcome<(Tag, DType)> {
        let tag = self.tag(end)?;
        let stored = number(tag.kind)
            .ok_or_else(|| self.source.broken(format!("numbers expected, found type {}", tag.kind)))?;
        Ok((tag, stored))
    }

    fn expect_bytes(&self, shape: &[usize], stored: DType, size: u64) -> Outcome<()> {
        let bytes = elements(shape).and_then(|n| n.checked_mul(stored.size()));
        if bytes.is_some_and(|bytes| bytes as u64 == size) {
            return Ok(());
        }
        Err(self
            .source
            .broken(format!("{size} bytes of {} do not make an array of shape {shape:?}", stored.name())))
    }

    fn numbers(&mut self, header: Header, end: u64) -> Outcome<Value> {
        let Header { class, shape, .. } = header;
        if header.logical && !header.complex {
            let (tag, stored) = self.number_tag(end)?;
            self.expect_bytes(&shape, stored, tag.size)?;
            let columns = MemoryOrder::ColumnMajor;
            let array = with_element!(stored, T => {
                self.source
                    .array_of::<T, bool>(self.order, &shape, columns, |v| v.wide() != 0.0)?
            });
            self.source.skip_to(tag.next)?;
            return Ok(Value::Logical(array));
        }
        let target = if header.complex { Target::AsStored } else { self.selection.target(&self.path) };
        let values = self.array(&shape, target, end)?;
        if !header.complex {
            return Ok(Value::Numeric { class, values });
        }
        let imaginary = self.array(&shape, Target::AsStored, end)?;
        Ok(Value::Complex(Box::new(Complex { class, real: values, imaginary })))
    }

    fn text(&mut self, header: Header, end: u64) -> Outcome<Text> {
        let mut shape = header.shape;
        let tag = self.tag(end)?;
        let count = elements(&shape).unwrap_or(0);
        let units: Vec<u16> = match tag.kind {
            MI_UTF8 => {
                let bytes = self.source.bytes(tag.size as usize)?;
                let text = String::from_utf8(bytes)
                    .map_err(|e| self.source.broken(format!("text is not UTF-8 ({e})")))?;
                text.encode_utf16().collect()
            }
            MI_UTF32 => {
                let bytes = self.source.bytes(tag.size as usize)?;
                let mut units = Vec::with_capacity(bytes.len() / 4);
                let mut wrong = None;
                u32::decode(&bytes, self.order, |v| match char::from_u32(v) {
                    Some(c) => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
                    None => wrong = Some(v),
                });
                if let Some(code) = wrong {
                    return Err(self.source.broken(format!("{code:#x} is no character")));
                }
                units
            }
            kind => {
                let stored = if kind == MI_UTF16 { Some(DType::UInt16) } else { number(kind) };
                let stored = stored
                    .filter(|t| t.size() <= 2)
                    .ok_or_else(|| self.source.broken(format!("text expected, found type {kind}")))?;
                let bytes = self.source.bytes(tag.size as usize)?;
                let mut units = Vec::with_capacity(bytes.len() / stored.size());
                match stored.size() {
                    1 => units.extend(bytes.iter().map(|&b| u16::from(b))),
                    _ => u16::decode(&bytes, self.order, |v| units.push(v)),
                }
                units
            }
        };
        if units.len() != count {
            // Some writers count characters, not code units: in a single row nothing is lost.
            match shape.as_mut_slice() {
                [1, columns] if matches!(tag.kind, MI_UTF8 | MI_UTF32) => *columns = units.len(),
                _ => {
                    return Err(self.source.broken(format!(
                        "{} characters do not make an array of shape {shape:?}",
                        units.len()
                    )));
                }
            }
        }
        self.source.skip_to(tag.next)?;
        Ok(Text { shape, units })
    }

    fn sparse(&mut self, header: Header, end: u64) -> Outcome<Value> {
        let &[rows, columns] = header.shape.as_slice() else {
            return Err(self.impossible(&header.shape));
        };
        let mut row_of = self.integers(end, "row indices", u64::MAX)?;
        let starts = self.integers(end, "column starts", u64::MAX)?;
        let last = starts.last().copied().unwrap_or(0) as usize;
        let ascending = starts.windows(2).all(|w| w[0] <= w[1]);
        // MATLAB may reserve more indices than it uses.
        let stored = last <= row_of.len();
        row_of.truncate(last);
        if starts.len() != columns + 1
            || starts.first() != Some(&0)
            || !ascending
            || !stored
            || row_of.iter().any(|&row| row as usize >= rows)
        {
            return Err(self
                .source
                .broken(format!("the indices are not those of a sparse {rows} x {columns} matrix")));
        }
        let values = self.stored_values(last, header.logical, end)?;
        let imaginary = if header.complex { Some(self.stored_values(last, false, end)?) } else { None };
        Ok(Value::Sparse(Box::new(Sparse {
            shape: [rows, columns],
            rows: row_of,
            starts,
            values,
            imaginary,
            logical: header.logical,
        })))
    }

    /// The first `count` numbers of an element that may hold more.
    fn stored_values(&mut self, count: usize, logical: bool, end: u64) -> Outcome<Numeric> {
        let (tag, mut stored) = self.number_tag(end)?;
        if logical && tag.size < count as u64 * 8 {
            // MATLAB writes one byte for each truth value, and tags them as doubles.
            stored = DType::UInt8;
        }
        if (count as u64).saturating_mul(stored.size() as u64) > tag.size {
            return Err(self
                .source
                .broken(format!("{count} values are declared, {} bytes follow", tag.size)));
        }
        let columns = MemoryOrder::ColumnMajor;
        let values = self.source.numeric(stored, self.order, &[count], columns, Target::AsStored)?;
        self.source.skip_to(tag.next)?;
        Ok(values)
    }

    /// A function handle: a struct that only MATLAB can make a function of.
    fn function(&mut self, header: Header, end: u64) -> Outcome<Value> {
        self.nested(end)?;
        Ok(Value::Opaque(Opaque {
            class: Class::Function,
            shape: header.shape,
            class_name: "function_handle".to_owned(),
        }))
    }

    /// An object of a class defined in MATLAB; undocumented, but stable since R2006.
    fn opaque(&mut self, end: u64) -> Outcome<Value> {
        let system = self.name(end, "the system of an object")?;
        let class_name = self.name(end, "a class name")?;
        let content = self.nested(end)?;
        let mut shape = vec![1, 1];
        if let ("MCOS", Value::Numeric { values: Numeric::UInt32(reference), .. }) =
            (system.as_str(), &content)
        {
            let reference: Vec<u32> = reference.iter().copied().collect();
            if let Some(dimensions) = super::opaque::dimensions(&reference) {
                shape = dimensions;
                self.references.push(reference);
            }
        } else if class_name == super::opaque::STORE {
            self.store = Some(content);
        }
        Ok(Value::Opaque(Opaque { class: Class::Opaque, shape, class_name }))
    }
}

/// Whether a class can carry the logical flag.
fn is_number(class: Class) -> bool {
    !matches!(
        class,
        Class::Cell | Class::Struct | Class::Object | Class::Char | Class::Function | Class::Opaque
    )
}
