//! An objective of one's own: a margin between right and wrong pairs in place of InfoNCE, everything else unchanged.
//!
//!     cargo run --release --example custom_objective [DIR]

use std::process::ExitCode;

use candle_core::Tensor;
use dina_core::{Error, FeatureMaps, LossTerms, Objective, Result, Targets};
use dina_examples::{exit, run_with};
use dina_loss::{Similarity, cosine_logits};
use dina_study::Parts;

/// A trial should be more similar to its own image than to any other of the batch, by a margin:
/// the mean over trials t and wrong images i of `max(0, margin - S_t,own + S_t,i)` (Weston & Watkins 1999).
struct Margin {
    margin: f64,
}

impl Objective for Margin {
    fn loss(&self, image: &FeatureMaps, neural: &FeatureMaps, targets: &Targets) -> Result<LossTerms> {
        let similarity = cosine_logits(neural, image, Similarity::Flat)?;
        let (trials, images) = similarity.dims2()?;
        if (targets.trials.len(), targets.images.len()) != (trials, images) {
            let found = [targets.trials.len(), targets.images.len()];
            return Err(Error::shape("stimulus ids of a batch", [trials, images], found));
        }
        // Equal identities are right pairs.
        let right: Vec<f32> = targets
            .trials
            .iter()
            .flat_map(|trial| targets.images.iter().map(move |image| f32::from(u8::from(trial == image))))
            .collect();
        let right = Tensor::from_vec(right, (trials, images), similarity.device())?;
        let wrong = right.affine(-1., 1.)?;
        let own = (&similarity * &right)?.sum_keepdim(1)?.broadcast_div(&right.sum_keepdim(1)?)?;
        let missing = (similarity.broadcast_sub(&own)? + self.margin)?.relu()?;
        let count = f64::from(wrong.sum_all()?.to_scalar::<f32>()?).max(1.);
        LossTerms::new([("margin", ((missing * wrong)?.sum_all()? / count)?)])
    }
}

fn main() -> ExitCode {
    // Everything that changes results is in the name, since hashes know the objective by it.
    let margin = 0.2;
    exit(run_with(
        Parts::default().with_objective(format!("margin loss, margin {margin}"), move |_, _, _| {
            Ok(Box::new(Margin { margin }))
        }),
    ))
}
