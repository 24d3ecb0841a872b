//! Ridge regression: a whole path of penalties from one decomposition.

use std::sync::Arc;

use dina_stats::linalg::{matmul, symmetric_eigen};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use rayon::prelude::*;

use crate::{Error, Result};

/// The predictors of a ridge regression, decomposed: Xc = S V' with Xc the (weighted, centred)
/// predictors, V orthonormal and the columns of S orthogonal with squared norms L.
///
/// With more predictors than samples the decomposition is that of Xc Xc' (dual), else of Xc' Xc. The
/// products run in f32, the decomposition in f64; directions with less than 1e-6 of the largest
/// eigenvalue are below the rounding of the product and are dropped.
///
/// ```
/// use dina_decode::ridge::RidgeDesign;
/// use ndarray::array;
///
/// let x = array![[0.0_f32], [1.0], [2.0], [3.0]];
/// let y = array![[1.0_f32], [3.0], [5.0], [7.0]];
/// let fit = RidgeDesign::new(x.view(), None)?.regress(y.view())?;
/// let line = fit.predict(array![[10.0_f32]].view(), &[1e-9])?;
/// assert!((line[[0, 0]] - 21.0).abs() < 1e-3);
/// # Ok::<(), dina_decode::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RidgeDesign(Arc<Decomposition>);

#[derive(Debug)]
struct Decomposition {
    weights: Vec<f32>,
    mean: Array1<f32>,
    /// L.
    eigenvalues: Vec<f64>,
    /// V, predictors x rank.
    directions: Array2<f32>,
    /// S, samples x rank.
    scores: Array2<f32>,
}

impl RidgeDesign {
    /// Decomposes the predictors.
    ///
    /// - `x`: samples x predictors. An intercept is always fitted and never penalised.
    /// - `weights`: per sample, how many observations it stands for; `None` is one each. A ridge
    ///   regression on image means weighted by their number of trials has the same solution as one on
    ///   the trials.
    ///
    /// # Errors
    /// [`Error::Value`] for fewer than two samples, no predictor, a weight that is not positive, or
    /// predictors that never change; [`Error::Shape`], [`Error::NotFinite`].
    pub fn new(x: ArrayView2<f32>, weights: Option<&[f32]>) -> Result<Self> {
        let samples = x.nrows();
        if samples < 2 || x.ncols() == 0 {
            return Err(Error::value(
                "predictors",
                "at least two samples of one predictor",
                format!("{} x {}", samples, x.ncols()),
            ));
        }
        Error::all_finite("predictors", x)?;
        let weights = weights.map_or_else(|| vec![1.0; samples], <[f32]>::to_vec);
        if weights.len() != samples {
            return Err(Error::shape("sample weights", samples, weights.len()));
        }
        if let Some(bad) = weights.iter().find(|w| !(w.is_finite() && **w > 0.0)) {
            return Err(Error::value("sample weight", "positive", bad));
        }
        let mean = weighted_mean(x, &weights);
        let centred = centre_and_weight(x, &mean, &weights);
        let (eigenvalues, directions, scores) = decompose(&centred)?;
        Ok(Self(Arc::new(Decomposition { weights, mean, eigenvalues, directions, scores })))
    }

    /// The mean eigenvalue over the smaller of samples and predictors: a natural unit for penalties.
    pub fn mean_eigenvalue(&self) -> f64 {
        let smaller = self.0.weights.len().min(self.0.mean.len());
        self.0.eigenvalues.iter().sum::<f64>() / smaller as f64
    }

    /// Predictors (samples x predictors) in the coordinates of V, samples x rank: centred, and as good for ridge regression as
    /// they are themselves, with no more columns than there were samples. Where there are many predictors, later
    /// regressions on them, on parts of the samples or together with others, are cheaper.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of predictors, [`Error::NotFinite`].
    pub fn coordinates(&self, x: ArrayView2<f32>) -> Result<Array2<f32>> {
        self.0.coordinates(x)
    }

    /// Regresses targets (samples x targets) on the predictors, for all penalties at once.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are more or fewer samples, [`Error::NotFinite`].
    pub fn regress(&self, y: ArrayView2<f32>) -> Result<Ridge> {
        if y.nrows() != self.0.weights.len() {
            return Err(Error::shape("samples of the targets", self.0.weights.len(), y.nrows()));
        }
        Error::all_finite("targets", y)?;
        let mean = weighted_mean(y, &self.0.weights);
        let centred = centre_and_weight(y, &mean, &self.0.weights);
        let projected = matmul(self.0.scores.t(), centred.view())?;
        Ok(Ridge { design: self.clone(), mean, projected })
    }
}

impl Decomposition {
    /// New predictors in the coordinates of V.
    fn coordinates(&self, x: ArrayView2<f32>) -> Result<Array2<f32>> {
        if x.ncols() != self.mean.len() {
            return Err(Error::shape("predictors", self.mean.len(), x.ncols()));
        }
        Error::all_finite("predictors", x)?;
        let mut coordinates = matmul(x, self.directions.view())?;
        let offset = self.mean.dot(&self.directions);
        coordinates -= &offset;
        Ok(coordinates)
    }
}

fn decompose(x: &Array2<f32>) -> Result<(Vec<f64>, Array2<f32>, Array2<f32>)> {
    let dual = x.ncols() > x.nrows();
    let product = if dual { matmul(x.view(), x.t())? } else { matmul(x.t(), x.view())? };
    let eigen = symmetric_eigen(product.mapv(f64::from).view())?;
    drop(product);
    let largest = eigen.values[0];
    if largest.is_nan() || largest <= 0.0 {
        return Err(Error::value("variance of the predictors", "positive", 0));
    }
    let rank = eigen.values.iter().take_while(|&&v| v > 1e-6 * largest).count();
    let values = eigen.values.iter().take(rank).copied().collect::<Vec<f64>>();
    let kept = eigen.vectors.slice(ndarray::s![.., ..rank]);
    if dual {
        // S = U sqrt(L), V = X' U / sqrt(L).
        let roots = Array1::from_iter(values.iter().map(|v| v.sqrt()));
        let scores = (&kept * &roots).mapv(|v| v as f32);
        let inverse = (&kept / &roots).mapv(|v| v as f32);
        let directions = matmul(x.t(), inverse.view())?;
        Ok((values, directions, scores))
    } else {
        let directions = kept.mapv(|v| v as f32);
        let scores = matmul(x.view(), directions.view())?;
        Ok((values, directions, scores))
    }
}

fn weighted_mean(x: ArrayView2<f32>, weights: &[f32]) -> Array1<f32> {
    // Blocks of rows whose number does not depend on the threads, added in order.
    let parts: Vec<Vec<f64>> = x
        .axis_chunks_iter(Axis(0), 256)
        .into_par_iter()
        .zip(weights.par_chunks(256))
        .map(|(rows, weights)| {
            let mut sums = vec![0.0_f64; x.ncols()];
            for (row, &weight) in rows.rows().into_iter().zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += f64::from(weight) * f64::from(value);
                }
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0_f64; x.ncols()];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
    sums.iter().map(|sum| (sum / total) as f32).collect()
}

/// Rows minus the mean, times the root of the weight.
fn centre_and_weight(x: ArrayView2<f32>, mean: &Array1<f32>, weights: &[f32]) -> Array2<f32> {
    let mut centred = x.to_owned();
    centred.axis_iter_mut(Axis(0)).into_par_iter().zip(weights).for_each(|(mut row, weight)| {
        row -= mean;
        row *= weight.sqrt();
    });
    centred
}

/// A ridge regression of some targets, for any penalty.
///
/// The prediction of a new x is mean(y) + (x - mean(x)) V diag(1 / (L + penalty)) S' Yc. The objective
/// is sum of w (y - f(x))^2 + penalty |b|^2.
#[derive(Debug, Clone)]
pub struct Ridge {
    design: RidgeDesign,
    mean: Array1<f32>,
    /// S' Yc, rank x targets.
    projected: Array2<f32>,
}

impl Ridge {
    /// Weighted mean of each target over the training samples.
    pub fn mean(&self) -> &Array1<f32> {
        &self.mean
    }

    /// Number of predictors.
    pub fn predictors(&self) -> usize {
        self.design.0.mean.len()
    }

    /// Number of targets.
    pub fn targets(&self) -> usize {
        self.mean.len()
    }

    /// Predictions, samples x targets.
    ///
    /// - `x`: samples x predictors.
    /// - `penalties`: one for all targets, or one each.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of predictors or penalties, [`Error::Value`] for a penalty
    /// that is not positive, [`Error::NotFinite`].
    pub fn predict(&self, x: ArrayView2<f32>, penalties: &[f64]) -> Result<Array2<f32>> {
        let coordinates = self.design.0.coordinates(x)?;
        self.predict_from(coordinates.view(), penalties)
    }

    /// New predictors as [`Ridge::predict_from`] takes them, so that many penalties share the work.
    pub(crate) fn coordinates(&self, x: ArrayView2<f32>) -> Result<Array2<f32>> {
        self.design.0.coordinates(x)
    }

    /// Predictions of the same samples for each of several shared penalties; the samples are
    /// transformed only once.
    ///
    /// # Errors
    /// As [`Ridge::predict`].
    pub fn predict_path(&self, x: ArrayView2<f32>, penalties: &[f64]) -> Result<Vec<Array2<f32>>> {
        let coordinates = self.design.0.coordinates(x)?;
        penalties.iter().map(|&penalty| self.predict_from(coordinates.view(), &[penalty])).collect()
    }

    pub(crate) fn predict_from(
        &self,
        coordinates: ArrayView2<f32>,
        penalties: &[f64],
    ) -> Result<Array2<f32>> {
        self.check(penalties)?;
        let mut prediction = if let &[penalty] = penalties {
            let shrink: Array1<f32> = self.shrinkage(penalty).collect();
            matmul((&coordinates * &shrink).view(), self.projected.view())?
        } else {
            let mut shrunk = self.projected.clone();
            for (mut row, value) in shrunk.rows_mut().into_iter().zip(&self.design.0.eigenvalues) {
                for (entry, penalty) in row.iter_mut().zip(penalties) {
                    *entry *= (1.0 / (value + penalty)) as f32;
                }
            }
            matmul(coordinates, shrunk.view())?
        };
        prediction += &self.mean;
        Ok(prediction)
    }

    /// Predictions of the training samples when each is left out of the fit in turn, samples x
    /// targets, in closed form: y - e / (1 - h), with e the residual and h the leverage of the sample,
    /// which is exact for a fixed penalty (Allen 1974).
    ///
    /// `y` are the targets that were regressed; `penalties` as for [`Ridge::predict`].
    ///
    /// # Errors
    /// As [`Ridge::predict`].
    pub fn leave_one_out(&self, y: ArrayView2<f32>, penalties: &[f64]) -> Result<Array2<f32>> {
        if y.dim() != (self.design.0.weights.len(), self.targets()) {
            return Err(Error::shape("targets", (self.design.0.weights.len(), self.targets()), y.dim()));
        }
        let roots: Array1<f32> = self.design.0.weights.iter().map(|w| w.sqrt()).collect();
        let coordinates = &self.design.0.scores / &roots.insert_axis(Axis(1));
        let mut prediction = self.predict_from(coordinates.view(), penalties)?;
        let mut distinct = penalties.to_vec();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        let leverages: Vec<Vec<f32>> = distinct.iter().map(|&p| self.leverages(p)).collect();
        let which: Vec<usize> = penalties.iter().map(|p| distinct.partition_point(|d| d < p)).collect();
        prediction.axis_iter_mut(Axis(0)).into_par_iter().zip(y.axis_iter(Axis(0))).enumerate().for_each(
            |(sample, (mut row, y))| {
                for (target, (fit, &y)) in row.iter_mut().zip(y).enumerate() {
                    let penalty = which[target.min(which.len() - 1)];
                    *fit = y - (y - *fit) / (1.0 - leverages[penalty][sample]);
                }
            },
        );
        Ok(prediction)
    }

    /// Diagonal of the hat matrix, intercept included.
    fn leverages(&self, penalty: f64) -> Vec<f32> {
        let total: f64 = self.design.0.weights.iter().map(|&w| f64::from(w)).sum();
        let shrink: Vec<f32> = self.shrinkage(penalty).collect();
        self.design
            .0
            .scores
            .axis_iter(Axis(0))
            .into_par_iter()
            .zip(&self.design.0.weights)
            .map(|(row, &weight)| {
                let slope: f64 = row.iter().zip(&shrink).map(|(s, k)| f64::from(s * s * k)).sum();
                // A sample that the fit passes through whatever the others say has leverage 1 and no
                // left-out residual; it is kept finite.
                (slope + f64::from(weight) / total).min(1.0 - 1e-6) as f32
            })
            .collect()
    }

    fn shrinkage(&self, penalty: f64) -> impl Iterator<Item = f32> + '_ {
        let values = self.design.0.eigenvalues.iter();
        values.map(move |value| (1.0 / (value + penalty)) as f32)
    }

    fn check(&self, penalties: &[f64]) -> Result<()> {
        if penalties.len() != 1 && penalties.len() != self.targets() {
            return Err(Error::shape("penalties", self.targets(), penalties.len()));
        }
        match penalties.iter().find(|p| !(p.is_finite() && **p > 0.0)) {
            None => Ok(()),
            Some(bad) => Err(Error::value("penalty", "positive", bad)),
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use dina_core::Seed;
    use ndarray::{Array, concatenate, s};
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
        let mut rng = Seed::new(seed).stream("normals");
        Array::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
    }

    fn close(found: &Array2<f32>, expected: &Array2<f32>, epsilon: f32) {
        assert_eq!(found.dim(), expected.dim());
        for (f, e) in found.iter().zip(expected) {
            assert_relative_eq!(f, e, epsilon = epsilon);
        }
    }

    /// b = (Xc'Xc + penalty I)^-1 Xc'Yc in f64, by Gauss-Jordan.
    fn normal_equations(x: &Array2<f32>, y: &Array2<f32>, new: &Array2<f32>, penalty: f64) -> Array2<f32> {
        let (x, y, new) = (x.mapv(f64::from), y.mapv(f64::from), new.mapv(f64::from));
        let (mx, my) = (x.mean_axis(Axis(0)).unwrap(), y.mean_axis(Axis(0)).unwrap());
        let (xc, yc) = (&x - &mx, &y - &my);
        let p = x.ncols();
        let gram = xc.t().dot(&xc) + Array2::<f64>::eye(p) * penalty;
        let mut system = concatenate![Axis(1), gram, xc.t().dot(&yc)];
        for i in 0..p {
            let pivot = system[[i, i]];
            system.row_mut(i).mapv_inplace(|v| v / pivot);
            let row = system.row(i).to_owned();
            for j in (0..p).filter(|&j| j != i) {
                let factor = system[[j, i]];
                let mut other = system.row_mut(j);
                other -= &(&row * factor);
            }
        }
        ((&new - &mx).dot(&system.slice(s![.., p..])) + &my).mapv(|v| v as f32)
    }

    #[test]
    fn both_forms_are_the_normal_equations() {
        for (samples, predictors) in [(60, 12), (15, 40)] {
            let mut x = normals(samples, predictors, 1);
            x += 2.0;
            let y = x.slice(s![.., ..3]).to_owned() + normals(samples, 3, 2) + 5.0;
            let new = normals(7, predictors, 3);
            let design = RidgeDesign::new(x.view(), None).unwrap();
            let fit = design.regress(y.view()).unwrap();
            for penalty in [0.1, 3.0, 100.0] {
                let expected = normal_equations(&x, &y, &new, penalty);
                close(&fit.predict(new.view(), &[penalty]).unwrap(), &expected, 2e-3);
            }
        }
    }

    #[test]
    fn the_path_equals_single_fits() {
        let (x, y, new) = (normals(30, 50, 1), normals(30, 4, 2), normals(6, 50, 3));
        let design = RidgeDesign::new(x.view(), None).unwrap();
        let fit = design.regress(y.view()).unwrap();
        let penalties = [0.5, 5.0, 50.0, 500.0];
        let path = fit.predict_path(new.view(), &penalties).unwrap();
        for (on_path, penalty) in path.iter().zip(penalties) {
            close(on_path, &fit.predict(new.view(), &[penalty]).unwrap(), 1e-6);
        }
        let mixed = fit.predict(new.view(), &penalties).unwrap();
        for target in 0..4 {
            for row in 0..6 {
                assert_relative_eq!(mixed[[row, target]], path[target][[row, target]], epsilon = 1e-5);
            }
        }
    }

    #[test]
    fn weighted_means_are_the_trials() {
        let images = normals(20, 35, 1);
        let repeats = [1, 3, 2, 4];
        let shown: Vec<usize> = (0..20).flat_map(|i| vec![i; repeats[i % 4]]).collect();
        let trials = normals(shown.len(), 5, 2);
        let x = images.select(Axis(0), &shown);
        let mut means = Array2::<f32>::zeros((20, 5));
        let mut weights = vec![0.0_f32; 20];
        for (row, &image) in trials.rows().into_iter().zip(&shown) {
            let mut mean = means.row_mut(image);
            mean += &row;
            weights[image] += 1.0;
        }
        for (mut mean, weight) in means.rows_mut().into_iter().zip(&weights) {
            mean /= *weight;
        }
        let new = normals(4, 35, 3);
        let single = RidgeDesign::new(x.view(), None).unwrap();
        let mean = RidgeDesign::new(images.view(), Some(&weights)).unwrap();
        close(
            &mean.regress(means.view()).unwrap().predict(new.view(), &[2.0]).unwrap(),
            &single.regress(trials.view()).unwrap().predict(new.view(), &[2.0]).unwrap(),
            1e-3,
        );
    }

    #[test]
    fn left_out_in_closed_form_is_left_out() {
        for predictors in [6, 40] {
            let (x, y) = (normals(25, predictors, 1), normals(25, 3, 2));
            let weights: Vec<f32> = (0..25).map(|i| 1.0 + (i % 3) as f32).collect();
            let design = RidgeDesign::new(x.view(), Some(&weights)).unwrap();
            let penalties = [1.0, 7.0, 1.0];
            let closed = design.regress(y.view()).unwrap().leave_one_out(y.view(), &penalties).unwrap();
            for left in [0, 11, 24] {
                let rest: Vec<usize> = (0..25).filter(|&i| i != left).collect();
                let w: Vec<f32> = rest.iter().map(|&i| weights[i]).collect();
                let design = RidgeDesign::new(x.select(Axis(0), &rest).view(), Some(&w)).unwrap();
                let fit = design.regress(y.select(Axis(0), &rest).view()).unwrap();
                let expected = fit.predict(x.slice(s![left..=left, ..]), &penalties).unwrap();
                for target in 0..3 {
                    assert_relative_eq!(closed[[left, target]], expected[[0, target]], epsilon = 2e-3);
                }
            }
        }
    }

    #[test]
    fn refuses_nonsense() {
        let (x, y) = (normals(5, 3, 1), normals(5, 2, 2));
        assert!(RidgeDesign::new(Array2::ones((5, 3)).view(), None).is_err());
        assert!(RidgeDesign::new(x.view(), Some(&[1.0; 4])).is_err());
        assert!(RidgeDesign::new(x.view(), Some(&[0.0; 5])).is_err());
        let design = RidgeDesign::new(x.view(), None).unwrap();
        assert!(design.regress(y.slice(s![..4, ..])).is_err());
        let fit = design.regress(y.view()).unwrap();
        assert!(fit.predict(x.view(), &[0.0]).is_err());
        assert!(fit.predict(x.view(), &[1.0, 1.0, 1.0]).is_err());
        assert!(fit.predict(y.view(), &[1.0]).is_err());
    }
}
