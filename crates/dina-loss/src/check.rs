//! Finite differences, and what the tests of every objective need.

use candle_core::{Device, Tensor, Var};
use dina_core::{FeatureMaps, Objective, Seed, Targets};
use rand_distr::{Distribution, StandardNormal};

/// A repeatable `f64` tensor of standard normal values.
pub(crate) fn normal(name: &str, dims: &[usize]) -> Tensor {
    let mut stream = Seed::new(4).stream(name);
    let values: Vec<f64> = (0..dims.iter().product()).map(|_| StandardNormal.sample(&mut stream)).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

/// One level of maps.
pub(crate) fn maps(map: &Tensor) -> FeatureMaps {
    FeatureMaps::single("v1", map.clone()).unwrap()
}

/// The loss of a batch.
pub(crate) fn total(objective: &dyn Objective, image: &Tensor, neural: &Tensor, targets: &Targets) -> Tensor {
    objective.loss(&maps(image), &maps(neural), targets).unwrap().total().unwrap()
}

/// That gradients of a scalar are its central differences, for every element of every variable.
pub(crate) fn gradients_agree(vars: &[&Var], value: impl Fn() -> Tensor) {
    let gradients = value().backward().unwrap();
    for (place, var) in vars.iter().enumerate() {
        let analytic = gradients.get(var).unwrap_or_else(|| panic!("variable {place} has no gradient"));
        let analytic = analytic.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let original = var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let put = |values: Vec<f64>| {
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
        };
        for (index, analytic) in analytic.iter().enumerate() {
            let at = |delta: f64| {
                let mut moved = original.clone();
                moved[index] += delta;
                put(moved);
                value().to_scalar::<f64>().unwrap()
            };
            let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
            let allowed = 1e-7 + 1e-6 * analytic.abs();
            assert!((numeric - analytic).abs() < allowed, "variable {place}[{index}]: {numeric} {analytic}");
        }
        put(original);
    }
}

/// Both maps and every parameter of an objective, against finite differences.
pub(crate) fn objective_gradients_agree(
    objective: &dyn Objective,
    image: &Tensor,
    neural: &Tensor,
    targets: &Targets,
) {
    let (image, neural) = (Var::from_tensor(image).unwrap(), Var::from_tensor(neural).unwrap());
    let parameters = objective.parameters();
    let vars: Vec<&Var> = [&image, &neural].into_iter().chain(parameters.iter().map(|p| &p.var)).collect();
    gradients_agree(&vars, || total(objective, &image, &neural, targets));
}
