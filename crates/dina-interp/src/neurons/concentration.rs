use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    bootstrap::{Bootstrap, Interval, Resampling},
    permutation::{Tail, p_value},
    sparseness,
};
use ndarray::{Array1, ArrayView2};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ContributionConfig;
use crate::{Result, score::check_finite};

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
}

impl fmt::Display for Concentration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// How concentrated the contributions are, from those of single images ([`super::Contributions::by_image`], images x neurons).
///
/// Sampling noise alone makes contributions unequal, so an index says nothing by itself. The null deals the contributions
/// of each image anew among the neurons: all then contribute equally, with the same noise. Contributions
/// are positive parts of means over images. The bootstrap interval shares the upward bias of the index
/// by noise; compare it with the null range, which has that bias too.
///
/// # Errors
/// For fewer than three images or two neurons, values that are not finite, or where no neuron contributes anything.
pub fn concentration(
    by_image: ArrayView2<'_, f32>,
    config: &ContributionConfig,
    seed: Seed,
) -> Result<Concentration> {
    let (images, neurons) = by_image.dim();
    if images < 3 || neurons < 2 {
        let expected = "at least [3 images, 2 neurons]";
        return Err(CoreError::shape("contributions of images", expected, by_image.shape()).into());
    }
    if config.permutations == 0 {
        return Err(CoreError::value("permutations", "at least 1", 0).into());
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
    Ok(Concentration {
        neurons,
        images,
        gini,
        sparseness: sparse,
        null_gini: crate::score::mean(&null),
        null_low: at(tail),
        null_high: at(1. - tail),
        p,
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::testing::noise2;

    fn terms(size: impl Fn(usize) -> f32) -> Array2<f32> {
        let mut terms = noise2("terms", [60, 40]);
        terms.columns_mut().into_iter().enumerate().for_each(|(n, mut c)| c += size(n));
        terms
    }

    #[test]
    fn few_that_carry_all_differ_from_all_that_carry_little() {
        let config = ContributionConfig { permutations: 300, replicates: 200, ..Default::default() };
        let sparse = terms(|n| if n < 2 { 10. } else { 0. });
        let sparse = concentration(sparse.view(), &config, Seed::new(1)).unwrap();
        let dense = concentration(terms(|_| 0.5).view(), &config, Seed::new(1)).unwrap();
        assert!(sparse.gini.low > 0.8 && sparse.p < 0.01 && sparse.sparseness.low > 0.8, "{sparse}");
        assert!(dense.p > 0.05 && dense.gini.high < 0.4, "{dense}");
        assert!((dense.null_low..=dense.null_high).contains(&dense.gini.estimate), "{dense}");
    }

    #[test]
    fn nothing_to_concentrate_is_an_error() {
        let config = ContributionConfig::default();
        assert!(concentration(Array2::zeros((10, 4)).view(), &config, Seed::new(1)).is_err());
        assert!(concentration(Array2::zeros((2, 4)).view(), &config, Seed::new(1)).is_err());
    }
}
