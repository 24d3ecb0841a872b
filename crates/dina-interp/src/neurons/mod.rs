//! Which neurons carry the alignment, and how many.

mod concentration;
mod contribution;
mod crossfit;
mod curves;
mod linear_scores;
mod minimal;
mod recovery;
mod relation;
mod silence;

pub use concentration::{Carriers, Concentration, ConcentrationConfig, concentration};
pub use contribution::{
    ContributionConfig, Contributions, LinearReadIn, NeuronContribution, ablation_contributions,
    linear_contributions,
};
pub(crate) use contribution::{differences, resample_counts, sign_flipped};
pub use crossfit::{CrossFitConfig, cross_fitted_contributions};
pub(crate) use curves::standardised;
pub use curves::{CountsNeeded, CurveConfig, OrderCurve, SubsetCurves, subset_curves};
pub use linear_scores::LinearScores;
pub use minimal::{MinimalConfig, MinimalSubsets, SubsetMethod, minimal_subsets};
pub use recovery::{Recovery, recovery};
pub use relation::{FactorRelation, RelationConfig, Relations, relations};
pub use silence::{Baseline, Silenced};
