use std::fmt;

use dina_core::{Error as CoreError, Seed};
use dina_stats::permutation::{Permutation, Scheme, Tail, mass};
use ndarray::{Array2, ArrayView2, ArrayView3};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Result;

/// How footprints are measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FootprintConfig {
    /// Degrees of visual angle between rows and between columns of the field.
    pub degrees: [f64; 2],
    /// Random permutations of the images, for reverse correlation.
    pub permutations: usize,
    /// Bootstrap replicates over images, for reverse correlation.
    pub replicates: usize,
    /// Coverage of the intervals.
    pub level: f64,
}

impl FootprintConfig {
    /// 1,000 permutations, 200 replicates, 95 %.
    pub fn new(degrees: [f64; 2]) -> Self {
        Self { degrees, permutations: 1000, replicates: 200, level: 0.95 }
    }
}

/// The part of the visual field that a channel (or a neuron) sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    /// How the field was found.
    pub method: String,
    /// Centre, degrees from the upper edge.
    pub row: f64,
    /// The same from the left edge.
    pub column: f64,
    /// Longer and shorter half axis at half maximum, in degrees.
    pub semi_axes: [f64; 2],
    /// Direction of the longer axis in radians: 0 is to the right, a quarter turn is down.
    pub orientation: f64,
    /// Area at half maximum, in square degrees.
    pub area: f64,
    /// The largest absolute value of the field, which the half is of.
    pub peak: f64,
    /// p of a peak as large, corrected over positions; absent for a field that was given.
    pub p: Option<f64>,
    /// Percentile bootstrap intervals over images of row, column and area; absent for a field that was given.
    pub intervals: Option<[[f64; 2]; 3]>,
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(p) = self.p.filter(|p| *p > 0.05) {
            return write!(f, "no evidence of a receptive field ({}, p = {p:.3})", self.method);
        }
        let [longer, shorter] = self.semi_axes;
        write!(
            f,
            "centre {:.1} down and {:.1} across, half axes {longer:.1} and {shorter:.1}, area {:.0} square degrees at half \
             maximum ({})",
            self.row, self.column, self.area, self.method
        )
    }
}

/// The footprint of a field that is known: read-in weights, an occlusion map, a gradient.
///
/// The footprint is the set of positions around the largest absolute value, connected by edges, where the absolute value is at
/// least half of it. Its centre is weighted by the absolute value, its area is that of its samples, and its half axes are those
/// of the ellipse with the same second moments, a sample counting as the rectangle it covers. Fields that alternate
/// in sign, such as Gabors, should be given as an envelope or energy, or only the strongest lobe is seen.
///
/// - `field`: rows x columns; `method`: what the field is, for the report.
///
/// # Errors
/// When the field is empty, zero or not finite, or degrees are not above 0.
pub fn footprint(field: ArrayView2<'_, f64>, method: &str, config: &FootprintConfig) -> Result<Footprint> {
    let (rows, columns) = field.dim();
    if field.iter().any(|v| !v.is_finite()) {
        return Err(CoreError::value("field", "finite", "NaN or infinity").into());
    }
    if !config.degrees.iter().all(|d| d.is_finite() && *d > 0.) {
        return Err(
            CoreError::value("degrees of a sample", "above 0", format!("{:?}", config.degrees)).into()
        );
    }
    let mut at = (0, 0);
    let mut peak = 0.;
    for (place, v) in field.indexed_iter() {
        if v.abs() > peak {
            (at, peak) = (place, v.abs());
        }
    }
    if peak <= 0. {
        return Err(CoreError::value("field", "different from 0 somewhere", "0 everywhere").into());
    }
    let mut free = field.mapv(|v| v.abs() >= peak / 2.);
    free[at] = false;
    let (mut found, mut next) = (vec![at], 0);
    while next < found.len() {
        let (y, x) = found[next];
        next += 1;
        let around = [(y.wrapping_sub(1), x), (y + 1, x), (y, x.wrapping_sub(1)), (y, x + 1)];
        for place in around.into_iter().filter(|&(y, x)| y < rows && x < columns) {
            if std::mem::replace(&mut free[place], false) {
                found.push(place);
            }
        }
    }
    let [down, across] = config.degrees;
    let centre = |(y, x): (usize, usize)| [(y as f64 + 0.5) * down, (x as f64 + 0.5) * across];
    let total: f64 = found.iter().map(|&p| field[p].abs()).sum();
    let weighted = |axis: usize| found.iter().map(|&p| field[p].abs() * centre(p)[axis]).sum::<f64>() / total;
    let count = found.len() as f64;
    let middle = [0, 1].map(|axis| found.iter().map(|&p| centre(p)[axis]).sum::<f64>() / count);
    let moment = |i: usize, j: usize| {
        found.iter().map(|&p| (centre(p)[i] - middle[i]) * (centre(p)[j] - middle[j])).sum::<f64>() / count
    };
    let (yy, xx, yx) = (moment(0, 0) + down * down / 12., moment(1, 1) + across * across / 12., moment(0, 1));
    // Eigenvalues of the second moments; a uniform ellipse has a quarter of its squared half axes.
    let (half, root) = ((yy + xx) / 2., ((xx - yy) / 2.).hypot(yx));
    Ok(Footprint {
        method: method.into(),
        row: weighted(0),
        column: weighted(1),
        semi_axes: [2. * (half + root).sqrt(), 2. * (half - root).max(0.).sqrt()],
        orientation: (2. * yx).atan2(xx - yy) / 2.,
        area: count * down * across,
        peak,
        p: None,
        intervals: None,
    })
}

/// The footprint of a channel, or neuron, from its responses to images: the field is the correlation over images of the response with
/// what is at each position of the stimulus.
///
/// - `stimulus`: images x rows x columns, such as luminance for linear fields, or local contrast energy, which also
///   finds the fields of complex cells.
/// - `response`: one value an image.
///
/// Images with correlated neighbours (natural ones) blur the field by their own correlation length: footprints are then
/// upper bounds of size, while centres stay where they are. Positions of the stimulus that never change are 0.
///
/// # Errors
/// When lengths differ, there are fewer than four images, values are not finite, or the response or all of the stimulus never
/// change.
pub fn reverse_correlation(
    stimulus: ArrayView3<'_, f32>,
    response: &[f64],
    config: &FootprintConfig,
    seed: Seed,
) -> Result<Footprint> {
    let (images, rows, columns) = stimulus.dim();
    if images != response.len() || images < 4 {
        return Err(CoreError::shape("responses to the stimulus", images.max(4), response.len()).into());
    }
    let flat =
        Array2::from_shape_fn((images, rows * columns), |(i, p)| stimulus[[i, p / columns, p % columns]]);
    crate::score::check_finite("stimulus", &flat)?;
    let live: Vec<usize> =
        (0..flat.ncols()).filter(|&p| flat.column(p).iter().any(|v| *v != flat[[0, p]])).collect();
    if live.is_empty() {
        return Err(CoreError::value("positions of the stimulus that change", "at least 1", 0).into());
    }
    let flat = flat.select(ndarray::Axis(1), &live);
    let permutation =
        Permutation { count: config.permutations, tail: Tail::TwoSidedAbsolute, ..Permutation::default() };
    let test = mass::correlation(
        &permutation,
        response,
        flat.view(),
        &Scheme::free(images)?,
        seed.child("permutation"),
    )?;
    let field = |values: &[f64]| {
        let mut field = Array2::zeros((rows, columns));
        live.iter().zip(values).for_each(|(&p, &v)| field[[p / columns, p % columns]] = v);
        field
    };
    let method = "reverse correlation of responses with the stimulus at each position";
    let mut found = footprint(field(&test.max_t.statistic).view(), method, config)?;
    found.p = Some(test.max_t.adjusted_p.iter().copied().fold(1., f64::min));
    let drawn: Vec<[f64; 3]> = (0..config.replicates)
        .into_par_iter()
        .filter_map(|b| {
            let mut stream = seed.index(b).stream("bootstrap");
            let items: Vec<usize> = (0..images).map(|_| stream.random_range(0..images)).collect();
            let one = footprint(field(&drawn_correlations(&flat, response, &items)).view(), method, config);
            // A resample without any variation has no footprint.
            one.ok().map(|f| [f.row, f.column, f.area])
        })
        .collect();
    if drawn.len() > 1 {
        let tail = (1. - config.level) / 2.;
        found.intervals = Some([0, 1, 2].map(|k| {
            let mut values: Vec<f64> = drawn.iter().map(|d| d[k]).collect();
            values.sort_unstable_by(f64::total_cmp);
            [tail, 1. - tail].map(|q| values[(q * (values.len() - 1) as f64).round() as usize])
        }));
    }
    Ok(found)
}

/// Correlations over the images drawn; 0 where nothing varies.
fn drawn_correlations(flat: &Array2<f32>, response: &[f64], items: &[usize]) -> Vec<f64> {
    let count = items.len() as f64;
    let middle = items.iter().map(|&i| response[i]).sum::<f64>() / count;
    let square: f64 = items.iter().map(|&i| (response[i] - middle).powi(2)).sum();
    let mut sums = vec![[0.; 3]; flat.ncols()];
    for &i in items {
        let y = response[i] - middle;
        for (sum, (&x, &origin)) in sums.iter_mut().zip(flat.row(i).iter().zip(flat.row(0))) {
            let x = f64::from(x) - f64::from(origin);
            sum.iter_mut().zip([x, x * x, x * y]).for_each(|(s, v)| *s += v);
        }
    }
    sums.into_iter()
        .map(|[x, xx, xy]| {
            let size = (xx - x * x / count) * square;
            if size > 0. { xy / size.sqrt() } else { 0. }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::testing::{noise4, normals, on_one_and_two_threads};

    /// exp(-x^2 / 2 sx^2 - y^2 / 2 sy^2) is half at sx sqrt(2 ln 2): an ellipse of area 2 pi ln 2 sx sy.
    #[test]
    fn a_gaussian_has_its_axes_and_area() {
        let (sy, sx, turn) = (3.0f64, 6.0f64, 0.5f64);
        let field = Array2::from_shape_fn((80, 120), |(y, x)| {
            let (y, x) = ((y as f64 + 0.5) * 0.5 - 18., (x as f64 + 0.5) * 0.5 - 31.);
            let (u, v) = (x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin());
            -2. * (-u * u / (2. * sx * sx) - v * v / (2. * sy * sy)).exp()
        });
        let found = footprint(field.view(), "weights", &FootprintConfig::new([0.5, 0.5])).unwrap();
        let half = (2. * 2f64.ln()).sqrt();
        assert!((found.row - 18.).abs() < 0.1 && (found.column - 31.).abs() < 0.1, "{found}");
        assert!((found.semi_axes[0] - sx * half).abs() < 0.1, "{found:?}");
        assert!((found.semi_axes[1] - sy * half).abs() < 0.1, "{found:?}");
        assert!((found.orientation - turn).abs() < 0.02, "{found:?}");
        assert!((found.area / (2. * std::f64::consts::PI * 2f64.ln() * sx * sy) - 1.).abs() < 0.02);
    }

    #[test]
    fn reverse_correlation_finds_where_a_channel_looks() {
        let noise = noise4("stimulus", [200, 1, 10, 16]);
        let stimulus = Array3::from_shape_fn((200, 10, 16), |(i, y, x)| noise[[i, 0, y, x]]);
        let own = normals("own", 200);
        let weight = |y: usize, x: usize| {
            (-((y as f64 - 3.).powi(2) + (x as f64 - 11.).powi(2)) / (2. * 1.5f64.powi(2))).exp()
        };
        let response: Vec<f64> = (0..200)
            .map(|i| {
                own[i]
                    + stimulus
                        .index_axis(ndarray::Axis(0), i)
                        .indexed_iter()
                        .map(|((y, x), &v)| weight(y, x) * f64::from(v))
                        .sum::<f64>()
            })
            .collect();
        let config = FootprintConfig { permutations: 200, replicates: 100, ..FootprintConfig::new([2., 2.]) };
        let [found, two] = on_one_and_two_threads(|| {
            reverse_correlation(stimulus.view(), &response, &config, Seed::new(1)).unwrap()
        });
        assert_eq!(found, two);
        assert!((found.row - 7.).abs() < 1.5 && (found.column - 23.).abs() < 1.5, "{found}");
        assert!(found.p < Some(0.01));
        let [row, column, _] = found.intervals.unwrap();
        assert!(row[0] < 7. && row[1] > 7. && column[0] < 23. && column[1] > 23., "{row:?} {column:?}");
        let none = reverse_correlation(stimulus.view(), &own, &config, Seed::new(1)).unwrap();
        assert!(none.p > Some(0.05) && none.to_string().starts_with("no evidence"), "{none}");
        assert!(reverse_correlation(stimulus.view(), &[1.; 200], &config, Seed::new(1)).is_err());
        assert!(footprint(Array2::zeros((3, 3)).view(), "weights", &config).is_err());
    }
}
