//! Low-level features of images: a Gabor pyramid in the window of a fold.

use dina_decode::gabor::{GaborConfig, GaborPyramid};
use dina_decode::ridge::RidgeDesign;
use ndarray::{Array1, Array2, Axis, concatenate};

use crate::fold::as_indices;
use crate::{Dataset, Fold, Result};

/// Predictors of the training and of the test images of a fold.
#[derive(Debug, Clone)]
pub(super) struct Predictors {
    /// Training images x predictors.
    pub train: Array2<f32>,
    /// Test images x predictors.
    pub test: Array2<f32>,
}

impl Predictors {
    /// Without the mean over the training images, divided by the root of the standard deviation, and all together
    /// scaled to a total variance of 1.
    pub fn standardised(mut self) -> Self {
        let images = self.train.nrows() as f32;
        let mean = self.train.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(self.train.ncols()));
        self.train -= &mean;
        self.test -= &mean;
        let sd = self.train.map_axis(Axis(0), |column| (column.dot(&column) / images).sqrt());
        let total: f32 = sd.iter().sum();
        let scale = sd.mapv(|sd| if sd > 0. { 1. / (sd * total).sqrt() } else { 0. });
        self.train *= &scale;
        self.test *= &scale;
        self
    }

    /// These, and beside them others multiplied by a factor.
    pub fn beside(&self, other: &Self, factor: f32) -> Result<Self> {
        let joined = |own: &Array2<f32>, other: &Array2<f32>| {
            let scaled = other * factor;
            concatenate(Axis(1), &[own.view(), scaled.view()])
                .map_err(|_| dina_core::Error::shape("predictors beside others", own.dim(), other.dim()))
        };
        Ok(Self { train: joined(&self.train, &other.train)?, test: joined(&self.test, &other.test)? })
    }
}

/// The Gabor pyramid of the images of a fold, ready to regress on.
pub(super) struct LowLevel {
    /// Even, odd and energy channels compressed by a square root, at the resolution of the files.
    pub predictors: Predictors,
    /// Those of the training images, decomposed.
    pub design: RidgeDesign,
}

impl LowLevel {
    pub fn new(dataset: &Dataset, fold: &Fold) -> Result<Self> {
        let (_, height, width) = fold.fine.dim();
        let degrees = dataset.images.degrees_per_pixel;
        let mut config = GaborConfig { compression: 0.5, ..GaborConfig::default() };
        // What the pixels cannot show predicts nothing.
        config.frequencies.retain(|f| f * degrees < 0.5);
        let pyramid = GaborPyramid::new(&config, (height, width), degrees, None)?;
        let side = |ids: &[u32]| pyramid.features(fold.fine.select(Axis(0), &as_indices(ids)).view());
        let predictors =
            Predictors { train: side(fold.split.train())?, test: side(fold.split.test())? }.standardised();
        let design = RidgeDesign::new(predictors.train.view(), None)?;
        Ok(Self { design, predictors })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn predictors_weigh_one_in_all() {
        let train = array![[1_f32, 0., 5.], [3., 0., 1.], [5., 0., 0.], [3., 0., 2.]];
        let Predictors { train, test } = Predictors { train, test: array![[3., 1., 2.]] }.standardised();
        let total: f32 = train.iter().map(|v| v * v).sum::<f32>() / 4.;
        assert!((total - 1.).abs() < 1e-5, "{total}");
        assert!(train.column(1).iter().all(|v| *v == 0.));
        assert!(test[[0, 0]].abs() < 1e-6 && test[[0, 2]].abs() < 1e-6);
    }
}
