use candle_core::Device;
use dina_core::Seed;
use dina_stats::multiplicity::holm;
use serde::{Deserialize, Serialize};

use super::ObjectiveStudy;
use crate::claims::{Case, Claim, Experiment, Measured, Settings};
use crate::{Dataset, Error, Fold, ObjectiveKind, Progress, RecordingSummary, Result, Start};

/// What a claim comes to when the towers that measure it are trained for one objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveFinding {
    /// The objective.
    pub objective: ObjectiveKind,
    /// What the towers started from.
    pub start: Start,
    /// What is measured.
    pub experiment: Experiment,
    /// The effect, or why there is none.
    pub measured: Measured,
    /// p of the null, Holm-adjusted over all claims, objectives and starts; `None` without an effect.
    pub p_adjusted: Option<f64>,
}

/// Measures claims with towers trained for every objective, at the budget of the study: whether a finding is one of the responses, or
/// one of the objective that found it.
///
/// The closed-form start already aligns the towers, so that only towers from random weights say anything about objectives: those are
/// what is trained, whatever the starts of the study are. The error rates of the registered experiments are those of towers in closed form, and
/// do not carry over to these; nothing is decided by them.
///
/// # Errors
/// When an objective needs categories that are not there, or a training diverges.
pub fn claims_by_objective(
    (dataset, summary, folds): (&Dataset, &RecordingSummary, &[Fold]),
    study: &ObjectiveStudy,
    claims: &[Box<dyn Claim>],
    seed: Seed,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Vec<ObjectiveFinding>> {
    let settings = Settings { steps: study.steps, ..Settings::new(study.profile) };
    progress.begin("claims by objective", study.objectives.len() * claims.len());
    let mut found = Vec::new();
    for &objective in &study.objectives {
        // The same weights, batches and dropout for every objective.
        let sizes = (settings, study.profile);
        let case = Case::new(dataset, summary, folds, sizes, seed.child("models"), device).trained_for(
            objective,
            Start::Random,
            study.learning_rate,
        );
        for claim in claims {
            let experiment = claim.experiment();
            let measured = claim.measure(&case, seed.child(&experiment.id))?;
            progress.advance(found.len() + 1, &format!("{} under {objective}", experiment.id));
            found.push(ObjectiveFinding {
                objective,
                start: Start::Random,
                experiment,
                measured,
                p_adjusted: None,
            });
        }
    }
    progress.end();
    adjust(&mut found)?;
    Ok(found)
}

fn adjust(found: &mut [ObjectiveFinding]) -> Result<(), Error> {
    let with_effect = |finding: &ObjectiveFinding| match &finding.measured {
        Measured::Effect(effect) => Some(effect.p),
        Measured::Impossible(_) => None,
    };
    let p: Vec<f64> = found.iter().filter_map(with_effect).collect();
    if p.is_empty() {
        return Ok(());
    }
    let mut adjusted = holm(&p)?.into_iter();
    for finding in found {
        if with_effect(finding).is_some() {
            finding.p_adjusted = adjusted.next();
        }
    }
    Ok(())
}
