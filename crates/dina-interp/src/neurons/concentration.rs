use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    bootstrap::{self, Bootstrap, Interval, Resampling},
    linalg::matmul,
    permutation::{Tail, p_value},
    sparseness,
};
use ndarray::Array1;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Contributions, contribution::resample_counts};
use crate::{Result, score::check_finite};

/// How [`concentration`] tests, and what it calls few and many.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ConcentrationConfig {
    /// Deals of the null of equal neurons.
    pub permutations: usize,
    /// Bootstrap replicates over images.
    pub replicates: usize,
    /// Coverage of the intervals.
    pub level: f64,
    /// Few carry the alignment where the whole interval of the effective share of neurons is below this.
    pub few_below: f64,
    /// Many do where all of it is above this.
    pub many_above: f64,
}

impl Default for ConcentrationConfig {
    /// 1,000 deals and replicates, 95 %; few below a quarter of the neurons, many above half of them.
    fn default() -> Self {
        Self { permutations: 1000, replicates: 1000, level: 0.95, few_below: 0.25, many_above: 0.5 }
    }
}

/// The verdict on how many neurons carry the alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Carriers {
    /// The interval of the effective share of neurons is below the limit, and contributions are more unequal than chance
    /// makes them.
    Few,
    /// It is above the limit.
    Many,
    /// It crosses a limit, or lies between the two.
    Undecided,
    /// No neuron contributes for sure, so that there is nothing to be concentrated.
    NoEvidence,
}

/// How unequally neurons contribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Concentration {
    /// Neurons.
    pub neurons: usize,
    /// Images.
    pub images: usize,
    /// Gini's index of the positive contributions (negative ones count as zero), with an interval over images.
    pub gini: Interval,
    /// Vinje and Gallant's sparseness of them, with an interval over images.
    pub sparseness: Interval,
    /// Mean Gini index under the null of equal neurons.
    pub null_gini: f64,
    /// Lower end of the central range of the null.
    pub null_low: f64,
    /// Upper end.
    pub null_high: f64,
    /// One-sided p of no more concentration than equal neurons show by chance.
    pub p: f64,
    /// Effective number of neurons without the part of it that is noise, with an interval over images.
    pub effective: Interval,
    /// What follows.
    pub carriers: Carriers,
}

impl fmt::Display for Concentration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let carriers = match self.carriers {
            Carriers::Few => "few neurons carry the alignment",
            Carriers::Many => "many neurons carry the alignment",
            Carriers::Undecided => "neither few nor many carriers for sure",
            Carriers::NoEvidence => "no evidence that any neuron contributes",
        };
        write!(
            f,
            "{carriers}: effectively {:.1} ({:.1} to {:.1}) of {}; ",
            self.effective.estimate, self.effective.low, self.effective.high, self.neurons
        )?;
        write!(
            f,
            "Gini index {:.3} ({} % interval {:.3} to {:.3}) over {} neurons; equally strong neurons would show {:.3} \
             ({:.3} to {:.3}), p = {:.4}",
            self.gini.estimate,
            self.gini.level * 100.,
            self.gini.low,
            self.gini.high,
            self.neurons,
            self.null_gini,
            self.null_low,
            self.null_high,
            self.p
        )
    }
}

/// How concentrated contributions are.
///
/// The effective number of neurons is the participation ratio (sum c_n)^2 / sum c_n^2: k where k neurons contribute alike and the others
/// nothing. Noise adds its variance to every square, which makes few look like many, so each square is taken less
/// the variance that its contribution has by chance ([`Contributions::noise`]), and in the bootstrap also less that
/// of the replicates. The whole interval against fixed shares of the neurons says few or many, so that absence of
/// evidence for one is not taken for evidence of the other.
///
/// Gini's index and sparseness are of the positive parts of the contributions, noise and all. Noise alone makes contributions unequal, so
/// an index says nothing by itself. Its null deals the contributions of each image anew among the neurons: all then contribute
/// equally, with the same noise. The bootstrap interval shares the upward bias of the index by noise; compare it
/// with the null range, which has that bias too.
///
/// Needs [`Contributions::by_image`], which files do not hold.
///
/// # Errors
/// For fewer than three images or two neurons, values that are not finite, impossible limits, or where no neuron contributes anything.
pub fn concentration(
    contributions: &Contributions,
    config: &ConcentrationConfig,
    seed: Seed,
) -> Result<Concentration> {
    let by_image = contributions.by_image.view();
    let (images, neurons) = by_image.dim();
    if images < 3 || neurons < 2 || contributions.noise.len() != neurons {
        let expected = "at least [3 images, 2 neurons], as many as there are standard deviations of noise";
        return Err(CoreError::shape("contributions of images", expected, by_image.shape()).into());
    }
    if config.permutations == 0 {
        return Err(CoreError::value("permutations", "at least 1", 0).into());
    }
    if !(0. < config.few_below && config.few_below <= config.many_above && config.many_above < 1.) {
        let found = format!("{} and {}", config.few_below, config.many_above);
        return Err(CoreError::value("limits of few and many", "0 < few <= many < 1", found).into());
    }
    check_finite("contributions of images", by_image)?;
    let positive = |items: &[usize]| {
        let mut sums = vec![0.; neurons];
        for &i in items {
            sums.iter_mut().zip(by_image.row(i)).for_each(|(sum, &v)| *sum += f64::from(v));
        }
        Array1::from_iter(sums.into_iter().map(|sum| sum.max(0.)))
    };
    // A resample without any positive contribution is as even as can be.
    let even = |index: dina_stats::Result<f64>| index.unwrap_or(0.);
    let all: Vec<usize> = (0..images).collect();
    sparseness::gini(positive(&all).view())?;
    let bootstrap = Bootstrap { replicates: config.replicates, level: config.level, bca: false };
    let units = Resampling::items(images);
    let gini = bootstrap.interval(
        &units,
        |items| even(sparseness::gini(positive(items).view())),
        seed.child("gini"),
    )?;
    let sparse = bootstrap.interval(
        &units,
        |items| even(sparseness::vinje_gallant(positive(items).view())),
        seed.child("sparseness"),
    )?;
    let mut null: Vec<f64> = (0..config.permutations)
        .into_par_iter()
        .map(|b| {
            let mut stream = seed.index(b).stream("equal neurons");
            let mut sums = vec![0.; neurons];
            let mut dealt = vec![0.; neurons];
            for row in by_image.outer_iter() {
                dealt.iter_mut().zip(row).for_each(|(to, &from)| *to = from);
                dealt.shuffle(&mut stream);
                sums.iter_mut().zip(&dealt).for_each(|(sum, &v)| *sum += f64::from(v));
            }
            let positive = Array1::from_iter(sums.into_iter().map(|sum| sum.max(0.)));
            even(sparseness::gini(positive.view()))
        })
        .collect();
    let p = p_value(gini.estimate, &null, Tail::Greater, false)?;
    null.sort_unstable_by(f64::total_cmp);
    let at = |q: f64| null[(q * (null.len() - 1) as f64).round() as usize];
    let tail = (1. - config.level) / 2.;
    let effective = effective(contributions, config, seed.child("effective"))?;
    let share = |value: f64| value / neurons as f64;
    let alpha = 1. - config.level;
    let carriers = if contributions.significant(alpha).is_empty() {
        Carriers::NoEvidence
    } else if share(effective.high) < config.few_below && p <= alpha {
        Carriers::Few
    } else if share(effective.low) > config.many_above {
        Carriers::Many
    } else {
        Carriers::Undecided
    };
    Ok(Concentration {
        neurons,
        images,
        gini,
        sparseness: sparse,
        null_gini: crate::score::mean(&null),
        null_low: at(tail),
        null_high: at(1. - tail),
        p,
        effective,
        carriers,
    })
}

/// Effective number of neurons with a percentile interval over images.
fn effective(contributions: &Contributions, config: &ConcentrationConfig, seed: Seed) -> Result<Interval> {
    let by_image = contributions.by_image.view();
    let (images, neurons) = by_image.dim();
    let counts = resample_counts(images, config.replicates, seed);
    let drawn = matmul(counts.view(), by_image)?;
    let noise: Vec<f64> = contributions.noise.iter().map(|v| v * v).collect();
    let spread: Vec<f64> = drawn.columns().into_iter().map(|c| c.mapv(f64::from).var(0.)).collect();
    let ratio = |values: &mut dyn Iterator<Item = f64>, variance: &dyn Fn(usize) -> f64| {
        let (mut sum, mut squares) = (0., 0.);
        for (n, value) in values.enumerate() {
            sum += value;
            squares += value * value - variance(n);
        }
        // Where nothing but noise is left, all neurons are alike.
        if squares > 0. { (sum.max(0.).powi(2) / squares).clamp(1., neurons as f64) } else { neurons as f64 }
    };
    let estimate = ratio(&mut contributions.neurons.iter().map(|n| n.estimate), &|n| noise[n]);
    let replicates: Vec<f64> = drawn
        .outer_iter()
        .map(|row| ratio(&mut row.iter().map(|&v| f64::from(v)), &|n| noise[n] + spread[n]))
        .collect();
    Ok(bootstrap::interval(estimate, &replicates, None, config.level)?)
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::{neurons::NeuronContribution, testing::noise2};

    /// Contributions with noise of variance 1 in 60 images, of which `found` say that somebody contributes.
    fn contributions(size: impl Fn(usize) -> f32, found: bool) -> Contributions {
        let mut by_image = noise2("terms", [60, 40]);
        by_image.columns_mut().into_iter().enumerate().for_each(|(n, mut c)| c += size(n));
        let estimates: Vec<f64> =
            by_image.columns().into_iter().map(|c| f64::from(c.sum()) / c.len() as f64).collect();
        let p_adjusted = if found { 0.01 } else { 1. };
        let neuron =
            |&estimate: &f64| NeuronContribution { estimate, low: estimate, high: estimate, p_adjusted };
        Contributions {
            total: estimates.iter().sum(),
            alignment: Vec::new(),
            matrix: Vec::new(),
            neurons: estimates.iter().map(neuron).collect(),
            level: 0.95,
            permutations: 99,
            noise: vec![60f64.sqrt().recip(); 40],
            by_image,
        }
    }

    #[test]
    fn few_that_carry_all_differ_from_all_that_carry_little() {
        let config = ConcentrationConfig { permutations: 300, replicates: 200, ..Default::default() };
        let sparse = contributions(|n| if n < 2 { 10. } else { 0. }, true);
        let sparse = concentration(&sparse, &config, Seed::new(1)).unwrap();
        let dense = concentration(&contributions(|_| 0.5, true), &config, Seed::new(1)).unwrap();
        assert!(sparse.gini.low > 0.8 && sparse.p < 0.01 && sparse.sparseness.low > 0.8, "{sparse}");
        assert!(dense.p > 0.05 && dense.gini.high < 0.4, "{dense}");
        assert!((dense.null_low..=dense.null_high).contains(&dense.gini.estimate), "{dense}");
        assert_eq!((sparse.carriers, dense.carriers), (Carriers::Few, Carriers::Many));
        // Two that contribute alike, and 40. The sum of the noise of 38 others has a standard deviation of 0.8 beside 20, so
        // that of the ratio is 0.16.
        assert!((sparse.effective.estimate - 2.).abs() < 0.6, "{sparse}");
        assert!(dense.effective.estimate > 37., "{dense}");
    }

    #[test]
    fn half_of_the_neurons_are_neither_and_nobody_is_no_evidence() {
        let config = ConcentrationConfig { permutations: 100, replicates: 100, ..Default::default() };
        let half =
            concentration(&contributions(|n| if n < 16 { 2. } else { 0. }, true), &config, Seed::new(1));
        let half = half.unwrap();
        assert_eq!(half.carriers, Carriers::Undecided, "{half}");
        assert!((half.effective.estimate - 16.).abs() < 3., "{half}");
        let none = concentration(&contributions(|_| 0., false), &config, Seed::new(1)).unwrap();
        assert_eq!(none.carriers, Carriers::NoEvidence);
        assert!(none.to_string().starts_with("no evidence"), "{none}");
    }

    #[test]
    fn nothing_to_concentrate_is_an_error() {
        let config = ConcentrationConfig::default();
        let with = |by_image: Array2<f32>| Contributions { by_image, ..contributions(|_| 1., true) };
        assert!(concentration(&with(Array2::zeros((10, 40))), &config, Seed::new(1)).is_err());
        assert!(concentration(&with(Array2::zeros((2, 40))), &config, Seed::new(1)).is_err());
        assert!(concentration(&with(Array2::zeros((10, 4))), &config, Seed::new(1)).is_err());
        let limits = ConcentrationConfig { few_below: 0.6, ..config };
        assert!(concentration(&contributions(|_| 1., true), &limits, Seed::new(1)).is_err());
    }
}
