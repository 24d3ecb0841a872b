//! One variable of a MAT v4 file (MathWorks, *MAT-File Format*, "Level 4 MAT-Files").

use super::value::{Class, Complex, Sparse, Text, Value};
use super::{Selection, Variable};
use crate::Numeric;
use crate::numeric::{ByteOrder, DType, Element};
use crate::source::{Broken, MemoryOrder, Outcome, Source, Target};

const HEADER: u64 = 20;

/// What precedes the data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub order: ByteOrder,
    stored: DType,
    kind: Kind,
    rows: usize,
    columns: usize,
    complex: bool,
    data: u64,
    pub end: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Full,
    Text,
    Sparse,
}

/// The digits of the type word: machine, reserved, precision, kind.
fn digits(word: u32) -> Option<[u32; 4]> {
    (word < 10_000).then_some([word / 1000, word / 100 % 10, word / 10 % 10, word % 10])
}

/// The type word in the byte order in which it makes sense.
fn type_word(bytes: [u8; 4]) -> Option<(ByteOrder, [u32; 4])> {
    let orders =
        [(ByteOrder::Little, u32::from_le_bytes(bytes)), (ByteOrder::Big, u32::from_be_bytes(bytes))];
    orders.into_iter().find_map(|(order, word)| {
        let digits = digits(word)?;
        let [machine, reserved, precision, kind] = digits;
        (machine <= 4 && reserved == 0 && precision <= 5 && kind <= 2).then_some((order, digits))
    })
}

/// Whether a file may be of level 4: its first word is a type word, and the name's length and
/// the sign of complexity are what they have to be.
pub(crate) fn recognises(head: &[u8]) -> bool {
    let words: Vec<[u8; 4]> = head.as_chunks::<4>().0.iter().copied().take(5).collect();
    let &[first, .., complex, length] = words.as_slice() else {
        return false;
    };
    if words.len() < 5 {
        return false;
    }
    type_word(first).is_some_and(|(order, _)| {
        let number = |bytes| match order {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        };
        number(complex) <= 1 && (1..=256).contains(&number(length))
    })
}

/// Reads what precedes the data; `left` is the length of the rest of the file.
pub(super) fn header(source: &mut Source<'_>, left: u64) -> Outcome<(Variable, Header)> {
    let Some((order, [machine, _, precision, kind])) = type_word(source.array()?) else {
        return Err(source.broken("a variable expected"));
    };
    if machine > 1 {
        return Err(Broken::Unsupported {
            what: "a level 4 file of a VAX or Cray".to_owned(),
            remedy: "save it again on a present machine".to_owned(),
        });
    }
    let stored = match precision {
        0 => DType::Float64,
        1 => DType::Float32,
        2 => DType::Int32,
        3 => DType::Int16,
        4 => DType::UInt16,
        _ => DType::UInt8,
    };
    let kind = match kind {
        0 => Kind::Full,
        1 => Kind::Text,
        _ => Kind::Sparse,
    };
    let mut words = Vec::with_capacity(4);
    u32::decode(&source.array::<16>()?, order, |v| words.push(v));
    let &[rows, columns, complex, length] = words.as_slice() else {
        return Err(source.broken("the header is too short"));
    };
    if complex > 1 || u64::from(length) > left.saturating_sub(HEADER) {
        return Err(
            source.broken(format!("the header declares a name of {length} bytes and complexity {complex}"))
        );
    }
    let name = source.bytes(length as usize)?;
    let name = name.split(|&b| b == 0).next().unwrap_or_default();
    let name = match std::str::from_utf8(name) {
        Ok(name) if name.is_ascii() && !name.is_empty() => name.to_owned(),
        _ => return Err(source.broken("a variable name is not ASCII text")),
    };
    let (rows, columns) = (rows as usize, columns as usize);
    let data = source.at();
    let bytes = rows
        .checked_mul(columns)
        .and_then(|n| n.checked_mul(stored.size()))
        .and_then(|n| n.checked_mul(complex as usize + 1))
        .map(|n| n as u64)
        .filter(|&n| n <= left - data)
        .ok_or_else(|| {
            source.broken(format!(
                "variable `{name}` declares {rows} x {columns} values of {}, {} bytes are left",
                stored.name(),
                left - data
            ))
        })?;
    let mut header =
        Header { order, stored, kind, rows, columns, complex: complex == 1, data, end: data + bytes };
    let (class, shape) = match kind {
        Kind::Full => (Class::Double, vec![rows, columns]),
        Kind::Text => (Class::Char, vec![rows, columns]),
        Kind::Sparse => (Class::Sparse, header.sparse_shape(source)?.to_vec()),
    };
    header.complex |= kind == Kind::Sparse && columns == 4;
    let variable = Variable { name, class, shape, complex: header.complex };
    Ok((variable, header))
}

impl Header {
    fn column(&self, source: &mut Source<'_>) -> Outcome<Numeric> {
        let shape = [self.rows];
        let columns = MemoryOrder::ColumnMajor;
        source.numeric(self.stored, self.order, &shape, columns, Target::AsStored)
    }

    /// A sparse matrix is a table of row, column and value; its last line holds the shape.
    fn sparse_shape(&self, source: &mut Source<'_>) -> Outcome<[usize; 2]> {
        if !matches!(self.columns, 3 | 4) || self.rows == 0 {
            return Err(source.broken("a sparse matrix needs three or four columns"));
        }
        let extent = |source: &mut Source<'_>| {
            let last = self.column(source)?.to_f64().last().copied().unwrap_or(0.0);
            index(last).ok_or_else(|| source.broken(format!("a sparse matrix of extent {last}")))
        };
        Ok([extent(source)? as usize, extent(source)? as usize])
    }
}

/// A whole number that fits an index.
fn index(value: f64) -> Option<u32> {
    (value >= 0.0 && value <= f64::from(i32::MAX) && value.fract() == 0.0).then_some(value as u32)
}

/// Reads the data.
pub(super) fn value(
    source: &mut Source<'_>,
    header: &Header,
    variable: &Variable,
    selection: &Selection,
) -> Outcome<Value> {
    source.skip_to(header.data)?;
    let shape = [header.rows, header.columns];
    let target = if header.complex { Target::AsStored } else { selection.target(&variable.name) };
    let columns = MemoryOrder::ColumnMajor;
    let mut array = |target| source.numeric(header.stored, header.order, &shape, columns, target);
    match header.kind {
        Kind::Full => {
            let values = array(target)?;
            let class = Class::Double;
            if !header.complex {
                return Ok(Value::Numeric { class, values });
            }
            Ok(Value::Complex(Box::new(Complex { class, real: values, imaginary: array(Target::AsStored)? })))
        }
        Kind::Text => {
            let codes = array(Target::AsStored)?.to_f64();
            let units: Option<Vec<u16>> =
                codes.into_iter().map(|code| index(code).and_then(|code| u16::try_from(code).ok())).collect();
            let units = units.ok_or_else(|| source.broken("text holds numbers beyond 65535"))?;
            Ok(Value::Char(Text { shape: shape.to_vec(), units }))
        }
        Kind::Sparse => sparse(source, header, &variable.shape),
    }
}

fn sparse(source: &mut Source<'_>, header: &Header, shape: &[usize]) -> Outcome<Value> {
    let &[rows, columns] = shape else {
        return Err(source.broken("a sparse matrix has two axes"));
    };
    let mut table = Vec::new();
    for _ in 0..header.columns {
        let mut column = header.column(source)?.to_f64();
        column.pop();
        table.push(column);
    }
    // The shape is two numbers in the file and costs memory for each column.
    if columns > (1 << 20) {
        return Err(Broken::Unsupported {
            what: format!("a sparse matrix of {columns} columns in a level 4 file"),
            remedy: "save it again with `save -v7`".to_owned(),
        });
    }
    let mut entries = Vec::with_capacity(header.rows);
    for (line, (&row, &column)) in table[0].iter().zip(&table[1]).enumerate() {
        let at = |value: f64, extent: usize| {
            index(value).filter(|&n| n >= 1 && n as usize <= extent).map(|n| n - 1).ok_or_else(|| {
                source.broken(format!("line {line} of a sparse matrix lies outside {rows} x {columns}"))
            })
        };
        entries.push((at(column, columns)?, at(row, rows)?, line));
    }
    entries.sort_unstable();
    let mut starts = vec![0_u32; columns + 1];
    for &(column, ..) in &entries {
        starts[column as usize + 1] += 1;
    }
    for column in 0..columns {
        starts[column + 1] += starts[column];
    }
    let pick = |axis: usize| -> Numeric {
        let values: Vec<f64> = entries.iter().map(|&(.., line)| table[axis][line]).collect();
        ndarray::Array1::from_vec(values).into_dyn().into()
    };
    Ok(Value::Sparse(Box::new(Sparse {
        shape: [rows, columns],
        rows: entries.iter().map(|&(_, row, _)| row).collect(),
        starts,
        values: pick(2),
        imaginary: (header.columns == 4).then(|| pick(3)),
        logical: false,
    })))
}
