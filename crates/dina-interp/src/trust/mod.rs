//! Whether an attribution can be believed.
//!
//! - [`cascade`]: what is left of it when the tower's parameters are drawn anew, one after the other from the output
//!   side (Adebayo et al. 2018). A method that shows the input and not the model keeps its picture.
//! - [`similarity`]: the same against another tower: untrained, or trained with shuffled labels; and [`agreement`] of
//!   towers trained with other seeds, which ought to be high.
//! - [`deletion_insertion`]: whether taking away what counts most changes the target sooner than a random order.
//! - [`recovery`], [`overlap`]: against the truth, where inputs are simulated.
//! - [`Explainer::gradient_error`](crate::attribution::Explainer::gradient_error): whether the tower's gradients are right
//!   at all.
//!
//! Every one gives a [`Check`]; [`Checks`] collects them, and an
//! [`Attribution`](crate::attribution::Attribution) carries them.

mod agreement;
mod cascade;
mod check;
mod perturbation;
mod truth;

pub use agreement::{Similarity, agreement, similarity};
pub use cascade::{Cascade, CascadeConfig, CascadeStep, cascade};
pub use check::{Check, CheckKind, Checks, Verdict};
pub use perturbation::{OrderTest, Perturbation, PerturbationConfig, deletion_insertion};
pub use truth::{Overlap, overlap, recovery};

#[cfg(test)]
mod tests;
