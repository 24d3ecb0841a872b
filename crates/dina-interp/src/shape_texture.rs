use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    bootstrap::{Bootstrap, Interval, Resampling},
    linalg::matmul,
    permutation::{Permutation, Scheme, Tail},
};
use ndarray::{Array2, ArrayView4, Axis};
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    neurons::sign_flipped,
    score::{centred_channel, check_finite, constant, largest, mean, root_mean_square},
};

/// Maps of the same images in several versions, each `[images, channels, height, width]`, row i of all from the same
/// image.
#[derive(Debug, Clone, Copy)]
pub struct StimulusVersions<'a> {
    /// The images themselves.
    pub original: ArrayView4<'a, f32>,
    /// What keeps the shape and loses the texture: silhouettes or contours.
    pub shape: ArrayView4<'a, f32>,
    /// What keeps the texture and loses the shape: texture synthesis.
    pub texture: ArrayView4<'a, f32>,
    /// What keeps the amplitude spectrum only: phase scrambling. The control for what either owes to the spectrum.
    pub scrambled: ArrayView4<'a, f32>,
}

/// What of a map is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// Its values at every position: where things are counts.
    #[default]
    Positions,
    /// Its mean over positions: where things are does not count, as synthesised textures do not keep it.
    Pooled,
}

/// How [`shape_texture`] tests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShapeTextureConfig {
    /// What is compared.
    pub compare: Compare,
    /// Permutations of images, and sign flips.
    pub permutations: usize,
    /// Bootstrap replicates over images.
    pub replicates: usize,
    /// Coverage of the intervals.
    pub level: f64,
    /// Adjusted p up to which a channel is said to code something.
    pub alpha: f64,
}

impl Default for ShapeTextureConfig {
    /// Positions, 1,000 permutations, 1,000 replicates, 95 %, 0.05.
    fn default() -> Self {
        Self { compare: Compare::Positions, permutations: 1000, replicates: 1000, level: 0.95, alpha: 0.05 }
    }
}

/// How much of what distinguishes images in a channel one version keeps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Similarity {
    /// Correlation over images (and positions) of the maps of the version with those of the originals, every position
    /// centred and scaled over images, with an interval over images.
    pub r: Interval,
    /// One-sided p by permutation of the images, corrected over channels and versions by step-down maxT.
    pub p_adjusted: f64,
}

/// What a channel codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Coding {
    /// Shape more than texture.
    Shape,
    /// Texture more than shape.
    Texture,
    /// One of the two is kept, but neither more than the other.
    Both,
    /// No evidence that either version keeps anything.
    NoEvidence,
}

/// Shape against texture in one channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShapeTexture {
    /// Similarity of shape versions to originals.
    pub shape: Similarity,
    /// Similarity of texture versions.
    pub texture: Similarity,
    /// Similarity of scrambled versions.
    pub scrambled: Similarity,
    /// Half the difference of the first two, -1 (texture alone) to 1 (shape alone), with an interval over images.
    pub index: Interval,
    /// Two-sided p of the index by sign flips, corrected over channels by step-down maxT.
    pub p_adjusted: f64,
    /// What follows.
    pub coding: Coding,
}

/// Shape against texture, per channel and over all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShapeTextureAnalysis {
    /// Images.
    pub images: usize,
    /// One entry a channel.
    pub channels: Vec<ShapeTexture>,
    /// Mean index over channels, with an interval over images.
    pub mean_index: Interval,
    /// Channels that code shape more than texture, texture more than shape, both alike, and nothing that was found.
    pub counts: [usize; 4],
    /// Permutations.
    pub permutations: usize,
    /// What was compared.
    pub compare: Compare,
}

impl fmt::Display for ShapeTextureAnalysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [shape, texture, both, none] = self.counts;
        if none == self.channels.len() {
            write!(f, "no evidence of shape or texture in any of {none} channels")?;
        } else {
            write!(
                f,
                "of {} channels {shape} code shape, {texture} texture, {both} both alike, {none} neither",
                self.channels.len()
            )?;
        }
        write!(
            f,
            "; mean index {:.3} ({} % interval {:.3} to {:.3}; 1 shape, -1 texture; {} images, {} permutations)",
            self.mean_index.estimate,
            self.mean_index.level * 100.,
            self.mean_index.low,
            self.mean_index.high,
            self.images,
            self.permutations
        )
    }
}

/// Whether channels follow the shape or the texture of images.
///
/// The similarity of a version is the mean over images i and positions of z(original) z(version), with z the standard
/// score over images at each position: a correlation that ignores offsets, and differences in size between
/// versions, such as silhouettes driving more than photographs. The index is half the difference of the similarities with
/// the shape and the texture versions. It is not divided by their sum, as the shape bias of Geirhos et al. (2019) divides
/// decisions: decisions are counts, while similarities near zero, or of both signs, would make a ratio of noise.
///
/// Its null exchanges the two versions of each image, which flips the sign of the image's part of the index. Similarities
/// are tested by permutation of the images. Both versions have to come from good transforms: what the
/// silhouette fails to segment is counted against shape.
///
/// Memory: four channels and a matrix of images x images at a time, and 3 values an image and channel.
///
/// # Errors
/// When shapes differ, there are fewer than four images, values are not finite, or a channel of the originals never
/// changes. A version that never changes has similarity 0.
pub fn shape_texture(
    maps: &StimulusVersions<'_>,
    config: &ShapeTextureConfig,
    seed: Seed,
) -> Result<ShapeTextureAnalysis> {
    check(maps)?;
    let (images, channels, ..) = maps.original.dim();
    // Versions x channels, each images x images: their diagonals are the parts of the similarity.
    let mut products = Vec::with_capacity(3 * channels);
    for version in [maps.shape, maps.texture, maps.scrambled] {
        for channel in 0..channels {
            let Some(own) = standard(maps.original, channel, config.compare) else {
                return Err(constant(channel));
            };
            let other = standard(version, channel, config.compare);
            let scale = 1. / own.ncols() as f32;
            products.push(match other {
                Some(other) => matmul(own.view(), other.t())? * scale,
                None => Array2::zeros((images, images)),
            });
        }
    }
    let permutation =
        Permutation { count: config.permutations, tail: Tail::Greater, ..Permutation::default() };
    let similarities = permutation.max_t_over(
        &Scheme::free(images)?,
        |arrangement| {
            let order = arrangement.order();
            let sum =
                |p: &Array2<f32>| order.iter().enumerate().map(|(i, &j)| f64::from(p[[i, j]])).sum::<f64>();
            products.iter().map(|p| sum(p) / images as f64).collect()
        },
        seed.child("similarity"),
    )?;
    let parts: Vec<Vec<f64>> =
        products.iter().map(|p| p.diag().iter().map(|&v| f64::from(v)).collect()).collect();
    drop(products);
    let halves: Vec<Vec<f64>> = (0..channels)
        .map(|c| parts[c].iter().zip(&parts[channels + c]).map(|(s, t)| (s - t) / 2.).collect())
        .collect();
    let signs = Array2::from_shape_fn((images, channels), |(i, c)| halves[c][i] as f32);
    let p = sign_flipped(signs.view(), config.permutations, Tail::TwoSidedAbsolute, seed.child("exchange"))?;
    let bootstrap = Bootstrap { replicates: config.replicates, level: config.level, bca: false };
    let interval = |values: &[f64]| {
        let statistic = |items: &[usize]| items.iter().map(|&i| values[i]).sum::<f64>() / items.len() as f64;
        bootstrap.interval(&Resampling::items(images), statistic, seed.child("bootstrap"))
    };
    let similarity = |version: usize, channel: usize| -> Result<Similarity> {
        let at = version * channels + channel;
        Ok(Similarity { r: interval(&parts[at])?, p_adjusted: similarities.adjusted_p[at] })
    };
    let channels: Vec<ShapeTexture> = (0..channels)
        .map(|c| {
            let (shape, texture) = (similarity(0, c)?, similarity(1, c)?);
            let index = interval(&halves[c])?;
            let coding = coding(&shape, &texture, index.estimate, p[c], config.alpha);
            Ok(ShapeTexture { shape, texture, scrambled: similarity(2, c)?, index, p_adjusted: p[c], coding })
        })
        .collect::<Result<_>>()?;
    let overall: Vec<f64> =
        (0..images).map(|i| mean(&halves.iter().map(|h| h[i]).collect::<Vec<_>>())).collect();
    let count = |coding| channels.iter().filter(|c| c.coding == coding).count();
    let counts = [Coding::Shape, Coding::Texture, Coding::Both, Coding::NoEvidence].map(count);
    let mean_index = interval(&overall)?;
    let (permutations, compare) = (config.permutations, config.compare);
    Ok(ShapeTextureAnalysis { images, channels, mean_index, counts, permutations, compare })
}

fn coding(shape: &Similarity, texture: &Similarity, index: f64, p: f64, alpha: f64) -> Coding {
    let (shape, texture) = (shape.p_adjusted <= alpha, texture.p_adjusted <= alpha);
    match (shape, texture, p <= alpha) {
        (true, _, true) if index > 0. => Coding::Shape,
        (_, true, true) if index < 0. => Coding::Texture,
        (false, false, _) => Coding::NoEvidence,
        _ => Coding::Both,
    }
}

/// Standard scores over images, images x positions; `None` where nothing changes. A position that never changes
/// scores 0.
fn standard(maps: ArrayView4<'_, f32>, channel: usize, compare: Compare) -> Option<Array2<f32>> {
    let mut rows = centred_channel(maps, channel);
    let scale = largest(maps, channel);
    root_mean_square(&rows, scale)?;
    if compare == Compare::Pooled {
        rows = rows.mean_axis(Axis(1))?.insert_axis(Axis(1));
    }
    let images = rows.nrows() as f64;
    let mut live = 0;
    for mut column in rows.columns_mut() {
        let size = (column.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / images).sqrt();
        if size > 1e-6 * scale {
            live += 1;
            column.mapv_inplace(|v| (f64::from(v) / size) as f32);
        } else {
            column.fill(0.);
        }
    }
    (live > 0).then_some(rows)
}

fn check(maps: &StimulusVersions<'_>) -> Result<()> {
    let shape = maps.original.dim();
    for (name, version) in [("shape", maps.shape), ("texture", maps.texture), ("scrambled", maps.scrambled)] {
        if version.dim() != shape {
            return Err(CoreError::shape(format!("maps of {name} versions"), shape, version.shape()).into());
        }
        check_finite(&format!("maps of {name} versions"), version)?;
    }
    check_finite("maps of originals", maps.original)?;
    if shape.0 < 4 || maps.original.is_empty() {
        return Err(CoreError::value("images", "at least 4, with maps", shape.0).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::{Array4, s};

    use super::*;
    use crate::testing::{noise4, on_one_and_two_threads};

    const DIMS: [usize; 4] = [40, 4, 2, 2];

    /// Channel 0 follows shape, 1 texture, 2 both, 3 neither. Versions have offsets and sizes of their own.
    fn versions() -> [Array4<f32>; 4] {
        let (shape, texture) = (noise4("shape", DIMS), noise4("texture", DIMS));
        let mut maps = ["o", "s", "t", "p"].map(|name| noise4(name, DIMS));
        let mut add = |version: usize, channel: usize, what: &Array4<f32>| {
            let mut part = maps[version].slice_mut(s![.., channel, .., ..]);
            part.zip_mut_with(&what.slice(s![.., channel, .., ..]), |m, w| *m += 2. * w);
        };
        for channel in [0, 2] {
            add(0, channel, &shape);
            add(1, channel, &shape);
        }
        for channel in [1, 2] {
            add(0, channel, &texture);
            add(2, channel, &texture);
        }
        maps[1].mapv_inplace(|v| 3. * v + 10.);
        maps
    }

    fn run(maps: &[Array4<f32>; 4]) -> Result<ShapeTextureAnalysis> {
        let [original, shape, texture, scrambled] = maps.each_ref().map(|m| m.view());
        let config = ShapeTextureConfig { permutations: 400, replicates: 300, ..Default::default() };
        shape_texture(&StimulusVersions { original, shape, texture, scrambled }, &config, Seed::new(1))
    }

    #[test]
    fn every_kind_of_channel_is_named() {
        let maps = versions();
        let [one, two] = on_one_and_two_threads(|| run(&maps).unwrap());
        assert_eq!(one, two);
        let coding: Vec<Coding> = one.channels.iter().map(|c| c.coding).collect();
        assert_eq!(coding, [Coding::Shape, Coding::Texture, Coding::Both, Coding::NoEvidence], "{one}");
        assert_eq!(one.counts, [1, 1, 1, 1]);
        // Signal 4 of variance 5 on both sides, and nothing on the other: half of 0.8.
        assert!((one.channels[0].index.estimate - 0.4).abs() < 0.1, "{one:?}");
        assert!((one.channels[1].index.estimate + 0.4).abs() < 0.1, "{one:?}");
        assert!(one.channels.iter().all(|c| c.scrambled.p_adjusted > 0.05));
        assert!(one.mean_index.low < 0. && one.mean_index.high > 0.);
    }

    #[test]
    fn noise_is_no_evidence_and_nonsense_is_refused() {
        let mut maps = ["o", "s", "t", "p"].map(|name| noise4(name, DIMS));
        let none = run(&maps).unwrap();
        assert_eq!(none.counts, [0, 0, 0, 4], "{none}");
        assert!(none.to_string().starts_with("no evidence"));
        maps[2].fill(1.);
        assert_eq!(run(&maps).unwrap().channels[0].texture.r.estimate, 0.);
        maps[0].slice_mut(s![.., 1, .., ..]).fill(2.);
        assert!(run(&maps).is_err());
        maps[3] = noise4("p", [40, 4, 2, 1]);
        assert!(run(&maps).is_err());
    }
}
