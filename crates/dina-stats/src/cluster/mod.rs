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
pub use tfce::{Tfce, TfceTest, tfce_test};
pub use threshold::{Cluster, ClusterMeasure, ClusterTest, ClusterThreshold, cluster_test};

use dina_core::Seed;
use rayon::prelude::*;

use crate::{
    Error, Result,
    permutation::{Arrangement, Permutation, Scheme},
};

/// The map of the data, and the largest value that `largest` finds in that of each permutation.
fn maxima(
    permutation: &Permutation,
    scheme: &Scheme,
    points: usize,
    statistic: impl Fn(&Arrangement) -> Vec<f64> + Sync,
    largest: impl Fn(&[f64]) -> f64 + Sync,
    seed: Seed,
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
    let null = (0..plan.count)
        .into_par_iter()
        .map(|b| checked(statistic(&plan.arrangement(b, seed))).map(|map| largest(&map)))
        .collect::<Result<Vec<f64>>>()?;
    Ok((observed, null, plan.exact))
}
