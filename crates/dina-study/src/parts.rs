//! Towers and objectives of a user's own, in place of ours, with everything else unchanged.

use std::fmt;
use std::sync::Arc;

use candle_core::Device;
use dina_core::{MapSpec, Objective, Seed, Tower};
use dina_model::{ImageTowerConfig, NeuralTowerConfig};
use serde::{Deserialize, Serialize};

use crate::{Error, ModelConfig, ObjectiveConfig, Result, Start};

type MakeImage = dyn Fn(&ImageTowerConfig, Seed, &Device) -> dina_core::Result<Box<dyn Tower>> + Send + Sync;
type MakeNeural =
    dyn Fn(&NeuralTowerConfig, &[MapSpec], Seed, &Device) -> dina_core::Result<Box<dyn Tower>> + Send + Sync;
type MakeObjective = dyn Fn(&[MapSpec], Seed, &Device) -> dina_core::Result<Box<dyn Objective>> + Send + Sync;

/// Parts of a model that come from outside this crate: an image tower, a neural tower, an objective, or several of them.
///
/// Put them into [`JobConfig::parts`](crate::JobConfig::parts), and the job trains, decodes and reports with them as with
/// ours. A part is a name and a function that makes it. The name is what checkpoints, hashes and the report know of the part: it
/// has to change with whatever changes its results, so write its settings into it (`conv net, 2 layers of 16`). A checkpoint
/// of parts with other names is refused. The function has to be deterministic in its seed.
///
/// Towers of a user's own start from the weights that they are made with: the closed-form start is ours alone.
///
/// ```
/// use dina_study::{JobConfig, Parts, Profile};
///
/// let mut config = JobConfig::simulated(Profile::Smoke, 1);
/// let before = config.hash();
/// config.parts = Parts::default().with_neural_tower("dense, dropout 0.2", |neural, levels, seed, device| {
///     let level = levels[0].clone();
///     Ok(Box::new(dina_model::Dense::new(neural.neurons, level, 0.2, seed, device)?))
/// });
/// assert_ne!(config.hash(), before);
/// ```
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(from = "Names", into = "Names")]
pub struct Parts {
    image: Option<Part<MakeImage>>,
    neural: Option<Part<MakeNeural>>,
    objective: Option<Part<MakeObjective>>,
}

struct Part<F: ?Sized> {
    name: String,
    /// `None` where only the name is known, from a file.
    make: Option<Arc<F>>,
}

impl<F: ?Sized> Clone for Part<F> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), make: self.make.clone() }
    }
}

impl<F: ?Sized> Part<F> {
    fn new(name: impl Into<String>, make: Arc<F>) -> Option<Self> {
        Some(Self { name: name.into(), make: Some(make) })
    }

    fn make(&self, what: &str) -> Result<&F> {
        self.make.as_deref().ok_or_else(|| {
            Error::Job(format!(
                "the {what} `{}` is a part of a user's own, of which a file holds the name only; give the same `Parts` as when it \
                 was trained",
                self.name
            ))
        })
    }
}

/// What a file holds of the parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Names {
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    neural: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objective: Option<String>,
}

impl From<Parts> for Names {
    fn from(parts: Parts) -> Self {
        Self {
            image: parts.image.map(|part| part.name),
            neural: parts.neural.map(|part| part.name),
            objective: parts.objective.map(|part| part.name),
        }
    }
}

impl From<Names> for Parts {
    fn from(names: Names) -> Self {
        Self {
            image: names.image.map(|name| Part { name, make: None }),
            neural: names.neural.map(|name| Part { name, make: None }),
            objective: names.objective.map(|name| Part { name, make: None }),
        }
    }
}

/// By name: functions cannot be compared.
impl PartialEq for Parts {
    fn eq(&self, other: &Self) -> bool {
        Names::from(self.clone()) == Names::from(other.clone())
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Names::from(self.clone()).fmt(f)
    }
}

impl Parts {
    /// With an image tower: images `[batch, 1, height, width]`, standardised, to one level or several. Of the configuration
    /// the size of the images and the degrees a pixel are facts; the rest is what ours would do with them.
    ///
    /// The neural tower has to return the same levels; ours returns the first, and is for towers of one level.
    pub fn with_image_tower(
        mut self,
        name: impl Into<String>,
        make: impl Fn(&ImageTowerConfig, Seed, &Device) -> dina_core::Result<Box<dyn Tower>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.image = Part::new(name, Arc::new(make));
        self
    }

    /// With a neural tower: responses `[batch, neurons]`, preprocessed, to the levels of the image tower, which it is handed.
    pub fn with_neural_tower(
        mut self,
        name: impl Into<String>,
        make: impl Fn(&NeuralTowerConfig, &[MapSpec], Seed, &Device) -> dina_core::Result<Box<dyn Tower>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.neural = Part::new(name, Arc::new(make));
        self
    }

    /// With an objective, for towers of these levels; it takes the place of
    /// [`JobConfig::objective`](crate::JobConfig::objective). Images are then identified by the cosine of the flattened maps.
    pub fn with_objective(
        mut self,
        name: impl Into<String>,
        make: impl Fn(&[MapSpec], Seed, &Device) -> dina_core::Result<Box<dyn Objective>> + Send + Sync + 'static,
    ) -> Self {
        self.objective = Part::new(name, Arc::new(make));
        self
    }

    /// Whether all parts are ours.
    pub fn is_empty(&self) -> bool {
        self.image.is_none() && self.neural.is_none() && self.objective.is_none()
    }

    /// Name of the image tower, where it is a user's own.
    pub fn image_tower(&self) -> Option<&str> {
        self.image.as_ref().map(|part| part.name.as_str())
    }

    /// Name of the neural tower, where it is a user's own.
    pub fn neural_tower(&self) -> Option<&str> {
        self.neural.as_ref().map(|part| part.name.as_str())
    }

    /// Name of the objective, where it is a user's own.
    pub fn objective(&self) -> Option<&str> {
        self.objective.as_ref().map(|part| part.name.as_str())
    }

    /// Puts the parts into a model.
    pub(crate) fn install(&self, config: &mut ModelConfig) {
        config.parts = self.clone();
        if self.image.is_some() || self.neural.is_some() {
            config.start = Start::Random;
        }
        if let Some(part) = &self.objective {
            config.objective = ObjectiveConfig::Custom { name: part.name.clone() };
        }
    }

    pub(crate) fn make_image(
        &self,
        config: &ModelConfig,
        seed: Seed,
        device: &Device,
    ) -> Result<Option<Box<dyn Tower>>> {
        let Some(part) = &self.image else { return Ok(None) };
        Ok(Some(part.make("image tower")?(&config.image, seed.child("image"), device)?))
    }

    pub(crate) fn make_neural(
        &self,
        config: &ModelConfig,
        levels: &[MapSpec],
        seed: Seed,
        device: &Device,
    ) -> Result<Option<Box<dyn Tower>>> {
        let Some(part) = &self.neural else { return Ok(None) };
        Ok(Some(part.make("neural tower")?(&config.neural, levels, seed.child("neural"), device)?))
    }

    pub(crate) fn make_objective(
        &self,
        levels: &[MapSpec],
        seed: Seed,
        device: &Device,
    ) -> Result<Option<Box<dyn Objective>>> {
        let Some(part) = &self.objective else { return Ok(None) };
        Ok(Some(part.make("objective")?(levels, seed, device)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use dina_core::{ContentHash, FeatureMaps, Mode, Parameter};
    use dina_loss::{InfoNce, InfoNceConfig};
    use dina_model::{Dense, Factorised};
    use dina_train::Outcome;

    use super::*;
    use crate::{JobConfig, Profile, Towers, TrainingRecord};

    /// A tower that gives every image the same map.
    struct Constant {
        map: Var,
        level: MapSpec,
    }

    impl Constant {
        fn new(name: &str, value: f32, device: &Device) -> dina_core::Result<Self> {
            let level = MapSpec { name: name.into(), channels: 2, height: 3, width: 4 };
            Ok(Self {
                map: Var::from_tensor(&candle_core::Tensor::full(value, (1, 2, 3, 4), device)?)?,
                level,
            })
        }
    }

    impl Tower for Constant {
        fn forward(&self, input: &candle_core::Tensor, _: Mode<'_>) -> dina_core::Result<FeatureMaps> {
            FeatureMaps::single(
                &self.level.name,
                self.map.broadcast_as((input.dim(0)?, 2, 3, 4))?.contiguous()?,
            )
        }
        fn levels(&self) -> Vec<MapSpec> {
            vec![self.level.clone()]
        }
        fn parameters(&self) -> Vec<Parameter> {
            vec![Parameter::new("image.map", self.map.clone())]
        }
        fn describe(&self) -> Vec<String> {
            vec!["image".into(), "one map for all".into()]
        }
    }

    fn parts(name: &str) -> Parts {
        Parts::default()
            .with_image_tower(name, |_, _, device| Ok(Box::new(Constant::new("mine", 0.5, device)?)))
            .with_objective("contrast of my own", |_, _, device| {
                Ok(Box::new(InfoNce::new(InfoNceConfig::default(), device)?))
            })
    }

    fn model(parts: &Parts) -> ModelConfig {
        let mut config = ModelConfig::for_data((6, 8), 2., 5, false, Profile::Smoke);
        parts.install(&mut config);
        config
    }

    #[test]
    fn names_are_hashed_and_the_default_leaves_hashes_as_they_were() {
        let plain = JobConfig::simulated(Profile::Smoke, 1);
        assert!(!serde_json::to_string(&plain).unwrap().contains("parts"));
        let hash = |parts: Parts| JobConfig { parts, ..plain.clone() }.hash();
        assert_eq!(hash(Parts::default()), plain.hash());
        assert_ne!(hash(parts("one")), plain.hash());
        assert_ne!(hash(parts("one")), hash(parts("two")));
        let text = serde_json::to_string(&parts("one")).unwrap();
        assert_eq!(text, r#"{"image":"one","objective":"contrast of my own"}"#);
        assert_eq!(serde_json::from_str::<Parts>(&text).unwrap(), parts("one"));
    }

    #[test]
    fn towers_are_made_from_the_parts_and_ours_fit_around_them() {
        let config = model(&parts("one"));
        assert_eq!(config.start, Start::Random);
        assert!(config.objective.to_string().contains("contrast of my own"));
        let towers = Towers::new(config, Seed::new(1), &Device::Cpu).unwrap();
        assert_eq!(towers.neural().levels()[0].name, "mine");
        let maps = towers.image_maps(ndarray::Array3::zeros((2, 6, 8)).view()).unwrap();
        assert_eq!(maps.get("mine").unwrap().dims(), [2, 2, 3, 4]);
    }

    #[test]
    fn towers_of_different_levels_are_refused() {
        let parts = Parts::default().with_neural_tower("other", |neural, levels, seed, device| {
            let level = MapSpec { name: "elsewhere".into(), ..levels[0].clone() };
            Ok(Box::new(Dense::new(neural.neurons, level, 0., seed, device)?))
        });
        let error = Towers::new(model(&parts), Seed::new(1), &Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("elsewhere") && error.contains("v1"), "{error}");
    }

    #[test]
    fn checkpoints_name_their_parts_and_every_tensor_and_open_with_the_same_parts_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let towers = Towers::new(model(&parts("one")), Seed::new(1), &Device::Cpu).unwrap();
        let outcome = Outcome { steps: 0, start: None, best_step: 0, best: None };
        let record =
            TrainingRecord { identity: ContentHash::of([b"x".as_slice()]), outcome, log: Vec::new() };
        towers.model().parameters()[0]
            .var
            .set(&candle_core::Tensor::full(7f32, (1, 2, 3, 4), &Device::Cpu).unwrap())
            .unwrap();
        towers.save(&path, &record).unwrap();
        let (read, _) = Towers::load_with(&path, &parts("one"), &Device::Cpu).unwrap();
        let first = read.model().parameters()[0].var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(first, [7.; 24]);
        for other in [Parts::default(), parts("two")] {
            let error = Towers::load_with(&path, &other, &Device::Cpu).err().unwrap().to_string();
            assert!(error.contains("model.safetensors") && error.contains("one"), "{error}");
        }
        let known: Parts = serde_json::from_str(&serde_json::to_string(&parts("one")).unwrap()).unwrap();
        let error = Towers::load_with(&path, &known, &Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("name only"), "{error}");

        let file = dina_core::TensorFile::read(&path, &Device::Cpu).unwrap();
        let layers: serde_json::Value = serde_json::from_str(&file.metadata["layers"]).unwrap();
        let mut named = std::collections::BTreeMap::new();
        for part in ["image", "neural", "objective"] {
            for tensor in layers[part]["tensors"].as_array().unwrap() {
                named.insert(tensor["name"].as_str().unwrap().to_owned(), tensor["shape"].clone());
            }
        }
        let held = file.tensors.iter().map(|(name, t)| (name.clone(), serde_json::json!(t.dims()))).collect();
        assert_eq!(named, held);
        assert_eq!(layers["levels"][0]["name"], "mine");
    }

    /// A start that was fitted for ours is not put into another's tower.
    #[test]
    fn a_factorised_read_in_of_a_users_own_starts_as_it_was_made() {
        let parts = Parts::default().with_neural_tower("rank 2", |neural, levels, _, device| {
            Ok(Box::new(Factorised::new(neural.neurons, 2, levels[0].clone(), 0., Seed::new(9), device)?))
        });
        let towers = Towers::new(model(&parts), Seed::new(1), &Device::Cpu).unwrap();
        let level = towers.image().levels().remove(0);
        let alone = Factorised::new(5, 2, level, 0., Seed::new(9), &Device::Cpu).unwrap();
        let masks =
            |tower: &dyn Tower| tower.parameters()[1].var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(masks(towers.neural()), masks(&alone));
    }
}
