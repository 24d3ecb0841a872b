//! Shape against texture in populations that see one of the two: the same neurons are shown silhouettes, synthesised textures and
//! phase-scrambled versions of scenes, as an experiment would.

use dina_data::{
    Recording,
    simulate::{Population, Scenes, SimulationConfig, simulate},
    stimulus::{Texture, TextureConfig},
};
use dina_interp::{
    ShapeTextureAnalysis, ShapeTextureConfig, StimulusVersions, neurons::LinearReadIn, shape_texture,
};
use dina_stats::linalg::{matmul, symmetric_eigen};
use ndarray::{Array1, Array2, Array4, ArrayView2, Axis, s};

use super::{Result, analysis, gabor, ridge};

const IMAGES: usize = 520;
const TRAIN: usize = 400;
const STEP: usize = 12;

/// What the two towers say that a population codes.
pub struct ShapeOrTexture {
    /// The neural tower: a read-in fitted on photographs, of responses to all versions.
    pub neural: ShapeTextureAnalysis,
    /// An encoding model of pixels, fitted on responses to photographs and shown all versions; a channel is a neuron.
    pub encoding: ShapeTextureAnalysis,
    /// Mean correlation over informative neurons of what the encoding model says with responses to photographs that it was
    /// not fitted on.
    pub predicted: f64,
}

/// 100 neurons, two presentations of every version of 120 images; towers fitted on 400 others.
pub fn shape_or_texture(population: Population, seed: u64) -> Result<ShapeOrTexture> {
    let config = SimulationConfig {
        neurons: 100,
        images: IMAGES,
        height: 36,
        width: 72,
        gray_every: 0,
        spontaneous_bins: 0,
        seed,
        ..SimulationConfig::new(population)
    };
    let simulation = simulate(&config, &|_| ())?;
    let seed = analysis(seed);
    let scenes = simulation.scenes().select(&(TRAIN..IMAGES).collect::<Vec<_>>())?;
    // The screen is 36 degrees high: two scales leave 9 pixels in the low-pass residual.
    let texture = Texture { config: TextureConfig { scales: 2, iterations: 15, ..Default::default() } };
    let versions = [
        scenes.silhouettes_alone(&Default::default())?,
        scenes.surfaces_alone(&texture, seed.child("texture"))?,
        scenes.phase_scrambled(seed.child("phases"))?,
    ];

    // Standard scores by the photographs of the fit.
    let photographs = means(&simulation.recording);
    let fit = photographs.slice(s![..TRAIN, ..]);
    let centre = fit.mean_axis(Axis(0)).ok_or("no images")?;
    let size = fit.std_axis(Axis(0), 0.);
    let scores = |means: &Array2<f32>| (means - &centre) / &size;
    let photographs = scores(&photographs);
    let pixels = &simulation.images.pixels;
    let filtered = gabor::maps(pixels, STEP)?;
    let weights = ridge(photographs.slice(s![..TRAIN, ..]), &filtered)?;
    let read_in = LinearReadIn { weights: weights.view() };
    let neural = |version: &Scenes, name: &str| -> Result<Array4<f32>> {
        let responses = simulation.respond(version, 2, seed.child("responses").child(name))?;
        Ok(read_in.maps(scores(&means(&responses)).view())?)
    };
    let original = read_in.maps(photographs.slice(s![TRAIN.., ..]))?;
    let [shape, patch, scrambled] =
        [neural(&versions[0], "shape")?, neural(&versions[1], "texture")?, neural(&versions[2], "phases")?];

    let model = Encoding::fit(
        &gabor::raw(&pixels.slice(s![..TRAIN, .., ..]).to_owned(), STEP)?,
        photographs.slice(s![..TRAIN, ..]),
    )?;
    let seen = model.predict(&gabor::raw(&scenes.images.pixels, STEP)?)?;
    let [a, b, c] =
        versions.each_ref().map(|v| -> Result<_> { model.predict(&gabor::raw(&v.images.pixels, STEP)?) });
    let predicted = correlation(&seen, &photographs.slice(s![TRAIN.., ..]).to_owned());
    let informative: Vec<f64> = predicted
        .iter()
        .zip(&simulation.truth.neurons)
        .filter(|(_, n)| n.informative)
        .map(|(r, _)| *r)
        .collect();
    Ok(ShapeOrTexture {
        neural: compared([&original, &shape, &patch, &scrambled], seed)?,
        encoding: compared([seen, a?, b?, c?].map(maps).each_ref(), seed)?,
        predicted: informative.iter().sum::<f64>() / informative.len().max(1) as f64,
    })
}

fn compared(
    [original, shape, texture, scrambled]: [&Array4<f32>; 4],
    seed: dina_core::Seed,
) -> Result<ShapeTextureAnalysis> {
    let versions = StimulusVersions {
        original: original.view(),
        shape: shape.view(),
        texture: texture.view(),
        scrambled: scrambled.view(),
    };
    let config = ShapeTextureConfig { permutations: 300, replicates: 200, ..Default::default() };
    Ok(shape_texture(&versions, &config, seed)?)
}

/// Means over repeats, images x neurons.
fn means(recording: &Recording) -> Array2<f32> {
    let mut means = Array2::zeros((recording.images(), recording.neurons()));
    for (mut mean, trials) in means.outer_iter_mut().zip(recording.trials()) {
        for &t in &trials {
            mean.scaled_add(1. / trials.len() as f32, &recording.responses().row(t));
        }
    }
    means
}

/// One channel a neuron.
fn maps(responses: Array2<f32>) -> Array4<f32> {
    responses.insert_axis(Axis(2)).insert_axis(Axis(3))
}

/// Ridge regression of responses on standardised filters, with a penalty of as much as there are values.
struct Encoding {
    centre: Array1<f32>,
    size: Array1<f32>,
    weights: Array2<f32>,
}

impl Encoding {
    fn fit(filters: &Array4<f32>, responses: ArrayView2<'_, f32>) -> Result<Self> {
        let rows = flat(filters);
        let centre = rows.mean_axis(Axis(0)).ok_or("no images")?;
        let size = rows.std_axis(Axis(0), 0.).mapv(|v| v.max(1e-6));
        let rows = (rows - &centre) / &size;
        let eigen = symmetric_eigen(matmul(rows.view(), rows.t())?.view())?;
        let mut inner = matmul(eigen.vectors.t(), responses)?;
        for (mut row, value) in inner.outer_iter_mut().zip(&eigen.values) {
            row.mapv_inplace(|v| v / (value + rows.ncols() as f32));
        }
        let weights = matmul(rows.t(), matmul(eigen.vectors.view(), inner.view())?.view())?;
        Ok(Self { centre, size, weights })
    }

    fn predict(&self, filters: &Array4<f32>) -> Result<Array2<f32>> {
        Ok(matmul(((flat(filters) - &self.centre) / &self.size).view(), self.weights.view())?)
    }
}

fn flat(maps: &Array4<f32>) -> Array2<f32> {
    let images = maps.len_of(Axis(0));
    let values: Vec<f32> = maps.iter().copied().collect();
    let width = values.len() / images;
    Array2::from_shape_fn((images, width), |(i, v)| values[i * width + v])
}

/// Of matching columns.
fn correlation(a: &Array2<f32>, b: &Array2<f32>) -> Vec<f64> {
    a.columns()
        .into_iter()
        .zip(b.columns())
        .map(|(a, b)| {
            let (a, b) = (a.mapv(f64::from), b.mapv(f64::from));
            let (a, b) = (&a - a.mean().unwrap_or(0.), &b - b.mean().unwrap_or(0.));
            let size = (a.dot(&a) * b.dot(&b)).sqrt();
            if size > 0. { a.dot(&b) / size } else { 0. }
        })
        .collect()
}
