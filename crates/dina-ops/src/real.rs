//! The element types of the CPU operations, and slices of tensors.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Layout, Result, Tensor, WithDType};

/// The element types that the CPU operations run in: `f32`, and `f64` for gradient checks.
pub(crate) trait Real: WithDType + num_traits::Float + Send + Sync + std::iter::Sum {
    /// The storage as this type, from the layout's offset on; contiguous by precondition.
    fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [Self]>;
    /// The reverse: owned values as storage.
    fn storage(values: Vec<Self>) -> CpuStorage;
}

macro_rules! real {
    ($type:ty, $variant:ident) => {
        impl Real for $type {
            fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [Self]> {
                let CpuStorage::$variant(values) = storage else {
                    candle_core::bail!("expected {:?}, found {:?}", DType::$variant, storage.dtype())
                };
                match layout.contiguous_offsets() {
                    Some((start, end)) => Ok(&values[start..end]),
                    None => candle_core::bail!("expected a contiguous tensor, found {layout:?}"),
                }
            }

            fn storage(values: Vec<Self>) -> CpuStorage {
                CpuStorage::$variant(values)
            }
        }
    };
}
real!(f32, F32);
real!(f64, F64);

/// Calls `f` with the values of contiguous CPU tensors of one type.
pub(crate) fn with_slices<T: Real, R, const N: usize>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[T]; N]) -> Result<R>,
) -> Result<R> {
    let contiguous = tensors.map(|tensor| tensor.contiguous());
    let mut kept = Vec::with_capacity(N);
    for tensor in contiguous {
        kept.push(tensor?);
    }
    let guards: Vec<_> = kept.iter().map(|tensor| tensor.storage_and_layout()).collect();
    let mut slices: [&[T]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let candle_core::Storage::Cpu(storage) = &**storage else {
            candle_core::bail!("expected a tensor on the CPU");
        };
        *slice = T::slice(storage, layout)?;
    }
    f(slices)
}

/// Runs a generic body for the tensor's element type.
macro_rules! dispatch {
    ($dtype:expr, $call:ident ( $($arg:expr),* $(,)? )) => {
        match $dtype {
            candle_core::DType::F32 => $call::<f32>($($arg),*),
            candle_core::DType::F64 => $call::<f64>($($arg),*),
            other => Err(candle_core::Error::UnsupportedDTypeForOp(other, stringify!($call)).bt()),
        }
    };
}
pub(crate) use dispatch;

/// Adds partial sums in their order, so that the total does not depend on the threads.
pub(crate) fn sum_in_order<T: Real>(parts: Vec<Vec<T>>, len: usize) -> Vec<T> {
    let mut total = vec![T::zero(); len];
    for part in parts {
        for (sum, value) in total.iter_mut().zip(part) {
            *sum += value;
        }
    }
    total
}
