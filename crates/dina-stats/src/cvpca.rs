//! Cross-validated principal components (Stringer et al. 2019).
//!
//! Components are found in one repeat and their variance is measured as a product with the other,
//! so that noise, which does not repeat, averages out.

use std::fmt;

use dina_core::Seed;
use ndarray::{Array1, Array2, ArrayView2, Axis, Zip, concatenate};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    linalg::{matmul, symmetric_eigen},
};

/// What exchanges its two repeats at random, so that neither repeat is always the one in which components are
/// found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Swap {
    /// Each stimulus, for all neurons: responses of one trial stay together, with their noise correlations.
    Stimulus,
    /// Each neuron, for all stimuli: noise that neurons share in one repeat is torn apart.
    Neuron,
}

/// The cross-validated eigenspectrum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Eigenspectrum {
    /// lambda_n = sum over stimuli of (x1 . u_n)(x2 . u_n), by rank; may be negative where there is
    /// only noise.
    pub values: Vec<f64>,
    /// Number of random swaps of repeats that it is the mean of.
    pub swaps: usize,
    /// What was swapped.
    pub swap: Swap,
}

/// The cross-validated eigenspectrum of two repeats.
///
/// - `first`, `second`: stimuli x neurons, repeat 1 and 2; each is centred over stimuli here.
/// - `swap`, `swaps`: in each of so many rounds the two repeats of every stimulus (or of every neuron) are
///   exchanged with probability one half, and the spectra are averaged.
///
/// With [`Swap::Stimulus`] everything is read off one stimuli x stimuli product, so the cost grows with
/// stimuli^3 per swap and only once with the number of neurons; [`Swap::Neuron`] makes the product anew
/// in each round. There are min(stimuli - 1, neurons) components.
///
/// # Errors
/// [`Error::TooFew`] below three stimuli or without swaps, [`Error::Shape`], [`Error::NotFinite`].
pub fn eigenspectrum(
    first: ArrayView2<f32>,
    second: ArrayView2<f32>,
    swap: Swap,
    swaps: usize,
    seed: Seed,
) -> Result<Eigenspectrum> {
    let (stimuli, neurons) = first.dim();
    if second.dim() != first.dim() {
        return Err(Error::shape("second repeat", first.dim(), second.dim()));
    }
    Error::at_least("stimuli", 3, stimuli)?;
    Error::at_least("swaps", 1, swaps)?;
    for (what, repeat) in [("first repeat", first), ("second repeat", second)] {
        Error::all_finite(what, repeat.iter().map(|&v| f64::from(v)))?;
    }
    let gram = match swap {
        Swap::Stimulus => Some(stacked_gram(first, second)?),
        Swap::Neuron => None,
    };
    let mut values = vec![0.0; neurons.min(stimuli - 1)];
    for round in 0..swaps {
        let mut rng = seed.index(round).stream("cvpca");
        let mut draw = |number: usize| -> Vec<bool> { (0..number).map(|_| rng.random()).collect() };
        let spectrum = match &gram {
            Some(gram) => one_spectrum(gram, &draw(stimuli))?,
            None => {
                let (first, second) = swapped_neurons(first, second, &draw(neurons));
                one_spectrum(&stacked_gram(first.view(), second.view())?, &vec![false; stimuli])?
            }
        };
        for (sum, value) in values.iter_mut().zip(spectrum) {
            *sum += value / swaps as f64;
        }
    }
    Ok(Eigenspectrum { values, swaps, swap })
}

/// The two repeats, some columns of which change places.
fn swapped_neurons(
    first: ArrayView2<f32>,
    second: ArrayView2<f32>,
    swapped: &[bool],
) -> (Array2<f32>, Array2<f32>) {
    let (mut a, mut b) = (first.to_owned(), second.to_owned());
    Zip::from(a.rows_mut()).and(b.rows_mut()).par_for_each(|a, b| {
        for ((a, b), &swapped) in a.into_iter().zip(b).zip(swapped) {
            if swapped {
                std::mem::swap(a, b);
            }
        }
    });
    (a, b)
}

/// All products between the rows of both repeats. Neurons are centred over both together first,
/// which the centring of each repeat undoes, but which keeps the f32 product accurate.
fn stacked_gram(first: ArrayView2<f32>, second: ArrayView2<f32>) -> Result<Array2<f32>> {
    let mut both = concatenate(Axis(0), &[first, second])
        .map_err(|error| Error::shape("second repeat", error.to_string(), second.dim()))?;
    let rows = both.nrows() as f64;
    let mut sums = Array1::<f64>::zeros(both.ncols());
    for row in both.rows() {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    let mean = sums.mapv(|sum| (sum / rows) as f32);
    both.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut row| row -= &mean);
    matmul(both.view(), both.t())
}

/// With X1 X1' = V L V', the components are u_n = X1' v_n / sqrt(L_n), so that
/// lambda_n = sum_s (X1 u_n)_s (X2 u_n)_s = v_n' (X2 X1') v_n.
fn one_spectrum(gram: &Array2<f32>, swapped: &[bool]) -> Result<Vec<f64>> {
    let stimuli = swapped.len();
    let row = |stimulus: usize, repeat: usize| stimulus + stimuli * (repeat ^ usize::from(swapped[stimulus]));
    let block = |of: usize| {
        let mut block =
            Array2::from_shape_fn((stimuli, stimuli), |(s, t)| f64::from(gram[[row(s, of), row(t, 0)]]));
        centre_both_sides(&mut block);
        block
    };
    let eigen = symmetric_eigen(block(0).view())?;
    let crossed = matmul(block(1).view(), eigen.vectors.view())?;
    Ok(eigen.vectors.columns().into_iter().zip(crossed.columns()).map(|(v, mv)| v.dot(&mv)).collect())
}

/// H G H with H = I - 1 1'/n: the product of centred rows.
fn centre_both_sides(gram: &mut Array2<f64>) {
    for axis in [Axis(0), Axis(1)] {
        if let Some(mean) = gram.mean_axis(axis) {
            *gram -= &mean.insert_axis(axis);
        }
    }
}

/// How ranks are weighted in the fit of a power law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FitWeights {
    /// 1/n, so that each octave of ranks counts as much (Stringer et al. 2019).
    InverseRank,
    /// All alike, so that the last octave counts as much as all others together.
    Equal,
}

/// A power law lambda_n ~ n^-exponent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerLaw {
    /// The exponent alpha.
    pub exponent: f64,
    /// First and last rank of the window, counted from 1, both inside.
    pub window: [usize; 2],
    /// How ranks were weighted.
    pub weights: FitWeights,
    /// Ranks of the window left out because their value is not positive and has no logarithm. Many of
    /// them mean that the window reaches into noise and that the exponent is too small.
    pub left_out: usize,
}

impl fmt::Display for PowerLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weights = match self.weights {
            FitWeights::InverseRank => "1/rank",
            FitWeights::Equal => "equal",
        };
        let [first, last] = self.window;
        write!(
            f,
            "exponent {:.3} over ranks {first} to {last} (log-log least squares, {weights} weights, {} ranks left \
             out)",
            self.exponent, self.left_out
        )
    }
}

impl Eigenspectrum {
    /// The exponent by least squares of log lambda_n on log n, each rank weighted by 1/n, over the ranks
    /// `first..=last` counted from 1 (Stringer et al. use 11 to 500).
    ///
    /// # Errors
    /// As [`Eigenspectrum::exponent_weighted`].
    pub fn exponent(&self, first: usize, last: usize) -> Result<PowerLaw> {
        self.exponent_weighted(first, last, FitWeights::InverseRank)
    }

    /// As [`Eigenspectrum::exponent`], with a choice of weights.
    ///
    /// # Errors
    /// [`Error::Value`] for a window outside the spectrum, [`Error::TooFew`] when fewer than two of its
    /// ranks are positive.
    pub fn exponent_weighted(&self, first: usize, last: usize, weights: FitWeights) -> Result<PowerLaw> {
        if first == 0 || last < first || last > self.values.len() {
            return Err(Error::value(
                "rank window",
                format!("within 1 to {}", self.values.len()),
                format!("{first} to {last}"),
            ));
        }
        let points: Vec<(f64, f64, f64)> = (first..=last)
            .map(|rank| (rank as f64, self.values[rank - 1]))
            .filter(|(_, value)| *value > 0.0)
            .map(|(rank, value)| {
                let weight = match weights {
                    FitWeights::InverseRank => 1.0 / rank,
                    FitWeights::Equal => 1.0,
                };
                (rank.ln(), value.ln(), weight)
            })
            .collect();
        Error::at_least("positive ranks in the window", 2, points.len())?;
        let weight: f64 = points.iter().map(|p| p.2).sum();
        let x_mean = points.iter().map(|p| p.2 * p.0).sum::<f64>() / weight;
        let y_mean = points.iter().map(|p| p.2 * p.1).sum::<f64>() / weight;
        let xy: f64 = points.iter().map(|p| p.2 * (p.0 - x_mean) * (p.1 - y_mean)).sum();
        let xx: f64 = points.iter().map(|p| p.2 * (p.0 - x_mean).powi(2)).sum();
        let left_out = last - first + 1 - points.len();
        Ok(PowerLaw { exponent: -xy / xx, window: [first, last], weights, left_out })
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::Array;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
        let mut rng = Seed::new(seed).stream("normals");
        Array::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
    }

    /// Without noise it is the spectrum of the centred data: here of independent columns scaled by
    /// n^-a, made orthogonal by construction.
    #[test]
    fn noise_free_is_the_plain_spectrum() {
        let mut x = normals(40, 12, 1);
        x += 3.0;
        let found = eigenspectrum(x.view(), x.view(), Swap::Stimulus, 2, Seed::new(0)).unwrap();
        let centred = &x - &x.mean_axis(Axis(0)).unwrap();
        let covariance = centred.t().dot(&centred).mapv(f64::from);
        let expected = symmetric_eigen(covariance.view()).unwrap().values;
        assert_eq!(found.values.len(), 12);
        for (f, e) in found.values.iter().zip(&expected) {
            assert_relative_eq!(f, e, max_relative = 1e-4);
        }
    }

    #[test]
    fn noise_alone_averages_to_nothing() {
        let (a, b) = (normals(60, 200, 2), normals(60, 200, 3));
        let found = eigenspectrum(a.view(), b.view(), Swap::Stimulus, 4, Seed::new(0)).unwrap();
        let total: f64 = found.values.iter().sum();
        assert_eq!(found.values.len(), 59);
        // The plain spectrum would sum to about 59 * 200.
        assert!(total.abs() < 0.05 * 59.0 * 200.0, "{total}");
    }

    /// Both ways of swapping see the same signal.
    #[test]
    fn swapping_neurons_agrees_on_private_noise() {
        let mut signal = normals(80, 30, 7);
        for (n, mut column) in signal.columns_mut().into_iter().enumerate() {
            column *= (n as f32 + 1.0).powf(-0.5);
        }
        let (a, b) = (&signal + &(normals(80, 30, 8) * 0.1), &signal + &(normals(80, 30, 9) * 0.1));
        let by = |swap| eigenspectrum(a.view(), b.view(), swap, 3, Seed::new(0)).unwrap();
        let (stimuli, neurons) = (by(Swap::Stimulus), by(Swap::Neuron));
        assert_eq!(neurons.swap, Swap::Neuron);
        for (s, n) in stimuli.values.iter().zip(&neurons.values).take(10) {
            assert_relative_eq!(s, n, max_relative = 0.05);
        }
        // Without noise there is nothing to swap.
        let same = |swap| eigenspectrum(a.view(), a.view(), swap, 1, Seed::new(0)).unwrap().values;
        for (s, n) in same(Swap::Stimulus).iter().zip(&same(Swap::Neuron)) {
            assert_relative_eq!(s, n, epsilon = 1e-3);
        }
    }

    #[test]
    fn weights_are_named() {
        let spectrum = Eigenspectrum { values: vec![1.0, 0.5, 0.1, 0.25], swaps: 1, swap: Swap::Stimulus };
        let (inverse, equal) =
            (spectrum.exponent(1, 4).unwrap(), spectrum.exponent_weighted(1, 4, FitWeights::Equal).unwrap());
        assert!(inverse.exponent != equal.exponent);
        assert!(inverse.to_string().ends_with("(log-log least squares, 1/rank weights, 0 ranks left out)"));
    }

    #[test]
    fn a_power_law_is_recovered() {
        let spectrum = Eigenspectrum {
            values: (1..=100).map(|n| 5.0 * f64::from(n).powf(-1.2)).collect(),
            swaps: 1,
            swap: Swap::Stimulus,
        };
        let found = spectrum.exponent(11, 90).unwrap();
        assert_relative_eq!(found.exponent, 1.2, epsilon = 1e-12);
        assert_eq!((found.window, found.left_out), ([11, 90], 0));
        assert!(spectrum.exponent(0, 10).is_err());
        assert!(spectrum.exponent(11, 101).is_err());
    }

    /// Signal of exponent 1 under noise as large as itself: the spectrum of the signal comes back.
    #[test]
    fn a_noisy_power_law_is_recovered() {
        let mut signal = normals(600, 150, 4);
        for (n, mut column) in signal.columns_mut().into_iter().enumerate() {
            column *= (n as f32 + 1.0).powf(-0.5);
        }
        let (a, b) = (&signal + &(normals(600, 150, 5) * 0.2), &signal + &(normals(600, 150, 6) * 0.2));
        let spectrum = eigenspectrum(a.view(), b.view(), Swap::Stimulus, 2, Seed::new(0)).unwrap();
        let found = spectrum.exponent(3, 60).unwrap();
        assert_relative_eq!(found.exponent, 1.0, epsilon = 0.15);
    }

    #[test]
    fn ranks_without_logarithm_are_counted() {
        let spectrum = Eigenspectrum { values: vec![1.0, 0.5, -0.1, 0.25], swaps: 1, swap: Swap::Stimulus };
        let found = spectrum.exponent(1, 4).unwrap();
        assert_eq!(found.left_out, 1);
        assert_relative_eq!(found.exponent, 1.0, epsilon = 1e-12);
    }
}
