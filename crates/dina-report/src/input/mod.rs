//! What a report is made from: plain structs that whoever ran the study fills in.

mod alignability;
mod claims;
mod examples;
mod identification;
mod methods;
mod picture;
mod provenance;
mod recording;
mod report;
mod towers;
mod training;

pub use alignability::{Alignability, ChannelAlignability};
pub use claims::{Claim, ClaimControl, ClaimEffect, ClaimVerdict, Claims, Described, ErrorRate, KnownEffect};
pub use examples::{Candidate, MapExample, MapExamples, Retrieval, Retrievals};
pub use identification::{
    Ceiling, Comparison, Condition, Direction, Identification, Measure, PoolCurve, PoolPoint, PoolStudy,
    Ranks, Trials,
};
pub use methods::{BaselineMethod, Inference, Methods, Optimisation, Scheme, Split};
pub use picture::{Maps, Picture};
pub use provenance::{Check, Hashes, Provenance, Stage};
pub use recording::{RecordingSummary, SelfRetrieval};
pub use report::{Part, Report};
pub use towers::{Level, TowerDescription, Towers};
pub use training::{Sample, TrainingRun};
