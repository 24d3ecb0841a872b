//! Damaged files of every format: no panic, and no memory that the length of the file does not
//! justify. The example `mutate` does the same for as long as one likes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod mutation;

use std::path::Path;
use std::sync::Mutex;

use dina_core::Seed;
use mutation::{Counting, allowance, files_below, generated, layouts, mutate, peak_of, read_every_way};
use proptest::prelude::*;

#[global_allocator]
static COUNTING: Counting = Counting;

/// One at a time: the allocator counts for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn check(path: &Path, length: usize, what: &str) {
    let peak = peak_of(|| read_every_way(path));
    assert!(peak <= allowance(length), "{what}: {peak} bytes for a file of {length}");
}

#[test]
fn the_sound_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for path in generated(folder.path()).iter().chain(&layouts(folder.path())) {
        let listed = dina_data::contents(path).unwrap();
        assert!(listed.is_recording(), "{}", path.display());
        let recording = dina_data::load_recording(path).unwrap();
        assert!(recording.neurons() >= 2 && recording.presentations() >= 3, "{}", path.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn generated_files(seed: u64) {
        let _alone = ALONE.lock();
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<Vec<u8>> =
            generated(folder.path()).iter().map(|path| std::fs::read(path).unwrap()).collect();
        let which = seed as usize % files.len();
        let bytes = mutate(Seed::new(seed), &files[which], &files[(which + 1) % files.len()]);
        let path = folder.path().join("mutated");
        std::fs::write(&path, &bytes).unwrap();
        check(&path, bytes.len(), &format!("seed {seed}"));
    }

    #[test]
    fn files_of_others(seed: u64) {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/formats");
        let files = files_below(&shared, 200 << 10);
        if files.is_empty() {
            eprintln!("skipped: {} is absent", shared.display());
            return Ok(());
        }
        let _alone = ALONE.lock();
        let pick = |n: u64| std::fs::read(&files[(n % files.len() as u64) as usize]).unwrap();
        let bytes = mutate(Seed::new(seed), &pick(seed), &pick(seed / 1000));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mutated");
        std::fs::write(&path, &bytes).unwrap();
        let name = files[(seed % files.len() as u64) as usize].display().to_string();
        check(&path, bytes.len(), &format!("seed {seed} of {name}"));
    }

    #[test]
    fn files_in_folders(seed: u64) {
        let _alone = ALONE.lock();
        let folder = tempfile::tempdir().unwrap();
        let layouts = layouts(folder.path());
        let layout = &layouts[seed as usize % 2];
        let files = files_below(layout, 1 << 20);
        let path = &files[(seed / 2) as usize % files.len()];
        let bytes = mutate(Seed::new(seed), &std::fs::read(path).unwrap(), &[]);
        std::fs::write(path, &bytes).unwrap();
        check(layout, bytes.len() + 4096, &format!("seed {seed}, {}", path.display()));
    }
}
