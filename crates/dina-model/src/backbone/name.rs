use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use dina_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::config::{NetworkConfig, VggConfig, VitConfig, VitFamily};

/// The published networks that are known by name. Others of the same families take a [`NetworkConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Network {
    /// VGG with 13 weight layers, configuration B (Simonyan & Zisserman 2015, arXiv 1409.1556).
    Vgg13,
    /// VGG with 16 weight layers, configuration D.
    Vgg16,
    /// VGG with 19 weight layers, configuration E.
    Vgg19,
    /// Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929), width 192, patches of 16 pixels.
    VitTiny16,
    /// The same, width 384.
    VitSmall16,
    /// The same, width 768.
    VitBase16,
    /// The same, width 768, patches of 32 pixels.
    VitBase32,
    /// The same, width 1024.
    VitLarge16,
    /// Image encoder of CLIP (Radford et al. 2021, arXiv 2103.00020), width 768, patches of 32 pixels.
    ClipBase32,
    /// The same, patches of 16 pixels.
    ClipBase16,
    /// The same, width 1024, patches of 14 pixels.
    ClipLarge14,
    /// DINOv2 (Oquab et al. 2023, arXiv 2304.07193), width 384, patches of 14 pixels.
    DinoV2Small,
    /// The same, width 768.
    DinoV2Base,
    /// The same, width 1024.
    DinoV2Large,
}

impl Network {
    /// All networks.
    pub const ALL: [Self; 14] = [
        Self::Vgg13,
        Self::Vgg16,
        Self::Vgg19,
        Self::VitTiny16,
        Self::VitSmall16,
        Self::VitBase16,
        Self::VitBase32,
        Self::VitLarge16,
        Self::ClipBase32,
        Self::ClipBase16,
        Self::ClipLarge14,
        Self::DinoV2Small,
        Self::DinoV2Base,
        Self::DinoV2Large,
    ];

    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vgg13 => "vgg13",
            Self::Vgg16 => "vgg16",
            Self::Vgg19 => "vgg19",
            Self::VitTiny16 => "vit-tiny-16",
            Self::VitSmall16 => "vit-small-16",
            Self::VitBase16 => "vit-base-16",
            Self::VitBase32 => "vit-base-32",
            Self::VitLarge16 => "vit-large-16",
            Self::ClipBase32 => "clip-base-32",
            Self::ClipBase16 => "clip-base-16",
            Self::ClipLarge14 => "clip-large-14",
            Self::DinoV2Small => "dinov2-small",
            Self::DinoV2Base => "dinov2-base",
            Self::DinoV2Large => "dinov2-large",
        }
    }

    /// Its sizes.
    pub fn config(self) -> NetworkConfig {
        let vgg = |convolutions: [usize; 5]| {
            NetworkConfig::Vgg(VggConfig {
                convolutions: convolutions.into(),
                widths: vec![64, 128, 256, 512, 512],
            })
        };
        let vit =
            |family, width, depth, patch| NetworkConfig::Vit(VitConfig::new(family, width, depth, patch));
        match self {
            Self::Vgg13 => vgg([2, 2, 2, 2, 2]),
            Self::Vgg16 => vgg([2, 2, 3, 3, 3]),
            Self::Vgg19 => vgg([2, 2, 4, 4, 4]),
            Self::VitTiny16 => vit(VitFamily::Vit, 192, 12, 16),
            Self::VitSmall16 => vit(VitFamily::Vit, 384, 12, 16),
            Self::VitBase16 => vit(VitFamily::Vit, 768, 12, 16),
            Self::VitBase32 => vit(VitFamily::Vit, 768, 12, 32),
            Self::VitLarge16 => vit(VitFamily::Vit, 1024, 24, 16),
            Self::ClipBase32 => vit(VitFamily::Clip, 768, 12, 32),
            Self::ClipBase16 => vit(VitFamily::Clip, 768, 12, 16),
            Self::ClipLarge14 => vit(VitFamily::Clip, 1024, 24, 14),
            Self::DinoV2Small => vit(VitFamily::DinoV2, 384, 12, 14),
            Self::DinoV2Base => vit(VitFamily::DinoV2, 768, 12, 14),
            Self::DinoV2Large => vit(VitFamily::DinoV2, 1024, 24, 14),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|network| network.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::value("backbone network", format!("one of {names}"), format!("`{text}`"))
        })
    }
}

/// A place in a network whose values are taken out. Everything counts from 1, as the papers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Layer {
    /// `conv3_2`: of VGG the second convolution of the third block, before rectification.
    Conv(usize, usize),
    /// `relu3_2`: the same after rectification.
    Relu(usize, usize),
    /// `pool3`: the third block after its pooling.
    Pool(usize),
    /// Of a transformer the patch tokens, as a map over the grid of patches.
    Patches(Stage),
    /// `block6.class` and the like: the class token, as a map of 1 x 1.
    Class(Stage),
    /// `projected`: CLIP's image embedding in the space it shares with text, as a map of 1 x 1.
    Projected,
}

/// How far into a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// `embedding`: patches with their positions (in CLIP after its first layer norm), `hidden_states[0]` in
    /// Hugging Face's terms.
    Embedding,
    /// `block6`: the output of the sixth block, `hidden_states[6]`.
    Block(usize),
    /// `norm`: the output of the last block after the last layer norm.
    Norm,
}

impl Stage {
    /// How many blocks it needs of a network of this depth.
    pub(super) fn blocks(self, depth: usize) -> usize {
        match self {
            Self::Embedding => 0,
            Self::Block(block) => block,
            Self::Norm => depth,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedding => f.write_str("embedding"),
            Self::Block(block) => write!(f, "block{block}"),
            Self::Norm => f.write_str("norm"),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conv(block, index) => write!(f, "conv{block}_{index}"),
            Self::Relu(block, index) => write!(f, "relu{block}_{index}"),
            Self::Pool(block) => write!(f, "pool{block}"),
            Self::Patches(stage) => write!(f, "{stage}"),
            Self::Class(stage) => write!(f, "{stage}.class"),
            Self::Projected => f.write_str("projected"),
        }
    }
}

impl FromStr for Layer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.parse::<usize>().ok().filter(|&number| number > 0);
        let pair = |text: &str| {
            let (block, index) = text.split_once('_')?;
            Some((number(block)?, number(index)?))
        };
        let stage = |text: &str| match text {
            "embedding" => Some(Stage::Embedding),
            "norm" => Some(Stage::Norm),
            _ => number(text.strip_prefix("block")?).map(Stage::Block),
        };
        let found = if text == "projected" {
            Some(Self::Projected)
        } else if let Some(rest) = text.strip_prefix("conv") {
            pair(rest).map(|(block, index)| Self::Conv(block, index))
        } else if let Some(rest) = text.strip_prefix("relu") {
            pair(rest).map(|(block, index)| Self::Relu(block, index))
        } else if let Some(rest) = text.strip_prefix("pool") {
            number(rest).map(Self::Pool)
        } else if let Some(rest) = text.strip_suffix(".class") {
            stage(rest).map(Self::Class)
        } else {
            stage(text).map(Self::Patches)
        };
        found.ok_or_else(|| {
            Error::value(
                "backbone layer",
                "convB_I, reluB_I or poolB of a VGG; embedding, blockN, norm, the same with .class, or projected (CLIP) of a \
                 transformer",
                format!("`{text}`"),
            )
        })
    }
}

impl From<Layer> for String {
    fn from(layer: Layer) -> Self {
        layer.to_string()
    }
}

impl TryFrom<String> for Layer {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// A network and the layers it is cut at: `vgg16:relu3_3`, `dinov2-small:block6,block12.class`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BackboneName {
    /// The network.
    pub network: Network,
    /// The layers in the order of the levels, at least one and all different.
    pub layers: Vec<Layer>,
}

impl fmt::Display for BackboneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.network)?;
        for (place, layer) in self.layers.iter().enumerate() {
            write!(f, "{}{layer}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for BackboneName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (network, layers) = text.split_once(':').ok_or_else(|| {
            Error::value("backbone", "NETWORK:LAYER, such as vgg16:relu3_3", format!("`{text}`"))
        })?;
        let network: Network = network.parse()?;
        let layers: Vec<Layer> = layers.split(',').map(str::parse).collect::<Result<_>>()?;
        network.config().check_layers(&layers)?;
        Ok(Self { network, layers })
    }
}

impl From<BackboneName> for String {
    fn from(name: BackboneName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for BackboneName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// A backbone with the file of its weights, as a flag gives it: `vgg16:relu3_3=weights.safetensors`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BackboneFile {
    /// The network and its layers.
    pub name: BackboneName,
    /// The safetensors file.
    pub path: PathBuf,
}

impl FromStr for BackboneFile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((name, path)) if !path.is_empty() => Ok(Self { name: name.parse()?, path: path.into() }),
            _ => Err(Error::value(
                "backbone",
                "NETWORK:LAYER=FILE.safetensors, such as vgg16:relu3_3=vgg16.safetensors",
                format!("`{text}`"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for text in [
            "vgg13:conv1_2,pool5",
            "vgg16:relu3_3",
            "vit-base-16:embedding,block12,norm",
            "dinov2-small:block6,block12.class",
            "clip-base-32:block3,projected",
        ] {
            let name: BackboneName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<BackboneName>(&json).unwrap(), name);
        }
        for network in Network::ALL {
            assert_eq!(network.name().parse::<Network>().unwrap(), network);
        }
        let file: BackboneFile = "vgg16:relu3_3=some/a=b.safetensors".parse().unwrap();
        assert_eq!(file.path, PathBuf::from("some/a=b.safetensors"));
    }

    #[test]
    fn what_a_network_does_not_have_is_refused_with_what_it_has() {
        let refused = |text: &str| text.parse::<BackboneName>().unwrap_err().to_string();
        assert!(refused("vgg16").contains("vgg16:relu3_3"));
        assert!(refused("vgg11:relu1_1").contains("vgg13"));
        assert!(refused("vgg13:relu3_3").contains("relu3_2"), "{}", refused("vgg13:relu3_3"));
        assert!(refused("vgg16:block3").contains("pool5"));
        assert!(refused("dinov2-small:block13").contains("block12"));
        assert!(refused("dinov2-small:projected").contains("norm"));
        assert!(refused("vit-base-16:block0").contains("blockN"));
        assert!(refused("vgg16:relu3_3,relu3_3").contains("different"));
        assert!("vgg16:relu3_3".parse::<BackboneFile>().unwrap_err().to_string().contains("FILE"));
    }
}
