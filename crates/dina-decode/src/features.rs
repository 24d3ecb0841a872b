//! Image features that responses are regressed on, or from.

use dina_stats::linalg::{matmul, symmetric_eigen};
use ndarray::{Array1, Array2, ArrayView2, ArrayView3, Axis, s};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    baseline::{Geometry, Part},
    gabor::{GaborConfig, GaborPyramid},
};

/// Which features of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageFeatures {
    /// The pixels of the window.
    Pixels,
    /// A Gabor pyramid.
    Gabor(GaborConfig),
}

impl ImageFeatures {
    /// The features, images x features, of images (`images x height x width`).
    ///
    /// # Errors
    /// As [`GaborPyramid::new`] and [`GaborPyramid::features`].
    pub fn compute(&self, images: ArrayView3<f32>, geometry: &Geometry) -> Result<Array2<f32>> {
        let (count, height, width) = images.dim();
        match self {
            Self::Gabor(config) => {
                GaborPyramid::new(config, (height, width), geometry.degrees_per_pixel, geometry.window)?
                    .features(images)
            }
            Self::Pixels => {
                let seen = match geometry.window {
                    None => images,
                    Some(w) if w.top + w.height <= height && w.left + w.width <= width => {
                        images.slice_move(s![.., w.top..w.top + w.height, w.left..w.left + w.width])
                    }
                    Some(w) => {
                        return Err(Error::value(
                            "window",
                            format!("within {height} x {width} pixels"),
                            format!("{w:?}"),
                        ));
                    }
                };
                let pixels = seen.len() / count.max(1);
                seen.to_owned()
                    .into_shape_with_order((count, pixels))
                    .map_err(|error| Error::shape("pixels", error.to_string(), pixels))
            }
        }
    }
}

/// Features of a part, before they are scaled.
pub(crate) struct RawFeatures {
    pub(crate) training: Array2<f32>,
    pub(crate) validation: Array2<f32>,
}

/// Features of every part.
pub(crate) fn compute_parts(
    features: &ImageFeatures,
    parts: &[Part],
    geometry: &Geometry,
) -> Result<Vec<RawFeatures>> {
    parts
        .iter()
        .map(|part| {
            Ok(RawFeatures {
                training: features.compute(part.training.images(), geometry)?,
                validation: features.compute(part.validation.images(), geometry)?,
            })
        })
        .collect()
}

/// Mean and scale of each feature over the training images.
#[derive(Debug, Clone)]
pub(crate) struct FeatureScale {
    mean: Array1<f32>,
    scale: Array1<f32>,
}

impl FeatureScale {
    /// Features are centred and divided by sd^power; those that never change become 0.
    pub(crate) fn fit(features: ArrayView2<f32>, power: f32) -> Self {
        let count = features.nrows() as f64;
        let mut mean = vec![0.0_f64; features.ncols()];
        for row in features.rows() {
            for (m, &v) in mean.iter_mut().zip(row) {
                *m += f64::from(v) / count;
            }
        }
        let mut variance = vec![0.0_f64; features.ncols()];
        for row in features.rows() {
            for ((s, &v), m) in variance.iter_mut().zip(row).zip(&mean) {
                *s += (f64::from(v) - m).powi(2) / count;
            }
        }
        let scale = variance
            .iter()
            .zip(&mean)
            .map(|(&v, m)| {
                let varies = v > 1e-10 * m * m && v > 0.0;
                if varies { v.sqrt().powf(-f64::from(power)) as f32 } else { 0.0 }
            })
            .collect();
        Self { mean: mean.iter().map(|&m| m as f32).collect(), scale }
    }

    /// A scaled copy.
    pub(crate) fn scaled(&self, features: &Array2<f32>) -> Array2<f32> {
        let mut scaled = features.clone();
        self.apply(&mut scaled);
        scaled
    }

    pub(crate) fn apply(&self, features: &mut Array2<f32>) {
        ndarray::Zip::from(features.rows_mut()).par_for_each(|mut row| {
            row -= &self.mean;
            row *= &self.scale;
        });
    }
}

/// Principal components of scaled features over the training images.
#[derive(Debug, Clone)]
pub(crate) struct Components {
    scale: FeatureScale,
    /// Features x components.
    directions: Array2<f32>,
    /// Standard deviation of each component over the training images.
    pub(crate) spread: Vec<f32>,
}

impl Components {
    /// At most `count` components of features divided by sd^scaling, with the scores of the training
    /// images at unit variance.
    pub(crate) fn fit(mut features: Array2<f32>, scaling: f32, count: usize) -> Result<(Self, Array2<f32>)> {
        let scale = FeatureScale::fit(features.view(), scaling);
        scale.apply(&mut features);
        let images = features.nrows() as f64;
        let product = matmul(features.view(), features.t())?;
        let eigen = symmetric_eigen(product.mapv(f64::from).view())?;
        let largest = eigen.values.first().copied().unwrap_or(0.0);
        let rank = eigen.values.iter().take_while(|&&v| v > 1e-5 * largest && v > 0.0).count();
        let kept = rank.min(count);
        if kept == 0 {
            return Err(Error::value("variance of the image features", "positive", 0));
        }
        let vectors = eigen.vectors.slice(s![.., ..kept]);
        let values = eigen.values.slice(s![..kept]).to_owned();
        // Directions are divided by the spread, so that scores have unit variance.
        let weights = (&vectors / &(&values / images.sqrt())).mapv(|v| v as f32);
        let directions = matmul(features.t(), weights.view())?;
        let scores = (&vectors * images.sqrt()).mapv(|v| v as f32);
        let spread = values.iter().map(|v| (v / images).sqrt() as f32).collect();
        Ok((Self { scale, directions, spread }, scores))
    }

    /// Scores of other images, at unit variance over the training images.
    pub(crate) fn scores(&self, mut features: Array2<f32>) -> Result<Array2<f32>> {
        if features.ncols() != self.directions.nrows() {
            return Err(Error::shape("image features", self.directions.nrows(), features.ncols()));
        }
        self.scale.apply(&mut features);
        Ok(matmul(features.view(), self.directions.view())?)
    }
}

/// Rows of `values` by index.
pub(crate) fn select_rows(values: ArrayView2<f32>, rows: &[usize]) -> Array2<f32> {
    values.select(Axis(0), rows)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::Array;

    use super::*;
    use crate::gabor::Window;

    #[test]
    fn components_of_the_training_images_are_their_scores() {
        let features = Array::from_shape_fn((12, 40), |(i, j)| {
            ((i * 5 + j * 3 + i * j) as f32).sin() * (1.0 + j as f32) + 3.0
        });
        let (components, scores) = Components::fit(features.clone(), 1.0, 6).unwrap();
        let again = components.scores(features).unwrap();
        for (a, b) in scores.iter().zip(&again) {
            assert_relative_eq!(a, b, epsilon = 1e-3);
        }
        for column in scores.columns() {
            assert_relative_eq!(column.dot(&column) / 12.0, 1.0, epsilon = 1e-3);
        }
        assert!(components.spread.windows(2).all(|w| w[0] >= w[1]));
        assert!(components.scores(Array2::zeros((1, 3))).is_err());
    }

    #[test]
    fn pixels_of_the_window() {
        let images = Array::from_shape_fn((2, 3, 4), |(i, y, x)| (100 * i + 10 * y + x) as f32);
        let geometry = Geometry {
            degrees_per_pixel: 1.0,
            window: Some(Window { top: 1, left: 2, height: 2, width: 2 }),
        };
        let found = ImageFeatures::Pixels.compute(images.view(), &geometry).unwrap();
        assert_eq!(found.row(1).to_vec(), [112.0, 113.0, 122.0, 123.0]);
    }

    #[test]
    fn features_that_never_change_are_silent() {
        let mut features = Array::from_shape_fn((5, 2), |(i, j)| if j == 0 { 0.1 } else { i as f32 });
        FeatureScale::fit(features.view(), 1.0).apply(&mut features);
        assert!(features.column(0).iter().all(|&v| v == 0.0));
        assert_relative_eq!(features.column(1).dot(&features.column(1)), 5.0, epsilon = 1e-4);
    }
}
