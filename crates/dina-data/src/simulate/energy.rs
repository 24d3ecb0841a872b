use std::f32::consts::PI;

use ndarray::{Array2, Array3, Axis, s};
use rayon::prelude::*;

use super::{SimulationConfig, Subunit, retina::Retina};

/// Degrees between the places at which contrast energy is measured.
const STEP: f32 = 5.0;
/// Preferred frequencies of the bank, in cycles per degree: one an octave.
const FREQUENCIES: [f32; 4] = [0.02, 0.04, 0.08, 0.16];
const ORIENTATIONS: usize = 4;
/// Standard deviations, in degrees, of the normalisation pool and of the surround's outer and
/// inner border.
const POOL: f32 = 8.0;
const SURROUND: f32 = 18.0;
const CENTRE: f32 = 7.0;

/// Contrast energy around every place, which divides the drive of the neurons there.
///
/// It comes from a bank of its own and not from the simulated neurons, so that a neuron does not
/// depend on how many others are simulated.
pub(super) struct Energy {
    row: f32,
    column: f32,
    /// Places down and across.
    grid: [usize; 2],
    /// Places x images, mean 1 over reference images.
    local: Array2<f32>,
    /// Orientation x places x images, mean 1 over reference images.
    surround: Array3<f32>,
}

/// Where a neuron reads the maps: four places and their weights.
struct Corners([(usize, f32); 4]);

impl Energy {
    /// Measures where the configuration may place neurons. `reference` are the images that set the
    /// unit.
    pub fn new(retina: &Retina, config: &SimulationConfig, reference: std::ops::Range<usize>) -> Self {
        let extents = [config.height as f32, config.width as f32];
        let cortex = config.cortex();
        let [rows, columns] = [0, 1].map(|axis| {
            let centre = cortex.centre[axis] * extents[axis];
            // Two standard deviations of scatter; the few neurons beyond read the border, and the
            // surround needs as much again.
            let regions = cortex.regions[axis] as f32;
            let reach = 0.5 * cortex.span[axis]
                + 2.0 * cortex.scatter
                + SURROUND
                + 0.5 * (1.0 - 1.0 / regions) * extents[axis];
            [centre - reach, centre + reach].map(|edge| edge.clamp(0.0, extents[axis]))
        });
        let count = |[low, high]: [f32; 2]| ((high - low) / STEP).ceil().max(0.0) as usize + 1;
        let grid = [count(rows), count(columns)];
        let places: Vec<[f32; 2]> = (0..grid[0] * grid[1])
            .map(|p| [rows[0] + STEP * (p / grid[1]) as f32, columns[0] + STEP * (p % grid[1]) as f32])
            .collect();
        let mut raw = Array3::zeros((ORIENTATIONS, places.len(), retina.images()));
        let seen = cortex.look.band();
        let frequencies: Vec<f32> = FREQUENCIES.into_iter().filter(|f| seen.contains(f)).collect();
        for &frequency in &frequencies {
            let mut band = band(retina, &places, frequency);
            let unit = mean(&band, &reference);
            band *= 1.0 / (unit * frequencies.len() as f32);
            raw += &band;
        }
        let pooled = |map: &Array2<f32>, weight: &(dyn Fn(f32) -> f32 + Sync)| pool(&places, weight).dot(map);
        let total = raw.mean_axis(Axis(0)).unwrap_or_default();
        let mut local = pooled(&total, &|d| gauss(d, POOL));
        let unit = local.slice(s![.., reference.clone()]).mean().unwrap_or(1.0);
        local *= 1.0 / unit.max(1e-6);
        let maps: Vec<Array2<f32>> = (0..ORIENTATIONS)
            .into_par_iter()
            .map(|o| {
                pooled(&raw.index_axis(Axis(0), o).to_owned(), &|d| {
                    gauss(d, SURROUND) * (1.0 - gauss(d, CENTRE))
                })
            })
            .collect();
        let views: Vec<_> = maps.iter().map(|m| m.view()).collect();
        let mut surround = ndarray::stack(Axis(0), &views).unwrap_or_default();
        surround *= 1.0 / mean(&surround, &reference);
        Self { row: rows[0], column: columns[0], grid, local, surround }
    }

    /// Local energy and the energy of the surround at the given orientation, per image.
    pub fn at(&self, row: f32, column: f32, orientation: f32) -> (Vec<f32>, Vec<f32>) {
        let corners = self.corners(row, column);
        let turn = orientation.rem_euclid(PI) / PI * ORIENTATIONS as f32;
        let nearest = turn.round() as usize % ORIENTATIONS;
        (corners.read(&self.local.view()), corners.read(&self.surround.index_axis(Axis(0), nearest)))
    }

    fn corners(&self, row: f32, column: f32) -> Corners {
        let axis = |value: f32, origin: f32, count: usize| {
            let place = ((value - origin) / STEP).clamp(0.0, (count - 1) as f32);
            let low = (place as usize).min(count.saturating_sub(2));
            let high = (low + 1).min(count - 1);
            (low, high, place - low as f32)
        };
        let (top, bottom, dy) = axis(row, self.row, self.grid[0]);
        let (left, right, dx) = axis(column, self.column, self.grid[1]);
        let at = |r: usize, c: usize| r * self.grid[1] + c;
        Corners([
            (at(top, left), (1.0 - dy) * (1.0 - dx)),
            (at(top, right), (1.0 - dy) * dx),
            (at(bottom, left), dy * (1.0 - dx)),
            (at(bottom, right), dy * dx),
        ])
    }
}

impl Corners {
    fn read(&self, map: &ndarray::ArrayView2<f32>) -> Vec<f32> {
        let mut values = vec![0.0; map.ncols()];
        for (place, weight) in self.0 {
            for (value, from) in values.iter_mut().zip(map.row(place)) {
                *value += weight * from;
            }
        }
        values
    }
}

/// Energy in one frequency band, orientation x places x images.
fn band(retina: &Retina, places: &[[f32; 2]], frequency: f32) -> Array3<f32> {
    let rows: Vec<Array2<f32>> = places
        .par_iter()
        .map_init(Vec::new, |block, &[row, column]| {
            let subunits: Vec<Subunit> = (0..ORIENTATIONS)
                .map(|o| Subunit {
                    row,
                    column,
                    // An octave and a half of bandwidth.
                    sigma: 0.4 / frequency,
                    frequency,
                    orientation: PI * o as f32 / ORIENTATIONS as f32,
                    phase: 0.0,
                    suppressive: false,
                })
                .collect();
            let window = retina.window(&subunits);
            let products = retina.filter(&window, &retina.filters(&window, &subunits), block);
            let mut energy = Array2::zeros((ORIENTATIONS, retina.images()));
            for (o, mut out) in energy.outer_iter_mut().enumerate() {
                let (even, odd) = (products.row(2 * o), products.row(2 * o + 1));
                ndarray::Zip::from(&mut out).and(even).and(odd).for_each(|e, a, b| *e = a.hypot(*b));
            }
            energy
        })
        .collect();
    let views: Vec<_> = rows.iter().map(|r| r.view()).collect();
    let mut stacked = ndarray::stack(Axis(0), &views).unwrap_or_default();
    stacked.swap_axes(0, 1);
    stacked
}

fn mean(maps: &Array3<f32>, images: &std::ops::Range<usize>) -> f32 {
    maps.slice(s![.., .., images.clone()]).mean().unwrap_or(1.0).max(1e-6)
}

/// Weights of all places around each, by distance; rows sum to 1.
fn pool(places: &[[f32; 2]], weight: &(dyn Fn(f32) -> f32 + Sync)) -> Array2<f32> {
    let mut weights = Array2::from_shape_fn((places.len(), places.len()), |(i, j)| {
        let [dy, dx] = [0, 1].map(|a| places[i][a] - places[j][a]);
        weight(dy.hypot(dx))
    });
    for mut row in weights.outer_iter_mut() {
        let sum = row.sum().max(1e-6);
        row /= sum;
    }
    weights
}

fn gauss(distance: f32, sigma: f32) -> f32 {
    (-0.5 * (distance / sigma).powi(2)).exp()
}
