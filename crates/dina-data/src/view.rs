//! Leakage is a type error: what is fitted asks for [`View<Train>`], and only a [`Split`] makes
//! one.

use std::marker::PhantomData;

use dina_core::ContentHash;
use ndarray::{Array2, Array3, Axis};
use rayon::prelude::*;

use crate::{Error, Recording, Result, Split};

mod sealed {
    pub trait Sealed {}
}

/// What a view may be used for. Sealed: there are [`Train`], [`Validation`] and [`Test`].
pub trait Role: sealed::Sealed + std::fmt::Debug + Clone + Copy + Send + Sync + 'static {
    /// For messages and reports.
    const NAME: &'static str;
}

macro_rules! role {
    ($($name:ident, $text:literal, $doc:literal;)*) => {$(
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl Role for $name {
            const NAME: &'static str = $text;
        }
    )*};
}

role! {
    Train, "train", "Fitted on.";
    Validation, "validation", "Tuned on: early stopping, choice of a penalty.";
    Test, "test", "Reported on, and nothing else.";
}

/// One side of a split: its images and their trials in a recording.
///
/// Fitting asks for a `View<Train>`:
///
/// ```
/// # use dina_data::{Preset, Recording, Split};
/// # fn main() -> dina_data::Result<()> {
/// # let stimulus = (0..12).map(|t| Some(t % 6)).collect();
/// # let responses = ndarray::Array2::from_shape_fn((12, 3), |(t, n)| ((t * 5 + n) % 7) as f32);
/// # let recording = Recording::new("example", responses, stimulus, 6)?;
/// let split = Split::new(6, vec![0, 1, 2, 3], vec![4], vec![5])?;
/// let views = split.views(&recording)?;
/// let fitted = Preset::Standard.fit(&views.train)?;
/// # Ok(())
/// # }
/// ```
///
/// The same on the test images does not compile:
///
/// ```compile_fail,E0308
/// # use dina_data::{Preset, Recording, Split};
/// # fn main() -> dina_data::Result<()> {
/// # let stimulus = (0..12).map(|t| Some(t % 6)).collect();
/// # let responses = ndarray::Array2::from_shape_fn((12, 3), |(t, n)| ((t * 5 + n) % 7) as f32);
/// # let recording = Recording::new("example", responses, stimulus, 6)?;
/// let split = Split::new(6, vec![0, 1, 2, 3], vec![4], vec![5])?;
/// let views = split.views(&recording)?;
/// let fitted = Preset::Standard.fit(&views.test)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct View<'a, R: Role> {
    recording: &'a Recording,
    images: Vec<u32>,
    trials: Vec<Vec<usize>>,
    split: ContentHash,
    role: PhantomData<R>,
}

/// The three sides of a split.
#[derive(Debug, Clone)]
pub struct Views<'a> {
    /// To fit on.
    pub train: View<'a, Train>,
    /// To tune on.
    pub validation: View<'a, Validation>,
    /// To report on.
    pub test: View<'a, Test>,
}

impl Split {
    /// The three sides of this split in a recording.
    ///
    /// # Errors
    /// When the recording has another number of images, or never shows an image of the split.
    pub fn views<'a>(&self, recording: &'a Recording) -> Result<Views<'a>> {
        if self.images() != recording.images() {
            return Err(Error::variable(
                recording.origin(),
                "split",
                format!("was made for {} images, the recording has {}", self.images(), recording.images()),
                "draw the split from this recording",
            ));
        }
        let trials = recording.trials();
        let hash = self.hash();
        Ok(Views {
            train: View::new(recording, self.train(), &trials, hash)?,
            validation: View::new(recording, self.validation(), &trials, hash)?,
            test: View::new(recording, self.test(), &trials, hash)?,
        })
    }
}

impl<'a, R: Role> View<'a, R> {
    fn new(
        recording: &'a Recording,
        images: &[u32],
        trials: &[Vec<usize>],
        split: ContentHash,
    ) -> Result<Self> {
        let trials: Vec<Vec<usize>> = images.iter().map(|&image| trials[image as usize].clone()).collect();
        if let Some(missing) = trials.iter().position(Vec::is_empty) {
            return Err(Error::variable(
                recording.origin(),
                "stim.istim",
                format!("never shows image {}, which the split has in {}", images[missing], R::NAME),
                "draw the split from this recording",
            ));
        }
        Ok(Self { recording, images: images.to_vec(), trials, split, role: PhantomData })
    }

    /// The recording looked at, whole: its responses hold the other sides too.
    pub fn recording(&self) -> &'a Recording {
        self.recording
    }

    /// Ids of the images on this side, ascending, counted from 0.
    pub fn images(&self) -> &[u32] {
        &self.images
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is no image, as on a validation side that nothing was held out for.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Per image of [`View::images`] its presentations, as rows of [`Recording::responses`], in the
    /// order shown.
    pub fn trials(&self) -> &[Vec<usize>] {
        &self.trials
    }

    /// All presentations on this side, in the order shown.
    pub fn rows(&self) -> Vec<usize> {
        let mut rows = self.trials.concat();
        rows.sort_unstable();
        rows
    }

    /// The smallest number of presentations of an image.
    pub fn repeats(&self) -> usize {
        self.trials.iter().map(Vec::len).min().unwrap_or(0)
    }

    /// The split this is a side of.
    pub fn split_hash(&self) -> ContentHash {
        self.split
    }

    /// Mean over the presentations of each image: images x columns of `responses`, which holds one
    /// row per presentation of the recording, as recorded or preprocessed.
    ///
    /// # Errors
    /// When `responses` has another number of rows.
    pub fn repeat_means(&self, responses: &Array2<f32>) -> Result<Array2<f32>> {
        means(self.recording, &self.trials, responses, <[usize]>::to_vec)
    }

    /// Means of about `size` presentations of one image each, in the order shown. With `size` 1 these are
    /// the single presentations. Every image gives at least one; no presentation is in two.
    ///
    /// # Errors
    /// As [`View::repeat_means`].
    pub fn averages(&self, responses: &Array2<f32>, size: usize) -> Result<Averages> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut trials = Vec::new();
        for rows in &self.trials {
            let count = (rows.len() / size.max(1)).max(1);
            let first = groups.len();
            // Sizes differ by one at most, so that none is much noisier than the others.
            groups.extend(
                (0..count).map(|k| rows[k * rows.len() / count..(k + 1) * rows.len() / count].to_vec()),
            );
            trials.push((first..groups.len()).collect());
        }
        Ok(Averages { responses: means(self.recording, &groups, responses, <[usize]>::to_vec)?, trials })
    }

    /// Two halves of the data: means over every other presentation of each image, from the first
    /// and from the second on. With two repeats these are the repeats.
    ///
    /// # Errors
    /// When an image has fewer than two presentations, or as [`View::repeat_means`].
    pub fn halves(&self, responses: &Array2<f32>) -> Result<(Array2<f32>, Array2<f32>)> {
        if self.repeats() < 2 {
            return Err(Error::variable(
                self.recording.origin(),
                "stim.istim",
                format!("shows an image of the {} side only once", R::NAME),
                "draw the split with `repeats` of at least 2",
            ));
        }
        Ok((
            means(self.recording, &self.trials, responses, every_other(0))?,
            means(self.recording, &self.trials, responses, every_other(1))?,
        ))
    }

    /// The images of this side, in the order of [`View::images`], out of the whole stimulus set.
    ///
    /// # Errors
    /// When `images` has another length than the stimulus set.
    pub fn select<T: Clone>(&self, images: &Array3<T>) -> Result<Array3<T>> {
        self.check_images(images.len_of(Axis(0)))?;
        let ids: Vec<usize> = self.images.iter().map(|&id| id as usize).collect();
        Ok(images.select(Axis(0), &ids))
    }

    pub(crate) fn check_images(&self, found: usize) -> Result<()> {
        if found == self.recording.images() {
            return Ok(());
        }
        Err(Error::variable(
            self.recording.origin(),
            "imgs",
            format!("holds {found} images, the recording has {}", self.recording.images()),
            "give the image file that was shown in this recording",
        ))
    }
}

/// Means of a few presentations of one image each, as [`View::averages`] makes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Averages {
    /// Means x columns.
    pub responses: Array2<f32>,
    /// Per image of the view its rows of `responses`.
    pub trials: Vec<Vec<usize>>,
}

impl Averages {
    /// Per row the image it belongs to, as an index into the images of the view.
    pub fn shown(&self) -> Vec<usize> {
        let images = self.trials.iter().enumerate();
        images.flat_map(|(image, rows)| std::iter::repeat_n(image, rows.len())).collect()
    }
}

/// Two halves of the responses to every image that was shown at least twice.
#[derive(Debug, Clone, PartialEq)]
pub struct RepeatHalves {
    /// The images, ascending, counted from 0.
    pub images: Vec<u32>,
    /// Means over every other presentation from the first on, images x columns.
    pub first: Array2<f32>,
    /// The same from the second presentation on.
    pub second: Array2<f32>,
}

/// Splits the responses of a whole recording into two halves of the repeats, for what is measured
/// on the recording as such: reliability, and how well repeats find each other. Nothing may be
/// fitted on the result; for that there is [`View::halves`].
///
/// `responses` holds one row per presentation, as recorded or preprocessed.
///
/// # Errors
/// When `responses` has another number of rows or no image was shown twice.
pub fn repeat_halves(recording: &Recording, responses: &Array2<f32>) -> Result<RepeatHalves> {
    let (images, trials): (Vec<u32>, Vec<Vec<usize>>) =
        (0u32..).zip(recording.trials()).filter(|(_, rows)| rows.len() >= 2).unzip();
    if images.is_empty() {
        return Err(Error::variable(
            recording.origin(),
            "stim.istim",
            "shows no image twice",
            "give a recording with repeats",
        ));
    }
    Ok(RepeatHalves {
        images,
        first: means(recording, &trials, responses, every_other(0))?,
        second: means(recording, &trials, responses, every_other(1))?,
    })
}

fn every_other(from: usize) -> impl Fn(&[usize]) -> Vec<usize> {
    move |trials| trials.iter().copied().skip(from).step_by(2).collect()
}

/// Per image the mean of the chosen of its trials.
fn means(
    recording: &Recording,
    trials: &[Vec<usize>],
    responses: &Array2<f32>,
    choose: impl Fn(&[usize]) -> Vec<usize> + Sync,
) -> Result<Array2<f32>> {
    if responses.nrows() != recording.presentations() {
        return Err(Error::variable(
            recording.origin(),
            "responses",
            format!("have {} rows for {} presentations", responses.nrows(), recording.presentations()),
            "give the responses to all presentations of the recording",
        ));
    }
    let mut means = Array2::zeros((trials.len(), responses.ncols()));
    means.axis_iter_mut(Axis(0)).into_par_iter().zip(trials).for_each(|(mut mean, trials)| {
        let rows = choose(trials);
        for &row in &rows {
            mean += &responses.row(row);
        }
        mean /= rows.len() as f32;
    });
    Ok(means)
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;
    use crate::split::tests::shown;

    #[test]
    fn views_hold_the_trials_of_their_images() {
        // Rounds: rows 0..4 are images 0..4, rows 4..7 images 0, 1, 3, row 7 image 3.
        let recording = shown(&[2, 2, 1, 3]);
        let split = Split::new(4, vec![3, 0], vec![1], vec![2]).unwrap();
        let views = split.views(&recording).unwrap();
        assert_eq!(views.train.images(), [0, 3]);
        assert_eq!(views.train.trials(), [vec![0, 4], vec![3, 6, 7]]);
        assert_eq!(views.train.rows(), [0, 3, 4, 6, 7]);
        assert_eq!(views.train.repeats(), 2);
        assert_eq!(views.test.split_hash(), split.hash());

        // Responses are 3 t + n.
        let means = views.train.repeat_means(recording.responses()).unwrap();
        assert_eq!(means, arr2(&[[6., 7., 8.], [16., 17., 18.]]));
        let averages = views.train.averages(recording.responses(), 2).unwrap();
        assert_eq!(averages.responses, means);
        assert_eq!(averages.trials, [[0], [1]]);
        let singles = views.train.averages(recording.responses(), 1).unwrap();
        assert_eq!(singles.responses.column(0).to_vec(), [0., 12., 9., 18., 21.]);
        assert_eq!(singles.shown(), [0, 0, 1, 1, 1]);
        let (even, odd) = views.train.halves(recording.responses()).unwrap();
        assert_eq!(even.column(0).to_vec(), [0., 15.]);
        assert_eq!(odd.column(0).to_vec(), [12., 18.]);
        assert!(views.test.halves(recording.responses()).is_err());
        assert!(views.train.repeat_means(&Array2::zeros((3, 3))).is_err());

        let all = repeat_halves(&recording, recording.responses()).unwrap();
        assert_eq!(all.images, [0, 1, 3]);
        assert_eq!(all.first.column(0).to_vec(), [0., 3., 15.]);
        assert_eq!(all.second.column(0).to_vec(), [12., 15., 18.]);
        let once = shown(&[1, 1]);
        assert!(repeat_halves(&once, once.responses()).is_err());
    }

    #[test]
    fn a_split_of_another_recording_is_refused() {
        let split = Split::new(4, vec![3, 0], vec![1], vec![2]).unwrap();
        assert!(split.views(&shown(&[2; 5])).is_err());
        let error = split.views(&shown(&[2, 2, 0, 2])).unwrap_err();
        assert!(error.to_string().contains("never shows image 2"), "{error}");
    }
}
