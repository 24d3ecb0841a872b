//! Two-dimensional convolution as a matrix product, with one dilation per group.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::gpu;
use crate::matrix::{Matrix, product};
use crate::real::{Real, dispatch, sum_in_order, with_slices};
use crate::unfold::Unfold;

/// Images of a batch that one task works on. Fixed, so that sums have one order.
const CHUNK: usize = 8;

/// Geometry of a convolution with centred zero padding: output position `(i, j)` looks at the
/// input around `(i * stride, j * stride)`.
///
/// Input `[batch, groups * g, height, width]`, kernel `[groups * m, g, k, k]` with odd `k`; output
/// `[batch, groups * m, ceil(height / stride), ceil(width / stride)]`. Group `q` is dilated by
/// `dilations[q]`: one call filters several scales of an image pyramid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convolution {
    /// Distance of neighbouring output positions in input pixels.
    pub stride: usize,
    /// Distance of neighbouring kernel taps in input pixels, one entry a group.
    pub dilations: Vec<usize>,
}

impl Convolution {
    /// One group, neighbouring taps, every position.
    pub fn dense() -> Self {
        Self { stride: 1, dilations: vec![1] }
    }

    /// Rows and columns of the output.
    pub fn output(&self, height: usize, width: usize) -> (usize, usize) {
        (height.div_ceil(self.stride), width.div_ceil(self.stride))
    }
}

/// Shapes of one call.
#[derive(Clone, Debug)]
struct Plan {
    conv: Convolution,
    unfold: Unfold,
    batch: usize,
    groups: usize,
    /// Input channels per group.
    inputs: usize,
    /// Output channels per group.
    filters: usize,
}

impl Plan {
    fn new(conv: &Convolution, input: &[usize], kernel: &[usize]) -> Result<Self> {
        let groups = conv.dilations.len();
        let &[batch, channels, height, width] = input else {
            candle_core::bail!(
                "convolution: expected an input [batch, channels, height, width], found {input:?}"
            )
        };
        let &[outputs, inputs, rows, columns] = kernel else {
            candle_core::bail!("convolution: expected a kernel [filters, channels, k, k], found {kernel:?}")
        };
        if groups == 0
            || input.contains(&0)
            || kernel.contains(&0)
            || conv.stride == 0
            || conv.dilations.contains(&0)
            || rows != columns
            || rows.is_multiple_of(2)
            || channels != groups * inputs
            || outputs % groups != 0
        {
            candle_core::bail!("convolution {conv:?}: kernel {kernel:?} does not fit input {input:?}")
        }
        let widest = conv.dilations.iter().copied().max().unwrap_or(1);
        Ok(Self {
            conv: conv.clone(),
            unfold: Unfold::new((height, width), rows, conv.stride, widest),
            batch,
            groups,
            inputs,
            filters: outputs / groups,
        })
    }

    fn positions(&self) -> usize {
        self.unfold.positions()
    }

    fn taps(&self) -> usize {
        self.inputs * self.unfold.kernel * self.unfold.kernel
    }

    fn planes(&self) -> usize {
        self.groups * self.inputs
    }

    fn image_len(&self) -> usize {
        self.planes() * self.unfold.height * self.unfold.width
    }

    fn output_len(&self) -> usize {
        self.groups * self.filters * self.positions()
    }

    /// A 1 x 1 kernel on every position needs no gathering.
    fn is_pointwise(&self) -> bool {
        self.unfold.kernel == 1 && self.unfold.stride == 1
    }

    fn planes_of(&self, group: usize) -> std::ops::Range<usize> {
        group * self.inputs..(group + 1) * self.inputs
    }
}

/// What a task works in: an image in its frame, and one group of it unfolded.
struct Scratch<T> {
    frames: Vec<T>,
    columns: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(plan: &Plan) -> Self {
        if plan.is_pointwise() {
            return Self { frames: Vec::new(), columns: Vec::new() };
        }
        Self {
            frames: plan.unfold.frames(plan.planes()),
            columns: vec![T::zero(); plan.taps() * plan.positions()],
        }
    }

    /// Puts an image in its frame.
    fn take(&mut self, plan: &Plan, image: &[T]) {
        if !plan.is_pointwise() {
            plan.unfold.fill(image, &mut self.frames);
        }
    }

    /// One group of the image that was taken, `[taps, positions]`.
    fn group<'a>(&'a mut self, plan: &Plan, group: usize, image: &'a [T]) -> Matrix<'a, T> {
        let (taps, positions) = (plan.taps(), plan.positions());
        if plan.is_pointwise() {
            return Matrix::new(&image[group * taps * positions..], taps, positions);
        }
        let dilation = plan.conv.dilations[group];
        plan.unfold.unfold(plan.planes_of(group), dilation, &self.frames, &mut self.columns);
        Matrix::new(&self.columns, taps, positions)
    }
}

/// Convolves; differentiable in the kernel, and in the input where that is tracked.
///
/// # Errors
/// When the shapes do not fit (see [`Convolution`]).
pub fn convolve(input: &Tensor, kernel: &Tensor, conv: &Convolution) -> Result<Tensor> {
    let plan = Plan::new(conv, input.dims(), kernel.dims())?;
    if gpu::takes(&[input, kernel]) {
        return gpu::convolve(input, kernel, conv);
    }
    if !input.device().is_cpu() {
        return convolve_composed(input, kernel, conv);
    }
    input.contiguous()?.apply_op2(&kernel.contiguous()?, Convolve(plan))
}

/// The same from candle's own operations, for other devices and as a reference.
///
/// # Errors
/// As [`convolve`].
pub fn convolve_composed(input: &Tensor, kernel: &Tensor, conv: &Convolution) -> Result<Tensor> {
    let plan = Plan::new(conv, input.dims(), kernel.dims())?;
    let groups = (0..plan.groups)
        .map(|group| {
            let dilation = plan.conv.dilations[group];
            let part = input.narrow(1, group * plan.inputs, plan.inputs)?;
            let filters = kernel.narrow(0, group * plan.filters, plan.filters)?;
            let padding = dilation * (plan.unfold.kernel / 2);
            part.contiguous()?.conv2d(&filters.contiguous()?, padding, plan.conv.stride, dilation, 1)
        })
        .collect::<Result<Vec<_>>>()?;
    Tensor::cat(&groups, 1)
}

struct Convolve(Plan);

impl CustomOp2 for Convolve {
    fn name(&self) -> &'static str {
        "convolve"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        kernel: &CpuStorage,
        kernel_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        dispatch!(input.dtype(), forward(&self.0, input, input_layout, kernel, kernel_layout))
    }

    fn bwd(
        &self,
        input: &Tensor,
        kernel: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        dispatch!(input.dtype(), backward(&self.0, input, kernel, gradient))
    }
}

fn forward<T: Real>(
    plan: &Plan,
    input: &CpuStorage,
    input_layout: &Layout,
    kernel: &CpuStorage,
    kernel_layout: &Layout,
) -> Result<(CpuStorage, Shape)> {
    let (input, kernel) = (T::slice(input, input_layout)?, T::slice(kernel, kernel_layout)?);
    let (positions, taps) = (plan.positions(), plan.taps());
    let mut output = vec![T::zero(); plan.batch * plan.output_len()];
    output
        .par_chunks_mut(CHUNK * plan.output_len())
        .zip(input.par_chunks(CHUNK * plan.image_len()))
        .for_each(|(output, images)| {
            let mut scratch = Scratch::new(plan);
            for (output, image) in output.chunks_mut(plan.output_len()).zip(images.chunks(plan.image_len())) {
                scratch.take(plan, image);
                for (group, output) in output.chunks_mut(plan.filters * positions).enumerate() {
                    let filters = Matrix::new(&kernel[group * plan.filters * taps..], plan.filters, taps);
                    product(filters, scratch.group(plan, group, image), output, false, false);
                }
            }
        });
    let shape = (plan.batch, plan.groups * plan.filters, plan.unfold.out_height, plan.unfold.out_width);
    Ok((T::storage(output), shape.into()))
}

fn backward<T: Real>(
    plan: &Plan,
    input: &Tensor,
    kernel: &Tensor,
    gradient: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    // The gradient of an image that nothing before depends on would be thrown away.
    let wants_input = input.track_op();
    let (input_gradient, kernel_gradient) =
        with_slices::<T, _, 3>([input, kernel, gradient], |[input, kernel, gradient]| {
            Ok(gradients(plan, input, kernel, gradient, wants_input))
        })?;
    let kernel_gradient = Tensor::from_vec(kernel_gradient, kernel.shape(), kernel.device())?;
    let input_gradient =
        input_gradient.map(|values| Tensor::from_vec(values, input.shape(), input.device())).transpose()?;
    Ok((input_gradient, Some(kernel_gradient)))
}

fn gradients<T: Real>(
    plan: &Plan,
    input: &[T],
    kernel: &[T],
    gradient: &[T],
    wants_input: bool,
) -> (Option<Vec<T>>, Vec<T>) {
    let (positions, taps) = (plan.positions(), plan.taps());
    let mut input_gradient = vec![T::zero(); if wants_input { input.len() } else { 0 }];
    let chunks = plan.batch.div_ceil(CHUNK);
    let mut input_chunks: Vec<&mut [T]> = if wants_input {
        input_gradient.chunks_mut(CHUNK * plan.image_len()).collect()
    } else {
        (0..chunks).map(|_| <&mut [T]>::default()).collect()
    };
    let parts: Vec<Vec<T>> = input_chunks
        .par_iter_mut()
        .enumerate()
        .map(|(chunk, input_gradient)| {
            let mut kernel_gradient = vec![T::zero(); kernel.len()];
            let mut scratch = Scratch::new(plan);
            // Gradients of the frames; of a pointwise convolution the products are the image's own gradient.
            let mut outer_frames = if wants_input { scratch.frames.clone() } else { Vec::new() };
            for item in 0..CHUNK.min(plan.batch - chunk * CHUNK) {
                let image = &input[(chunk * CHUNK + item) * plan.image_len()..][..plan.image_len()];
                let outer = &gradient[(chunk * CHUNK + item) * plan.output_len()..][..plan.output_len()];
                scratch.take(plan, image);
                outer_frames.fill(T::zero());
                for group in 0..plan.groups {
                    let outer =
                        Matrix::new(&outer[group * plan.filters * positions..], plan.filters, positions);
                    let filters = group * plan.filters * taps..(group + 1) * plan.filters * taps;
                    let unfolded = scratch.group(plan, group, image);
                    product(outer, unfolded.t(), &mut kernel_gradient[filters.clone()], true, false);
                    if !wants_input {
                        continue;
                    }
                    let filters = Matrix::new(&kernel[filters], plan.filters, taps);
                    if plan.is_pointwise() {
                        let part = &mut input_gradient[item * plan.image_len() + group * taps * positions..];
                        product(filters.t(), outer, &mut part[..taps * positions], false, false);
                    } else {
                        product(filters.t(), outer, &mut scratch.columns, false, false);
                        let (planes, dilation) = (plan.planes_of(group), plan.conv.dilations[group]);
                        plan.unfold.fold(planes, dilation, &scratch.columns, &mut outer_frames);
                    }
                }
                if wants_input && !plan.is_pointwise() {
                    let part = &mut input_gradient[item * plan.image_len()..][..plan.image_len()];
                    plan.unfold.drain(&outer_frames, part);
                }
            }
            kernel_gradient
        })
        .collect();
    (wants_input.then_some(input_gradient), sum_in_order(parts, kernel.len()))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::check::{gradient_error, normal};

    fn cases() -> Vec<(Convolution, [usize; 4], [usize; 4])> {
        vec![
            (Convolution::dense(), [3, 2, 5, 7], [4, 2, 3, 3]),
            (Convolution::dense(), [2, 3, 4, 4], [2, 3, 1, 1]),
            (Convolution { stride: 2, dilations: vec![1, 2, 4] }, [9, 3, 7, 10], [6, 1, 5, 5]),
            (Convolution { stride: 3, dilations: vec![2] }, [1, 1, 8, 8], [2, 1, 3, 3]),
            (Convolution { stride: 1, dilations: vec![9] }, [1, 1, 4, 4], [1, 1, 3, 3]),
        ]
    }

    #[test]
    fn agrees_with_candle() {
        for (conv, input, kernel) in cases() {
            let input = normal("input", &input).unwrap();
            let kernel = normal("kernel", &kernel).unwrap();
            let fused = convolve(&input, &kernel, &conv).unwrap();
            let composed = convolve_composed(&input, &kernel, &conv).unwrap();
            assert_eq!(fused.dims(), composed.dims());
            let gap = (fused - composed).unwrap().abs().unwrap().max_all().unwrap();
            assert!(gap.to_scalar::<f64>().unwrap() < 1e-12, "{conv:?}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for (conv, input, kernel) in cases() {
            let input = Var::from_tensor(&normal("input", &input).unwrap()).unwrap();
            let kernel = Var::from_tensor(&normal("kernel", &kernel).unwrap()).unwrap();
            let error = gradient_error(&[&input, &kernel], || convolve(&input, &kernel, &conv)).unwrap();
            assert!(error < 1e-6, "{conv:?}: {error}");
        }
    }

    #[test]
    fn an_untracked_input_gets_no_gradient() {
        let input = normal("input", &[1, 1, 4, 4]).unwrap();
        let kernel = Var::from_tensor(&normal("kernel", &[1, 1, 3, 3]).unwrap()).unwrap();
        let output = convolve(&input, &kernel, &Convolution::dense()).unwrap();
        let gradients = output.sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&input).is_none() && gradients.get(&kernel).is_some());
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
        let conv = Convolution::dense();
        assert!(convolve(&zeros(&[1, 2, 4, 4]), &zeros(&[1, 1, 3, 3]), &conv).is_err());
        assert!(convolve(&zeros(&[1, 1, 4, 4]), &zeros(&[1, 1, 2, 2]), &conv).is_err());
        assert!(convolve(&zeros(&[1, 4, 4]), &zeros(&[1, 1, 3, 3]), &conv).is_err());
    }
}
