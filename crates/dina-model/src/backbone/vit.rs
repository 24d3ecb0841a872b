//! Vision transformers with a class token and layer norms before attention and perceptron.

use candle_core::{D, Tensor};
use dina_core::{MapSpec, Result};

use super::config::{Activation, VitConfig, VitFamily};
use super::name::{Layer, Stage};
use super::naming::{Attention, Names};
use super::resize::{Filter, Resize};
use super::weights::{Init, Weights};

/// Standard deviation of random weights, that of the published trainings.
const SD: f64 = 0.02;

/// The network up to the last layer that is asked for.
pub(super) struct Vit {
    config: VitConfig,
    /// Rows and columns of patches in what it sees.
    grid: (usize, usize),
    /// `[width, 3, patch, patch]`.
    patch: Tensor,
    /// `[1, width, 1, 1]`.
    patch_bias: Option<Tensor>,
    /// `[1, 1, width]` each: the class token, and its position.
    class: [Tensor; 2],
    /// `[1, width, rows, columns]` of the grid that the network was trained at.
    positions: Tensor,
    /// To the grid that it sees now.
    interpolate: Resize,
    /// `[1, registers, width]`.
    registers: Option<Tensor>,
    first_norm: Option<Norm>,
    blocks: Vec<Block>,
    last_norm: Option<Norm>,
    /// `[embedding, width]`.
    projection: Option<Tensor>,
}

struct Block {
    norms: [Norm; 2],
    /// Three layers, or one of three times the width.
    attention: Vec<Linear>,
    mix: Linear,
    perceptron: [Linear; 2],
    /// `[width]` each.
    scales: Option<[Tensor; 2]>,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

/// `x W' + b` over the last axis, with `W` as outputs x inputs.
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Vit {
    pub(super) fn new(
        config: &VitConfig,
        layers: &[Layer],
        (rows, columns): (usize, usize),
        weights: &mut Weights,
    ) -> Result<Self> {
        let names = Names::find(config.family, weights)?;
        let (naming, width) = (names.naming, config.width);
        let token = |name: &str, tokens: usize| {
            // A lone vector has no axis of tokens where there is no axis of batches.
            match (naming.batched, name == naming.class) {
                (true, _) => vec![1, tokens, width],
                (false, true) => vec![width],
                (false, false) => vec![tokens, width],
            }
        };
        let class = weights.take(&names.whole(naming.class), &token(naming.class, 1), Init::Normal(SD))?;
        let grid = trained_grid(config, &names, weights)?;
        let positions = weights.take(
            &names.whole(naming.positions),
            &token(naming.positions, 1 + grid * grid),
            Init::Normal(SD),
        )?;
        let positions = positions.reshape((1, 1 + grid * grid, width))?;
        let of_class = positions.narrow(1, 0, 1)?;
        let positions = positions.narrow(1, 1, grid * grid)?.transpose(1, 2)?.contiguous()?;
        let here = (rows / config.patch, columns / config.patch);
        let patch = names.whole(naming.patch);
        let shape = [width, 3, config.patch, config.patch];
        let registers = names.whole(naming.registers);
        let count = match naming.registers {
            "" => None,
            _ if weights.in_file(&registers) => {
                weights.shape(&registers)?.and_then(|shape| shape.get(1).copied())
            }
            _ => None,
        };
        let stage = |layer: &Layer| match *layer {
            Layer::Patches(stage) | Layer::Class(stage) => stage,
            _ => Stage::Norm,
        };
        let norm = layers.iter().any(|layer| stage(layer) == Stage::Norm);
        let depth = layers.iter().map(|layer| stage(layer).blocks(config.depth)).max().unwrap_or(0);
        if config.family == VitFamily::Vit && weights.in_file(&names.block(0, naming.scales[0])) {
            return Err(weights.wrong(
                Some(&names.block(0, naming.scales[0])),
                "absent: a vision transformer without scaled residuals",
                "one with them; is it a DINOv2?",
            ));
        }
        Ok(Self {
            grid: here,
            patch: weights.take(&format!("{patch}.weight"), &shape, Init::Normal(SD))?,
            patch_bias: match config.family {
                VitFamily::Clip => None,
                _ => {
                    let bias = weights.take(&format!("{patch}.bias"), &[width], Init::Constant(0.))?;
                    Some(bias.reshape((1, width, 1, 1))?)
                }
            },
            class: [class.reshape((1, 1, width))?, of_class],
            positions: positions.reshape((1, width, grid, grid))?,
            interpolate: Resize::new((grid, grid), here, Filter::Interpolate, weights.device())?,
            registers: count
                .map(|count| weights.take(&registers, &[1, count, width], Init::Normal(SD)))
                .transpose()?,
            first_norm: match config.family {
                VitFamily::Clip => Some(Norm::new(&names.whole(naming.first_norm), config, weights)?),
                _ => None,
            },
            blocks: (0..depth)
                .map(|block| Block::new(config, &names, block, weights))
                .collect::<Result<_>>()?,
            last_norm: norm
                .then(|| Norm::new(&names.whole(naming.last_norm), config, weights))
                .transpose()?,
            projection: layers
                .contains(&Layer::Projected)
                .then(|| projection(width, &names, weights))
                .transpose()?,
            config: config.clone(),
        })
    }

    /// What the network sees, `[batch, 3, rows, columns]`, to the layers in the order asked for.
    pub(super) fn forward(&self, images: &Tensor, layers: &[Layer]) -> Result<Vec<Tensor>> {
        let patches = images.conv2d(&self.patch, 0, self.config.patch, 1, 1)?;
        let patches = match &self.patch_bias {
            Some(bias) => patches.broadcast_add(bias)?,
            None => patches,
        };
        let patches = patches.broadcast_add(&self.interpolate.apply(&self.positions)?)?;
        let (batch, width) = (images.dim(0)?, self.config.width);
        let repeated = |tokens: &Tensor| tokens.broadcast_as((batch, tokens.dim(1)?, width));
        let mut tokens = vec![repeated(&(&self.class[0] + &self.class[1])?)?];
        if let Some(registers) = &self.registers {
            tokens.push(repeated(registers)?);
        }
        tokens.push(patches.flatten_from(2)?.transpose(1, 2)?);
        let mut x = Tensor::cat(&tokens, 1)?;
        if let Some(norm) = &self.first_norm {
            x = norm.forward(&x)?;
        }
        let mut levels = vec![None; layers.len()];
        let mut keep = |stage: Stage, x: &Tensor| -> Result<()> {
            for (level, layer) in levels.iter_mut().zip(layers) {
                match *layer {
                    Layer::Patches(other) if other == stage => *level = Some(self.map(x)?),
                    Layer::Class(other) if other == stage => *level = Some(self.class(x)?),
                    _ => {}
                }
            }
            Ok(())
        };
        keep(Stage::Embedding, &x)?;
        for (index, block) in (1..).zip(&self.blocks) {
            x = block.forward(&x, &self.config)?;
            keep(Stage::Block(index), &x)?;
        }
        if let Some(norm) = &self.last_norm {
            x = norm.forward(&x)?;
            keep(Stage::Norm, &x)?;
        }
        if let Some(projection) = &self.projection {
            let class = x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
            let embedding = class.matmul(&projection.t()?)?;
            let shape = (batch, embedding.dim(1)?, 1, 1);
            if let Some(place) = layers.iter().position(|&layer| layer == Layer::Projected) {
                levels[place] = Some(embedding.reshape(shape)?);
            }
        }
        Ok(levels.into_iter().flatten().collect())
    }

    /// The class token as a map of 1 x 1.
    fn class(&self, tokens: &Tensor) -> Result<Tensor> {
        let (batch, _, width) = tokens.dims3()?;
        Ok(tokens.narrow(1, 0, 1)?.contiguous()?.reshape((batch, width, 1, 1))?)
    }

    /// The patch tokens as a map over the grid.
    fn map(&self, tokens: &Tensor) -> Result<Tensor> {
        let ((batch, count, width), (rows, columns)) = (tokens.dims3()?, self.grid);
        let patches = tokens.narrow(1, count - rows * columns, rows * columns)?;
        Ok(patches.transpose(1, 2)?.contiguous()?.reshape((batch, width, rows, columns))?)
    }

    pub(super) fn levels(&self, layers: &[Layer]) -> Result<Vec<MapSpec>> {
        let spec = |layer: &Layer| {
            let (channels, (height, width)) = match (layer, &self.projection) {
                (Layer::Patches(_), _) => (self.config.width, self.grid),
                (Layer::Projected, Some(projection)) => (projection.dim(0)?, (1, 1)),
                _ => (self.config.width, (1, 1)),
            };
            Ok(MapSpec { name: layer.to_string(), channels, height, width })
        };
        layers.iter().map(spec).collect()
    }

    /// Bytes that an image takes at most while it goes through: tokens, attention and perceptron.
    pub(super) fn bytes(&self) -> usize {
        let VitConfig { width, heads, hidden, patch, .. } = self.config;
        let (rows, columns) = self.grid;
        let tokens = 1 + rows * columns + self.registers.as_ref().map_or(0, |r| r.dims()[1]);
        let attention = tokens * (8 * width + 3 * heads * tokens);
        let perceptron = tokens * (3 * width + 3 * hidden);
        let image = 9 * rows * columns * patch * patch;
        4 * (image + attention.max(perceptron))
    }
}

impl Block {
    fn new(config: &VitConfig, names: &Names, block: usize, weights: &mut Weights) -> Result<Self> {
        let (naming, width, hidden) = (names.naming, config.width, config.hidden);
        let name = |name: &str| names.block(block, name);
        let square = (width, width);
        let attention = match naming.attention {
            Attention::Split(parts) => parts
                .iter()
                .map(|part| {
                    Linear::new(
                        [&name(&format!("{part}.weight")), &name(&format!("{part}.bias"))],
                        square,
                        weights,
                    )
                })
                .collect::<Result<_>>()?,
            Attention::Fused([weight, bias]) => {
                vec![Linear::new([&name(weight), &name(bias)], (3 * width, width), weights)?]
            }
        };
        let mut layer = |part: &str, shape| {
            Linear::new([&name(&format!("{part}.weight")), &name(&format!("{part}.bias"))], shape, weights)
        };
        let mix = layer(naming.mix, square)?;
        let [first, second] = naming.perceptron;
        let perceptron = [layer(first, (hidden, width))?, layer(second, (width, hidden))?];
        let [before, after] = naming.norms;
        let scales = match config.family {
            VitFamily::DinoV2 => {
                let [first, second] = naming.scales;
                let mut scale = |part: &str| weights.take(&name(part), &[width], Init::Constant(1.));
                Some([scale(first)?, scale(second)?])
            }
            _ => None,
        };
        let norms = [Norm::new(&name(before), config, weights)?, Norm::new(&name(after), config, weights)?];
        Ok(Self { norms, attention, mix, perceptron, scales })
    }

    fn forward(&self, x: &Tensor, config: &VitConfig) -> Result<Tensor> {
        let attended = self.attend(&self.norms[0].forward(x)?, config.heads)?;
        let x = (x + self.scaled(attended, 0)?)?;
        let hidden = self.perceptron[0].forward(&self.norms[1].forward(&x)?)?;
        let hidden = match config.activation {
            Activation::Gelu => hidden.gelu_erf()?,
            Activation::QuickGelu => (&hidden / ((&hidden * -1.702)?.exp()? + 1.)?)?,
        };
        let made = self.perceptron[1].forward(&hidden)?;
        Ok((x + self.scaled(made, 1)?)?)
    }

    /// Attention of every token to all (Vaswani et al. 2017, equation 1).
    fn attend(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let parts = match self.attention.as_slice() {
            [fused] => {
                let all = fused.forward(x)?;
                (0..3).map(|part| all.narrow(2, part * width, width)).collect::<candle_core::Result<_>>()?
            }
            split => split.iter().map(|layer| layer.forward(x)).collect::<Result<Vec<_>>>()?,
        };
        let heads_of = |part: &Tensor| -> Result<Tensor> {
            let apart = part.contiguous()?.reshape((batch, tokens, heads, width / heads))?;
            Ok(apart.transpose(1, 2)?.contiguous()?)
        };
        let (query, key, value) = (heads_of(&parts[0])?, heads_of(&parts[1])?, heads_of(&parts[2])?);
        let scale = ((width / heads) as f64).sqrt().recip();
        let scores = (query * scale)?.matmul(&key.t()?)?;
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        let mixed = weights.matmul(&value)?.transpose(1, 2)?.contiguous()?.reshape((batch, tokens, width))?;
        self.mix.forward(&mixed)
    }

    fn scaled(&self, x: Tensor, part: usize) -> Result<Tensor> {
        Ok(match &self.scales {
            Some(scales) => x.broadcast_mul(&scales[part])?,
            None => x,
        })
    }
}

impl Norm {
    fn new(name: &str, config: &VitConfig, weights: &mut Weights) -> Result<Self> {
        let mut take = |part: &str, value| {
            weights.take(&format!("{name}.{part}"), &[config.width], Init::Constant(value))
        };
        Ok(Self { weight: take("weight", 1.)?, bias: take("bias", 0.)?, epsilon: config.epsilon })
    }

    /// Layer norm (Ba et al. 2016, arXiv 1607.06450) over the last axis.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let sd = (centred.sqr()?.mean_keepdim(D::Minus1)? + self.epsilon)?.sqrt()?;
        Ok(centred.broadcast_div(&sd)?.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)?)
    }
}

impl Linear {
    fn new(
        [weight, bias]: [&str; 2],
        (outputs, inputs): (usize, usize),
        weights: &mut Weights,
    ) -> Result<Self> {
        Ok(Self {
            weight: weights.take(weight, &[outputs, inputs], Init::Normal(SD))?,
            bias: weights.take(bias, &[outputs], Init::Constant(0.))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, inputs) = x.dims3()?;
        let rows = x.contiguous()?.reshape((batch * tokens, inputs))?;
        let rows = rows.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?;
        Ok(rows.reshape((batch, tokens, ()))?)
    }
}

/// Side of the grid of patches that a file's positions are for.
fn trained_grid(config: &VitConfig, names: &Names, weights: &Weights) -> Result<usize> {
    let name = names.whole(names.naming.positions);
    let Some(shape) = weights.shape(&name)? else { return Ok(config.grid) };
    let axis = usize::from(names.naming.batched);
    let patches = shape.get(axis).copied().unwrap_or(0).saturating_sub(1);
    let side = patches.isqrt();
    if side == 0 || side * side != patches {
        return Err(weights.wrong(
            Some(&name),
            "positions of a class token and of a square grid of patches",
            &format!("shape {shape:?}"),
        ));
    }
    Ok(side)
}

/// CLIP's projection as outputs x inputs.
fn projection(width: usize, names: &Names, weights: &mut Weights) -> Result<Tensor> {
    let (name, turned) = names.naming.projection;
    let name = names.whole(name);
    // Published encoders project to two thirds of their width.
    let shape = weights.shape(&name)?.unwrap_or_else(|| vec![(2 * width / 3).max(1), width]);
    let outputs = shape.get(usize::from(turned)).copied().unwrap_or(0);
    if turned {
        return Ok(weights.take(&name, &[width, outputs], Init::Normal(SD))?.t()?);
    }
    weights.take(&name, &[outputs, width], Init::Normal(SD))
}
