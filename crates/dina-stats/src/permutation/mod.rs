//! Permutation tests of any statistic under any exchangeability scheme.
//!
//! - [`Scheme`] says what may be exchanged: all labels, labels within blocks, signs, the members of
//!   pairs, or the alignment of series in time.
//! - [`Permutation::test`] tests one statistic, exactly where the scheme has few arrangements.
//! - [`Permutation::max_t_over`] tests many channels at once (Westfall and Young's step-down maxT);
//!   [`mass`] does the same for correlations and t statistics as matrix products.
//! - [`p_value`] and [`step_down_max_t`] take a null that was computed elsewhere.

mod autocorrelation;
pub mod mass;
mod max_t;
mod scheme;
mod sequential;
mod tail;
mod test;

pub use autocorrelation::autocorrelation_length;
pub use max_t::{MaxT, step_down_max_t};
pub use scheme::{Arrangement, Scheme, SchemeKind};
pub(crate) use tail::extremeness;
pub use tail::{Tail, p_value};
pub(crate) use test::BATCH;
pub use test::{Permutation, PermutationTest, Progress};
