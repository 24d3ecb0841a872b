use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    bootstrap::{Bootstrap, Interval, Resampling},
    permutation::{Tail, step_down_max_t},
};
use ndarray::{ArrayView4, Axis, concatenate};
use serde::{Deserialize, Serialize};

use crate::{
    AlignabilityConfig, Result,
    alignability::{central, level_null, orders},
    score::check_pair,
};

/// The maps of both towers at one level.
#[derive(Debug, Clone, Copy)]
pub struct LevelMaps<'a> {
    /// Its name.
    pub name: &'a str,
    /// `[images, channels, height, width]`.
    pub image: ArrayView4<'a, f32>,
    /// The same of the neural tower.
    pub neural: ArrayView4<'a, f32>,
}

/// Alignability of one channel of one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlignedChannel {
    /// The level.
    pub level: String,
    /// The channel within it.
    pub channel: usize,
    /// Correlation of the two maps over images and positions, with a percentile bootstrap interval over images.
    pub r: Interval,
    /// Lower end of the central null interval.
    pub null_low: f64,
    /// Upper end.
    pub null_high: f64,
    /// One-sided p, corrected over all channels of all levels by step-down maxT.
    pub p_adjusted: f64,
}

/// Alignability of every channel of every level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelAlignability {
    /// Held-out images.
    pub images: usize,
    /// Permutations.
    pub permutations: usize,
    /// Coverage of intervals and null intervals.
    pub coverage: f64,
    /// Channel by channel, in the order of the levels.
    pub channels: Vec<AlignedChannel>,
}

impl LevelAlignability {
    /// Channels whose adjusted p is at most `alpha`.
    pub fn significant(&self, alpha: f64) -> impl Iterator<Item = &AlignedChannel> {
        self.channels.iter().filter(move |c| c.p_adjusted <= alpha)
    }
}

impl fmt::Display for LevelAlignability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&str> = self.channels.iter().map(|c| c.level.as_str()).collect();
        names.dedup();
        if self.significant(0.05).next().is_none() {
            write!(f, "no evidence of alignment in any of {} channels", self.channels.len())?;
        } else {
            for (i, name) in names.iter().enumerate() {
                let found = self.significant(0.05).filter(|c| c.level == *name).count();
                let of = self.channels.iter().filter(|c| c.level == *name).count();
                write!(f, "{}{name}: {found} of {of} channels aligned", if i == 0 { "" } else { ", " })?;
            }
        }
        write!(
            f,
            " (adjusted p <= 0.05, step-down maxT over all levels, {} images, {} permutations)",
            self.images, self.permutations
        )
    }
}

/// Alignability of every channel of several levels, as [`crate::alignability`] of each, but corrected over all channels of all
/// levels and with intervals.
///
/// Each permutation of the images is used for all levels, so that the correction knows how levels go together. The
/// interval resamples images; correlations are over the images and positions drawn.
///
/// Memory: one matrix of images x images, and permutations x channels of all levels in double precision.
///
/// # Errors
/// As [`crate::alignability`]; without a level, for a name that occurs twice, or levels of different numbers of
/// images.
pub fn alignability_levels(
    levels: &[LevelMaps<'_>],
    config: &AlignabilityConfig,
    seed: Seed,
) -> Result<LevelAlignability> {
    let Some(first) = levels.first() else {
        return Err(CoreError::Level("at least one level is needed".into()).into());
    };
    let images = first.image.len_of(Axis(0));
    for (i, level) in levels.iter().enumerate() {
        check_pair(level.image, level.neural)?;
        if levels[..i].iter().any(|other| other.name == level.name) {
            return Err(CoreError::Level(format!("level `{}` occurs twice", level.name)).into());
        }
        if level.image.len_of(Axis(0)) != images {
            let what = format!("images of level `{}`", level.name);
            return Err(CoreError::shape(what, images, level.image.len_of(Axis(0))).into());
        }
    }
    let orders = orders(images, config.permutations, seed);
    let mut observed = Vec::new();
    let mut nulls = Vec::new();
    for level in levels {
        let (r, null) = level_null(level.image, level.neural, &orders)?;
        observed.extend(r);
        nulls.push(null);
    }
    let views: Vec<_> = nulls.iter().map(|null| null.view()).collect();
    let null = concatenate(Axis(1), &views)
        .map_err(|_| CoreError::shape("permutations of levels", config.permutations, "others"))?;
    let adjusted = step_down_max_t(&observed, null.view(), Tail::Greater)?.adjusted_p;
    let bootstrap = Bootstrap { level: config.coverage, bca: false, ..Bootstrap::default() };
    let mut channels = Vec::new();
    for level in levels {
        for channel in 0..level.image.len_of(Axis(1)) {
            let moments = moments(level, channel);
            let index = channels.len();
            let (null_low, null_high) = central(null.column(index).to_vec(), config.coverage);
            channels.push(AlignedChannel {
                level: level.name.into(),
                channel,
                r: bootstrap.interval(
                    &Resampling::items(images),
                    |items| correlation(&moments, items),
                    seed.child("bootstrap"),
                )?,
                null_low,
                null_high,
                p_adjusted: adjusted[index],
            });
        }
    }
    Ok(LevelAlignability { images, permutations: config.permutations, coverage: config.coverage, channels })
}

/// Sums over the positions of each image, of a, b, a^2, b^2 and a b, about the overall means.
fn moments(level: &LevelMaps<'_>, channel: usize) -> Vec<[f64; 5]> {
    let maps = [level.image, level.neural].map(|maps| maps.index_axis_move(Axis(1), channel));
    let [a_mean, b_mean] =
        [0, 1].map(|side| maps[side].iter().map(|&v| f64::from(v)).sum::<f64>() / maps[side].len() as f64);
    maps[0]
        .outer_iter()
        .zip(maps[1].outer_iter())
        .map(|(a, b)| {
            let mut sums = [0.; 5];
            for (&a, &b) in a.iter().zip(&b) {
                let (a, b) = (f64::from(a) - a_mean, f64::from(b) - b_mean);
                sums.iter_mut().zip([a, b, a * a, b * b, a * b]).for_each(|(sum, v)| *sum += v);
            }
            sums.map(|sum| sum / a.len() as f64)
        })
        .collect()
}

/// Over the images drawn; 0 where a resample holds nothing that varies.
fn correlation(moments: &[[f64; 5]], items: &[usize]) -> f64 {
    let mut means = [0.; 5];
    for &i in items {
        means.iter_mut().zip(moments[i]).for_each(|(sum, v)| *sum += v / items.len() as f64);
    }
    let [a, b, aa, bb, ab] = means;
    let spread = (aa - a * a) * (bb - b * b);
    if spread > 0. { (ab - a * b) / spread.sqrt() } else { 0. }
}

#[cfg(test)]
mod tests {
    use ndarray::s;

    use super::*;
    use crate::{alignability, testing::noise4};

    #[test]
    fn levels_share_one_correction() {
        let (fine, coarse) = (noise4("fine", [40, 3, 4, 4]), noise4("coarse", [40, 2, 2, 2]));
        let mut neural = [noise4("n fine", [40, 3, 4, 4]), noise4("n coarse", [40, 2, 2, 2])];
        neural[0].slice_mut(s![.., 1, .., ..]).zip_mut_with(&fine.slice(s![.., 1, .., ..]), |n, i| *n += i);
        let levels = [
            LevelMaps { name: "fine", image: fine.view(), neural: neural[0].view() },
            LevelMaps { name: "coarse", image: coarse.view(), neural: neural[1].view() },
        ];
        let config = AlignabilityConfig { permutations: 500, ..Default::default() };
        let found = alignability_levels(&levels, &config, Seed::new(1)).unwrap();
        let aligned: Vec<_> = found.significant(0.05).map(|c| (c.level.as_str(), c.channel)).collect();
        assert_eq!(aligned, [("fine", 1)]);
        let alone = alignability(&fine, &neural[0], &config, Seed::new(1)).unwrap();
        for (one, all) in alone.channels.iter().zip(&found.channels) {
            assert!((one.r - all.r.estimate).abs() < 1e-5);
            assert!(one.p_adjusted <= all.p_adjusted + 1e-12);
        }
        let r = &found.channels[1].r;
        assert!(r.low < 0.5f64.sqrt() && r.high > 0.5f64.sqrt() && r.low > 0.6, "{r}");
        assert_eq!(
            found.to_string().split(" (").next(),
            Some("fine: 1 of 3 channels aligned, coarse: 0 of 2 channels aligned")
        );
        assert!(alignability_levels(&[levels[0], levels[0]], &config, Seed::new(1)).is_err());
        assert!(alignability_levels(&[], &config, Seed::new(1)).is_err());
    }
}
