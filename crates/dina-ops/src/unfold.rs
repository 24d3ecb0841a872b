//! Gathering the neighbourhoods of a convolution into a matrix, and its transpose.
//!
//! An image is first copied into a frame of zeros, wide enough that no tap leaves it, with the columns of one row sorted by
//! their remainder modulo the stride: every row of the unfolded matrix is then a run of neighbours.

use crate::real::Real;
use crate::vector::{add, vectorised};

/// Geometry of one convolution with centred padding, for all of its dilations.
#[derive(Debug, Clone)]
pub(crate) struct Unfold {
    pub stride: usize,
    /// Taps along a side.
    pub kernel: usize,
    pub height: usize,
    pub width: usize,
    pub out_height: usize,
    pub out_width: usize,
    /// Zeros on every side.
    padding: usize,
    /// Columns of one remainder in a padded row.
    phase: usize,
    rows: usize,
}

impl Unfold {
    pub(crate) fn new(
        (height, width): (usize, usize),
        kernel: usize,
        stride: usize,
        largest_dilation: usize,
    ) -> Self {
        let (out_height, out_width) = (height.div_ceil(stride), width.div_ceil(stride));
        // A tap farther out than the image only ever sees zeros.
        let padding = kernel / 2 * largest_dilation;
        let reach = |out: usize, size: usize| ((out - 1) * stride + 2 * padding + 1).max(size + padding);
        let phase = reach(out_width, width).div_ceil(stride);
        Self {
            stride,
            kernel,
            height,
            width,
            out_height,
            out_width,
            padding,
            phase,
            rows: reach(out_height, height),
        }
    }

    pub(crate) fn positions(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Values of one plane in its frame.
    fn frame(&self) -> usize {
        self.rows * self.stride * self.phase
    }

    /// A frame of zeros for so many planes.
    pub(crate) fn frames<T: Real>(&self, planes: usize) -> Vec<T> {
        vec![T::zero(); planes * self.frame()]
    }

    /// Start in its frame of a row of a plane, counted from the first of the image, and of its columns of one remainder.
    fn row(&self, plane: usize, row: usize, remainder: usize) -> usize {
        plane * self.frame() + ((row + self.padding) * self.stride + remainder) * self.phase
    }

    /// Copies planes `[planes, height, width]` into their frames; the borders stay what they are.
    pub(crate) fn fill<T: Real>(&self, planes: &[T], frames: &mut [T]) {
        for (index, row) in planes.chunks(self.width).enumerate() {
            let (plane, y) = (index / self.height, index % self.height);
            if self.stride == 1 {
                frames[self.row(plane, y, 0) + self.padding..][..self.width].copy_from_slice(row);
                continue;
            }
            for remainder in 0..self.stride {
                let (first, start) = self.first_column(remainder);
                let to = &mut frames[self.row(plane, y, remainder) + start..];
                for (to, from) in to.iter_mut().zip(row.iter().skip(first).step_by(self.stride)) {
                    *to = *from;
                }
            }
        }
    }

    /// First image column of a remainder of padded columns, and where it stands.
    fn first_column(&self, remainder: usize) -> (usize, usize) {
        let first = (remainder + self.stride - self.padding % self.stride) % self.stride;
        (first, (first + self.padding) / self.stride)
    }

    /// Adds the frames back into planes, the borders left out: the transpose of [`Unfold::fill`].
    pub(crate) fn drain<T: Real>(&self, frames: &[T], planes: &mut [T]) {
        for (index, row) in planes.chunks_mut(self.width).enumerate() {
            let (plane, y) = (index / self.height, index % self.height);
            for remainder in 0..self.stride {
                let (first, start) = self.first_column(remainder);
                let from = &frames[self.row(plane, y, remainder) + start..];
                for (to, from) in row.iter_mut().skip(first).step_by(self.stride).zip(from) {
                    *to += *from;
                }
            }
        }
    }

    /// Start in the frames of every run: `f(run of the unfolded matrix, start)`, taps in order of plane, row, column.
    #[inline(always)]
    fn runs(&self, planes: std::ops::Range<usize>, dilation: usize, mut f: impl FnMut(usize, usize)) {
        let inset = self.padding - self.kernel / 2 * dilation;
        let mut run = 0;
        for plane in planes {
            for ky in 0..self.kernel {
                let top = inset + ky * dilation;
                for kx in 0..self.kernel {
                    let left = inset + kx * dilation;
                    let column = left % self.stride * self.phase + left / self.stride;
                    for row in 0..self.out_height {
                        let row = (row * self.stride + top) * self.stride * self.phase;
                        f(run, plane * self.frame() + row + column);
                        run += 1;
                    }
                }
            }
        }
    }

    /// Unfolds framed planes into `[planes x kernel^2, positions]`.
    pub(crate) fn unfold<T: Real>(
        &self,
        planes: std::ops::Range<usize>,
        dilation: usize,
        frames: &[T],
        columns: &mut [T],
    ) {
        let width = self.out_width;
        self.runs(planes, dilation, |run, start| {
            columns[run * width..][..width].copy_from_slice(&frames[start..][..width]);
        });
    }

    /// The transpose of [`Unfold::unfold`]: adds `[planes x kernel^2, positions]` into frames.
    pub(crate) fn fold<T: Real>(
        &self,
        planes: std::ops::Range<usize>,
        dilation: usize,
        columns: &[T],
        frames: &mut [T],
    ) {
        let width = self.out_width;
        vectorised(
            #[inline(always)]
            || {
                self.runs(planes, dilation, |run, start| {
                    add(&mut frames[start..][..width], &columns[run * width..][..width]);
                });
            },
        );
    }
}
