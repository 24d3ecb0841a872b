//! Bootstrap intervals, over items or over groups of items.
//!
//! Trials of one image are not independent: an interval that resamples trials is too narrow. So
//! items are resampled by group where there are groups ([`Resampling::groups`]), and mice before images
//! where there are several mice ([`Resampling::nested`]).

mod resampling;

use std::fmt;

use dina_core::Seed;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    distribution::{normal_cdf, normal_quantile},
    proportion::check_level,
    sentence::{Ci, Number},
};

pub use resampling::Resampling;

/// How an interval was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    /// Quantiles of the replicates.
    Percentile,
    /// Bias-corrected and accelerated.
    Bca,
    /// BCa was asked for but is not defined here (all replicates on one side of the estimate, or a
    /// jackknife without variance), so these are plain quantiles.
    PercentileDegenerate,
}

/// A bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The statistic of the data themselves.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Nominal coverage.
    pub level: f64,
    /// How it was made.
    pub method: IntervalMethod,
    /// Number of bootstrap replicates.
    pub replicates: usize,
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.method {
            IntervalMethod::Percentile => "percentile",
            IntervalMethod::Bca => "BCa",
            IntervalMethod::PercentileDegenerate => "percentile, BCa being undefined",
        };
        let ci = Ci { low: self.low, high: self.high, level: self.level };
        write!(f, "{}, {ci} ({how} bootstrap, {} replicates)", Number(self.estimate), self.replicates)
    }
}

/// How to bootstrap. The default is 2,000 replicates, level 0.95, BCa.
///
/// Intervals from few units are too narrow: of 95 % intervals of a normal mean, 94 % cover with 40 units and 86 %
/// with 6 (`examples/coverage.rs`). For six mice prefer [`crate::comparison::Paired`] or [`crate::meta`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Number of replicates.
    pub replicates: usize,
    /// Nominal coverage, in (0, 1).
    pub level: f64,
    /// Whether to correct for bias and acceleration; otherwise plain percentiles.
    pub bca: bool,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { replicates: 2000, level: 0.95, bca: true }
    }
}

impl Bootstrap {
    /// The interval of `statistic`, which is given the indices of the items drawn (with repetition).
    ///
    /// # Errors
    /// [`Error::TooFew`] for fewer than two units or no replicate, [`Error::Value`] for a level
    /// outside (0, 1), [`Error::NotFinite`] when the statistic is not finite on some resample.
    pub fn interval(
        &self,
        resampling: &Resampling,
        statistic: impl Fn(&[usize]) -> f64 + Sync,
        seed: Seed,
    ) -> Result<Interval> {
        Error::at_least("units to resample", 2, resampling.smallest())?;
        Error::at_least("bootstrap replicates", 1, self.replicates)?;
        let estimate = statistic(&resampling.all());
        let replicates: Vec<f64> = (0..self.replicates)
            .into_par_iter()
            .map(|b| statistic(&resampling.draw(&mut seed.index(b).stream("bootstrap"))))
            .collect();
        let jackknife: Option<Vec<Vec<f64>>> = self.bca.then(|| {
            let left_out = resampling.jackknife();
            left_out.par_iter().map(|s| s.par_iter().map(|items| statistic(items)).collect()).collect()
        });
        interval_by_sample(estimate, &replicates, jackknife.as_deref(), self.level)
    }
}

/// The interval from replicates that were computed elsewhere: BCa where the leave-one-unit-out
/// statistics are given, else percentile.
///
/// With z0 = Phi^-1([#{t* < t} + #{t* = t}/2] / B), d_i = mean(t_(.)) - t_(i) over the jackknife and
/// a = sum d^3 / (6 (sum d^2)^(3/2)), the ends are the quantiles at
/// alpha' = Phi(z0 + (z0 + z_alpha) / (1 - a (z0 + z_alpha))) (Efron 1987; as in scipy). Quantiles
/// interpolate linearly between order statistics.
///
/// # Errors
/// [`Error::TooFew`] without replicates or with fewer than two jackknife values,
/// [`Error::NotFinite`], [`Error::Value`] for the level.
pub fn interval(
    estimate: f64,
    replicates: &[f64],
    jackknife: Option<&[f64]>,
    level: f64,
) -> Result<Interval> {
    let jackknife = jackknife.map(|values| vec![values.to_vec()]);
    interval_by_sample(estimate, replicates, jackknife.as_deref(), level)
}

/// [`interval`] with one jackknife a sample: d_i of a sample of n is then scaled by (n - 1)/n, as in scipy.
fn interval_by_sample(
    estimate: f64,
    replicates: &[f64],
    jackknife: Option<&[Vec<f64>]>,
    level: f64,
) -> Result<Interval> {
    check_level(level)?;
    Error::at_least("bootstrap replicates", 1, replicates.len())?;
    Error::all_finite("statistic of the data", [estimate])?;
    Error::all_finite("bootstrap replicates", replicates.iter().copied())?;
    let tail = (1.0 - level) / 2.0;
    let mut probabilities = [tail, 1.0 - tail];
    let mut method = IntervalMethod::Percentile;
    if let Some(jackknife) = jackknife {
        for sample in jackknife {
            Error::at_least("jackknife values", 2, sample.len())?;
            Error::all_finite("jackknife values", sample.iter().copied())?;
        }
        match bca_probabilities(estimate, replicates, jackknife, probabilities) {
            Some(corrected) => {
                probabilities = corrected;
                method = IntervalMethod::Bca;
            }
            None => method = IntervalMethod::PercentileDegenerate,
        }
    }
    let mut sorted = replicates.to_vec();
    sorted.sort_by(f64::total_cmp);
    Ok(Interval {
        estimate,
        low: quantile(&sorted, probabilities[0]),
        high: quantile(&sorted, probabilities[1]),
        level,
        method,
        replicates: replicates.len(),
    })
}

/// `None` where the correction is not defined.
fn bca_probabilities(
    estimate: f64,
    replicates: &[f64],
    jackknife: &[Vec<f64>],
    probabilities: [f64; 2],
) -> Option<[f64; 2]> {
    let below = replicates.iter().filter(|&&t| t < estimate).count() as f64;
    let equal = replicates.iter().filter(|&&t| t == estimate).count() as f64;
    let z0 = normal_quantile((below + equal / 2.0) / replicates.len() as f64);
    let influence: Vec<f64> = jackknife
        .iter()
        .flat_map(|sample| {
            let n = sample.len() as f64;
            let mean = sample.iter().sum::<f64>() / n;
            sample.iter().map(move |t| (n - 1.0) / n * (mean - t))
        })
        .collect();
    let squares: f64 = influence.iter().map(|d| d.powi(2)).sum();
    let cubes: f64 = influence.iter().map(|d| d.powi(3)).sum();
    let acceleration = cubes / (6.0 * squares.powf(1.5));
    if !z0.is_finite() || !acceleration.is_finite() {
        return None;
    }
    let corrected = probabilities.map(|p| {
        let z = z0 + normal_quantile(p);
        let denominator = 1.0 - acceleration * z;
        (denominator > 0.0).then(|| normal_cdf(z0 + z / denominator))
    });
    match corrected {
        [Some(low), Some(high)] => Some([low, high]),
        _ => None,
    }
}

/// Linear interpolation between order statistics (Hyndman and Fan's type 7, numpy's default).
fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let position = probability * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn mean_of(data: &[f64]) -> impl Fn(&[usize]) -> f64 + Sync + '_ {
        |items| items.iter().map(|&i| data[i]).sum::<f64>() / items.len() as f64
    }

    /// Computed with scipy 1.17.1 (`scipy.stats.norm`) and `numpy.quantile` from the formula above:
    /// replicates sin(i) + 0.3 for i = 0..999, estimate 0.2, jackknife values i^2/100 for i = 0..19.
    #[test]
    fn bca_as_scipy() {
        let replicates: Vec<f64> = (0..1000).map(|i| f64::from(i).sin() + 0.3).collect();
        let jackknife: Vec<f64> = (0..20).map(|i| f64::from(i * i) / 100.0).collect();
        let found = interval(0.2, &replicates, Some(&jackknife), 0.9).unwrap();
        assert_eq!(found.method, IntervalMethod::Bca);
        assert_relative_eq!(found.low, -0.695_686_487_671_715_9, max_relative = 1e-12);
        assert_relative_eq!(found.high, 1.270_008_072_684_540_2, max_relative = 1e-12);
    }

    #[test]
    fn degenerate_is_labelled() {
        let found = interval(5.0, &[1.0, 2.0, 3.0], Some(&[1.0, 2.0]), 0.5).unwrap();
        assert_eq!(found.method, IntervalMethod::PercentileDegenerate);
        assert_eq!((found.low, found.high), (1.5, 2.5));
        let constant = Bootstrap::default().interval(&Resampling::items(4), |_| 1.0, Seed::new(0)).unwrap();
        assert_eq!(constant.method, IntervalMethod::PercentileDegenerate);
        assert_eq!((constant.low, constant.high), (1.0, 1.0));
    }

    /// Ten identical trials an image hold no more than one: the interval must not shrink.
    #[test]
    fn copies_do_not_narrow_a_grouped_interval() {
        let mut rng = Seed::new(1).stream("data");
        let images: Vec<f64> = (0..30).map(|_| StandardNormal.sample(&mut rng)).collect();
        let trials: Vec<f64> = images.iter().flat_map(|&v| [v; 10]).collect();
        let groups: Vec<usize> = (0..300).map(|i| i / 10).collect();
        let bootstrap = Bootstrap::default();
        let by_image =
            bootstrap.interval(&Resampling::groups(&groups), mean_of(&trials), Seed::new(2)).unwrap();
        let single = bootstrap.interval(&Resampling::items(30), mean_of(&images), Seed::new(2)).unwrap();
        assert_relative_eq!(by_image.low, single.low, epsilon = 1e-9);
        assert_relative_eq!(by_image.high, single.high, epsilon = 1e-9);
    }

    /// The hierarchical interval of a mean over mice is as wide as mice differ, however many images.
    #[test]
    fn images_do_not_stand_in_for_mice() {
        let mut rng = Seed::new(8).stream("data");
        let mice = 12;
        let images = 40;
        let effects: Vec<f64> = (0..mice).map(|_| StandardNormal.sample(&mut rng)).collect();
        let data: Vec<f64> = (0..mice * images)
            .map(|i| {
                let noise: f64 = StandardNormal.sample(&mut rng);
                effects[i / images] + 0.1 * noise
            })
            .collect();
        let mouse: Vec<usize> = (0..data.len()).map(|i| i / images).collect();
        let image: Vec<usize> = (0..data.len()).map(|i| i % images).collect();
        let bootstrap = Bootstrap { bca: false, ..Bootstrap::default() };
        let width = |resampling: &Resampling| {
            let found = bootstrap.interval(resampling, mean_of(&data), Seed::new(1)).unwrap();
            found.high - found.low
        };
        let mean = effects.iter().sum::<f64>() / mice as f64;
        let sd = (effects.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / mice as f64).sqrt();
        let expected = 2.0 * 1.96 * sd / (mice as f64).sqrt();
        assert_relative_eq!(width(&Resampling::nested(&mouse, &image)), expected, max_relative = 0.1);
        assert!(width(&Resampling::items(data.len())) < expected / 3.0);
    }

    /// The interval of a normal mean covers it about as often as it says.
    #[test]
    fn covers_at_its_level() {
        let bootstrap = Bootstrap { replicates: 400, level: 0.9, bca: true };
        let covered = (0..300)
            .filter(|&run| {
                let seed = Seed::new(11).index(run);
                let mut rng = seed.stream("data");
                let data: Vec<f64> = (0..40).map(|_| StandardNormal.sample(&mut rng)).collect();
                let found = bootstrap.interval(&Resampling::items(40), mean_of(&data), seed).unwrap();
                found.low < 0.0 && 0.0 < found.high
            })
            .count();
        // 270 expected; the bounds are four standard deviations of a binomial, and small-sample
        // undercoverage of some percent.
        assert!((240..=291).contains(&covered), "{covered} of 300");
    }

    #[test]
    fn any_number_of_threads_gives_the_same_interval() {
        let data: Vec<f64> = (0..50).map(|i| f64::from(i).cos()).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                Bootstrap::default().interval(&Resampling::items(50), mean_of(&data), Seed::new(3))
            })
        };
        assert_eq!(run(1), run(4));
    }

    #[test]
    fn refuses_nonsense() {
        let single = Bootstrap::default().interval(&Resampling::within(&[0, 1, 1]), |_| 0.0, Seed::new(0));
        assert!(matches!(single, Err(Error::TooFew { .. })));
        let bootstrap = Bootstrap::default();
        assert!(matches!(
            bootstrap.interval(&Resampling::items(1), |_| 0.0, Seed::new(0)),
            Err(Error::TooFew { .. })
        ));
        assert!(matches!(
            bootstrap.interval(&Resampling::items(3), |_| f64::NAN, Seed::new(0)),
            Err(Error::NotFinite { .. })
        ));
        assert!(interval(0.0, &[1.0], None, 1.0).is_err());
    }
}
