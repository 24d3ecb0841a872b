//! Statistics of blocks of columns.

use std::ops::Range;

use ndarray::ArrayView2;

use crate::{Error, Result};

pub(super) fn check_rows(responses: ArrayView2<f32>, trials: &[Vec<usize>]) -> Result<()> {
    match trials.iter().flatten().find(|&&row| row >= responses.nrows()) {
        None => Ok(()),
        Some(row) => Err(Error::shape("trial", format!("a row below {}", responses.nrows()), row)),
    }
}

/// Unbiased variance of each column over some rows.
pub(super) fn variances(block: ArrayView2<f32>, rows: &[usize]) -> Vec<f64> {
    let means = means(block, rows);
    let mut squares = vec![0.0; block.ncols()];
    for &row in rows {
        for ((sum, &value), mean) in squares.iter_mut().zip(block.row(row)).zip(&means) {
            *sum += (f64::from(value) - mean).powi(2);
        }
    }
    squares.iter().map(|s| s / (rows.len() - 1) as f64).collect()
}

pub(super) fn means(block: ArrayView2<f32>, rows: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0; block.ncols()];
    for &row in rows {
        for (sum, &value) in sums.iter_mut().zip(block.row(row)) {
            *sum += f64::from(value);
        }
    }
    sums.iter().map(|s| s / rows.len() as f64).collect()
}

/// Blocks of columns that stay in cache while the rows go by.
pub(super) fn column_blocks(columns: usize) -> Vec<Range<usize>> {
    const WIDTH: usize = 256;
    (0..columns).step_by(WIDTH).map(|start| start..(start + WIDTH).min(columns)).collect()
}

pub(super) fn flatten<T>(blocks: Vec<Result<Vec<T>>>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for block in blocks {
        all.extend(block?);
    }
    Ok(all)
}

pub(super) fn finite(what: &str, values: ArrayView2<f32>) -> Result<()> {
    Error::all_finite(what, values.iter().map(|&v| f64::from(v)))
}
