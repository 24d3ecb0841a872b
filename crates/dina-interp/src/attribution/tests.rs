use candle_core::{DType, Device, Tensor};
use dina_core::{MapSpec, Mode, Seed, Tower};
use dina_model::{Dense, Factorised, ImageTower};
use ndarray::{Array3, Array4, ArrayD};

use super::testing::{Toy, linear, noise, rows};
use super::*;

fn close(found: &ArrayD<f32>, expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance, "{found:?} against {expected:?}");
    }
}

fn image_tower(seed: u64) -> ImageTower {
    let tower = super::testing::image_tower(seed);
    // What starts at nothing is moved, so that the streams matter.
    for (index, parameter) in tower.parameters().iter().enumerate() {
        let moved =
            parameter.var.as_tensor() + (noise(parameter.var.dims(), 50 + index as u64) * 0.1).unwrap();
        parameter.var.set(&moved.unwrap()).unwrap();
    }
    tower
}

fn neural_tower() -> Factorised {
    let level = MapSpec { name: "v1".into(), channels: 3, height: 2, width: 4 };
    Factorised::new(12, 2, level, 0.5, Seed::new(2), &Device::Cpu).unwrap()
}

/// For f(x) = w x every method gives w_i x_i, and sums to f(x).
#[test]
fn a_linear_tower_gives_the_same_by_every_method() {
    let tower = linear(&[2., -1., 0.5]);
    let explainer = Explainer::new(&tower, Target::channel("v1", 0)).unwrap().with_batch(5);
    let inputs = rows(&[&[1., 2., 3.], &[-1., 0., 4.]]);
    let expected = [2., -2., 1.5, -2., 0., 2.];
    let groups = Groups::each(3).unwrap();
    let zero = Tensor::zeros((1, 3), DType::F32, &Device::Cpu).unwrap();
    let all = [
        explainer.gradient_input(&inputs).unwrap(),
        explainer.integrated_gradients(&inputs, &IntegratedGradients::default()).unwrap(),
        explainer.expected_gradients(&inputs, &zero, &ExpectedGradients::default(), Seed::new(1)).unwrap(),
        explainer.smooth_grad(&inputs, &SmoothGrad::default(), Seed::new(1)).unwrap(),
        explainer.occlusion(&inputs, &groups, &Baseline::Zero).unwrap(),
        explainer
            .shapley(&inputs, &groups, &Shapley { pairs: 3, ..Default::default() }, Seed::new(1))
            .unwrap(),
    ];
    for found in all {
        close(&found.values, &expected, 1e-5);
        assert_eq!(found.values.shape(), [2, 3]);
        assert!((found.targets[0] - 1.5).abs() < 1e-6, "{:?}", found.targets);
        assert!(found.completeness.as_ref().is_none_or(|c| c.complete && c.worst() < 1e-5), "{found}");
        assert!(found.standard_error.iter().flatten().all(|&e| e < 1e-5));
        assert_eq!(found.trusted(), None, "nothing was checked");
    }
}

/// f(x) = x_0^2 + 3 x_0 x_1: integrated gradients from b are known in closed form, and gradient x input is twice the
/// change and says that it is not complete.
#[test]
fn a_quadratic_is_integrated_exactly() {
    let function = |x: &Tensor| {
        let (a, b) = (x.narrow(1, 0, 1)?, x.narrow(1, 1, 1)?);
        a.sqr()? + (a * b)?.affine(3., 0.)?
    };
    let tower = Toy { channels: 1, parameters: vec![], function };
    let explainer = Explainer::new(&tower, Target::channel("v1", 0)).unwrap();
    let inputs = rows(&[&[2., -1.], &[1., 3.]]);
    // From 0: x_0^2 + 3/2 x_0 x_1 and 3/2 x_0 x_1.
    let expected = [4. - 3., -3., 1. + 4.5, 4.5];
    for rule in [Rule::Midpoint, Rule::GaussLegendre] {
        let config = IntegratedGradients { rule, ..Default::default() };
        let found = explainer.integrated_gradients(&inputs, &config).unwrap();
        close(&found.values, &expected, 1e-4);
        let completeness = found.completeness.unwrap();
        assert!(completeness.complete && completeness.worst() < 1e-4);
        assert_eq!(completeness.steps, [16, 16]);
    }
    // From b = (1, 1) to x = (1, 3): only x_1 moves, and 3 x_0 (x_1 - b_1) = 6.
    let config = IntegratedGradients { baseline: Baseline::Given(vec![1., 1.]), ..Default::default() };
    let found = explainer.integrated_gradients(&inputs, &config).unwrap();
    close(&found.values.index_axis(ndarray::Axis(0), 1).to_owned().into_dyn(), &[0., 6.], 1e-4);
    let product = explainer.gradient_input(&inputs).unwrap();
    assert!(!product.completeness.as_ref().unwrap().complete);
    assert_eq!(product.trusted(), Some(false));
}

/// A kink away from the nodes takes more steps; with a low cap the result says so.
#[test]
fn steps_are_refined_until_complete_or_the_cap() {
    let function = |x: &Tensor| x.affine(1., -0.3)?.relu()?.sum_keepdim(1);
    let tower = Toy { channels: 1, parameters: vec![], function };
    let explainer = Explainer::new(&tower, Target::channel("v1", 0)).unwrap();
    let inputs = rows(&[&[0.9, 0.1], &[0.31, 0.7]]);
    let capped = IntegratedGradients { rule: Rule::Midpoint, steps: 4, max_steps: 8, ..Default::default() };
    let found = explainer.integrated_gradients(&inputs, &capped).unwrap();
    assert!(!found.completeness.as_ref().unwrap().complete);
    assert!(found.to_string().contains("NOT complete"), "{found}");
    let config = IntegratedGradients { max_steps: 4096, ..capped };
    let found = explainer.integrated_gradients(&inputs, &config).unwrap();
    let completeness = found.completeness.unwrap();
    assert!(completeness.complete && completeness.steps.iter().all(|&s| s > 8), "{completeness:?}");
}

/// v(S) = 1 iff inputs 0 and 1 are present, plus x_2: the Shapley values are 1/2, 1/2 and x_2; antithetic pairs
/// give a pairwise interaction without any error.
#[test]
fn shapley_shares_an_interaction_equally() {
    let function = |x: &Tensor| (x.narrow(1, 0, 1)? * x.narrow(1, 1, 1)?)? + x.narrow(1, 2, 1)?;
    let tower = Toy { channels: 1, parameters: vec![], function };
    let explainer = Explainer::new(&tower, Target::channel("v1", 0)).unwrap().with_batch(7);
    let inputs = rows(&[&[1., 1., 3.]]);
    let config = Shapley { pairs: 2, ..Default::default() };
    let found = explainer.shapley(&inputs, &Groups::each(3).unwrap(), &config, Seed::new(4)).unwrap();
    close(&found.values, &[0.5, 0.5, 3.], 1e-6);
    assert!(found.completeness.unwrap().complete);
    // As one group the two gain everything, and share it.
    let groups = Groups::new(vec![vec![0, 1], vec![2]], 3).unwrap();
    let found = explainer.shapley(&inputs, &groups, &config, Seed::new(4)).unwrap();
    assert_eq!(found.groups.unwrap().as_slice().unwrap(), [1., 3.]);
    // Occlusion gives each of the two all of it: together more than there is.
    let lost = explainer.occlusion(&inputs, &Groups::each(3).unwrap(), &Baseline::Zero).unwrap();
    close(&lost.values, &[1., 1., 3.], 1e-6);
    assert!(
        explainer
            .shapley(&inputs, &Groups::new(vec![vec![0, 1], vec![1]], 3).unwrap(), &config, Seed::new(1))
            .is_err()
    );
}

/// v = x_0 x_1 x_2 of ones: 1/3 each, within the reported standard errors, which are not nothing.
#[test]
fn shapley_errors_cover_the_truth() {
    let function = |x: &Tensor| (x.narrow(1, 0, 1)? * x.narrow(1, 1, 1)?)? * x.narrow(1, 2, 1)?;
    let tower = Toy { channels: 1, parameters: vec![], function };
    let explainer = Explainer::new(&tower, Target::channel("v1", 0)).unwrap();
    let config = Shapley { pairs: 200, ..Default::default() };
    let inputs = rows(&[&[1., 1., 1.]]);
    let found = explainer.shapley(&inputs, &Groups::each(3).unwrap(), &config, Seed::new(4)).unwrap();
    let errors = found.standard_error.unwrap();
    for (value, error) in found.values.iter().zip(&errors) {
        assert!(*error > 0. && (value - 1. / 3.).abs() < 4. * error, "{value} +- {error}");
    }
}

#[test]
fn the_default_towers_are_complete() {
    let (images, neural) = (image_tower(1), neural_tower());
    let shown = noise(&[3, 1, 8, 10], 1);
    let seen = neural.forward(&noise(&[3, 12], 2), Mode::Eval).unwrap();
    let map = dina_core::ArrayLike::with_view(seen.get("v1").unwrap(), |v| v.to_owned()).unwrap();
    let shape = map.shape().to_vec();
    let levels = images.levels();
    let (_, height, width) = levels[0].dims();
    let own = Array3::from_shape_fn((3, height, width), |(i, y, x)| ((i + 2 * y + 3 * x) % 5) as f32 - 2.);
    for target in [Target::channel("v1", 1), Target::channel_matching("v1", 2, own)] {
        let explainer = Explainer::new(&images, target).unwrap().with_batch(16);
        let found = explainer.integrated_gradients(&shown, &IntegratedGradients::default()).unwrap();
        let completeness = found.completeness.as_ref().unwrap();
        assert!(completeness.complete && completeness.worst() <= 1e-3, "{found}");
        assert_eq!(found.values.shape(), [3, 1, 8, 10]);
        // Rectified channels have kinks, which a finite step crosses; half a gradient would be 0.5.
        let error = explainer.gradient_error(&shown, 4, 1e-3, Seed::new(3)).unwrap();
        assert!(error < 0.01, "{error}");
    }
    let maps =
        Array4::from_shape_vec((shape[0], shape[1], shape[2], shape[3]), map.into_iter().collect()).unwrap();
    let explainer = Explainer::new(&neural, Target::level_matching("v1", maps)).unwrap();
    let found = explainer.gradient_input(&noise(&[3, 12], 2)).unwrap();
    assert!(found.completeness.as_ref().unwrap().worst() < 1e-3, "a linear read-in: {found}");
    assert!(explainer.gradient_error(&noise(&[3, 12], 2), 4, 1e-2, Seed::new(3)).unwrap() < 1e-3);
    let dense = Dense::new(12, levels[0].clone(), 0., Seed::new(1), &Device::Cpu).unwrap();
    let explainer = Explainer::new(&dense, Target::channel("v1", 0)).unwrap();
    assert!(explainer.gradient_error(&noise(&[3, 12], 2), 4, 1e-2, Seed::new(3)).unwrap() < 1e-3);
}

/// The gradient of every single pixel against a finite difference, so that the batch is known not to mix items.
#[test]
fn gradients_of_pixels_agree_with_finite_differences() {
    let tower = image_tower(3);
    let explainer = Explainer::new(&tower, Target::channel("v1", 0)).unwrap().with_batch(3);
    let shown = noise(&[2, 1, 8, 10], 5);
    let found = explainer.gradient_input(&shown).unwrap();
    let values = shown.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let step = 2e-2;
    let (mut error, mut scale) = (0f64, 0f64);
    for pixel in 0..160 {
        let at = |sign: f32| {
            let mut moved = values.clone();
            moved[pixel] += sign * step;
            let moved = Tensor::from_vec(moved, (2, 1, 8, 10), &Device::Cpu).unwrap();
            explainer.targets(&moved).unwrap()[pixel / 80]
        };
        let slope = (at(1.) - at(-1.)) / f64::from(2. * step);
        let product = f64::from(found.values.as_slice().unwrap()[pixel]);
        error += (product - slope * f64::from(values[pixel])).powi(2);
        scale += product.powi(2);
    }
    assert!((error / scale).sqrt() < 0.01, "{}", (error / scale).sqrt());
}

/// candle's max-pooling has a quarter of the gradient it should have: the check sees it.
#[test]
fn a_wrong_gradient_is_found() {
    let function = |x: &Tensor| x.reshape((x.dim(0)?, 1, 4, 4))?.max_pool2d(2)?.sum((2, 3));
    let tower = Toy { channels: 1, parameters: vec![], function };
    let explainer = Explainer::new(&tower, Target::channel("v1", 0)).unwrap();
    assert!(explainer.gradient_error(&noise(&[3, 16], 1), 4, 1e-3, Seed::new(1)).unwrap() > 0.3);
    let cut = Toy { channels: 1, parameters: vec![], function: |x: &Tensor| x.detach().sum_keepdim(1) };
    let explainer = Explainer::new(&cut, Target::channel("v1", 0)).unwrap();
    assert!(explainer.gradient_input(&noise(&[3, 16], 1)).unwrap_err().to_string().contains("gradient"));
}

#[test]
fn results_do_not_depend_on_the_batch() {
    let tower = image_tower(3);
    let shown = noise(&[3, 1, 8, 10], 5);
    let run = |rows: usize| {
        let explainer = Explainer::new(&tower, Target::channel("v1", 0)).unwrap().with_batch(rows);
        let groups = Groups::patches(8, 10, 4, 4).unwrap();
        let shapley = Shapley { pairs: 2, ..Default::default() };
        let expected = ExpectedGradients { samples: 7, ..Default::default() };
        [
            explainer.smooth_grad(&shown, &SmoothGrad { samples: 5, ..Default::default() }, Seed::new(1)),
            explainer.expected_gradients(&shown, &noise(&[4, 1, 8, 10], 9), &expected, Seed::new(1)),
            explainer.shapley(&shown, &groups, &shapley, Seed::new(1)),
            explainer.grad_cam(&shown),
        ]
        .map(|found| found.unwrap().values)
    };
    for (a, b) in run(4).iter().zip(&run(100)) {
        let scale = b.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * scale), "{a} against {b}");
    }
}

/// The target reads both channels with weights; the map of the first counts, that of the second is held against it.
#[test]
fn grad_cam_weights_the_maps_and_cuts_below_zero() {
    let tower = image_tower(3);
    let shown = noise(&[2, 1, 8, 10], 5);
    let (channels, height, width) = tower.levels()[0].dims();
    let weights = Array4::from_shape_fn((1, channels, height, width), |(_, c, _, _)| [1., -2., 0.5][c]);
    let explainer = Explainer::new(&tower, Target::level_matching("v1", weights)).unwrap();
    let found = explainer.grad_cam(&shown).unwrap();
    assert_eq!(found.values.shape(), [2, 1, 8, 10]);
    let maps = tower.forward(&shown, Mode::Eval).unwrap().get("v1").unwrap().to_vec3_of_first();
    let cam: Vec<f64> = (0..height * width)
        .map(|p| f64::from((maps[0][p] - 2. * maps[1][p] + 0.5 * maps[2][p]).max(0.)))
        .collect();
    let expected = super::cam::bilinear(&cam, (height, width), (8, 10));
    for (a, b) in found.values.iter().zip(&expected) {
        assert!((f64::from(*a) - b).abs() < 1e-5);
    }
    assert!(
        Explainer::new(&neural_tower(), Target::channel("v1", 0))
            .unwrap()
            .grad_cam(&noise(&[2, 12], 1))
            .is_err()
    );
}

trait FirstItem {
    fn to_vec3_of_first(&self) -> Vec<Vec<f32>>;
}

impl FirstItem for Tensor {
    /// The maps of the first item, flattened.
    fn to_vec3_of_first(&self) -> Vec<Vec<f32>> {
        self.get(0).unwrap().flatten_from(1).unwrap().to_vec2::<f32>().unwrap()
    }
}

#[test]
fn nonsense_is_refused() {
    let tower = linear(&[1., 2.]);
    assert!(Explainer::new(&tower, Target::channel("v2", 0)).is_err());
    assert!(Explainer::new(&tower, Target::channel("v1", 1)).is_err());
    let maps = Array3::zeros((2, 3, 1));
    assert!(Explainer::new(&tower, Target::channel_matching("v1", 0, maps)).is_err());
    let explainer =
        Explainer::new(&tower, Target::channel_matching("v1", 0, Array3::ones((2, 1, 1)))).unwrap();
    assert!(explainer.targets(&rows(&[&[1., 2.], &[1., 2.], &[1., 2.]])).is_err(), "three items, two maps");
    assert!(explainer.targets(&rows(&[&[1., f32::NAN]])).is_err());
    let config = IntegratedGradients { baseline: Baseline::Given(vec![0.; 3]), ..Default::default() };
    assert!(explainer.integrated_gradients(&rows(&[&[1., 2.]]), &config).is_err());
    assert!(explainer.occlusion(&rows(&[&[1., 2.]]), &Groups::each(3).unwrap(), &Baseline::Zero).is_err());
    assert!(Groups::new(vec![vec![0, 0]], 2).is_err());
    assert!(Groups::new(vec![vec![2]], 2).is_err());
}
