use std::sync::Arc;

use dina_core::{ContentHash, Seed};
use dina_data::{
    DUPLICATE_CORRELATION, FittedPreprocessing, Folds, Images, LeakageReport, PixelStatistics, Share, Split,
    SplitConfig, Views, Window, WindowConfig, WindowEstimate, near_duplicates,
};
use ndarray::{Array2, Array3, Axis};
use rand::seq::SliceRandom;

use crate::{Dataset, JobConfig, Progress, Result};

/// The window is resampled so that the image tower sees about this many pixels, but no finer than
/// [`FINEST`] degrees.
const PIXELS: f32 = 1700.;

/// Degrees per pixel below which a mouse resolves nothing more that matters here.
const FINEST: f32 = 2.;

/// Parts of the training images that settings are chosen on where none are held out for validation.
const INNER_PARTS: usize = 6;

/// One split of the images, with everything that is fitted on its training view.
#[derive(Debug, Clone)]
pub struct Fold {
    /// The split.
    pub split: Split,
    /// That no image, trial or group of duplicates is on two sides.
    pub leakage: LeakageReport,
    /// Preprocessed responses to all presentations, presentations x kept neurons.
    pub responses: Arc<Array2<f32>>,
    /// The preprocessing that was fitted on the training view.
    pub preprocessing: Arc<FittedPreprocessing>,
    /// Kept neurons, as columns of the recording.
    pub neurons: Vec<usize>,
    /// What the preprocessing did, a sentence each.
    pub notes: Vec<String>,
    /// The part of the image that is looked at.
    pub window: WindowEstimate,
    /// All images in that window, standardised on the training images, for the image tower.
    pub images: Arc<Array3<f32>>,
    /// Their resolution.
    pub degrees_per_pixel: f32,
    /// The same at the resolution of the files, for the baselines.
    pub fine: Arc<Array3<f32>>,
    /// Per training image the part that holds it out, where settings are chosen by cross-validation inside the
    /// training view; near duplicates share a part.
    inner: Vec<usize>,
}

/// Draws the splits of a job and fits preprocessing and window on every training view.
///
/// # Errors
/// When there are too few images or repeats, or the images do not belong to the recording.
pub fn prepare(dataset: &Dataset, config: &JobConfig, progress: &dyn Progress) -> Result<Vec<Fold>> {
    let seed = Seed::new(config.seed);
    let groups = near_duplicates(&dataset.images, DUPLICATE_CORRELATION)?;
    let images = dataset.recording.summary().stimuli;
    let split = split_config(config, images);
    let splits = match config.folds_for(images) {
        1 => vec![Split::draw(&dataset.recording, &groups, &split)?],
        folds => Folds::draw(&dataset.recording, &groups, folds, &split)?.splits().to_vec(),
    };
    progress.begin("prepare", splits.len());
    let folds = splits
        .into_iter()
        .enumerate()
        .map(|(index, split)| {
            let fold = Fold::fit(dataset, split, &groups, config, seed)?;
            progress.advance(index + 1, "");
            Ok(fold)
        })
        .collect();
    progress.end();
    folds
}

/// How the images of a job are divided, of which this many are usable.
pub(crate) fn split_config(config: &JobConfig, images: usize) -> SplitConfig {
    SplitConfig {
        test: Share::Fraction(0.25),
        validation: if config.is_small(images) { Share::Images(0) } else { Share::Fraction(0.12) },
        repeats: 2,
        seed: Seed::new(config.seed).child("split"),
    }
}

impl Fold {
    pub(crate) fn fit(
        dataset: &Dataset,
        split: Split,
        groups: &[usize],
        config: &JobConfig,
        seed: Seed,
    ) -> Result<Self> {
        let Dataset { recording, images, .. } = dataset;
        let leakage = LeakageReport::new(&split, recording, groups)?;
        let views = split.views(recording)?;
        let fitted = config.preset.fit(&views.train)?;
        let responses = fitted.apply(recording)?;
        let look = WindowConfig { seed: seed.child("window"), ..WindowConfig::default() };
        let window = WindowEstimate::fit(&views.train, images, &responses, &look)?;
        let degrees_per_pixel = resolution(&window.window, images);
        let standardised = |degrees: f32| -> Result<Array3<f32>> {
            let mut pixels = images.crop_resize(&window.window, degrees)?;
            PixelStatistics::fit(&views.train, &pixels)?.apply(&mut pixels)?;
            Ok(pixels)
        };
        Ok(Self {
            images: Arc::new(standardised(degrees_per_pixel)?),
            fine: Arc::new(standardised(images.degrees_per_pixel)?),
            degrees_per_pixel,
            inner: deal(split.train(), groups, seed.child("inner parts")),
            leakage,
            neurons: fitted.neurons().to_vec(),
            notes: fitted.notes().to_vec(),
            preprocessing: Arc::new(fitted),
            responses: Arc::new(responses),
            window,
            split,
        })
    }

    /// The same fold looking at another part of the image; the images at the resolution of the files stay where they were.
    pub(crate) fn within(&self, dataset: &Dataset, window: Window) -> Result<Self> {
        let degrees_per_pixel = resolution(&window, &dataset.images);
        let mut pixels = dataset.images.crop_resize(&window, degrees_per_pixel)?;
        PixelStatistics::fit(&self.views(dataset)?.train, &pixels)?.apply(&mut pixels)?;
        let window = WindowEstimate { window, ..self.window.clone() };
        Ok(Self { window, degrees_per_pixel, ..self.with_images(pixels) })
    }

    /// The three sides.
    ///
    /// # Errors
    /// When the recording is another one.
    pub fn views<'a>(&self, dataset: &'a Dataset) -> Result<Views<'a>> {
        Ok(self.split.views(&dataset.recording)?)
    }

    /// Whether no images are held out for validation, because there are too few.
    pub fn is_small(&self) -> bool {
        self.split.validation().is_empty()
    }

    /// Training images to fit on and to try the fit on, as indices into the training view, for the choice of settings
    /// by cross-validation.
    pub(crate) fn inner_parts(&self) -> Vec<(Vec<usize>, Vec<usize>)> {
        let parts = self.inner.iter().max().map_or(0, |last| last + 1);
        let images = 0..self.inner.len();
        (0..parts).map(|part| images.clone().partition(|&image| self.inner[image] != part)).collect()
    }

    /// The same fold with other images for the image tower, standardised and in the same window.
    pub(crate) fn with_images(&self, images: Array3<f32>) -> Self {
        Self { images: Arc::new(images), ..self.clone() }
    }

    /// The same fold with other preprocessed responses, presentations x kept neurons.
    pub(crate) fn with_responses(&self, responses: Array2<f32>) -> Self {
        Self { responses: Arc::new(responses), ..self.clone() }
    }

    /// The same fold with its training images dealt anew among their places, so that responses belong to others than those
    /// that were shown.
    pub(crate) fn permuted(&self, seed: Seed) -> Self {
        let train = as_indices(self.split.train());
        let mut dealt = train.clone();
        dealt.shuffle(&mut seed.stream("training images"));
        let mut images = self.images.as_ref().clone();
        for (&to, &from) in train.iter().zip(&dealt) {
            images.index_axis_mut(Axis(0), to).assign(&self.images.index_axis(Axis(0), from));
        }
        self.with_images(images)
    }

    /// Standardised images of some ids, for the image tower.
    pub fn select(&self, ids: &[u32]) -> Array3<f32> {
        self.images.select(Axis(0), &as_indices(ids))
    }
}

/// Degrees per pixel of the image tower in a window.
fn resolution(window: &Window, images: &Images) -> f32 {
    let [_, _, height, width] = window.degrees();
    (height * width / PIXELS).sqrt().max(FINEST).max(images.degrees_per_pixel)
}

/// Deals images into parts of about equal size, group by group in a random order.
fn deal(images: &[u32], groups: &[usize], seed: Seed) -> Vec<usize> {
    let group_of = |image: &u32| groups[*image as usize];
    let mut order: Vec<usize> = images.iter().map(group_of).collect();
    order.sort_unstable();
    order.dedup();
    order.shuffle(&mut seed.stream("order"));
    let mut part_of = std::collections::BTreeMap::new();
    let mut sizes = [0; INNER_PARTS];
    for group in order {
        let part = (0..INNER_PARTS).min_by_key(|&part| sizes[part]).unwrap_or(0);
        sizes[part] += images.iter().filter(|image| group_of(image) == group).count();
        part_of.insert(group, part);
    }
    images.iter().map(|image| part_of[&group_of(image)]).collect()
}

/// At most `most` of some items, at equal steps through all of them.
pub(crate) fn evenly(items: usize, most: usize) -> Vec<usize> {
    let kept = items.min(most);
    (0..kept).map(|k| k * items / kept).collect()
}

/// Ids as indices.
pub(crate) fn as_indices(ids: &[u32]) -> Vec<usize> {
    ids.iter().map(|&id| id as usize).collect()
}

/// One hash for all folds.
pub(crate) fn split_hash(folds: &[Fold]) -> ContentHash {
    let hashes: Vec<String> = folds.iter().map(|fold| fold.split.hash().to_string()).collect();
    ContentHash::of(hashes.iter().map(String::as_bytes))
}
