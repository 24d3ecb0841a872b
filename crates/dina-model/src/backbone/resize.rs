//! Resampling as a product with one matrix for rows and one for columns: differentiable, and on any device.

use candle_core::{Device, Tensor};
use dina_core::Result;

/// How the samples of one axis are weighted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Filter {
    /// A triangle as wide as the coarser of the two samplings asks.
    Bilinear,
    /// The cubic of Keys 1981 with a = -0.5, as wide as the coarser of the two samplings asks.
    Bicubic,
    /// Interpolation between the four nearest samples by Keys' cubic with a = -0.75, borders repeated and nothing
    /// blurred: what position embeddings are interpolated with.
    Interpolate,
    /// Mean over the area that a sample covers.
    Area,
}

/// Brings maps `[batch, channels, height, width]` to another extent.
pub(super) struct Resize {
    /// `[rows out, rows in]` and `[columns in, columns out]`; `None` where nothing changes.
    matrices: Option<[Tensor; 2]>,
}

impl Resize {
    pub(super) fn new(
        from: (usize, usize),
        to: (usize, usize),
        filter: Filter,
        device: &Device,
    ) -> Result<Self> {
        if from == to {
            return Ok(Self { matrices: None });
        }
        let matrix = |from: usize, to: usize| -> Result<Tensor> {
            let values: Vec<f32> = (0..to).flat_map(|at| weights(from, to, at, filter)).collect();
            Ok(Tensor::from_vec(values, (to, from), device)?)
        };
        let columns = matrix(from.1, to.1)?.t()?.contiguous()?;
        Ok(Self { matrices: Some([matrix(from.0, to.0)?, columns]) })
    }

    pub(super) fn apply(&self, maps: &Tensor) -> Result<Tensor> {
        let Some([rows, columns]) = &self.matrices else { return Ok(maps.clone()) };
        Ok(rows.broadcast_matmul(&maps.contiguous()?.broadcast_matmul(columns)?)?)
    }
}

/// What every one of `from` samples adds to sample `at` of `to`.
fn weights(from: usize, to: usize, at: usize, filter: Filter) -> Vec<f32> {
    let scale = from as f64 / to as f64;
    let mut weights = vec![0.; from];
    match filter {
        Filter::Interpolate => {
            let place = scale * (at as f64 + 0.5) - 0.5;
            let first = place.floor() as isize - 1;
            for tap in first..first + 4 {
                let nearest = tap.clamp(0, from as isize - 1) as usize;
                weights[nearest] += keys(place - tap as f64, -0.75);
            }
        }
        Filter::Area => {
            let (start, end) = (scale * at as f64, scale * (at + 1) as f64);
            for (index, weight) in weights.iter_mut().enumerate() {
                let covered = end.min((index + 1) as f64) - start.max(index as f64);
                *weight = covered.max(0.);
            }
        }
        Filter::Bilinear | Filter::Bicubic => {
            let stretch = scale.max(1.);
            let (support, cubic) = if filter == Filter::Bicubic { (2., true) } else { (1., false) };
            let centre = scale * (at as f64 + 0.5);
            for (index, weight) in weights.iter_mut().enumerate() {
                let distance = (index as f64 + 0.5 - centre) / stretch;
                if distance.abs() < support {
                    *weight = if cubic { keys(distance, -0.5) } else { 1. - distance.abs() };
                }
            }
        }
    }
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (weight / sum) as f32).collect()
}

/// The cubic convolution kernel of Keys 1981 (IEEE Trans. ASSP 29:1153), equation 4.
fn keys(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1. {
        ((a + 2.) * x - (a + 3.)) * x * x + 1.
    } else if x < 2. {
        a * (((x - 5.) * x + 8.) * x - 4.)
    } else {
        0.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stays_and_a_slope_is_followed_inside() {
        for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Interpolate, Filter::Area] {
            for (from, to) in [(7, 3), (3, 7), (5, 5), (1, 4), (4, 1)] {
                for at in 0..to {
                    let weights = weights(from, to, at, filter);
                    assert!((weights.iter().sum::<f32>() - 1.).abs() < 1e-6);
                }
            }
            // Far from the borders every filter keeps a slope, since all are symmetric.
            let place: f32 =
                weights(40, 20, 10, filter).iter().zip(0u8..).map(|(w, i)| w * f32::from(i)).sum();
            assert!((place - 20.5).abs() < 1e-4, "{filter:?} {place}");
        }
    }

    #[test]
    fn rows_and_columns_are_not_mixed_up() {
        let map = Tensor::arange(0f32, 24., &Device::Cpu).unwrap().reshape((1, 1, 4, 6)).unwrap();
        let small = Resize::new((4, 6), (2, 3), Filter::Area, &Device::Cpu).unwrap().apply(&map).unwrap();
        let small = small.reshape((2, 3)).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(small, [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]);
    }
}
