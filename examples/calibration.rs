//! How often the claims are decided right where the truth is known.

use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::Device;
use clap::Parser;
use dina_core::write_atomic;
use dina_data::simulate::Population;
use dina_examples::{JobsFlags, Terminal, exit, out};
use dina_study::Result;
use dina_study::claims::{
    Calibration, Instrument, Rate, Rates, Scope, Verdict, calibrate, experiments, standard,
};
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
        let table = markdown(&found);
        write_atomic(flags.out.join("calibration.md"), |writer| writer.write_all(table.as_bytes()))?;
    }
    Ok(())
}

/// How often, with Wilson's interval.
fn words(rate: Option<Rate>) -> String {
    rate.map_or("-".to_owned(), |r| {
        format!("{:.2} [{:.2}, {:.2}] ({} of {})", r.estimate, r.low, r.high, r.hits, r.runs)
    })
}

fn print(found: &Calibration) {
    for experiment in experiments(&standard()) {
        let rates = found.rates(&experiment);
        out!("{}", experiment.id);
        out!("  power               {}", words(rates.power));
        out!("  false support       {}", words(rates.false_support));
        out!("  false contradiction {}", words(rates.false_contradiction));
    }
}

/// The tables of docs/claims.md.
fn markdown(found: &Calibration) -> String {
    let mut text =
        "| claim | power | false support | false contradiction | instrument |\n|---|---|---|---|---|\n"
            .to_owned();
    let experiments = experiments(&standard());
    for experiment in &experiments {
        let rates = found.rates(experiment);
        let instrument = match Instrument::of(&rates, &Rates::default()) {
            Instrument::Validated => "validated",
            Instrument::NotValidated => "**not validated**",
            _ => "not calibrated",
        };
        text += &format!(
            "| {} | {} | {} | {} | {instrument} |\n",
            experiment.id,
            words(rates.power),
            words(rates.false_support),
            words(rates.false_contradiction)
        );
    }
    text += "\n| population |";
    experiments.iter().for_each(|experiment| text += &format!(" {} |", experiment.id));
    text += &format!("\n|---|{}\n", "---|".repeat(experiments.len()));
    for &population in &found.scope.populations {
        text += &format!("| {population} |");
        for experiment in &experiments {
            let verdicts = found.verdicts(&experiment.id, population);
            let count = |verdict| verdicts.iter().filter(|v| **v == verdict).count();
            let truth = match experiment.truth(population) {
                Some(true) => "true: ",
                Some(false) => "false: ",
                None => "",
            };
            let (yes, no) = (count(Verdict::Supported), count(Verdict::Contradicted));
            text += &format!(" {truth}{yes} / {no} / {} |", verdicts.len() - yes - no);
        }
        text += "\n";
    }
    text
}
