//! Dividing images, never trials, into training, validation and test.

use dina_core::{ContentHash, Seed};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::{Error, Recording, Result};

/// How many of the usable images a side gets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// This part of the usable images, rounded; above 0 and below 1.
    Fraction(f64),
    /// This many images.
    Images(usize),
}

impl Share {
    fn of(self, usable: usize) -> usize {
        match self {
            Self::Fraction(part) => (part * usable as f64).round() as usize,
            Self::Images(count) => count,
        }
    }
}

/// What [`Split::draw`] draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitConfig {
    /// Images held out for the test.
    pub test: Share,
    /// Images held out for tuning. A fraction is of all usable images; `Images(0)` holds out none, where settings are
    /// fixed in advance or chosen by cross-validation inside the training images.
    pub validation: Share,
    /// Presentations that an image needs to be used at all.
    pub repeats: usize,
    /// What the draw is repeatable from.
    pub seed: Seed,
}

impl Default for SplitConfig {
    /// A fifth for the test, a tenth for validation, two repeats, seed 0.
    fn default() -> Self {
        Self { test: Share::Fraction(0.2), validation: Share::Fraction(0.1), repeats: 2, seed: Seed::new(0) }
    }
}

/// Which images are trained on, tuned on and tested on. No image is on two sides.
///
/// Ids are counted from 0 and ascend on every side. Images that were shown too rarely are on none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Split {
    images: usize,
    train: Vec<u32>,
    validation: Vec<u32>,
    test: Vec<u32>,
}

/// [`Split`] as it is stored, before it is checked.
#[derive(Serialize, Deserialize)]
struct Parts {
    images: usize,
    train: Vec<u32>,
    validation: Vec<u32>,
    test: Vec<u32>,
}

impl TryFrom<Parts> for Split {
    type Error = Error;

    fn try_from(parts: Parts) -> Result<Self> {
        Self::new(parts.images, parts.train, parts.validation, parts.test)
    }
}

impl From<Split> for Parts {
    fn from(split: Split) -> Self {
        Self { images: split.images, train: split.train, validation: split.validation, test: split.test }
    }
}

impl Split {
    /// A split somebody else decided, such as a published one. `images` is the size of the
    /// stimulus set.
    ///
    /// Near duplicates are not looked at here: see [`crate::LeakageReport`].
    ///
    /// # Errors
    /// When training or test are empty, an id is not below `images`, or an image is there twice.
    pub fn new(
        images: usize,
        mut train: Vec<u32>,
        mut validation: Vec<u32>,
        mut test: Vec<u32>,
    ) -> Result<Self> {
        let mut side_of = vec![None; images];
        for (side, ids) in [("train", &mut train), ("validation", &mut validation), ("test", &mut test)] {
            if ids.is_empty() && side != "validation" {
                return Err(refused(side, "is empty".into(), "give it at least one image"));
            }
            for &id in ids.iter() {
                match side_of.get_mut(id as usize) {
                    None => {
                        return Err(refused(
                            side,
                            format!("holds image {id}, but there are {images}, counted from 0"),
                            "use the split of this stimulus set",
                        ));
                    }
                    Some(Some(other)) => {
                        return Err(refused(
                            side,
                            format!("holds image {id}, which is already in {other}"),
                            "keep every image on one side",
                        ));
                    }
                    Some(free) => *free = Some(side),
                }
            }
            ids.sort_unstable();
        }
        Ok(Self { images, train, validation, test })
    }

    /// Draws a split of the images that were shown at least `config.repeats` times, keeping each
    /// group together. `groups` holds per image of the stimulus set the number of its group, as
    /// from [`crate::near_duplicates`].
    ///
    /// Test and validation get exactly the images asked for, unless groups are too large to
    /// add up to that number: then fewer, never more.
    ///
    /// # Errors
    /// When `groups` has another length than there are images, a share is out of range, or not
    /// enough images or groups remain for every side to get one.
    pub fn draw(recording: &Recording, groups: &[usize], config: &SplitConfig) -> Result<Self> {
        Self::from_pool(Pool::of(&[recording], groups, config.repeats)?, recording.images(), config)
    }

    pub(crate) fn from_pool(mut pool: Pool<'_>, images: usize, config: &SplitConfig) -> Result<Self> {
        pool.shuffle(&config.seed);
        let test = pool.take("test", config.test)?;
        let validation = pool.take_validation(config.validation)?;
        Self::new(images, pool.rest()?, validation, test)
    }

    /// Size of the stimulus set that the ids count in.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Images to fit on.
    pub fn train(&self) -> &[u32] {
        &self.train
    }

    /// Images to tune on.
    pub fn validation(&self) -> &[u32] {
        &self.validation
    }

    /// Images to test on.
    pub fn test(&self) -> &[u32] {
        &self.test
    }

    /// Equal for equal splits, whatever order the ids were given in.
    pub fn hash(&self) -> ContentHash {
        let bytes = |ids: &[u32]| ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let images = (self.images as u64).to_le_bytes();
        let parts: [Vec<u8>; 3] = [bytes(&self.train), bytes(&self.validation), bytes(&self.test)];
        let header: [&[u8]; 2] = [b"dina split 1", &images];
        ContentHash::of(header.into_iter().chain(parts.iter().map(Vec::as_slice)))
    }
}

/// Splits for cross-validation: every usable image is tested in exactly one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Folds(Vec<Split>);

impl Folds {
    /// Draws `folds` splits. The usable images, in groups as for [`Split::draw`], are dealt into
    /// test sets of sizes as equal as the groups allow; in each fold `config.validation` is drawn
    /// from the images not tested there. `config.test` is not used.
    ///
    /// # Errors
    /// As [`Split::draw`], and when there are fewer than two folds or fewer groups than folds.
    pub fn draw(recording: &Recording, groups: &[usize], folds: usize, config: &SplitConfig) -> Result<Self> {
        Self::from_pool(Pool::of(&[recording], groups, config.repeats)?, recording.images(), folds, config)
    }

    pub(crate) fn from_pool(
        mut pool: Pool<'_>,
        images: usize,
        folds: usize,
        config: &SplitConfig,
    ) -> Result<Self> {
        if folds < 2 || pool.groups.len() < folds {
            return Err(Error::variable(
                pool.origin,
                "folds",
                format!("is {folds}, with {} groups of distinct images", pool.groups.len()),
                "ask for at least 2 and at most as many as there are groups",
            ));
        }
        pool.shuffle(&config.seed);
        // The largest first, each to the smallest fold: sizes end as equal as they can.
        pool.groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
        let mut tests: Vec<Vec<Vec<u32>>> = vec![Vec::new(); folds];
        let mut sizes = vec![0; folds];
        for group in pool.groups {
            let smallest = (0..folds).min_by_key(|&fold| sizes[fold]).unwrap_or(0);
            sizes[smallest] += group.len();
            tests[smallest].push(group);
        }
        let splits = (0..folds).map(|fold| {
            let mut pool = Pool {
                origin: pool.origin,
                usable: pool.usable,
                groups: (0..folds)
                    .filter(|&other| other != fold)
                    .flat_map(|other| tests[other].iter().cloned())
                    .collect(),
            };
            pool.shuffle(&config.seed.child("validation").index(fold));
            let validation = pool.take_validation(config.validation)?;
            let test = tests[fold].concat();
            Split::new(images, pool.rest()?, validation, test)
        });
        Ok(Self(splits.collect::<Result<_>>()?))
    }

    /// One split a fold.
    pub fn splits(&self) -> &[Split] {
        &self.0
    }

    /// Equal for equal folds in equal order.
    pub fn hash(&self) -> ContentHash {
        let hashes: Vec<String> = self.0.iter().map(|s| s.hash().to_string()).collect();
        ContentHash::of(hashes.iter().map(String::as_bytes))
    }
}

/// Groups of usable images that are not yet on a side.
pub(crate) struct Pool<'a> {
    origin: &'a str,
    /// Usable images, taken or not.
    usable: usize,
    groups: Vec<Vec<u32>>,
}

impl<'a> Pool<'a> {
    /// Images that each of the recordings, which are of one stimulus set, shows often enough.
    pub(crate) fn of(recordings: &[&'a Recording], groups: &[usize], repeats: usize) -> Result<Self> {
        let (origin, images) = recordings.first().map_or(("split", 0), |r| (r.origin(), r.images()));
        if groups.len() != images {
            return Err(Error::variable(
                origin,
                "duplicate groups",
                format!("are {} for {images} images", groups.len()),
                "look for duplicates in the images of this recording",
            ));
        }
        let mut members = std::collections::BTreeMap::<usize, Vec<u32>>::new();
        let trials: Vec<Vec<Vec<usize>>> = recordings.iter().map(|r| r.trials()).collect();
        let usable = (0..images as u32)
            .filter(|&image| trials.iter().all(|t| t[image as usize].len() >= repeats.max(1)));
        let mut count = 0;
        for image in usable {
            members.entry(groups[image as usize]).or_default().push(image);
            count += 1;
        }
        // By smallest image: how the groups are numbered must not matter.
        let mut groups: Vec<Vec<u32>> = members.into_values().collect();
        groups.sort_unstable();
        if groups.len() < 3 {
            return Err(Error::variable(
                origin,
                "stim.istim",
                format!(
                    "shows {count} images at least {repeats} times, in {} groups of near \
                     duplicates, expected at least 3 groups",
                    groups.len()
                ),
                "ask for fewer repeats or give a recording with more images",
            ));
        }
        Ok(Self { origin, usable: count, groups })
    }

    fn shuffle(&mut self, seed: &Seed) {
        self.groups.shuffle(&mut seed.stream("split"));
    }

    fn take_validation(&mut self, share: Share) -> Result<Vec<u32>> {
        if share == Share::Images(0) { Ok(Vec::new()) } else { self.take("validation", share) }
    }

    /// Takes groups in order, skipping those that would overfill the side.
    fn take(&mut self, side: &str, share: Share) -> Result<Vec<u32>> {
        let wanted = share.of(self.usable);
        let fail = |problem: String, remedy: &str| Err(Error::variable(self.origin, side, problem, remedy));
        if let Share::Fraction(part) = share
            && !(part > 0.0 && part < 1.0)
        {
            return fail(
                format!("is to be a fraction {part} of the images"),
                "ask for a fraction above 0 and below 1",
            );
        }
        let left: usize = self.groups.iter().map(Vec::len).sum();
        if wanted == 0 || wanted >= left {
            return fail(
                format!("is to hold {wanted} images, of {left} that are left"),
                "ask for at least one and leave some for the other sides",
            );
        }
        let mut taken = Vec::new();
        self.groups.retain(|group| {
            let fits = taken.len() + group.len() <= wanted;
            if fits {
                taken.extend_from_slice(group);
            }
            !fits
        });
        if taken.is_empty() {
            return fail(
                format!("is to hold {wanted} images, and every group of near duplicates is larger"),
                "raise the duplicate threshold or ask for more images",
            );
        }
        Ok(taken)
    }

    fn rest(self) -> Result<Vec<u32>> {
        if self.groups.is_empty() {
            return Err(Error::variable(
                self.origin,
                "train",
                "gets no image".to_owned(),
                "ask for smaller test and validation sets",
            ));
        }
        Ok(self.groups.concat())
    }
}

fn refused(side: &str, problem: String, remedy: &str) -> Error {
    Error::variable("split", side, problem, remedy)
}

#[cfg(test)]
pub(crate) mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;

    /// A recording in which image `i` is shown `shown[i]` times, with distinct responses.
    pub fn shown(shown: &[usize]) -> Recording {
        let most = shown.iter().copied().max().unwrap_or(0);
        // Repeats in rounds, as in an experiment, so that trials of an image are apart.
        let stimulus: Vec<Option<u32>> = (0..most)
            .flat_map(|round| {
                (0u32..).zip(shown).filter(move |(_, times)| **times > round).map(|(image, _)| Some(image))
            })
            .chain([None, None])
            .collect();
        let responses = Array2::from_shape_fn((stimulus.len(), 3), |(t, n)| (t * 3 + n) as f32);
        Recording::new("test", responses, stimulus, shown.len()).unwrap()
    }

    fn alone(images: usize) -> Vec<usize> {
        (0..images).collect()
    }

    #[test]
    fn the_numbers_asked_for_are_given() {
        let recording = shown(&[2; 100]);
        let config = SplitConfig {
            test: Share::Images(17),
            validation: Share::Fraction(0.1),
            ..SplitConfig::default()
        };
        let split = Split::draw(&recording, &alone(100), &config).unwrap();
        assert_eq!((split.test().len(), split.validation().len()), (17, 10));
        assert_eq!(split.train().len(), 73);
        let other = SplitConfig { seed: Seed::new(1), ..config.clone() };
        let other = Split::draw(&recording, &alone(100), &other).unwrap();
        assert_ne!(other.hash(), split.hash());
        assert_eq!(Split::draw(&recording, &alone(100), &config).unwrap(), split);
    }

    #[test]
    fn rarely_shown_images_are_left_out() {
        let mut times = [2; 30];
        (times[4], times[9]) = (1, 0);
        let recording = shown(&times);
        let split = Split::draw(&recording, &alone(30), &SplitConfig::default()).unwrap();
        let used = [split.train(), split.validation(), split.test()].concat();
        assert_eq!(used.len(), 28);
        assert!(!used.contains(&4) && !used.contains(&9));
    }

    #[test]
    fn impossible_wishes_are_refused_with_a_reason() {
        let recording = shown(&[2; 10]);
        let with = |test, validation| SplitConfig { test, validation, ..SplitConfig::default() };
        let half = Share::Fraction(0.5);
        for (config, groups, says) in [
            (with(Share::Fraction(1.5), half), alone(10), "below 1"),
            (with(Share::Fraction(f64::NAN), half), alone(10), "below 1"),
            (with(Share::Images(0), half), alone(10), "at least one"),
            (with(Share::Images(10), half), alone(10), "leave some"),
            (with(half, half), alone(10), "leave some"),
            (with(half, half), alone(9), "9 for 10"),
            (with(half, half), vec![0; 10], "in 1 groups"),
            (with(Share::Images(1), half), vec![0, 0, 0, 1, 1, 1, 2, 2, 2, 2], "larger"),
        ] {
            let error = Split::draw(&recording, &groups, &config).unwrap_err();
            assert!(error.to_string().contains(says), "{says:?}: {error}");
        }
        let config = SplitConfig { repeats: 3, ..SplitConfig::default() };
        assert!(Split::draw(&recording, &alone(10), &config).is_err());
        for folds in [0, 1, 11] {
            assert!(Folds::draw(&recording, &alone(10), folds, &config).is_err());
        }
    }

    #[test]
    fn a_stored_split_is_checked_when_read() {
        let split = Split::new(9, vec![5, 1], vec![2], vec![0, 7]).unwrap();
        let text = serde_json::to_string(&split).unwrap();
        assert_eq!(serde_json::from_str::<Split>(&text).unwrap(), split);
        let leaky = text.replace("[0,7]", "[0,5]");
        let error = serde_json::from_str::<Split>(&leaky).unwrap_err();
        assert!(error.to_string().contains("already in train"), "{error}");
        assert!(Split::new(9, vec![9], vec![2], vec![0]).is_err());
    }

    /// A fixed value: a change of it would part results from the splits they name.
    #[test]
    fn the_hash_never_changes_nor_depends_on_order() {
        let split = Split::new(9, vec![5, 1], vec![2], vec![0, 7]).unwrap();
        let again = Split::new(9, vec![1, 5], vec![2], vec![7, 0]).unwrap();
        assert_eq!(split.hash(), again.hash());
        assert_eq!(split.hash().short(), "f2dfbafd040b");
        let moved = Split::new(9, vec![1, 5], vec![2, 7], vec![0]).unwrap();
        assert_ne!(split.hash(), moved.hash());
    }

    fn world() -> impl Strategy<Value = (Vec<usize>, Vec<usize>, u64)> {
        (12usize..60).prop_flat_map(|images| {
            (
                prop::collection::vec(0usize..4, images),
                prop::collection::vec(0usize..images, images),
                any::<u64>(),
            )
        })
    }

    fn side_of(split: &Split, images: usize) -> Vec<Option<usize>> {
        let mut side = vec![None; images];
        for (number, ids) in [split.train(), split.validation(), split.test()].into_iter().enumerate() {
            for &id in ids {
                assert_eq!(side[id as usize].replace(number), None, "image {id} twice");
            }
        }
        side
    }

    proptest! {
        #[test]
        fn every_usable_image_is_on_one_side_and_groups_stay_together(
            (times, groups, seed) in world(),
        ) {
            let recording = shown(&times);
            let config = SplitConfig { seed: Seed::new(seed), ..SplitConfig::default() };
            let Ok(split) = Split::draw(&recording, &groups, &config) else { return Ok(()) };
            let side = side_of(&split, times.len());
            for a in 0..times.len() {
                prop_assert_eq!(side[a].is_some(), times[a] >= 2);
                for b in 0..a {
                    if groups[a] == groups[b] && side[a].is_some() && side[b].is_some() {
                        prop_assert_eq!(side[a], side[b]);
                    }
                }
            }
            // Only which images are grouped counts, not the numbers of the groups.
            let renamed: Vec<usize> = groups.iter().map(|g| 1000 - 7 * g).collect();
            prop_assert_eq!(Split::draw(&recording, &renamed, &config).unwrap(), split);
        }

        #[test]
        fn folds_test_every_usable_image_once(
            (times, groups, seed) in world(),
            folds in 2usize..7,
        ) {
            let recording = shown(&times);
            let config = SplitConfig { seed: Seed::new(seed), ..SplitConfig::default() };
            let Ok(folds) = Folds::draw(&recording, &groups, folds, &config) else {
                return Ok(())
            };
            let mut tested = vec![0; times.len()];
            for split in folds.splits() {
                let side = side_of(split, times.len());
                split.test().iter().for_each(|&id| tested[id as usize] += 1);
                for a in 0..times.len() {
                    prop_assert_eq!(side[a].is_some(), times[a] >= 2);
                    for b in 0..a {
                        if groups[a] == groups[b] && side[a].is_some() && side[b].is_some() {
                            prop_assert_eq!(side[a], side[b]);
                        }
                    }
                }
            }
            for (image, times) in times.iter().enumerate() {
                prop_assert_eq!(tested[image], usize::from(*times >= 2));
            }
        }
    }

    #[test]
    fn folds_of_single_images_differ_by_one_at_most() {
        let folds = Folds::draw(&shown(&[2; 118]), &alone(118), 6, &SplitConfig::default()).unwrap();
        let mut sizes: Vec<usize> = folds.splits().iter().map(|s| s.test().len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [19, 19, 20, 20, 20, 20]);
    }
}
