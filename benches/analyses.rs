//! Analyses at the size of a recording, against what a Python lab would run: nearest-neighbour decoding, ridge over a
//! path of penalties, and a permutation test of many neurons.
//!
//!     cargo bench -p dina-benches --bench analyses -- [--python PYTHON] [--pairs N] [--threads N]
//!
//! Both sides read the same numbers from a file, their answers are compared first, and their runs alternate; the ratio is the median
//! over pairs. `--python` names an interpreter that has numpy, scipy and scikit-learn, and mne where it is to be compared.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use dina_benches::{Flags, Peer, median, normal};
use dina_core::Seed;
use dina_decode::correlate;
use dina_decode::ridge::RidgeDesign;
use dina_stats::permutation::{Permutation, Scheme, mass};
use ndarray::{Array2, Axis};

/// Images and neurons of the deposit: one repeat is decoded from the other.
const DECODE: (usize, usize) = (2_800, 10_000);
/// Training images, held-out images, features and neurons of an encoding model.
const RIDGE: (usize, usize, usize, usize) = (2_000, 500, 1_500, 3_000);
const PENALTIES: [f64; 10] = [1., 3., 10., 30., 100., 300., 1e3, 3e3, 1e4, 3e4];
/// Images and neurons of a one-sample test, and its sign flips.
const TEST: (usize, usize, usize) = (100, 10_000, 10_000);

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse(&["--python", "--pairs", "--threads"], &[])?;
    rayon::ThreadPoolBuilder::new().num_threads(flags.number("--threads", 2)?).build_global()?;
    let folder = tempfile::tempdir()?;
    let run = Run {
        folder: folder.path(),
        python: Path::new(flags.text("--python").unwrap_or("python3")),
        pairs: flags.number("--pairs", 5)?,
    };
    run.nearest()?;
    run.ridge()?;
    run.test()
}

struct Run<'a> {
    folder: &'a Path,
    python: &'a Path,
    pairs: usize,
}

impl Run<'_> {
    /// Correlation of every trial of one repeat with every one of the other; the best is the answer.
    fn nearest(&self) -> Result<(), Box<dyn Error>> {
        let (images, neurons) = DECODE;
        let signal = normal("signal", images, neurons);
        let first = &signal + &(normal("first", images, neurons) * 8.);
        let second = &signal + &(normal("second", images, neurons) * 8.);
        let ours = || -> Result<f64, Box<dyn Error>> {
            let similarity = correlate(first.view(), second.view())?;
            let right = |(row, values): (usize, ndarray::ArrayView1<f32>)| {
                values.iter().enumerate().all(|(other, value)| other == row || *value < values[row])
            };
            Ok(similarity.axis_iter(Axis(0)).enumerate().filter(|item| right(*item)).count() as f64)
        };
        self.compare("nearest neighbour", "nearest", &[&first, &second], 0., ours, &["numpy"])
    }

    /// Predictions of held-out images for every penalty.
    fn ridge(&self) -> Result<(), Box<dyn Error>> {
        let (train, test, features, neurons) = RIDGE;
        let x = normal("x", train, features);
        let held_out = normal("held out", test, features);
        let y = normal("y", train, neurons);
        let ours = || -> Result<f64, Box<dyn Error>> {
            let fit = RidgeDesign::new(x.view(), None)?.regress(y.view())?;
            let path = fit.predict_path(held_out.view(), &PENALTIES)?;
            Ok(path.iter().map(|prediction| f64::from(prediction[[3, 5]].abs())).sum())
        };
        self.compare("ridge path", "ridge", &[&x, &held_out, &y], 1e-3, ours, &["numpy", "sklearn"])
    }

    /// One-sample t of every neuron under sign flips, corrected over neurons by the maximum.
    fn test(&self) -> Result<(), Box<dyn Error>> {
        let (images, neurons, flips) = TEST;
        let mut data = normal("data", images, neurons);
        data.slice_mut(ndarray::s![.., ..neurons / 20]).mapv_inplace(|v| v + 0.6);
        let scheme = Scheme::sign_flip(images)?;
        let permutation = Permutation { count: flips, ..Permutation::default() };
        let ours = || -> Result<f64, Box<dyn Error>> {
            let found = mass::one_sample(&permutation, data.view(), &scheme, Seed::new(1))?;
            Ok(found.max_t.significant(0.05).len() as f64)
        };
        // Different random flips, and step-down on one side only: a few neurons more or less.
        self.compare("maxT", "max_t", &[&data], 0.1, ours, &["numpy", "mne"])
    }

    fn compare(
        &self,
        name: &str,
        task: &str,
        arrays: &[&Array2<f32>],
        tolerance: f64,
        ours: impl Fn() -> Result<f64, Box<dyn Error>>,
        peers: &[&str],
    ) -> Result<(), Box<dyn Error>> {
        let file = self.folder.join(task);
        write(&file, arrays)?;
        let path = file.to_str().ok_or("a temporary folder with a name in UTF-8")?;
        let expected = ours()?;
        for kind in peers {
            let mut peer = Peer::start(self.python, "analyses.py", &[path, task, kind])?;
            let answer = peer.ask("run")?;
            let Some(found) = answer["answer"].as_f64() else {
                println!("{name:18} against {kind:8} not compared: {}", answer["missing"]);
                continue;
            };
            if (found - expected).abs() > tolerance * expected.abs() {
                return Err(format!("{name}: {expected} here, {found} in {kind}").into());
            }
            let (mut mine, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..self.pairs {
                let start = Instant::now();
                ours()?;
                let seconds = start.elapsed().as_secs_f64();
                let other = peer.number("run", "seconds")?;
                mine.push(seconds);
                theirs.push(other);
                ratios.push(other / seconds);
            }
            println!(
                "{name:18} dina {:8.3} s, {kind:8} {:8.3} s, ratio {:.2} (answers {expected:.4}, {found:.4})",
                median(&mine),
                median(&theirs),
                median(&ratios)
            );
        }
        Ok(())
    }
}

/// Rows and columns of every matrix as 64-bit integers, and its values.
fn write(path: &Path, arrays: &[&Array2<f32>]) -> std::io::Result<()> {
    let mut writer = BufWriter::new(File::create(path)?);
    for array in arrays {
        for extent in array.shape() {
            writer.write_all(&(*extent as u64).to_le_bytes())?;
        }
        for value in array.iter() {
            writer.write_all(&value.to_le_bytes())?;
        }
    }
    writer.flush()
}
