use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use dina_core::{ContentHash, Seed, write_atomic};
use dina_data::Categories;
use dina_decode::identification::Pool;
use dina_decode::local_scaling;
use dina_model::{WarmStart, WarmStartData};
use dina_train::{Evaluation, LogEntry, PairedData, Trainer};
use ndarray::{Array2, ArrayView2, ArrayView3, Axis};
use serde::Serialize;

use crate::fold::as_indices;
use crate::towers::{image_tensor, response_tensor};
use crate::{
    Dataset, Error, Fold, JobConfig, ModelConfig, ObjectiveKind, Profile, Progress, Result, Start, Towers,
    TrainingRecord,
};

/// The models of one fold.
pub struct Trained {
    /// Members, whose similarities are averaged.
    pub members: Vec<Towers>,
    /// How each came about.
    pub records: Vec<TrainingRecord>,
}

/// Responses with the training images that their similarities are scaled by.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    /// Responses to training images, of the same kind as the queries: single trials, or means of as many.
    pub responses: ArrayView2<'a, f32>,
    /// Training images, standardised.
    pub images: ArrayView3<'a, f32>,
}

impl Trained {
    /// Similarity of trials with images: the cosine of the maps averaged over members, locally scaled by training
    /// images and responses ([`local_scaling`]).
    ///
    /// # Errors
    /// As [`Towers::similarity`].
    pub fn similarity(
        &self,
        responses: ArrayView2<f32>,
        images: ArrayView3<f32>,
        reference: Reference<'_>,
    ) -> Result<Array2<f32>> {
        let mut similarity = self.cosine(responses, images)?;
        let queries = self.cosine(reference.responses, images)?;
        let candidates = self.cosine(responses, reference.images)?;
        local_scaling(&mut similarity, queries.view(), candidates.view())?;
        Ok(similarity)
    }

    /// Trials averaged into a training sample, at most.
    pub fn averaged(&self) -> usize {
        self.members.first().map_or(1, |towers| towers.config().averaged)
    }

    /// Cosine of the maps of trials and images, averaged over members.
    ///
    /// # Errors
    /// As [`Towers::similarity`].
    pub fn cosine(&self, responses: ArrayView2<f32>, images: ArrayView3<f32>) -> Result<Array2<f32>> {
        let mut total = Array2::zeros((responses.nrows(), images.len_of(Axis(0))));
        for member in &self.members {
            total += &member.similarity(responses, images)?;
        }
        Ok(total / self.members.len() as f32)
    }
}

/// Where the models of a job lie.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// Inside the output folder of a job.
    pub fn new(out: &Path) -> Self {
        Self { folder: out.join("checkpoints") }
    }

    /// A finished model.
    pub fn model(&self, fold: usize, member: usize) -> PathBuf {
        self.folder.join(format!("fold-{}-model-{}.safetensors", fold + 1, member + 1))
    }

    /// The state of an unfinished training.
    pub fn state(&self, fold: usize, member: usize) -> PathBuf {
        self.folder.join(format!("fold-{}-model-{}.training.safetensors", fold + 1, member + 1))
    }
}

/// One line of `train.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    fold: usize,
    model: usize,
    #[serde(flatten)]
    entry: &'a LogEntry,
}

/// Trains the models of every fold, and writes `checkpoints/` and `train.jsonl` into the output folder.
pub struct Training<'a> {
    /// What is trained on.
    pub dataset: &'a Dataset,
    /// The folds.
    pub folds: &'a [Fold],
    /// The job.
    pub config: &'a JobConfig,
    /// Where it runs.
    pub device: &'a Device,
    /// The output folder.
    pub out: &'a Path,
    /// Whether finished models and unfinished trainings in the output folder are taken over.
    pub resume: bool,
}

impl Training<'_> {
    /// Trains, or takes over what is there.
    ///
    /// # Errors
    /// When the folder holds another job's work (with `resume`), a file cannot be written, or training diverges.
    pub fn run(&self, progress: &dyn Progress) -> Result<Vec<Trained>> {
        let mut lines: Vec<String> = Vec::new();
        let mut trained = Vec::new();
        for (index, fold) in self.folds.iter().enumerate() {
            let config = self.model_config(fold)?;
            let mut of_fold = Trained { members: Vec::new(), records: Vec::new() };
            // Fitted once for all members, and not at all where nothing is left to train.
            let mut started = None;
            for member in 0..config.members {
                let (towers, record) = self.member(index, member, &config, &mut started, &lines, progress)?;
                lines.extend(log_lines(index, member, &record.log)?);
                of_fold.members.push(towers);
                of_fold.records.push(record);
            }
            self.write_log(&lines)?;
            trained.push(of_fold);
        }
        Ok(trained)
    }

    /// Reads the finished models of every fold.
    ///
    /// # Errors
    /// When one is missing, damaged, or was trained in another job.
    pub fn load(&self) -> Result<Vec<Trained>> {
        let checkpoints = Checkpoints::new(self.out);
        self.folds
            .iter()
            .enumerate()
            .map(|(index, fold)| {
                let config = self.model_config(fold)?;
                let identity = |member| self.identity(fold, &config, member);
                let mut trained = Trained { members: Vec::new(), records: Vec::new() };
                for member in 0..config.members {
                    let path = checkpoints.model(index, member);
                    if !path.exists() {
                        return Err(Error::Job(format!(
                            "{}: is missing; run `train` with the same flags first",
                            path.display()
                        )));
                    }
                    let (towers, record) = Towers::load_with(&path, &self.config.parts, self.device)?;
                    if record.identity != identity(member) {
                        return Err(other_job(&path));
                    }
                    trained.members.push(towers);
                    trained.records.push(record);
                }
                Ok(trained)
            })
            .collect()
    }

    fn model_config(&self, fold: &Fold) -> Result<ModelConfig> {
        let JobConfig { profile, objective, start, parts, .. } = self.config;
        // An objective of a user's own takes the place of ours, and of what ours would need.
        let objective = if parts.objective().is_some() { ObjectiveKind::default() } else { *objective };
        let mut config = model_config(self.dataset, fold, *profile, objective, *start)?;
        parts.install(&mut config);
        Ok(config)
    }

    fn identity(&self, fold: &Fold, config: &ModelConfig, member: usize) -> ContentHash {
        let labels = match &self.dataset.categories {
            Some(categories) if config.objective.sees_labels() => format!("{:?}", categories.of),
            _ => String::new(),
        };
        let config = serde_json::to_string(config).unwrap_or_default();
        let parts = [
            self.dataset.hash.to_string(),
            fold.split.hash().to_string(),
            self.config.hash().to_string(),
            config,
            member.to_string(),
            labels,
        ];
        ContentHash::of(parts.iter().map(String::as_bytes))
    }

    fn member(
        &self,
        index: usize,
        member: usize,
        config: &ModelConfig,
        started: &mut Option<Common>,
        lines: &[String],
        progress: &dyn Progress,
    ) -> Result<(Towers, TrainingRecord)> {
        let fold = &self.folds[index];
        let checkpoints = Checkpoints::new(self.out);
        let (model, state) = (checkpoints.model(index, member), checkpoints.state(index, member));
        let identity = self.identity(fold, config, member);
        if self.resume && model.exists() {
            let (towers, record) = Towers::load_with(&model, &self.config.parts, self.device)?;
            if record.identity != identity {
                return Err(other_job(&model));
            }
            return Ok((towers, record));
        }
        progress.begin(&label(self.folds.len(), index, config.members, member), config.train.steps);
        let seed = Seed::new(self.config.seed).child("train").index(index).index(member);
        let resumed = self.resume && state.exists();
        let start = match started {
            Some(start) => start,
            None => started.insert(Common::new(self.dataset, fold, config, self.device)?),
        };
        // A resumed training takes its weights from its state.
        let weights = if resumed { None } else { start.weights(config, self.device)? };
        let towers = Towers::started(config.clone(), seed, self.device, weights)?;
        let mut trainer = Trainer::new(towers.model(), config.train, seed, identity)?;
        if resumed {
            trainer.resume(&state)?;
        }
        #[cfg(feature = "tensorboard")]
        let mut board = crate::board::Board::new(self.out, index, member, trainer.step_count())?;
        let validation = Validation::new(self.dataset, fold)?;
        let outcome = trainer.run::<Error>(
            &start.data,
            || validation.as_ref().map(|validation| validation.score(&towers)).transpose(),
            |trainer| {
                let Some(last) = trainer.log().last() else { return Ok(()) };
                let note = match &last.validation {
                    Some(found) => format!("loss {:.3}, validation top-1 {:.3}", last.loss, found.top1),
                    None => format!("loss {:.3}", last.loss),
                };
                progress.advance(trainer.step_count(), &note);
                #[cfg(feature = "tensorboard")]
                board.show(trainer.log(), &config.train)?;
                if trainer.step_count().is_multiple_of(config.train.validate_every) {
                    trainer.checkpoint()?.write(&state)?;
                    let mut all = lines.to_vec();
                    all.extend(log_lines(index, member, trainer.log())?);
                    self.write_log(&all)?;
                }
                Ok(())
            },
        )?;
        let record = TrainingRecord { identity, outcome, log: trainer.log().to_vec() };
        drop(trainer);
        towers.save(&model, &record)?;
        if let Err(source) = std::fs::remove_file(&state)
            && source.kind() != std::io::ErrorKind::NotFound
        {
            return Err(dina_core::Error::Io { path: state, source }.into());
        }
        progress.end();
        Ok((towers, record))
    }

    fn write_log(&self, lines: &[String]) -> Result<()> {
        Ok(write_atomic(self.out.join("train.jsonl"), |writer| {
            lines.iter().try_for_each(|line| writeln!(writer, "{line}"))
        })?)
    }
}

fn log_lines(fold: usize, member: usize, log: &[LogEntry]) -> Result<Vec<String>> {
    log.iter()
        .map(|entry| {
            serde_json::to_string(&Line { fold: fold + 1, model: member + 1, entry })
                .map_err(|e| Error::Job(format!("train.jsonl: {e}")))
        })
        .collect()
}

fn label(folds: usize, fold: usize, members: usize, member: usize) -> String {
    let mut label = "train".to_owned();
    if folds > 1 {
        label.push_str(&format!(" fold {}/{folds}", fold + 1));
    }
    if members > 1 {
        label.push_str(&format!(" model {}/{members}", member + 1));
    }
    label
}

fn other_job(path: &Path) -> Error {
    Error::Job(format!(
        "{}: was trained in another job (other data, split, configuration or seed); choose another --out, or the flags it \
         was trained with",
        path.display()
    ))
}

/// The model of a fold under an objective.
///
/// # Errors
/// When the objective needs categories and there are none, or too few of the training images have one.
pub(crate) fn model_config(
    dataset: &Dataset,
    fold: &Fold,
    profile: Profile,
    objective: ObjectiveKind,
    start: Start,
) -> Result<ModelConfig> {
    let (_, height, width) = fold.images.dim();
    let classes = match &dataset.categories {
        _ if !objective.needs_labels() => 0,
        Some(categories) => {
            check_categories(categories, fold.split.train(), objective)?;
            categories.names.len()
        }
        None => {
            return Err(Error::Job(format!(
                "objective `{objective}` is trained on the categories of the images, and there are none; give --classes, or \
                 choose another --objective"
            )));
        }
    };
    let size = (f64::from(fold.degrees_per_pixel), fold.neurons.len());
    let mut config = ModelConfig::for_data((height, width), size.0, size.1, fold.is_small(), profile);
    config.objective = objective.config((height, width), classes);
    config.start = start;
    Ok(config)
}

/// Refuses training images of fewer than two categories.
fn check_categories(categories: &Categories, train: &[u32], objective: ObjectiveKind) -> Result<()> {
    let known = train.iter().filter_map(|&image| categories.of.get(image as usize).copied().flatten());
    let found: BTreeSet<u32> = known.collect();
    if found.len() >= 2 {
        return Ok(());
    }
    Err(Error::Job(format!(
        "objective `{objective}` needs training images of at least 2 categories, and there are {} among {}; give a category \
         file with more, or choose another --objective",
        found.len(),
        train.len()
    )))
}

/// Which step of a training is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The best on the validation images, where there are any.
    Best,
    /// The last.
    Last,
}

/// A model of a fold that is not kept on disk.
pub(crate) fn train_anew(
    dataset: &Dataset,
    fold: &Fold,
    config: &ModelConfig,
    (seed, ending): (Seed, Ending),
    device: &Device,
) -> Result<Towers> {
    let mut common = Common::new(dataset, fold, config, device)?;
    let start = common.weights(config, device)?;
    let towers = Towers::started(config.clone(), seed, device, start)?;
    if config.train.steps > 0 {
        let validation = match ending {
            Ending::Best => Validation::new(dataset, fold)?,
            Ending::Last => None,
        };
        let score = || validation.as_ref().map(|validation| validation.score(&towers)).transpose();
        let mut trainer = Trainer::new(towers.model(), config.train, seed, dataset.hash)?;
        trainer.run::<Error>(&common.data, score, |_| Ok(()))?;
    }
    Ok(towers)
}

/// What the members of a fold have in common.
pub(crate) struct Common {
    /// Training images and the responses to them.
    pub(crate) data: PairedData,
    images: Tensor,
    /// Training samples, `[samples, neurons]`.
    responses: Tensor,
    trials: Vec<Vec<usize>>,
    /// Fitted when it is first asked for.
    weights: Option<Option<WarmStart>>,
}

impl Common {
    pub(crate) fn new(dataset: &Dataset, fold: &Fold, config: &ModelConfig, device: &Device) -> Result<Self> {
        let views = fold.views(dataset)?;
        let ids = views.train.images();
        let images = fold.select(ids);
        // The start weighs neurons by the noise of such samples as training draws.
        let samples = views.train.averages(&fold.responses, config.averaged)?;
        let trials = views.train.trials().to_vec();
        let (image_tensor, responses) =
            (image_tensor(&images, device)?, response_tensor(&samples.responses, device)?);
        let mut data = PairedData::new(images, fold.responses.as_ref().clone(), trials, ids.to_vec())?;
        if let Some(categories) = &dataset.categories {
            data =
                data.with_labels(as_indices(ids).into_iter().map(|image| categories.of[image]).collect())?;
        }
        data.averaged = config.averaged;
        data.shift = config.shift;
        data.device = device.clone();
        Ok(Self { data, images: image_tensor, responses, trials: samples.trials, weights: None })
    }

    /// What a start in closed form is fitted to.
    pub(crate) fn start_data(&self) -> WarmStartData<'_> {
        WarmStartData { images: &self.images, responses: &self.responses, trials: &self.trials }
    }

    /// The start in closed form, where the read-in has one.
    pub(crate) fn weights(&mut self, config: &ModelConfig, device: &Device) -> Result<Option<&WarmStart>> {
        if self.weights.is_none() {
            self.weights = Some(Towers::start(config, self.start_data(), device)?);
        }
        Ok(self.weights.as_ref().and_then(Option::as_ref))
    }
}

/// Retrieval of the validation images, on which training is stopped.
struct Validation {
    responses: Array2<f32>,
    truth: Vec<usize>,
    ids: Vec<usize>,
    images: ndarray::Array3<f32>,
}

/// Trials of an image that validation looks at, at most: with 50 repeats a few say as much.
const VALIDATION_TRIALS: usize = 10;

impl Validation {
    /// `None` where no images are held out for it.
    fn new(dataset: &Dataset, fold: &Fold) -> Result<Option<Self>> {
        if fold.is_small() {
            return Ok(None);
        }
        let views = fold.views(dataset)?;
        let mut rows = Vec::new();
        let mut truth = Vec::new();
        for (column, trials) in views.validation.trials().iter().enumerate() {
            let step = trials.len().div_ceil(VALIDATION_TRIALS);
            for &row in trials.iter().step_by(step) {
                rows.push(row);
                truth.push(column);
            }
        }
        Ok(Some(Self {
            responses: fold.responses.select(Axis(0), &rows),
            truth,
            ids: as_indices(views.validation.images()),
            images: fold.select(views.validation.images()),
        }))
    }

    fn score(&self, towers: &Towers) -> Result<Evaluation> {
        let similarity = towers.similarity(self.responses.view(), self.images.view())?;
        let ranks = Pool::new(similarity, self.truth.clone(), self.ids.clone())?.ranks()?;
        Ok(Evaluation { score: ranks.mean_reciprocal(), top1: ranks.top(1) })
    }
}
