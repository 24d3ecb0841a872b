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

use super::matrix::{Matrix, product};
use super::{Real, dispatch, sum_in_order, with_slices};

/// Keeps the energy differentiable at zero.
const EPSILON: f64 = 1e-4;

/// Channels that a pair of filters gives.
const PER_PAIR: usize = 5;

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

    /// Fills `y` `[channels, positions]` and the divisors `[positions]` of one image.
    fn normalize<T: Real>(&self, filtered: &[T], pool: &[T], y: &mut [T], divisor: &mut [T]) {
        let positions = self.positions();
        divisor.fill(pool[self.channels()]);
        for pair in 0..self.pairs {
            let even = &filtered[2 * pair * positions..][..positions];
            let odd = &filtered[(2 * pair + 1) * positions..][..positions];
            let x = &mut y[pair * PER_PAIR * positions..][..PER_PAIR * positions];
            let (on_even, x) = x.split_at_mut(positions);
            let (off_even, x) = x.split_at_mut(positions);
            let (on_odd, x) = x.split_at_mut(positions);
            let (off_odd, energy) = x.split_at_mut(positions);
            let w: [T; PER_PAIR] = std::array::from_fn(|c| pool[pair * PER_PAIR + c]);
            let epsilon = T::from_f64(EPSILON);
            for p in 0..positions {
                let (e, o) = (even[p], odd[p]);
                let values = [
                    if e > T::zero() { e } else { T::zero() },
                    if e < T::zero() { -e } else { T::zero() },
                    if o > T::zero() { o } else { T::zero() },
                    if o < T::zero() { -o } else { T::zero() },
                    (e * e + o * o + epsilon).sqrt(),
                ];
                on_even[p] = values[0];
                off_even[p] = values[1];
                on_odd[p] = values[2];
                off_odd[p] = values[3];
                energy[p] = values[4];
                divisor[p] = divisor[p]
                    + w[0] * values[0]
                    + w[1] * values[1]
                    + w[2] * values[2]
                    + w[3] * values[3]
                    + w[4] * values[4];
            }
        }
        for channel in y.chunks_mut(positions) {
            for (value, d) in channel.iter_mut().zip(divisor.iter()) {
                *value /= *d;
            }
        }
    }

    /// Gradients of one image, from `g = dL/dy` and what [`Plan::normalize`] left in `y` and
    /// `divisor`: adds to the pool's and overwrites the filter outputs'.
    fn normalize_backward<T: Real>(
        &self,
        filtered: &[T],
        pool: &[T],
        state: (&[T], &[T], &[T]),
        pool_gradient: &mut [T],
        filtered_gradient: &mut [T],
    ) {
        let (g, y, divisor) = state;
        let positions = self.positions();
        // y = x / d, so dL/dx_c = (g_c - w_c s) / d and dL/dw_c = -sum_p y_c s, with s = sum_c g_c y_c.
        let mut s = vec![T::zero(); positions];
        for (g, y) in g.chunks(positions).zip(y.chunks(positions)) {
            for ((s, g), y) in s.iter_mut().zip(g).zip(y) {
                *s += *g * *y;
            }
        }
        for (gradient, y) in pool_gradient.iter_mut().zip(y.chunks(positions)) {
            let sum: T = y.iter().zip(&s).map(|(y, s)| *y * *s).sum();
            *gradient -= sum;
        }
        let sigma: T = s.iter().zip(divisor).map(|(s, d)| *s / *d).sum();
        pool_gradient[self.channels()] = pool_gradient[self.channels()] - sigma;
        for pair in 0..self.pairs {
            let w: [T; PER_PAIR] = std::array::from_fn(|c| pool[pair * PER_PAIR + c]);
            let channel = |c: usize| &g[(pair * PER_PAIR + c) * positions..][..positions];
            let g: [&[T]; PER_PAIR] = std::array::from_fn(channel);
            let energy = &y[(pair * PER_PAIR + 4) * positions..][..positions];
            let (even, odd) = filtered[2 * pair * positions..][..2 * positions].split_at(positions);
            let (even_gradient, odd_gradient) =
                filtered_gradient[2 * pair * positions..][..2 * positions].split_at_mut(positions);
            for p in 0..positions {
                let dx = |c: usize| (g[c][p] - w[c] * s[p]) / divisor[p];
                let per_energy = dx(4) / (energy[p] * divisor[p]);
                let side = |value: T, on: usize| {
                    if value > T::zero() {
                        dx(on)
                    } else if value < T::zero() {
                        -dx(on + 1)
                    } else {
                        T::zero()
                    }
                };
                even_gradient[p] = side(even[p], 0) + per_energy * even[p];
                odd_gradient[p] = side(odd[p], 2) + per_energy * odd[p];
            }
        }
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
            let mut divisor = vec![T::zero(); plan.positions()];
            for (output, filtered) in
                output.chunks_mut(plan.output_len()).zip(filtered.chunks(plan.input_len()))
            {
                plan.normalize(filtered, pool, &mut y, &mut divisor);
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
            let mut divisor = vec![T::zero(); plan.positions()];
            let images = filtered.chunks(plan.input_len()).zip(gradient.chunks(plan.output_len()));
            for (filtered_gradient, (filtered, outer)) in
                filtered_gradient.chunks_mut(plan.input_len()).zip(images)
            {
                plan.normalize(filtered, pool, &mut y, &mut divisor);
                let outer = Matrix::new(outer, plan.outputs, plan.positions());
                product(
                    outer,
                    Matrix::new(&y, plan.channels(), plan.positions()).t(),
                    &mut mixing_gradient,
                    true,
                    false,
                );
                product(Matrix::new(mixing, plan.outputs, plan.channels()).t(), outer, &mut g, false, false);
                plan.normalize_backward(
                    filtered,
                    pool,
                    (&g, &y, &divisor),
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
        let pool = normal("pool", &[16]).abs().unwrap();
        let tensors = [normal("filtered", &[9, 6, 3, 4]), (pool + 0.1).unwrap(), normal("mixing", &[4, 15])];
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
            gradient_error(&[&filtered, &pool, &mixing], || normalized_mix(&filtered, &pool, &mixing));
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
