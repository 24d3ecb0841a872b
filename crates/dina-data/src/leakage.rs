//! The check that nothing of one side is on another, counted anew from the data.

use std::collections::BTreeSet;
use std::fmt;

use dina_core::ContentHash;
use serde::{Deserialize, Serialize};

use crate::cohort::{Cohort, MouseFold};
use crate::view::{Role, Test, Train, Validation};
use crate::{Error, NeuronSelection, Recording, Result, Split};

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
    /// Mice both fitted on and held out, where mice are divided too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_mice: Option<usize>,
    /// Choices of neurons by their responses. One made on the test side, or on the whole recording, leaks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selections: Vec<NeuronSelection>,
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
        Ok(Self::count(split.hash(), sides(split, [&[0], &[0], &[0]]), &[recording], groups))
    }

    /// Looks at a fold that divides mice and images: the training and validation sides are those images
    /// in the recordings fitted on, the test side its images in those of the mouse held out.
    ///
    /// # Errors
    /// As [`LeakageReport::new`], and when the fold names a recording that the cohort does not have.
    pub fn of_mice(fold: &MouseFold, cohort: &Cohort<'_>, groups: &[usize]) -> Result<Self> {
        let recordings = cohort.recordings();
        for recording in &recordings {
            // Sizes are checked there.
            Self::new(&fold.split, recording, groups)?;
        }
        fold.check(cohort)?;
        let sides = sides(&fold.split, [&fold.fit_on, &fold.fit_on, &fold.test_on]);
        let mice = |of: &[usize]| of.iter().map(|&r| cohort.mouse(r)).collect::<BTreeSet<_>>();
        let shared = mice(&fold.fit_on).intersection(&mice(&fold.test_on)).count();
        Ok(Self { shared_mice: Some(shared), ..Self::count(fold.split.hash(), sides, &recordings, groups) })
    }

    /// Adds a choice of neurons, and what it means for the sides.
    ///
    /// # Errors
    /// When it was made on another split: which of its images are on which side here is not known.
    pub fn with_selection(mut self, selection: &NeuronSelection) -> Result<Self> {
        if selection.split.is_some_and(|split| split != self.split) {
            return Err(Error::variable(
                "leakage report",
                "selection of neurons",
                format!("was made on another split than {}", self.split.short()),
                "choose neurons on the training side of this split",
            ));
        }
        self.selections.push(selection.clone());
        Ok(self)
    }

    fn count(split: ContentHash, sides: [Side<'_>; 3], recordings: &[&Recording], groups: &[usize]) -> Self {
        let trials: Vec<Vec<Vec<usize>>> = recordings.iter().map(|r| r.trials()).collect();
        let mut images = Tally::default();
        let mut rows = Tally::default();
        let mut families = Tally::default();
        let unused = recordings.first().map_or(0, |r| r.images());
        let sides = sides
            .map(|Side { side, ids, recordings }| {
                let shown = recordings
                    .iter()
                    .flat_map(|&r| ids.iter().map(move |&id| (r, id)))
                    .flat_map(|(r, id)| trials[r][id as usize].iter().map(move |&row| (r, row)));
                SideCount {
                    side: side.to_owned(),
                    images: images.add(ids.iter().map(|&id| id as usize)),
                    trials: rows.add(shown),
                    groups: families.add(ids.iter().map(|&id| groups[id as usize])),
                }
            })
            .to_vec();
        Self {
            split,
            sides,
            shared_images: images.shared.len(),
            shared_trials: rows.shared.len(),
            shared_groups: families.shared.len(),
            unused_images: unused - images.seen.len(),
            shared_mice: None,
            selections: Vec::new(),
        }
    }

    /// Whether nothing is on two sides, and nothing was chosen by what is tested on.
    pub fn is_clean(&self) -> bool {
        let shared = self.shared_images + self.shared_trials + self.shared_groups;
        shared + self.shared_mice.unwrap_or(0) == 0 && self.selections.iter().all(is_held_out)
    }
}

/// Whether the test side had no part in a choice.
fn is_held_out(selection: &NeuronSelection) -> bool {
    selection.split.is_some() && selection.side != Test::NAME
}

/// Images of one side in some recordings, by number.
struct Side<'a> {
    side: &'static str,
    ids: &'a [u32],
    recordings: &'a [usize],
}

fn sides<'a>(split: &'a Split, [train, validation, test]: [&'a [usize]; 3]) -> [Side<'a>; 3] {
    [
        Side { side: Train::NAME, ids: split.train(), recordings: train },
        Side { side: Validation::NAME, ids: split.validation(), recordings: validation },
        Side { side: Test::NAME, ids: split.test(), recordings: test },
    ]
}

/// Items seen on any side so far, and those seen on two.
struct Tally<T> {
    seen: BTreeSet<T>,
    shared: BTreeSet<T>,
}

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self { seen: BTreeSet::new(), shared: BTreeSet::new() }
    }
}

impl<T: Ord + Copy> Tally<T> {
    /// Adds a side; how many distinct items it has.
    fn add(&mut self, items: impl Iterator<Item = T>) -> usize {
        let side: BTreeSet<T> = items.collect();
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
        )?;
        if let Some(mice) = self.shared_mice {
            write!(f, "\n  mice both fitted on and held out: {mice}")?;
        }
        for selection in &self.selections {
            let NeuronSelection { by, neurons, side, .. } = selection;
            write!(f, "\n  {} neurons chosen by {by} on {side}", neurons.len())?;
        }
        Ok(())
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
        let side = |side, ids| Side { side, ids, recordings: &[0] };
        let sides = [side("train", &[0, 3]), side("validation", &[1]), side("test", &[3])];
        let hash = ContentHash::of([b"leaky".as_slice()]);
        let report = LeakageReport::count(hash, sides, &[&recording], &[0, 1, 2, 3]);
        assert_eq!((report.shared_images, report.shared_trials, report.shared_groups), (1, 2, 1));
    }
}
