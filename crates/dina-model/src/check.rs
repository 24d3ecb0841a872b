//! Finite differences, for the tests of every operation and tower.

use candle_core::{Device, Result, Tensor, Var};
use dina_core::Seed;

use crate::init;

/// A repeatable `f64` tensor of standard normal values.
pub(crate) fn normal(name: &str, dims: &[usize]) -> Tensor {
    init::normal(dims, 1., &mut Seed::new(11).stream(name), &Device::Cpu)
        .and_then(|tensor| Ok(tensor.to_dtype(candle_core::DType::F64)?))
        .unwrap()
}

/// The largest difference between the gradients of a random projection of `f()` and their central
/// finite differences, relative to the largest gradient of the variable.
pub(crate) fn gradient_error(vars: &[&Var], f: impl Fn() -> Result<Tensor>) -> f64 {
    let projection = normal("projection", f().unwrap().dims());
    let value = || (f().unwrap() * &projection).unwrap().sum_all().unwrap();
    let gradients = value().backward().unwrap();
    let mut worst: f64 = 0.;
    for var in vars {
        let analytic = gradients.get(var).expect("a gradient for every variable");
        let analytic = analytic.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let original = var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let scale = analytic.iter().fold(1e-6f64, |m, g| m.max(g.abs()));
        // Every element of a large variable would take minutes: a stride that hits all rows.
        let step = original.len().div_ceil(150) | 1;
        for index in (0..original.len()).step_by(step) {
            let at = |delta: f64| {
                let mut moved = original.clone();
                moved[index] += delta;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                value().to_scalar::<f64>().unwrap()
            };
            let h = 1e-5;
            let numeric = (at(h) - at(-h)) / (2. * h);
            worst = worst.max((numeric - analytic[index]).abs() / scale);
        }
        var.set(&Tensor::from_vec(original, var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
    worst
}
