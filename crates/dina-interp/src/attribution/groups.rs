use dina_core::{Error as CoreError, Seed};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Groups of inputs that are taken away together: patches of an image, sets of neurons. Inputs are numbered as they
/// lie in an item, row by row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    members: Vec<Vec<usize>>,
    inputs: usize,
}

impl Groups {
    /// Any groups of `inputs` inputs; they may overlap.
    ///
    /// # Errors
    /// When there is no group, one is empty, names an input twice, or one that does not exist.
    pub fn new(members: Vec<Vec<usize>>, inputs: usize) -> Result<Self> {
        let mut seen = vec![usize::MAX; inputs];
        for (group, inside) in members.iter().enumerate() {
            for &input in inside {
                if input >= inputs || seen[input] == group {
                    let expected = format!("different inputs below {inputs}");
                    return Err(CoreError::value(format!("group {group}"), expected, input).into());
                }
                seen[input] = group;
            }
        }
        if members.is_empty() || members.iter().any(Vec::is_empty) {
            return Err(CoreError::value(
                "groups",
                "one or more, none empty",
                format!("{} groups", members.len()),
            )
            .into());
        }
        Ok(Self { members, inputs })
    }

    /// Every input on its own.
    ///
    /// # Errors
    /// For no inputs.
    pub fn each(inputs: usize) -> Result<Self> {
        Self::new((0..inputs).map(|input| vec![input]).collect(), inputs)
    }

    /// Square patches of an image, from its upper left corner, cut off at the right and lower border.
    ///
    /// # Errors
    /// When a size is 0.
    pub fn patches(height: usize, width: usize, size: usize, stride: usize) -> Result<Self> {
        if [height, width, size, stride].contains(&0) {
            let found = format!("image {height} x {width}, patch {size}, stride {stride}");
            return Err(CoreError::value("patches", "sizes of 1 or more", found).into());
        }
        let corners = |extent: usize| (0..extent).step_by(stride);
        let members = corners(height).flat_map(|top| {
            corners(width).map(move |left| {
                let rows = top..(top + size).min(height);
                rows.flat_map(|y| (left..(left + size).min(width)).map(move |x| y * width + x)).collect()
            })
        });
        Self::new(members.collect(), height * width)
    }

    /// `count` random groups of neurons, as equal in size as can be.
    ///
    /// # Errors
    /// When there are fewer inputs than groups, or no group.
    pub fn random(inputs: usize, count: usize, seed: Seed) -> Result<Self> {
        let mut order: Vec<usize> = (0..inputs).collect();
        order.shuffle(&mut seed.stream("groups"));
        let cut = |group: usize| group * inputs / count.max(1);
        Self::new((0..count).map(|group| order[cut(group)..cut(group + 1)].to_vec()).collect(), inputs)
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none; never so.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The inputs of one group.
    pub fn members(&self, group: usize) -> &[usize] {
        &self.members[group]
    }

    /// In how many groups every input is.
    pub(crate) fn cover(&self) -> Vec<usize> {
        let mut cover = vec![0; self.inputs];
        self.members.iter().flatten().for_each(|&input| cover[input] += 1);
        cover
    }

    pub(crate) fn check(&self, inputs: usize) -> Result<()> {
        if self.inputs == inputs {
            return Ok(());
        }
        Err(CoreError::shape("inputs of the groups", inputs, self.inputs).into())
    }
}
