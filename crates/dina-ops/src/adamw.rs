//! One step of AdamW on one parameter, in place.

use std::cell::Cell;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Tensor, Var};
use rayon::prelude::*;

use crate::gpu;
use crate::real::with_slices;
use crate::vector::{dot, vectorised};

/// Elements that one task works on.
const CHUNK: usize = 1 << 15;

/// Elements of a sum that is kept in single precision.
const SHORT: usize = 256;

/// The constants of a step of AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// Learning rate.
    pub rate: f64,
    /// Decoupled decay, per unit of learning rate.
    pub weight_decay: f64,
    /// Decay rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// The number of this step, from 1.
    pub step: usize,
    /// What the gradient is multiplied by, such as by clipping.
    pub scale: f64,
}

impl AdamWStep {
    /// The learning rate over the bias correction of the first moment, and the inverse correction of the second.
    fn corrections(&self) -> (f64, f64) {
        let (beta1, beta2) = self.betas;
        let step = self.step as i32;
        (self.rate / (1. - beta1.powi(step)), 1. / (1. - beta2.powi(step)))
    }
}

/// Moves a parameter, and its moments, by one step. All four tensors have one shape; parameter and moments are contiguous. On
/// the CPU in `f32`, and on a GPU with moments in `f32`, that is one pass over memory, nothing allocated; otherwise it is composed
/// from candle's operations.
///
/// # Errors
/// When the shapes differ.
pub fn adamw(parameter: &Var, gradient: &Tensor, first: &Var, second: &Var, step: &AdamWStep) -> Result<()> {
    for (name, tensor) in [("gradient", gradient), ("first moment", first), ("second moment", second)] {
        if tensor.dims() != parameter.dims() {
            candle_core::bail!("adamw: expected a {name} {:?}, found {:?}", parameter.dims(), tensor.dims())
        }
    }
    if gpu::takes(&[parameter, gradient]) && [first, second].iter().all(|m| m.dtype() == DType::F32) {
        return gpu::adamw(parameter, gradient, [first, second], &Update::new(step));
    }
    let fused = parameter.device().is_cpu()
        && [parameter.as_tensor(), gradient, first, second].iter().all(|t| t.dtype() == DType::F32);
    if !fused {
        return composed(parameter, gradient, first, second, step);
    }
    let gradient = gradient.contiguous()?;
    let update = Update::new(step);
    // An operation in place writes one tensor: each is borrowed inside the one before.
    write(first, |first| {
        write(second, |second| {
            write(parameter, |weights| {
                with_slices::<f32, _, 1>([&gradient], |[gradient]| {
                    update.all(weights, gradient, first, second);
                    Ok(())
                })
            })
        })
    })
}

/// Calls `f` with the values of a contiguous `f32` tensor on the CPU, to be written.
fn write(tensor: &Tensor, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&Write(Cell::new(Some(f))))
}

struct Write<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Write<F> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets(), self.0.take()) {
            (CpuStorage::F32(values), Some((start, end)), Some(f)) => f(&mut values[start..end]),
            _ => candle_core::bail!("adamw: expected a contiguous f32 tensor, found {layout:?}"),
        }
    }
}

/// The constants of one step, in the precision of the weights.
pub(crate) struct Update {
    pub keep: f32,
    pub scale: f32,
    pub betas: [f32; 2],
    /// Rate over the bias correction of the first moment.
    pub rate: f32,
    /// Inverse bias correction of the second moment.
    pub correct: f32,
    pub epsilon: f32,
}

impl Update {
    fn new(step: &AdamWStep) -> Self {
        let (rate, correct) = step.corrections();
        Self {
            keep: (1. - step.rate * step.weight_decay) as f32,
            scale: step.scale as f32,
            betas: [step.betas.0 as f32, step.betas.1 as f32],
            rate: rate as f32,
            correct: correct as f32,
            epsilon: step.epsilon as f32,
        }
    }

    fn all(&self, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        weights
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK)))
            .for_each(|((weights, gradient), (first, second))| {
                vectorised(
                    #[inline(always)]
                    || self.chunk(weights, gradient, first, second),
                );
            });
    }

    #[inline(always)]
    fn chunk(&self, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let [beta1, beta2] = self.betas;
        for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g * self.scale;
            *m = beta1 * *m + (1. - beta1) * g;
            *v = beta2 * *v + (1. - beta2) * g * g;
            *w = *w * self.keep - self.rate * *m / ((*v * self.correct).sqrt() + self.epsilon);
        }
    }
}

fn composed(parameter: &Var, gradient: &Tensor, first: &Var, second: &Var, step: &AdamWStep) -> Result<()> {
    let (beta1, beta2) = step.betas;
    let gradient = (gradient.to_dtype(first.dtype())? * step.scale)?;
    first.set(&((first.as_tensor() * beta1)? + (&gradient * (1. - beta1))?)?)?;
    second.set(&((second.as_tensor() * beta2)? + (gradient.sqr()? * (1. - beta2))?)?)?;
    let (rate, correct) = step.corrections();
    let moved = (first.as_tensor() / ((second.as_tensor() * correct)?.sqrt()? + step.epsilon)?)?;
    let kept = (parameter.as_tensor() * (1. - step.rate * step.weight_decay))?;
    parameter.set(&(kept - (moved * rate)?.to_dtype(parameter.dtype())?)?)
}

/// Sum of the squares of a tensor's values, in `f64`. A tensor on another device is summed there.
///
/// # Errors
/// When the device fails.
pub fn squared_norm(tensor: &Tensor) -> Result<f64> {
    if gpu::takes(&[tensor]) {
        return gpu::squared_norms(&[tensor]);
    }
    if !tensor.device().is_cpu() || tensor.dtype() != DType::F32 {
        let sum = tensor.to_dtype(DType::F32)?.sqr()?.sum_all()?;
        return Ok(f64::from(sum.to_scalar::<f32>()?));
    }
    with_slices::<f32, _, 1>([tensor], |[values]| {
        let parts: Vec<f64> = values
            .par_chunks(CHUNK)
            .map(|part| {
                // Short sums in f32, long ones in f64: exact enough, and as fast as memory.
                vectorised(
                    #[inline(always)]
                    || {
                        let mut sum = 0.;
                        for short in part.chunks(SHORT) {
                            sum += f64::from(dot(short, short));
                        }
                        sum
                    },
                )
            })
            .collect();
        Ok(parts.iter().sum())
    })
}

/// Sum of [`squared_norm`] over tensors. Those on a GPU are summed there and read in one go, where one call for each would wait for the
/// device every time.
///
/// # Errors
/// When the device fails, or tensors are on several GPUs.
pub fn squared_norms<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let (on_gpu, others): (Vec<&Tensor>, Vec<&Tensor>) =
        tensors.into_iter().partition(|tensor| gpu::takes(&[tensor]));
    let mut sum = gpu::squared_norms(&on_gpu)?;
    for tensor in others {
        sum += squared_norm(tensor)?;
    }
    Ok(sum)
}

/// `average = decay average + (1 - decay) parameter`, in place and where both are; the average is `f32` and contiguous.
///
/// # Errors
/// When the shapes differ or the device fails.
pub fn running_average(average: &Var, parameter: &Tensor, decay: f64) -> Result<()> {
    if average.dims() != parameter.dims() {
        candle_core::bail!("running_average: expected {:?}, found {:?}", average.dims(), parameter.dims())
    }
    let (keep, take) = (decay as f32, (1. - decay) as f32);
    if gpu::takes(&[parameter]) && average.dtype() == DType::F32 {
        return gpu::running_average(average, parameter, keep, take);
    }
    let parameter = parameter.to_dtype(average.dtype())?;
    if !(average.device().is_cpu() && average.dtype() == DType::F32) {
        return average.set(&((average.as_tensor() * decay)? + (parameter * (1. - decay))?)?);
    }
    write(average, |average| {
        with_slices::<f32, _, 1>([&parameter], |[values]| {
            average.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(average, values)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (average, value) in average.iter_mut().zip(values) {
                            *average = keep * *average + take * *value;
                        }
                    },
                );
            });
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::check::normal;

    #[test]
    fn fused_and_composed_agree_over_chunks() {
        let len = 2 * CHUNK + 17;
        let make = |name: &str| {
            let tensor = normal(name, &[len]).unwrap().to_dtype(DType::F32).unwrap();
            Var::from_tensor(&tensor).unwrap()
        };
        let run = |fused: bool| {
            let parameter = make("parameter");
            let (first, second) = (make("first").zeros_like().unwrap(), make("second").zeros_like().unwrap());
            let (first, second) = (Var::from_tensor(&first).unwrap(), Var::from_tensor(&second).unwrap());
            for step in 1..4 {
                let gradient = make(&format!("gradient {step}"));
                let step = AdamWStep {
                    rate: 0.1,
                    weight_decay: 0.2,
                    betas: (0.9, 0.99),
                    epsilon: 1e-8,
                    step,
                    scale: 0.5,
                };
                let call = if fused { adamw } else { composed };
                call(&parameter, &gradient, &first, &second, &step).unwrap();
            }
            [parameter, first, second].map(|v| v.to_vec1::<f32>().unwrap())
        };
        for (fused, composed) in run(true).iter().flatten().zip(run(false).iter().flatten()) {
            assert!((fused - composed).abs() < 1e-5, "{fused} {composed}");
        }
    }

    #[test]
    fn norm_and_average_are_those_of_the_definition() {
        let tensor = normal("x", &[3, CHUNK]).unwrap().to_dtype(DType::F32).unwrap();
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        assert!((squared_norm(&tensor).unwrap() / expected - 1.).abs() < 1e-6);
        assert_eq!(squared_norms([&tensor, &tensor]).unwrap(), 2. * squared_norm(&tensor).unwrap());
        let average = Var::ones(tensor.dims(), DType::F32, &Device::Cpu).unwrap();
        running_average(&average, &tensor, 0.75).unwrap();
        let found = average.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(found.iter().zip(&values).all(|(a, v)| (a - (0.75 + 0.25 * v)).abs() < 1e-6));
        assert!(running_average(&average, &tensor.narrow(0, 0, 1).unwrap(), 0.5).is_err());
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let zeros = |len: usize| Var::zeros(len, DType::F32, &Device::Cpu).unwrap();
        let step =
            AdamWStep { rate: 1., weight_decay: 0., betas: (0.9, 0.9), epsilon: 1e-8, step: 1, scale: 1. };
        assert!(adamw(&zeros(3), &zeros(2), &zeros(3), &zeros(3), &step).is_err());
    }
}
