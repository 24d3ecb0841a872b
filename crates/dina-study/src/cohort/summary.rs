//! Identification over mice.

use dina_core::Seed;
use dina_stats::bootstrap::{Bootstrap, Resampling};
use dina_stats::comparison::SignTest;
use dina_stats::meta::{MetaAnalysis, random_effects};
use dina_stats::multiplicity::holm;
use dina_stats::permutation::Tail;
use serde::{Deserialize, Serialize};

use super::ChosenBy;
use super::work::{MouseResult, Scores};
use crate::claims::Settings;
use crate::{Measure, Result};

/// A standard error below this, in units of accuracy, is taken for it: a mouse that identifies every image has no spread,
/// and must not outweigh all others.
const LEAST_ERROR: f64 = 1e-3;

/// A mean over images this close to 0 is 0.
const ROUNDING: f64 = 1e-12;

/// What is summed up over mice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Identification by a tower, minus chance; one-sided.
    AboveChance(ChosenBy),
    /// Identification by the first tower minus that by the second, image by image; two-sided.
    Difference(ChosenBy, ChosenBy),
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&match self {
            Self::AboveChance(tower) => format!("{tower} - chance"),
            Self::Difference(first, second) => format!("{first} - {second}"),
        })
    }
}

/// A quantity over mice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OverMice {
    /// What it is.
    pub quantity: Quantity,
    /// Of which measure of identification.
    pub measure: Measure,
    /// Its value in every mouse.
    pub mice: Vec<f64>,
    /// Mean over mice and images.
    pub estimate: f64,
    /// Lower end of its hierarchical bootstrap interval: mice are drawn, and images within each (95 %, percentile). From
    /// few mice it is too narrow; that of `mean` is not.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Random-effects mean over mice (DerSimonian and Laird, interval by Hartung and Knapp), errors from images.
    pub mean: MetaAnalysis,
    /// How many mice are above 0; `None` where all are at 0.
    pub signs: Option<SignTest>,
    /// p of no mean effect by the random-effects mean, Holm-adjusted over all quantities and measures.
    pub p_adjusted: f64,
}

pub(super) fn identification(found: &[MouseResult], settings: Settings, seed: Seed) -> Result<Vec<OverMice>> {
    use ChosenBy::{All, Others, Own, Random};
    let quantities = ChosenBy::ALL.map(Quantity::AboveChance).into_iter().chain([
        Quantity::Difference(Others, Own),
        Quantity::Difference(All, Own),
        Quantity::Difference(Others, Random),
    ]);
    let mut rows = Vec::new();
    for (index, quantity) in quantities.enumerate() {
        for measure in [Measure::TwoWay, Measure::Top1] {
            let values: Vec<Vec<f64>> =
                found.iter().map(|mouse| of_images(mouse, quantity, measure)).collect();
            rows.push(row(
                quantity,
                measure,
                &values,
                settings,
                seed.child(&format!("{measure:?}")).index(index),
            )?);
        }
    }
    let p: Vec<f64> = rows.iter().map(|row: &OverMice| row.p_adjusted).collect();
    for (row, p) in rows.iter_mut().zip(holm(&p)?) {
        row.p_adjusted = p;
    }
    Ok(rows)
}

/// One value a test image.
fn of_images(mouse: &MouseResult, quantity: Quantity, measure: Measure) -> Vec<f64> {
    let (scores, chance): (fn(&Scores) -> Vec<f64>, f64) = match measure {
        Measure::TwoWay => (|scores| scores.two_way.clone(), 0.5),
        Measure::Top1 => (|scores| scores.top1.clone(), mouse.chance_top1),
    };
    let of = |tower: ChosenBy| mouse.scores.iter().find(|s| s.chosen_by == tower).map_or(Vec::new(), scores);
    match quantity {
        Quantity::AboveChance(tower) => of(tower).into_iter().map(|value| value - chance).collect(),
        Quantity::Difference(first, second) => of(first).iter().zip(of(second)).map(|(a, b)| a - b).collect(),
    }
}

fn row(
    quantity: Quantity,
    measure: Measure,
    values: &[Vec<f64>],
    settings: Settings,
    seed: Seed,
) -> Result<OverMice> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    // What is at chance but for rounding has no sign.
    let rounded = |value: f64| if value.abs() < ROUNDING { 0. } else { value };
    let mice: Vec<f64> = values.iter().map(|values| rounded(mean(values))).collect();
    let variances: Vec<f64> = values
        .iter()
        .zip(&mice)
        .map(|(values, mean)| {
            let n = values.len().max(2) as f64;
            let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            (squares / (n * (n - 1.))).max(LEAST_ERROR * LEAST_ERROR)
        })
        .collect();
    let summary = random_effects(&mice, &variances, 0.95, true)?;
    let outer: Vec<usize> = values.iter().enumerate().flat_map(|(m, v)| vec![m; v.len()]).collect();
    let inner: Vec<usize> = values.iter().flat_map(|v| 0..v.len()).collect();
    let all: Vec<f64> = values.concat();
    let bootstrap = Bootstrap { replicates: settings.replicates, bca: false, ..Bootstrap::default() };
    let drawn = |items: &[usize]| items.iter().map(|&i| all[i]).sum::<f64>() / items.len().max(1) as f64;
    let interval = bootstrap.interval(&Resampling::nested(&outer, &inner), drawn, seed)?;
    let (tail, p) = match quantity {
        Quantity::AboveChance(_) => (Tail::Greater, summary.p_above(0.)),
        Quantity::Difference(..) => (Tail::TwoSidedDoubled, summary.p),
    };
    Ok(OverMice {
        quantity,
        measure,
        estimate: interval.estimate,
        low: interval.low,
        high: interval.high,
        signs: SignTest::new(quantity.to_string(), &mice, tail).ok(),
        mean: summary,
        p_adjusted: p,
        mice,
    })
}
