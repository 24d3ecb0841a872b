use std::f32::consts::{PI, TAU};

use dina_core::{Seed, Stream};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::{CortexStatistics, drive, scene::CATEGORIES};

/// Side of the recorded piece of cortex, in micrometres.
const FIELD_OF_VIEW: f32 = 1_000.0;
/// Imaging planes and their distance in micrometres.
const PLANES: usize = 11;
const PLANE_DISTANCE: f32 = 35.0;

/// A Gabor patch that a neuron looks through. Angles are in radians, places in degrees of visual
/// angle from the upper left corner of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Subunit {
    /// Centre from the upper edge.
    pub row: f32,
    /// Centre from the left edge.
    pub column: f32,
    /// Standard deviation of the Gaussian window, in degrees.
    pub sigma: f32,
    /// Cycles per degree.
    pub frequency: f32,
    /// Direction along which the grating varies; 0 is to the right, a quarter turn is down.
    pub orientation: f32,
    /// Phase of the grating at the centre.
    pub phase: f32,
    /// Whether it suppresses the neuron.
    pub suppressive: bool,
}

/// Everything that makes one simulated neuron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeuronTruth {
    /// Place in cortex, in micrometres; the third is depth.
    pub position: [f32; 3],
    /// Centre of the receptive field from the upper edge of the screen, in degrees.
    pub row: f32,
    /// The same from the left edge.
    pub column: f32,
    /// Full width at half maximum of the Gaussian window, in degrees.
    pub width: f32,
    /// Preferred spatial frequency, in cycles per degree.
    pub frequency: f32,
    /// Preferred orientation, as in [`Subunit::orientation`].
    pub orientation: f32,
    /// Phase of the first subunit.
    pub phase: f32,
    /// From 0, a simple cell, to 1, a complex cell.
    pub complexity: f32,
    /// Subunits, excitatory ones first; none where the neuron does not look at the image, which makes
    /// its receptive field the whole screen.
    pub subunits: Vec<Subunit>,
    /// How much the excitatory subunits have to be active together: 0 a sum, 1 a product.
    pub conjunction: f32,
    /// Weight of the suppressive subunits.
    pub suppression: f32,
    /// Strength of divisive surround suppression.
    pub surround: f32,
    /// Threshold, in standard deviations of the drive.
    pub threshold: f32,
    /// Exponent of the output nonlinearity.
    pub exponent: f32,
    /// Whether the neuron depends on the image at all, alone or together with its partner.
    pub informative: bool,
    /// The part of the driven rate that is due to the category, for each category; empty where no
    /// part is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub category_tuning: Vec<f32>,
    /// The neuron without which this one says nothing about the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<usize>,
    /// Whether it carries the red (interneuron) label.
    pub red: bool,
    /// Standard deviation, over reference images, of the driven rate.
    pub amplitude: f32,
    /// Spontaneous rate.
    pub baseline: f32,
    /// From rate to response.
    pub gain: f32,
    /// Variance of private noise over rate.
    pub fano: f32,
    /// Variance of the shared part of the logarithm of the rate.
    pub shared_variance: f32,
    /// Standard deviation of the logarithm of the state-dependent gain on the drive.
    pub state_gain: f32,
    /// Variance of the mean response over images as a share of the variance of single responses,
    /// from the model; what removes shared activity raises it.
    pub signal_variance: f32,
}

impl NeuronTruth {
    /// The neuron of this seed, on a screen of `height` x `width` degrees.
    pub(super) fn draw(s: &CortexStatistics, seed: Seed, height: f32, width: f32) -> Self {
        let mut random = seed.stream("place");
        let position = [
            FIELD_OF_VIEW * random.random::<f32>(),
            FIELD_OF_VIEW * random.random::<f32>(),
            PLANE_DISTANCE * random.random_range(0..PLANES) as f32,
        ];
        let place = |axis: usize, extent: f32, along: f32, random: &mut Stream| {
            let (share, span, regions) = (s.centre[axis], s.span[axis], s.regions[axis] as f32);
            let span = span.min(0.7 * extent);
            // Each piece of the millimetre maps to a region of its own, and continuously within.
            let within = along / FIELD_OF_VIEW * regions;
            let piece = within.floor().min(regions - 1.0);
            let share = share + ((piece + 0.5) / regions - 0.5);
            let retinotopic = share * extent + span * (within - piece - 0.5);
            (retinotopic + s.scatter * normal(random)).clamp(1.0, extent - 1.0)
        };
        let row = place(0, height, position[1], &mut random);
        let column = place(1, width, position[0], &mut random);

        let mut random = seed.stream("tuning");
        let red = random.random::<f32>() < s.red;
        let informative = random.random::<f32>() < s.informative;
        let [lowest, highest] = s.frequency_range;
        let octaves = s.frequency_spread * normal(&mut random) - if red { 0.5 } else { 0.0 };
        let frequency = (s.frequency * octaves.exp2()).clamp(lowest, highest);
        let sigma = s.size
            * (frequency / 0.04).powf(-s.size_exponent)
            * (s.size_spread * normal(&mut random)).exp()
            * if red { 1.3 } else { 1.0 };
        // Cells crowd towards the two ends; few are halfway between simple and complex.
        let complexity = if random.random::<f32>() < s.complex {
            1.0 - 0.3 * random.random::<f32>()
        } else {
            0.3 * random.random::<f32>()
        };
        let orientation = PI * random.random::<f32>();
        let phase = TAU * random.random::<f32>();
        let conjunction = if red { 0.0 } else { around(s.conjunction, &mut random).min(1.0) };
        let mut neuron = Self {
            position,
            row,
            column,
            width: 2.354_82 * sigma,
            frequency,
            orientation,
            phase,
            complexity,
            subunits: Vec::new(),
            conjunction,
            suppression: around(s.suppression, &mut random),
            surround: around(s.surround, &mut random),
            threshold: s.threshold - if red { 1.0 } else { 0.0 } + 0.3 * normal(&mut random),
            exponent: if red { 1.0 } else { s.exponent },
            informative,
            category_tuning: Vec::new(),
            partner: None,
            red,
            amplitude: s.amplitude * (s.amplitude_spread * normal(&mut random)).exp(),
            baseline: (s.baseline_spread * normal(&mut random)).exp(),
            gain: (s.gain_spread * normal(&mut random)).exp(),
            fano: s.fano * (0.2 * normal(&mut random)).exp(),
            shared_variance: s.shared_variance * (0.4 * normal(&mut random)).exp(),
            state_gain: around(s.state_gain, &mut random),
            signal_variance: 0.0,
        };
        if s.amplitude_of_noise {
            neuron.amplitude *= neuron.spontaneous_deviation();
        }
        if !informative {
            neuron.amplitude = 0.0;
        }
        if s.category_share < 1.0 {
            neuron.subunits = neuron.draw_subunits(s, sigma, &mut seed.stream("subunits"));
        }
        if informative && s.category_share > 0.0 {
            neuron.category_tuning = neuron.draw_categories(s.category_share, &mut seed.stream("category"));
        }
        neuron
    }

    /// Standard deviation of the spontaneous response over the gain, without what a gray screen
    /// drives.
    fn spontaneous_deviation(&self) -> f32 {
        let shared = self.baseline * self.baseline * self.shared_variance.exp_m1();
        (shared + self.fano * self.baseline).sqrt()
    }

    /// What each category drives: independent of the others, with the output nonlinearity and the
    /// amplitude of any other drive, so that the share of variance is the one asked for.
    fn draw_categories(&self, share: f32, random: &mut Stream) -> Vec<f32> {
        let drives: Vec<f32> = (0..CATEGORIES).map(|_| normal(random)).collect();
        let (mean, sd) = drive::moments(&drives);
        let rates: Vec<f32> = drives.iter().map(|d| drive::output(self, (d - mean) / sd)).collect();
        let (_, sd) = drive::moments(&rates);
        rates.iter().map(|rate| share.sqrt() * self.amplitude / sd * rate).collect()
    }

    /// Takes the place, the tuning and the drive of another neuron, and keeps its own plane of the
    /// cortex, spontaneous rate and variability.
    pub(super) fn follow(&mut self, first: &Self) {
        *self = Self {
            position: [first.position[0], first.position[1], self.position[2]],
            baseline: self.baseline,
            gain: self.gain,
            fano: self.fano,
            shared_variance: self.shared_variance,
            state_gain: self.state_gain,
            ..first.clone()
        };
    }

    /// What a stimulus drives: `seen` is what the subunits drive, and a stimulus without a category
    /// has nothing to add.
    pub(super) fn driven(&self, seen: f32, category: Option<usize>, category_share: f32) -> f32 {
        if self.category_tuning.is_empty() {
            return seen;
        }
        let known = category.and_then(|c| self.category_tuning.get(c)).copied().unwrap_or(0.0);
        (1.0 - category_share).sqrt() * seen + known
    }

    fn draw_subunits(&self, s: &CortexStatistics, sigma: f32, random: &mut Stream) -> Vec<Subunit> {
        let excitatory = random.random_range(s.subunits[0]..=s.subunits[1]);
        let suppressive = if self.red { 0 } else { 1 + excitatory / 3 };
        // Interneurons pool neighbours of every orientation.
        let turn = if self.red { PI } else { s.subunit_turn };
        (0..excitatory + suppressive)
            .map(|k| {
                let first = k == 0;
                let suppressive = k >= excitatory;
                let scatter = if first { 0.0 } else { s.subunit_scatter * sigma };
                let turned = match (first, suppressive) {
                    (true, _) => 0.0,
                    (_, false) => turn * normal(random),
                    // Cross-orientation suppression: any direction.
                    (_, true) => PI * random.random::<f32>(),
                };
                let octaves = if first { 0.0 } else { 0.3 * normal(random) };
                Subunit {
                    row: self.row + scatter * normal(random),
                    column: self.column + scatter * normal(random),
                    sigma: sigma * if first { 1.0 } else { 0.8 },
                    frequency: (self.frequency * octaves.exp2())
                        .clamp(s.frequency_range[0], s.frequency_range[1]),
                    orientation: self.orientation + turned,
                    phase: if first { self.phase } else { TAU * random.random::<f32>() },
                    suppressive,
                }
            })
            .collect()
    }
}

/// Uniform with this mean, from half of it to one and a half.
fn around(mean: f32, random: &mut Stream) -> f32 {
    mean * (0.5 + random.random::<f32>())
}

fn normal(random: &mut Stream) -> f32 {
    StandardNormal.sample(random)
}
