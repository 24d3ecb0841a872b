//! [`crate::info_nce`] on a GPU, which gives nothing back to the host.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, count, empty, launch};
use super::{differentiable::differentiable2, plain};
use crate::Positives;

/// The shapes were checked.
pub(crate) fn info_nce(similarity: &Tensor, log_scale: &Tensor, positives: &Positives) -> Result<Tensor> {
    let (values, scale) = (plain(similarity)?, plain(log_scale)?);
    let (dtype, device) = (values.dtype(), values.device().clone());
    let (trials, images) = values.dims2()?;
    let trial_ids = Tensor::new(positives.trials(), &device)?;
    let image_ids = Tensor::new(positives.images(), &device)?;
    let sums = empty((trials + images, 3), DType::F32, &device)?;
    let sizes = [count(trials)?, count(images)?];
    let arguments = [
        Argument::Input(&values),
        Argument::Input(&scale),
        Argument::Input(&trial_ids),
        Argument::Input(&image_ids),
        Argument::Output(&sums),
        sizes[0],
        sizes[1],
    ];
    launch("nce_sums", dtype, &arguments, (trials + images, 1))?;
    let (paired_trials, paired_images) = positives.paired();
    let weights = [paired_trials, paired_images].map(|paired| Argument::Value((0.5 / paired as f64) as f32));
    let loss = empty((), dtype, &device)?;
    let arguments =
        [Argument::Input(&sums), Argument::Output(&loss), sizes[0], sizes[1], weights[0], weights[1]];
    launch("nce_loss", dtype, &arguments, (1, 1))?;
    differentiable2("info_nce", [similarity, log_scale], loss, move |gradient| {
        let of_values = empty((trials, images), dtype, &device)?;
        let of_scale = empty(trials, DType::F32, &device)?;
        let arguments = [
            Argument::Input(&values),
            Argument::Input(&scale),
            Argument::Input(&trial_ids),
            Argument::Input(&image_ids),
            Argument::Input(&sums),
            Argument::Input(gradient),
            Argument::Output(&of_values),
            Argument::Output(&of_scale),
            sizes[0],
            sizes[1],
            weights[0],
            weights[1],
        ];
        launch("nce_gradient", dtype, &arguments, (trials, 1))?;
        let of_scale = of_scale.sum_all()?.to_dtype(dtype)?.reshape(scale.shape())?;
        Ok([Some(of_values), Some(of_scale)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::host::{agree, agree_in_bf16, available, bf16, f32s};

    fn inputs(trials: usize, images: usize) -> [Tensor; 2] {
        let similarity = f32s(&[("similarity", &[trials, images])])[0].clone();
        [similarity, Tensor::new(1.5f32, &candle_core::Device::Cpu).unwrap()]
    }

    #[test]
    fn agrees_with_the_cpu() {
        if !available() {
            return;
        }
        // Several positives, a trial and an image without one; then more candidates than a block has lanes.
        let few = Positives::new(&[1, 2, 2, 9, 3], &[2, 1, 1, 3, 7, 2]).unwrap();
        let ids = |count: u32| (0..count).map(|index| index % 97).collect::<Vec<_>>();
        let many = Positives::new(&ids(9), &ids(300)).unwrap();
        for (inputs, positives) in [(inputs(5, 6), few), (inputs(9, 300), many)] {
            agree(
                &inputs,
                |x| info_nce(&x[0], &x[1], &positives),
                |x| crate::info_nce(&x[0], &x[1], &positives),
                1e-5,
            );
        }
    }

    #[test]
    fn large_logits_stay_finite() {
        if !available() {
            return;
        }
        let ids = [1, 2, 3];
        let positives = Positives::new(&ids, &ids).unwrap();
        let inputs = [(inputs(3, 3)[0].clone() * 100.).unwrap(), inputs(3, 3)[1].clone()];
        agree(
            &inputs,
            |x| info_nce(&x[0], &x[1], &positives),
            |x| crate::info_nce(&x[0], &x[1], &positives),
            1e-5,
        );
    }

    #[test]
    fn bf16_differs_by_its_precision() {
        if !available() {
            return;
        }
        let ids = [1, 2, 3, 4, 2];
        let positives = Positives::new(&ids, &ids).unwrap();
        let inputs = inputs(5, 5).map(|x| bf16(&x));
        agree_in_bf16(&inputs, |x| {
            let vars = [candle_core::Var::from_tensor(&x[0])?, candle_core::Var::from_tensor(&x[1])?];
            let loss = info_nce(&vars[0], &vars[1], &positives)?;
            let gradients = loss.backward()?;
            let mut results = vec![loss];
            results.extend(vars.iter().map(|var| gradients.get(var).unwrap().clone()));
            Ok(results)
        });
    }
}
