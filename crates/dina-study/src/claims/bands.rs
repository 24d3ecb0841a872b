use std::collections::BTreeMap;

use dina_core::Seed;
use dina_data::Categories;
use dina_data::simulate::{CUTOFF, Dial, Population};
use dina_decode::identification::Pool;

use super::accuracy::ACCURACY;
use super::resample::sign_flip;
use super::{Case, Claim, Effect, Experiment, Measured, Pairing, Sight};
use crate::Result;

/// Claim 2, spatial frequency: what decoding loses when models are trained and tested without fine, or without coarse
/// detail.
///
/// Every model is trained on the images that it is tested on, so that a change of the images is not mistaken for
/// tuning. Distractors are of the category of the image shown: what tells categories apart does not help. What is compared
/// is sensitivity, which does not saturate where every image is identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bands {
    /// Coarse detail alone identifies better than fine detail alone.
    CoarseOverFine,
    /// Images identify worse without their fine detail.
    FineAdds,
}

/// Share of the sensitivity that matters.
const SMALLEST: f64 = 0.1;

/// Distractors that a standard deviation is computed from, at least.
const DISTRACTORS: usize = 3;

impl Bands {
    /// The sight that should identify better, and the one it is compared with.
    fn sights(self) -> [Sight; 2] {
        match self {
            Self::CoarseOverFine => [Sight::Coarse, Sight::Fine],
            Self::FineAdds => [Sight::Full, Sight::Coarse],
        }
    }
}

impl Claim for Bands {
    fn experiment(&self) -> Experiment {
        let (mixed, half) = (Population::Mixed(Dial::HALF), format!("{CUTOFF} cycles per degree"));
        let (id, statement, better, worse, holds_on, fails_on) = match self {
            Self::CoarseOverFine => (
                "coarse",
                format!("Decoding rests on image structure below {half} more than on structure above."),
                "on low-pass images",
                "on high-pass images",
                vec![Population::Coarse, mixed],
                vec![Population::Fine, Population::Category, Population::Null],
            ),
            Self::FineAdds => (
                "fine",
                format!("Decoding uses image structure above {half}."),
                "on whole images",
                "on low-pass images",
                vec![Population::Fine],
                vec![Population::Coarse, mixed, Population::Category, Population::Null],
            ),
        };
        Experiment {
            statistic: format!(
                "sensitivity, the similarity of the image shown in standard scores of the other test images of its category \
                 (all, where none are known), of towers trained and tested {better}, minus that of towers trained and \
                 tested {worse}, over that of towers trained and tested on whole images"
            ),
            null: "the difference, image by image, lies evenly about 0".into(),
            exchangeable: "the sign of the difference of an image; images are resampled".into(),
            effect: "difference as a share of the sensitivity on whole images".into(),
            smallest: SMALLEST,
            requires: vec![ACCURACY.into()],
            holds_on,
            fails_on,
            ..Experiment::new(id, "Claim 2: coarse, not fine, not semantic", &statement)
        }
    }

    fn measure(&self, case: &Case<'_>, seed: Seed) -> Result<Measured> {
        let sensitivity = |sight| -> Result<BTreeMap<usize, f64>> {
            let aligned = case.aligned(sight, Pairing::Shown)?;
            Ok(within_category(aligned.pools(case.trials), case.categories()))
        };
        let [better, worse] = self.sights();
        let (whole, first, second) = (sensitivity(Sight::Full)?, sensitivity(better)?, sensitivity(worse)?);
        // All three are of the same images.
        let images: Vec<[f64; 3]> = whole
            .iter()
            .filter_map(|(image, w)| Some([first.get(image)? - second.get(image)?, *w, *first.get(image)?]))
            .collect();
        let mean = |k: usize| images.iter().map(|i| i[k]).sum::<f64>() / images.len() as f64;
        if images.len() < 2 || mean(1) <= 0. {
            let why = "whole images are not identified among those of their category";
            return Ok(Measured::Impossible(why.into()));
        }
        let share = |items: &[usize]| {
            let sum = |k: usize| items.iter().map(|&i| images[i][k]).sum::<f64>();
            // A resample without any sensitivity loses none of it.
            if sum(1) > 0. { sum(0) / sum(1) } else { 0. }
        };
        let mut effect =
            Effect::resampled(images.len(), share, SMALLEST, &case.settings, seed.child("images"))?;
        let differences: Vec<f64> = images.iter().map(|i| i[0]).collect();
        effect.p = sign_flip(&differences, &case.settings, seed)?;
        for (name, value) in [("whole", mean(1)), (name(better), mean(2)), (name(worse), mean(2) - mean(0))] {
            effect.details.insert(format!("sensitivity_{name}"), value);
        }
        Ok(Measured::Effect(effect))
    }
}

fn name(sight: Sight) -> &'static str {
    match sight {
        Sight::Full => "whole",
        Sight::Noise => "noise",
        Sight::Coarse => "low_pass",
        Sight::Fine => "high_pass",
        Sight::Octave(_) => "band",
    }
}

/// Sensitivity to every image among candidates of its category, averaged over its trials: its similarity minus the mean
/// of the others, over their standard deviation. Without categories all candidates count; images with too few others
/// of their category in a fold are left out.
pub(super) fn within_category(pools: &[Pool], categories: Option<&Categories>) -> BTreeMap<usize, f64> {
    let category = |image: usize| categories.map(|c| c.of.get(image).copied().flatten());
    let mut images = BTreeMap::<usize, (f64, f64)>::new();
    for pool in pools {
        let of: Vec<Option<Option<u32>>> = pool.images().iter().map(|&image| category(image)).collect();
        for (row, &truth) in pool.similarity().outer_iter().zip(pool.truth()) {
            // An image without a category has no distractors.
            if of[truth] == Some(None) {
                continue;
            }
            let others = row.iter().enumerate().filter(|(c, _)| *c != truth && of[*c] == of[truth]);
            let others: Vec<f64> = others.map(|(_, &value)| f64::from(value)).collect();
            if let Some(score) = standard_score(f64::from(row[truth]), &others) {
                let (sum, trials) = images.entry(pool.images()[truth]).or_default();
                *sum += score;
                *trials += 1.;
            }
        }
    }
    images.into_iter().map(|(image, (sum, trials))| (image, sum / trials)).collect()
}

/// A value in standard scores of others; `None` where these are too few or all the same.
pub(super) fn standard_score(value: f64, others: &[f64]) -> Option<f64> {
    if others.len() < DISTRACTORS {
        return None;
    }
    let n = others.len() as f64;
    let mean = others.iter().sum::<f64>() / n;
    let sd = (others.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.)).sqrt();
    (sd > 0.).then(|| (value - mean) / sd)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn distractors_are_of_the_category_shown() {
        let similarity = array![[0.9, 0.1, 0.2, 0.3, 5.], [0., 0., 0., 0., 1.]];
        let pool = Pool::new(similarity, vec![0, 4], vec![10, 11, 12, 13, 14]).unwrap();
        let mut of = vec![Some(0); 15];
        of[14] = Some(1);
        let categories = Categories { names: vec!["a".into(), "b".into()], of };
        // 10 against 11 to 13, whose mean is 0.2 and standard deviation 0.1; 14 is alone in its category.
        let found = within_category(std::slice::from_ref(&pool), Some(&categories));
        assert!(found.len() == 1 && (found[&10] - 7.).abs() < 1e-5, "{found:?}");
        // All: the others of 14 do not vary.
        let found = within_category(&[pool], None);
        assert!(found.len() == 1 && found[&10] < 0., "{found:?}");
    }
}
