use dina_core::Seed;
use serde::{Deserialize, Serialize};

use super::{
    Contour, Crop, EqualiseAmplitude, Filter, LocalPhaseScramble, Normalise, Occlude, PhaseScramble, Resize,
    ShufflePatches, Silhouette, Stack, Texture, Whitening,
};
use crate::Result;

/// Makes new images out of images. Implement it to put a transform of your own into a chain.
///
/// What is random comes from the seed, image `i` of the stack from `seed.index(i)`, so that the
/// result does not depend on threads.
pub trait StackTransform {
    /// A word or two for messages and captions.
    fn name(&self) -> &'static str;

    /// The transformed images; the stack given stays as it is.
    ///
    /// # Errors
    /// When a parameter is out of range, also of the range that these images allow.
    fn apply(&self, stack: &Stack, seed: Seed) -> Result<Stack>;
}

/// Any of the transforms of this module, as configurations hold it.
///
/// ```
/// use dina_data::stimulus::{Pipeline, Transform};
///
/// let chain: Pipeline = serde_json::from_str(
///     r#"[{"transform": "filter", "pass": {"low": {"cutoff": 0.04}}, "roll_off": 0.5, "keep_mean": true},
///         {"transform": "normalise", "mean": 128.0, "rms": 30.0}]"#,
/// )?;
/// assert!(matches!(chain.0[1], Transform::Normalise(_)));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "transform", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "each holds the type that says it")]
pub enum Transform {
    Crop(Crop),
    Resize(Resize),
    Normalise(Normalise),
    Filter(Filter),
    PhaseScramble(PhaseScramble),
    LocalPhaseScramble(LocalPhaseScramble),
    EqualiseAmplitude(EqualiseAmplitude),
    Whiten(Whitening),
    Texture(Texture),
    Silhouette(Silhouette),
    Contour(Contour),
    Occlude(Occlude),
    ShufflePatches(ShufflePatches),
}

impl Transform {
    fn inner(&self) -> &dyn StackTransform {
        match self {
            Self::Crop(t) => t,
            Self::Resize(t) => t,
            Self::Normalise(t) => t,
            Self::Filter(t) => t,
            Self::PhaseScramble(t) => t,
            Self::LocalPhaseScramble(t) => t,
            Self::EqualiseAmplitude(t) => t,
            Self::Whiten(t) => t,
            Self::Texture(t) => t,
            Self::Silhouette(t) => t,
            Self::Contour(t) => t,
            Self::Occlude(t) => t,
            Self::ShufflePatches(t) => t,
        }
    }
}

impl StackTransform for Transform {
    fn name(&self) -> &'static str {
        self.inner().name()
    }

    fn apply(&self, stack: &Stack, seed: Seed) -> Result<Stack> {
        self.inner().apply(stack, seed)
    }
}

macro_rules! from {
    ($($variant:ident $kind:ty),*) => {$(
        impl From<$kind> for Transform {
            fn from(transform: $kind) -> Self {
                Self::$variant(transform)
            }
        }
    )*};
}

from!(
    Crop Crop, Resize Resize, Normalise Normalise, Filter Filter, PhaseScramble PhaseScramble,
    LocalPhaseScramble LocalPhaseScramble, EqualiseAmplitude EqualiseAmplitude, Whiten Whitening, Texture Texture,
    Silhouette Silhouette, Contour Contour, Occlude Occlude, ShufflePatches ShufflePatches
);

/// Transforms one after the other; step `i` draws from `seed.index(i)`.
///
/// ```
/// use dina_core::Seed;
/// use dina_data::stimulus::{Area, Crop, Filter, Normalise, Pass, Pipeline, Resize, Stack, StackTransform};
/// use ndarray::Array3;
///
/// let images = Array3::from_shape_fn((2, 40, 60), |(i, y, x)| ((i + 3 * y + x * x) % 200) as f32);
/// let stack = Stack::new(images, 1.0)?;
/// let chain = Pipeline(vec![
///     Crop { area: Area { top: 0.0, left: 10.0, height: 40.0, width: 40.0 } }.into(),
///     Filter::new(Pass::Low { cutoff: 0.1 }).into(),
///     Resize { degrees_per_pixel: 2.0, kernel: Default::default() }.into(),
///     Normalise::default().into(),
/// ]);
/// let seen = chain.apply(&stack, Seed::new(7))?;
/// assert_eq!(seen.size(), (20, 20));
/// # Ok::<(), dina_data::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pipeline(pub Vec<Transform>);

impl StackTransform for Pipeline {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn apply(&self, stack: &Stack, seed: Seed) -> Result<Stack> {
        let mut made = stack.clone();
        for (i, transform) in self.0.iter().enumerate() {
            made = transform.apply(&made, seed.index(i))?;
        }
        Ok(made)
    }
}
