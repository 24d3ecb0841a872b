//! Simulated populations, and the analyses of them that have to return what is true of each: what the tests assert on one
//! seed, and what the example `recovery` counts on others.
//!
//! The two towers are as plain as can be: the image side is the contrast energy of squares of pixels, the neural side a ridge
//! read-in that is fitted on other images than those analysed.

use dina_core::Seed;
use dina_data::simulate::{Population, Simulation, SimulationConfig, simulate};
use dina_interp::{
    alignment_scores,
    interaction::{
        InteractionConfig, Interactions, NoiseConfig, NoiseCorrelationEffect, group_interactions,
        noise_correlation_effect,
    },
    neurons::{
        Baseline, Concentration, ContributionConfig, Contributions, CurveConfig, LinearReadIn, MinimalConfig,
        MinimalSubsets, Recovery, Silenced, SubsetCurves, SubsetMethod, concentration, linear_contributions,
        minimal_subsets, recovery, subset_curves,
    },
    space::{ProfileConfig, SpatialProfile, spatial_profile},
};
use dina_stats::linalg::{matmul, symmetric_eigen};
use ndarray::{Array2, Array4, ArrayView2, Axis, s};

/// Whatever goes wrong.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const IMAGES: usize = 1000;
const TRAIN: usize = 600;

/// Seed of the analyses of the population of a seed.
fn analysis(seed: u64) -> Seed {
    Seed::new(seed + 1)
}

/// A recording with its towers, on images that the read-in was not fitted on.
pub struct World {
    pub simulation: Simulation,
    pub image: Array4<f32>,
    weights: Array4<f32>,
    responses: Array2<f32>,
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
        let responses = responses.slice(s![TRAIN.., ..]).to_owned();
        Ok(Self { simulation, image, weights, responses, cell, seed: analysis(seed) })
    }

    fn read_in(&self) -> LinearReadIn<'_> {
        LinearReadIn { weights: self.weights.view() }
    }

    /// Which neurons respond to images.
    pub fn informative(&self) -> Vec<bool> {
        self.simulation.truth.neurons.iter().map(|n| n.informative).collect()
    }

    pub fn contributions(&self) -> Result<Contributions> {
        let (image, responses) = (self.image.view(), self.responses.view());
        Ok(linear_contributions(image, self.read_in(), responses, &contribution_config(), self.seed)?)
    }

    /// How well contributions tell informative neurons from others.
    pub fn recovery(&self, found: &Contributions) -> Result<Recovery> {
        Ok(recovery(&found.estimates(), &self.informative(), 0.95)?)
    }

    pub fn concentration(&self, found: &Contributions) -> Result<Concentration> {
        Ok(concentration(found.by_image.view(), &contribution_config(), self.seed)?)
    }

    /// As many neurons as are informative.
    pub fn minimal(&self, method: SubsetMethod) -> Result<MinimalSubsets> {
        let carriers = self.informative().iter().filter(|i| **i).count();
        let config = MinimalConfig { draws: 200, ..MinimalConfig::new(method, carriers) };
        Ok(minimal_subsets(self.image.view(), self.read_in(), self.responses.view(), &config, self.seed)?)
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

fn contribution_config() -> ContributionConfig {
    ContributionConfig { permutations: 300, replicates: 200, ..Default::default() }
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

/// (R'R + p I)^-1 R' A on the first images, with a penalty of as much as there are images.
fn ridge(responses: ArrayView2<'_, f32>, image: &Array4<f32>) -> Result<Array4<f32>> {
    let (_, channels, height, width) = image.dim();
    let mut target = image
        .slice(s![..TRAIN, .., .., ..])
        .to_owned()
        .into_shape_with_order((TRAIN, channels * height * width))?;
    let mean = target.mean_axis(Axis(0)).ok_or("no images")?;
    target -= &mean;
    let eigen = symmetric_eigen(matmul(responses.t(), responses)?.view())?;
    let mut inner = matmul(eigen.vectors.t(), matmul(responses.t(), target.view())?.view())?;
    for (mut row, value) in inner.outer_iter_mut().zip(&eigen.values) {
        row.mapv_inplace(|v| v / (value + TRAIN as f32));
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
    let signs = simulation.truth.pair_signs.as_ref().ok_or("no signs of pairs")?;
    let (trials, stimulus) = deviations(&simulation)?;
    // A tower that knows no pairs: every product of two neurons, weighted for each channel (the sign of a pair) by its
    // covariance with it over half of the images.
    let products: Vec<[usize; 2]> = (0..12).flat_map(|j| (0..j).map(move |i| [i, j])).collect();
    let channels = signs.nrows();
    let fit: Vec<usize> = (0..stimulus.len()).filter(|&t| stimulus[t] % 2 == 0).collect();
    let weights = Array2::from_shape_fn((products.len(), channels), |(p, c)| {
        let [i, j] = products[p];
        fit.iter().map(|&t| trials[[t, i]] * trials[[t, j]] * signs[[c, stimulus[t]]]).sum::<f32>()
            / fit.len() as f32
    });
    let held: Vec<usize> = (0..stimulus.len()).filter(|&t| stimulus[t] % 2 == 1).collect();
    let seen: Vec<usize> = held.iter().map(|&t| stimulus[t]).collect();
    let responses = trials.select(Axis(0), &held);
    // One value a trial: the mean product of map and sign over channels.
    let by_trial = |r: ArrayView2<'_, f32>| -> Vec<f64> {
        (0..r.nrows())
            .map(|t| {
                let read = |c: usize| {
                    products
                        .iter()
                        .enumerate()
                        .map(|(p, &[i, j])| weights[[p, c]] * r[[t, i]] * r[[t, j]])
                        .sum::<f32>()
                };
                (0..channels).map(|c| f64::from(read(c) * signs[[c, seen[t]]])).sum::<f64>() / channels as f64
            })
            .collect()
    };
    let score = |kept: &[usize]| {
        let mut silenced = Array2::zeros(responses.raw_dim());
        kept.iter().for_each(|&n| silenced.column_mut(n).assign(&responses.column(n)));
        // Means over the repeats of each image, which are not independent.
        let mut images = vec![0.; 800];
        by_trial(silenced.view()).iter().zip(&seen).for_each(|(v, &s)| images[s / 2] += v / 4.);
        Ok(images)
    };
    let groups: Vec<Vec<usize>> = (0..12).map(|n| vec![n]).collect();
    let sets: Vec<Vec<usize>> = products.iter().map(|p| p.to_vec()).collect();
    let config = InteractionConfig { permutations: 500, replicates: 200, ..Default::default() };
    let found = group_interactions(12, &groups, &sets, score, &config, analysis(seed))?;
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
