use dina_core::Seed;
use ndarray::{Array2, Array3, Axis};
use rayon::prelude::*;

use super::{
    Counter, Images, Look, NeuronTruth, Progress, SimulationConfig, Stage, drive, energy, maker,
    pairs::Pairs, retina, scene::SceneMaker,
};
use crate::Categories;

/// Images on which neurons set their scales; never shown in the recording.
pub(super) const REFERENCE: usize = 192;

/// Images that neurons are adapted to, and what makes others like them.
pub(super) struct Reference {
    pub maker: SceneMaker,
    pub images: Images,
    pub categories: Vec<Option<usize>>,
    /// What the images were made from.
    pub seed: Seed,
}

impl Reference {
    pub fn new(config: &SimulationConfig, seed: Seed) -> Self {
        let maker = maker(config, seed);
        let seed = seed.child("reference");
        let (images, categories, _) = maker.make(seed, REFERENCE, &|| ());
        Self { maker, images, categories: indices(&categories), seed }
    }
}

/// What stimuli drive, without noise.
pub(super) struct Driven {
    /// Mean rate above baseline, neurons x images.
    pub rates: Array2<f32>,
    /// The same for the gray screen, per neuron.
    pub gray: Vec<f32>,
    /// How pairs of neurons are driven together, where that is what depends on the image.
    pub pairs: Option<Pairs>,
}

impl Driven {
    /// `seed` is that of the images.
    pub fn new(
        config: &SimulationConfig,
        seed: Seed,
        reference: &Reference,
        (images, categories): (&Images, &Categories),
        neurons: &[NeuronTruth],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Self {
        let retina = look(config.cortex().look, seed, reference, images);
        Self::of(config, &retina, categories, neurons, progress)
    }

    /// The same for what the eye sends on of the images, the reference images and a gray screen.
    pub fn of(
        config: &SimulationConfig,
        retina: &retina::Retina,
        categories: &Categories,
        neurons: &[NeuronTruth],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Self {
        let cortex = config.cortex();
        let categories = indices(categories);
        let images = categories.len();
        let scales = images..images + REFERENCE;
        let energy = energy::Energy::new(retina, config, scales.clone());
        let counter = Counter::new(Stage::Drive, neurons.len(), progress);
        let mut rates = Array2::zeros((neurons.len(), images));
        let (gray, medians) = rates
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .zip(neurons)
            .map_init(Vec::new, |block, (mut row, neuron)| {
                let mut seen = drive::drive(neuron, retina, &energy, &scales, block, cortex.semi_saturation);
                for ((to, &from), &category) in row.iter_mut().zip(&seen).zip(&categories) {
                    *to = neuron.driven(from, category, cortex.category_share);
                }
                counter.add(1);
                let gray = seen.last().map_or(0.0, |&v| neuron.driven(v, None, cortex.category_share));
                let adapted = &mut seen[scales.clone()];
                adapted.sort_by(f32::total_cmp);
                (gray, adapted[REFERENCE / 2])
            })
            .unzip();
        let medians: Vec<f32> = medians;
        let pairs = cortex.paired.then(|| {
            let signs = Array2::from_shape_fn((neurons.len().div_ceil(2), images), |(pair, image)| {
                if rates[[2 * pair, image]] < medians[2 * pair] { -1.0 } else { 1.0 }
            });
            for (mut row, neuron) in rates.outer_iter_mut().zip(neurons) {
                row.fill(neuron.amplitude);
            }
            Pairs { signs }
        });
        Self { rates, gray, pairs }
    }

    /// What depends on the image: the drive of each informative neuron, or the sign of each
    /// informative pair.
    pub fn signals(&self, neurons: &[NeuronTruth]) -> Array2<f32> {
        let (from, step) = self.pairs.as_ref().map_or((&self.rates, 1), |pairs| (&pairs.signs, 2));
        let rows: Vec<usize> = (0..from.nrows()).filter(|&row| neurons[step * row].informative).collect();
        from.select(Axis(0), &rows)
    }
}

/// What is seen of the images, the reference images and the gray screen.
pub(super) fn look(look: Look, seed: Seed, reference: &Reference, images: &Images) -> retina::Retina {
    let (_, height, width) = images.pixels.dim();
    if look == Look::Whole {
        let gray = Images {
            pixels: Array3::from_elem((1, height, width), 128),
            degrees_per_pixel: images.degrees_per_pixel,
        };
        return retina::Retina::new(&[images, &reference.images, &gray]);
    }
    let shown = look.planes(&reference.maker, images, seed);
    let adapted = look.planes(&reference.maker, &reference.images, reference.seed);
    let gray = Array3::zeros((1, height, width));
    retina::Retina::of(&[shown.view(), adapted.view(), gray.view()])
}

fn indices(categories: &Categories) -> Vec<Option<usize>> {
    categories.of.iter().map(|c| c.map(|c| c as usize)).collect()
}
