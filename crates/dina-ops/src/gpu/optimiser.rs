//! AdamW and norms on a GPU.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, empty, lanes, launch};
use super::source::BLOCK;
use crate::adamw::Update;

/// One step in place; the moments are `f32`, weights and gradient of one type. The shapes were checked.
pub(crate) fn adamw(weights: &Tensor, gradient: &Tensor, moments: [&Tensor; 2], c: &Update) -> Result<()> {
    let gradient = gradient.contiguous()?;
    let number = weights.elem_count();
    let arguments = [
        Argument::Update(weights),
        Argument::Input(&gradient),
        Argument::Update(moments[0]),
        Argument::Update(moments[1]),
        Argument::Total(number as u64),
        Argument::Value(c.keep),
        Argument::Value(c.scale),
        Argument::Value(c.betas[0]),
        Argument::Value(c.betas[1]),
        Argument::Value(c.rate),
        Argument::Value(c.correct),
        Argument::Value(c.epsilon),
    ];
    launch("adamw_step", weights.dtype(), &arguments, lanes(number))
}

/// `average = keep average + take parameter` in place; the average is `f32`. The shapes were checked.
pub(crate) fn running_average(average: &Tensor, parameter: &Tensor, keep: f32, take: f32) -> Result<()> {
    let parameter = parameter.contiguous()?;
    let number = average.elem_count();
    let arguments = [
        Argument::Update(average),
        Argument::Input(&parameter),
        Argument::Total(number as u64),
        Argument::Value(keep),
        Argument::Value(take),
    ];
    launch("running_average", parameter.dtype(), &arguments, lanes(number))
}

/// Blocks that a sum is cut in at most.
const PARTS: usize = 512;

/// Sum of squares of every tensor, `f64`: all are summed on the device, and read in one go.
pub(crate) fn squared_norms(tensors: &[&Tensor]) -> Result<f64> {
    in_parts(tensors, PARTS)
}

fn in_parts(tensors: &[&Tensor], most: usize) -> Result<f64> {
    let mut parts = Vec::new();
    for tensor in tensors.iter().filter(|tensor| tensor.elem_count() > 0) {
        let tensor = tensor.contiguous()?;
        let blocks = tensor.elem_count().div_ceil(BLOCK).min(most);
        let partial = empty(blocks, DType::F32, tensor.device())?;
        let arguments = [
            Argument::Input(&tensor),
            Argument::Output(&partial),
            Argument::Total(tensor.elem_count() as u64),
        ];
        launch("squares", tensor.dtype(), &arguments, (blocks, 1))?;
        parts.push(partial);
    }
    if parts.is_empty() {
        return Ok(0.);
    }
    let parts = Tensor::cat(&parts, 0)?.to_vec1::<f32>()?;
    Ok(parts.into_iter().map(f64::from).sum())
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::gpu::host::{available, bf16, f32s};

    fn constants() -> Update {
        Update { keep: 0.99, scale: 0.5, betas: [0.9, 0.99], rate: 0.1, correct: 1.5, epsilon: 1e-8 }
    }

    #[test]
    fn a_step_is_that_of_the_definition_in_both_precisions() {
        if !available() {
            return;
        }
        let inputs = f32s(&[("w", &[3, 211]), ("g", &[3, 211]), ("m", &[3, 211]), ("v", &[3, 211])]);
        for (weights, gradient, tolerance) in
            [(inputs[0].clone(), inputs[1].clone(), 1e-6), (bf16(&inputs[0]), bf16(&inputs[1]), 1. / 256.)]
        {
            let values =
                |t: &Tensor| t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let (w, m) = (Var::from_tensor(&weights).unwrap(), Var::from_tensor(&inputs[2]).unwrap());
            let v = Var::from_tensor(&inputs[3].abs().unwrap()).unwrap();
            let before = [&w, &m, &v].map(|var| values(var));
            adamw(&w, &gradient, [&m, &v], &constants()).unwrap();
            let after = [&w, &m, &v].map(|var| values(var));
            for (index, g) in values(&gradient).into_iter().enumerate() {
                let g = g * 0.5;
                let first = 0.9 * before[1][index] + 0.1 * g;
                let second = 0.99 * before[2][index] + 0.01 * g * g;
                let moved = before[0][index] * 0.99 - 0.1 * first / ((second * 1.5).sqrt() + 1e-8);
                assert!((after[1][index] - first).abs() < 1e-6 && (after[2][index] - second).abs() < 1e-6);
                let gap = (after[0][index] - moved).abs();
                assert!(gap <= tolerance * moved.abs().max(1.), "{} {moved}", after[0][index]);
            }
        }
    }

    #[test]
    fn an_average_moves_towards_the_parameter() {
        if !available() {
            return;
        }
        let inputs = f32s(&[("average", &[2, 200]), ("parameter", &[2, 200])]);
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for parameter in [inputs[1].clone(), bf16(&inputs[1])] {
            let average = Var::from_tensor(&inputs[0]).unwrap();
            running_average(&average, &parameter, 0.75, 0.25).unwrap();
            let parameter = values(&parameter.to_dtype(DType::F32).unwrap());
            for ((found, before), p) in values(&average).iter().zip(values(&inputs[0])).zip(parameter) {
                assert!((found - (0.75 * before + 0.25 * p)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn norms_are_those_of_the_cpu() {
        if !available() {
            return;
        }
        // More than all lanes of the largest grid, and less than a block.
        let inputs = f32s(&[("a", &[2, 2 * BLOCK + 3]), ("b", &[5])]);
        let expected: f64 = inputs.iter().map(|x| crate::squared_norm(x).unwrap()).sum();
        let found = in_parts(&[&inputs[0], &inputs[1]], 3).unwrap();
        assert!((found / expected - 1.).abs() < 1e-6, "{found} {expected}");
        let rounded = bf16(&inputs[1]);
        let expected = crate::squared_norm(&rounded.to_dtype(DType::F32).unwrap()).unwrap();
        assert!((squared_norms(&[&rounded]).unwrap() / expected - 1.).abs() < 1e-6);
    }
}
