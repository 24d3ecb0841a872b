//! The first half of the main job: trains the towers and leaves checkpoints.

use std::process::ExitCode;

use clap::Parser;
use dina_examples::{JobFlags, Terminal, exit, job, out};
use dina_study::Result;

/// Trains the towers of every fold; `decode` with the same flags goes on from the checkpoints.
///
/// Killed at any moment, it goes on with --resume and ends with the result of an undisturbed run.
#[derive(Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    job: JobFlags,
    /// Take over finished models and unfinished trainings of the same job in the output folder
    #[arg(long)]
    resume: bool,
}

fn main() -> ExitCode {
    exit(run(&Flags::parse()))
}

fn run(flags: &Flags) -> Result<()> {
    let job = job(&flags.job, flags.resume)?;
    let progress = Terminal::default();
    let mut prepared = job.prepare(&progress)?;
    let trained = job.train(&mut prepared, &progress)?;
    for (fold, trained) in trained.iter().enumerate() {
        for (model, record) in trained.records.iter().enumerate() {
            let outcome = &record.outcome;
            let (fold, model) = (fold + 1, model + 1);
            let (kept, steps) = (outcome.best_step, outcome.steps);
            match (&outcome.best, &outcome.start) {
                (Some(best), Some(start)) => out!(
                    "fold {fold} model {model}: step {kept} of {steps} kept, validation top-1 {:.3}, {:.3} before training",
                    best.top1,
                    start.top1
                ),
                _ => out!(
                    "fold {fold} model {model}: all {steps} steps taken, no images held out for validation"
                ),
            }
        }
    }
    out!("checkpoints: {}", job.out.join("checkpoints").display());
    Ok(())
}
