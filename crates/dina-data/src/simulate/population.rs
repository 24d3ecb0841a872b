use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::{CortexStatistics, Look, SceneStatistics, config::within};
use crate::{Error, Result};

/// Spatial frequency, in cycles per degree, that parts [`Population::Coarse`] from
/// [`Population::Fine`]. The median neuron of [`Population::V1`] prefers 0.036.
pub const CUTOFF: f32 = 0.05;

/// A named simulated population: what its neurons code is set, and is therefore known.
///
/// Noise, gains, shared activity and spontaneous activity are those of [`Population::V1`] in all of
/// them. On the command line and in JSON a population is its name, as in `"v1"`; that of
/// [`Population::Mixed`] is followed by its dial, as in `"mixed:0.3"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Population {
    /// Mouse primary visual cortex, calibrated against a published recording.
    #[default]
    V1,
    /// Neurons that see spatial frequencies below [`CUTOFF`] only.
    Coarse,
    /// Neurons that see spatial frequencies from [`CUTOFF`] upwards only.
    Fine,
    /// Neurons that know the category of the image and nothing else of it.
    Category,
    /// Neurons with a share of their variance from the category, the rest from coarse features.
    Mixed(Dial),
    /// Neurons that see the silhouettes of objects, without surfaces and background.
    Shape,
    /// Neurons that pool the surface texture of objects over space, without outlines and background.
    Texture,
    /// The neurons of V1 with all receptive fields in one small region.
    Local,
    /// The neurons of V1 with receptive fields in six regions that cover the screen.
    Distributed,
    /// One neuron in twenty depends on the image, strongly.
    Sparse,
    /// All neurons depend on the image, weakly and about equally.
    Dense,
    /// Neurons of which only pairs depend on the image.
    Interacting,
    /// The same spontaneous and shared activity, but no neuron depends on the image.
    Null,
}

/// From 0 to 1: the share of the variance of [`Population::Mixed`] that is due to the category.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dial(f32);

impl Dial {
    /// Half coarse, half category.
    pub const HALF: Self = Self(0.5);

    /// A setting between 0 and 1.
    ///
    /// # Errors
    /// [`Error::Variable`] for any other number.
    pub fn new(share: f32) -> Result<Self> {
        within("dial", share, 0.0, 1.0)?;
        // Zero has one form only, so that equal dials have equal bits.
        Ok(Self(share + 0.0))
    }

    /// The setting.
    pub fn share(self) -> f32 {
        self.0
    }
}

// A dial is never NaN.
impl Eq for Dial {}

impl Hash for Dial {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Population {
    /// Every population, in the order of the documentation; [`Population::Mixed`] with its dial in
    /// the middle.
    pub const ALL: [Self; 13] = [
        Self::V1,
        Self::Coarse,
        Self::Fine,
        Self::Category,
        Self::Mixed(Dial::HALF),
        Self::Shape,
        Self::Texture,
        Self::Local,
        Self::Distributed,
        Self::Sparse,
        Self::Dense,
        Self::Interacting,
        Self::Null,
    ];

    /// The name, without the dial of [`Population::Mixed`].
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::Coarse => "coarse",
            Self::Fine => "fine",
            Self::Category => "category",
            Self::Mixed(_) => "mixed",
            Self::Shape => "shape",
            Self::Texture => "texture",
            Self::Local => "local",
            Self::Distributed => "distributed",
            Self::Sparse => "sparse",
            Self::Dense => "dense",
            Self::Interacting => "interacting",
            Self::Null => "null",
        }
    }

    /// This population with its dial at `share`.
    ///
    /// # Errors
    /// [`Error::Variable`] when the population has no dial, or when `share` is not between 0 and 1.
    pub fn with_dial(self, share: f32) -> Result<Self> {
        match self {
            Self::Mixed(_) => Dial::new(share).map(Self::Mixed),
            _ => Err(Error::variable(
                "simulation",
                "dial",
                format!("is given for the population `{self}`, which has none"),
                "leave it out, or choose `mixed`",
            )),
        }
    }

    /// The numbers that make this population what it is.
    pub fn cortex(self) -> CortexStatistics {
        let v1 = CortexStatistics::default();
        let coarse = CortexStatistics {
            look: Look::Below(CUTOFF),
            frequency: 0.025,
            frequency_range: [0.01, 0.04],
            ..v1
        };
        match self {
            Self::V1 => v1,
            Self::Coarse => coarse,
            Self::Fine => CortexStatistics {
                look: Look::From(CUTOFF),
                frequency: 0.09,
                frequency_range: [0.06, 0.25],
                ..v1
            },
            Self::Category => CortexStatistics { category_share: 1.0, ..coarse },
            Self::Mixed(dial) => CortexStatistics { category_share: dial.share(), ..coarse },
            Self::Shape => CortexStatistics { look: Look::Silhouettes, ..v1 },
            Self::Texture => CortexStatistics {
                look: Look::Surfaces,
                // Many complex subunits of one orientation, far apart: what they have in common is
                // a statistic of the surface.
                complex: 1.0,
                subunits: [16, 16],
                subunit_scatter: 3.0,
                subunit_turn: 0.0,
                conjunction: 0.0,
                suppression: 0.0,
                surround: 0.0,
                // Light normalisation: one by the energy of the same patch would undo the pooling.
                semi_saturation: 3.0,
                frequency: 0.1,
                frequency_range: [0.05, 0.25],
                ..v1
            },
            Self::Local => CortexStatistics { span: [6.0, 6.0], scatter: 1.5, ..v1 },
            Self::Distributed => CortexStatistics {
                centre: [0.5, 0.5],
                span: [8.0, 20.0],
                scatter: 3.0,
                regions: [2, 3],
                ..v1
            },
            Self::Sparse => CortexStatistics {
                informative: 0.05,
                amplitude: 3.0,
                amplitude_spread: 0.3,
                threshold: 1.0,
                ..v1
            },
            Self::Dense => CortexStatistics {
                informative: 1.0,
                amplitude: 0.4,
                amplitude_spread: 0.0,
                amplitude_of_noise: true,
                ..v1
            },
            Self::Interacting => CortexStatistics { paired: true, ..v1 },
            Self::Null => CortexStatistics { informative: 0.0, ..v1 },
        }
    }

    /// What the images are like that this population is shown: where categories matter, they
    /// cannot be told by low-level statistics.
    pub fn scene(self) -> SceneStatistics {
        let match_low_level = matches!(self, Self::Category | Self::Mixed(_));
        SceneStatistics { match_low_level, ..SceneStatistics::default() }
    }

    /// What is true of this population, in words.
    pub fn statement(self) -> String {
        match self {
            Self::V1 => "Local receptive fields tuned to spatial frequency and orientation, simple and complex, \
                with normalisation, suppression and conjunctions; nothing prefers a category."
                .into(),
            Self::Coarse => format!(
                "Neurons are driven by spatial frequencies below {CUTOFF} cycles per degree; whatever is in the image \
                 from there upwards changes nothing."
            ),
            Self::Fine => format!(
                "Neurons are driven by spatial frequencies of {CUTOFF} cycles per degree and more; whatever is in the \
                 image below, mean luminance included, changes nothing."
            ),
            Self::Category => "Neurons are driven by the category of the image: all images of one category drive a \
                neuron equally. The amplitude spectrum, mean and contrast of the images are matched."
                .into(),
            Self::Mixed(dial) => format!(
                "A share of {} of the variance that images drive in a neuron is due to the category as in `category`, \
                 the rest to spatial frequencies below {CUTOFF} cycles per degree as in `coarse`. The amplitude \
                 spectrum, mean and contrast of the images are matched at every share.",
                dial.share()
            ),
            Self::Shape => "Neurons are driven by the silhouettes of the objects in front, whatever covers them and \
                whatever lies behind: surfaces, luminance and background change nothing."
                .into(),
            Self::Texture => "Neurons are driven by the local statistics, pooled over space, of the surface of the \
                nearest object, whatever its outline, size and place: silhouettes and background change nothing."
                .into(),
            Self::Local => "As `v1`, but the receptive fields of all neurons are centred in one region of about 6 \
                degrees."
                .into(),
            Self::Distributed => "As `v1`, but receptive fields are centred in six regions, two down and three \
                across, that are spread over the whole screen."
                .into(),
            Self::Sparse => "One neuron in twenty depends on the image, strongly; the others do not depend on it.".into(),
            Self::Dense => "Every neuron depends on the image, weakly, and all of them about equally.".into(),
            Self::Interacting => "The responses of a single neuron have the same distribution for every image. Neurons \
                2k and 2k + 1 are driven in the same presentations for the images of one half, and in different ones \
                for the other half; only the product of the two depends on the image."
                .into(),
            Self::Null => "No neuron depends on the image.".into(),
        }
    }
}

impl fmt::Display for Population {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mixed(dial) => f.pad(&format!("mixed:{}", dial.share())),
            _ => f.pad(self.name()),
        }
    }
}

impl FromStr for Population {
    type Err = Error;

    /// Reads a name, with a dial after a colon where the population has one; without it the dial
    /// is [`Dial::HALF`].
    fn from_str(text: &str) -> Result<Self> {
        let (name, dial) = text.split_once(':').map_or((text, None), |(name, dial)| (name, Some(dial)));
        let population = Self::ALL.into_iter().find(|population| population.name() == name);
        let Some(population) = population else {
            let known: Vec<_> = Self::ALL.iter().map(|p| p.name()).collect();
            return Err(Error::variable(
                "simulation",
                "population",
                format!("is `{text}`, which is not known"),
                format!("choose one of {}", known.join(", ")),
            ));
        };
        let Some(dial) = dial else {
            return Ok(population);
        };
        let share = dial.parse().map_err(|_| {
            Error::variable(
                "simulation",
                "dial",
                format!("is `{dial}`, which is no number"),
                "give a number between 0 and 1, as in `mixed:0.3`",
            )
        })?;
        population.with_dial(share)
    }
}

impl TryFrom<String> for Population {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Population> for String {
    fn from(population: Population) -> Self {
        population.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn populations_are_named() {
        for population in Population::ALL {
            assert_eq!(population.to_string().parse::<Population>().unwrap(), population);
            population.cortex().check().unwrap();
            population.scene().check().unwrap();
        }
        let message = "v2".parse::<Population>().unwrap_err().to_string();
        assert!(message.contains("v2") && message.contains("null"));
    }

    #[test]
    fn a_dial_is_read_where_there_is_one() {
        let mixed: Population = "mixed:0.3".parse().unwrap();
        assert_eq!(mixed.cortex().category_share, 0.3);
        assert_eq!(mixed, "mixed".parse::<Population>().unwrap().with_dial(0.3).unwrap());
        assert_eq!(serde_json::to_string(&mixed).unwrap(), r#""mixed:0.3""#);
        for wrong in ["mixed:1.5", "mixed:NaN", "mixed:", "v1:0.3"] {
            let message = wrong.parse::<Population>().unwrap_err().to_string();
            assert!(message.contains("dial"), "{message}");
        }
    }
}
