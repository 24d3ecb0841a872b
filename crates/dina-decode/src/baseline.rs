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

    /// Chooses every setting by the validation trials of all `parts` together, and fits `all` with them.
    ///
    /// With many images one part does, and `all` is its training set. With few, several parts that hold out
    /// each image once choose more reliably than any one of them (cross-validation), and `all` are the images of
    /// every part.
    ///
    /// # Errors
    /// [`Error::Shape`] when the sets differ in neurons or image size, [`Error::Value`] without a part, for an
    /// empty grid of settings, or for data that nothing can be fitted to.
    fn fit(&self, parts: &[Part], all: &TrainingSet) -> Result<Box<dyn FittedBaseline>>;
}

/// Images to fit on, and others to try the fit on.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Fitted on.
    pub training: TrainingSet<'a>,
    /// Tried on.
    pub validation: ValidationSet<'a>,
    /// As [`Queries::reference`], for the responses of the validation set.
    pub reference: ArrayView2<'a, f32>,
}

/// Responses to be decoded.
#[derive(Debug, Clone, Copy)]
pub struct Queries<'a> {
    /// Trials or means x neurons, preprocessed as for the fit.
    pub responses: ArrayView2<'a, f32>,
    /// Responses to training images, for [`local_scaling`](crate::local_scaling) where it was chosen; of the same kind
    /// as the queries: single trials, or means of as many.
    pub reference: ArrayView2<'a, f32>,
}

impl Queries<'_> {
    pub(crate) fn check(&self, neurons: usize) -> Result<()> {
        for (name, responses) in [("queries", self.responses), ("reference", self.reference)] {
            if responses.ncols() != neurons {
                return Err(Error::shape(format!("neurons of the {name}"), neurons, responses.ncols()));
            }
            Error::all_finite(name, responses)?;
        }
        Ok(())
    }
}

/// A fitted baseline.
pub trait FittedBaseline: Send + Sync {
    /// Similarities, queries x candidates, of responses and images (candidates x height x width). Larger is
    /// more similar.
    ///
    /// # Errors
    /// [`Error::Shape`] when neurons or image size differ from the fit, [`Error::NotFinite`].
    fn similarity(&self, queries: Queries, candidates: ArrayView3<f32>) -> Result<Array2<f32>>;

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

pub(crate) fn check_parts(parts: &[Part], all: &TrainingSet) -> Result<()> {
    if parts.is_empty() {
        return Err(Error::value("parts to choose settings on", "at least one", 0));
    }
    let (_, height, width) = all.images.dim();
    let expected = (all.responses.ncols(), height, width);
    for part in parts {
        part.training.check("training", expected)?;
        part.validation.check("validation", expected)?;
        Queries { responses: part.validation.responses, reference: part.reference }.check(expected.0)?;
    }
    Ok(())
}

impl<Role> Presented<'_, Role> {
    fn check(&self, name: &str, (neurons, height, width): (usize, usize, usize)) -> Result<()> {
        if self.responses.ncols() != neurons {
            return Err(Error::shape(format!("neurons of the {name} set"), neurons, self.responses.ncols()));
        }
        let size = (self.images.len_of(Axis(1)), self.images.len_of(Axis(2)));
        if size != (height, width) {
            return Err(Error::shape(format!("image size of the {name} set"), (height, width), size));
        }
        Ok(())
    }
}

/// Refuses a grid of settings that leaves nothing to choose.
pub(crate) fn refuse_empty(grid: &[(&str, bool)]) -> Result<()> {
    match grid.iter().find(|(_, empty)| *empty) {
        None => Ok(()),
        Some((what, _)) => Err(Error::value(*what, "at least one to choose among", "empty")),
    }
}

/// What is minimised on validation trials: the mean log rank of the image shown. Unlike top-1 it also
/// moves when far candidates do, so that it is less noisy on few images.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogRanks {
    /// Sum over trials, one a setting.
    sums: Vec<f64>,
    trials: usize,
}

impl LogRanks {
    /// Of every setting, from the similarities of the validation trials under it.
    pub(crate) fn of<T>(
        validation: &ValidationSet,
        settings: impl IntoIterator<Item = T>,
        similarity: impl Fn(T) -> Result<Array2<f32>>,
    ) -> Result<Self> {
        let sums = settings
            .into_iter()
            .map(|setting| {
                let ranks = Ranks::new(similarity(setting)?.view(), validation.shown)?;
                Ok(ranks.values().map(f64::ln).sum())
            })
            .collect::<Result<_>>()?;
        Ok(Self { sums, trials: validation.shown.len() })
    }
}

/// The setting of least mean log rank over all parts, and that mean; `None` where no setting was tried.
pub(crate) fn least(parts: &[LogRanks]) -> Option<(usize, f64)> {
    let trials: usize = parts.iter().map(|part| part.trials).sum();
    let settings = parts.first().map_or(0, |part| part.sums.len());
    (0..settings)
        .map(|setting| (setting, parts.iter().map(|part| part.sums[setting]).sum::<f64>() / trials as f64))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}
