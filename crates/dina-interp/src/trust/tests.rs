use candle_core::{Device, Tensor, Var};
use dina_core::{Seed, Tower};
use dina_model::ImageTower;
use dina_stats::bootstrap::Bootstrap;
use ndarray::{Array2, ArrayD, IxDyn};

use super::*;
use crate::{
    Result,
    attribution::{
        Attribution, Explainer, IntegratedGradients, Target,
        testing::{Toy, image_tower, linear, noise},
    },
};

fn tower() -> ImageTower {
    image_tower(1)
}

/// Two layers with random weights.
fn network(seed: u64) -> impl Tower + use<> {
    let first = Var::from_tensor(&noise(&[16, 12], seed)).unwrap();
    let second = Var::from_tensor(&noise(&[12, 1], seed + 1)).unwrap();
    let (a, b) = (first.clone(), second.clone());
    let function = move |x: &Tensor| x.matmul(&a)?.tanh()?.matmul(&b);
    Toy { channels: 1, parameters: vec![first, second], function }
}

fn target() -> Target {
    Target::channel("v1", 0)
}

fn product(tower: &dyn Tower, inputs: &Tensor) -> Result<Attribution> {
    Explainer::new(tower, target())?.gradient_input(inputs)
}

/// Horizontal differences of the image: it looks like an explanation and knows nothing of the tower.
fn edges(inputs: &Tensor) -> Attribution {
    let dims = inputs.dims().to_vec();
    let values = inputs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let shifted = (0..values.len()).map(|i| (values[i] - values[i.saturating_sub(1)]).abs()).collect();
    Attribution::other(ArrayD::from_shape_vec(IxDyn(&dims), shifted).unwrap(), vec![0.; dims[0]])
}

fn values(tower: &dyn Tower) -> Vec<Vec<f32>> {
    let flat = |p: dina_core::Parameter| p.var.flatten_all().unwrap().to_vec1().unwrap();
    tower.parameters().into_iter().map(flat).collect()
}

#[test]
fn an_edge_detector_is_flagged_and_a_gradient_passes() {
    let tower = tower();
    let shown = noise(&[12, 1, 8, 10], 3);
    let before = values(&tower);
    let config = CascadeConfig { redraws: 2, ..Default::default() };
    let proper = cascade(&tower, &|t| product(t, &shown), &config, Seed::new(1)).unwrap();
    assert_eq!(proper.check.verdict, Verdict::Passed, "{proper}");
    assert_eq!(values(&tower), before, "put back bit for bit");
    let detector = cascade(&tower, &|_| Ok(edges(&shown)), &config, Seed::new(1)).unwrap();
    assert_eq!(detector.check.verdict, Verdict::Failed, "{detector}");
    assert!(detector.steps.iter().all(|s| (s.similarity.estimate - 1.).abs() < 1e-9));
    let flagged = edges(&shown).with_checks(Checks::new().with(detector.check));
    assert_eq!(flagged.trusted(), Some(false));
    assert!(flagged.to_string().contains("FLAGGED"), "{flagged}");
    // What is constant has no scale to draw from, and the result says so.
    assert!(proper.steps.iter().any(|s| s.constant == ["image.local.bias"]), "{proper:?}");
}

#[test]
fn parameters_come_back_after_an_error() {
    let tower = network(1);
    let shown = noise(&[4, 16], 3);
    let before = values(&tower);
    let calls = std::cell::Cell::new(0);
    let failing = |t: &dyn Tower| {
        calls.set(calls.get() + 1);
        if calls.get() == 3 {
            assert_ne!(values(t), before, "randomised by now");
            return Err(dina_core::Error::value("attribution", "made", "refused").into());
        }
        product(t, &shown)
    };
    assert!(cascade(&tower, &failing, &CascadeConfig::default(), Seed::new(1)).is_err());
    assert_eq!(values(&tower), before);
    let unknown = CascadeConfig { stages: vec![vec!["toy.9".into()]], ..Default::default() };
    assert!(cascade(&tower, &|t| product(t, &shown), &unknown, Seed::new(1)).is_err());
    let one = CascadeConfig { stages: vec![vec!["toy.1".into(), "toy.0".into()]], ..Default::default() };
    assert_eq!(cascade(&tower, &|t| product(t, &shown), &one, Seed::new(1)).unwrap().steps.len(), 1);
}

#[test]
fn taking_away_what_counts_beats_a_random_order() {
    let tower = network(1);
    let shown = noise(&[24, 16], 3);
    let explainer = Explainer::new(&tower, target()).unwrap();
    let proper = explainer.integrated_gradients(&shown, &IntegratedGradients::default()).unwrap();
    let config = PerturbationConfig { steps: 8, ..Default::default() };
    let found = deletion_insertion(&explainer, &shown, &proper, &config, Seed::new(1)).unwrap();
    assert_eq!(found.deletion.check.verdict, Verdict::Passed, "{found}");
    assert_eq!(found.insertion.check.verdict, Verdict::Passed, "{found}");
    assert_eq!(found.fractions.len(), 9);
    // Deletion begins where insertion ends.
    assert!((found.deletion.curve[0] - found.insertion.curve[8]).abs() < 1e-12);
    assert!(found.deletion.area < found.deletion.random_area);
    let guess = Attribution::other(product(&network(90), &shown).unwrap().values, vec![0.; 24]);
    let found = deletion_insertion(&explainer, &shown, &guess, &config, Seed::new(1)).unwrap();
    assert_ne!(found.deletion.check.verdict, Verdict::Passed, "{found}");
}

/// f = 2 x_0 + x_1 of ones, two steps: after the first deletion 1 of 3 is left, so the area is (3/2 + 1)/2 of 3.
#[test]
fn areas_are_those_of_the_trapezoid() {
    let tower = linear(&[2., 1.]);
    let explainer = Explainer::new(&tower, target()).unwrap();
    let ones = Tensor::ones((3, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let attribution = explainer.gradient_input(&ones).unwrap();
    let config = PerturbationConfig { steps: 2, orders: 400, ..Default::default() };
    let found = deletion_insertion(&explainer, &ones, &attribution, &config, Seed::new(1)).unwrap();
    assert!((found.deletion.area - 2.5 / 6.).abs() < 1e-6, "{}", found.deletion.area);
    assert!((found.insertion.area - 3.5 / 6.).abs() < 1e-6);
    assert!((found.deletion.random_area - 0.5).abs() < 0.02);
}

#[test]
fn agreement_is_of_ranks_and_counts_constants() {
    let make = |rows: Vec<f32>| {
        Attribution::other(ArrayD::from_shape_vec(IxDyn(&[2, 3]), rows).unwrap(), vec![0.; 2])
    };
    let first = make(vec![1., -2., 3., 1., 2., 3.]);
    let second = make(vec![10., 20., -300., 3., 2., 1.]);
    let found = similarity(&first, &second, &Bootstrap::default(), Seed::new(1)).unwrap();
    assert_eq!(found.items, [1., -1.]);
    assert_eq!(found.constant, 0);
    assert_eq!(found.agrees(0.5).verdict, Verdict::Undecided);
    let flat = make(vec![1., 1., 1., 1., 2., 3.]);
    let found = agreement(&[&first, &flat], &Bootstrap::default(), Seed::new(1)).unwrap();
    assert_eq!((found.items, found.constant), (vec![0., 1.], 1));
    let same = similarity(&first, &first, &Bootstrap::default(), Seed::new(1)).unwrap();
    assert_eq!(same.differs(CheckKind::Untrained, 0.75).verdict, Verdict::Failed);
    assert_eq!(same.agrees(0.5).verdict, Verdict::Passed);
    assert!(agreement(&[&first], &Bootstrap::default(), Seed::new(1)).is_err());
}

/// Two unrelated linear towers agree to about a half by gradient x input, for |x| is in both.
#[test]
fn chance_of_gradient_times_input_is_a_half() {
    let towers = [noise(&[400], 1), noise(&[400], 2)].map(|w| linear(&w.to_vec1::<f32>().unwrap()));
    let shown = noise(&[6, 400], 3);
    let [a, b] = towers.each_ref().map(|t| product(t, &shown).unwrap());
    let found = similarity(&a, &b, &Bootstrap::default(), Seed::new(1)).unwrap();
    assert!((found.mean.estimate - 0.5).abs() < 0.1, "{found}");
}

#[test]
fn informative_inputs_are_recovered() {
    let mut weights = vec![0.05; 40];
    weights[..8].fill(1.);
    let tower = linear(&weights);
    let attribution = product(&tower, &noise(&[20, 40], 4)).unwrap();
    let truth: Vec<bool> = (0..40).map(|i| i < 8).collect();
    let found = recovery(&attribution, &truth, 0.95).unwrap();
    assert_eq!(found.auc, 1.);
    assert!(found.p < 1e-4);
    assert_eq!(found.check(0.5).verdict, Verdict::Passed, "{found}");
    let field = Array2::from_shape_fn((1, 40), |(_, i)| i < 8);
    let shares = overlap(&attribution, field.view(), &Bootstrap::default(), Seed::new(1)).unwrap();
    assert!((shares.chance - 0.2).abs() < 1e-12);
    assert_eq!(shares.check().verdict, Verdict::Passed, "{shares:?}");
    // Nothing is known where all attributions are equal.
    let flat = Attribution::other(ArrayD::ones(IxDyn(&[3, 40])), vec![0.; 3]);
    let found = recovery(&flat, &truth, 0.95).unwrap();
    assert_eq!((found.auc, found.p), (0.5, 1.));
    assert_ne!(found.check(0.5).verdict, Verdict::Passed);
    let shares = overlap(&flat, field.view(), &Bootstrap::default(), Seed::new(1)).unwrap();
    assert!(shares.items.iter().all(|s| (s - 0.2).abs() < 1e-12));
    assert_ne!(shares.check().verdict, Verdict::Passed);
}

#[test]
fn verdicts_follow_the_interval() {
    let below = |low: f64, high: f64| Check::below(CheckKind::Untrained, [0.5, low, high], 0.6).verdict;
    assert_eq!(
        [below(0.4, 0.59), below(0.4, 0.7), below(0.6, 0.7)],
        [Verdict::Passed, Verdict::Undecided, Verdict::Failed]
    );
    let above = Check::above(CheckKind::Deletion, [0.5, 0.4, 0.6], 0.);
    assert_eq!(above.with_p(0.2, 0.05).verdict, Verdict::Undecided);
    assert!(!Checks::new().passed());
    let checks: Checks = [above, Check::gradient(0.2, 0.05)].into_iter().collect();
    assert!(!checks.passed());
    assert_eq!(checks.flags().count(), 1);
    assert!(checks.to_string().starts_with("FLAGGED by 1 of 2 checks"), "{checks}");
}
