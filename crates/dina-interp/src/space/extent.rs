use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::permutation::{Tail, p_value};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Result, score::mean};

/// A place in the visual field that carries some alignment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Degrees from the upper edge.
    pub row: f64,
    /// Degrees from the left edge.
    pub column: f64,
    /// How much of the alignment is there, not negative.
    pub weight: f64,
}

/// When places are called local or distributed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExtentConfig {
    /// Local where the whole interval of the relative spread is below this.
    pub local_below: f64,
    /// Distributed where all of it is above this.
    pub distributed_above: f64,
    /// Draws of random places, and bootstrap replicates.
    pub draws: usize,
    /// Coverage of the interval and the null range.
    pub level: f64,
}

impl Default for ExtentConfig {
    /// Local below half of the spread of places anywhere, distributed above three quarters, 1,000 draws, 95 %.
    fn default() -> Self {
        Self { local_below: 0.5, distributed_above: 0.75, draws: 1000, level: 0.95 }
    }
}

/// The verdict on how far places are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Extent {
    /// The interval of the relative spread is below the limit.
    Local,
    /// It is above the limit.
    Distributed,
    /// It crosses a limit, or lies between the two.
    Undecided,
    /// There is no alignment to be anywhere.
    NoEvidence,
}

/// How far places are apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean distance of two places, weighted by the product of their weights, in degrees.
    pub distance: f64,
    /// Mean distance of as many places anywhere on the screen with the same weights, in degrees.
    pub anywhere: f64,
    /// `distance` over `anywhere`.
    pub relative: f64,
    /// Lower end of the percentile interval of `relative`.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Lower end of the central null range of `relative`.
    pub null_low: f64,
    /// Upper end.
    pub null_high: f64,
    /// Coverage.
    pub level: f64,
    /// One-sided p of places as close as these anywhere on the screen.
    pub p_local: f64,
    /// What follows.
    pub extent: Extent,
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extent = match self.extent {
            Extent::Local => "local",
            Extent::Distributed => "distributed",
            Extent::Undecided => "neither local nor distributed for sure",
            Extent::NoEvidence => "no evidence of alignment anywhere",
        };
        write!(
            f,
            "{extent}: mean distance {:.1} degrees, {:.2} ({:.2} to {:.2}) of that of places anywhere ({:.1} degrees; null {:.2} to \
             {:.2}), p of being closer = {:.4}",
            self.distance,
            self.relative,
            self.low,
            self.high,
            self.anywhere,
            self.null_low,
            self.null_high,
            self.p_local
        )
    }
}

/// The spread of independent places, such as the centres of the footprints of channels or neurons.
///
/// The spread is sum_ij w_i w_j d_ij / sum_ij w_i w_j over i != j. The null puts the same weights at uniformly random places of the
/// screen. The interval is a bootstrap over places: they have to be independent, which neighbouring positions of one
/// map are not (see [`super::spatial_profile`] for those). Whether this is local or distributed is read off the interval
/// against fixed limits, so that absence of evidence for one is not taken for evidence of the other.
///
/// - `screen`: height and width in degrees.
///
/// # Errors
/// For fewer than three places with weight, a place outside the screen, a value that is not finite, or impossible
/// limits.
pub fn spread(places: &[Place], screen: [f64; 2], config: &ExtentConfig, seed: Seed) -> Result<Spread> {
    check(places, screen, config)?;
    let places: Vec<Place> = places.iter().copied().filter(|p| p.weight > 0.).collect();
    if places.len() < 3 {
        return Err(CoreError::value("places with weight", "at least 3", places.len()).into());
    }
    let distance = mean_distance(&places).unwrap_or(0.);
    let drawn: Vec<f64> = (0..config.draws)
        .into_par_iter()
        .map(|b| {
            let mut stream = seed.index(b).stream("bootstrap");
            let resample: Vec<usize> =
                (0..places.len()).map(|_| stream.random_range(0..places.len())).collect();
            // A place drawn twice is no pair of places.
            distance_of(&resample, &places).unwrap_or(distance)
        })
        .collect();
    finish(distance, &drawn, &places, screen, config, seed.child("anywhere"))
}

/// The verdict from the spread, replicates of it, and random places with the same weights.
pub(super) fn finish(
    distance: f64,
    drawn: &[f64],
    places: &[Place],
    screen: [f64; 2],
    config: &ExtentConfig,
    seed: Seed,
) -> Result<Spread> {
    let null: Vec<f64> = (0..config.draws)
        .into_par_iter()
        .map(|b| {
            let mut stream = seed.index(b).stream("places");
            let random: Vec<Place> = places
                .iter()
                .map(|p| Place {
                    row: screen[0] * stream.random::<f64>(),
                    column: screen[1] * stream.random::<f64>(),
                    weight: p.weight,
                })
                .collect();
            mean_distance(&random).unwrap_or(0.)
        })
        .collect();
    let anywhere = mean(&null);
    let p_local = p_value(distance, &null, Tail::Less, false)?;
    let quantiles = |values: &[f64]| {
        let mut sorted: Vec<f64> = values.iter().map(|v| v / anywhere).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| sorted[(q * (sorted.len() - 1) as f64).round() as usize];
        let tail = (1. - config.level) / 2.;
        (at(tail), at(1. - tail))
    };
    let ((low, high), (null_low, null_high)) = (quantiles(drawn), quantiles(&null));
    let extent = if high < config.local_below && p_local <= 1. - config.level {
        Extent::Local
    } else if low > config.distributed_above {
        Extent::Distributed
    } else {
        Extent::Undecided
    };
    Ok(Spread {
        distance,
        anywhere,
        relative: distance / anywhere,
        low,
        high,
        null_low,
        null_high,
        level: config.level,
        p_local,
        extent,
    })
}

/// Weighted mean distance of different places, sum_ij w_i w_j d_ij / sum_ij w_i w_j over i != j, in degrees; `None` where no
/// two have weight.
pub fn mean_distance(places: &[Place]) -> Option<f64> {
    distance_of(&(0..places.len()).collect::<Vec<_>>(), places)
}

fn distance_of(drawn: &[usize], places: &[Place]) -> Option<f64> {
    let (mut sum, mut total) = (0., 0.);
    for (k, &i) in drawn.iter().enumerate() {
        for &j in drawn[..k].iter().filter(|j| **j != i) {
            let (a, b) = (&places[i], &places[j]);
            let weight = a.weight * b.weight;
            sum += weight * (a.row - b.row).hypot(a.column - b.column);
            total += weight;
        }
    }
    (total > 0.).then(|| sum / total)
}

pub(super) fn check(places: &[Place], screen: [f64; 2], config: &ExtentConfig) -> Result<()> {
    if !screen.iter().all(|s| s.is_finite() && *s > 0.) {
        return Err(CoreError::value("screen in degrees", "above 0", format!("{screen:?}")).into());
    }
    let ExtentConfig { local_below, distributed_above, draws, level } = *config;
    if !(0. < local_below && local_below <= distributed_above && level > 0. && level < 1. && draws > 0) {
        let expected = "limits above 0 in order, a level between 0 and 1, at least one draw";
        return Err(CoreError::value("configuration of extent", expected, format!("{config:?}")).into());
    }
    let inside = |p: &Place| {
        (0. ..=screen[0]).contains(&p.row)
            && (0. ..=screen[1]).contains(&p.column)
            && p.weight.is_finite()
            && p.weight >= 0.
    };
    match places.iter().find(|p| !inside(p)) {
        Some(place) => {
            Err(CoreError::value("place", "on the screen, its weight not negative", format!("{place:?}"))
                .into())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(of: impl Fn(f64, f64) -> (f64, f64)) -> Vec<Place> {
        let mut stream = Seed::new(2).stream("places");
        (0..40)
            .map(|_| {
                let (row, column) = of(stream.random(), stream.random());
                Place { row, column, weight: 0.5 + stream.random::<f64>() }
            })
            .collect()
    }

    #[test]
    fn near_and_far_are_told_apart() {
        let screen = [40., 90.];
        let run = |places: &[Place]| spread(places, screen, &ExtentConfig::default(), Seed::new(1)).unwrap();
        let local = run(&places(|a, b| (20. + 6. * a, 40. + 6. * b)));
        assert_eq!(local.extent, Extent::Local, "{local}");
        assert!(local.p_local < 0.01 && local.relative < 0.2);
        let far = run(&places(|a, b| (40. * a, 90. * b)));
        assert_eq!(far.extent, Extent::Distributed, "{far}");
        assert!(far.p_local > 0.05 && (far.null_low..=far.null_high).contains(&far.relative));
        let half = run(&places(|a, b| (10. + 20. * a, 20. + 55. * b)));
        assert_eq!(half.extent, Extent::Undecided, "{half}");
    }

    #[test]
    fn distances_by_hand_and_nonsense_refused() {
        let place = |row, column, weight| Place { row, column, weight };
        // 3-4-5: distances 3 (weight 2), 4 (weight 1) and 5 (weight 2).
        let three = [place(0., 0., 1.), place(3., 0., 2.), place(0., 4., 1.)];
        assert!((mean_distance(&three).unwrap() - (2. * 3. + 4. + 2. * 5.) / 5.).abs() < 1e-12);
        let run =
            |places: &[Place]| spread(places, [10., 10.], &ExtentConfig::default(), Seed::new(1)).is_err();
        assert!(run(&three[..2]) && !run(&three));
        assert!(run(&[three[0], three[1], place(11., 0., 1.)]));
        assert!(run(&[three[0], three[1], place(1., f64::NAN, 1.)]));
        assert!(run(&[three[0], three[1], place(1., 1., 0.)]));
    }
}
