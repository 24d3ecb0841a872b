//! Measures a simulated population with the yardsticks that it is calibrated against.
//!
//! `cargo run --release -p dina-data --example calibrate -- ['{"neurons": 1000}'] [--no-ridge]`
//!
//! The argument is a configuration in JSON; what it leaves out has its default.

use std::time::Instant;

use dina_data::{
    Images, Recording,
    simulate::{Simulation, SimulationConfig, simulate},
};
use faer::{Mat, Side, linalg::solvers::Solve};
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

type Failure = Box<dyn std::error::Error>;

/// Spontaneous components that the authors remove.
const COMPONENTS: usize = 32;
/// Ranks of the fit of the exponent, counted from 1.
const RANKS: std::ops::RangeInclusive<usize> = 11..=500;
/// Neurons in the ridge model.
const MODELLED: usize = 1_000;

fn main() -> Result<(), Failure> {
    let mut config = SimulationConfig::default();
    let mut ridge = true;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--no-ridge" => ridge = false,
            json => config = serde_json::from_str(json)?,
        }
    }
    let start = Instant::now();
    let simulation = simulate(&config, &|p| {
        if p.done == p.total {
            println!("{:?} done after {:.1} s", p.stage, start.elapsed().as_secs_f32());
        }
    })?;
    println!("simulated in {:.1} s", start.elapsed().as_secs_f32());
    println!("measured by the simulator: {:?}", simulation.truth.measured);

    let [first, second] = repeats(&simulation.recording)?;
    let correlation = column_correlations(&first, &second);
    println!("signal variance {:.4}", mean(&correlation));
    println!("  quartiles over neurons {:.3?}", quartiles(&correlation));
    let dot = first.dot(&second.t());
    println!("nearest neighbour, dot products {:.4}", top1(&dot));
    let (a, b) = (unit_rows(&first), unit_rows(&second));
    println!("nearest neighbour, correlation {:.4}", top1(&a.dot(&b.t())));
    let spectrum = cross_validated_spectrum(&first, &second)?;
    let shares: Vec<f64> = [1, 2, 5, 10, 30, 100, 300, 500]
        .iter()
        .filter_map(|&n| spectrum.get(n - 1).map(|v| v / spectrum[0]))
        .collect();
    println!("cvPCA spectrum at ranks 1 2 5 10 30 100 300 500: {shares:.4?}");
    println!("cvPCA exponent {:.4}", exponent(&spectrum));
    if ridge {
        explained(&simulation, &first, &second)?;
    }
    println!("done in {:.1} s", start.elapsed().as_secs_f32());
    Ok(())
}

/// The authors' preprocessing: z-scores by spontaneous activity, minus its first components,
/// centred; images x neurons for each repeat.
fn repeats(recording: &Recording) -> Result<[Array2<f32>; 2], Failure> {
    let spontaneous = recording.spontaneous().ok_or("no spontaneous activity")?;
    let mu = spontaneous.mean_axis(Axis(0)).ok_or("empty")?;
    let sd = spontaneous.std_axis(Axis(0), 0.0) + 1e-6;
    let spontaneous = (spontaneous - &mu) / &sd;
    let responses = (recording.responses() - &mu) / &sd;
    let gram = spontaneous.dot(&spontaneous.t());
    let (values, vectors) = eigen(&gram)?;
    let mut components = Array2::zeros((COMPONENTS, responses.ncols()));
    for (k, mut row) in components.outer_iter_mut().enumerate() {
        row.assign(&(vectors.column(k).dot(&spontaneous) / values[k].sqrt()));
    }
    let responses = &responses - &responses.dot(&components.t()).dot(&components);
    let pick = |repeat: usize| {
        let rows: Vec<usize> = recording.trials().iter().map(|t| t[repeat]).collect();
        responses.select(Axis(0), &rows)
    };
    let [mut a, mut b] = [pick(0), pick(1)];
    let centre = (a.mean_axis(Axis(0)).ok_or("empty")? + b.mean_axis(Axis(0)).ok_or("empty")?) / 2.0;
    a -= &centre;
    b -= &centre;
    Ok([a, b])
}

/// Eigenvalues, largest first, and eigenvectors in columns.
fn eigen(gram: &Array2<f32>) -> Result<(Vec<f32>, Array2<f32>), Failure> {
    let n = gram.nrows();
    let matrix = Mat::from_fn(n, n, |i, j| gram[[i, j]]);
    let eigen = matrix.self_adjoint_eigen(Side::Lower).map_err(|e| format!("{e:?}"))?;
    let values = (0..n).map(|i| eigen.S()[n - 1 - i]).collect();
    let vectors = Array2::from_shape_fn((n, n), |(i, j)| eigen.U()[(i, n - 1 - j)]);
    Ok((values, vectors))
}

fn cross_validated_spectrum(a: &Array2<f32>, b: &Array2<f32>) -> Result<Vec<f64>, Failure> {
    let gram = a.dot(&a.t());
    let (values, vectors) = eigen(&gram)?;
    // Projections on the neuron-space component n: repeat 1 gives sqrt(value) * vector.
    let cross = b.dot(&a.t()).dot(&vectors);
    Ok((0..values.len().min(1024)).map(|n| f64::from(vectors.column(n).dot(&cross.column(n)))).collect())
}

fn exponent(spectrum: &[f64]) -> f64 {
    let mut sums = [0.0; 5];
    for rank in RANKS {
        let Some(&value) = spectrum.get(rank - 1) else {
            break;
        };
        let (x, y, w) = ((rank as f64).ln(), value.abs().ln(), 1.0 / rank as f64);
        for (sum, term) in sums.iter_mut().zip([w, w * x, w * y, w * x * x, w * x * y]) {
            *sum += term;
        }
    }
    let [w, x, y, xx, xy] = sums;
    -(w * xy - x * y) / (w * xx - x * x)
}

fn top1(similarity: &Array2<f32>) -> f32 {
    let hits = similarity
        .outer_iter()
        .enumerate()
        .filter(|(i, row)| row.iter().enumerate().all(|(j, &v)| j == *i || v < row[*i]))
        .count();
    hits as f32 / similarity.nrows() as f32
}

fn unit_rows(a: &Array2<f32>) -> Array2<f32> {
    let mut a = a.clone();
    for mut row in a.outer_iter_mut() {
        let mean = row.mean().unwrap_or(0.0);
        row -= mean;
        let norm = row.dot(&row).sqrt();
        row /= norm;
    }
    a
}

fn column_correlations(a: &Array2<f32>, b: &Array2<f32>) -> Vec<f32> {
    let z = |a: &Array2<f32>| {
        let centred = a - &a.mean_axis(Axis(0)).unwrap_or_default();
        let sd = centred.std_axis(Axis(0), 0.0) + 1e-6;
        centred / sd
    };
    (z(a) * z(b)).mean_axis(Axis(0)).unwrap_or_default().to_vec()
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len() as f32
}

fn quartiles(values: &[f32]) -> [f32; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    [1, 2, 3].map(|q| sorted[(sorted.len() - 1) * q / 4])
}

/// Ridge regression from a Gabor pyramid: linear and energy features, penalty per neuron from
/// validation images, tested on a fifth of the images.
fn explained(simulation: &Simulation, first: &Array2<f32>, second: &Array2<f32>) -> Result<(), Failure> {
    let mut features = pyramid(&simulation.images, &simulation.truth.config);
    let images = features.nrows();
    let (test, rest) = (images / 5, images - images / 5);
    let train = rest - images / 10;
    let seen = features.slice(s![..train, ..]);
    let mu = seen.mean_axis(Axis(0)).ok_or("empty")?;
    let sd = seen.std_axis(Axis(0), 0.0) + 1e-6;
    features = (features - &mu) / &sd;
    println!("ridge: {} features, {train} training images", features.ncols());

    let neurons = first.ncols().min(MODELLED);
    let rates = simulation.truth.rates.t();
    let rates = rates.slice(s![.., ..neurons]);
    let noisy = (first + second) / 2.0;
    let noisy = noisy.slice(s![.., ..neurons]);
    let kernel = features.dot(&features.slice(s![..rest, ..]).t());
    for (name, target) in [("two noisy repeats", noisy), ("noise-free means", rates)] {
        let prediction = fit(&kernel, target, train, rest)?;
        let held_out = (rest..rest + test).collect::<Vec<_>>();
        let mut truth = Vec::new();
        let mut crossed = Vec::new();
        for i in (0..neurons).filter(|&i| simulation.truth.neurons[i].informative) {
            let p: Array1<f32> = held_out.iter().map(|&j| prediction[[j, i]]).collect();
            let column =
                |a: ArrayView2<f32>| -> Array1<f32> { held_out.iter().map(|&j| a[[j, i]]).collect() };
            // The rates are in units of their own: compare after the best scale for both.
            let r = correlation(&p, &column(rates));
            truth.push(r * r.abs());
            let (a, b) = (column(first.view()), column(second.view()));
            let reliable = (&a * &b).sum();
            if correlation(&a, &b) > 0.15 {
                crossed.push(1.0 - ((&a - &p) * (&b - &p)).sum() / reliable);
            }
        }
        println!("ridge on {name}: squared correlation with the noise-free mean {:.3?}", quartiles(&truth));
        if name.starts_with("two") {
            let trials = first.slice(s![rest.., ..neurons]);
            let candidates = prediction.slice(s![rest.., ..]);
            let similarity = unit_rows(&trials.to_owned()).dot(&unit_rows(&candidates.to_owned()).t());
            println!(
                "ridge encoding identifies {:.3} of single trials among {test} held-out images ({neurons} neurons, unweighted)",
                top1(&similarity)
            );
            println!(
                "  cross-repeat FEVE of {} neurons with r > 0.15 {:.3?}",
                crossed.len(),
                quartiles(&crossed)
            );
        }
    }
    Ok(())
}

fn correlation(a: &Array1<f32>, b: &Array1<f32>) -> f32 {
    let a = a - a.mean().unwrap_or(0.0);
    let b = b - b.mean().unwrap_or(0.0);
    a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt().max(1e-12)
}

/// Predictions for all images with the penalty that validation prefers for each neuron.
fn fit(
    kernel: &Array2<f32>,
    target: ArrayView2<f32>,
    train: usize,
    rest: usize,
) -> Result<Array2<f32>, Failure> {
    let centre = target.slice(s![..train, ..]).mean_axis(Axis(0)).ok_or("empty")?;
    let scale = kernel.slice(s![..train, ..train]).diag().mean().ok_or("empty")?;
    let solve = |penalty: f32, n: usize| -> Result<Array2<f32>, Failure> {
        let k = Mat::from_fn(n, n, |i, j| kernel[[i, j]] / scale + if i == j { penalty } else { 0.0 });
        let y = Mat::from_fn(n, target.ncols(), |i, j| target[[i, j]] - centre[j]);
        let weights = k.llt(Side::Lower).map_err(|e| format!("{e:?}"))?.solve(&y);
        let weights = Array2::from_shape_fn((n, target.ncols()), |(i, j)| weights[(i, j)] / scale);
        Ok(kernel.slice(s![.., ..n]).dot(&weights) + &centre)
    };
    let penalties = [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
    let mut best = vec![(f32::INFINITY, 0); target.ncols()];
    for (k, &penalty) in penalties.iter().enumerate() {
        let prediction = solve(penalty, train)?;
        for (i, best) in best.iter_mut().enumerate() {
            let difference = &prediction.slice(s![train..rest, i]) - &target.slice(s![train..rest, i]);
            let loss = difference.dot(&difference);
            if loss < best.0 {
                *best = (loss, k);
            }
        }
    }
    let mut chosen = Array2::zeros((kernel.nrows(), target.ncols()));
    for (k, &penalty) in penalties.iter().enumerate() {
        if best.iter().all(|b| b.1 != k) {
            continue;
        }
        let prediction = solve(penalty, rest)?;
        for i in (0..target.ncols()).filter(|&i| best[i].1 == k) {
            chosen.column_mut(i).assign(&prediction.column(i));
        }
    }
    Ok(chosen)
}

/// Even, odd and energy responses of Gabor filters on grids that follow their size, over the part
/// of the screen that the population sees; images x features.
fn pyramid(images: &Images, config: &SimulationConfig) -> Array2<f32> {
    let (_, height, width) = images.pixels.dim();
    let cortex = config.cortex();
    let centre = cortex.centre[1] * width as f32;
    let reach = 0.5 * cortex.span[1] + 3.0 * cortex.scatter;
    let (left, right) = ((centre - reach).max(0.0), (centre + reach).min(width as f32));
    let mut blocks = Vec::new();
    for frequency in [0.015_f32, 0.03, 0.06, 0.12] {
        let pitch = ((0.2 / frequency) as usize).clamp(1, 6);
        let (h, w) = (height / pitch, width / pitch);
        let small: Vec<Vec<f32>> = images
            .pixels
            .outer_iter()
            .map(|image| {
                let mean = image.iter().map(|&v| f32::from(v)).sum::<f32>() / image.len() as f32;
                (0..h * w)
                    .map(|p| {
                        let (r, c) = (p / w * pitch, p % w * pitch);
                        let block = image.slice(s![r..r + pitch, c..c + pitch]);
                        let sum = block.iter().map(|&v| f32::from(v)).sum::<f32>();
                        sum / (pitch * pitch) as f32 / (mean + 5.0) - 1.0
                    })
                    .collect()
            })
            .collect();
        let step = 0.35 / frequency;
        let sigma = 0.4 / frequency;
        let down = (height as f32 / step).ceil() as usize;
        let across = ((right - left) / step).ceil() as usize;
        let places: Vec<(f32, f32)> = (0..down * across)
            .map(|p| {
                let (i, j) = ((p / across) as f32 + 0.5, (p % across) as f32 + 0.5);
                (i * height as f32 / down as f32, left + j * (right - left) / across as f32)
            })
            .collect();
        let columns: Vec<Array2<f32>> = places
            .par_iter()
            .map(|&(y0, x0)| {
                let range = |centre: f32, end: usize| {
                    let low = ((centre - 2.5 * sigma) / pitch as f32).floor().max(0.0) as usize;
                    let high = ((centre + 2.5 * sigma) / pitch as f32).ceil() as usize;
                    low..high.min(end)
                };
                let (rows, cols) = (range(y0, h), range(x0, w));
                let size = rows.len() * cols.len();
                let mut window = Array2::zeros((size, small.len()));
                for (j, image) in small.iter().enumerate() {
                    let mut p = 0;
                    for r in rows.clone() {
                        for c in cols.clone() {
                            window[[p, j]] = image[r * w + c];
                            p += 1;
                        }
                    }
                }
                let mut filters = Array2::zeros((12, size));
                for o in 0..6 {
                    let angle = std::f32::consts::PI * o as f32 / 6.0;
                    let mut p = 0;
                    for r in rows.clone() {
                        for c in cols.clone() {
                            let y = (r as f32 + 0.5) * pitch as f32 - y0;
                            let x = (c as f32 + 0.5) * pitch as f32 - x0;
                            let g = (-0.5 * (x * x + y * y) / (sigma * sigma)).exp();
                            let turn =
                                std::f32::consts::TAU * frequency * (angle.cos() * x + angle.sin() * y);
                            filters[[2 * o, p]] = g * turn.cos();
                            filters[[2 * o + 1, p]] = g * turn.sin();
                            p += 1;
                        }
                    }
                }
                let linear = filters.dot(&window);
                let mut out = Array2::zeros((18, small.len()));
                out.slice_mut(s![..12, ..]).assign(&linear);
                for o in 0..6 {
                    for j in 0..small.len() {
                        out[[12 + o, j]] = linear[[2 * o, j]].hypot(linear[[2 * o + 1, j]]);
                    }
                }
                out
            })
            .collect();
        blocks.extend(columns);
    }
    let views: Vec<_> = blocks.iter().map(|b| b.view()).collect();
    ndarray::concatenate(Axis(0), &views)
        .unwrap_or_default()
        .reversed_axes()
        .as_standard_layout()
        .into_owned()
}
