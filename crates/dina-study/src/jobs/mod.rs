//! Independent, resumable pieces of work: on this machine, or as a job array of a cluster.
//!
//! - [`Work`]: a piece of work whose result follows from its key.
//! - [`Store`]: results by key, in a folder; what is there is not done again.
//! - [`LocalPool`]: several pieces at a time, within a budget of memory; one that fails is tried again.
//! - [`SlurmArray`]: the same program on a cluster, a shard of the work a task; shards that fail or vanish are submitted
//!   again, and do not repeat what they had done.
//!
//! Results do not depend on where they were computed.

mod local;
mod slurm;
mod store;

use dina_core::ContentHash;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use local::LocalPool;
pub use slurm::SlurmArray;
pub use store::Store;

use crate::{Progress, Result};

/// A piece of work.
pub trait Work: Sync {
    /// What it makes.
    type Output: Serialize + DeserializeOwned + Send;

    /// Hash of everything that the result depends on.
    fn key(&self) -> ContentHash;

    /// A few words for displays.
    fn name(&self) -> String;

    /// Memory that it takes at most, in bytes, as far as can be said before.
    fn memory(&self) -> u64;

    /// Does it.
    ///
    /// # Errors
    /// Whatever goes wrong.
    fn run(&self) -> Result<Self::Output>;
}

/// A part of a list of work: number `index` of `of`, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part.
    pub index: usize,
    /// Of how many.
    pub of: usize,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// The items of this part.
    pub fn of<T: Clone>(self, items: &[T]) -> Vec<T> {
        items.iter().skip(self.index).step_by(self.of.max(1)).cloned().collect()
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.of)
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    /// Reads `2/4`, the second of four.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match parts {
            Some((part, of)) if (1..=of).contains(&part) => Ok(Self { index: part - 1, of }),
            _ => Err("give a part and the number of parts, as in 2/4".into()),
        }
    }
}

/// Where work is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Engine {
    /// On this machine.
    Local(LocalPool),
    /// On a cluster.
    Slurm(SlurmArray),
}

impl Default for Engine {
    fn default() -> Self {
        Self::Local(LocalPool::default())
    }
}

impl Engine {
    /// The results of all work, in its order.
    ///
    /// # Errors
    /// When some of it failed as often as it may; everything else is done and kept.
    pub fn run<W: Work>(
        &self,
        work: &[W],
        store: Option<&Store>,
        progress: &dyn Progress,
    ) -> Result<Vec<W::Output>> {
        match (self, store) {
            (Self::Local(pool), store) => pool.run(work, store, progress),
            (Self::Slurm(array), Some(store)) => array.run(work, store, progress),
            (Self::Slurm(_), None) => Err(crate::Error::Job(
                "a cluster needs a folder that all its machines see, for the results; give one".into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_divide_the_work() {
        let items: Vec<usize> = (0..10).collect();
        let mut all: Vec<usize> = (0..3).flat_map(|index| Shard { index, of: 3 }.of(&items)).collect();
        all.sort_unstable();
        assert_eq!(all, items);
        assert_eq!(Shard::WHOLE.of(&items), items);
        let shard: Shard = "2/4".parse().unwrap();
        assert_eq!((shard, shard.to_string().as_str()), (Shard { index: 1, of: 4 }, "2/4"));
        for wrong in ["", "0/4", "5/4", "1", "a/b"] {
            assert!(wrong.parse::<Shard>().unwrap_err().contains("2/4"));
        }
    }
}
