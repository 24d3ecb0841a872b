use dina_core::ContentHash;
use dina_data::simulate::Population;
use serde::{Deserialize, Serialize};

/// A claim as it is registered before anything is measured.
///
/// The effect is on a scale where 0 is what the null says and [`Experiment::smallest`] is the least that would matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Experiment {
    /// A short name, unique in a study.
    pub id: String,
    /// The statement that is put to the test.
    pub statement: String,
    /// Which claim of the paper it belongs to.
    pub claim: String,
    /// What is measured.
    pub statistic: String,
    /// What the null hypothesis says of it.
    pub null: String,
    /// What is exchanged under the null, and what is resampled for the interval.
    pub exchangeable: String,
    /// The effect, with its unit.
    pub effect: String,
    /// The smallest effect of interest.
    pub smallest: f64,
    /// Experiments that have to be supported before this one says anything.
    pub requires: Vec<String>,
    /// What has to come out as stated before this one says anything.
    pub controls: Vec<String>,
    /// Simulated populations of which the statement is true.
    pub holds_on: Vec<Population>,
    /// Simulated populations of which it is false.
    pub fails_on: Vec<Population>,
    /// Simulated populations of which it is true and on which the instrument is known to be blind: they are run and
    /// reported, and not counted as power. What follows on a recording is that a verdict of `contradicted` does
    /// not exclude populations of this kind.
    pub blind_on: Vec<Population>,
}

impl Experiment {
    /// An experiment without requirements, controls and populations.
    pub fn new(id: &str, claim: &str, statement: &str) -> Self {
        Self {
            id: id.into(),
            statement: statement.into(),
            claim: claim.into(),
            statistic: String::new(),
            null: String::new(),
            exchangeable: String::new(),
            effect: String::new(),
            smallest: 0.,
            requires: Vec::new(),
            controls: Vec::new(),
            holds_on: Vec::new(),
            fails_on: Vec::new(),
            blind_on: Vec::new(),
        }
    }

    /// Whether the statement is true of a population; `None` where its construction does not settle it.
    pub fn truth(&self, population: Population) -> Option<bool> {
        if self.holds_on.contains(&population) {
            Some(true)
        } else {
            self.fails_on.contains(&population).then_some(false)
        }
    }
}

/// How claims are decided, in words: part of what is registered.
const RULE: &str = "supported: p of the null, Holm-adjusted over all tests of the study, at most 0.05, the estimate at \
    least the smallest effect of interest and the whole interval above 0; contradicted: p of an effect as large as the \
    smallest of interest, adjusted in the same family, at most 0.05; else inconclusive; inconclusive too where a \
    required experiment is not supported or a control fails";

/// Version of the measurements: it changes when one is computed otherwise.
const VERSION: u32 = 1;

/// The hash of what is registered: experiments, rule of decision and version of the measurements.
pub fn registration(experiments: &[Experiment]) -> ContentHash {
    // Names and numbers always serialise.
    let text = serde_json::to_string(experiments).unwrap_or_default();
    ContentHash::of([text.as_bytes(), RULE.as_bytes(), &VERSION.to_le_bytes()])
}
