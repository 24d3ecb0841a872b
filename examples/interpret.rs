//! What trained towers share, where, and which neurons carry it.

use std::process::ExitCode;

use clap::Parser;
use dina_examples::{JobFlags, Terminal, exit, out, trained};
use dina_study::{InterpretationConfig, Result};

/// Analyses a checkpoint that `train` or `reproduce` left, on held-out images, and writes interpretation.html,
/// interpretation.json, maps.safetensors and figures.
///
/// Give the same flags as `train`: another recording, seed, profile or split is refused.
#[derive(Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    job: JobFlags,
    /// The fold whose model is analysed, from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    fold: u16,
    /// The model of that fold, from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    model: u16,
}

fn main() -> ExitCode {
    exit(run(&Flags::parse()))
}

fn run(flags: &Flags) -> Result<()> {
    let progress = Terminal::default();
    let (job, prepared, trained) = trained(&flags.job, &progress)?;
    let config = InterpretationConfig::new(flags.job.profile);
    let which = (usize::from(flags.fold) - 1, usize::from(flags.model) - 1);
    let found = job.interpret(&prepared, &trained, which, &config, &progress)?;
    found.write(&job.out)?;
    for sentence in found.results.sentences() {
        out!("{sentence}");
    }
    out!("page: {}", job.out.join("interpretation.html").display());
    Ok(())
}
