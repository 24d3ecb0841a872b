//! The little linear algebra this crate needs. Work is cut into blocks of a fixed size, so that a
//! result has the same bits for any number of threads.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::traits::RealField;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use ndarray::{Array2, ArrayView2, Axis, CowArray, Ix2, s};
use rayon::prelude::*;

use crate::{Error, Result};

/// Rows of one unit of parallel work.
const BLOCK: usize = 128;

/// An ndarray matrix as faer sees it; copied only if neither it nor its transpose is in row order.
struct Operand<'a, T: Clone> {
    data: CowArray<'a, T, Ix2>,
    transposed: bool,
}

impl<'a, T: RealField + Clone> Operand<'a, T> {
    fn new(x: ArrayView2<'a, T>) -> Self {
        let transposed = !x.is_standard_layout() && x.t().is_standard_layout();
        let data = if transposed {
            x.reversed_axes().into()
        } else if x.is_standard_layout() {
            x.into()
        } else {
            x.as_standard_layout().into_owned().into()
        };
        Self { data, transposed }
    }

    fn mat(&self) -> MatRef<'_, T> {
        let (rows, columns) = self.data.dim();
        let Some(slice) = self.data.as_slice() else {
            unreachable!("an operand is in row order by construction");
        };
        let mat = MatRef::from_row_major_slice(slice, rows, columns);
        if self.transposed { mat.transpose() } else { mat }
    }
}

/// The matrix product.
pub(crate) fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Array2<f32> {
    let (rows, columns) = (a.nrows(), b.ncols());
    let (a, b) = (Operand::new(a), Operand::new(b));
    let mut out = Array2::zeros((rows, columns));
    out.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().enumerate().for_each(|(block, mut out)| {
        let count = out.nrows();
        let Some(out) = out.as_slice_mut() else {
            unreachable!("rows of a fresh array are contiguous");
        };
        matmul(
            MatMut::from_row_major_slice_mut(out, count, columns),
            Accum::Replace,
            a.mat().subrows(block * BLOCK, count),
            b.mat(),
            1.0,
            Par::Seq,
        );
    });
    out
}

/// `x · xᵀ`, in f64.
pub(crate) fn gram(x: ArrayView2<'_, f32>) -> Array2<f64> {
    // Columns converted at a time: bounds the f64 copy.
    const COLUMNS: usize = 2048;
    let n = x.nrows();
    // Blocks of the lower half; the other follows by symmetry.
    let starts = || (0..n).step_by(BLOCK);
    let mut blocks: Vec<(usize, usize, Vec<f64>)> = starts()
        .flat_map(|i| starts().take_while(move |&j| j <= i).map(move |j| (i, j)))
        .map(|(i, j)| (i, j, vec![0.0; BLOCK.min(n - i) * BLOCK.min(n - j)]))
        .collect();
    for start in (0..x.ncols()).step_by(COLUMNS) {
        let end = (start + COLUMNS).min(x.ncols());
        let part = x.slice(s![.., start..end]).mapv(f64::from);
        let part = Operand::new(part.view());
        blocks.par_iter_mut().for_each(|(i, j, out)| {
            let (rows, columns) = (BLOCK.min(n - *i), BLOCK.min(n - *j));
            matmul(
                MatMut::from_row_major_slice_mut(out, rows, columns),
                Accum::Add,
                part.mat().subrows(*i, rows),
                part.mat().subrows(*j, columns).transpose(),
                1.0,
                Par::Seq,
            );
        });
    }
    let mut sum = Array2::zeros((n, n));
    for (i, j, block) in blocks {
        let columns = BLOCK.min(n - j);
        for (k, value) in block.into_iter().enumerate() {
            let (row, column) = (i + k / columns, j + k % columns);
            sum[[row, column]] = value;
            sum[[column, row]] = value;
        }
    }
    sum
}

/// Eigenvalues of a symmetric matrix, largest first, and its eigenvectors as columns.
///
/// # Errors
/// When the iteration does not converge, which takes values that are not finite.
pub(crate) fn eigen(symmetric: &Array2<f64>) -> Result<(Vec<f64>, Array2<f64>)> {
    let n = symmetric.nrows();
    if n == 0 {
        return Ok((Vec::new(), Array2::zeros((0, 0))));
    }
    let symmetric = Operand::new(symmetric.view());
    let mut values = Diag::<f64>::zeros(n);
    let mut vectors = Mat::<f64>::zeros(n, n);
    // One thread: the library splits its work by the number of threads, which changes last bits.
    let need = self_adjoint_evd_scratch::<f64>(n, ComputeEigenvectors::Yes, Par::Seq, Default::default());
    self_adjoint_evd(
        symmetric.mat(),
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(need)),
        Default::default(),
    )
    .map_err(|_| not_finite())?;
    let order = (0..n).rev();
    let sorted: Vec<f64> = order.clone().map(|i| values.column_vector()[i]).collect();
    if sorted.iter().any(|v| !v.is_finite()) {
        return Err(not_finite());
    }
    let columns = Array2::from_shape_fn((n, n), |(row, to)| vectors[(row, n - 1 - to)]);
    Ok((sorted, columns))
}

fn not_finite() -> Error {
    dina_core::Error::value("matrix to decompose", "finite", "not").into()
}

/// A thin singular value decomposition `x = left · diag(values) · rightᵀ`, of the components that
/// can be told from rounding.
pub(crate) struct Thin {
    /// Rows of `x` x components.
    pub left: Array2<f32>,
    /// Largest first.
    pub values: Vec<f64>,
    /// Columns of `x` x components.
    pub right: Array2<f32>,
}

/// Decomposes `x` through the Gram matrix of its smaller dimension, at most `most` components.
///
/// # Errors
/// When a value is not finite.
pub(crate) fn thin(x: ArrayView2<'_, f32>, most: usize) -> Result<Thin> {
    if x.nrows() > x.ncols() {
        let Thin { left, values, right } = thin(x.reversed_axes(), most)?;
        return Ok(Thin { left: right, values, right: left });
    }
    let (squares, vectors) = eigen(&gram(x))?;
    // The f32 entries of x carry a relative error of 6e-8; squares below this are that error.
    let floor = squares.first().copied().unwrap_or(0.0) * 1e-10;
    let rank = squares.iter().take(most).take_while(|&&v| v > floor && v > 0.0).count();
    let values: Vec<f64> = squares[..rank].iter().map(|v| v.sqrt()).collect();
    let left = vectors.slice(s![.., ..rank]).mapv(|v| v as f32);
    let mut right = product(x.t(), left.view());
    for (mut column, value) in right.columns_mut().into_iter().zip(&values) {
        column /= *value as f32;
    }
    Ok(Thin { left, values, right })
}

/// Mean and standard deviation (divided by the number of rows) of every column, in f64.
pub(crate) fn moments(x: ArrayView2<'_, f32>) -> (Vec<f64>, Vec<f64>) {
    let n = x.nrows().max(1) as f64;
    let mean: Vec<f64> = column_sums(x, |v, _| v, &[]).iter().map(|s| s / n).collect();
    let sd = column_sums(x, |v, m| (v - m) * (v - m), &mean).iter().map(|s| (s / n).sqrt()).collect();
    (mean, sd)
}

/// The sum over rows of `f(value, parameter of the column)`; no parameters count as 0.
pub(crate) fn column_sums(
    x: ArrayView2<'_, f32>,
    f: impl Fn(f64, f64) -> f64 + Sync,
    parameters: &[f64],
) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = x
        .axis_chunks_iter(Axis(0), BLOCK)
        .into_par_iter()
        .map(|rows| {
            let mut sum = vec![0.0; x.ncols()];
            for row in rows.rows() {
                for (n, &value) in row.iter().enumerate() {
                    sum[n] += f(f64::from(value), parameters.get(n).copied().unwrap_or(0.0));
                }
            }
            sum
        })
        .collect();
    let mut total = vec![0.0; x.ncols()];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total
}

/// Subtracts the mean of each row and divides by its length; a constant row becomes zero.
pub(crate) fn normalise_rows(x: &mut Array2<f32>) {
    x.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut row| {
        let n = row.len().max(1) as f64;
        let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let square = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
        // A row is constant when what is left is the rounding of its mean.
        let scale = if square <= n * (1e-6 * mean).powi(2) { 0.0 } else { 1.0 / square.sqrt() };
        row.mapv_inplace(|v| ((f64::from(v) - mean) * scale) as f32);
    });
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use dina_core::Seed;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn noise(rows: usize, columns: usize) -> Array2<f32> {
        let mut stream = Seed::new(5).stream("noise");
        Array2::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut stream))
    }

    #[test]
    fn a_thin_decomposition_rebuilds_the_matrix_from_either_side() {
        for (rows, columns) in [(30, 200), (200, 30)] {
            let x = noise(rows, columns);
            let thin = thin(x.view(), usize::MAX).unwrap();
            assert!(thin.values.is_sorted_by(|a, b| a >= b));
            let mut scaled = thin.left.clone();
            for (mut column, value) in scaled.columns_mut().into_iter().zip(&thin.values) {
                column *= *value as f32;
            }
            let again = product(scaled.view(), thin.right.t());
            assert!((again - &x).iter().all(|d| d.abs() < 1e-4));
        }
    }

    #[test]
    fn products_of_every_layout_agree_with_ndarray() {
        let (a, b) = (noise(150, 37), noise(37, 140));
        let plain = a.dot(&b);
        let (at, bt) = (a.t().as_standard_layout().into_owned(), b.t().as_standard_layout().into_owned());
        let wide = ndarray::concatenate(Axis(1), &[b.view(), b.view()]).unwrap();
        for found in [
            product(a.view(), b.view()),
            product(at.t(), bt.t()),
            product(a.view(), wide.slice(s![.., 140..])),
        ] {
            assert!((&found - &plain).iter().all(|d| d.abs() < 1e-4));
        }
        assert_eq!(product(a.slice(s![..0, ..]), b.view()).dim(), (0, 140));
        assert_eq!(product(a.view(), b.slice(s![.., ..0])).dim(), (150, 0));
        let wide = a.mapv(f64::from);
        assert!((gram(a.view()) - wide.dot(&wide.t())).iter().all(|d| d.abs() < 1e-9));
    }

    #[test]
    fn a_rank_deficient_matrix_has_as_many_components_as_its_rank() {
        let x = product(noise(40, 3).view(), noise(3, 60).view());
        assert_eq!(thin(x.view(), usize::MAX).unwrap().values.len(), 3);
        let none = thin(x.slice(s![..0, ..]), usize::MAX).unwrap();
        assert_eq!((none.left.dim(), none.right.dim()), ((0, 0), (60, 0)));
    }

    #[test]
    fn eigenvectors_of_a_known_matrix() {
        let (values, vectors) = eigen(&ndarray::arr2(&[[2.0, 1.0], [1.0, 2.0]])).unwrap();
        assert_abs_diff_eq!(values[0], 3.0, epsilon = 1e-12);
        assert_abs_diff_eq!(values[1], 1.0, epsilon = 1e-12);
        assert_abs_diff_eq!(vectors[[0, 0]], vectors[[1, 0]], epsilon = 1e-12);
        assert_abs_diff_eq!(vectors[[0, 1]], -vectors[[1, 1]], epsilon = 1e-12);
    }

    #[test]
    fn moments_of_a_known_column() {
        let (mean, sd) = moments(ndarray::arr2(&[[1.0], [3.0], [5.0], [7.0]]).view());
        assert_eq!(mean, [4.0]);
        assert_abs_diff_eq!(sd[0], 5f64.sqrt(), epsilon = 1e-12);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (a, b) = (noise(300, 170), noise(170, 90));
        let run = |threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let thin = thin(a.view(), 20).unwrap();
                (product(a.view(), b.view()), thin.right, moments(a.view()))
            })
        };
        assert_eq!(run(1), run(2));
    }
}
