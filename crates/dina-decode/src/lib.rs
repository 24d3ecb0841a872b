//! Which of the candidate images was shown? Identification from population responses, with the
//! baselines and the ceiling that a decoder has to be held against.
//!
//! - [`identification`]: similarities to ranks, top-k, two-way identification, chance, an interval that
//!   resamples images and a p-value that permutes them.
//! - [`Ranks`], [`rank_by_correlation`], [`top1_by_pool_size`]: ranks themselves, of large pools without
//!   the whole similarity matrix, and the curve of top-1 against the size of the pool.
//! - [`self_retrieval`], [`nearest_neighbour`]: an image from another repeat of it. This is a ceiling, not
//!   the decoding of an image that was never seen.
//! - [`RidgeEncoding`], [`RidgeDecoding`]: the two classical decoders of unseen images, as
//!   [`Baseline`]s, tuned on validation images.
//! - [`local_scaling`]: similarities corrected for candidates that resemble every response.
//! - [`gabor`], [`ridge`]: the features and the regression that they are made of.

mod baseline;
mod correlation;
mod decoding;
mod encoding;
mod error;
mod features;
pub mod gabor;
pub mod identification;
mod local_scaling;
mod ranks;
mod repeats;
pub mod ridge;
mod scoring;

pub use baseline::{
    Baseline, Choice, FittedBaseline, Geometry, Part, Presented, Queries, Training, TrainingSet, Validation,
    ValidationSet,
};
pub use correlation::correlate;
pub use decoding::{DecodingChoice, RidgeDecoding};
pub use encoding::{EncodingChoice, PenaltyChoice, RidgeEncoding};
pub use error::{Error, Result};
pub use features::ImageFeatures;
pub use local_scaling::local_scaling;
pub use ranks::{Ranks, rank_by_correlation, top1_by_pool_size};
pub use repeats::{SelfRetrieval, nearest_neighbour, self_retrieval};
pub use scoring::Score;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
