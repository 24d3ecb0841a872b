//! The header of an array (NEP 1, `numpy.lib.format`).

use crate::numeric::{ByteOrder, DType};
use crate::source::{MemoryOrder, Outcome, Source};

/// Longer headers belong to records with very many fields, which are not read anyway.
const MAX_HEADER: u64 = 1 << 20;
/// numpy's own limit is 64.
const MAX_AXES: usize = 64;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub descr: String,
    pub memory: MemoryOrder,
    pub shape: Vec<usize>,
}

/// What elements are read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number(DType),
    Bool,
    /// UTF-32 of so many characters.
    Unicode(usize),
    /// So many bytes of text.
    Bytes(usize),
}

/// The element type that numpy describes so; `None` where it is not read.
pub(super) fn element(descr: &str) -> Option<(Kind, ByteOrder)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let order = match order {
        // `|` marks types of one byte, `=` the order of the machine that wrote it.
        "<" | "|" | "=" => ByteOrder::Little,
        ">" => ByteOrder::Big,
        _ => return None,
    };
    let text = |prefix| kind.strip_prefix(prefix).and_then(|length: &str| length.parse().ok());
    if let Some(length) = text('U') {
        return Some((Kind::Unicode(length), order));
    }
    if let Some(length) = text('S') {
        return Some((Kind::Bytes(length), order));
    }
    let kind = Kind::Number(match kind {
        "b1" => return Some((Kind::Bool, order)),
        "i1" => DType::Int8,
        "u1" => DType::UInt8,
        "i2" => DType::Int16,
        "u2" => DType::UInt16,
        "i4" => DType::Int32,
        "u4" => DType::UInt32,
        "i8" => DType::Int64,
        "u8" => DType::UInt64,
        "f4" => DType::Float32,
        "f8" => DType::Float64,
        _ => return None,
    });
    Some((kind, order))
}

/// Reads the header of an array of `length` bytes in all.
pub(super) fn header(source: &mut Source<'_>, length: u64) -> Outcome<Header> {
    if length < 10 || source.array()? != *b"\x93NUMPY" {
        return Err(source.broken("this is not an array that numpy wrote"));
    }
    let [major, _] = source.array()?;
    let size = match major {
        1 => u64::from(u16::from_le_bytes(source.array()?)),
        2 | 3 => u64::from(u32::from_le_bytes(source.array()?)),
        _ => return Err(source.broken(format!("version {major} of the header is unknown"))),
    };
    if size > MAX_HEADER || size > length.saturating_sub(source.at()) {
        return Err(source.broken(format!("a header of {size} bytes is declared")));
    }
    let text = source.bytes(size as usize)?;
    let header = std::str::from_utf8(&text).ok().and_then(parse);
    header.ok_or_else(|| {
        let shown = String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned();
        source.broken(format!("the header {shown:?} is not understood"))
    })
}

/// Parses the Python dictionary of a header: three known keys in any order.
fn parse(text: &str) -> Option<Header> {
    let mut text = Literal(text.trim());
    text.expect("{")?;
    let (mut descr, mut memory, mut shape) = (None, None, None);
    while text.expect("}").is_none() {
        let key = text.string()?;
        text.expect(":")?;
        match key {
            "descr" => descr = Some(text.descr()?),
            "fortran_order" => {
                memory = Some(if text.expect("True").is_some() {
                    MemoryOrder::ColumnMajor
                } else {
                    text.expect("False")?;
                    MemoryOrder::RowMajor
                });
            }
            "shape" => shape = Some(text.shape()?),
            _ => return None,
        }
        if text.expect(",").is_none() {
            text.expect("}")?;
            break;
        }
    }
    Some(Header { descr: descr?, memory: memory?, shape: shape? })
}

/// The rest of a Python literal.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    /// Goes past a token, where it is next.
    fn expect(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        self.0 = self.0.trim_start();
        let quote = self.0.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, rest) = self.0[1..].split_once(quote)?;
        self.0 = rest;
        Some(text)
    }

    /// A type: a string, or a list for records, which is kept as it stands.
    fn descr(&mut self) -> Option<String> {
        self.0 = self.0.trim_start();
        if !self.0.starts_with('[') {
            return self.string().map(str::to_owned);
        }
        let mut depth = 0_usize;
        let end = self.0.char_indices().find_map(|(at, c)| {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(at + 1)
        })?;
        let (record, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(record.to_owned())
    }

    fn shape(&mut self) -> Option<Vec<usize>> {
        self.expect("(")?;
        let mut shape = Vec::new();
        while self.expect(")").is_none() {
            self.0 = self.0.trim_start();
            let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = self.0.split_at(digits);
            shape.push(number.parse().ok()?);
            // Python 2 marked long integers.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if shape.len() > MAX_AXES {
                return None;
            }
            if self.expect(",").is_none() {
                self.expect(")")?;
                break;
            }
        }
        Some(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_in_any_spelling() {
        let expected = Header { descr: "<f4".to_owned(), memory: MemoryOrder::RowMajor, shape: vec![3, 20] };
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 20), }   \n",
            "{\"shape\":(3L,20L),\"descr\":\"<f4\",\"fortran_order\":False}",
        ] {
            assert_eq!(parse(text).as_ref(), Some(&expected), "{text}");
        }
        let scalar = parse("{'descr': '|b1', 'fortran_order': True, 'shape': ()}").unwrap();
        assert_eq!((scalar.shape, scalar.memory), (vec![], MemoryOrder::ColumnMajor));
        let record =
            "{'descr': [('a', '<f4'), ('b', [('c', '|S3')])], 'fortran_order': False, 'shape': (1,), }";
        assert_eq!(parse(record).unwrap().descr, "[('a', '<f4'), ('b', [('c', '|S3')])]");
    }

    #[test]
    fn other_headers_are_refused() {
        for text in [
            "",
            "{",
            "{'descr'",
            "{'descr': '<f4'}",
            "{'descr': '<f4', 'fortran_order': 1, 'shape': (3,)}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (-3,)}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (99999999999999999999999,)}",
            "{'descr': ], 'fortran_order': True, 'shape': (3,)}",
            "{'descr': '\u{e9}', 'x': 3}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(element("\u{e9}4"), None);
        assert_eq!(element(""), None);
    }
}
