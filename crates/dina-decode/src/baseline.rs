//! What a baseline is: fitted on training images, tuned on validation images, then asked which
//! candidates resemble a response.

use std::marker::PhantomData;

use ndarray::{Array2, ArrayView2, ArrayView3, Axis};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Ranks, Result, decoding::DecodingChoice, encoding::EncodingChoice, gabor::Window,
    identification::Decoder,
};

/// Marks data that a decoder is fitted on.
#[derive(Debug, Clone, Copy)]
pub enum Training {}

/// Marks data that a decoder's settings are chosen on.
#[derive(Debug, Clone, Copy)]
pub enum Validation {}

/// Responses to images, marked by what they may be used for. There is no mark for test data: a fit
/// cannot be given any by mistake, only by calling it something else.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a, Role> {
    responses: ArrayView2<'a, f32>,
    shown: &'a [usize],
    images: ArrayView3<'a, f32>,
    role: PhantomData<Role>,
}

/// What a decoder is fitted on.
pub type TrainingSet<'a> = Presented<'a, Training>;
/// What a decoder's settings are chosen on.
pub type ValidationSet<'a> = Presented<'a, Validation>;

impl<'a, Role> Presented<'a, Role> {
    /// Responses with the images that evoked them.
    ///
    /// - `responses`: trials x neurons, preprocessed with statistics of the training images.
    /// - `shown`: per trial the index into `images`.
    /// - `images`: images x height x width of this part alone; each was shown at least once.
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths disagree or an index is not there, [`Error::Value`] for fewer than
    /// two images or one that was not shown, [`Error::NotFinite`] for responses.
    pub fn new(
        responses: ArrayView2<'a, f32>,
        shown: &'a [usize],
        images: ArrayView3<'a, f32>,
    ) -> Result<Self> {
        let count = images.len_of(Axis(0));
        if count < 2 {
            return Err(Error::value("number of images", "at least 2", count));
        }
        if shown.len() != responses.nrows() {
            return Err(Error::shape("images shown", responses.nrows(), shown.len()));
        }
        if let Some(bad) = shown.iter().find(|&&image| image >= count) {
            return Err(Error::shape("image shown", format!("below {count}"), bad));
        }
        let mut seen = vec![false; count];
        for &image in shown {
            seen[image] = true;
        }
        if let Some(missing) = seen.iter().position(|seen| !seen) {
            return Err(Error::value(format!("number of trials of image {missing}"), "at least 1", 0));
        }
        Error::all_finite("responses", responses)?;
        Ok(Self { responses, shown, images, role: PhantomData })
    }

    pub(crate) fn responses(&self) -> ArrayView2<'a, f32> {
        self.responses
    }

    pub(crate) fn shown(&self) -> &'a [usize] {
        self.shown
    }

    pub(crate) fn images(&self) -> ArrayView3<'a, f32> {
        self.images
    }

    /// Mean response to each image, and how many trials each has.
    pub(crate) fn image_means(&self) -> (Array2<f32>, Vec<f32>) {
        let count = self.images.len_of(Axis(0));
        let mut means = Array2::<f32>::zeros((count, self.responses.ncols()));
        let mut trials = vec![0.0_f32; count];
        for (response, &image) in self.responses.rows().into_iter().zip(self.shown) {
            let mut mean = means.row_mut(image);
            mean += &response;
            trials[image] += 1.0;
        }
        for (mut mean, trials) in means.rows_mut().into_iter().zip(&trials) {
            mean /= *trials;
        }
        (means, trials)
    }
}

/// How pixels lie in the visual field.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Geometry {
    /// Visual angle of a pixel.
    pub degrees_per_pixel: f32,
    /// The part that the population sees; `None` is the whole image.
    pub window: Option<Window>,
}

/// A decoder that is fitted and tuned in closed form.
pub trait Baseline: Send + Sync {
    /// Its name in the results.
    fn decoder(&self) -> Decoder;

    /// Fits on the training set, with every setting chosen on the validation set.
    ///
    /// # Errors
    /// [`Error::Shape`] when the two sets differ in neurons or image size, [`Error::Value`] for an empty
    /// grid of settings or data that nothing can be fitted to.
    fn fit(&self, training: &TrainingSet, validation: &ValidationSet) -> Result<Box<dyn FittedBaseline>>;
}

/// A fitted baseline.
pub trait FittedBaseline: Send + Sync {
    /// Similarities, responses x candidates, of responses (trials or means x neurons, preprocessed as for
    /// the fit) and images (candidates x height x width). Larger is more similar.
    ///
    /// # Errors
    /// [`Error::Shape`] when neurons or image size differ from the fit, [`Error::NotFinite`].
    fn similarity(&self, responses: ArrayView2<f32>, candidates: ArrayView3<f32>) -> Result<Array2<f32>>;

    /// What was chosen on the validation set.
    fn choice(&self) -> Choice;
}

/// The settings that validation chose, for the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Of ridge encoding.
    Encoding(EncodingChoice),
    /// Of ridge decoding.
    Decoding(DecodingChoice),
}

pub(crate) fn check_pair(training: &TrainingSet, validation: &ValidationSet) -> Result<()> {
    let (train, valid) = (training.responses.ncols(), validation.responses.ncols());
    if train != valid {
        return Err(Error::shape("neurons of the validation set", train, valid));
    }
    let size = |images: ArrayView3<f32>| (images.len_of(Axis(1)), images.len_of(Axis(2)));
    let (train, valid) = (size(training.images), size(validation.images));
    if train != valid {
        return Err(Error::shape("image size of the validation set", train, valid));
    }
    Ok(())
}

/// What is minimised on the validation set: the mean log rank of the image shown. Unlike top-1 it also
/// moves when far candidates do, so that it is less noisy on few images.
pub(crate) fn mean_log_rank(similarity: ArrayView2<f32>, truth: &[usize]) -> Result<f64> {
    let ranks = Ranks::new(similarity, truth)?;
    Ok(ranks.values().map(f64::ln).sum::<f64>() / ranks.len() as f64)
}
