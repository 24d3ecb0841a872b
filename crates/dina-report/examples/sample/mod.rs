//! Reports made of made-up numbers: they show the layout and mean nothing.

use std::f32::consts::TAU;

use dina_core::{ContentHash, Seed, Stream};
use dina_report::chart::{Forest, ForestPoint, ForestRow};
use dina_report::*;
use rand::RngExt;
use rand_distr::{Distribution, Normal};

/// The extents of a made-up study.
#[derive(Clone, Copy)]
pub struct Extents {
    pub neurons: usize,
    pub images: usize,
    pub pool: usize,
    pub repeats: usize,
    pub folds: usize,
    /// Rows and columns of an image.
    pub picture: (usize, usize),
    /// Channels, rows and columns of a map.
    pub maps: (usize, usize, usize),
    /// What queries are.
    pub trials: Trials,
    /// Top-1 of `dina` and of the three baselines.
    pub top1: [f64; 4],
}

/// A held-out test set, DINA ahead.
pub const HELD_OUT: Extents = Extents {
    neurons: 1000,
    images: 1400,
    pool: 280,
    repeats: 2,
    folds: 1,
    picture: (64, 64),
    maps: (32, 12, 12),
    trials: Trials::Single,
    top1: [0.61, 0.54, 0.47, 0.38],
};

/// A small recording in six folds, DINA behind.
pub const FOLDS: Extents = Extents {
    neurons: 54,
    images: 118,
    pool: 20,
    repeats: 50,
    folds: 6,
    picture: (94, 120),
    maps: (8, 17, 22),
    trials: Trials::Mean,
    top1: [0.24, 0.26, 0.2, 0.22],
};

/// Three screens wide, many neurons and channels.
pub const WIDE: Extents = Extents {
    neurons: 10_000,
    images: 2800,
    pool: 2800,
    repeats: 2,
    folds: 1,
    picture: (68, 270),
    maps: (64, 9, 34),
    trials: Trials::Single,
    top1: [0.412, 0.395, 0.301, 0.37],
};

const DECODERS: [&str; 4] = ["dina", "ridge_encoding", "ridge_decoding", "nearest_neighbour"];

/// A complete report.
pub fn report(extents: Extents) -> Result<Report> {
    let seed = Seed::new(7);
    let e = extents;
    let primary = Condition {
        split: "test".into(),
        trials: e.trials,
        direction: Direction::NeuralToImage,
        measure: Measure::Top1,
    };
    let identification = identification(e);
    let comparisons: Vec<Comparison> = (1..4)
        .map(|i| {
            let difference = e.top1[0] - e.top1[i];
            let half = 2.4 / (queries(e) as f64).sqrt() * 0.5;
            Comparison {
                baseline: DECODERS[i].into(),
                difference,
                ci_low: difference - half,
                ci_high: difference + half,
                p_adjusted: (-(difference / half * 2.).powi(2)).exp().clamp(0.0005, 1.),
            }
        })
        .collect();
    Ok(Report {
        title: "Image-neural alignment".into(),
        subject: format!("Layout sample, {} neurons", e.neurons),
        notice: Some(
            "The numbers, images and maps on this page are made up to show the layout. They come \
             from no recording, no simulation and no model."
                .into(),
        ),
        recording: recording(e, &seed),
        primary,
        claims: claims(&seed).into(),
        identification,
        comparisons: comparisons.into(),
        ceilings: vec![Ceiling {
            split: "test".into(),
            trials: e.trials,
            pool: e.pool,
            top1: 0.68,
            top5: 0.86,
        }]
        .into(),
        ranks: ranks(e, &seed).into(),
        pool_size: pool_size(e).into(),
        retrievals: retrievals(e, &seed)?.into(),
        maps: vec![maps(e, &seed)?].into(),
        alignability: vec![alignability(e, &seed)].into(),
        towers: towers(e).into(),
        training: training(e, &seed).into(),
        methods: methods(e),
        leakage: vec![
            Check {
                name: "no image on two sides of the split".into(),
                passed: true,
                detail: format!("{} images, 0 on more than one side", e.images),
            },
            Check {
                name: "near duplicates stay together".into(),
                passed: true,
                detail: "12 groups, 0 divided".into(),
            },
            Check {
                name: "preprocessing fitted on training images only".into(),
                passed: true,
                detail: "statistics equal after the test responses are replaced".into(),
            },
        ]
        .into(),
        provenance: Provenance {
            version: "0.0.0 (sample)".into(),
            profile: "quick".into(),
            seed: 7,
            device: "cpu".into(),
            threads: 2,
            hashes: Hashes {
                data: ContentHash::of([b"data".as_slice()]),
                split: ContentHash::of([b"split".as_slice()]),
                configuration: ContentHash::of([b"configuration".as_slice()]),
            },
            stages: [("data", 4.2), ("baselines", 31.), ("training", 143.), ("statistics", 12.6)]
                .map(|(name, seconds)| Stage { name: name.into(), seconds })
                .to_vec(),
            peak_memory_bytes: Some(1_930_000_000),
        },
        notes: Vec::new(),
    })
}

fn queries(e: Extents) -> usize {
    match (e.folds, e.trials) {
        (1, Trials::Single) => e.pool * e.repeats,
        _ => e.images,
    }
}

fn identification(e: Extents) -> Vec<Identification> {
    let conditions = [
        (e.trials, Direction::NeuralToImage, 1.),
        (e.trials, Direction::ImageToNeural, 0.95),
        (Trials::Mean, Direction::NeuralToImage, 1.25),
    ];
    let kept = if e.trials == Trials::Mean { 2 } else { 3 };
    conditions[..kept]
        .iter()
        .flat_map(|&(trials, direction, factor)| {
            DECODERS.iter().zip(e.top1).map(move |(decoder, top1)| {
                let n = if trials == Trials::Mean { e.images.min(e.pool * e.folds) } else { queries(e) };
                let top1 = (top1 * factor).min(0.98);
                let half = 1.96 * (top1 * (1. - top1) / n as f64).sqrt();
                Identification {
                    decoder: (*decoder).into(),
                    split: "test".into(),
                    trials,
                    direction,
                    pool: e.pool,
                    n,
                    folds: e.folds,
                    chance_top1: 1. / e.pool as f64,
                    top1,
                    top5: top1.powf(0.5),
                    two_way: 1. - (1. - top1) * 0.1,
                    median_rank: if top1 > 0.5 { 1. } else { 3.5 },
                    ci_low: top1 - half,
                    ci_high: top1 + half,
                    p: 0.0005,
                }
            })
        })
        .collect()
}

fn recording(e: Extents, seed: &Seed) -> RecordingSummary {
    let mut stream = seed.stream("reliability");
    RecordingSummary {
        name: "made up".into(),
        neurons: e.neurons,
        stimuli: e.images,
        presentations: e.images * e.repeats + 50,
        repeats: e.repeats,
        gray_screens: 50,
        signal_variance: Some(0.165),
        split_half_r: Some(0.42),
        self_retrieval: Some(SelfRetrieval { pool: e.images, top1: 0.43, top5: 0.61 }),
        reliability: (0..e.neurons).map(|_| (0.42 + 0.2 * normal(&mut stream)).clamp(-0.15, 0.98)).collect(),
    }
}

fn normal(stream: &mut Stream) -> f64 {
    Normal::new(0., 1.).map_or(0., |normal| normal.sample(stream))
}

fn ranks(e: Extents, seed: &Seed) -> Vec<Ranks> {
    let mut stream = seed.stream("ranks");
    DECODERS
        .iter()
        .zip(e.top1)
        .map(|(decoder, top1)| Ranks {
            decoder: (*decoder).into(),
            pool: e.pool,
            ranks: (0..queries(e))
                .map(|_| {
                    let u: f64 = stream.random();
                    if u < top1 {
                        return 1.;
                    }
                    let rest = (u - top1) / (1. - top1);
                    1. + (rest.powi(3) * (e.pool - 1) as f64).ceil().max(1.)
                })
                .collect(),
        })
        .collect()
}

fn pool_size(e: Extents) -> PoolStudy {
    let pools: Vec<usize> = [2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
        .into_iter()
        .filter(|&pool| pool < e.pool)
        .chain([e.pool])
        .collect();
    let curve = |end: f64| -> Vec<PoolPoint> {
        pools
            .iter()
            .map(|&pool| {
                let part = (pool as f64).ln() / (e.pool as f64).ln();
                let top_k = 1. - (1. - end) * part.powf(1.4);
                let half = 0.9 * (top_k * (1. - top_k) / queries(e) as f64).sqrt() * 2.;
                PoolPoint { pool, top_k, ci_low: top_k - half, ci_high: top_k + half }
            })
            .collect()
    };
    PoolStudy {
        k: 1,
        n: queries(e),
        drawn: "mean over all pools of a size, drawn without replacement".into(),
        curves: DECODERS
            .iter()
            .zip(e.top1)
            .map(|(decoder, top1)| PoolCurve { decoder: (*decoder).into(), points: curve(top1) })
            .collect(),
        ceiling: curve(0.68),
    }
}

/// An image of a few soft blobs on a grating.
fn picture(e: Extents, stream: &mut Stream) -> Result<Picture> {
    let (height, width) = e.picture;
    let scale = height as f32;
    let angle: f32 = stream.random::<f32>() * TAU;
    let period = (0.1 + 0.4 * stream.random::<f32>()) * scale;
    let blobs: Vec<[f32; 4]> = (0..5 * width.div_ceil(height))
        .map(|_| {
            [
                stream.random::<f32>() * width as f32,
                stream.random::<f32>() * scale,
                (0.08 + 0.2 * stream.random::<f32>()) * scale,
                stream.random::<f32>() * 4. - 2.,
            ]
        })
        .collect();
    let values: Vec<f32> = (0..height * width)
        .map(|i| {
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            let wave = ((x * angle.cos() + y * angle.sin()) * TAU / period).sin();
            let blobs = blobs.iter().map(|[cx, cy, size, gain]| {
                gain * (-((x - cx).powi(2) + (y - cy).powi(2)) / (2. * size * size)).exp()
            });
            0.6 * wave + blobs.sum::<f32>()
        })
        .collect();
    Picture::from_values(height, width, &values, -2., 2.)
}

fn retrievals(e: Extents, seed: &Seed) -> Result<Retrievals> {
    let mut stream = seed.stream("retrievals");
    let ranks = [1., 1., 1., 3., 8., (e.pool / 2) as f64];
    let mut queries = Vec::new();
    for (i, rank) in ranks.into_iter().enumerate() {
        let shown = picture(e, &mut stream)?;
        let mut retrieved = Vec::new();
        for place in 1..=5 {
            let correct = place as f64 == rank;
            retrieved.push(Candidate {
                image: if correct { shown.clone() } else { picture(e, &mut stream)? },
                similarity: 0.9 - 0.07 * place as f64,
                correct,
            });
        }
        queries.push(Retrieval {
            label: format!("image {}, trial {}", 17 * i + 4, i % 2 + 1),
            response: (0..e.neurons).map(|_| normal(&mut stream).exp() as f32).collect(),
            shown,
            similarity: 0.9 - 0.07 * rank.min(10.),
            rank,
            retrieved,
        });
    }
    Ok(Retrievals {
        rule: "The first three queries of rank 1 and the first three of another rank, in the \
               order of the test set"
            .into(),
        pool: e.pool,
        queries,
    })
}

fn maps(e: Extents, seed: &Seed) -> Result<MapExamples> {
    let mut stream = seed.stream("maps");
    let (channels, height, width) = e.maps;
    let mut images = Vec::new();
    for i in 0..3 {
        let mut towers = [Vec::new(), Vec::new()];
        for channel in 0..channels {
            let (a, b) = (normal(&mut stream) * 3., normal(&mut stream) * 3.);
            let noise = 0.2 + 1.2 * channel as f64 / channels as f64;
            for y in 0..height {
                for x in 0..width {
                    let (u, v) = (x as f64 / height as f64, y as f64 / height as f64);
                    let clean = (a * u * 2. + b * v * 2. + channel as f64).sin();
                    towers[0].push(clean as f32);
                    towers[1].push((clean + noise * normal(&mut stream)) as f32);
                }
            }
        }
        let [image, neural] = towers;
        images.push(MapExample {
            label: format!("image {}", 31 * i + 2),
            image: picture(e, &mut stream)?,
            image_tower: Maps::new(channels, height, width, image)?,
            neural_tower: Maps::new(channels, height, width, neural)?,
        });
    }
    Ok(MapExamples { level: "v1".into(), rule: "The first three images of the test set".into(), images })
}

fn alignability(e: Extents, seed: &Seed) -> Alignability {
    let mut stream = seed.stream("alignability");
    let channels = e.maps.0;
    Alignability {
        level: "v1".into(),
        images: e.pool,
        permutations: 2000,
        null_coverage: 0.95,
        correction: "Westfall-Young step-down maxT over channels".into(),
        alpha: 0.05,
        channels: (0..channels)
            .map(|channel| {
                let r = 0.62 - 0.66 * channel as f64 / channels as f64 + 0.05 * normal(&mut stream);
                ChannelAlignability {
                    channel,
                    r,
                    interval: None,
                    null_low: -0.06 - 0.01 * normal(&mut stream).abs(),
                    null_high: 0.06 + 0.01 * normal(&mut stream).abs(),
                    p_adjusted: if r > 0.1 { 0.0005 } else { 0.4 },
                }
            })
            .collect(),
    }
}

fn towers(e: Extents) -> Towers {
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    let (channels, height, width) = e.maps;
    Towers {
        image: TowerDescription {
            input: format!("image 1 x {} x {}", e.picture.0, e.picture.1),
            layers: lines(&[
                "Gabor bank: 48 quadrature pairs, 15 x 15, learned from published V1 statistics on",
                "ON and OFF half-rectified simple channels, energy channels",
                "divisive normalisation over channels",
                "local stream: convolution 3 x 3; global stream: gated context; sum",
                "average pooling to the shared grid",
                "1 x 1 convolution to the shared channels",
            ]),
            parameters: 61_344,
        },
        neural: TowerDescription {
            input: format!("response of {} neurons", e.neurons),
            layers: lines(&[
                "dropout 0.5 of neurons",
                "factorised read-in: 4 masks by 32 features a neuron",
                "convolution 3 x 3, softplus",
            ]),
            parameters: e.neurons * 4 * (height * width + channels),
        },
        levels: vec![Level { name: "v1".into(), channels, height, width }],
        similarity: "mean over channels of the cosine of channel maps".into(),
        objective: "symmetric InfoNCE with several positives, learned temperature".into(),
    }
}

fn training(e: Extents, seed: &Seed) -> Vec<TrainingRun> {
    let mut stream = seed.stream("training");
    (0..e.folds)
        .map(|fold| {
            let sample = |step: u64, value: f64| Sample { step, value };
            let mut loss = |step: u64, floor: f64, noise: f64| {
                let decay = (-(step as f64) / 220.).exp();
                sample(step, floor + (5. - floor) * decay + noise * normal(&mut stream))
            };
            TrainingRun {
                label: format!("fold {}", fold + 1),
                train_loss: (1..=1200).map(|step| loss(step, 0.6, 0.12)).collect(),
                validation_loss: (0..=24).map(|i| loss(50 * i, 1.3, 0.03)).collect(),
                validation_top1: (0..=24u64)
                    .map(|i| {
                        let up = 1. - (-(i as f64) / 6.).exp() - (i as f64 / 60.).powi(2);
                        sample(50 * i, e.top1[0] * up + 0.01 * fold as f64)
                    })
                    .collect(),
                kept_step: Some(900),
            }
        })
        .collect()
}

fn methods(e: Extents) -> Methods {
    let test = if e.folds == 1 { e.pool.min(e.images / 5) } else { e.images / e.folds };
    Methods {
        data: "This page shows made-up numbers".into(),
        images: vec!["reduced to one pixel a degree".into(), "centred on the training mean".into()],
        responses: vec![
            "compressed by a signed logarithm".into(),
            "z-scored by the mean and standard deviation of each neuron".into(),
        ],
        split: Split {
            scheme: match e.folds {
                1 => Scheme::HeldOut,
                folds => Scheme::CrossValidated { folds },
            },
            train: e.images - 2 * test,
            validation: test,
            test,
            kept_together: "all repeats of an image and its near duplicates".into(),
        },
        optimisation: Optimisation {
            optimiser: "AdamW".into(),
            learning_rate: 3e-3,
            weight_decay: 1e-4,
            schedule: "linear warm-up over 50 steps, then cosine".into(),
            batch: 128,
            steps: 1200,
            clip_norm: Some(1.),
            stopping: "training stops after 6 evaluations without a better validation top-1, and \
                       the best weights are kept"
                .into(),
            details: vec!["the temperature starts at 1 / 0.07 and is clamped to 100".into()],
        },
        baselines: vec![
            BaselineMethod {
                decoder: "ridge_encoding".into(),
                given_test_responses: false,
                description: "each candidate's response is predicted from a Gabor pyramid; penalty \
                              and weights by validation"
                    .into(),
            },
            BaselineMethod {
                decoder: "ridge_decoding".into(),
                given_test_responses: false,
                description: "image features are predicted from the response; penalty by validation".into(),
            },
            BaselineMethod {
                decoder: "nearest_neighbour".into(),
                given_test_responses: true,
                description: "correlation with the other repeats of the candidates, which this \
                              baseline alone has measured"
                    .into(),
            },
        ],
        inference: Inference {
            interval: "BCa bootstrap over images".into(),
            coverage: 0.95,
            bootstrap_samples: 2000,
            null: "permutation of image labels".into(),
            permutations: 2000,
            comparison: "paired sign flip over images".into(),
            correction: "Holm".into(),
            alpha: 0.05,
        },
    }
}

fn claims(seed: &Seed) -> Claims {
    let claim = |id: &str, heading: &str, statement: &str, verdict, effect: f64| Claim {
        id: id.into(),
        heading: heading.into(),
        statement: statement.into(),
        verdict,
        measured: if verdict == ClaimVerdict::NotValidated { ClaimVerdict::Supported } else { verdict },
        reason: effect.is_nan().then(|| "no categories of the images are known".into()),
        unit: "difference of two-way identification".into(),
        smallest: 0.02,
        effect: effect.is_finite().then_some(ClaimEffect {
            estimate: effect,
            ci_low: effect - 0.03,
            ci_high: effect + 0.03,
            p_adjusted: if effect > 0.05 { 0.0005 } else { 1. },
            images: 280,
        }),
        power: Some(ErrorRate { hits: 19, runs: 20, low: 0.764, high: 0.991 }),
        false_support: Some(ErrorRate { hits: 0, runs: 60, low: 0., high: 0.06 }),
        statistic: "two-way identification under one condition minus that under another".into(),
        null: "the difference lies evenly about 0".into(),
        exchangeable: "the sign of the difference of an image; images are resampled".into(),
        controls: vec![ClaimControl {
            name: "permuted training images".into(),
            value: 0.004,
            ci_low: -0.01,
            ci_high: 0.018,
            passed: true,
        }],
        details: vec![("two_way_coarse".into(), 0.91), ("two_way_fine".into(), 0.77)],
        known: known(id, seed),
    };
    let (first, second) = ("Claim 1: accuracy", "Claim 2: coarse, not fine, not semantic");
    Claims {
        claims: vec![
            claim(
                "accuracy",
                first,
                "The image shown can be read from the response.",
                ClaimVerdict::Supported,
                0.41,
            ),
            claim("coarse", second, "Decoding rests on coarse structure.", ClaimVerdict::Supported, 0.14),
            claim("fine", second, "Decoding uses fine structure.", ClaimVerdict::Contradicted, -0.01),
            claim("category", second, "Responses carry the category.", ClaimVerdict::Inconclusive, f64::NAN),
            claim("sparse", "Claim 4: sparse neurons", "Few neurons do it.", ClaimVerdict::NotValidated, 0.3),
        ],
        beside: vec![beside()],
        absent: vec!["No categories of the images are known.".into()],
        correction: "Holm over all tests of the study".into(),
        calibration: "Error rates are made up.".into(),
        registration: "0123456789abcdef".into(),
    }
}

fn beside() -> Described {
    let point = |value: f64| Some(ForestPoint { value, interval: Some([value - 0.03, value + 0.03]) });
    let rows = [("as recorded", 0.95, 0.6), ("noise in place of every image", 0.5, 0.01)];
    Described {
        name: "basis-conditions".into(),
        title: "Identification with and without something to rest on".into(),
        text: "Made-up shares of identified images with 95\u{a0}% intervals; n = 280 images.".into(),
        forest: Forest {
            of: "condition".into(),
            value: "share identified".into(),
            series: vec!["two-way".into(), "top 1".into()],
            rows: rows
                .map(|(label, a, b)| ForestRow {
                    label: label.into(),
                    points: vec![point(a), point(b)],
                    mark: None,
                })
                .into(),
            row_mark: String::new(),
            marks: vec![("chance, two-way".into(), 0.5)],
        },
    }
}

fn known(id: &str, seed: &Seed) -> Vec<KnownEffect> {
    let mut stream = seed.child(id).stream("known");
    [("coarse", Some(true), 0.2), ("fine", Some(false), -0.2), ("null", Some(false), 0.), ("v1", None, 0.1)]
        .into_iter()
        .flat_map(|(population, truth, mean)| (0..6).map(move |k| (population, truth, mean, k)))
        .map(|(population, truth, mean, k)| {
            let effect = mean + 0.06 * (stream.random::<f64>() - 0.5);
            KnownEffect {
                population: population.into(),
                truth,
                effect,
                supported: effect > 0.1,
                of_this_size: k == 0,
            }
        })
        .collect()
}
