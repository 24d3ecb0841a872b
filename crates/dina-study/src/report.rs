//! From the results to the pieces of the report.

use dina_decode::identification::{Decoder, Direction, Identification, Pool, Trials};
use dina_decode::{Ranks, top1_by_pool_size};
use dina_report as page;
use dina_report::{Part, Picture};
use dina_stats::bootstrap::{Bootstrap, Resampling};
use ndarray::{Array4, Axis};

use crate::claims::{self, Studied};
use crate::decoding::name;
use crate::job::{find, primary, test_maps};
use crate::{Dataset, Decoded, Fold, Job, Measure, Result, Results, Source, Start, Trained};

/// Everything that the report is made from.
pub(crate) struct Material<'a> {
    pub job: &'a Job,
    pub dataset: &'a Dataset,
    pub folds: &'a [Fold],
    pub trained: &'a [Trained],
    pub decoded: &'a [Decoded],
    pub results: &'a Results,
    pub stages: &'a [(String, f64)],
    pub studied: Option<&'a Studied>,
}

/// Significance level of every test.
const ALPHA: f64 = 0.05;

/// Example retrievals and map examples shown.
const RETRIEVALS: usize = 6;
const MAPS: usize = 3;

pub(crate) fn build(m: &Material<'_>) -> Result<page::Report> {
    let (measure, trials) = primary(m.folds, &m.results.recording);
    let condition = page::Condition {
        split: "test".into(),
        trials: trials_of(trials),
        direction: page::Direction::NeuralToImage,
        measure: match measure {
            Measure::Top1 => page::Measure::Top1,
            Measure::TwoWay => page::Measure::TwoWay,
        },
    };
    let simulated = matches!(m.job.config.source, Source::Simulated(_));
    Ok(page::Report {
        title: "DINA: images and V1 responses on shared feature maps".into(),
        subject: m.results.recording.name.clone(),
        notice: simulated.then(|| {
            "This recording is simulated. Its figures say how the method does on a population whose truth is known, and \
             nothing about a brain."
                .into()
        }),
        recording: recording(m),
        primary: condition,
        claims: match m.studied {
            Some(studied) => claims::section(studied).into(),
            None => Part::absent("only the program `reproduce` puts them to the test"),
        },
        identification: m.results.identification.iter().map(row).collect(),
        comparisons: comparisons(m).into(),
        ceilings: ceilings(m)?.into(),
        ranks: ranks(m, trials)?.into(),
        pool_size: pool_study(m, trials)?.into(),
        retrievals: retrievals(m, trials)?.into(),
        maps: maps(m)?,
        alignability: alignability(m),
        towers: towers(m).into(),
        training: training(m).into(),
        methods: methods(m),
        leakage: leakage(m).into(),
        provenance: provenance(m),
        notes: m.results.notes.clone(),
    })
}

fn trials_of(trials: Trials) -> page::Trials {
    match trials {
        Trials::Single => page::Trials::Single,
        Trials::Mean => page::Trials::Mean,
    }
}

fn row(row: &Identification) -> page::Identification {
    let f = &row.figures;
    page::Identification {
        decoder: name(row.decoder).into(),
        split: row.split.clone(),
        trials: trials_of(row.trials),
        direction: match row.direction {
            Direction::NeuralToImage => page::Direction::NeuralToImage,
            Direction::ImageToNeural => page::Direction::ImageToNeural,
        },
        pool: f.pool,
        n: f.n,
        folds: f.folds,
        chance_top1: f.chance_top1,
        top1: f.top1,
        top5: f.top5,
        two_way: f.two_way,
        median_rank: f.median_rank,
        ci_low: f.ci_low,
        ci_high: f.ci_high,
        p: f.p,
    }
}

fn recording(m: &Material<'_>) -> page::RecordingSummary {
    let r = &m.results.recording;
    page::RecordingSummary {
        name: r.name.clone(),
        neurons: r.neurons,
        stimuli: r.stimuli,
        presentations: r.presentations,
        repeats: r.repeats,
        gray_screens: r.gray_screens,
        signal_variance: r.signal_variance,
        split_half_r: r.split_half_r,
        self_retrieval: r.self_retrieval.as_ref().map(|s| page::SelfRetrieval {
            pool: s.pool,
            top1: s.top1,
            top5: s.top5,
        }),
        reliability: r.reliability.clone(),
    }
}

fn comparisons(m: &Material<'_>) -> Vec<page::Comparison> {
    let each = m.results.comparisons.iter();
    each.map(|c| page::Comparison {
        baseline: name(c.baseline).into(),
        difference: c.difference,
        ci_low: c.ci_low,
        ci_high: c.ci_high,
        p_adjusted: c.p_adjusted,
    })
    .collect()
}

/// Repeats finding each other in the very pools of the decoders: with two repeats single trials, else half means.
fn ceilings(m: &Material<'_>) -> Result<Vec<page::Ceiling>> {
    let Some(nearest) = find(m.decoded, Decoder::NearestNeighbour) else { return Ok(Vec::new()) };
    let mut ceilings = Vec::new();
    for trials in [Trials::Single, Trials::Mean] {
        let ranks = nearest.pools(trials).iter().map(Pool::ranks).collect::<Result<Vec<_>, _>>()?;
        let total: usize = ranks.iter().map(Ranks::len).sum();
        let top = |k| ranks.iter().map(|r| r.top(k) * r.len() as f64).sum::<f64>() / total as f64;
        let row = m.results.identification.iter().find(|r| r.decoder == Decoder::Dina && r.trials == trials);
        ceilings.push(page::Ceiling {
            split: "test".into(),
            trials: trials_of(trials),
            pool: row.map_or(0, |r| r.figures.pool),
            top1: top(1),
            top5: top(5),
        });
    }
    Ok(ceilings)
}

fn ranks(m: &Material<'_>, trials: Trials) -> Result<Vec<page::Ranks>> {
    m.decoded
        .iter()
        .map(|decoded| {
            let mut all = Vec::new();
            let mut pool = 0;
            for one in decoded.pools(trials) {
                let ranks = one.ranks()?;
                pool = pool.max(ranks.pool());
                all.extend(ranks.values());
            }
            Ok(page::Ranks { decoder: name(decoded.decoder).into(), pool, ranks: all })
        })
        .collect()
}

fn pool_study(m: &Material<'_>, trials: Trials) -> Result<page::PoolStudy> {
    let mut curves = Vec::new();
    let mut n = 0;
    for decoded in m.decoded {
        let pools = decoded.pools(trials);
        n = pools.iter().map(|pool| pool.truth().len()).sum();
        curves.push(page::PoolCurve { decoder: name(decoded.decoder).into(), points: points(m, pools)? });
    }
    let drawn = "the true image and others drawn at random without replacement (exact expectation)".into();
    let ceiling = curves.last().map(|curve| curve.points.clone()).unwrap_or_default();
    Ok(page::PoolStudy { k: 1, n, drawn, curves, ceiling })
}

/// Expected top-1 at several pool sizes, with intervals that resample images.
fn points(m: &Material<'_>, pools: &[Pool]) -> Result<Vec<page::PoolPoint>> {
    let smallest = pools.iter().map(|pool| pool.images().len()).min().unwrap_or(2);
    let sizes = sizes(smallest);
    // Per image the summed curve of its queries, and their number.
    let mut images = std::collections::BTreeMap::<usize, (Vec<f64>, f64)>::new();
    for pool in pools {
        for (row, &truth) in pool.similarity().axis_iter(Axis(0)).zip(pool.truth()) {
            let ranks = Ranks::new(row.insert_axis(Axis(0)), &[truth])?;
            let curve = top1_by_pool_size(&[ranks], &sizes)?;
            let (sum, count) =
                images.entry(pool.images()[truth]).or_insert_with(|| (vec![0.; sizes.len()], 0.));
            sum.iter_mut().zip(curve).for_each(|(sum, value)| *sum += value);
            *count += 1.;
        }
    }
    let images: Vec<(Vec<f64>, f64)> = images.into_values().collect();
    let bootstrap = Bootstrap { replicates: 500, bca: false, ..Bootstrap::default() };
    let seed = dina_core::Seed::new(m.job.config.seed).child("pool size");
    sizes
        .iter()
        .enumerate()
        .map(|(index, &pool)| {
            let mean = |items: &[usize]| {
                let sum: f64 = items.iter().map(|&i| images[i].0[index]).sum();
                sum / items.iter().map(|&i| images[i].1).sum::<f64>()
            };
            let interval = bootstrap.interval(&Resampling::items(images.len()), mean, seed)?;
            Ok(page::PoolPoint {
                pool,
                top_k: interval.estimate,
                ci_low: interval.low,
                ci_high: interval.high,
            })
        })
        .collect()
}

/// Doubling sizes up to the pool itself.
fn sizes(pool: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = (1..).map(|k| 1 << k).take_while(|&size| size < pool).collect();
    sizes.push(pool);
    sizes
}

/// A picture of one image inside the window of the first fold.
fn picture(m: &Material<'_>, image: usize) -> Result<Picture> {
    let window = m.folds[0].window.window;
    let pixels = m.dataset.images.pixels.index_axis(Axis(0), image);
    let part = pixels
        .slice(ndarray::s![window.top..window.top + window.height, window.left..window.left + window.width]);
    Ok(Picture::new(window.height, window.width, part.iter().copied().collect())?)
}

fn retrievals(m: &Material<'_>, trials: Trials) -> Result<page::Retrievals> {
    let pool = &m.decoded[0].pools(trials)[0];
    let ranks: Vec<f64> = pool.ranks()?.values().collect();
    let mut order: Vec<usize> = (0..ranks.len()).collect();
    order.sort_by(|&a, &b| ranks[a].total_cmp(&ranks[b]));
    let queries = (0..RETRIEVALS.min(order.len()))
        .map(|k| {
            let steps = (RETRIEVALS.min(order.len()) - 1).max(1);
            let query = order[k * (order.len() - 1) / steps];
            retrieval(m, pool, query, ranks[query])
        })
        .collect::<Result<_>>()?;
    let what = match trials {
        Trials::Single => "single test trials",
        Trials::Mean => "mean responses to test images",
    };
    let rule = format!(
        "{what} at equal steps through all of them sorted by the rank that DINA gave the true image, from its best to its worst"
    );
    Ok(page::Retrievals { rule, pool: pool.images().len(), queries })
}

fn retrieval(m: &Material<'_>, pool: &Pool, query: usize, rank: f64) -> Result<page::Retrieval> {
    let truth = pool.truth()[query];
    let similarity = pool.similarity();
    let row = similarity.row(query);
    let mut best: Vec<usize> = (0..row.len()).collect();
    best.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    let retrieved = best
        .into_iter()
        .take(5)
        .map(|column| {
            Ok(page::Candidate {
                image: picture(m, pool.images()[column])?,
                similarity: f64::from(row[column]),
                correct: column == truth,
            })
        })
        .collect::<Result<_>>()?;
    Ok(page::Retrieval {
        label: format!("image {}", pool.images()[truth] + 1),
        response: Vec::new(),
        shown: picture(m, pool.images()[truth])?,
        similarity: f64::from(row[truth]),
        rank,
        retrieved,
    })
}

fn maps(m: &Material<'_>) -> Result<Part<Vec<page::MapExamples>>> {
    let (image, neural) = test_maps(m.dataset, &m.folds[0], &m.trained[0])?;
    let ids = m.folds[0].split.test();
    let examples = (0..MAPS.min(ids.len()))
        .map(|k| {
            let index = k * ids.len() / MAPS.min(ids.len());
            Ok(page::MapExample {
                label: format!("image {}", ids[index] + 1),
                image: picture(m, ids[index] as usize)?,
                image_tower: one(&image, index)?,
                neural_tower: one(&neural, index)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let rule =
        "test images at equal steps through their numbers; neural maps of the mean response".to_owned();
    Ok(vec![page::MapExamples { level: level(m), rule, images: examples }].into())
}

/// Name of the first level, which maps are shown and measured at.
fn level(m: &Material<'_>) -> String {
    let levels = m.trained[0].members[0].image().levels();
    levels.into_iter().next().map_or_else(String::new, |level| level.name)
}

fn one(maps: &Array4<f32>, index: usize) -> Result<page::Maps> {
    let (_, channels, height, width) = maps.dim();
    let values = maps.index_axis(Axis(0), index).iter().copied().collect();
    Ok(page::Maps::new(channels, height, width, values)?)
}

fn alignability(m: &Material<'_>) -> Part<Vec<page::Alignability>> {
    let Some(found) = &m.results.alignability else { return Part::absent("it was not measured") };
    let channels = found.channels.iter().enumerate();
    vec![page::Alignability {
        level: level(m),
        images: found.images,
        permutations: found.permutations,
        null_coverage: found.coverage,
        correction: "step-down maxT over channels".into(),
        alpha: ALPHA,
        channels: channels
            .map(|(channel, c)| page::ChannelAlignability {
                channel,
                r: c.r,
                interval: None,
                null_low: c.null_low,
                null_high: c.null_high,
                p_adjusted: c.p_adjusted,
            })
            .collect(),
    }]
    .into()
}

fn towers(m: &Material<'_>) -> page::Towers {
    let towers = &m.trained[0].members[0];
    let describe = |tower: &dyn dina_core::Tower| {
        let mut layers = tower.describe();
        let input = if layers.is_empty() { String::new() } else { layers.remove(0) };
        let parameters = tower.parameters().iter().map(|p| p.var.elem_count()).sum();
        page::TowerDescription { input, layers, parameters }
    };
    let config = towers.config();
    page::Towers {
        image: describe(towers.image()),
        neural: describe(towers.neural()),
        levels: towers
            .image()
            .levels()
            .into_iter()
            .map(|l| page::Level { name: l.name, channels: l.channels, height: l.height, width: l.width })
            .collect(),
        similarity: match config.objective.similarity() {
            dina_loss::Similarity::Flat => "cosine of the flattened maps",
            dina_loss::Similarity::PerChannel => "mean over channels of the cosine of each",
        }
        .into(),
        objective: config.objective.to_string(),
    }
}

fn training(m: &Material<'_>) -> Vec<page::TrainingRun> {
    let mut runs = Vec::new();
    for (fold, trained) in m.trained.iter().enumerate() {
        for (member, record) in trained.records.iter().enumerate() {
            let sample = |step: usize, value: f64| page::Sample { step: step as u64, value };
            let start = record.outcome.start.map(|v| (0, v));
            let steps = record.log.iter().filter_map(|e| e.validation.map(|v| (e.step, v)));
            let validated = start.into_iter().chain(steps);
            runs.push(page::TrainingRun {
                label: format!("fold {} model {}", fold + 1, member + 1),
                train_loss: record.log.iter().map(|e| sample(e.step, e.loss)).collect(),
                validation_loss: Vec::new(),
                validation_top1: validated.map(|(step, v)| sample(step, v.top1)).collect(),
                kept_step: Some(record.outcome.best_step as u64),
            });
        }
    }
    runs
}

fn methods(m: &Material<'_>) -> page::Methods {
    let config = m.trained[0].members[0].config();
    let fold = &m.folds[0];
    let train = &config.train;
    let (views, folds) = (&fold.split, m.folds.len());
    let [top, left, height, width] = fold.window.window.degrees();
    let window = match &fold.window.source {
        dina_data::WindowSource::ReceptiveField { correlation, p, .. } => format!(
            "cropped to {height:.0} x {width:.0} degrees from ({top:.0}, {left:.0}), where the receptive field of the population lies \
             (cross-validated r {correlation:.2}, p {p:.3})"
        ),
        dina_data::WindowSource::WholeImage { reason } => format!("used whole, because {reason}"),
    };
    let mut details = vec![
        format!("the running average of the weights is kept (decay {})", train.average),
        match config.parts.neural_tower() {
            Some(name) => format!("the neural tower is a user's own, {name}"),
            None => format!("neuron dropout {}", config.neural.dropout),
        },
        match config.start {
            Start::ClosedForm => {
                "mixing matrix and read-in start from a ridge regression on the training view"
            }
            Start::Random if !config.parts.is_empty() => {
                "the towers start from the weights they are made with"
            }
            Start::Random => "all weights start at random",
        }
        .into(),
        "similarities are locally scaled by training images and the responses to them (Conneau et al. 2018)"
            .into(),
    ];
    if let Some(name) = config.parts.image_tower() {
        details.push(format!("the image tower is a user's own, {name}"));
    }
    if config.averaged > 1 {
        details.push(format!("training samples are means of up to {} random repeats", config.averaged));
    }
    if config.shift > 0 {
        details.push(format!("images are moved by up to {} pixels", config.shift));
    }
    if config.members > 1 {
        details.push(format!("similarities of {} models from different seeds are averaged", config.members));
    }
    page::Methods {
        data: match &m.job.config.source {
            Source::Simulated(simulation) => format!("simulated population `{}`", simulation.population),
            Source::Files { .. } => "recorded files".into(),
        },
        images: vec![
            window,
            format!("resampled to {:.2} degrees a pixel for the image tower", fold.degrees_per_pixel),
            "standardised by the training images".into(),
        ],
        responses: vec![format!(
            "preprocessed with the preset `{}`, fitted on the training trials; {} neurons were kept",
            m.job.config.preset,
            fold.neurons.len()
        )],
        split: page::Split {
            scheme: if folds == 1 { page::Scheme::HeldOut } else { page::Scheme::CrossValidated { folds } },
            train: views.train().len(),
            validation: views.validation().len(),
            test: views.test().len(),
            kept_together: "all repeats of an image and its near duplicates".into(),
        },
        optimisation: page::Optimisation {
            optimiser: "AdamW".into(),
            learning_rate: train.learning_rate,
            weight_decay: train.weight_decay,
            schedule: format!("linear warm-up over {} steps, then cosine", train.warm_up),
            batch: train.batch,
            steps: train.steps as u64,
            clip_norm: Some(train.clip),
            stopping: if fold.is_small() {
                "all steps were taken, because too few images could be held out to say when to stop".into()
            } else {
                format!(
                    "training ended early after {} validations without a better mean reciprocal rank, and the best weights were \
                     kept",
                    train.patience
                )
            },
            details,
        },
        baselines: baselines(fold.is_small()),
        inference: page::Inference {
            interval: "BCa bootstrap over images".into(),
            coverage: 0.95,
            bootstrap_samples: Bootstrap::default().replicates,
            null: "permutation of which image the trials belong to, within a fold".into(),
            permutations: m.job.config.profile.permutations(),
            comparison: "sign-flip test of the difference per image, two-sided".into(),
            correction: "Holm over the baselines".into(),
            alpha: ALPHA,
        },
    }
}

fn baselines(small: bool) -> Vec<page::BaselineMethod> {
    let chosen = if small {
        "chosen by cross-validation inside the training images, on which the last fit is made"
    } else {
        "chosen on validation images"
    };
    [
        (
            Decoder::RidgeEncoding,
            format!(
                "predicts every neuron's response to each candidate from a Gabor pyramid by ridge regression and compares it with \
                 the measured response (Kay 2008); features, penalty, neuron weights, noise covariance and local scaling are \
                 {chosen}"
            ),
        ),
        (
            Decoder::RidgeDecoding,
            format!(
                "predicts image features from the responses by ridge regression; features, penalty, components and local scaling \
                 are {chosen}"
            ),
        ),
        (
            Decoder::NearestNeighbour,
            "compares a response with the other repeats of the very candidates: it is given responses to the test images, which \
             the other decoders are not"
                .to_owned(),
        ),
    ]
    .map(|(decoder, description)| page::BaselineMethod {
        decoder: name(decoder).into(),
        description,
        given_test_responses: decoder == Decoder::NearestNeighbour,
    })
    .to_vec()
}

fn leakage(m: &Material<'_>) -> Vec<page::Check> {
    let sum = |f: &dyn Fn(&Fold) -> usize| m.folds.iter().map(f).sum::<usize>();
    let check = |name: &str, shared: usize, what: &str| page::Check {
        name: name.into(),
        passed: shared == 0,
        detail: format!("{shared} {what} on more than one side, over {} split(s)", m.folds.len()),
    };
    let mut checks = vec![
        check("images", sum(&|f| f.leakage.shared_images), "images"),
        check("trials", sum(&|f| f.leakage.shared_trials), "trials"),
        check("near duplicates", sum(&|f| f.leakage.shared_groups), "groups of near duplicates"),
    ];
    if m.folds.len() > 1 {
        let tested: usize = sum(&|f| f.split.test().len());
        checks.push(page::Check {
            name: "every image tested once".into(),
            passed: tested == m.results.recording.stimuli,
            detail: format!("{tested} of {} images", m.results.recording.stimuli),
        });
    }
    checks
}

fn provenance(m: &Material<'_>) -> page::Provenance {
    let r = m.results;
    page::Provenance {
        version: r.version.clone(),
        profile: r.profile.clone(),
        seed: r.seed,
        device: r.device.clone(),
        threads: r.threads,
        hashes: page::Hashes {
            data: r.hashes.data,
            split: r.hashes.split,
            configuration: r.hashes.configuration,
        },
        stages: m
            .stages
            .iter()
            .map(|(name, seconds)| page::Stage { name: name.clone(), seconds: *seconds })
            .collect(),
        peak_memory_bytes: r.peak_memory_bytes,
    }
}
