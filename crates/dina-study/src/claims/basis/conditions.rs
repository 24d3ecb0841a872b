use dina_core::Seed;
use dina_decode::identification::Pool;
use serde::{Deserialize, Serialize};

use super::category::by_category_alone;
use super::{Reading, say};
use crate::claims::{Case, Pairing, Sight};
use crate::comparison::by_image;
use crate::{Measure, Result};

/// Identification under one condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// What was done.
    pub name: String,
    /// How often the image shown is more similar to the response than a random other one.
    pub two_way: Reading,
    /// How often it is the most similar of all.
    pub top1: Reading,
}

/// As it is; pairs that were never shown; images that hold nothing; towers that learned nothing; responses to nothing.
pub(super) fn conditions(case: &Case<'_>, seed: Seed, absent: &mut Vec<String>) -> Result<Vec<Condition>> {
    let mut found = Vec::new();
    let mut add = |name: &str, pools: &[Pool]| -> Result<()> {
        found.extend(condition(case, name, pools, seed.child(name))?);
        Ok(())
    };
    add("as recorded", case.aligned(Sight::Full, Pairing::Shown)?.pools(case.trials))?;
    add(
        "towers fitted to permuted images",
        case.aligned(Sight::Full, Pairing::Permuted)?.pools(case.trials),
    )?;
    add("noise in place of every image", case.aligned(Sight::Noise, Pairing::Shown)?.pools(case.trials))?;
    add("towers with random weights", case.untrained()?.pools(case.trials))?;
    match case.spontaneous(seed.child("bins"))? {
        Some(decoded) => add("spontaneous activity as responses", decoded.pools(case.trials))?,
        None => say(
            absent,
            "The recording has too little spontaneous activity to decode it in place of responses.".into(),
        ),
    }
    Ok(found)
}

/// Models that may use coarse detail only, fine detail only, or the category only, beside one that may use all.
pub(super) fn restricted(case: &Case<'_>, seed: Seed) -> Result<Vec<Condition>> {
    let mut found = Vec::new();
    let sights =
        [("everything", Sight::Full), ("coarse detail", Sight::Coarse), ("fine detail", Sight::Fine)];
    for (name, sight) in sights {
        let aligned = case.aligned(sight, Pairing::Shown)?;
        found.extend(condition(case, name, aligned.pools(case.trials), seed.child(name))?);
    }
    let pools = by_category_alone(case)?;
    if !pools.is_empty() {
        found.extend(condition(case, "the category", &pools, seed.child("category"))?);
    }
    Ok(found)
}

fn condition(case: &Case<'_>, name: &str, pools: &[Pool], seed: Seed) -> Result<Option<Condition>> {
    let mean = |measure: Measure, chance: f64| -> Result<Option<Reading>> {
        let values: Vec<f64> = by_image(pools, measure)?.into_values().collect();
        Reading::mean(name, &values, chance, case, seed)
    };
    let trials: usize = pools.iter().map(|pool| pool.truth().len()).sum();
    // Folds may differ in size by an image.
    let top1 = pools.iter().map(|p| p.truth().len() as f64 / p.images().len() as f64).sum::<f64>();
    let (two_way, top1) = (mean(Measure::TwoWay, 0.5)?, mean(Measure::Top1, top1 / trials.max(1) as f64)?);
    Ok(two_way.zip(top1).map(|(two_way, top1)| Condition { name: name.into(), two_way, top1 }))
}
