//! Matrix products and eigendecompositions of ndarray matrices, on all cores.
//!
//! ndarray's own product runs on one core; these hand the same memory to faer, without a copy where
//! the layout is contiguous either way round. The result is the same for any number of threads.

use faer::{
    Accum, Mat, MatMut, MatRef, Par,
    dyn_stack::{MemBuffer, MemStack},
    linalg::{evd, matmul::matmul as faer_matmul},
};
use ndarray::{Array1, Array2, ArrayView2, CowArray, Ix2, ShapeBuilder};

use crate::{Error, Result};

/// The eigendecomposition stays on one core: faer gains little from a second one there, and its
/// split reductions could depend on how many there are.
const EIGEN: Par = Par::Seq;

/// `f32` or `f64`.
pub trait Real: faer::traits::RealField + ndarray::NdFloat + private::Sealed {
    /// The number in `f64`.
    fn wide(self) -> f64;

    /// The nearest number to one in `f64`.
    fn narrow(value: f64) -> Self;
}

impl Real for f32 {
    fn wide(self) -> f64 {
        f64::from(self)
    }

    fn narrow(value: f64) -> Self {
        value as Self
    }
}

impl Real for f64 {
    fn wide(self) -> f64 {
        self
    }

    fn narrow(value: f64) -> Self {
        value
    }
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `a b`. A transposed view costs no copy.
///
/// # Errors
/// [`Error::Shape`] when the columns of `a` are not the rows of `b`.
pub fn matmul<T: Real>(a: ArrayView2<T>, b: ArrayView2<T>) -> Result<Array2<T>> {
    if a.ncols() != b.nrows() {
        return Err(Error::shape("rows of the right factor", a.ncols(), b.nrows()));
    }
    let (rows, columns) = (a.nrows(), b.ncols());
    let mut product = vec![T::zero(); rows * columns];
    if a.ncols() > 0 && !product.is_empty() {
        // A product with a vector is split along the sum, so that the rounding would depend on the
        // number of threads.
        let thin = rows.min(columns) < 16;
        let par = if thin { Par::Seq } else { Par::rayon(0) };
        let (a, b) = (contiguous(a), contiguous(b));
        faer_matmul(
            MatMut::from_row_major_slice_mut(&mut product, rows, columns),
            Accum::Replace,
            as_faer(&a),
            as_faer(&b),
            T::one(),
            par,
        );
    }
    from_vec((rows, columns), product)
}

/// `a b` of row-major slices on this thread, into a buffer that is used again: for work that is already
/// cut into parallel pieces. `a` is rows x inner, `b` inner x columns, `product` rows x columns.
pub(crate) fn matmul_into<T: Real>(a: &[T], b: &[T], product: &mut [T], inner: usize) {
    let (rows, columns) = (a.len() / inner, b.len() / inner);
    faer_matmul(
        MatMut::from_row_major_slice_mut(product, rows, columns),
        Accum::Replace,
        MatRef::from_row_major_slice(a, rows, inner),
        MatRef::from_row_major_slice(b, inner, columns),
        T::one(),
        Par::Seq,
    );
}

/// Eigenvalues and eigenvectors of a symmetric matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct SymmetricEigen<T> {
    /// Eigenvalues, descending.
    pub values: Array1<T>,
    /// Eigenvectors, one a column, in the order of `values`; orthonormal.
    pub vectors: Array2<T>,
}

/// The eigendecomposition of a symmetric matrix, of which the lower triangle is read.
///
/// # Errors
/// [`Error::Shape`] when it is not square, [`Error::NotFinite`], [`Error::NoConvergence`].
pub fn symmetric_eigen<T: Real>(matrix: ArrayView2<T>) -> Result<SymmetricEigen<T>> {
    let n = matrix.nrows();
    if matrix.ncols() != n {
        return Err(Error::shape("symmetric matrix", (n, n), (n, matrix.ncols())));
    }
    if let Some(index) = matrix.iter().position(|v| !v.is_finite()) {
        return Err(Error::NotFinite { what: "symmetric matrix".into(), index });
    }
    let matrix = contiguous(matrix);
    let mut vectors = Mat::<T>::zeros(n, n);
    let mut values = faer::Col::<T>::zeros(n);
    let scratch =
        evd::self_adjoint_evd_scratch::<T>(n, evd::ComputeEigenvectors::Yes, EIGEN, Default::default());
    evd::self_adjoint_evd(
        as_faer(&matrix),
        values.as_mut().as_diagonal_mut(),
        Some(vectors.as_mut()),
        EIGEN,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| Error::NoConvergence { size: n })?;
    // faer sorts ascending.
    let descending = (0..n).rev().map(|i| values[i]).collect();
    let columns = (0..n).rev().flat_map(|j| vectors.col(j).iter().copied()).collect();
    Ok(SymmetricEigen { values: Array1::from_vec(descending), vectors: from_vec((n, n).f(), columns)? })
}

fn from_vec<T>(shape: impl Into<ndarray::StrideShape<Ix2>>, values: Vec<T>) -> Result<Array2<T>> {
    let found = values.len();
    Array2::from_shape_vec(shape, values)
        .map_err(|error| Error::shape("matrix entries", error.to_string(), found))
}

/// The matrix itself where its memory is contiguous in row- or column-major order, else a copy.
fn contiguous<T: Real>(matrix: ArrayView2<'_, T>) -> CowArray<'_, T, Ix2> {
    if matrix.is_standard_layout() || matrix.t().is_standard_layout() {
        CowArray::from(matrix)
    } else {
        CowArray::from(matrix.as_standard_layout().into_owned())
    }
}

fn as_faer<'a, T: Real>(matrix: &'a CowArray<'_, T, Ix2>) -> MatRef<'a, T> {
    let (rows, columns) = matrix.dim();
    // `contiguous` made sure that there is such a slice.
    let memory = matrix.as_slice_memory_order().unwrap_or_default();
    if matrix.is_standard_layout() {
        MatRef::from_row_major_slice(memory, rows, columns)
    } else {
        MatRef::from_column_major_slice(memory, rows, columns)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array, s};

    use super::*;

    fn wave(rows: usize, columns: usize) -> Array2<f64> {
        Array::from_shape_fn((rows, columns), |(i, j)| ((i * 7 + j * 13 + i * j) as f64).sin())
    }

    #[test]
    fn product_of_every_layout() {
        let (a, b) = (wave(9, 14), wave(14, 5));
        let expected = a.dot(&b);
        let (at, bt) = (a.t().as_standard_layout().into_owned(), b.t().as_standard_layout().into_owned());
        let wide = wave(9, 28);
        for (x, y, e) in [
            (a.view(), b.view(), expected.clone()),
            (at.t(), b.view(), expected.clone()),
            (a.view(), bt.t(), expected),
            (wide.slice(s![.., ..;2]), b.view(), wide.slice(s![.., ..;2]).dot(&b)),
        ] {
            let found = matmul(x, y).unwrap();
            for (f, e) in found.iter().zip(&e) {
                assert_relative_eq!(f, e, epsilon = 1e-12);
            }
        }
        assert!(matmul(a.view(), a.view()).is_err());
        assert_eq!(matmul(a.slice(s![.., ..0]), b.slice(s![..0, ..])).unwrap().sum(), 0.0);
    }

    #[test]
    fn eigen_rebuilds_the_matrix() {
        let a = wave(20, 30);
        let gram = a.dot(&a.t());
        let eigen = symmetric_eigen(gram.view()).unwrap();
        assert!(eigen.values.windows(2).into_iter().all(|w| w[0] >= w[1]));
        let scaled = &eigen.vectors * &eigen.values;
        for (f, e) in scaled.dot(&eigen.vectors.t()).iter().zip(&gram) {
            assert_relative_eq!(f, e, epsilon = 1e-9);
        }
        assert!(symmetric_eigen(a.view()).is_err());
        assert!(symmetric_eigen(Array2::from_elem((2, 2), f64::NAN).view()).is_err());
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let a = wave(300, 700).mapv(|v| v as f32);
        let wide = wave(700, 9000).mapv(|v| v as f32);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let gram = matmul(a.view(), a.t()).unwrap();
                let eigen = symmetric_eigen(gram.view()).unwrap();
                let vector = matmul(a.slice(s![..1, ..]), wide.view()).unwrap();
                (gram, eigen, vector)
            })
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(5));
    }
}
