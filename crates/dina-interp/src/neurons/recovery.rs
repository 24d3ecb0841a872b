use std::fmt;

use dina_core::Error as CoreError;
use dina_stats::{classical::mann_whitney, effect::cliff_delta, permutation::Tail};
use serde::{Deserialize, Serialize};

use crate::Result;

/// How well a value tells informative neurons, or other inputs, from the rest, where the truth is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Area under the receiver operating characteristic: the chance that an informative neuron has a larger value than
    /// another one, ties counting a half. 0.5 is chance.
    pub auc: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Coverage.
    pub level: f64,
    /// One-sided p of the Mann-Whitney test.
    pub p: f64,
    /// Informative ones.
    pub informative: usize,
    /// Others.
    pub others: usize,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { auc, low, high, p, informative, others, .. } = self;
        let level = (self.level * 1e4).round() / 1e2;
        write!(
            f,
            "area under ROC {auc:.3} ({level} % interval {low:.3} to {high:.3}; chance 0.5), p = {p:.2e}, {informative} \
             informative and {others} others"
        )
    }
}

/// Area under ROC of `values` for those that are `informative`, (delta + 1) / 2 with Cliff's delta and Feng and Cliff's
/// interval of it (see [`dina_stats::effect::cliff_delta`]).
///
/// # Errors
/// When lengths differ, a value is not finite, or there are fewer than two of either kind.
pub fn recovery(values: &[f64], informative: &[bool], level: f64) -> Result<Recovery> {
    if values.len() != informative.len() {
        return Err(CoreError::shape("informative ones", values.len(), informative.len()).into());
    }
    let of = |kind: bool| -> Vec<f64> {
        values.iter().zip(informative).filter(|(_, is)| **is == kind).map(|(v, _)| *v).collect()
    };
    let (yes, no) = (of(true), of(false));
    let delta = cliff_delta(&yes, &no, level)?;
    let p = if values.iter().all(|v| *v == values[0]) {
        // No order at all.
        1.
    } else {
        mann_whitney(&yes, &no, Tail::Greater)?.p
    };
    let area = |delta: f64| ((delta + 1.) / 2.).clamp(0., 1.);
    Ok(Recovery {
        auc: area(delta.estimate),
        low: area(delta.low),
        high: area(delta.high),
        level,
        p,
        informative: yes.len(),
        others: no.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_by_hand() {
        let informative = [true, true, true, false, false, false, false];
        // Pairs won: 4, 4 and 2 of 4 each.
        let found = recovery(&[9., 8., 3., 1., 2., 4., 5.], &informative, 0.95).unwrap();
        assert!((found.auc - 10. / 12.).abs() < 1e-12);
        assert!(found.low < found.auc && found.auc < found.high);
        let tied = recovery(&[1.; 7], &informative, 0.95).unwrap();
        assert_eq!((tied.auc, tied.p), (0.5, 1.));
        assert!(recovery(&[1.; 7], &[true; 7], 0.95).is_err());
        assert!(recovery(&[1.; 6], &informative, 0.95).is_err());
    }
}
