//! Writes a simulated recording in the layout of the Stringer deposit.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dina_core::{FolderLock, write_atomic};
use dina_data::simulate::{Population, SimulationConfig, simulate};
use dina_data::{Session, write_categories_mat, write_images_mat, write_recording_mat};
use dina_examples::{Terminal, exit, out};
use dina_study::{Error, Progress, Result};

/// Simulates a population of visual neurons, whose code is known, that looks at natural-like images.
///
/// Writes recording.mat, images.mat and classes.mat (MAT v5, compressed, as in the deposit) and truth.json.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Output folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of neurons
    #[arg(long, value_name = "N", default_value_t = 1000)]
    neurons: usize,
    /// Number of images
    #[arg(long, value_name = "S", default_value_t = 1600)]
    images: usize,
    /// Population: v1 (calibrated), coarse, fine, category, mixed, shape, texture, local, distributed, sparse, dense,
    /// interacting or null (no stimulus information)
    #[arg(long, value_name = "NAME", default_value_t = Population::V1)]
    population: Population,
    /// Share of the category in the population `mixed`, from 0 to 1; `--population mixed:X` says the same
    #[arg(long, value_name = "X")]
    dial: Option<f32>,
    /// Which animal: other neurons of the same kind that see the same images
    #[arg(long, value_name = "N", default_value_t = 0)]
    mouse: u32,
    /// What every random draw comes from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    exit(run(&Flags::parse()))
}

fn run(flags: &Flags) -> Result<()> {
    let progress = Terminal::default();
    let population = match flags.dial {
        Some(share) => flags.population.with_dial(share)?,
        None => flags.population,
    };
    let config = SimulationConfig {
        neurons: flags.neurons,
        images: flags.images,
        seed: flags.seed,
        mouse: flags.mouse,
        ..SimulationConfig::new(population)
    };
    // Files of two populations in one folder would not belong together.
    let lock = FolderLock::acquire(&flags.out)?;
    lock.remove_partial(&flags.out)?;
    progress.begin("simulate", 0);
    let made = simulate(&config, &|at| {
        progress.advance(at.done, at.stage.name());
    })?;
    progress.end();
    progress.begin("write", 4);
    let file = |name: &str| flags.out.join(name);
    let mouse_name = match flags.mouse {
        0 => "simulated".into(),
        mouse => format!("simulated-{mouse}"),
    };
    let session = Session { mouse_name, date: "2026-01-01".into(), ..Session::default() };
    write_recording_mat(file("recording.mat"), &made.recording, &session)?;
    progress.advance(1, "recording.mat");
    write_images_mat(file("images.mat"), &made.images)?;
    progress.advance(2, "images.mat");
    write_categories_mat(file("classes.mat"), &made.categories)?;
    progress.advance(3, "classes.mat");
    let truth = serde_json::to_vec(&made.truth).map_err(|e| Error::Job(format!("truth.json: {e}")))?;
    write_atomic(file("truth.json"), |writer| writer.write_all(&truth))?;
    progress.end();
    for name in ["recording.mat", "images.mat", "classes.mat", "truth.json"] {
        out!("{}", file(name).display());
    }
    Ok(())
}
