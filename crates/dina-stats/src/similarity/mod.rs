//! Similarity of representations: centred kernel alignment, representational similarity, and the variance that
//! models share.
//!
//! - [`cka`]: linear CKA, debiased, with a permutation test.
//! - [`dissimilarity`]: representational dissimilarities, plain and cross-validated (crossnobis).
//! - [`rsa`]: comparison of dissimilarities, noise ceiling, permutation test.
//! - [`variance`]: partition of held-out explained variance between two models.

pub mod cka;
pub mod dissimilarity;
pub mod rsa;
pub mod variance;
