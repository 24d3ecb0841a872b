//! What is known of a cohort before a read-in is fitted.

use candle_core::Device;
use dina_core::{ContentHash, Seed};
use dina_data::{Cohort, DUPLICATE_CORRELATION, LeakageReport, MouseFolds, Split, Window, near_duplicates};
use dina_decode::identification::Trials;
use dina_model::{FeatureCovariance, ImageTower};

use super::ChosenBy;
use crate::claims::{Mouse, check_mice};
use crate::fold::split_config;
use crate::job::primary;
use crate::training::{Common, model_config};
use crate::{
    Dataset, Error, Fold, JobConfig, ModelConfig, ObjectiveKind, Profile, Progress, RecordingSummary, Result,
    Silent, Start,
};

/// A mouse with its folds.
pub(super) struct Animal {
    pub name: String,
    pub dataset: Dataset,
    /// The splits of the images that all mice share, in the window that they share.
    pub folds: Vec<Fold>,
    /// Choice of channels, one a fold.
    covariances: Vec<FeatureCovariance>,
}

pub(super) struct Gathered {
    pub animals: Vec<Animal>,
    pub trials: Trials,
    pub hash: ContentHash,
    pub clean: bool,
    pub profile: Profile,
    pub seed: u64,
}

impl Gathered {
    /// The model of a mouse in a fold.
    pub(super) fn config(&self, mouse: usize, fold: usize) -> Result<ModelConfig> {
        let Animal { dataset, folds, .. } = &self.animals[mouse];
        model(dataset, &folds[fold], self.profile)
    }

    /// What the channels of a tower for a mouse are chosen by.
    pub(super) fn covariance(
        &self,
        chosen: ChosenBy,
        (mouse, fold): (usize, usize),
        image: &ImageTower,
    ) -> Result<FeatureCovariance> {
        let counts = |other: usize| match chosen {
            ChosenBy::Own => other == mouse,
            ChosenBy::Others => other != mouse,
            ChosenBy::All | ChosenBy::Random => true,
        };
        if chosen == ChosenBy::Random {
            let seed = Seed::new(self.seed).child("cohort").child("random channels").index(fold);
            return Ok(FeatureCovariance::random(image, seed)?);
        }
        let animals = self.animals.iter().enumerate().filter(|(other, _)| counts(*other));
        let parts: Vec<&FeatureCovariance> = animals.map(|(_, animal)| &animal.covariances[fold]).collect();
        Ok(FeatureCovariance::pooled(&parts)?)
    }
}

fn model(dataset: &Dataset, fold: &Fold, profile: Profile) -> Result<ModelConfig> {
    model_config(dataset, fold, profile, ObjectiveKind::InfoNce, Start::ClosedForm)
}

pub(super) fn gather(mice: &[Mouse], device: &Device, progress: &dyn Progress) -> Result<Gathered> {
    check_mice(mice)?;
    let config = alike(mice)?;
    progress.begin("mice", mice.len());
    let mut datasets = Vec::new();
    let mut summaries = Vec::new();
    for (index, mouse) in mice.iter().enumerate() {
        let dataset = Dataset::load(&mouse.config.source, &Silent)?;
        let summary = RecordingSummary::new(&dataset.recording)?;
        summary.require_repeats()?;
        summaries.push(summary);
        datasets.push(dataset);
        progress.advance(index + 1, &mouse.name);
    }
    progress.end();
    same_images(mice, &datasets)?;
    let groups = near_duplicates(&datasets[0].images, DUPLICATE_CORRELATION)?;
    let named = mice.iter().zip(&datasets).map(|(mouse, data)| (mouse.name.clone(), &data.recording));
    let cohort = Cohort::new(named.collect())?;
    let usable = summaries.iter().map(|summary| summary.stimuli).min().unwrap_or(0);
    let folds = MouseFolds::draw(&cohort, &groups, config.folds_for(usable), &split_config(config, usable))?;
    let mut clean = true;
    for fold in folds.folds() {
        clean &= LeakageReport::of_mice(fold, &cohort, &groups)?.is_clean();
    }
    // The same for every mouse.
    let held_out = &folds.folds()[0].held_out;
    let splits: Vec<Split> =
        folds.folds().iter().filter(|f| f.held_out == *held_out).map(|f| f.split.clone()).collect();
    let fitted = fit(mice, &datasets, &splits, &groups)?;
    let summary = summaries.iter().min_by_key(|summary| summary.repeats);
    let trials = summary.map_or(Trials::Single, |summary| primary(&fitted[0], summary).1);
    let hash = folds.hash();
    let mut animals = Vec::new();
    for ((mouse, dataset), folds) in mice.iter().zip(datasets).zip(fitted) {
        let covariances = folds.iter().map(|fold| covariance(&dataset, fold, config.profile, device));
        let covariances = covariances.collect::<Result<_>>()?;
        animals.push(Animal { name: mouse.name.clone(), dataset, folds, covariances });
    }
    Ok(Gathered { animals, trials, hash, clean, profile: config.profile, seed: config.seed })
}

/// The folds of every mouse, in the window that holds all their windows.
fn fit(mice: &[Mouse], datasets: &[Dataset], splits: &[Split], groups: &[usize]) -> Result<Vec<Vec<Fold>>> {
    let mut fitted = vec![Vec::new(); mice.len()];
    for split in splits {
        let of_mouse = |(mouse, dataset): (&Mouse, &Dataset)| {
            Fold::fit(dataset, split.clone(), groups, &mouse.config, Seed::new(mouse.config.seed))
        };
        let folds = mice.iter().zip(datasets).map(of_mouse).collect::<Result<Vec<_>>>()?;
        let window = around(folds.iter().map(|fold| fold.window.window));
        for ((fold, dataset), fitted) in folds.iter().zip(datasets).zip(&mut fitted) {
            fitted.push(window.map_or(Ok(fold.clone()), |window| fold.within(dataset, window))?);
        }
    }
    Ok(fitted)
}

/// The smallest window that holds all of them.
fn around(windows: impl Iterator<Item = Window>) -> Option<Window> {
    windows.reduce(|a, b| {
        let (top, left) = (a.top.min(b.top), a.left.min(b.left));
        Window {
            top,
            left,
            height: (a.top + a.height).max(b.top + b.height) - top,
            width: (a.left + a.width).max(b.left + b.width) - left,
            degrees_per_pixel: a.degrees_per_pixel,
        }
    })
}

fn covariance(
    dataset: &Dataset,
    fold: &Fold,
    profile: Profile,
    device: &Device,
) -> Result<FeatureCovariance> {
    let config = model(dataset, fold, profile)?;
    // Its random weights are not looked at.
    let image = ImageTower::new(config.image.clone(), Seed::new(0), device)?;
    let common = Common::new(dataset, fold, &config, device)?;
    Ok(FeatureCovariance::of(&image, common.start_data())?)
}

/// The configuration that all mice have in common.
fn alike(mice: &[Mouse]) -> Result<&JobConfig> {
    let of = |mouse: &Mouse| {
        let JobConfig { profile, seed, folds, preset, .. } = &mouse.config;
        format!("profile {profile}, seed {seed}, folds {folds:?}, preprocessing {preset}")
    };
    let first = &mice[0];
    match mice.iter().find(|mouse| of(mouse) != of(first)) {
        None => Ok(&first.config),
        Some(other) => Err(Error::Job(format!(
            "mouse `{}` has {}, `{}` has {}; mice that share an image tower need the same",
            first.name,
            of(first),
            other.name,
            of(other)
        ))),
    }
}

fn same_images(mice: &[Mouse], datasets: &[Dataset]) -> Result<()> {
    let first = &datasets[0].images;
    let same = |data: &Dataset| {
        data.images.pixels == first.pixels && data.images.degrees_per_pixel == first.degrees_per_pixel
    };
    match datasets.iter().position(|data| !same(data)) {
        None => Ok(()),
        Some(other) => Err(Error::Job(format!(
            "mice `{}` and `{}` were shown different images; an image tower is shared by mice that saw the same ones",
            mice[0].name, mice[other].name
        ))),
    }
}
