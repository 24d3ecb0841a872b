use dina_core::Seed;
use ndarray::{ArrayViewMut2, s};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::geometry::Area;
use super::normalise::mean_and_sd;
use super::stack::{finite, positive, refused};
use super::{Stack, StackTransform};
use crate::Result;

/// What [`Occlude`] covers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cover {
    /// One area, the same in every image: for maps of where information is.
    Area(Area),
    /// Tiles drawn at random, image by image.
    Random {
        /// Side of a tile, in degrees; rounded so that whole tiles fill the image.
        patch: f32,
        /// Share of the tiles that is covered, rounded to whole tiles; 0 to 1.
        share: f32,
    },
}

/// What [`Occlude`] covers with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// The mean grey of the image.
    #[default]
    ImageMean,
    /// The mean grey of what is covered, tile by tile: detail goes, coarse luminance stays.
    PatchMean,
    /// This grey level.
    Grey(f32),
}

/// Covers parts of images.
///
/// Image `i` of a stack draws its tiles from the seed and `i`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Occlude {
    /// Where.
    pub cover: Cover,
    /// With what.
    #[serde(default)]
    pub fill: Fill,
}

impl StackTransform for Occlude {
    fn name(&self) -> &'static str {
        "occlusion"
    }

    fn apply(&self, stack: &Stack, seed: Seed) -> Result<Stack> {
        if let Fill::Grey(grey) = self.fill {
            finite("grey level", grey)?;
        }
        let cover = match self.cover {
            Cover::Area(area) => vec![area.pixels(stack)?],
            Cover::Random { patch, share } => {
                positive("patch in degrees", patch)?;
                if !(0.0..=1.0).contains(&share) {
                    return Err(refused("share of tiles", "0 to 1", share));
                }
                tiles(stack.size(), stack.pixels_of(patch))
            }
        };
        Ok(stack.each(|i, image, mut out| {
            out.assign(&image);
            let mut tiles = cover.clone();
            if let Cover::Random { share, .. } = self.cover {
                tiles.shuffle(&mut seed.index(i).stream("tiles"));
                tiles.truncate((f64::from(share) * tiles.len() as f64).round() as usize);
            }
            let (mean, _) = mean_and_sd(image);
            for [top, left, height, width] in tiles {
                let place = out.slice_mut(s![top..top + height, left..left + width]);
                self.fill(place, mean as f32);
            }
        }))
    }
}

impl Occlude {
    fn fill(&self, mut place: ArrayViewMut2<'_, f32>, image_mean: f32) {
        let grey = match self.fill {
            Fill::ImageMean => image_mean,
            Fill::PatchMean => mean_and_sd(place.view()).0 as f32,
            Fill::Grey(grey) => grey,
        };
        place.fill(grey);
    }
}

/// First row, first column, rows and columns of tiles of about this side that fill an image.
fn tiles((height, width): (usize, usize), side: usize) -> Vec<[usize; 4]> {
    let cuts = |n: usize| {
        let count = ((n as f64 / side as f64).round() as usize).clamp(1, n);
        (0..count).map(|i| [i * n / count, (i + 1) * n / count - i * n / count]).collect::<Vec<_>>()
    };
    let columns = cuts(width);
    cuts(height)
        .into_iter()
        .flat_map(|[top, height]| columns.iter().map(move |&[left, width]| [top, left, height, width]))
        .collect()
}

/// Exchanges the tiles of an image: what is in each stays, layout and what is larger goes.
///
/// The order is drawn from all that are one cycle (Sattolo 1986), so that no tile stays where it
/// is. All tiles have the same size; where they do not fill the image, the grid lies in the middle and the
/// rim stays. Image `i` of a stack draws its order from the seed and `i`. New edges between tiles
/// add energy along the horizontal and vertical, most at fine scales.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShufflePatches {
    /// Side of a tile, in degrees, rounded to whole pixels.
    pub patch: f32,
}

impl StackTransform for ShufflePatches {
    fn name(&self) -> &'static str {
        "patch shuffling"
    }

    fn apply(&self, stack: &Stack, seed: Seed) -> Result<Stack> {
        positive("patch in degrees", self.patch)?;
        let side = stack.pixels_of(self.patch);
        let (height, width) = stack.size();
        let (rows, columns) = (height / side, width / side);
        if rows * columns < 2 {
            let [h, w] = stack.extent();
            return Err(refused(
                "patch in degrees",
                format!("small enough for two in an image of {h} x {w} degrees"),
                self.patch,
            ));
        }
        let (top, left) = ((height - rows * side) / 2, (width - columns * side) / 2);
        let place = |tile: usize| {
            let (y, x) = (top + tile / columns * side, left + tile % columns * side);
            s![y..y + side, x..x + side]
        };
        let orders: Vec<Vec<usize>> =
            (0..stack.len()).map(|i| one_cycle(rows * columns, seed.index(i))).collect();
        let shuffled = stack.each(|i, image, mut out| {
            out.assign(&image);
            for (to, &from) in orders[i].iter().enumerate() {
                out.slice_mut(place(to)).assign(&image.slice(place(from)));
            }
        });
        let labels = stack.labels().map(|labels| {
            let mut moved = labels.clone();
            for (i, order) in orders.iter().enumerate() {
                let (old, mut new) = (labels.index_axis(AXIS, i), moved.index_axis_mut(AXIS, i));
                for (to, &from) in order.iter().enumerate() {
                    new.slice_mut(place(to)).assign(&old.slice(place(from)));
                }
            }
            moved
        });
        let degrees = shuffled.degrees_per_pixel();
        Ok(stack.moved(shuffled.into_pixels(), labels, degrees))
    }
}

const AXIS: ndarray::Axis = ndarray::Axis(0);

fn one_cycle(n: usize, seed: Seed) -> Vec<usize> {
    let mut random = seed.stream("order");
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, random.random_range(0..i));
    }
    order
}
