//! A safe face on the `gemm` crate: strided views that are checked against their slices.

use crate::real::Real;

/// A matrix inside a slice: `data[row * row_stride + column * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows one after the other.
    pub(crate) fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        assert!(data.len() >= rows * columns, "matrix larger than its slice");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Rows `row_stride` apart.
    pub(crate) fn strided(data: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        let fits = rows == 0 || columns <= row_stride && data.len() >= (rows - 1) * row_stride + columns;
        assert!(fits, "matrix larger than its slice");
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub(crate) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Where a product goes: rows `row_stride` apart.
pub(crate) struct Target<'a, T> {
    pub data: &'a mut [T],
    pub row_stride: usize,
}

/// `c = a b`, or `c += a b` with `accumulate`; `c` is row-major `a.rows x b.columns`.
pub(crate) fn product<T: Real>(a: Matrix<T>, b: Matrix<T>, c: &mut [T], accumulate: bool, threads: bool) {
    let row_stride = b.columns;
    product_into(a, b, Target { data: c, row_stride }, accumulate, threads);
}

/// The same into a part of a larger matrix.
pub(crate) fn product_into<T: Real>(
    a: Matrix<T>,
    b: Matrix<T>,
    c: Target<T>,
    accumulate: bool,
    threads: bool,
) {
    assert_eq!(a.columns, b.rows, "inner dimensions of a matrix product");
    if a.rows == 0 || b.columns == 0 {
        return;
    }
    let end = (a.rows - 1) * c.row_stride + b.columns;
    assert!(b.columns <= c.row_stride && c.data.len() >= end, "result larger than its slice");
    let parallelism = if threads { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    // SAFETY: the constructors of `Matrix` checked that every element lies in its slice and `t` only
    // swaps strides; `c` was checked above and is borrowed exclusively.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            c.data.as_mut_ptr(),
            1,
            c.row_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_products_match_by_hand() {
        let a = [1., 2., 3., 4., 5., 6.]; // 2 x 3
        let mut c = [1.; 9];
        product(Matrix::new(&a, 2, 3).t(), Matrix::new(&a, 2, 3), &mut c, true, false);
        assert_eq!(c, [18., 23., 28., 23., 30., 37., 28., 37., 46.]);
        product(Matrix::new(&a, 2, 3), Matrix::new(&a, 2, 3).t(), &mut c, false, false);
        assert_eq!(c[..4], [14., 32., 32., 77.]);
        // The last two columns of both, into the first two columns of a wider matrix.
        let mut wide = [0.; 7];
        let right = Matrix::strided(&a[1..], 2, 2, 3);
        product_into(right, right.t(), Target { data: &mut wide, row_stride: 5 }, false, false);
        assert_eq!(wide, [13., 28., 0., 0., 0., 28., 61.]);
    }
}
