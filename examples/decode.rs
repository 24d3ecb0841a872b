//! The second half of the main job: decodes with trained towers and the baselines, and writes the report.

use std::process::ExitCode;

use clap::Parser;
use dina_examples::{JobFlags, Terminal, exit, out, trained};
use dina_study::Result;

/// Decodes held-out images from the checkpoints that `train` left, and writes results.json and report.html.
///
/// Give the same flags as `train`: another recording, seed, profile or split is refused.
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
    let progress = Terminal::default();
    let (job, prepared, trained) = trained(&flags.job, &progress)?;
    job.finish(prepared, &trained, None, &progress)?;
    out!("report: {}", job.out.join("report.html").display());
    Ok(())
}
