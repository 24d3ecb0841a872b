//! Responses to held-out images, predicted by ridge regression, and how much of them is explained without noise.

use dina_data::Views;
use dina_decode::ridge::RidgeDesign;
use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::{Fold, Result};

/// Penalties in units of the mean eigenvalue of the predictors.
const PENALTIES: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1., 3., 10., 30., 100.];

/// A prediction of held-out images, with the error of left-out training images that it was chosen by.
#[derive(Clone)]
pub(super) struct Predicted {
    pub error: f64,
    /// The penalty that was chosen; infinite where the mean is what is predicted.
    pub penalty: f64,
    /// Images x neurons.
    pub test: Array2<f32>,
}

impl Predicted {
    /// The mean response to the training images, for as many test images.
    pub fn mean(responses: &Array2<f32>, images: usize) -> Self {
        let mean = responses.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(responses.ncols()));
        // Left out, an image is that much farther from the mean of the others.
        let farther = responses.nrows() as f64 / (responses.nrows() as f64 - 1.).max(1.);
        let error = (responses - &mean).iter().map(|&e| (f64::from(e) * farther).powi(2)).sum();
        let test = mean.broadcast((images, responses.ncols())).map(|rows| rows.to_owned());
        Self { error, penalty: f64::INFINITY, test: test.unwrap_or_default() }
    }
}

/// Ridge regression, with the penalty that predicts left-out training images best over all neurons.
pub(super) fn predicted(
    design: &RidgeDesign,
    test: ArrayView2<'_, f32>,
    responses: &Array2<f32>,
) -> Result<Predicted> {
    let ridge = design.regress(responses.view())?;
    let mut best: Option<(f64, f64)> = None;
    for factor in PENALTIES {
        let penalty = factor * design.mean_eigenvalue();
        let left_out = ridge.leave_one_out(responses.view(), &[penalty])?;
        let error = left_out.iter().zip(responses).map(|(p, y)| f64::from(p - y).powi(2)).sum::<f64>();
        if best.is_none_or(|(least, _)| error < least) {
            best = Some((error, penalty));
        }
    }
    let (error, penalty) = best.unwrap_or((f64::INFINITY, design.mean_eigenvalue()));
    Ok(Predicted { error, penalty, test: ridge.predict(test, &[penalty])? })
}

/// What the predictors of every training image predict for it when it is left out.
pub(super) fn left_out(design: &RidgeDesign, targets: &Array2<f32>, penalty: f64) -> Result<Array2<f32>> {
    Ok(design.regress(targets.view())?.leave_one_out(targets.view(), &[penalty])?)
}

/// Mean responses to the test images of a fold in two halves of their repeats, whose noise is independent: products of errors
/// of the two are free of it.
pub(super) struct Halves {
    first: Array2<f32>,
    second: Array2<f32>,
    /// Mean response to the training images.
    centre: Array1<f32>,
}

impl Halves {
    pub fn new(views: &Views<'_>, fold: &Fold) -> Result<Self> {
        let (first, second) = views.test.halves(&fold.responses)?;
        let train = views.train.repeat_means(&fold.responses)?;
        let centre = train.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(train.ncols()));
        Ok(Self { first, second, centre })
    }

    pub fn images(&self) -> usize {
        self.first.nrows()
    }

    /// Squared error of a prediction (images x neurons) of an image, summed over neurons.
    pub fn left(&self, image: usize, prediction: &Array2<f32>) -> f64 {
        self.product(image, |n| prediction[[image, n]])
    }

    /// The same of the mean response to training images: what could be explained.
    pub fn explainable(&self, image: usize) -> f64 {
        self.product(image, |n| self.centre[n])
    }

    fn product(&self, image: usize, prediction: impl Fn(usize) -> f32) -> f64 {
        let (a, b) = (self.first.row(image), self.second.row(image));
        let pairs = a.iter().zip(b).enumerate();
        pairs.map(|(n, (a, b))| f64::from((a - prediction(n)) * (b - prediction(n)))).sum()
    }
}
