//! The study of claims over several mice.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dina_examples::{DeviceKind, JobsFlags, Terminal, device, exit, out};
use dina_study::claims::{Cohort, Mouse, Settings, cohort, standard};
use dina_study::cohort::{Shared, page, shared};
use dina_study::jobs::{Shard, Store};
use dina_study::{JobConfig, Profile, Result, Source};

/// Puts the claims to the test in every mouse of a cohort, and sums up with mice as the sample: random-effects mean
/// with its interval, signs, and a verdict. Then fits one image tower for all mice, leaves each out in turn, and compares
/// which channels align in which mouse.
///
/// Without recordings the mice are simulated. Writes cohort.json, cohort.html and figures/ into the output folder, and every mouse into cells/ as
/// soon as it is done; see `calibration` for engines and shards.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// A mouse and its recording, as in MP032=recording.mat; one for each mouse
    #[arg(long = "recording", value_name = "MOUSE=FILE", value_parser = named, requires = "images")]
    recordings: Vec<(String, PathBuf)>,
    /// Images that all of them were shown
    #[arg(long, value_name = "FILE", requires = "recordings")]
    images: Option<PathBuf>,
    /// Categories of the images (MATLAB)
    #[arg(long, value_name = "FILE", requires = "recordings")]
    classes: Option<PathBuf>,
    /// Simulated mice, where there are no recordings
    #[arg(long, default_value_t = 4)]
    mice: u32,
    /// Simulated population
    #[arg(long, value_name = "NAME", default_value_t, conflicts_with = "recordings")]
    population: dina_data::simulate::Population,
    /// How much work: smoke, quick or full
    #[arg(long, default_value_t = Profile::Quick)]
    profile: Profile,
    /// What every random draw comes from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the towers run
    #[arg(long, value_enum, default_value_t = DeviceKind::Cpu)]
    device: DeviceKind,
    /// Where the work is done, and how it is divided
    #[command(flatten)]
    jobs: JobsFlags,
    /// Output folder
    #[arg(long, value_name = "DIR", default_value = "dina-cohort")]
    out: PathBuf,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("give a mouse and a file, as in MP032=recording.mat")?;
    Ok((name.into(), path.into()))
}

fn main() -> ExitCode {
    exit(run(&Flags::parse()))
}

fn run(flags: &Flags) -> Result<()> {
    dina_ops::keep_large_blocks();
    let progress = Terminal::default();
    let store = Store::new(flags.out.join("cells"));
    let engine = flags.jobs.engine(&flags.out)?;
    let how = (&engine, Some(&store), flags.jobs.shard);
    let settings = Settings::new(flags.profile);
    let device = device(flags.device)?;
    let mice = mice(flags);
    let mut found = cohort(&mice, &standard(), settings, how, &device, &progress)?;
    // One mouse has nobody to share a tower with.
    if mice.len() > 1 {
        found.shared = shared(&mice, settings, how, &device, &progress)?;
    }
    if flags.jobs.shard == Shard::WHOLE {
        print(&found);
        found.shared.iter().for_each(print_shared);
        found.write(&flags.out.join("cohort.json"))?;
        let simulated = flags.images.is_none();
        let subject = if simulated {
            format!("{} simulated mice, population `{}`, seed {}", mice.len(), flags.population, flags.seed)
        } else {
            let names: Vec<&str> = mice.iter().map(|mouse| mouse.name.as_str()).collect();
            format!("Recordings of {}", names.join(", "))
        };
        page(&found, &subject, simulated).write(&flags.out, "cohort")?;
    }
    Ok(())
}

fn mice(flags: &Flags) -> Vec<Mouse> {
    let recorded = flags.images.iter().flat_map(|images| {
        flags.recordings.iter().map(move |(name, recording)| Mouse {
            name: name.clone(),
            config: JobConfig::recorded(
                recording.clone(),
                images.clone(),
                flags.classes.clone(),
                flags.profile,
                flags.seed,
            ),
        })
    });
    let simulated = (0..flags.mice).map(|mouse| {
        let mut config = JobConfig::simulated(flags.profile, flags.seed);
        if let Source::Simulated(simulation) = &mut config.source {
            (simulation.population, simulation.mouse) = (flags.population, mouse);
        }
        Mouse { name: format!("simulated-{}", mouse + 1), config }
    });
    if flags.images.is_some() { recorded.collect() } else { simulated.collect() }
}

fn print(found: &Cohort) {
    out!(
        "{:13} {:15} {:>8} {:>18} {:>8} {:>6}  by mouse",
        "claim",
        "verdict",
        "mean",
        "interval",
        "p",
        "signs"
    );
    for claim in &found.claims {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.3}"));
        let mean = claim.mean.as_ref();
        let interval = mean.map_or("-".to_owned(), |m| format!("[{:.3}, {:.3}]", m.low, m.high));
        let signs = claim.signs.as_ref();
        let signs = signs.map_or("-".to_owned(), |s| format!("{}/{}", s.positive, s.estimates.len()));
        let mice: Vec<String> = claim.effects.iter().map(|effect| number(*effect)).collect();
        out!(
            "{:13} {:15} {:>8} {:>18} {:>8} {:>6}  {}",
            claim.experiment.id,
            claim.verdict.to_string(),
            number(mean.map(|m| m.estimate)),
            interval,
            number(claim.p_adjusted),
            signs,
            mice.join(" ")
        );
    }
}

fn print_shared(found: &Shared) {
    out!(
        "\none image tower for all mice: {} test images in {} fold(s), chance top-1 {:.4}, two-way 0.5",
        found.images,
        found.image_folds,
        found.chance_top1
    );
    out!(
        "{:18} {:8} {:>7} {:>17} {:>17} {:>7} {:>6}  by mouse",
        "channels chosen by",
        "measure",
        "mean",
        "interval",
        "hierarchical",
        "p",
        "signs"
    );
    for row in &found.identification {
        let mice: Vec<String> = row.mice.iter().map(|value| format!("{value:.3}")).collect();
        let signs = row.signs.as_ref();
        out!(
            "{:18} {:8} {:>7.3} {:>17} {:>17} {:>7.4} {:>6}  {}",
            row.quantity.to_string(),
            format!("{:?}", row.measure),
            row.mean.estimate,
            format!("[{:.3}, {:.3}]", row.mean.low, row.mean.high),
            format!("[{:.3}, {:.3}]", row.low, row.high),
            row.p_adjusted,
            signs.map_or("-".to_owned(), |s| format!("{}/{}", s.positive, s.estimates.len())),
            mice.join(" ")
        );
    }
    let agreement = &found.agreement;
    let of = |name: &str, found: &dina_study::cohort::PairAgreement| {
        let agree = found.pairs.iter().filter(|pair| pair.p_adjusted <= 0.05).count();
        let (mean, low, high, pairs) = (found.mean, found.low, found.high, found.pairs.len());
        out!("{name}: {mean:.3} [{low:.3}, {high:.3}], {agree} of {pairs} pairs significant");
    };
    if let Some(found) = &agreement.alignability {
        of("alignability over channels, correlation of two mice", found);
    }
    of("neural maps of two mice, debiased CKA", &agreement.neural);
    of("image maps of their own towers, debiased CKA", &agreement.image);
    out!("image maps with those of random channels: {:.3}", agreement.image_random);
}
