//! Images that are nearly the same picture.

use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::linear::normalise_rows;
use crate::resample::Resampler;
use crate::{Error, Images, Result};

/// The correlation above which two images count as near duplicates, if nothing else is said.
///
/// Between different natural scenes the correlation of the coarse versions that
/// [`near_duplicates`] compares stays below 0.7; a shift by 2 % of the width leaves a median of
/// 0.92.
pub const DUPLICATE_CORRELATION: f32 = 0.9;

/// Cells of the coarse version whose correlation is taken.
const CELLS: usize = 1024;
/// Images compared in one unit of work.
const BLOCK: usize = 128;
/// Part of the trusted hash bits that may differ. Different natural scenes differ in 12 of 64 or
/// more; images shifted by 2 % of the width in 11 or fewer, 19 times of 20.
const HASH_DIFFERENCE: f32 = 12.0 / 64.0;
/// Grey levels below which a difference between hash cells says nothing: it may be the noise of
/// another compression of the same picture.
const FLAT: f32 = 2.0;

/// Groups images that are nearly the same picture: per image the number of its group, counted from
/// 0 in the order in which groups first appear. An image without a near duplicate is its own group.
///
/// Two images are joined when both hold:
/// - a perceptual hash agrees: whether grey rises or falls between horizontal neighbours of an 8 x 9
///   grid, 64 bits; of those at which both images change by 2 grey levels, at most 3 in 16 may
///   differ;
/// - the Pearson correlation of their coarse versions (about 1,024 square cells) is at least
///   `threshold` ([`DUPLICATE_CORRELATION`] unless there is a reason for another).
///
/// Brightness and contrast do not matter; a mirrored or strongly cropped copy is another image.
/// Uniform images have no correlation: they are joined when their grey levels differ by at most
/// one. Joining is transitive. Memory is linear in the number of images, time quadratic.
///
/// # Errors
/// When the threshold is not above 0 and at most 1, or the images have no pixels.
pub fn near_duplicates(images: &Images, threshold: f32) -> Result<Vec<usize>> {
    let compared = Compared::of(images, threshold)?;
    let mut groups = UnionFind::new(images.len());
    for pair in compared.pairs(threshold) {
        groups.join(pair.first, pair.second);
    }
    join_uniform(&mut groups, &compared.uniform, &compared.levels);
    Ok(groups.numbered())
}

/// Two images that are nearly the same picture, and what says so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DuplicatePair {
    /// The image of the smaller number, counted from 0.
    pub first: usize,
    /// The other.
    pub second: usize,
    /// Pearson correlation of the coarse versions.
    pub correlation: f32,
    /// Share of the trusted bits of the perceptual hash that differ.
    pub hash_difference: f32,
}

/// The pairs that [`near_duplicates`] joins, by both criteria, to be looked at. Ordered by image.
/// Uniform images, which are joined by their grey, are not among them.
///
/// # Errors
/// As [`near_duplicates`].
pub fn duplicate_pairs(images: &Images, threshold: f32) -> Result<Vec<DuplicatePair>> {
    let mut pairs = Compared::of(images, threshold)?.pairs(threshold);
    pairs.sort_unstable_by_key(|pair| (pair.first, pair.second));
    Ok(pairs)
}

/// What images are compared by.
struct Compared {
    /// Coarse versions, each of mean 0 and length 1.
    coarse: Array2<f32>,
    /// Mean grey levels.
    levels: Vec<f32>,
    hashes: Vec<Hash>,
    uniform: Vec<bool>,
}

impl Compared {
    fn of(images: &Images, threshold: f32) -> Result<Self> {
        check(images, threshold)?;
        let (_, height, width) = images.pixels.dim();
        let mut coarse = coarse(images, coarse_size(height, width));
        let levels = coarse.rows().into_iter().map(|row| row.mean().unwrap_or(0.0)).collect();
        normalise_rows(&mut coarse);
        let uniform = coarse.rows().into_iter().map(|row| row.iter().all(|&v| v == 0.0)).collect();
        Ok(Self { levels, hashes: hashes(images), uniform, coarse })
    }

    /// Pairs that agree in both respects.
    fn pairs(&self, threshold: f32) -> Vec<DuplicatePair> {
        let count = self.coarse.nrows();
        let starts: Vec<usize> = (0..count).step_by(BLOCK).collect();
        let blocks: Vec<(usize, usize)> = starts
            .iter()
            .flat_map(|&a| starts.iter().filter(move |&&b| b >= a).map(move |&b| (a, b)))
            .collect();
        // Rounding must not part an image from its exact copy at a threshold of 1.
        let threshold = threshold - 1e-4;
        blocks
            .par_iter()
            .flat_map_iter(|&(a, b)| {
                let rows = |start: usize| self.coarse.slice(s![start..(start + BLOCK).min(count), ..]);
                alike(rows(a), rows(b), threshold)
                    .into_iter()
                    .map(move |(i, j, correlation)| (a + i, b + j, correlation))
                    .filter(|(i, j, _)| i < j)
            })
            .filter_map(|(first, second, correlation)| {
                let hash_difference = self.hashes[first].difference(self.hashes[second]);
                (hash_difference <= HASH_DIFFERENCE).then_some(DuplicatePair {
                    first,
                    second,
                    correlation,
                    hash_difference,
                })
            })
            .collect()
    }
}

fn check(images: &Images, threshold: f32) -> Result<()> {
    if !(threshold > 0.0 && threshold <= 1.0) {
        return Err(Error::Core(dina_core::Error::value(
            "near-duplicate threshold",
            "above 0 and at most 1",
            threshold,
        )));
    }
    let (_, height, width) = images.pixels.dim();
    if height == 0 || width == 0 {
        return Err(Error::Core(dina_core::Error::value(
            "image size",
            "at least 1 x 1",
            format!("{height} x {width}"),
        )));
    }
    Ok(())
}

/// Height and width of the coarse version: square cells, about [`CELLS`] of them, never finer than
/// the image.
fn coarse_size(height: usize, width: usize) -> (usize, usize) {
    let cell = ((height * width) as f64 / CELLS as f64).sqrt().max(1.0);
    let count = |pixels: usize| ((pixels as f64 / cell).round() as usize).clamp(1, pixels);
    (count(height), count(width))
}

/// Images x cells.
fn coarse(images: &Images, size: (usize, usize)) -> Array2<f32> {
    let (count, height, width) = images.pixels.dim();
    let resampler = Resampler::new((height, width), size);
    let mut out = ndarray::Array3::zeros((count, size.0, size.1));
    out.axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(images.pixels.axis_iter(Axis(0)))
        .for_each(|(out, image)| resampler.apply(image, f32::from, out));
    let values = out.into_raw_vec_and_offset().0;
    // The length is the product of the dimensions just allocated.
    Array2::from_shape_vec((count, size.0 * size.1), values).unwrap_or_default()
}

/// Pairs of rows whose scalar product reaches the threshold, and that product.
fn alike(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, threshold: f32) -> Vec<(usize, usize, f32)> {
    a.dot(&b.t())
        .indexed_iter()
        .filter(|&(_, &correlation)| correlation >= threshold)
        .map(|((i, j), &correlation)| (i, j, correlation))
        .collect()
}

/// A difference hash that knows which of its bits can be trusted.
#[derive(Clone, Copy, Default)]
struct Hash {
    rises: u64,
    sure: u64,
}

impl Hash {
    /// Share of the bits that both trust in which they differ; 0 where there is none.
    fn difference(self, other: Self) -> f32 {
        let sure = self.sure & other.sure;
        let differ = (self.rises ^ other.rises) & sure;
        differ.count_ones() as f32 / sure.count_ones().max(1) as f32
    }
}

fn hashes(images: &Images) -> Vec<Hash> {
    let cells = coarse(images, (8, 9));
    cells
        .rows()
        .into_iter()
        .map(|cells| {
            let mut hash = Hash::default();
            for bit in 0..64 {
                let left = bit / 8 * 9 + bit % 8;
                let change = cells[left + 1] - cells[left];
                hash.rises |= u64::from(change > 0.0) << bit;
                hash.sure |= u64::from(change.abs() > FLAT) << bit;
            }
            hash
        })
        .collect()
}

fn join_uniform(groups: &mut UnionFind, uniform: &[bool], levels: &[f32]) {
    let mut images: Vec<usize> = (0..uniform.len()).filter(|&i| uniform[i]).collect();
    images.sort_by(|&a, &b| levels[a].total_cmp(&levels[b]));
    for pair in images.windows(2) {
        if levels[pair[1]] - levels[pair[0]] <= 1.0 {
            groups.join(pair[0], pair[1]);
        }
    }
}

struct UnionFind {
    parent: Vec<usize>,
}

impl UnionFind {
    fn new(count: usize) -> Self {
        Self { parent: (0..count).collect() }
    }

    fn root(&mut self, mut item: usize) -> usize {
        while self.parent[item] != item {
            self.parent[item] = self.parent[self.parent[item]];
            item = self.parent[item];
        }
        item
    }

    /// The smaller root stays one, so that the outcome does not depend on the order of joining.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }

    fn numbered(mut self) -> Vec<usize> {
        let mut number = vec![None; self.parent.len()];
        let mut next = 0;
        (0..self.parent.len())
            .map(|item| {
                let root = self.root(item);
                *number[root].get_or_insert_with(|| {
                    next += 1;
                    next - 1
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use dina_core::Seed;
    use ndarray::Array3;
    use proptest::prelude::*;
    use rand::RngExt;

    use super::*;

    /// Random blobs: smooth, like natural images at the scale that is compared.
    fn scenes(count: usize, seed: u64) -> Array3<u8> {
        let mut stream = Seed::new(seed).stream("scenes");
        let mut pixels = Array3::zeros((count, 40, 60));
        for mut image in pixels.axis_iter_mut(Axis(0)) {
            let blobs: Vec<[f32; 4]> = (0..60)
                .map(|_| {
                    [
                        stream.random_range(0.0..40.0),
                        stream.random_range(0.0..60.0),
                        stream.random_range(1.0..6.0),
                        stream.random_range(-80.0..80.0),
                    ]
                })
                .collect();
            for ((y, x), pixel) in image.indexed_iter_mut() {
                let sum: f32 = blobs
                    .iter()
                    .map(|[cy, cx, r, a]| {
                        let d = (y as f32 - cy).powi(2) + (x as f32 - cx).powi(2);
                        a * (-d / (2.0 * r * r)).exp()
                    })
                    .sum();
                *pixel = (120.0 + sum).clamp(0.0, 255.0) as u8;
            }
        }
        pixels
    }

    fn images(pixels: Array3<u8>) -> Images {
        Images { pixels, degrees_per_pixel: 1.0 }
    }

    #[test]
    fn copies_are_joined_and_scenes_are_not() {
        let mut pixels = scenes(300, 1);
        // 7: an exact copy of 3; 9: darker with less contrast; 250: noisy, in another block;
        // 260: shifted by a pixel.
        let original = pixels.index_axis(Axis(0), 3).to_owned();
        let mut stream = Seed::new(2).stream("noise");
        pixels.index_axis_mut(Axis(0), 7).assign(&original);
        pixels.index_axis_mut(Axis(0), 9).assign(&original.mapv(|v| 10 + v / 2));
        pixels
            .index_axis_mut(Axis(0), 250)
            .assign(&original.mapv(|v| v.saturating_add_signed(stream.random_range(-12i8..=12))));
        pixels.slice_mut(s![260, .., 1..]).assign(&original.slice(s![.., ..59]));
        let images = images(pixels);
        let groups = near_duplicates(&images, DUPLICATE_CORRELATION).unwrap();
        let pairs = duplicate_pairs(&images, DUPLICATE_CORRELATION).unwrap();
        assert!(
            pairs
                .iter()
                .any(|p| (p.first, p.second) == (3, 7) && p.correlation > 0.999 && p.hash_difference == 0.0)
        );
        assert!(pairs.iter().all(|p| groups[p.first] == groups[p.second]));
        assert!(pairs.is_sorted_by_key(|p| (p.first, p.second)));
        for copy in [7, 9, 250, 260] {
            assert_eq!(groups[copy], 3, "image {copy}");
        }
        let mut others = groups.clone();
        others.sort_unstable();
        others.dedup();
        assert_eq!(others.len(), 296, "different scenes were joined");
    }

    #[test]
    fn uniform_images_are_joined_by_their_grey() {
        let mut pixels = scenes(4, 3);
        for (image, grey) in [(0, 128), (2, 129), (3, 10)] {
            pixels.index_axis_mut(Axis(0), image).fill(grey);
        }
        assert_eq!(near_duplicates(&images(pixels), 0.9).unwrap(), [0, 1, 0, 2]);
    }

    #[test]
    fn wrong_input_is_refused() {
        for threshold in [0.0, 1.5, f32::NAN] {
            assert!(near_duplicates(&images(scenes(2, 0)), threshold).is_err());
        }
        assert!(near_duplicates(&images(Array3::zeros((3, 0, 5))), 0.9).is_err());
        let none = images(Array3::zeros((0, 5, 5)));
        assert!(near_duplicates(&none, 0.9).unwrap().is_empty());
    }

    #[test]
    fn one_thread_and_two_agree() {
        let images = images(scenes(200, 4));
        let run = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| near_duplicates(&images, 0.5).unwrap())
        };
        assert_eq!(run(1), run(2));
    }

    proptest! {
        /// Groups do not depend on the order of joining, and numbers follow first appearance.
        #[test]
        fn groups_are_the_connected_components(
            pairs in prop::collection::vec((0usize..20, 0usize..20), 0..25),
        ) {
            let group = |pairs: &mut dyn Iterator<Item = &(usize, usize)>| {
                let mut groups = UnionFind::new(20);
                pairs.for_each(|&(a, b)| groups.join(a, b));
                groups.numbered()
            };
            let groups = group(&mut pairs.iter());
            prop_assert_eq!(&groups, &group(&mut pairs.iter().rev()));
            for &(a, b) in &pairs {
                prop_assert_eq!(groups[a], groups[b]);
            }
            let mut seen = 0;
            for &g in &groups {
                prop_assert!(g <= seen);
                seen = seen.max(g + 1);
            }
        }
    }
}
