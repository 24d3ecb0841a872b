//! Claims about a recording as registered experiments, each with the measured error rate of its instrument.
//!
//! - [`Experiment`]: what is claimed, how it is measured and decided, and the simulated populations on which the answer
//!   is known; written down before anything is measured, and hashed.
//! - [`Claim`]: an experiment with its measurement; [`standard`] has those of the paper. Implement it for a claim of
//!   your own.
//! - [`Case`]: a recording with its folds, and the aligned towers that claims share.
//! - [`study`]: all claims on one case, corrected together, to [`Finding`]s.
//! - [`Calibration`]: how often the same study says so on simulated populations where it is true, and where it is
//!   false; [`judge`] puts it beside the findings.
//! - [`basis()`]: what decoding rests on, described beside the claims.
//! - [`cohort`]: the same study of several mice, summed up with mice as the sample; one image tower for all of them is in
//!   [`crate::cohort`].

mod accuracy;
mod bands;
mod basis;
mod calibration;
mod case;
mod category;
mod cohort;
mod decision;
mod experiment;
mod explained;
mod interactions;
mod low_level;
mod regions;
mod report;
mod resample;
mod sparse;
mod spectrum;
mod study;

pub use accuracy::Accuracy;
pub use bands::Bands;
pub use basis::{Basis, Condition, Origin, Partition, Reading, SetShare, basis};
pub use calibration::{Calibration, Cell, CellFinding, Rate, Rates, Scope, calibrate};
pub use case::{Aligned, Case, Pairing, Settings, Sight};
pub use category::CategoryBeyondLowLevel;
pub(crate) use cohort::check as check_mice;
pub use cohort::{Cohort, CohortClaim, Mouse, MouseStudy, cohort};
pub use decision::{Verdict, decide};
pub use experiment::{Experiment, registration};
pub use interactions::Interactions;
pub use regions::DistributedRegions;
pub(crate) use report::section;
pub use sparse::SparseNeurons;
pub use spectrum::{BandIdentification, spectrum};
pub use study::{
    Claim, Control, Effect, Finding, Instrument, Judged, Measured, Studied, experiments, judge, standard,
    study,
};
