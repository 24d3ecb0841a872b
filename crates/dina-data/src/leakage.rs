//! The check that nothing of one side is on another, counted anew from the data.

use std::collections::BTreeSet;
use std::fmt;

use dina_core::ContentHash;
use serde::{Deserialize, Serialize};

use crate::{Error, Recording, Result, Split};

/// What one side of a split holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideCount {
    /// `train`, `validation` or `test`.
    pub side: String,
    /// Images.
    pub images: usize,
    /// Presentations of these images.
    pub trials: usize,
    /// Groups of near duplicates that these images belong to.
    pub groups: usize,
}

/// How many images, trials and groups of near duplicates are on more than one side. Printed in
/// every report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakageReport {
    /// The split that was looked at.
    pub split: ContentHash,
    /// What each side holds.
    pub sides: Vec<SideCount>,
    /// Images on two sides.
    pub shared_images: usize,
    /// Presentations on two sides.
    pub shared_trials: usize,
    /// Groups of near duplicates with images on two sides.
    pub shared_groups: usize,
    /// Images of the stimulus set on no side.
    pub unused_images: usize,
}

impl LeakageReport {
    /// Looks at a split of a recording. `groups` holds per image the number of its group of near
    /// duplicates.
    ///
    /// # Errors
    /// When the split, the groups and the recording are of different stimulus sets.
    pub fn new(split: &Split, recording: &Recording, groups: &[usize]) -> Result<Self> {
        for (what, found) in [("duplicate groups", groups.len()), ("split", split.images())] {
            if found != recording.images() {
                return Err(Error::variable(
                    recording.origin(),
                    what,
                    format!("for {found} images, the recording has {}", recording.images()),
                    "take all three from the same stimulus set",
                ));
            }
        }
        let sides = [("train", split.train()), ("validation", split.validation()), ("test", split.test())];
        Ok(Self::count(split.hash(), sides, recording, groups))
    }

    fn count(
        split: ContentHash,
        sides: [(&str, &[u32]); 3],
        recording: &Recording,
        groups: &[usize],
    ) -> Self {
        let trials = recording.trials();
        let mut images = Tally::default();
        let mut rows = Tally::default();
        let mut families = Tally::default();
        let sides = sides
            .map(|(side, ids)| SideCount {
                side: side.to_owned(),
                images: images.add(ids.iter().map(|&id| id as usize)),
                trials: rows.add(ids.iter().flat_map(|&id| trials[id as usize].iter().copied())),
                groups: families.add(ids.iter().map(|&id| groups[id as usize])),
            })
            .to_vec();
        Self {
            split,
            sides,
            shared_images: images.shared.len(),
            shared_trials: rows.shared.len(),
            shared_groups: families.shared.len(),
            unused_images: recording.images() - images.seen.len(),
        }
    }

    /// Whether nothing is on two sides.
    pub fn is_clean(&self) -> bool {
        self.shared_images + self.shared_trials + self.shared_groups == 0
    }
}

/// Items seen on any side so far, and those seen on two.
#[derive(Default)]
struct Tally {
    seen: BTreeSet<usize>,
    shared: BTreeSet<usize>,
}

impl Tally {
    /// Adds a side; how many distinct items it has.
    fn add(&mut self, items: impl Iterator<Item = usize>) -> usize {
        let side: BTreeSet<usize> = items.collect();
        self.shared.extend(self.seen.intersection(&side));
        self.seen.extend(&side);
        side.len()
    }
}

impl fmt::Display for LeakageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_clean() { "no leakage" } else { "LEAKAGE" };
        writeln!(f, "split {}: {verdict}", self.split.short())?;
        for side in &self.sides {
            writeln!(
                f,
                "  {:<10} {:>6} images {:>7} trials {:>6} duplicate groups",
                side.side, side.images, side.trials, side.groups
            )?;
        }
        write!(
            f,
            "  on two sides: {} images, {} trials, {} duplicate groups; {} images unused",
            self.shared_images, self.shared_trials, self.shared_groups, self.unused_images
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::tests::shown;

    #[test]
    fn a_clean_split_is_counted() {
        let recording = shown(&[2, 2, 1, 3, 0]);
        let split = Split::new(5, vec![0, 3], vec![1], vec![2]).unwrap();
        let report = LeakageReport::new(&split, &recording, &[0, 1, 2, 0, 3]).unwrap();
        assert!(report.is_clean());
        let train = &report.sides[0];
        assert_eq!((train.images, train.trials, train.groups), (2, 5, 1));
        assert_eq!(report.unused_images, 1);
        assert!(report.to_string().contains("no leakage"));
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<LeakageReport>(&text).unwrap(), report);
    }

    #[test]
    fn a_near_duplicate_across_sides_is_found() {
        let recording = shown(&[2; 4]);
        let split = Split::new(4, vec![0, 3], vec![1], vec![2]).unwrap();
        let report = LeakageReport::new(&split, &recording, &[0, 1, 0, 2]).unwrap();
        assert_eq!((report.shared_images, report.shared_groups), (0, 1));
        assert!(!report.is_clean() && report.to_string().contains("LEAKAGE"));
        assert!(LeakageReport::new(&split, &recording, &[0, 1]).is_err());
    }

    #[test]
    fn an_image_on_two_sides_is_found_though_no_split_can_hold_it() {
        let recording = shown(&[2; 4]);
        let sides: [(&str, &[u32]); 3] = [("train", &[0, 3]), ("validation", &[1]), ("test", &[3])];
        let hash = ContentHash::of([b"leaky".as_slice()]);
        let report = LeakageReport::count(hash, sides, &recording, &[0, 1, 2, 3]);
        assert_eq!((report.shared_images, report.shared_trials, report.shared_groups), (1, 2, 1));
    }
}
