use std::f32::consts::{PI, TAU};

use dina_core::{Seed, Stream};
use ndarray::{Array3, ArrayViewMut2, Axis};
use rand::RngExt;
use rand_distr::{Distribution, LogNormal, StandardNormal};
use rayon::prelude::*;
use rustfft::num_complex::Complex;
use serde::{Deserialize, Serialize};

use super::{
    TextureFamily,
    config::within,
    texture::{Atlas, Direction, signed, transform},
};
use crate::{Categories, Images, Result};

/// Width of one screen, in degrees: every screen shows one object of the image's category.
const SCREEN: usize = 90;
/// Number of categories: every silhouette with every texture.
pub(super) const CATEGORIES: usize = Silhouette::ALL.len() * TextureFamily::ALL.len();
/// Leaves after which the rest of an image is given to one background surface.
const MOST_LEAVES: usize = 2_500;

/// What the images are like.
///
/// Dead leaves (Lee, Mumford & Huang 2001; Ruderman 1997): surfaces of power-law size that occlude
/// each other have the 1/f amplitude spectrum and the sharp edges of photographs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SceneStatistics {
    /// Gives every image, and so every category, the same mean, contrast and amplitude spectrum.
    pub match_low_level: bool,
    /// Smallest radius of a leaf, in degrees.
    pub smallest_leaf: f32,
    /// Largest radius of a leaf, in degrees.
    pub largest_leaf: f32,
    /// Standard deviation, over leaves, of the natural logarithm of luminance.
    pub leaf_contrast: f32,
    /// The same within a leaf, from its texture.
    pub texture_contrast: f32,
    /// The same over the whole image, from shading.
    pub shading: f32,
}

impl Default for SceneStatistics {
    fn default() -> Self {
        Self {
            match_low_level: false,
            smallest_leaf: 2.0,
            largest_leaf: 80.0,
            leaf_contrast: 0.6,
            texture_contrast: 0.3,
            shading: 0.3,
        }
    }
}

impl SceneStatistics {
    pub(super) fn check(&self) -> Result<()> {
        within("scene.smallest_leaf", self.smallest_leaf, 0.5, 100.0)?;
        within("scene.largest_leaf", self.largest_leaf, self.smallest_leaf * 1.01, 1_000.0)?;
        within("scene.leaf_contrast", self.leaf_contrast, 0.0, 3.0)?;
        within("scene.texture_contrast", self.texture_contrast, 0.0, 3.0)?;
        within("scene.shading", self.shading, 0.0, 3.0)
    }
}

/// Outline of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Silhouette {
    /// A filled disk, seen at a slant.
    Disk,
    /// A long rectangle.
    Bar,
    /// A star with five arms.
    Star,
    /// A ring.
    Ring,
}

impl Silhouette {
    /// Every silhouette.
    pub const ALL: [Self; 4] = [Self::Disk, Self::Bar, Self::Star, Self::Ring];

    /// Whether a point of the unit disk lies inside.
    fn contains(self, u: f32, v: f32) -> bool {
        let square = u * u + v * v;
        match self {
            Self::Disk => square < 1.0,
            Self::Bar => u.abs() < 0.97 && v.abs() < 0.24,
            Self::Star => {
                let radius = square.sqrt();
                let c = u / radius.max(1e-6);
                // The cosine of five times the angle, by Chebyshev's polynomial.
                let arms = c * (16.0 * c.powi(4) - 20.0 * c * c + 5.0);
                radius < 0.6 + 0.4 * arms
            }
            Self::Ring => (0.36..1.0).contains(&square),
        }
    }
}

/// An object placed in an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ObjectTruth {
    /// Centre from the upper edge, in degrees.
    pub row: f32,
    /// Centre from the left edge, in degrees.
    pub column: f32,
    /// Half of the largest extent, in degrees.
    pub radius: f32,
    /// Rotation in the image plane, in radians.
    pub rotation: f32,
}

/// What an image was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageTruth {
    /// Index into the category names.
    pub category: u32,
    /// Outline that the category prescribes.
    pub silhouette: Silhouette,
    /// Surface that the category prescribes.
    pub texture: TextureFamily,
    /// One object a screen, from left to right.
    pub objects: Vec<ObjectTruth>,
}

/// Names of the categories: every silhouette with every texture.
pub(super) fn category_names() -> Vec<String> {
    Silhouette::ALL
        .iter()
        .flat_map(|s| TextureFamily::ALL.iter().map(move |t| format!("{s:?}-{t:?}").to_lowercase()))
        .collect()
}

/// Images of this kind, seeded one by one.
pub(super) struct SceneMaker {
    statistics: SceneStatistics,
    height: usize,
    width: usize,
    atlas: Atlas,
}

impl SceneMaker {
    pub fn new(statistics: SceneStatistics, height: usize, width: usize, seed: Seed) -> Self {
        Self { statistics, height, width, atlas: Atlas::new(seed.child("texture")) }
    }

    /// `count` images, image `i` from `seed.index(i)`. `tick` is called after each.
    pub fn make(
        &self,
        seed: Seed,
        count: usize,
        tick: &(dyn Fn() + Sync),
    ) -> (Images, Categories, Vec<ImageTruth>) {
        let mut pixels = Array3::zeros((count, self.height, self.width));
        let truth: Vec<ImageTruth> = pixels
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .enumerate()
            .map(|(i, mut image)| {
                let (levels, truth) = self.one(seed.index(i), i);
                image.iter_mut().zip(levels).for_each(|(to, from)| *to = from);
                tick();
                truth
            })
            .collect();
        let categories =
            Categories { names: category_names(), of: truth.iter().map(|t| Some(t.category)).collect() };
        let images = Images { pixels, degrees_per_pixel: 1.0 };
        (images, categories, truth)
    }

    fn one(&self, seed: Seed, index: usize) -> (Vec<u8>, ImageTruth) {
        let mut random = seed.stream("scene");
        // Turn by turn, so that any number of images holds every category equally often.
        let (mut canvas, truth, _) = self.front(index % CATEGORIES, &mut random);
        canvas.leaves(&mut random);
        (canvas.expose(&mut random), truth)
    }

    /// The objects of an image of this category alone, with the surface of each.
    fn front(&self, category: usize, random: &mut Stream) -> (Canvas<'_>, ImageTruth, Vec<Surface<'_>>) {
        let silhouette = Silhouette::ALL[category / TextureFamily::ALL.len()];
        let texture = TextureFamily::ALL[category % TextureFamily::ALL.len()];
        let mut canvas = Canvas::new(self, random);
        let (objects, surfaces) = (0..self.width.div_ceil(SCREEN))
            .map(|screen| canvas.object(screen, silhouette, texture, random))
            .unzip();
        (canvas, ImageTruth { category: category as u32, silhouette, texture, objects }, surfaces)
    }

    /// Where the objects lie in the images that [`SceneMaker::make`] makes.
    pub fn silhouettes(&self, seed: Seed, count: usize) -> Array3<f32> {
        self.planes(seed, count, |seed, category, plane| self.silhouette_plane(seed, category, plane))
    }

    /// The surfaces of the objects in the images that [`SceneMaker::make`] makes.
    pub fn surfaces(&self, seed: Seed, count: usize) -> Array3<f32> {
        self.planes(seed, count, |seed, category, plane| self.surface_plane(seed, category, plane))
    }

    fn planes(
        &self,
        seed: Seed,
        count: usize,
        fill: impl Fn(Seed, usize, ArrayViewMut2<f32>) + Sync,
    ) -> Array3<f32> {
        let mut planes = Array3::zeros((count, self.height, self.width));
        planes
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .enumerate()
            .for_each(|(i, plane)| fill(seed.index(i), i % CATEGORIES, plane));
        planes
    }

    /// 1 where an object of one image lies, 0 elsewhere.
    pub fn silhouette_plane(&self, seed: Seed, category: usize, mut plane: ArrayViewMut2<f32>) {
        let (canvas, ..) = self.front(category, &mut seed.stream("scene"));
        plane.iter_mut().zip(&canvas.values).for_each(|(to, v)| *to = if v.is_nan() { 0.0 } else { 1.0 });
    }

    /// The texture of each object of one image over the whole of its screen, in logarithmic luminance
    /// without level and shading. Neither the size nor the place of the object moves it.
    pub fn surface_plane(&self, seed: Seed, category: usize, mut plane: ArrayViewMut2<f32>) {
        let (_, _, surfaces) = self.front(category, &mut seed.stream("scene"));
        for ((row, column), value) in plane.indexed_iter_mut() {
            let screen = column / SCREEN;
            *value = surfaces[screen].texture((column - screen * SCREEN) as f32, row as f32);
        }
    }
}

/// An outline somewhere in the image.
struct Leaf {
    row: f32,
    column: f32,
    radius: f32,
    /// Extent along the second axis relative to the first.
    aspect: f32,
    rotation: f32,
    outline: Outline,
}

enum Outline {
    Ellipse,
    Rectangle,
    Triangle,
    Object(Silhouette),
}

impl Outline {
    fn contains(&self, u: f32, v: f32) -> bool {
        match self {
            Self::Ellipse => u * u + v * v < 1.0,
            Self::Rectangle => u.abs() < 0.85 && v.abs() < 0.85,
            Self::Triangle => v > -0.5 && v < 1.0 - 1.732 * u.abs(),
            Self::Object(silhouette) => silhouette.contains(u, v),
        }
    }
}

/// Surface of a leaf, in logarithmic luminance.
struct Surface<'a> {
    level: f32,
    contrast: f32,
    slope: [f32; 2],
    tile: super::texture::Tile<'a>,
    /// Samples of the tile per degree, turned: `[cos, sin]` times the scale.
    turn: [f32; 2],
    offset: [f32; 2],
}

impl Surface<'_> {
    /// Logarithmic luminance due to texture, at degrees from where the surface is pinned.
    fn texture(&self, x: f32, y: f32) -> f32 {
        let ([c, s], [right, down]) = (self.turn, self.offset);
        self.contrast * self.tile.at(right + c * x + s * y, down + c * y - s * x)
    }
}

/// An image while leaves are laid from front to back.
struct Canvas<'a> {
    maker: &'a SceneMaker,
    /// Logarithmic luminance; NaN where no leaf lies yet.
    values: Vec<f32>,
    bare: usize,
    contrast: f32,
}

impl<'a> Canvas<'a> {
    fn new(maker: &'a SceneMaker, random: &mut Stream) -> Self {
        let pixels = maker.height * maker.width;
        Self {
            maker,
            values: vec![f32::NAN; pixels],
            bare: pixels,
            // Photographs differ in contrast by about this much.
            contrast: (0.25 * normal(random)).exp(),
        }
    }

    fn object(
        &mut self,
        screen: usize,
        silhouette: Silhouette,
        texture: TextureFamily,
        random: &mut Stream,
    ) -> (ObjectTruth, Surface<'a>) {
        let height = self.maker.height as f32;
        let left = (screen * SCREEN) as f32;
        let width = (self.maker.width as f32 - left).min(SCREEN as f32);
        let object = ObjectTruth {
            row: height * (0.25 + 0.5 * random.random::<f32>()),
            column: left + width * (0.15 + 0.7 * random.random::<f32>()),
            radius: height.min(width) * (0.2 + 0.25 * random.random::<f32>()),
            rotation: TAU * random.random::<f32>(),
        };
        let leaf = Leaf {
            row: object.row,
            column: object.column,
            radius: object.radius,
            aspect: 0.75 + 0.25 * random.random::<f32>(),
            rotation: object.rotation,
            outline: Outline::Object(silhouette),
        };
        let surface = self.surface(texture, random);
        self.lay(&leaf, &surface);
        (object, surface)
    }

    fn leaves(&mut self, random: &mut Stream) {
        let s = &self.maker.statistics;
        let (height, width) = (self.maker.height as f32, self.maker.width as f32);
        let low = s.smallest_leaf.powi(-2);
        let span = low - s.largest_leaf.powi(-2);
        let mut leaves = 0;
        while self.bare > 0 {
            let last = leaves == MOST_LEAVES;
            // Radii with density r^-3 look the same at every scale.
            let radius = (low - span * random.random::<f32>()).powf(-0.5);
            let leaf = Leaf {
                row: height * random.random::<f32>(),
                column: width * random.random::<f32>(),
                radius: if last { 4.0 * (height + width) } else { radius },
                aspect: (0.3 * normal(random)).exp().clamp(0.4, 2.5),
                rotation: PI * random.random::<f32>(),
                outline: match (last, random.random::<f32>()) {
                    (true, _) | (_, ..0.5) => Outline::Ellipse,
                    (_, ..0.8) => Outline::Rectangle,
                    _ => Outline::Triangle,
                },
            };
            let family = match random.random::<f32>() {
                ..0.6 => TextureFamily::Grain,
                ..0.85 => TextureFamily::Stripes,
                _ => TextureFamily::Spots,
            };
            let surface = self.surface(family, random);
            self.lay(&leaf, &surface);
            leaves += 1;
        }
    }

    fn surface(&self, family: TextureFamily, random: &mut Stream) -> Surface<'a> {
        let s = &self.maker.statistics;
        let angle = TAU * random.random::<f32>();
        let scale = (0.4 * normal(random)).exp();
        let side = 1_000.0;
        Surface {
            level: s.leaf_contrast * normal(random),
            contrast: s.texture_contrast * (0.4 * normal(random)).exp(),
            slope: [0.006 * normal(random), 0.006 * normal(random)],
            tile: self.maker.atlas.tile(family, random.random()),
            turn: [scale * angle.cos(), scale * angle.sin()],
            offset: [side * random.random::<f32>(), side * random.random::<f32>()],
        }
    }

    /// Gives the pixels under a leaf that are still bare to it.
    fn lay(&mut self, leaf: &Leaf, surface: &Surface) {
        let (height, width) = (self.maker.height, self.maker.width);
        let reach = leaf.radius * leaf.aspect.max(1.0) * 1.25;
        let span = |centre: f32, end: usize| {
            let low = (centre - reach).floor().clamp(0.0, end as f32) as usize;
            let high = (centre + reach).ceil().clamp(0.0, end as f32) as usize;
            low..high
        };
        let (cos, sin) = (leaf.rotation.cos(), leaf.rotation.sin());
        let (along, across) = (1.0 / leaf.radius, 1.0 / (leaf.radius * leaf.aspect));
        for row in span(leaf.row, height) {
            let y = row as f32 + 0.5 - leaf.row;
            for column in span(leaf.column, width) {
                let value = &mut self.values[row * width + column];
                if !value.is_nan() {
                    continue;
                }
                let x = column as f32 + 0.5 - leaf.column;
                let (u, v) = ((cos * x + sin * y) * along, (cos * y - sin * x) * across);
                if leaf.outline.contains(u, v) {
                    *value =
                        surface.level + surface.texture(x, y) + surface.slope[0] * x + surface.slope[1] * y;
                    self.bare -= 1;
                }
            }
        }
    }

    /// Shading, then the camera: from logarithmic luminance to grey levels.
    fn expose(mut self, random: &mut Stream) -> Vec<u8> {
        let maker = self.maker;
        let tile = maker.atlas.tile(TextureFamily::Grain, random.random());
        let offset: [f32; 2] = [random.random(), random.random()].map(|u: f32| 1_000.0 * u);
        for (i, value) in self.values.iter_mut().enumerate() {
            let (row, column) = ((i / maker.width) as f32, (i % maker.width) as f32);
            let shade = tile.at(offset[0] + 0.5 * column, offset[1] + 0.5 * row);
            *value = self.contrast * (*value + maker.statistics.shading * shade);
        }
        if maker.statistics.match_low_level {
            return self.matched();
        }
        let mean = self.values.iter().sum::<f32>() / self.values.len() as f32;
        let exposure = LogNormal::new(-1.1, 0.2).map_or(0.33, |d| d.sample(random));
        self.values.iter().map(|v| (255.0 * exposure * (v - mean).exp()).clamp(0.0, 255.0) as u8).collect()
    }

    /// The phases of this image with the amplitudes of 1/f, at a fixed mean and contrast.
    fn matched(&self) -> Vec<u8> {
        let (height, width) = (self.maker.height, self.maker.width);
        let mut plane: Vec<_> = self.values.iter().map(|&v| Complex::new(v, 0.0)).collect();
        transform(&mut plane, height, width, Direction::Forward);
        let mut power = 0.0;
        for (i, c) in plane.iter_mut().enumerate() {
            let fy = signed(i / width, height) / height as f32;
            let fx = signed(i % width, width) / width as f32;
            let f = fx.hypot(fy);
            let amplitude = if f == 0.0 { 0.0 } else { 1.0 / f };
            power += amplitude * amplitude;
            *c = Complex::from_polar(amplitude, c.arg());
        }
        transform(&mut plane, height, width, Direction::Inverse);
        // By Parseval the standard deviation is the root of the summed power.
        let scale = 42.0 / power.sqrt();
        plane.iter().map(|c| (116.0 + scale * c.re).round().clamp(0.0, 255.0) as u8).collect()
    }
}

fn normal(random: &mut Stream) -> f32 {
    StandardNormal.sample(random)
}
