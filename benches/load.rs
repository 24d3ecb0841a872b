//! Loading a compressed MAT v5 recording: DINA against `scipy.io.loadmat`.
//!
//!     cargo bench -p dina-benches --bench load -- [--python PYTHON] [--pairs N] [FILE]
//!
//! Without a file, one of 10,000 neurons and 5,600 presentations is written first. Both programs
//! run in processes of their own, one after the other, so that each pair sees the same machine; the
//! ratio is the median over pairs. `--python` names an interpreter that has scipy.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use dina_benches::{median, numbers_of, peak_memory};
use dina_core::Seed;
use dina_data::{Recording, RecordingFile, Session, write_recording_mat};
use ndarray::Array2;
use rand::RngExt;

const NEURONS: usize = 10_000;
const IMAGES: usize = 2_800;
const REPEATS: usize = 2;
/// What a process holds before it reads anything is taken off the peak.
const ONCE: &str = "--once";

fn main() -> Result<(), Box<dyn Error>> {
    let mut python = PathBuf::from("python3");
    let mut pairs = 5;
    let mut file = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo says so to every bench.
            "--bench" => {}
            "--python" => python = arguments.next().ok_or("--python needs a path")?.into(),
            "--pairs" => pairs = arguments.next().ok_or("--pairs needs a number")?.parse()?,
            ONCE => return once(Path::new(&arguments.next().ok_or("a file is needed")?)),
            other => file = Some(PathBuf::from(other)),
        }
    }
    let folder = tempfile::tempdir()?;
    let file = match file {
        Some(file) => file,
        None => {
            let path = folder.path().join("recording.mat");
            let start = Instant::now();
            write(&path)?;
            println!("written in {:.1} s", start.elapsed().as_secs_f64());
            path
        }
    };
    println!("{}: {:.1} MB", file.display(), std::fs::metadata(&file)?.len() as f64 / 1e6);
    compare(&file, &python, pairs)
}

/// Noise that compresses as recorded responses do: many zeros, the rest gamma-like.
fn write(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut rng = Seed::new(1).stream("responses");
    let presentations = IMAGES * REPEATS;
    let responses = Array2::from_shape_simple_fn((presentations, NEURONS), || {
        if rng.random::<f32>() < 0.3 { 0.0 } else { -(1.0 - rng.random::<f32>()).ln() }
    });
    let stimulus = (0..presentations).map(|t| Some((t % IMAGES) as u32)).collect();
    let recording = Recording::new("made", responses, stimulus, IMAGES)?;
    Ok(write_recording_mat(path, &recording, &Session::default())?)
}

/// Loads in this process; prints seconds, peak bytes above the start, and bytes of the result.
fn once(file: &Path) -> Result<(), Box<dyn Error>> {
    let before = peak_memory().unwrap_or(0);
    let start = Instant::now();
    let recording = RecordingFile::new(file).images(IMAGES).load()?;
    let seconds = start.elapsed().as_secs_f64();
    let peak = peak_memory().unwrap_or(0) - before;
    let decoded = 4 * (recording.responses().len() + recording.spontaneous().map_or(0, Array2::len));
    println!("{seconds} {peak} {decoded}");
    Ok(())
}

fn compare(file: &Path, python: &Path, pairs: usize) -> Result<(), Box<dyn Error>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/load_scipy.py");
    let this = std::env::current_exe()?;
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..=pairs {
        let mine = numbers_of(Command::new(&this).arg(ONCE).arg(file)).ok_or("loading failed")?;
        let &[seconds, peak, decoded] = mine.as_slice() else {
            return Err("loading printed something else".into());
        };
        let scipy = numbers_of(Command::new(python).arg(&script).arg(file));
        // The first pair only brings the file into memory.
        if pair == 0 {
            println!("peak {:.0} MB for {:.0} MB decoded: {:.2}", peak / 1e6, decoded / 1e6, peak / decoded);
            if scipy.is_none() {
                println!("scipy is not there: give an interpreter that has it with --python");
            }
            continue;
        }
        ours.push(seconds);
        if let Some(&[seconds_scipy, peak_scipy]) = scipy.as_deref() {
            theirs.push(seconds_scipy);
            ratios.push(seconds_scipy / seconds);
            println!(
                "dina {seconds:.3} s, scipy {seconds_scipy:.3} s ({:.0} MB), ratio {:.2}",
                peak_scipy / 1e6,
                seconds_scipy / seconds
            );
        }
    }
    println!(
        "median: dina {:.3} s, scipy {:.3} s, ratio {:.2}",
        median(&ours),
        median(&theirs),
        median(&ratios)
    );
    Ok(())
}
