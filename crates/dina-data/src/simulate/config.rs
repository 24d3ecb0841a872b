use dina_core::Seed;
use serde::{Deserialize, Serialize};

use super::driven::REFERENCE;
use super::{CortexStatistics, Population, SceneStatistics};
use crate::{Error, Result};

/// What to simulate.
///
/// Neuron `i` depends on the seed, the mouse, the screen and `i` only, image `j` on the seed, the
/// screen and `j` only, and the response of one to the other on these and the repeat. Fewer neurons
/// or images are therefore a subsample of more, and not another population. Mice have other neurons
/// of the same kind, and see the same images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulationConfig {
    /// Which population, by name.
    pub population: Population,
    /// Repeatable from this number.
    pub seed: u64,
    /// Which animal: another number gives other neurons, in another order of presentation, for the
    /// same images.
    pub mouse: u32,
    /// Number of neurons.
    pub neurons: usize,
    /// Number of images.
    pub images: usize,
    /// Presentations of each image.
    pub repeats: usize,
    /// Height of the screen in pixels of one degree.
    pub height: usize,
    /// Width of the screen in pixels of one degree.
    pub width: usize,
    /// A gray screen follows every so many images; none for 0.
    pub gray_every: usize,
    /// Time bins of spontaneous activity; none for 0.
    pub spontaneous_bins: usize,
    /// What the images are like, instead of what the named population is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene: Option<SceneStatistics>,
    /// What the neurons are like, instead of the numbers of the named population.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cortex: Option<CortexStatistics>,
}

impl Default for SimulationConfig {
    /// The calibrated population: 10,000 neurons, 2,800 images shown twice on three screens of 90
    /// degrees.
    fn default() -> Self {
        Self::new(Population::default())
    }
}

impl SimulationConfig {
    /// The default size and seed, for this population.
    pub fn new(population: Population) -> Self {
        Self {
            population,
            seed: 0,
            mouse: 0,
            neurons: 10_000,
            images: 2_800,
            repeats: 2,
            height: 68,
            width: 270,
            gray_every: 20,
            spontaneous_bins: 1_000,
            scene: None,
            cortex: None,
        }
    }

    /// The numbers that the neurons are drawn from.
    pub fn cortex(&self) -> CortexStatistics {
        self.cortex.unwrap_or_else(|| self.population.cortex())
    }

    /// What the images are like.
    pub fn scene(&self) -> SceneStatistics {
        self.scene.unwrap_or_else(|| self.population.scene())
    }

    /// What everything comes from.
    pub(super) fn root(&self) -> Seed {
        Seed::new(self.seed).child("simulation")
    }

    pub(super) fn check(&self) -> Result<()> {
        let fail = |variable: &str, found: String, remedy: &str| {
            Err(Error::variable("simulation", variable, format!("is {found}"), remedy))
        };
        for (name, value, least) in [
            ("neurons", self.neurons, 1),
            ("images", self.images, 2),
            ("repeats", self.repeats, 1),
            ("height", self.height, 24),
            ("width", self.width, 24),
        ] {
            if value < least {
                return fail(name, value.to_string(), &format!("ask for at least {least}"));
            }
        }
        if self.images > u32::MAX as usize / 2 {
            return fail("images", self.images.to_string(), "ask for fewer");
        }
        self.scene().check()?;
        self.cortex().check()?;
        let Self { neurons, images, repeats, .. } = self;
        let what = format!("a simulation of {neurons} neurons and {images} images shown {repeats} times");
        Ok(dina_core::require_memory(what, self.memory(), "ask for fewer neurons or images")?)
    }

    /// Bytes that [`simulate`](super::simulate) takes at its peak, estimated: images and what filters make of them, rates
    /// and responses. Meant to be more than is taken, and less than twice that.
    pub fn memory(&self) -> u64 {
        let product = |counts: &[usize]| counts.iter().fold(1_u64, |all, &n| all.saturating_mul(n as u64));
        let images = self.images.saturating_add(REFERENCE);
        let pixels = product(&[images, self.height, self.width]);
        let bins = product(&[self.images, self.repeats]).saturating_add(self.spontaneous_bins as u64);
        let responses = bins.saturating_mul(self.neurons as u64);
        let rates = product(&[self.neurons, self.images]);
        [64 << 20, pixels.saturating_mul(PIXEL), responses.saturating_mul(5), rates.saturating_mul(8)]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// Bytes a pixel of every image: the image, contrast at several scales, energy in several orientations.
const PIXEL: u64 = 28;

/// Refuses a number outside `low..=high`, with the name it has in the configuration.
pub(super) fn within(name: &str, value: f32, low: f32, high: f32) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::variable(
        "simulation",
        name,
        format!("is {value}"),
        format!("give a number between {low} and {high}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_json_and_refuses_nonsense() {
        let config = SimulationConfig::new(Population::Null);
        let named: SimulationConfig = serde_json::from_str(r#"{"population": "null"}"#).unwrap();
        assert_eq!(named, config);
        assert_eq!(named.cortex().informative, 0.0);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SimulationConfig>(&text).unwrap(), config);
        let empty = SimulationConfig { neurons: 0, ..config };
        assert!(empty.check().unwrap_err().to_string().contains("neurons"));
        let odd = SimulationConfig {
            cortex: Some(CortexStatistics { informative: f32::NAN, ..CortexStatistics::default() }),
            ..SimulationConfig::default()
        };
        assert!(odd.check().is_err());
    }
}
