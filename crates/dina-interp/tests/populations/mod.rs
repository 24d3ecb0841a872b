//! Simulated populations, and the analyses of them that have to return what is true of each: what the tests assert on one
//! seed, and what the example `recovery` counts on others.
//!
//! The two towers are as plain as can be. The image side is, for questions of place, the contrast energy of squares of pixels, and for
//! questions of neurons a bank of Gabor filters ([`gabor`]): neurons that see what the image tower does not hold contribute
//! nothing to alignment, and cannot be found by it. The neural side is a ridge read-in that is fitted on other images than
//! those analysed.

mod gabor;
mod versions;

use dina_core::Seed;
use dina_data::simulate::{Population, Simulation, SimulationConfig, simulate};
use dina_interp::{
    alignment_scores,
    interaction::{
        InteractionConfig, Interactions, NoiseConfig, NoiseCorrelationEffect, map_interactions,
        noise_correlation_effect,
    },
    neurons::{
        Baseline, Concentration, ConcentrationConfig, ContributionConfig, Contributions, CrossFitConfig,
        CurveConfig, LinearReadIn, MinimalConfig, MinimalSubsets, Recovery, Silenced, SubsetCurves,
        SubsetMethod, concentration, cross_fitted_contributions, linear_contributions, minimal_subsets,
        recovery, subset_curves,
    },
    space::{ProfileConfig, SpatialProfile, spatial_profile},
};
use dina_stats::{
    linalg::{matmul, symmetric_eigen},
    multiplicity::holm,
};
use ndarray::{Array2, Array4, ArrayView2, Axis, s};

pub use versions::shape_or_texture;

/// Whatever goes wrong.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const IMAGES: usize = 1000;
const TRAIN: usize = 600;
/// Degrees between filters.
const STEP: usize = 6;

/// Seed of the analyses of the population of a seed.
fn analysis(seed: u64) -> Seed {
    Seed::new(seed + 1)
}

/// A recording with its towers: `image`, `weights` and `responses` on images that the read-in was not fitted on, the rest on all.
pub struct World {
    pub simulation: Simulation,
    image: Array4<f32>,
    weights: Array4<f32>,
    responses: Array2<f32>,
    filtered: Array4<f32>,
    all: Array2<f32>,
    cell: usize,
    seed: Seed,
}

impl World {
    /// 100 neurons, maps of 3 x 6 positions: enough to ask which neurons contribute.
    pub fn small(population: Population, seed: u64) -> Result<Self> {
        Self::new(population, 100, (36, 72), 12, seed)
    }

    /// 300 neurons, maps of 6 x 20 positions: enough to ask where alignment is.
    pub fn wide(population: Population, seed: u64) -> Result<Self> {
        Self::new(population, 300, (36, 120), 6, seed)
    }

    fn new(
        population: Population,
        neurons: usize,
        (height, width): (usize, usize),
        cell: usize,
        seed: u64,
    ) -> Result<Self> {
        let config = SimulationConfig {
            neurons,
            images: IMAGES,
            height,
            width,
            gray_every: 0,
            spontaneous_bins: 0,
            seed,
            ..SimulationConfig::new(population)
        };
        let simulation = simulate(&config, &|_| ())?;
        let image = energy(&simulation, cell);
        let responses = averages(&simulation)?;
        let weights = ridge(responses.slice(s![..TRAIN, ..]), &image)?;
        let image = image.slice(s![TRAIN.., .., .., ..]).to_owned();
        let held = responses.slice(s![TRAIN.., ..]).to_owned();
        let filtered = gabor::maps(&simulation.images.pixels, STEP)?;
        let seed = analysis(seed);
        Ok(Self { simulation, image, weights, responses: held, filtered, all: responses, cell, seed })
    }

    fn read_in(&self) -> LinearReadIn<'_> {
        LinearReadIn { weights: self.weights.view() }
    }

    /// Which neurons respond to images.
    pub fn informative(&self) -> Vec<bool> {
        self.simulation.truth.neurons.iter().map(|n| n.informative).collect()
    }

    /// What each neuron adds to the alignment with the filters, all images being held out in turn.
    pub fn contributions(&self) -> Result<Contributions> {
        let test = ContributionConfig { permutations: 200, replicates: 200, ..Default::default() };
        let config = CrossFitConfig { test, ..Default::default() };
        Ok(cross_fitted_contributions(self.filtered.view(), self.all.view(), &config, self.seed)?)
    }

    /// The area that no tower is needed for: by the correlation of each neuron's two repeats. It says how much of the truth is in
    /// the responses at all.
    pub fn reliability(&self) -> Result<Recovery> {
        let recording = &self.simulation.recording;
        let trials = recording.trials();
        let repeat = |r: usize| {
            let rows: Vec<usize> = trials.iter().map(|t| t[r]).collect();
            let mut values = recording.responses().select(Axis(0), &rows).mapv(f64::from);
            let (mean, sd) = (values.mean_axis(Axis(0)).unwrap_or_default(), values.std_axis(Axis(0), 0.));
            values -= &mean;
            values / &sd
        };
        let correlations = (repeat(0) * repeat(1)).mean_axis(Axis(0)).ok_or("no images")?;
        Ok(recovery(&correlations.to_vec(), &self.informative(), 0.95)?)
    }

    /// How well contributions tell informative neurons from others.
    pub fn recovery(&self, found: &Contributions) -> Result<Recovery> {
        Ok(recovery(&found.estimates(), &self.informative(), 0.95)?)
    }

    pub fn concentration(&self, found: &Contributions) -> Result<Concentration> {
        let config = ConcentrationConfig { permutations: 300, replicates: 200, ..Default::default() };
        Ok(concentration(found, &config, self.seed)?)
    }

    /// As many neurons as are informative, of a read-in to the filters, on images that it was not fitted on.
    pub fn minimal(&self, method: SubsetMethod) -> Result<MinimalSubsets> {
        let carriers = self.informative().iter().filter(|i| **i).count();
        let config = MinimalConfig { draws: 200, ..MinimalConfig::new(method, carriers) };
        let weights = ridge(self.all.slice(s![..TRAIN, ..]), &self.filtered)?;
        let read_in = LinearReadIn { weights: weights.view() };
        let image = self.filtered.slice(s![TRAIN.., .., .., ..]);
        Ok(minimal_subsets(image, read_in, self.responses.view(), &config, self.seed)?)
    }

    /// Ordered on one half of the images, scored on the other.
    pub fn curves(&self) -> Result<SubsetCurves> {
        let half = (IMAGES - TRAIN) / 2;
        let config = ContributionConfig { permutations: 20, replicates: 20, ..Default::default() };
        let first = linear_contributions(
            self.image.slice(s![..half, .., .., ..]),
            self.read_in(),
            self.responses.slice(s![..half, ..]),
            &config,
            self.seed,
        )?;
        let forward = |r: ArrayView2<'_, f32>| self.read_in().maps(r);
        let silenced = Silenced::new(forward, self.responses.slice(s![half.., ..]), Baseline::Mean)?;
        let score = |kept: &[usize]| {
            alignment_scores(self.image.slice(s![half.., .., .., ..]), silenced.maps(kept)?.view())
        };
        let rates = self.simulation.truth.rates.mean_axis(Axis(1)).ok_or("no images")?;
        let strength: Vec<f64> = rates.iter().map(|&v| f64::from(v)).collect();
        let counts = (1..=strength.len()).collect();
        let config = CurveConfig { counts, draws: 40, replicates: 20, ..Default::default() };
        Ok(subset_curves(&first.estimates(), &strength, score, &config, self.seed)?)
    }

    pub fn profile(&self) -> Result<Vec<SpatialProfile>> {
        let cell = self.cell as f64;
        let mut config = ProfileConfig { permutations: 300, ..ProfileConfig::new([cell, cell]) };
        config.extent.draws = 200;
        let neural = self.read_in().maps(self.responses.view())?;
        Ok(spatial_profile(self.image.view(), neural.view(), &config, self.seed)?)
    }
}

/// Whether nothing is found in any of several analyses, each of which has corrected for what it looks at: Holm's correction over the
/// smallest p of each, at 5 % for all together.
pub fn nothing_found(smallest: &[f64]) -> Result<bool> {
    Ok(holm(smallest)?.iter().all(|p| *p > 0.05))
}

/// Smallest adjusted p of any neuron.
pub fn smallest_of_neurons(found: &Contributions) -> f64 {
    found.neurons.iter().map(|n| n.p_adjusted).fold(1., f64::min)
}

/// Smallest adjusted p of any position of any channel.
pub fn smallest_of_places(found: &[SpatialProfile]) -> f64 {
    found.iter().flat_map(|p| p.p_adjusted.iter().flatten()).copied().fold(1., f64::min)
}

/// Logarithm of the variance of the grey levels of each square of pixels, and their mean: `[images, 2, rows, columns]`.
fn energy(simulation: &Simulation, cell: usize) -> Array4<f32> {
    let pixels = &simulation.images.pixels;
    let (images, height, width) = pixels.dim();
    Array4::from_shape_fn((images, 2, height / cell, width / cell), |(i, c, y, x)| {
        let square = pixels.slice(s![i, y * cell..(y + 1) * cell, x * cell..(x + 1) * cell]);
        let count = square.len() as f32;
        let mean = square.iter().map(|&v| f32::from(v)).sum::<f32>() / count;
        let variance = square.iter().map(|&v| (f32::from(v) - mean).powi(2)).sum::<f32>() / count;
        if c == 0 { (1. + variance).ln() } else { mean }
    })
}

/// Images x neurons: means over repeats, standard scores over the images of the fit.
fn averages(simulation: &Simulation) -> Result<Array2<f32>> {
    let recording = &simulation.recording;
    let mut means = Array2::zeros((recording.images(), recording.neurons()));
    for (mut mean, trials) in means.outer_iter_mut().zip(recording.trials()) {
        for &t in &trials {
            mean.scaled_add(1. / trials.len() as f32, &recording.responses().row(t));
        }
    }
    for mut column in means.columns_mut() {
        let fit = column.slice(s![..TRAIN]).to_owned();
        let (mean, sd) = (fit.mean().ok_or("no images")?, fit.std(0.));
        column.mapv_inplace(|v| (v - mean) / sd);
    }
    Ok(means)
}

/// (R'R + p I)^-1 R' A on the first images, as many as there are responses, with a penalty of as much as their number.
fn ridge(responses: ArrayView2<'_, f32>, image: &Array4<f32>) -> Result<Array4<f32>> {
    let (_, channels, height, width) = image.dim();
    let images = responses.nrows();
    let mut target = image
        .slice(s![..images, .., .., ..])
        .to_owned()
        .into_shape_with_order((images, channels * height * width))?;
    let mean = target.mean_axis(Axis(0)).ok_or("no images")?;
    target -= &mean;
    let eigen = symmetric_eigen(matmul(responses.t(), responses)?.view())?;
    let mut inner = matmul(eigen.vectors.t(), matmul(responses.t(), target.view())?.view())?;
    for (mut row, value) in inner.outer_iter_mut().zip(&eigen.values) {
        row.mapv_inplace(|v| v / (value + images as f32));
    }
    let weights = matmul(eigen.vectors.view(), inner.view())?;
    Ok(weights.into_shape_with_order((responses.ncols(), channels, height, width))?)
}

/// What is found among neurons of which some carry the image in pairs only.
pub struct Pairs {
    /// The interaction of every two neurons.
    pub found: Interactions,
    /// Which of them are pairs that carry the image.
    pub truth: Vec<bool>,
    /// How well synergy tells these from the others.
    pub area: Recovery,
    /// What noise correlations are worth.
    pub noise: NoiseCorrelationEffect,
}

impl Pairs {
    /// Pairs that were found and carry the image, and those that were found and do not.
    pub fn hits_and_errors(&self) -> (usize, usize) {
        let found = self.found.significant(0.05);
        let hits = found.iter().filter(|&&i| self.truth[i]).count();
        (hits, found.len() - hits)
    }
}

/// Deviations of single trials from the mean of each neuron.
fn deviations(simulation: &Simulation) -> Result<(Array2<f32>, Vec<usize>)> {
    let recording = &simulation.recording;
    let shown = recording.stimulus().iter().map(|s| s.map(|image| image as usize));
    let stimulus = shown.collect::<Option<Vec<usize>>>().ok_or("a gray screen among the trials")?;
    let mut trials = recording.responses().clone();
    let mean = trials.mean_axis(Axis(0)).ok_or("no trials")?;
    trials -= &mean;
    let sd = trials.std_axis(Axis(0), 0.);
    trials /= &sd;
    // Bursts of shared activity would outweigh everything in a product.
    trials.mapv_inplace(|v| v.clamp(-1.5, 1.5));
    Ok((trials, stimulus))
}

/// Signs of the pairs for the even or the odd images, images x pairs, about their mean: an image map whose mean counts would
/// credit noise correlations, which are the same for all images. A pair that has the same sign for all images has no
/// map.
fn signs(simulation: &Simulation, odd: usize) -> Result<Array2<f32>> {
    let all = simulation.truth.pair_signs.as_ref().ok_or("no signs of pairs")?;
    let changing: Vec<usize> =
        (0..all.nrows()).filter(|&p| all.row(p).iter().any(|v| *v != all[[p, 0]])).collect();
    let mut signs = all.slice(s![.., odd..;2]).select(Axis(0), &changing).reversed_axes();
    let mean = signs.mean_axis(Axis(0)).ok_or("no images")?;
    signs -= &mean;
    Ok(signs)
}

/// 12 neurons, 1600 images, 4 repeats.
pub fn pairs(seed: u64) -> Result<Pairs> {
    let config = SimulationConfig {
        neurons: 12,
        images: 1600,
        repeats: 4,
        height: 36,
        width: 72,
        gray_every: 0,
        spontaneous_bins: 0,
        seed,
        ..SimulationConfig::new(Population::Interacting)
    };
    let simulation = simulate(&config, &|_| ())?;
    let (trials, stimulus) = deviations(&simulation)?;
    let products: Vec<[usize; 2]> = (0..12).flat_map(|j| (0..j).map(move |i| [i, j])).collect();
    // Half of the images to fit the tower, half to analyse it.
    let side =
        |odd: usize| -> Vec<usize> { (0..stimulus.len()).filter(|&t| stimulus[t] % 2 == odd).collect() };
    let (fit, held) = (side(0), side(1));
    let signs = [0, 1].map(|odd| signs(&simulation, odd)).into_iter().collect::<Result<Vec<_>>>()?;
    let channels = signs[0].ncols();
    // A tower that knows no pairs: every product of two neurons, weighted for each channel (the sign of a pair) by its
    // covariance with it over half of the images.
    let weights = Array2::from_shape_fn((products.len(), channels), |(p, c)| {
        let [i, j] = products[p];
        fit.iter().map(|&t| trials[[t, i]] * trials[[t, j]] * signs[0][[stimulus[t] / 2, c]]).sum::<f32>()
            / fit.len() as f32
    });
    let seen: Vec<usize> = held.iter().map(|&t| stimulus[t] / 2).collect();
    let responses = trials.select(Axis(0), &held);
    let images = signs[1].nrows();
    // Mean of every product over the repeats of each image, which are not independent.
    let mut means = Array2::<f32>::zeros((images, products.len()));
    for (row, &image) in responses.outer_iter().zip(&seen) {
        for (p, &[i, j]) in products.iter().enumerate() {
            means[[image, p]] += row[i] * row[j] / 4.;
        }
    }
    let maps = |kept: &[usize]| {
        let live: Vec<usize> =
            (0..products.len()).filter(|&p| products[p].iter().all(|n| kept.contains(n))).collect();
        let map = means.select(Axis(1), &live).dot(&weights.select(Axis(0), &live));
        Ok(map.insert_axis(Axis(2)).insert_axis(Axis(3)))
    };
    // One value a trial: the mean product of map and sign over channels.
    let by_trial = |r: ArrayView2<'_, f32>| -> Vec<f64> {
        let product =
            |t: usize| products.iter().map(|&[i, j]| r[[t, i]] * r[[t, j]]).collect::<ndarray::Array1<f32>>();
        (0..r.nrows())
            .map(|t| f64::from(product(t).dot(&weights).dot(&signs[1].row(seen[t]))) / channels as f64)
            .collect()
    };
    let image = signs[1].clone().insert_axis(Axis(2)).insert_axis(Axis(3));
    let groups: Vec<Vec<usize>> = (0..12).map(|n| vec![n]).collect();
    let sets: Vec<Vec<usize>> = products.iter().map(|p| p.to_vec()).collect();
    let config = InteractionConfig { permutations: 500, replicates: 200, ..Default::default() };
    let found = map_interactions(image.view(), 12, &groups, &sets, maps, &config, analysis(seed))?;
    let truth: Vec<bool> = products
        .iter()
        .map(|&[i, j]| {
            let first = &simulation.truth.neurons[i];
            first.informative && first.partner == Some(j)
        })
        .collect();
    let synergy: Vec<f64> = found.sets.iter().map(|s| -s.estimate).collect();
    let area = recovery(&synergy, &truth, 0.95)?;
    let config = NoiseConfig { shuffles: 60, replicates: 200, ..Default::default() };
    let noise =
        noise_correlation_effect(responses.view(), &seen, |r| Ok(by_trial(r)), &config, analysis(seed))?;
    Ok(Pairs { found, truth, area, noise })
}
