use dina_core::{ContentHash, Seed};
use dina_data::stimulus::{TextureConfig, TextureStatistics};
use dina_decode::ridge::RidgeDesign;
use dina_model::{Backbone, BackboneConfig, BackboneFile, FeatureOptions, PixelScale};
use dina_stats::linalg::matmul;
use ndarray::{Array2, Array4, ArrayView3, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::say;
use crate::claims::Case;
use crate::claims::category::one_hot;
use crate::claims::low_level::{LowLevel, Predictors};
use crate::fold::as_indices;
use crate::{Fold, Result};

/// Layers of networks are averaged over this many rows and columns.
const GRID: (usize, usize) = (4, 4);

/// The set of the Gabor pyramid.
pub(super) const GABOR: &str = "Gabor energy";

/// Octaves of texture statistics, at most.
const OCTAVES: usize = 3;

/// Where features come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// The image itself, by a formula.
    Image,
    /// What somebody says is in it.
    Label,
    /// A network with the weights of a file.
    Weights {
        /// Hash of the weights.
        hash: ContentHash,
    },
    /// The same network with random weights: a control for what comes with its architecture, and never semantic.
    RandomWeights,
}

/// Features of the training and test images of a fold.
pub(super) struct FeatureSet {
    pub name: String,
    pub origin: Origin,
    /// How many there are.
    pub features: usize,
    /// Test images x test images: the cosine of their features, standardised on the training images.
    likeness: Array2<f32>,
    /// Training and test images x features, for regression: where there are more features than training images, in as many coordinates as these span.
    pub predictors: Predictors,
}

impl FeatureSet {
    fn new(name: impl Into<String>, origin: Origin, predictors: Predictors) -> Result<Self> {
        let (images, features) = predictors.train.dim();
        let reduced = if features > images && changes(&predictors.train) {
            let design = RidgeDesign::new(predictors.train.view(), None)?;
            Some(Predictors {
                train: design.coordinates(predictors.train.view())?,
                test: design.coordinates(predictors.test.view())?,
            })
        } else {
            None
        };
        let likeness = cosines(&predictors.test)?;
        Ok(Self { name: name.into(), origin, features, likeness, predictors: reduced.unwrap_or(predictors) })
    }

    /// The Gabor pyramid, which is decomposed already.
    fn low_level(low_level: &LowLevel) -> Result<Self> {
        let Predictors { train, test } = &low_level.predictors;
        let coordinates = |rows: &Array2<f32>| low_level.design.coordinates(rows.view());
        let predictors = Predictors { train: coordinates(train)?, test: coordinates(test)? };
        let (name, features) = (GABOR.to_owned(), train.ncols());
        Ok(Self { name, origin: Origin::Image, features, likeness: cosines(test)?, predictors })
    }

    /// How alike two test images are: the cosine of their features.
    pub fn alike(&self, a: usize, b: usize) -> f64 {
        f64::from(self.likeness[[a, b]])
    }
}

/// Whether some feature is not the same for all images.
fn changes(rows: &Array2<f32>) -> bool {
    rows.outer_iter().any(|row| row != rows.row(0))
}

/// The cosine of every two rows; 0 with a row of zeros.
fn cosines(rows: &Array2<f32>) -> Result<Array2<f32>> {
    let mut unit = rows.clone();
    for mut row in unit.rows_mut() {
        let size = row.dot(&row).sqrt();
        if size > 0. {
            row /= size;
        }
    }
    Ok(matmul(unit.view(), unit.t())?)
}

/// Maps as rows, items x channels x positions.
pub(super) fn as_rows(maps: &Array4<f32>) -> Result<Array2<f32>> {
    let count = maps.len_of(Axis(0));
    let width = maps.len() / count.max(1);
    let rows = maps.to_shape((count, width));
    Ok(rows.map_err(|_| dina_core::Error::shape("maps as rows", [count, width], maps.shape()))?.to_owned())
}

/// Every set of features that the images of a fold have, in the window of the fold.
pub(super) fn feature_sets(
    case: &Case<'_>,
    index: usize,
    backbones: &[BackboneFile],
    seed: Seed,
    absent: &mut Vec<String>,
) -> Result<Vec<FeatureSet>> {
    let fold = &case.folds[index];
    let mut sets = vec![
        FeatureSet::new("pixels", Origin::Image, pixels(fold))?,
        FeatureSet::low_level(case.low_level(index)?.as_ref())?,
    ];
    let shown = case.dataset.images.crop_resize(&fold.window.window, fold.degrees_per_pixel)?;
    match texture(fold, shown.view()) {
        Some(predictors) => sets.push(FeatureSet::new("texture", Origin::Image, predictors?)?),
        None => say(
            absent,
            "The window has too few pixels, or an image in it no contrast, for statistics of texture.".into(),
        ),
    }
    match case.categories() {
        Some(categories) => {
            let hot = |ids: &[u32]| one_hot(ids, &categories.of);
            let predictors =
                Predictors { train: hot(fold.split.train()), test: hot(fold.split.test()) }.standardised();
            sets.push(FeatureSet::new("category", Origin::Label, predictors)?);
        }
        None => say(absent, "No categories of the images are known.".into()),
    }
    for backbone in backbones {
        sets.extend(layers(case, fold, backbone, shown.view(), seed)?);
    }
    Ok(sets)
}

/// The images of the image tower.
fn pixels(fold: &Fold) -> Predictors {
    let side = |ids: &[u32]| {
        let images = fold.select(ids);
        let (count, height, width) = images.dim();
        Array2::from_shape_fn((count, height * width), |(image, pixel)| {
            images[[image, pixel / width, pixel % width]]
        })
    };
    Predictors { train: side(fold.split.train()), test: side(fold.split.test()) }.standardised()
}

/// Portilla and Simoncelli's statistics of the window as one texture; `None` where it is too small or an image of it
/// uniform.
fn texture(fold: &Fold, images: ArrayView3<'_, f32>) -> Option<Result<Predictors>> {
    let (_, height, width) = images.dim();
    // Four pixels have to be left in the residual.
    let scales = (height.min(width) / 4).checked_ilog2()?.min(OCTAVES as u32) as usize;
    if scales == 0 {
        return None;
    }
    let config = TextureConfig { scales, neighbourhood: 3, ..TextureConfig::default() };
    let ids = [fold.split.train(), fold.split.test()].concat();
    let measured: Option<Vec<TextureStatistics>> = as_indices(&ids)
        .into_par_iter()
        .map(|image| TextureStatistics::measure(images.index_axis(Axis(0), image), &config).ok())
        .collect();
    let measured = measured?;
    let values: Vec<Vec<f64>> = measured.iter().map(|one| one.relative_to(&measured[0])).collect();
    let width = values[0].len();
    let of = |rows: &[Vec<f64>]| {
        let flat: Vec<f32> = rows.iter().flatten().map(|&v| v as f32).collect();
        Array2::from_shape_vec((rows.len(), width), flat)
            .map_err(|_| dina_core::Error::shape("texture statistics", [rows.len(), width], [0]))
    };
    let (train, test) = values.split_at(fold.split.train().len());
    let predictors = of(train).and_then(|train| Ok(Predictors { train, test: of(test)? }.standardised()));
    Some(predictors.map_err(Into::into))
}

/// The layers of a network, and the same with random weights.
fn layers(
    case: &Case<'_>,
    fold: &Fold,
    file: &BackboneFile,
    images: ArrayView3<'_, f32>,
    seed: Seed,
) -> Result<Vec<FeatureSet>> {
    let (_, height, width) = images.dim();
    let mut config = BackboneConfig::new(&file.name, (height, width));
    config.input = config.input.with_pixels(PixelScale::Bytes);
    let mut sets = Vec::new();
    for random in [false, true] {
        let network = if random {
            Backbone::random(config.clone(), seed, case.device())?
        } else {
            Backbone::load(config.clone(), &file.path, case.device())?
        };
        let origin = match network.origin() {
            dina_model::BackboneOrigin::File { weights, .. } => Origin::Weights { hash: *weights },
            // Whatever does not come out of a file was not trained.
            _ => Origin::RandomWeights,
        };
        let options = FeatureOptions { grid: Some(GRID), ..FeatureOptions::default() };
        let of = |ids: &[u32]| network.features(images.select(Axis(0), &as_indices(ids)).view(), &options);
        for (train, test) in of(fold.split.train())?.into_iter().zip(of(fold.split.test())?) {
            let level = train.level.name.clone();
            let predictors = Predictors { train: as_rows(&train.values)?, test: as_rows(&test.values)? };
            let control = if random { ", random weights" } else { "" };
            let name = format!("{} {level}{control}", file.name.network);
            sets.push(FeatureSet::new(name, origin, predictors.standardised())?);
        }
    }
    Ok(sets)
}
