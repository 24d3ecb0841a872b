//! Where the true candidate stands among all.

use ndarray::{ArrayView2, Axis, Zip, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    correlation::{Standardised, correlate_block},
};

/// The place of the true candidate for each query of one pool.
///
/// The rank counts from 1, with mid-rank ties: 1 + (candidates above) + (other candidates tied) / 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranks {
    above: Vec<u32>,
    tied: Vec<u32>,
    pool: usize,
}

impl Ranks {
    /// Ranks from a similarity matrix, queries x candidates; `truth` is the column of the true
    /// candidate of each query. Larger is more similar.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no query or fewer than two candidates, or `truth` has another
    /// length or names a column that is not there; [`Error::NotFinite`].
    pub fn new(similarity: ArrayView2<f32>, truth: &[usize]) -> Result<Self> {
        check_pool(similarity.dim(), truth)?;
        Error::all_finite("similarity", similarity)?;
        let places = similarity
            .axis_iter(Axis(0))
            .into_par_iter()
            .zip(truth)
            .map(|(row, &true_column)| {
                let own = row[true_column];
                let above = row.iter().filter(|&&v| v > own).count();
                let tied = row.iter().filter(|&&v| v == own).count() - 1;
                (above as u32, tied as u32)
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        Ok(Self { above: places.0, tied: places.1, pool: similarity.ncols() })
    }

    /// Number of candidates, N.
    pub fn pool(&self) -> usize {
        self.pool
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.above.len()
    }

    /// Whether there is no query; never so for ranks made by this crate.
    pub fn is_empty(&self) -> bool {
        self.above.is_empty()
    }

    /// The rank of each query, from 1 (best) to N; halves where an odd number of others tie.
    pub fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.above
            .iter()
            .zip(&self.tied)
            .map(|(&above, &tied)| 1.0 + f64::from(above) + f64::from(tied) / 2.0)
    }

    /// The fraction of queries of rank at most k. A tie for the first place is no hit at k = 1.
    pub fn top(&self, k: usize) -> f64 {
        let hits = self.values().filter(|&rank| rank <= k as f64).count();
        hits as f64 / self.len() as f64
    }

    /// What [`Ranks::top`] is by chance, k / N.
    pub fn chance(&self, k: usize) -> f64 {
        (k as f64 / self.pool as f64).min(1.0)
    }

    /// Mean over queries of 1 / rank.
    pub fn mean_reciprocal(&self) -> f64 {
        self.values().map(|rank| 1.0 / rank).sum::<f64>() / self.len() as f64
    }

    /// Two-way identification, (N - mean rank) / (N - 1): how often the true candidate beats a random
    /// other one. Chance is one half.
    pub fn two_way(&self) -> f64 {
        let mean = self.values().sum::<f64>() / self.len() as f64;
        (self.pool as f64 - mean) / (self.pool as f64 - 1.0)
    }

    /// The median rank.
    pub fn median(&self) -> f64 {
        median(self.values().collect())
    }

    /// Candidates that are not below the true one, itself not counted.
    fn rivals(&self) -> impl Iterator<Item = usize> + '_ {
        self.above.iter().zip(&self.tied).map(|(&above, &tied)| (above + tied) as usize)
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

pub(crate) fn check_pool((queries, candidates): (usize, usize), truth: &[usize]) -> Result<()> {
    if queries == 0 || candidates < 2 {
        return Err(Error::shape(
            "similarity",
            "at least one query and two candidates",
            (queries, candidates),
        ));
    }
    if truth.len() != queries {
        return Err(Error::shape("true candidates", queries, truth.len()));
    }
    match truth.iter().find(|&&column| column >= candidates) {
        None => Ok(()),
        Some(column) => Err(Error::shape("true candidate", format!("a column below {candidates}"), column)),
    }
}

/// Ranks by Pearson correlation of each query with each candidate (both rows x features), without
/// ever holding the whole similarity matrix: queries go by in blocks.
///
/// A row without variance correlates with nothing: its similarity is 0 throughout.
///
/// # Errors
/// As [`Ranks::new`], and [`Error::Shape`] when queries and candidates differ in features.
pub fn rank_by_correlation(
    queries: ArrayView2<f32>,
    candidates: ArrayView2<f32>,
    truth: &[usize],
) -> Result<Ranks> {
    /// Large enough for the matrix product to run at full speed.
    const BLOCK: usize = 512;
    check_pool((queries.nrows(), candidates.nrows()), truth)?;
    let candidates = Standardised::new("candidates", candidates)?;
    let mut ranks = Ranks {
        above: Vec::with_capacity(truth.len()),
        tied: Vec::with_capacity(truth.len()),
        pool: candidates.len(),
    };
    for (block, truth) in truth.chunks(BLOCK).enumerate() {
        let start = block * BLOCK;
        let rows = queries.slice(s![start..start + truth.len(), ..]);
        let found = Ranks::new(correlate_block(rows, &candidates)?.view(), truth)?;
        ranks.above.extend(found.above);
        ranks.tied.extend(found.tied);
    }
    Ok(ranks)
}

/// The expected top-1 when each pool is cut down at random to `size` candidates, the true one kept.
///
/// With b of the N - 1 others at least as similar as the true one, the chance that none of them is
/// among the size - 1 drawn is C(N - 1 - b, size - 1) / C(N - 1, size - 1) (hypergeometric). The mean
/// over all queries of all pools, for each of `sizes`.
///
/// # Errors
/// [`Error::Value`] when there are no queries, or a size is 0 or larger than the smallest pool.
pub fn top1_by_pool_size(pools: &[Ranks], sizes: &[usize]) -> Result<Vec<f64>> {
    let queries: usize = pools.iter().map(Ranks::len).sum();
    let smallest = pools.iter().map(Ranks::pool).min().unwrap_or(0);
    if queries == 0 {
        return Err(Error::value("number of queries", "at least 1", 0));
    }
    if let Some(size) = sizes.iter().find(|&&size| size == 0 || size > smallest) {
        return Err(Error::value("pool size", format!("between 1 and {smallest}"), size));
    }
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let mut totals = vec![0.0; largest];
    for ranks in pools {
        let others = (ranks.pool - 1) as f64;
        for rivals in ranks.rivals() {
            let mut alone = 1.0;
            for (drawn, total) in totals.iter_mut().enumerate() {
                // The draw of one more candidate, after `drawn` - 1 that were no rivals.
                if drawn > 0 {
                    let before = (drawn - 1) as f64;
                    alone *= ((others - rivals as f64 - before) / (others - before)).max(0.0);
                }
                if alone == 0.0 {
                    break;
                }
                *total += alone;
            }
        }
    }
    Ok(sizes.iter().map(|&size| totals[size - 1] / queries as f64).collect())
}

/// Mid-ranks of every candidate for every query, from 1 (most similar), as two-way scores
/// (N - rank) / (N - 1).
pub(crate) fn two_way_of_every_candidate(similarity: ArrayView2<f32>) -> ndarray::Array2<f32> {
    let mut scores = ndarray::Array2::zeros(similarity.dim());
    let others = (similarity.ncols() - 1) as f32;
    Zip::from(scores.rows_mut()).and(similarity.rows()).par_for_each(|mut scores, row| {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_unstable_by(|&a, &b| row[a].total_cmp(&row[b]));
        let mut start = 0;
        while start < order.len() {
            let value = row[order[start]];
            let tied = order[start..].iter().take_while(|&&c| row[c] == value).count();
            // Candidates beaten, plus half of those tied with.
            let score = (start as f32 + (tied - 1) as f32 / 2.0) / others;
            for &candidate in &order[start..start + tied] {
                scores[candidate] = score;
            }
            start += tied;
        }
    });
    scores
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use dina_core::Seed;
    use ndarray::{Array, Array2, array};
    use proptest::prelude::*;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::correlation::correlate;

    fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
        let mut rng = Seed::new(seed).stream("normals");
        Array::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
    }

    #[test]
    fn ranks_by_hand() {
        let similarity = array![[0.9, 0.1, 0.5, 0.2], [0.5, 0.5, 0.5, 0.1], [0.1, 0.2, 0.3, 0.0],];
        let ranks = Ranks::new(similarity.view(), &[0, 1, 3]).unwrap();
        assert_eq!(ranks.values().collect::<Vec<_>>(), [1.0, 2.0, 4.0]);
        assert_relative_eq!(ranks.top(1), 1.0 / 3.0);
        assert_relative_eq!(ranks.top(2), 2.0 / 3.0);
        assert_relative_eq!(ranks.chance(1), 0.25);
        assert_relative_eq!(ranks.chance(9), 1.0);
        assert_relative_eq!(ranks.mean_reciprocal(), (1.0 + 0.5 + 0.25) / 3.0);
        assert_relative_eq!(ranks.two_way(), (4.0 - 7.0 / 3.0) / 3.0);
        assert_relative_eq!(ranks.median(), 2.0);
    }

    #[test]
    fn a_constant_similarity_is_at_chance() {
        let ranks = Ranks::new(Array2::zeros((7, 10)).view(), &[3; 7]).unwrap();
        assert_relative_eq!(ranks.two_way(), 0.5);
        assert_relative_eq!(ranks.median(), 5.5);
        assert_eq!(ranks.top(1), 0.0);
    }

    #[test]
    fn chunked_equals_whole() {
        let (queries, candidates) = (normals(1100, 30, 1), normals(40, 30, 2));
        let truth: Vec<usize> = (0..1100).map(|q| q % 40).collect();
        let whole = correlate(queries.view(), candidates.view()).unwrap();
        assert_eq!(
            rank_by_correlation(queries.view(), candidates.view(), &truth).unwrap(),
            Ranks::new(whole.view(), &truth).unwrap()
        );
    }

    #[test]
    fn curve_by_hand() {
        let similarity = array![[0.5, 0.9, 0.1, 0.2, 0.3]];
        // One rival among four others: the chance to miss it in two draws is 3/4 * 2/3.
        let ranks = [Ranks::new(similarity.view(), &[0]).unwrap()];
        let found = top1_by_pool_size(&ranks, &[1, 2, 3, 5]).unwrap();
        for (f, e) in found.iter().zip([1.0, 0.75, 0.5, 0.0]) {
            assert_relative_eq!(*f, e, epsilon = 1e-12);
        }
        assert!(top1_by_pool_size(&ranks, &[6]).is_err());
        assert!(top1_by_pool_size(&[], &[1]).is_err());
    }

    proptest! {
        /// At two candidates the curve is the two-way score, at the whole pool it is top-1.
        #[test]
        fn curve_meets_two_way_and_top1(seed in 0_u64..1000, queries in 1_usize..20, pool in 2_usize..30) {
            let similarity = normals(queries, pool, seed);
            let truth: Vec<usize> = (0..queries).map(|q| q % pool).collect();
            let ranks = Ranks::new(similarity.view(), &truth).unwrap();
            let curve = top1_by_pool_size(std::slice::from_ref(&ranks), &[2, pool]).unwrap();
            prop_assert!((curve[0] - ranks.two_way()).abs() < 1e-9);
            prop_assert!((curve[1] - ranks.top(1)).abs() < 1e-9);
            let scores = two_way_of_every_candidate(similarity.view());
            let own = truth.iter().enumerate().map(|(q, &t)| f64::from(scores[[q, t]])).sum::<f64>();
            prop_assert!((own / queries as f64 - ranks.two_way()).abs() < 1e-5);
        }
    }

    #[test]
    fn refuses_nonsense() {
        let similarity = array![[0.1, f32::NAN], [0.2, 0.3]];
        assert!(matches!(
            Ranks::new(similarity.view(), &[0, 1]),
            Err(Error::NotFinite { row: 0, column: 1, .. })
        ));
        let good = normals(2, 3, 0);
        assert!(Ranks::new(good.view(), &[0]).is_err());
        assert!(Ranks::new(good.view(), &[0, 3]).is_err());
        assert!(Ranks::new(good.slice(s![.., ..1]), &[0, 0]).is_err());
    }
}
