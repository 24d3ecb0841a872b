//! Correlation of two variables.

use std::fmt;

use dina_core::Seed;
use serde::{Deserialize, Serialize};

use super::thorough;
use crate::{
    Error, Result,
    effect::{Effect, EffectKind, correlation_interval},
    permutation::{Permutation, PermutationTest, Scheme, SchemeKind},
    proportion::check_level,
    rank::midranks,
    reliability::Correlation,
    sentence::{Number, PValue},
};

/// Which correlation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Coefficient {
    /// Of the values.
    Pearson,
    /// Of their ranks.
    Spearman,
}

/// How to test a correlation. The default is Pearson's r, two-sided, 9,999 permutations, level 0.95.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Association {
    /// Which correlation.
    pub coefficient: Coefficient,
    /// The permutations.
    pub permutation: Permutation,
    /// Nominal coverage of the interval.
    pub level: f64,
}

impl Default for Association {
    fn default() -> Self {
        Self { coefficient: Coefficient::Pearson, permutation: thorough(), level: 0.95 }
    }
}

/// A correlation tested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssociationTest {
    /// Which correlation.
    pub coefficient: Coefficient,
    /// Items.
    pub n: usize,
    /// The correlation.
    pub correlation: Correlation,
    /// The correlation with an interval, where items were exchanged freely and so are independent;
    /// within blocks and in time they are not, and Fisher's interval would be too narrow.
    pub effect: Option<Effect>,
    /// Its test.
    pub permutation: PermutationTest,
}

impl fmt::Display for AssociationTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.effect {
            Some(effect) => write!(f, "{effect}")?,
            None => {
                let name = match self.coefficient {
                    Coefficient::Pearson => "Pearson's r",
                    Coefficient::Spearman => "Spearman's rho",
                };
                write!(f, "{name} = {}", Number(self.correlation.get()))?;
            }
        }
        write!(f, ", n = {}, {} ({})", self.n, PValue(self.permutation.p), self.permutation.how())
    }
}

impl Association {
    /// Tests whether two variables are independent; items are exchanged by `scheme`, which has to be one of
    /// labels: [`Scheme::free`], [`Scheme::within_blocks`] or, for time series, [`Scheme::circular_shift`].
    ///
    /// # Errors
    /// [`Error::TooFew`] below four items, [`Error::Shape`], [`Error::NotFinite`], [`Error::Constant`],
    /// [`Error::Value`] for the level or a scheme of signs or groups.
    pub fn test(&self, x: &[f64], y: &[f64], scheme: &Scheme, seed: Seed) -> Result<AssociationTest> {
        check_level(self.level)?;
        Error::at_least("items", 4, x.len())?;
        if scheme.items() != x.len() {
            return Err(Error::shape("items of the scheme", x.len(), scheme.items()));
        }
        let labels = [SchemeKind::Free, SchemeKind::WithinBlocks, SchemeKind::CircularShift];
        if !labels.contains(&scheme.kind()) {
            return Err(Error::value("scheme of a correlation", "one that exchanges labels", scheme.kind()));
        }
        // Refuses what has no correlation.
        Correlation::pearson(x, y)?;
        let (kind, x, y) = match self.coefficient {
            Coefficient::Pearson => (EffectKind::PearsonR, x.to_vec(), y.to_vec()),
            Coefficient::Spearman => (EffectKind::SpearmanR, midranks(x), midranks(y)),
        };
        let correlation = Correlation::pearson(&x, &y)?;
        let (x, y) = (standardised(x), standardised(y));
        let permutation = self.permutation.test(
            scheme,
            |g| g.order().iter().zip(&x).map(|(&i, x)| x * y[i]).sum(),
            seed.child("permutation"),
        )?;
        let independent = scheme.kind() == SchemeKind::Free;
        let effect = if independent {
            Some(correlation_interval(kind, correlation.get(), x.len(), self.level)?)
        } else {
            None
        };
        Ok(AssociationTest { coefficient: self.coefficient, n: x.len(), correlation, effect, permutation })
    }
}

/// Centred and of length one, so that a sum of products is the correlation.
fn standardised(mut values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|v| *v -= mean);
    let length = values.iter().map(|v| v * v).sum::<f64>().sqrt();
    values.iter_mut().for_each(|v| *v /= length);
    values
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn exact_p_by_hand() {
        // Only the identity reaches r = 1, and only the reverse r = -1.
        let x = [1.0, 2.0, 3.0, 4.0, 5.0];
        let free = Scheme::free(5).unwrap();
        let found = Association::default().test(&x, &x, &free, Seed::new(0)).unwrap();
        assert_relative_eq!(found.permutation.p, 2.0 / 120.0);
        assert!(
            found.to_string().starts_with("Pearson's r = 1.000, 95 % CI [1.000, 1.000], n = 5, p = 0.0167")
        );
        // A monotone curve is perfect by ranks only.
        let curve = x.map(f64::exp);
        let spearman = Association { coefficient: Coefficient::Spearman, ..Association::default() };
        let ranks = spearman.test(&x, &curve, &free, Seed::new(0)).unwrap();
        assert_relative_eq!(ranks.correlation.get(), 1.0);
        let values = Association::default().test(&x, &curve, &free, Seed::new(0)).unwrap();
        assert!(values.correlation.get() < 0.95);
    }

    /// Two independent slow series: free permutation takes them for correlated, circular shifts do not.
    #[test]
    fn slow_series_need_shifts() {
        let slow = |phase: f64| -> Vec<f64> {
            (0..400).map(|t| (f64::from(t) / 15.0 + phase).sin() + (f64::from(t) / 23.0).cos()).collect()
        };
        let (x, y) = (slow(0.0), slow(1.2));
        let free = Scheme::free(400).unwrap();
        let shift = Scheme::circular_shift(&[400], 30).unwrap();
        let config = Association::default();
        let by_labels = config.test(&x, &y, &free, Seed::new(0)).unwrap();
        let by_shift = config.test(&x, &y, &shift, Seed::new(0)).unwrap();
        assert!(by_labels.permutation.p < 0.001 && by_labels.effect.is_some());
        assert!(by_shift.permutation.p > 0.01 && by_shift.effect.is_none());
        assert!(by_shift.permutation.exact);
    }

    #[test]
    fn refuses_nonsense() {
        let config = Association::default();
        let free = Scheme::free(4).unwrap();
        let x = [1.0, 2.0, 3.0, 4.0];
        assert!(config.test(&x, &[1.0; 4], &free, Seed::new(0)).is_err());
        assert!(config.test(&x, &x[..3], &free, Seed::new(0)).is_err());
        assert!(config.test(&x[..3], &x[..3], &Scheme::free(3).unwrap(), Seed::new(0)).is_err());
        assert!(config.test(&x, &x, &Scheme::sign_flip(4).unwrap(), Seed::new(0)).is_err());
        assert!(config.test(&x, &x, &Scheme::free(5).unwrap(), Seed::new(0)).is_err());
    }
}
