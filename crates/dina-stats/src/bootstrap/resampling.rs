//! What a bootstrap draws.

use std::collections::BTreeMap;

use rand::RngExt;

/// What is drawn with replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resampling(Drawn);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Drawn {
    /// Units that are drawn whole.
    Units(Vec<Vec<usize>>),
    /// Samples of fixed sizes, each drawn from itself.
    Strata(Vec<Vec<usize>>),
    /// Units, and within each unit drawn its own parts.
    Nested(Vec<Vec<Vec<usize>>>),
}

impl Resampling {
    /// Each of `n` items on its own.
    pub fn items(n: usize) -> Self {
        Self(Drawn::Units((0..n).map(|i| vec![i]).collect()))
    }

    /// Whole groups: `groups[i]` names the group (image, mouse) of item `i`; a drawn group brings all
    /// its items. Also called the cluster bootstrap (Davison and Hinkley 1997, section 3.8).
    pub fn groups(groups: &[usize]) -> Self {
        Self(Drawn::Units(grouped(0..groups.len(), groups)))
    }

    /// Items within samples that keep their sizes, as for a difference between two groups: `samples[i]`
    /// names the sample of item `i`.
    pub fn within(samples: &[usize]) -> Self {
        Self(Drawn::Strata(grouped(0..samples.len(), samples)))
    }

    /// The hierarchical bootstrap: mice are drawn, and within each mouse drawn its images; a drawn image
    /// brings all its items. `outer[i]` and `inner[i]` name mouse and image of item `i`; items beyond the
    /// end of the shorter slice are left out. A mouse that is drawn twice draws its images twice anew
    /// (Davison and Hinkley 1997, section 3.8; Saravanan et al. 2020).
    ///
    /// The interval is for the mean over the population of mice. With few of them it is only as good as
    /// their number: drawn mice vary by (k - 1)/k of the variance, so that six mice give an interval
    /// that is nearly a tenth too narrow, besides the normal instead of t quantiles.
    pub fn nested(outer: &[usize], inner: &[usize]) -> Self {
        let items = outer.len().min(inner.len());
        let units = grouped(0..items, outer);
        Self(Drawn::Nested(units.into_iter().map(|unit| grouped(unit, inner)).collect()))
    }

    /// Number of units that are drawn: items, groups, or the outer units of a hierarchy.
    pub fn units(&self) -> usize {
        match &self.0 {
            Drawn::Units(units) => units.len(),
            Drawn::Strata(samples) => samples.iter().map(Vec::len).sum(),
            Drawn::Nested(units) => units.len(),
        }
    }

    /// The largest index of an item.
    pub(crate) fn last_item(&self) -> Option<usize> {
        self.all().last().copied()
    }

    /// The smallest number of units that anything is drawn from.
    pub(super) fn smallest(&self) -> usize {
        match &self.0 {
            Drawn::Strata(samples) => samples.iter().map(Vec::len).min().unwrap_or(0),
            _ => self.units(),
        }
    }

    pub(super) fn all(&self) -> Vec<usize> {
        let mut items: Vec<usize> = match &self.0 {
            Drawn::Units(units) | Drawn::Strata(units) => units.iter().flatten().copied().collect(),
            Drawn::Nested(units) => units.iter().flatten().flatten().copied().collect(),
        };
        items.sort_unstable();
        items
    }

    pub(super) fn draw(&self, rng: &mut dina_core::Stream) -> Vec<usize> {
        match &self.0 {
            Drawn::Units(units) => draw_from(units, rng).into_iter().flatten().copied().collect(),
            Drawn::Strata(samples) => {
                samples.iter().flat_map(|sample| draw_from(sample, rng)).copied().collect()
            }
            Drawn::Nested(units) => {
                let drawn = draw_from(units, rng);
                drawn.into_iter().flat_map(|parts| draw_from(parts, rng)).flatten().copied().collect()
            }
        }
    }

    /// The items left when each unit is left out in turn, by sample.
    pub(super) fn jackknife(&self) -> Vec<Vec<Vec<usize>>> {
        match &self.0 {
            Drawn::Units(units) => vec![without_each(units)],
            Drawn::Nested(units) => {
                vec![without_each(&units.iter().map(|parts| parts.concat()).collect::<Vec<_>>())]
            }
            Drawn::Strata(samples) => {
                let all = self.all();
                let without = |item: &usize| all.iter().copied().filter(|i| i != item).collect();
                samples.iter().map(|sample| sample.iter().map(without).collect()).collect()
            }
        }
    }
}

/// Items by the group that `names` gives them, groups in ascending order of their names.
fn grouped(items: impl IntoIterator<Item = usize>, names: &[usize]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for item in items {
        groups.entry(names[item]).or_default().push(item);
    }
    groups.into_values().collect()
}

/// As many as there are, with replacement.
fn draw_from<'a, T>(from: &'a [T], rng: &mut dina_core::Stream) -> Vec<&'a T> {
    (0..from.len()).map(|_| &from[rng.random_range(0..from.len())]).collect()
}

fn without_each(units: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let without = |out: usize| {
        let others = units.iter().enumerate().filter(|(unit, _)| *unit != out);
        others.flat_map(|(_, items)| items).copied().collect()
    };
    (0..units.len()).map(without).collect()
}

#[cfg(test)]
mod tests {
    use dina_core::Seed;

    use super::*;

    #[test]
    fn groups_are_drawn_whole() {
        let resampling = Resampling::groups(&[7, 7, 3, 3, 3, 9]);
        assert_eq!(resampling.units(), 3);
        let mut rng = Seed::new(4).stream("test");
        for _ in 0..50 {
            let items = resampling.draw(&mut rng);
            let count = |item| items.iter().filter(|&&i| i == item).count();
            assert_eq!(count(0), count(1));
            assert_eq!(count(2), count(4));
            assert_eq!(count(0) + count(2) + count(5), 3);
        }
        assert_eq!(resampling.jackknife()[0][0], [0, 1, 5]);
    }

    #[test]
    fn samples_keep_their_sizes() {
        let resampling = Resampling::within(&[0, 1, 0, 1, 1]);
        let mut rng = Seed::new(4).stream("test");
        for _ in 0..50 {
            let items = resampling.draw(&mut rng);
            assert_eq!(items.iter().filter(|i| [0, 2].contains(*i)).count(), 2);
            assert_eq!(items.len(), 5);
        }
        assert_eq!(resampling.jackknife()[1][0], [0, 2, 3, 4]);
    }

    #[test]
    fn mice_are_drawn_before_their_images() {
        // Two mice of two and one image; image names are used again.
        let resampling = Resampling::nested(&[7, 7, 7, 9, 9], &[0, 0, 1, 0, 0]);
        assert_eq!(resampling.units(), 2);
        let mut rng = Seed::new(4).stream("test");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let items = resampling.draw(&mut rng);
            let count = |item| items.iter().filter(|&&i| i == item).count();
            // Trials of an image come together.
            assert_eq!(count(0), count(1));
            assert_eq!(count(3), count(4));
            // The first mouse brings two images, the second one, as often as they are drawn.
            assert_eq!((count(0) + count(2)) / 2 + count(3), 2);
            seen.insert((count(0), count(2), count(3)));
        }
        assert_eq!(seen.len(), 5 + 3 + 1);
        assert_eq!(resampling.jackknife()[0], [vec![3, 4], vec![0, 1, 2]]);
    }
}
