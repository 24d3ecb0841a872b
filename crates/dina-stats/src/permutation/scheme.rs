//! What may be exchanged under the null hypothesis.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use dina_core::Seed;
use rand::{RngExt, seq::SliceRandom};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The kind of a [`Scheme`], as results name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SchemeKind {
    /// Labels exchanged among all items.
    Free,
    /// Labels exchanged within blocks.
    WithinBlocks,
    /// Items dealt anew to two groups of fixed sizes.
    TwoGroups,
    /// Signs flipped.
    SignFlip,
    /// Series shifted against each other in time.
    CircularShift,
    /// The two members of each pair exchanged.
    Paired,
}

impl fmt::Display for SchemeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "permutations",
            Self::WithinBlocks => "permutations within blocks",
            Self::TwoGroups => "reassignments to two groups",
            Self::SignFlip => "sign flips",
            Self::CircularShift => "circular shifts",
            Self::Paired => "exchanges within pairs",
        })
    }
}

/// Data rearranged in a way that the null hypothesis allows.
///
/// A statistic that reads its data through [`Arrangement::apply`] works under every scheme.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrangement {
    order: Vec<usize>,
    signs: Vec<f64>,
}

impl Arrangement {
    /// The data as they are.
    pub fn identity(items: usize) -> Self {
        Self { order: (0..items).collect(), signs: vec![1.0; items] }
    }

    /// Per item, the item whose label it now carries.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Per item, 1 or -1.
    pub fn signs(&self) -> &[f64] {
        &self.signs
    }

    /// The values as they are rearranged: `signs[i] * values[order[i]]`. Items beyond the end of
    /// `values` are left out, so that the length should be that of the scheme.
    pub fn apply(&self, values: &[f64]) -> Vec<f64> {
        self.order.iter().zip(&self.signs).filter_map(|(&i, s)| values.get(i).map(|v| s * v)).collect()
    }
}

/// An exchangeability scheme: the group of rearrangements that leaves the distribution of the data as
/// it is where the null hypothesis is true. Choosing it is choosing the null hypothesis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme {
    items: usize,
    moves: Moves,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Moves {
    /// Labels within each block; one block is a free permutation.
    Shuffle { blocks: Vec<Vec<usize>>, free: bool },
    /// The items of the first group, the others being the second.
    Deal { first: usize },
    /// Units whose items flip together.
    Flip { units: Vec<Vec<usize>> },
    /// Recordings, and the smallest offset.
    Shift { recordings: Vec<Range<usize>>, offset: usize },
    /// Pairs of items.
    Swap { pairs: Vec<[usize; 2]> },
}

impl Scheme {
    /// All items are exchangeable.
    ///
    /// # Errors
    /// [`Error::TooFew`] below two items.
    pub fn free(items: usize) -> Result<Self> {
        Error::at_least("items to permute", 2, items)?;
        Ok(Self { items, moves: Moves::Shuffle { blocks: vec![(0..items).collect()], free: true } })
    }

    /// Items are exchangeable within blocks (mouse, recording, session): `blocks` names the block of
    /// each item.
    ///
    /// # Errors
    /// [`Error::TooFew`] below two items, or where no block has two of them.
    pub fn within_blocks(blocks: &[usize]) -> Result<Self> {
        Error::at_least("items to permute", 2, blocks.len())?;
        let groups = members(blocks);
        let largest = groups.iter().map(Vec::len).max().unwrap_or(0);
        Error::at_least("items of the largest block", 2, largest)?;
        Ok(Self { items: blocks.len(), moves: Moves::Shuffle { blocks: groups, free: false } })
    }

    /// Two independent samples, of which the first is items `0..first` and the second the rest. The
    /// arrangements are the ways to choose the first group, so that an exact test looks at
    /// (n1 + n2)! / (n1! n2!) of them.
    ///
    /// # Errors
    /// [`Error::TooFew`] for an empty group.
    pub fn two_groups(first: usize, second: usize) -> Result<Self> {
        Error::at_least("items of the first group", 1, first)?;
        Error::at_least("items of the second group", 1, second)?;
        Ok(Self { items: first + second, moves: Moves::Deal { first } })
    }

    /// Each item is symmetric about zero under the null hypothesis, so that its sign may be flipped.
    ///
    /// # Errors
    /// [`Error::TooFew`] for no item.
    pub fn sign_flip(items: usize) -> Result<Self> {
        Error::at_least("items to flip", 1, items)?;
        Ok(Self { items, moves: Moves::Flip { units: (0..items).map(|i| vec![i]).collect() } })
    }

    /// As [`Scheme::sign_flip`], but all items of a block (the images of one mouse) flip together,
    /// because they are not independent. `blocks` names the block of each item.
    ///
    /// # Errors
    /// [`Error::TooFew`] for no item.
    pub fn sign_flip_blocks(blocks: &[usize]) -> Result<Self> {
        Error::at_least("items to flip", 1, blocks.len())?;
        Ok(Self { items: blocks.len(), moves: Moves::Flip { units: members(blocks) } })
    }

    /// Time series of `lengths` samples, one recording after the other, each shifted against itself by
    /// its own offset, the end wrapping round to the start. Offsets lie between `min_offset` and
    /// the length less `min_offset`; it should be at least the [`super::autocorrelation_length`] of the series.
    ///
    /// The series have to be stationary. Unlike the other schemes this is not a group, because small
    /// offsets are left out: the test is valid as far as series that far apart are independent.
    ///
    /// # Errors
    /// [`Error::TooFew`] for no recording or one shorter than twice the offset, [`Error::Value`] for an
    /// offset of 0.
    pub fn circular_shift(lengths: &[usize], min_offset: usize) -> Result<Self> {
        Error::at_least("recordings", 1, lengths.len())?;
        if min_offset == 0 {
            return Err(Error::value("smallest offset", "at least 1", min_offset));
        }
        let mut start = 0;
        let mut recordings = Vec::with_capacity(lengths.len());
        for (recording, &length) in lengths.iter().enumerate() {
            Error::at_least(&format!("samples of recording {recording}"), 2 * min_offset, length)?;
            recordings.push(start..start + length);
            start += length;
        }
        Ok(Self { items: start, moves: Moves::Shift { recordings, offset: min_offset } })
    }

    /// Two conditions of the same units: item `i` and item `pairs + i` are a pair, and its members are
    /// exchangeable.
    ///
    /// # Errors
    /// [`Error::TooFew`] for no pair.
    pub fn paired(pairs: usize) -> Result<Self> {
        Error::at_least("pairs", 1, pairs)?;
        Ok(Self {
            items: 2 * pairs,
            moves: Moves::Swap { pairs: (0..pairs).map(|i| [i, pairs + i]).collect() },
        })
    }

    /// Number of items that are rearranged.
    pub fn items(&self) -> usize {
        self.items
    }

    /// What is exchanged.
    pub fn kind(&self) -> SchemeKind {
        match &self.moves {
            Moves::Shuffle { free: true, .. } => SchemeKind::Free,
            Moves::Shuffle { .. } => SchemeKind::WithinBlocks,
            Moves::Deal { .. } => SchemeKind::TwoGroups,
            Moves::Flip { .. } => SchemeKind::SignFlip,
            Moves::Shift { .. } => SchemeKind::CircularShift,
            Moves::Swap { .. } => SchemeKind::Paired,
        }
    }

    /// Number of arrangements, the data as they are included; `None` where it does not fit `usize`.
    pub fn arrangements(&self) -> Option<usize> {
        match &self.moves {
            Moves::Shuffle { blocks, .. } => blocks
                .iter()
                .flat_map(|block| 1..=block.len())
                .try_fold(1_usize, |product, k| product.checked_mul(k)),
            Moves::Deal { first } => choose(self.items, *first),
            Moves::Flip { units } => power_of_two(units.len()),
            Moves::Swap { pairs } => power_of_two(pairs.len()),
            Moves::Shift { recordings, offset } => recordings
                .iter()
                .try_fold(1_usize, |product, r| product.checked_mul(r.len() - 2 * offset + 1))
                .and_then(|shifts| shifts.checked_add(1)),
        }
    }

    /// A random arrangement.
    pub fn random(&self, seed: Seed) -> Arrangement {
        let mut arrangement = Arrangement::identity(self.items);
        let Arrangement { order, signs } = &mut arrangement;
        match &self.moves {
            Moves::Shuffle { blocks, .. } => {
                let mut rng = seed.stream("permutation");
                for block in blocks {
                    let mut shuffled = block.clone();
                    shuffled.shuffle(&mut rng);
                    for (&item, &label) in block.iter().zip(&shuffled) {
                        order[item] = label;
                    }
                }
            }
            Moves::Deal { .. } => order.shuffle(&mut seed.stream("two groups")),
            Moves::Flip { units } => {
                let mut rng = seed.stream("sign flips");
                flip(signs, units, || rng.random());
            }
            Moves::Swap { pairs } => {
                let mut rng = seed.stream("pairs");
                swap(order, pairs, || rng.random());
            }
            Moves::Shift { recordings, offset } => {
                let mut rng = seed.stream("circular shift");
                for recording in recordings {
                    let by = rng.random_range(*offset..=recording.len() - offset);
                    order[recording.clone()].rotate_left(by);
                }
            }
        }
        arrangement
    }

    /// Arrangement `number` of all there are; 0 is the data as they are.
    pub(crate) fn enumerated(&self, mut number: usize) -> Arrangement {
        let mut arrangement = Arrangement::identity(self.items);
        let Arrangement { order, signs } = &mut arrangement;
        // The lowest digit of `number` to the base `radix`.
        let mut digit = |radix: usize| {
            let lowest = number % radix;
            number /= radix;
            lowest
        };
        match &self.moves {
            // Digits in the factorial number system pick each label from those left over.
            Moves::Shuffle { blocks, .. } => {
                for block in blocks {
                    let mut left = block.clone();
                    for &item in block {
                        order[item] = left.remove(digit(left.len()));
                    }
                }
            }
            Moves::Deal { first } => *order = combination(self.items, *first, number),
            Moves::Flip { units } => flip(signs, units, || digit(2) == 1),
            Moves::Swap { pairs } => swap(order, pairs, || digit(2) == 1),
            Moves::Shift { .. } if number == 0 => {}
            Moves::Shift { recordings, offset } => {
                number -= 1;
                for recording in recordings {
                    let offsets = recording.len() - 2 * offset + 1;
                    order[recording.clone()].rotate_left(offset + number % offsets);
                    number /= offsets;
                }
            }
        }
        arrangement
    }
}

/// The items of each block, blocks in ascending order of their names.
fn members(blocks: &[usize]) -> Vec<Vec<usize>> {
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (item, &block) in blocks.iter().enumerate() {
        members.entry(block).or_default().push(item);
    }
    members.into_values().collect()
}

fn flip(signs: &mut [f64], units: &[Vec<usize>], mut negative: impl FnMut() -> bool) {
    for unit in units {
        if negative() {
            unit.iter().for_each(|&item| signs[item] = -1.0);
        }
    }
}

fn swap(order: &mut [usize], pairs: &[[usize; 2]], mut exchange: impl FnMut() -> bool) {
    for &[a, b] in pairs {
        if exchange() {
            order.swap(a, b);
        }
    }
}

fn power_of_two(exponent: usize) -> Option<usize> {
    u32::try_from(exponent).ok().and_then(|e| 2_usize.checked_pow(e))
}

/// Binomial coefficient.
fn choose(n: usize, k: usize) -> Option<usize> {
    let k = k.min(n - k);
    // Each partial product is a binomial coefficient itself, so the division leaves no remainder.
    (1..=k).try_fold(1_usize, |product, i| product.checked_mul(n - k + i).map(|p| p / i))
}

/// The `rank`th choice of `first` of `items`, in lexicographic order. Items that leave the first group change places
/// with those that enter it, so that the order is its own inverse: it names the same groups whether it is read as
/// where an item comes from or as where it goes to.
fn combination(items: usize, first: usize, mut rank: usize) -> Vec<usize> {
    let mut missing = first;
    let (mut entering, mut leaving) = (Vec::new(), Vec::new());
    for item in 0..items {
        // Choices that take this item.
        let with = match missing {
            0 => 0,
            _ => choose(items - item - 1, missing - 1).unwrap_or(usize::MAX),
        };
        let taken = rank < with;
        if taken {
            missing -= 1;
        } else {
            rank -= with;
        }
        match (taken, item < first) {
            (true, false) => entering.push(item),
            (false, true) => leaving.push(item),
            _ => {}
        }
    }
    let mut order: Vec<usize> = (0..items).collect();
    for (a, b) in entering.into_iter().zip(leaving) {
        order.swap(a, b);
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all(scheme: &Scheme) -> BTreeSet<(Vec<usize>, Vec<i8>)> {
        let total = scheme.arrangements().unwrap();
        let found: BTreeSet<_> = (0..total)
            .map(|b| scheme.enumerated(b))
            .map(|a| (a.order, a.signs.iter().map(|&s| s as i8).collect()))
            .collect();
        assert_eq!(found.len(), total, "an arrangement came twice");
        assert_eq!(scheme.enumerated(0), Arrangement::identity(scheme.items()));
        found
    }

    #[test]
    fn enumeration_meets_every_arrangement_once() {
        let within = Scheme::within_blocks(&[0, 1, 0, 1, 0, 0, 1]).unwrap();
        assert_eq!(within.arrangements(), Some(24 * 6));
        for (order, _) in all(&within) {
            for (item, label) in order.iter().enumerate() {
                assert_eq!([1, 3, 6].contains(&item), [1, 3, 6].contains(label));
            }
        }
        assert_eq!(all(&Scheme::free(5).unwrap()).len(), 120);
        let groups = all(&Scheme::two_groups(3, 4).unwrap());
        // Every group of three comes once, whichever way round the order is read.
        let sorted = |mut group: Vec<usize>| {
            group.sort_unstable();
            group
        };
        let from: BTreeSet<_> = groups.iter().map(|(order, _)| sorted(order[..3].to_vec())).collect();
        let to: BTreeSet<_> =
            groups.iter().map(|(order, _)| (0..7).filter(|&i| order[i] < 3).collect::<Vec<_>>()).collect();
        assert_eq!((from.len(), to.len()), (35, 35));
        assert_eq!(all(&Scheme::sign_flip(6).unwrap()).len(), 64);
        assert_eq!(all(&Scheme::sign_flip_blocks(&[4, 4, 2]).unwrap()).len(), 4);
        assert_eq!(all(&Scheme::paired(4).unwrap()).len(), 16);
        // Offsets 2 to 5 of 7 and 2 to 3 of 5, and no shift at all.
        assert_eq!(all(&Scheme::circular_shift(&[7, 5], 2).unwrap()).len(), 4 * 2 + 1);
    }

    /// What is drawn at random is among what is enumerated, and everything is drawn in the end.
    #[test]
    fn random_arrangements_are_those_enumerated() {
        for scheme in [
            Scheme::within_blocks(&[0, 1, 0, 1]).unwrap(),
            Scheme::sign_flip_blocks(&[0, 1, 1, 2]).unwrap(),
            Scheme::paired(3).unwrap(),
            Scheme::circular_shift(&[6, 5], 2).unwrap(),
        ] {
            let everything = all(&scheme);
            let drawn: BTreeSet<_> = (0..300)
                .map(|b| scheme.random(Seed::new(b)))
                .map(|a| (a.order, a.signs.iter().map(|&s| s as i8).collect::<Vec<_>>()))
                .collect();
            assert!(drawn.is_subset(&everything));
            // A shift is never drawn as none at all.
            let missing = usize::from(scheme.kind() == SchemeKind::CircularShift);
            assert_eq!(drawn.len(), everything.len() - missing);
        }
    }

    #[test]
    fn shifts_stay_in_their_recording_and_off_the_start() {
        let scheme = Scheme::circular_shift(&[50, 30], 10).unwrap();
        for draw in 0..200 {
            let order = scheme.random(Seed::new(draw)).order;
            for (range, length) in [(0..50, 50), (50..80, 30)] {
                let by = order[range.start] - range.start;
                assert!((10..=length - 10).contains(&by));
                for (i, &label) in order[range.clone()].iter().enumerate() {
                    assert_eq!(label, range.start + (i + by) % length);
                }
            }
        }
    }

    #[test]
    fn apply_reorders_and_flips() {
        let flipped = Scheme::sign_flip(3).unwrap().enumerated(0b101);
        assert_eq!(flipped.apply(&[1.0, 2.0, 3.0]), [-1.0, 2.0, -3.0]);
        let swapped = Scheme::paired(2).unwrap().enumerated(0b10);
        assert_eq!(swapped.apply(&[1.0, 2.0, 3.0, 4.0]), [1.0, 4.0, 3.0, 2.0]);
    }

    #[test]
    fn refuses_what_cannot_be_exchanged() {
        assert!(Scheme::free(1).is_err());
        assert!(Scheme::within_blocks(&[0, 1, 2]).is_err());
        assert!(Scheme::two_groups(0, 3).is_err());
        assert!(Scheme::circular_shift(&[9], 5).is_err());
        assert!(Scheme::circular_shift(&[9], 0).is_err());
        assert_eq!(Scheme::sign_flip(200).unwrap().arrangements(), None);
        assert_eq!(Scheme::two_groups(500, 500).unwrap().arrangements(), None);
    }
}
