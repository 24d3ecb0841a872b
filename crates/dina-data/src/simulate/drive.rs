use std::ops::Range;

use super::{NeuronTruth, energy::Energy, retina::Retina};

/// Standard deviation below which a drive is constant but for rounding.
const STILL: f32 = 1e-6;
/// Keeps the logarithm of an idle subunit finite: a product is never more than this far from zero.
const IDLE: f32 = 0.05;
/// Steepness of the smooth rectifier, per standard deviation of the drive.
const STEEPNESS: f32 = 5.0;

/// Rate that each image drives in a neuron above its baseline, in the order of the retina's images.
///
/// Gabor subunits, half rectified (simple) or phase invariant (complex), are divided by local
/// contrast energy, joined by a sum or a product, inhibited by suppressive subunits, divided by
/// the surround, and passed through a threshold and a power. Scales are set on the `reference`
/// images, as cortex adapts to natural scenes; so they do not depend on the images of interest.
pub(super) fn drive(
    neuron: &NeuronTruth,
    retina: &Retina,
    energy: &Energy,
    reference: &Range<usize>,
    block: &mut Vec<f32>,
    semi_saturation: f32,
) -> Vec<f32> {
    if !neuron.informative || neuron.subunits.is_empty() {
        return vec![0.0; retina.images()];
    }
    let (local, surround) = energy.at(neuron.row, neuron.column, neuron.orientation);
    let units = subunits(neuron, retina, &local, reference, block, semi_saturation);
    let excitatory = neuron.subunits.iter().filter(|s| !s.suppressive).count();
    let (excitatory, suppressive) = units.split_at(excitatory);

    let images = retina.images();
    let sum = average(excitatory, images, |v| v);
    let mut product = average(excitatory, images, |v| (v + IDLE).ln());
    product.iter_mut().for_each(|v| *v = v.exp());
    scale_to_unit_power(&mut product, reference);
    let against = average(suppressive, images, |v| v);

    let mut drive: Vec<f32> = (0..images)
        .map(|i| {
            let joined = (1.0 - neuron.conjunction) * sum[i] + neuron.conjunction * product[i];
            (joined - neuron.suppression * against[i]) / (1.0 + neuron.surround * surround[i])
        })
        .collect();
    let (mean, sd) = moments(&drive[reference.clone()]);
    if sd <= STILL {
        // Nothing ever happens where this neuron looks.
        return vec![0.0; images];
    }
    for v in &mut drive {
        *v = output(neuron, (*v - mean) / sd);
    }
    let (_, sd) = moments(&drive[reference.clone()]);
    drive.iter_mut().for_each(|v| *v *= neuron.amplitude / sd);
    drive
}

/// Threshold and power of a standardised drive.
pub(super) fn output(neuron: &NeuronTruth, drive: f32) -> f32 {
    let above = STEEPNESS * (drive - neuron.threshold);
    (softplus(above) / STEEPNESS).powf(neuron.exponent)
}

/// Normalised responses of the subunits, each with unit power over the reference images.
fn subunits(
    neuron: &NeuronTruth,
    retina: &Retina,
    local: &[f32],
    reference: &Range<usize>,
    block: &mut Vec<f32>,
    semi_saturation: f32,
) -> Vec<Vec<f32>> {
    let window = retina.window(&neuron.subunits);
    let filters = retina.filters(&window, &neuron.subunits);
    let products = retina.filter(&window, &filters, block);
    (0..neuron.subunits.len())
        .map(|k| {
            let even = products.row(2 * k);
            let odd = products.row(2 * k + 1);
            let mut unit: Vec<f32> = even
                .iter()
                .zip(odd)
                .zip(local)
                .map(|((&e, &o), &local)| {
                    let simple = e.max(0.0);
                    let complex = (e * e + o * o).sqrt();
                    let rectified = simple + neuron.complexity * (complex - simple);
                    rectified / (semi_saturation + local)
                })
                .collect();
            scale_to_unit_power(&mut unit, reference);
            unit
        })
        .collect()
}

/// Mean over units, for each image; zero without units.
fn average(units: &[Vec<f32>], images: usize, of: impl Fn(f32) -> f32) -> Vec<f32> {
    let share = 1.0 / units.len().max(1) as f32;
    let mut mean = vec![0.0; images];
    for unit in units {
        for (mean, &value) in mean.iter_mut().zip(unit) {
            *mean += share * of(value);
        }
    }
    mean
}

fn scale_to_unit_power(values: &mut [f32], reference: &Range<usize>) {
    let seen = &values[reference.clone()];
    let power = seen.iter().map(|v| v * v).sum::<f32>() / seen.len() as f32;
    let scale = 1.0 / power.sqrt().max(1e-6);
    values.iter_mut().for_each(|v| *v *= scale);
}

/// Mean and standard deviation; the latter at least [`STILL`].
pub(super) fn moments(values: &[f32]) -> (f32, f32) {
    let n = values.len() as f32;
    let mean = values.iter().sum::<f32>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n;
    (mean, variance.sqrt().max(STILL))
}

fn softplus(x: f32) -> f32 {
    if x > 15.0 { x } else { x.exp().ln_1p() }
}
