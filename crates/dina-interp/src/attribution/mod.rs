//! Which inputs a channel owes its response to: image regions, or neurons.
//!
//! What is explained is a [`Target`], one number an item: a channel of a level of a [`Tower`](dina_core::Tower), as the
//! mean over its map or as the dot product with a given map, such as the other tower's map of the same image. An
//! [`Explainer`] holds tower and target and offers the methods, each usable alone:
//!
//! - [`Explainer::gradient_input`]: gradient times input.
//! - [`Explainer::integrated_gradients`]: along the way from a baseline, refined until complete.
//! - [`Explainer::expected_gradients`]: the same against a background set instead of one baseline.
//! - [`Explainer::smooth_grad`]: gradients averaged over noise.
//! - [`Explainer::occlusion`]: what is lost when a group of inputs is replaced.
//! - [`Explainer::shapley`]: Shapley values of groups by antithetic permutations.
//! - [`Explainer::grad_cam`]: the maps weighted by their gradients.
//!
//! Every result is an [`Attribution`], which carries the checks made of it (see [`crate::trust`]).
//!
//! **What is assumed of the tower**: that items of a batch do not influence one another in
//! [`Mode::Eval`](dina_core::Mode::Eval), so that one backward pass gives every item's gradient, and that its gradients are
//! right, which [`Explainer::gradient_error`] tests (some operations of candle 0.11 have silently wrong ones).
//!
//! **Memory**: with n items of d inputs each and at most b rows a pass ([`Explainer::with_batch`]), a method holds
//! at most `8 (4 n d + 3 b d)` bytes of its own, twice `8 n d` more with standard errors, plus what the tower keeps for
//! b rows; expected gradients hold 16 bytes a sample of every item besides. Nothing else grows with steps, samples, groups or permutations.

mod cam;
mod explainer;
mod gradient;
mod groups;
mod path;
mod removal;
mod result;
mod target;

pub(crate) use explainer::Items;
pub use explainer::{Baseline, Explainer};
pub use gradient::SmoothGrad;
pub use groups::Groups;
pub use path::{ExpectedGradients, IntegratedGradients, Rule};
pub use removal::Shapley;
pub use result::{Attribution, Completeness, Method};
pub use target::Target;
pub(crate) use target::host;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
