//! Damage to files, drawn from a seed, and readers of everything that may be left.
//!
//! Used by the tests, with few cases, and by the example `mutate`, with as many as one likes.

#![allow(dead_code, missing_docs, reason = "each user takes a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests and the fuzzer use it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use dina_core::Seed;
use dina_data::mat::{Item, write_mat};
use dina_data::{contents, load_categories, load_images, load_recording};
use ndarray::{Array2, array};
use rand::RngExt;

/// Counts what is allocated and has not been freed.
pub struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn add(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged; only counters are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The most that was allocated at once while `f` ran, beyond what was there before.
pub fn peak_of(f: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    f();
    PEAK.load(Ordering::Relaxed).saturating_sub(before)
}

/// What reading a file of this length may take at most: deflate makes 1,032 bytes of one, a matrix
/// may be there as bytes and as numbers of twice their size, and threads have buffers.
pub fn allowance(length: usize) -> usize {
    (32 << 20) + 3 * 1032 * length
}

/// Everything that reads files; only panics and memory count.
pub fn read_every_way(path: &Path) {
    let _ = contents(path);
    let _ = load_recording(path);
    let _ = load_images(path);
    let _ = load_categories(path, 5);
    let part = dina_data::RecordingFile::new(path).neurons([1, 0]).presentations([2, 0, 1]);
    let _ = part.load();
}

/// Words that do harm as sizes, offsets and counts.
const WORDS: [u64; 14] = [
    0,
    1,
    2,
    7,
    8,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Damages a file, with parts of another one.
pub fn mutate(seed: Seed, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut rng = seed.stream("mutation");
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..5) {
        if bytes.is_empty() {
            break;
        }
        // Headers, where sizes are, are short; the middle of a large array is harmless.
        let near = rng.random_range(0..3) == 0;
        let end = if near { bytes.len().min(2048) } else { bytes.len() };
        let at = rng.random_range(0..end);
        match rng.random_range(0..7) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes[at] = rng.random_range(0..20),
            3 | 4 => {
                let width = [1, 2, 4, 8][rng.random_range(0..4)];
                let word = WORDS[rng.random_range(0..WORDS.len())]
                    .wrapping_add(rng.random_range(0..3))
                    .to_le_bytes();
                let at = at - at % width;
                let width = width.min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&word[..width]);
            }
            5 if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let length = rng.random_range(1..64).min(other.len() - from).min(bytes.len() - at);
                bytes[at..at + length].copy_from_slice(&other[from..from + length]);
            }
            _ => {
                let from = rng.random_range(0..bytes.len());
                let length = rng.random_range(1..64).min(bytes.len() - from).min(bytes.len() - at);
                bytes.copy_within(from..from + length, at);
            }
        }
    }
    bytes
}

/// A folder of small files of one recording each, by format.
pub fn generated(folder: &Path) -> Vec<PathBuf> {
    let responses = Array2::from_shape_fn((5, 4), |(t, n)| (t * t * 4 + n) as f32).into_dyn();
    let ids = array![1.0, 2.0, 3.0, 2.0, 1.0].into_dyn();
    let pixels = ndarray::Array3::<u8>::zeros((2, 3, 2)).into_dyn();
    let mat = folder.join("made.mat");
    let stim = Item::Struct(vec![("resp", responses.view().into()), ("istim", ids.view().into())]);
    let names = Item::Cell { shape: vec![1, 1], values: vec![Item::Text("one")] };
    let variables = [("stim", stim), ("imgs", pixels.view().into()), ("class_names", names)];
    write_mat(&mat, &variables).unwrap();
    #[allow(unused_mut, reason = "more with the feature hdf5")]
    let mut files = vec![mat];
    #[cfg(feature = "hdf5")]
    files.push(nwb(folder));
    files
}

#[cfg(feature = "hdf5")]
fn nwb(folder: &Path) -> PathBuf {
    let path = folder.join("made.nwb");
    let file = rust_hdf5::H5File::create(&path).unwrap();
    file.set_attr_string("nwb_version", "2.7.0").unwrap();
    let intervals = file.create_group("intervals").unwrap().create_group("trials").unwrap();
    for (name, offset) in [("start_time", 0.0), ("stop_time", 0.5)] {
        let column = intervals.new_dataset::<f64>().shape([4]).create(name).unwrap();
        column.write_raw(&[0.0, 1.0, 2.0, 3.0].map(|t: f64| t + offset)).unwrap();
    }
    intervals.write_vlen_strings("image_name", &["a", "b", "gray", "a"]).unwrap();
    let ophys = file.create_group("processing").unwrap().create_group("ophys").unwrap();
    let series = ophys.create_group("DfOverF").unwrap().create_group("all").unwrap();
    series.set_attr_string("neurodata_type", "RoiResponseSeries").unwrap();
    let data =
        series.new_dataset::<f32>().shape([8, 3]).chunk(&[3, 2]).shuffle_deflate(3).create("data").unwrap();
    data.write_raw(&(0..24).map(|n| (n * n) as f32).collect::<Vec<_>>()).unwrap();
    let times = series.new_dataset::<f64>().shape([8]).create("timestamps").unwrap();
    times.write_raw(&(0..8).map(|n| f64::from(n) / 2.0).collect::<Vec<_>>()).unwrap();
    let templates = file.create_group("stimulus").unwrap().create_group("templates").unwrap();
    let scenes = templates.create_group("scenes").unwrap();
    for name in ["a", "b"] {
        let image = scenes.new_dataset::<u8>().shape([2, 3]).create(name).unwrap();
        image.write_raw(&[1_u8, 2, 3, 4, 5, 6]).unwrap();
    }
    file.close().unwrap();
    path
}

/// Files below a folder, small ones, in the order of their names.
pub fn files_below(folder: &Path, most: u64) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_path_buf()];
    while let Some(folder) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else if entry.metadata().is_ok_and(|m| m.len() <= most) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A folder of each layout, small.
pub fn layouts(folder: &Path) -> [PathBuf; 2] {
    let write = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write("csv/responses.csv", b"stimulus,n1,n2\na,1,2\nb,2.5,-3\ngray,0,1\na,4,5\n");
    write("csv/neurons.csv", b"neuron,x,y,red\nn1,1,2,0\nn2,3,4,1\n");
    write("csv/images.csv", b"stimulus,file\na,a.png\nb,b.jpg\n");
    std::fs::create_dir_all(folder.join("csv/images")).unwrap();
    for name in ["a.png", "b.jpg"] {
        let image = image::GrayImage::from_fn(9, 7, |x, y| image::Luma([(x * 20 + y) as u8]));
        image.save(folder.join("csv/images").join(name)).unwrap();
    }
    let npy = |descr: &str, shape: &str, data: &[u8]| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    };
    for trial in 0..3_u8 {
        write(&format!("sensorium/data/images/{trial}.npy"), &npy("|u1", "(2, 2)", &[trial; 4]));
        let response: Vec<u8> =
            [f32::from(trial), 2.0 - f32::from(trial)].iter().flat_map(|v| v.to_le_bytes()).collect();
        write(&format!("sensorium/data/responses/{trial}.npy"), &npy("<f4", "(2,)", &response));
    }
    write("sensorium/meta/trials/tiers.npy", &npy("|S5", "(3,)", b"traintestatrain"));
    write("sensorium/meta/trials/frame_image_id.npy", &npy("|u1", "(3,)", &[5, 6, 7]));
    [folder.join("csv"), folder.join("sensorium")]
}
