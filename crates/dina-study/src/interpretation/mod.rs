//! What trained towers share, where, what it comes from, and which neurons carry it.
//!
//! Channels, positions and neurons to look at are chosen on validation images, or on training images where none are held out;
//! every figure is measured on test images, which have no part in a choice.

mod causes;
mod figures;
mod material;
mod neurons;
mod output;
mod page;
mod space;

use candle_core::Device;
use dina_core::Seed;
use dina_interp::space::{LevelAlignability, Spread};
use serde::{Deserialize, Serialize};

pub use causes::{AttributionResult, ExcitingOf, ExcitingResult, TowerSide};
pub use neurons::{ChosenSubset, ContributionMethod, NeuronAnalyses, NeuronProperties};
pub use output::Interpreted;
pub use space::{ChannelFootprint, ChosenChannel, LevelProfile};

use self::causes::{Causes, Explaining};
use self::material::Material;
use self::neurons::{Neurons, kept};
use crate::fold::split_hash;
use crate::{Error, Hashes, Job, Prepared, Profile, Progress, Result, Source, Towers, Trained};

/// Level of every test.
const ALPHA: f64 = 0.05;

/// How much work an interpretation does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InterpretationConfig {
    /// Permutations of every test.
    pub permutations: usize,
    /// Bootstrap replicates of every interval.
    pub replicates: usize,
    /// Channels, the best of the images of choice, that are explained.
    pub channels: usize,
    /// Test images that each is explained for.
    pub items: usize,
    /// Samples of the attribution methods that sample, an image.
    pub samples: usize,
    /// Redraws of the parameters in the cascade.
    pub redraws: usize,
    /// Random orders that deletion and insertion are compared with.
    pub orders: usize,
    /// Random starts of a most exciting image.
    pub starts: usize,
    /// Steps of its ascent.
    pub steps: usize,
    /// Neurons, the first by contribution, that a most exciting image is made of.
    pub excited: usize,
    /// Random orders of the subset curves.
    pub draws: usize,
    /// Neurons, the first by contribution, of which every pair is tested for interaction.
    pub paired: usize,
    /// Neurons, the first by contribution, among which minimal subsets are chosen.
    pub candidates: usize,
    /// Neurons of a minimal subset.
    pub subset: usize,
    /// Resamples of the images for the stability of minimal subsets.
    pub resamples: usize,
}

impl InterpretationConfig {
    /// What fits a profile.
    pub fn new(profile: Profile) -> Self {
        let quick = Self {
            permutations: profile.permutations(),
            replicates: 1000,
            channels: 3,
            items: 12,
            samples: 24,
            redraws: 2,
            orders: 5,
            starts: 4,
            steps: 100,
            excited: 4,
            draws: 40,
            paired: 10,
            candidates: 200,
            subset: 10,
            resamples: 20,
        };
        match profile {
            Profile::Smoke => Self {
                replicates: 200,
                channels: 1,
                items: 6,
                samples: 8,
                redraws: 1,
                orders: 2,
                starts: 2,
                steps: 20,
                excited: 1,
                draws: 10,
                paired: 4,
                candidates: 50,
                subset: 5,
                resamples: 5,
                ..quick
            },
            Profile::Quick => quick,
            Profile::Full => Self {
                channels: 4,
                items: 24,
                samples: 50,
                redraws: 3,
                orders: 10,
                starts: 5,
                steps: 200,
                excited: 6,
                draws: 100,
                paired: 12,
                candidates: 400,
                subset: 20,
                ..quick
            },
        }
    }
}

/// What `interpretation.json` holds: the analyses of one model of one fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Interpretation {
    /// Version of the form of the file; it grows when a field changes its meaning.
    pub schema: u32,
    /// Version of this crate.
    pub version: String,
    /// The recording.
    pub recording: String,
    /// Whether it is simulated.
    pub simulated: bool,
    /// The seed of the job.
    pub seed: u64,
    /// Which fold, from 1.
    pub fold: usize,
    /// Which model of it, from 1.
    pub model: usize,
    /// What the result depends on.
    pub hashes: Hashes,
    /// How much work was done.
    pub config: InterpretationConfig,
    /// What channels, positions and neurons were chosen on: `validation images`, or `training images` where none are held out.
    pub chosen_on: String,
    /// How many images these are.
    pub choice_images: usize,
    /// Test images, as numbers from 0 in the stimulus set. Every figure is measured on these.
    pub images: Vec<u32>,
    /// Neurons, as columns of the recording. Every list over neurons is in this order, and every index into neurons
    /// counts in it.
    pub neurons: Vec<usize>,
    /// First row, first column, height and width of the part of the screen that is analysed, in degrees.
    pub window: [f64; 4],
    /// Which channels of which level are shared.
    pub alignability: LevelAlignability,
    /// Where every channel is.
    pub profile: Option<Vec<LevelProfile>>,
    /// What every channel sees, in the order of the choice.
    pub footprints: Option<Vec<ChannelFootprint>>,
    /// How far apart those with a field are; absent for fewer than three.
    pub footprint_spread: Option<Spread>,
    /// The channels that are explained.
    pub chosen: Vec<ChosenChannel>,
    /// What they owe their maps to, and whether that is to be believed.
    pub attribution: Vec<AttributionResult>,
    /// What would drive them most.
    pub exciting: Vec<ExcitingResult>,
    /// Which neurons carry the first level.
    pub neural: Option<NeuronAnalyses>,
    /// Why an analysis is absent, a sentence each.
    pub absent: Vec<String>,
}

impl Interpretation {
    /// The JSON Schema (draft 2020-12) of `interpretation.json`, which is `schema/interpretation.schema.json` of this crate.
    pub const JSON_SCHEMA: &str = include_str!("../../schema/interpretation.schema.json");
}

/// [`Interpretation::schema`].
const SCHEMA: u32 = 1;

impl Job {
    /// Analyses one model (`fold` and `model` count from 0) on test images.
    ///
    /// # Errors
    /// When there is no such model, there are fewer than six images to choose on or to test, or maps do not vary.
    pub fn interpret(
        &self,
        prepared: &Prepared,
        trained: &[Trained],
        (fold, model): (usize, usize),
        config: &InterpretationConfig,
        progress: &dyn Progress,
    ) -> Result<Interpreted> {
        let missing = |what: &str, found: usize, there: usize| {
            Error::Job(format!("there is no {what} {}; choose one from 1 to {there}", found + 1))
        };
        let folds = prepared.folds.len().min(trained.len());
        let (Some(of_fold), Some(of_model)) = (prepared.folds.get(fold), trained.get(fold)) else {
            return Err(missing("fold", fold, folds));
        };
        let Some(towers) = of_model.members.get(model) else {
            return Err(missing("model", model, of_model.members.len()));
        };
        let material = Material::new(&prepared.dataset, of_fold, towers)?;
        let seed = Seed::new(self.config.seed).child("interpretation");
        let members = of_model.members.iter().enumerate();
        let others: Vec<&Towers> =
            members.filter(|(index, _)| *index != model).map(|(_, towers)| towers).collect();
        let (shared, choices) = analyse((&material, &others), config, seed, &self.device, progress)?;
        let Analysed { alignability, profile, footprints, footprint_spread, causes, neural, absent } = shared;
        let results = Interpretation {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            recording: prepared.dataset.recording.origin().into(),
            simulated: matches!(self.config.source, Source::Simulated(_)),
            seed: self.config.seed,
            fold: fold + 1,
            model: model + 1,
            hashes: Hashes {
                data: prepared.dataset.hash,
                split: split_hash(&prepared.folds),
                configuration: self.config.hash(),
            },
            config: *config,
            chosen_on: material.chosen_on.into(),
            choice_images: material.choice.images.len(),
            images: material.test.images.clone(),
            neurons: of_fold.neurons.clone(),
            window: of_fold.window.window.degrees().map(f64::from),
            chosen: choices,
            alignability,
            profile,
            footprints,
            footprint_spread,
            attribution: causes.attribution,
            exciting: causes.exciting,
            neural,
            absent,
        };
        Ok(Interpreted::new(results, &material, causes.tensors))
    }
}

/// Every analysis of one model; the others are of the same fold.
fn analyse(
    (material, others): (&Material<'_>, &[&Towers]),
    c: &InterpretationConfig,
    seed: Seed,
    device: &Device,
    progress: &dyn Progress,
) -> Result<(Analysed, Vec<ChosenChannel>)> {
    let mut absent = Vec::new();
    let choices = space::choose(material)?;
    let chosen = &choices[..c.channels.min(choices.len())];
    progress.begin("interpret", 12 + 2 * chosen.len());
    let step = std::sync::atomic::AtomicUsize::new(0);
    let done = |what: &str| {
        progress.advance(step.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, what);
    };
    let alignability = space::aligned(material, c, seed.child("alignability"))?;
    done("alignability");
    let profile = kept("spatial profile", space::profiles(material, c, seed.child("profile")), &mut absent);
    done("spatial profile");
    let found = space::footprints(material, &choices, c, seed.child("footprints"));
    let footprints = kept("footprints", found, &mut absent);
    let footprint_spread = footprints.as_ref().and_then(|found| {
        let spread = space::footprint_spread(material, found, c, seed.child("footprint spread"));
        kept("spread of footprints", spread, &mut absent)
    });
    done("footprints");
    let neurons = Neurons { material, config: c, seed: seed.child("neurons") };
    let neural = neurons.run(&mut absent, &done);
    let neural = kept("neurons", neural, &mut absent);
    let explaining = Explaining { material, others, config: c, seed: seed.child("explaining"), device };
    let mut causes = Causes::default();
    let explained = explaining.attribute(chosen, &mut causes, &done);
    kept("attribution", explained, &mut absent);
    let first = neural.as_ref().map_or(&[][..], |found| &found.candidates);
    let excited = explaining.excite(chosen, &first[..c.excited.min(first.len())], &mut causes);
    kept("most exciting images", excited, &mut absent);
    done("most exciting images");
    progress.end();
    let chosen = chosen
        .iter()
        .filter_map(|choice| {
            let level = &material.levels[choice.level].name;
            let on_test =
                alignability.channels.iter().find(|c| c.level == *level && c.channel == choice.channel)?;
            Some(ChosenChannel {
                level: level.clone(),
                channel: choice.channel,
                position: choice.position,
                chosen_by: choice.r,
                r: on_test.r.estimate,
                p_adjusted: on_test.p_adjusted,
            })
        })
        .collect();
    Ok((Analysed { alignability, profile, footprints, footprint_spread, causes, neural, absent }, chosen))
}

/// What [`Job::interpret`] finds, before it is known whose it is.
struct Analysed {
    alignability: LevelAlignability,
    profile: Option<Vec<LevelProfile>>,
    footprints: Option<Vec<ChannelFootprint>>,
    footprint_spread: Option<Spread>,
    causes: Causes,
    neural: Option<NeuronAnalyses>,
    absent: Vec<String>,
}

impl Interpretation {
    /// A sentence for each analysis, with its name before it.
    pub fn sentences(&self) -> Vec<String> {
        let mut said = vec![format!("alignability: {}", self.alignability)];
        said.extend(self.profile.iter().map(|found| format!("spatial profile: {}", space::extents(found))));
        said.extend(
            self.footprints
                .iter()
                .map(|found| format!("footprints: {}", space::seen(found, self.footprint_spread.as_ref()))),
        );
        said.extend(self.neural.iter().flat_map(NeuronAnalyses::sentences));
        said.extend(self.attribution.iter().map(AttributionResult::sentence));
        said.extend(self.exciting.iter().map(|e| e.sentence(&self.neurons)));
        said.extend(self.absent.iter().cloned());
        said
    }
}

impl AttributionResult {
    fn sentence(&self) -> String {
        let verdict = if self.trusted { "trusted" } else { "NOT trusted" };
        let complete = self.completeness.as_ref().map_or(String::new(), |c| {
            format!("; {}complete to {:.1e}", if c.complete { "" } else { "NOT " }, c.worst())
        });
        format!(
            "attribution, {} side, {} channel {}, {}, {verdict}{complete}; {}",
            self.side.name(),
            self.level,
            self.channel,
            self.method,
            self.checks
        )
    }
}

impl ExcitingResult {
    /// `neurons`: the columns of the recording that neurons are.
    pub(crate) fn name(&self, neurons: &[usize]) -> String {
        match &self.of {
            ExcitingOf::Neuron { neuron } => {
                format!("neuron {}", neurons.get(*neuron).map_or(*neuron, |n| *n))
            }
            of => of.name(),
        }
    }

    fn sentence(&self, neurons: &[usize]) -> String {
        format!(
            "most exciting image of {}: {:.1} standard deviations of test images above their mean (best test image {:.1}), {} of {} \
             starts converged",
            self.name(neurons),
            self.z(0),
            self.z_of(self.natural_max),
            self.converged.iter().filter(|&&c| c).count(),
            self.converged.len()
        )
    }
}
