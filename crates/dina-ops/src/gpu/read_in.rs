//! [`crate::read_in`] on a GPU: dense weights of a block of neurons by our kernel, and products of the library.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, count, empty, lanes, launch};
use super::{TEMPORARY, differentiable::differentiable3, plain};

#[derive(Clone)]
struct Factors {
    /// `[neurons, rank, channels]`.
    features: Tensor,
    /// `[neurons, rank, positions]`.
    masks: Tensor,
}

impl Factors {
    /// Those of `len` neurons from `first` on.
    fn block(&self, first: usize, len: usize) -> Result<Self> {
        Ok(Self { features: self.features.narrow(0, first, len)?, masks: self.masks.narrow(0, first, len)? })
    }

    /// Neurons, rank, channels, positions.
    fn sizes(&self) -> Result<[usize; 4]> {
        let (neurons, rank, channels) = self.features.dims3()?;
        Ok([neurons, rank, channels, self.masks.dim(2)?])
    }

    /// `[neurons, channels x positions]`.
    fn dense(&self) -> Result<Tensor> {
        let [neurons, rank, channels, positions] = self.sizes()?;
        let dtype = self.features.dtype();
        let dense = empty((neurons, channels * positions), dtype, self.features.device())?;
        let arguments = [
            Argument::Input(&self.features),
            Argument::Input(&self.masks),
            Argument::Output(&dense),
            count(neurons)?,
            count(rank)?,
            count(channels)?,
            count(positions)?,
        ];
        launch("dense_weights", dtype, &arguments, lanes(neurons * channels * positions))?;
        Ok(dense)
    }

    /// Gradients of the factors from that of the dense weights.
    fn backward(&self, of_dense: &Tensor) -> Result<[Tensor; 2]> {
        let [neurons, rank, channels, positions] = self.sizes()?;
        let dtype = self.features.dtype();
        let of_features = empty(self.features.shape(), dtype, self.features.device())?;
        let of_masks = empty(self.masks.shape(), dtype, self.features.device())?;
        let sizes = [count(rank)?, count(channels)?, count(positions)?];
        let arguments = [
            Argument::Input(&self.masks),
            Argument::Input(of_dense),
            Argument::Output(&of_features),
            sizes[0],
            sizes[1],
            sizes[2],
        ];
        launch("feature_gradient", dtype, &arguments, (neurons, 1))?;
        let arguments = [
            Argument::Input(&self.features),
            Argument::Input(of_dense),
            Argument::Output(&of_masks),
            count(neurons)?,
            sizes[0],
            sizes[1],
            sizes[2],
        ];
        launch("mask_gradient", dtype, &arguments, lanes(neurons * rank * positions))?;
        Ok([of_features, of_masks])
    }
}

/// First neuron and number of neurons of blocks whose dense weights have no more than `elements` elements.
fn blocks(neurons: usize, map: usize, elements: usize) -> impl Iterator<Item = (usize, usize)> {
    let block = (elements / map).clamp(1, neurons);
    (0..neurons).step_by(block).map(move |first| (first, block.min(neurons - first)))
}

/// The shapes were checked.
pub(crate) fn read_in(responses: &Tensor, features: &Tensor, masks: &Tensor) -> Result<Tensor> {
    in_blocks(responses, features, masks, TEMPORARY)
}

fn in_blocks(responses: &Tensor, features: &Tensor, masks: &Tensor, elements: usize) -> Result<Tensor> {
    let wants_responses = responses.track_op();
    let (values, dtype) = (plain(responses)?, responses.dtype());
    let factors = Factors { features: plain(features)?, masks: plain(masks)? };
    let [neurons, _, channels, positions] = factors.sizes()?;
    let batch = values.dim(0)?;
    let map = channels * positions;
    let mut sum: Option<Tensor> = None;
    for (first, len) in blocks(neurons, map, elements) {
        let product =
            values.narrow(1, first, len)?.contiguous()?.matmul(&factors.block(first, len)?.dense()?)?;
        let product = if len < neurons { product.to_dtype(DType::F32)? } else { product };
        sum = Some(match sum {
            Some(sum) => (sum + product)?,
            None => product,
        });
    }
    let Some(sum) = sum else { candle_core::bail!("read_in: no neurons") };
    let maps = sum.to_dtype(dtype)?.reshape((batch, channels, positions))?;
    differentiable3("read_in", [responses, features, masks], maps, move |gradient| {
        let gradient = gradient.reshape((batch, map))?;
        let (mut of_responses, mut of_features, mut of_masks) = (Vec::new(), Vec::new(), Vec::new());
        for (first, len) in blocks(neurons, map, elements) {
            let block = factors.block(first, len)?;
            if wants_responses {
                of_responses.push(gradient.matmul(&block.dense()?.t()?)?);
            }
            let of_dense = values.narrow(1, first, len)?.contiguous()?.t()?.matmul(&gradient)?;
            let [features, masks] = block.backward(&of_dense)?;
            of_features.push(features);
            of_masks.push(masks);
        }
        let of_responses = if wants_responses { Some(Tensor::cat(&of_responses, 1)?) } else { None };
        Ok([of_responses, Some(Tensor::cat(&of_features, 0)?), Some(Tensor::cat(&of_masks, 0)?)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::host::{agree, agree_in_bf16, available, bf16, f32s};

    #[test]
    fn agrees_with_the_cpu_in_one_block_and_in_several() {
        if !available() {
            return;
        }
        // More channels than teams of lanes, and positions that no team divides.
        let inputs = f32s(&[("r", &[4, 7]), ("f", &[7, 2, 35]), ("s", &[7, 2, 13])]);
        for elements in [1 << 20, 3 * 35 * 13, 1] {
            agree(
                &inputs,
                |x| in_blocks(&x[0], &x[1], &x[2], elements),
                |x| crate::read_in(&x[0], &x[1], &x[2]),
                1e-5,
            );
        }
    }

    #[test]
    fn bf16_differs_by_its_precision() {
        if !available() {
            return;
        }
        let inputs = f32s(&[("f", &[3, 2, 5]), ("s", &[3, 2, 21]), ("g", &[3, 105])]);
        let inputs: Vec<_> = inputs.iter().map(bf16).collect();
        agree_in_bf16(&inputs, |x| {
            let factors = Factors { features: x[0].clone(), masks: x[1].clone() };
            let [of_features, of_masks] = factors.backward(&x[2])?;
            Ok(vec![factors.dense()?, of_features, of_masks])
        });
    }
}
