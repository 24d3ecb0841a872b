//! [`crate::normalized_mix`] on a GPU: channels and their gradients by our kernels, mixing by products of the library.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, count, empty, lanes, launch};
use super::{differentiable::differentiable3, plain, sum_first};
use crate::normalise::PER_PAIR;

/// Parts that the sums over positions of the pool's gradient are cut in: enough blocks to fill a large card.
const PARTS: usize = 16;

/// Filter outputs `[batch, 2 x pairs, positions]` with the pool.
#[derive(Clone)]
struct Normalise {
    filtered: Tensor,
    pool: Tensor,
    batch: usize,
    pairs: usize,
    positions: usize,
}

impl Normalise {
    fn new(filtered: &Tensor, pool: &Tensor) -> Result<Self> {
        let (batch, filters, height, width) = filtered.dims4()?;
        Ok(Self {
            filtered: plain(filtered)?,
            pool: plain(pool)?,
            batch,
            pairs: filters / 2,
            positions: height * width,
        })
    }

    fn sizes(&self) -> Result<[Argument<'static>; 3]> {
        Ok([count(self.batch)?, count(self.pairs)?, count(self.positions)?])
    }

    /// The normalised channels, `[batch, 5 x pairs, positions]`.
    fn forward(&self) -> Result<Tensor> {
        let [batch, pairs, positions] = self.sizes()?;
        let dtype = self.filtered.dtype();
        let shape = (self.batch, self.pairs * PER_PAIR, self.positions);
        let channels = empty(shape, dtype, self.filtered.device())?;
        let arguments = [
            Argument::Input(&self.filtered),
            Argument::Input(&self.pool),
            Argument::Output(&channels),
            batch,
            pairs,
            positions,
        ];
        launch("normalise_forward", dtype, &arguments, lanes(self.batch * self.positions))?;
        Ok(channels)
    }

    /// Gradients of the filter outputs and of the pool from that of the channels.
    fn backward(&self, gradient: &Tensor) -> Result<(Tensor, Tensor)> {
        let [batch, pairs, positions] = self.sizes()?;
        let (dtype, device) = (self.filtered.dtype(), self.filtered.device());
        let of_filtered = empty(self.filtered.shape(), dtype, device)?;
        let shares = empty((self.batch, self.positions), DType::F32, device)?;
        let arguments = [
            Argument::Input(&self.filtered),
            Argument::Input(&self.pool),
            Argument::Input(gradient),
            Argument::Output(&of_filtered),
            Argument::Output(&shares),
            batch,
            pairs,
            positions,
        ];
        launch("normalise_backward", dtype, &arguments, lanes(self.batch * self.positions))?;
        let partial = empty((PARTS, self.pairs * PER_PAIR + 1), DType::F32, device)?;
        let arguments = [
            Argument::Input(&self.filtered),
            Argument::Input(&shares),
            Argument::Output(&partial),
            batch,
            pairs,
            positions,
        ];
        launch("normalise_pool", dtype, &arguments, (self.pairs + 1, PARTS))?;
        Ok((of_filtered, partial.sum(0)?.to_dtype(dtype)?))
    }
}

/// The shapes were checked.
pub(crate) fn normalized_mix(filtered: &Tensor, pool: &Tensor, mixing: &Tensor) -> Result<Tensor> {
    let (batch, _, height, width) = filtered.dims4()?;
    let (outputs, _) = mixing.dims2()?;
    let weights = plain(mixing)?;
    let normalise = Normalise::new(filtered, pool)?;
    let mixed = weights.broadcast_matmul(&normalise.forward()?)?.reshape((batch, outputs, height, width))?;
    differentiable3("normalized_mix", [filtered, pool, mixing], mixed, move |gradient| {
        let gradient = gradient.reshape((batch, outputs, height * width))?;
        // Computed again: several times what goes in and out.
        let of_mixing = sum_first(&gradient.matmul(&normalise.forward()?.t()?)?)?;
        let of_channels = weights.t()?.broadcast_matmul(&gradient)?;
        let (of_filtered, of_pool) = normalise.backward(&of_channels)?;
        Ok([Some(of_filtered), Some(of_pool), Some(of_mixing)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::host::{agree, agree_in_bf16, available, bf16, f32s};

    #[test]
    fn agrees_with_the_cpu() {
        if !available() {
            return;
        }
        // More positions than a block has lanes.
        let inputs = f32s(&[("x", &[3, 6, 9, 11]), ("pool", &[16]), ("mixing", &[4, 15])]);
        let inputs = [inputs[0].clone(), inputs[1].abs().unwrap(), inputs[2].clone()];
        let of =
            |f: fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>| move |x: &[Tensor]| f(&x[0], &x[1], &x[2]);
        agree(&inputs, of(normalized_mix), of(crate::normalized_mix), 2e-5);
    }

    #[test]
    fn a_filter_at_zero_is_in_neither_channel() {
        if !available() {
            return;
        }
        let x = Tensor::zeros((1, 2, 1, 3), DType::F32, &candle_core::Device::Cpu).unwrap();
        let inputs = [x, f32s(&[("pool", &[6])])[0].abs().unwrap(), f32s(&[("mixing", &[2, 5])])[0].clone()];
        let of =
            |f: fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>| move |x: &[Tensor]| f(&x[0], &x[1], &x[2]);
        agree(&inputs, of(normalized_mix), of(crate::normalized_mix), 1e-5);
    }

    #[test]
    fn bf16_differs_by_its_precision() {
        if !available() {
            return;
        }
        let inputs = f32s(&[("x", &[2, 4, 5, 7]), ("pool", &[11]), ("g", &[2, 10, 35])]);
        let inputs = [inputs[0].clone(), inputs[1].abs().unwrap(), inputs[2].clone()].map(|t| bf16(&t));
        agree_in_bf16(&inputs, |x| {
            let normalise = Normalise::new(&x[0], &x[1])?;
            let (of_filtered, of_pool) = normalise.backward(&x[2])?;
            Ok(vec![normalise.forward()?, of_filtered, of_pool])
        });
    }
}
