use dina_core::Seed;
use dina_data::simulate::{Dial, Population};
use dina_decode::identification::Evaluation;
use dina_stats::bootstrap::Bootstrap;

use super::{Aligned, Case, Claim, Control, Effect, Experiment, Measured, Pairing, Sight};
use crate::comparison::by_image;
use crate::{Measure, Result};

/// Claim 1: the image that was shown is identified from the response to it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Accuracy;

/// Name of the experiment that the others require.
pub(super) const ACCURACY: &str = "accuracy";

/// Two-way identification above chance that matters.
const SMALLEST: f64 = 0.05;

impl Claim for Accuracy {
    fn experiment(&self) -> Experiment {
        Experiment {
            statistic: "two-way identification of held-out images by the aligned towers, among all test images of a fold".into(),
            null: "it is one half".into(),
            exchangeable: "which test image the responses to an image belong to; images are resampled".into(),
            effect: "two-way identification above one half".into(),
            smallest: SMALLEST,
            controls: vec![format!(
                "towers fitted to permuted training images identify less than {SMALLEST} above one half"
            )],
            holds_on: vec![
                Population::V1,
                Population::Coarse,
                Population::Fine,
                Population::Mixed(Dial::HALF),
                Population::Local,
                Population::Distributed,
                Population::Dense,
            ],
            fails_on: vec![Population::Null],
            // The image tower sees contrast, and neither outlines nor categories as such; the neural tower is linear.
            blind_on: vec![Population::Shape, Population::Category, Population::Interacting],
            ..Experiment::new(
                ACCURACY,
                "Claim 1: accuracy",
                "Which of the held-out images was shown can be read from the population response.",
            )
        }
    }

    fn measure(&self, case: &Case<'_>, seed: Seed) -> Result<Measured> {
        let above = |aligned: &Aligned, seed| -> Result<Effect> {
            let two_way = by_image(aligned.pools(case.trials), Measure::TwoWay)?;
            let values: Vec<f64> = two_way.into_values().map(|value| value - 0.5).collect();
            Effect::mean(&values, SMALLEST, &case.settings, seed)
        };
        let aligned = case.aligned(Sight::Full, Pairing::Shown)?;
        let mut effect = above(&aligned, seed.child("shown"))?;
        let evaluation = Evaluation {
            permutations: case.settings.permutations,
            bootstrap: Bootstrap { replicates: 100, bca: false, ..Bootstrap::default() },
        };
        let figures = evaluation.figures(aligned.pools(case.trials), seed.child("labels"))?;
        effect.p = figures.p_two_way;
        let permuted = case.aligned(Sight::Full, Pairing::Permuted)?;
        let permuted = above(&permuted, seed.child("permuted"))?;
        effect.controls.push(Control {
            name: "permuted training images".into(),
            value: permuted.estimate,
            low: permuted.low,
            high: permuted.high,
            passed: permuted.estimate < SMALLEST,
        });
        effect.details.insert("top1".into(), figures.top1);
        effect.details.insert("chance_top1".into(), figures.chance_top1);
        effect.details.insert("two_way".into(), figures.two_way);
        let untrained = by_image(case.untrained()?.pools(case.trials), Measure::TwoWay)?;
        let mean = untrained.values().sum::<f64>() / untrained.len() as f64;
        effect.details.insert("two_way_untrained".into(), mean);
        Ok(Measured::Effect(effect))
    }
}
