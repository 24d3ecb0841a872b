//! Decompositions on one thread each: they run side by side, and their bits do not depend on the threads.

use dina_core::{Error, Result};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::{factor, inverse, solve};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{Mat, MatMut, Par};

/// Sixteen running sums, which the compiler vectorises.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for k in 0..16 {
            sums[k] += a[k] * b[k];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Eigenvectors as columns and eigenvalues, ascending, of a symmetric matrix given row by row.
pub(super) fn eigen(symmetric: &[f32], n: usize) -> Result<(Mat<f32>, Vec<f32>)> {
    let matrix = faer::MatRef::from_row_major_slice(symmetric, n, n);
    let (mut vectors, mut values) = (Mat::<f32>::zeros(n, n), faer::Col::<f32>::zeros(n));
    let need = self_adjoint_evd_scratch::<f32>(n, ComputeEigenvectors::Yes, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(need);
    self_adjoint_evd(
        matrix,
        values.as_mut().as_diagonal_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut memory),
        Default::default(),
    )
    .map_err(|e| Error::value("eigendecomposition", "convergent", format!("{e:?}")))?;
    Ok((vectors, values.iter().copied().collect()))
}

/// A Cholesky factor.
pub(super) struct Cholesky {
    factor: Vec<f32>,
    n: usize,
}

impl Cholesky {
    /// Factors a symmetric positive definite matrix.
    pub(super) fn new(mut matrix: Vec<f32>, n: usize) -> Result<Self> {
        let need = factor::cholesky_in_place_scratch::<f32>(n, Par::Seq, Default::default());
        let mut memory = MemBuffer::new(need);
        factor::cholesky_in_place(
            MatMut::from_column_major_slice_mut(&mut matrix, n, n),
            Default::default(),
            Par::Seq,
            MemStack::new(&mut memory),
            Default::default(),
        )
        .map_err(|e| Error::value("covariance", "positive definite", format!("{e:?}")))?;
        Ok(Self { factor: matrix, n })
    }

    /// The inverse, row by row, in full.
    pub(super) fn inverse(&self) -> Vec<f32> {
        let n = self.n;
        let mut out = vec![0f32; n * n];
        let mut memory = MemBuffer::new(inverse::inverse_scratch::<f32>(n, Par::Seq));
        inverse::inverse(
            MatMut::from_column_major_slice_mut(&mut out, n, n),
            faer::MatRef::from_column_major_slice(&self.factor, n, n),
            Par::Seq,
            MemStack::new(&mut memory),
        );
        // Only the lower triangle is filled: column j from row j on.
        for column in 0..n {
            for row in column + 1..n {
                out[row * n + column] = out[column * n + row];
            }
        }
        out
    }

    /// Solves in place for one right-hand side after the other.
    pub(super) fn solve(&self, right: &mut [f32]) {
        let columns = right.len() / self.n;
        let need = solve::solve_in_place_scratch::<f32>(self.n, columns, Par::Seq);
        let mut memory = MemBuffer::new(need);
        solve::solve_in_place(
            faer::MatRef::from_column_major_slice(&self.factor, self.n, self.n),
            MatMut::from_column_major_slice_mut(right, self.n, columns),
            Par::Seq,
            MemStack::new(&mut memory),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_and_solve_undo_the_matrix() {
        let matrix = vec![4., 1., 0.5, 1., 3., 0.2, 0.5, 0.2, 2.];
        let cholesky = Cholesky::new(matrix.clone(), 3).unwrap();
        let inverse = cholesky.inverse();
        for i in 0..3 {
            let mut unit: Vec<f32> = (0..3).map(|j| matrix[i * 3 + j]).collect();
            cholesky.solve(&mut unit);
            for j in 0..3 {
                let expected = f32::from(u8::from(i == j));
                let product: f32 = (0..3).map(|k| matrix[i * 3 + k] * inverse[k * 3 + j]).sum();
                assert!((product - expected).abs() < 1e-5 && (unit[j] - expected).abs() < 1e-5);
            }
        }
        assert!(Cholesky::new(vec![1., 2., 2., 1.], 2).is_err());
    }
}
