use dina_core::Seed;
use ndarray::ArrayView1;

use super::features::{FeatureSet, Origin};
use super::{Case, Reading, Tally, ahead};
use crate::Result;
use crate::claims::{Pairing, Sight};

/// The most and the least alike of the other images, as a share of them.
const TAIL: f64 = 0.1;

/// Candidates that make a kind of distractors, at least.
const FEWEST: usize = 3;

/// Two-way identification against kinds of distractors: how often the image shown is more similar to the response than an
/// image of that kind.
pub(super) fn distractors(case: &Case<'_>, sets: &[Vec<FeatureSet>], seed: Seed) -> Result<Vec<Reading>> {
    let aligned = case.aligned(Sight::Full, Pairing::Shown)?;
    let mut kinds: Vec<(String, Tally)> = Vec::new();
    for (pool, sets) in aligned.pools(case.trials).iter().zip(sets) {
        let of: Vec<Kinds> =
            (0..pool.images().len()).map(|truth| kinds_of(case, pool.images(), sets, truth)).collect();
        for (row, &truth) in pool.similarity().outer_iter().zip(pool.truth()) {
            for (name, others) in &of[truth] {
                let Some(score) = two_way(row, truth, others) else { continue };
                let place = kinds.iter().position(|(known, _)| known == name);
                let place = place.unwrap_or_else(|| {
                    kinds.push((name.clone(), Tally::default()));
                    kinds.len() - 1
                });
                kinds[place].1.add(pool.images()[truth], score, 0.5);
            }
        }
    }
    let mut found = Vec::new();
    for (name, tally) in kinds {
        let (values, chance) = tally.finish();
        found.extend(Reading::mean(&name, &values, chance, case, seed.child(&name))?);
    }
    Ok(found)
}

/// Names of kinds, with the candidates of each.
type Kinds = Vec<(String, Vec<usize>)>;

fn kinds_of(case: &Case<'_>, images: &[usize], sets: &[FeatureSet], truth: usize) -> Kinds {
    let others: Vec<usize> = (0..images.len()).filter(|&other| other != truth).collect();
    let mut kinds = vec![("all other images".to_owned(), others.clone())];
    let category = |column: usize| case.categories().and_then(|c| c.of[images[column]]);
    if let Some(own) = category(truth) {
        let (same, different): (Vec<usize>, Vec<usize>) = others
            .iter()
            .filter(|&&other| category(other).is_some())
            .partition(|&&o| category(o) == Some(own));
        kinds.push(("of the same category".into(), same));
        kinds.push(("of other categories".into(), different));
    }
    let tail = ((others.len() as f64 * TAIL).round() as usize).max(FEWEST);
    // Where a tenth is half of all, most and least alike say the same.
    if 2 * tail > others.len() {
        return kinds;
    }
    for set in sets.iter().filter(|set| !matches!(set.origin, Origin::Label | Origin::RandomWeights)) {
        let mut sorted: Vec<(f64, usize)> = others.iter().map(|&o| (set.alike(truth, o), o)).collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let columns = |part: &[(f64, usize)]| part.iter().map(|(_, column)| *column).collect();
        kinds.push((format!("most alike: {}", set.name), columns(&sorted[..tail])));
        kinds.push((format!("least alike: {}", set.name), columns(&sorted[sorted.len() - tail..])));
    }
    kinds
}

fn two_way(row: ArrayView1<'_, f32>, truth: usize, others: &[usize]) -> Option<f64> {
    if others.len() < FEWEST {
        return None;
    }
    ahead(f64::from(row[truth]), others.iter().map(|&other| f64::from(row[other])))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn ties_are_half_won() {
        let row = array![3., 1., 3., 4., 0.];
        assert_eq!(two_way(row.view(), 0, &[1, 2, 3, 4]), Some(2.5 / 4.));
        assert_eq!(two_way(row.view(), 0, &[1, 2]), None);
    }
}
