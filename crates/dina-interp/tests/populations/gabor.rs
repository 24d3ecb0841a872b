//! A bank of Gabor filters, the plainest image tower that holds what neurons of V1 see.

use std::f32::consts::{PI, TAU};

use dina_stats::linalg::matmul;
use ndarray::{Array2, Array3, Array4, Axis};

use super::Result;

/// Cycles per degree, one an octave, and orientations.
const FREQUENCIES: [f32; 4] = [0.02, 0.04, 0.08, 0.16];
const ORIENTATIONS: usize = 4;

/// As [`raw`], every value standardised over images.
pub fn maps(pixels: &Array3<u8>, step: usize) -> Result<Array4<f32>> {
    let mut maps = raw(pixels, step)?;
    for mut values in maps.lanes_mut(Axis(0)) {
        let (mean, sd) = (values.mean().unwrap_or(0.), values.std(0.));
        values.mapv_inplace(|v| if sd > 0. { (v - mean) / sd } else { 0. });
    }
    Ok(maps)
}

/// Even and odd filters and the energy of the two, at every frequency, orientation and place of a grid of `step` degrees, on
/// contrast relative to the mean of each image: `[images, 48, rows, columns]`.
pub fn raw(pixels: &Array3<u8>, step: usize) -> Result<Array4<f32>> {
    let (images, height, width) = pixels.dim();
    let (rows, columns) = (height / step, width / step);
    let mut contrast = Array2::zeros((images, height * width));
    for (mut to, from) in contrast.outer_iter_mut().zip(pixels.outer_iter()) {
        let mean = from.iter().map(|&v| f32::from(v)).sum::<f32>() / from.len() as f32;
        to.iter_mut().zip(from).for_each(|(to, &v)| *to = (f32::from(v) - mean) / (mean + 5.));
    }
    let mut maps = Array4::zeros((images, 3 * FREQUENCIES.len() * ORIENTATIONS, rows, columns));
    for (bank, (frequency, orientation)) in FREQUENCIES
        .iter()
        .flat_map(|&f| (0..ORIENTATIONS).map(move |o| (f, PI * o as f32 / ORIENTATIONS as f32)))
        .enumerate()
    {
        let [even, odd] = [0., PI / 2.].map(|phase| {
            let mut filters = Array2::zeros((height * width, rows * columns));
            for (place, mut filter) in filters.columns_mut().into_iter().enumerate() {
                let centre = [place / columns, place % columns].map(|at| (at as f32 + 0.5) * step as f32);
                gabor(&mut filter, width, centre, frequency, orientation, phase);
            }
            matmul(contrast.view(), filters.view())
        });
        let (even, odd) = (even?, odd?);
        for ((image, place), &e) in even.indexed_iter() {
            let (o, at) = (odd[[image, place]], [place / columns, place % columns]);
            for (part, value) in [e, o, e.hypot(o)].into_iter().enumerate() {
                maps[[image, 3 * bank + part, at[0], at[1]]] = value;
            }
        }
    }
    Ok(maps)
}

/// Blind to the mean, 1 for the best grating of contrast 1.
fn gabor(
    filter: &mut ndarray::ArrayViewMut1<'_, f32>,
    width: usize,
    [row, column]: [f32; 2],
    frequency: f32,
    orientation: f32,
    phase: f32,
) {
    let sigma = 6.5 * (frequency / 0.04).powf(-0.4);
    let mut envelope = vec![0.; filter.len()];
    for (pixel, value) in filter.iter_mut().enumerate() {
        let y = (pixel / width) as f32 + 0.5 - row;
        let x = (pixel % width) as f32 + 0.5 - column;
        envelope[pixel] = (-0.5 * (x * x + y * y) / (sigma * sigma)).exp();
        let turn = TAU * frequency * (orientation.cos() * x + orientation.sin() * y) - phase;
        *value = envelope[pixel] * turn.cos();
    }
    let mass: f32 = envelope.iter().sum();
    let mean = filter.sum() / mass;
    filter.iter_mut().zip(&envelope).for_each(|(v, e)| *v = (*v - mean * e) * 2. / mass);
}
