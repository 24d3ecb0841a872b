//! Representational dissimilarities between stimuli.

use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    linalg::{matmul, symmetric_eigen},
};

/// The dissimilarities of all pairs of stimuli: (0, 1), (0, 2), ..., (1, 2), ... as in scipy's `pdist`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dissimilarities {
    stimuli: usize,
    values: Vec<f64>,
}

impl Dissimilarities {
    /// Dissimilarities from their values, row by row of the upper triangle.
    ///
    /// # Errors
    /// [`Error::TooFew`] below three stimuli, [`Error::Shape`] for another number of pairs,
    /// [`Error::NotFinite`].
    pub fn new(stimuli: usize, values: Vec<f64>) -> Result<Self> {
        Error::at_least("stimuli", 3, stimuli)?;
        let pairs = stimuli * (stimuli - 1) / 2;
        if values.len() != pairs {
            return Err(Error::shape("pairs of stimuli", pairs, values.len()));
        }
        Error::all_finite("dissimilarities", values.iter().copied())?;
        Ok(Self { stimuli, values })
    }

    /// From a square matrix, of which the upper triangle is read.
    ///
    /// # Errors
    /// [`Error::Shape`] when it is not square; as [`Dissimilarities::new`].
    pub fn from_square(matrix: ArrayView2<f64>) -> Result<Self> {
        let n = matrix.nrows();
        if matrix.ncols() != n {
            return Err(Error::shape("dissimilarity matrix", (n, n), (n, matrix.ncols())));
        }
        Self::new(n, pairs(n).map(|pair| matrix[pair]).collect())
    }

    /// Number of stimuli.
    pub fn stimuli(&self) -> usize {
        self.stimuli
    }

    /// The values, row by row of the upper triangle.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// As a symmetric matrix with a zero diagonal.
    pub fn square(&self) -> Array2<f64> {
        let mut matrix = Array2::zeros((self.stimuli, self.stimuli));
        for ((i, j), &value) in pairs(self.stimuli).zip(&self.values) {
            matrix[[i, j]] = value;
            matrix[[j, i]] = value;
        }
        matrix
    }

    /// Correlation distance, 1 - r of the patterns of two stimuli over neurons.
    ///
    /// - `patterns`: stimuli x neurons.
    ///
    /// # Errors
    /// [`Error::TooFew`] below three stimuli or two neurons, [`Error::NotFinite`], [`Error::Constant`] for a
    /// stimulus whose pattern is flat.
    pub fn correlation(patterns: ArrayView2<f64>) -> Result<Self> {
        Error::at_least("neurons", 2, patterns.ncols())?;
        Error::all_finite("patterns", patterns.iter().copied())?;
        let mut unit = patterns.to_owned();
        for (stimulus, mut row) in unit.axis_iter_mut(Axis(0)).enumerate() {
            let mean = row.sum() / row.len() as f64;
            let flat = row.iter().all(|v| *v == row[0]);
            row.mapv_inplace(|v| v - mean);
            let length = row.dot(&row).sqrt();
            if flat || length <= 0.0 {
                return Err(Error::Constant {
                    what: "pattern of stimulus".into(),
                    index: stimulus,
                    statistic: "correlation distance".into(),
                });
            }
            row.mapv_inplace(|v| v / length);
        }
        let products = matmul(unit.view(), unit.t())?;
        Self::from_square(products.mapv(|r| 1.0 - r).view())
    }

    /// Squared Euclidean distance over the number of neurons. Noise adds to it; prefer
    /// [`Dissimilarities::crossnobis`] where there are repeats.
    ///
    /// - `patterns`: stimuli x neurons.
    ///
    /// # Errors
    /// [`Error::TooFew`] below three stimuli or without neurons, [`Error::NotFinite`].
    pub fn squared_euclidean(patterns: ArrayView2<f64>) -> Result<Self> {
        Error::at_least("neurons", 1, patterns.ncols())?;
        Error::all_finite("patterns", patterns.iter().copied())?;
        let values = pairs(patterns.nrows()).map(|(i, j)| {
            let difference = &patterns.row(i) - &patterns.row(j);
            difference.dot(&difference) / patterns.ncols() as f64
        });
        Self::new(patterns.nrows(), values.collect())
    }

    /// Cross-validated Mahalanobis (crossnobis) distance, (x_i - x_j)_a' P (x_i - x_j)_b / neurons, averaged over
    /// all pairs of different folds a and b (Walther et al. 2016). Its expectation is the true distance,
    /// 0 for equal patterns, so that it may be negative.
    ///
    /// - `folds`: per fold, of independent repeats, stimuli x neurons.
    /// - `precision`: the inverse P of the noise covariance, neurons x neurons; without it the distance is
    ///   Euclidean. [`noise_precision`] estimates it.
    ///
    /// # Errors
    /// [`Error::TooFew`] below two folds or three stimuli, [`Error::Shape`], [`Error::NotFinite`].
    pub fn crossnobis(folds: &[ArrayView2<f64>], precision: Option<ArrayView2<f64>>) -> Result<Self> {
        Error::at_least("folds", 2, folds.len())?;
        let (stimuli, neurons) = folds[0].dim();
        Error::at_least("neurons", 1, neurons)?;
        for (fold, patterns) in folds.iter().enumerate() {
            if patterns.dim() != (stimuli, neurons) {
                return Err(Error::shape(format!("fold {fold}"), (stimuli, neurons), patterns.dim()));
            }
            Error::all_finite(&format!("fold {fold}"), patterns.iter().copied())?;
        }
        if let Some(precision) = &precision {
            if precision.dim() != (neurons, neurons) {
                return Err(Error::shape("precision", (neurons, neurons), precision.dim()));
            }
            Error::all_finite("precision", precision.iter().copied())?;
        }
        // The sum over pairs of different folds is that over all pairs less that of folds with themselves.
        let mut products = Array2::<f64>::zeros((stimuli, stimuli));
        let mut total = Array2::<f64>::zeros((stimuli, neurons));
        let weighted = |patterns: ArrayView2<f64>| match &precision {
            Some(precision) => matmul(patterns, precision.view()),
            None => Ok(patterns.to_owned()),
        };
        for patterns in folds {
            total += patterns;
            products -= &matmul(weighted(patterns.view())?.view(), patterns.t())?;
        }
        products += &matmul(weighted(total.view())?.view(), total.t())?;
        let scale = (folds.len() * (folds.len() - 1) * neurons) as f64;
        let values = pairs(stimuli).map(|(i, j)| {
            (products[[i, i]] + products[[j, j]] - products[[i, j]] - products[[j, i]]) / scale
        });
        Self::new(stimuli, values.collect())
    }
}

/// The inverse of the noise covariance, shrunk towards its diagonal so that there is one.
///
/// - `residuals`: trials x neurons, each less the mean of its stimulus.
/// - `degrees`: degrees of freedom, trials less stimuli.
/// - `shrinkage`: weight of the diagonal, in (0, 1]; 1 divides each neuron by its variance alone.
///
/// # Errors
/// [`Error::TooFew`] for no degree of freedom, [`Error::NotFinite`], [`Error::Value`] for the shrinkage,
/// [`Error::Constant`] for a neuron without noise.
pub fn noise_precision(residuals: ArrayView2<f64>, degrees: usize, shrinkage: f64) -> Result<Array2<f64>> {
    Error::at_least("degrees of freedom", 1, degrees)?;
    Error::all_finite("residuals", residuals.iter().copied())?;
    if !(shrinkage > 0.0 && shrinkage <= 1.0) {
        return Err(Error::value("shrinkage", "above 0 and at most 1", shrinkage));
    }
    let mut covariance = matmul(residuals.t(), residuals)? / degrees as f64;
    if let Some(neuron) = covariance.diag().iter().position(|v| *v <= 0.0) {
        return Err(Error::Constant {
            what: "residual of neuron".into(),
            index: neuron,
            statistic: "precision".into(),
        });
    }
    for ((i, j), value) in covariance.indexed_iter_mut() {
        if i != j {
            *value *= 1.0 - shrinkage;
        }
    }
    let eigen = symmetric_eigen(covariance.view())?;
    let scaled = &eigen.vectors / &eigen.values;
    matmul(scaled.view(), eigen.vectors.t())
}

/// Pairs of the upper triangle, row by row.
pub(super) fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j)))
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use dina_core::Seed;
    use ndarray::{Array, array};
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
        let mut rng = Seed::new(seed).stream("normals");
        Array::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
    }

    #[test]
    fn distances_by_hand() {
        let patterns = array![[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]];
        let found = Dissimilarities::correlation(patterns.view()).unwrap();
        for (f, e) in found.values().iter().zip([0.0, 2.0, 2.0]) {
            assert_relative_eq!(*f, e, epsilon = 1e-12);
        }
        let found = Dissimilarities::squared_euclidean(patterns.view()).unwrap();
        assert_relative_eq!(found.values()[0], (1.0 + 4.0 + 9.0) / 3.0);
        assert_relative_eq!(found.square()[[2, 0]], (4.0 + 0.0 + 4.0) / 3.0);
        assert_eq!(Dissimilarities::from_square(found.square().view()).unwrap(), found);
    }

    /// Every pair of folds one by one.
    #[test]
    fn crossnobis_by_brute_force() {
        let folds = [normals(4, 3, 1), normals(4, 3, 2), normals(4, 3, 3)];
        let root = normals(3, 3, 4);
        let precision = root.dot(&root.t());
        let views: Vec<_> = folds.iter().map(|fold| fold.view()).collect();
        let found = Dissimilarities::crossnobis(&views, Some(precision.view())).unwrap();
        for ((i, j), value) in pairs(4).zip(found.values()) {
            let mut sum = 0.0;
            for a in 0..3 {
                for b in (0..3).filter(|b| *b != a) {
                    let (x, y) = (&folds[a].row(i) - &folds[a].row(j), &folds[b].row(i) - &folds[b].row(j));
                    sum += x.dot(&precision.dot(&y)) / 3.0;
                }
            }
            assert_relative_eq!(*value, sum / 6.0, epsilon = 1e-12);
        }
    }

    /// Equal patterns under noise: the plain distance is twice the noise, the cross-validated one zero.
    #[test]
    fn crossnobis_is_unbiased() {
        let folds: Vec<Array2<f64>> = (0..4).map(|fold| normals(6, 2000, 10 + fold)).collect();
        let views: Vec<_> = folds.iter().map(|fold| fold.view()).collect();
        let mean = |d: &Dissimilarities| d.values().iter().sum::<f64>() / d.values().len() as f64;
        assert!(mean(&Dissimilarities::crossnobis(&views, None).unwrap()).abs() < 0.03);
        let plain = Dissimilarities::squared_euclidean(views[0]).unwrap();
        assert_relative_eq!(mean(&plain), 2.0, epsilon = 0.1);
    }

    #[test]
    fn precision_inverts() {
        let residuals = normals(50, 4, 5);
        let mut covariance = residuals.t().dot(&residuals) / 45.0;
        for ((i, j), value) in covariance.indexed_iter_mut() {
            *value *= if i == j { 1.0 } else { 0.7 };
        }
        let precision = noise_precision(residuals.view(), 45, 0.3).unwrap();
        for ((i, j), value) in precision.dot(&covariance).indexed_iter() {
            assert_relative_eq!(*value, f64::from(u8::from(i == j)), epsilon = 1e-10);
        }
        assert!(noise_precision(residuals.view(), 45, 0.0).is_err());
    }

    #[test]
    fn refuses_nonsense() {
        assert!(Dissimilarities::new(3, vec![1.0; 2]).is_err());
        assert!(Dissimilarities::new(2, vec![1.0]).is_err());
        let flat = Array2::from_elem((3, 2), 0.1);
        assert!(matches!(Dissimilarities::correlation(flat.view()), Err(Error::Constant { .. })));
        assert!(Dissimilarities::crossnobis(&[flat.view()], None).is_err());
        assert!(Dissimilarities::crossnobis(&[flat.view(), normals(3, 3, 1).view()], None).is_err());
    }
}
