//! The directory of a zip archive (PKWARE APPNOTE 6.3), as far as numpy uses the format.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::Entry;
use crate::source::{Broken, Extent, Outcome, Packing};

const END: &[u8; 4] = b"PK\x05\x06";
const END_64: &[u8; 4] = b"PK\x06\x06";
const LOCATOR_64: &[u8; 4] = b"PK\x06\x07";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const LOCAL: &[u8; 4] = b"PK\x03\x04";
/// The end record without its comment, and the longest comment.
const END_SIZE: usize = 22;
const MAX_COMMENT: u64 = 65_535;
/// An extra field with sizes that do not fit 32 bits.
const EXTRA_64: u16 = 1;

fn broken(at: u64, what: impl Into<String>) -> Broken {
    Broken::Bytes { at, what: what.into() }
}

/// Little-endian numbers of a record, `None` beyond its end.
struct Record<'a>(&'a [u8]);

impl Record<'_> {
    fn u16(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.0.get(at..at + 2)?.try_into().ok()?))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.0.get(at..at + 4)?.try_into().ok()?))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.0.get(at..at + 8)?.try_into().ok()?))
    }
}

/// The arrays of an archive: members whose name ends in `.npy`, by the name before it.
pub(super) fn entries(path: &Path) -> Outcome<Vec<Entry>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let (start, size) = directory(&mut file, length)?;
    let mut directory = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    (&mut file).take(size).read_to_end(&mut directory)?;
    let mut rest = directory.as_slice();
    let mut entries = Vec::new();
    while rest.starts_with(CENTRAL) {
        let at = start + (directory.len() - rest.len()) as u64;
        let member = Member::parse(rest)
            .ok_or_else(|| broken(at, "an entry of the archive's directory is cut short"))?;
        rest = &rest[member.record..];
        if let Some(name) = member.name.strip_suffix(".npy") {
            entries.push(member.locate(&mut file, length, name)?);
        }
    }
    if !rest.is_empty() {
        return Err(broken(start, "the archive's directory is damaged"));
    }
    Ok(entries)
}

/// Where the central directory starts and how long it is.
fn directory(file: &mut File, length: u64) -> Outcome<(u64, u64)> {
    let from = length.saturating_sub(END_SIZE as u64 + MAX_COMMENT);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    (&mut *file).take(length - from).read_to_end(&mut tail)?;
    let end = (0..tail.len().saturating_sub(END_SIZE - 1))
        .rev()
        .find(|&at| tail[at..].starts_with(END))
        .ok_or_else(|| broken(length, "the archive's directory is missing"))?;
    let record = Record(&tail[end..]);
    let short = || broken(from + end as u64, "the archive's end record is cut short");
    let mut size = u64::from(record.u32(12).ok_or_else(short)?);
    let mut start = u64::from(record.u32(16).ok_or_else(short)?);
    if size == u64::from(u32::MAX) || start == u64::from(u32::MAX) {
        (start, size) = directory_64(file, length, &tail[..end])?;
    }
    if start.checked_add(size).is_none_or(|end| end > length) {
        return Err(broken(
            from + end as u64,
            format!("a directory of {size} bytes at {start} is declared, the file has {length}"),
        ));
    }
    Ok((start, size))
}

/// The same from the records of large archives; `before` ends where the end record starts.
fn directory_64(file: &mut File, length: u64, before: &[u8]) -> Outcome<(u64, u64)> {
    let wrong = || broken(length, "the records of a large archive are damaged");
    let locator = before
        .len()
        .checked_sub(20)
        .map(|at| &before[at..])
        .filter(|locator| locator.starts_with(LOCATOR_64))
        .ok_or_else(wrong)?;
    let at = Record(locator).u64(8).filter(|&at| at < length).ok_or_else(wrong)?;
    let mut record = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(56).read_to_end(&mut record)?;
    if !record.starts_with(END_64) {
        return Err(wrong());
    }
    let record = Record(&record);
    record.u64(48).zip(record.u64(40)).ok_or_else(wrong)
}

/// An entry of the directory.
struct Member {
    name: String,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    length: u64,
    local: u64,
    /// Bytes of the record.
    record: usize,
}

impl Member {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let record = Record(bytes);
        let name_length = usize::from(record.u16(28)?);
        let extra_length = usize::from(record.u16(30)?);
        let comment_length = usize::from(record.u16(32)?);
        let name = bytes.get(46..46 + name_length)?;
        let extra = bytes.get(46 + name_length..46 + name_length + extra_length)?;
        let end = 46 + name_length + extra_length + comment_length;
        bytes.get(..end)?;
        let mut member = Self {
            name: String::from_utf8_lossy(name).into_owned(),
            flags: record.u16(8)?,
            method: record.u16(10)?,
            crc: record.u32(16)?,
            packed: record.u32(20)?.into(),
            length: record.u32(24)?.into(),
            local: record.u32(42)?.into(),
            record: end,
        };
        member.widen(extra)?;
        Some(member)
    }

    /// Replaces sizes that did not fit by those of the zip64 field, which holds only these.
    fn widen(&mut self, mut extra: &[u8]) -> Option<()> {
        while extra.len() >= 4 {
            let field = Record(extra);
            let (id, size) = (field.u16(0)?, usize::from(field.u16(2)?));
            let content = Record(extra.get(4..4 + size)?);
            if id == EXTRA_64 {
                let mut at = 0;
                for value in [&mut self.length, &mut self.packed, &mut self.local] {
                    if *value == u64::from(u32::MAX) {
                        *value = content.u64(at)?;
                        at += 8;
                    }
                }
            }
            extra = &extra[4 + size..];
        }
        Some(())
    }

    /// Finds the data through the local header, whose own fields may differ in length.
    fn locate(&self, file: &mut File, length: u64, name: &str) -> Outcome<Entry> {
        let wrong = |what: &str| broken(self.local, format!("array `{name}`: {what}"));
        if self.flags & 1 != 0 {
            return Err(Broken::Unsupported {
                what: format!("the encrypted array `{name}`"),
                remedy: "save it without a password".to_owned(),
            });
        }
        let packing = match self.method {
            0 => Packing::Stored,
            8 => Packing::Deflate,
            other => {
                return Err(Broken::Unsupported {
                    what: format!("array `{name}` in compression method {other}"),
                    remedy: "save it with `numpy.savez_compressed`".to_owned(),
                });
            }
        };
        if self.local >= length {
            return Err(wrong("its header is missing"));
        }
        let mut header = Vec::new();
        file.seek(SeekFrom::Start(self.local))?;
        file.take(30).read_to_end(&mut header)?;
        let record = Record(&header);
        let offset = record
            .u16(26)
            .zip(record.u16(28))
            .filter(|_| header.starts_with(LOCAL))
            .map(|(name, extra)| self.local + 30 + u64::from(name) + u64::from(extra))
            .ok_or_else(|| wrong("its header is missing"))?;
        if offset.checked_add(self.packed).is_none_or(|end| end > length) {
            return Err(wrong("it reaches beyond the end of the file"));
        }
        if packing == Packing::Stored && self.packed != self.length {
            return Err(wrong("its sizes disagree"));
        }
        Ok(Entry {
            name: name.to_owned(),
            extent: Extent { offset, length: self.packed, packing },
            length: self.length,
            crc: Some(self.crc),
        })
    }
}
