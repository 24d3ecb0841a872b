//! Distribution functions and quantiles that tests and intervals need.
//!
//! Incomplete beta and gamma functions are statrs', erfc and the gamma function libm's: statrs' erfc is good to
//! eleven digits only. Quantiles are found here as roots of the distribution function, to the
//! last bits, because statrs' own stop at some 1e-8.

use std::ops::RangeInclusive;

use libm::{erfc, lgamma as ln_gamma};
use statrs::function::{beta::beta_reg, erf::erfc_inv, gamma::gamma_ur};

/// P(Z <= z) of the standard normal.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

/// The standard normal quantile; infinite at 0 and 1.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    let z = -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p);
    // One step of Newton takes the last digits from the distribution function.
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if density > 0.0 { z - (normal_cdf(z) - p) / density } else { z }
}

/// P(T > t) of Student's t.
pub(crate) fn student_sf(t: f64, df: f64) -> f64 {
    let outside = beta_reg(df / 2.0, 0.5, (df / (df + t * t)).clamp(0.0, 1.0));
    if t >= 0.0 { outside / 2.0 } else { 1.0 - outside / 2.0 }
}

/// The quantile of Student's t.
pub(crate) fn student_quantile(p: f64, df: f64) -> f64 {
    if p < 0.5 {
        return -student_quantile(1.0 - p, df);
    }
    let tail = 1.0 - p;
    let mut high = 1.0;
    while student_sf(high, df) > tail && high < 1e300 {
        high *= 2.0;
    }
    falling_root(|t| student_sf(t, df) - tail, 0.0, high)
}

/// P(X > x) of chi-squared.
pub(crate) fn chi_squared_sf(x: f64, df: f64) -> f64 {
    if x <= 0.0 { 1.0 } else { gamma_ur(df / 2.0, x / 2.0) }
}

/// P(X <= x) of beta.
pub(crate) fn beta_cdf(x: f64, a: f64, b: f64) -> f64 {
    beta_reg(a, b, x)
}

/// The quantile of beta.
pub(crate) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    falling_root(|x| p - beta_cdf(x, a, b), 0.0, 1.0)
}

/// P(X <= k) of the binomial with `n` trials of probability one half.
pub(crate) fn fair_binomial_cdf(k: usize, n: usize) -> f64 {
    if k >= n { 1.0 } else { beta_reg((n - k) as f64, k as f64 + 1.0, 0.5) }
}

/// P(T <= t) of the noncentral t distribution.
///
/// For t >= 0, Phi(-d) + 1/2 sum_j [p_j I_x(j + 1/2, v/2) + q_j I_x(j + 1, v/2)] with x = t^2 / (v + t^2) and
/// Poisson-like weights of d^2/2 (Lenth 1989, algorithm AS 243). The sum runs over the weights that count,
/// wherever their peak is, so that large noncentralities do not underflow.
pub(crate) fn noncentral_t_cdf(t: f64, df: f64, noncentrality: f64) -> f64 {
    if t < 0.0 {
        return 1.0 - noncentral_t_cdf(-t, df, -noncentrality);
    }
    let (x, b) = (t * t / (df + t * t), df / 2.0);
    let lambda = noncentrality * noncentrality / 2.0;
    let start = normal_cdf(-noncentrality);
    if t == 0.0 || lambda == 0.0 {
        return if t == 0.0 { start } else { 1.0 - student_sf(t, df) };
    }
    if lambda > 5000.0 {
        return integrated(t, df, noncentrality);
    }
    // Weights below e^-45 of the peak's neighbourhood add nothing in double precision.
    let spread = 10.0 * lambda.sqrt() + 60.0;
    let (first, last) = ((lambda - spread).max(0.0).floor() as usize, (lambda + spread).ceil() as usize);
    let last_weight = |shift: f64| {
        let j = last as f64 + shift - 0.5;
        j * lambda.ln() - lambda - ln_gamma(j + 1.0)
    };
    let even = weighted_betas(x, b, lambda, first..=last, 0.5, last_weight(0.5));
    let odd = weighted_betas(x, b, lambda, first..=last, 1.0, last_weight(1.0));
    (start + (even + noncentrality.signum() * odd) / 2.0).clamp(0.0, 1.0)
}

/// The noncentral t distribution for t > 0 and a large noncentrality, where the series is long: the mean over a
/// normal Z of P(sqrt(V / v) >= (Z + d) / t), by Simpson's rule. That probability changes slowly with Z, because
/// t is large too wherever neither tail is empty.
fn integrated(t: f64, df: f64, noncentrality: f64) -> f64 {
    const STEPS: i32 = 2000;
    const REACH: f64 = 9.0;
    let width = 2.0 * REACH / f64::from(STEPS);
    let sum: f64 = (0..=STEPS)
        .map(|i| {
            let z = f64::from(i) * width - REACH;
            let weight = if i == 0 || i == STEPS { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
            let bound = (z + noncentrality) / t;
            let above = if bound <= 0.0 { 1.0 } else { chi_squared_sf(df * bound * bound, df) };
            weight * (-z * z / 2.0).exp() * above
        })
        .sum();
    (sum * width / 3.0 / (2.0 * std::f64::consts::PI).sqrt()).clamp(0.0, 1.0)
}

/// sum over j of w_j I_x(j + shift, b) with w_j = e^-l l^k / Gamma(k + 1), k = j + shift - 1/2, and l = `lambda`.
/// From the last j downwards, because
/// I_x(a, b) = I_x(a + 1, b) + x^a (1 - x)^b Gamma(a + b) / (Gamma(a + 1) Gamma(b)) only adds. Weights and terms
/// follow from their neighbours as logarithms, which do not underflow.
fn weighted_betas(
    x: f64,
    b: f64,
    lambda: f64,
    terms: RangeInclusive<usize>,
    shift: f64,
    last_weight: f64,
) -> f64 {
    let a = *terms.end() as f64 + shift;
    let mut beta = beta_reg(a, b, x);
    let (ln_x, ln_lambda) = (x.ln(), lambda.ln());
    let mut term = a * ln_x + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a + 1.0) - ln_gamma(b);
    let mut weight = last_weight;
    let mut sum = 0.0;
    for j in terms.rev() {
        let a = j as f64 + shift;
        sum += weight.exp() * beta;
        weight += (a - 0.5).ln() - ln_lambda;
        term += (a / (a + b - 1.0)).ln() - ln_x;
        beta += term.exp();
    }
    sum
}

/// Where a function that falls from positive to negative crosses zero, by Brent's method (Brent 1973), to some
/// last bits. Where it does not change its sign the end that is nearer to zero is returned.
pub(crate) fn falling_root(f: impl Fn(f64) -> f64, low: f64, high: f64) -> f64 {
    // `best` is the closest so far, `other` lies across the root, `before` is the best of the step before.
    let (mut other, mut best) = (low, high);
    let (mut f_other, mut f_best) = (f(other), f(best));
    if f_other * f_best > 0.0 {
        return if f_other.abs() < f_best.abs() { other } else { best };
    }
    let (mut before, mut f_before) = (other, f_other);
    let mut step = best - other;
    let mut last_step = step;
    for _ in 0..300 {
        if f_before.abs() < f_best.abs() {
            (other, best, before) = (best, before, best);
            (f_other, f_best, f_before) = (f_best, f_before, f_best);
        }
        let tolerance = 2.0 * f64::EPSILON * best.abs() + f64::MIN_POSITIVE;
        let middle = (before - best) / 2.0;
        if middle.abs() <= tolerance || f_best == 0.0 {
            return best;
        }
        let mut bisect = last_step.abs() < tolerance || f_other.abs() <= f_best.abs();
        if !bisect {
            let s = f_best / f_other;
            let (mut p, mut q) = if other == before {
                (2.0 * middle * s, 1.0 - s)
            } else {
                let (q, r) = (f_other / f_before, f_best / f_before);
                let p = s * (2.0 * middle * q * (q - r) - (best - other) * (r - 1.0));
                (p, (q - 1.0) * (r - 1.0) * (s - 1.0))
            };
            if p > 0.0 {
                q = -q;
            } else {
                p = -p;
            }
            bisect = 2.0 * p >= (3.0 * middle * q - (tolerance * q).abs()).min((last_step * q).abs());
            if !bisect {
                (last_step, step) = (step, p / q);
            }
        }
        if bisect {
            (step, last_step) = (middle, middle);
        }
        (other, f_other) = (best, f_best);
        best += if step.abs() > tolerance { step } else { tolerance.copysign(middle) };
        f_best = f(best);
        if f_best * f_before > 0.0 {
            (before, f_before) = (other, f_other);
            step = best - other;
            last_step = step;
        }
    }
    best
}

/// The logarithm of the gamma function.
pub(crate) fn log_gamma(x: f64) -> f64 {
    ln_gamma(x)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    /// scipy 1.17.1: `scipy.stats.nct.cdf`, `t`, `norm`, `beta`, `chi2`, `binom`.
    #[test]
    fn as_scipy() {
        assert_relative_eq!(normal_quantile(0.975), 1.959_963_984_540_054, max_relative = 1e-14);
        assert_relative_eq!(student_quantile(0.975, 5.0), 2.570_581_835_636_314_6, max_relative = 1e-12);
        assert_relative_eq!(student_quantile(0.025, 5.0), -2.570_581_835_636_314_6, max_relative = 1e-12);
        assert_relative_eq!(student_sf(2.0, 10.0), 0.036_694_017_385_370_18, max_relative = 1e-12);
        assert_relative_eq!(chi_squared_sf(11.07, 5.0), 0.050_009_618_622_405_43, max_relative = 1e-12);
        assert_relative_eq!(fair_binomial_cdf(1, 6), 7.0 / 64.0, max_relative = 1e-12);
        assert_relative_eq!(fair_binomial_cdf(6, 6), 1.0);
    }

    #[test]
    fn large_noncentralities_meet_the_series() {
        for (t, df, d) in [(90.0, 7.0, 95.0), (99.0, 4000.0, 99.5), (60.0, 20.0, 99.0), (150.0, 3.0, 99.9)] {
            let series = noncentral_t_cdf(t, df, d);
            assert_relative_eq!(series, integrated(t, df, d), epsilon = 1e-10);
        }
        assert!(noncentral_t_cdf(1e7, 12.0, 1.1e7) < 0.5);
    }

    #[test]
    fn roots_of_awkward_functions() {
        assert_relative_eq!(falling_root(|x| 2.0 - x * x, 0.0, 100.0), 2.0_f64.sqrt(), max_relative = 1e-15);
        assert_relative_eq!(
            falling_root(|x| (-x).exp() - 1e-9, 0.0, 1e3),
            9.0 * 10.0_f64.ln(),
            max_relative = 1e-13
        );
        assert_relative_eq!(falling_root(|x| -(x - 0.3).powi(7), -5.0, 9.0), 0.3, max_relative = 1e-2);
        assert_relative_eq!(
            falling_root(|x| if x < 0.1 { 1.0 } else { -1.0 }, 0.0, 1.0),
            0.1,
            max_relative = 1e-14
        );
        assert_eq!(falling_root(|x| 5.0 - x, 0.0, 1.0), 1.0);
    }

    /// The noncentral t against its definition, P(Z + d <= t sqrt(V / v)), integrated by Simpson's rule.
    #[test]
    fn noncentral_t_is_its_integral() {
        for (t, df, d) in [
            (1.5_f64, 7.0_f64, 0.8_f64),
            (-1.0, 4.0, 0.5),
            (3.0, 30.0, 2.5),
            (0.5, 3.0, -1.2),
            (60.0, 100.0, 50.0),
        ] {
            let density = |s: f64| {
                // Of s = sqrt(V / v).
                let log = (df / 2.0) * (df / 2.0).ln() + 2.0_f64.ln() - ln_gamma(df / 2.0)
                    + (df - 1.0) * s.ln()
                    - df * s * s / 2.0;
                log.exp()
            };
            let n = 40_000;
            let h = 6.0 / f64::from(n);
            let f = |i: i32| {
                let s = f64::from(i) * h;
                if i == 0 { 0.0 } else { density(s) * normal_cdf(t * s - d) }
            };
            let simpson: f64 = (0..=n)
                .map(|i| {
                    f(i) * if i == 0 || i == n {
                        1.0
                    } else if i % 2 == 1 {
                        4.0
                    } else {
                        2.0
                    }
                })
                .sum::<f64>()
                * h
                / 3.0;
            assert_relative_eq!(noncentral_t_cdf(t, df, d), simpson, epsilon = 1e-10);
        }
    }

    #[test]
    fn quantiles_invert() {
        for p in [0.001, 0.2, 0.5, 0.93] {
            assert_relative_eq!(1.0 - student_sf(student_quantile(p, 3.0), 3.0), p, epsilon = 1e-13);
            assert_relative_eq!(beta_cdf(beta_quantile(p, 2.0, 5.0), 2.0, 5.0), p, epsilon = 1e-13);
            assert_relative_eq!(normal_cdf(normal_quantile(p)), p, epsilon = 1e-14);
        }
    }
}
