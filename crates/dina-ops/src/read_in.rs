//! The factorised read-in from neurons to maps.
//!
//! Neuron n contributes `r_n * sum_k s_kn(h, w) f_kn(c)`: the transpose of the factorised readout of
//! Klindt et al. 2017 (NeurIPS 30). The dense weights `W_n = sum_k f_kn s_kn^T` of a block of neurons
//! are formed, used and dropped, so that memory does not grow with the number of neurons: a block
//! takes `BLOCK x channels x positions` elements.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::gpu;
use crate::matrix::{Matrix, product};
use crate::real::{Real, dispatch, with_slices};
use crate::vector::{add_scaled, dot, vectorised};

/// Neurons whose dense weights are held at a time.
const BLOCK: usize = 512;

#[derive(Debug, Clone, Copy)]
struct Plan {
    batch: usize,
    neurons: usize,
    rank: usize,
    channels: usize,
    positions: usize,
}

impl Plan {
    fn new(responses: &[usize], features: &[usize], masks: &[usize]) -> Result<Self> {
        match (responses, features, masks) {
            (&[batch, n0], &[n1, rank, channels], &[n2, k2, positions])
                if n0 == n1
                    && n1 == n2
                    && rank == k2
                    && ![batch, n0, rank, channels, positions].contains(&0) =>
            {
                Ok(Self { batch, neurons: n0, rank, channels, positions })
            }
            _ => candle_core::bail!(
                "read_in: expected responses [batch, neurons], features [neurons, k, channels] and masks [neurons, k, positions], \
                 found {responses:?}, {features:?} and {masks:?}"
            ),
        }
    }

    fn map_len(&self) -> usize {
        self.channels * self.positions
    }

    /// First neuron and number of neurons of every block.
    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.neurons).step_by(BLOCK).map(move |first| (first, BLOCK.min(self.neurons - first)))
    }

    /// `W_n = f_n^T s_n` for a block of neurons.
    fn dense<T: Real>(&self, first: usize, features: &[T], masks: &[T], dense: &mut [T]) {
        dense.par_chunks_mut(self.map_len()).enumerate().for_each(|(index, dense)| {
            let (f, s) = self.factors(first + index, features, masks);
            vectorised(
                #[inline(always)]
                || {
                    for (channel, row) in dense.chunks_exact_mut(self.positions).enumerate() {
                        row.fill(T::zero());
                        for (k, mask) in s.chunks_exact(self.positions).enumerate() {
                            add_scaled(row, f[k * self.channels + channel], mask);
                        }
                    }
                },
            );
        });
    }

    /// Gradients of one neuron's factors from that of its dense weights.
    fn factor_gradients<T: Real>(
        &self,
        (f, s): (&[T], &[T]),
        dense: &[T],
        f_gradient: &mut [T],
        s_gradient: &mut [T],
    ) {
        vectorised(
            #[inline(always)]
            || {
                for (channel, row) in dense.chunks_exact(self.positions).enumerate() {
                    let masks =
                        s.chunks_exact(self.positions).zip(s_gradient.chunks_exact_mut(self.positions));
                    for (k, (mask, gradient)) in masks.enumerate() {
                        f_gradient[k * self.channels + channel] = dot(mask, row);
                        add_scaled(gradient, f[k * self.channels + channel], row);
                    }
                }
            },
        );
    }

    /// Channel vectors `[rank, channels]` and masks `[rank, positions]` of a neuron.
    fn factors<'a, T>(&self, neuron: usize, features: &'a [T], masks: &'a [T]) -> (&'a [T], &'a [T]) {
        let (f_len, s_len) = (self.rank * self.channels, self.rank * self.positions);
        (&features[neuron * f_len..][..f_len], &masks[neuron * s_len..][..s_len])
    }
}

/// Maps `[batch, channels, positions]` from responses `[batch, neurons]`, features
/// `[neurons, k, channels]` and masks `[neurons, k, positions]`; differentiable in the factors and in
/// the responses, each where they are tracked.
///
/// # Errors
/// When the shapes do not fit.
pub fn read_in(responses: &Tensor, features: &Tensor, masks: &Tensor) -> Result<Tensor> {
    let plan = Plan::new(responses.dims(), features.dims(), masks.dims())?;
    if gpu::takes(&[responses, features, masks]) {
        return gpu::read_in(responses, features, masks);
    }
    if !responses.device().is_cpu() {
        return read_in_composed(responses, features, masks);
    }
    responses.contiguous()?.apply_op3(&features.contiguous()?, &masks.contiguous()?, ReadIn(plan))
}

/// The same from candle's own operations, for other devices and as a reference.
///
/// # Errors
/// As [`read_in`].
pub fn read_in_composed(responses: &Tensor, features: &Tensor, masks: &Tensor) -> Result<Tensor> {
    let plan = Plan::new(responses.dims(), features.dims(), masks.dims())?;
    let dense = features.transpose(1, 2)?.contiguous()?.matmul(masks)?;
    responses.matmul(&dense.reshape((plan.neurons, plan.map_len()))?)?.reshape((
        plan.batch,
        plan.channels,
        plan.positions,
    ))
}

struct ReadIn(Plan);

impl CustomOp3 for ReadIn {
    fn name(&self) -> &'static str {
        "read_in"
    }

    fn cpu_fwd(
        &self,
        responses: &CpuStorage,
        responses_layout: &Layout,
        features: &CpuStorage,
        features_layout: &Layout,
        masks: &CpuStorage,
        masks_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let inputs = [(responses, responses_layout), (features, features_layout), (masks, masks_layout)];
        dispatch!(responses.dtype(), forward(self.0, inputs))
    }

    fn bwd(
        &self,
        responses: &Tensor,
        features: &Tensor,
        masks: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        dispatch!(responses.dtype(), backward(self.0, responses, features, masks, gradient))
    }
}

fn forward<T: Real>(plan: Plan, inputs: [(&CpuStorage, &Layout); 3]) -> Result<(CpuStorage, Shape)> {
    let [responses, features, masks] = inputs.map(|(storage, layout)| T::slice(storage, layout));
    let (responses, features, masks) = (responses?, features?, masks?);
    let mut output = vec![T::zero(); plan.batch * plan.map_len()];
    let mut dense = vec![T::zero(); BLOCK.min(plan.neurons) * plan.map_len()];
    for (first, count) in plan.blocks() {
        plan.dense(first, features, masks, &mut dense[..count * plan.map_len()]);
        let block = columns(responses, plan, first, count);
        let dense = Matrix::new(&dense, count, plan.map_len());
        product(Matrix::new(&block, plan.batch, count), dense, &mut output, true, true);
    }
    Ok((T::storage(output), (plan.batch, plan.channels, plan.positions).into()))
}

/// A block of columns of the responses, `[batch, count]`.
fn columns<T: Real>(responses: &[T], plan: Plan, first: usize, count: usize) -> Vec<T> {
    responses.chunks(plan.neurons).flat_map(|row| row[first..first + count].iter().copied()).collect()
}

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

fn backward<T: Real>(
    plan: Plan,
    responses: &Tensor,
    features: &Tensor,
    masks: &Tensor,
    gradient: &Tensor,
) -> Result<Gradients> {
    let (wants_responses, wants_factors) = (responses.track_op(), features.track_op() || masks.track_op());
    let (r, factors) = with_slices::<T, _, 4>([responses, features, masks, gradient], |slices| {
        Ok(gradients(plan, slices, wants_responses, wants_factors))
    })?;
    let device = responses.device();
    let r = r.map(|values| Tensor::from_vec(values, responses.shape(), device)).transpose()?;
    let Some((f, s)) = factors else { return Ok((r, None, None)) };
    let f = Tensor::from_vec(f, features.shape(), device)?;
    Ok((r, Some(f), Some(Tensor::from_vec(s, masks.shape(), device)?)))
}

/// Gradients of features and masks, where they are wanted.
type FactorGradients<T> = Option<(Vec<T>, Vec<T>)>;

fn gradients<T: Real>(
    plan: Plan,
    [responses, features, masks, gradient]: [&[T]; 4],
    wants_responses: bool,
    wants_factors: bool,
) -> (Option<Vec<T>>, FactorGradients<T>) {
    let kept = |len: usize| vec![T::zero(); if wants_factors { len } else { 0 }];
    let (mut features_gradient, mut masks_gradient) = (kept(features.len()), kept(masks.len()));
    let mut responses_gradient = vec![T::zero(); if wants_responses { responses.len() } else { 0 }];
    let mut dense = vec![T::zero(); BLOCK.min(plan.neurons) * plan.map_len()];
    let outer = Matrix::new(gradient, plan.batch, plan.map_len());
    for (first, count) in plan.blocks() {
        let dense = &mut dense[..count * plan.map_len()];
        if wants_responses {
            plan.dense(first, features, masks, dense);
            let mut block = vec![T::zero(); plan.batch * count];
            product(outer, Matrix::new(dense, count, plan.map_len()).t(), &mut block, false, true);
            for (row, block) in responses_gradient.chunks_mut(plan.neurons).zip(block.chunks(count)) {
                row[first..first + count].copy_from_slice(block);
            }
        }
        if !wants_factors {
            continue;
        }
        let block = columns(responses, plan, first, count);
        product(Matrix::new(&block, plan.batch, count).t(), outer, dense, false, true);
        let (f_len, s_len) = (plan.rank * plan.channels, plan.rank * plan.positions);
        features_gradient[first * f_len..(first + count) * f_len]
            .par_chunks_mut(f_len)
            .zip(masks_gradient[first * s_len..(first + count) * s_len].par_chunks_mut(s_len))
            .zip(dense.par_chunks(plan.map_len()))
            .enumerate()
            .for_each(|(index, ((f_gradient, s_gradient), dense))| {
                let factors = plan.factors(first + index, features, masks);
                plan.factor_gradients(factors, dense, f_gradient, s_gradient);
            });
    }
    let factors = wants_factors.then_some((features_gradient, masks_gradient));
    (wants_responses.then_some(responses_gradient), factors)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::check::{gradient_error, normal};

    #[test]
    fn agrees_with_composed_operations_across_blocks() {
        let neurons = BLOCK + 3;
        let responses = normal("responses", &[3, neurons]).unwrap();
        let features = normal("features", &[neurons, 2, 3]).unwrap();
        let masks = normal("masks", &[neurons, 2, 5]).unwrap();
        let fused = read_in(&responses, &features, &masks).unwrap();
        let composed = read_in_composed(&responses, &features, &masks).unwrap();
        let gap = (fused - composed).unwrap().abs().unwrap().max_all().unwrap();
        assert!(gap.to_scalar::<f64>().unwrap() < 1e-10);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let [responses, features, masks] = [("r", vec![4, 7]), ("f", vec![7, 2, 3]), ("s", vec![7, 2, 6])]
            .map(|(name, dims)| Var::from_tensor(&normal(name, &dims).unwrap()).unwrap());
        let error =
            gradient_error(&[&responses, &features, &masks], || read_in(&responses, &features, &masks))
                .unwrap();
        assert!(error < 1e-6, "{error}");
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let (r, f) = (normal("r", &[4, 7]).unwrap(), normal("f", &[7, 2, 3]).unwrap());
        assert!(read_in(&r, &f, &normal("s", &[7, 3, 6]).unwrap()).is_err());
        assert!(read_in(&r, &f, &normal("s", &[6, 2, 6]).unwrap()).is_err());
    }
}
