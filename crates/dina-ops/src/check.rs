//! Finite differences against which the gradient of an operation is held.
//!
//! Several operations of candle 0.11 have wrong gradients or none, most of them silently: check what you build.

use candle_core::{Device, Result, Tensor, Var};
use dina_core::Seed;
use rand_distr::{Distribution, StandardNormal};

/// Elements of a variable that are moved, about: all of a large one would take minutes.
const MOVED: usize = 150;

/// Half the distance of the two values of a central difference.
const STEP: f64 = 1e-5;

/// A repeatable `f64` tensor of standard normal values on the CPU.
///
/// # Errors
/// When the tensor cannot be made.
pub fn normal(name: &str, dims: &[usize]) -> Result<Tensor> {
    let mut stream = Seed::new(11).stream(name);
    let values: Vec<f64> = (0..dims.iter().product()).map(|_| StandardNormal.sample(&mut stream)).collect();
    Tensor::from_vec(values, dims, &Device::Cpu)
}

/// The largest difference between the gradients of a random projection of `f()` and their central finite
/// differences, relative to the largest gradient of the variable. `vars` are `f64`, and what `f` depends on.
///
/// ```
/// use candle_core::Var;
/// use dina_ops::check::{gradient_error, normal};
///
/// # fn main() -> candle_core::Result<()> {
/// let x = Var::from_tensor(&normal("x", &[3, 4])?)?;
/// assert!(gradient_error(&[&x], || x.tanh()?.sqr())? < 1e-7);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When `f` fails or a variable has no gradient.
pub fn gradient_error(vars: &[&Var], f: impl Fn() -> Result<Tensor>) -> Result<f64> {
    let projection = normal("projection", f()?.dims())?;
    let value = || (f()? * &projection)?.sum_all();
    let gradients = value()?.backward()?;
    let mut worst: f64 = 0.;
    for (index, var) in vars.iter().enumerate() {
        let Some(gradient) = gradients.get(var) else {
            candle_core::bail!("no gradient of variable {index}")
        };
        let gradient = gradient.flatten_all()?.to_vec1::<f64>()?;
        let original = var.flatten_all()?.to_vec1::<f64>()?;
        let scale = gradient.iter().fold(1e-6f64, |m, g| m.max(g.abs()));
        let set = |values: Vec<f64>| var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu)?);
        // An odd stride hits all rows.
        for index in (0..original.len()).step_by(original.len().div_ceil(MOVED) | 1) {
            let at = |delta: f64| -> Result<f64> {
                let mut moved = original.clone();
                moved[index] += delta;
                set(moved)?;
                value()?.to_scalar::<f64>()
            };
            let numeric = (at(STEP)? - at(-STEP)?) / (2. * STEP);
            worst = worst.max((numeric - gradient[index]).abs() / scale);
        }
        set(original)?;
    }
    Ok(worst)
}
