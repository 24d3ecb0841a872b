//! The whole image tower from an image pyramid to a feature map, in one pass over every image.
//!
//! Quadrature filters, rectification, divisive normalisation and mixing ([`normalized_mix`]) give `z`. A local stream adds
//! `V relu(K * z + b)`, K a 3 x 3 convolution; a global stream takes the means `m_c` of `z` over positions, and scales and
//! shifts channel c by `1 + tanh(G m)_c` and `(H m)_c`. A centre is subtracted last.
//!
//! What lies between images and maps, some 400 values a position, is kept for one image at a time and computed again on the way
//! back: the additional products cost less than writing it to memory and reading it again.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::conv::{Convolution, convolve_composed};
use crate::gpu;
use crate::matrix::{Matrix, product};
use crate::mix::normalized_mix_composed;
use crate::normalise::{Normalisation, PER_PAIR, add_per_channel, channel_means};
use crate::real::{Real, dispatch, sum_in_order, with_slices};
use crate::unfold::Unfold;
use crate::vector::{dot, sum, vectorised};

/// Images of a batch that one task works on. Fixed, so that sums have one order.
const CHUNK: usize = 8;

/// Taps of the local stream along a side.
const LOCAL: usize = 3;

/// What [`image_stack`] is differentiable in. J is the number of quadrature pairs, C of channels, M of hidden channels.
#[derive(Debug, Clone, Copy)]
pub struct StackParameters<'a> {
    /// Filters `[2 J, 1, k, k]`, even and odd of a pair side by side, scale by scale.
    pub kernels: &'a Tensor,
    /// `[5 J + 1]`: pool weights, not negative, then the positive semi-saturation.
    pub pool: &'a Tensor,
    /// `[C, 5 J]`.
    pub mixing: &'a Tensor,
    /// K, `[M, C, 3, 3]`.
    pub local_in: &'a Tensor,
    /// b, M values of any shape.
    pub local_bias: &'a Tensor,
    /// V, `[C, M]` values.
    pub local_out: &'a Tensor,
    /// G, `[C, C]`.
    pub gain: &'a Tensor,
    /// H, `[C, C]`.
    pub shift: &'a Tensor,
    /// The centre, `[C, rows, columns]` values.
    pub center: &'a Tensor,
}

impl StackParameters<'_> {
    /// All but the kernels, one after the other: a custom operation takes three inputs.
    fn packed(&self) -> Result<Tensor> {
        let parts = [
            self.pool,
            self.mixing,
            self.local_in,
            self.local_bias,
            self.local_out,
            self.gain,
            self.shift,
            self.center,
        ];
        Tensor::cat(&parts.map(|part| part.flatten_all()).into_iter().collect::<Result<Vec<_>>>()?, 0)
    }
}

/// Shapes of one call, and where every parameter stands among the packed ones.
#[derive(Debug, Clone)]
struct Plan {
    batch: usize,
    bank: Convolution,
    unfold: Unfold,
    local: Unfold,
    pairs: usize,
    channels: usize,
    hidden: usize,
    pool: Range<usize>,
    mixing: Range<usize>,
    local_in: Range<usize>,
    local_bias: Range<usize>,
    local_out: Range<usize>,
    gain: Range<usize>,
    shift: Range<usize>,
    center: Range<usize>,
}

impl Plan {
    fn new(pyramid: &[usize], bank: &Convolution, parameters: &StackParameters) -> Result<Self> {
        let scales = bank.dilations.len();
        let (kernels, mixing, local_in) =
            (parameters.kernels.dims(), parameters.mixing.dims(), parameters.local_in.dims());
        let (
            &[batch, found, height, width],
            &[filters, 1, taps, taps_again],
            &[channels, _],
            &[hidden, _, _, _],
        ) = (pyramid, kernels, mixing, local_in)
        else {
            candle_core::bail!(
                "image_stack: expected a pyramid [batch, scales, height, width], kernels [2 J, 1, k, k], mixing [C, 5 J] and \
                 a local kernel [M, C, 3, 3], found {pyramid:?}, {kernels:?}, {mixing:?} and {local_in:?}"
            )
        };
        if pyramid.contains(&0)
            || kernels.contains(&0)
            || channels == 0
            || hidden == 0
            || found != scales
            || bank.stride == 0
            || bank.dilations.contains(&0)
            || taps != taps_again
            || taps.is_multiple_of(2)
            || filters % (2 * scales) != 0
        {
            candle_core::bail!(
                "image_stack: kernels {kernels:?} of {bank:?} do not fit a pyramid {pyramid:?}"
            )
        }
        let widest = bank.dilations.iter().copied().max().unwrap_or(1);
        let unfold = Unfold::new((height, width), taps, bank.stride, widest);
        let features = filters / 2 * PER_PAIR;
        let positions = unfold.positions();
        let sizes = [
            ("pool", parameters.pool, features + 1),
            ("mixing", parameters.mixing, channels * features),
            ("local kernel", parameters.local_in, hidden * channels * LOCAL * LOCAL),
            ("local bias", parameters.local_bias, hidden),
            ("local output", parameters.local_out, channels * hidden),
            ("gain", parameters.gain, channels * channels),
            ("shift", parameters.shift, channels * channels),
            ("center", parameters.center, channels * positions),
        ];
        let mut end = 0;
        let mut ranges = [const { 0..0 }; 8];
        for (range, (name, tensor, len)) in ranges.iter_mut().zip(sizes) {
            if tensor.elem_count() != len {
                candle_core::bail!("image_stack: expected {len} values of {name}, found {:?}", tensor.dims())
            }
            *range = end..end + len;
            end += len;
        }
        let local = Unfold::new((unfold.out_height, unfold.out_width), LOCAL, 1, 1);
        let [pool, mixing, local_in, local_bias, local_out, gain, shift, center] = ranges;
        Ok(Self {
            batch,
            bank: bank.clone(),
            unfold,
            local,
            pairs: filters / 2,
            channels,
            hidden,
            pool,
            mixing,
            local_in,
            local_bias,
            local_out,
            gain,
            shift,
            center,
        })
    }

    fn scales(&self) -> usize {
        self.bank.dilations.len()
    }

    fn positions(&self) -> usize {
        self.unfold.positions()
    }

    fn taps(&self) -> usize {
        self.unfold.kernel * self.unfold.kernel
    }

    fn filters_per_scale(&self) -> usize {
        2 * self.pairs / self.scales()
    }

    fn normalisation(&self) -> Normalisation {
        Normalisation { pairs: self.pairs, positions: self.positions() }
    }

    fn image_len(&self) -> usize {
        self.scales() * self.unfold.height * self.unfold.width
    }

    fn map_len(&self) -> usize {
        self.channels * self.positions()
    }

    fn output(&self) -> (usize, usize, usize, usize) {
        (self.batch, self.channels, self.unfold.out_height, self.unfold.out_width)
    }

    /// Filters of one scale, as rows of taps.
    fn filters<'a, T>(&self, kernels: &'a [T], scale: usize) -> Matrix<'a, T> {
        let (rows, taps) = (self.filters_per_scale(), self.taps());
        Matrix::new(&kernels[scale * rows * taps..], rows, taps)
    }
}

/// Maps `[batch, C, rows, columns]` from a pyramid `[batch, scales, height, width]`; differentiable in all parameters, and
/// in the pyramid where it is tracked. Scale q of the pyramid is filtered with the taps `bank.dilations[q]` pixels apart.
///
/// # Errors
/// When the shapes do not fit.
pub fn image_stack(pyramid: &Tensor, parameters: &StackParameters, bank: &Convolution) -> Result<Tensor> {
    let plan = Plan::new(pyramid.dims(), bank, parameters)?;
    if gpu::takes(&[pyramid, parameters.kernels, parameters.pool]) {
        return gpu::image_stack(pyramid, parameters, bank);
    }
    if !pyramid.device().is_cpu() {
        return image_stack_composed(pyramid, parameters, bank);
    }
    let kernels = parameters.kernels.contiguous()?;
    pyramid.contiguous()?.apply_op3(&kernels, &parameters.packed()?, ImageStack(plan))
}

/// The same from candle's own operations, for other devices and as a reference.
///
/// # Errors
/// As [`image_stack`].
pub fn image_stack_composed(
    pyramid: &Tensor,
    parameters: &StackParameters,
    bank: &Convolution,
) -> Result<Tensor> {
    let plan = Plan::new(pyramid.dims(), bank, parameters)?;
    let (channels, hidden) = (plan.channels, plan.hidden);
    let filtered = convolve_composed(pyramid, parameters.kernels, bank)?;
    let z = normalized_mix_composed(&filtered, parameters.pool, parameters.mixing)?;
    let bias = parameters.local_bias.reshape((1, hidden, 1, 1))?;
    let inner =
        convolve_composed(&z, parameters.local_in, &Convolution::dense())?.broadcast_add(&bias)?.relu()?;
    let out = parameters.local_out.reshape((channels, hidden, 1, 1))?;
    let local = (&z + convolve_composed(&inner, &out, &Convolution::dense())?)?;
    let context = z.flatten_from(2)?.mean(D::Minus1)?;
    let per_channel = |weights: &Tensor| -> Result<Tensor> {
        context
            .matmul(&weights.reshape((channels, channels))?.t()?)?
            .unsqueeze(D::Minus1)?
            .unsqueeze(D::Minus1)
    };
    let gain = (per_channel(parameters.gain)?.tanh()? + 1.)?;
    let (_, _, rows, columns) = plan.output();
    let center = parameters.center.reshape((1, channels, rows, columns))?;
    local.broadcast_mul(&gain)?.broadcast_add(&per_channel(parameters.shift)?)?.broadcast_sub(&center)
}

struct ImageStack(Plan);

impl CustomOp3 for ImageStack {
    fn name(&self) -> &'static str {
        "image_stack"
    }

    fn cpu_fwd(
        &self,
        pyramid: &CpuStorage,
        pyramid_layout: &Layout,
        kernels: &CpuStorage,
        kernels_layout: &Layout,
        packed: &CpuStorage,
        packed_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let inputs = [(pyramid, pyramid_layout), (kernels, kernels_layout), (packed, packed_layout)];
        dispatch!(pyramid.dtype(), forward(&self.0, inputs))
    }

    fn bwd(
        &self,
        pyramid: &Tensor,
        kernels: &Tensor,
        packed: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        dispatch!(pyramid.dtype(), backward(&self.0, pyramid, kernels, packed, gradient))
    }
}

/// What a task works in: everything between one image and its map.
struct Scratch<T> {
    frames: Vec<T>,
    columns: Vec<T>,
    filtered: Vec<T>,
    features: Vec<T>,
    inverse: Vec<T>,
    z: Vec<T>,
    z_frames: Vec<T>,
    z_columns: Vec<T>,
    hidden: Vec<T>,
    /// `z` with the local stream.
    local: Vec<T>,
    /// Means of `z`, and `tanh(G m)`, `H m`.
    means: Vec<T>,
    tanh: Vec<T>,
    shift: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(plan: &Plan) -> Self {
        let zeros = |len: usize| vec![T::zero(); len];
        let positions = plan.positions();
        Self {
            frames: plan.unfold.frames(plan.scales()),
            columns: zeros(plan.taps() * positions),
            filtered: zeros(2 * plan.pairs * positions),
            features: zeros(plan.pairs * PER_PAIR * positions),
            inverse: zeros(positions),
            z: zeros(plan.map_len()),
            z_frames: plan.local.frames(plan.channels),
            z_columns: zeros(plan.channels * LOCAL * LOCAL * positions),
            hidden: zeros(plan.hidden * positions),
            local: zeros(plan.map_len()),
            means: zeros(plan.channels),
            tanh: zeros(plan.channels),
            shift: zeros(plan.channels),
        }
    }

    /// Computes everything but the map itself.
    fn run(&mut self, plan: &Plan, image: &[T], kernels: &[T], packed: &[T]) {
        let positions = plan.positions();
        plan.unfold.fill(image, &mut self.frames);
        let per_scale = plan.filters_per_scale() * positions;
        for (scale, filtered) in self.filtered.chunks_exact_mut(per_scale).enumerate() {
            plan.unfold.unfold(scale..scale + 1, plan.bank.dilations[scale], &self.frames, &mut self.columns);
            let columns = Matrix::new(&self.columns, plan.taps(), positions);
            product(plan.filters(kernels, scale), columns, filtered, false, false);
        }
        plan.normalisation().forward(
            &self.filtered,
            &packed[plan.pool.clone()],
            &mut self.features,
            &mut self.inverse,
        );
        let features = plan.pairs * PER_PAIR;
        let mixing = Matrix::new(&packed[plan.mixing.clone()], plan.channels, features);
        product(mixing, Matrix::new(&self.features, features, positions), &mut self.z, false, false);

        plan.local.fill(&self.z, &mut self.z_frames);
        plan.local.unfold(0..plan.channels, 1, &self.z_frames, &mut self.z_columns);
        let taps = plan.channels * LOCAL * LOCAL;
        let local_in = Matrix::new(&packed[plan.local_in.clone()], plan.hidden, taps);
        product(local_in, Matrix::new(&self.z_columns, taps, positions), &mut self.hidden, false, false);
        let bias = &packed[plan.local_bias.clone()];
        let hidden = &mut self.hidden;
        vectorised(
            #[inline(always)]
            || {
                for (row, bias) in hidden.chunks_exact_mut(positions).zip(bias) {
                    for value in row {
                        let moved = *value + *bias;
                        *value = if moved > T::zero() { moved } else { T::zero() };
                    }
                }
            },
        );
        self.local.copy_from_slice(&self.z);
        let local_out = Matrix::new(&packed[plan.local_out.clone()], plan.channels, plan.hidden);
        product(local_out, Matrix::new(&self.hidden, plan.hidden, positions), &mut self.local, true, false);

        channel_means(&self.z, &mut self.means, positions);
        let rows = |range: &Range<usize>| packed[range.clone()].chunks_exact(plan.channels);
        for (tanh, row) in self.tanh.iter_mut().zip(rows(&plan.gain)) {
            *tanh = dot(row, &self.means).tanh();
        }
        for (shift, row) in self.shift.iter_mut().zip(rows(&plan.shift)) {
            *shift = dot(row, &self.means);
        }
    }

    /// The map of the image that was run.
    fn map(&self, plan: &Plan, packed: &[T], map: &mut [T]) {
        let positions = plan.positions();
        let center = packed[plan.center.clone()].chunks_exact(positions);
        vectorised(
            #[inline(always)]
            || {
                let channels =
                    map.chunks_exact_mut(positions).zip(self.local.chunks_exact(positions)).zip(center);
                for (((map, local), center), (tanh, shift)) in channels.zip(self.tanh.iter().zip(&self.shift))
                {
                    let gain = *tanh + T::one();
                    for ((value, local), center) in map.iter_mut().zip(local).zip(center) {
                        *value = *local * gain + *shift - *center;
                    }
                }
            },
        );
    }
}

fn forward<T: Real>(plan: &Plan, inputs: [(&CpuStorage, &Layout); 3]) -> Result<(CpuStorage, Shape)> {
    let [pyramid, kernels, packed] = inputs.map(|(storage, layout)| T::slice(storage, layout));
    let (pyramid, kernels, packed) = (pyramid?, kernels?, packed?);
    let mut output = vec![T::zero(); plan.batch * plan.map_len()];
    output.par_chunks_mut(CHUNK * plan.map_len()).zip(pyramid.par_chunks(CHUNK * plan.image_len())).for_each(
        |(output, images)| {
            let mut scratch = Scratch::new(plan);
            for (map, image) in output.chunks_mut(plan.map_len()).zip(images.chunks(plan.image_len())) {
                scratch.run(plan, image, kernels, packed);
                scratch.map(plan, packed, map);
            }
        },
    );
    Ok((T::storage(output), plan.output().into()))
}

fn backward<T: Real>(
    plan: &Plan,
    pyramid: &Tensor,
    kernels: &Tensor,
    packed: &Tensor,
    gradient: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
    // The gradient of images that nothing before depends on would be thrown away.
    let wants_pyramid = pyramid.track_op();
    let (of_pyramid, of_kernels, of_packed) =
        with_slices::<T, _, 4>([pyramid, kernels, packed, gradient], |slices| {
            Ok(gradients(plan, slices, wants_pyramid))
        })?;
    let device = pyramid.device();
    Ok((
        of_pyramid.map(|values| Tensor::from_vec(values, pyramid.shape(), device)).transpose()?,
        Some(Tensor::from_vec(of_kernels, kernels.shape(), device)?),
        Some(Tensor::from_vec(of_packed, packed.shape(), device)?),
    ))
}

fn gradients<T: Real>(
    plan: &Plan,
    [pyramid, kernels, packed, gradient]: [&[T]; 4],
    wants_pyramid: bool,
) -> (Option<Vec<T>>, Vec<T>, Vec<T>) {
    let mut of_pyramid = vec![T::zero(); if wants_pyramid { pyramid.len() } else { 0 }];
    let mut of_images: Vec<&mut [T]> = if wants_pyramid {
        of_pyramid.chunks_mut(CHUNK * plan.image_len()).collect()
    } else {
        (0..plan.batch.div_ceil(CHUNK)).map(|_| <&mut [T]>::default()).collect()
    };
    let parts: Vec<(Vec<T>, Vec<T>)> = of_images
        .par_iter_mut()
        .zip(pyramid.par_chunks(CHUNK * plan.image_len()))
        .zip(gradient.par_chunks(CHUNK * plan.map_len()))
        .map(|((of_images, images), outer)| {
            let mut scratch = Scratch::new(plan);
            let mut back = Back::new(plan, kernels.len(), packed.len(), wants_pyramid);
            let items = images.chunks(plan.image_len()).zip(outer.chunks(plan.map_len()));
            for (index, (image, outer)) in items.enumerate() {
                scratch.run(plan, image, kernels, packed);
                back.streams(plan, packed, outer, &mut scratch);
                let of_image =
                    wants_pyramid.then(|| &mut of_images[index * plan.image_len()..][..plan.image_len()]);
                back.bank(plan, (kernels, packed), &mut scratch, of_image);
            }
            (back.kernels, back.packed)
        })
        .collect();
    let (of_kernels, of_packed): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let of_pyramid = wants_pyramid.then_some(of_pyramid);
    (of_pyramid, sum_in_order(of_kernels, kernels.len()), sum_in_order(of_packed, packed.len()))
}

/// Gradients of the parameters over the images of one task, and those inside one image.
struct Back<T> {
    kernels: Vec<T>,
    packed: Vec<T>,
    local: Vec<T>,
    hidden: Vec<T>,
    z: Vec<T>,
    z_frames: Vec<T>,
    features: Vec<T>,
    filtered: Vec<T>,
    s: Vec<T>,
    means: Vec<T>,
    /// Of the pyramid; empty where its gradient is not wanted.
    frames: Vec<T>,
}

impl<T: Real> Back<T> {
    fn new(plan: &Plan, kernels: usize, packed: usize, wants_pyramid: bool) -> Self {
        let zeros = |len: usize| vec![T::zero(); len];
        let positions = plan.positions();
        Self {
            kernels: zeros(kernels),
            packed: zeros(packed),
            local: zeros(plan.map_len()),
            hidden: zeros(plan.hidden * positions),
            z: zeros(plan.map_len()),
            z_frames: plan.local.frames(plan.channels),
            features: zeros(plan.pairs * PER_PAIR * positions),
            filtered: zeros(2 * plan.pairs * positions),
            s: zeros(positions),
            means: zeros(plan.channels),
            frames: plan.unfold.frames(if wants_pyramid { plan.scales() } else { 0 }),
        }
    }

    /// From the map back through both streams: leaves the gradient of `z` in `self.z`. Overwrites the unfolded `z`.
    fn streams(&mut self, plan: &Plan, packed: &[T], outer: &[T], scratch: &mut Scratch<T>) {
        let (positions, channels) = (plan.positions(), plan.channels);
        self.global(plan, packed, outer, scratch);
        let local = Matrix::new(&self.local, channels, positions);
        let hidden = Matrix::new(&scratch.hidden, plan.hidden, positions);
        product(local, hidden.t(), &mut self.packed[plan.local_out.clone()], true, false);
        let local_out = Matrix::new(&packed[plan.local_out.clone()], channels, plan.hidden);
        product(local_out.t(), local, &mut self.hidden, false, false);
        let of_bias = &mut self.packed[plan.local_bias.clone()];
        let (of_hidden, hidden) = (&mut self.hidden, &scratch.hidden);
        vectorised(
            #[inline(always)]
            || {
                for (gradient, value) in of_hidden.iter_mut().zip(hidden) {
                    *gradient = if *value > T::zero() { *gradient } else { T::zero() };
                }
                for (bias, row) in of_bias.iter_mut().zip(of_hidden.chunks_exact(positions)) {
                    *bias += sum(row);
                }
            },
        );
        let taps = channels * LOCAL * LOCAL;
        let of_hidden = Matrix::new(&self.hidden, plan.hidden, positions);
        let unfolded = Matrix::new(&scratch.z_columns, taps, positions);
        product(of_hidden, unfolded.t(), &mut self.packed[plan.local_in.clone()], true, false);
        let local_in = Matrix::new(&packed[plan.local_in.clone()], plan.hidden, taps);
        product(local_in.t(), of_hidden, &mut scratch.z_columns, false, false);
        self.z_frames.fill(T::zero());
        plan.local.fold(0..channels, 1, &scratch.z_columns, &mut self.z_frames);
        self.z.copy_from_slice(&self.local);
        plan.local.drain(&self.z_frames, &mut self.z);
        add_per_channel(&mut self.z, &self.means, positions);
    }

    /// Gain, shift and centre: leaves the gradients of the local stream in `self.local`, and those of every `z` through its
    /// channel's mean in `self.means`.
    fn global(&mut self, plan: &Plan, packed: &[T], outer: &[T], scratch: &Scratch<T>) {
        let (positions, channels) = (plan.positions(), plan.channels);
        self.means.fill(T::zero());
        let share = T::from_f64(1. / positions as f64);
        for channel in 0..channels {
            let at = channel * positions..(channel + 1) * positions;
            let (u, local) = (&outer[at.clone()], &scratch.local[at.clone()]);
            let tanh = scratch.tanh[channel];
            let center = &mut self.packed[plan.center.start + channel * positions..][..positions];
            let to_local = &mut self.local[at];
            let (of_shift, of_gain) = vectorised(
                #[inline(always)]
                || {
                    for ((center, to), u) in center.iter_mut().zip(to_local).zip(u) {
                        *center -= *u;
                        *to = *u * (tanh + T::one());
                    }
                    (sum(u), dot(u, local) * (T::one() - tanh * tanh))
                },
            );
            let row = channel * channels..(channel + 1) * channels;
            for (range, factor) in [(&plan.shift, of_shift), (&plan.gain, of_gain)] {
                let gradient = &mut self.packed[range.clone()][row.clone()];
                let weights = &packed[range.clone()][row.clone()];
                for (other, mean) in scratch.means.iter().enumerate() {
                    gradient[other] += factor * *mean;
                    self.means[other] += factor * weights[other] * share;
                }
            }
        }
    }

    /// From the gradient of `z` back through mixing, normalisation and filters, and to the image where that is wanted.
    fn bank(
        &mut self,
        plan: &Plan,
        (kernels, packed): (&[T], &[T]),
        scratch: &mut Scratch<T>,
        of_image: Option<&mut [T]>,
    ) {
        let (positions, features) = (plan.positions(), plan.pairs * PER_PAIR);
        let of_z = Matrix::new(&self.z, plan.channels, positions);
        let unmixed = Matrix::new(&scratch.features, features, positions);
        product(of_z, unmixed.t(), &mut self.packed[plan.mixing.clone()], true, false);
        let mixing = Matrix::new(&packed[plan.mixing.clone()], plan.channels, features);
        product(mixing.t(), of_z, &mut self.features, false, false);
        plan.normalisation().backward(
            &scratch.filtered,
            &packed[plan.pool.clone()],
            (&self.features, &scratch.features, &scratch.inverse),
            &mut self.s,
            &mut self.packed[plan.pool.clone()],
            &mut self.filtered,
        );
        let (rows, taps) = (plan.filters_per_scale(), plan.taps());
        self.frames.fill(T::zero());
        for scale in 0..plan.scales() {
            let dilation = plan.bank.dilations[scale];
            plan.unfold.unfold(scale..scale + 1, dilation, &scratch.frames, &mut scratch.columns);
            let of_filtered = Matrix::new(&self.filtered[scale * rows * positions..], rows, positions);
            let unfolded = Matrix::new(&scratch.columns, taps, positions);
            product(
                of_filtered,
                unfolded.t(),
                &mut self.kernels[scale * rows * taps..][..rows * taps],
                true,
                false,
            );
            if of_image.is_some() {
                let filters = plan.filters(kernels, scale);
                product(filters.t(), of_filtered, &mut scratch.columns, false, false);
                plan.unfold.fold(scale..scale + 1, dilation, &scratch.columns, &mut self.frames);
            }
        }
        if let Some(of_image) = of_image {
            plan.unfold.drain(&self.frames, of_image);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::check::{gradient_error, normal};

    /// Two scales of two pairs, 4 channels, 3 hidden ones, 4 x 5 positions, more images than one chunk.
    struct Case {
        pyramid: Var,
        parameters: Vec<Var>,
        bank: Convolution,
    }

    impl Case {
        fn new() -> Self {
            let var = |name: &str, dims: &[usize]| Var::from_tensor(&normal(name, dims).unwrap()).unwrap();
            let pool = (normal("pool", &[21]).unwrap().abs().unwrap() + 0.1).unwrap();
            Self {
                pyramid: var("pyramid", &[9, 2, 7, 10]),
                parameters: vec![
                    var("kernels", &[8, 1, 3, 3]),
                    Var::from_tensor(&pool).unwrap(),
                    var("mixing", &[4, 20]),
                    var("local in", &[3, 4, 3, 3]),
                    var("local bias", &[1, 3, 1, 1]),
                    var("local out", &[4, 3, 1, 1]),
                    var("gain", &[4, 4]),
                    var("shift", &[4, 4]),
                    var("center", &[1, 4, 4, 5]),
                ],
                bank: Convolution { stride: 2, dilations: vec![1, 2] },
            }
        }

        fn parameters(&self) -> StackParameters<'_> {
            let [kernels, pool, mixing, local_in, local_bias, local_out, gain, shift, center] =
                std::array::from_fn(|index| self.parameters[index].as_tensor());
            StackParameters { kernels, pool, mixing, local_in, local_bias, local_out, gain, shift, center }
        }
    }

    #[test]
    fn agrees_with_composed_operations() {
        let case = Case::new();
        let fused = image_stack(&case.pyramid, &case.parameters(), &case.bank).unwrap();
        let composed = image_stack_composed(&case.pyramid, &case.parameters(), &case.bank).unwrap();
        assert_eq!(fused.dims(), [9, 4, 4, 5]);
        let gap = (fused - composed).unwrap().abs().unwrap().max_all().unwrap();
        assert!(gap.to_scalar::<f64>().unwrap() < 1e-11);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let case = Case::new();
        let mut vars = vec![&case.pyramid];
        vars.extend(&case.parameters);
        let error = gradient_error(&vars, || image_stack(&case.pyramid, &case.parameters(), &case.bank));
        assert!(error.unwrap() < 1e-6);
    }

    #[test]
    fn an_untracked_pyramid_gets_no_gradient_and_threads_do_not_matter() {
        let case = Case::new();
        let pyramid = case.pyramid.as_tensor().detach();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let maps = image_stack(&pyramid, &case.parameters(), &case.bank).unwrap();
                let gradients = maps.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                assert!(gradients.get(&pyramid).is_none());
                let values =
                    |var: &Var| gradients.get(var).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
                case.parameters.iter().map(values).collect::<Vec<_>>()
            })
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let case = Case::new();
        let short = StackParameters { gain: case.parameters().pool, ..case.parameters() };
        assert!(image_stack(&case.pyramid, &short, &case.bank).is_err());
        let three = Convolution { stride: 2, dilations: vec![1, 2, 4] };
        assert!(image_stack(&case.pyramid, &case.parameters(), &three).is_err());
    }
}
