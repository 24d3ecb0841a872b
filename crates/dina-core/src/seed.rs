use std::convert::Infallible;

use rand::{SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The one number that a run is repeatable from.
///
/// A seed is split by name ([`Seed::stream`], [`Seed::child`]) or by number ([`Seed::index`]): work
/// that is done in parallel takes one child per item, so that the result does not depend on which
/// thread did what, nor on the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed of a run, from the number a user gives.
    pub fn new(value: u64) -> Self {
        Self(digest(&[b"dina", &value.to_le_bytes()]))
    }

    /// The seed of a named part of the run.
    pub fn child(&self, name: &str) -> Self {
        Self(digest(&[&self.0, b"name", name.as_bytes()]))
    }

    /// The seed of one of many equal parts: an image, a neuron, a permutation.
    pub fn index(&self, index: usize) -> Self {
        Self(digest(&[&self.0, b"index", &(index as u64).to_le_bytes()]))
    }

    /// A random stream for one named purpose.
    pub fn stream(&self, name: &str) -> Stream {
        Stream(ChaCha8Rng::from_seed(self.child(name).0))
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A ChaCha8 random stream, split off a [`Seed`] by name. Implements [`rand::Rng`].
///
/// A stream is cheap to make: rather than storing where one stands, long work makes a new one for every
/// step, `seed.index(step).stream("dropout")`, and can then be resumed at any step.
#[derive(Debug, Clone)]
pub struct Stream(ChaCha8Rng);

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn streams_of_one_seed_differ_by_name_and_index() {
        let seed = Seed::new(1);
        let mut values: Vec<u64> = ["a", "b"].iter().map(|name| seed.stream(name).next_u64()).collect();
        values.extend((0..2).map(|i| seed.index(i).stream("a").next_u64()));
        values.push(Seed::new(2).stream("a").next_u64());
        let mut unique = values.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), values.len());
    }

    /// A fixed value: a change of it would silently change every published result.
    #[test]
    fn the_first_word_never_changes() {
        assert_eq!(Seed::new(0).stream("weights").next_u64(), 11_636_979_585_586_075_069);
    }
}
