//! What towers are trained for, as configuration.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;
use dina_core::{MapSpec, Objective, Seed};
use dina_loss::{
    Classification, ClassificationConfig, InfoNce, InfoNceConfig, PixelDecoder, Pooling, Reconstruction,
    ReconstructionConfig, SigLip, SigLipConfig, Similarity, VicReg, VicRegConfig, Weighted, WeightedPart,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The objectives by name, each with its defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ObjectiveKind {
    /// [`InfoNce`], the objective of the main job.
    #[default]
    InfoNce,
    /// [`SigLip`].
    SigLip,
    /// [`VicReg`].
    VicReg,
    /// [`Classification`] of the images' categories.
    Classification,
    /// [`Reconstruction`] of the images.
    Reconstruction,
    /// [`Weighted`]: contrast, classification and reconstruction, each with weight 1.
    Weighted,
}

impl ObjectiveKind {
    /// All objectives.
    pub const ALL: [Self; 6] = [
        Self::InfoNce,
        Self::SigLip,
        Self::VicReg,
        Self::Classification,
        Self::Reconstruction,
        Self::Weighted,
    ];

    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::InfoNce => "info-nce",
            Self::SigLip => "sig-lip",
            Self::VicReg => "vic-reg",
            Self::Classification => "classification",
            Self::Reconstruction => "reconstruction",
            Self::Weighted => "weighted",
        }
    }

    /// Whether it is trained on the categories of the images.
    pub fn needs_labels(self) -> bool {
        matches!(self, Self::Classification | Self::Weighted)
    }

    /// Its defaults, for images of this height and width and this many categories (of no matter where
    /// [`ObjectiveKind::needs_labels`] says no).
    pub fn config(self, (height, width): (usize, usize), classes: usize) -> ObjectiveConfig {
        let of = |kind: Self| WeightedObjective {
            name: kind.name().into(),
            weight: 1.,
            objective: kind.config((height, width), classes),
        };
        match self {
            Self::InfoNce => ObjectiveConfig::InfoNce(InfoNceConfig::default()),
            Self::SigLip => ObjectiveConfig::SigLip(SigLipConfig::default()),
            Self::VicReg => ObjectiveConfig::VicReg(VicRegConfig::default()),
            Self::Classification => ObjectiveConfig::Classification(ClassificationConfig::new(classes)),
            Self::Reconstruction => ObjectiveConfig::Reconstruction(ReconstructionConfig::new(height, width)),
            Self::Weighted => ObjectiveConfig::Weighted(
                [Self::InfoNce, Self::Classification, Self::Reconstruction].map(of).into(),
            ),
        }
    }
}

impl fmt::Display for ObjectiveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ObjectiveKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Job(format!("no objective `{text}`; choose one of {names}"))
        })
    }
}

/// What the towers start from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Start {
    /// The ridge regression of `dina_model::WarmStart`, where the read-in has it. It aligns the towers before
    /// the objective has said anything.
    #[default]
    ClosedForm,
    /// Random weights, so that all alignment is the objective's.
    Random,
}

impl Start {
    /// All starts.
    pub const ALL: [Self; 2] = [Self::ClosedForm, Self::Random];

    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClosedForm => "closed-form",
            Self::Random => "random",
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Start {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|start| start.name() == text)
            .ok_or_else(|| Error::Job(format!("no start `{text}`; choose closed-form or random")))
    }
}

/// An objective with all its settings, as a checkpoint holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ObjectiveConfig {
    /// Settings of [`InfoNce`].
    InfoNce(InfoNceConfig),
    /// Settings of [`SigLip`].
    SigLip(SigLipConfig),
    /// Settings of [`VicReg`].
    VicReg(VicRegConfig),
    /// Settings of [`Classification`].
    Classification(ClassificationConfig),
    /// Settings of [`Reconstruction`].
    Reconstruction(ReconstructionConfig),
    /// Parts of a [`Weighted`] sum.
    Weighted(Vec<WeightedObjective>),
    /// A user's own, from [`Parts`](crate::Parts), which alone can make it.
    Custom {
        /// Its name.
        name: String,
    },
}

/// One part of a weighted sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightedObjective {
    /// Its name, under which its terms and parameters are found.
    pub name: String,
    /// What its loss is multiplied by.
    pub weight: f64,
    /// The objective.
    pub objective: ObjectiveConfig,
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self::InfoNce(InfoNceConfig::default())
    }
}

impl ObjectiveConfig {
    /// The objective, for towers that return `levels`; its random weights come from `seed`.
    ///
    /// # Errors
    /// When a setting is refused.
    pub fn build(&self, levels: &[MapSpec], seed: Seed, device: &Device) -> Result<Box<dyn Objective>> {
        Ok(match self {
            Self::InfoNce(config) => Box::new(InfoNce::new(*config, device)?),
            Self::SigLip(config) => Box::new(SigLip::new(*config, device)?),
            Self::VicReg(config) => Box::new(VicReg::new(*config)?),
            Self::Classification(config) => Box::new(Classification::new(*config, levels, seed, device)?),
            Self::Reconstruction(config) => Box::new(Reconstruction::new(*config, levels, seed, device)?),
            Self::Weighted(parts) => {
                let parts = parts
                    .iter()
                    .map(|part| {
                        let objective = part.objective.build(levels, seed.child(&part.name), device)?;
                        Ok(WeightedPart { name: part.name.clone(), weight: part.weight, objective })
                    })
                    .collect::<Result<Vec<_>>>()?;
                Box::new(Weighted::new(parts)?)
            }
            Self::Custom { name } => {
                return Err(Error::Job(format!("objective `{name}` is a user's own: give it in `Parts`")));
            }
        })
    }

    /// How maps are compared to identify images: as the objective compares them, and by the cosine of the flattened
    /// maps where it does not compare them.
    pub fn similarity(&self) -> Similarity {
        self.compared().unwrap_or_default()
    }

    fn compared(&self) -> Option<Similarity> {
        match self {
            Self::InfoNce(config) => Some(config.similarity),
            Self::SigLip(config) => Some(config.similarity),
            Self::Weighted(parts) => parts.iter().find_map(|part| part.objective.compared()),
            Self::VicReg(_) | Self::Classification(_) | Self::Reconstruction(_) | Self::Custom { .. } => None,
        }
    }

    /// Whether it is trained on the categories of the images.
    pub fn needs_labels(&self) -> bool {
        match self {
            Self::Classification(_) => true,
            Self::Weighted(parts) => parts.iter().any(|part| part.objective.needs_labels()),
            _ => false,
        }
    }

    /// Whether it may look at the categories of the images, so that a model depends on them.
    pub(crate) fn sees_labels(&self) -> bool {
        self.needs_labels() || matches!(self, Self::Custom { .. })
    }
}

/// As a paper's methods say it.
impl fmt::Display for ObjectiveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pooled = |pooling: &Pooling| match pooling {
            Pooling::Mean => "maps averaged over positions",
            Pooling::Flat => "flattened maps",
        };
        match self {
            Self::InfoNce(c) => write!(
                f,
                "symmetric InfoNCE, learnable temperature from {}, inverse at most {}",
                c.temperature, c.max_inverse_temperature
            ),
            Self::SigLip(c) => write!(
                f,
                "pairwise sigmoid loss (SigLIP), learnable temperature from {}, inverse at most {}, learnable bias from {}",
                c.temperature, c.max_inverse_temperature, c.bias
            ),
            Self::VicReg(c) => write!(
                f,
                "VICReg on {}, weights {} (invariance), {} (variance), {} (covariance)",
                pooled(&c.pooling),
                c.invariance,
                c.variance,
                c.covariance
            ),
            Self::Classification(c) => write!(
                f,
                "classification of {} categories from {} by one linear head, label smoothing {}",
                c.classes,
                pooled(&c.pooling),
                c.label_smoothing
            ),
            Self::Reconstruction(c) => {
                f.write_str("mean squared error of the image, reconstructed by one linear decoder ")?;
                match c.decoder {
                    PixelDecoder::Local { subpixels } => {
                        write!(f, "from each position, {subpixels} x {subpixels} pixels a position")
                    }
                    PixelDecoder::Flat { rows, columns } => {
                        write!(f, "from the flattened map, at {rows} x {columns} pixels")
                    }
                }
            }
            Self::Weighted(parts) => {
                f.write_str("weighted sum of ")?;
                for (place, part) in parts.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "; " };
                    write!(f, "{comma}{} ({})", part.weight, part.objective)?;
                }
                Ok(())
            }
            Self::Custom { name } => write!(f, "{name} (a user's own)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Tensor};
    use dina_core::{FeatureMaps, Targets};

    use super::*;

    #[test]
    fn names_are_read_and_unknown_ones_refused() {
        for kind in ObjectiveKind::ALL {
            assert_eq!(kind.name().parse::<ObjectiveKind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for start in Start::ALL {
            assert_eq!(start.name().parse::<Start>().unwrap(), start);
            assert_eq!(serde_json::to_value(start).unwrap(), start.name());
        }
        let error = "triplet".parse::<ObjectiveKind>().unwrap_err().to_string();
        assert!(error.contains("triplet") && error.contains("vic-reg"), "{error}");
        assert!("warm".parse::<Start>().is_err());
    }

    #[test]
    fn every_objective_survives_json_and_takes_a_batch() {
        let level = MapSpec { name: "v1".into(), channels: 3, height: 2, width: 2 };
        let maps = Tensor::arange(0f32, 48., &Device::Cpu).unwrap().reshape((4, 3, 2, 2)).unwrap();
        let maps = FeatureMaps::single("v1", maps).unwrap();
        let pixels = Tensor::zeros((4, 1, 3, 4), DType::F32, &Device::Cpu).unwrap();
        for kind in ObjectiveKind::ALL {
            let config = kind.config((3, 4), 5);
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<ObjectiveConfig>(&text).unwrap(), config);
            assert_eq!(config.needs_labels(), kind.needs_labels());
            assert_eq!(config.similarity(), Similarity::Flat);
            assert!(!config.to_string().is_empty());
            let build =
                |seed| config.build(std::slice::from_ref(&level), Seed::new(seed), &Device::Cpu).unwrap();
            let targets = |labels| Targets {
                trials: vec![0, 1, 2, 3],
                images: vec![0, 1, 2, 3],
                labels,
                pixels: Some(pixels.clone()),
            };
            let labels = kind.needs_labels().then(|| vec![Some(0), None, Some(4), Some(1)]);
            let loss = |seed| {
                let loss = build(seed).loss(&maps, &maps, &targets(labels.clone())).unwrap();
                loss.total().unwrap().to_scalar::<f32>().unwrap()
            };
            assert!(loss(1).is_finite() && loss(1) == loss(1), "{kind}");
            assert_eq!(build(1).loss(&maps, &maps, &targets(None)).is_err(), kind.needs_labels(), "{kind}");
        }
    }
}
