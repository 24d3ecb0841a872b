//! [`crate::convolve`] on a GPU: neighbourhoods gathered by our kernel, and products of the library.

use candle_core::{Result, Tensor};

use super::launch::{Argument, count, empty, lanes, launch};
use super::{TEMPORARY, differentiable::differentiable2, plain, sum_first};
use crate::Convolution;

/// Shapes of one group.
#[derive(Clone, Copy)]
struct Group {
    first: usize,
    inputs: usize,
    height: usize,
    width: usize,
    taps: usize,
    stride: usize,
    dilation: usize,
    rows: usize,
    columns: usize,
}

impl Group {
    fn depth(&self) -> usize {
        self.inputs * self.taps * self.taps
    }

    fn positions(&self) -> usize {
        self.rows * self.columns
    }

    fn is_pointwise(&self) -> bool {
        self.taps == 1 && self.stride == 1
    }

    /// What both kernels take after the counts of images and planes.
    fn geometry(&self) -> Result<[Argument<'static>; 7]> {
        Ok([
            count(self.height)?,
            count(self.width)?,
            count(self.taps)?,
            count(self.stride)?,
            count(self.dilation)?,
            count(self.rows)?,
            count(self.columns)?,
        ])
    }

    /// The group's neighbourhoods, `[batch, depth, positions]`, from images `[batch, planes, height, width]`.
    fn unfold(&self, images: &Tensor) -> Result<Tensor> {
        let (batch, planes, _, _) = images.dims4()?;
        if self.is_pointwise() {
            let part = images.narrow(1, self.first, self.inputs)?.contiguous()?;
            return part.reshape((batch, self.inputs, self.positions()));
        }
        let columns = empty((batch, self.depth(), self.positions()), images.dtype(), images.device())?;
        let counts = [count(batch)?, count(planes)?, count(self.first)?, count(self.inputs)?];
        let mut arguments = vec![Argument::Input(images), Argument::Output(&columns)];
        arguments.extend(counts.into_iter().chain(self.geometry()?));
        launch("unfold", images.dtype(), &arguments, lanes(columns.elem_count()))?;
        Ok(columns)
    }

    /// The transpose, `[batch, inputs, height, width]`.
    fn fold(&self, columns: &Tensor) -> Result<Tensor> {
        let batch = columns.dim(0)?;
        let shape = (batch, self.inputs, self.height, self.width);
        if self.is_pointwise() {
            return columns.reshape(shape);
        }
        let images = empty(shape, columns.dtype(), columns.device())?;
        let mut arguments = vec![Argument::Input(columns), Argument::Output(&images)];
        arguments.extend([count(batch)?, count(self.inputs)?].into_iter().chain(self.geometry()?));
        launch("fold", columns.dtype(), &arguments, lanes(images.elem_count()))?;
        Ok(images)
    }
}

/// The shapes were checked.
pub(crate) fn convolve(input: &Tensor, kernel: &Tensor, conv: &Convolution) -> Result<Tensor> {
    in_blocks(input, kernel, conv, TEMPORARY)
}

/// Unfolds no more than `elements` elements at a time, and no less than an image.
fn in_blocks(input: &Tensor, kernel: &Tensor, conv: &Convolution, elements: usize) -> Result<Tensor> {
    let wants_input = input.track_op();
    let (batch, _, height, width) = input.dims4()?;
    let (outputs, inputs, taps, _) = kernel.dims4()?;
    let (rows, columns) = conv.output(height, width);
    let filters = outputs / conv.dilations.len();
    let groups: Vec<Group> = conv
        .dilations
        .iter()
        .enumerate()
        .map(|(index, &dilation)| Group {
            first: index * inputs,
            inputs,
            height,
            width,
            taps,
            stride: conv.stride,
            dilation,
            rows,
            columns,
        })
        .collect();
    let depth = inputs * taps * taps;
    let positions = rows * columns;
    let block = (elements / (depth * positions)).clamp(1, batch);
    let blocks = move || (0..batch).step_by(block).map(move |first| (first, block.min(batch - first)));
    let images = plain(input)?;
    let weights = plain(kernel)?.reshape((outputs, depth))?;
    let mut results = Vec::new();
    for (first, len) in blocks() {
        let images = images.narrow(0, first, len)?;
        let of_groups = groups.iter().enumerate().map(|(index, group)| {
            let weights = weights.narrow(0, index * filters, filters)?;
            weights.broadcast_matmul(&group.unfold(&images)?)
        });
        results.push(Tensor::cat(&of_groups.collect::<Result<Vec<_>>>()?, 1)?);
    }
    let result = Tensor::cat(&results, 0)?.reshape((batch, outputs, rows, columns))?;
    let kernel_shape = kernel.shape().clone();
    differentiable2("convolve", [input, kernel], result, move |gradient| {
        let gradient = gradient.reshape((batch, outputs, positions))?;
        let mut of_weights: Option<Tensor> = None;
        let mut of_images = Vec::new();
        for (first, len) in blocks() {
            let images = images.narrow(0, first, len)?;
            let (mut of_filters, mut of_planes) = (Vec::new(), Vec::new());
            for (index, group) in groups.iter().enumerate() {
                let outer =
                    gradient.narrow(0, first, len)?.narrow(1, index * filters, filters)?.contiguous()?;
                of_filters.push(sum_first(&outer.matmul(&group.unfold(&images)?.t()?)?)?);
                if wants_input {
                    let weights = weights.narrow(0, index * filters, filters)?;
                    of_planes.push(group.fold(&weights.t()?.broadcast_matmul(&outer)?)?);
                }
            }
            let of_filters = Tensor::cat(&of_filters, 0)?;
            of_weights = Some(match of_weights {
                Some(sum) => (sum + of_filters)?,
                None => of_filters,
            });
            if wants_input {
                of_images.push(Tensor::cat(&of_planes, 1)?);
            }
        }
        let of_images = if wants_input { Some(Tensor::cat(&of_images, 0)?) } else { None };
        Ok([of_images, of_weights.map(|weights| weights.reshape(&kernel_shape)).transpose()?])
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
        for (stride, dilations, input, kernel) in [
            (1, vec![1], [2, 3, 7, 6], [4, 3, 3, 3]),
            (2, vec![1, 3], [3, 4, 9, 8], [6, 2, 5, 5]),
            (3, vec![2], [1, 1, 8, 8], [2, 1, 3, 3]),
            (1, vec![9], [1, 1, 4, 4], [1, 1, 3, 3]),
            (1, vec![1], [2, 3, 4, 5], [2, 3, 1, 1]),
        ] {
            let conv = Convolution { stride, dilations };
            let inputs = f32s(&[("input", &input), ("kernel", &kernel)]);
            // One image at a time, and all.
            for elements in [1, 1 << 20] {
                agree(
                    &inputs,
                    |x| in_blocks(&x[0], &x[1], &conv, elements),
                    |x| crate::convolve(&x[0], &x[1], &conv),
                    1e-5,
                );
            }
        }
    }

    #[test]
    fn bf16_differs_by_its_precision() {
        if !available() {
            return;
        }
        let group = Group {
            first: 1,
            inputs: 1,
            height: 6,
            width: 5,
            taps: 3,
            stride: 2,
            dilation: 1,
            rows: 3,
            columns: 3,
        };
        let inputs = f32s(&[("x", &[2, 2, 6, 5]), ("g", &[2, 9, 9])]);
        let inputs: Vec<_> = inputs.iter().map(bf16).collect();
        agree_in_bf16(&inputs, |x| Ok(vec![group.unfold(&x[0])?, group.fold(&x[1])?]));
    }
}
