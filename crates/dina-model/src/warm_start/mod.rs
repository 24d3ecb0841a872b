//! Closed-form weights to start contrastive training from.
//!
//! Random read-ins have to find every neuron's place and feature through the contrast alone, from a few
//! thousand trials. Regression finds most of it in seconds. On the training view:
//!
//! 1. Mixing: the `channels` leading directions of the cross-covariance between the tower's normalised
//!    simple and complex channels and the responses, over neurons and positions ([`FeatureCovariance`]); each channel
//!    is centred and scaled to unit variance. Several populations that saw the same images can choose them together.
//! 2. Encoding: kernel ridge from the resulting maps to every neuron, under a prior that its receptive field is local;
//!    one penalty for all, chosen by the exact leave-one-image-out error.
//! 3. Read-in: a neuron votes for the maps that predict it, `S^-1 W` with the encoding weights `W` and the shrunk
//!    covariance `S` of single-trial residuals (the linear discriminant for Gaussian noise), cut to the rank of
//!    the factorised tower by one singular value decomposition per neuron.

mod encoding;
mod features;
mod linear;

use candle_core::{Device, Tensor};
use dina_core::{Error, Result, Tower};
use rayon::prelude::*;

use self::encoding::{Encoding, Maps};
pub use self::features::FeatureCovariance;
use self::features::{Mixed, Scaled};
use self::linear::{Cholesky, dot, eigen};

use crate::{Factorised, ImageTower};

/// Off-diagonal residual covariance is shrunk by this factor towards none.
const SHRINKAGE: f32 = 0.3;

/// Residual covariance is used in full up to this many neurons, and its diagonal beyond: the solve
/// grows with their cube.
const FULL_COVARIANCE: usize = 4000;

/// Weights in closed form for an image tower and a factorised read-in.
#[derive(Debug, Clone)]
pub struct WarmStart {
    /// The chosen penalty, relative to the mean diagonal of the kernel.
    pub penalty: f64,
    /// Leave-one-image-out explained variance of every neuron's mean response.
    pub explained: Vec<f64>,
    /// `[channels, features]`.
    mixing: Tensor,
    /// `[1, channels, height, width]`.
    center: Tensor,
    /// `[neurons, rank, channels]`.
    features: Tensor,
    /// `[neurons, rank, height x width]`.
    masks: Tensor,
}

/// The training view, as [`WarmStart::fit`] needs it.
#[derive(Debug, Clone, Copy)]
pub struct WarmStartData<'a> {
    /// `[images, 1, height, width]`.
    pub images: &'a Tensor,
    /// `[trials, neurons]`, preprocessed. Where the read-in will be given means of several trials, these are such means:
    /// it weighs neurons by their noise.
    pub responses: &'a Tensor,
    /// `trials[image]`: rows of `responses`, at least one each.
    pub trials: &'a [Vec<usize>],
}

impl WarmStart {
    /// Regresses the responses on the features of an image tower whose filters and pool are as they were made.
    ///
    /// The result does not depend on the tower's random weights, so that models that differ in their seed alone
    /// share one start.
    ///
    /// # Errors
    /// When shapes disagree, there are fewer than three images, or a decomposition does not converge.
    pub fn fit(image: &ImageTower, rank: usize, data: WarmStartData<'_>) -> Result<Self> {
        let (responses, means) = data.means()?;
        let scaled = Scaled::new(image, data.images)?;
        let own = scaled.covariance(&means)?;
        Self::read_in(image, rank, (&responses, &means, data.trials), &scaled, &own)
    }

    /// The same with channels that were chosen elsewhere: those of a tower shared by several populations, in which this
    /// one only gets a read-in.
    ///
    /// Given the same images, mixing and centre are the same for every population.
    ///
    /// # Errors
    /// As [`WarmStart::fit`], and when `chosen_by` is of another tower.
    pub fn fit_shared(
        image: &ImageTower,
        rank: usize,
        data: WarmStartData<'_>,
        chosen_by: &FeatureCovariance,
    ) -> Result<Self> {
        let (responses, means) = data.means()?;
        let scaled = Scaled::new(image, data.images)?;
        Self::read_in(image, rank, (&responses, &means, data.trials), &scaled, chosen_by)
    }

    fn read_in(
        image: &ImageTower,
        rank: usize,
        (responses, means, trials): (&Tensor, &Tensor, &[Vec<usize>]),
        scaled: &Scaled,
        chosen_by: &FeatureCovariance,
    ) -> Result<Self> {
        let Mixed { mixing, center, maps } = scaled.mixed(chosen_by, image.mixing().dim(0)?)?;
        let flat = maps.flatten_from(1)?;
        let level = image.levels().remove(0);
        let layout =
            Maps { values: &flat, channels: level.channels, height: level.height, width: level.width };
        let encoding = Encoding::fit(&layout, means)?;
        let votes = votes(&encoding, responses, trials)?;
        let (features, masks) = factors(rank, &votes, &maps, responses)?;
        let center = center.reshape((1, level.channels, level.height, level.width))?;
        let penalty = f64::from(encoding.penalty);
        Ok(Self { penalty, explained: encoding.explained, mixing, center, features, masks })
    }

    /// Sets the mixing matrix and centre of the image tower and the factors of the neural tower.
    ///
    /// # Errors
    /// When the towers have other sizes than those it was fitted for.
    pub fn apply(&self, image: &ImageTower, neural: &Factorised) -> Result<()> {
        self.apply_to_image(image)?;
        self.apply_to_neural(neural)
    }

    /// The image tower's half of [`WarmStart::apply`].
    ///
    /// # Errors
    /// When the tower has another size than the one it was fitted for.
    pub fn apply_to_image(&self, image: &ImageTower) -> Result<()> {
        for (name, var, tensor) in
            [("mixing", image.mixing(), &self.mixing), ("center", image.center(), &self.center)]
        {
            if var.dims() != tensor.dims() {
                return Err(Error::shape(name, var.dims(), tensor.dims()));
            }
            var.set(&tensor.to_device(var.device())?.to_dtype(var.dtype())?)?;
        }
        Ok(())
    }

    /// The neural tower's half of [`WarmStart::apply`].
    ///
    /// # Errors
    /// When the tower has another size than the one it was fitted for.
    pub fn apply_to_neural(&self, neural: &Factorised) -> Result<()> {
        let device = neural.features().device();
        neural.set_factors(&self.features.to_device(device)?, &self.masks.to_device(device)?)
    }
}

impl WarmStartData<'_> {
    /// Responses on the CPU, and the centred mean response to every image.
    fn means(&self) -> Result<(Tensor, Tensor)> {
        let count = self.images.dim(0)?;
        if self.trials.len() != count || count < 3 {
            return Err(Error::shape("trials of the training images", [count.max(3)], [self.trials.len()]));
        }
        let responses = self.responses.to_device(&Device::Cpu)?;
        let means = mean_responses(&responses, self.trials)?;
        Ok((responses, means))
    }
}

/// Mean response to every image, centred over images: `[images, neurons]`.
fn mean_responses(responses: &Tensor, trials: &[Vec<usize>]) -> Result<Tensor> {
    let (rows, _) = responses.dims2()?;
    let mut weights = vec![0f32; trials.len() * rows];
    for (image, trials) in trials.iter().enumerate() {
        for &row in trials {
            if row >= rows {
                return Err(Error::value("trial", format!("below {rows}"), row));
            }
            weights[image * rows + row] = 1. / trials.len() as f32;
        }
    }
    let means = Tensor::from_vec(weights, (trials.len(), rows), &Device::Cpu)?.matmul(responses)?;
    Ok(means.broadcast_sub(&means.mean_keepdim(0)?)?)
}

fn matrix(tensor: &Tensor) -> Result<(Vec<f32>, usize, usize)> {
    let (rows, columns) = tensor.dims2()?;
    Ok((tensor.flatten_all()?.to_vec1()?, rows, columns))
}

/// `S^-1 W`, `[neurons, channels x positions]`.
fn votes(encoding: &Encoding, responses: &Tensor, trials: &[Vec<usize>]) -> Result<Tensor> {
    let mut of_image = Vec::new();
    let mut rows = Vec::new();
    for (image, trials) in trials.iter().enumerate() {
        for &row in trials {
            of_image.push(image as u32);
            rows.push(row as u32);
        }
    }
    let count = rows.len();
    let select = |tensor: &Tensor, rows: Vec<u32>| tensor.index_select(&Tensor::new(rows, &Device::Cpu)?, 0);
    let residual = (select(responses, rows)? - select(&encoding.held_out, of_image)?)?;
    let residual = residual.broadcast_sub(&residual.mean_keepdim(0)?)?;
    let neurons = residual.dim(1)?;
    let weights = encoding.weights.t()?.contiguous()?;
    let variance = (residual.sqr()?.mean_keepdim(0)? + 1e-6)?;
    if neurons > FULL_COVARIANCE {
        return Ok(weights.broadcast_div(&variance.t()?)?);
    }
    let covariance = (residual.t()?.matmul(&residual)? * f64::from((1. - SHRINKAGE) / count as f32))?;
    let (mut values, _, _) = matrix(&covariance)?;
    for (n, variance) in variance.flatten_all()?.to_vec1::<f32>()?.into_iter().enumerate() {
        values[n * neurons + n] = variance;
    }
    let columns = weights.dim(1)?;
    let cholesky = Cholesky::new(values, neurons)?;
    // Column by column of the weights, many at a time: right-hand sides do not depend on each other.
    let mut right = weights.t()?.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
    right.par_chunks_mut(64 * neurons).for_each(|part| cholesky.solve(part));
    Ok(Tensor::from_vec(right, (columns, neurons), &Device::Cpu)?.t()?.contiguous()?)
}

/// Cuts every neuron's `[channels, positions]` to a rank and scales the maps to unit variance.
fn factors(rank: usize, votes: &Tensor, maps: &Tensor, responses: &Tensor) -> Result<(Tensor, Tensor)> {
    let spread = responses.matmul(votes)?.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt();
    let (_, channels, positions) = maps.dims3()?;
    let values = (votes * f64::from(1. / spread.max(f32::MIN_POSITIVE)))?.flatten_all()?.to_vec1::<f32>()?;
    let factors: Vec<(Vec<f32>, Vec<f32>)> = values
        .par_chunks(channels * positions)
        .map(|vote| split(vote, channels, positions, rank))
        .collect::<Result<_>>()?;
    let neurons = factors.len();
    let (features, masks): (Vec<_>, Vec<_>) = factors.into_iter().unzip();
    Ok((
        Tensor::from_vec(features.concat(), (neurons, rank, channels), &Device::Cpu)?,
        Tensor::from_vec(masks.concat(), (neurons, rank, positions), &Device::Cpu)?,
    ))
}

/// The leading singular pairs, their weight shared evenly between channel vector and mask.
fn split(vote: &[f32], channels: usize, positions: usize, rank: usize) -> Result<(Vec<f32>, Vec<f32>)> {
    let row = |c: usize| &vote[c * positions..][..positions];
    let gram: Vec<f32> =
        (0..channels).flat_map(|a| (0..channels).map(move |b| dot(row(a), row(b)))).collect();
    let (vectors, values) = eigen(&gram, channels)?;
    let mut features = vec![0.; rank * channels];
    let mut masks = vec![0.; rank * positions];
    for k in 0..rank.min(channels) {
        let column = channels - 1 - k;
        // Singular value from the eigenvalue of the Gram matrix; each factor gets its root.
        let root = values[column].max(0.).sqrt().sqrt();
        if root <= f32::MIN_POSITIVE {
            break;
        }
        for c in 0..channels {
            features[k * channels + c] = vectors[(c, column)] * root;
        }
        for p in 0..positions {
            let along: f32 = (0..channels).map(|c| vectors[(c, column)] * vote[c * positions + p]).sum();
            masks[k * positions + p] = along / root;
        }
    }
    Ok((features, masks))
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use dina_core::{Mode, Seed};

    use super::*;
    use crate::ops::check::normal;
    use crate::{GaborConfig, ImageTowerConfig, LEVEL};

    #[test]
    fn a_full_rank_split_gives_the_matrix_back() {
        let vote = normal("vote", &[12]).unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        let (features, masks) = split(&vote, 3, 4, 3).unwrap();
        for c in 0..3 {
            for p in 0..4 {
                let sum: f32 = (0..3).map(|k| features[k * 3 + c] * masks[k * 4 + p]).sum();
                assert!((sum - vote[c * 4 + p]).abs() < 1e-4);
            }
        }
    }

    /// Neurons that read the tower's own channels: the started towers retrieve unseen images.
    #[test]
    fn started_towers_retrieve_images_they_were_not_started_on() {
        let config = ImageTowerConfig {
            height: 12,
            width: 12,
            degrees_per_pixel: 2.,
            gabor: GaborConfig { kernel: 5, orientations: 4, dilations: vec![1, 2], ..Default::default() },
            channels: 6,
            hidden: 4,
        };
        let image = ImageTower::new(config, Seed::new(1), &Device::Cpu).unwrap();
        let level = image.levels().remove(0);
        let neural = Factorised::new(60, 3, level, 0., Seed::new(1), &Device::Cpu).unwrap();
        let images = normal("images", &[240, 1, 12, 12]).unwrap().to_dtype(DType::F32).unwrap();
        let features = image.features(&images).unwrap().flatten_from(1).unwrap();
        let features = features.broadcast_sub(&features.mean_keepdim(0).unwrap()).unwrap();
        let readers = normal("readers", &[features.dims()[1], 60]).unwrap().to_dtype(DType::F32).unwrap();
        let responses = features.matmul(&readers).unwrap();
        let scale = responses.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let noise = normal("noise", &[240, 60]).unwrap().to_dtype(DType::F32).unwrap();
        let responses = ((responses / f64::from(scale)).unwrap() + (noise * 0.3).unwrap()).unwrap();
        let train: Vec<Vec<usize>> = (0..200).map(|i| vec![i]).collect();
        let data = WarmStartData {
            images: &images.narrow(0, 0, 200).unwrap(),
            responses: &responses.narrow(0, 0, 200).unwrap(),
            trials: &train,
        };
        let found = WarmStart::fit(&image, 3, data).unwrap();
        found.apply(&image, &neural).unwrap();
        let other = Factorised::new(60, 2, image.levels().remove(0), 0., Seed::new(1), &Device::Cpu).unwrap();
        assert!(found.apply(&image, &other).is_err());
        assert!(found.explained.iter().sum::<f64>() / 60. > 0.1, "{:?}", found.explained);
        let test = (images.narrow(0, 200, 40).unwrap(), responses.narrow(0, 200, 40).unwrap());
        let unit = |maps: &Tensor| {
            let flat = maps.flatten_from(1).unwrap();
            let norm = flat.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
            flat.broadcast_div(&norm).unwrap()
        };
        let a = unit(image.forward(&test.0, Mode::Eval).unwrap().get(LEVEL).unwrap());
        let b = unit(neural.forward(&test.1, Mode::Eval).unwrap().get(LEVEL).unwrap());
        let similarity = b.matmul(&a.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
        let right = similarity
            .iter()
            .enumerate()
            .filter(|(own, row)| row.iter().all(|value| *value <= row[*own]))
            .count();
        assert!(right > 20, "{right} of 40; chance is 1");
    }
}
