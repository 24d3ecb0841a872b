//! Clusters above a threshold.

use std::fmt;

use dina_core::Seed;
use serde::{Deserialize, Serialize};

use super::{Adjacency, forest::Forest, maxima};
use crate::{
    Error, Result,
    permutation::{Arrangement, Permutation, Progress, Scheme, Tail, p_value},
    sentence::{Number, PValue},
};

/// What of a cluster is compared with the null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterMeasure {
    /// The sum of its statistics.
    Mass,
    /// Its number of points.
    Size,
}

/// How clusters are formed. The threshold is chosen before looking at the data, such as the critical t at
/// p = 0.01; it decides about power but not about validity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClusterThreshold {
    /// Points are in a cluster where the statistic exceeds it (or -statistic, below zero).
    pub threshold: f64,
    /// What is compared.
    pub measure: ClusterMeasure,
}

/// A cluster of the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its points, ascending.
    pub points: Vec<usize>,
    /// The sum of its statistics; negative for a cluster below zero.
    pub mass: f64,
    /// p, corrected for all clusters by the largest of each permutation.
    pub p: f64,
}

/// The outcome of a cluster test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterTest {
    /// The map of the data.
    pub statistic: Vec<f64>,
    /// Its clusters, from the smallest p to the largest, and by the size of their mass where it is equal.
    pub clusters: Vec<Cluster>,
    /// How they were formed.
    pub forming: ClusterThreshold,
    /// Permutations looked at.
    pub permutations: usize,
    /// Whether these were all there are.
    pub exact: bool,
    /// Which signs counted.
    pub tail: Tail,
}

impl fmt::Display for ClusterTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.clusters.len();
        write!(f, "{number} cluster{} above {}", if number == 1 { "" } else { "s" }, self.forming.threshold)?;
        if let Some(best) = self.clusters.first() {
            write!(
                f,
                ", the strongest of {} points, mass {}, {}",
                best.points.len(),
                Number(best.mass),
                PValue(best.p)
            )?;
        }
        let measure = match self.forming.measure {
            ClusterMeasure::Mass => "mass",
            ClusterMeasure::Size => "size",
        };
        write!(
            f,
            " (largest cluster {measure} of each of {}{} permutations, {})",
            if self.exact { "all " } else { "" },
            self.permutations,
            self.tail
        )
    }
}

/// Tests the clusters of a map. `statistic` returns the map, such as one t a point, for an arrangement of the
/// data. One-sided tails look at clusters of one sign, two-sided ones at both, by the absolute value.
///
/// # Errors
/// [`Error::Value`] for a threshold that is negative or not finite, [`Error::Shape`] when a map has not one
/// value a point, [`Error::NotFinite`]; as [`Permutation::test`].
pub fn cluster_test(
    permutation: &Permutation,
    scheme: &Scheme,
    adjacency: &Adjacency,
    forming: ClusterThreshold,
    statistic: impl Fn(&Arrangement) -> Vec<f64> + Sync,
    seed: Seed,
) -> Result<ClusterTest> {
    cluster_watched(permutation, scheme, adjacency, forming, statistic, seed, |_| ())
}

/// As [`cluster_test`]; `progress` is called from this thread after every 128 permutations.
///
/// # Errors
/// As [`cluster_test`].
pub fn cluster_watched(
    permutation: &Permutation,
    scheme: &Scheme,
    adjacency: &Adjacency,
    forming: ClusterThreshold,
    statistic: impl Fn(&Arrangement) -> Vec<f64> + Sync,
    seed: Seed,
    progress: impl FnMut(Progress),
) -> Result<ClusterTest> {
    if !(forming.threshold >= 0.0 && forming.threshold.is_finite()) {
        return Err(Error::value("cluster threshold", "not negative", forming.threshold));
    }
    let tail = permutation.tail;
    let find = |map: &[f64]| clusters(map, forming.threshold, tail, adjacency);
    let measure = |points: usize, mass: f64| match forming.measure {
        ClusterMeasure::Mass => mass.abs(),
        ClusterMeasure::Size => points as f64,
    };
    let largest =
        |map: &[f64]| find(map).iter().map(|(points, mass)| measure(points.len(), *mass)).fold(0.0, f64::max);
    let (observed, null, exact) =
        maxima(permutation, scheme, adjacency.points(), statistic, largest, seed, progress)?;
    let mut clusters = find(&observed)
        .into_iter()
        .map(|(points, mass)| {
            let p = p_value(measure(points.len(), mass), &null, Tail::Greater, exact)?;
            Ok(Cluster { points, mass, p })
        })
        .collect::<Result<Vec<Cluster>>>()?;
    clusters.sort_by(|a, b| a.p.total_cmp(&b.p).then(b.mass.abs().total_cmp(&a.mass.abs())));
    Ok(ClusterTest { statistic: observed, clusters, forming, permutations: null.len(), exact, tail })
}

/// Points and mass of each cluster.
fn clusters(map: &[f64], threshold: f64, tail: Tail, adjacency: &Adjacency) -> Vec<(Vec<usize>, f64)> {
    let signs: &[f64] = match tail {
        Tail::Greater => &[1.0],
        Tail::Less => &[-1.0],
        Tail::TwoSidedDoubled | Tail::TwoSidedAbsolute => &[1.0, -1.0],
    };
    let mut found = Vec::new();
    for sign in signs {
        let mut forest = Forest::new(adjacency);
        let above: Vec<usize> = (0..map.len()).filter(|&point| sign * map[point] > threshold).collect();
        for &point in &above {
            forest.add(point);
        }
        let roots = forest.roots();
        let mut members: Vec<(Vec<usize>, f64)> = vec![(Vec::new(), 0.0); roots.len()];
        let mut place = vec![0; map.len()];
        for (i, &root) in roots.iter().enumerate() {
            place[root] = i;
        }
        for &point in &above {
            let (points, mass) = &mut members[place[forest.root(point)]];
            points.push(point);
            *mass += map[point];
        }
        found.append(&mut members);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Neighbourhood;

    #[test]
    fn clusters_by_hand() {
        #[rustfmt::skip]
        let map = [
            3.0, 3.0, 0.0, -2.5,
            0.0, 0.0, 2.0, -4.0,
            5.0, 0.0, 2.0, 0.0,
        ];
        let find = |neighbourhood, tail| {
            let grid = Adjacency::grid(3, 4, neighbourhood).unwrap();
            let mut found = clusters(&map, 1.0, tail, &grid);
            found.sort_by(|a, b| a.0.cmp(&b.0));
            found
        };
        let four = find(Neighbourhood::Four, Tail::TwoSidedAbsolute);
        assert_eq!(four, [(vec![0, 1], 6.0), (vec![3, 7], -6.5), (vec![6, 10], 4.0), (vec![8], 5.0)]);
        let eight = find(Neighbourhood::Eight, Tail::Greater);
        assert_eq!(eight, [(vec![0, 1, 6, 10], 10.0), (vec![8], 5.0)]);
        assert_eq!(find(Neighbourhood::Four, Tail::Less), [(vec![3, 7], -6.5)]);
    }

    /// Six mice with an effect at points 3 to 6: the cluster is found at 1/64, and no other.
    #[test]
    fn an_effect_of_all_mice_is_found_exactly() {
        let data: Vec<Vec<f64>> = (0..6)
            .map(|mouse| {
                (0..12)
                    .map(|point| {
                        let noise = (f64::from(mouse * 12 + point) * 12.9898).sin();
                        noise + if (3..7).contains(&point) { 4.0 } else { 0.0 }
                    })
                    .collect()
            })
            .collect();
        let t = |g: &Arrangement| -> Vec<f64> {
            (0..12)
                .map(|point| {
                    let column: Vec<f64> = data.iter().map(|mouse| mouse[point]).collect();
                    let values = g.apply(&column);
                    let mean = values.iter().sum::<f64>() / 6.0;
                    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
                    mean / (squares / 30.0).sqrt()
                })
                .collect()
        };
        let forming = ClusterThreshold { threshold: 3.365, measure: ClusterMeasure::Mass };
        let found = cluster_test(
            &Permutation::default(),
            &Scheme::sign_flip(6).unwrap(),
            &Adjacency::chain(12).unwrap(),
            forming,
            t,
            Seed::new(0),
        )
        .unwrap();
        assert_eq!(found.clusters[0].points, [3, 4, 5, 6]);
        assert_eq!(found.clusters[0].p, 1.0 / 64.0);
        assert!(found.clusters.iter().skip(1).all(|cluster| cluster.p > 0.05));
        assert!(found.to_string().contains("the strongest of 4 points"), "{found}");
    }

    #[test]
    fn refuses_nonsense() {
        let test = |threshold, map: Vec<f64>| {
            let forming = ClusterThreshold { threshold, measure: ClusterMeasure::Size };
            let chain = Adjacency::chain(3).unwrap();
            let flips = Scheme::sign_flip(2).unwrap();
            cluster_test(&Permutation::default(), &flips, &chain, forming, |_| map.clone(), Seed::new(0))
        };
        assert!(test(-1.0, vec![0.0; 3]).is_err());
        assert!(test(1.0, vec![0.0; 2]).is_err());
        assert!(test(1.0, vec![f64::NAN; 3]).is_err());
        assert!(test(1.0, vec![0.0; 3]).unwrap().clusters.is_empty());
    }
}
