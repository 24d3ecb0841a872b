//! What trained towers share, where, and which neurons carry it.

use std::process::ExitCode;

use clap::Parser;
use dina_examples::{JobFlags, Terminal, exit, job};
use dina_study::{InterpretationConfig, Result};

/// Analyses the checkpoints that `train` or `reproduce` left, on held-out images, and writes interpretation.json and
/// maps.safetensors.
///
/// Give the same flags as `train`: another recording, seed, profile or split is refused. The first model of the first
/// fold is analysed.
#[derive(Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    job: JobFlags,
}

fn main() -> ExitCode {
    exit(run(&Flags::parse()))
}

fn run(flags: &Flags) -> Result<()> {
    let job = job(&flags.job, true)?;
    let progress = Terminal::default();
    let prepared = job.prepare(&progress)?;
    let trained = job.load_trained(&prepared)?;
    let config = InterpretationConfig::new(flags.job.profile);
    let found = job.interpret(&prepared, &trained, &config, &progress)?;
    found.write(&job.out)?;
    for sentence in found.results.sentences() {
        println!("{sentence}");
    }
    println!("results: {}", job.out.join("interpretation.json").display());
    Ok(())
}
