use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    cluster::{Adjacency, Neighbourhood},
    permutation::{Permutation, Scheme, Tail},
};
use ndarray::{Array2, ArrayView4};
use rand::{RngExt, seq::SliceRandom};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Extent, ExtentConfig, Place, Spread,
    extent::{check, finish, mean_distance},
};
use crate::{
    Result,
    score::{centred_channel, check_pair, largest},
};

/// How the profile of alignment over space is tested.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProfileConfig {
    /// Random permutations of the images.
    pub permutations: usize,
    /// Adjusted p up to which a position is aligned.
    pub alpha: f64,
    /// Degrees of visual angle between rows and between columns of the map.
    pub degrees: [f64; 2],
    /// When what is aligned is local or distributed.
    pub extent: ExtentConfig,
}

impl ProfileConfig {
    /// 1,000 permutations, 0.05.
    pub fn new(degrees: [f64; 2]) -> Self {
        Self { permutations: 1000, alpha: 0.05, degrees, extent: ExtentConfig::default() }
    }
}

/// A connected set of aligned positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Its positions, row-major.
    pub positions: Vec<usize>,
    /// Centre weighted by correlation, degrees from the upper edge.
    pub row: f64,
    /// The same from the left edge.
    pub column: f64,
    /// Its area in square degrees.
    pub area: f64,
    /// Its largest correlation.
    pub peak: f64,
}

/// Where a channel is aligned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpatialProfile {
    /// The channel.
    pub channel: usize,
    /// Rows and columns of the map.
    pub size: [usize; 2],
    /// Correlation over images at each position, row-major; absent where one of the maps never changes.
    pub r: Vec<Option<f64>>,
    /// One-sided p, corrected over all positions of all channels by step-down maxT.
    pub p_adjusted: Vec<Option<f64>>,
    /// Connected sets of aligned positions (sharing an edge or a corner), the largest first.
    pub regions: Vec<Region>,
    /// Central range of the number of regions of as many positions anywhere: fewer regions means that alignment is
    /// contiguous.
    pub null_regions: [usize; 2],
    /// Share of positions that are aligned.
    pub covered: f64,
    /// How far aligned positions are apart, weighted by their correlation, with an interval over images; absent for fewer than
    /// three of them.
    pub spread: Option<Spread>,
    /// Local, distributed, undecided, or no evidence of alignment.
    pub extent: Extent,
}

impl fmt::Display for SpatialProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channel = self.channel;
        if self.regions.is_empty() {
            return write!(
                f,
                "channel {channel}: no evidence of alignment at any of {} positions",
                self.r.len()
            );
        }
        let (count, covered) = (self.regions.len(), self.covered * 100.);
        let [low, high] = self.null_regions;
        write!(
            f,
            "channel {channel}: {covered:.0} % of positions in {count} region(s) (anywhere: {low} to {high})"
        )?;
        match &self.spread {
            Some(spread) => write!(f, "; {spread}"),
            None => write!(f, "; too few positions for a spread"),
        }
    }
}

/// Where in the visual field each channel is aligned.
///
/// The alignment of a position is the correlation over images of the two maps there. The null permutes the images; p is corrected
/// over positions and channels. Aligned positions fall into connected regions. Their spread is the mean distance of two
/// of them, weighted by correlation ([`super::spread`] has the formula); its interval resamples images, with the
/// aligned positions kept. The null of spread and number of regions puts the same weights at independent random positions.
/// Neighbouring positions are not independent, so `p_local` says that alignment is not scattered evenly, and
/// not that regions are close to each other; whether it is local is decided by the size of the spread.
///
/// - `image`, `neural`: `[images, channels, height, width]`.
///
/// Memory: one standardised copy of both maps and, per thread, one value a channel and position.
///
/// # Errors
/// When the shapes differ, there are fewer than three images, values are not finite, no position changes in both maps,
/// or the configuration is impossible.
pub fn spatial_profile(
    image: ArrayView4<'_, f32>,
    neural: ArrayView4<'_, f32>,
    config: &ProfileConfig,
    seed: Seed,
) -> Result<Vec<SpatialProfile>> {
    check_pair(image, neural)?;
    let (images, channels, height, width) = image.dim();
    let screen = [height as f64 * config.degrees[0], width as f64 * config.degrees[1]];
    check(&[], screen, &config.extent)?;
    let pairs: Vec<[Array2<f32>; 2]> = (0..channels)
        .map(|c| [image, neural].map(|maps| unit_columns(centred_channel(maps, c), largest(maps, c))))
        .collect();
    let live: Vec<(usize, usize)> = (0..channels)
        .flat_map(|c| (0..height * width).map(move |p| (c, p)))
        .filter(|&(c, p)| pairs[c].iter().all(|side| side.column(p).iter().any(|v| *v != 0.)))
        .collect();
    if live.is_empty() {
        return Err(CoreError::value("positions that change in both maps", "at least 1", 0).into());
    }
    let permutation =
        Permutation { count: config.permutations, tail: Tail::Greater, ..Permutation::default() };
    let test = permutation.max_t_over(
        &Scheme::free(images)?,
        |arrangement| {
            let sums: Vec<Vec<f64>> =
                pairs.iter().map(|[a, b]| correlations(a, b, arrangement.order())).collect();
            live.iter().map(|&(c, p)| sums[c][p]).collect()
        },
        seed.child("permutation"),
    )?;
    let mut r = vec![vec![None; height * width]; channels];
    let mut p = r.clone();
    for (&(channel, position), (value, adjusted)) in
        live.iter().zip(test.statistic.into_iter().zip(test.adjusted_p))
    {
        r[channel][position] = Some(value);
        p[channel][position] = Some(adjusted);
    }
    let adjacency = Adjacency::grid(height, width, Neighbourhood::Eight)?;
    let place = |position: usize, weight: f64| Place {
        row: ((position / width) as f64 + 0.5) * config.degrees[0],
        column: ((position % width) as f64 + 0.5) * config.degrees[1],
        weight,
    };
    r.into_iter()
        .zip(p)
        .enumerate()
        .map(|(channel, (r, p_adjusted))| {
            let seed = seed.child("extent").index(channel);
            let aligned: Vec<usize> = (0..r.len())
                .filter(|&i| p_adjusted[i].is_some_and(|p| p <= config.alpha) && r[i] > Some(0.))
                .collect();
            let weight = |i: usize| r[i].unwrap_or(0.);
            let regions = regions(&aligned, &adjacency, &weight, &place, config.degrees);
            let places: Vec<Place> = aligned.iter().map(|&i| place(i, weight(i))).collect();
            let spread = match mean_distance(&places) {
                Some(found) if places.len() >= 3 => {
                    let drawn = resampled(&pairs[channel], &aligned, &place, found, config, seed);
                    Some(finish(found, &drawn, &places, screen, &config.extent, seed.child("anywhere"))?)
                }
                _ => None,
            };
            let extent = match (&spread, aligned.len()) {
                (Some(spread), _) => spread.extent,
                (None, 0) => Extent::NoEvidence,
                (None, _) => Extent::Undecided,
            };
            Ok(SpatialProfile {
                channel,
                size: [height, width],
                null_regions: null_regions(aligned.len(), &adjacency, &config.extent, seed.child("regions")),
                covered: aligned.len() as f64 / r.len() as f64,
                r,
                p_adjusted,
                regions,
                spread,
                extent,
            })
        })
        .collect()
}

/// Columns of length 1; those that are nothing but rounding become 0.
fn unit_columns(mut rows: Array2<f32>, largest: f64) -> Array2<f32> {
    let images = rows.nrows() as f64;
    for mut column in rows.columns_mut() {
        let length = column.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let scale = if length > 1e-6 * largest * images.sqrt() { 1. / length } else { 0. };
        column.mapv_inplace(|v| (f64::from(v) * scale) as f32);
    }
    rows
}

fn correlations(a: &Array2<f32>, b: &Array2<f32>, order: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.; a.ncols()];
    for (i, &j) in order.iter().enumerate() {
        let pairs = a.row(i).into_iter().zip(b.row(j));
        sums.iter_mut().zip(pairs).for_each(|(sum, (&a, &b))| *sum += f64::from(a * b));
    }
    sums
}

/// Spreads of the same positions in resamples of the images.
fn resampled(
    [a, b]: &[Array2<f32>; 2],
    aligned: &[usize],
    place: &(impl Fn(usize, f64) -> Place + Sync),
    observed: f64,
    config: &ProfileConfig,
    seed: Seed,
) -> Vec<f64> {
    let images = a.nrows();
    (0..config.extent.draws)
        .into_par_iter()
        .map(|draw| {
            let mut stream = seed.index(draw).stream("images");
            let drawn: Vec<usize> = (0..images).map(|_| stream.random_range(0..images)).collect();
            let places: Vec<Place> = aligned
                .iter()
                .map(|&p| {
                    let mut sums = [0.; 5];
                    for &i in &drawn {
                        let (a, b) = (f64::from(a[[i, p]]), f64::from(b[[i, p]]));
                        sums.iter_mut().zip([a, b, a * a, b * b, a * b]).for_each(|(s, v)| *s += v);
                    }
                    let [a, b, aa, bb, ab] = sums.map(|s| s / images as f64);
                    let size = (aa - a * a) * (bb - b * b);
                    let r = if size > 0. { (ab - a * b) / size.sqrt() } else { 0. };
                    place(p, r.max(0.))
                })
                .collect();
            mean_distance(&places).unwrap_or(observed)
        })
        .collect()
}

fn components(positions: &[usize], adjacency: &Adjacency) -> Vec<Vec<usize>> {
    let mut free = vec![false; adjacency.points()];
    positions.iter().for_each(|&p| free[p] = true);
    let mut components = Vec::new();
    for &start in positions {
        if !std::mem::replace(&mut free[start], false) {
            continue;
        }
        let (mut found, mut next) = (vec![start], 0);
        while next < found.len() {
            for &neighbour in adjacency.neighbours(found[next]) {
                if std::mem::replace(&mut free[neighbour], false) {
                    found.push(neighbour);
                }
            }
            next += 1;
        }
        found.sort_unstable();
        components.push(found);
    }
    components
}

fn regions(
    aligned: &[usize],
    adjacency: &Adjacency,
    weight: &impl Fn(usize) -> f64,
    place: &impl Fn(usize, f64) -> Place,
    degrees: [f64; 2],
) -> Vec<Region> {
    let mut regions: Vec<Region> = components(aligned, adjacency)
        .into_iter()
        .map(|positions| {
            let total: f64 = positions.iter().map(|&p| weight(p)).sum();
            let centre = |of: &dyn Fn(Place) -> f64| {
                positions.iter().map(|&p| weight(p) * of(place(p, 0.))).sum::<f64>() / total
            };
            Region {
                row: centre(&|p| p.row),
                column: centre(&|p| p.column),
                area: positions.len() as f64 * degrees[0] * degrees[1],
                peak: positions.iter().map(|&p| weight(p)).fold(0., f64::max),
                positions,
            }
        })
        .collect();
    regions.sort_by_key(|r| std::cmp::Reverse(r.positions.len()));
    regions
}

/// Central range of the number of regions of so many positions anywhere.
fn null_regions(count: usize, adjacency: &Adjacency, config: &ExtentConfig, seed: Seed) -> [usize; 2] {
    let mut counts: Vec<usize> = (0..config.draws)
        .into_par_iter()
        .map(|draw| {
            let mut all: Vec<usize> = (0..adjacency.points()).collect();
            let (drawn, _) = all.partial_shuffle(&mut seed.index(draw).stream("positions"), count);
            components(drawn, adjacency).len()
        })
        .collect();
    counts.sort_unstable();
    let tail = (1. - config.level) / 2.;
    [tail, 1. - tail].map(|q| counts[(q * (counts.len() - 1) as f64).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{noise4, on_one_and_two_threads};

    fn run(share: impl Fn(usize, usize) -> bool + Sync) -> SpatialProfile {
        let image = noise4("image", [60, 1, 8, 12]);
        let mut neural = noise4("neural", [60, 1, 8, 12]);
        for ((i, c, y, x), v) in neural.indexed_iter_mut() {
            if share(y, x) {
                *v += 2. * image[[i, c, y, x]];
            }
        }
        let mut config = ProfileConfig { permutations: 300, ..ProfileConfig::new([5., 5.]) };
        config.extent.draws = 300;
        let [mut one, two] = on_one_and_two_threads(|| {
            spatial_profile(image.view(), neural.view(), &config, Seed::new(1)).unwrap()
        });
        assert_eq!(one, two);
        one.remove(0)
    }

    #[test]
    fn regions_and_extent() {
        let local = run(|y, x| (2..4).contains(&y) && (3..5).contains(&x));
        assert_eq!((local.regions.len(), local.extent), (1, Extent::Local), "{local}");
        assert!((local.regions[0].row - 15.).abs() < 0.5 && (local.regions[0].column - 20.).abs() < 0.5);
        assert_eq!(local.regions[0].area, 100.);
        // Four corners.
        let far = run(|y, x| !(2..=5).contains(&y) && !(2..=9).contains(&x));
        assert_eq!((far.regions.len(), far.extent), (4, Extent::Distributed), "{far}");
        let all = run(|_, _| true);
        assert_eq!((all.regions.len(), all.extent), (1, Extent::Distributed), "{all}");
        let none = run(|_, _| false);
        assert_eq!(none.extent, Extent::NoEvidence, "{none}");
        assert!(none.to_string().contains("no evidence"));
    }

    #[test]
    fn constant_positions_are_left_out() {
        let (mut image, neural) = (noise4("image", [10, 1, 2, 2]), noise4("neural", [10, 1, 2, 2]));
        image.slice_mut(ndarray::s![.., .., 0, 0]).fill(3.);
        let config = ProfileConfig { permutations: 50, ..ProfileConfig::new([1., 1.]) };
        let found = spatial_profile(image.view(), neural.view(), &config, Seed::new(1)).unwrap();
        assert!(found[0].r[0].is_none() && found[0].r[1].is_some());
        image.fill(3.);
        assert!(spatial_profile(image.view(), neural.view(), &config, Seed::new(1)).is_err());
    }
}
