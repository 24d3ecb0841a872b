//! The same towers under several objectives: is a finding one of the responses, or one of the objective?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dina_core::Seed;
use dina_data::simulate::Population;
use dina_examples::{DataFlags, DeviceKind, Terminal, device, exit, out, set_threads};
use dina_study::claims::{Bands, Claim, DistributedRegions, SparseNeurons};
use dina_study::{
    Job, ObjectiveKind, ObjectiveReport, ObjectiveStudy, Profile, Result, Source, claims_by_objective,
    compare_objectives,
};

/// Trains the towers for contrast (InfoNCE, SigLIP), VICReg, classification, reconstruction and their weighted sum, at equal capacity, data,
/// split, seeds and steps, and compares identification, maps, and what claims come to.
///
/// Writes objectives.html, objectives.json and figures. Objectives that are trained on categories are left out where there are none.
#[derive(Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    data: DataFlags,
    /// Simulated population to take in the place of the default one, such as coarse, fine, category or null
    #[arg(long, value_name = "NAME", conflicts_with = "recording")]
    population: Option<Population>,
    /// An objective to compare, once for each [default: all that the data allow]
    #[arg(long = "objective", value_name = "NAME")]
    objectives: Vec<ObjectiveKind>,
    /// Trainings of each from different seeds [default: 1 in a smoke run, 2 in a quick and 5 in a full one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    seeds: Option<u16>,
    /// Steps of every training [default: 20 in a smoke run, 160 in a quick and 600 in a full one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    steps: Option<u16>,
    /// How much work: smoke, quick or full
    #[arg(long, default_value_t = Profile::Quick)]
    profile: Profile,
    /// What every random draw comes from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Where the towers run
    #[arg(long, value_enum, default_value_t = DeviceKind::Cpu)]
    device: DeviceKind,
    /// Output folder
    #[arg(long, value_name = "DIR", default_value = "dina-objectives")]
    out: PathBuf,
}

fn main() -> ExitCode {
    exit(run(&Flags::parse()))
}

fn run(flags: &Flags) -> Result<()> {
    dina_ops::keep_large_blocks();
    let threads = set_threads(flags.threads.map(usize::from));
    let config = flags.data.config(flags.population, flags.profile, flags.seed);
    let device = device(flags.device)?;
    let job = Job { config, device, threads, out: flags.out.clone(), resume: false };
    let progress = Terminal::default();
    let prepared = job.prepare(&progress)?;
    let mut study = ObjectiveStudy::new(flags.profile);
    if !flags.objectives.is_empty() {
        study.objectives.clone_from(&flags.objectives);
    } else if prepared.dataset.categories.is_none() {
        study.objectives.retain(|objective| !objective.needs_labels());
        out!("no categories are known: objectives that are trained on them are left out");
    }
    study.seeds = flags.seeds.map_or(study.seeds, usize::from);
    study.steps = flags.steps.map_or(study.steps, usize::from);
    let seed = Seed::new(flags.seed).child("objectives");
    let (dataset, folds) = (&prepared.dataset, &prepared.folds);
    let comparison = compare_objectives(dataset, &folds[0], &study, seed, &job.device, &progress)?;
    let claims: [Box<dyn Claim>; 4] = [
        Box::new(Bands::CoarseOverFine),
        Box::new(Bands::FineAdds),
        Box::new(DistributedRegions),
        Box::new(SparseNeurons),
    ];
    let case = (dataset, &prepared.summary, folds.as_slice());
    let findings = claims_by_objective(case, &study, &claims, seed.child("claims"), &job.device, &progress)?;
    let simulated = matches!(job.config.source, Source::Simulated(_));
    let report = ObjectiveReport::new(dataset.recording.origin(), simulated, comparison, findings);
    report.write(&job.out)?;
    for run in &report.comparison.runs {
        out!(
            "{:14} {:11} seed {}: two-way {:.3} [{:.3}, {:.3}], top-1 {:.3} (chance {:.4}), {} of {} channels aligned",
            run.objective.to_string(),
            run.start.to_string(),
            run.seed + 1,
            run.identification.two_way,
            run.two_way_ci[0],
            run.two_way_ci[1],
            run.identification.top1,
            run.identification.chance_top1,
            run.aligned_channels,
            run.channels
        );
    }
    for sentence in report.sentences() {
        out!("{sentence}");
    }
    out!("page: {}", job.out.join("objectives.html").display());
    Ok(())
}
