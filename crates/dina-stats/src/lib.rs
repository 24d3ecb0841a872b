//! Statistics that a claim about neural responses rests on.
//!
//! Tests and intervals:
//! - [`permutation`]: exact, Monte-Carlo and sequential tests of any statistic under any exchangeability scheme;
//!   step-down maxT, and [`permutation::mass`] for ten thousand channels.
//! - [`comparison`]: two samples, pairs, correlation and signs over mice, with effect sizes and intervals.
//! - [`classical`]: the textbook tests, with p-values from a distribution.
//! - [`effect`]: effect sizes with intervals.
//! - [`bootstrap`]: percentile and BCa intervals over items, groups, samples, or mice and then images.
//! - [`meta`]: random-effects meta-analysis.
//! - [`cluster`]: cluster mass and threshold-free cluster enhancement.
//! - [`multiplicity`]: Bonferroni, Holm, Benjamini-Hochberg and -Yekutieli.
//! - [`proportion`]: Wilson and Clopper-Pearson intervals.
//!
//! Responses and representations:
//! - [`reliability`]: signal variance, split halves with the Spearman-Brown correction, explainable variance and
//!   how much of it a model explains. Correlations, explained variances and reliabilities are types of their
//!   own, so that a ceiling is neither squared nor inflated.
//! - [`similarity`]: centred kernel alignment, representational similarity, variance partitioning.
//! - [`sparseness`]: sparseness of rates, concentration of contributions.
//! - [`cvpca`]: the cross-validated eigenspectrum and its exponent.
//! - [`rank`]: ranks with ties.
//! - [`linalg`]: matrix products and eigendecompositions of ndarray matrices on all cores.
//!
//! Results implement serde, and [`Display`](std::fmt::Display) as a sentence that a paper can quote.
//! Every random result takes a [`dina_core::Seed`] and is the same for any number of threads. Input
//! that a formula is not defined for is an [`Error`], never a NaN.
//!
//! ```
//! use dina_core::Seed;
//! use dina_stats::bootstrap::{Bootstrap, Resampling};
//!
//! let heights = [1.62, 1.75, 1.81, 1.69, 1.77, 1.58, 1.70];
//! let mean = |items: &[usize]| items.iter().map(|&i| heights[i]).sum::<f64>() / items.len() as f64;
//! let interval = Bootstrap::default().interval(&Resampling::items(heights.len()), mean, Seed::new(1))?;
//! assert!(interval.low < interval.estimate && interval.estimate < interval.high);
//! # Ok::<(), dina_stats::Error>(())
//! ```

pub mod bootstrap;
pub mod classical;
pub mod cluster;
pub mod comparison;
pub mod cvpca;
mod distribution;
pub mod effect;
mod error;
pub mod linalg;
pub mod meta;
pub mod multiplicity;
pub mod permutation;
pub mod proportion;
pub mod rank;
pub mod reliability;
mod sentence;
pub mod similarity;
pub mod sparseness;

pub use dina_core::Seed;
pub use error::{Error, Result};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
