//! [`crate::image_stack`] on a GPU, made of the operations beside this one: for a batch at once, since what lies between images and maps fits
//! the memory of a card, and every launch costs.

use candle_core::{D, Result, Tensor};

use super::streams::{bias_relu, modulate};
use super::{convolve, normalized_mix};
use crate::{Convolution, StackParameters};

/// The shapes were checked.
pub(crate) fn image_stack(
    pyramid: &Tensor,
    parameters: &StackParameters,
    bank: &Convolution,
) -> Result<Tensor> {
    let (channels, _) = parameters.mixing.dims2()?;
    let hidden = parameters.local_in.dim(0)?;
    let filtered = convolve(pyramid, parameters.kernels, bank)?;
    let z = normalized_mix(&filtered, parameters.pool, parameters.mixing)?;
    let inner = bias_relu(&convolve(&z, parameters.local_in, &Convolution::dense())?, parameters.local_bias)?;
    let out = parameters.local_out.reshape((channels, hidden, 1, 1))?;
    let local = (&z + convolve(&inner, &out, &Convolution::dense())?)?;
    let means = z.flatten_from(2)?.mean(D::Minus1)?;
    let square = (channels, channels);
    let weights = Tensor::cat(&[parameters.gain.reshape(square)?, parameters.shift.reshape(square)?], 0)?;
    modulate(&local, &means.matmul(&weights.t()?)?, parameters.center)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::host::{agree, available, f32s};

    #[test]
    fn agrees_with_the_cpu() {
        if !available() {
            return;
        }
        // Two scales, two pairs each, three channels, two hidden ones.
        let inputs = f32s(&[
            ("pyramid", &[2, 2, 8, 7]),
            ("kernels", &[8, 1, 3, 3]),
            ("pool", &[21]),
            ("mixing", &[3, 20]),
            ("local in", &[2, 3, 3, 3]),
            ("local bias", &[2]),
            ("local out", &[3, 2]),
            ("gain", &[3, 3]),
            ("shift", &[3, 3]),
            ("center", &[3, 4, 4]),
        ]);
        let mut inputs = inputs;
        inputs[2] = inputs[2].abs().unwrap();
        let bank = Convolution { stride: 2, dilations: vec![1, 2] };
        fn parameters(x: &[Tensor]) -> StackParameters<'_> {
            StackParameters {
                kernels: &x[1],
                pool: &x[2],
                mixing: &x[3],
                local_in: &x[4],
                local_bias: &x[5],
                local_out: &x[6],
                gain: &x[7],
                shift: &x[8],
                center: &x[9],
            }
        }
        agree(
            &inputs,
            |x| image_stack(&x[0], &parameters(x), &bank),
            |x| crate::image_stack(&x[0], &parameters(x), &bank),
            1e-4,
        );
    }
}
