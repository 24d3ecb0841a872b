//! How a response is compared with a prediction of it.

use dina_stats::linalg::{matmul, symmetric_eigen};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A similarity between observed and predicted vectors (responses over neurons, or components of
/// image features).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Pearson correlation over dimensions, each weighted by its validated accuracy (a correlation,
    /// negative ones count as 0) to this power. 0 is the plain correlation (Kay et al. 2008).
    Correlation {
        /// Power of the accuracy.
        exponent: f32,
    },
    /// Cosine after whitening by the covariance of the prediction errors.
    WhitenedCosine {
        /// How far the error correlations are pulled towards 0, in (0, 1].
        shrinkage: f32,
    },
    /// Gaussian log likelihood up to a constant: minus half of the squared Mahalanobis distance under
    /// the covariance of the prediction errors.
    Likelihood {
        /// How far the error correlations are pulled towards 0, in (0, 1].
        shrinkage: f32,
    },
}

impl Score {
    /// The whitened comparisons at a shrinkage.
    pub(crate) fn whitened(shrinkage: f32) -> [Self; 2] {
        [Self::WhitenedCosine { shrinkage }, Self::Likelihood { shrinkage }]
    }
}

/// A score, with or without local scaling.
pub(crate) type ScaledScore = (Score, bool);

/// Every comparison to try: whitened and weighted scores as they are, then all of them locally scaled.
pub(crate) fn comparisons(shrinkages: &[f32], exponents: &[f32]) -> Vec<ScaledScore> {
    let whitened = shrinkages.iter().flat_map(|&shrinkage| Score::whitened(shrinkage));
    let scores: Vec<Score> =
        whitened.chain(exponents.iter().map(|&exponent| Score::Correlation { exponent })).collect();
    [false, true].into_iter().flat_map(|scaled| scores.iter().map(move |&score| (score, scaled))).collect()
}

/// What scores need to know of the dimensions, learned from predictions of left-out training data.
#[derive(Debug, Clone)]
pub(crate) struct Scorer {
    accuracy: Vec<f32>,
    errors: Option<ErrorCovariance>,
}

/// Error covariance D (s I + (1 - s) Q diag(l) Q') D, with D the root mean squares.
#[derive(Debug, Clone)]
struct ErrorCovariance {
    inverse_scale: Array1<f32>,
    /// l, eigenvalues of the error correlations.
    eigenvalues: Vec<f32>,
    /// Q, dimensions x rank.
    directions: Array2<f32>,
}

impl Scorer {
    pub(crate) fn new(accuracy: Vec<f32>) -> Self {
        Self { accuracy, errors: None }
    }

    /// Validated accuracy of every dimension.
    pub(crate) fn accuracy(&self) -> &[f32] {
        &self.accuracy
    }

    /// The score, or the plain correlation where no dimension is predicted at all and nothing can be weighted by.
    pub(crate) fn possible(&self, score: Score) -> Score {
        match score {
            Score::Correlation { .. } if !self.accuracy.iter().any(|&a| a > 0.0) => {
                Score::Correlation { exponent: 0.0 }
            }
            other => other,
        }
    }

    /// Learns the covariance of prediction errors, samples x dimensions.
    ///
    /// Where both are many, evenly spaced samples stand for all of them.
    pub(crate) fn learn_errors(&mut self, errors: ArrayView2<f32>) -> Result<()> {
        /// Largest eigendecomposition: some seconds on one core.
        const LARGEST: usize = 2048;
        let every =
            if errors.nrows().min(errors.ncols()) > LARGEST { errors.nrows().div_ceil(LARGEST) } else { 1 };
        let mut errors = errors.slice(ndarray::s![..;every, ..]).to_owned();
        let samples = errors.nrows() as f32;
        let inverse_scale: Array1<f32> = errors
            .columns()
            .into_iter()
            .map(|column| {
                let square = column.iter().map(|v| v * v).sum::<f32>() / samples;
                if square > 0.0 { 1.0 / square.sqrt() } else { 0.0 }
            })
            .collect();
        errors *= &inverse_scale;
        errors /= samples.sqrt();
        let dual = errors.ncols() > errors.nrows();
        let product =
            if dual { matmul(errors.view(), errors.t())? } else { matmul(errors.t(), errors.view())? };
        let eigen = symmetric_eigen(product.mapv(f64::from).view())?;
        let floor = 1e-6 * eigen.values.first().copied().unwrap_or(0.0);
        let rank = eigen.values.iter().take_while(|&&v| v > floor).count();
        let eigenvalues: Vec<f32> = eigen.values.iter().take(rank).map(|&v| v as f32).collect();
        let kept = eigen.vectors.slice(ndarray::s![.., ..rank]);
        let directions = if dual {
            let roots: Array1<f64> = eigen.values.iter().take(rank).map(|v| v.sqrt()).collect();
            matmul(errors.t(), (&kept / &roots).mapv(|v| v as f32).view())?
        } else {
            kept.mapv(|v| v as f32)
        };
        self.errors = Some(ErrorCovariance { inverse_scale, eigenvalues, directions });
        Ok(())
    }

    /// Similarities, observed x predicted. Both are centred on the training mean.
    pub(crate) fn similarity(
        &self,
        observed: ArrayView2<f32>,
        predicted: ArrayView2<f32>,
        score: Score,
    ) -> Result<Array2<f32>> {
        match score {
            Score::Correlation { exponent } => {
                let weights = self.weights(exponent)?;
                let observed = weighted_unit_rows(observed, &weights);
                let predicted = weighted_unit_rows(predicted, &weights);
                Ok(matmul(observed.view(), predicted.t())?)
            }
            Score::WhitenedCosine { shrinkage } => {
                let products = self.whitened(observed, predicted, shrinkage)?;
                let mut cosines = products.cross;
                cosines *= &products.observed.mapv(inverse_root).insert_axis(Axis(1));
                cosines *= &products.predicted.mapv(inverse_root);
                Ok(cosines)
            }
            Score::Likelihood { shrinkage } => {
                let products = self.whitened(observed, predicted, shrinkage)?;
                let mut likelihood = products.cross;
                likelihood -= &(products.observed / 2.0).insert_axis(Axis(1));
                likelihood -= &(products.predicted / 2.0);
                Ok(likelihood)
            }
        }
    }

    /// Weights that sum to 1.
    fn weights(&self, exponent: f32) -> Result<Vec<f32>> {
        let raw = self.accuracy.iter().map(|a| match exponent {
            0.0 => 1.0,
            _ => a.max(0.0).powf(exponent),
        });
        let weights: Vec<f32> = raw.collect();
        let total: f32 = weights.iter().sum();
        if total.is_nan() || total <= 0.0 {
            return Err(Error::value(
                "validated accuracy",
                "positive for at least one dimension",
                "0 or less for all",
            ));
        }
        Ok(weights.iter().map(|w| w / total).collect())
    }

    /// Products under the inverse of the shrunk error covariance. With E = s I + (1 - s) Q l Q',
    /// E^-1 = I / s + Q diag(1 / (s + (1 - s) l) - 1 / s) Q'.
    fn whitened(
        &self,
        observed: ArrayView2<f32>,
        predicted: ArrayView2<f32>,
        shrinkage: f32,
    ) -> Result<Products> {
        if !(shrinkage > 0.0 && shrinkage <= 1.0) {
            return Err(Error::value("shrinkage", "in (0, 1]", shrinkage));
        }
        let errors = self
            .errors
            .as_ref()
            .ok_or_else(|| Error::value("error covariance", "learned before it is used", "missing"))?;
        let gain: Array1<f32> = errors
            .eigenvalues
            .iter()
            .map(|l| 1.0 / (shrinkage + (1.0 - shrinkage) * l) - 1.0 / shrinkage)
            .collect();
        let scaled = |rows: ArrayView2<f32>| &rows * &errors.inverse_scale;
        let (observed, predicted) = (scaled(observed), scaled(predicted));
        let observed_in = matmul(observed.view(), errors.directions.view())?;
        let predicted_in = matmul(predicted.view(), errors.directions.view())?;
        let mut cross = matmul(observed.view(), predicted.t())?;
        cross /= shrinkage;
        cross += &matmul((&observed_in * &gain).view(), predicted_in.t())?;
        let own = |rows: &Array2<f32>, within: &Array2<f32>| {
            let pairs = rows.rows().into_iter().zip(within.rows());
            pairs
                .map(|(row, within)| {
                    let outside: f32 = row.iter().map(|v| v * v).sum();
                    let inside: f32 = within.iter().zip(&gain).map(|(v, g)| v * v * g).sum();
                    outside / shrinkage + inside
                })
                .collect::<Array1<f32>>()
        };
        Ok(Products {
            observed: own(&observed, &observed_in),
            predicted: own(&predicted, &predicted_in),
            cross,
        })
    }
}

/// Inner products under the whitening.
struct Products {
    cross: Array2<f32>,
    observed: Array1<f32>,
    predicted: Array1<f32>,
}

fn inverse_root(square: f32) -> f32 {
    if square > 0.0 { 1.0 / square.sqrt() } else { 0.0 }
}

/// Rows such that their inner products are weighted Pearson correlations.
fn weighted_unit_rows(rows: ArrayView2<f32>, weights: &[f32]) -> Array2<f32> {
    let mut unit = rows.to_owned();
    ndarray::Zip::from(unit.rows_mut()).par_for_each(|mut row| {
        let mean: f32 = row.iter().zip(weights).map(|(v, w)| v * w).sum();
        for (v, w) in row.iter_mut().zip(weights) {
            *v = (*v - mean) * w.sqrt();
        }
        let square: f32 = row.iter().map(|v| v * v).sum();
        row *= inverse_root(square);
    });
    unit
}

/// Correlation over samples of each column of a prediction with the same column of the truth; 0 for a
/// column without variance in either.
pub(crate) fn column_accuracy(predicted: ArrayView2<f32>, truth: ArrayView2<f32>) -> Vec<f32> {
    let count = predicted.nrows() as f64;
    predicted
        .columns()
        .into_iter()
        .zip(truth.columns())
        .map(|(p, t)| {
            let mean = |c: ndarray::ArrayView1<f32>| c.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
            let (mp, mt) = (mean(p), mean(t));
            let (mut pp, mut tt, mut pt) = (0.0, 0.0, 0.0);
            for (&p, &t) in p.iter().zip(t) {
                let (p, t) = (f64::from(p) - mp, f64::from(t) - mt);
                pp += p * p;
                tt += t * t;
                pt += p * t;
            }
            let scale = (pp * tt).sqrt();
            if scale > 0.0 { (pt / scale) as f32 } else { 0.0 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use dina_core::Seed;
    use ndarray::{Array, array};
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::correlate;

    fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
        let mut rng = Seed::new(seed).stream("normals");
        Array::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
    }

    #[test]
    fn without_weights_it_is_the_correlation() {
        let (a, b) = (normals(4, 30, 1), normals(5, 30, 2));
        let scorer = Scorer::new(vec![0.3; 30]);
        let found = scorer.similarity(a.view(), b.view(), Score::Correlation { exponent: 0.0 }).unwrap();
        for (f, e) in found.iter().zip(&correlate(a.view(), b.view()).unwrap()) {
            assert_relative_eq!(f, e, epsilon = 1e-5);
        }
    }

    #[test]
    fn a_dimension_of_no_accuracy_does_not_count() {
        let a = array![[1.0_f32, 2.0, 4.0, 100.0]];
        let b = array![[2.0_f32, 3.0, 9.0, -50.0]];
        let scorer = Scorer::new(vec![0.5, 0.5, 0.5, -0.2]);
        let score = Score::Correlation { exponent: 1.0 };
        let found = scorer.similarity(a.view(), b.view(), score).unwrap();
        let without = ndarray::s![.., ..3];
        let expected = correlate(a.slice(without), b.slice(without)).unwrap();
        assert_relative_eq!(found[[0, 0]], expected[[0, 0]], epsilon = 1e-5);
        let blind = Scorer::new(vec![-0.1; 4]);
        assert!(blind.similarity(a.view(), b.view(), score).is_err());
    }

    /// Against the explicit inverse: two dimensions with correlated errors.
    #[test]
    fn whitening_is_the_mahalanobis_distance() {
        for samples in [40, 3] {
            let errors = normals(samples, 5, 1).dot(&normals(5, 5, 2));
            let mut scorer = Scorer::new(vec![1.0; 5]);
            scorer.learn_errors(errors.view()).unwrap();
            let (a, b) = (normals(3, 5, 3), normals(4, 5, 4));
            let s = 0.3_f32;
            let found = scorer.similarity(a.view(), b.view(), Score::Likelihood { shrinkage: s }).unwrap();
            // The covariance that the score claims to use.
            let second = errors.t().dot(&errors) / samples as f32;
            let covariance =
                Array::from_shape_fn((5, 5), |(i, j)| second[[i, j]] * if i == j { 1.0 } else { 1.0 - s });
            let eigen = symmetric_eigen(covariance.view()).unwrap();
            for ((i, j), f) in found.indexed_iter() {
                let difference = &a.row(i) - &b.row(j);
                let along = eigen.vectors.t().dot(&difference);
                let distance: f32 = along.iter().zip(&eigen.values).map(|(d, v)| d * d / v).sum();
                assert_relative_eq!(*f, -distance / 2.0, max_relative = 1e-2, epsilon = 1e-3);
            }
        }
    }

    #[test]
    fn an_error_that_all_share_is_taken_out() {
        // All dimensions fluctuate together: only the difference pattern identifies.
        let shared = normals(500, 1, 1);
        let errors = &shared * &Array2::<f32>::ones((1, 20)) * 20.0 + normals(500, 20, 2) * 0.3;
        let mut scorer = Scorer::new(vec![1.0; 20]);
        scorer.learn_errors(errors.view()).unwrap();
        let patterns = normals(30, 20, 3);
        let observed = &patterns + &errors.slice(ndarray::s![..30, ..]);
        let hits = |score| {
            let found = scorer.similarity(observed.view(), patterns.view(), score).unwrap();
            crate::Ranks::new(found.view(), &(0..30).collect::<Vec<_>>()).unwrap().top(1)
        };
        assert!(hits(Score::Likelihood { shrinkage: 0.01 }) > 0.95);
        assert!(hits(Score::WhitenedCosine { shrinkage: 0.01 }) > 0.95);
        assert!(hits(Score::Likelihood { shrinkage: 1.0 }) < 0.5);
    }

    #[test]
    fn accuracy_by_hand() {
        let p = array![[1.0_f32, 1.0], [2.0, 1.0], [3.0, 1.0]];
        let t = array![[0.0_f32, 1.0], [4.0, 2.0], [2.0, 3.0]];
        let found = column_accuracy(p.view(), t.view());
        assert_relative_eq!(found[0], 0.5, epsilon = 1e-6);
        assert_eq!(found[1], 0.0);
    }
}
