//! Linear centred kernel alignment.

use std::fmt;

use dina_core::Seed;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    linalg::{Real, matmul},
    permutation::{Permutation, PermutationTest, Scheme},
    sentence::{Number, PValue},
};

/// The debiased linear CKA of two representations of the same items, HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y))
/// with the unbiased HSIC (Song et al. 2012; Nguyen et al. 2021).
///
/// With K~ and L~ the Gram matrices with their diagonals set to zero,
/// HSIC = \[tr K~L~ + (1'K~1)(1'L~1)/((n-1)(n-2)) - 2 1'K~L~1/(n-2)\] / (n(n-3)). It is 0 in expectation for
/// independent representations however many columns they have, and so may be slightly negative. The
/// biased one ([`linear_cka`]) goes to 1 with the number of columns.
///
/// - `x`, `y`: items x features; the numbers of features may differ. Sums are in `f64`, the product of
///   features in the type given, of centred columns.
///
/// # Errors
/// [`Error::TooFew`] below four items, [`Error::Shape`], [`Error::NotFinite`], [`Error::Constant`] where the
/// unbiased HSIC of one representation with itself is not positive, so that there is nothing to divide by.
pub fn debiased_cka<T: Real>(x: ArrayView2<T>, y: ArrayView2<T>) -> Result<f64> {
    let (x, y) = unbiased_pair(x, y)?;
    Ok(inner(&x, &y) / (self_similarity("first", &x)? * self_similarity("second", &y)?))
}

/// The biased linear CKA, ||Y'X||^2 / (||X'X|| ||Y'Y||) of centred columns (Kornblith et al. 2019). For
/// comparison with older work only: on independent noise with more columns than rows it is near 1.
///
/// # Errors
/// As [`debiased_cka`]; [`Error::Constant`] where no column of a representation varies.
pub fn linear_cka<T: Real>(x: ArrayView2<T>, y: ArrayView2<T>) -> Result<f64> {
    check(&x, &y)?;
    let (x, y) = (gram(x)?, gram(y)?);
    Ok(inner(&x, &y) / (self_similarity("first", &x)? * self_similarity("second", &y)?))
}

/// A CKA with its permutation test. Prints as a sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CkaTest {
    /// The debiased linear CKA.
    pub cka: f64,
    /// Items.
    pub items: usize,
    /// Features of each representation.
    pub features: [usize; 2],
    /// Its test; items of the second representation are exchanged.
    pub permutation: PermutationTest,
}

impl fmt::Display for CkaTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p, q] = self.features;
        write!(
            f,
            "debiased linear CKA = {}, {} items, {p} and {q} features, {} ({})",
            Number(self.cka),
            self.items,
            PValue(self.permutation.p),
            self.permutation.how()
        )
    }
}

/// Tests the debiased CKA against exchanged items of the second representation. The norms do not change with
/// the order, so that a permutation costs items^2 operations, whatever the number of features.
///
/// # Errors
/// As [`debiased_cka`] and [`Permutation::test`]; [`Error::Shape`] when the scheme has other items.
pub fn cka_test<T: Real>(
    permutation: &Permutation,
    x: ArrayView2<T>,
    y: ArrayView2<T>,
    scheme: &Scheme,
    seed: Seed,
) -> Result<CkaTest> {
    let (items, features) = (x.nrows(), [x.ncols(), y.ncols()]);
    if scheme.items() != items {
        return Err(Error::shape("items of the scheme", items, scheme.items()));
    }
    let (x, y) = unbiased_pair(x, y)?;
    let norm = self_similarity("first", &x)? * self_similarity("second", &y)?;
    let statistic = |order: &[usize]| {
        let row = |i: usize| -> f64 {
            let exchanged = y.row(order[i]);
            x.row(i).iter().zip(order).map(|(x, &j)| x * exchanged[j]).sum()
        };
        (0..items).map(row).sum::<f64>() / norm
    };
    let test = permutation.test(scheme, |g| statistic(g.order()), seed)?;
    Ok(CkaTest { cka: test.statistic, items, features, permutation: test })
}

fn check<T: Real>(x: &ArrayView2<T>, y: &ArrayView2<T>) -> Result<()> {
    if x.nrows() != y.nrows() {
        return Err(Error::shape("items of the second representation", x.nrows(), y.nrows()));
    }
    Error::at_least("items", 4, x.nrows())?;
    for (what, data) in [("first representation", x), ("second representation", y)] {
        Error::at_least(&format!("features of the {what}"), 1, data.ncols())?;
        Error::all_finite(what, data.iter().map(|v| v.wide()))?;
    }
    Ok(())
}

fn unbiased_pair<T: Real>(x: ArrayView2<T>, y: ArrayView2<T>) -> Result<(Array2<f64>, Array2<f64>)> {
    check(&x, &y)?;
    Ok((u_centred(gram(x)?), u_centred(gram(y)?)))
}

/// The Gram matrix of centred columns, in `f64`.
fn gram<T: Real>(data: ArrayView2<T>) -> Result<Array2<f64>> {
    let mut centred = data.to_owned();
    centred.axis_iter_mut(Axis(1)).into_par_iter().for_each(|mut column| {
        if column.iter().all(|v| *v == column[0]) {
            // Its mean may differ from it in the last digit.
            return column.fill(T::zero());
        }
        let mean = column.iter().map(|v| v.wide()).sum::<f64>() / column.len() as f64;
        column.mapv_inplace(|v| T::narrow(v.wide() - mean));
    });
    Ok(matmul(centred.view(), centred.t())?.mapv(T::wide))
}

/// The U-centred matrix of Szekely and Rizzo (2014): zero diagonal, and rows that sum to zero. The sum of
/// products of two of them over n(n-3) is the unbiased HSIC, expanded.
fn u_centred(mut gram: Array2<f64>) -> Array2<f64> {
    let n = gram.nrows() as f64;
    gram.diag_mut().fill(0.0);
    let rows = gram.sum_axis(Axis(1));
    let total = rows.sum();
    for ((i, j), value) in gram.indexed_iter_mut() {
        *value = if i == j {
            0.0
        } else {
            *value - (rows[i] + rows[j]) / (n - 2.0) + total / ((n - 1.0) * (n - 2.0))
        };
    }
    gram
}

fn inner(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn self_similarity(which: &str, matrix: &Array2<f64>) -> Result<f64> {
    let square = inner(matrix, matrix);
    if square > 0.0 {
        return Ok(square.sqrt());
    }
    Err(Error::Constant { what: format!("{which} representation"), index: 0, statistic: "CKA".into() })
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::Array;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
        let mut rng = Seed::new(seed).stream("normals");
        Array::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
    }

    /// The formula as it is written, with matrices and traces.
    fn by_the_formula(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
        let hsic = |a: &Array2<f64>, b: &Array2<f64>| {
            let n = a.nrows() as f64;
            let (mut k, mut l) = (a.dot(&a.t()), b.dot(&b.t()));
            k.diag_mut().fill(0.0);
            l.diag_mut().fill(0.0);
            let product = k.dot(&l);
            (product.diag().sum() + k.sum() * l.sum() / ((n - 1.0) * (n - 2.0))
                - 2.0 * product.sum() / (n - 2.0))
                / (n * (n - 3.0))
        };
        hsic(x, y) / (hsic(x, x) * hsic(y, y)).sqrt()
    }

    #[test]
    fn as_the_formula() {
        let (x, y) = (normals(9, 4, 1), normals(9, 6, 2));
        let found = debiased_cka(x.view(), y.view()).unwrap();
        assert_relative_eq!(found, by_the_formula(&x, &y), epsilon = 1e-12);
    }

    /// Rotation, scale and shift do not matter; the same representation has similarity 1.
    #[test]
    fn blind_to_rotation_and_scale() {
        let x = normals(12, 2, 3);
        let (c, s) = (0.6, 0.8);
        let turned = x.dot(&ndarray::array![[c, s], [-s, c]]) * 3.0 + 5.0;
        assert_relative_eq!(debiased_cka(x.view(), turned.view()).unwrap(), 1.0, epsilon = 1e-12);
        assert_relative_eq!(linear_cka(x.view(), turned.view()).unwrap(), 1.0, epsilon = 1e-12);
    }

    #[test]
    fn many_columns_inflate_only_the_biased_one() {
        let (x, y) = (normals(60, 2000, 4), normals(60, 1500, 5));
        assert!(linear_cka(x.view(), y.view()).unwrap() > 0.9);
        assert!(debiased_cka(x.view(), y.view()).unwrap().abs() < 0.05);
        let narrow = debiased_cka(x.mapv(|v| v as f32).view(), y.mapv(|v| v as f32).view()).unwrap();
        assert_relative_eq!(narrow, debiased_cka(x.view(), y.view()).unwrap(), epsilon = 1e-4);
    }

    #[test]
    fn the_test_tells_noise_from_signal() {
        let x = normals(40, 10, 6);
        let permutation = Permutation { count: 199, ..Permutation::default() };
        let free = Scheme::free(40).unwrap();
        let noise = normals(40, 30, 7);
        let found = cka_test(&permutation, x.view(), noise.view(), &free, Seed::new(1)).unwrap();
        assert!(found.permutation.p > 0.05);
        assert_relative_eq!(found.cka, debiased_cka(x.view(), noise.view()).unwrap(), epsilon = 1e-12);
        let signal = x.dot(&normals(10, 30, 8)) + noise;
        let found = cka_test(&permutation, x.view(), signal.view(), &free, Seed::new(1)).unwrap();
        assert_relative_eq!(found.permutation.p, 1.0 / 200.0);
        assert!(found.to_string().contains("40 items, 10 and 30 features, p = 0.00500"), "{found}");
    }

    #[test]
    fn refuses_nonsense() {
        let x = normals(5, 2, 1);
        assert!(debiased_cka(x.view(), normals(4, 2, 1).view()).is_err());
        assert!(debiased_cka(normals(3, 2, 1).view(), normals(3, 2, 2).view()).is_err());
        let flat = Array2::from_elem((5, 2), 0.1);
        assert!(matches!(debiased_cka(x.view(), flat.view()), Err(Error::Constant { .. })));
        assert!(debiased_cka(x.view(), (flat * f64::NAN).view()).is_err());
    }
}
