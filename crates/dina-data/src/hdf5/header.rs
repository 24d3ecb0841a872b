//! Numbers that are attributes of groups.
//!
//! `rust-hdf5` gives attributes of groups as text only. MATLAB keeps the number of rows of a
//! sparse matrix in one (`MATLAB_sparse`), so it is looked up here, through the library's public
//! decoders, in files of the older kind (superblock 0 or 1, symbol tables), which is what MATLAB
//! and `hdf5storage` write. *HDF5 File Format Specification* 3.0, sections II.A, III.A to III.D and
//! IV.A.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use rust_hdf5::ByteOrder;
use rust_hdf5::DatatypeMessage;
use rust_hdf5::format::FormatContext;
use rust_hdf5::format::btree_v1::BTreeV1Node;
use rust_hdf5::format::local_heap::{LocalHeapHeader, local_heap_get_string};
use rust_hdf5::format::messages::attribute::AttributeMessage;
use rust_hdf5::format::messages::{MSG_ATTRIBUTE, MSG_OBJ_HEADER_CONTINUATION, MSG_SYMBOL_TABLE};
use rust_hdf5::format::object_header::ObjectHeader;
use rust_hdf5::format::superblock::{SuperblockV0V1, detect_superblock_version};
use rust_hdf5::format::symbol_table::SymbolTableNode;

use super::container::{Fault, Outcome};
use super::pure;
use crate::DType;
use crate::numeric::{self, Element, with_element};

/// No node or header of a group takes more.
const MOST: u64 = 1 << 20;
/// Nodes of the tree of one group; more than a million members.
const MOST_NODES: usize = 1 << 16;

/// The number that an attribute holds, where it is one.
pub(super) fn number(datatype: &DatatypeMessage, bytes: &[u8]) -> Option<f64> {
    let stored = pure::number(datatype)?;
    let order = match datatype {
        DatatypeMessage::FixedPoint { byte_order: ByteOrder::BigEndian, .. }
        | DatatypeMessage::FloatingPoint { byte_order: ByteOrder::BigEndian, .. } => numeric::ByteOrder::Big,
        _ => numeric::ByteOrder::Little,
    };
    let mut found = None;
    with_element!(stored, T => {
        if bytes.len() == T::SIZE {
            T::decode(bytes, order, |v| found = Some(v.wide()));
        }
    });
    found
}

/// The attribute `name` of the group at `path`.
pub(super) fn group_number(file: &Path, path: &str, name: &str) -> Outcome<Option<f64>> {
    let mut tree = Tree::open(file)?;
    let (mut header, mut table) = tree.root;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if table.is_none() {
            table = tree.table(header)?;
        }
        (header, table) = tree.child(table, part)?;
    }
    tree.attribute(header, name)
}

fn damaged(error: impl std::fmt::Display) -> Fault {
    Fault::Damaged(error.to_string())
}

/// A symbol table: its tree and its heap of names.
type Table = Option<(u64, u64)>;

struct Tree {
    file: File,
    base: u64,
    context: FormatContext,
    leaf: u16,
    inner: u16,
    /// Object header and symbol table of the root.
    root: (u64, Table),
}

impl Tree {
    fn open(path: &Path) -> Outcome<Self> {
        let mut file = File::open(path).map_err(Fault::Io)?;
        let length = file.metadata().map_err(Fault::Io)?.len();
        let mut base = 0;
        loop {
            let head = read(&mut file, base, 256)?;
            if head.starts_with(crate::container::HDF5) {
                if detect_superblock_version(&head).map_err(damaged)? > 1 {
                    return Err(Fault::Unsupported {
                        what: "a number that is an attribute of a group, in a file of the newer kind"
                            .to_owned(),
                        remedy: "save it with MATLAB, or with h5py and `libver='earliest'`".to_owned(),
                    });
                }
                let superblock = SuperblockV0V1::decode(&head).map_err(damaged)?;
                let root = &superblock.root_symbol_table_entry;
                return Ok(Self {
                    file,
                    base,
                    context: FormatContext {
                        sizeof_addr: superblock.sizeof_offsets,
                        sizeof_size: superblock.sizeof_lengths,
                    },
                    leaf: superblock.sym_leaf_k,
                    inner: superblock.btree_internal_k,
                    root: (root.obj_header_addr, root.cached_symbol_table()),
                });
            }
            base = (base * 2).max(512);
            if base >= length {
                return Err(Fault::Damaged("the superblock is missing".to_owned()));
            }
        }
    }

    fn read(&mut self, address: u64, most: u64) -> Outcome<Vec<u8>> {
        let at = self.base.checked_add(address).ok_or_else(|| damaged("an address is impossible"))?;
        read(&mut self.file, at, most)
    }

    /// Object header and symbol table of a member.
    fn child(&mut self, table: Table, name: &str) -> Outcome<(u64, Table)> {
        let Some((tree, heap)) = table else {
            return Err(Fault::Unsupported {
                what: "a group of the newer kind".to_owned(),
                remedy: "save it with MATLAB, or with h5py and `libver='earliest'`".to_owned(),
            });
        };
        let (address, length) = (self.context.sizeof_addr.into(), self.context.sizeof_size.into());
        let head = self.read(heap, 64)?;
        let head = LocalHeapHeader::decode(&head, address, length).map_err(damaged)?;
        let names = self.read(head.data_addr, head.data_size.min(MOST))?;
        let mut pending = vec![tree];
        let mut visited = HashSet::new();
        while let Some(at) = pending.pop() {
            if !visited.insert(at) || visited.len() > MOST_NODES {
                return Err(damaged("the tree of a group is circular"));
            }
            let bytes = self.read(at, MOST.min(64 << 10))?;
            if bytes.starts_with(b"TREE") {
                let most = self.inner.saturating_mul(2);
                let node = BTreeV1Node::decode(&bytes, address, length, most).map_err(damaged)?;
                pending.extend(node.children);
                continue;
            }
            let most = self.leaf.saturating_mul(2);
            let node = SymbolTableNode::decode(&bytes, address, length, most).map_err(damaged)?;
            for entry in &node.entries {
                if local_heap_get_string(&names, entry.name_offset).map_err(damaged)? == name {
                    return Ok((entry.obj_header_addr, entry.cached_symbol_table()));
                }
            }
        }
        Err(Fault::Missing)
    }

    /// The symbol table that a group's header names.
    fn table(&mut self, header: u64) -> Outcome<Table> {
        let length = usize::from(self.context.sizeof_addr);
        let found = self.messages(header, |kind, data| match data.split_at_checked(length) {
            Some((tree, heap)) if kind == MSG_SYMBOL_TABLE && length == 8 => {
                Some((tree.to_vec(), heap.to_vec()))
            }
            _ => None,
        })?;
        let word = |bytes: &[u8]| bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b));
        Ok(found.and_then(|(tree, heap)| word(&tree).zip(word(&heap))))
    }

    fn attribute(&mut self, header: u64, name: &str) -> Outcome<Option<f64>> {
        let context = self.context;
        let found = self.messages(header, |kind, data| {
            let attribute = (kind == MSG_ATTRIBUTE).then(|| AttributeMessage::decode(data, &context).ok())?;
            attribute.map(|(attribute, _)| attribute).filter(|attribute| attribute.name == name)
        })?;
        Ok(found.and_then(|attribute| number(&attribute.datatype, &attribute.data)))
    }

    /// The first message of a group's header that `wanted` takes.
    fn messages<T>(
        &mut self,
        header: u64,
        mut wanted: impl FnMut(u8, &[u8]) -> Option<T>,
    ) -> Outcome<Option<T>> {
        let bytes = self.read(header, 64 << 10)?;
        let (decoded, _) = ObjectHeader::decode_v1(&bytes).map_err(damaged)?;
        let mut messages: Vec<(u8, Vec<u8>)> =
            decoded.messages.into_iter().map(|m| (m.msg_type, m.data)).collect();
        let mut visited = HashSet::new();
        while let Some((kind, data)) = messages.pop() {
            if let Some(found) = wanted(kind, &data) {
                return Ok(Some(found));
            }
            if kind == MSG_OBJ_HEADER_CONTINUATION && self.context.sizeof_addr == 8 && data.len() >= 16 {
                let word = |at: usize| {
                    let bytes = data.get(at..at + 8).and_then(|b| b.try_into().ok());
                    bytes.map_or(0, u64::from_le_bytes)
                };
                if !visited.insert(word(0)) || visited.len() > MOST_NODES {
                    return Err(damaged("the header of a group is circular"));
                }
                let block = self.read(word(0), word(8).min(MOST))?;
                continuation(&block, &mut messages);
            }
        }
        Ok(None)
    }
}

/// The messages of a continuation block of a version 1 header: type, size, flags, padded to eight.
fn continuation(mut block: &[u8], messages: &mut Vec<(u8, Vec<u8>)>) {
    while let Some((head, rest)) = block.split_first_chunk::<8>() {
        let kind = u16::from_le_bytes([head[0], head[1]]);
        let size = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let Some(data) = rest.get(..size) else {
            return;
        };
        if let Ok(kind) = u8::try_from(kind) {
            messages.push((kind, data.to_vec()));
        }
        block = rest.get(size.next_multiple_of(8)..).unwrap_or_default();
    }
}

fn read(file: &mut File, at: u64, most: u64) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at)).map_err(Fault::Io)?;
    file.take(most).read_to_end(&mut bytes).map_err(Fault::Io)?;
    Ok(bytes)
}
