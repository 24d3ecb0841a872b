use std::ops::Range;

use ndarray::{Array3, ArrayView2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{ImageTruth, NeuronTruth, Reference, SimulationConfig, drive, energy, look, retina};

/// Borders of the bands, in cycles per degree; the last is beyond the corner of the spectrum of
/// images with one degree a pixel.
const BORDERS: [f32; 5] = [0.0, 0.025, super::CUTOFF, 0.1, 0.71];
/// Reference images whose bands are shown, and informative neurons that they are shown to. Either
/// is a random sample, the same for every size of the recording.
const PROBES: usize = 64;

/// How much of the variance that images drive is due to what.
///
/// "Drive" is the response without noise and without its mean. Figures are means over informative
/// neurons; all are 0 where there are none. In a population of which only pairs depend on the image
/// the drive is what decides whether the two of a pair agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StimulusShares {
    /// Spatial frequency of what the neurons look at (see [`Look`](super::Look)), from low to high.
    pub bands: Vec<BandShare>,
    /// The category of the image.
    pub category: GroupShare,
    /// The silhouette of its objects.
    pub silhouette: GroupShare,
    /// The texture of its objects.
    pub texture: GroupShare,
}

/// What one band of spatial frequency explains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BandShare {
    /// Lower border, in cycles per degree.
    pub low: f32,
    /// Upper border, in cycles per degree; not part of the band.
    pub high: f32,
    /// Squared correlation, over 64 reference images, of the drive by images with the drive by this
    /// band of the same images alone; 0 where it is negative or the band drives nothing.
    ///
    /// Neurons are not linear: the bands need not add up to 1. With nothing in common it is 0.008 on
    /// average.
    pub explained: f32,
}

/// What the division of images into groups explains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupShare {
    /// Variance between groups over all variance of the drive by the images shown (eta squared).
    pub explained: f32,
    /// What images in random groups explain on average: (groups - 1) / (images - 1).
    pub chance: f32,
    /// The excess over chance as a share of what chance leaves (epsilon squared), 0 on average
    /// without any dependence.
    pub adjusted: f32,
}

impl StimulusShares {
    /// `signals` has a row for every neuron, or every pair, and a column for every image.
    pub(super) fn new(bands: Vec<BandShare>, signals: ArrayView2<f32>, images: &[ImageTruth]) -> Self {
        let group = |of: fn(&ImageTruth) -> usize| {
            GroupShare::new(signals, &images.iter().map(of).collect::<Vec<_>>())
        };
        Self {
            bands,
            category: group(|i| i.category as usize),
            silhouette: group(|i| i.silhouette as usize),
            texture: group(|i| i.texture as usize),
        }
    }
}

impl GroupShare {
    fn new(signals: ArrayView2<f32>, groups: &[usize]) -> Self {
        let images = groups.len();
        let mut counts = vec![0_usize; groups.iter().max().map_or(0, |most| most + 1)];
        groups.iter().for_each(|&g| counts[g] += 1);
        let present = counts.iter().filter(|&&count| count > 0).count();
        let chance = present.saturating_sub(1) as f32 / images.saturating_sub(1).max(1) as f32;
        let shares: Vec<f32> = signals
            .outer_iter()
            .into_par_iter()
            .filter_map(|signal| {
                let mean = signal.iter().map(|&v| f64::from(v)).sum::<f64>() / images as f64;
                let mut sums = vec![0.0; counts.len()];
                let mut total = 0.0;
                for (&value, &group) in signal.iter().zip(groups) {
                    let deviation = f64::from(value) - mean;
                    sums[group] += deviation;
                    total += deviation * deviation;
                }
                let between: f64 =
                    sums.iter().zip(&counts).map(|(sum, &count)| sum * sum / count.max(1) as f64).sum();
                // Rounding of a constant is no variance.
                (total > 1e-9 * mean * mean * images as f64).then(|| (between / total) as f32)
            })
            .collect();
        if shares.is_empty() {
            return Self { explained: 0.0, chance, adjusted: 0.0 };
        }
        let explained = shares.iter().sum::<f32>() / shares.len() as f32;
        let adjusted = if chance < 1.0 { (explained - chance) / (1.0 - chance) } else { 0.0 };
        Self { explained, chance, adjusted }
    }
}

/// Measures what each band explains, by showing it alone.
pub(super) fn bands(
    config: &SimulationConfig,
    reference: &Reference,
    neurons: &[NeuronTruth],
) -> Vec<BandShare> {
    let seeing: Vec<_> =
        neurons.iter().filter(|n| n.informative && !n.subunits.is_empty()).take(PROBES).collect();
    let borders = BORDERS.windows(2).map(|b| b[0]..b[1]);
    let explained = if seeing.is_empty() {
        vec![0.0; borders.len()]
    } else {
        explained(config, reference, &seeing, borders.clone())
    };
    borders.zip(explained).map(|(b, explained)| BandShare { low: b.start, high: b.end, explained }).collect()
}

fn explained(
    config: &SimulationConfig,
    reference: &Reference,
    neurons: &[&NeuronTruth],
    bands: impl ExactSizeIterator<Item = Range<f32>>,
) -> Vec<f32> {
    let cortex = config.cortex();
    let whole = cortex.look.planes(&reference.maker, &reference.images, reference.seed);
    let probes = whole.slice(s![..PROBES, .., ..]);
    let count = bands.len();
    let parts: Vec<Array3<f32>> = bands.map(|band| look::filtered(probes.to_owned(), &band)).collect();
    let sets: Vec<_> = std::iter::once(&whole).chain(&parts).map(|p| p.view()).collect();
    let retina = retina::Retina::of(&sets);
    let scales = 0..whole.len_of(Axis(0));
    let energy = energy::Energy::new(&retina, config, scales.clone());
    let mut sums = vec![0.0; count];
    let rows: Vec<Vec<f32>> = neurons
        .par_iter()
        .map_init(Vec::new, |block, neuron| {
            let rates = drive::drive(neuron, &retina, &energy, &scales, block, cortex.semi_saturation);
            let all: Vec<f32> = (0..PROBES)
                .map(|i| neuron.driven(rates[i], reference.categories[i], cortex.category_share))
                .collect();
            (0..count)
                .map(|band| {
                    let first = scales.end + band * PROBES;
                    squared_correlation(&all, &rates[first..first + PROBES])
                })
                .collect()
        })
        .collect();
    for row in &rows {
        sums.iter_mut().zip(row).for_each(|(sum, share)| *sum += share);
    }
    sums.iter().map(|sum| sum / rows.len() as f32).collect()
}

/// Squared correlation of `part` with `all`; 0 where it is negative, or where either is constant but
/// for rounding.
fn squared_correlation(all: &[f32], part: &[f32]) -> f32 {
    let n = all.len() as f64;
    let mean = |v: &[f32]| v.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let (a, b) = (mean(all), mean(part));
    let mut sums = [0.0; 3];
    for (&x, &y) in all.iter().zip(part) {
        let (x, y) = (f64::from(x) - a, f64::from(y) - b);
        for (sum, term) in sums.iter_mut().zip([x * x, y * y, x * y]) {
            *sum += term;
        }
    }
    let [xx, yy, xy] = sums;
    if xy <= 0.0 || yy <= 1e-6 * xx || xx <= 1e-9 * n * a * a {
        return 0.0;
    }
    (xy * xy / (xx * yy)) as f32
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn groups_explain_what_they_should() {
        let signals = array![[1.0, 1.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0]];
        let groups = GroupShare::new(signals.view(), &[0, 0, 1, 1]);
        // The constant row has no variance to share.
        assert_eq!((groups.explained, groups.adjusted), (1.0, 1.0));
        assert!((groups.chance - 1.0 / 3.0).abs() < 1e-6);
        let crossed = GroupShare::new(signals.view(), &[0, 1, 0, 1]);
        assert_eq!(crossed.explained, 0.0);
        assert!((crossed.adjusted + 0.5).abs() < 1e-6);
        // Sums of squares within groups, 0.5 and 2, of 4.75.
        let graded = GroupShare::new(array![[0.0, 1.0, 1.0, 3.0]].view(), &[0, 0, 1, 1]);
        assert!((graded.explained - (1.0 - 2.5 / 4.75)).abs() < 1e-6, "{graded:?}");
    }

    #[test]
    fn a_correlation_needs_variance_and_the_same_direction() {
        let all = [1.0, 2.0, 3.0, 4.0];
        assert!((squared_correlation(&all, &[2.0, 4.0, 6.0, 8.0]) - 1.0).abs() < 1e-6);
        assert_eq!(squared_correlation(&all, &[4.0, 3.0, 2.0, 1.0]), 0.0);
        assert_eq!(squared_correlation(&all, &[1.0, 1.0, 1.0, 1.0 + 1e-7]), 0.0);
        // By hand: covariance 1 with variances 5 and 1.
        assert!((squared_correlation(&all, &[0.0, 1.0, 0.0, 1.0]) - 0.2).abs() < 1e-6);
    }
}
