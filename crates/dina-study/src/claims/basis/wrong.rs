use dina_core::Seed;

use super::features::{FeatureSet, Origin};
use super::{Case, Reading, Tally, ahead};
use crate::Result;
use crate::claims::{Pairing, Sight};

/// What the best wrong answer shares with the image shown, and how often it beats the right one.
///
/// Of features: of the other wrong answers, the share that is less like the image shown than the best wrong answer is, ties
/// half; one half if it is wrong at random. Of categories: how often they are the same, beside how often they would be.
pub(super) fn shared(case: &Case<'_>, sets: &[Vec<FeatureSet>], seed: Seed) -> Result<(Vec<Reading>, f64)> {
    let aligned = case.aligned(Sight::Full, Pairing::Shown)?;
    let (mut features, mut categories) = (Vec::<(String, Tally)>::new(), Tally::default());
    let (mut beaten, mut trials) = (0., 0.);
    for (pool, sets) in aligned.pools(case.trials).iter().zip(sets) {
        let images = pool.images();
        let sets: Vec<&FeatureSet> = sets.iter().filter(|set| set.origin != Origin::Label).collect();
        for (row, &truth) in pool.similarity().outer_iter().zip(pool.truth()) {
            let wrong = (0..images.len()).filter(|&other| other != truth);
            let Some(best) = wrong.max_by(|&a, &b| row[a].total_cmp(&row[b])) else { continue };
            trials += 1.;
            beaten += f64::from(u8::from(row[best] > row[truth]));
            let rest: Vec<usize> =
                (0..images.len()).filter(|&other| other != truth && other != best).collect();
            if images.len() < 4 {
                continue;
            }
            for (place, set) in sets.iter().enumerate() {
                let others = rest.iter().map(|&other| set.alike(truth, other));
                let Some(share) = ahead(set.alike(truth, best), others) else { continue };
                if features.len() == place {
                    features.push((set.name.clone(), Tally::default()));
                }
                features[place].1.add(images[truth], share, 0.5);
            }
            let category = |column: usize| case.categories().and_then(|c| c.of[images[column]]);
            if let (Some(own), Some(found)) = (category(truth), category(best)) {
                let known: Vec<u32> =
                    (0..images.len()).filter(|&other| other != truth).filter_map(category).collect();
                let same = known.iter().filter(|&&other| other == own).count();
                let expected = same as f64 / known.len() as f64;
                categories.add(images[truth], f64::from(u8::from(own == found)), expected);
            }
        }
    }
    let mut found = Vec::new();
    for (name, tally) in features.into_iter().chain([("same category".to_owned(), categories)]) {
        let (values, chance) = tally.finish();
        found.extend(Reading::mean(&name, &values, chance, case, seed.child(&name))?);
    }
    Ok((found, if trials > 0. { beaten / trials } else { 0. }))
}
