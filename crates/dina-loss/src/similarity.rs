//! Similarity of maps as one matrix product of normalised rows.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};
use dina_core::FeatureMaps;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Keeps the norm of an empty map differentiable.
const EPSILON: f64 = 1e-12;

/// How two maps are compared at one level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// Cosine of the flattened maps.
    #[default]
    Flat,
    /// Mean over channels of the cosine of each channel, so that every channel has to align by
    /// itself.
    PerChannel,
}

/// Similarity of every neural map with every image map, `[trials, images]`: the mean over levels of
/// [`Similarity`]. In `[-1, 1]`.
///
/// Beyond the result it holds one normalised copy of each map set; never trials x images x channels.
///
/// # Errors
/// When the levels of the two sets differ.
pub fn cosine_logits(
    neural: &FeatureMaps,
    image: &FeatureMaps,
    similarity: Similarity,
) -> dina_core::Result<Tensor> {
    let levels = neural.pair(image)?;
    let weight = 1. / levels.len() as f64;
    let mut total: Option<Tensor> = None;
    for (_, b, a) in levels {
        let groups = match similarity {
            Similarity::Flat => 1,
            Similarity::PerChannel => b.dim(1)?,
        };
        let level = grouped_cosine(&b.flatten_from(1)?, &a.flatten_from(1)?, groups)?;
        let level = (level * weight)?;
        total = Some(match total {
            None => level,
            Some(sum) => (sum + level)?,
        });
    }
    total.ok_or_else(|| dina_core::Error::Level("at least one level is needed".into()))
}

/// Mean over `groups` equal parts of the rows of the cosine of that part, for rows of `b` and `a`.
fn grouped_cosine(b: &Tensor, a: &Tensor, groups: usize) -> Result<Tensor> {
    if b.device().is_cpu() {
        return b.contiguous()?.apply_op2(&a.contiguous()?, GroupedCosine { groups });
    }
    composed(b, a, groups)
}

fn composed(b: &Tensor, a: &Tensor, groups: usize) -> Result<Tensor> {
    let unit = |x: &Tensor| -> Result<Tensor> {
        let (rows, columns) = x.dims2()?;
        let parts = x.reshape((rows, groups, columns / groups))?;
        let norm = (parts.sqr()?.sum_keepdim(D::Minus1)? + EPSILON)?.sqrt()?;
        parts.broadcast_div(&norm)?.reshape((rows, columns))
    };
    unit(b)?.matmul(&unit(a)?.t()?)? * (1. / groups as f64)
}

struct GroupedCosine {
    groups: usize,
}

/// The arithmetic that both precisions share.
macro_rules! precision {
    ($type:ty, $variant:ident, $unit:ident, $project:ident, $slice:ident) => {
        fn $slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [$type]> {
            match (storage, layout.contiguous_offsets()) {
                (CpuStorage::$variant(values), Some((start, end))) => Ok(&values[start..end]),
                _ => candle_core::bail!("grouped_cosine: expected contiguous tensors of one type"),
            }
        }

        /// Rows with every part scaled to norm 1, and the inverse norms.
        fn $unit(rows: &[$type], part: usize) -> (Vec<$type>, Vec<$type>) {
            let mut unit = rows.to_vec();
            let inverse = unit
                .par_chunks_mut(part)
                .map(|part| {
                    let square: $type = part.iter().map(|v| v * v).sum();
                    let inverse = 1. / (square + EPSILON as $type).sqrt();
                    part.iter_mut().for_each(|v| *v *= inverse);
                    inverse
                })
                .collect();
            (unit, inverse)
        }

        /// From the gradient of the unit rows to that of the rows: what points along the row is lost.
        fn $project(gradient: &mut [$type], unit: &[$type], inverse: &[$type], part: usize) {
            gradient.par_chunks_mut(part).zip(unit.par_chunks(part)).zip(inverse).for_each(
                |((gradient, unit), inverse)| {
                    let along: $type = gradient.iter().zip(unit).map(|(g, u)| g * u).sum();
                    for (g, u) in gradient.iter_mut().zip(unit) {
                        *g = (*g - along * u) * inverse;
                    }
                },
            );
        }
    };
}
precision!(f32, F32, unit_f32, project_f32, slice_f32);
precision!(f64, F64, unit_f64, project_f64, slice_f64);

impl GroupedCosine {
    fn unit(&self, rows: &Tensor) -> Result<(Tensor, Inverse)> {
        let (storage, layout) = rows.storage_and_layout();
        let candle_core::Storage::Cpu(storage) = &*storage else {
            candle_core::bail!("grouped_cosine: expected a tensor on the CPU");
        };
        let part = rows.dim(1)? / self.groups;
        let (unit, inverse) = match storage {
            CpuStorage::F32(_) => {
                let (unit, inverse) = unit_f32(slice_f32(storage, layout)?, part);
                (Tensor::from_vec(unit, rows.shape(), rows.device())?, Inverse::F32(inverse))
            }
            CpuStorage::F64(_) => {
                let (unit, inverse) = unit_f64(slice_f64(storage, layout)?, part);
                (Tensor::from_vec(unit, rows.shape(), rows.device())?, Inverse::F64(inverse))
            }
            other => candle_core::bail!("grouped_cosine: {:?} is not supported", other.dtype()),
        };
        Ok((unit, inverse))
    }

    fn project(&self, gradient: &Tensor, unit: &Tensor, inverse: &Inverse) -> Result<Tensor> {
        let part = unit.dim(1)? / self.groups;
        let (gradient, unit) = (gradient.flatten_all()?, unit.flatten_all()?);
        let shape = (unit.elem_count() / part / self.groups, part * self.groups);
        match inverse {
            Inverse::F32(inverse) => {
                let mut values = gradient.to_vec1()?;
                project_f32(&mut values, &unit.to_vec1()?, inverse, part);
                Tensor::from_vec(values, shape, unit.device())
            }
            Inverse::F64(inverse) => {
                let mut values = gradient.to_vec1()?;
                project_f64(&mut values, &unit.to_vec1()?, inverse, part);
                Tensor::from_vec(values, shape, unit.device())
            }
        }
    }
}

enum Inverse {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl CustomOp2 for GroupedCosine {
    fn name(&self) -> &'static str {
        "grouped_cosine"
    }

    fn cpu_fwd(
        &self,
        b: &CpuStorage,
        bl: &Layout,
        a: &CpuStorage,
        al: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (trials, columns) = bl.shape().dims2()?;
        let (images, others) = al.shape().dims2()?;
        if columns != others || columns == 0 || self.groups == 0 || columns % self.groups != 0 {
            candle_core::bail!("grouped_cosine: rows of {columns} and {others} in {} groups", self.groups)
        }
        let part = columns / self.groups;
        let device = &candle_core::Device::Cpu;
        let (b, a) = match b.dtype() {
            candle_core::DType::F32 => (
                Tensor::from_vec(unit_f32(slice_f32(b, bl)?, part).0, (trials, columns), device)?,
                Tensor::from_vec(unit_f32(slice_f32(a, al)?, part).0, (images, columns), device)?,
            ),
            candle_core::DType::F64 => (
                Tensor::from_vec(unit_f64(slice_f64(b, bl)?, part).0, (trials, columns), device)?,
                Tensor::from_vec(unit_f64(slice_f64(a, al)?, part).0, (images, columns), device)?,
            ),
            other => candle_core::bail!("grouped_cosine: {other:?} is not supported"),
        };
        let product = (b.matmul(&a.t()?)? * (1. / self.groups as f64))?;
        let (storage, _) = product.storage_and_layout();
        match &*storage {
            candle_core::Storage::Cpu(storage) => Ok((storage.clone(), (trials, images).into())),
            _ => candle_core::bail!("grouped_cosine: expected a result on the CPU"),
        }
    }

    fn bwd(
        &self,
        b: &Tensor,
        a: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = (gradient * (1. / self.groups as f64))?;
        let (b_unit, b_inverse) = self.unit(b)?;
        let (a_unit, a_inverse) = self.unit(a)?;
        let b_gradient = self.project(&gradient.matmul(&a_unit)?, &b_unit, &b_inverse)?;
        let a_gradient = self.project(&gradient.t()?.matmul(&b_unit)?, &a_unit, &a_inverse)?;
        Ok((Some(b_gradient), Some(a_gradient)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use candle_core::{DType, Device, Var};
    use dina_core::Seed;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    pub(crate) fn normal(name: &str, dims: &[usize]) -> Tensor {
        let mut stream = Seed::new(4).stream(name);
        let values: Vec<f64> =
            (0..dims.iter().product()).map(|_| StandardNormal.sample(&mut stream)).collect();
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    }

    fn maps(name: &str, dims: &[usize]) -> FeatureMaps {
        FeatureMaps::single("v1", normal(name, dims)).unwrap()
    }

    #[test]
    fn flat_and_per_channel_match_their_definitions() {
        let (b, a) = (maps("b", &[3, 4, 2, 3]), maps("a", &[5, 4, 2, 3]));
        let flat = cosine_logits(&b, &a, Similarity::Flat).unwrap().to_vec2::<f64>().unwrap();
        let channels = cosine_logits(&b, &a, Similarity::PerChannel).unwrap().to_vec2::<f64>().unwrap();
        let rows =
            |maps: &FeatureMaps| maps.get("v1").unwrap().flatten_from(1).unwrap().to_vec2::<f64>().unwrap();
        let cosine = |x: &[f64], y: &[f64]| {
            let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
        };
        for (t, b) in rows(&b).iter().enumerate() {
            for (i, a) in rows(&a).iter().enumerate() {
                assert!((flat[t][i] - cosine(b, a)).abs() < 1e-12);
                let mean = b.chunks(6).zip(a.chunks(6)).map(|(b, a)| cosine(b, a)).sum::<f64>() / 4.;
                assert!((channels[t][i] - mean).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn gradients_agree_with_composed_operations() {
        for groups in [1, 3] {
            let b = Var::from_tensor(&normal("b", &[4, 6])).unwrap();
            let a = Var::from_tensor(&normal("a", &[5, 6])).unwrap();
            let weights = normal("weights", &[4, 5]);
            let gradients = |logits: Tensor| {
                let store = (logits * &weights).unwrap().sum_all().unwrap().backward().unwrap();
                [&b, &a].map(|v| store.get(v).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap())
            };
            let fused = gradients(grouped_cosine(&b, &a, groups).unwrap());
            let reference = gradients(composed(&b, &a, groups).unwrap());
            for (fused, reference) in fused.iter().flatten().zip(reference.iter().flatten()) {
                assert!((fused - reference).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn an_empty_map_is_similar_to_nothing() {
        let zero = Tensor::zeros((1, 2, 1, 2), DType::F32, &Device::Cpu).unwrap();
        let zero = FeatureMaps::single("v1", zero).unwrap();
        let logits = cosine_logits(&zero, &zero, Similarity::Flat).unwrap();
        assert_eq!(logits.to_vec2::<f32>().unwrap(), [[0.]]);
    }
}
