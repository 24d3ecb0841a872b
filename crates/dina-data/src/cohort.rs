//! Several recordings of one stimulus set, and folds that hold out a whole mouse.

use dina_core::ContentHash;
use serde::{Deserialize, Serialize};

use crate::split::Pool;
use crate::view::Views;
use crate::{Error, Folds, Recording, Result, Split, SplitConfig};

/// Recordings of the same images, each with the mouse that it is from.
///
/// Two recordings of one mouse have neurons in common: folds go by mouse, not by file.
#[derive(Debug, Clone)]
pub struct Cohort<'a> {
    members: Vec<(String, &'a Recording)>,
}

impl<'a> Cohort<'a> {
    /// Checks and keeps recordings with the names of their mice.
    ///
    /// # Errors
    /// When there is none, or they are of different stimulus sets.
    pub fn new(members: Vec<(String, &'a Recording)>) -> Result<Self> {
        let Some((_, first)) = members.first() else {
            return Err(Error::variable("cohort", "recordings", "are none", "give at least one"));
        };
        if let Some((_, other)) = members.iter().find(|(_, r)| r.images() != first.images()) {
            return Err(Error::variable(
                other.origin(),
                "images",
                format!("are {}, `{}` has {}", other.images(), first.origin(), first.images()),
                "take recordings of one stimulus set",
            ));
        }
        Ok(Self { members })
    }

    /// The recordings, in the order given.
    pub fn recordings(&self) -> Vec<&'a Recording> {
        self.members.iter().map(|(_, recording)| *recording).collect()
    }

    /// The mouse of a recording, by number; empty where there is no such recording.
    pub fn mouse(&self, recording: usize) -> &str {
        self.members.get(recording).map_or("", |(mouse, _)| mouse)
    }

    /// Names of the mice, each once, sorted.
    pub fn mice(&self) -> Vec<&str> {
        let mut mice: Vec<&str> = self.members.iter().map(|(mouse, _)| mouse.as_str()).collect();
        mice.sort_unstable();
        mice.dedup();
        mice
    }

    fn images(&self) -> usize {
        self.members.first().map_or(0, |(_, r)| r.images())
    }
}

/// One fold: a mouse is held out, and images are divided too.
///
/// Everything that mice share is fitted on the training images as the other mice saw them. What is the
/// mouse's own, such as the read-in of its neurons, can be fitted on the training images as it saw them
/// itself. Reported are its test images, which no mouse was fitted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MouseFold {
    /// The mouse held out.
    pub held_out: String,
    /// Recordings of the other mice, by number.
    pub fit_on: Vec<usize>,
    /// Recordings of the mouse held out, by number.
    pub test_on: Vec<usize>,
    /// Images, the same for all mice.
    pub split: Split,
}

/// The three sides of a split in every recording of a [`MouseFold`].
#[derive(Debug, Clone)]
pub struct MouseViews<'a> {
    /// Recordings of the mice fitted on, in the order of [`MouseFold::fit_on`].
    pub fit: Vec<Views<'a>>,
    /// Recordings of the mouse held out, in the order of [`MouseFold::test_on`].
    pub held_out: Vec<Views<'a>>,
}

impl MouseFold {
    /// The views of this fold.
    ///
    /// # Errors
    /// When the fold is of another cohort.
    pub fn views<'a>(&self, cohort: &Cohort<'a>) -> Result<MouseViews<'a>> {
        self.check(cohort)?;
        let recordings = cohort.recordings();
        let views = |of: &[usize]| of.iter().map(|&r| self.split.views(recordings[r])).collect::<Result<_>>();
        Ok(MouseViews { fit: views(&self.fit_on)?, held_out: views(&self.test_on)? })
    }

    pub(crate) fn check(&self, cohort: &Cohort<'_>) -> Result<()> {
        let count = cohort.members.len();
        match self.fit_on.iter().chain(&self.test_on).find(|&&r| r >= count) {
            None => Ok(()),
            Some(missing) => Err(Error::variable(
                "mouse fold",
                "recording",
                format!("is number {missing}, the cohort has {count}, counted from 0"),
                "use the fold with the cohort it was drawn from",
            )),
        }
    }
}

/// Folds that hold out each mouse in turn (leave one mouse out), crossed with folds of images.
///
/// ```
/// # use dina_data::{Cohort, LeakageReport, MouseFolds, Recording, SplitConfig};
/// # use ndarray::Array2;
/// # fn recording(seed: usize) -> Recording {
/// #     let responses = Array2::from_shape_fn((60, 4), |(t, n)| ((t * 7 + n * seed) % 11) as f32);
/// #     Recording::new("example", responses, (0..60).map(|t| Some(t % 30)).collect(), 30).unwrap()
/// # }
/// let (a, b, c) = (recording(1), recording(2), recording(3));
/// let cohort = Cohort::new(vec![("anna".into(), &a), ("anna".into(), &b), ("bert".into(), &c)])?;
/// let groups: Vec<usize> = (0..30).collect(); // from near_duplicates
/// let folds = MouseFolds::draw(&cohort, &groups, 1, &SplitConfig::default())?;
/// assert_eq!(folds.folds().len(), 2);
/// assert_eq!(folds.folds()[0].test_on, [0, 1]); // both recordings of anna
/// assert!(LeakageReport::of_mice(&folds.folds()[0], &cohort, &groups)?.is_clean());
/// # Ok::<(), dina_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MouseFolds(Vec<MouseFold>);

impl MouseFolds {
    /// Holds out every mouse with every split of the images: one split as [`Split::draw`] for
    /// `image_folds` 1, otherwise as many as [`Folds::draw`]. Images are usable that every recording
    /// shows often enough; near duplicates (`groups`) stay together. The splits of the images are the
    /// same for all mice.
    ///
    /// # Errors
    /// As those, and when there are fewer than two mice.
    pub fn draw(
        cohort: &Cohort<'_>,
        groups: &[usize],
        image_folds: usize,
        config: &SplitConfig,
    ) -> Result<Self> {
        let mice = cohort.mice();
        if mice.len() < 2 {
            return Err(Error::variable(
                "cohort",
                "mice",
                format!("are {}, 2 or more are needed to hold one out", mice.len()),
                "give recordings of other mice, or draw folds of images",
            ));
        }
        let recordings = cohort.recordings();
        let pool = Pool::of(&recordings, groups, config.repeats)?;
        let splits = match image_folds {
            1 => vec![Split::from_pool(pool, cohort.images(), config)?],
            folds => Folds::from_pool(pool, cohort.images(), folds, config)?.splits().to_vec(),
        };
        let folds = mice.iter().flat_map(|mouse| {
            let (test_on, fit_on): (Vec<usize>, Vec<usize>) =
                (0..recordings.len()).partition(|&r| cohort.mouse(r) == *mouse);
            splits.iter().map(move |split| MouseFold {
                held_out: (*mouse).to_owned(),
                fit_on: fit_on.clone(),
                test_on: test_on.clone(),
                split: split.clone(),
            })
        });
        Ok(Self(folds.collect()))
    }

    /// All folds, mouse by mouse in the order of [`Cohort::mice`].
    pub fn folds(&self) -> &[MouseFold] {
        &self.0
    }

    /// Equal for equal folds in equal order.
    pub fn hash(&self) -> ContentHash {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|f| format!("{} {:?} {:?} {}", f.held_out, f.fit_on, f.test_on, f.split.hash()))
            .collect();
        ContentHash::of(parts.iter().map(String::as_bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::LeakageReport;
    use crate::split::tests::shown;

    fn groups(images: usize) -> Vec<usize> {
        // Every third image is a near duplicate of the one before.
        (0..images).map(|i| if i % 3 == 2 { i - 1 } else { i }).collect()
    }

    #[test]
    fn every_mouse_is_held_out_once_with_every_test_image() {
        let recordings = [shown(&[2; 40]), shown(&[3; 40]), shown(&[2; 40]), shown(&[2; 40])];
        let mice = ["b", "a", "b", "c"];
        let cohort =
            Cohort::new(mice.iter().zip(&recordings).map(|(m, r)| ((*m).to_owned(), r)).collect()).unwrap();
        let groups = groups(40);
        let folds = MouseFolds::draw(&cohort, &groups, 4, &SplitConfig::default()).unwrap();
        assert_eq!(folds.folds().len(), 12);
        let mut tested = BTreeSet::new();
        for fold in folds.folds() {
            assert!(fold.test_on.iter().all(|&r| mice[r] == fold.held_out));
            assert!(fold.fit_on.iter().all(|&r| mice[r] != fold.held_out));
            assert_eq!(fold.fit_on.len() + fold.test_on.len(), 4);
            for id in fold.split.test() {
                assert!(tested.insert((fold.held_out.clone(), *id)), "twice");
            }
            let report = LeakageReport::of_mice(fold, &cohort, &groups).unwrap();
            assert!(report.is_clean() && report.shared_mice == Some(0), "{report}");
            let repeats: usize = fold.test_on.iter().map(|&r| if r == 1 { 3 } else { 2 }).sum();
            assert_eq!(report.sides[2].trials, repeats * fold.split.test().len());
            let views = fold.views(&cohort).unwrap();
            assert_eq!((views.fit.len(), views.held_out.len()), (fold.fit_on.len(), fold.test_on.len()));
            assert_eq!(views.held_out[0].test.images(), fold.split.test());
        }
        assert_eq!(tested.len(), 3 * 40);
        let text = serde_json::to_string(&folds).unwrap();
        assert_eq!(serde_json::from_str::<MouseFolds>(&text).unwrap(), folds);
        assert_ne!(
            folds.hash(),
            MouseFolds::draw(&cohort, &groups, 1, &SplitConfig::default()).unwrap().hash()
        );
    }

    #[test]
    fn a_mouse_on_both_sides_is_found() {
        let recordings = [shown(&[2; 12]), shown(&[2; 12])];
        let cohort = Cohort::new(vec![("a".into(), &recordings[0]), ("a".into(), &recordings[1])]).unwrap();
        let split = Split::new(12, (0..6).collect(), (6..9).collect(), (9..12).collect()).unwrap();
        let fold = MouseFold { held_out: "a".into(), fit_on: vec![0], test_on: vec![1], split };
        let alone: Vec<usize> = (0..12).collect();
        let report = LeakageReport::of_mice(&fold, &cohort, &alone).unwrap();
        assert!(!report.is_clean());
        assert_eq!(report.shared_mice, Some(1));
        assert!(report.to_string().contains("LEAKAGE"), "{report}");
        let outside = MouseFold { test_on: vec![7], ..fold };
        assert!(outside.views(&cohort).is_err());
        assert!(LeakageReport::of_mice(&outside, &cohort, &alone).is_err());
        assert!(MouseFolds::draw(&cohort, &alone, 1, &SplitConfig::default()).is_err());
    }

    #[test]
    fn images_that_one_mouse_did_not_see_are_left_out() {
        let mut times = [2; 20];
        (times[4], times[9]) = (1, 0);
        let recordings = [shown(&[2; 20]), shown(&times)];
        let cohort = Cohort::new(vec![("a".into(), &recordings[0]), ("b".into(), &recordings[1])]).unwrap();
        let alone: Vec<usize> = (0..20).collect();
        let folds = MouseFolds::draw(&cohort, &alone, 1, &SplitConfig::default()).unwrap();
        let split = &folds.folds()[0].split;
        let used = [split.train(), split.validation(), split.test()].concat();
        assert!(used.len() == 18 && !used.contains(&4) && !used.contains(&9));
        let other = shown(&[2; 21]);
        assert!(Cohort::new(vec![("a".into(), &recordings[0]), ("b".into(), &other)]).is_err());
        assert!(Cohort::new(Vec::new()).is_err());
    }
}
