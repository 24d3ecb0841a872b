//! Similarity of maps as one matrix product of normalised rows.

use candle_core::Tensor;
use dina_core::FeatureMaps;
use dina_ops::grouped_cosine;
use serde::{Deserialize, Serialize};

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
/// Beyond the result it holds a few matrices of its size; never trials x images x channels.
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

#[cfg(test)]
pub(crate) mod tests {
    use candle_core::{DType, Device};
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
    fn an_empty_map_is_similar_to_nothing() {
        let zero = Tensor::zeros((1, 2, 1, 2), DType::F32, &Device::Cpu).unwrap();
        let zero = FeatureMaps::single("v1", zero).unwrap();
        let logits = cosine_logits(&zero, &zero, Similarity::Flat).unwrap();
        assert_eq!(logits.to_vec2::<f32>().unwrap(), [[0.]]);
    }
}
