//! Published image networks, cut at named layers.

mod config;
mod features;
mod input;
mod name;
mod naming;
mod resize;
mod vgg;
mod vit;
mod weights;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use dina_core::{ContentHash, FeatureMaps, MapSpec, Mode, Parameter, Result, Seed, Tower};
use serde::{Deserialize, Serialize};

pub use self::config::{Activation, BackboneConfig, NetworkConfig, VggConfig, VitConfig, VitFamily};
pub use self::features::{BackboneFeatures, FeatureOptions};
use self::input::Preprocess;
pub use self::input::{ImageInput, PixelScale, ResizeFilter};
pub use self::name::{BackboneFile, BackboneName, Layer, Network, Stage};
use self::vgg::Vgg;
use self::vit::Vit;
use self::weights::Weights;

/// A published image network, cut at named layers: grey images `[batch, 1, height, width]` to one level a layer, named
/// after it, `[batch, channels, rows, columns]`.
///
/// Patch tokens of a transformer are a map over the grid of patches; the class token is left out, or a level of its own of
/// 1 x 1 (`block6.class`). Files are safetensors with the names of torchvision (VGG, ViT), Hugging Face (ViT,
/// CLIP, DINOv2), timm (ViT, DINOv2) or the authors (CLIP, DINOv2); of a file only the tensors up to the last layer
/// are read, and every one's shape is checked. See [`ImageInput`] for what is done to the images.
///
/// Frozen, unless [`BackboneConfig::trainable`] says otherwise: it then has no parameters, and no graph is kept for
/// its weights. Gradients with respect to the images are there either way.
///
/// ```no_run
/// use candle_core::Device;
/// use dina_model::{Backbone, BackboneConfig, BackboneFile, FeatureOptions, PixelScale};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let given: BackboneFile = "dinov2-small:block6,block12.class=dinov2-small.safetensors".parse()?;
/// let images = ndarray::Array3::<f32>::zeros((100, 68, 270)); // grey levels from 0 to 255
/// let mut config = BackboneConfig::new(&given.name, (68, 270));
/// config.input.pixels = PixelScale::Bytes;
/// let backbone = Backbone::load(config, &given.path, &Device::Cpu)?;
/// for level in backbone.features(images.view(), &FeatureOptions::default())? {
///     println!("{}: {:?}", level.level.name, level.values.dim());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Backbone {
    config: BackboneConfig,
    net: Net,
    preprocess: Preprocess,
    levels: Vec<MapSpec>,
    parameters: Vec<Parameter>,
    origin: Origin,
    device: Device,
}

enum Net {
    Vgg(Vgg),
    Vit(Box<Vit>),
}

/// Where the weights of a backbone come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// Trained, from a file.
    File {
        /// The file.
        path: PathBuf,
        /// Hash of the names and values of all tensors that are used.
        weights: ContentHash,
    },
    /// Drawn at random: a control for architecture and number of features, and nothing that knows what images mean.
    Random {
        /// What they were drawn from.
        seed: Seed,
    },
}

impl Backbone {
    /// A backbone with the weights of a safetensors file.
    ///
    /// # Errors
    /// When the configuration is refused, or the file is missing, damaged, or not of this network: the message names
    /// file and tensor, and the shapes that were expected and found.
    pub fn load(config: BackboneConfig, path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        let weights = Weights::open(path, config.trainable, device)?;
        Self::new(config, weights, |weights| Origin::File { path: path.to_path_buf(), weights })
    }

    /// The same network with random weights, drawn as its authors start a training: the control for what comes with the
    /// architecture alone.
    ///
    /// # Errors
    /// When the configuration is refused.
    pub fn random(config: BackboneConfig, seed: Seed, device: &Device) -> Result<Self> {
        let weights = Weights::random(seed.child("backbone"), config.trainable, device);
        Self::new(config, weights, |_| Origin::Random { seed })
    }

    fn new(
        config: BackboneConfig,
        mut weights: Weights,
        origin: impl FnOnce(ContentHash) -> Origin,
    ) -> Result<Self> {
        config.network.check()?;
        config.network.check_layers(&config.layers)?;
        config.input.check(&config.network)?;
        let size = (config.input.rows, config.input.columns);
        let (net, levels) = match &config.network {
            NetworkConfig::Vgg(vgg) => {
                let net = Vgg::new(vgg, &config.layers, &mut weights)?;
                (Net::Vgg(net), Vgg::levels(vgg, &config.layers, size))
            }
            NetworkConfig::Vit(vit) => {
                let net = Vit::new(vit, &config.layers, size, &mut weights)?;
                let levels = net.levels(&config.layers)?;
                (Net::Vit(Box::new(net)), levels)
            }
        };
        let device = weights.device().clone();
        let preprocess = Preprocess::new(&config.input, &device)?;
        let (parameters, hash) = weights.finish();
        Ok(Self { config, net, preprocess, levels, parameters, origin: origin(hash), device })
    }

    /// What it was made from.
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// Where its weights come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether its weights were trained. A random network is a control and must not be called semantic.
    pub fn is_pretrained(&self) -> bool {
        matches!(self.origin, Origin::File { .. })
    }

    /// What the network sees of images `[batch, 1, height, width]`: `[batch, 3, rows, columns]`.
    ///
    /// # Errors
    /// When the images have another shape than the configuration says.
    pub fn preprocess(&self, images: &Tensor) -> Result<Tensor> {
        self.preprocess.apply(images)
    }

    /// Bytes that an image takes at most on its way through the network, an estimate.
    pub fn working_bytes(&self) -> usize {
        let size = (self.config.input.rows, self.config.input.columns);
        let net = match (&self.net, &self.config.network) {
            (Net::Vit(vit), _) => vit.bytes(),
            (Net::Vgg(_), NetworkConfig::Vgg(vgg)) => Vgg::bytes(vgg, &self.config.layers, size),
            (Net::Vgg(_), NetworkConfig::Vit(_)) => 0,
        };
        let levels: usize = self.levels.iter().map(MapSpec::len).sum();
        net + 4 * (levels + 3 * size.0 * size.1)
    }
}

impl Tower for Backbone {
    fn forward(&self, input: &Tensor, _: Mode<'_>) -> Result<FeatureMaps> {
        let seen = self.preprocess.apply(input)?;
        let maps = match &self.net {
            Net::Vgg(vgg) => vgg.forward(&seen, &self.config.layers)?,
            Net::Vit(vit) => vit.forward(&seen, &self.config.layers)?,
        };
        FeatureMaps::new(self.levels.iter().map(|level| level.name.clone()).zip(maps))
    }

    fn levels(&self) -> Vec<MapSpec> {
        self.levels.clone()
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.parameters.clone()
    }

    fn describe(&self) -> Vec<String> {
        let ImageInput { height, width, rows, columns, .. } = self.config.input;
        let network = match &self.config.network {
            NetworkConfig::Vgg(vgg) => {
                format!("VGG: {:?} convolutions of {:?} channels", vgg.convolutions, vgg.widths)
            }
            NetworkConfig::Vit(vit) => format!(
                "{}: width {}, {} blocks, {} heads, patches of {} pixels",
                match vit.family {
                    VitFamily::Vit => "vision transformer",
                    VitFamily::Clip => "CLIP image encoder",
                    VitFamily::DinoV2 => "DINOv2",
                },
                vit.width,
                vit.depth,
                vit.heads,
                vit.patch
            ),
        };
        let layers: Vec<String> = self.config.layers.iter().map(ToString::to_string).collect();
        let trained = if self.config.trainable { "trained further" } else { "frozen" };
        let origin = match &self.origin {
            Origin::File { weights, .. } => format!("pretrained weights {}, {trained}", weights.short()),
            Origin::Random { .. } => format!("random weights (a control), {trained}"),
        };
        vec![
            format!("image {height} x {width}, seen at {rows} x {columns}"),
            network,
            origin,
            format!("cut at {}", layers.join(", ")),
        ]
    }
}
