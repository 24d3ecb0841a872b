use dina_core::Seed;
use serde::{Deserialize, Serialize};

use super::bands::within_category;
use super::{Aligned, Case, Effect, Pairing, Reading, Sight};
use crate::Result;
use crate::decoding::decode_towers;

/// Octaves that are looked at, from 0.0125 to 0.2 cycles per degree.
const OCTAVES: u8 = 4;

/// Identification of images that hold one octave of spatial frequencies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BandIdentification {
    /// Lower edge, in cycles per degree; `None` for whole images.
    pub low: Option<f64>,
    /// Upper edge.
    pub high: Option<f64>,
    /// Mean sensitivity: the similarity of the image shown, in standard scores of the other test images of its category
    /// (all, where none are known). 0 is chance.
    pub sensitivity: f64,
    /// Lower end of its 95 % interval, images resampled.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// Images that it is measured on.
    pub images: usize,
    /// The same for towers trained on whole images, of whose candidates only the octave is left: where it is less, it may be
    /// the change of the images rather than what the responses hold. `None` for whole images.
    pub candidates: Option<Reading>,
}

/// Identification as a function of spatial frequency: towers trained and tested on images that hold one octave, and on
/// whole images. It goes with the experiments `coarse` and `fine` as a description: nothing is decided by it.
///
/// Octaves that the pixels do not show are left out. Each is standardised on the training images, so that the fall of
/// contrast with frequency does not decide; what is left of it is what images differ in there.
///
/// # Errors
/// When the images cannot be filtered or a model not be trained.
pub fn spectrum(case: &Case<'_>, seed: Seed) -> Result<Vec<BandIdentification>> {
    let nyquist = 0.5 / case.dataset.images.degrees_per_pixel;
    let octaves = (0..OCTAVES).filter(|&k| Sight::octave(k)[1] < nyquist).map(Sight::Octave);
    let mut found = Vec::new();
    for (index, sight) in std::iter::once(Sight::Full).chain(octaves).enumerate() {
        let aligned = case.aligned(sight, Pairing::Shown)?;
        let pools = aligned.pools(case.trials);
        let values: Vec<f64> = within_category(pools, case.categories()).into_values().collect();
        if values.len() < 2 {
            continue;
        }
        let effect = Effect::mean(&values, 0., &case.settings, seed.index(index))?;
        let candidates = match sight {
            Sight::Full => None,
            _ => candidates(case, &aligned, seed.index(index).child("candidates"))?,
        };
        let edges = match sight {
            Sight::Octave(octave) => Sight::octave(octave).map(|edge| Some(f64::from(edge))),
            _ => [None, None],
        };
        found.push(BandIdentification {
            low: edges[0],
            high: edges[1],
            sensitivity: effect.estimate,
            ci_low: effect.low,
            ci_high: effect.high,
            images: effect.images,
            candidates,
        });
    }
    Ok(found)
}

/// Towers trained on whole images, identifying images of the sight of other towers.
fn candidates(case: &Case<'_>, filtered: &Aligned, seed: Seed) -> Result<Option<Reading>> {
    let whole = case.aligned(Sight::Full, Pairing::Shown)?;
    let mut pools = Vec::new();
    for (fold, trained) in filtered.folds.iter().zip(&whole.trained) {
        pools.extend_from_slice(decode_towers(case.dataset, fold, trained)?.pools(case.trials));
    }
    let values: Vec<f64> = within_category(&pools, case.categories()).into_values().collect();
    Reading::mean("candidates filtered", &values, 0., case, seed)
}
