use dina_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::input::ImageInput;
use super::name::{BackboneName, Layer, Stage};

/// Everything that makes a backbone but its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackboneConfig {
    /// The network.
    pub network: NetworkConfig,
    /// The layers that become levels, in this order.
    pub layers: Vec<Layer>,
    /// What comes in, and what the network is shown of it.
    pub input: ImageInput,
    /// Whether the weights are trained. Off by default: the backbone then has no parameters.
    pub trainable: bool,
}

impl BackboneConfig {
    /// A frozen network of published sizes for images of this height and width, preprocessed as the network was trained.
    pub fn new(name: &BackboneName, (height, width): (usize, usize)) -> Self {
        let network = name.network.config();
        let input = ImageInput::new(&network, (height, width));
        Self { network, layers: name.layers.clone(), input, trainable: false }
    }
}

/// The sizes of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NetworkConfig {
    /// Convolutions.
    Vgg(VggConfig),
    /// A transformer.
    Vit(VitConfig),
}

/// Blocks of 3 x 3 convolutions with rectification, each block followed by 2 x 2 maximum pooling
/// (Simonyan & Zisserman 2015).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VggConfig {
    /// Convolutions in every block.
    pub convolutions: Vec<usize>,
    /// Channels of every block.
    pub widths: Vec<usize>,
}

/// A vision transformer with layer norms before attention and before the perceptron of every block
/// (Dosovitskiy et al. 2021).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    /// In what the families differ.
    pub family: VitFamily,
    /// Length of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Heads of attention; divides the width.
    pub heads: usize,
    /// Units of a block's perceptron.
    pub hidden: usize,
    /// Rows and columns of a patch in pixels.
    pub patch: usize,
    /// Rows and columns of the grid of patches that the network was trained at. A file says it itself; this is what
    /// random weights are made for.
    pub grid: usize,
    /// Added to a variance before its root in the layer norms.
    pub epsilon: f64,
    /// The nonlinearity of the perceptrons.
    pub activation: Activation,
}

/// Families of vision transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum VitFamily {
    /// As first published.
    Vit,
    /// The image encoder of CLIP: a layer norm before the first block, patches without bias, a projection at the end.
    Clip,
    /// Scaled residuals, and register tokens where the file has them (Darcet et al. 2023, arXiv 2309.16588).
    DinoV2,
}

/// Nonlinearities of a transformer's perceptrons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `x Phi(x)` with the normal distribution function (Hendrycks & Gimpel 2016, arXiv 1606.08415).
    Gelu,
    /// `x / (1 + exp(-1.702 x))`, an approximation that OpenAI's CLIP was trained with. Weights of OpenCLIP were
    /// mostly trained with [`Activation::Gelu`]: set it for them.
    QuickGelu,
}

impl VitConfig {
    /// The sizes that the published networks of a family have at this width: heads of 64 numbers, perceptrons four times
    /// as wide, trained on images of 224 pixels (DINOv2: 518).
    pub fn new(family: VitFamily, width: usize, depth: usize, patch: usize) -> Self {
        let side = if family == VitFamily::DinoV2 { 518 } else { 224 };
        Self {
            family,
            width,
            depth,
            heads: (width / 64).max(1),
            hidden: 4 * width,
            patch,
            grid: side / patch.max(1),
            epsilon: match family {
                VitFamily::Vit => 1e-12,
                VitFamily::Clip => 1e-5,
                VitFamily::DinoV2 => 1e-6,
            },
            activation: if family == VitFamily::Clip { Activation::QuickGelu } else { Activation::Gelu },
        }
    }
}

impl NetworkConfig {
    /// What the extents of the image that the network sees have to be multiples of.
    pub(super) fn stride(&self) -> usize {
        match self {
            // So that no pooling leaves a row over.
            Self::Vgg(vgg) => 1 << vgg.convolutions.len().min(16),
            Self::Vit(vit) => vit.patch,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let fine = match self {
            Self::Vgg(vgg) => {
                vgg.convolutions.len() == vgg.widths.len()
                    && !vgg.widths.is_empty()
                    && !vgg.convolutions.contains(&0)
                    && !vgg.widths.contains(&0)
            }
            Self::Vit(vit) => {
                ![vit.width, vit.depth, vit.heads, vit.hidden, vit.patch, vit.grid].contains(&0)
                    && vit.width.is_multiple_of(vit.heads)
                    && vit.epsilon > 0.
            }
        };
        if fine {
            return Ok(());
        }
        Err(Error::value(
            "backbone sizes",
            "all at least 1, as many widths as blocks, a width that the heads divide",
            format!("{self:?}"),
        ))
    }

    /// Refuses layers that the network does not have.
    pub(super) fn check_layers(&self, layers: &[Layer]) -> Result<()> {
        for (place, layer) in layers.iter().enumerate() {
            if !self.has(*layer) {
                return Err(Error::value("backbone layer", self.layer_names(), format!("`{layer}`")));
            }
            if layers[..place].contains(layer) {
                return Err(Error::value("backbone layers", "all different", format!("`{layer}` twice")));
            }
        }
        if layers.is_empty() {
            return Err(Error::value("backbone layers", "at least one", 0));
        }
        Ok(())
    }

    fn has(&self, layer: Layer) -> bool {
        match (self, layer) {
            (Self::Vgg(vgg), Layer::Conv(block, index) | Layer::Relu(block, index)) => {
                vgg.convolutions.get(block.wrapping_sub(1)).is_some_and(|&count| (1..=count).contains(&index))
            }
            (Self::Vgg(vgg), Layer::Pool(block)) => (1..=vgg.convolutions.len()).contains(&block),
            (Self::Vit(vit), Layer::Patches(stage) | Layer::Class(stage)) => match stage {
                Stage::Block(block) => (1..=vit.depth).contains(&block),
                Stage::Embedding | Stage::Norm => true,
            },
            (Self::Vit(vit), Layer::Projected) => vit.family == VitFamily::Clip,
            _ => false,
        }
    }

    fn layer_names(&self) -> String {
        match self {
            Self::Vgg(vgg) => {
                let last: Vec<String> = (1..)
                    .zip(&vgg.convolutions)
                    .map(|(block, count)| format!("relu{block}_{count}"))
                    .collect();
                let blocks = vgg.convolutions.len();
                format!("convB_I or reluB_I up to {}, or pool1 to pool{blocks}", last.join(", "))
            }
            Self::Vit(vit) => {
                let projected = if vit.family == VitFamily::Clip { ", or projected" } else { "" };
                format!("embedding, block1 to block{}, norm, one of these with .class{projected}", vit.depth)
            }
        }
    }
}
