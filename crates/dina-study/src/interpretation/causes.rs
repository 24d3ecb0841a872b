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
    Cascade, CascadeConfig, Check, CheckKind, Checks, Perturbation, PerturbationConfig, Similarity,
    agreement, cascade, deletion_insertion,
};
use dina_stats::bootstrap::Bootstrap;
use dina_stats::permutation::Permutation;
use ndarray::{Array2, Array3, Array4, ArrayD, ArrayView3, Axis, s};
use serde::{Deserialize, Serialize};

use super::InterpretationConfig;
use super::material::{Material, arrays};
use super::space::Choice;
use crate::fold::evenly;
use crate::towers::{image_tensor, response_tensor};
use crate::training::{Ending, train_anew};
use crate::{Fold, Result, Towers};

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
    fn tower(self, towers: &Towers) -> &dyn Tower {
        match self {
            Self::Image => towers.image(),
            Self::Neural => towers.neural(),
        }
    }

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
    /// Rank correlation with the attributions of a tower trained on images that were dealt anew among the responses.
    pub shuffled: Option<Similarity>,
    /// Rank correlation with the attributions of towers trained with other seeds, pair by pair.
    pub seeds: Option<Similarity>,
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
    /// Models of the same fold that were trained with other seeds.
    pub others: &'a [&'a Towers],
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
        evenly(self.material.test.images.len(), self.config.items)
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
        let made = self.rival_towers()?;
        let rivals = self.rivals(&made)?;
        done("towers with other seeds and other labels");
        for choice in chosen {
            for side in [TowerSide::Image, TowerSide::Neural] {
                self.channel(choice, side, &items, &rivals, found)?;
                done(&format!("attribution, {} side", side.name()));
            }
        }
        Ok(())
    }

    fn rival_towers(&self) -> Result<RivalTowers> {
        let m = self.material;
        let config = m.towers.config();
        let train = |fold: &Fold, name: &str| {
            train_anew(m.dataset, fold, config, (self.seed.child(name), Ending::Best), self.device)
        };
        Ok(RivalTowers {
            untrained: Towers::new(config.clone(), self.seed.child("untrained"), self.device)?,
            shuffled: train(&m.fold.permuted(self.seed.child("pairing")), "shuffled")?,
            // Where the fold has but one model.
            reseeded: self.others.is_empty().then(|| train(m.fold, "other seed")).transpose()?,
        })
    }

    fn rivals<'t>(&'t self, made: &'t RivalTowers) -> Result<Rivals<'t>> {
        let m = self.material;
        let rival = |towers: &'t Towers| -> Result<Rival<'t>> {
            Ok(Rival { maps: arrays(&towers.image_maps(m.choice.pixels.view())?, &m.levels)?, towers })
        };
        let seeds = self.others.iter().copied().chain(&made.reseeded);
        Ok(Rivals {
            untrained: &made.untrained,
            shuffled: [rival(&made.shuffled)?],
            seeds: seeds.map(rival).collect::<Result<_>>()?,
        })
    }

    fn channel(
        &self,
        choice: &Choice,
        side: TowerSide,
        items: &Items,
        rivals: &Rivals<'_>,
        found: &mut Causes,
    ) -> Result<()> {
        let m = self.material;
        let tower = side.tower(m.towers);
        let (inputs, matched, shared) = match side {
            TowerSide::Image => (&items.pixels, &m.test.neural[choice.level], &m.choice.neural[choice.level]),
            TowerSide::Neural => {
                (&items.responses, &m.test.image[choice.level], &m.choice.image[choice.level])
            }
        };
        let maps = centred(matched, shared, choice.channel, &items.rows);
        let level = m.levels[choice.level].name.clone();
        let target = |channel| Target::channel_matching(level.clone(), channel, maps.clone());
        let explainer = Explainer::new(tower, target(choice.channel))?;
        let own = m.choice.image[choice.level].index_axis(Axis(1), choice.channel);
        let counterparts = |rivals: &[Rival<'_>]| -> Vec<usize> {
            rivals.iter().map(|rival| counterpart(own, &rival.maps[choice.level])).collect()
        };
        let (of_shuffled, of_seeds) = (counterparts(&rivals.shuffled), counterparts(&rivals.seeds));
        let seed = self.seed.child(side.name()).index(choice.level).index(choice.channel);
        let gradients = explainer.gradient_error(inputs, 2, 1e-3, seed.child("gradient"))?;
        for method in self.methods(side) {
            let seed = seed.child(&method.to_string());
            let attribute_of = |tower: &dyn Tower, channel| {
                let explainer = Explainer::new(tower, target(channel))?;
                self.explain(&explainer, method, inputs, seed.child("samples"))
            };
            let attribute = |tower: &dyn Tower| attribute_of(tower, choice.channel);
            let attribution = attribute(tower)?;
            let of_rivals = |rivals: &[Rival<'_>], channels: &[usize]| -> Result<Vec<Attribution>> {
                let each = rivals.iter().zip(channels);
                Ok(each
                    .map(|(rival, &channel)| attribute_of(side.tower(rival.towers), channel))
                    .collect::<dina_interp::Result<_>>()?)
            };
            let config = CascadeConfig {
                redraws: self.config.redraws,
                bootstrap: self.bootstrap(),
                ..Default::default()
            };
            let cascade = cascade(tower, &attribute, &config, seed.child("cascade"))?;
            let alike = |others: &[Attribution], name: &str| {
                let all: Vec<&Attribution> = std::iter::once(&attribution).chain(others).collect();
                agreement(&all, &self.bootstrap(), seed.child(name))
            };
            let untrained = alike(&[attribute(side.tower(rivals.untrained))?], "untrained")?;
            let shuffled = alike(&of_rivals(&rivals.shuffled, &of_shuffled)?, "shuffled")?;
            let seeds = alike(&of_rivals(&rivals.seeds, &of_seeds)?, "seeds")?;
            let perturbation = self.perturb(&explainer, inputs, &attribution, seed)?;
            let mut checks = Checks::new()
                .with(Check::gradient(gradients, 0.05))
                .with(cascade.check)
                .with(untrained.differs(CheckKind::Untrained, config.largest))
                .with(shuffled.differs(CheckKind::LabelRandomisation, config.largest))
                .with(seeds.agrees(config.largest));
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
                shuffled: Some(shuffled),
                seeds: Some(seeds),
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
                // Every row as often as any other, so that they stand for their mean.
                let samples = samples.next_multiple_of(rows.len().max(1));
                let config = ExpectedGradients { samples, ..Default::default() };
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

/// Towers made for comparison.
struct RivalTowers {
    untrained: Towers,
    shuffled: Towers,
    reseeded: Option<Towers>,
}

/// What attributions are compared with: towers that know nothing, towers that learned from wrong pairs, and towers that learned
/// the same from another seed.
struct Rivals<'a> {
    untrained: &'a Towers,
    shuffled: [Rival<'a>; 1],
    seeds: Vec<Rival<'a>>,
}

/// Trained towers with their image maps of the images of choice, per level.
struct Rival<'a> {
    towers: &'a Towers,
    maps: Vec<Array4<f32>>,
}

/// The channel whose maps correlate most with those of a channel of another tower, `[images, height, width]`: towers that are
/// trained apart may hold one thing in different channels.
fn counterpart(own: ArrayView3<'_, f32>, maps: &Array4<f32>) -> usize {
    let r = |channel: usize| {
        let other = maps.index_axis(Axis(1), channel);
        let n = own.len() as f64;
        let mean = |map: ArrayView3<'_, f32>| map.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let (a, b) = (mean(own), mean(other));
        let (mut product, mut squares) = (0., 0.);
        for (x, y) in own.iter().zip(other) {
            product += (f64::from(*x) - a) * (f64::from(*y) - b);
            squares += (f64::from(*y) - b).powi(2);
        }
        if squares > 0. { product / squares.sqrt() } else { f64::NEG_INFINITY }
    };
    let correlations: Vec<f64> = (0..maps.len_of(Axis(1))).map(r).collect();
    (0..correlations.len()).max_by(|&a, &b| correlations[a].total_cmp(&correlations[b])).unwrap_or(0)
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
