//! How much of a response repeats, and the ceilings that follow.
//!
//! Three numbers are easily mixed up and are types of their own here: a [`Correlation`] r, an
//! [`ExplainedVariance`] (the scale of r^2) and a [`Reliability`] rho. The ceiling of a correlation is
//! sqrt(rho); an explained variance is normalised by rho, never by rho^2.
//!
//! - Of the responses alone: [`signal_variance`], [`split_half`], [`explainable_variance`].
//! - Of a model against the explainable part: [`explained_explainable`] (FEVE), [`cross_repeat`] for two
//!   repeats, [`normalised_correlation`] (CCnorm).

mod columns;
mod explainable;
mod prediction;
mod repeats;
mod scale;

pub use explainable::{Feve, explainable_variance, explained_explainable};
pub use prediction::{Ccnorm, PerNeuron, cross_repeat, normalised_correlation};
pub use repeats::{Halves, halves, signal_variance, split_half};
pub use scale::{Correlation, ExplainedVariance, Reliability};

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use dina_core::Seed;
    use ndarray::{Array, Array2, array, s};
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::Error;

    /// A signal of variance `signal` and private noise of variance 1, `repeats` of each stimulus in
    /// turn.
    fn simulated(
        stimuli: usize,
        repeats: usize,
        neurons: usize,
        signal: f64,
    ) -> (Array2<f32>, Vec<Vec<usize>>) {
        let mut rng = Seed::new(1).stream("simulated");
        let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
        let signals = Array::from_shape_fn((stimuli, neurons), |_| signal.sqrt() * normal());
        let responses = Array::from_shape_fn((stimuli * repeats, neurons), |(t, n)| {
            (signals[[t % stimuli, n]] + normal()) as f32
        });
        let trials = (0..stimuli).map(|s| (0..repeats).map(|k| k * stimuli + s).collect()).collect();
        (responses, trials)
    }

    #[test]
    fn signal_variance_by_hand() {
        // Centred: (-1, 0, 1) and (-2, 2, 0): covariance 1, variances 1 and 4.
        let first = array![[1.0_f32], [2.0], [3.0]];
        let second = array![[0.0_f32], [4.0], [2.0]];
        let found = signal_variance(first.view(), second.view()).unwrap();
        assert_relative_eq!(found[0].get(), 1.0 / 2.5, epsilon = 1e-12);
        let r = split_half(first.view(), second.view()).unwrap();
        assert_relative_eq!(r[0].get(), 0.5, epsilon = 1e-12);
    }

    /// All three estimate signal / (signal + noise) = 0.2 of a single trial.
    #[test]
    fn estimators_agree_with_the_truth() {
        let (responses, trials) = simulated(400, 2, 300, 0.25);
        let halves = halves(responses.view(), &trials).unwrap();
        assert_eq!(halves.stimuli.len(), 400);
        let sv = signal_variance(halves.first.view(), halves.second.view()).unwrap();
        assert_relative_eq!(ExplainedVariance::mean(&sv).unwrap().get(), 0.2, epsilon = 0.01);
        let r = split_half(halves.first.view(), halves.second.view()).unwrap();
        assert_relative_eq!(Correlation::median(&r).unwrap().get(), 0.2, epsilon = 0.01);
        let fev = explainable_variance(responses.view(), &trials).unwrap();
        assert_relative_eq!(ExplainedVariance::mean(&fev).unwrap().get(), 0.2, epsilon = 0.01);
    }

    #[test]
    fn halves_are_even_and_odd_repeats() {
        let responses = array![[1.0_f32], [10.0], [3.0], [20.0], [7.0], [5.0]];
        let found = halves(responses.view(), &[vec![0, 1, 2, 3], vec![4], vec![5, 4]]).unwrap();
        assert_eq!(found.stimuli, [0, 2]);
        assert_eq!(found.first, array![[2.0], [5.0]]);
        assert_eq!(found.second, array![[15.0], [7.0]]);
    }

    /// Variances by hand: all trials 1, 3, 4, 8: 26/3; repeats 2 and 8: mean 5.
    #[test]
    fn explainable_variance_by_hand() {
        let responses = array![[1.0_f32], [3.0], [4.0], [8.0]];
        let found = explainable_variance(responses.view(), &[vec![0, 1], vec![2, 3]]).unwrap();
        let total = 26.0 / 3.0;
        assert_relative_eq!(found[0].get(), (total - 5.0) / total, epsilon = 1e-12);
    }

    /// A perfect prediction explains all that can be explained, the mean response nothing, by every measure.
    #[test]
    fn the_signal_explains_all_and_the_mean_nothing() {
        let (stimuli, neurons) = (500, 60);
        let (responses, trials) = simulated(stimuli, 2, neurons, 0.5);
        // The same stream as in `simulated`, whose first draws are the signals.
        let mut rng = Seed::new(1).stream("simulated");
        let signals = Array::from_shape_simple_fn((stimuli, neurons), || {
            let draw: f64 = StandardNormal.sample(&mut rng);
            (0.5_f64.sqrt() * draw) as f32
        });
        let halves = halves(responses.view(), &trials).unwrap();
        let (first, second) = (halves.first.view(), halves.second.view());
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;

        let feve = explained_explainable(responses.view(), &trials, signals.view(), 0.15).unwrap();
        assert_eq!((feve.neurons.len(), feve.dropped.len()), (neurons, 0));
        assert_relative_eq!(feve.mean().unwrap(), 1.0, epsilon = 0.06);
        assert!(feve.to_string().ends_with(
            "over 60 neurons (0 of 60 dropped for a fraction of explainable variance below 0.15)"
        ));
        let zero = Array2::zeros((stimuli, neurons));
        let cross = cross_repeat(first, second, signals.view(), zero.row(0)).unwrap();
        assert_relative_eq!(mean(&cross.values), 1.0, epsilon = 0.06);
        let cc = normalised_correlation(&[first, second], signals.view()).unwrap();
        assert_relative_eq!(
            mean(&cc.values.iter().map(|c| c.normalised).collect::<Vec<_>>()),
            1.0,
            epsilon = 0.02
        );
        for c in &cc.values {
            assert_relative_eq!(c.normalised, c.absolute / c.ceiling, epsilon = 1e-12);
        }

        let none = explained_explainable(responses.view(), &trials, zero.view(), 0.15).unwrap();
        assert_relative_eq!(none.mean().unwrap(), 0.0, epsilon = 0.06);
        let cross = cross_repeat(first, second, zero.view(), zero.row(0)).unwrap();
        assert_relative_eq!(mean(&cross.values), 0.0, epsilon = 1e-9);
    }

    /// Noise alone has nothing to explain: such neurons are named, not divided by.
    #[test]
    fn neurons_without_signal_are_dropped() {
        let (responses, trials) = simulated(60, 2, 40, 0.0);
        let predictions = Array::from_shape_fn((60, 40), |(s, n)| ((s * 7 + n) as f32).sin());
        let feve = explained_explainable(responses.view(), &trials, predictions.view(), 0.15).unwrap();
        assert!(feve.dropped.len() > 25);
        assert_eq!(feve.dropped.len() + feve.neurons.len(), 40);
        let halves = halves(responses.view(), &trials).unwrap();
        let cc =
            normalised_correlation(&[halves.first.view(), halves.second.view()], predictions.view()).unwrap();
        assert!(cc.dropped.len() > 10 && cc.values.iter().all(|c| c.normalised.is_finite()));
        assert!(explained_explainable(responses.view(), &trials, predictions.view(), 0.0).is_err());
        let flat = Array2::zeros((60, 40));
        assert!(normalised_correlation(&[halves.first.view(), halves.second.view()], flat.view()).is_err());
        assert!(normalised_correlation(&[halves.first.view()], predictions.view()).is_err());
    }

    #[test]
    fn ceiling_is_the_root_and_normalises_once() {
        let rho = Correlation::new(0.6).unwrap().spearman_brown(2.0).unwrap();
        assert_relative_eq!(rho.get(), 0.75);
        assert_relative_eq!(rho.ceiling().unwrap().get(), 0.75_f64.sqrt());
        let best = rho.ceiling().unwrap().squared();
        assert_relative_eq!(rho.normalise(best).unwrap(), 1.0, epsilon = 1e-12);
        assert!(Correlation::new(-1.0).unwrap().spearman_brown(2.0).is_err());
        let negative = Correlation::new(-0.2).unwrap().spearman_brown(2.0).unwrap();
        assert!(negative.ceiling().is_err());
    }

    #[test]
    fn many_columns_are_kept_in_order() {
        let (responses, trials) = simulated(10, 2, 600, 1.0);
        let all = explainable_variance(responses.view(), &trials).unwrap();
        let one = explainable_variance(responses.slice(s![.., 555..556]), &trials).unwrap();
        assert_eq!(all[555], one[0]);
    }

    #[test]
    fn refuses_nonsense() {
        let flat = array![[1.0_f32, 1.0], [2.0, 1.0], [4.0, 1.0]];
        assert!(matches!(signal_variance(flat.view(), flat.view()), Err(Error::Constant { index: 1, .. })));
        let nan = array![[1.0_f32], [f32::NAN]];
        assert!(matches!(split_half(nan.view(), nan.view()), Err(Error::NotFinite { index: 1, .. })));
        assert!(halves(flat.view(), &[vec![0], vec![1]]).is_err());
        assert!(halves(flat.view(), &[vec![0, 9]]).is_err());
        assert!(Correlation::new(f64::NAN).is_err());
    }
}
