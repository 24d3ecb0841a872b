//! Similarities corrected for candidates that resemble everything.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use crate::{Error, Result};

/// Neighbours that tell how densely an item's surroundings are populated; the figure of Conneau et al. 2018.
const NEIGHBOURS: usize = 10;

/// Cross-domain similarity local scaling (Conneau et al. 2018, ICLR, arXiv 1710.04087).
///
/// In a space of many dimensions some candidates, the hubs, are close to every query and take the place of the right
/// one (Radovanovic et al. 2010). With `r(i)` the mean similarity of candidate i to its ten most similar reference
/// queries, and `r(t)` that of query t to its ten most similar reference candidates,
///
/// ```text
/// S'(t, i) = S(t, i) - (r(t) + r(i)) / 2
/// ```
///
/// which ranks candidates of a query by the first correction and, transposed, queries of a candidate by the second. The
/// references come from the training data, so that nothing is learned from other queries or candidates.
///
/// - `similarity`: queries x candidates; corrected in place.
/// - `queries`: reference queries x candidates. Of the same kind as the queries: single trials, or means of as many.
/// - `candidates`: queries x reference candidates.
///
/// ```
/// use dina_decode::local_scaling;
/// use ndarray::array;
///
/// // Candidate 1 is a hub: the reference queries all resemble it.
/// let mut similarity = array![[0.5_f32, 0.6], [0.1, 0.6]];
/// let queries = array![[0.1_f32, 0.6], [0.0, 0.5]];
/// let candidates = array![[0.2_f32], [0.2]];
/// local_scaling(&mut similarity, queries.view(), candidates.view())?;
/// assert!(similarity[[0, 0]] > similarity[[0, 1]]);
/// # Ok::<(), dina_decode::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] when the references do not belong to the similarities, [`Error::Value`] without a reference,
/// [`Error::NotFinite`].
pub fn local_scaling(
    similarity: &mut Array2<f32>,
    queries: ArrayView2<f32>,
    candidates: ArrayView2<f32>,
) -> Result<()> {
    if candidates.nrows() != similarity.nrows() {
        return Err(Error::shape("queries of the reference", similarity.nrows(), candidates.nrows()));
    }
    scale_candidates(similarity, queries)?;
    let of_query = crowding(candidates)?;
    *similarity -= &of_query.insert_axis(Axis(1));
    Ok(())
}

/// The part of [`local_scaling`] that decides between the candidates of a query.
pub(crate) fn scale_candidates(similarity: &mut Array2<f32>, queries: ArrayView2<f32>) -> Result<()> {
    if queries.ncols() != similarity.ncols() {
        return Err(Error::shape("candidates of the reference", similarity.ncols(), queries.ncols()));
    }
    *similarity -= &crowding(queries.t())?;
    Ok(())
}

/// Half the mean of the largest similarities of every row.
fn crowding(similarity: ArrayView2<f32>) -> Result<Array1<f32>> {
    if similarity.ncols() == 0 {
        return Err(Error::value("references of local scaling", "at least one", 0));
    }
    Error::all_finite("similarities to references", similarity)?;
    let rows: Vec<ArrayView1<f32>> = similarity.rows().into_iter().collect();
    Ok(Array1::from_vec(rows.into_par_iter().map(|row| largest_mean(row) / 2.0).collect()))
}

fn largest_mean(row: ArrayView1<f32>) -> f32 {
    let mut values = row.to_vec();
    let kept = NEIGHBOURS.min(values.len());
    values.select_nth_unstable_by(kept - 1, |a, b| b.total_cmp(a));
    values[..kept].iter().sum::<f32>() / kept as f32
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array, array};

    use super::*;

    #[test]
    fn by_hand() {
        let mut similarity = array![[1.0_f32, 2.0], [3.0, 4.0]];
        let queries = Array::from_shape_fn((12, 2), |(t, i)| (t + 12 * i) as f32);
        let candidates = array![[10.0_f32, 20.0], [0.0, 2.0]];
        local_scaling(&mut similarity, queries.view(), candidates.view()).unwrap();
        // The ten largest of 0..12 have mean 6.5, those of 12..24 have mean 18.5.
        let expected = array![[1.0_f32 - 3.25 - 7.5, 2.0 - 9.25 - 7.5], [3.0 - 3.25 - 0.5, 4.0 - 9.25 - 0.5]];
        for (found, expected) in similarity.iter().zip(&expected) {
            assert_relative_eq!(found, expected, epsilon = 1e-5);
        }
    }

    #[test]
    fn refuses_what_does_not_belong() {
        let mut similarity = Array2::<f32>::zeros((3, 4));
        let scale = |s: &mut Array2<f32>, queries: (usize, usize), candidates: (usize, usize)| {
            local_scaling(s, Array2::zeros(queries).view(), Array2::zeros(candidates).view())
        };
        assert!(scale(&mut similarity, (5, 4), (3, 6)).is_ok());
        assert!(scale(&mut similarity, (5, 3), (3, 6)).is_err());
        assert!(scale(&mut similarity, (5, 4), (2, 6)).is_err());
        assert!(scale(&mut similarity, (0, 4), (3, 6)).is_err());
        assert!(scale(&mut similarity, (5, 4), (3, 0)).is_err());
        let nan = Array2::from_elem((5, 4), f32::NAN);
        assert!(local_scaling(&mut similarity, nan.view(), Array2::zeros((3, 6)).view()).is_err());
    }
}
