use std::path::Path;

use candle_core::{Device, Tensor};
use dina_core::{
    Error as CoreError, FeatureMaps, MapSpec, Mode, Objective, Parameter, Seed, TensorFile, Tower,
};
use dina_loss::cosine_logits;
use dina_model::{
    Dense, Factorised, GaborConfig, ImageTower, ImageTowerConfig, Mlp, NeuralTowerConfig, ReadInKind,
    WarmStart, WarmStartData,
};
use dina_train::{LogEntry, Model, Outcome, TrainConfig};
use ndarray::{Array2, Array3, Array4, ArrayView2, ArrayView3, Axis};
use serde::{Deserialize, Serialize};

use crate::{Error, ObjectiveConfig, Parts, Profile, Result, Start};

/// Items mapped at a time outside training.
const BATCH: usize = 256;

/// Everything that makes a model: towers, objective, training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The image tower.
    pub image: ImageTowerConfig,
    /// The neural tower.
    pub neural: NeuralTowerConfig,
    /// The objective.
    pub objective: ObjectiveConfig,
    /// What the towers start from.
    pub start: Start,
    /// The training.
    pub train: TrainConfig,
    /// Trials averaged into a training sample, at most.
    pub averaged: usize,
    /// Pixels by which training images are moved, at most.
    pub shift: usize,
    /// Models trained from different seeds, whose similarities are averaged.
    pub members: usize,
    /// Towers and an objective of a user's own, in place of those above.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    pub parts: Parts,
}

impl ModelConfig {
    /// The default for a recording: what the number of images can support. The constants were chosen on
    /// simulated populations and on validation images, never on test images.
    ///
    /// With few images (`small`) there are more averaging, more regularisation and several models whose similarities are
    /// averaged, and training takes all its steps: too few images could be held out to say when to stop.
    pub fn for_data(
        (height, width): (usize, usize),
        degrees_per_pixel: f64,
        neurons: usize,
        small: bool,
        profile: Profile,
    ) -> Self {
        let steps = match profile {
            Profile::Smoke => 20,
            Profile::Quick => 160,
            Profile::Full => 600,
        };
        // The started towers are close to what the data support: small steps, and an early end.
        let train = TrainConfig {
            steps,
            batch: 256,
            // Averaged trials carry less noise to fit, and there are few steps an epoch.
            learning_rate: if small { 1e-3 } else { 3e-4 },
            validate_every: 10,
            patience: 4,
            ..TrainConfig::default()
        };
        Self {
            image: ImageTowerConfig {
                height,
                width,
                degrees_per_pixel,
                gabor: GaborConfig::default(),
                channels: if small { 16 } else { 32 },
                hidden: 32,
            },
            neural: NeuralTowerConfig { neurons, read_in: ReadInKind::Factorised { rank: 4 }, dropout: 0.5 },
            objective: ObjectiveConfig::default(),
            start: Start::default(),
            train,
            averaged: if small { 8 } else { 1 },
            shift: usize::from(small) * 2,
            members: match (profile, small) {
                (Profile::Smoke, _) | (_, false) => 1,
                _ => 4,
            },
            parts: Parts::default(),
        }
    }
}

/// Two towers and their objective.
pub struct Towers {
    config: ModelConfig,
    image: Box<dyn Tower>,
    neural: Box<dyn Tower>,
    objective: Box<dyn Objective>,
    device: Device,
}

impl Towers {
    /// Towers with random weights.
    ///
    /// # Errors
    /// When the configuration is refused.
    pub fn new(config: ModelConfig, seed: Seed, device: &Device) -> Result<Self> {
        Self::started(config, seed, device, None)
    }

    /// Towers with random weights, but for those that `start` sets. Only the factorised read-in has such a start.
    ///
    /// # Errors
    /// When the configuration is refused, or the start was fitted for another one.
    pub fn started(
        config: ModelConfig,
        seed: Seed,
        device: &Device,
        start: Option<&WarmStart>,
    ) -> Result<Self> {
        let image: Box<dyn Tower> = match config.parts.make_image(&config, seed, device)? {
            Some(tower) => tower,
            None => {
                let tower = ImageTower::new(config.image.clone(), seed, device)?;
                start.map_or(Ok(()), |start| start.apply_to_image(&tower))?;
                Box::new(tower)
            }
        };
        let levels = image.levels();
        let neural = match config.parts.make_neural(&config, &levels, seed, device)? {
            Some(tower) => tower,
            None => neural_tower(&config, &levels, seed, device, start)?,
        };
        if neural.levels() != levels {
            return Err(CoreError::Level(format!(
                "the image tower returns {levels:?}, the neural tower {:?}; both have to return the same",
                neural.levels()
            ))
            .into());
        }
        let objective = match config.parts.make_objective(&levels, seed.child("objective"), device)? {
            Some(objective) => objective,
            None => config.objective.build(&levels, seed.child("objective"), device)?,
        };
        Ok(Self { config, image, neural, objective, device: device.clone() })
    }

    /// The start in closed form of every model of this configuration; `None` where it asks for a random one, or its
    /// read-in has no other.
    ///
    /// # Errors
    /// As [`WarmStart::fit`].
    pub fn start(
        config: &ModelConfig,
        data: WarmStartData<'_>,
        device: &Device,
    ) -> Result<Option<WarmStart>> {
        let (Start::ClosedForm, ReadInKind::Factorised { rank }) = (config.start, config.neural.read_in)
        else {
            return Ok(None);
        };
        if config.parts.image_tower().is_some() || config.parts.neural_tower().is_some() {
            return Ok(None);
        }
        // Its random weights are not looked at.
        let image = ImageTower::new(config.image.clone(), Seed::new(0), device)?;
        Ok(Some(WarmStart::fit(&image, rank, data)?))
    }

    /// What they were made from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// For the trainer.
    pub fn model(&self) -> Model<'_> {
        Model { image: self.image.as_ref(), neural: self.neural.as_ref(), objective: self.objective.as_ref() }
    }

    /// The image tower.
    pub fn image(&self) -> &dyn Tower {
        self.image.as_ref()
    }

    /// The neural tower.
    pub fn neural(&self) -> &dyn Tower {
        self.neural.as_ref()
    }

    /// The objective.
    pub fn objective(&self) -> &dyn Objective {
        self.objective.as_ref()
    }

    /// Maps of images (images x height x width, standardised), a batch at a time.
    ///
    /// # Errors
    /// When the images have another size than the tower takes.
    pub fn image_maps(&self, images: ArrayView3<f32>) -> Result<FeatureMaps> {
        let (count, height, width) = images.dim();
        self.maps(self.image(), count, |range| {
            let part = images.slice_axis(Axis(0), range.into());
            let len = part.len_of(Axis(0));
            Ok(Tensor::from_iter(part.iter().copied(), &self.device)?.reshape((len, 1, height, width))?)
        })
    }

    /// Maps of preprocessed responses (trials x neurons), a batch at a time.
    ///
    /// # Errors
    /// When the responses have another number of neurons than the tower takes.
    pub fn neural_maps(&self, responses: ArrayView2<f32>) -> Result<FeatureMaps> {
        let (count, neurons) = responses.dim();
        self.maps(self.neural(), count, |range| {
            let part = responses.slice_axis(Axis(0), range.into());
            let len = part.len_of(Axis(0));
            Ok(Tensor::from_iter(part.iter().copied(), &self.device)?.reshape((len, neurons))?)
        })
    }

    fn maps(
        &self,
        tower: &dyn Tower,
        count: usize,
        input: impl Fn(std::ops::Range<usize>) -> Result<Tensor>,
    ) -> Result<FeatureMaps> {
        let parts = (0..count)
            .step_by(BATCH)
            .map(|first| {
                let maps = tower.forward(&input(first..count.min(first + BATCH))?, Mode::Eval)?;
                Ok(maps.detach())
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(FeatureMaps::cat(&parts)?)
    }

    /// What every neuron adds to the first level of the neural maps when it is at 1 and all others are at 0, `[neurons,
    /// channels, height, width]`: the weights of a tower that is linear in the responses.
    ///
    /// # Errors
    /// As [`Towers::neural_maps`].
    pub(crate) fn read_in_weights(&self) -> Result<Array4<f32>> {
        let neurons = self.config.neural.neurons;
        let offset = level_array(&self.neural_maps(Array2::zeros((1, neurons)).view())?)?;
        let (_, channels, height, width) = offset.dim();
        let mut weights = Array4::zeros((neurons, channels, height, width));
        // A square matrix of ten thousand neurons would be larger than what comes of it.
        for (block, mut of_block) in weights.axis_chunks_iter_mut(Axis(0), BATCH).enumerate() {
            let one = |(row, n): (usize, usize)| f32::from(u8::from(block * BATCH + row == n));
            let single = Array2::from_shape_fn((of_block.len_of(Axis(0)), neurons), one);
            of_block.assign(&(level_array(&self.neural_maps(single.view())?)? - &offset));
        }
        Ok(weights)
    }

    /// Similarity of every trial with every image, trials x images.
    ///
    /// # Errors
    /// As [`Towers::image_maps`] and [`Towers::neural_maps`].
    pub fn similarity(&self, responses: ArrayView2<f32>, images: ArrayView3<f32>) -> Result<Array2<f32>> {
        let image = self.image_maps(images)?;
        let (trials, count) = (responses.nrows(), images.len_of(Axis(0)));
        let mut values = Vec::with_capacity(trials * count);
        // Maps of all trials at once could be large; logits of a batch are not.
        for first in (0..trials).step_by(4 * BATCH) {
            let part = responses.slice_axis(Axis(0), (first..trials.min(first + 4 * BATCH)).into());
            let neural = self.neural_maps(part)?;
            let cosine = cosine_logits(&neural, &image, self.config.objective.similarity())?;
            values.extend(cosine.flatten_all()?.to_vec1::<f32>()?);
        }
        Array2::from_shape_vec((trials, count), values)
            .map_err(|_| CoreError::shape("similarity", [trials, count], [0]).into())
    }

    /// Writes the weights with the configuration, what every tensor is (`layers`), and how they came about.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path, record: &TrainingRecord) -> Result<()> {
        let mut file = TensorFile::default();
        for parameter in self.model().parameters() {
            file.tensors.insert(parameter.name, parameter.var.as_tensor().clone());
        }
        for (name, text) in [
            ("config", serde_json::to_string(&self.config)),
            ("layers", serde_json::to_string(&self.layers())),
            ("record", serde_json::to_string(record)),
        ] {
            let text = text.map_err(|e| Error::Job(format!("{name} of {}: {e}", path.display())))?;
            file.metadata.insert(name.into(), text);
        }
        Ok(file.write(path)?)
    }

    /// What every tensor of a checkpoint is.
    fn layers(&self) -> Layers {
        let objective = &self.config.objective;
        let of = |parameters: Vec<Parameter>| {
            let layer = |p: Parameter| Layer {
                shape: p.var.dims().to_vec(),
                decay: p.decay,
                rate: p.rate,
                name: p.name,
            };
            parameters.into_iter().map(layer).collect()
        };
        let part =
            |tower: &dyn Tower| LayersOf { description: tower.describe(), tensors: of(tower.parameters()) };
        Layers {
            levels: self.image.levels(),
            image: part(self.image()),
            neural: part(self.neural()),
            objective: LayersOf {
                description: vec![objective.to_string()],
                tensors: of(self.objective.parameters()),
            },
        }
    }

    /// Reads what [`Towers::save`] wrote.
    ///
    /// # Errors
    /// When the file is missing, damaged, or no model of this version, or it has parts of a user's own.
    pub fn load(path: &Path, device: &Device) -> Result<(Self, TrainingRecord)> {
        Self::load_with(path, &Parts::default(), device)
    }

    /// The same for a model with parts of a user's own.
    ///
    /// # Errors
    /// As [`Towers::load`], and when it was trained with parts of other names.
    pub fn load_with(path: &Path, parts: &Parts, device: &Device) -> Result<(Self, TrainingRecord)> {
        let file = TensorFile::read(path, device)?;
        let mut config: ModelConfig = parse(&file, "config", path)?;
        if config.parts != *parts {
            return Err(Error::Job(format!(
                "{}: was trained with the parts {:?}, and is loaded with {parts:?}; give the `Parts` it was trained with",
                path.display(),
                config.parts
            )));
        }
        config.parts = parts.clone();
        let record = parse(&file, "record", path)?;
        let towers = Self::new(config, Seed::new(0), device)?;
        for parameter in towers.model().parameters() {
            let tensor = file.tensor(&parameter.name)?;
            if tensor.dims() != parameter.var.dims() {
                let what = format!("{}: `{}`", path.display(), parameter.name);
                return Err(CoreError::shape(what, parameter.var.dims(), tensor.dims()).into());
            }
            parameter.var.set(tensor)?;
        }
        Ok((towers, record))
    }
}

/// One of our neural towers, for the first level.
fn neural_tower(
    config: &ModelConfig,
    levels: &[MapSpec],
    seed: Seed,
    device: &Device,
    start: Option<&WarmStart>,
) -> Result<Box<dyn Tower>> {
    let Some(level) = levels.first().cloned() else {
        return Err(Error::Job("the image tower has no level to align".into()));
    };
    let NeuralTowerConfig { neurons, read_in, dropout } = config.neural;
    Ok(match read_in {
        ReadInKind::Factorised { rank } => {
            let tower = Factorised::new(neurons, rank, level, dropout, seed, device)?;
            start.map_or(Ok(()), |start| start.apply_to_neural(&tower))?;
            Box::new(tower)
        }
        ReadInKind::Dense => Box::new(Dense::new(neurons, level, dropout, seed, device)?),
        ReadInKind::Mlp { hidden } => Box::new(Mlp::new(neurons, hidden, level, dropout, seed, device)?),
    })
}

fn parse<T: for<'de> Deserialize<'de>>(file: &TensorFile, name: &str, path: &Path) -> Result<T> {
    let broken = |why: String| {
        Error::Job(format!("{}: no model of this version ({why}); train it again", path.display()))
    };
    let text = file.metadata.get(name).ok_or_else(|| broken(format!("`{name}` is missing")))?;
    serde_json::from_str(text).map_err(|e| broken(format!("`{name}`: {e}")))
}

/// For readers of a checkpoint outside this crate: what it is made of, and every tensor by name. We do not read it back.
#[derive(Serialize)]
struct Layers {
    levels: Vec<MapSpec>,
    image: LayersOf,
    neural: LayersOf,
    objective: LayersOf,
}

#[derive(Serialize)]
struct LayersOf {
    description: Vec<String>,
    tensors: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    shape: Vec<usize>,
    decay: bool,
    rate: f64,
}

/// How a model came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// Hash of data, split, configuration and seed: what makes this model this one.
    pub identity: dina_core::ContentHash,
    /// How the training ended.
    pub outcome: Outcome,
    /// Its log, a line a step.
    pub log: Vec<LogEntry>,
}

/// The first level of maps as an array, images x channels x height x width.
pub(crate) fn level_array(maps: &FeatureMaps) -> Result<Array4<f32>> {
    let Some((_, map)) = maps.iter().next() else {
        return Err(CoreError::Level("there is no level".into()).into());
    };
    let dims = map.dims4().map_err(CoreError::from)?;
    let values = map.flatten_all()?.to_vec1::<f32>()?;
    Array4::from_shape_vec(dims, values).map_err(|_| CoreError::shape("feature map", map.dims(), [0]).into())
}

/// Images as a tensor `[images, 1, height, width]`.
pub(crate) fn image_tensor(images: &Array3<f32>, device: &Device) -> Result<Tensor> {
    let (count, height, width) = images.dim();
    Ok(Tensor::from_iter(images.iter().copied(), device)?.reshape((count, 1, height, width))?)
}

/// Responses as a tensor `[trials, neurons]`.
pub(crate) fn response_tensor(responses: &Array2<f32>, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_iter(responses.iter().copied(), device)?.reshape(responses.dim())?)
}
