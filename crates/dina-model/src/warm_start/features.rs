//! The choice of channels: which mixtures of the tower's features responses depend on.

use candle_core::{DType, Device, Tensor};
use dina_core::{Error, Result, Seed};
use rand_distr::{Distribution, StandardNormal};

use super::WarmStartData;
use super::linear::eigen;
use crate::ImageTower;

/// What responses say of the features of an image tower; its leading eigenvectors become the channels.
///
/// With features `x_p` at position p, each scaled to unit variance over the training images, and mean responses `r_n`,
/// it is `G = sum_n sum_p Cov(x_p, r_n) Cov(x_p, r_n)'`, `[features, features]`. Channels `M` with orthonormal rows
/// that keep most of the covariance with the responses, `sum_n sum_p |M Cov(x_p, r_n)|^2 = tr M G M'`, are the leading
/// eigenvectors of G (Ky Fan 1949).
///
/// G is a sum over neurons, so populations that saw the same images are pooled by adding theirs: the optimum of the sum
/// is that of all neurons in one population. Nothing of a population but this matrix is needed for it.
#[derive(Debug, Clone)]
pub struct FeatureCovariance {
    /// `[features, features]`.
    gram: Tensor,
    neurons: usize,
}

impl FeatureCovariance {
    /// That of one population.
    ///
    /// # Errors
    /// When shapes disagree or there are fewer than three images.
    pub fn of(image: &ImageTower, data: WarmStartData<'_>) -> Result<Self> {
        let (_, means) = data.means()?;
        Scaled::new(image, data.images)?.covariance(&means)
    }

    /// That of several populations together, each with the same weight however many neurons it has: those of population
    /// m are weighted by the mean number of neurons over that of m. Populations of equal size are simply added, and one
    /// alone is itself.
    ///
    /// Animals are the sample, and a recording with ten times the neurons is not ten animals; noise adds to G in
    /// proportion to the neurons, so that it weighs evenly too.
    ///
    /// # Errors
    /// When there is none, or they are of different towers.
    pub fn pooled(parts: &[&Self]) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Err(Error::value("populations to pool", "at least 1", 0));
        };
        let neurons: usize = parts.iter().map(|part| part.neurons).sum();
        let mean = neurons as f64 / parts.len() as f64;
        let mut gram = first.gram.zeros_like()?;
        for part in parts {
            if part.gram.dims() != first.gram.dims() {
                return Err(Error::shape("features of a population", first.gram.dims(), part.gram.dims()));
            }
            gram = (gram + (&part.gram * (mean / part.neurons.max(1) as f64))?)?;
        }
        Ok(Self { gram, neurons })
    }

    /// One that no response had a part in, whose eigenvectors are evenly distributed orthonormal directions: a control
    /// for what the choice of channels is worth.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn random(image: &ImageTower, seed: Seed) -> Result<Self> {
        let features = image.mixing().dim(1)?;
        let mut stream = seed.stream("directions");
        let values: Vec<f32> = (0..features * features).map(|_| StandardNormal.sample(&mut stream)).collect();
        let normal = Tensor::from_vec(values, (features, features), &Device::Cpu)?;
        Ok(Self { gram: normal.matmul(&normal.t()?)?, neurons: 1 })
    }
}

/// Features of the training images, centred and scaled to unit variance.
pub(super) struct Scaled {
    /// `[images, features, positions]`.
    x: Tensor,
    /// Mean features, `[1, features, positions]`.
    center: Tensor,
    /// What they were multiplied by, `[features]`.
    scale: Tensor,
}

/// The mixing matrix, and what it makes of the training images.
pub(super) struct Mixed {
    /// `[channels, features]`.
    pub mixing: Tensor,
    /// Mean maps, `[channels, positions]`.
    pub center: Tensor,
    /// Centred maps, `[images, channels, positions]`.
    pub maps: Tensor,
}

impl Scaled {
    pub(super) fn new(image: &ImageTower, images: &Tensor) -> Result<Self> {
        let x = features(image, images)?;
        let center = x.mean_keepdim(0)?;
        let x = x.broadcast_sub(&center)?;
        let scale = (x.sqr()?.mean((0, 2))? + 1e-12)?.sqrt()?.recip()?; // [features]
        let x = x.broadcast_mul(&scale.reshape((1, scale.dim(0)?, 1))?)?;
        Ok(Self { x, center, scale })
    }

    /// `means`: centred mean responses `[images, neurons]`.
    pub(super) fn covariance(&self, means: &Tensor) -> Result<FeatureCovariance> {
        let (count, channels, positions) = self.x.dims3()?;
        let flat = self.x.reshape((count, channels * positions))?;
        let mut gram = Tensor::zeros((channels, channels), DType::F32, &Device::Cpu)?;
        let neurons = means.dim(1)?;
        for first in (0..neurons).step_by(512) {
            let block = means.narrow(1, first, 512.min(neurons - first))?;
            let covariance = block.t()?.matmul(&flat)?.reshape((block.dim(1)?, channels, positions))?;
            let wide = covariance.transpose(0, 1)?.contiguous()?.flatten_from(1)?;
            gram = (gram + wide.matmul(&wide.t()?)?)?;
        }
        Ok(FeatureCovariance { gram, neurons })
    }

    /// The leading `outputs` channels, of unit variance over these images.
    pub(super) fn mixed(&self, chosen_by: &FeatureCovariance, outputs: usize) -> Result<Mixed> {
        let features = self.x.dim(1)?;
        if chosen_by.gram.dims() != [features, features] {
            return Err(Error::shape("feature covariance", [features, features], chosen_by.gram.dims()));
        }
        let directions = leading_directions(&chosen_by.gram, outputs)?; // [outputs, features]
        let maps = directions.broadcast_matmul(&self.x)?;
        let spread = (maps.sqr()?.mean((0, 2))? + 1e-12)?.sqrt()?.recip()?; // [outputs]
        let maps = maps.broadcast_mul(&spread.reshape((1, outputs, 1))?)?;
        let mixing =
            directions.broadcast_mul(&spread.unsqueeze(1)?)?.broadcast_mul(&self.scale.unsqueeze(0)?)?;
        let center = mixing.matmul(&self.center.squeeze(0)?)?;
        Ok(Mixed { mixing, center, maps })
    }
}

/// The tower's normalised channels `[images, features, positions]`, a few images at a time.
fn features(image: &ImageTower, images: &Tensor) -> Result<Tensor> {
    let count = images.dim(0)?;
    let parts = (0..count)
        .step_by(128)
        .map(|first| {
            let part = images.narrow(0, first, 128.min(count - first))?;
            Ok(image.features(&part)?.flatten_from(2)?.detach().to_device(&Device::Cpu)?)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}

fn leading_directions(gram: &Tensor, wanted: usize) -> Result<Tensor> {
    let rows = gram.dim(0)?;
    let (vectors, _) = eigen(&gram.flatten_all()?.to_vec1::<f32>()?, rows)?;
    // Eigenvalues ascend. More channels than features repeat the weakest directions with a sign.
    let direction = |index: usize| (rows - 1 - index % rows, if index < rows { 1. } else { -1. });
    let chosen: Vec<f32> = (0..wanted)
        .map(direction)
        .flat_map(|(column, sign)| (0..rows).map(move |row| (row, column, sign)))
        .map(|(row, column, sign)| vectors[(row, column)] * sign)
        .collect();
    Ok(Tensor::from_vec(chosen, (wanted, rows), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::normal;
    use crate::{GaborConfig, ImageTowerConfig, WarmStart};

    fn tower() -> ImageTower {
        let config = ImageTowerConfig {
            height: 8,
            width: 8,
            degrees_per_pixel: 2.,
            gabor: GaborConfig { kernel: 5, orientations: 2, dilations: vec![1], ..Default::default() },
            channels: 3,
            hidden: 2,
        };
        ImageTower::new(config, Seed::new(1), &Device::Cpu).unwrap()
    }

    fn drawn(name: &str, shape: &[usize]) -> Tensor {
        normal(name, shape).unwrap().to_dtype(DType::F32).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Pooled populations of one size are one population with all neurons.
    #[test]
    fn pooling_is_stacking() {
        let (image, images) = (tower(), drawn("images", &[30, 1, 8, 8]));
        let trials: Vec<Vec<usize>> = (0..30).map(|i| vec![i]).collect();
        let of = |responses: &Tensor| {
            FeatureCovariance::of(&image, WarmStartData { images: &images, responses, trials: &trials })
                .unwrap()
        };
        let (a, b) = (drawn("a", &[30, 7]), drawn("b", &[30, 7]));
        let stacked = values(&of(&Tensor::cat(&[&a, &b], 1).unwrap()).gram);
        let pooled = values(&FeatureCovariance::pooled(&[&of(&a), &of(&b)]).unwrap().gram);
        assert!(stacked.iter().zip(&pooled).all(|(s, p)| (s - p).abs() < 1e-3 * s.abs().max(1.)));
        // Twice the neurons do not count twice.
        let twice = of(&Tensor::cat(&[&b, &b], 1).unwrap());
        let even = values(&FeatureCovariance::pooled(&[&of(&a), &twice]).unwrap().gram);
        assert!(even.iter().zip(&pooled).all(|(e, p)| (e - 1.5 * p).abs() < 1e-2 * p.abs().max(1.)));
        assert!(FeatureCovariance::pooled(&[]).is_err());
    }

    #[test]
    fn one_population_alone_has_its_own_tower_and_two_have_the_same() {
        let (image, images) = (tower(), drawn("images", &[30, 1, 8, 8]));
        let trials: Vec<Vec<usize>> = (0..30).map(|i| vec![i]).collect();
        let responses = [drawn("a", &[30, 7]), drawn("b", &[30, 5])];
        let data = |k: usize| WarmStartData { images: &images, responses: &responses[k], trials: &trials };
        let covariances = [0, 1].map(|k| FeatureCovariance::of(&image, data(k)).unwrap());
        let own = WarmStart::fit(&image, 2, data(0)).unwrap();
        let alone = FeatureCovariance::pooled(&[&covariances[0]]).unwrap();
        let same = WarmStart::fit_shared(&image, 2, data(0), &alone).unwrap();
        for (a, b) in
            [(&own.mixing, &same.mixing), (&own.masks, &same.masks), (&own.features, &same.features)]
        {
            assert_eq!(values(a), values(b));
        }
        let both = FeatureCovariance::pooled(&[&covariances[0], &covariances[1]]).unwrap();
        let [a, b] = [0, 1].map(|k| WarmStart::fit_shared(&image, 2, data(k), &both).unwrap());
        assert_eq!(values(&a.mixing), values(&b.mixing));
        assert_eq!(values(&a.center), values(&b.center));
        assert_ne!(values(&a.mixing), values(&own.mixing));
        let random = FeatureCovariance::random(&image, Seed::new(1)).unwrap();
        let control = WarmStart::fit_shared(&image, 2, data(0), &random).unwrap();
        assert_ne!(values(&control.mixing), values(&own.mixing));
    }
}
