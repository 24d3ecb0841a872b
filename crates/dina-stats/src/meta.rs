//! Random-effects meta-analysis: one summary of estimates from several mice or laboratories.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    distribution::{chi_squared_sf, normal_quantile, student_quantile, student_sf},
    proportion::check_level,
    sentence::{Ci, Number, PValue},
};

/// The summary of a random-effects meta-analysis.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetaAnalysis {
    /// Number of studies (mice).
    pub studies: usize,
    /// The weighted mean effect.
    pub estimate: f64,
    /// Its standard error by Hartung and Knapp.
    pub standard_error: f64,
    /// Lower end of the Hartung-Knapp interval, with t of `studies` - 1 degrees of freedom.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The normal (DerSimonian-Laird) interval, which is too narrow for few studies; for comparison with
    /// older work.
    pub normal: [f64; 2],
    /// Interval for the effect in a new study, with t of `studies` - 2 degrees of freedom; absent below
    /// three studies.
    pub prediction: Option<[f64; 2]>,
    /// Two-sided p of no mean effect, by Hartung and Knapp.
    pub p: f64,
    /// Variance between studies tau^2, by DerSimonian and Laird; not below 0.
    pub tau_squared: f64,
    /// Cochran's Q.
    pub q: f64,
    /// p of equal effects in all studies.
    pub q_p: f64,
    /// I^2, the share of the variance of estimates that is between studies, in [0, 1].
    pub i_squared: f64,
    /// Nominal coverage of the intervals.
    pub level: f64,
}

impl MetaAnalysis {
    /// One-sided p that the mean effect is not above `value`, by Hartung and Knapp.
    pub fn p_above(&self, value: f64) -> f64 {
        student_sf((self.estimate - value) / self.standard_error, self.studies as f64 - 1.0)
    }
}

impl fmt::Display for MetaAnalysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ci = Ci { low: self.low, high: self.high, level: self.level };
        write!(
            f,
            "random-effects mean {}, {ci} (DerSimonian-Laird with Hartung-Knapp, k = {}), {}; tau^2 = {}, \
             I^2 = {:.0} %, Q({}) = {:.2}, {}",
            Number(self.estimate),
            self.studies,
            PValue(self.p),
            Number(self.tau_squared),
            100.0 * self.i_squared,
            self.studies - 1,
            self.q,
            PValue(self.q_p)
        )
    }
}

/// Random-effects meta-analysis of effects `y` with their sampling `variances`.
///
/// With w = 1/v and the fixed mean m: Q = sum w (y - m)^2 and tau^2 = max(0, (Q - (k - 1)) / (sum w -
/// sum w^2 / sum w)) (DerSimonian and Laird 1986). With u = 1/(v + tau^2) the mean is sum u y / sum u, its
/// variance sum u (y - mean)^2 / ((k - 1) sum u) (Hartung and Knapp 2001), referred to t of k - 1 degrees of
/// freedom. Where all estimates are nearly equal that variance can be far below the one of the
/// sampling errors alone: `floor` keeps it from falling below 1 / sum u (Roever et al. 2015), which
/// is safer with few mice; without it results are those of statsmodels and metafor.
///
/// # Errors
/// [`Error::TooFew`] below two studies, [`Error::Shape`], [`Error::NotFinite`], [`Error::Value`] for a variance
/// that is not positive or the level; [`Error::Constant`] where all effects are equal and there is no floor.
pub fn random_effects(effects: &[f64], variances: &[f64], level: f64, floor: bool) -> Result<MetaAnalysis> {
    check_level(level)?;
    let k = effects.len();
    Error::at_least("studies", 2, k)?;
    if variances.len() != k {
        return Err(Error::shape("variances", k, variances.len()));
    }
    Error::all_finite("effects", effects.iter().copied())?;
    Error::all_finite("variances", variances.iter().copied())?;
    if let Some((study, v)) = variances.iter().enumerate().find(|(_, v)| **v <= 0.0) {
        return Err(Error::value(format!("variance of study {study}"), "positive", v));
    }
    let df = k as f64 - 1.0;
    let weights: Vec<f64> = variances.iter().map(|v| 1.0 / v).collect();
    let fixed = weighted_mean(effects, &weights);
    let q = weighted_squares(effects, &weights, fixed);
    let total: f64 = weights.iter().sum();
    let scale = total - weights.iter().map(|w| w * w).sum::<f64>() / total;
    let tau_squared = ((q - df) / scale).max(0.0);

    let random: Vec<f64> = variances.iter().map(|v| 1.0 / (v + tau_squared)).collect();
    let total: f64 = random.iter().sum();
    let estimate = weighted_mean(effects, &random);
    let scatter = weighted_squares(effects, &random, estimate) / df;
    let factor = if floor { scatter.max(1.0) } else { scatter };
    if factor <= 0.0 {
        return Err(Error::Constant {
            what: "effects".into(),
            index: 0,
            statistic: "Hartung-Knapp error".into(),
        });
    }
    let standard_error = (factor / total).sqrt();
    let around = |half: f64| [estimate - half, estimate + half];
    let upper = 0.5 + level / 2.0;
    let [low, high] = around(student_quantile(upper, df) * standard_error);
    Ok(MetaAnalysis {
        studies: k,
        estimate,
        standard_error,
        low,
        high,
        normal: around(normal_quantile(upper) / total.sqrt()),
        prediction: (k > 2).then(|| {
            around(student_quantile(upper, df - 1.0) * (tau_squared + standard_error.powi(2)).sqrt())
        }),
        p: (2.0 * student_sf((estimate / standard_error).abs(), df)).min(1.0),
        tau_squared,
        q,
        q_p: chi_squared_sf(q, df),
        i_squared: if q > 0.0 { ((q - df) / q).max(0.0) } else { 0.0 },
        level,
    })
}

fn weighted_mean(values: &[f64], weights: &[f64]) -> f64 {
    values.iter().zip(weights).map(|(y, w)| y * w).sum::<f64>() / weights.iter().sum::<f64>()
}

fn weighted_squares(values: &[f64], weights: &[f64], mean: f64) -> f64 {
    values.iter().zip(weights).map(|(y, w)| w * (y - mean).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    /// Equal variances: the mean is the plain one and its error that of a t test.
    #[test]
    fn equal_variances_are_a_t_test() {
        let effects = [0.1, 0.5, 0.9, 0.3, 0.7, 0.2];
        let found = random_effects(&effects, &[0.01; 6], 0.95, false).unwrap();
        let t = crate::classical::one_sample_t(&effects, crate::permutation::Tail::TwoSidedAbsolute, 0.95)
            .unwrap();
        assert_relative_eq!(found.low, t.low, max_relative = 1e-12);
        assert_relative_eq!(found.p, t.p, max_relative = 1e-10);
        // One side of the two.
        assert_relative_eq!(found.p_above(0.0), found.p / 2.0, max_relative = 1e-10);
        assert_relative_eq!(found.p_above(found.estimate), 0.5, max_relative = 1e-12);
        assert!(found.tau_squared > 0.0 && found.i_squared > 0.5);
        let prediction = found.prediction.unwrap();
        assert!(prediction[0] < found.low && prediction[1] > found.high);
    }

    #[test]
    fn the_floor_widens_what_agrees_too_well() {
        let effects = [0.50, 0.51, 0.49];
        let bare = random_effects(&effects, &[0.04; 3], 0.95, false).unwrap();
        let floored = random_effects(&effects, &[0.04; 3], 0.95, true).unwrap();
        assert_eq!(bare.tau_squared, 0.0);
        assert_relative_eq!(floored.standard_error, (0.04_f64 / 3.0).sqrt(), max_relative = 1e-12);
        assert!(bare.standard_error < floored.standard_error / 5.0);
        assert!(floored.to_string().starts_with("random-effects mean 0.500, 95 % CI ["));
    }

    #[test]
    fn refuses_nonsense() {
        assert!(random_effects(&[1.0], &[1.0], 0.95, true).is_err());
        assert!(random_effects(&[1.0, 2.0], &[1.0, 0.0], 0.95, true).is_err());
        assert!(random_effects(&[1.0, 2.0], &[1.0], 0.95, true).is_err());
        assert!(random_effects(&[1.0, 1.0], &[1.0, 1.0], 0.95, false).is_err());
    }
}
