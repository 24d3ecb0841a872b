//! Damages files and reads them, for as long as one likes: a fuzzer on a stable toolchain.
//!
//!     cargo run --release -p dina-data --features hdf5 --example mutate -- SEED COUNT [FILE OR FOLDER ...]
//!
//! Takes the files given (folders with all that is in them) and a few of its own, damages one at a
//! time in ways that follow from the seed, and reads what is left in every way. A panic, or memory
//! that the length of the file does not justify, is printed with its seed, and the file is kept as
//! `mutated-SEED` in the current folder; a reader that hangs is found by looking. The exit status is 1
//! where anything was found.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a tool of the developers")]

#[path = "../tests/mutation/mod.rs"]
mod mutation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dina_core::Seed;
use mutation::{Counting, allowance, files_below, generated, mutate, peak_of, read_every_way};

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|argument| argument.parse::<u64>().ok());
    let (Some(first), Some(count)) = (number(), number()) else {
        eprintln!("usage: mutate SEED COUNT [FILE OR FOLDER ...]");
        return ExitCode::from(2);
    };
    let folder = tempfile::tempdir().unwrap();
    let mut files = generated(folder.path());
    for argument in arguments {
        let path = PathBuf::from(argument);
        files.extend(if path.is_dir() { files_below(&path, 1 << 20) } else { vec![path] });
    }
    let files: Vec<(PathBuf, Vec<u8>)> =
        files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    let path = folder.path().join("mutated");
    let mut found = 0;
    for seed in first..first + count {
        let (name, bytes) = &files[(seed % files.len() as u64) as usize];
        let (_, other) = &files[(seed / 7 % files.len() as u64) as usize];
        let bytes = mutate(Seed::new(seed), bytes, other);
        std::fs::write(&path, &bytes).unwrap();
        let mut peak = 0;
        let result = catch_unwind(AssertUnwindSafe(|| peak = peak_of(|| read_every_way(&path))));
        if result.is_err() || peak > allowance(bytes.len()) {
            found += 1;
            println!("seed {seed} of {}: {} ({peak} bytes at most)", name.display(), what(result.is_err()));
            let kept = Path::new(".").join(format!("mutated-{seed}"));
            std::fs::write(kept, &bytes).unwrap();
        }
    }
    println!("{count} files read, {found} found");
    if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn what(panicked: bool) -> &'static str {
    if panicked { "panic" } else { "too much memory" }
}
