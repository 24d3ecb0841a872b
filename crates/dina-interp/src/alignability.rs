use std::fmt;

use dina_core::{ArrayLike, Error as CoreError, Seed};
use dina_stats::permutation::{Tail, step_down_max_t};
use ndarray::{Array2, ArrayView2, ArrayView4, ArrayViewD, Axis, Ix4, s};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Result, score::flat};

/// How [`alignability`] tests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AlignabilityConfig {
    /// Random permutations of the images.
    pub permutations: usize,
    /// Coverage of the null interval printed for each channel.
    pub coverage: f64,
}

impl Default for AlignabilityConfig {
    /// 1,000 permutations, a 95 % null interval.
    fn default() -> Self {
        Self { permutations: 1000, coverage: 0.95 }
    }
}

/// Alignability of every channel of one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alignability {
    /// Held-out images.
    pub images: usize,
    /// Permutations.
    pub permutations: usize,
    /// Coverage of the null intervals.
    pub coverage: f64,
    /// One entry a channel.
    pub channels: Vec<ChannelAlignability>,
}

impl fmt::Display for Alignability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.channels.iter().filter(|c| c.p_adjusted <= 0.05).count();
        let of = self.channels.len();
        match found {
            0 => write!(f, "no evidence of alignment in any of {of} channels")?,
            _ => {
                let largest = self.channels.iter().map(|c| c.r).fold(f64::NEG_INFINITY, f64::max);
                write!(f, "{found} of {of} channels aligned, largest r = {largest:.2}")?;
            }
        }
        let Self { images, permutations, .. } = self;
        write!(f, " (adjusted p <= 0.05, step-down maxT, {images} images, {permutations} permutations)")
    }
}

/// Alignability of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChannelAlignability {
    /// Correlation of the two maps over images and positions.
    pub r: f64,
    /// Lower end of the central null interval.
    pub null_low: f64,
    /// Upper end of the central null interval.
    pub null_high: f64,
    /// One-sided p, adjusted over channels by step-down maxT.
    pub p_adjusted: f64,
}

/// How well each channel is shared by the two towers on images that neither was trained on.
///
/// The alignability of channel c is the Pearson correlation of `A_c` and `B_c` over images and positions. The
/// null permutes which neural map belongs to which image, the same permutation for all channels; p is
/// one-sided and corrected over channels by Westfall and Young's step-down maxT. A spatial pattern
/// that is the same for every image is in the statistic and in its null alike.
///
/// `image` and `neural` are `[images, channels, height, width]`, row i of both for the same image; where an image has
/// several trials, average their maps first. One images x images matrix is held at a time.
///
/// # Errors
/// When the shapes differ, there are fewer than three images, a channel is constant, or a value is not finite.
pub fn alignability(
    image: &impl ArrayLike,
    neural: &impl ArrayLike,
    config: &AlignabilityConfig,
    seed: Seed,
) -> Result<Alignability> {
    image.with_view(|image| neural.with_view(|neural| test(image, neural, config, seed)))??
}

fn test(
    image: ArrayViewD<'_, f32>,
    neural: ArrayViewD<'_, f32>,
    config: &AlignabilityConfig,
    seed: Seed,
) -> Result<Alignability> {
    if image.ndim() != 4 || image.shape() != neural.shape() {
        let expected = format!("[images, channels, height, width], as the image maps {:?}", image.shape());
        return Err(CoreError::shape("neural maps", expected, neural.shape()).into());
    }
    if image.len_of(Axis(0)) < 3 {
        return Err(CoreError::value("held-out images", "at least 3", image.len_of(Axis(0))).into());
    }
    if image.iter().chain(&neural).any(|v| !v.is_finite()) {
        return Err(CoreError::value("maps", "finite", "NaN or infinity").into());
    }
    let into4 = |view: ArrayViewD<'_, f32>| view.into_dimensionality::<Ix4>().map(|v| v.to_owned());
    let (Ok(image), Ok(neural)) = (into4(image), into4(neural)) else {
        return Err(CoreError::value("maps", "four-dimensional", "another number of axes").into());
    };
    let orders = orders(image.len_of(Axis(0)), config.permutations, seed);
    let (observed, null) = level_null(image.view(), neural.view(), &orders)?;
    let adjusted = step_down_max_t(&observed, null.view(), Tail::Greater)?.adjusted_p;
    let channels = (0..observed.len())
        .map(|channel| {
            let (null_low, null_high) = central(null.column(channel).to_vec(), config.coverage);
            ChannelAlignability { r: observed[channel], null_low, null_high, p_adjusted: adjusted[channel] }
        })
        .collect();
    let images = image.len_of(Axis(0));
    Ok(Alignability { images, permutations: config.permutations, coverage: config.coverage, channels })
}

/// Alignability of every channel, and what it is under every order, orders x channels. Shapes have to agree.
pub(crate) fn level_null(
    image: ArrayView4<'_, f32>,
    neural: ArrayView4<'_, f32>,
    orders: &[Vec<u32>],
) -> Result<(Vec<f64>, Array2<f64>)> {
    let (images, channels, height, width) = image.dim();
    let mut observed = Vec::with_capacity(channels);
    let mut null = Array2::zeros((orders.len(), channels));
    for channel in 0..channels {
        let rows = |maps: ArrayView4<'_, f32>| flat(maps.slice(s![.., channel..=channel, .., ..]));
        let (a, b) = (standardised(&rows(image), channel)?, standardised(&rows(neural), channel)?);
        let products = a.dot(&b.t());
        let scale = 1. / (images * height * width) as f64;
        observed.push(products.diag().iter().map(|&v| f64::from(v)).sum::<f64>() * scale);
        let values: Vec<f64> =
            orders.par_iter().map(|order| matched(products.view(), order) * scale).collect();
        null.column_mut(channel).assign(&ndarray::Array1::from(values));
    }
    Ok((observed, null))
}

/// Mean 0 and variance 1 over images and positions.
fn standardised(rows: &Array2<f32>, channel: usize) -> Result<Array2<f32>> {
    let n = rows.len() as f64;
    let mean = rows.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = rows.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    if variance <= f64::from(f32::MIN_POSITIVE) {
        let found = format!("constant in channel {channel}");
        return Err(CoreError::value("maps", "varying in every channel", found).into());
    }
    let scale = 1. / variance.sqrt();
    Ok(rows.mapv(|v| ((f64::from(v) - mean) * scale) as f32))
}

/// Random orders of the images, the same for every channel.
pub(crate) fn orders(images: usize, count: usize, seed: Seed) -> Vec<Vec<u32>> {
    (0..count)
        .into_par_iter()
        .map(|index| {
            let mut stream = seed.index(index).stream("alignability");
            let mut order: Vec<u32> = (0..images as u32).collect();
            for last in (1..images).rev() {
                order.swap(last, stream.random_range(0..=last));
            }
            order
        })
        .collect()
}

fn matched(products: ArrayView2<'_, f32>, order: &[u32]) -> f64 {
    order.iter().enumerate().map(|(i, &j)| f64::from(products[[i, j as usize]])).sum()
}

pub(crate) fn central(mut null: Vec<f64>, coverage: f64) -> (f64, f64) {
    null.sort_unstable_by(f64::total_cmp);
    let last = null.len() - 1;
    let at = |q: f64| null[((q * last as f64).round() as usize).min(last)];
    (at((1. - coverage) / 2.), at((1. + coverage) / 2.))
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn noise(name: &str, dims: (usize, usize, usize, usize)) -> Array4<f32> {
        let mut stream = Seed::new(3).stream(name);
        Array4::from_shape_simple_fn(dims, || StandardNormal.sample(&mut stream))
    }

    #[test]
    fn shared_channels_are_found_and_others_are_not() {
        let dims = (40, 5, 3, 4);
        let image = noise("image", dims);
        let mut neural = noise("neural", dims);
        for channel in [1, 3] {
            let mut part = neural.slice_mut(s![.., channel, .., ..]);
            part += &image.slice(s![.., channel, .., ..]);
        }
        let found = alignability(&image, &neural, &AlignabilityConfig::default(), Seed::new(1)).unwrap();
        for (index, channel) in found.channels.iter().enumerate() {
            let shared = [1, 3].contains(&index);
            assert_eq!(channel.p_adjusted < 0.01, shared, "{index} {channel:?}");
            assert_eq!(channel.r > channel.null_high, shared, "{index} {channel:?}");
            // Signal and noise of equal variance: r is the root of a half.
            assert!(!shared || (channel.r - 0.5f64.sqrt()).abs() < 0.08);
        }
    }

    #[test]
    fn a_pattern_that_every_image_shares_is_no_alignment() {
        let pattern = |(_, _, y, x): (usize, usize, usize, usize)| 5. * (y as f32 - x as f32);
        let dims = (30, 1, 3, 4);
        let image = noise("image", dims) + Array4::from_shape_fn(dims, pattern);
        let neural = noise("neural", dims) + Array4::from_shape_fn(dims, pattern);
        let found = alignability(&image, &neural, &AlignabilityConfig::default(), Seed::new(1)).unwrap();
        assert!(found.channels[0].r > 0.9 && found.channels[0].p_adjusted > 0.01, "{found:?}");
    }

    #[test]
    fn threads_do_not_matter_and_bad_maps_are_refused() {
        let (image, neural) = (noise("image", (6, 2, 2, 2)), noise("neural", (6, 2, 2, 2)));
        let config = AlignabilityConfig { permutations: 50, ..Default::default() };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| alignability(&image, &neural, &config, Seed::new(1)).unwrap())
        };
        assert_eq!(run(1), run(2));
        let refused = |neural: &Array4<f32>| alignability(&image, neural, &config, Seed::new(1)).is_err();
        assert!(refused(&noise("neural", (6, 2, 2, 3))));
        assert!(refused(&Array4::zeros((6, 2, 2, 2))));
        assert!(refused(&Array4::from_elem((6, 2, 2, 2), f32::NAN)));
    }
}
