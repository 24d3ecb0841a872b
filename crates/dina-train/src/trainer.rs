use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use dina_core::{ContentHash, Error, Mode, Objective, Parameter, Result, Seed, TensorFile, Tower};
use dina_ops::running_average;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::adamw::{set, values};
use crate::{AdamW, Batches, TrainConfig};

/// What is trained: two towers and the objective that aligns them.
#[derive(Clone, Copy)]
pub struct Model<'a> {
    /// Maps images.
    pub image: &'a dyn Tower,
    /// Maps responses.
    pub neural: &'a dyn Tower,
    /// What they are trained for.
    pub objective: &'a dyn Objective,
}

impl Model<'_> {
    /// Parameters of both towers and of the objective.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.image.parameters();
        parameters.extend(self.neural.parameters());
        parameters.extend(self.objective.parameters());
        parameters
    }
}

/// One line of the training log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Steps taken, this one included.
    pub step: usize,
    /// Learning rate of the step.
    pub rate: f64,
    /// Total loss of the batch.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// What the validation after this step gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Evaluation>,
}

/// What a validation says of the averaged weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// What is maximised, such as the mean reciprocal rank.
    pub score: f64,
    /// Top-1 accuracy, for the eye.
    pub top1: f64,
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Steps taken.
    pub steps: usize,
    /// Validation of the model as it was given, before any step.
    pub start: Option<Evaluation>,
    /// The step whose averaged weights the towers now hold.
    pub best_step: usize,
    /// Their validation, where there was one.
    pub best: Option<Evaluation>,
}

/// Trains a [`Model`].
///
/// What is validated, kept and left in the towers at the end is the running average of the weights at the
/// best validation; step 0, the untrained model, is validated too. Without validation data all steps are taken, and
/// the average at the end is kept.
pub struct Trainer<'a> {
    model: Model<'a>,
    config: TrainConfig,
    seed: Seed,
    identity: ContentHash,
    optimiser: AdamW,
    /// Where the parameters are, in single precision.
    average: Vec<Var>,
    start: Option<Evaluation>,
    best: Option<Best>,
    log: Vec<LogEntry>,
}

struct Best {
    step: usize,
    evaluation: Option<Evaluation>,
    weights: Vec<Vec<f32>>,
}

/// What a checkpoint says beside its tensors.
#[derive(Serialize, Deserialize)]
struct State {
    identity: ContentHash,
    step: usize,
    start: Option<Evaluation>,
    best: Option<(usize, Option<Evaluation>)>,
    log: Vec<LogEntry>,
}

impl<'a> Trainer<'a> {
    /// A training that starts from the model's present weights. `identity` is the hash of whatever else
    /// the run depends on (data, split, tower configuration): a checkpoint with another one is refused.
    ///
    /// # Errors
    /// When the configuration is refused or two parameters share a name.
    pub fn new(model: Model<'a>, config: TrainConfig, seed: Seed, identity: ContentHash) -> Result<Self> {
        config.check()?;
        let parameters = model.parameters();
        for (index, parameter) in parameters.iter().enumerate() {
            if parameters[..index].iter().any(|other| other.name == parameter.name) {
                return Err(Error::value("parameter names", "all different", &parameter.name));
            }
        }
        let copy = |p: &Parameter| Var::from_tensor(&p.var.to_dtype(DType::F32)?.copy()?);
        let average = parameters.iter().map(copy).collect::<candle_core::Result<_>>()?;
        let optimiser = AdamW::new(parameters)?;
        Ok(Self {
            model,
            config,
            seed,
            identity,
            optimiser,
            average,
            start: None,
            best: None,
            log: Vec::new(),
        })
    }

    /// Steps taken.
    pub fn step_count(&self) -> usize {
        self.optimiser.step_count()
    }

    /// The log so far, a line a step.
    pub fn log(&self) -> &[LogEntry] {
        &self.log
    }

    /// Trains to the end: until the steps are used up or validation stopped improving. `validate` is
    /// called with the averaged weights in place, and returns `None` where no data are held out for it; `observe` is called
    /// after every step, and may store a checkpoint.
    /// Leaves the best weights in the towers.
    ///
    /// # Errors
    /// When a batch, the model or a callback fails, or the loss is no longer finite.
    pub fn run<E: From<Error>>(
        &mut self,
        batches: &dyn Batches,
        mut validate: impl FnMut() -> Result<Option<Evaluation>, E>,
        mut observe: impl FnMut(&Self) -> Result<(), E>,
    ) -> Result<Outcome, E> {
        if batches.is_empty() {
            return Err(Error::value("training images", "at least one", 0).into());
        }
        if self.best.is_none() {
            self.start = self.validate(&mut validate)?;
        }
        while !self.is_finished() {
            self.step(batches)?;
            let step = self.step_count();
            if step.is_multiple_of(self.config.validate_every) || step == self.config.steps {
                let evaluation = self.validate(&mut validate)?;
                if let Some(entry) = self.log.last_mut() {
                    entry.validation = evaluation;
                }
            }
            observe(self)?;
        }
        let Some(best) = &self.best else {
            return Err(Error::value("validations", "at least one", 0).into());
        };
        self.put(&best.weights)?;
        let (best_step, best) = (best.step, best.evaluation);
        Ok(Outcome { steps: self.step_count(), start: self.start, best_step, best })
    }

    /// Whether all steps are taken or validation stopped improving.
    pub fn is_finished(&self) -> bool {
        let step = self.step_count();
        let waited = step - self.best.as_ref().map_or(0, |best| best.step);
        step >= self.config.steps || waited >= self.config.patience * self.config.validate_every
    }

    fn step(&mut self, batches: &dyn Batches) -> Result<()> {
        let step = self.step_count();
        let rate = self.config.rate(step);
        let seed = self.seed.child("step").index(step);
        let batch = batches.batch(&self.items(batches.len(), step), &mut seed.stream("batch"))?;
        let Model { image, neural, objective } = self.model;
        let maps = image.forward(&batch.images, Mode::Train(&mut seed.stream("image")))?;
        let others = neural.forward(&batch.responses, Mode::Train(&mut seed.stream("neural")))?;
        let loss = objective.loss(&maps, &others, &batch.targets)?.total()?;
        let gradient_norm = self.optimiser.step(&loss.backward()?, rate, &self.config)?;
        objective.after_step()?;
        self.update_average()?;
        // Not every device has f64.
        let loss = loss.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        self.log.push(LogEntry { step: step + 1, rate, loss, gradient_norm, validation: None });
        Ok(())
    }

    /// The items of a step: a window onto the shuffled items of its epoch. An epoch ends when less than
    /// a batch is left, so that every batch is full; fewer items than a batch are taken whole.
    fn items(&self, len: usize, step: usize) -> Vec<usize> {
        let batch = self.config.batch.min(len);
        let per_epoch = len / batch;
        let mut stream = self.seed.child("order").index(step / per_epoch).stream("items");
        let mut items: Vec<usize> = (0..len).collect();
        for last in (1..len).rev() {
            items.swap(last, stream.random_range(0..=last));
        }
        items[step % per_epoch * batch..][..batch].to_vec()
    }

    fn update_average(&mut self) -> Result<()> {
        let step = self.step_count() as f64;
        let decay = self.config.average.min((1. + step) / (10. + step));
        for (average, parameter) in self.average.iter().zip(self.optimiser.parameters()) {
            running_average(average, &parameter.var, decay)?;
        }
        Ok(())
    }

    fn validate<E: From<Error>>(
        &mut self,
        validate: &mut impl FnMut() -> Result<Option<Evaluation>, E>,
    ) -> Result<Option<Evaluation>, E> {
        let weights = self.weights()?;
        let average = self.average()?;
        self.put(&average)?;
        let evaluation = validate();
        self.put(&weights)?;
        let evaluation = evaluation?;
        if let Some(evaluation) = evaluation
            && !evaluation.score.is_finite()
        {
            return Err(Error::value("validation score", "finite", evaluation.score).into());
        }
        let score = |e: Option<Evaluation>| e.map_or(f64::NEG_INFINITY, |e| e.score);
        let better = |best: &Best| evaluation.is_none() || score(evaluation) > score(best.evaluation);
        if self.best.as_ref().is_none_or(better) {
            self.best = Some(Best { step: self.step_count(), evaluation, weights: average });
        }
        Ok(evaluation)
    }

    fn weights(&self) -> Result<Vec<Vec<f32>>> {
        self.optimiser.parameters().iter().map(|p| values(&p.var)).collect()
    }

    fn average(&self) -> Result<Vec<Vec<f32>>> {
        self.average.iter().map(|average| values(average)).collect()
    }

    fn put(&self, weights: &[Vec<f32>]) -> Result<()> {
        self.optimiser.parameters().iter().zip(weights).try_for_each(|(p, w)| set(p, w.clone()))
    }

    /// Everything that the rest of the run depends on.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn checkpoint(&self) -> Result<TensorFile> {
        let mut file = TensorFile::default();
        let best = self.best.as_ref().map(|best| &best.weights);
        let (weights, average) = (self.weights()?, self.average()?);
        let sets = [("weights", Some(&weights)), ("average", Some(&average)), ("best", best)];
        for (kind, set) in sets {
            for (parameter, values) in self.optimiser.parameters().iter().zip(set.into_iter().flatten()) {
                let device = &Device::Cpu;
                let tensor = Tensor::from_slice(values, parameter.var.shape(), device)?;
                file.tensors.insert(format!("{kind}.{}", parameter.name), tensor);
            }
        }
        file.tensors.extend(self.optimiser.state()?);
        let state = State {
            identity: self.identity,
            step: self.step_count(),
            start: self.start,
            best: self.best.as_ref().map(|best| (best.step, best.evaluation)),
            log: self.log.clone(),
        };
        let text =
            serde_json::to_string(&state).map_err(|e| Error::value("training state", "serialisable", e))?;
        file.metadata.insert("training".into(), text);
        Ok(file)
    }

    /// Goes on from a checkpoint that [`Trainer::checkpoint`] made in a run with the same identity.
    ///
    /// # Errors
    /// When the file is damaged, is no training checkpoint, or belongs to another run.
    pub fn resume(&mut self, path: &Path) -> Result<()> {
        let file = TensorFile::read(path, &Device::Cpu)?;
        let wrong = |expected: &str, found: String| Error::value(path.display().to_string(), expected, found);
        let text = file
            .metadata
            .get("training")
            .ok_or_else(|| wrong("a training checkpoint", "a file without training state".into()))?;
        let state: State =
            serde_json::from_str(text).map_err(|e| wrong("a training checkpoint", e.to_string()))?;
        if state.identity != self.identity {
            return Err(wrong(
                "the checkpoint of this run; choose another folder, or the data and flags it was made with",
                "one of other data, split or configuration".into(),
            ));
        }
        let load = |kind: &str| -> Result<Vec<Vec<f32>>> {
            self.optimiser
                .parameters()
                .iter()
                .map(|parameter| {
                    let tensor = file.tensor(&format!("{kind}.{}", parameter.name))?;
                    if tensor.dims() != parameter.var.dims() {
                        return Err(Error::shape(&parameter.name, parameter.var.dims(), tensor.dims()));
                    }
                    values(tensor)
                })
                .collect()
        };
        let (weights, average) = (load("weights")?, load("average")?);
        let best = state
            .best
            .map(|(step, evaluation)| Ok::<_, Error>(Best { step, evaluation, weights: load("best")? }))
            .transpose()?;
        self.optimiser.restore(state.step, |name| file.tensor(name))?;
        self.put(&weights)?;
        for (to, from) in self.average.iter().zip(average) {
            to.set(&Tensor::from_vec(from, to.shape(), to.device())?)?;
        }
        (self.start, self.best, self.log) = (state.start, best, state.log);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dina_core::{FeatureMaps, MapSpec};
    use dina_loss::{InfoNce, InfoNceConfig};
    use ndarray::{Array2, Array3};
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::PairedData;

    /// A linear tower on whatever comes in.
    struct Linear {
        name: &'static str,
        weights: Var,
    }

    impl Linear {
        fn new(name: &'static str, inputs: usize) -> Self {
            let weights = normal(name, inputs * 6);
            let weights = Tensor::from_vec(weights, (inputs, 6), &Device::Cpu).unwrap();
            Self { name, weights: Var::from_tensor(&weights).unwrap() }
        }
    }

    impl Tower for Linear {
        fn forward(&self, input: &Tensor, mode: Mode<'_>) -> Result<FeatureMaps> {
            let mut input = input.flatten_from(1)?;
            if let Mode::Train(stream) = mode {
                // Noise that would differ after a resume if the streams did not go on.
                let noise = Tensor::new(stream.random::<f32>(), &Device::Cpu)?;
                input = input.broadcast_add(&(noise * 0.1)?)?;
            }
            FeatureMaps::single("v1", input.matmul(&self.weights)?.reshape(((), 2, 1, 3))?)
        }
        fn levels(&self) -> Vec<MapSpec> {
            vec![MapSpec { name: "v1".into(), channels: 2, height: 1, width: 3 }]
        }
        fn parameters(&self) -> Vec<Parameter> {
            vec![Parameter::new(format!("{}.weights", self.name), self.weights.clone())]
        }
        fn describe(&self) -> Vec<String> {
            vec![self.name.into()]
        }
    }

    fn normal(name: &str, len: usize) -> Vec<f32> {
        let mut stream = Seed::new(8).stream(name);
        (0..len).map(|_| StandardNormal.sample(&mut stream)).collect()
    }

    /// Responses that are a noisy linear function of the image.
    fn data() -> PairedData {
        let images = Array3::from_shape_vec((20, 2, 3), normal("images", 120)).unwrap();
        let mix = Array2::from_shape_vec((6, 8), normal("mix", 48)).unwrap();
        let flat = images.clone().into_shape_with_order((20, 6)).unwrap();
        let clean = flat.dot(&mix);
        let noise = Array2::from_shape_vec((40, 8), normal("noise", 320)).unwrap();
        let responses = Array2::from_shape_fn((40, 8), |(t, n)| clean[[t / 2, n]] + 0.2 * noise[[t, n]]);
        let trials = (0..20).map(|i| vec![2 * i, 2 * i + 1]).collect();
        PairedData::new(images, responses, trials, (0..20).collect()).unwrap()
    }

    struct Parts {
        image: Linear,
        neural: Linear,
        objective: InfoNce,
    }

    impl Parts {
        fn new() -> Self {
            let objective = InfoNce::new(InfoNceConfig::default(), &Device::Cpu).unwrap();
            Self { image: Linear::new("image", 6), neural: Linear::new("neural", 8), objective }
        }
        fn model(&self) -> Model<'_> {
            Model { image: &self.image, neural: &self.neural, objective: &self.objective }
        }
        fn validate(&self, data: &PairedData) -> Result<Option<Evaluation>> {
            let items: Vec<usize> = (0..20).collect();
            let batch = data.batch(&items, &mut Seed::new(1).stream("validation"))?;
            let maps = self.image.forward(&batch.images, Mode::Eval)?;
            let others = self.neural.forward(&batch.responses, Mode::Eval)?;
            let loss = self.objective.loss(&maps, &others, &batch.targets)?.total()?;
            Ok(Some(Evaluation { score: -f64::from(loss.to_scalar::<f32>()?), top1: 0. }))
        }
        fn weights(&self) -> Vec<f32> {
            self.model().parameters().iter().flat_map(|p| values(&p.var).unwrap()).collect()
        }
    }

    fn config() -> TrainConfig {
        TrainConfig {
            steps: 40,
            batch: 8,
            learning_rate: 0.02,
            warm_up: 4,
            validate_every: 7,
            patience: 100,
            ..Default::default()
        }
    }

    fn identity() -> ContentHash {
        ContentHash::of([b"test".as_slice()])
    }

    fn trainer<'a>(parts: &'a Parts, seed: u64) -> Trainer<'a> {
        Trainer::new(parts.model(), config(), Seed::new(seed), identity()).unwrap()
    }

    fn finish(trainer: &mut Trainer<'_>, parts: &Parts, data: &PairedData) -> Outcome {
        trainer.run::<Error>(data, || parts.validate(data), |_| Ok(())).unwrap()
    }

    #[test]
    fn training_improves_and_depends_on_the_seed_alone() {
        let data = data();
        let run = |seed| {
            let parts = Parts::new();
            let before = parts.validate(&data).unwrap();
            let outcome = finish(&mut trainer(&parts, seed), &parts, &data);
            assert_eq!(outcome.start, before);
            let score = |e: Option<Evaluation>| e.unwrap().score;
            assert!(score(outcome.best) > score(before) + 0.5, "{outcome:?}");
            assert_eq!(parts.validate(&data).unwrap(), outcome.best);
            parts.weights()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn a_run_resumed_at_any_step_equals_the_uninterrupted_one() {
        let data = data();
        let whole = Parts::new();
        let mut uninterrupted = trainer(&whole, 1);
        let outcome = finish(&mut uninterrupted, &whole, &data);
        let folder = tempfile::tempdir().unwrap();
        for stop in [1, 7, 23] {
            let path = folder.path().join(format!("{stop}.safetensors"));
            let killed = Parts::new();
            let end = trainer(&killed, 1).run::<Error>(
                &data,
                || killed.validate(&data),
                |trainer| {
                    if trainer.step_count() < stop {
                        return Ok(());
                    }
                    trainer.checkpoint()?.write(&path)?;
                    Err(Error::value("run", "killed", stop))
                },
            );
            assert!(end.is_err());
            let resumed = Parts::new();
            let mut again = trainer(&resumed, 1);
            again.resume(&path).unwrap();
            assert_eq!(again.step_count(), stop);
            assert_eq!(finish(&mut again, &resumed, &data), outcome);
            assert_eq!(resumed.weights(), whole.weights());
            assert_eq!(again.log(), uninterrupted.log());
        }
    }

    #[test]
    fn without_validation_the_average_at_the_end_is_kept() {
        let data = data();
        let parts = Parts::new();
        let mut trainer = trainer(&parts, 1);
        let outcome = trainer.run::<Error>(&data, || Ok(None), |_| Ok(())).unwrap();
        assert_eq!((outcome.steps, outcome.best_step, outcome.best), (40, 40, None));
        assert!(trainer.log().iter().all(|entry| entry.validation.is_none()));
        assert_eq!(parts.weights(), trainer.average().unwrap().concat());
    }

    #[test]
    fn a_checkpoint_of_another_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        let parts = Parts::new();
        trainer(&parts, 1).checkpoint().unwrap().write(&path).unwrap();
        let other = ContentHash::of([b"other".as_slice()]);
        let mut trainer = Trainer::new(parts.model(), config(), Seed::new(1), other).unwrap();
        let error = trainer.resume(&path).unwrap_err().to_string();
        assert!(error.contains("state.safetensors") && error.contains("folder"), "{error}");
        TensorFile::default().write(&path).unwrap();
        assert!(trainer.resume(&path).is_err());
    }

    #[test]
    fn an_epoch_shows_every_item_once() {
        let parts = Parts::new();
        let trainer = trainer(&parts, 1);
        let mut seen: Vec<usize> = (0..2).flat_map(|step| trainer.items(16, step)).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..16).collect::<Vec<_>>());
        assert_ne!(trainer.items(16, 0), trainer.items(16, 2));
        assert_eq!(trainer.items(3, 5).len(), 3);
    }

    #[test]
    fn training_stops_when_validation_does_not_improve() {
        let (data, parts) = (data(), Parts::new());
        let config = TrainConfig { patience: 2, validate_every: 3, ..config() };
        let mut trainer = Trainer::new(parts.model(), config, Seed::new(1), identity()).unwrap();
        let before = parts.weights();
        let worse = || Ok(Some(Evaluation { score: 0., top1: 0. }));
        let outcome = trainer.run::<Error>(&data, worse, |_| Ok(())).unwrap();
        assert_eq!((outcome.steps, outcome.best_step), (6, 0));
        assert_eq!(parts.weights(), before);
    }
}
