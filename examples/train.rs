//! The first half of the main job: trains the towers and leaves checkpoints.

use std::process::ExitCode;

use clap::Parser;
use dina_examples::{JobFlags, Terminal, exit, job};
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
            println!(
                "fold {} model {}: best step {} of {}, validation top-1 {:.3}",
                fold + 1,
                model + 1,
                outcome.best_step,
                outcome.steps,
                outcome.best.top1
            );
        }
    }
    println!("checkpoints: {}", job.out.join("checkpoints").display());
    Ok(())
}
