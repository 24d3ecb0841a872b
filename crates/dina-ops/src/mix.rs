//! From quadrature filter outputs to mixed, normalised simple and complex channels, in one pass.
//!
//! Pair j of filters gives five channels: ON and OFF of the even filter, ON and OFF of the odd one
//! (simple cells), and the energy `sqrt(e^2 + o^2 + EPSILON)` (complex cell). With channels `x_c`,
//! semi-saturation `sigma` and pool weights `w_c`, divisive normalisation (Heeger 1992, Visual
//! Neuroscience 9:181) gives `y_c = x_c / (sigma + sum_c' w_c' x_c')` at every position, and the
//! mixing matrix gives `sum_c M_mc y_c`. The `y_c`, several times larger than what goes in and out,
//! are never stored for the batch.

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::gpu;
use crate::matrix::{Matrix, product};
use crate::normalise::{EPSILON, Normalisation, PER_PAIR};
use crate::real::{Real, dispatch, sum_in_order, with_slices};

/// Images of a batch that one task works on. Fixed, so that sums have one order.
const CHUNK: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Plan {
    batch: usize,
    pairs: usize,
    outputs: usize,
    height: usize,
    width: usize,
}

impl Plan {
    fn new(filtered: &[usize], pool: &[usize], mixing: &[usize]) -> Result<Self> {
        let &[batch, filters, height, width] = filtered else {
            candle_core::bail!(
                "normalized_mix: expected filter outputs [batch, 2 x pairs, height, width], found {filtered:?}"
            )
        };
        let channels = filters / 2 * PER_PAIR;
        let outputs = mixing.first().copied().unwrap_or(0);
        if filtered.contains(&0)
            || outputs == 0
            || filters % 2 != 0
            || pool != [channels + 1]
            || mixing != [outputs, channels]
        {
            candle_core::bail!(
                "normalized_mix: {filters} filters need pool [{}] and mixing [outputs, {channels}], found {pool:?} and {mixing:?}",
                channels + 1
            )
        }
        Ok(Self { batch, pairs: filters / 2, outputs, height, width })
    }

    fn positions(&self) -> usize {
        self.height * self.width
    }

    fn channels(&self) -> usize {
        self.pairs * PER_PAIR
    }

    fn input_len(&self) -> usize {
        2 * self.pairs * self.positions()
    }

    fn output_len(&self) -> usize {
        self.outputs * self.positions()
    }

    fn normalisation(&self) -> Normalisation {
        Normalisation { pairs: self.pairs, positions: self.positions() }
    }
}

/// Rectifies, normalises and mixes; differentiable in all three.
///
/// - `filtered`: `[batch, 2 x pairs, height, width]`, even and odd filter of a pair side by side.
/// - `pool`: `[5 x pairs + 1]`, non-negative pool weights, then the positive semi-saturation.
/// - `mixing`: `[outputs, 5 x pairs]`.
///
/// Returns `[batch, outputs, height, width]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn normalized_mix(filtered: &Tensor, pool: &Tensor, mixing: &Tensor) -> Result<Tensor> {
    let plan = Plan::new(filtered.dims(), pool.dims(), mixing.dims())?;
    if gpu::takes(&[filtered, pool, mixing]) {
        return gpu::normalized_mix(filtered, pool, mixing);
    }
    if !filtered.device().is_cpu() {
        return normalized_mix_composed(filtered, pool, mixing);
    }
    filtered.contiguous()?.apply_op3(&pool.contiguous()?, &mixing.contiguous()?, NormalizedMix(plan))
}

/// The same from candle's own operations, for other devices and as a reference.
///
/// # Errors
/// As [`normalized_mix`].
pub fn normalized_mix_composed(filtered: &Tensor, pool: &Tensor, mixing: &Tensor) -> Result<Tensor> {
    let plan = Plan::new(filtered.dims(), pool.dims(), mixing.dims())?;
    let y = energy_features(filtered, pool)?.reshape((plan.batch, plan.channels(), plan.positions()))?;
    mixing.broadcast_matmul(&y)?.reshape((plan.batch, plan.outputs, plan.height, plan.width))
}

/// The normalised channels before mixing, `[batch, 5 x pairs, height, width]`.
///
/// # Errors
/// When the shapes do not fit (see [`normalized_mix`]).
pub fn energy_features(filtered: &Tensor, pool: &Tensor) -> Result<Tensor> {
    let (batch, filters, height, width) = filtered.dims4()?;
    let channels = filters / 2 * PER_PAIR;
    let pairs = filtered.reshape((batch, filters / 2, 2, height * width))?;
    let (even, odd) = (pairs.narrow(2, 0, 1)?, pairs.narrow(2, 1, 1)?);
    let energy = ((even.sqr()? + odd.sqr()?)? + EPSILON)?.sqrt()?;
    let x = Tensor::cat(&[even.relu()?, even.neg()?.relu()?, odd.relu()?, odd.neg()?.relu()?, energy], 2)?
        .reshape((batch, channels, height, width))?;
    let weights = pool.narrow(0, 0, channels)?.reshape((1, channels, 1, 1))?;
    let sigma = pool.narrow(0, channels, 1)?.reshape((1, 1, 1, 1))?;
    let divisor = x.broadcast_mul(&weights)?.sum_keepdim(D::Minus(3))?.broadcast_add(&sigma)?;
    x.broadcast_div(&divisor)
}

struct NormalizedMix(Plan);

impl CustomOp3 for NormalizedMix {
    fn name(&self) -> &'static str {
        "normalized_mix"
    }

    fn cpu_fwd(
        &self,
        filtered: &CpuStorage,
        filtered_layout: &Layout,
        pool: &CpuStorage,
        pool_layout: &Layout,
        mixing: &CpuStorage,
        mixing_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let inputs = [(filtered, filtered_layout), (pool, pool_layout), (mixing, mixing_layout)];
        dispatch!(filtered.dtype(), forward(self.0, inputs))
    }

    fn bwd(
        &self,
        filtered: &Tensor,
        pool: &Tensor,
        mixing: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [filtered, pool, mixing] =
            dispatch!(filtered.dtype(), backward(self.0, filtered, pool, mixing, gradient))?;
        Ok((Some(filtered), Some(pool), Some(mixing)))
    }
}

fn forward<T: Real>(plan: Plan, inputs: [(&CpuStorage, &Layout); 3]) -> Result<(CpuStorage, Shape)> {
    let [filtered, pool, mixing] = inputs.map(|(storage, layout)| T::slice(storage, layout));
    let (filtered, pool, mixing) = (filtered?, pool?, mixing?);
    let mut output = vec![T::zero(); plan.batch * plan.output_len()];
    output
        .par_chunks_mut(CHUNK * plan.output_len())
        .zip(filtered.par_chunks(CHUNK * plan.input_len()))
        .for_each(|(output, filtered)| {
            let mut y = vec![T::zero(); plan.channels() * plan.positions()];
            let mut inverse = vec![T::zero(); plan.positions()];
            for (output, filtered) in
                output.chunks_mut(plan.output_len()).zip(filtered.chunks(plan.input_len()))
            {
                plan.normalisation().forward(filtered, pool, &mut y, &mut inverse);
                let y = Matrix::new(&y, plan.channels(), plan.positions());
                product(Matrix::new(mixing, plan.outputs, plan.channels()), y, output, false, false);
            }
        });
    Ok((T::storage(output), (plan.batch, plan.outputs, plan.height, plan.width).into()))
}

fn backward<T: Real>(
    plan: Plan,
    filtered: &Tensor,
    pool: &Tensor,
    mixing: &Tensor,
    gradient: &Tensor,
) -> Result<[Tensor; 3]> {
    let [filtered_gradient, pool_gradient, mixing_gradient] =
        with_slices::<T, _, 4>([filtered, pool, mixing, gradient], |slices| Ok(gradients(plan, slices)))?;
    Ok([
        Tensor::from_vec(filtered_gradient, filtered.shape(), filtered.device())?,
        Tensor::from_vec(pool_gradient, pool.shape(), filtered.device())?,
        Tensor::from_vec(mixing_gradient, mixing.shape(), filtered.device())?,
    ])
}

fn gradients<T: Real>(plan: Plan, [filtered, pool, mixing, gradient]: [&[T]; 4]) -> [Vec<T>; 3] {
    let mut filtered_gradient = vec![T::zero(); filtered.len()];
    let parts: Vec<(Vec<T>, Vec<T>)> = filtered_gradient
        .par_chunks_mut(CHUNK * plan.input_len())
        .zip(filtered.par_chunks(CHUNK * plan.input_len()))
        .zip(gradient.par_chunks(CHUNK * plan.output_len()))
        .map(|((filtered_gradient, filtered), gradient)| {
            let mut pool_gradient = vec![T::zero(); pool.len()];
            let mut mixing_gradient = vec![T::zero(); mixing.len()];
            let mut y = vec![T::zero(); plan.channels() * plan.positions()];
            let mut g = y.clone();
            let mut inverse = vec![T::zero(); plan.positions()];
            let mut s = inverse.clone();
            let images = filtered.chunks(plan.input_len()).zip(gradient.chunks(plan.output_len()));
            for (filtered_gradient, (filtered, outer)) in
                filtered_gradient.chunks_mut(plan.input_len()).zip(images)
            {
                plan.normalisation().forward(filtered, pool, &mut y, &mut inverse);
                let outer = Matrix::new(outer, plan.outputs, plan.positions());
                product(
                    outer,
                    Matrix::new(&y, plan.channels(), plan.positions()).t(),
                    &mut mixing_gradient,
                    true,
                    false,
                );
                product(Matrix::new(mixing, plan.outputs, plan.channels()).t(), outer, &mut g, false, false);
                plan.normalisation().backward(
                    filtered,
                    pool,
                    (&g, &y, &inverse),
                    &mut s,
                    &mut pool_gradient,
                    filtered_gradient,
                );
            }
            (pool_gradient, mixing_gradient)
        })
        .collect();
    let (pools, mixings): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    [filtered_gradient, sum_in_order(pools, pool.len()), sum_in_order(mixings, mixing.len())]
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::check::{gradient_error, normal};

    fn inputs() -> [Var; 3] {
        let pool = normal("pool", &[16]).unwrap().abs().unwrap();
        let tensors = [
            normal("filtered", &[9, 6, 3, 4]).unwrap(),
            (pool + 0.1).unwrap(),
            normal("mixing", &[4, 15]).unwrap(),
        ];
        tensors.map(|tensor| Var::from_tensor(&tensor).unwrap())
    }

    #[test]
    fn agrees_with_composed_operations() {
        let [filtered, pool, mixing] = inputs();
        let fused = normalized_mix(&filtered, &pool, &mixing).unwrap();
        let composed = normalized_mix_composed(&filtered, &pool, &mixing).unwrap();
        let gap = (fused - composed).unwrap().abs().unwrap().max_all().unwrap();
        assert!(gap.to_scalar::<f64>().unwrap() < 1e-12);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let [filtered, pool, mixing] = inputs();
        let error =
            gradient_error(&[&filtered, &pool, &mixing], || normalized_mix(&filtered, &pool, &mixing))
                .unwrap();
        assert!(error < 1e-6, "{error}");
    }

    #[test]
    fn normalisation_is_what_it_says() {
        // One pair at one position: even 3, odd -4; pool weights 0 but the energy's 1; sigma 5.
        let device = candle_core::Device::Cpu;
        let filtered = Tensor::new(&[3f64, -4.], &device).unwrap().reshape((1, 2, 1, 1)).unwrap();
        let pool = Tensor::new(&[0f64, 0., 0., 0., 1., 5.], &device).unwrap();
        let y = energy_features(&filtered, &pool).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (found, expected) in y.iter().zip([0.3, 0., 0., 0.4, 0.5]) {
            assert!((found - expected).abs() < 1e-5, "{y:?}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let [filtered, pool, mixing] = inputs();
        assert!(normalized_mix(&filtered, &pool.narrow(0, 0, 15).unwrap(), &mixing).is_err());
        assert!(normalized_mix(&filtered, &pool, &mixing.narrow(1, 0, 14).unwrap()).is_err());
    }
}
