//! The operations on a GPU: kernels of our own where memory or launches are what an operation costs, candle's matrix products where
//! arithmetic is.
//!
//! The kernels (`src/kernels`) are one text for CUDA and Metal, compiled when first used. The tests run the same text, and the same code
//! around it, on the CPU (`host`).

mod conv;
mod cosine;
#[cfg(feature = "cuda")]
mod cuda;
mod differentiable;
#[cfg(test)]
mod host;
mod image_stack;
mod info_nce;
mod launch;
#[cfg(feature = "metal")]
mod metal;
mod mix;
mod optimiser;
mod read_in;
mod source;
mod streams;

pub(crate) use conv::convolve;
pub(crate) use cosine::grouped_cosine;
pub(crate) use image_stack::image_stack;
pub(crate) use info_nce::info_nce;
pub(crate) use mix::normalized_mix;
pub(crate) use optimiser::{adamw, running_average, squared_norms};
pub(crate) use read_in::read_in;

use candle_core::{DType, Result, Tensor};

/// Whether tensors are all on a GPU and of one type that the kernels are written for.
pub(crate) fn takes(tensors: &[&Tensor]) -> bool {
    let dtype = tensors.first().map(|tensor| tensor.dtype());
    matches!(dtype, Some(DType::F32 | DType::BF16))
        && tensors.iter().all(|tensor| !tensor.device().is_cpu() && Some(tensor.dtype()) == dtype)
}

/// Elements of a temporary matrix that is formed at a time: 256 MB in single precision.
const TEMPORARY: usize = 1 << 26;

/// Sum over the first dimension, in single precision whatever the type.
fn sum_first(tensor: &Tensor) -> Result<Tensor> {
    tensor.to_dtype(DType::F32)?.sum(0)?.to_dtype(tensor.dtype())
}

/// A contiguous tensor that no gradient is followed through.
fn plain(tensor: &Tensor) -> Result<Tensor> {
    tensor.detach().contiguous()
}
