//! Permutation tests of two samples, of pairs, and of correlation, each with effect sizes and intervals.
//!
//! One call gives what a reviewer asks for: estimate with interval, statistic, p and how it was found,
//! effect sizes with intervals. Every result prints as one sentence.
//!
//! ```
//! use dina_core::Seed;
//! use dina_stats::comparison::Paired;
//!
//! let gain = [0.31, 0.12, 0.48, 0.22, 0.85, 0.43];
//! let found = Paired::default().test(&gain, Seed::new(1))?;
//! assert_eq!(found.permutation.p, 2.0 / 64.0);
//! println!("{found}");
//! # Ok::<(), dina_stats::Error>(())
//! ```

mod association;
mod paired;
mod signs;
mod two_sample;

pub use association::{Association, AssociationTest, Coefficient};
pub use paired::{Paired, PairedTest};
pub use signs::{SignTable, SignTest};
pub use two_sample::{Location, TwoSample, TwoSampleTest};

use crate::permutation::{Permutation, Tail};

/// The permutations of a test that will be published: two-sided, all of them up to 10,000, else 9,999 random ones.
fn thorough() -> Permutation {
    Permutation { count: 9999, exact_up_to: 10_000, tail: Tail::TwoSidedAbsolute, ..Permutation::default() }
}
