//! Adjusted p-values for many tests at once.
//!
//! All functions take p-values in any order and return the adjusted ones in the same order, clipped
//! to 1. A value that is not within `[0, 1]`, NaN included, is an error.

use crate::{Error, Result};

/// Bonferroni: `min(1, m p)`. Controls the family-wise error under any dependence.
///
/// # Errors
/// [`Error::TooFew`] without p-values, [`Error::Value`] for one outside `[0, 1]`.
pub fn bonferroni(p: &[f64]) -> Result<Vec<f64>> {
    check(p)?;
    let m = p.len() as f64;
    Ok(p.iter().map(|p| (m * p).min(1.0)).collect())
}

/// Holm's step-down: `max over j <= i of min(1, (m - j + 1) p_(j))`, p ascending. Controls the
/// family-wise error under any dependence, and is never weaker than [`bonferroni`] (Holm 1979).
///
/// # Errors
/// As [`bonferroni`].
pub fn holm(p: &[f64]) -> Result<Vec<f64>> {
    check(p)?;
    let m = p.len();
    let mut adjusted = vec![0.0; m];
    let mut running = 0.0_f64;
    for (position, &index) in ascending(p).iter().enumerate() {
        running = running.max(((m - position) as f64 * p[index]).min(1.0));
        adjusted[index] = running;
    }
    Ok(adjusted)
}

/// Benjamini-Hochberg: `q_(i) = min over j >= i of min(1, m p_(j) / j)`. Controls the false
/// discovery rate of independent or positively dependent tests (Benjamini and Hochberg 1995).
///
/// # Errors
/// As [`bonferroni`].
pub fn benjamini_hochberg(p: &[f64]) -> Result<Vec<f64>> {
    step_up(p, 1.0)
}

/// Benjamini-Yekutieli: as [`benjamini_hochberg`] with the factor `c = sum over k <= m of 1/k`.
/// Controls the false discovery rate under any dependence (Benjamini and Yekutieli 2001).
///
/// # Errors
/// As [`bonferroni`].
pub fn benjamini_yekutieli(p: &[f64]) -> Result<Vec<f64>> {
    step_up(p, (1..=p.len()).map(|k| 1.0 / k as f64).sum())
}

fn step_up(p: &[f64], c: f64) -> Result<Vec<f64>> {
    check(p)?;
    let m = p.len() as f64;
    let mut adjusted = vec![0.0; p.len()];
    let mut running = 1.0_f64;
    for (position, &index) in ascending(p).iter().enumerate().rev() {
        running = running.min(m * c * p[index] / (position + 1) as f64);
        adjusted[index] = running;
    }
    Ok(adjusted)
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    order
}

fn check(p: &[f64]) -> Result<()> {
    Error::at_least("p-values", 1, p.len())?;
    match p.iter().enumerate().find(|(_, p)| !(0.0..=1.0).contains(*p)) {
        None => Ok(()),
        Some((index, p)) => Err(Error::value(format!("p-value {index}"), "between 0 and 1", p)),
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use proptest::prelude::*;

    use super::*;

    const P: [f64; 6] = [0.04, 0.001, 0.03, 0.008, 0.5, 0.03];

    fn equal(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert_relative_eq!(f, e, max_relative = 1e-12);
        }
    }

    #[test]
    fn family_wise_by_hand() {
        equal(&bonferroni(&P).unwrap(), &[0.24, 0.006, 0.18, 0.048, 1.0, 0.18]);
        // Ascending: 0.001*6, 0.008*5, 0.03*4, 0.03*3, 0.04*2, 0.5*1, made monotone.
        equal(&holm(&P).unwrap(), &[0.12, 0.006, 0.12, 0.04, 0.5, 0.12]);
    }

    /// scipy 1.17.1: `scipy.stats.false_discovery_control(P, method=...)`.
    #[test]
    fn false_discovery_rate_as_scipy() {
        equal(&benjamini_hochberg(&P).unwrap(), &[0.048, 0.006, 0.045, 0.024, 0.5, 0.045]);
        equal(&benjamini_yekutieli(&P).unwrap(), &[0.1176, 0.0147, 0.11025, 0.0588, 1.0, 0.11025]);
    }

    #[test]
    fn refuses_what_is_no_p_value() {
        assert!(matches!(holm(&[]), Err(Error::TooFew { .. })));
        for bad in [f64::NAN, -0.1, 1.1] {
            assert!(matches!(benjamini_hochberg(&[0.5, bad]), Err(Error::Value { .. })));
        }
    }

    proptest! {
        /// An adjusted value is never below the raw one, and the methods are ordered by strictness.
        #[test]
        fn ordered_by_strictness(p in prop::collection::vec(0.0_f64..=1.0, 1..40)) {
            let bonferroni = bonferroni(&p).unwrap();
            let holm = holm(&p).unwrap();
            let hochberg = benjamini_hochberg(&p).unwrap();
            let yekutieli = benjamini_yekutieli(&p).unwrap();
            for i in 0..p.len() {
                prop_assert!(p[i] <= hochberg[i] + 1e-15);
                prop_assert!(hochberg[i] <= holm[i] + 1e-12);
                prop_assert!(holm[i] <= bonferroni[i] + 1e-15);
                prop_assert!(hochberg[i] <= yekutieli[i] + 1e-12);
            }
        }
    }
}
