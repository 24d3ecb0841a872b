//! DINA against each baseline on the same queries.

use std::collections::BTreeMap;

use dina_core::Seed;
use dina_decode::Ranks;
use dina_decode::identification::{Decoder, Pool, Trials};
use dina_stats::bootstrap::{Bootstrap, Interval, Resampling};
use dina_stats::multiplicity::holm;
use dina_stats::permutation::{Permutation, Tail};
use serde::{Deserialize, Serialize};

use crate::{Decoded, Error, Result};

/// What the report leads with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// How often the image shown is the most similar.
    Top1,
    /// How often it is more similar than a random other one.
    TwoWay,
}

impl Measure {
    /// The name in tables and captions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Top1 => "top-1",
            Self::TwoWay => "two-way",
        }
    }

    fn of(self, rank: f64, pool: usize) -> f64 {
        match self {
            Self::Top1 => f64::from(u8::from(rank <= 1.)),
            Self::TwoWay => (pool as f64 - rank) / (pool as f64 - 1.),
        }
    }
}

/// The difference of DINA and one baseline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The baseline.
    pub baseline: Decoder,
    /// What is compared.
    pub measure: Measure,
    /// Of single trials or of means.
    pub trials: Trials,
    /// DINA minus the baseline.
    pub difference: f64,
    /// Interval of the difference, images resampled.
    pub ci_low: f64,
    /// Its other end.
    pub ci_high: f64,
    /// Sign-flip test over images, two-sided, Holm-corrected over the baselines.
    pub p_adjusted: f64,
}

/// Compares image by image: differences are averaged over the trials of an image first, because trials of one
/// image are not independent.
///
/// # Errors
/// When decoders were tested on different images.
pub fn compare(
    decoded: &[Decoded],
    measure: Measure,
    trials: Trials,
    permutations: usize,
    seed: Seed,
) -> Result<Vec<Comparison>> {
    let Some(dina) = decoded.iter().find(|d| d.decoder == Decoder::Dina) else { return Ok(Vec::new()) };
    if decoded.len() == 1 {
        return Ok(Vec::new());
    }
    let ours = by_image(dina.pools(trials), measure)?;
    let mut comparisons = Vec::new();
    let mut p = Vec::new();
    for baseline in decoded.iter().filter(|d| d.decoder != Decoder::Dina) {
        let theirs = by_image(baseline.pools(trials), measure)?;
        if !ours.keys().eq(theirs.keys()) {
            let name = crate::decoding::name(baseline.decoder);
            return Err(Error::Job(format!(
                "dina and {name} were tested on different images; compare them on one split"
            )));
        }
        let differences: Vec<f64> = ours.values().zip(theirs.values()).map(|(a, b)| a - b).collect();
        let seed = seed.child(crate::decoding::name(baseline.decoder));
        let (interval, p_value) = paired(&differences, permutations, seed)?;
        p.push(p_value);
        comparisons.push(Comparison {
            baseline: baseline.decoder,
            measure,
            trials,
            difference: interval.estimate,
            ci_low: interval.low,
            ci_high: interval.high,
            p_adjusted: f64::NAN,
        });
    }
    for (comparison, p) in comparisons.iter_mut().zip(holm(&p)?) {
        comparison.p_adjusted = p;
    }
    Ok(comparisons)
}

/// Mean of paired differences with its interval, items resampled, and the p of a two-sided sign-flip test of it.
pub(crate) fn paired(differences: &[f64], permutations: usize, seed: Seed) -> Result<(Interval, f64)> {
    let mean = |items: &[usize]| items.iter().map(|&i| differences[i]).sum::<f64>() / items.len() as f64;
    let resampling = Resampling::items(differences.len());
    let interval = Bootstrap::default().interval(&resampling, mean, seed.child("bootstrap"))?;
    let test = Permutation { count: permutations, tail: Tail::TwoSidedAbsolute, ..Permutation::default() };
    let flipped = |signs: &[f64]| signs.iter().zip(differences).map(|(s, d)| s * d).sum::<f64>();
    let p = test.sign_flips(differences.len(), flipped, seed.child("signs"))?.p;
    Ok((interval, p))
}

/// Mean of the measure over the trials of each test image, by image.
pub(crate) fn by_image(pools: &[Pool], measure: Measure) -> Result<BTreeMap<usize, f64>> {
    let mut images = BTreeMap::<usize, (f64, f64)>::new();
    for pool in pools {
        let ranks: Ranks = pool.ranks()?;
        for (rank, &column) in ranks.values().zip(pool.truth()) {
            let (sum, count) = images.entry(pool.images()[column]).or_default();
            *sum += measure.of(rank, ranks.pool());
            *count += 1.;
        }
    }
    Ok(images.into_iter().map(|(image, (sum, count))| (image, sum / count)).collect())
}
