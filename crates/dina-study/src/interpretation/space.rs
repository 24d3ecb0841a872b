//! Which channels are shared, where on their maps, and what part of the screen they see.

use dina_core::Seed;
use dina_interp::space::{
    Extent, ExtentConfig, Footprint, FootprintConfig, LevelAlignability, LevelMaps, Place, ProfileConfig,
    SpatialProfile, Spread, alignability_levels, reverse_correlation, spatial_profile, spread,
};
use dina_interp::{AlignabilityConfig, alignability};
use dina_stats::multiplicity::holm;
use ndarray::{Array3, ArrayView3};
use serde::{Deserialize, Serialize};

use super::InterpretationConfig;
use super::material::{Material, Side};
use crate::Result;

/// Where the channels of one level are aligned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelProfile {
    /// The level.
    pub level: String,
    /// Height and width of a position, in degrees.
    pub degrees: [f64; 2],
    /// Channel by channel.
    pub channels: Vec<SpatialProfile>,
}

/// A channel that is looked at more closely, and the position of it that stands for the channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChosenChannel {
    /// The level.
    pub level: String,
    /// The channel.
    pub channel: usize,
    /// Row and column of the position with the largest correlation over the images of choice.
    pub position: [usize; 2],
    /// Alignability of the channel on the images of choice.
    pub chosen_by: f64,
    /// Its alignability on test images, which had no part in the choice.
    pub r: f64,
    /// p of that, corrected over all channels.
    pub p_adjusted: f64,
}

/// What a channel sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelFootprint {
    /// The level.
    pub level: String,
    /// The channel.
    pub channel: usize,
    /// Row and column of the position whose neural map is correlated with the images.
    pub position: [usize; 2],
    /// The footprint, in degrees from the upper left corner of the screen.
    pub footprint: Footprint,
    /// p of the largest correlation, corrected over pixels by maxT and over channels by Holm.
    pub p_adjusted: f64,
}

impl ChannelFootprint {
    /// Name of the channel.
    pub fn name(&self) -> String {
        format!("{} {}", self.level, self.channel)
    }
}

/// Alignability of every channel on the images of choice and the position at which it is largest.
pub(super) struct Choice {
    pub level: usize,
    pub channel: usize,
    pub r: f64,
    pub position: [usize; 2],
}

/// Every channel, the best of the images of choice first. Nothing is tested here.
pub(super) fn choose(material: &Material<'_>) -> Result<Vec<Choice>> {
    let Side { image, neural, .. } = &material.choice;
    let mut all = Vec::new();
    for (level, (image, neural)) in image.iter().zip(neural).enumerate() {
        let config = AlignabilityConfig { permutations: 1, ..Default::default() };
        let found = alignability(image, neural, &config, Seed::new(0))?;
        for (channel, aligned) in found.channels.iter().enumerate() {
            let position = best_position(image, neural, channel);
            all.push(Choice { level, channel, r: aligned.r, position });
        }
    }
    all.sort_by(|a, b| b.r.total_cmp(&a.r));
    Ok(all)
}

/// Where the correlation over images of both maps is largest; the first position where nothing varies.
fn best_position(image: &ndarray::Array4<f32>, neural: &ndarray::Array4<f32>, channel: usize) -> [usize; 2] {
    let (images, _, height, width) = image.dim();
    let mut best = ([0, 0], f64::NEG_INFINITY);
    for row in 0..height {
        for column in 0..width {
            let mut sums = [0.; 5];
            for i in 0..images {
                let [a, b] = [image, neural].map(|maps| f64::from(maps[[i, channel, row, column]]));
                sums.iter_mut().zip([a, b, a * a, b * b, a * b]).for_each(|(s, v)| *s += v / images as f64);
            }
            let [a, b, aa, bb, ab] = sums;
            let size = (aa - a * a) * (bb - b * b);
            let r = if size > 0. { (ab - a * b) / size.sqrt() } else { f64::NEG_INFINITY };
            if r > best.1 {
                best = ([row, column], r);
            }
        }
    }
    best.0
}

/// Alignability of every channel of every level, on test images.
pub(super) fn aligned(m: &Material<'_>, c: &InterpretationConfig, seed: Seed) -> Result<LevelAlignability> {
    let pairs = m.test.image.iter().zip(&m.test.neural);
    let levels: Vec<LevelMaps<'_>> = m
        .levels
        .iter()
        .zip(pairs)
        .map(|(level, (image, neural))| LevelMaps {
            name: &level.name,
            image: image.view(),
            neural: neural.view(),
        })
        .collect();
    let config = AlignabilityConfig { permutations: c.permutations, ..Default::default() };
    Ok(alignability_levels(&levels, &config, seed)?)
}

/// Where the channels of every level are aligned, on test images.
pub(super) fn profiles(m: &Material<'_>, c: &InterpretationConfig, seed: Seed) -> Result<Vec<LevelProfile>> {
    let pairs = m.test.image.iter().zip(&m.test.neural).enumerate();
    pairs
        .map(|(level, (image, neural))| {
            let degrees = m.degrees(level);
            let mut config = ProfileConfig { permutations: c.permutations, ..ProfileConfig::new(degrees) };
            config.extent.draws = c.replicates;
            let channels = spatial_profile(image.view(), neural.view(), &config, seed.index(level))?;
            Ok(LevelProfile { level: m.levels[level].name.clone(), degrees, channels })
        })
        .collect()
}

/// What every channel sees: at the position chosen beforehand, the correlation over test images of its neural map with
/// the local contrast of the images.
pub(super) fn footprints(
    m: &Material<'_>,
    choices: &[Choice],
    c: &InterpretationConfig,
    seed: Seed,
) -> Result<Vec<ChannelFootprint>> {
    let contrast = local_contrast(m.test.pixels.view());
    let (_, rows, columns) = contrast.dim();
    let [top, left, height, width] = m.fold.window.window.degrees().map(f64::from);
    let degrees = [height / rows as f64, width / columns as f64];
    let replicates = c.replicates.min(200);
    let config =
        FootprintConfig { permutations: c.permutations, replicates, ..FootprintConfig::new(degrees) };
    let mut found = Vec::new();
    for choice in choices {
        let [row, column] = choice.position;
        let maps = &m.test.neural[choice.level];
        let response: Vec<f64> =
            maps.slice(ndarray::s![.., choice.channel, row, column]).iter().map(|&v| f64::from(v)).collect();
        // A unit that is the same for every image sees nothing.
        if response.iter().all(|v| *v == response[0]) {
            continue;
        }
        let seed = seed.index(choice.level).index(choice.channel);
        let mut footprint = reverse_correlation(contrast.view(), &response, &config, seed)?;
        footprint.row += top;
        footprint.column += left;
        if let Some([rows, columns, _]) = &mut footprint.intervals {
            rows.iter_mut().for_each(|v| *v += top);
            columns.iter_mut().for_each(|v| *v += left);
        }
        let level = m.levels[choice.level].name.clone();
        let p_adjusted = footprint.p.unwrap_or(1.);
        found.push(ChannelFootprint {
            level,
            channel: choice.channel,
            position: choice.position,
            footprint,
            p_adjusted,
        });
    }
    if !found.is_empty() {
        let p = holm(&found.iter().map(|f| f.p_adjusted).collect::<Vec<_>>())?;
        found.iter_mut().zip(p).for_each(|(f, p)| f.p_adjusted = p);
    }
    Ok(found)
}

/// How far the footprints with a field are apart, on the part of the screen that is analysed.
pub(super) fn footprint_spread(
    m: &Material<'_>,
    footprints: &[ChannelFootprint],
    c: &InterpretationConfig,
    seed: Seed,
) -> Result<Spread> {
    let [top, left, height, width] = m.fold.window.window.degrees().map(f64::from);
    let places: Vec<Place> = footprints
        .iter()
        .filter(|f| f.p_adjusted <= super::ALPHA)
        .map(|f| Place {
            row: (f.footprint.row - top).clamp(0., height),
            column: (f.footprint.column - left).clamp(0., width),
            weight: 1.,
        })
        .collect();
    let config = ExtentConfig { draws: c.replicates, ..Default::default() };
    Ok(spread(&places, [height, width], &config, seed)?)
}

/// The standard deviation of pixels around each, 3 x 3, smaller at the border: the contrast that complex cells answer to.
fn local_contrast(images: ArrayView3<'_, f32>) -> Array3<f32> {
    let (_, height, width) = images.dim();
    Array3::from_shape_fn(images.raw_dim(), |(i, y, x)| {
        let rows = y.saturating_sub(1)..(y + 2).min(height);
        let columns = x.saturating_sub(1)..(x + 2).min(width);
        let around = images.slice(ndarray::s![i, rows, columns]);
        let count = around.len() as f32;
        let mean = around.sum() / count;
        (around.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / count).sqrt()
    })
}

/// One sentence on all profiles.
pub(super) fn extents(profiles: &[LevelProfile]) -> String {
    let all = || profiles.iter().flat_map(|level| &level.channels);
    let count = |extent| all().filter(|p| p.extent == extent).count();
    let (of, nowhere) = (all().count(), count(Extent::NoEvidence));
    if nowhere == of {
        return format!("no evidence of alignment at any position in any of {of} channels");
    }
    let regions: usize = all().map(|p| p.regions.len()).sum();
    format!(
        "{} of {of} channels are aligned somewhere, in {regions} regions in all: {} local, {} distributed, {} undecided (adjusted \
         p <= 0.05, step-down maxT over positions and channels)",
        of - nowhere,
        count(Extent::Local),
        count(Extent::Distributed),
        count(Extent::Undecided)
    )
}

/// One sentence on all footprints.
pub(super) fn seen(footprints: &[ChannelFootprint], spread: Option<&Spread>) -> String {
    let found: Vec<&ChannelFootprint> = footprints.iter().filter(|f| f.p_adjusted <= super::ALPHA).collect();
    let of = footprints.len();
    let correction = "maxT over pixels, Holm over channels";
    if found.is_empty() {
        return format!("no evidence of a receptive field in any of {of} channels ({correction})");
    }
    let mut areas: Vec<f64> = found.iter().map(|f| f.footprint.area).collect();
    areas.sort_by(f64::total_cmp);
    let mut said = format!(
        "{} of {of} channels have a receptive field (adjusted p <= 0.05, {correction}), of {:.0} square degrees at half maximum \
         (median; {:.0} to {:.0})",
        found.len(),
        areas[areas.len() / 2],
        areas[0],
        areas[areas.len() - 1]
    );
    if let Some(spread) = spread {
        said += &format!("; their centres are {spread}");
    }
    said
}
