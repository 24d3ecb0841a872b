//! Several recordings at once: one image tower for all mice, and a read-in for each.
//!
//! [`shared`] fits, in closed form, image towers whose channels are chosen by different mice ([`ChosenBy`]), gives every mouse
//! a read-in to each on its own training images, and identifies the test images, which no mouse was fitted on:
//!
//! - *One tower.* Channels are the leading eigenvectors of `G = sum_m w_m G_m` with `G_m = sum_n sum_p Cov(x_p, r_n) Cov(x_p,
//!   r_n)'` over the neurons of mouse m ([`FeatureCovariance`](dina_model::FeatureCovariance)). It is the very objective that
//!   the tower of one mouse maximises, `tr M G M'`, for all neurons as if they were one population; weights make every mouse count
//!   alike. Given the channels, neurons of different mice have nothing in common, and the read-ins are separate ridge regressions.
//! - *Leave one mouse out.* The channels of [`ChosenBy::Others`] saw nothing of the mouse they are tried on: it only gets a
//!   read-in. Beside them stand its own channels, those of all mice, and random ones, which say what the choice is worth at all.
//! - *Agreement.* Whether the same channels align in every mouse, and whether towers fitted to single mice come to the same maps
//!   ([`Agreement`]).
//!
//! Mice are the sample: random-effects means, signs, and intervals that draw mice before images. All look at the smallest
//! window that holds the window of each, which is found on training images; where a mouse looks is its own, as its
//! read-in is. All data are held in memory at once.

mod agreement;
mod gather;
mod page;
mod summary;
mod work;

use candle_core::Device;
use dina_core::{ContentHash, Seed};
use dina_decode::identification::Trials;
use serde::{Deserialize, Serialize};

pub use agreement::{Agreement, Pair, PairAgreement};
pub use page::page;
pub use summary::{OverMice, Quantity};

use gather::gather;
use work::MouseWork;

use crate::claims::{Mouse, Settings};
use crate::jobs::{Engine, Shard, Store};
use crate::{Progress, Result};

/// Which mice the channels of an image tower are chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChosenBy {
    /// The mouse that the tower is tried on, alone.
    Own,
    /// All mice but that one.
    Others,
    /// All mice.
    All,
    /// No mouse: random directions, the same for all.
    Random,
}

impl ChosenBy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Own, Self::Others, Self::All, Self::Random];
}

impl std::fmt::Display for ChosenBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Own => "own",
            Self::Others => "others",
            Self::All => "all",
            Self::Random => "random",
        })
    }
}

/// What image towers for several mice came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    /// The mice, in the order of every value of a mouse.
    pub mice: Vec<String>,
    /// Hashes of their data.
    pub data: Vec<ContentHash>,
    /// Hash of the folds: mice crossed with images.
    pub folds: ContentHash,
    /// Whether no image, trial or near duplicate was on two sides in any fold, and no mouse.
    pub clean: bool,
    /// Test images, over all folds of images.
    pub images: usize,
    /// Folds of the images.
    pub image_folds: usize,
    /// What is identified from.
    pub trials: Trials,
    /// First row, first column, height and width of the window of the first fold, in degrees.
    pub window: [f32; 4],
    /// Top-1 identification by chance.
    pub chance_top1: f64,
    /// Identification above chance by every tower, then the differences of towers.
    pub identification: Vec<OverMice>,
    /// Agreement over mice.
    pub agreement: Agreement,
}

/// Fits the towers of all mice and compares them; `None` where only a part of the work was asked for.
///
/// What is known before (data, split, window, choice of channels) is computed in every process; what takes long, the
/// read-ins, is a piece of work a mouse, kept under the hash of all it depends on.
///
/// # Errors
/// When there are fewer than two mice, two have one name, they differ in profile, seed, folds or preprocessing or were shown
/// different images, or one cannot be fitted.
pub fn shared(
    mice: &[Mouse],
    settings: Settings,
    (engine, store, shard): (&Engine, Option<&Store>, Shard),
    device: &Device,
    progress: &dyn Progress,
) -> Result<Option<Shared>> {
    let gathered = gather(mice, device, progress)?;
    let places: Vec<usize> = (0..mice.len()).collect();
    let of_mouse = |mouse| MouseWork { gathered: &gathered, mouse, device };
    let work: Vec<MouseWork<'_>> = shard.of(&places).into_iter().map(of_mouse).collect();
    let found = engine.run(&work, store, progress)?;
    if shard != Shard::WHOLE {
        return Ok(None);
    }
    let seed = Seed::new(mice[0].config.seed).child("cohort");
    let images = found.first().map_or(0, |mouse| mouse.images.len());
    let first = &gathered.animals[0].folds[0];
    Ok(Some(Shared {
        mice: mice.iter().map(|mouse| mouse.name.clone()).collect(),
        data: gathered.animals.iter().map(|animal| animal.dataset.hash).collect(),
        folds: gathered.hash,
        clean: gathered.clean,
        images,
        image_folds: gathered.animals[0].folds.len(),
        trials: gathered.trials,
        window: first.window.window.degrees(),
        chance_top1: found[0].chance_top1,
        identification: summary::identification(&found, settings, seed.child("identification"))?,
        agreement: agreement::agreement(&found, settings, seed.child("agreement"))?,
    }))
}

#[cfg(test)]
mod tests;
