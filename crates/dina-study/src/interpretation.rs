//! What trained towers share, where, and which neurons carry it.

use std::path::Path;

use candle_core::{Device, Tensor};
use dina_core::{Error as CoreError, Seed, TensorFile, write_atomic};
use dina_interp::interaction::{InteractionConfig, Interactions, group_interactions};
use dina_interp::neurons::{
    Concentration, ContributionConfig, Contributions, CurveConfig, LinearReadIn, MinimalConfig,
    MinimalSubsets, RelationConfig, Relations, SubsetCurves, SubsetMethod, concentration,
    linear_contributions, minimal_subsets, relations, subset_curves,
};
use dina_interp::space::{
    Extent, LevelAlignability, LevelMaps, ProfileConfig, SpatialProfile, alignability_levels, spatial_profile,
};
use dina_interp::{AlignabilityConfig, alignment_scores, two_way_scores};
use dina_model::LEVEL;
use dina_stats::reliability::split_half;
use ndarray::{Array2, Array4, ArrayView4, Axis, s};
use serde::{Deserialize, Serialize};

use crate::fold::split_hash;
use crate::job::test_maps;
use crate::towers::level_array;
use crate::{Dataset, Error, Fold, Hashes, Job, Prepared, Profile, Progress, Result, Towers, Trained};

/// How much work an interpretation does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InterpretationConfig {
    /// Permutations of every test.
    pub permutations: usize,
    /// Bootstrap replicates of every interval.
    pub replicates: usize,
    /// Random orders of the subset curves.
    pub draws: usize,
    /// Neurons, the first by contribution, of which every pair is tested for interaction.
    pub paired: usize,
    /// Neurons, the first by contribution, among which minimal subsets are chosen.
    pub candidates: usize,
    /// Neurons of a minimal subset.
    pub subset: usize,
    /// Resamples of the images for the stability of minimal subsets.
    pub resamples: usize,
}

impl InterpretationConfig {
    /// What fits a profile.
    pub fn new(profile: Profile) -> Self {
        let permutations = profile.permutations();
        let (replicates, draws, paired, candidates, subset, resamples) = match profile {
            Profile::Smoke => (200, 10, 4, 50, 5, 5),
            Profile::Quick => (1000, 40, 8, 200, 10, 20),
            Profile::Full => (1000, 100, 10, 400, 20, 20),
        };
        Self { permutations, replicates, draws, paired, candidates, subset, resamples }
    }
}

/// What `interpretation.json` holds: the analyses of the first model of the first fold on its test images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Interpretation {
    /// Version of the form of the file; it grows when a field changes its meaning.
    pub schema: u32,
    /// Version of this crate.
    pub version: String,
    /// The recording.
    pub recording: String,
    /// The seed of the job.
    pub seed: u64,
    /// What the result depends on.
    pub hashes: Hashes,
    /// How much work was done.
    pub config: InterpretationConfig,
    /// Test images, as numbers from 0 in the stimulus set. All analyses but the following are on all of them.
    pub images: Vec<u32>,
    /// How many of them, the first, ordered neurons for `curves`, `identification`, `greedy`, `l1` and `interactions`. Curves
    /// and interactions are scored on the others.
    pub ordered_on: usize,
    /// Neurons, as columns of the recording. Every list over neurons is in this order, and every index into neurons
    /// counts in it.
    pub neurons: Vec<usize>,
    /// Which channels of which level are shared.
    pub alignability: LevelAlignability,
    /// Where every channel is.
    pub profile: Vec<SpatialProfile>,
    /// What every neuron adds.
    pub contributions: Contributions,
    /// How unequally; absent where no neuron contributes.
    pub concentration: Option<Concentration>,
    /// Neurons needed to rebuild the alignment.
    pub curves: SubsetCurves,
    /// Neurons needed for two-way identification.
    pub identification: SubsetCurves,
    /// Whether strong or reliable neurons contribute; absent below 20 neurons, or where a property cannot be measured.
    pub relations: Option<Relations>,
    /// The candidates of `greedy` and `l1`: their indices count in this list, which itself counts in `neurons`.
    pub candidates: Vec<usize>,
    /// A small set by forward selection.
    pub greedy: MinimalSubsets,
    /// A small set by the non-negative garrote.
    pub l1: MinimalSubsets,
    /// The neurons whose pairs are in `interactions`.
    pub paired: Vec<usize>,
    /// Every pair of them; groups count in `paired`.
    pub interactions: Interactions,
    /// Why an analysis is absent, a sentence each.
    pub absent: Vec<String>,
}

/// [`Interpretation::schema`].
const SCHEMA: u32 = 1;

/// Responses to the test images with the weights that read them, and both maps.
struct Material {
    image: Array4<f32>,
    neural: Array4<f32>,
    /// Images x neurons, every neuron without its mean over these images.
    responses: Array2<f32>,
    /// `[neurons, channels, height, width]`.
    weights: Array4<f32>,
}

/// What the towers were found to share, with the arrays that do not go into a JSON file.
pub struct Interpreted {
    /// The results.
    pub results: Interpretation,
    image: Array4<f32>,
    neural: Array4<f32>,
}

impl Job {
    /// Analyses the first model of the first fold on its test images.
    ///
    /// Neurons are ordered on the first half of the test images and scored on the second. Strength is the mean recorded
    /// response to training images, reliability the correlation of halves of the repeats of training images.
    ///
    /// # Errors
    /// When the neural tower is not linear, there are fewer than 12 test images or two neurons, or maps do not vary.
    pub fn interpret(
        &self,
        prepared: &Prepared,
        trained: &[Trained],
        config: &InterpretationConfig,
        progress: &dyn Progress,
    ) -> Result<Interpreted> {
        let (dataset, fold) = (&prepared.dataset, &prepared.folds[0]);
        let material = Material::new(dataset, fold, &trained[0])?;
        let hashes = Hashes {
            data: dataset.hash,
            split: split_hash(&prepared.folds),
            configuration: self.config.hash(),
        };
        let seed = Seed::new(self.config.seed).child("interpretation");
        let analyses = Analyses { dataset, fold, material: &material, config, seed };
        let results = analyses.run(hashes, self.config.seed, progress)?;
        Ok(Interpreted { results, image: material.image, neural: material.neural })
    }
}

impl Material {
    fn new(dataset: &Dataset, fold: &Fold, trained: &Trained) -> Result<Self> {
        let (image, neural) = test_maps(dataset, fold, trained)?;
        let images = image.len_of(Axis(0));
        // Minimal subsets resample half of the first half.
        if images < 12 {
            return Err(Error::Job(format!(
                "{}: {images} test images; at least 12 are needed to order neurons on some and score them on others: record \
                 more images, or choose fewer --folds",
                dataset.recording.origin()
            )));
        }
        let views = fold.views(dataset)?;
        let mut responses = views.test.repeat_means(&fold.responses)?;
        if let Some(mean) = responses.mean_axis(Axis(0)) {
            responses -= &mean;
        }
        let weights = read_in_weights(&trained.members[0], &neural, &responses)?;
        Ok(Self { image, neural, responses, weights })
    }

    fn read_in(&self) -> LinearReadIn<'_> {
        LinearReadIn { weights: self.weights.view() }
    }
}

/// The weights of a linear neural tower, from the maps of single neurons: `[neurons, channels, height, width]`.
fn read_in_weights(towers: &Towers, neural: &Array4<f32>, responses: &Array2<f32>) -> Result<Array4<f32>> {
    let neurons = responses.ncols();
    let offset = level_array(&towers.neural_maps(Array2::zeros((1, neurons)).view())?)?;
    let mut weights = level_array(&towers.neural_maps(Array2::eye(neurons).view())?)?;
    weights -= &offset;
    // Whether these are all there is to it: the maps of the test images, up to what all images share.
    let mut difference = LinearReadIn { weights: weights.view() }.maps(responses.view())? - neural;
    if let Some(mean) = difference.mean_axis(Axis(0)) {
        difference -= &mean;
    }
    let size = |maps: &Array4<f32>| maps.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    if size(&difference) > 1e-3 * size(neural) {
        return Err(Error::Job(
            "the neural tower is not linear in the responses, and contributions of its neurons do not add up; analyse it by \
             silencing neurons (`dina_interp::neurons::ablation_contributions`)"
                .into(),
        ));
    }
    Ok(weights)
}

/// Maps of a linear read-in with neurons left out, on some images.
struct Subset<'a> {
    image: ArrayView4<'a, f32>,
    responses: Array2<f32>,
    weights: &'a Array4<f32>,
    full: Array4<f32>,
}

impl<'a> Subset<'a> {
    fn new(material: &'a Material, images: std::ops::Range<usize>) -> Result<Self> {
        let mut responses = material.responses.slice(s![images.clone(), ..]).to_owned();
        // A silenced neuron then adds nothing, which is its mean over these images.
        if let Some(mean) = responses.mean_axis(Axis(0)) {
            responses -= &mean;
        }
        let full = material.read_in().maps(responses.view())?;
        let image = material.image.slice(s![images, .., .., ..]);
        Ok(Self { image, responses, weights: &material.weights, full })
    }

    /// The maps with these neurons only, ascending: their terms, or all but the terms of the others, whichever are fewer.
    fn maps(&self, kept: &[usize]) -> dina_interp::Result<Array4<f32>> {
        let neurons = self.responses.ncols();
        let terms = |of: &[usize]| {
            let weights = self.weights.select(Axis(0), of);
            LinearReadIn { weights: weights.view() }.maps(self.responses.select(Axis(1), of).view())
        };
        if 2 * kept.len() <= neurons {
            return if kept.is_empty() { Ok(Array4::zeros(self.full.raw_dim())) } else { terms(kept) };
        }
        let others: Vec<usize> = (0..neurons).filter(|n| kept.binary_search(n).is_err()).collect();
        if others.is_empty() {
            return Ok(self.full.clone());
        }
        Ok(&self.full - &terms(&others)?)
    }

    fn alignment(&self, kept: &[usize]) -> dina_interp::Result<Vec<f64>> {
        alignment_scores(self.image, self.maps(kept)?.view())
    }

    fn two_way(&self, kept: &[usize]) -> dina_interp::Result<Vec<f64>> {
        two_way_scores(self.image, self.maps(kept)?.view())
    }
}

struct Analyses<'a> {
    dataset: &'a Dataset,
    fold: &'a Fold,
    material: &'a Material,
    config: &'a InterpretationConfig,
    seed: Seed,
}

impl Analyses<'_> {
    fn run(&self, hashes: Hashes, seed: u64, progress: &dyn Progress) -> Result<Interpretation> {
        let Self { material: m, config: c, .. } = self;
        let (images, neurons) = m.responses.dim();
        let half = images / 2;
        let mut absent = Vec::new();
        progress.begin("interpret", 9);
        let alignability = self.alignability()?;
        progress.advance(1, "alignability");
        let profile = self.profile()?;
        progress.advance(2, "spatial profile");
        let contributions = self.contributions(0..images, c.permutations, "contributions")?;
        progress.advance(3, "contributions");
        let tested = concentration(
            contributions.by_image.view(),
            &self.contribution_config(),
            self.seed.child("gini"),
        );
        let concentration = kept("concentration", tested, &mut absent);
        progress.advance(4, "concentration");
        // The test of this order is not looked at.
        let order = self.contributions(0..half, 1, "order")?.estimates();
        let strength = self.strength()?;
        let scored = Subset::new(m, half..images)?;
        let curves = self.curves(&order, &strength, 0., |kept| scored.alignment(kept))?;
        progress.advance(5, "subset curves");
        let identification = self.curves(&order, &strength, 0.5, |kept| scored.two_way(kept))?;
        progress.advance(6, "identification by subsets");
        let tested = self.relations(&contributions.estimates(), &strength);
        let relations = kept("strength against reliability", tested, &mut absent);
        progress.advance(7, "strength against reliability");
        let mut first: Vec<usize> = (0..neurons).collect();
        first.sort_by(|&a, &b| order[b].total_cmp(&order[a]));
        let candidates = first[..c.candidates.min(neurons)].to_vec();
        let greedy = self.minimal(&candidates, SubsetMethod::Greedy, half)?;
        let l1 = self.minimal(&candidates, SubsetMethod::L1, half)?;
        progress.advance(8, "minimal subsets");
        let paired = first[..c.paired.clamp(2, neurons.max(2)).min(neurons)].to_vec();
        let interactions = self.interactions(&paired, &scored)?;
        progress.end();
        Ok(Interpretation {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            recording: self.dataset.recording.origin().into(),
            seed,
            hashes,
            config: *self.config,
            images: self.fold.split.test().to_vec(),
            ordered_on: half,
            neurons: self.fold.neurons.clone(),
            alignability,
            profile,
            contributions,
            concentration,
            curves,
            identification,
            relations,
            candidates,
            greedy,
            l1,
            paired,
            interactions,
            absent,
        })
    }

    fn contribution_config(&self) -> ContributionConfig {
        let InterpretationConfig { permutations, replicates, .. } = *self.config;
        ContributionConfig { permutations, replicates, ..Default::default() }
    }

    fn alignability(&self) -> Result<LevelAlignability> {
        let (image, neural) = (self.material.image.view(), self.material.neural.view());
        let config = AlignabilityConfig { permutations: self.config.permutations, ..Default::default() };
        let level = LevelMaps { name: LEVEL, image, neural };
        Ok(alignability_levels(&[level], &config, self.seed.child("alignability"))?)
    }

    fn profile(&self) -> Result<Vec<SpatialProfile>> {
        let (image, neural) = (self.material.image.view(), self.material.neural.view());
        let (_, _, rows, columns) = image.dim();
        let [_, _, height, width] = self.fold.window.window.degrees();
        let degrees = [f64::from(height) / rows as f64, f64::from(width) / columns as f64];
        let mut config =
            ProfileConfig { permutations: self.config.permutations, ..ProfileConfig::new(degrees) };
        config.extent.draws = self.config.replicates;
        Ok(spatial_profile(image, neural, &config, self.seed.child("profile"))?)
    }

    fn contributions(
        &self,
        images: std::ops::Range<usize>,
        permutations: usize,
        name: &str,
    ) -> Result<Contributions> {
        let m = self.material;
        let image = m.image.slice(s![images.clone(), .., .., ..]);
        let responses = m.responses.slice(s![images, ..]);
        let config = ContributionConfig { permutations, ..self.contribution_config() };
        Ok(linear_contributions(image, m.read_in(), responses, &config, self.seed.child(name))?)
    }

    /// Mean recorded response of every kept neuron to training images.
    fn strength(&self) -> Result<Vec<f64>> {
        let views = self.fold.views(self.dataset)?;
        let means = views.train.repeat_means(self.dataset.recording.responses())?;
        let means = means.select(Axis(1), &self.fold.neurons);
        let count = means.nrows() as f64;
        Ok(means
            .columns()
            .into_iter()
            .map(|c| c.iter().map(|&v| f64::from(v)).sum::<f64>() / count)
            .collect())
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

    fn relations(&self, contribution: &[f64], strength: &[f64]) -> Result<Relations> {
        let views = self.fold.views(self.dataset)?;
        let (first, second) = views.train.halves(&self.fold.responses)?;
        let reliability: Vec<f64> =
            split_half(first.view(), second.view())?.iter().map(|r| r.get()).collect();
        let coordinates: Vec<Vec<f64>> = match self.dataset.recording.positions() {
            Some(positions) => positions
                .select(Axis(0), &self.fold.neurons)
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
        Ok(relations(contribution, strength, &reliability, &position, &config, seed)?)
    }

    /// On the images that the candidates were found on, so that the others stay for scoring.
    fn minimal(&self, candidates: &[usize], method: SubsetMethod, images: usize) -> Result<MinimalSubsets> {
        let m = self.material;
        let weights = m.weights.select(Axis(0), candidates);
        let responses = m.responses.slice(s![..images, ..]).select(Axis(1), candidates);
        let InterpretationConfig { subset, resamples, .. } = *self.config;
        let size = subset.min(candidates.len());
        let config = MinimalConfig { resamples, ..MinimalConfig::new(method, size) };
        Ok(minimal_subsets(
            m.image.slice(s![..images, .., .., ..]),
            LinearReadIn { weights: weights.view() },
            responses.view(),
            &config,
            self.seed.child("minimal subsets"),
        )?)
    }

    fn interactions(&self, paired: &[usize], scored: &Subset<'_>) -> Result<Interactions> {
        let groups: Vec<Vec<usize>> = paired.iter().map(|&n| vec![n]).collect();
        let sets: Vec<Vec<usize>> = (0..paired.len()).flat_map(|j| (0..j).map(move |i| vec![i, j])).collect();
        let InterpretationConfig { permutations, replicates, .. } = *self.config;
        let config = InteractionConfig { permutations, replicates, ..Default::default() };
        let neurons = scored.responses.ncols();
        let score = |kept: &[usize]| scored.alignment(kept);
        let seed = self.seed.child("interactions");
        Ok(group_interactions(neurons, &groups, &sets, score, &config, seed)?)
    }
}

/// A result, or the reason why there is none.
fn kept<T, E: std::fmt::Display>(name: &str, found: Result<T, E>, absent: &mut Vec<String>) -> Option<T> {
    found.map_err(|error| absent.push(format!("{name}: not measured: {error}"))).ok()
}

impl Interpretation {
    /// A sentence for each analysis, with its name before it.
    pub fn sentences(&self) -> Vec<String> {
        let mut said = vec![
            format!("alignability: {}", self.alignability),
            format!("spatial profile: {}", self.extents()),
            format!("contributions: {}", self.contributions),
        ];
        said.extend(self.concentration.iter().map(|found| format!("concentration: {found}")));
        said.push(format!("subset curves, alignment: {}", self.curves));
        said.push(format!("subset curves, two-way identification: {}", self.identification));
        said.extend(self.relations.iter().map(|found| format!("strength against reliability: {found}")));
        let of = self.candidates.len();
        said.push(format!("minimal subset, greedy, among the first {of} by contribution: {}", self.greedy));
        said.push(format!("minimal subset, L1, among the first {of} by contribution: {}", self.l1));
        said.push(format!(
            "interactions among the first {} by contribution: {}",
            self.paired.len(),
            self.interactions
        ));
        said.extend(self.absent.iter().cloned());
        said
    }

    fn extents(&self) -> String {
        let count = |extent| self.profile.iter().filter(|p| p.extent == extent).count();
        let (of, nowhere) = (self.profile.len(), count(Extent::NoEvidence));
        if nowhere == of {
            return format!("no evidence of alignment at any position in any of {of} channels");
        }
        let regions: usize = self.profile.iter().map(|p| p.regions.len()).sum();
        format!(
            "{} of {of} channels are aligned somewhere, in {regions} regions in all: {} local, {} distributed, {} undecided \
             (adjusted p <= 0.05, step-down maxT over positions and channels)",
            of - nowhere,
            count(Extent::Local),
            count(Extent::Distributed),
            count(Extent::Undecided)
        )
    }
}

impl Interpreted {
    /// Writes `interpretation.json` and `maps.safetensors` into a folder, each whole or not at all.
    ///
    /// The tensors are `image_maps` and `neural_maps`, `[images, channels, height, width]`, `contributions`, `[neurons, channels]`,
    /// and `images` and `neurons`, the numbers of their rows in the stimulus set and in the recording.
    ///
    /// # Errors
    /// With the path that could not be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let results = &self.results;
        let path = folder.join("interpretation.json");
        let text = |pretty: serde_json::Result<String>| {
            pretty.map_err(|e| Error::Job(format!("{}: {e}", path.display())))
        };
        let json = text(serde_json::to_string_pretty(results))?;
        let mut file = TensorFile::default();
        let ids = |values: Vec<i64>| -> Result<Tensor> {
            let count = values.len();
            Ok(Tensor::from_vec(values, count, &Device::Cpu)?)
        };
        let images = results.images.iter().map(|&i| i64::from(i)).collect();
        let neurons = results.neurons.iter().map(|&n| n as i64).collect();
        let matrix = &results.contributions.matrix;
        let values: Vec<f32> = matrix.iter().flatten().map(|&v| v as f32).collect();
        let shape = (matrix.len(), matrix.first().map_or(0, Vec::len));
        for (name, tensor) in [
            ("image_maps", tensor(&self.image)?),
            ("neural_maps", tensor(&self.neural)?),
            ("contributions", Tensor::from_vec(values, shape, &Device::Cpu)?),
            ("images", ids(images)?),
            ("neurons", ids(neurons)?),
        ] {
            file.tensors.insert(name.into(), tensor);
        }
        file.metadata.insert("hashes".into(), text(serde_json::to_string(&results.hashes))?);
        file.write(folder.join("maps.safetensors"))?;
        Ok(write_atomic(&path, |writer| writeln!(writer, "{json}"))?)
    }
}

fn tensor(maps: &Array4<f32>) -> Result<Tensor, CoreError> {
    Ok(Tensor::from_iter(maps.iter().copied(), &Device::Cpu)?.reshape(maps.shape())?)
}
