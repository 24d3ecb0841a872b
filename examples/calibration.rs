//! How often the claims are decided right where the truth is known.

use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::Device;
use clap::Parser;
use dina_data::simulate::Population;
use dina_examples::{JobsFlags, Terminal, exit};
use dina_study::Result;
use dina_study::claims::{Calibration, Scope, calibrate, standard};
use dina_study::jobs::{Shard, Store};

/// Runs the study of claims on simulated populations whose truth is known, and counts how often each claim is
/// supported where it is true and where it is false.
///
/// Every recording is kept in the output folder as soon as it is done: the program goes on where it was stopped. Several
/// processes (`--shard 1/4` to `--shard 4/4`) share the work, a last call without `--shard` merges; `--engine slurm` does
/// that as a job array of a cluster.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// First seed
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Seeds, each another recording of every population
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Populations [default: all whose truth some claim knows]
    #[arg(long = "population", value_name = "NAME")]
    populations: Vec<Population>,
    /// Neurons of a recording
    #[arg(long)]
    neurons: Option<usize>,
    /// Images of a recording
    #[arg(long)]
    images: Option<usize>,
    /// Where the work is done, and how it is divided
    #[command(flatten)]
    jobs: JobsFlags,
    /// Output folder
    #[arg(long, value_name = "DIR", default_value = "dina-calibration")]
    out: PathBuf,
}

fn main() -> ExitCode {
    exit(run(&Flags::parse()))
}

fn run(flags: &Flags) -> Result<()> {
    dina_ops::keep_large_blocks();
    let claims = standard();
    let mut scope = Scope::new(&claims, (flags.from..flags.from + flags.seeds).collect());
    if !flags.populations.is_empty() {
        scope.populations.clone_from(&flags.populations);
    }
    scope.neurons = flags.neurons.unwrap_or(scope.neurons);
    scope.images = flags.images.unwrap_or(scope.images);
    let progress = Terminal::default();
    let store = Store::new(flags.out.join("cells"));
    let engine = flags.jobs.engine(&flags.out)?;
    let how = (&engine, Some(&store), flags.jobs.shard);
    let found = calibrate(&scope, &claims, how, &Device::Cpu, &progress)?;
    print(&found);
    if flags.jobs.shard == Shard::WHOLE {
        found.write(&flags.out.join("calibration.json"))?;
    }
    Ok(())
}

fn print(found: &Calibration) {
    for claim in standard() {
        let experiment = claim.experiment();
        println!("{}", experiment.id);
        let rates = found.rates(&experiment);
        let named = [
            ("power", rates.power),
            ("false support", rates.false_support),
            ("false contradiction", rates.false_contradiction),
        ];
        for (what, rate) in named {
            if let Some(rate) = rate {
                println!(
                    "  {what:20} {} of {}: {:.3} [{:.3}, {:.3}]",
                    rate.hits, rate.runs, rate.estimate, rate.low, rate.high
                );
            }
        }
        for cell in &found.cells {
            for f in cell.findings.iter().filter(|f| f.id == experiment.id) {
                let truth = f.truth.map_or("open", |truth| if truth { "true" } else { "false" });
                let [low, high] = f.interval.unwrap_or([f64::NAN; 2]);
                println!(
                    "  {:12} {:4} {truth:5} {:24} {:7.3} [{low:.3}, {high:.3}] p {:.4}",
                    cell.population.to_string(),
                    cell.seed,
                    f.verdict.to_string(),
                    f.effect.unwrap_or(f64::NAN),
                    f.p_adjusted.unwrap_or(f64::NAN)
                );
            }
        }
    }
}
