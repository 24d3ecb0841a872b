//! Representational similarity analysis: comparing dissimilarities.

use std::fmt;

use dina_core::Seed;
use serde::{Deserialize, Serialize};

use super::dissimilarity::{Dissimilarities, pairs};
use crate::{
    Error, Result,
    permutation::{Permutation, PermutationTest, Scheme},
    rank::midranks,
    sentence::{Number, PValue},
};

/// How two sets of dissimilarities are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RdmCorrelation {
    /// Pearson's r of the dissimilarities.
    Pearson,
    /// Spearman's rank correlation, ties sharing their mean rank.
    Spearman,
    /// rho_a = 12 sum_i r_i s_i / (n^3 - n) - 3 (n + 1) / (n - 1) over mean ranks r, s: the expectation of
    /// Spearman's rho when ties are broken at random. Unlike rho it does not favour models that predict ties
    /// (Schuett et al. 2023).
    RhoA,
}

impl fmt::Display for RdmCorrelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pearson => "Pearson's r",
            Self::Spearman => "Spearman's rho",
            Self::RhoA => "rho_a",
        })
    }
}

impl RdmCorrelation {
    /// The correlation of two sets of dissimilarities of the same stimuli.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::Constant`] where all dissimilarities of one are equal (rho_a of them is
    /// 0).
    pub fn of(self, first: &Dissimilarities, second: &Dissimilarities) -> Result<f64> {
        same_stimuli(first, second)?;
        Ok(self.product(&self.prepared(first)?, &self.prepared(second)?))
    }

    /// Dissimilarities such that the correlation is linear in them: [`RdmCorrelation::product`].
    fn prepared(self, of: &Dissimilarities) -> Result<Vec<f64>> {
        let mut values = match self {
            Self::Pearson => of.values().to_vec(),
            Self::Spearman | Self::RhoA => midranks(of.values()),
        };
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let constant = values.iter().all(|v| *v == values[0]);
        values.iter_mut().for_each(|v| *v -= mean);
        let length = match self {
            // Centred, the formula of rho_a is sum r s over the sum of squares of ranks without ties.
            Self::RhoA => ((n * n * n - n) / 12.0).sqrt(),
            _ if constant => 0.0,
            _ => values.iter().map(|v| v * v).sum::<f64>().sqrt(),
        };
        if length <= 0.0 {
            return Err(Error::Constant {
                what: "set of dissimilarities".into(),
                index: 0,
                statistic: self.to_string(),
            });
        }
        values.iter_mut().for_each(|v| *v /= length);
        Ok(values)
    }

    fn product(self, first: &[f64], second: &[f64]) -> f64 {
        first.iter().zip(second).map(|(a, b)| a * b).sum()
    }

    /// What is averaged over mice: ranks, which add up without rounding, so that ties of means stay ties; for
    /// Pearson centred and scaled values.
    fn pooled(self, of: &Dissimilarities) -> Result<Vec<f64>> {
        match self {
            Self::Pearson => self.prepared(of),
            Self::Spearman | Self::RhoA => Ok(midranks(of.values())),
        }
    }
}

fn same_stimuli(first: &Dissimilarities, second: &Dissimilarities) -> Result<()> {
    if first.stimuli() == second.stimuli() {
        return Ok(());
    }
    Err(Error::shape("stimuli of the second dissimilarities", first.stimuli(), second.stimuli()))
}

/// How well any model could do, given how much mice differ (Nili et al. 2014).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NoiseCeiling {
    /// Mean correlation of each mouse with the mean of the others: a model that does worse leaves something
    /// to explain.
    pub low: f64,
    /// Mean correlation of each mouse with the mean of all, itself included: no model does better.
    pub high: f64,
}

/// The noise ceiling of several mice. Dissimilarities are averaged after ranking (or, for Pearson, after
/// centring and scaling), so that no mouse counts more than another.
///
/// # Errors
/// [`Error::TooFew`] below two mice, [`Error::Shape`]; as [`RdmCorrelation::of`].
pub fn noise_ceiling(mice: &[Dissimilarities], measure: RdmCorrelation) -> Result<NoiseCeiling> {
    Error::at_least("mice", 2, mice.len())?;
    mice.iter().try_for_each(|mouse| same_stimuli(&mice[0], mouse))?;
    let stimuli = mice[0].stimuli();
    let prepared: Vec<Vec<f64>> = mice.iter().map(|mouse| measure.prepared(mouse)).collect::<Result<_>>()?;
    let pooled: Vec<Vec<f64>> = mice.iter().map(|mouse| measure.pooled(mouse)).collect::<Result<_>>()?;
    let total: Vec<f64> =
        (0..pooled[0].len()).map(|pair| pooled.iter().map(|mouse| mouse[pair]).sum()).collect();
    // Sums do as well as means: no correlation depends on scale.
    let with = |mouse: &[f64], sum: Vec<f64>| {
        Ok::<f64, Error>(measure.product(mouse, &measure.prepared(&Dissimilarities::new(stimuli, sum)?)?))
    };
    let k = mice.len() as f64;
    let (mut low, mut high) = (0.0, 0.0);
    for (mouse, own) in prepared.iter().zip(&pooled) {
        let others = total.iter().zip(own).map(|(t, m)| t - m).collect();
        low += with(mouse, others)? / k;
        high += with(mouse, total.clone())? / k;
    }
    Ok(NoiseCeiling { low, high })
}

/// A model compared with the dissimilarities of several mice. Prints as a sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RsaTest {
    /// How dissimilarities were compared.
    pub measure: RdmCorrelation,
    /// Stimuli.
    pub stimuli: usize,
    /// The correlation of the model with each mouse. For inference over mice give them to
    /// [`crate::comparison::Paired`].
    pub mice: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// The noise ceiling; absent for a single mouse.
    pub ceiling: Option<NoiseCeiling>,
    /// The test of the mean, with the stimuli of the model exchanged: inference for these mice, over
    /// stimuli.
    pub permutation: PermutationTest,
}

impl fmt::Display for RsaTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.mice.len();
        write!(
            f,
            "mean {} = {} over {number} {}, {} stimuli, {} ({})",
            self.measure,
            Number(self.mean),
            if number == 1 { "mouse" } else { "mice" },
            self.stimuli,
            PValue(self.permutation.p),
            self.permutation.how()
        )?;
        match self.ceiling {
            Some(NoiseCeiling { low, high }) => {
                write!(f, "; noise ceiling [{}, {}]", Number(low), Number(high))
            }
            None => Ok(()),
        }
    }
}

/// Tests whether a model is related to the dissimilarities of mice, by exchanging its stimuli (Mantel 1967).
///
/// # Errors
/// [`Error::TooFew`] for no mouse, [`Error::Shape`]; as [`RdmCorrelation::of`] and [`Permutation::test`].
pub fn rsa_test(
    permutation: &Permutation,
    model: &Dissimilarities,
    mice: &[Dissimilarities],
    measure: RdmCorrelation,
    seed: Seed,
) -> Result<RsaTest> {
    Error::at_least("mice", 1, mice.len())?;
    mice.iter().try_for_each(|mouse| same_stimuli(model, mouse))?;
    let stimuli = model.stimuli();
    let prepared = measure.prepared(model)?;
    let data: Vec<Vec<f64>> = mice.iter().map(|mouse| measure.prepared(mouse)).collect::<Result<_>>()?;
    let of_mice: Vec<f64> = data.iter().map(|mouse| measure.product(&prepared, mouse)).collect();
    let k = mice.len() as f64;
    let mean: Vec<f64> =
        (0..prepared.len()).map(|pair| data.iter().map(|mouse| mouse[pair]).sum::<f64>() / k).collect();
    let square = Dissimilarities::new(stimuli, prepared)?.square();
    let statistic =
        |order: &[usize]| pairs(stimuli).zip(&mean).map(|((i, j), m)| square[[order[i], order[j]]] * m).sum();
    let test = permutation.test(&Scheme::free(stimuli)?, |g| statistic(g.order()), seed)?;
    Ok(RsaTest {
        measure,
        stimuli,
        mean: of_mice.iter().sum::<f64>() / k,
        mice: of_mice,
        ceiling: if mice.len() > 1 { Some(noise_ceiling(mice, measure)?) } else { None },
        permutation: test,
    })
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array, Array2};
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
        let mut rng = Seed::new(seed).stream("normals");
        Array::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
    }

    fn noisy_mice(signal: f64) -> (Dissimilarities, Vec<Dissimilarities>) {
        let truth = normals(12, 30, 1);
        let model = Dissimilarities::correlation(truth.view()).unwrap();
        let mice = (0..4)
            .map(|mouse| {
                let patterns = &truth * signal + normals(12, 30, 2 + mouse);
                Dissimilarities::correlation(patterns.view()).unwrap()
            })
            .collect();
        (model, mice)
    }

    #[test]
    fn rho_a_by_hand() {
        let d = |values: &[f64]| Dissimilarities::new(3, values.to_vec()).unwrap();
        // Without ties it is Spearman's rho: ranks 1 2 3 and 1 3 2.
        let (a, b) = (d(&[1.0, 2.0, 5.0]), d(&[0.1, 0.9, 0.3]));
        assert_relative_eq!(RdmCorrelation::RhoA.of(&a, &b).unwrap(), 0.5);
        assert_relative_eq!(RdmCorrelation::Spearman.of(&a, &b).unwrap(), 0.5);
        // A tie of the model: the mean of the two ways to break it, 1 and 1/2.
        let tied = d(&[1.0, 2.0, 2.0]);
        assert_relative_eq!(RdmCorrelation::RhoA.of(&a, &tied).unwrap(), 0.75);
        // The formula: 12 (1 + 5 + 7.5) / 24 - 3 * 4 / 2.
        assert_relative_eq!(12.0 * 13.5 / 24.0 - 6.0, 0.75);
        let flat = d(&[1.0; 3]);
        assert_eq!(RdmCorrelation::RhoA.of(&a, &flat).unwrap(), 0.0);
        assert!(RdmCorrelation::Spearman.of(&a, &flat).is_err());
    }

    #[test]
    fn the_truth_reaches_the_ceiling_and_noise_does_not() {
        let (model, mice) = noisy_mice(1.0);
        for measure in [RdmCorrelation::Pearson, RdmCorrelation::Spearman, RdmCorrelation::RhoA] {
            let permutation = Permutation { count: 500, ..Permutation::default() };
            let found = rsa_test(&permutation, &model, &mice, measure, Seed::new(1)).unwrap();
            let ceiling = found.ceiling.unwrap();
            assert!(ceiling.low < ceiling.high);
            assert!(found.mean > ceiling.low, "{found}");
            assert_relative_eq!(found.permutation.p, 1.0 / 501.0);
            assert_relative_eq!(found.permutation.statistic, found.mean, epsilon = 1e-12);
            let other = Dissimilarities::correlation(normals(12, 30, 99).view()).unwrap();
            let found = rsa_test(&permutation, &other, &mice, measure, Seed::new(1)).unwrap();
            assert!(found.permutation.p > 0.02 && found.mean < ceiling.low, "{found}");
        }
    }

    #[test]
    fn refuses_nonsense() {
        let (model, mice) = noisy_mice(1.0);
        let small = Dissimilarities::new(3, vec![1.0, 2.0, 3.0]).unwrap();
        let test = |model, mice| {
            rsa_test(&Permutation::default(), model, mice, RdmCorrelation::Pearson, Seed::new(0))
        };
        assert!(test(&small, &mice).is_err());
        assert!(test(&model, &[]).is_err());
        assert!(noise_ceiling(&mice[..1], RdmCorrelation::Pearson).is_err());
    }
}
