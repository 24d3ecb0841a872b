use candle_core::{Device, Tensor};
use dina_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::config::{NetworkConfig, VitFamily};
use super::resize::{Filter, Resize};

/// What comes in, and what the network is shown of it.
///
/// Grey images `[batch, 1, height, width]` are resized to `rows` x `columns` with a filter that is widened where the image
/// shrinks (as Pillow does, but without rounding to whole grey levels), repeated in three channels, and in every channel `c`
/// the network sees `(x - mean[c]) / deviation[c]` of grey levels `x` between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageInput {
    /// Rows of the images that come in.
    pub height: usize,
    /// Columns of the images that come in.
    pub width: usize,
    /// Rows of the image that the network sees; of a transformer a multiple of its patch.
    pub rows: usize,
    /// Its columns.
    pub columns: usize,
    /// How the images are resized.
    pub filter: ResizeFilter,
    /// What the grey levels that come in mean.
    pub pixels: PixelScale,
    /// Mean of every colour in the images that the network was trained on.
    pub mean: [f64; 3],
    /// Their standard deviation.
    pub deviation: [f64; 3],
}

/// How images are resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeFilter {
    /// A triangle.
    Bilinear,
    /// Keys' cubic with a = -0.5; overshoots beside edges.
    Bicubic,
}

/// What grey levels mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelScale {
    /// From 0, black, to 1, white.
    #[default]
    Unit,
    /// From 0, black, to 255, white.
    Bytes,
    /// Mean 0 and variance 1 over the images of the experiment, as the image tower of the main job takes them: shown to
    /// every channel as they are, in place of the mean and deviation that the network was trained with.
    Standardised,
}

/// Mean and deviation of ImageNet's colours, as torchvision states them.
const IMAGENET: ([f64; 3], [f64; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// Those of CLIP's training images.
const CLIP: ([f64; 3], [f64; 3]) =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11]);
/// To values between -1 and 1, as the published vision transformers take them (torchvision's take ImageNet's).
const HALF: ([f64; 3], [f64; 3]) = ([0.5; 3], [0.5; 3]);

/// The extent of the square images that all networks are made for.
const SIDE: f64 = 224.;

impl ImageInput {
    /// Grey levels from 0 to 1, seen with the mean, deviation and filter that the family was trained with.
    ///
    /// The network sees the whole image with its aspect ratio kept as well as whole patches allow (of VGG, multiples of
    /// 32), at about as many pixels as 224 x 224; position embeddings are interpolated to it.
    pub fn new(network: &NetworkConfig, (height, width): (usize, usize)) -> Self {
        let ((mean, deviation), filter) = match network {
            NetworkConfig::Vgg(_) => (IMAGENET, ResizeFilter::Bilinear),
            NetworkConfig::Vit(vit) => match vit.family {
                VitFamily::Vit => (HALF, ResizeFilter::Bilinear),
                VitFamily::Clip => (CLIP, ResizeFilter::Bicubic),
                VitFamily::DinoV2 => (IMAGENET, ResizeFilter::Bicubic),
            },
        };
        let stride = network.stride().max(1);
        // An image of no size is refused later; here it only must not divide by zero.
        let aspect = (height.max(1) as f64 / width.max(1) as f64).sqrt();
        let whole = |extent: f64| ((extent / stride as f64).round() as usize).max(1) * stride;
        Self {
            height,
            width,
            rows: whole(SIDE * aspect),
            columns: whole(SIDE / aspect),
            filter,
            pixels: PixelScale::default(),
            mean,
            deviation,
        }
    }

    /// The same for grey levels that mean something else.
    pub fn with_pixels(mut self, pixels: PixelScale) -> Self {
        self.pixels = pixels;
        self
    }

    /// Resizes, makes three channels and normalises; checked before.
    pub(super) fn check(&self, network: &NetworkConfig) -> Result<()> {
        if [self.height, self.width, self.rows, self.columns].contains(&0) {
            return Err(Error::value("image sizes of a backbone", "all at least 1", format!("{self:?}")));
        }
        let numbers = self.mean.iter().chain(&self.deviation);
        if !numbers.clone().all(|value| value.is_finite()) || self.deviation.iter().any(|&sd| sd <= 0.) {
            return Err(Error::value(
                "colour mean and deviation of a backbone",
                "finite, deviations positive",
                format!("{:?}, {:?}", self.mean, self.deviation),
            ));
        }
        // Pooling and patches would leave a border of the image out without saying so.
        let stride = network.stride();
        for (what, extent) in [("rows", self.rows), ("columns", self.columns)] {
            if !extent.is_multiple_of(stride) {
                return Err(Error::value(
                    format!("{what} that a backbone sees"),
                    format!("a multiple of {stride}"),
                    extent,
                ));
            }
        }
        Ok(())
    }
}

/// The preprocessing of an [`ImageInput`], ready to be applied.
pub(super) struct Preprocess {
    size: (usize, usize),
    resize: Resize,
    /// `x factor + offset`, `[1, 3, 1, 1]` each.
    factor: Tensor,
    offset: Tensor,
}

impl Preprocess {
    pub(super) fn new(input: &ImageInput, device: &Device) -> Result<Self> {
        let filter = match input.filter {
            ResizeFilter::Bilinear => Filter::Bilinear,
            ResizeFilter::Bicubic => Filter::Bicubic,
        };
        let size = (input.height, input.width);
        let colours = |value: &dyn Fn(usize) -> f64| -> Result<Tensor> {
            let values: Vec<f32> = (0..3).map(|colour| value(colour) as f32).collect();
            Ok(Tensor::from_vec(values, (1, 3, 1, 1), device)?)
        };
        let full = if input.pixels == PixelScale::Bytes { 255. } else { 1. };
        let (factor, offset) = match input.pixels {
            PixelScale::Standardised => (colours(&|_| 1.)?, colours(&|_| 0.)?),
            PixelScale::Unit | PixelScale::Bytes => (
                colours(&|colour| 1. / (full * input.deviation[colour]))?,
                colours(&|colour| -input.mean[colour] / input.deviation[colour])?,
            ),
        };
        let resize = Resize::new(size, (input.rows, input.columns), filter, device)?;
        Ok(Self { size, resize, factor, offset })
    }

    /// Images `[batch, 1, height, width]` to what the network sees, `[batch, 3, rows, columns]`.
    pub(super) fn apply(&self, images: &Tensor) -> Result<Tensor> {
        let (height, width) = self.size;
        match images.dims() {
            [_, 1, h, w] if (*h, *w) == (height, width) => {}
            dims => return Err(Error::shape("images", format!("[batch, 1, {height}, {width}]"), dims)),
        }
        let grey = self.resize.apply(images)?;
        Ok(grey.broadcast_mul(&self.factor)?.broadcast_add(&self.offset)?)
    }
}
