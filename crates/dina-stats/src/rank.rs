//! Ranks with ties.

/// Ranks from 1, tied values sharing the mean of theirs; 0 and -0 tie. Values have to be free of NaN: those would rank
/// last (or first, by their sign), each on its own.
pub fn midranks(values: &[f64]) -> Vec<f64> {
    let mut ranks = vec![0.0; values.len()];
    for (positions, tied) in tied_groups(values) {
        let rank = (positions.0 + positions.1 + 1) as f64 / 2.0;
        tied.into_iter().for_each(|i| ranks[i] = rank);
    }
    ranks
}

/// sum over groups of t^3 - t, with t the size of a group of tied values: what ties take from the variance
/// of a sum of ranks.
pub(crate) fn tie_term(values: &[f64]) -> f64 {
    tied_groups(values).iter().map(|(_, tied)| tied.len() as f64).map(|t| t.powi(3) - t).sum()
}

/// Groups of equal values, ascending: the range of their positions and their indices.
fn tied_groups(values: &[f64]) -> Vec<((usize, usize), Vec<usize>)> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut start = 0;
    order
        .chunk_by(|&a, &b| values[a] == values[b])
        .map(|tied| {
            let positions = (start, start + tied.len());
            start = positions.1;
            (positions, tied.to_vec())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_ranks() {
        let values = [3.0, 1.0, 3.0, 2.0, 3.0];
        assert_eq!(midranks(&values), [4.0, 1.0, 4.0, 2.0, 4.0]);
        assert_eq!(tie_term(&values), 24.0);
        assert_eq!(tie_term(&[1.0, 2.0]), 0.0);
    }

    /// 0 and -0 are one value.
    #[test]
    fn signed_zeros_tie() {
        assert_eq!(midranks(&[0.0, -0.0, 1.0]), [1.5, 1.5, 3.0]);
    }
}
