//! VGG: blocks of rectified convolutions (Simonyan & Zisserman 2015, arXiv 1409.1556).

use candle_core::Tensor;
use dina_core::{MapSpec, Result};

use super::config::VggConfig;
use super::name::Layer;
use super::weights::{Init, Weights};

/// The blocks up to the last layer that is asked for.
pub(super) struct Vgg {
    /// Per block its convolutions.
    blocks: Vec<Vec<Convolution>>,
    /// Whether the last block is pooled too.
    pools: usize,
}

struct Convolution {
    /// `[out, in, 3, 3]`.
    weight: Tensor,
    /// `[1, out, 1, 1]`.
    bias: Tensor,
}

impl Vgg {
    pub(super) fn new(config: &VggConfig, layers: &[Layer], weights: &mut Weights) -> Result<Self> {
        // With batch normalisation the second tensor of a file belongs to it and not to a rectification.
        if weights.in_file("features.1.running_mean") {
            return Err(weights.wrong(
                Some("features.1.running_mean"),
                "absent: a VGG without batch normalisation",
                "the file of one with it",
            ));
        }
        let depth = |layer: &Layer| match *layer {
            Layer::Conv(block, index) | Layer::Relu(block, index) => (block, index),
            Layer::Pool(block) => (block, usize::MAX),
            _ => (0, 0),
        };
        let (last, index) = layers.iter().map(depth).max().unwrap_or((0, 0));
        let mut blocks = Vec::new();
        // Convolution, rectification and pooling each have a number in torchvision's sequence.
        let (mut number, mut inputs) = (0, 3);
        for (block, (&count, &width)) in (1..=last).zip(config.convolutions.iter().zip(&config.widths)) {
            let used = if block == last { count.min(index) } else { count };
            let mut convolutions = Vec::new();
            for _ in 0..used {
                // Random: He et al. 2015 by outputs, as torchvision starts it.
                let sd = (2. / (9. * width as f64)).sqrt();
                let name = |part: &str| format!("features.{number}.{part}");
                let weight = weights.take(&name("weight"), &[width, inputs, 3, 3], Init::Normal(sd))?;
                let bias = weights.take(&name("bias"), &[width], Init::Constant(0.))?;
                convolutions.push(Convolution { weight, bias: bias.reshape((1, width, 1, 1))? });
                (number, inputs) = (number + 2, width);
            }
            number += 1;
            blocks.push(convolutions);
        }
        let pools = if index == usize::MAX { last } else { last.saturating_sub(1) };
        Ok(Self { blocks, pools })
    }

    /// What the network sees, `[batch, 3, rows, columns]`, to the layers in the order asked for.
    pub(super) fn forward(&self, images: &Tensor, layers: &[Layer]) -> Result<Vec<Tensor>> {
        let mut levels = vec![None; layers.len()];
        let mut keep = |layer: Layer, map: &Tensor| {
            if let Some(place) = layers.iter().position(|&other| other == layer) {
                levels[place] = Some(map.clone());
            }
        };
        let mut x = images.clone();
        for (block, convolutions) in (1..).zip(&self.blocks) {
            for (index, convolution) in (1..).zip(convolutions) {
                x = x.conv2d(&convolution.weight, 1, 1, 1, 1)?.broadcast_add(&convolution.bias)?;
                keep(Layer::Conv(block, index), &x);
                x = x.relu()?;
                keep(Layer::Relu(block, index), &x);
            }
            if block <= self.pools {
                x = x.max_pool2d(2)?;
                keep(Layer::Pool(block), &x);
            }
        }
        Ok(levels.into_iter().flatten().collect())
    }

    pub(super) fn levels(
        config: &VggConfig,
        layers: &[Layer],
        (rows, columns): (usize, usize),
    ) -> Vec<MapSpec> {
        let spec = |layer: &Layer| {
            let (block, pools) = match *layer {
                Layer::Conv(block, _) | Layer::Relu(block, _) => (block, block - 1),
                Layer::Pool(block) => (block, block),
                _ => (1, 0),
            };
            let channels = config.widths[block - 1];
            MapSpec { name: layer.to_string(), channels, height: rows >> pools, width: columns >> pools }
        };
        layers.iter().map(spec).collect()
    }

    /// Bytes that an image takes at most while it goes through: inputs, outputs, and the inputs laid out for a product.
    pub(super) fn bytes(config: &VggConfig, layers: &[Layer], (rows, columns): (usize, usize)) -> usize {
        let last = layers.iter().map(|layer| match *layer {
            Layer::Conv(block, _) | Layer::Relu(block, _) | Layer::Pool(block) => block,
            _ => 0,
        });
        let mut inputs = 3;
        let mut most = 0;
        for (block, (&count, &width)) in config.convolutions.iter().zip(&config.widths).enumerate() {
            if block >= last.clone().max().unwrap_or(0) {
                break;
            }
            let positions = (rows >> block) * (columns >> block);
            let widest = if count > 1 { width.max(inputs) } else { inputs };
            most = most.max(positions * (10 * widest + 3 * width) * 4);
            inputs = width;
        }
        most
    }
}
