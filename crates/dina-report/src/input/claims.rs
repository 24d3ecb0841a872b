use serde::{Deserialize, Serialize};

use crate::chart::Forest;

/// Claims that were put to the test, with the error rates of their instruments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// One entry a claim; those of one heading follow each other.
    pub claims: Vec<Claim>,
    /// Figures beside the claims, such as what decoding rests on; nothing is decided by them.
    pub beside: Vec<Described>,
    /// Why some of them are absent, a sentence each.
    pub absent: Vec<String>,
    /// How p was corrected, as a clause: "Holm over all tests of the study".
    pub correction: String,
    /// Where the error rates come from, as a sentence.
    pub calibration: String,
    /// Hash of what was registered before anything was measured.
    pub registration: String,
}

/// A figure beside the claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// File name without its ending: lower-case letters, digits and hyphens.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What is seen: quantities, n, what chance is.
    pub text: String,
    /// What is drawn.
    pub forest: Forest,
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// A short name, unique in a report: letters, digits, hyphens.
    pub id: String,
    /// What it belongs to, such as "2 coarse, not fine, not semantic".
    pub heading: String,
    /// What is claimed, a sentence.
    pub statement: String,
    /// The verdict.
    pub verdict: ClaimVerdict,
    /// What the measurement alone says, whatever its instrument is worth.
    pub measured: ClaimVerdict,
    /// Why the measurement says nothing, where that is so.
    pub reason: Option<String>,
    /// The effect with its unit, in words.
    pub unit: String,
    /// The smallest effect of interest.
    pub smallest: f64,
    /// The effect; `None` where it could not be measured.
    pub effect: Option<ClaimEffect>,
    /// How often the instrument supports a true statement.
    pub power: Option<ErrorRate>,
    /// How often it supports a false one.
    pub false_support: Option<ErrorRate>,
    /// What was measured, and against which null, for the methods.
    pub statistic: String,
    /// The null.
    pub null: String,
    /// What is exchanged under it.
    pub exchangeable: String,
    /// What had to come out.
    pub controls: Vec<ClaimControl>,
    /// Further figures by name.
    pub details: Vec<(String, f64)>,
    /// The same measurement on recordings whose truth is known.
    pub known: Vec<KnownEffect>,
}

/// The measured effect of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClaimEffect {
    /// The effect.
    pub estimate: f64,
    /// Lower end of its 95 % interval.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// Corrected p of the null.
    pub p_adjusted: f64,
    /// Images that it is measured on.
    pub images: usize,
}

/// What is said of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimVerdict {
    /// It holds, by an effect that matters.
    Supported,
    /// An effect that would matter is excluded.
    Contradicted,
    /// Neither.
    Inconclusive,
    /// The instrument is not known to be right often enough.
    NotValidated,
}

/// How often something happened.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ErrorRate {
    /// How often.
    pub hits: usize,
    /// Of how many.
    pub runs: usize,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A control of a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimControl {
    /// What it is.
    pub name: String,
    /// What came out, in the unit of the claim.
    pub value: f64,
    /// Lower end of its interval.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// Whether it came out as it has to.
    pub passed: bool,
}

/// The effect that was measured on one recording whose truth is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownEffect {
    /// The kind of recording.
    pub population: String,
    /// Whether the claim is true of it; `None` where that is open.
    pub truth: Option<bool>,
    /// The effect.
    pub effect: f64,
    /// Whether the claim was supported.
    pub supported: bool,
    /// Whether that recording is about as large as the one under study.
    pub of_this_size: bool,
}
