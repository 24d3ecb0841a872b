use dina_core::Seed;
use dina_data::simulate::Population;
use dina_interp::space::{Place, mean_distance};
use dina_stats::permutation::{Permutation, Scheme, Tail};
use ndarray::{Array2, Array4, ArrayView2, Axis};
use rand::RngExt;

use super::accuracy::ACCURACY;
use super::{Case, Claim, Effect, Experiment, Measured, Pairing, Sight};
use crate::Result;
use crate::job::test_maps;

/// Claim 3, space: what is aligned lies in distant parts of the visual field.
#[derive(Debug, Clone, Copy, Default)]
pub struct DistributedRegions;

/// Spread, as a share of that of places anywhere, below which alignment is local.
const LOCAL: f64 = 0.5;

/// How far above that it has to be.
const SMALLEST: f64 = 0.25;

/// Random places that the spread anywhere is computed from.
const ANYWHERE: usize = 4000;

impl Claim for DistributedRegions {
    fn experiment(&self) -> Experiment {
        Experiment {
            statistic: "mean distance of two positions whose maps agree over test images (correlation averaged over channels, \
                step-down maxT over positions at 0.05), weighted by agreement, over the mean distance of two places \
                anywhere on the screen".into(),
            null: format!("it is {LOCAL}: alignment is local"),
            exchangeable: "which response belongs to which test image, for the positions; images are resampled".into(),
            effect: format!("relative distance above {LOCAL}"),
            smallest: SMALLEST,
            requires: vec![ACCURACY.into()],
            holds_on: vec![Population::Distributed],
            fails_on: vec![Population::Local, Population::Null],
            ..Experiment::new(
                "distributed",
                "Claim 3: distributed regions, shape and texture",
                "The aligned maps come from spatially distributed regions of the image.",
            )
        }
    }

    fn measure(&self, case: &Case<'_>, seed: Seed) -> Result<Measured> {
        let aligned = case.aligned(Sight::Full, Pairing::Shown)?;
        // Maps of different folds are of different models, in different windows: one is looked at.
        let (fold, trained) = (&aligned.folds[0], &aligned.trained[0]);
        let (image, neural) = test_maps(case.dataset, fold, trained)?;
        let products = Products::new(&image, &neural);
        let images = image.len_of(Axis(0));
        let test = Permutation {
            count: case.settings.permutations.min(999),
            tail: Tail::Greater,
            ..Permutation::default()
        };
        let found = test.max_t_over(
            &Scheme::free(images)?,
            |arrangement| products.agreement(arrangement.order()),
            seed.child("positions"),
        )?;
        let kept = found.significant(0.05);
        if kept.len() < 3 {
            let why = format!("the maps agree significantly at {} positions; a spread needs 3", kept.len());
            return Ok(Measured::Impossible(why));
        }
        let (_, _, height, width) = image.dim();
        let [top, left, down, across] = fold.window.window.degrees().map(f64::from);
        let place = |position: usize, weight: f64| Place {
            row: top + ((position / width) as f64 + 0.5) * down / height as f64,
            column: left + ((position % width) as f64 + 0.5) * across / width as f64,
            weight,
        };
        let (_, rows, columns) = case.dataset.images.pixels.dim();
        let screen = [rows, columns].map(|n| n as f64 * f64::from(case.dataset.images.degrees_per_pixel));
        let anywhere = anywhere(screen, seed.child("anywhere"));
        let moments: Vec<Vec<[f64; 3]>> = kept.iter().map(|&p| products.moments(p)).collect();
        let relative = |items: &[usize]| {
            let weighted =
                kept.iter().zip(&moments).map(|(&p, moments)| place(p, correlation(moments, items)));
            let places: Vec<Place> = weighted.collect();
            // Where nothing agrees in a resample, nothing is apart.
            mean_distance(&places).unwrap_or(0.) / anywhere - LOCAL
        };
        let mut effect = Effect::resampled(images, relative, SMALLEST, &case.settings, seed.child("images"))?;
        let positions = (height * width) as f64;
        effect.details.insert("aligned_positions".into(), kept.len() as f64);
        effect.details.insert("share_of_window".into(), kept.len() as f64 / positions);
        effect.details.insert("relative_distance".into(), effect.estimate + LOCAL);
        Ok(Measured::Effect(effect))
    }
}

/// Mean distance of two random places of a screen, in degrees.
fn anywhere(screen: [f64; 2], seed: Seed) -> f64 {
    let mut stream = seed.stream("places");
    let mut distance = || {
        let mut apart = |size: f64| size * (stream.random::<f64>() - stream.random::<f64>());
        apart(screen[0]).hypot(apart(screen[1]))
    };
    (0..ANYWHERE).map(|_| distance()).sum::<f64>() / ANYWHERE as f64
}

/// Both maps, every channel and position centred over images, and channels of equal variance: images x (position,
/// channel), so that a position is a block of columns.
struct Products {
    image: Array2<f32>,
    neural: Array2<f32>,
    channels: usize,
}

impl Products {
    fn new(image: &Array4<f32>, neural: &Array4<f32>) -> Self {
        Self { channels: image.len_of(Axis(1)), image: blocks(image), neural: blocks(neural) }
    }

    /// Agreement of every position when response `order[i]` belongs to image `i`.
    fn agreement(&self, order: &[usize]) -> Vec<f64> {
        let mut sums = vec![0.; self.image.ncols() / self.channels];
        for (image, &response) in order.iter().enumerate() {
            let (a, b) = (self.image.row(image), self.neural.row(response));
            let (Some(a), Some(b)) = (a.as_slice(), b.as_slice()) else { continue };
            let blocks = a.chunks_exact(self.channels).zip(b.chunks_exact(self.channels));
            for (sum, (a, b)) in sums.iter_mut().zip(blocks) {
                *sum += f64::from(a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>());
            }
        }
        sums
    }

    /// Sums over channels, image by image, at a position: both squares, and the product.
    fn moments(&self, position: usize) -> Vec<[f64; 3]> {
        let columns = position * self.channels..(position + 1) * self.channels;
        let of_image = |image: usize| {
            let mut sums = [0.; 3];
            for c in columns.clone() {
                let (a, b) = (f64::from(self.image[[image, c]]), f64::from(self.neural[[image, c]]));
                sums.iter_mut().zip([a * a, b * b, a * b]).for_each(|(sum, v)| *sum += v);
            }
            sums
        };
        (0..self.image.nrows()).map(of_image).collect()
    }
}

/// Correlation over some images; 0 where it is negative or one side does not vary.
fn correlation(moments: &[[f64; 3]], images: &[usize]) -> f64 {
    let mut sums = [0.; 3];
    for &image in images {
        sums.iter_mut().zip(moments[image]).for_each(|(sum, v)| *sum += v);
    }
    let [aa, bb, ab] = sums;
    if aa > 0. && bb > 0. { (ab / (aa * bb).sqrt()).max(0.) } else { 0. }
}

/// Maps as images x (position, channel), without the mean over images, channels divided by their standard deviation.
fn blocks(maps: &Array4<f32>) -> Array2<f32> {
    let (images, channels, height, width) = maps.dim();
    let mut blocks = Array2::zeros((images, height * width * channels));
    for c in 0..channels {
        let map = maps.index_axis(Axis(1), c);
        let Some(mean) = map.mean_axis(Axis(0)) else { continue };
        let centred = &map - &mean;
        let flat: Vec<f32> = centred.iter().copied().collect();
        let size = (flat.iter().map(|v| f64::from(v * v)).sum::<f64>() / flat.len() as f64).sqrt() as f32;
        let scale = if size > 0. { 1. / size } else { 0. };
        let rows = ArrayView2::from_shape((images, height * width), &flat);
        let Ok(rows) = rows else { continue };
        for ((i, p), &value) in rows.indexed_iter() {
            blocks[[i, p * channels + c]] = value * scale;
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_found_where_it_is() {
        let mut stream = Seed::new(5).stream("maps");
        let image = Array4::from_shape_simple_fn((40, 3, 2, 4), || stream.random::<f32>() - 0.5);
        let mut neural = Array4::from_shape_simple_fn((40, 3, 2, 4), || stream.random::<f32>() - 0.5);
        for c in 0..3 {
            let same = image.slice(ndarray::s![.., c, 1, 2]).to_owned();
            neural.slice_mut(ndarray::s![.., c, 1, 2]).assign(&same);
        }
        let products = Products::new(&image, &neural);
        let all: Vec<usize> = (0..40).collect();
        let agreement = products.agreement(&all);
        let best = (0..8).max_by(|&a, &b| agreement[a].total_cmp(&agreement[b]));
        assert_eq!(best, Some(6));
        let at = |position| correlation(&products.moments(position), &all);
        assert!(at(6) > 0.95 && at(0) < 0.4);
    }

    /// The mean distance in a unit square is 0.5214.
    #[test]
    fn places_anywhere_are_half_a_side_apart() {
        assert!((anywhere([1., 1.], Seed::new(1)) - 0.5214).abs() < 0.02);
    }
}
