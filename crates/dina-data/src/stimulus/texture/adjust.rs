//! The nearest plane, or about that, with a given statistic.

use ndarray::Array2;

use super::super::fourier::{Complex, Fft2};
use super::statistics::{at, covariance, from_power};
use crate::Result;
use crate::linear::eigen;

/// Eigenvalues below this share of the largest are not inverted.
const CONDITION: f64 = 1e-9;

/// `V f(values) V'`.
fn function(symmetric: &Array2<f64>, f: impl Fn(f64, f64) -> f64) -> Result<Array2<f64>> {
    let (values, vectors) = eigen(symmetric)?;
    let largest = values.first().copied().unwrap_or(0.0).max(0.0);
    let mut scaled = vectors.clone();
    for (mut column, value) in scaled.columns_mut().into_iter().zip(values) {
        column *= f(value, largest);
    }
    Ok(scaled.dot(&vectors.t()))
}

fn root(symmetric: &Array2<f64>) -> Result<Array2<f64>> {
    function(symmetric, |v, _| v.max(0.0).sqrt())
}

fn inverse(symmetric: &Array2<f64>, power: f64) -> Result<Array2<f64>> {
    function(symmetric, |v, largest| if v > CONDITION * largest { v.powf(-power) } else { 0.0 })
}

/// The linear map that moves samples of covariance `from` least, in mean square, to covariance
/// `to`: `F^-1/2 (F^1/2 T F^1/2)^1/2 F^-1/2`, the optimal transport between normal distributions
/// (Knott & Smith 1984). Symmetric.
fn transport(from: &Array2<f64>, to: &Array2<f64>) -> Result<Array2<f64>> {
    let half = root(from)?;
    let middle = root(&half.dot(to).dot(&half))?;
    let back = inverse(from, 0.5)?;
    Ok(back.dot(&middle).dot(&back))
}

/// Gives centred planes a covariance, and a covariance with other centred planes that stay as they
/// are. What of it `fixed` cannot give, because its own covariance differs from that in the image
/// aimed at, is left out.
pub(super) fn match_covariance(
    planes: &mut [Vec<f64>],
    target: &Array2<f64>,
    fixed: &[Vec<f64>],
    target_cross: Option<&Array2<f64>>,
) -> Result<()> {
    let own = covariance(planes, planes);
    let Some(cross_target) = target_cross.filter(|_| !fixed.is_empty()) else {
        let map = transport(&own, target)?;
        return mix(planes, &map, &[], None);
    };
    // x = part predicted from the fixed planes + rest; each part is given its covariance.
    let inverse_fixed = inverse(&covariance(fixed, fixed), 1.0)?;
    let cross = covariance(planes, fixed);
    let now = cross.dot(&inverse_fixed);
    let wanted = cross_target.dot(&inverse_fixed);
    let rest = &own - &now.dot(&cross.t());
    let rest_wanted = target - &wanted.dot(&cross_target.t());
    let rest_wanted = function(&symmetric(&rest_wanted), |v, _| v.max(0.0))?;
    let map = transport(&symmetric(&rest), &rest_wanted)?;
    let predicted = &wanted - &map.dot(&now);
    mix(planes, &map, fixed, Some(&predicted))
}

fn symmetric(matrix: &Array2<f64>) -> Array2<f64> {
    (matrix + &matrix.t()) / 2.0
}

/// `planes <- map planes + other fixed`.
fn mix(
    planes: &mut [Vec<f64>],
    map: &Array2<f64>,
    fixed: &[Vec<f64>],
    other: Option<&Array2<f64>>,
) -> Result<()> {
    let old = planes.to_vec();
    for (i, plane) in planes.iter_mut().enumerate() {
        plane.fill(0.0);
        let mut add = |weight: f64, from: &[f64]| {
            plane.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
        };
        old.iter().enumerate().for_each(|(j, from)| add(map[[i, j]], from));
        if let Some(other) = other {
            fixed.iter().enumerate().for_each(|(j, from)| add(other[[i, j]], from));
        }
    }
    Ok(())
}

/// Gives a centred plane, as its spectrum, these autocovariances at these lags (0 first).
///
/// The power spectrum is multiplied by `G(w) = sum_l g_l cos(w l)`, the smoothest factor that is
/// enough: the new autocovariance is linear in `g`, `T g = target` with
/// `T_lm = (A(l - m) + A(l + m)) / 2`. Where G comes out negative it is 0, which is why a few rounds
/// are needed (Portilla & Simoncelli 2000, appendix, solve the same system).
pub(super) fn match_autocovariance(
    fft: &Fft2,
    size: (usize, usize),
    spectrum: &mut [Complex],
    lags: &[(isize, isize)],
    target: &[f64],
) -> Result<()> {
    let power: Vec<f64> = spectrum.iter().map(|c| c.norm_sqr()).collect();
    let own = from_power(fft, &power);
    if own[0] <= 0.0 || lags.len() != target.len() {
        return Ok(());
    }
    let system = Array2::from_shape_fn((lags.len(), lags.len()), |(i, j)| {
        let ((a, b), (c, d)) = (lags[i], lags[j]);
        0.5 * (at(&own, size, (a - c, b - d)) + at(&own, size, (a + c, b + d)))
    });
    // As a change of G = 1: directions that the data do not determine stay unchanged.
    let missing: Vec<f64> = lags.iter().zip(target).map(|(&l, t)| t - at(&own, size, l)).collect();
    let g = inverse(&system, 1.0)?.dot(&ndarray::Array1::from(missing));
    let mut factor = vec![Complex::default(); spectrum.len()];
    let (height, width) = (size.0 as isize, size.1 as isize);
    for (&(y, x), g) in lags.iter().zip(&g) {
        for (y, x) in [(y, x), (-y, -x)] {
            let place = y.rem_euclid(height) * width + x.rem_euclid(width);
            factor[place as usize].re += g / 2.0;
        }
    }
    fft.forward(&mut factor);
    for (c, factor) in spectrum.iter_mut().zip(&factor) {
        *c *= (1.0 + factor.re).max(0.0).sqrt();
    }
    Ok(())
}

/// Moves a centred plane along the gradient of its skewness until it has this one, or as near as
/// that line goes; variance as before.
pub(super) fn match_skewness(plane: &mut [f64], target: f64) {
    let [m2, m3, _] = moments(plane);
    if m2 > 0.0 {
        let direction: Vec<f64> = plane.iter().map(|x| x * x - m3 / m2 * x - m2).collect();
        along(plane, &direction, m2, 3, target);
    }
}

/// The same for kurtosis (3 for a normal distribution).
pub(super) fn match_kurtosis(plane: &mut [f64], target: f64) {
    let [m2, m3, m4] = moments(plane);
    if m2 > 0.0 {
        let direction: Vec<f64> = plane.iter().map(|x| x.powi(3) - m4 / m2 * x - m3).collect();
        along(plane, &direction, m2, 4, target);
    }
}

fn moments(plane: &[f64]) -> [f64; 3] {
    let n = plane.len().max(1) as f64;
    [2, 3, 4].map(|order| plane.iter().map(|x| x.powi(order)).sum::<f64>() / n)
}

/// Searches `x + step d`, from step 0 on towards the target, for the standardised moment of this
/// order. Both are centred, so every moment is a polynomial of the step.
fn along(plane: &mut [f64], direction: &[f64], variance: f64, order: usize, target: f64) {
    let n = plane.len() as f64;
    let size = (direction.iter().map(|d| d * d).sum::<f64>() / n).sqrt();
    if size <= 1e-9 * variance {
        return;
    }
    let unit = variance.sqrt() / size;
    // mixed[p][j]: mean of x^(p - j) (unit d)^j.
    let mixed: Vec<Vec<f64>> = [2, order]
        .iter()
        .map(|&p| {
            let term = |j: usize| {
                let products = plane
                    .iter()
                    .zip(direction)
                    .map(|(x, d)| x.powi((p - j) as i32) * (unit * d).powi(j as i32));
                products.sum::<f64>() / n
            };
            (0..=p).map(term).collect()
        })
        .collect();
    let moment = |which: usize, p: usize, step: f64| -> f64 {
        (0..=p).map(|j| binomial(p, j) * step.powi(j as i32) * mixed[which][j]).sum()
    };
    let value = |step: f64| moment(1, order, step) / moment(0, 2, step).max(1e-300).powf(order as f64 / 2.0);
    let start = value(0.0);
    let sign = if target > start { 1.0 } else { -1.0 };
    let reached = |step: f64| sign * (target - value(step)) <= 0.0;
    let (mut near, mut far) = (0.0, sign * 0.01);
    while !reached(far) {
        // The moment turns: the line does not reach the target.
        if far.abs() > 4.0 || sign * (value(far) - value(near)) <= 0.0 {
            far = near;
            break;
        }
        near = far;
        far *= 1.5;
    }
    for _ in 0..40 {
        let middle = 0.5 * (near + far);
        if reached(middle) { far = middle } else { near = middle }
    }
    let scale = (variance / moment(0, 2, far).max(1e-300)).sqrt();
    plane.iter_mut().zip(direction).for_each(|(x, d)| *x = scale * (*x + far * unit * d));
}

fn binomial(n: usize, k: usize) -> f64 {
    (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product()
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use dina_core::Seed;
    use rand::RngExt;

    use super::super::pyramid::{complex, real};
    use super::super::statistics::{Marginal, centre, lags};
    use super::*;

    fn noise(planes: usize, n: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut random = Seed::new(seed).stream("noise");
        let mut planes: Vec<Vec<f64>> = (0..planes)
            .map(|_| (0..n).map(|_| random.random::<f64>() + random.random::<f64>().powi(3)).collect())
            .collect();
        centre(&mut planes);
        planes
    }

    #[test]
    fn covariances_are_given_exactly_and_twice_changes_nothing() {
        let fixed = noise(2, 500, 1);
        let wanted = {
            let mut planes = noise(3, 500, 2);
            for (i, plane) in planes.iter_mut().enumerate() {
                plane.iter_mut().zip(&fixed[i % 2]).for_each(|(v, f)| *v = 2.0 * *v + f);
            }
            planes
        };
        let (own, cross) = (covariance(&wanted, &wanted), covariance(&wanted, &fixed));
        let mut planes = noise(3, 500, 3);
        match_covariance(&mut planes, &own, &fixed, Some(&cross)).unwrap();
        assert!((covariance(&planes, &planes) - &own).iter().all(|d| d.abs() < 1e-9));
        assert!((covariance(&planes, &fixed) - &cross).iter().all(|d| d.abs() < 1e-9));
        let before = planes.clone();
        match_covariance(&mut planes, &own, &fixed, Some(&cross)).unwrap();
        assert!(planes.concat().iter().zip(before.concat()).all(|(a, b)| (a - b).abs() < 1e-7));
        // Without fixed planes too.
        let mut planes = noise(3, 500, 4);
        match_covariance(&mut planes, &own, &[], None).unwrap();
        assert!((covariance(&planes, &planes) - &own).iter().all(|d| d.abs() < 1e-9));
    }

    #[test]
    fn an_autocovariance_within_reach_is_given() {
        let size = (16, 24);
        let fft = Fft2::new(16, 24);
        let lags = lags(2);
        assert_eq!(lags.len(), 13);
        // Aimed at: the same noise, smoothed along rows.
        let plane = noise(1, 16 * 24, 5).remove(0);
        let smooth: Vec<f64> =
            (0..16 * 24).map(|i| plane[i] + 0.15 * plane[i / 24 * 24 + (i % 24 + 1) % 24]).collect();
        let auto = |plane: &[f64]| {
            let mut s = complex(plane);
            fft.forward(&mut s);
            let all = from_power(&fft, &s.iter().map(|c| c.norm_sqr()).collect::<Vec<_>>());
            lags.iter().map(|&l| at(&all, size, l)).collect::<Vec<_>>()
        };
        // The lag formula itself, against the sum.
        let direct: f64 =
            (0..16 * 24).map(|i| plane[i] * plane[(i / 24 + 1) % 16 * 24 + (i % 24 + 22) % 24]).sum::<f64>()
                / 384.0;
        let place = lags.iter().position(|&l| l == (1, -2)).unwrap();
        assert_abs_diff_eq!(auto(&plane)[place], direct, epsilon = 1e-12);

        let target = auto(&smooth);
        let mut spectrum = complex(&noise(1, 16 * 24, 6)[0]);
        fft.forward(&mut spectrum);
        match_autocovariance(&fft, size, &mut spectrum, &lags, &target).unwrap();
        fft.inverse(&mut spectrum);
        for (found, wanted) in auto(&real(&spectrum)).iter().zip(&target) {
            assert_abs_diff_eq!(found, wanted, epsilon = 1e-9);
        }
    }

    #[test]
    fn skewness_and_kurtosis_are_given() {
        for (skewness, kurtosis) in [(0.0, 3.0), (1.0, 4.5), (-0.5, 2.6)] {
            let mut plane = noise(1, 4000, 7).remove(0);
            let variance = Marginal::of(&plane).variance;
            match_skewness(&mut plane, skewness);
            let after = Marginal::of(&plane);
            assert_abs_diff_eq!(after.skewness, skewness, epsilon = 1e-6);
            assert_abs_diff_eq!(after.variance, variance, epsilon = 1e-9);
            match_kurtosis(&mut plane, kurtosis);
            assert_abs_diff_eq!(Marginal::of(&plane).kurtosis, kurtosis, epsilon = 1e-6);
        }
        let mut flat = vec![0.0; 10];
        match_skewness(&mut flat, 1.0);
        assert_eq!(flat, vec![0.0; 10]);
    }
}
