//! Pearson correlation of every row of one matrix with every row of another.

use dina_stats::linalg::matmul;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use rayon::prelude::*;

use crate::{Error, Result};

/// Rows whose norms after centring are known, without a centred copy of them.
///
/// A centred query has no component along the constant, so its product with a row is its product with
/// the centred row; only the norm has to be divided by.
pub(crate) struct Standardised<'a> {
    rows: ArrayView2<'a, f32>,
    mean: Array1<f32>,
    /// 1 / norm of the centred row; 0 where that is 0.
    scale: Array1<f32>,
}

impl<'a> Standardised<'a> {
    pub(crate) fn new(what: &str, rows: ArrayView2<'a, f32>) -> Result<Self> {
        Error::all_finite(what, rows)?;
        let (mean, scale): (Vec<f32>, Vec<f32>) = rows
            .axis_iter(Axis(0))
            .into_par_iter()
            .map(|row| {
                let row = row.as_standard_layout();
                let values = row.as_slice().unwrap_or_default();
                let mean = sum_of(values, |v| v) / values.len().max(1) as f64;
                let squares = sum_of(values, |v| (v - mean) * (v - mean));
                let all = sum_of(values, |v| v * v);
                // Rounding leaves a constant row with a tiny variance.
                let varies = squares > 1e-12 * all;
                let scale = if varies { 1.0 / squares.sqrt() } else { 0.0 };
                (mean as f32, scale as f32)
            })
            .unzip();
        Ok(Self { rows, mean: mean.into(), scale: scale.into() })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.nrows()
    }

    /// Rows centred and scaled to norm 1; a constant row becomes 0.
    fn unit_rows(&self) -> Array2<f32> {
        let mut unit = self.rows.to_owned();
        unit.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i, mut row)| {
            let (mean, scale) = (self.mean[i], self.scale[i]);
            row.mapv_inplace(|v| (v - mean) * scale);
        });
        unit
    }
}

/// Sum of a function of the values, in lanes that do not wait for one another.
fn sum_of(values: &[f32], f: impl Fn(f64) -> f64) -> f64 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut lanes = [0.0; 16];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f(f64::from(value));
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&value| f(f64::from(value))).sum::<f64>()
}

/// Pearson correlations, queries x candidates, of the rows of two matrices with the same columns. A
/// row without variance correlates with nothing: 0.
///
/// # Errors
/// [`Error::Shape`] when the columns differ, [`Error::NotFinite`].
pub fn correlate(queries: ArrayView2<f32>, candidates: ArrayView2<f32>) -> Result<Array2<f32>> {
    correlate_block(queries, &Standardised::new("candidates", candidates)?)
}

pub(crate) fn correlate_block(queries: ArrayView2<f32>, candidates: &Standardised) -> Result<Array2<f32>> {
    if queries.ncols() != candidates.rows.ncols() {
        return Err(Error::shape("columns of the queries", candidates.rows.ncols(), queries.ncols()));
    }
    let unit = Standardised::new("queries", queries)?.unit_rows();
    let mut similarity = matmul(unit.view(), candidates.rows.t())?;
    similarity.axis_iter_mut(Axis(0)).into_par_iter().zip(unit.axis_iter(Axis(0))).for_each(
        |(mut row, unit)| {
            // What rounding left of the query's mean would otherwise be multiplied by that of the
            // candidate.
            let residue = unit
                .as_slice()
                .map_or_else(|| unit.iter().map(|&v| f64::from(v)).sum(), |u| sum_of(u, |v| v))
                as f32;
            for (value, (&mean, &scale)) in row.iter_mut().zip(candidates.mean.iter().zip(&candidates.scale))
            {
                *value = ((*value - residue * mean) * scale).clamp(-1.0, 1.0);
            }
        },
    );
    Ok(similarity)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use dina_stats::reliability::Correlation;
    use ndarray::{Array, array};

    use super::*;

    #[test]
    fn as_pearson_with_an_offset() {
        let wave = |rows: usize, phase: f32| {
            Array::from_shape_fn((rows, 50), |(i, j)| 20.0 + ((i * 11 + j * 3 + i * j) as f32 + phase).sin())
        };
        let (a, b) = (wave(4, 0.0), wave(6, 0.4));
        let found = correlate(a.view(), b.view()).unwrap();
        let row = |m: &Array2<f32>, i: usize| m.row(i).mapv(f64::from).to_vec();
        for ((i, j), &r) in found.indexed_iter() {
            let expected = Correlation::pearson(&row(&a, i), &row(&b, j)).unwrap().get();
            assert_relative_eq!(f64::from(r), expected, epsilon = 1e-5);
        }
    }

    #[test]
    fn constant_rows_correlate_with_nothing() {
        let a = array![[0.1_f32, 0.1, 0.1], [1.0, 2.0, 3.0]];
        let found = correlate(a.view(), a.view()).unwrap();
        assert_eq!(found[[0, 0]], 0.0);
        assert_eq!(found[[0, 1]], 0.0);
        assert_relative_eq!(found[[1, 1]], 1.0, epsilon = 1e-6);
        assert!(correlate(a.view(), a.slice(ndarray::s![.., ..2])).is_err());
    }
}
