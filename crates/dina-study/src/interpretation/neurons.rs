//! Which neurons carry the alignment of the first level, how many, and together with which others.

use dina_core::Seed;
use dina_interp::interaction::{InteractionConfig, Interactions, group_interactions};
use dina_interp::neurons::{
    Concentration, ConcentrationConfig, ContributionConfig, Contributions, CurveConfig, LinearReadIn,
    MinimalConfig, MinimalSubsets, RelationConfig, Relations, SubsetCurves, SubsetMethod,
    ablation_contributions, concentration, linear_contributions, minimal_subsets, relations, subset_curves,
};
use dina_stats::bootstrap::{Bootstrap, Interval, Resampling};
use dina_stats::reliability::split_half;
use ndarray::Axis;
use serde::{Deserialize, Serialize};

use super::InterpretationConfig;
use super::material::{Material, Scored, Side};
use crate::Result;

/// How contributions were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContributionMethod {
    /// Exactly, for a neural tower that is linear in the responses: contributions add up to the alignment.
    Linear,
    /// By silencing one neuron after the other: they need not add up.
    Silencing,
}

/// A small set of neurons, chosen on the images of choice, and what it is worth on test images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChosenSubset {
    /// How it was chosen, and whether it would be chosen again; its indices count in [`NeuronAnalyses::candidates`].
    pub choice: MinimalSubsets,
    /// Alignment of the set on test images, with an interval over images.
    pub test: Interval,
}

/// Strength and reliability of every neuron, from training images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeuronProperties {
    /// Mean recorded response.
    pub strength: Vec<f64>,
    /// Correlation of the mean responses of halves of the repeats; absent where a neuron never varies.
    pub reliability: Option<Vec<f64>>,
}

/// Which neurons carry the alignment of the first level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NeuronAnalyses {
    /// How contributions were measured.
    pub method: ContributionMethod,
    /// What every neuron adds on test images. The table of neurons and channels is the tensor `contributions` of
    /// maps.safetensors and left out here.
    pub contributions: Contributions,
    /// How unequally.
    pub concentration: Option<Concentration>,
    /// What contribution is related to.
    pub properties: NeuronProperties,
    /// Neurons needed to rebuild the alignment of test images, ordered by contribution on the images of choice.
    pub curves: Option<SubsetCurves>,
    /// Neurons needed for two-way identification of test images.
    pub identification: Option<SubsetCurves>,
    /// Whether strong or reliable neurons contribute.
    pub relations: Option<Relations>,
    /// The first neurons by contribution on the images of choice.
    pub candidates: Vec<usize>,
    /// A small set of them by forward selection.
    pub greedy: Option<ChosenSubset>,
    /// A small set of them by the non-negative garrote.
    pub l1: Option<ChosenSubset>,
    /// The neurons whose pairs are in `interactions`: the first of `candidates`.
    pub paired: Vec<usize>,
    /// Every pair of them, on test images; groups count in `paired`.
    pub interactions: Option<Interactions>,
}

impl NeuronAnalyses {
    /// A sentence for each analysis, with its name before it.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut said = vec![format!("contributions: {}", self.contributions)];
        said.extend(self.concentration.iter().map(|found| format!("concentration: {found}")));
        said.extend(self.curves.iter().map(|found| format!("subset curves, alignment: {found}")));
        said.extend(
            self.identification.iter().map(|found| format!("subset curves, two-way identification: {found}")),
        );
        said.extend(self.relations.iter().map(|found| format!("strength against reliability: {found}")));
        let of = self.candidates.len();
        for (name, found) in [("greedy", &self.greedy), ("L1", &self.l1)] {
            let Some(ChosenSubset { choice, test }) = found else { continue };
            said.push(format!(
                "minimal subset, {name}, among the first {of} by contribution: {choice}; on test images {:.3} ({:.3} to {:.3})",
                test.estimate, test.low, test.high
            ));
        }
        said.extend(self.interactions.iter().map(|found| {
            format!("interactions among the first {} by contribution: {found}", self.paired.len())
        }));
        said
    }
}

/// What the analyses share.
pub(super) struct Neurons<'a> {
    pub material: &'a Material<'a>,
    pub config: &'a InterpretationConfig,
    pub seed: Seed,
}

impl Neurons<'_> {
    /// All of it. An analysis that cannot be made leaves its reason in `absent`.
    pub fn run(&self, absent: &mut Vec<String>, done: &dyn Fn(&str)) -> Result<NeuronAnalyses> {
        let Self { material: m, config: c, .. } = self;
        let neurons = m.test.responses.ncols();
        let scored = Scored::new(m, &m.test)?;
        let contributions = self.contributions(&m.test, &scored, c.permutations, "contributions")?;
        done("contributions");
        let settings = ConcentrationConfig {
            permutations: c.permutations,
            replicates: c.replicates,
            ..ConcentrationConfig::default()
        };
        let found = concentration(&contributions, &settings, self.seed.child("gini"));
        let concentration = kept("concentration", found, absent);
        done("concentration");
        // The test of this order is not looked at.
        let order = self.contributions(&m.choice, &Scored::new(m, &m.choice)?, 1, "order")?.estimates();
        let mut first: Vec<usize> = (0..neurons).collect();
        first.sort_by(|&a, &b| order[b].total_cmp(&order[a]));
        let strength = self.strength()?;
        let curves = self.curves(&order, &strength, 0., |subset| scored.alignment(subset));
        let curves = kept("subset curves", curves, absent);
        done("subset curves");
        let identification = self.curves(&order, &strength, 0.5, |subset| scored.two_way(subset));
        let identification = kept("identification by subsets", identification, absent);
        done("identification by subsets");
        let reliability = kept("reliability", self.reliability(), absent);
        let relations = reliability.as_ref().and_then(|reliability| {
            let found = self.relations(&contributions.estimates(), &strength, reliability);
            kept("strength against reliability", found, absent)
        });
        done("strength against reliability");
        let candidates = first[..c.candidates.min(neurons)].to_vec();
        let mut subset = |method, name| kept(name, self.minimal(&candidates, method, &scored), absent);
        let greedy = subset(SubsetMethod::Greedy, "greedy subset");
        let l1 = subset(SubsetMethod::L1, "L1 subset");
        done("minimal subsets");
        let paired = first[..c.paired.max(2).min(neurons)].to_vec();
        let interactions = kept("interactions", self.interactions(&paired, &scored, neurons), absent);
        done("interactions");
        Ok(NeuronAnalyses {
            method: if m.weights.is_some() {
                ContributionMethod::Linear
            } else {
                ContributionMethod::Silencing
            },
            contributions,
            concentration,
            properties: NeuronProperties { strength, reliability },
            curves,
            identification,
            relations,
            candidates,
            greedy,
            l1,
            paired,
            interactions,
        })
    }

    fn contribution_config(&self) -> ContributionConfig {
        let InterpretationConfig { permutations, replicates, .. } = *self.config;
        ContributionConfig { permutations, replicates, ..Default::default() }
    }

    fn contributions(
        &self,
        side: &Side,
        scored: &Scored<'_>,
        permutations: usize,
        name: &str,
    ) -> Result<Contributions> {
        let config = ContributionConfig { permutations, ..self.contribution_config() };
        let seed = self.seed.child(name);
        Ok(match &self.material.weights {
            Some(weights) => {
                let read_in = LinearReadIn { weights: weights.view() };
                linear_contributions(side.image[0].view(), read_in, side.responses.view(), &config, seed)?
            }
            None => {
                let neurons = side.responses.ncols();
                ablation_contributions(neurons, |subset| scored.alignment(subset), &config, seed)?
            }
        })
    }

    /// Mean recorded response of every kept neuron to training images.
    fn strength(&self) -> Result<Vec<f64>> {
        let Material { dataset, fold, .. } = self.material;
        let means = fold.views(dataset)?.train.repeat_means(dataset.recording.responses())?;
        let means = means.select(Axis(1), &fold.neurons);
        let count = means.nrows() as f64;
        let mean =
            |column: ndarray::ArrayView1<'_, f32>| column.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        Ok(means.columns().into_iter().map(mean).collect())
    }

    /// Correlation of halves of the repeats of training images.
    fn reliability(&self) -> Result<Vec<f64>> {
        let Material { dataset, fold, .. } = self.material;
        let (first, second) = fold.views(dataset)?.train.halves(&fold.responses)?;
        Ok(split_half(first.view(), second.view())?.iter().map(|r| r.get()).collect())
    }

    fn curves(
        &self,
        order: &[f64],
        strength: &[f64],
        chance: f64,
        score: impl Fn(&[usize]) -> dina_interp::Result<Vec<f64>> + Sync,
    ) -> Result<SubsetCurves> {
        let InterpretationConfig { draws, replicates, .. } = *self.config;
        let config = CurveConfig { draws, replicates, chance, ..Default::default() };
        Ok(subset_curves(order, strength, score, &config, self.seed.child("curves"))?)
    }

    fn relations(&self, contribution: &[f64], strength: &[f64], reliability: &[f64]) -> Result<Relations> {
        let Material { dataset, fold, .. } = self.material;
        let coordinates: Vec<Vec<f64>> = match dataset.recording.positions() {
            Some(positions) => positions
                .select(Axis(0), &fold.neurons)
                .columns()
                .into_iter()
                .map(|column| column.iter().map(|&v| f64::from(v)).collect())
                .collect(),
            None => Vec::new(),
        };
        let position: Vec<(&str, &[f64])> = ["position 1", "position 2", "position 3"]
            .into_iter()
            .zip(coordinates.iter().map(Vec::as_slice))
            // Neurons of one plane have no depth to relate to.
            .filter(|(_, values)| values.iter().any(|v| *v != values[0]))
            .collect();
        let InterpretationConfig { permutations, replicates, .. } = *self.config;
        let config = RelationConfig { permutations, replicates, ..Default::default() };
        let seed = self.seed.child("relations");
        Ok(relations(contribution, strength, reliability, &position, &config, seed)?)
    }

    /// Chosen on the images of choice, scored on test images.
    fn minimal(
        &self,
        candidates: &[usize],
        method: SubsetMethod,
        scored: &Scored<'_>,
    ) -> Result<ChosenSubset> {
        let m = self.material;
        let Some(weights) = &m.weights else {
            return Err(crate::Error::Job(
                "the neural tower is not linear in the responses, and the terms of its neurons do not add up"
                    .into(),
            ));
        };
        let weights = weights.select(Axis(0), candidates);
        let responses = m.choice.responses.select(Axis(1), candidates);
        let InterpretationConfig { subset, resamples, replicates, .. } = *self.config;
        let size = subset.min(candidates.len());
        let config = MinimalConfig { resamples, ..MinimalConfig::new(method, size) };
        let choice = minimal_subsets(
            m.choice.image[0].view(),
            LinearReadIn { weights: weights.view() },
            responses.view(),
            &config,
            self.seed.child("minimal subsets"),
        )?;
        let mut kept: Vec<usize> = choice.chosen.iter().map(|&n| candidates[n]).collect();
        kept.sort_unstable();
        let scores = scored.alignment(&kept)?;
        let bootstrap = Bootstrap { replicates, bca: false, ..Bootstrap::default() };
        let mean = |items: &[usize]| items.iter().map(|&i| scores[i]).sum::<f64>() / items.len() as f64;
        let units = Resampling::items(scores.len());
        let test = bootstrap.interval(&units, mean, self.seed.child("subset on test images"))?;
        Ok(ChosenSubset { choice, test })
    }

    fn interactions(&self, paired: &[usize], scored: &Scored<'_>, neurons: usize) -> Result<Interactions> {
        let groups: Vec<Vec<usize>> = paired.iter().map(|&n| vec![n]).collect();
        let sets: Vec<Vec<usize>> = (0..paired.len()).flat_map(|j| (0..j).map(move |i| vec![i, j])).collect();
        let InterpretationConfig { permutations, replicates, .. } = *self.config;
        let config = InteractionConfig { permutations, replicates, ..Default::default() };
        let score = |kept: &[usize]| scored.alignment(kept);
        let seed = self.seed.child("interactions");
        Ok(group_interactions(neurons, &groups, &sets, score, &config, seed)?)
    }
}

/// A result, or the reason why there is none.
pub(super) fn kept<T, E: std::fmt::Display>(
    name: &str,
    found: Result<T, E>,
    absent: &mut Vec<String>,
) -> Option<T> {
    found.map_err(|error| absent.push(format!("{name}: not measured: {error}"))).ok()
}
