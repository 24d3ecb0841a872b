//! What neurons do together that they do not do alone.

mod additivity;
mod maps;
mod matched;
mod shapley;
mod trials;

pub use additivity::{GroupInteraction, InteractionConfig, Interactions, group_interactions};
pub use maps::map_interactions;
pub use matched::{MatchedConfig, MatchedSubsets, matched_subsets, noise_correlations};
pub use shapley::{ShapleyConfig, ShapleyInteraction, shapley_interactions};
pub use trials::{
    NoiseConfig, NoiseCorrelationEffect, TrialShuffle, noise_correlation_effect, shuffle_trials,
};

/// The neurons that are left, ascending, when some are silenced.
fn kept(neurons: usize, silenced: &[usize]) -> Vec<usize> {
    let mut kept = vec![true; neurons];
    silenced.iter().for_each(|&n| kept[n] = false);
    (0..neurons).filter(|&n| kept[n]).collect()
}
