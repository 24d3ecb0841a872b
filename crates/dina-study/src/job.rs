use std::path::PathBuf;
use std::time::Instant;

use candle_core::Device;
use dina_core::{FolderLock, Seed};
use dina_decode::identification::{Decoder, Trials};
use dina_interp::{Alignability, AlignabilityConfig, alignability};
use ndarray::Array4;

use crate::claims::{self, Calibration, Case, Claim, Scope, Settings, Studied};
use crate::fold::split_hash;
use crate::jobs::{Engine, Shard, Store};
use crate::memory::JobSize;
use crate::results::{BaselineChoice, Hashes, peak_memory, resident_memory};
use crate::towers::level_array;
use crate::{
    Dataset, Decoded, Error, Fold, JobConfig, Measure, Progress, RecordingSummary, Result, Results, SCHEMA,
    Trained, Training, compare, decode, identification, prepare, report,
};

/// The main job: a recording to a report, in stages that also run one at a time.
pub struct Job {
    /// What the result depends on.
    pub config: JobConfig,
    /// Where towers run.
    pub device: Device,
    /// Threads that the process was started with, for the record.
    pub threads: usize,
    /// The output folder.
    pub out: PathBuf,
    /// Whether finished models and unfinished trainings in the folder are taken over.
    pub resume: bool,
}

/// What is there before anything is trained.
pub struct Prepared {
    /// The recording and its images.
    pub dataset: Dataset,
    /// What can be said of it.
    pub summary: RecordingSummary,
    /// The splits, with what was fitted on their training views.
    pub folds: Vec<Fold>,
    stages: Vec<(String, f64)>,
    /// Keeps other runs out of the output folder.
    lock: FolderLock,
}

impl Job {
    /// Takes the output folder, loads or simulates, measures the recording, and fits preprocessing and window.
    ///
    /// As long as what it returns lives, no other job gets the folder. What a killed run left half written there is removed.
    ///
    /// # Errors
    /// When another run writes into the folder, the job would take more memory than there is, or the data cannot be used;
    /// the message names folder or file, variable and remedy.
    pub fn prepare(&self, progress: &dyn Progress) -> Result<Prepared> {
        let lock = self.take_folder(progress)?;
        // Read much later: said before anything is computed.
        for backbone in &self.config.backbones {
            let path = &backbone.path;
            std::fs::File::open(path)
                .map_err(|source| dina_core::Error::Io { path: path.clone(), source })?;
        }
        if let Some(size) = JobSize::of_config(&self.config) {
            size.require()?;
        }
        let mut watch = Stopwatch::default();
        let stage = match self.config.source {
            crate::Source::Simulated(_) => "simulate",
            crate::Source::Files { .. } => "read",
        };
        let dataset = watch.time(stage, || Dataset::load(&self.config.source, progress))?;
        JobSize::of(&dataset, &self.config).require()?;
        let summary = watch.time("measure", || RecordingSummary::new(&dataset.recording))?;
        summary.require_repeats()?;
        let folds = watch.time("prepare", || prepare(&dataset, &self.config, progress))?;
        for note in folds.iter().flat_map(|fold| &fold.notes) {
            progress.say(note);
        }
        Ok(Prepared { dataset, summary, folds, stages: watch.stages, lock })
    }

    fn take_folder(&self, progress: &dyn Progress) -> Result<FolderLock> {
        let lock = FolderLock::acquire(&self.out)?;
        if !lock.is_held() {
            progress.say(&format!(
                "{}: the file system has no locks; take care that no other run writes there",
                self.out.display()
            ));
        }
        for folder in ["", "checkpoints", "figures", "calibration"] {
            lock.remove_partial(self.out.join(folder))?;
        }
        Ok(lock)
    }

    fn training<'a>(&'a self, prepared: &'a Prepared) -> Training<'a> {
        Training {
            dataset: &prepared.dataset,
            folds: &prepared.folds,
            config: &self.config,
            device: &self.device,
            out: &self.out,
            resume: self.resume,
        }
    }

    /// Trains the towers of every fold and writes checkpoints and log.
    ///
    /// # Errors
    /// As [`Training::run`].
    pub fn train(&self, prepared: &mut Prepared, progress: &dyn Progress) -> Result<Vec<Trained>> {
        let start = Instant::now();
        let trained = self.training(prepared).run(progress)?;
        prepared.stages.push(("train".into(), start.elapsed().as_secs_f64()));
        Ok(trained)
    }

    /// Reads the trained towers of the output folder.
    ///
    /// # Errors
    /// As [`Training::load`].
    pub fn load_trained(&self, prepared: &Prepared) -> Result<Vec<Trained>> {
        self.training(prepared).load()
    }

    /// Puts claims to the test, and their instruments with them: on simulated recordings of about the size of this one,
    /// kept in `calibration/` of the output folder.
    ///
    /// # Errors
    /// As [`claims::study`] and [`claims::calibrate`].
    pub fn study(
        &self,
        prepared: &mut Prepared,
        claims: &[Box<dyn Claim>],
        progress: &dyn Progress,
    ) -> Result<Studied> {
        let mut watch = Stopwatch::default();
        let JobConfig { profile, seed, .. } = self.config;
        let draws = Seed::new(seed).child("claims");
        let Prepared { dataset, summary, folds, .. } = &*prepared;
        JobSize::of(dataset, &self.config).require_for_claims(resident_memory().unwrap_or(0))?;
        let (findings, spectrum, basis) = watch.time("claims", || {
            let sizes = (Settings::new(profile), profile);
            let case = Case::new(dataset, summary, folds, sizes, draws, &self.device);
            let findings = claims::study(&case, claims, draws, progress)?;
            let spectrum = claims::spectrum(&case, draws.child("spectrum"))?;
            let basis = claims::basis(&case, &self.config.backbones, draws.child("basis"))?;
            Ok::<_, Error>((findings, spectrum, basis))
        })?;
        let scope = Scope::matched(claims, summary, profile, seed);
        let store = Store::new(self.out.join("calibration"));
        let engine = Engine::default();
        let here = watch.time("calibrate", || {
            let how = (&engine, Some(&store), Shard::WHOLE);
            claims::calibrate(&scope, claims, how, &self.device, progress)
        })?;
        let reference = Calibration::reference(claims);
        prepared.stages.extend(watch.stages);
        Ok(Studied {
            registration: here.registration,
            claims: claims::judge(findings, reference.as_ref(), Some(&here)),
            spectrum,
            basis,
            reference,
            here: Some(here),
        })
    }

    /// Decodes the test images with DINA and the baselines, and writes `results.json`, the figures and
    /// `report.html`.
    ///
    /// # Errors
    /// When a decoder cannot be fitted or a file not be written.
    pub fn finish(
        &self,
        prepared: Prepared,
        trained: &[Trained],
        studied: Option<&Studied>,
        progress: &dyn Progress,
    ) -> Result<Results> {
        let Prepared { dataset, summary, folds, stages, lock: _lock } = prepared;
        let mut watch = Stopwatch { stages };
        let seed = Seed::new(self.config.seed).child("statistics");
        let permutations = self.config.profile.permutations();
        let (decoded, choices) = watch.time("decode", || decode(&dataset, &folds, trained, progress))?;
        let (identification, comparisons, aligned) = watch.time("test", || {
            let rows = identification(&decoded, permutations, seed.child("identification"))?;
            let (measure, trials) = primary(&folds, &summary);
            let compared = compare(&decoded, measure, trials, permutations, seed.child("comparison"))?;
            let aligned = align(&dataset, &folds, trained, permutations, seed.child("alignability"))?;
            Ok::<_, Error>((rows, compared, aligned))
        })?;
        let mut results = Results {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            profile: self.config.profile.to_string(),
            seed: self.config.seed,
            device: device_name(&self.device).into(),
            threads: self.threads,
            hashes: Hashes {
                data: dataset.hash,
                split: split_hash(&folds),
                configuration: self.config.hash(),
            },
            seconds: watch.stages.iter().cloned().collect(),
            peak_memory_bytes: peak_memory(),
            notes: notes(&folds),
            recording: summary,
            identification,
            comparisons,
            baselines: choices
                .into_iter()
                .map(|(decoder, choice)| BaselineChoice { decoder, choice })
                .collect(),
            alignability: Some(aligned),
            claims: studied.map_or(Vec::new(), |studied| studied.claims.clone()),
            registration: studied.map(|studied| studied.registration),
            spectrum: studied.map_or(Vec::new(), |studied| studied.spectrum.clone()),
            basis: studied.map(|studied| studied.basis.clone()),
        };
        let start = Instant::now();
        let material = report::Material {
            job: self,
            dataset: &dataset,
            folds: &folds,
            trained,
            decoded: &decoded,
            results: &results,
            stages: &watch.stages,
            studied,
        };
        let page = report::build(&material)?;
        dina_report::write(&page, &self.out)?;
        results.seconds.insert("report".into(), start.elapsed().as_secs_f64());
        results.peak_memory_bytes = peak_memory();
        results.write(&self.out.join("results.json"))?;
        Ok(results)
    }

    /// The whole job, with these claims; [`claims::standard`] has those of the paper.
    ///
    /// # Errors
    /// As its stages.
    pub fn run(&self, claims: &[Box<dyn Claim>], progress: &dyn Progress) -> Result<Results> {
        let mut prepared = self.prepare(progress)?;
        let trained = self.train(&mut prepared, progress)?;
        let studied = self.study(&mut prepared, claims, progress)?;
        self.finish(prepared, &trained, Some(&studied), progress)
    }
}

/// What the report leads with: with two repeats single trials, with more their means; top-1 on one held-out test set,
/// two-way identification in cross-validation, where it says more on a few candidates.
pub(crate) fn primary(folds: &[Fold], summary: &RecordingSummary) -> (Measure, Trials) {
    let measure = if folds.len() == 1 { Measure::Top1 } else { Measure::TwoWay };
    let trials = if summary.repeats <= 2 { Trials::Single } else { Trials::Mean };
    (measure, trials)
}

/// Alignability on the test images of the first fold, for its first model.
fn align(
    dataset: &Dataset,
    folds: &[Fold],
    trained: &[Trained],
    permutations: usize,
    seed: Seed,
) -> Result<Alignability> {
    let (image, neural) = test_maps(dataset, &folds[0], &trained[0])?;
    let config = AlignabilityConfig { permutations, ..AlignabilityConfig::default() };
    Ok(alignability(&image, &neural, &config, seed)?)
}

/// Maps of the test images of a fold from its first model: of the images, and of the mean responses to them.
pub(crate) fn test_maps(
    dataset: &Dataset,
    fold: &Fold,
    trained: &Trained,
) -> Result<(Array4<f32>, Array4<f32>)> {
    let views = fold.views(dataset)?;
    let towers = &trained.members[0];
    let images = fold.select(views.test.images());
    let means = views.test.repeat_means(&fold.responses)?;
    Ok((level_array(&towers.image_maps(images.view())?)?, level_array(&towers.neural_maps(means.view())?)?))
}

fn notes(folds: &[Fold]) -> Vec<String> {
    let mut notes = Vec::new();
    for note in folds.iter().flat_map(|fold| &fold.notes) {
        if !notes.contains(note) {
            notes.push(note.clone());
        }
    }
    notes
}

pub(crate) fn device_name(device: &Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Metal(_) => "metal",
    }
}

/// Wall time by stage.
#[derive(Default)]
struct Stopwatch {
    stages: Vec<(String, f64)>,
}

impl Stopwatch {
    fn time<T, E>(&mut self, stage: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let start = Instant::now();
        let done = work()?;
        self.stages.push((stage.into(), start.elapsed().as_secs_f64()));
        Ok(done)
    }
}

/// What one decoder gave.
pub(crate) fn find(decoded: &[Decoded], decoder: Decoder) -> Option<&Decoded> {
    decoded.iter().find(|d| d.decoder == decoder)
}
