use dina_core::{Error as CoreError, Seed};
use dina_stats::bootstrap::{Bootstrap, Interval};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::{
    Check, CheckKind,
    agreement::{ends, mean_interval},
};
use crate::{
    Result,
    attribution::Attribution,
    neurons::{self, Recovery},
};

impl Recovery {
    /// Whether the interval of the area begins above `smallest`, such as 0.5.
    pub fn check(&self, smallest: f64) -> Check {
        let check = Check::above(CheckKind::Recovery, [self.auc, self.low, self.high], smallest);
        Check { p: Some(self.p), ..check }
    }
}

/// The area under the ROC curve of the mean absolute attribution over items, with `informative` saying per input (flattened)
/// whether it matters: [`neurons::recovery`](crate::neurons::recovery()) of it.
/// # Errors
/// When `informative` has another length than an item, or holds fewer than two of either kind.
pub fn recovery(attribution: &Attribution, informative: &[bool], level: f64) -> Result<Recovery> {
    let absolute = attribution.absolute();
    let width = absolute.first().map_or(0, Vec::len);
    if informative.len() != width {
        return Err(CoreError::shape("informative inputs", width, informative.len()).into());
    }
    let mean = |input: usize| absolute.iter().map(|item| item[input]).sum::<f64>() / absolute.len() as f64;
    neurons::recovery(&(0..width).map(mean).collect::<Vec<_>>(), informative, level)
}

/// How much of a true field the strongest attributions cover.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Per item the share of its k strongest inputs that lie in the field, k being the size of the field.
    pub items: Vec<f64>,
    /// The mean with its interval over items.
    pub mean: Interval,
    /// What a random choice would reach: the mean over items of k over the number of inputs.
    pub chance: f64,
}

impl Overlap {
    /// Whether the interval begins above chance.
    pub fn check(&self) -> Check {
        // Beyond the rounding of a mean of equal shares.
        Check::above(CheckKind::Overlap, ends(&self.mean), self.chance * (1. + 1e-9))
    }
}

/// Overlap of the strongest absolute attributions with the true field: `field` is `[items or 1, inputs]`, true
/// inside. Inputs that tie at the border of the k strongest count by their share.
///
/// # Errors
/// When the shapes do not fit, a field is empty or everything, or there are fewer than two items.
pub fn overlap(
    attribution: &Attribution,
    field: ArrayView2<'_, bool>,
    bootstrap: &Bootstrap,
    seed: Seed,
) -> Result<Overlap> {
    let absolute = attribution.absolute();
    let width = absolute.first().map_or(0, Vec::len);
    if field.ncols() != width || ![1, absolute.len()].contains(&field.nrows()) {
        let expected = format!("[{} or 1, {width}]", absolute.len());
        return Err(CoreError::shape("true fields", expected, field.shape()).into());
    }
    let mut chance = 0.;
    let mut items = Vec::with_capacity(absolute.len());
    for (item, values) in absolute.iter().enumerate() {
        let inside = field.row(if field.nrows() == 1 { 0 } else { item });
        let k = inside.iter().filter(|&&inside| inside).count();
        if k == 0 || k == width {
            return Err(
                CoreError::value("true field", "some inputs and not all", format!("{k} of {width}")).into()
            );
        }
        chance += k as f64 / width as f64 / absolute.len() as f64;
        items.push(covered(values, &inside.to_vec(), k));
    }
    let mean = mean_interval(&items, bootstrap, seed)?;
    Ok(Overlap { items, mean, chance })
}

/// The share of the k strongest inputs that are inside.
fn covered(values: &[f64], inside: &[bool], k: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let border = sorted[k - 1];
    let among = |keep: &dyn Fn(f64) -> bool| -> (f64, f64) {
        let chosen = values.iter().zip(inside).filter(|(v, _)| keep(**v));
        chosen.fold((0., 0.), |(all, hits), (_, &inside)| (all + 1., hits + f64::from(u8::from(inside))))
    };
    let (above, hits) = among(&|v| v > border);
    let (tied, tied_hits) = among(&|v| v == border);
    (hits + (k as f64 - above) * tied_hits / tied) / k as f64
}
