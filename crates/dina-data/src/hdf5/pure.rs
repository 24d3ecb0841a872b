//! [`Container`] through the crate `rust-hdf5`, which needs no C.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rust_hdf5::format::messages::datatype::{CompoundMember, DatatypeMessage, IeeeFormat, ReferenceKind};
use rust_hdf5::format::messages::filter::{FILTER_FLETCHER32, FILTER_SHUFFLE};
use rust_hdf5::{ByteOrder, H5Dataset, H5File, Hdf5Error, LinkClass, StorageLayout};

use super::container::{Container, Fault, Kind, Layout, Outcome};
use super::header;
use crate::numeric::{Element, with_element};
use crate::source::{MAX_EXPANSION, elements};
use crate::{DType, Numeric};

/// Filters that a dataset passes through when it is read; no writer stacks more.
const MOST_FILTERS: usize = 8;
/// What a dataset may declare that was never written, and therefore takes no place in the file.
const UNWRITTEN: u64 = 1 << 20;
/// Every object of variable length takes at least this much of a file.
const LEAST_TEXT: u64 = 8;

pub(super) struct Reader {
    path: PathBuf,
    length: u64,
    file: H5File,
    datasets: Vec<String>,
    groups: Vec<String>,
    known: HashSet<String>,
}

impl Reader {
    pub fn open(path: &Path) -> Outcome<Self> {
        let length = std::fs::metadata(path).map_err(Fault::Io)?.len();
        // Reading needs no lock, and some network file systems have none.
        let file = guarded(|| H5File::options().no_locking().open(path))?;
        let datasets = file.dataset_names();
        let known = datasets.iter().cloned().collect();
        let mut reader = Self { path: path.to_path_buf(), length, file, datasets, groups: Vec::new(), known };
        reader.groups = reader.walk()?;
        Ok(reader)
    }

    /// The groups, parents before children.
    fn walk(&self) -> Outcome<Vec<String>> {
        let mut found = Vec::new();
        let mut pending = vec![String::new()];
        while let Some(parent) = pending.pop() {
            let names = guarded(|| self.group(&parent)?.group_names())?;
            for name in names.into_iter().rev() {
                let path = join(&parent, &name);
                pending.push(path.clone());
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    fn group(&self, path: &str) -> rust_hdf5::Result<rust_hdf5::H5Group> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(self.file.root_group(), |group, name| group.group(name))
    }

    /// Opens a dataset of this file; never one behind a link into another.
    fn dataset(&self, path: &str) -> Outcome<H5Dataset> {
        if !self.known.contains(path) {
            return Err(Fault::Missing);
        }
        guarded(|| self.file.dataset(path))
    }

    /// The most bytes that a dataset can hold.
    fn capacity(&self, dataset: &H5Dataset) -> Outcome<u64> {
        let filters = guarded(|| dataset.filters())?;
        if filters.len() > MOST_FILTERS {
            return Err(Fault::Damaged(format!("{} filters are declared", filters.len())));
        }
        let expanding =
            filters.iter().filter(|filter| !matches!(filter.id, FILTER_SHUFFLE | FILTER_FLETCHER32)).count();
        // One compression; stacking them gains nothing, so that no file needs the square of it.
        let factor = if expanding > 0 { MAX_EXPANSION } else { 1 };
        Ok(self.length.saturating_mul(factor).max(UNWRITTEN))
    }
}

impl Container for Reader {
    fn datasets(&self) -> &[String] {
        &self.datasets
    }

    fn groups(&self) -> &[String] {
        &self.groups
    }

    fn resolve(&self, path: &str) -> Option<String> {
        if self.known.contains(path) {
            return None;
        }
        let mut end = path.len();
        loop {
            let (parent, name) = path[..end].rsplit_once('/').unwrap_or(("", &path[..end]));
            let class = guarded(|| self.group(parent)?.link_class(name));
            if let Ok(LinkClass::Soft { path: target }) = class {
                let target = match target.strip_prefix('/') {
                    Some(absolute) => absolute.to_owned(),
                    None => join(parent, &target),
                };
                return Some(format!("{target}{}", &path[end..]));
            }
            if parent.is_empty() {
                return None;
            }
            end = parent.len();
        }
    }

    fn layout(&self, path: &str) -> Outcome<Layout> {
        let dataset = self.dataset(path)?;
        let elsewhere = guarded(|| dataset.storage_layout())? == StorageLayout::Virtual
            || !guarded(|| dataset.external_files())?.is_empty();
        if elsewhere {
            return Err(Fault::Unsupported {
                what: "a dataset whose content lies in other files".to_owned(),
                remedy: "copy it into this file, with h5py or h5repack".to_owned(),
            });
        }
        let mut shape = dataset.shape();
        if guarded(|| Ok(dataset.is_null()))? {
            shape = vec![0];
        }
        let datatype = guarded(|| dataset.datatype())?;
        let size = u64::from(datatype.element_size());
        let capacity = self.capacity(&dataset)?;
        let fits = |shape: &[usize]| {
            elements(shape).and_then(|n| (n as u64).checked_mul(size)).is_some_and(|n| n <= capacity)
        };
        let chunk = guarded(|| Ok(dataset.chunk_dims()))?;
        if !fits(&shape) || chunk.as_ref().is_some_and(|chunk| !fits(chunk)) {
            let chunk = chunk.map_or(String::new(), |chunk| format!(" in chunks of {chunk:?}"));
            return Err(Fault::Damaged(format!(
                "it declares the shape {shape:?}{chunk} with {size} bytes an element, which a file of {} \
                 bytes cannot hold",
                self.length
            )));
        }
        if chunk.as_ref().is_some_and(|chunk| chunk.len() != shape.len() || chunk.contains(&0)) {
            return Err(Fault::Damaged(format!("chunks of {chunk:?} do not tile the shape {shape:?}")));
        }
        let (kind, dtype) = kind(&datatype);
        if kind == Kind::Text
            && elements(&shape).is_none_or(|n| n as u64 > (self.length / LEAST_TEXT).max(64))
        {
            return Err(Fault::Damaged(format!(
                "it declares {shape:?} texts, which a file of {} bytes cannot hold",
                self.length
            )));
        }
        Ok(Layout { shape, kind, dtype, chunk })
    }

    fn block(&self, path: &str, stored: DType, block: &[Range<usize>]) -> Outcome<Numeric> {
        let dataset = self.dataset(path)?;
        let starts: Vec<usize> = block.iter().map(|r| r.start).collect();
        let counts: Vec<usize> = block.iter().map(ExactSizeIterator::len).collect();
        with_element!(stored, T => {
            let values: Vec<T> = guarded(|| match block {
                [] => dataset.read_raw::<T>(),
                _ => dataset.read_slice::<T>(&starts, &counts),
            })?;
            Ok(T::numeric(ndarray::Array1::from_vec(values).into_dyn()))
        })
    }

    fn half(&self, path: &str) -> Outcome<Vec<f32>> {
        let dataset = self.dataset(path)?;
        guarded(|| dataset.read_numeric_as::<f32>())
    }

    fn complex(&self, path: &str, stored: DType) -> Outcome<[Numeric; 2]> {
        let dataset = self.dataset(path)?;
        let datatype = guarded(|| dataset.datatype())?;
        let DatatypeMessage::Compound { size, members } = &datatype else {
            return Err(Fault::Damaged(format!("complex numbers expected, found {datatype}")));
        };
        let bytes = guarded(|| dataset.read_raw_bytes())?;
        let part = |member: Option<&CompoundMember>| {
            let at = member.map_or(0, |m| m.offset as usize);
            let order = match member.map(|m| &m.datatype) {
                Some(DatatypeMessage::FloatingPoint { byte_order: ByteOrder::BigEndian, .. }) => {
                    crate::numeric::ByteOrder::Big
                }
                _ => crate::numeric::ByteOrder::Little,
            };
            with_element!(stored, T => {
                let mut values: Vec<T> = Vec::with_capacity(bytes.len() / (*size as usize).max(1));
                for element in bytes.chunks_exact((*size as usize).max(1)) {
                    let part = element.get(at..).unwrap_or_default();
                    T::decode(&part[..part.len().min(T::SIZE)], order, |v| values.push(v));
                }
                T::numeric(ndarray::Array1::from_vec(values).into_dyn())
            })
        };
        Ok([part(members.first()), part(members.get(1))])
    }

    fn text(&self, path: &str) -> Outcome<Vec<String>> {
        let dataset = self.dataset(path)?;
        guarded(|| dataset.read_strings_lossy())
    }

    fn references(&self, path: &str) -> Outcome<Vec<Option<String>>> {
        let dataset = self.dataset(path)?;
        let datatype = guarded(|| dataset.datatype())?;
        // The newer kinds may name other files, which reading them would open.
        if !matches!(datatype, DatatypeMessage::Reference { kind: ReferenceKind::Object1, .. }) {
            return Err(Fault::Unsupported {
                what: "a reference to a region, an attribute or another file".to_owned(),
                remedy: "refer to whole objects of the same file".to_owned(),
            });
        }
        let references = guarded(|| dataset.read_references())?;
        references
            .iter()
            .map(|reference| match (reference, reference.path()) {
                (rust_hdf5::Reference::Null, _) => Ok(None),
                (_, Some(path)) => Ok(Some(path.trim_start_matches('/').to_owned())),
                (_, None) => Err(Fault::Damaged("it refers to an object that is not there".to_owned())),
            })
            .collect()
    }

    fn text_attribute(&self, path: &str, name: &str) -> Outcome<Option<String>> {
        if self.known.contains(path) {
            let dataset = self.dataset(path)?;
            if !guarded(|| dataset.attr_names())?.iter().any(|n| n == name) {
                return Ok(None);
            }
            let attribute = guarded(|| dataset.attr(name))?;
            let text = matches!(
                guarded(|| attribute.datatype())?,
                DatatypeMessage::FixedString { .. } | DatatypeMessage::VarLenString { .. }
            );
            return if text { guarded(|| attribute.read_string()).map(Some) } else { Ok(None) };
        }
        let Ok(group) = guarded(|| self.group(path)) else {
            return Ok(None);
        };
        if !guarded(|| group.attr_names())?.iter().any(|n| n == name) {
            return Ok(None);
        }
        guarded(|| group.attr_string(name)).map(Some)
    }

    fn number_attribute(&self, path: &str, name: &str) -> Outcome<Option<f64>> {
        if self.known.contains(path) {
            let dataset = self.dataset(path)?;
            if !guarded(|| dataset.attr_names())?.iter().any(|n| n == name) {
                return Ok(None);
            }
            let attribute = guarded(|| dataset.attr(name))?;
            let datatype = guarded(|| attribute.datatype())?;
            let bytes = guarded(|| attribute.read_raw())?;
            return Ok(header::number(&datatype, &bytes));
        }
        let Ok(group) = guarded(|| self.group(path)) else {
            return Ok(None);
        };
        if !guarded(|| group.attr_names())?.iter().any(|n| n == name) {
            return Ok(None);
        }
        header::group_number(&self.path, path, name)
    }
}

fn join(parent: &str, name: &str) -> String {
    match parent {
        "" => name.to_owned(),
        _ => format!("{parent}/{name}"),
    }
}

/// Runs the library, and makes its errors ours.
fn guarded<T>(f: impl FnOnce() -> rust_hdf5::Result<T>) -> Outcome<T> {
    f().map_err(|error| match error {
        Hdf5Error::NotFound(_) => Fault::Missing,
        Hdf5Error::Unsupported(what) => {
            Fault::Unsupported { what, remedy: "save it again with h5py in a usual layout".to_owned() }
        }
        other => Fault::Damaged(other.to_string()),
    })
}

/// What elements are read as, and the name of their type in numpy.
fn kind(datatype: &DatatypeMessage) -> (Kind, String) {
    if let Some(number) = number(datatype) {
        return (Kind::Number(number), number.name().to_owned());
    }
    match datatype {
        DatatypeMessage::FloatingPoint { size, .. } => match datatype.ieee_format() {
            Some(IeeeFormat::Binary16) => (Kind::Half, "float16".to_owned()),
            _ => (Kind::Other, format!("float{}", u64::from(*size) * 8)),
        },
        DatatypeMessage::Enum { base, members } => {
            let mut names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
            names.sort_unstable();
            match (number(base), names.as_slice()) {
                (Some(DType::Int8 | DType::UInt8), ["FALSE", "TRUE"]) => (Kind::Bool, "bool".to_owned()),
                (Some(base), _) => (Kind::Number(base), base.name().to_owned()),
                (None, _) => (Kind::Other, "enum".to_owned()),
            }
        }
        DatatypeMessage::FixedString { size, .. } => (Kind::Text, format!("bytes{}", u64::from(*size) * 8)),
        DatatypeMessage::VarLenString { .. } => (Kind::Text, "object".to_owned()),
        DatatypeMessage::VarLenSequence { .. } => (Kind::Other, "object".to_owned()),
        DatatypeMessage::Reference { .. } => (Kind::Reference, "object".to_owned()),
        DatatypeMessage::Compound { size, members } => {
            let size = u64::from(*size) * 8;
            match members.as_slice() {
                [real, imaginary] if complex_names(&real.name, &imaginary.name) => {
                    match (number(&real.datatype), number(&imaginary.datatype)) {
                        (Some(a), Some(b)) if a == b => (Kind::Complex(a), format!("complex{size}")),
                        _ => (Kind::Other, format!("void{size}")),
                    }
                }
                _ => (Kind::Other, format!("void{size}")),
            }
        }
        other => (Kind::Other, format!("void{}", u64::from(other.element_size()) * 8)),
    }
}

/// h5py writes `r` and `i`, MATLAB `real` and `imag`.
fn complex_names(real: &str, imaginary: &str) -> bool {
    matches!((real, imaginary), ("r", "i") | ("real", "imag"))
}

/// The element type of plain numbers; `None` for others and for unusual widths.
pub(super) fn number(datatype: &DatatypeMessage) -> Option<DType> {
    match datatype {
        DatatypeMessage::FixedPoint { size, signed, bit_offset: 0, bit_precision, .. }
            if u32::from(*bit_precision) == size.saturating_mul(8) =>
        {
            Some(match (size, signed) {
                (1, true) => DType::Int8,
                (1, false) => DType::UInt8,
                (2, true) => DType::Int16,
                (2, false) => DType::UInt16,
                (4, true) => DType::Int32,
                (4, false) => DType::UInt32,
                (8, true) => DType::Int64,
                (8, false) => DType::UInt64,
                _ => return None,
            })
        }
        DatatypeMessage::FloatingPoint { .. } => match datatype.ieee_format()? {
            IeeeFormat::Binary32 => Some(DType::Float32),
            IeeeFormat::Binary64 => Some(DType::Float64),
            IeeeFormat::Binary16 => None,
        },
        _ => None,
    }
}
