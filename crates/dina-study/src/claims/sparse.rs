use dina_core::Seed;
use dina_data::simulate::Population;
use dina_interp::neurons::{ContributionConfig, LinearReadIn, LinearScores, linear_contributions};
use ndarray::{ArrayView2, ArrayView4, s};
use rand::seq::SliceRandom;

use super::accuracy::ACCURACY;
use super::{Case, Claim, Effect, Experiment, Measured, Pairing, Sight};
use crate::Result;
use crate::job::test_maps;

/// Claim 4, sparseness: few neurons rebuild the alignment.
///
/// Neurons are ordered by what they add to the alignment of one half of the test images, and a tenth of them, the first
/// of that order, is scored on the other half; then the halves change places.
#[derive(Debug, Clone, Copy, Default)]
pub struct SparseNeurons;

/// Advantage over a random tenth that matters, as a share of the alignment of all neurons.
const SMALLEST: f64 = 0.5;

/// Of how many neurons one is kept.
const KEPT: usize = 10;

/// Random subsets that are averaged.
const DRAWS: usize = 20;

impl Claim for SparseNeurons {
    fn experiment(&self) -> Experiment {
        Experiment {
            statistic: format!(
                "alignment of the maps of held-out images by one neuron in {KEPT}, the first by contribution on other images, \
                 minus that by as many random neurons ({DRAWS} draws), over that by all neurons"
            ),
            null: "neurons that contributed most on other images align no better than random ones".into(),
            exchangeable: "images are resampled".into(),
            effect: "advantage as a share of the alignment of all neurons".into(),
            smallest: SMALLEST,
            requires: vec![ACCURACY.into()],
            holds_on: vec![Population::Sparse],
            fails_on: vec![Population::Dense, Population::Null],
            ..Experiment::new(
                "sparse",
                "Claim 4: sparse strong neurons and their interactions",
                &format!("One neuron in {KEPT} rebuilds most of the alignment."),
            )
        }
    }

    fn measure(&self, case: &Case<'_>, seed: Seed) -> Result<Measured> {
        let aligned = case.aligned(Sight::Full, Pairing::Shown)?;
        let mut images = Vec::new();
        for (index, (fold, trained)) in aligned.folds.iter().zip(&aligned.trained).enumerate() {
            let (image, _) = test_maps(case.dataset, fold, trained)?;
            let means = fold.views(case.dataset)?.test.repeat_means(&fold.responses)?;
            let (count, neurons) = means.dim();
            // Two halves of at least three images each, and at least two neurons to keep.
            if count < 6 || neurons < 2 * KEPT {
                continue;
            }
            let weights = trained.members[0].read_in_weights()?;
            let read_in = LinearReadIn { weights: weights.view() };
            let halves = [(0..count / 2, count / 2..count), (count / 2..count, 0..count / 2)];
            for (part, (order, score)) in halves.into_iter().enumerate() {
                let side = |of: &std::ops::Range<usize>| Side {
                    image: image.slice(s![of.clone(), .., .., ..]),
                    responses: means.slice(s![of.clone(), ..]),
                };
                let draws = seed.index(index).index(part);
                images.extend(scores(read_in, &side(&order), &side(&score), draws)?);
            }
        }
        if images.len() < 6 {
            let why =
                format!("{} test images in folds of 6, or fewer than {} neurons", images.len(), 2 * KEPT);
            return Ok(Measured::Impossible(why));
        }
        let advantage = |items: &[usize]| {
            let sum = |k: usize| items.iter().map(|&i| images[i][k]).sum::<f64>();
            // A resample that is not aligned has no advantage.
            if sum(2) > 0. { (sum(0) - sum(1)) / sum(2) } else { 0. }
        };
        let mut effect =
            Effect::resampled(images.len(), advantage, SMALLEST, &case.settings, seed.child("images"))?;
        let mean = |k: usize| images.iter().map(|i| i[k]).sum::<f64>() / images.len() as f64;
        for (k, name) in ["alignment_first", "alignment_random", "alignment_all"].into_iter().enumerate() {
            effect.details.insert(name.into(), mean(k));
        }
        Ok(Measured::Effect(effect))
    }
}

/// Some test images: their maps, and the mean responses to them.
struct Side<'a> {
    image: ArrayView4<'a, f32>,
    responses: ArrayView2<'a, f32>,
}

/// Alignment of every image of `scored` by the first neurons of the order that `ordered` gives, by random ones, and by all.
fn scores<'a>(
    read_in: LinearReadIn<'a>,
    ordered: &Side<'a>,
    scored: &Side<'a>,
    seed: Seed,
) -> Result<Vec<[f64; 3]>> {
    // Only the estimates are looked at.
    let config = ContributionConfig { permutations: 1, replicates: 1, ..ContributionConfig::default() };
    let found = linear_contributions(ordered.image, read_in, ordered.responses, &config, seed)?;
    let scored = LinearScores::new(scored.image, read_in, scored.responses)?;
    let contributions = found.estimates();
    let mut order: Vec<usize> = (0..contributions.len()).collect();
    order.sort_by(|&a, &b| contributions[b].total_cmp(&contributions[a]));
    let kept = order.len() / KEPT;
    let first = scored.alignment(&order[..kept])?;
    let all = scored.alignment(&(0..order.len()).collect::<Vec<_>>())?;
    let mut random = vec![0.; all.len()];
    for draw in 0..DRAWS {
        let (drawn, _) = order.partial_shuffle(&mut seed.index(draw).stream("neurons"), kept);
        let mut drawn = drawn.to_vec();
        drawn.sort_unstable();
        random.iter_mut().zip(scored.alignment(&drawn)?).for_each(|(sum, v)| *sum += v / DRAWS as f64);
    }
    Ok((0..all.len()).map(|i| [first[i], random[i], all[i]]).collect())
}
