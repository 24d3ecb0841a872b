//! Cluster inference on maps: along time, over a lattice, or over any graph.
//!
//! Neighbouring points rise together, so that testing them one by one wastes power. [`cluster_test`] asks how
//! large a connected region above a threshold has to be (Maris and Oostenveld 2007); [`tfce_test`] needs no
//! threshold (Smith and Nichols 2009). Both take the largest value over the map in each permutation, which
//! controls the family-wise error. A significant cluster says that there is an effect, not where exactly
//! it begins and ends (Sassenhagen and Draschkow 2019); a point that is significant by TFCE says so of
//! the point.
//!
//! Points above and below zero never form one cluster.

mod adjacency;
mod forest;
mod tfce;
mod threshold;

pub use adjacency::{Adjacency, Neighbourhood};
pub use tfce::{Tfce, TfceTest, tfce_test, tfce_watched};
pub use threshold::{Cluster, ClusterMeasure, ClusterTest, ClusterThreshold, cluster_test, cluster_watched};

use dina_core::Seed;
use rayon::prelude::*;

use crate::{
    Error, Result,
    permutation::{Arrangement, BATCH, Permutation, Progress, Scheme},
};

/// The map of the data, and the largest value that `largest` finds in that of each permutation.
fn maxima(
    permutation: &Permutation,
    scheme: &Scheme,
    points: usize,
    statistic: impl Fn(&Arrangement) -> Vec<f64> + Sync,
    largest: impl Fn(&[f64]) -> f64 + Sync,
    seed: Seed,
    mut progress: impl FnMut(Progress),
) -> Result<(Vec<f64>, Vec<f64>, bool)> {
    let plan = permutation.plan(scheme)?;
    let checked = |map: Vec<f64>| {
        if map.len() != points {
            return Err(Error::shape("points of a map", points, map.len()));
        }
        Error::all_finite("map", map.iter().copied())?;
        Ok(map)
    };
    let observed = checked(statistic(&Arrangement::identity(scheme.items())))?;
    let mut null = Vec::with_capacity(plan.count);
    while null.len() < plan.count {
        let next = null.len()..plan.count.min(null.len() + BATCH);
        let batch = next
            .into_par_iter()
            .map(|b| checked(statistic(&plan.arrangement(b, seed))).map(|map| largest(&map)))
            .collect::<Result<Vec<f64>>>()?;
        null.extend(batch);
        progress(Progress { done: null.len(), of: plan.count });
    }
    Ok((observed, null, plan.exact))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_order_and_changes_nothing() {
        let (free, chain) = (Scheme::free(9).unwrap(), Adjacency::chain(9).unwrap());
        let permutation = Permutation { count: 200, ..Permutation::default() };
        let map = |g: &Arrangement| g.order().iter().map(|&i| i as f64 - 4.0).collect::<Vec<f64>>();
        let forming = ClusterThreshold { threshold: 1.0, measure: ClusterMeasure::Mass };
        let mut told = Vec::new();
        let tell = |p: Progress| told.push((p.done, p.of));
        let watched = cluster_watched(&permutation, &free, &chain, forming, map, Seed::new(0), tell).unwrap();
        assert_eq!(watched, cluster_test(&permutation, &free, &chain, forming, map, Seed::new(0)).unwrap());
        assert_eq!(told, [(128, 200), (200, 200)]);
        let mut told = 0;
        let tfce = Tfce::default();
        let watched =
            tfce_watched(&permutation, &free, &chain, tfce, map, Seed::new(0), |_| told += 1).unwrap();
        assert_eq!(watched, tfce_test(&permutation, &free, &chain, tfce, map, Seed::new(0)).unwrap());
        assert_eq!(told, 2);
    }
}
