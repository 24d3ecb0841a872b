use candle_core::{DType, Tensor};
use dina_core::{Error, FeatureMaps, LossTerms, Objective, Result, Targets};
use serde::{Deserialize, Serialize};

use crate::Pooling;
use crate::batch::{Pairs, as_dtype, check_ids, select};

/// Keeps the standard deviation of a constant differentiable, as in Bardes et al. (2022).
const EPSILON: f64 = 1e-4;

/// Settings of [`VicReg`]. The defaults of weights and target are those of Bardes et al. (2022).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VicRegConfig {
    /// What of a map is compared; all of it by default.
    pub pooling: Pooling,
    /// Weight of the invariance term, lambda; 25 by default.
    pub invariance: f64,
    /// Weight of the variance term, mu; 25 by default.
    pub variance: f64,
    /// Weight of the covariance term, nu; 1 by default.
    pub covariance: f64,
    /// Standard deviation over the batch, gamma, that every number is pushed up to; 1 by default.
    pub deviation: f64,
}

impl Default for VicRegConfig {
    fn default() -> Self {
        Self { pooling: Pooling::Flat, invariance: 25., variance: 25., covariance: 1., deviation: 1. }
    }
}

/// Variance-invariance-covariance regularisation (Bardes et al. 2022), an alignment without negatives.
///
/// With z' the rows of the image maps and z those of the trials, d numbers each, and C the unbiased covariance over
/// the rows of a side, `L = lambda s + mu [v(z) + v(z')] + nu [c(z) + c(z')]`:
///
/// - invariance `s = mean (z_t - z'_i(t))^2` over trials and numbers (the published code's mean over numbers, not
///   the sum that the article writes);
/// - variance `v = 1/d sum_j max(0, gamma - sqrt(C_jj + 1e-4))`;
/// - covariance `c = 1/d sum_{j != k} C_jk^2`.
///
/// Each is averaged over levels. Trials whose image is not in the batch are left out. Where there are more numbers than
/// rows, as in flattened maps, the squares of C are summed through the rows x rows matrix of products, which has the
/// same Frobenius norm: no d x d matrix is held.
pub struct VicReg {
    config: VicRegConfig,
}

impl VicReg {
    /// Refuses weights that are negative or not finite, and a target that is not positive.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn new(config: VicRegConfig) -> Result<Self> {
        for (name, weight) in [
            ("weight of the invariance", config.invariance),
            ("weight of the variance", config.variance),
            ("weight of the covariance", config.covariance),
        ] {
            if !(weight >= 0. && weight.is_finite()) {
                return Err(Error::value(name, "not negative, and finite", weight));
            }
        }
        if !(config.deviation > 0. && config.deviation.is_finite()) {
            return Err(Error::value("deviation", "positive and finite", config.deviation));
        }
        Ok(Self { config })
    }

    /// Variance and covariance term of one side, before weighting.
    fn regularise(&self, rows: &Tensor) -> Result<(Tensor, Tensor)> {
        let (count, width) = rows.dims2()?;
        if count < 2 {
            return Err(Error::value("rows of a batch that have a variance", "at least 2", count));
        }
        let unbiased = 1. / (count as f64 - 1.);
        let centred = rows.broadcast_sub(&rows.mean_keepdim(0)?)?;
        let variances = (centred.sqr()?.sum(0)? * unbiased)?;
        let deviations = (&variances + EPSILON)?.sqrt()?;
        let short = (deviations.neg()? + self.config.deviation)?.relu()?.mean_all()?;
        let turned = centred.t()?.contiguous()?;
        let off_diagonal = if width <= count {
            let covariance = (turned.matmul(&centred)? * unbiased)?;
            let off = (Tensor::ones((width, width), rows.dtype(), rows.device())?
                - Tensor::eye(width, rows.dtype(), rows.device())?)?;
            (covariance * off)?.sqr()?.sum_all()?
        } else {
            // The covariance has rank below `count`, so that its diagonal is a small part of its norm: the
            // difference loses no digits that matter.
            let products = (centred.matmul(&turned)? * unbiased)?;
            (products.sqr()?.sum_all()? - variances.sqr()?.sum_all()?)?
        };
        Ok((short, (off_diagonal * (1. / width as f64))?))
    }
}

impl Objective for VicReg {
    fn loss(&self, image: &FeatureMaps, neural: &FeatureMaps, targets: &Targets) -> Result<LossTerms> {
        check_ids(image, neural, targets)?;
        let pairs = Pairs::new(targets)?;
        let levels = neural.pair(image)?;
        let share = 1. / levels.len() as f64;
        let mut terms: [Vec<Tensor>; 3] = Default::default();
        for (_, b, a) in levels {
            let rows = |map: &Tensor| -> Result<Tensor> {
                // Half precision has neither the range nor the digits for squares of covariances.
                let rows = self.config.pooling.level(map)?;
                if rows.dtype() == DType::F64 { Ok(rows) } else { as_dtype(&rows, DType::F32) }
            };
            let (a, b) = (rows(a)?, rows(b)?);
            let (b, of_b) = (select(&b, &pairs.trials)?, select(&a, &pairs.images)?);
            terms[0].push((&b - of_b)?.sqr()?.mean_all()?);
            for side in [&b, &a] {
                let (variance, covariance) = self.regularise(side)?;
                terms[1].push(variance);
                terms[2].push(covariance);
            }
        }
        let VicRegConfig { invariance, variance, covariance, .. } = self.config;
        let named = [("invariance", invariance), ("variance", variance), ("covariance", covariance)];
        let terms = named.into_iter().zip(terms).map(|((name, weight), parts)| {
            Ok((name, (Tensor::stack(&parts, 0)?.sum_all()? * (weight * share))?))
        });
        LossTerms::new(terms.collect::<Result<Vec<_>>>()?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::check::{maps, normal, objective_gradients_agree, total};

    fn targets(trials: &[u32], images: &[u32]) -> Targets {
        Targets { trials: trials.to_vec(), images: images.to_vec(), ..Default::default() }
    }

    /// The formula with the whole covariance, for both sides of the shortcut.
    fn by_hand(b: &[Vec<f64>], a: &[Vec<f64>], pairs: &[(usize, usize)]) -> f64 {
        let d = a[0].len();
        let squares = |&(t, i): &(usize, usize)| (0..d).map(|j| (b[t][j] - a[i][j]).powi(2)).sum::<f64>();
        let s = pairs.iter().map(squares).sum::<f64>() / (pairs.len() * d) as f64;
        let side = |rows: &[&Vec<f64>]| {
            let n = rows.len() as f64;
            let mean: Vec<f64> = (0..d).map(|j| rows.iter().map(|r| r[j]).sum::<f64>() / n).collect();
            let c = |j: usize, k: usize| {
                rows.iter().map(|r| (r[j] - mean[j]) * (r[k] - mean[k])).sum::<f64>() / (n - 1.)
            };
            let v: f64 = (0..d).map(|j| (1. - (c(j, j) + 1e-4).sqrt()).max(0.)).sum();
            let off: f64 =
                (0..d).map(|j| (0..d).filter(|&k| k != j).map(|k| c(j, k).powi(2)).sum::<f64>()).sum();
            (25. * v + off) / d as f64
        };
        let trials: Vec<&Vec<f64>> = pairs.iter().map(|&(t, _)| &b[t]).collect();
        25. * s + side(&trials) + side(&a.iter().collect::<Vec<_>>())
    }

    #[test]
    fn equals_its_formula_with_fewer_and_with_more_numbers_than_rows() {
        for (channels, pooling) in [(2, Pooling::Flat), (1, Pooling::Flat), (3, Pooling::Mean)] {
            let objective = VicReg::new(VicRegConfig { pooling, ..Default::default() }).unwrap();
            let (a, b) = (normal("a", &[4, channels, 1, 3]), normal("b", &[5, channels, 1, 3]));
            let found = total(&objective, &a, &b, &targets(&[3, 1, 0, 9, 1], &[0, 1, 2, 3]));
            let rows = |map: &Tensor| pooling.level(map).unwrap().to_vec2::<f64>().unwrap();
            let wanted = by_hand(&rows(&b), &rows(&a), &[(0, 3), (1, 1), (2, 0), (4, 1)]);
            assert!((found.to_scalar::<f64>().unwrap() - wanted).abs() < 1e-9 * wanted, "{found} {wanted}");
        }
    }

    #[test]
    fn collapsed_maps_cost_the_whole_deviation() {
        let same = Tensor::ones((4, 2, 1, 3), DType::F64, &Device::Cpu).unwrap();
        let loss = total(
            &VicReg::new(VicRegConfig::default()).unwrap(),
            &same,
            &same,
            &targets(&[0, 1, 2, 3], &[0, 1, 2, 3]),
        );
        // Both sides; the root of the 1e-4 is 0.01.
        assert!((loss.to_scalar::<f64>().unwrap() - 2. * 25. * 0.99).abs() < 1e-9);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for (channels, pooling) in [(2, Pooling::Flat), (1, Pooling::Flat), (3, Pooling::Mean)] {
            let objective = VicReg::new(VicRegConfig { pooling, ..Default::default() }).unwrap();
            let (a, b) = (normal("a", &[4, channels, 1, 3]), normal("b", &[5, channels, 1, 3]));
            objective_gradients_agree(&objective, &a, &b, &targets(&[3, 1, 0, 9, 1], &[0, 1, 2, 3]));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let objective = VicReg::new(VicRegConfig::default()).unwrap();
        let two = maps(&normal("a", &[2, 1, 1, 2]));
        assert!(objective.loss(&two, &two, &targets(&[0], &[0, 1])).is_err());
        assert!(objective.loss(&two, &two, &targets(&[0, 1], &[2, 3])).is_err());
        // One trial has no variance.
        assert!(objective.loss(&two, &two, &targets(&[0, 9], &[0, 1])).is_err());
        assert!(VicReg::new(VicRegConfig { covariance: -1., ..Default::default() }).is_err());
        assert!(VicReg::new(VicRegConfig { deviation: 0., ..Default::default() }).is_err());
    }
}
