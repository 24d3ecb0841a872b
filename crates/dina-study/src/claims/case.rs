use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Device;
use dina_core::Seed;
use dina_data::stimulus::{Crop, Filter, Pass, Pipeline, Resize, Stack, StackTransform};
use dina_data::{Categories, PixelStatistics};
use dina_decode::identification::{Decoder, Pool, Trials};
use ndarray::{Array3, Axis};
use rand::seq::SliceRandom;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::low_level::LowLevel;
use crate::decoding::decode_towers;
use crate::job::primary;
use crate::training::{Ending, model_config, train_anew};
use crate::{
    Dataset, Decoded, Fold, ObjectiveKind, Profile, RecordingSummary, Result, Start, Towers, Trained,
};

/// What a study of claims costs, and what its result depends on besides data and seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// Permutations of every test.
    pub permutations: usize,
    /// Bootstrap replicates of every interval.
    pub replicates: usize,
    /// Contrastive training steps of every aligned model after its start in closed form.
    pub steps: usize,
}

impl Settings {
    /// What fits a profile.
    pub fn new(profile: Profile) -> Self {
        match profile {
            Profile::Smoke => Self::smoke(),
            Profile::Quick => Self { permutations: 1999, replicates: 1999, steps: 0 },
            Profile::Full => Self { permutations: 9999, replicates: 4999, steps: 0 },
        }
    }

    /// The least that can still be significant after correction.
    pub fn smoke() -> Self {
        Self { permutations: 999, replicates: 999, steps: 0 }
    }
}

/// What of the images a model is trained and tested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sight {
    /// All of them.
    Full,
    /// Spatial frequencies below [`CUTOFF`](dina_data::simulate::CUTOFF).
    Coarse,
    /// Spatial frequencies from there upwards.
    Fine,
    /// Noise in place of every image, the same whenever the image is shown: identity without content.
    Noise,
    /// The octave of spatial frequencies that begins at [`Sight::LOWEST`] times 2 to the power of this.
    Octave(u8),
}

impl Sight {
    /// The lower edge of the first octave, in cycles per degree.
    pub const LOWEST: f32 = 0.0125;

    /// Both edges of an octave, in cycles per degree.
    pub fn octave(index: u8) -> [f32; 2] {
        let low = Self::LOWEST * f32::from(index).exp2();
        [low, 2. * low]
    }

    fn pass(self) -> Option<Pass> {
        let cutoff = dina_data::simulate::CUTOFF;
        match self {
            Self::Full | Self::Noise => None,
            Self::Coarse => Some(Pass::Low { cutoff }),
            Self::Fine => Some(Pass::High { cutoff }),
            Self::Octave(index) => {
                let [low, high] = Self::octave(index);
                Some(Pass::Band { low, high })
            }
        }
    }
}

/// Which images a model is told that the responses belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Pairing {
    /// Those that were shown.
    Shown,
    /// Others of the training images: a control that must not decode.
    Permuted,
}

/// A model of every fold, trained on one sight of the images, with the identification of its test images.
pub struct Aligned {
    /// The folds with the images of this sight.
    pub folds: Vec<Fold>,
    /// The models.
    pub trained: Vec<Trained>,
    /// Their test pools.
    pub decoded: Decoded,
}

impl Aligned {
    /// The pools of one way of taking trials, one a fold.
    pub fn pools(&self, trials: Trials) -> &[Pool] {
        self.decoded.pools(trials)
    }
}

/// What claims share, made when it is first asked for.
struct Cache<K, V>(Mutex<BTreeMap<K, Arc<V>>>);

impl<K: Ord, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord, V> Cache<K, V> {
    fn get(&self, key: K, make: impl FnOnce() -> Result<V>) -> Result<Arc<V>> {
        // Held while it is made: two claims that ask for one thing make it once.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.get(&key) {
            return Ok(found.clone());
        }
        let made = Arc::new(make()?);
        kept.insert(key, made.clone());
        Ok(made)
    }
}

/// How the towers of a case come about; by default in closed form.
#[derive(Debug, Clone, Copy, Default)]
struct Recipe {
    objective: ObjectiveKind,
    start: Start,
    /// That of the main job, where none is given.
    learning_rate: Option<f64>,
}

/// A recording under study: what every claim is measured on, with the models that claims have in common.
pub struct Case<'a> {
    /// The recording and its images.
    pub dataset: &'a Dataset,
    /// Its folds.
    pub folds: &'a [Fold],
    /// Single trials or means, whichever the report leads with.
    pub trials: Trials,
    /// What it costs.
    pub settings: Settings,
    /// Size of the towers.
    pub profile: Profile,
    recipe: Recipe,
    seed: Seed,
    device: &'a Device,
    models: Cache<(Sight, Pairing), Aligned>,
    low_level: Cache<usize, LowLevel>,
}

impl<'a> Case<'a> {
    /// A case without any model yet; they are trained when they are first asked for.
    pub fn new(
        dataset: &'a Dataset,
        summary: &RecordingSummary,
        folds: &'a [Fold],
        (settings, profile): (Settings, Profile),
        seed: Seed,
        device: &'a Device,
    ) -> Self {
        let (_, trials) = primary(folds, summary);
        Self {
            dataset,
            folds,
            trials,
            settings,
            profile,
            recipe: Recipe::default(),
            seed,
            device,
            models: Cache::default(),
            low_level: Cache::default(),
        }
    }

    /// The same with towers that are trained for an objective, from a start, at a peak learning rate: for all
    /// [`Settings::steps`], without an early end, which would favour objectives that are trained on retrieval.
    pub fn trained_for(mut self, objective: ObjectiveKind, start: Start, learning_rate: f64) -> Self {
        self.recipe = Recipe { objective, start, learning_rate: Some(learning_rate) };
        self
    }

    /// The aligned model of a sight: towers in the closed form that training starts from, trained for
    /// [`Settings::steps`].
    ///
    /// # Errors
    /// When the images cannot be filtered or a model not be trained.
    pub fn aligned(&self, sight: Sight, pairing: Pairing) -> Result<Arc<Aligned>> {
        self.models.get((sight, pairing), || self.align(sight, pairing))
    }

    /// The low-level predictors of a fold.
    ///
    /// # Errors
    /// When the images have no pyramid.
    pub(super) fn low_level(&self, fold: usize) -> Result<Arc<LowLevel>> {
        self.low_level.get(fold, || LowLevel::new(self.dataset, &self.folds[fold]))
    }

    /// Identification by towers with random weights: what the architecture alone gives.
    ///
    /// # Errors
    /// When towers cannot be made.
    pub fn untrained(&self) -> Result<Decoded> {
        let mut decoded = Decoded::none(Decoder::Dina);
        for (index, fold) in self.folds.iter().enumerate() {
            let config =
                model_config(self.dataset, fold, self.profile, ObjectiveKind::InfoNce, Start::Random)?;
            let towers = Towers::new(config, self.seed.child("untrained").index(index), self.device)?;
            let model = Trained { members: vec![towers], records: Vec::new() };
            decoded.extend(decode_towers(self.dataset, fold, &model)?);
        }
        Ok(decoded)
    }

    /// Identification with spontaneous activity, a bin drawn anew for every trial, in place of the responses to the test
    /// images; `None` where a fold has fewer bins than test trials, or there is no spontaneous activity.
    ///
    /// # Errors
    /// When a model cannot be trained.
    pub fn spontaneous(&self, seed: Seed) -> Result<Option<Decoded>> {
        let aligned = self.aligned(Sight::Full, Pairing::Shown)?;
        let mut decoded = Decoded::none(Decoder::Dina);
        for (index, (fold, trained)) in aligned.folds.iter().zip(&aligned.trained).enumerate() {
            let rows = fold.views(self.dataset)?.test.trials().concat();
            let bins = self.dataset.recording.spontaneous();
            let Some(bins) = bins.filter(|bins| bins.nrows() >= rows.len()) else { return Ok(None) };
            let mut drawn: Vec<usize> = (0..bins.nrows()).collect();
            let (drawn, _) = drawn.partial_shuffle(&mut seed.index(index).stream("bins"), rows.len());
            let silence = fold.preprocessing.transform(bins.select(Axis(0), drawn).view())?;
            let mut responses = fold.responses.as_ref().clone();
            for (&row, bin) in rows.iter().zip(silence.outer_iter()) {
                responses.row_mut(row).assign(&bin);
            }
            let silent = fold.with_responses(responses);
            decoded.extend(decode_towers(self.dataset, &silent, trained)?);
        }
        Ok(Some(decoded))
    }

    /// Where towers run.
    pub(super) fn device(&self) -> &Device {
        self.device
    }

    /// Categories of the images, where they are known.
    pub fn categories(&self) -> Option<&Categories> {
        self.dataset.categories.as_ref()
    }

    fn align(&self, sight: Sight, pairing: Pairing) -> Result<Aligned> {
        let mut folds = Vec::new();
        let mut trained = Vec::new();
        let mut decoded = Decoded::none(Decoder::Dina);
        // Whole images are filtered, so that a fold's window has no border of its own: once for all folds.
        let shown = sight.pass().map(|pass| self.filtered(pass)).transpose()?;
        for (index, fold) in self.folds.iter().enumerate() {
            let seed = self.seed.child("models").index(index);
            let seen = match &shown {
                Some(shown) => self.seen(fold, shown)?,
                None if sight == Sight::Noise => noise(fold, self.seed.child("noise")),
                None => fold.clone(),
            };
            let taught = match pairing {
                Pairing::Shown => seen.clone(),
                Pairing::Permuted => seen.permuted(seed.child("pairing")),
            };
            let model = self.train(&taught, seed)?;
            decoded.extend(decode_towers(self.dataset, &seen, &model)?);
            folds.push(seen);
            trained.push(model);
        }
        Ok(Aligned { folds, trained, decoded })
    }

    /// All images with what a filter lets through.
    fn filtered(&self, pass: Pass) -> Result<Stack> {
        // Nothing about a filter is random.
        Ok(Filter::new(pass).apply(&Stack::from_images(&self.dataset.images)?, Seed::new(0))?)
    }

    /// A fold with other images, in the same window at the same resolution, standardised on the training images.
    fn seen(&self, fold: &Fold, shown: &Stack) -> Result<Fold> {
        let chain = Pipeline(vec![
            Crop { area: fold.window.window.into() }.into(),
            Resize { degrees_per_pixel: fold.degrees_per_pixel, kernel: Default::default() }.into(),
        ]);
        let mut pixels = chain.apply(shown, Seed::new(0))?.into_pixels();
        PixelStatistics::fit(&fold.views(self.dataset)?.train, &pixels)?.apply(&mut pixels)?;
        Ok(fold.with_images(pixels))
    }

    fn train(&self, fold: &Fold, seed: Seed) -> Result<Trained> {
        let Recipe { objective, start, learning_rate } = self.recipe;
        let mut config = model_config(self.dataset, fold, self.profile, objective, start)?;
        config.train.learning_rate = learning_rate.unwrap_or(config.train.learning_rate);
        config.train.steps = self.settings.steps;
        config.train.validate_every = self.settings.steps.max(1);
        let towers = train_anew(self.dataset, fold, &config, (seed, Ending::Last), self.device)?;
        Ok(Trained { members: vec![towers], records: Vec::new() })
    }
}

/// The fold with standard normal noise in place of every image.
fn noise(fold: &Fold, seed: Seed) -> Fold {
    let (count, height, width) = fold.images.dim();
    let mut images = Array3::zeros((count, height, width));
    for (index, mut image) in images.outer_iter_mut().enumerate() {
        let mut stream = seed.index(index).stream("noise");
        image.iter_mut().for_each(|pixel| *pixel = StandardNormal.sample(&mut stream));
    }
    fold.with_images(images)
}
