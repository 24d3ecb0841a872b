use serde::{Deserialize, Serialize};

use super::{
    Alignability, Ceiling, Check, Claims, Comparison, Condition, Identification, MapExamples, Methods,
    PoolStudy, Provenance, Ranks, RecordingSummary, Retrievals, Towers, TrainingRun,
};

/// A piece of a report that may be missing, but never without a reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part<T> {
    /// The piece is there.
    Present(T),
    /// The piece is not there; the report prints the reason in its place.
    Absent {
        /// A clause that completes "left out, because ...", such as
        /// "the smoke profile computes no null distribution".
        reason: String,
    },
}

impl<T> Part<T> {
    /// A missing piece and why it is missing.
    pub fn absent(reason: impl Into<String>) -> Self {
        Self::Absent { reason: reason.into() }
    }

    /// The piece, or the reason why there is none.
    ///
    /// # Errors
    /// The reason, where the piece is absent.
    pub fn get(&self) -> std::result::Result<&T, String> {
        match self {
            Self::Present(piece) => Ok(piece),
            Self::Absent { reason } => Err(reason.clone()),
        }
    }
}

impl<T> From<T> for Part<T> {
    fn from(piece: T) -> Self {
        Self::Present(piece)
    }
}

/// Everything that one report prints.
///
/// Values that are not finite are allowed anywhere: tables print them as a dash and figures leave
/// them out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The heading, such as "Image-neural alignment".
    pub title: String,
    /// One line on what was analysed, such as "Simulated V1 population, profile quick".
    pub subject: String,
    /// A warning printed above everything else, such as that the data are simulated.
    pub notice: Option<String>,
    /// The recording's own figures.
    pub recording: RecordingSummary,
    /// The condition and the measure on which the verdict rests.
    pub primary: Condition,
    /// The claims that were put to the test.
    pub claims: Part<Claims>,
    /// One row per decoder and condition; the decoder `dina` is the one on trial.
    pub identification: Vec<Identification>,
    /// Paired differences between `dina` and each baseline.
    pub comparisons: Part<Vec<Comparison>>,
    /// Self-retrieval in the decoders' own pools: what the recording's noise allows.
    pub ceilings: Part<Vec<Ceiling>>,
    /// The rank of the true candidate in every query.
    pub ranks: Part<Vec<Ranks>>,
    /// Identification against the size of the pool.
    pub pool_size: Part<PoolStudy>,
    /// Retrieved images, right and wrong.
    pub retrievals: Part<Retrievals>,
    /// The aligned maps of a few images, one entry per level.
    pub maps: Part<Vec<MapExamples>>,
    /// How well each channel aligns, one entry per level.
    pub alignability: Part<Vec<Alignability>>,
    /// The two towers, for the diagram.
    pub towers: Part<Towers>,
    /// The training curves, one entry per fold.
    pub training: Part<Vec<TrainingRun>>,
    /// How it was done, for the methods text.
    pub methods: Methods,
    /// The checks that no test image took part in fitting.
    pub leakage: Part<Vec<Check>>,
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// Further remarks, a paragraph each, printed under the verdict.
    pub notes: Vec<String>,
}
