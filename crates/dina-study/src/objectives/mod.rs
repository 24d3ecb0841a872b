//! The same towers under several objectives: is a finding one of V1, or one of the contrastive loss?

mod findings;
mod report;

use candle_core::Device;
use dina_core::{ContentHash, Seed};
use dina_decode::identification::{Evaluation, Figures, Trials};
use dina_interp::{AlignabilityConfig, alignability};
use dina_stats::bootstrap::Bootstrap;
use dina_stats::multiplicity::holm;
use dina_stats::similarity::cka::debiased_cka;
use dina_stats::sparseness;
use dina_train::Trainer;
use ndarray::{Array2, Array4, ArrayView1, Axis};
use serde::{Deserialize, Serialize};

use crate::comparison::{by_image, paired};
use crate::decoding::decode_towers;
use crate::job::test_maps;
use crate::training::{Common, model_config};
use crate::{
    Dataset, Error, Fold, Measure, ObjectiveKind, Profile, Progress, Result, Start, Towers, Trained,
    TrainingRecord,
};

pub use findings::{ObjectiveFinding, claims_by_objective};
pub use report::ObjectiveReport;

/// Significance level of the channels that are counted as aligned.
const ALPHA: f64 = 0.05;

/// Which objectives are compared, and at which budget.
///
/// Towers, data, split and optimiser are those of the main job and the same for all. Every run takes all `steps` at the
/// same peak `learning_rate`, and the running average at the end is kept: stopping on retrieval would favour
/// the objectives that are trained on it. None is tuned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveStudy {
    /// The objectives.
    pub objectives: Vec<ObjectiveKind>,
    /// What the towers start from; each start is compared by itself.
    pub starts: Vec<Start>,
    /// Trainings of each from different seeds.
    pub seeds: usize,
    /// Steps of every training.
    pub steps: usize,
    /// Peak learning rate of every training.
    pub learning_rate: f64,
    /// Size of the towers.
    pub profile: Profile,
    /// What the paired tests compare.
    pub measure: Measure,
    /// Single trials or means as queries.
    pub trials: Trials,
    /// Permutations of every test.
    pub permutations: usize,
}

impl ObjectiveStudy {
    /// All objectives from both starts, with 2 seeds (1 in a smoke run) and the profile's number of steps.
    pub fn new(profile: Profile) -> Self {
        let (seeds, steps) = match profile {
            Profile::Smoke => (1, 20),
            Profile::Quick => (2, 160),
            Profile::Full => (5, 600),
        };
        Self {
            objectives: ObjectiveKind::ALL.into(),
            starts: vec![Start::Random, Start::ClosedForm],
            seeds,
            steps,
            learning_rate: 1e-3,
            profile,
            measure: Measure::TwoWay,
            trials: Trials::Single,
            permutations: profile.permutations(),
        }
    }
}

/// What one training of one objective gave, on the test images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveRun {
    /// The objective.
    pub objective: ObjectiveKind,
    /// What the towers started from.
    pub start: Start,
    /// Number of the training, from 0.
    pub seed: usize,
    /// Loss of the first and of the last batch; comparable within one objective only.
    pub loss: [f64; 2],
    /// Identification of the test images.
    pub identification: Figures,
    /// Interval of the two-way identification, images resampled; its chance is one half.
    pub two_way_ci: [f64; 2],
    /// Mean over the varying channels of the correlation of the two towers' maps.
    pub alignability: f64,
    /// Channels aligned at 0.05, corrected over channels.
    pub aligned_channels: usize,
    /// Channels that vary in both towers; the others are not aligned with anything.
    pub channels: usize,
    /// Debiased CKA of the image maps with the neural maps: alignment up to a rotation of the channels.
    pub cka_towers: f64,
    /// Of the maps of test images.
    pub image: MapCharacteristics,
    /// Of the maps of the mean responses to them.
    pub neural: MapCharacteristics,
}

/// What the maps of one tower are like, over the test images. The mean over images is taken out first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MapCharacteristics {
    /// Vinje and Gallant's sparseness of the absolute values over images, mean over the varying map units. That of normal
    /// values is 1 - 2/pi = 0.363.
    pub lifetime_sparseness: f64,
    /// The same over units, mean over images.
    pub population_sparseness: f64,
    /// Effective dimension of the flattened maps: the participation ratio (sum l)^2 / sum l^2 of the eigenvalues l of
    /// their covariance over images; never above images - 1.
    pub participation_ratio: f64,
    /// Fraction of map units that vary over images.
    pub varying: f64,
}

/// One objective's maps against another's, and its identification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectivePair {
    /// What both started from.
    pub start: Start,
    /// The first objective.
    pub first: ObjectiveKind,
    /// The second.
    pub second: ObjectiveKind,
    /// Mean over seeds and images of the measure, first minus second.
    pub difference: f64,
    /// Interval of the difference, images resampled.
    pub ci_low: f64,
    /// Its other end.
    pub ci_high: f64,
    /// Sign-flip test over images, of differences averaged over seeds, two-sided, Holm-corrected over all pairs of
    /// all starts.
    pub p_adjusted: f64,
    /// The same seed by seed: a difference that is one of objectives has one sign.
    pub seeds: Vec<SeedDifference>,
}

/// The difference of two objectives trained from the same seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SeedDifference {
    /// Mean over images of the measure, first minus second.
    pub difference: f64,
    /// Debiased CKA of their image maps.
    pub cka_image: f64,
    /// Debiased CKA of their neural maps.
    pub cka_neural: f64,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveComparison {
    /// What was compared, at which budget.
    pub study: ObjectiveStudy,
    /// One entry a training.
    pub runs: Vec<ObjectiveRun>,
    /// One entry a pair of objectives and start.
    pub pairs: Vec<ObjectivePair>,
}

/// A run with what the pairs are computed from.
struct Cell {
    run: ObjectiveRun,
    scores: Vec<f64>,
    image: Array2<f64>,
    neural: Array2<f64>,
}

/// Trains every objective from every start and seed on one fold, and compares them on its test images.
///
/// # Errors
/// When there is nothing to compare, an objective needs categories that are not there (before anything is trained),
/// a training diverges, or the maps have collapsed to a constant.
pub fn compare_objectives(
    dataset: &Dataset,
    fold: &Fold,
    study: &ObjectiveStudy,
    seed: Seed,
    device: &Device,
    progress: &dyn Progress,
) -> Result<ObjectiveComparison> {
    if study.objectives.is_empty() || study.starts.is_empty() || study.seeds == 0 {
        return Err(Error::Job("a comparison of objectives needs an objective, a start and a seed".into()));
    }
    for &objective in &study.objectives {
        model_config(dataset, fold, study.profile, objective, Start::Random)?;
    }
    let total = study.starts.len() * study.objectives.len() * study.seeds;
    progress.begin("objectives", total);
    let (mut runs, mut pairs, mut p) = (Vec::new(), Vec::new(), Vec::new());
    for &start in &study.starts {
        let mut cells = Vec::new();
        // Objectives differ neither in their data nor in the closed form.
        let config = model_config(dataset, fold, study.profile, study.objectives[0], start)?;
        let mut common = Common::new(dataset, fold, &config, device)?;
        for &objective in &study.objectives {
            for index in 0..study.seeds {
                cells.push(train(
                    dataset,
                    fold,
                    study,
                    &mut common,
                    (objective, start, index),
                    seed,
                    device,
                )?);
                progress.advance(runs.len() + cells.len(), objective.name());
            }
        }
        let groups: Vec<&[Cell]> = cells.chunks(study.seeds).collect();
        for (place, first) in groups.iter().enumerate() {
            for second in &groups[place + 1..] {
                let draws = seed.child("pairs").index(p.len());
                let (pair, raw) = pair(first, second, study.permutations, draws)?;
                pairs.push(pair);
                p.push(raw);
            }
        }
        runs.extend(cells.into_iter().map(|cell| cell.run));
    }
    if !p.is_empty() {
        for (pair, adjusted) in pairs.iter_mut().zip(holm(&p)?) {
            pair.p_adjusted = adjusted;
        }
    }
    progress.end();
    Ok(ObjectiveComparison { study: study.clone(), runs, pairs })
}

/// One training, and what it gave.
fn train(
    dataset: &Dataset,
    fold: &Fold,
    study: &ObjectiveStudy,
    common: &mut Common,
    (objective, start, index): (ObjectiveKind, Start, usize),
    seed: Seed,
    device: &Device,
) -> Result<Cell> {
    let mut config = model_config(dataset, fold, study.profile, objective, start)?;
    config.train.steps = study.steps;
    config.train.learning_rate = study.learning_rate;
    // Without a validation nothing counts as waiting for a better one.
    config.train.validate_every = study.steps.max(1);
    // The same weights, batches and dropout for every objective.
    let draws = seed.child("train").index(index);
    let towers = Towers::started(config.clone(), draws, device, common.weights(&config, device)?)?;
    let identity = ContentHash::of([objective.name().as_bytes()]);
    let mut trainer = Trainer::new(towers.model(), config.train, draws, identity)?;
    let outcome = trainer.run::<Error>(&common.data, || Ok(None), |_| Ok(()))?;
    let log = trainer.log().to_vec();
    drop(trainer);
    let loss = [log.first(), log.last()].map(|entry| entry.map_or(0., |entry| entry.loss));
    let record = TrainingRecord { identity, outcome, log };
    let trained = Trained { members: vec![towers], records: vec![record] };

    let statistics = seed.child("statistics").child(objective.name()).child(start.name()).index(index);
    let decoded = decode_towers(dataset, fold, &trained)?;
    let pools = decoded.pools(study.trials);
    let evaluation = Evaluation { permutations: study.permutations, bootstrap: Bootstrap::default() };
    let identification = evaluation.figures(pools, statistics.child("identification"))?;
    let two_way: Vec<f64> = by_image(pools, Measure::TwoWay)?.into_values().collect();
    let (interval, _) = paired(&two_way, 1, statistics.child("two-way"))?;
    let scores = by_image(pools, study.measure)?.into_values().collect();

    let (image, neural) = test_maps(dataset, fold, &trained)?;
    let kept: Vec<usize> = (0..image.len_of(Axis(1)))
        .filter(|&channel| [&image, &neural].iter().all(|maps| varies(maps, channel)))
        .collect();
    if kept.is_empty() {
        return Err(Error::Job(format!(
            "objective `{objective}` from a {start} start: the maps of all channels are constant; train with a lower \
             learning rate"
        )));
    }
    let settings = AlignabilityConfig { permutations: study.permutations, ..AlignabilityConfig::default() };
    let (some, other) = (image.select(Axis(1), &kept), neural.select(Axis(1), &kept));
    let aligned = alignability(&some, &other, &settings, statistics.child("alignability"))?.channels;
    let (image, neural) = (centred(&image), centred(&neural));
    let run = ObjectiveRun {
        objective,
        start,
        seed: index,
        loss,
        identification,
        two_way_ci: [interval.low, interval.high],
        alignability: aligned.iter().map(|c| c.r).sum::<f64>() / aligned.len() as f64,
        aligned_channels: aligned.iter().filter(|c| c.p_adjusted <= ALPHA).count(),
        channels: aligned.len(),
        cka_towers: debiased_cka(image.view(), neural.view())?,
        image: MapCharacteristics::new(&image)?,
        neural: MapCharacteristics::new(&neural)?,
    };
    Ok(Cell { run, scores, image, neural })
}

/// Two objectives from one start, before the correction of p.
fn pair(first: &[Cell], second: &[Cell], permutations: usize, seed: Seed) -> Result<(ObjectivePair, f64)> {
    let images = first[0].scores.len();
    let mut differences = vec![0.; images];
    let mut seeds = Vec::new();
    for (a, b) in first.iter().zip(second) {
        let of_seed: Vec<f64> = a.scores.iter().zip(&b.scores).map(|(a, b)| a - b).collect();
        for (sum, value) in differences.iter_mut().zip(&of_seed) {
            *sum += value / first.len() as f64;
        }
        seeds.push(SeedDifference {
            difference: of_seed.iter().sum::<f64>() / images as f64,
            cka_image: debiased_cka(a.image.view(), b.image.view())?,
            cka_neural: debiased_cka(a.neural.view(), b.neural.view())?,
        });
    }
    let (interval, p) = paired(&differences, permutations, seed)?;
    let pair = ObjectivePair {
        start: first[0].run.start,
        first: first[0].run.objective,
        second: second[0].run.objective,
        difference: interval.estimate,
        ci_low: interval.low,
        ci_high: interval.high,
        p_adjusted: p,
        seeds,
    };
    Ok((pair, p))
}

/// Whether a channel takes more than one value.
fn varies(maps: &Array4<f32>, channel: usize) -> bool {
    let values = maps.index_axis(Axis(1), channel);
    let (low, high) =
        values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
    high - low > 1e-6
}

/// Images x map units, with the mean over images taken out.
fn centred(maps: &Array4<f32>) -> Array2<f64> {
    let (images, channels, height, width) = maps.dim();
    let units = channels * height * width;
    let mut rows = Array2::from_shape_fn((images, units), |(image, unit)| {
        let (channel, position) = (unit / (height * width), unit % (height * width));
        f64::from(maps[[image, channel, position / width, position % width]])
    });
    if let Some(mean) = rows.mean_axis(Axis(0)) {
        rows -= &mean;
    }
    rows
}

impl MapCharacteristics {
    /// Of centred rows, images x map units.
    fn new(rows: &Array2<f64>) -> Result<Self> {
        let magnitude = rows.mapv(f64::abs);
        let mean = |axis: Axis| -> Result<(f64, usize)> {
            // A unit or an image without any deviation has no sparseness.
            let lanes: Vec<ArrayView1<f64>> =
                magnitude.axis_iter(axis).filter(|lane| lane.iter().any(|&v| v > 1e-12)).collect();
            let mut sum = 0.;
            for lane in &lanes {
                sum += sparseness::vinje_gallant(*lane)?;
            }
            if lanes.is_empty() {
                return Err(Error::Job("maps do not vary over images: they have no sparseness".into()));
            }
            Ok((sum / lanes.len() as f64, lanes.len()))
        };
        let (lifetime_sparseness, varying) = mean(Axis(1))?;
        let (population_sparseness, _) = mean(Axis(0))?;
        // The eigenvalues of the products over images are those of the covariance, but for a factor.
        let products = dina_stats::linalg::matmul(rows.view(), rows.t())?;
        let trace: f64 = products.diag().sum();
        let squares: f64 = products.iter().map(|v| v * v).sum();
        Ok(Self {
            lifetime_sparseness,
            population_sparseness,
            participation_ratio: trace * trace / squares,
            varying: varying as f64 / rows.ncols() as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use dina_data::simulate::{Population, SimulationConfig};

    use super::*;
    use crate::{JobConfig, Silent, Source, prepare};

    #[test]
    fn characteristics_of_known_maps() {
        // Two orthogonal directions of equal power: two dimensions.
        let mut rows = Array2::zeros((4, 3));
        (rows[[0, 0]], rows[[1, 0]], rows[[2, 1]], rows[[3, 1]]) = (1., -1., 1., -1.);
        let found = MapCharacteristics::new(&rows).unwrap();
        assert!((found.participation_ratio - 2.).abs() < 1e-12);
        assert!((found.varying - 2. / 3.).abs() < 1e-12);
        // Two of four images respond: A = (1/2)^2 / (1/2) = 1/2, and (1 - A) / (1 - 1/4) = 2/3.
        assert!((found.lifetime_sparseness - 2. / 3.).abs() < 1e-12);
        assert!((found.population_sparseness - 1.).abs() < 1e-12);
        assert!(MapCharacteristics::new(&Array2::zeros((4, 3))).is_err());
    }

    fn small() -> (Dataset, Fold) {
        let simulation = SimulationConfig {
            neurons: 60,
            images: 80,
            spontaneous_bins: 200,
            ..SimulationConfig::new(Population::V1)
        };
        let mut config = JobConfig::simulated(Profile::Smoke, 1);
        config.source = Source::Simulated(Box::new(simulation));
        let dataset = Dataset::load(&config.source, &Silent).unwrap();
        let fold = prepare(&dataset, &config, &Silent).unwrap().remove(0);
        (dataset, fold)
    }

    #[test]
    fn objectives_are_compared_at_equal_budget_and_repeatably() {
        let (dataset, fold) = small();
        let study = ObjectiveStudy { steps: 3, permutations: 49, ..ObjectiveStudy::new(Profile::Smoke) };
        let run = |study: &ObjectiveStudy| {
            compare_objectives(&dataset, &fold, study, Seed::new(1), &Device::Cpu, &Silent).unwrap()
        };
        let found = run(&study);
        assert_eq!((found.runs.len(), found.pairs.len()), (12, 2 * 15));
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<ObjectiveComparison>(&text).unwrap(), found);
        for run in &found.runs {
            assert!(run.loss.iter().all(|loss| loss.is_finite()) && run.loss[0] != run.loss[1], "{run:?}");
            assert!(run.two_way_ci[0] <= run.identification.two_way, "{run:?}");
            assert!(run.image.participation_ratio >= 1. && run.channels > 0, "{run:?}");
        }
        // 60 neurons and images are too few for held-out maps to align, but the start shows in the first batch.
        let first_loss = |start: Start| {
            let contrast =
                |run: &&ObjectiveRun| run.start == start && run.objective == ObjectiveKind::InfoNce;
            found.runs.iter().find(contrast).unwrap().loss[0]
        };
        assert!(first_loss(Start::ClosedForm) < 0.5 * first_loss(Start::Random));
        assert!(
            found.pairs.iter().all(|pair| (0. ..=1.).contains(&pair.p_adjusted) && pair.seeds.len() == 1)
        );
        // What an objective gives does not depend on what it is compared with.
        let objectives = vec![ObjectiveKind::Reconstruction];
        let alone = run(&ObjectiveStudy { objectives, starts: vec![Start::Random], ..study });
        assert!(found.runs.contains(&alone.runs[0]) && alone.pairs.is_empty());
    }

    #[test]
    fn a_missing_category_is_an_error_before_training() {
        let (mut dataset, fold) = small();
        let study = ObjectiveStudy::new(Profile::Smoke);
        let refusal = |dataset: &Dataset| {
            let found = compare_objectives(dataset, &fold, &study, Seed::new(1), &Device::Cpu, &Silent);
            found.unwrap_err().to_string()
        };
        if let Some(categories) = &mut dataset.categories {
            categories.of.fill(None);
        }
        assert!(refusal(&dataset).contains("at least 2 categories"));
        dataset.categories = None;
        assert!(refusal(&dataset).contains("--classes"));
    }

    #[test]
    fn a_checkpoint_of_every_objective_is_read_back() {
        let (dataset, fold) = small();
        let folder = tempfile::tempdir().unwrap();
        for objective in ObjectiveKind::ALL {
            let config = model_config(&dataset, &fold, Profile::Smoke, objective, Start::Random).unwrap();
            let towers = Towers::new(config, Seed::new(3), &Device::Cpu).unwrap();
            let outcome = dina_train::Outcome { steps: 0, start: None, best_step: 0, best: None };
            let identity = ContentHash::of([objective.name().as_bytes()]);
            let record = TrainingRecord { identity, outcome, log: Vec::new() };
            let path = folder.path().join(objective.name());
            towers.save(&path, &record).unwrap();
            let (read, found) = Towers::load(&path, &Device::Cpu).unwrap();
            assert_eq!((read.config(), &found), (towers.config(), &record));
            for (ours, theirs) in towers.model().parameters().iter().zip(read.model().parameters()) {
                let values =
                    |p: &dina_core::Parameter| p.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!((&ours.name, values(ours)), (&theirs.name, values(&theirs)));
            }
        }
    }
}
