//! How far apart samples of a series have to be.

use crate::{Error, Result};

/// The first lag at which the autocorrelation of a series falls within its white-noise band,
/// r_k < 1.96 / sqrt(T), with r_k = sum_t (x_t - m)(x_{t+k} - m) / sum_t (x_t - m)^2 (Box and Jenkins
/// 1976). Offsets of a circular shift should be no smaller.
///
/// # Errors
/// [`Error::TooFew`] below three samples, [`Error::NotFinite`], [`Error::Constant`]; [`Error::Value`]
/// where it never falls that far in half of the series, which is then too short for a shift.
pub fn autocorrelation_length(series: &[f64]) -> Result<usize> {
    let n = series.len();
    Error::at_least("samples", 3, n)?;
    Error::all_finite("series", series.iter().copied())?;
    let mean = series.iter().sum::<f64>() / n as f64;
    let centred: Vec<f64> = series.iter().map(|x| x - mean).collect();
    let power: f64 = centred.iter().map(|x| x * x).sum();
    if power == 0.0 {
        return Err(Error::Constant {
            what: "series".into(),
            index: 0,
            statistic: "autocorrelation length".into(),
        });
    }
    let band = 1.96 / (n as f64).sqrt();
    let lag = |k: usize| centred.iter().zip(&centred[k..]).map(|(a, b)| a * b).sum::<f64>() / power;
    (1..=n / 2).find(|&k| lag(k) < band).ok_or_else(|| {
        Error::value("autocorrelation length", format!("at most half of the {n} samples"), "longer")
    })
}

#[cfg(test)]
mod tests {
    use dina_core::Seed;
    use rand::RngExt;

    use super::*;

    #[test]
    fn autocorrelation_of_a_moving_sum() {
        // Eight equal samples at a time: correlated below lag 8.
        let mut rng = Seed::new(1).stream("levels");
        let series: Vec<f64> = (0..200).flat_map(|_| [rng.random::<f64>(); 8]).collect();
        let found = autocorrelation_length(&series).unwrap();
        assert!((6..=8).contains(&found), "{found}");
        assert!(autocorrelation_length(&[1.0; 9]).is_err());
        let ramp: Vec<f64> = (0..40).map(f64::from).collect();
        assert!(autocorrelation_length(&ramp).unwrap() > 5);
    }
}
