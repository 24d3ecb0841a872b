//! Initial weights from our own random streams: candle's generator cannot be seeded on the CPU.

use candle_core::{Device, Tensor};
use dina_core::{Result, Stream};
use rand_distr::{Distribution, StandardNormal};

/// Normal values with mean 0 and the given standard deviation, `f32`.
///
/// # Errors
/// When the device refuses the tensor.
pub fn normal(dims: &[usize], sd: f64, stream: &mut Stream, device: &Device) -> Result<Tensor> {
    let values: Vec<f32> = (0..dims.iter().product())
        .map(|_| {
            let value: f64 = StandardNormal.sample(stream);
            (value * sd) as f32
        })
        .collect();
    Ok(Tensor::from_vec(values, dims, device)?)
}
