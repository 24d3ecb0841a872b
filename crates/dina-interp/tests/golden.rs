//! Every attribution method against an independent computation in PyTorch on the same weights
//! (`golden/attribution.py`, in double precision).

#![cfg(feature = "candle")]
// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use dina_core::{MapSpec, Seed, Tower};
use dina_interp::attribution::{
    Baseline, ExpectedGradients, Explainer, Groups, IntegratedGradients, Shapley, SmoothGrad, Target,
};
use dina_model::{Factorised, GaborConfig, ImageTower, ImageTowerConfig, Mlp};
use ndarray::{Array3, Array4, Axis, s};
use serde::Deserialize;

type Values = BTreeMap<String, Vec<f64>>;

#[derive(Deserialize)]
struct Fixture {
    weights: BTreeMap<String, Values>,
    inputs: Values,
    background: Values,
    /// `[items, channels, height, width]`.
    maps: Vec<f32>,
    draws: BTreeMap<String, Draws>,
    cases: Vec<Case>,
}

/// What the fixture was made with. Noise is large and left out of it: SmoothGrad disagrees where it is another.
#[derive(Deserialize)]
struct Draws {
    places: Vec<Vec<(usize, f64)>>,
    orders: Vec<Vec<Vec<usize>>>,
}

#[derive(Deserialize)]
struct Case {
    tower: String,
    target: String,
    methods: Values,
}

const ITEMS: usize = 2;
const BACKGROUND: usize = 5;
const MAP: [usize; 3] = [3, 4, 5];

/// As in `golden/attribution.py`.
fn tower(kind: &str) -> Box<dyn Tower> {
    let level = MapSpec { name: "v1".into(), channels: MAP[0], height: MAP[1], width: MAP[2] };
    let (seed, device) = (Seed::new(0), Device::Cpu);
    match kind {
        "image" => {
            let gabor =
                GaborConfig { kernel: 5, orientations: 2, dilations: vec![1, 2], ..Default::default() };
            let config = ImageTowerConfig {
                height: 8,
                width: 10,
                degrees_per_pixel: 2.,
                gabor,
                channels: 3,
                hidden: 4,
            };
            Box::new(ImageTower::new(config, seed, &device).unwrap())
        }
        "factorised" => Box::new(Factorised::new(12, 2, level, 0., seed, &device).unwrap()),
        _ => Box::new(Mlp::new(12, 7, level, 0., seed, &device).unwrap()),
    }
}

fn tensor(values: &[f64], dims: &[usize]) -> Tensor {
    let narrow: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    Tensor::from_vec(narrow, dims, &Device::Cpu).unwrap()
}

fn target(name: &str, maps: &Array4<f32>) -> Target {
    match name {
        "mean of channel 1" => Target::channel("v1", 1),
        "channel 2 against maps" => {
            let own: Array3<f32> = maps.index_axis(Axis(1), 2).to_owned();
            Target::channel_matching("v1", 2, own)
        }
        _ => Target::level_matching("v1", maps.clone()),
    }
}

/// The largest difference, relative to the largest value that is expected.
fn error(found: impl IntoIterator<Item = f32>, expected: &[f64]) -> f64 {
    let found: Vec<f64> = found.into_iter().map(f64::from).collect();
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    assert!(largest > 0.);
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0., f64::max) / largest
}

#[test]
fn attributions_agree_with_pytorch() {
    let fixture: Fixture = serde_json::from_str(include_str!("golden/attribution.json")).unwrap();
    let maps = Array4::from_shape_vec((ITEMS, MAP[0], MAP[1], MAP[2]), fixture.maps.clone()).unwrap();
    let seed = Seed::new(7);
    let (mut worst, mut compared) = (BTreeMap::<String, f64>::new(), 0);
    for case in &fixture.cases {
        let tower = tower(&case.tower);
        for parameter in tower.parameters() {
            let values = &fixture.weights[&case.tower][&parameter.name];
            parameter.var.set(&tensor(values, parameter.var.dims())).unwrap();
        }
        let side = if case.tower == "image" { "image" } else { "neural" };
        let dims: &[usize] = if side == "image" { &[1, 8, 10] } else { &[12] };
        let shaped = |values: &[f64], rows| tensor(values, &[&[rows], dims].concat());
        let inputs = shaped(&fixture.inputs[side], ITEMS);
        let background = shaped(&fixture.background[side], BACKGROUND);
        let explainer = Explainer::new(tower.as_ref(), target(&case.target, &maps)).unwrap().with_batch(7);
        let (smooth, expected) = (
            SmoothGrad { samples: 6, ..Default::default() },
            ExpectedGradients { samples: 10, ..Default::default() },
        );
        let shapley = Shapley { pairs: 3, ..Default::default() };
        let drawn = &fixture.draws[side];
        for item in 0..ITEMS {
            let places = expected.draws(item, BACKGROUND, seed);
            assert!(
                places.iter().zip(&drawn.places[item]).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-12)
            );
            let orders = drawn.orders[item].iter().enumerate();
            assert!(orders.into_iter().all(|(k, order)| *order == shapley.order(item, k, 4, seed)));
        }
        let (patches, groups) = if side == "image" {
            (Groups::patches(8, 10, 4, 2).unwrap(), Groups::patches(8, 10, 5, 5).unwrap())
        } else {
            let sets = vec![vec![0, 1, 2], vec![3, 4], vec![5, 6, 7, 8], vec![9, 10, 11]];
            (Groups::each(12).unwrap(), Groups::new(sets, 12).unwrap())
        };
        // The nodes of the fixture, and no refinement.
        let integrated = |baseline| {
            let config = IntegratedGradients { baseline, max_steps: 16, ..Default::default() };
            explainer.integrated_gradients(&inputs, &config).unwrap().values
        };
        let first: Vec<f32> =
            fixture.background[side][..inputs.elem_count() / ITEMS].iter().map(|&v| v as f32).collect();
        for (method, values) in &case.methods {
            let found: Vec<f32> = match method.as_str() {
                "targets" => explainer.targets(&inputs).unwrap().into_iter().map(|v| v as f32).collect(),
                "gradient_input" => explainer.gradient_input(&inputs).unwrap().values.into_iter().collect(),
                "integrated_gradients" => integrated(Baseline::Zero).into_iter().collect(),
                "integrated_gradients_from_background" => {
                    integrated(Baseline::Given(first.clone())).into_iter().collect()
                }
                "smooth_grad" => {
                    explainer.smooth_grad(&inputs, &smooth, seed).unwrap().values.into_iter().collect()
                }
                "expected_gradients" => {
                    let found = explainer.expected_gradients(&inputs, &background, &expected, seed).unwrap();
                    found.values.into_iter().collect()
                }
                "occlusion" => {
                    let found = explainer.occlusion(&inputs, &patches, &Baseline::Zero).unwrap();
                    found.groups.unwrap().into_iter().collect()
                }
                "shapley" => explainer
                    .shapley(&inputs, &groups, &shapley, seed)
                    .unwrap()
                    .groups
                    .unwrap()
                    .into_iter()
                    .collect(),
                "grad_cam" => explainer.grad_cam(&inputs).unwrap().values.into_iter().collect(),
                other => panic!("no such method: {other}"),
            };
            let error = error(found, values);
            println!("{} {} {method}: {error:.1e}", case.tower, case.target);
            assert!(error < 1e-4, "{} tower, {}, {method}: {error:.2e}", case.tower, case.target);
            let largest = worst.entry(method.clone()).or_default();
            *largest = largest.max(error);
            compared += 1;
        }
    }
    assert_eq!((fixture.cases.len(), compared), (9, 73));
    println!("largest relative error by method: {worst:?}");
    // What is compared differs between methods: a fixture of equal numbers would pass no matter what they compute.
    let image = &fixture.cases[0].methods;
    let first = |method: &str| ndarray::aview1(&image[method]).slice(s![..40]).to_owned();
    assert!((first("integrated_gradients") - first("gradient_input")).iter().any(|d| d.abs() > 1e-4));
}
