//! [`crate::grouped_cosine`] on a GPU: parts of unit length by our kernels, then one product of the library.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, count, empty, launch};
use super::{differentiable::differentiable2, plain};

/// Rows whose parts were divided by their norms.
struct Unit {
    /// `[rows, columns]`.
    values: Tensor,
    /// One over the norms, `[rows, groups]`.
    inverse: Tensor,
    groups: usize,
}

impl Unit {
    fn new(rows: &Tensor, groups: usize) -> Result<Self> {
        let rows = plain(rows)?;
        let (number, columns) = rows.dims2()?;
        let values = empty((number, columns), rows.dtype(), rows.device())?;
        let inverse = empty((number, groups), DType::F32, rows.device())?;
        let arguments = [
            Argument::Input(&rows),
            Argument::Output(&values),
            Argument::Output(&inverse),
            count(columns / groups)?,
        ];
        launch("unit_forward", rows.dtype(), &arguments, (number * groups, 1))?;
        Ok(Self { values, inverse, groups })
    }

    /// The gradient of the rows from that of their unit parts.
    fn backward(&self, gradient: &Tensor) -> Result<Tensor> {
        let (number, columns) = self.values.dims2()?;
        let dtype = self.values.dtype();
        let of_rows = empty((number, columns), dtype, self.values.device())?;
        let arguments = [
            Argument::Input(gradient),
            Argument::Input(&self.values),
            Argument::Input(&self.inverse),
            Argument::Output(&of_rows),
            count(columns / self.groups)?,
        ];
        launch("unit_backward", dtype, &arguments, (number * self.groups, 1))?;
        Ok(of_rows)
    }
}

/// The shapes were checked.
pub(crate) fn grouped_cosine(trials: &Tensor, images: &Tensor, groups: usize) -> Result<Tensor> {
    let (b, a) = (Unit::new(trials, groups)?, Unit::new(images, groups)?);
    let share = 1. / groups as f64;
    let cosine = (b.values.matmul(&a.values.t()?)? * share)?;
    differentiable2("grouped_cosine", [trials, images], cosine, move |gradient| {
        let gradient = (gradient * share)?;
        let of_b = b.backward(&gradient.matmul(&a.values)?)?;
        let of_a = a.backward(&gradient.t()?.matmul(&b.values)?)?;
        Ok([Some(of_b), Some(of_a)])
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
        for groups in [1, 3] {
            // Parts longer than a block has lanes, and shorter.
            let inputs = f32s(&[("trials", &[5, 900]), ("images", &[4, 900])]);
            agree(
                &inputs,
                |x| grouped_cosine(&x[0], &x[1], groups),
                |x| crate::grouped_cosine(&x[0], &x[1], groups),
                1e-5,
            );
            let inputs = f32s(&[("trials", &[2, 6]), ("images", &[3, 6])]);
            agree(
                &inputs,
                |x| grouped_cosine(&x[0], &x[1], groups),
                |x| crate::grouped_cosine(&x[0], &x[1], groups),
                1e-5,
            );
        }
    }

    #[test]
    fn bf16_differs_by_its_precision() {
        if !available() {
            return;
        }
        let inputs = f32s(&[("rows", &[5, 600]), ("g", &[5, 600])]);
        let inputs: Vec<_> = inputs.iter().map(bf16).collect();
        agree_in_bf16(&inputs, |x| {
            let unit = Unit::new(&x[0], 2)?;
            Ok(vec![unit.backward(&x[1])?, unit.values, unit.inverse])
        });
    }
}
