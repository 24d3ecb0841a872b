//! Damaged and lying files: an error, never a panic, a loop or memory without need.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dina_data::mat::{Item, write_mat};
use dina_data::{Error, contents, load_categories, load_images, load_recording};
use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use ndarray::Array2;
use proptest::prelude::*;

/// A MATLAB file with something of every class.
fn mat() -> Vec<u8> {
    static FILE: LazyLock<Vec<u8>> = LazyLock::new(write_everything);
    FILE.clone()
}

fn write_everything() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.mat");
    let resp = Array2::from_shape_fn((5, 4), |(t, n)| (t * 4 + n) as f32).into_dyn();
    let ids = ndarray::array![1.0, 2.0, 3.0, 2.0, 1.0].into_dyn();
    let truth = ndarray::array![[true, false]].into_dyn();
    let imgs = ndarray::Array3::<u8>::zeros((2, 3, 2)).into_dyn();
    let entry = |n: f64| vec![Item::Number(n), Item::Text("unit")];
    let stim = vec![("resp", resp.view().into()), ("istim", ids.view().into())];
    let cell = vec![Item::Text("unknown"), Item::Rows(vec!["a", "bc"]), truth.view().into()];
    write_mat(
        &path,
        &[
            ("stim", Item::Struct(stim)),
            (
                "stat",
                Item::StructArray {
                    fields: vec!["redcell", "kind"],
                    entries: (0..4).map(|n| entry(n.into())).collect(),
                },
            ),
            ("imgs", imgs.view().into()),
            ("class_assignment", ids.view().into()),
            ("class_names", Item::Cell { shape: vec![1, 3], values: cell }),
        ],
    )
    .unwrap();
    std::fs::read(path).unwrap()
}

/// The elements of a compressed file, inflated.
fn inflated(file: &[u8]) -> Vec<Vec<u8>> {
    let mut elements = Vec::new();
    let mut at = 128;
    while at < file.len() {
        let size = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
        let mut element = Vec::new();
        let packed = &file[at + 8..at + 8 + size];
        std::io::copy(&mut flate2::read::ZlibDecoder::new(packed), &mut element).unwrap();
        elements.push(element);
        at += 8 + size;
    }
    elements
}

/// The same content as `save -v6` writes it.
fn uncompressed(file: &[u8]) -> Vec<u8> {
    let mut bytes = file[..128].to_vec();
    bytes.extend(inflated(file).concat());
    bytes
}

/// A file of compressed elements, whatever they hold.
fn compressed(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = mat()[..128].to_vec();
    for element in elements {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(element).unwrap();
        let packed = packed.finish().unwrap();
        bytes.extend(15_u32.to_le_bytes());
        bytes.extend((packed.len() as u32).to_le_bytes());
        bytes.extend(packed);
    }
    bytes
}

fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// A zip archive as numpy writes it.
fn npz(members: &[(&str, Vec<u8>)], deflate: bool) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    for (name, content) in members {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let packed = if deflate {
            let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(content).unwrap();
            packed.finish().unwrap()
        } else {
            content.clone()
        };
        let mut common = Vec::new();
        for word in [20_u16, 0, if deflate { 8 } else { 0 }, 0, 0] {
            common.extend(word.to_le_bytes());
        }
        for word in [crc.sum(), packed.len() as u32, content.len() as u32] {
            common.extend(word.to_le_bytes());
        }
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(name.as_bytes());
        file.extend(packed);
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([(members.len() as u16).to_le_bytes(); 2].as_flattened());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    file
}

fn singles(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn recording_npz(deflate: bool) -> Vec<u8> {
    let responses = singles(&[1.0, 3.0, 5.0, 2.0, 4.0, 7.0]);
    let ids: Vec<u8> = [1_i64, -1, 0].iter().flat_map(|v| v.to_be_bytes()).collect();
    npz(
        &[
            ("responses.npy", npy("<f4", true, "(3, 2)", &responses)),
            ("stimulus_ids.npy", npy(">i8", false, "(3,)", &ids)),
            ("images.npy", npy("|u1", false, "(2, 1, 3)", &[1, 2, 3, 4, 5, 6])),
            ("names.npy", npy("<U1", false, "(1,)", &[97, 0, 0, 0])),
            ("flags.npy", npy("|b1", false, "(2, 2)", &[1, 0, 1, 1])),
        ],
        deflate,
    )
}

/// A level 4 file: a matrix, text, and a sparse matrix.
fn level_4(big_endian: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut variable = |kind: u32, rows: u32, columns: u32, name: &str, values: &[f64]| {
        let machine = if big_endian { 1000 } else { 0 };
        for word in [machine + kind, rows, columns, 0, name.len() as u32 + 1] {
            bytes.extend(if big_endian { word.to_be_bytes() } else { word.to_le_bytes() });
        }
        bytes.extend(name.as_bytes());
        bytes.push(0);
        for v in values {
            bytes.extend(if big_endian { v.to_be_bytes() } else { v.to_le_bytes() });
        }
    };
    variable(0, 2, 3, "m", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    variable(1, 1, 2, "t", &[104.0, 105.0]);
    variable(2, 3, 3, "s", &[2.0, 1.0, 4.0, 3.0, 1.0, 5.0, 0.5, 0.25, 0.0]);
    bytes
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// Everything that reads files; only panics count.
fn read_every_way(path: &Path) {
    let _ = contents(path);
    let _ = load_recording(path);
    let _ = load_images(path);
    let _ = load_categories(path, 5);
}

#[test]
fn the_seeds_of_the_mutations_are_sound() {
    let folder = Folder::new();
    let sums = |bytes: &[u8]| -> Vec<(String, Option<f64>)> {
        let contents = contents(folder.file(bytes)).unwrap();
        contents.variables.into_iter().map(|v| (v.name, v.sum)).collect()
    };
    let named = |pairs: &[(&str, Option<f64>)]| -> Vec<(String, Option<f64>)> {
        pairs.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect()
    };
    let all = named(&[
        ("stim", None),
        ("stat", None),
        ("imgs", Some(0.0)),
        ("class_assignment", Some(9.0)),
        ("class_names", None),
    ]);
    assert_eq!(sums(&mat()), all);
    assert_eq!(sums(&uncompressed(&mat())), all);
    assert_eq!(sums(&compressed(&inflated(&mat()))), all);
    for deflate in [false, true] {
        let arrays = [
            ("responses", Some(22.0)),
            ("stimulus_ids", Some(0.0)),
            ("images", Some(21.0)),
            ("names", None),
            ("flags", Some(3.0)),
        ];
        assert_eq!(sums(&recording_npz(deflate)), named(&arrays));
        let recording = load_recording(folder.file(&recording_npz(deflate))).unwrap();
        assert_eq!(recording.responses(), ndarray::array![[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]]);
        assert_eq!(recording.stimulus(), [Some(1), None, Some(0)]);
        let images = load_images(folder.file(&recording_npz(deflate))).unwrap();
        assert_eq!(images.pixels, ndarray::array![[[1, 2, 3]], [[4, 5, 6]]]);
    }
    for big_endian in [false, true] {
        let variables = [("m", Some(21.0)), ("t", None), ("s", Some(0.75))];
        assert_eq!(sums(&level_4(big_endian)), named(&variables));
        let contents = contents(folder.file(&level_4(big_endian))).unwrap();
        assert_eq!(contents.variables[2].shape, [4, 5]);
        assert_eq!(contents.variables[2].class, "sparse");
    }
}

#[test]
fn every_truncation_is_an_error() {
    let folder = Folder::new();
    for bytes in [mat(), uncompressed(&mat()), recording_npz(true), recording_npz(false)] {
        for length in 0..bytes.len() {
            let path = folder.file(&bytes[..length]);
            // Between two variables a MATLAB file may end: then it is a shorter file.
            if let Ok(contents) = contents(&path) {
                assert!(contents.variables.len() < 5, "{length} of {}", bytes.len());
            }
        }
    }
}

#[test]
fn a_variable_that_is_cut_short_is_named() {
    let folder = Folder::new();
    for (bytes, what) in [(mat(), "compressed"), (uncompressed(&mat()), "uncompressed")] {
        let size = u32::from_le_bytes(bytes[132..136].try_into().unwrap()) as usize;
        let error = contents(folder.file(&bytes[..128 + size - 8])).unwrap_err().to_string();
        assert!(error.contains("variable `stim`, byte"), "{what}: {error}");
    }
}

#[test]
fn declared_sizes_reserve_nothing_that_the_file_cannot_hold() {
    let folder = Folder::new();
    let header = &mat()[..128];
    let matrix = |class: u32, shape: &[u32], body: &[u8], declared: Option<u32>| {
        let mut inner = Vec::new();
        for word in [6, 8, class, 0, 5, 4 * shape.len() as u32] {
            inner.extend(word.to_le_bytes());
        }
        shape.iter().for_each(|n| inner.extend(n.to_le_bytes()));
        inner.resize(inner.len().next_multiple_of(8), 0);
        inner.extend([1, 0, 1, 0, b'x', 0, 0, 0]);
        inner.extend(body);
        let mut element = 14_u32.to_le_bytes().to_vec();
        element.extend(declared.unwrap_or(inner.len() as u32).to_le_bytes());
        element.extend(inner);
        element
    };
    let double = |n: u32| [9_u32.to_le_bytes(), n.to_le_bytes()].concat();
    let cases = [
        // A declared element of almost 4 GiB in a few bytes.
        compressed(&[matrix(6, &[1 << 14, 1 << 15], &double(u32::MAX - 7), Some(u32::MAX))]),
        [header, &matrix(6, &[1 << 14, 1 << 15], &double(u32::MAX - 7), Some(u32::MAX))].concat(),
        // Dimensions whose product overflows, or is not what follows.
        compressed(&[matrix(6, &[u32::MAX, u32::MAX, u32::MAX], &double(8), None)]),
        compressed(&[matrix(6, &[0x7fff_ffff, 0x7fff_ffff, 0x7fff_ffff], &double(0), None)]),
        compressed(&[matrix(6, &[1 << 30, 1], &double(0), None)]),
        // Cells and struct entries that cannot follow.
        compressed(&[matrix(1, &[1 << 30, 1], &[], None)]),
        compressed(&[matrix(2, &[1 << 30, 1], &[5, 0, 4, 0, 8, 0, 0, 0, 1, 0, 1, 0, 97, 0, 0, 0], None)]),
        // Level 4: a sparse matrix of two billion columns; more data than the file.
        {
            let mut bytes = level_4(false);
            let end = bytes.len();
            bytes[end - 32..end - 24].copy_from_slice(&2e9_f64.to_le_bytes());
            bytes
        },
        [[0_u32, 1 << 31, 1 << 31, 0, 2].map(u32::to_le_bytes).as_flattened(), b"a\0"].concat(),
        // numpy: shapes beyond the data, beyond any memory, beyond the integers.
        npy("<f8", false, "(1000000000000,)", &[0; 8]),
        npy("<f8", true, "(4294967296, 4294967296, 4294967296)", &[0; 8]),
        npz(&[("a.npy", npy("<f8", false, "(1000000000,)", &[0; 8]))], true),
    ];
    for (case, bytes) in cases.iter().enumerate() {
        let error = contents(folder.file(bytes)).expect_err(&format!("case {case}"));
        let lame = matches!(error, Error::Malformed { .. } | Error::Unsupported { .. });
        assert!(lame, "case {case}: {error}");
    }
}

#[test]
fn nesting_without_end_is_refused() {
    let folder = Folder::new();
    let mut element: Vec<u8> = Vec::new();
    for _ in 0..20_000 {
        let mut outer = 14_u32.to_le_bytes().to_vec();
        outer.extend((element.len() as u32 + 48).to_le_bytes());
        for word in [6, 8, 1, 0, 5, 8, 1, 1, 1, 0_u32] {
            outer.extend(word.to_le_bytes());
        }
        outer.extend([1, 0, 1, 0, b'x', 0, 0, 0]);
        // The name, in place of the empty element above.
        outer.splice(40..48, []);
        outer.extend(&element);
        let size = outer.len() as u32 - 8;
        outer[4..8].copy_from_slice(&size.to_le_bytes());
        element = outer;
        if element.len() > 40_000 {
            break;
        }
    }
    let error = contents(folder.file(&compressed(&[element]))).unwrap_err();
    assert!(error.to_string().contains("deep"), "{error}");
}

/// Small files of `shared/data`, where the folder is there; none elsewhere.
fn foreign() -> &'static [Vec<u8>] {
    static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/formats");
        let mut files = Vec::new();
        for part in ["scipy", "matjl/v4", "matjl/v6", "matjl/v7"] {
            let Ok(entries) = std::fs::read_dir(folder.join(part)) else {
                eprintln!("skipped: {} is absent", folder.join(part).display());
                continue;
            };
            let read = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
            files.extend(read.filter(|bytes| bytes.len() < 10_000));
        }
        files
    });
    &FILES
}

/// Changes to make: where (as a share of the length), and into what.
fn changes() -> impl Strategy<Value = Vec<(f64, u8)>> {
    // Bytes that occur as types, flags and sizes do more harm than arbitrary ones.
    let byte = prop_oneof![any::<u8>(), 0_u8..20, Just(0xff), Just(0x80)];
    prop::collection::vec((0.0..1.0, byte), 1..6)
}

fn change(bytes: &mut [u8], changes: &[(f64, u8)]) {
    let length = bytes.len();
    for &(at, byte) in changes {
        if let Some(slot) = bytes.get_mut((at * length as f64) as usize) {
            *slot = byte;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_files_never_panic(which in 0..6_usize, changes in changes(), cut in 0.0..1.2_f64) {
        let mut bytes = match which {
            0 => mat(),
            1 => uncompressed(&mat()),
            2 => recording_npz(true),
            3 => recording_npz(false),
            4 => level_4(true),
            _ => level_4(false),
        };
        change(&mut bytes, &changes);
        bytes.truncate((cut * bytes.len() as f64) as usize);
        read_every_way(&Folder::new().file(&bytes));
    }

    #[test]
    fn mutated_foreign_files_never_panic(
        which in any::<prop::sample::Index>(), changes in changes(),
    ) {
        if let Some(file) = foreign().get(which.index(foreign().len().max(1))) {
            let mut bytes = file.clone();
            change(&mut bytes, &changes);
            read_every_way(&Folder::new().file(&bytes));
        }
    }

    #[test]
    fn sound_streams_of_mutated_elements_never_panic(changes in changes()) {
        // Only behind a sound checksum does the parser see the damage.
        let mut elements = inflated(&mat());
        elements.iter_mut().for_each(|element| change(element, &changes));
        read_every_way(&Folder::new().file(&compressed(&elements)));
    }

    #[test]
    fn mutated_arrays_in_sound_archives_never_panic(changes in changes(), deflate: bool) {
        let values = singles(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut array = npy("<f4", true, "(3, 2)", &values);
        change(&mut array, &changes);
        let ids = npy("|i1", false, "(3,)", &[0, 1, 255]);
        let members = [("responses.npy", array.clone()), ("stimulus_ids.npy", ids), ("images.npy", array)];
        read_every_way(&Folder::new().file(&npz(&members, deflate)));
    }
}
