use std::fmt;

use ndarray::{Array2, ArrayD};
use serde::{Deserialize, Serialize};

use crate::trust::Checks;

/// How an attribution was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Method {
    /// Gradient times input.
    GradientInput,
    /// Integrated gradients.
    IntegratedGradients,
    /// Expected gradients.
    ExpectedGradients,
    /// SmoothGrad.
    SmoothGrad,
    /// Occlusion.
    Occlusion,
    /// Permutation Shapley values.
    Shapley,
    /// Grad-CAM.
    GradCam,
    /// A method of the caller's own.
    Other,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GradientInput => "gradient x input",
            Self::IntegratedGradients => "integrated gradients",
            Self::ExpectedGradients => "expected gradients",
            Self::SmoothGrad => "SmoothGrad",
            Self::Occlusion => "occlusion",
            Self::Shapley => "permutation Shapley values",
            Self::GradCam => "Grad-CAM",
            Self::Other => "a method of the caller's own",
        })
    }
}

/// Whether attributions add up to the change of the target that they are to explain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completeness {
    /// Per item the sum of its attributions.
    pub sums: Vec<f64>,
    /// Per item the target minus the target of the baseline (for a background set, minus its mean).
    pub differences: Vec<f64>,
    /// Per item |sum - difference|, over the largest of |difference|, a millionth of the two targets, and a thousand times the
    /// precision of the tower's numbers (1.2e-7 in `f32`) of the sum of absolute attributions: below the last two
    /// there is nothing but rounding, because attributions that cancel leave the rounding errors of each.
    pub relative: Vec<f64>,
    /// Per item the steps, samples or orders that it took.
    pub steps: Vec<usize>,
    /// The relative deviation that was aimed at.
    pub tolerance: f64,
    /// Whether every item is within the tolerance. If not, the cap on steps was reached first.
    pub complete: bool,
}

impl Completeness {
    /// Of `[items, attributions]`, by the two targets of every item; `epsilon` is the precision of the tower's numbers.
    pub(crate) fn of(
        values: &[f64],
        epsilon: f64,
        ends: &[[f64; 2]],
        steps: Vec<usize>,
        tolerance: f64,
    ) -> Self {
        let rows = || values.chunks((values.len() / ends.len().max(1)).max(1));
        let relative: Vec<f64> =
            rows().zip(ends).map(|(row, &ends)| relative_deviation(row, epsilon, ends)).collect();
        Self {
            sums: rows().map(|row| row.iter().sum()).collect(),
            differences: ends.iter().map(|[baseline, target]| target - baseline).collect(),
            complete: relative.iter().all(|&r| r <= tolerance),
            relative,
            steps,
            tolerance,
        }
    }

    /// The largest relative deviation.
    pub fn worst(&self) -> f64 {
        self.relative.iter().copied().fold(0., f64::max)
    }
}

/// See [`Completeness::relative`].
pub(crate) fn relative_deviation(attributions: &[f64], epsilon: f64, [baseline, target]: [f64; 2]) -> f64 {
    let difference = target - baseline;
    let (sum, absolute) = attributions.iter().fold((0., 0.), |(sum, total), a| (sum + a, total + a.abs()));
    let floor = (1e-6 * (baseline.abs() + target.abs())).max(1e3 * epsilon * absolute);
    (sum - difference).abs() / difference.abs().max(floor).max(f64::from(f32::MIN_POSITIVE))
}

/// How much each input contributed to the target, item by item.
///
/// Prints as a sentence that says whether the attribution is complete and whether it passed its checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// In the shape of the input: `[items, 1, height, width]` or `[items, neurons]`.
    pub values: ArrayD<f32>,
    /// How they were made.
    pub method: Method,
    /// Per item what was explained.
    pub targets: Vec<f64>,
    /// For the methods whose attributions should add up.
    pub completeness: Option<Completeness>,
    /// Monte-Carlo standard errors, in the shape of `values`, for the methods that sample.
    pub standard_error: Option<ArrayD<f32>>,
    /// `[items, groups]`, for the methods that work on groups of inputs; `values` spreads them out.
    pub groups: Option<Array2<f32>>,
    /// The checks that were made of this method on this model, if any.
    pub checks: Option<Checks>,
}

impl Attribution {
    /// An attribution by a method that is not in this crate, so that the same checks can be made of it.
    pub fn other(values: ArrayD<f32>, targets: Vec<f64>) -> Self {
        Self {
            values,
            method: Method::Other,
            targets,
            completeness: None,
            standard_error: None,
            groups: None,
            checks: None,
        }
    }

    /// The same with the checks made of it.
    pub fn with_checks(mut self, checks: Checks) -> Self {
        self.checks = Some(checks);
        self
    }

    /// Whether this result is to be believed: `None` where no check was made, false where one failed or the
    /// attribution is not complete.
    pub fn trusted(&self) -> Option<bool> {
        let complete = self.completeness.as_ref().is_none_or(|c| c.complete);
        match &self.checks {
            Some(checks) if !checks.is_empty() => Some(checks.passed() && complete),
            _ if !complete => Some(false),
            _ => None,
        }
    }

    /// Number of items.
    pub fn items(&self) -> usize {
        self.values.shape().first().copied().unwrap_or(0)
    }

    /// The absolute attributions of every item, flattened.
    pub(crate) fn absolute(&self) -> Vec<Vec<f64>> {
        self.values.outer_iter().map(|item| item.iter().map(|&v| f64::from(v).abs()).collect()).collect()
    }
}

impl fmt::Display for Attribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} items", self.method, self.items())?;
        if let Some(found) = &self.completeness {
            let verdict = if found.complete { "complete" } else { "NOT complete" };
            write!(f, "; {verdict}: largest relative deviation {:.2e}", found.worst())?;
        }
        match &self.checks {
            Some(checks) if !checks.is_empty() => write!(f, "; {checks}"),
            _ => f.write_str("; not checked"),
        }
    }
}
