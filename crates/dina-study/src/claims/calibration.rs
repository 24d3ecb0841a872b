use std::path::Path;

use candle_core::Device;
use dina_core::{ContentHash, Seed};
use dina_data::simulate::{Population, SimulationConfig};
use dina_stats::proportion::wilson;
use serde::{Deserialize, Serialize};

use super::study::study_alone;
use super::{Claim, Experiment, Finding, Settings, Verdict, experiments, registration};
use crate::jobs::{Engine, Shard, Store, Work};
use crate::results::write_json;
use crate::{HELD_OUT_FROM, JobConfig, Profile, Progress, RecordingSummary, Result, Source};

/// Which simulated recordings a calibration runs on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    /// The populations.
    pub populations: Vec<Population>,
    /// The seeds; each gives another recording of every population.
    pub seeds: Vec<u64>,
    /// Neurons of a recording.
    pub neurons: usize,
    /// Images of a recording.
    pub images: usize,
    /// Presentations of an image.
    pub repeats: usize,
    /// Size of the towers.
    pub profile: Profile,
    /// What a study costs.
    pub settings: Settings,
}

impl Scope {
    /// All populations that some experiment knows the truth of, at the neurons, repeats and signal level of the default
    /// recording.
    pub fn new(claims: &[Box<dyn Claim>], seeds: Vec<u64>) -> Self {
        let mut populations: Vec<Population> = Vec::new();
        for experiment in experiments(claims) {
            let known = experiment.holds_on.into_iter().chain(experiment.fails_on).chain(experiment.blind_on);
            for population in known {
                if !populations.contains(&population) {
                    populations.push(population);
                }
            }
        }
        let SimulationConfig { neurons, repeats, .. } = Profile::Quick.simulation(0);
        let (profile, settings) = (Profile::Quick, Settings::new(Profile::Quick));
        Self { populations, seeds, neurons, images: IMAGES, repeats, profile, settings }
    }

    /// What ships with a report: recordings of about the size of the one under study, each population once (a few of
    /// them in a smoke run, and many times in a full one).
    pub fn matched(
        claims: &[Box<dyn Claim>],
        recording: &RecordingSummary,
        profile: Profile,
        seed: u64,
    ) -> Self {
        let (runs, neurons, images) = match profile {
            Profile::Smoke => (1, 80, 150),
            // Fewer images would mean folds, and six times the work.
            Profile::Quick => (1, 120, HELD_OUT_FROM),
            Profile::Full => (20, 400, 1600),
        };
        let mut scope = Self::new(claims, (1..=runs).map(|k| CALIBRATION_SEEDS + 1000 * seed + k).collect());
        if profile == Profile::Smoke {
            scope
                .populations
                .retain(|p| matches!(p, Population::Coarse | Population::Fine | Population::Null));
        }
        scope.settings = Settings::new(profile);
        scope.neurons = recording.neurons.min(neurons);
        scope.images = recording.stimuli.min(images);
        scope.repeats = recording.repeats.clamp(2, 4);
        scope
    }

    /// The recordings, one an entry.
    fn cells(&self) -> Vec<(Population, u64)> {
        let each = |&seed: &u64| self.populations.iter().map(move |&population| (population, seed));
        self.seeds.iter().flat_map(each).collect()
    }

    fn simulation(&self, population: Population, seed: u64) -> SimulationConfig {
        SimulationConfig {
            neurons: self.neurons,
            images: self.images,
            repeats: self.repeats,
            seed,
            ..SimulationConfig::new(population)
        }
    }

    /// What makes a cell this one: experiments, settings, population and seed.
    fn key(&self, registered: ContentHash, population: Population, seed: u64) -> ContentHash {
        let simulation = serde_json::to_string(&self.simulation(population, seed)).unwrap_or_default();
        let settings = serde_json::to_string(&(self.settings, self.profile)).unwrap_or_default();
        let registered = registered.to_string();
        let version = env!("CARGO_PKG_VERSION");
        ContentHash::of([
            registered.as_bytes(),
            simulation.as_bytes(),
            settings.as_bytes(),
            version.as_bytes(),
        ])
    }
}

/// Images of the recordings of a full calibration: its cost grows with their cube.
const IMAGES: usize = 600;

/// Seeds of calibrations that ship with a report start here, so that none is a seed that anything was developed on.
const CALIBRATION_SEEDS: u64 = 1_000_000;

/// What the study said of one simulated recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The population.
    pub population: Population,
    /// The seed.
    pub seed: u64,
    /// One entry an experiment.
    pub findings: Vec<CellFinding>,
}

/// What it said of one experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellFinding {
    /// Name of the experiment.
    pub id: String,
    /// What is true of the population; `None` where its construction does not settle it.
    pub truth: Option<bool>,
    /// The verdict.
    pub verdict: Verdict,
    /// The effect.
    pub effect: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// p of the null, adjusted.
    pub p_adjusted: Option<f64>,
}

impl CellFinding {
    fn new(finding: &Finding, population: Population) -> Self {
        // An effect that says nothing is not shown beside others that do.
        let effect = finding.effect.as_ref().filter(|_| finding.reason.is_none());
        Self {
            id: finding.experiment.id.clone(),
            truth: finding.experiment.truth(population),
            verdict: finding.verdict,
            effect: effect.map(|e| e.estimate),
            interval: effect.map(|e| [e.low, e.high]),
            p_adjusted: finding.p_adjusted,
        }
    }
}

/// How often something happened.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// How often.
    pub hits: usize,
    /// Of how many.
    pub runs: usize,
    /// `hits` over `runs`.
    pub estimate: f64,
    /// Lower end of Wilson's 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Rate {
    /// The rate with its interval.
    ///
    /// # Errors
    /// Without any run.
    pub fn new(hits: usize, runs: usize) -> Result<Self> {
        let found = wilson(hits, runs, 0.95)?;
        Ok(Self { hits, runs, estimate: hits as f64 / runs as f64, low: found.low, high: found.high })
    }
}

/// How often an instrument is right and wrong; `None` where no recording of that kind was run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// How often it supports a true statement.
    pub power: Option<Rate>,
    /// How often it supports a false one.
    pub false_support: Option<Rate>,
    /// How often it contradicts a true one.
    pub false_contradiction: Option<Rate>,
}

/// What a study says of recordings whose truth is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Hash of the experiments, their rule of decision and their measurements.
    pub registration: ContentHash,
    /// What it ran on.
    pub scope: Scope,
    /// One entry a recording.
    pub cells: Vec<Cell>,
}

impl Calibration {
    /// The full calibration of the claims of [`standard`](super::standard) that comes with this version; `None` where
    /// other experiments are registered than it was made for.
    pub fn reference(claims: &[Box<dyn Claim>]) -> Option<Self> {
        let registered = registration(&experiments(claims));
        let found: Self = serde_json::from_str(include_str!("../../calibration/reference.json")).ok()?;
        (found.registration == registered).then_some(found)
    }

    /// How often an experiment is right and wrong.
    pub fn rates(&self, experiment: &Experiment) -> Rates {
        let rate = |truth: bool, verdict: Verdict| {
            let known = self.cells.iter().flat_map(|cell| &cell.findings);
            let verdicts: Vec<Verdict> = known
                .filter(|f| f.id == experiment.id && f.truth == Some(truth))
                .map(|f| f.verdict)
                .collect();
            Rate::new(verdicts.iter().filter(|v| **v == verdict).count(), verdicts.len()).ok()
        };
        Rates {
            power: rate(true, Verdict::Supported),
            false_support: rate(false, Verdict::Supported),
            false_contradiction: rate(true, Verdict::Contradicted),
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// The verdicts on one population.
    pub fn verdicts(&self, id: &str, population: Population) -> Vec<Verdict> {
        let cells = self.cells.iter().filter(|cell| cell.population == population);
        cells.flat_map(|c| &c.findings).filter(|f| f.id == id).map(|f| f.verdict).collect()
    }
}

/// A scope with what is run on it.
struct CellWork<'a> {
    scope: &'a Scope,
    claims: &'a [Box<dyn Claim>],
    device: &'a Device,
    registered: ContentHash,
    population: Population,
    seed: u64,
}

impl Work for CellWork<'_> {
    type Output = Cell;

    fn key(&self) -> ContentHash {
        self.scope.key(self.registered, self.population, self.seed)
    }

    fn name(&self) -> String {
        format!("{}, seed {}", self.population, self.seed)
    }

    /// Kernels and maps of the images, and the responses; measured, and rounded up.
    fn memory(&self) -> u64 {
        let Scope { images, neurons, repeats, .. } = self.scope;
        (400 << 20) + (*images as u64) * ((1 << 20) + 16 * (*neurons * *repeats) as u64)
    }

    fn run(&self) -> Result<Cell> {
        let source = Source::Simulated(Box::new(self.scope.simulation(self.population, self.seed)));
        let config = JobConfig { source, ..JobConfig::simulated(self.scope.profile, self.seed) };
        let seed = Seed::new(self.seed).child("claims");
        let (_, findings) = study_alone(&config, self.claims, self.scope.settings, seed, self.device)?;
        let findings = findings.iter().map(|finding| CellFinding::new(finding, self.population)).collect();
        Ok(Cell { population: self.population, seed: self.seed, findings })
    }
}

/// Runs the study on every simulated recording of a scope, or on a part of them.
///
/// Each recording is a [`Work`] of its own: what the store has is not done again, a killed calibration goes on, several
/// processes can share the work, a part each, and a last call for the whole merges.
///
/// # Errors
/// When a recording cannot be simulated or studied, or a file not be written.
pub fn calibrate(
    scope: &Scope,
    claims: &[Box<dyn Claim>],
    (engine, store, shard): (&Engine, Option<&Store>, Shard),
    device: &Device,
    progress: &dyn Progress,
) -> Result<Calibration> {
    let registered = registration(&experiments(claims));
    let cell = |(population, seed)| CellWork { scope, claims, device, registered, population, seed };
    let work: Vec<CellWork<'_>> = shard.of(&scope.cells()).into_iter().map(cell).collect();
    let cells = engine.run(&work, store, progress)?;
    Ok(Calibration { registration: registered, scope: scope.clone(), cells })
}
