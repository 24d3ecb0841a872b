//! References to objects of classes defined in MATLAB.
//!
//! Such a variable holds only a reference; the object itself lies in the file's *subsystem*, an
//! unnamed variable whose layout MathWorks does not document. We do not interpret objects, but a
//! reference to an object that the subsystem does not hold is damage, and is reported.
//! Layout as established by the readers of other projects (MAT.jl, mat-io).

use super::value::Value;
use crate::Numeric;
use crate::source::elements;

const MAGIC: u32 = 0xdd00_0000;
/// The class of the object store in the subsystem.
pub(super) const STORE: &str = "FileWrapper__";
/// Bytes of one entry of the object table.
const ENTRY: usize = 24;

/// The dimensions of the referenced object array; `None` where this is not such a reference.
///
/// A reference is: magic, number of axes, the axes, one object number per element, the class.
pub(super) fn dimensions(reference: &[u32]) -> Option<Vec<usize>> {
    let (&[magic, axes], rest) = reference.split_first_chunk()?;
    let shape: Vec<usize> = rest.get(..axes as usize)?.iter().map(|&n| n as usize).collect();
    let objects = rest.len().checked_sub(axes as usize + 1)?;
    (magic == MAGIC && axes >= 2 && elements(&shape) == Some(objects)).then_some(shape)
}

/// Checks references against the number of objects in the subsystem.
pub(super) fn check(references: &[Vec<u32>], objects: usize) -> Result<(), String> {
    for reference in references {
        let axes = reference.get(1).map_or(0, |&n| n as usize);
        let Some((_, numbers)) = reference.get(axes + 2..).and_then(<[u32]>::split_last) else {
            continue;
        };
        if let Some(wrong) = numbers.iter().find(|&&n| n == 0 || n as usize > objects) {
            return Err(format!("it refers to object {wrong}, but the file holds {objects} objects"));
        }
    }
    Ok(())
}

/// The number of objects in the subsystem's table; `None` where its layout is another.
///
/// The subsystem is a struct with a field `MCOS`: a cell array whose first cell is a byte array.
/// Its words 2 to 9 are the borders of tables; the third and fourth enclose the object table,
/// whose first entry is empty.
pub(super) fn objects(store: &Value) -> Option<usize> {
    let Value::Cell(cells) = store else {
        return None;
    };
    let Some(Value::Numeric { values: Numeric::UInt8(bytes), .. }) = cells.first() else {
        return None;
    };
    let word = |at: usize| -> Option<usize> {
        let byte = |i: usize| bytes.iter().nth(4 * at + i).copied();
        let word = [byte(0)?, byte(1)?, byte(2)?, byte(3)?];
        Some(u32::from_le_bytes(word) as usize)
    };
    let (start, end) = (word(4)?, word(5)?);
    let table = end.checked_sub(start)?;
    (end <= bytes.len()).then_some((table / ENTRY).saturating_sub(1))
}
