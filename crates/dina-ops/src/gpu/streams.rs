//! The elementwise parts of the streams of [`crate::image_stack`] on a GPU.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, count, empty, launch};
use super::{
    differentiable::{differentiable2, differentiable3},
    plain, sum_first,
};

/// `relu(values + bias)` of `[batch, channels, height, width]` with `channels` biases of any shape.
pub(crate) fn bias_relu(values: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = values.dims4()?;
    let (dtype, shape, bias_shape) = (values.dtype(), values.shape().clone(), bias.shape().clone());
    let sizes = [count(channels)?, count(height * width)?];
    let planes = (batch * channels, 1);
    let result = empty(&shape, dtype, values.device())?;
    let (input, moved) = (plain(values)?, plain(bias)?);
    let arguments =
        [Argument::Input(&input), Argument::Input(&moved), Argument::Output(&result), sizes[0], sizes[1]];
    launch("bias_relu", dtype, &arguments, planes)?;
    differentiable2("bias_relu", [values, bias], result, move |gradient| {
        let of_values = empty(&shape, dtype, gradient.device())?;
        let of_bias = empty((batch, channels), DType::F32, gradient.device())?;
        let arguments = [
            Argument::Input(&input),
            Argument::Input(&moved),
            Argument::Input(gradient),
            Argument::Output(&of_values),
            Argument::Output(&of_bias),
            sizes[0],
            sizes[1],
        ];
        launch("bias_relu_backward", dtype, &arguments, planes)?;
        Ok([Some(of_values), Some(of_bias.sum(0)?.to_dtype(dtype)?.reshape(&bias_shape)?)])
    })
}

/// `local (1 + tanh(gain)) + shift - center` of `[batch, channels, height, width]`, with gains and then shifts in `context`
/// `[batch, 2 x channels]` and a center of `channels x height x width` values.
pub(crate) fn modulate(local: &Tensor, context: &Tensor, center: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = local.dims4()?;
    let (dtype, shape, center_shape) = (local.dtype(), local.shape().clone(), center.shape().clone());
    let sizes = [count(channels)?, count(height * width)?];
    let planes = (batch * channels, 1);
    let result = empty(&shape, dtype, local.device())?;
    let (values, weights, middle) = (plain(local)?, plain(context)?, plain(center)?);
    let arguments = [
        Argument::Input(&values),
        Argument::Input(&weights),
        Argument::Input(&middle),
        Argument::Output(&result),
        sizes[0],
        sizes[1],
    ];
    launch("modulate", dtype, &arguments, planes)?;
    differentiable3("modulate", [local, context, center], result, move |gradient| {
        let of_local = empty(&shape, dtype, gradient.device())?;
        let of_context = empty((batch, 2 * channels), dtype, gradient.device())?;
        let arguments = [
            Argument::Input(&values),
            Argument::Input(&weights),
            Argument::Input(gradient),
            Argument::Output(&of_local),
            Argument::Output(&of_context),
            sizes[0],
            sizes[1],
        ];
        launch("modulate_backward", dtype, &arguments, planes)?;
        let of_center = sum_first(gradient)?.neg()?.reshape(&center_shape)?;
        Ok([Some(of_local), Some(of_context), Some(of_center)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::host::{agree, agree_in_bf16, available, bf16, f32s};

    #[test]
    fn both_agree_with_candle() {
        if !available() {
            return;
        }
        let inputs = f32s(&[("x", &[2, 3, 9, 31]), ("bias", &[3])]);
        agree(
            &inputs,
            |x| bias_relu(&x[0], &x[1]),
            |x| x[0].broadcast_add(&x[1].reshape((1, 3, 1, 1))?)?.relu(),
            1e-5,
        );
        let inputs = f32s(&[("x", &[2, 3, 9, 31]), ("context", &[2, 6]), ("center", &[3, 9, 31])]);
        agree(
            &inputs,
            |x| modulate(&x[0], &x[1], &x[2]),
            |x| {
                let per_channel = |first: usize| x[1].narrow(1, first, 3)?.reshape((2, 3, 1, 1));
                let gain = (per_channel(0)?.tanh()? + 1.)?;
                x[0].broadcast_mul(&gain)?
                    .broadcast_add(&per_channel(3)?)?
                    .broadcast_sub(&x[2].reshape((1, 3, 9, 31))?)
            },
            1e-5,
        );
    }

    #[test]
    fn bf16_differs_by_its_precision() {
        if !available() {
            return;
        }
        let inputs = f32s(&[("x", &[2, 3, 4, 5]), ("b", &[3]), ("context", &[2, 6]), ("center", &[3, 4, 5])]);
        let inputs: Vec<_> = inputs.iter().map(bf16).collect();
        agree_in_bf16(&inputs, |x| {
            let vars = x.iter().map(candle_core::Var::from_tensor).collect::<Result<Vec<_>>>()?;
            let result = modulate(&bias_relu(&vars[0], &vars[1])?, &vars[2], &vars[3])?;
            let gradients = result.backward()?;
            let mut results = vec![result];
            results.extend(vars.iter().map(|var| gradients.get(var).unwrap().clone()));
            Ok(results)
        });
    }
}
