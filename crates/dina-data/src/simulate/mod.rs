//! A simulated visual cortex that looks at simulated photographs.
//!
//! [`simulate`] gives a [`Recording`] in the form of the natural-image deposit of Stringer et al.
//! (2019), the images, their categories and the truth behind them. The default population is
//! calibrated against a published recording: `docs/simulator.md` has the model, the sources of its
//! numbers and what was reached. In the others what the neurons code is set by name, and stated in
//! [`Truth`]: see [`Population`].

mod config;
mod cortex;
mod drive;
mod driven;
mod energy;
mod look;
mod neuron;
mod pairs;
mod population;
mod retina;
mod scene;
mod scenes;
#[cfg(test)]
mod scenes_tests;
mod shares;
#[cfg(test)]
mod tests;
mod texture;
mod truth;
#[cfg(test)]
mod truth_tests;
mod variability;

use std::sync::atomic::{AtomicUsize, Ordering};

use dina_core::Seed;
use ndarray::{Array2, Axis};
use rand::RngExt;
use rayon::prelude::*;

pub use config::SimulationConfig;
pub use cortex::CortexStatistics;
pub use look::Look;
pub use neuron::{NeuronTruth, Subunit};
pub use population::{CUTOFF, Dial, Population};
pub use scene::{ImageTruth, ObjectTruth, SceneStatistics, Silhouette};
pub use scenes::Scenes;
pub use shares::{BandShare, GroupShare, StimulusShares};
pub use texture::TextureFamily;
pub use truth::{Measured, Truth};

use driven::{Driven, Reference};

use crate::{Categories, Images, Recording, Result};

/// A recording, and everything that is known about it because it was made.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// What a laboratory would have.
    pub recording: Recording,
    /// The images that were shown.
    pub images: Images,
    /// The category of each image.
    pub categories: Categories,
    /// What no laboratory has.
    pub truth: Truth,
}

/// What [`simulate`] is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Making images, counted in images.
    Images,
    /// Computing what the images drive, counted in neurons.
    Drive,
    /// Drawing single responses, counted in neurons.
    Responses,
}

impl Stage {
    /// A word for progress displays.
    pub fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Drive => "drive",
            Self::Responses => "responses",
        }
    }
}

/// How far [`simulate`] is within a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// Items done.
    pub done: usize,
    /// Items in all.
    pub total: usize,
}

/// Simulates a recording. `progress` is called from several threads, with counts that may arrive
/// out of order.
///
/// The result depends on the configuration only, not on the number of threads.
///
/// # Errors
/// [`Error::Variable`](crate::Error::Variable) when a number of the configuration is out of its
/// range.
///
/// ```
/// use dina_data::simulate::{SimulationConfig, simulate};
///
/// let config = SimulationConfig {
///     neurons: 20,
///     images: 24,
///     height: 32,
///     width: 60,
///     ..SimulationConfig::default()
/// };
/// let simulation = simulate(&config, &|_| ())?;
/// assert_eq!(simulation.recording.neurons(), 20);
/// assert_eq!(simulation.recording.repeats(), 2);
/// # Ok::<(), dina_data::Error>(())
/// ```
pub fn simulate(config: &SimulationConfig, progress: &(dyn Fn(Progress) + Sync)) -> Result<Simulation> {
    config.check()?;
    let seed = config.root();
    let (images, categories, scenes) = show(config, seed, progress);
    let mouse = mouse(config, seed);
    let mut neurons = population(config, mouse);
    let reference = Reference::new(config, seed);
    let shown = (&images, &categories);
    let driven = Driven::new(config, seed.child("image"), &reference, shown, &neurons, progress);
    let loadings = variability::Loadings::new(&neurons, config.cortex().shared_modes, mouse.child("shared"));
    for (i, neuron) in neurons.iter_mut().enumerate() {
        // A neuron may look where nothing ever happens.
        neuron.informative &= driven.rates.row(i).iter().any(|rate| *rate != 0.0);
        let drive = driven.rates.row(i).to_owned();
        neuron.signal_variance = variability::signal_variance(neuron, &loadings, i, drive);
    }
    let recording = record(config, mouse, &neurons, &loadings, &driven, progress)?;
    let bands = shares::bands(config, &reference, &neurons);
    let shares = StimulusShares::new(bands, driven.signals(&neurons).view(), &scenes);
    let truth = Truth::new(config, neurons, scenes, driven, shares, &recording);
    Ok(Simulation { recording, images, categories, truth })
}

/// What everything about the animal comes from; what it is shown comes from `seed`.
fn mouse(config: &SimulationConfig, seed: Seed) -> Seed {
    match config.mouse {
        0 => seed,
        other => seed.child("mouse").index(other as usize),
    }
}

/// The neurons of a configuration, neuron `i` from the seed and `i`.
fn population(config: &SimulationConfig, seed: Seed) -> Vec<NeuronTruth> {
    let (height, width) = (config.height as f32, config.width as f32);
    let cortex = config.cortex();
    let seed = seed.child("neuron");
    let mut neurons: Vec<_> = (0..config.neurons)
        .into_par_iter()
        .map(|i| NeuronTruth::draw(&cortex, seed.index(i), height, width))
        .collect();
    if cortex.paired {
        for second in (1..neurons.len()).step_by(2) {
            let first = neurons[second - 1].clone();
            neurons[second].follow(&first);
            neurons[second].partner = Some(second - 1);
            neurons[second - 1].partner = Some(second);
        }
    }
    neurons
}

fn show(
    config: &SimulationConfig,
    seed: Seed,
    progress: &(dyn Fn(Progress) + Sync),
) -> (Images, Categories, Vec<ImageTruth>) {
    let counter = Counter::new(Stage::Images, config.images, progress);
    maker(config, seed).make(seed.child("image"), config.images, &|| counter.add(1))
}

fn maker(config: &SimulationConfig, seed: Seed) -> scene::SceneMaker {
    scene::SceneMaker::new(config.scene(), config.height, config.width, seed)
}

/// Shows every image the number of times asked, with gray screens between.
fn record(
    config: &SimulationConfig,
    seed: Seed,
    neurons: &[NeuronTruth],
    loadings: &variability::Loadings,
    driven: &Driven,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Recording> {
    let modes = config.cortex().shared_modes;
    let repeats = config.repeats;
    let counter = Counter::new(Stage::Responses, neurons.len(), progress);
    let state = seed.child("state");
    // Trial `image * repeats + repeat`: fewer images are the beginning of every neuron's noise.
    let trials = variability::responses(
        neurons,
        loadings,
        &variability::courses(modes, config.images * repeats, |t| {
            state.index(t / repeats).index(t % repeats)
        }),
        &variability::Stimulation { rates: driven.rates.view(), pairs: driven.pairs.as_ref() },
        |t| t / repeats,
        seed.child("trials"),
        &|n| counter.add(n),
    );
    let gray = Array2::from_shape_fn((neurons.len(), 1), |(i, _)| driven.gray[i]);
    let gray = variability::Stimulation { rates: gray.view(), pairs: None };
    let idle = |name: &str, bins: usize| {
        let state = seed.child(name).child("state");
        variability::responses(
            neurons,
            loadings,
            &variability::courses(modes, bins, |b| state.index(b)),
            &gray,
            |_| 0,
            seed.child(name),
            &|_| (),
        )
    };
    let order = order(config, seed);
    let grays = order.iter().filter(|o| o.is_none()).count();
    let grays = idle("gray", grays);
    let mut shown = 0;
    let rows: Vec<_> = order
        .iter()
        .map(|trial| match trial {
            Some(trial) => trials.column(*trial),
            None => {
                shown += 1;
                grays.column(shown - 1)
            }
        })
        .collect();
    let mut responses = Array2::zeros((rows.len(), neurons.len()));
    responses.axis_iter_mut(Axis(0)).into_par_iter().zip(&rows).for_each(|(mut to, from)| to.assign(from));
    let stimulus = order.iter().map(|trial| trial.map(|t| (t / repeats) as u32)).collect();
    let positions = Array2::from_shape_fn((neurons.len(), 3), |(i, k)| neurons[i].position[k]);
    let recording = Recording::new(
        match config.mouse {
            0 => format!("simulated population `{}`", config.population),
            mouse => format!("simulated population `{}`, mouse {mouse}", config.population),
        },
        responses,
        stimulus,
        config.images,
    )?
    .with_positions(positions)?
    .with_red_cells(neurons.iter().map(|n| n.red).collect())?;
    if config.spontaneous_bins == 0 {
        return Ok(recording);
    }
    let spontaneous = idle("spontaneous", config.spontaneous_bins);
    recording.with_spontaneous(spontaneous.reversed_axes().as_standard_layout().into_owned())
}

/// Trials in the order shown; `None` is the gray screen. Every image is shown once before any is
/// shown again.
fn order(config: &SimulationConfig, seed: Seed) -> Vec<Option<usize>> {
    let mut random = seed.stream("order");
    let mut order = Vec::new();
    let mut shown = 0;
    for repeat in 0..config.repeats {
        let mut images: Vec<usize> = (0..config.images).collect();
        for i in (1..images.len()).rev() {
            images.swap(i, random.random_range(0..=i));
        }
        for image in images {
            order.push(Some(image * config.repeats + repeat));
            shown += 1;
            if config.gray_every > 0 && shown % config.gray_every == 0 {
                order.push(None);
            }
        }
    }
    order
}

/// Counts items of a stage over threads.
struct Counter<'a> {
    stage: Stage,
    done: AtomicUsize,
    total: usize,
    report: &'a (dyn Fn(Progress) + Sync),
}

impl<'a> Counter<'a> {
    fn new(stage: Stage, total: usize, report: &'a (dyn Fn(Progress) + Sync)) -> Self {
        Self { stage, done: AtomicUsize::new(0), total, report }
    }

    fn add(&self, items: usize) {
        let done = self.done.fetch_add(items, Ordering::Relaxed) + items;
        (self.report)(Progress { stage: self.stage, done, total: self.total });
    }
}
