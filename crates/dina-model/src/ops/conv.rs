//! Two-dimensional convolution as a matrix product, with one dilation per group.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::matrix::{Matrix, product};
use super::{Real, dispatch, sum_in_order, with_slices};

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
    batch: usize,
    groups: usize,
    /// Input channels per group.
    inputs: usize,
    /// Output channels per group.
    filters: usize,
    kernel: usize,
    height: usize,
    width: usize,
    out_height: usize,
    out_width: usize,
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
        let (out_height, out_width) = conv.output(height, width);
        Ok(Self {
            conv: conv.clone(),
            batch,
            groups,
            inputs,
            filters: outputs / groups,
            kernel: rows,
            height,
            width,
            out_height,
            out_width,
        })
    }

    fn positions(&self) -> usize {
        self.out_height * self.out_width
    }

    fn taps(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    fn image_len(&self) -> usize {
        self.groups * self.inputs * self.height * self.width
    }

    fn output_len(&self) -> usize {
        self.groups * self.filters * self.positions()
    }

    /// A 1 x 1 kernel on every position needs no gathering.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.conv.stride == 1
    }

    /// For one tap: the range of output columns whose source column lies in the image, and the
    /// source column of the first.
    fn columns_inside(&self, offset: isize) -> (usize, usize) {
        let stride = self.conv.stride as isize;
        let first = (-offset).max(0).div_euclid(stride) + isize::from((-offset).max(0) % stride != 0);
        let end = (self.width as isize - offset + stride - 1).div_euclid(stride);
        let end = end.clamp(0, self.out_width as isize);
        (first.min(end) as usize, end as usize)
    }

    /// Visits every (tap, output row) with a source row inside the image:
    /// `f(tap row in the unfolded matrix, out row, source row start, first column, end column, offset)`.
    fn visit(&self, group: usize, mut f: impl FnMut(usize, usize, Option<usize>, usize, usize, isize)) {
        let dilation = self.conv.dilations[group] as isize;
        let half = (self.kernel / 2) as isize;
        let mut tap = 0;
        for channel in 0..self.inputs {
            let plane = (group * self.inputs + channel) * self.height * self.width;
            for ky in 0..self.kernel as isize {
                for kx in 0..self.kernel as isize {
                    let offset = (kx - half) * dilation;
                    let (first, end) = self.columns_inside(offset);
                    for row in 0..self.out_height {
                        let source = (row * self.conv.stride) as isize + (ky - half) * dilation;
                        let start = (0..self.height as isize)
                            .contains(&source)
                            .then(|| plane + source as usize * self.width);
                        f(tap, row, start, first, end, offset);
                    }
                    tap += 1;
                }
            }
        }
    }

    /// Unfolds one image into `[taps, positions]`.
    fn unfold<T: Real>(&self, group: usize, image: &[T], columns: &mut [T]) {
        let (positions, width, stride) = (self.positions(), self.out_width, self.conv.stride);
        self.visit(group, |tap, row, start, first, end, offset| {
            let line = &mut columns[tap * positions + row * width..][..width];
            let Some(start) = start else {
                line.fill(T::zero());
                return;
            };
            line[..first].fill(T::zero());
            line[end..].fill(T::zero());
            if first == end {
                return;
            }
            let source = (start as isize + (first * stride) as isize + offset) as usize;
            if stride == 1 {
                line[first..end].copy_from_slice(&image[source..source + end - first]);
            } else {
                for (value, from) in line[first..end].iter_mut().zip(image[source..].iter().step_by(stride)) {
                    *value = *from;
                }
            }
        });
    }

    /// The transpose of [`Plan::unfold`]: adds `[taps, positions]` back into an image.
    fn fold<T: Real>(&self, group: usize, columns: &[T], image: &mut [T]) {
        let (positions, width, stride) = (self.positions(), self.out_width, self.conv.stride);
        self.visit(group, |tap, row, start, first, end, offset| {
            let Some(start) = start else { return };
            let line = &columns[tap * positions + row * width..][..width];
            for (column, value) in line.iter().enumerate().take(end).skip(first) {
                let target = (start as isize + (column * stride) as isize + offset) as usize;
                image[target] += *value;
            }
        });
    }
}

/// Convolves; differentiable in the kernel, and in the input where that is tracked.
///
/// # Errors
/// When the shapes do not fit (see [`Convolution`]).
pub fn convolve(input: &Tensor, kernel: &Tensor, conv: &Convolution) -> Result<Tensor> {
    let plan = Plan::new(conv, input.dims(), kernel.dims())?;
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
            let padding = dilation * (plan.kernel / 2);
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
    let images = input.chunks(CHUNK * plan.image_len().max(1));
    output.par_chunks_mut(CHUNK * plan.output_len().max(1)).zip(images.collect::<Vec<_>>()).for_each(
        |(output, images)| {
            let mut columns = vec![T::zero(); if plan.is_pointwise() { 0 } else { taps * positions }];
            for (output, image) in output.chunks_mut(plan.output_len()).zip(images.chunks(plan.image_len())) {
                for (group, output) in output.chunks_mut(plan.filters * positions).enumerate() {
                    let filters = Matrix::new(&kernel[group * plan.filters * taps..], plan.filters, taps);
                    let unfolded = if plan.is_pointwise() {
                        &image[group * taps * positions..][..taps * positions]
                    } else {
                        plan.unfold(group, image, &mut columns);
                        &columns
                    };
                    product(filters, Matrix::new(unfolded, taps, positions), output, false, false);
                }
            }
        },
    );
    let shape = (plan.batch, plan.groups * plan.filters, plan.out_height, plan.out_width);
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
            let mut columns = vec![T::zero(); taps * positions];
            for item in 0..CHUNK.min(plan.batch - chunk * CHUNK) {
                let image = &input[(chunk * CHUNK + item) * plan.image_len()..][..plan.image_len()];
                let outer = &gradient[(chunk * CHUNK + item) * plan.output_len()..][..plan.output_len()];
                for group in 0..plan.groups {
                    let outer =
                        Matrix::new(&outer[group * plan.filters * positions..], plan.filters, positions);
                    let filters = group * plan.filters * taps..(group + 1) * plan.filters * taps;
                    let unfolded = if plan.is_pointwise() {
                        &image[group * taps * positions..][..taps * positions]
                    } else {
                        plan.unfold(group, image, &mut columns);
                        &columns
                    };
                    let unfolded = Matrix::new(unfolded, taps, positions);
                    product(outer, unfolded.t(), &mut kernel_gradient[filters.clone()], true, false);
                    if wants_input {
                        let filters = Matrix::new(&kernel[filters], plan.filters, taps);
                        product(filters.t(), outer, &mut columns, false, false);
                        plan.fold(
                            group,
                            &columns,
                            &mut input_gradient[item * plan.image_len()..][..plan.image_len()],
                        );
                    }
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
            let input = normal("input", &input);
            let kernel = normal("kernel", &kernel);
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
            let input = Var::from_tensor(&normal("input", &input)).unwrap();
            let kernel = Var::from_tensor(&normal("kernel", &kernel)).unwrap();
            let error = gradient_error(&[&input, &kernel], || convolve(&input, &kernel, &conv));
            assert!(error < 1e-6, "{conv:?}: {error}");
        }
    }

    #[test]
    fn an_untracked_input_gets_no_gradient() {
        let input = normal("input", &[1, 1, 4, 4]);
        let kernel = Var::from_tensor(&normal("kernel", &[1, 1, 3, 3])).unwrap();
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
