//! What the best aligned channels owe their maps to, whether that is to be believed, and what would drive them most.

use candle_core::{Device, Tensor};
use dina_core::{Seed, Tower};
use dina_interp::attribution::{
    Attribution, Baseline, Completeness, ExpectedGradients, Explainer, Groups, IntegratedGradients, Method,
    SmoothGrad, Target,
};
use dina_interp::exciting::{Exciting, ExcitingConfig, most_exciting};
use dina_interp::space::{Footprint, FootprintConfig, footprint};
use dina_interp::trust::{
    Cascade, CascadeConfig, Check, CheckKind, Checks, Perturbation, PerturbationConfig, Similarity, cascade,
    deletion_insertion, similarity,
};
use dina_stats::bootstrap::Bootstrap;
use dina_stats::permutation::Permutation;
use ndarray::{Array2, Array3, Array4, ArrayD, ArrayView3, Axis, s};
use serde::{Deserialize, Serialize};

use super::InterpretationConfig;
use super::material::Material;
use super::space::Choice;
use crate::towers::{image_tensor, response_tensor};
use crate::{Result, Towers};

/// Which tower's input is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TowerSide {
    /// Pixels, for the image tower.
    Image,
    /// Neurons, for the neural tower.
    Neural,
}

impl TowerSide {
    /// Its name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Neural => "neural",
        }
    }
}

/// What one method says of one channel, and the checks made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AttributionResult {
    /// Whose input.
    pub side: TowerSide,
    /// The level.
    pub level: String,
    /// The channel.
    pub channel: usize,
    /// The method.
    pub method: Method,
    /// Test images, at equal steps through all of them.
    pub images: Vec<u32>,
    /// Whether the attributions add up, for the methods that should.
    pub completeness: Option<Completeness>,
    /// What is left when the tower's parameters are drawn anew, from the output side.
    pub cascade: Option<Cascade>,
    /// Rank correlation with the attributions of an untrained tower.
    pub untrained: Option<Similarity>,
    /// Deletion and insertion against random order.
    pub perturbation: Option<Perturbation>,
    /// Every check and its verdict.
    pub checks: Checks,
    /// Whether every check was passed and the attribution is complete.
    pub trusted: bool,
    /// For pixels: the part of the screen with at least half of the largest mean absolute attribution.
    pub footprint: Option<Footprint>,
    /// Name of the attributions in maps.safetensors, `[images, 1, height, width]` or `[images, neurons]`.
    pub tensor: String,
}

/// What [`ExcitingResult`] is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExcitingOf {
    /// A channel of a level at the position that was chosen for it.
    Channel {
        /// The level.
        level: String,
        /// The channel.
        channel: usize,
    },
    /// A neuron: the image whose map is most like the weights that read the neuron in.
    Neuron {
        /// In the order of [`Interpretation::neurons`](super::Interpretation::neurons).
        neuron: usize,
    },
}

impl ExcitingOf {
    /// A name for captions and tensors.
    pub fn name(&self) -> String {
        match self {
            Self::Channel { level, channel } => format!("{level} channel {channel}"),
            Self::Neuron { neuron } => format!("neuron {neuron}"),
        }
    }
}

/// The image that drives a channel or a neuron most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExcitingResult {
    /// Of what.
    pub of: ExcitingOf,
    /// The target of every start, the best first.
    pub targets: Vec<f64>,
    /// Whether each converged.
    pub converged: Vec<bool>,
    /// Correlation of each image with the first.
    pub alike: Vec<f64>,
    /// Mean target over test images.
    pub natural_mean: f64,
    /// Its standard deviation.
    pub natural_sd: f64,
    /// The largest target of a test image.
    pub natural_max: f64,
    /// Name of the images in maps.safetensors, `[starts, 1, height, width]`.
    pub tensor: String,
}

impl ExcitingResult {
    /// The target of a start in standard deviations of test images from their mean; 0 where these do not differ.
    pub fn z(&self, start: usize) -> f64 {
        self.z_of(self.targets.get(start).copied().unwrap_or(self.natural_mean))
    }

    pub(super) fn z_of(&self, target: f64) -> f64 {
        if self.natural_sd > 0. { (target - self.natural_mean) / self.natural_sd } else { 0. }
    }
}

/// Everything that these analyses find, with the arrays that do not go into a JSON file.
#[derive(Default)]
pub(super) struct Causes {
    pub attribution: Vec<AttributionResult>,
    pub exciting: Vec<ExcitingResult>,
    pub tensors: Vec<(String, ArrayD<f32>)>,
}

pub(super) struct Explaining<'a> {
    pub material: &'a Material<'a>,
    pub config: &'a InterpretationConfig,
    pub seed: Seed,
    pub device: &'a Device,
}

/// The images that attributions are made of, and the other tower's maps of them.
struct Items {
    /// Places among the test images.
    rows: Vec<usize>,
    pixels: Tensor,
    responses: Tensor,
}

impl Explaining<'_> {
    /// Places at equal steps through the test images.
    pub fn rows(&self) -> Vec<usize> {
        let (of, count) = (self.material.test.images.len(), self.config.items);
        let count = count.min(of);
        (0..count).map(|k| k * of / count).collect()
    }

    fn items(&self) -> Result<Items> {
        let rows = self.rows();
        let test = &self.material.test;
        Ok(Items {
            pixels: image_tensor(&test.pixels.select(Axis(0), &rows), self.device)?,
            responses: response_tensor(&test.responses.select(Axis(0), &rows), self.device)?,
            rows,
        })
    }

    /// Attributions of the chosen channels from both sides, each with its checks.
    pub fn attribute(&self, chosen: &[Choice], found: &mut Causes, done: &dyn Fn(&str)) -> Result<()> {
        let items = self.items()?;
        let untrained =
            Towers::new(self.material.towers.config().clone(), self.seed.child("untrained"), self.device)?;
        for choice in chosen {
            for side in [TowerSide::Image, TowerSide::Neural] {
                self.channel(choice, side, &items, &untrained, found)?;
                done(&format!("attribution, {} side", side.name()));
            }
        }
        Ok(())
    }

    fn channel(
        &self,
        choice: &Choice,
        side: TowerSide,
        items: &Items,
        untrained: &Towers,
        found: &mut Causes,
    ) -> Result<()> {
        let m = self.material;
        let (tower, other, inputs, matched, shared) = match side {
            TowerSide::Image => (
                m.towers.image(),
                untrained.image(),
                &items.pixels,
                &m.test.neural[choice.level],
                &m.choice.neural[choice.level],
            ),
            TowerSide::Neural => (
                m.towers.neural(),
                untrained.neural(),
                &items.responses,
                &m.test.image[choice.level],
                &m.choice.image[choice.level],
            ),
        };
        let maps = centred(matched, shared, choice.channel, &items.rows);
        let level = m.levels[choice.level].name.clone();
        let target = || Target::channel_matching(level.clone(), choice.channel, maps.clone());
        let explainer = Explainer::new(tower, target())?;
        let seed = self.seed.child(side.name()).index(choice.level).index(choice.channel);
        let gradients = explainer.gradient_error(inputs, 2, 1e-3, seed.child("gradient"))?;
        for method in self.methods(side) {
            let seed = seed.child(&method.to_string());
            let attribute = |tower: &dyn Tower| {
                let explainer = Explainer::new(tower, target())?;
                self.explain(&explainer, method, inputs, seed.child("samples"))
            };
            let attribution = attribute(tower)?;
            let config = CascadeConfig {
                redraws: self.config.redraws,
                bootstrap: self.bootstrap(),
                ..Default::default()
            };
            let cascade = cascade(tower, &attribute, &config, seed.child("cascade"))?;
            let untrained =
                similarity(&attribution, &attribute(other)?, &self.bootstrap(), seed.child("untrained"))?;
            let perturbation = self.perturb(&explainer, inputs, &attribution, seed)?;
            let mut checks = Checks::new()
                .with(Check::gradient(gradients, 0.05))
                .with(cascade.check)
                .with(untrained.differs(CheckKind::Untrained, config.largest));
            for test in [&perturbation.deletion, &perturbation.insertion] {
                checks = checks.with(test.check);
            }
            let attribution = attribution.with_checks(checks.clone());
            let tensor = format!("attribution.{}.{level}.{}.{}", side.name(), choice.channel, slug(method));
            found.attribution.push(AttributionResult {
                side,
                level: level.clone(),
                channel: choice.channel,
                method,
                images: items.rows.iter().map(|&row| m.test.images[row]).collect(),
                trusted: attribution.trusted().unwrap_or(false),
                completeness: attribution.completeness,
                cascade: Some(cascade),
                untrained: Some(untrained),
                perturbation: Some(perturbation),
                checks,
                footprint: self.footprint(side, &attribution.values),
                tensor: tensor.clone(),
            });
            found.tensors.push((tensor, attribution.values));
        }
        Ok(())
    }

    /// Integrated gradients, a second method that samples, and from the image side one that uses no gradient.
    fn methods(&self, side: TowerSide) -> Vec<Method> {
        match side {
            TowerSide::Image => vec![Method::IntegratedGradients, Method::SmoothGrad, Method::Occlusion],
            TowerSide::Neural => vec![Method::IntegratedGradients, Method::ExpectedGradients],
        }
    }

    fn explain(
        &self,
        explainer: &Explainer<'_>,
        method: Method,
        inputs: &Tensor,
        seed: Seed,
    ) -> dina_interp::Result<Attribution> {
        let samples = self.config.samples;
        match method {
            Method::SmoothGrad => {
                explainer.smooth_grad(inputs, &SmoothGrad { samples, ..Default::default() }, seed)
            }
            Method::Occlusion => {
                let (_, height, width) = self.material.test.pixels.dim();
                let size = (height.max(width) / 8).max(2);
                let groups = Groups::patches(height, width, size, size.div_ceil(2))?;
                explainer.occlusion(inputs, &groups, &Baseline::Zero)
            }
            Method::ExpectedGradients => {
                let background = &self.material.choice.responses;
                let step = background.nrows().div_ceil(samples).max(1);
                let rows: Vec<usize> = (0..background.nrows()).step_by(step).collect();
                let background = tensor2(&background.select(Axis(0), &rows), inputs.device())?;
                let config = ExpectedGradients { samples: samples.max(rows.len()), ..Default::default() };
                explainer.expected_gradients(inputs, &background, &config, seed)
            }
            Method::GradientInput => explainer.gradient_input(inputs),
            _ => explainer.integrated_gradients(inputs, &IntegratedGradients::default()),
        }
    }

    fn bootstrap(&self) -> Bootstrap {
        Bootstrap { replicates: self.config.replicates, bca: false, ..Bootstrap::default() }
    }

    fn perturb(
        &self,
        explainer: &Explainer<'_>,
        inputs: &Tensor,
        attribution: &Attribution,
        seed: Seed,
    ) -> Result<Perturbation> {
        let config = PerturbationConfig {
            steps: 10,
            orders: self.config.orders,
            bootstrap: self.bootstrap(),
            permutation: Permutation { count: self.config.permutations, ..Permutation::default() },
            ..Default::default()
        };
        Ok(deletion_insertion(explainer, inputs, attribution, &config, seed.child("deletion"))?)
    }

    /// In degrees from the corner of the screen; `None` for neurons, or where every attribution is 0.
    fn footprint(&self, side: TowerSide, values: &ArrayD<f32>) -> Option<Footprint> {
        if side == TowerSide::Neural {
            return None;
        }
        let (_, rows, columns) = self.material.test.pixels.dim();
        let count = values.len() / (rows * columns);
        let mut mean = Array2::zeros((rows, columns));
        for (place, v) in values.iter().enumerate() {
            let pixel = place % (rows * columns);
            mean[[pixel / columns, pixel % columns]] += f64::from(v.abs()) / count as f64;
        }
        let [top, left, height, width] = self.material.fold.window.window.degrees().map(f64::from);
        let config = FootprintConfig::new([height / rows as f64, width / columns as f64]);
        let mut found = footprint(mean.view(), "mean absolute attribution", &config).ok()?;
        found.row += top;
        found.column += left;
        Some(found)
    }

    /// Most exciting images of the chosen channels and, for a linear read-in, of some neurons.
    pub fn excite(&self, chosen: &[Choice], neurons: &[usize], found: &mut Causes) -> Result<()> {
        let m = self.material;
        for choice in chosen {
            let level = &m.levels[choice.level];
            let (_, height, width) = level.dims();
            let mut at = Array3::zeros((1, height, width));
            at[[0, choice.position[0], choice.position[1]]] = 1.;
            let of = ExcitingOf::Channel { level: level.name.clone(), channel: choice.channel };
            self.most(of, Target::channel_matching(level.name.clone(), choice.channel, at), found)?;
        }
        let Some(weights) = &m.weights else { return Ok(()) };
        for &neuron in neurons {
            let own: Array4<f32> = weights.slice(s![neuron..=neuron, .., .., ..]).to_owned();
            let of = ExcitingOf::Neuron { neuron };
            self.most(of, Target::level_matching(m.levels[0].name.clone(), own), found)?;
        }
        Ok(())
    }

    fn most(&self, of: ExcitingOf, target: Target, found: &mut Causes) -> Result<()> {
        let m = self.material;
        let tower = m.towers.image();
        let natural = &m.choice.pixels;
        let low = natural.iter().copied().fold(f32::INFINITY, f32::min);
        let high = natural.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let contrast = natural.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / natural.len() as f64;
        let config = ExcitingConfig {
            starts: self.config.starts,
            steps: self.config.steps,
            contrast: contrast.sqrt(),
            bounds: Some((f64::from(low), f64::from(high))),
            ..Default::default()
        };
        let shown = image_tensor(&m.test.pixels, self.device)?;
        let natural = Explainer::new(tower, target.clone())?.targets(&shown)?;
        let seed = self.seed.child("exciting").child(&of.name());
        let Exciting { inputs, targets, converged, alike, .. } =
            most_exciting(tower, target, &shown, &config, seed)?;
        let count = natural.len() as f64;
        let mean = natural.iter().sum::<f64>() / count;
        let variance = natural.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
        let tensor = format!("exciting.{}", of.name().replace(' ', "."));
        found.exciting.push(ExcitingResult {
            of,
            targets,
            converged,
            alike,
            natural_mean: mean,
            natural_sd: variance.sqrt(),
            natural_max: natural.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            tensor: tensor.clone(),
        });
        found.tensors.push((tensor, inputs));
        Ok(())
    }
}

/// The maps of a channel of some images, every position without its mean over the images of choice: what all images share
/// is no alignment.
fn centred(maps: &Array4<f32>, choice: &Array4<f32>, channel: usize, rows: &[usize]) -> Array3<f32> {
    let mut own = maps.index_axis(Axis(1), channel).select(Axis(0), rows);
    let shared: ArrayView3<'_, f32> = choice.index_axis(Axis(1), channel);
    if let Some(mean) = shared.mean_axis(Axis(0)) {
        own -= &mean;
    }
    own
}

/// The method as part of a name.
pub(super) fn slug(method: Method) -> &'static str {
    match method {
        Method::GradientInput => "gradient_input",
        Method::IntegratedGradients => "integrated_gradients",
        Method::ExpectedGradients => "expected_gradients",
        Method::SmoothGrad => "smooth_grad",
        Method::Occlusion => "occlusion",
        Method::Shapley => "shapley",
        Method::GradCam => "grad_cam",
        _ => "other",
    }
}

fn tensor2(rows: &Array2<f32>, device: &Device) -> dina_interp::Result<Tensor> {
    Tensor::from_iter(rows.iter().copied(), device)
        .and_then(|tensor| tensor.reshape(rows.dim()))
        .map_err(|error| dina_core::Error::from(error).into())
}
