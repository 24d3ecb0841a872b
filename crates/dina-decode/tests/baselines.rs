//! Both baselines on simulated neurons whose truth is known.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use dina_core::Seed;
use dina_decode::{
    Baseline, Choice, FittedBaseline, Geometry, ImageFeatures, Part, Queries, Ranks, RidgeDecoding,
    RidgeEncoding, TrainingSet, ValidationSet,
    gabor::{GaborConfig, GaborKind, GaborPyramid},
    identification::{Evaluation, Pool, Trials},
};
use dina_stats::bootstrap::Bootstrap;
use ndarray::{Array, Array2, Array3, Axis, s};
use rand_distr::{Distribution, StandardNormal};

const GEOMETRY: Geometry = Geometry { degrees_per_pixel: 2.0, window: None };

fn bank() -> GaborConfig {
    GaborConfig {
        frequencies: vec![0.03, 0.06],
        orientations: 4,
        kind: GaborKind::LinearAndEnergy,
        ..GaborConfig::default()
    }
}

struct Simulated {
    images: Array3<f32>,
    responses: Array2<f32>,
    shown: Vec<usize>,
}

impl Simulated {
    /// Smoothed noise as images; neurons that are random mixtures of a few Gabor features; two trials an
    /// image with private noise.
    fn new(images: usize, neurons: usize, signal: f32) -> Self {
        let mut rng = Seed::new(3).stream("simulated");
        let mut normal = || -> f32 { StandardNormal.sample(&mut rng) };
        let rough = Array::from_shape_simple_fn((images, 26, 26), &mut normal);
        let images =
            Array::from_shape_fn((images, 24, 24), |(i, y, x)| rough.slice(s![i, y..y + 3, x..x + 3]).sum());
        let mut features =
            GaborPyramid::new(&bank(), (24, 24), 2.0, None).unwrap().features(images.view()).unwrap();
        features /= features.std_axis(Axis(0), 0.0).mean().unwrap();
        features -= &features.mean_axis(Axis(0)).unwrap();
        let mixing = Array::from_shape_fn((features.ncols(), neurons), |(f, n)| {
            if (f * 7 + n * 13) % 41 == 0 { normal() } else { 0.0 }
        });
        let mut drive = features.dot(&mixing);
        drive /= drive.std(0.0);
        let count = drive.nrows();
        let shown: Vec<usize> = (0..2 * count).map(|t| t % count).collect();
        let responses =
            Array::from_shape_fn((2 * count, neurons), |(t, n)| signal * drive[[shown[t], n]] + normal());
        Self { images, responses, shown }
    }

    /// Trials of the images `from..to`, counted from 0 again.
    fn part(&self, from: usize, to: usize) -> (Array2<f32>, Vec<usize>, Array3<f32>) {
        let rows: Vec<usize> =
            (0..self.shown.len()).filter(|&t| (from..to).contains(&self.shown[t])).collect();
        (
            self.responses.select(Axis(0), &rows),
            rows.iter().map(|&t| self.shown[t] - from).collect(),
            self.images.slice(s![from..to, .., ..]).to_owned(),
        )
    }

    /// Fits on 200 images, tunes on 50, and identifies single trials among 60 others.
    fn identify(&self, baseline: &dyn Baseline) -> (Box<dyn FittedBaseline>, Pool) {
        let (train, train_shown, train_images) = self.part(0, 200);
        let (valid, valid_shown, valid_images) = self.part(200, 250);
        let reference = train.slice(s![..200, ..]);
        let part = Part {
            training: TrainingSet::new(train.view(), &train_shown, train_images.view()).unwrap(),
            validation: ValidationSet::new(valid.view(), &valid_shown, valid_images.view()).unwrap(),
            reference,
        };
        let fitted = baseline.fit(&[part], &part.training).unwrap();
        let (test, shown, images) = self.part(250, 310);
        let queries = Queries { responses: test.view(), reference };
        let similarity = fitted.similarity(queries, images.view()).unwrap();
        (fitted, Pool::new(similarity, shown, (250..310).collect()).unwrap())
    }
}

fn encoding() -> RidgeEncoding {
    RidgeEncoding { features: vec![ImageFeatures::Gabor(bank())], ..RidgeEncoding::new(GEOMETRY) }
}

fn decoding() -> RidgeDecoding {
    RidgeDecoding {
        features: vec![ImageFeatures::Pixels, ImageFeatures::Gabor(bank())],
        ..RidgeDecoding::new(GEOMETRY)
    }
}

fn top1(pool: &Pool) -> f64 {
    Ranks::new(pool.similarity(), pool.truth()).unwrap().top(1)
}

#[test]
fn linear_neurons_are_identified() {
    let simulated = Simulated::new(310, 150, 1.0);
    let (fitted, pool) = simulated.identify(&encoding());
    assert!(top1(&pool) > 0.9, "encoding {}", top1(&pool));
    let Choice::Encoding(choice) = fitted.choice() else {
        panic!("not the choice of an encoding");
    };
    assert!(choice.median_accuracy > 0.4);
    let (_, pool) = simulated.identify(&decoding());
    assert!(top1(&pool) > 0.6, "decoding {}", top1(&pool));
}

#[test]
fn without_signal_both_are_at_chance() {
    let simulated = Simulated::new(310, 60, 0.0);
    let evaluation = Evaluation { permutations: 199, bootstrap: Bootstrap::default() };
    for baseline in [&encoding() as &dyn Baseline, &decoding()] {
        let (_, pool) = simulated.identify(baseline);
        let found = evaluation.figures(&[pool], Seed::new(1)).unwrap();
        assert!(found.p > 0.005, "{found:?}");
        assert!((found.two_way - 0.5).abs() < 0.1, "{found:?}");
    }
}

/// Several parts choose together, and the last fit is on all their images.
#[test]
fn parts_choose_together() {
    let simulated = Simulated::new(310, 25, 0.8);
    let (test, shown, images) = simulated.part(250, 310);
    let (all, all_shown, all_images) = simulated.part(0, 250);
    let sides: Vec<_> = [(0, 125, 125, 250), (125, 250, 0, 125)]
        .map(|(a, b, c, d)| (simulated.part(a, b), simulated.part(c, d)))
        .into();
    let parts: Vec<Part> = sides
        .iter()
        .map(|((r, shown, images), (vr, vshown, vimages))| Part {
            training: TrainingSet::new(r.view(), shown, images.view()).unwrap(),
            validation: ValidationSet::new(vr.view(), vshown, vimages.view()).unwrap(),
            reference: r.slice(s![..125, ..]),
        })
        .collect();
    let whole = TrainingSet::new(all.view(), &all_shown, all_images.view()).unwrap();
    let queries = Queries { responses: test.view(), reference: all.slice(s![..250, ..]) };
    for baseline in [&encoding() as &dyn Baseline, &decoding()] {
        let top = |fitted: &dyn FittedBaseline| {
            let similarity = fitted.similarity(queries, images.view()).unwrap();
            Ranks::new(similarity.view(), &shown).unwrap().mean_reciprocal()
        };
        let together = baseline.fit(&parts, &whole).unwrap();
        let alone = baseline.fit(&parts[..1], &parts[0].training).unwrap();
        let (together, alone) = (top(together.as_ref()), top(alone.as_ref()));
        assert!(together > alone + 0.02, "{together} {alone}");
    }
}

/// The same fit for any number of threads.
#[test]
fn threads_do_not_change_the_fit() {
    let simulated = Simulated::new(310, 40, 1.0);
    let run = |threads| {
        let workers = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        workers.install(|| {
            let (_, a) = simulated.identify(&encoding());
            let (_, b) = simulated.identify(&decoding());
            (a, b)
        })
    };
    assert!(run(1) == run(3));
}

#[test]
fn refuses_what_does_not_fit_together() {
    let simulated = Simulated::new(310, 20, 1.0);
    let (train, shown, images) = simulated.part(0, 30);
    let (valid, valid_shown, valid_images) = simulated.part(30, 40);
    let training = TrainingSet::new(train.view(), &shown, images.view()).unwrap();
    let fewer = valid.slice(s![.., ..10]);
    let validation = ValidationSet::new(valid.view(), &valid_shown, valid_images.view()).unwrap();
    let part = Part { training, validation, reference: train.view() };
    let short = ValidationSet::new(fewer, &valid_shown, valid_images.view()).unwrap();
    assert!(encoding().fit(&[Part { validation: short, ..part }], &training).is_err());
    assert!(encoding().fit(&[Part { reference: fewer, ..part }], &training).is_err());
    assert!(encoding().fit(&[], &training).is_err());
    let empty = RidgeEncoding { penalties: Vec::new(), ..encoding() };
    assert!(empty.fit(&[part], &training).is_err());
    let no_components = RidgeDecoding { samples: vec![Trials::Single], components: Vec::new(), ..decoding() };
    assert!(no_components.fit(&[part], &training).is_err());
    let fitted = encoding().fit(&[part], &training).unwrap();
    let queries = Queries { responses: fewer, reference: train.view() };
    assert!(fitted.similarity(queries, valid_images.view()).is_err());
    assert!(TrainingSet::new(train.view(), &shown[1..], images.view()).is_err());
    assert!(TrainingSet::new(train.view(), &shown, images.slice(s![..29, .., ..])).is_err());
}
