use serde::{Deserialize, Serialize};

use super::Effect;

/// Significance level of a study, over all its tests.
pub(super) const ALPHA: f64 = 0.05;

/// What an experiment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// The statement holds, by an effect that matters.
    Supported,
    /// An effect that would matter is excluded.
    Contradicted,
    /// Neither.
    Inconclusive,
    /// Whatever was measured, the instrument is not known to be right often enough.
    InstrumentNotValidated,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Supported => "supported",
            Self::Contradicted => "contradicted",
            Self::Inconclusive => "inconclusive",
            Self::InstrumentNotValidated => "instrument not validated",
        })
    }
}

/// The verdict on a measured effect, before requirements and controls.
///
/// `p` and `p_small` are adjusted over the study: of the null, and of an effect as large as the smallest of interest.
pub fn decide(effect: &Effect, smallest: f64, p: f64, p_small: f64) -> Verdict {
    if p <= ALPHA && effect.low > 0. && effect.estimate >= smallest {
        Verdict::Supported
    } else if p_small <= ALPHA && effect.estimate < smallest {
        Verdict::Contradicted
    } else {
        Verdict::Inconclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(estimate: f64, low: f64, high: f64) -> Effect {
        Effect { estimate, low, high, ..Effect::default() }
    }

    #[test]
    fn an_effect_has_to_be_there_and_to_matter() {
        let sure = (0.001, 1.);
        let verdict = |e: Effect, (p, small): (f64, f64)| decide(&e, 0.1, p, small);
        assert_eq!(verdict(effect(0.2, 0.1, 0.3), sure), Verdict::Supported);
        // Real, and too small to matter.
        assert_eq!(verdict(effect(0.05, 0.03, 0.07), (0.001, 0.001)), Verdict::Contradicted);
        assert_eq!(verdict(effect(0.05, 0.03, 0.12), (0.001, 0.2)), Verdict::Inconclusive);
        // Large, and not sure.
        assert_eq!(verdict(effect(0.2, -0.1, 0.5), (0.2, 1.)), Verdict::Inconclusive);
        // The other way round.
        assert_eq!(verdict(effect(-0.2, -0.3, -0.1), (1., 0.001)), Verdict::Contradicted);
        // The test and the interval have to agree.
        assert_eq!(verdict(effect(0.2, -0.01, 0.4), sure), Verdict::Inconclusive);
    }
}
