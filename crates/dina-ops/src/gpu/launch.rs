//! A call of a kernel, whatever the device.

use candle_core::{DType, Device, Result, Shape, Tensor};

use super::source::BLOCK;

/// What a kernel is called with, in the order of its parameters. Tensors are contiguous.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(any(feature = "cuda", feature = "metal", test)),
    expect(dead_code, reason = "without a device nothing reads the numbers")
)]
pub(crate) enum Argument<'a> {
    /// Is read.
    Input(&'a Tensor),
    /// Is written in full.
    Output(&'a Tensor),
    /// Is read and written.
    Update(&'a Tensor),
    /// A 32-bit count.
    Count(u32),
    /// A 64-bit count.
    Total(u64),
    /// A number.
    Value(f32),
}

/// Calls a kernel of the given type of storage with a grid of blocks. On CUDA and Metal the call returns before the kernel ran.
///
/// # Errors
/// When the device has no kernels, a tensor is elsewhere or not contiguous, or the device refuses.
pub(crate) fn launch(
    kernel: &'static str,
    storage: DType,
    arguments: &[Argument],
    blocks: (usize, usize),
) -> Result<()> {
    let mut device: Option<&Device> = None;
    for argument in arguments {
        let (Argument::Input(tensor) | Argument::Output(tensor) | Argument::Update(tensor)) = argument else {
            continue;
        };
        if !tensor.is_contiguous() {
            candle_core::bail!("{kernel}: expected contiguous tensors, found {:?}", tensor.layout())
        }
        if device.is_some_and(|device| !device.same_device(tensor.device())) {
            candle_core::bail!("{kernel}: expected all tensors on one device")
        }
        device = Some(tensor.device());
    }
    // What the x and the y direction of a CUDA grid can hold.
    if blocks.0 > i32::MAX as usize || blocks.1 > 65_535 {
        candle_core::bail!("{kernel}: {blocks:?} blocks are more than a device takes: use a smaller batch")
    }
    if blocks.0 == 0 || blocks.1 == 0 {
        return Ok(());
    }
    match device {
        #[cfg(feature = "cuda")]
        Some(Device::Cuda(device)) => super::cuda::launch(device, kernel, storage, arguments, blocks),
        #[cfg(feature = "metal")]
        Some(Device::Metal(device)) => super::metal::launch(device, kernel, storage, arguments, blocks),
        #[cfg(test)]
        Some(Device::Cpu) => super::host::launch(kernel, storage, arguments, blocks),
        _ => candle_core::bail!("{kernel}: no kernels of {storage:?} for {device:?}"),
    }
}

/// Blocks for one lane an element.
pub(crate) fn lanes(count: usize) -> (usize, usize) {
    (count.div_ceil(BLOCK), 1)
}

/// A count that a kernel takes.
///
/// # Errors
/// When it has more than 32 bits.
pub(crate) fn count(value: usize) -> Result<Argument<'static>> {
    match u32::try_from(value) {
        Ok(value) => Ok(Argument::Count(value)),
        Err(_) => candle_core::bail!("{value} is more than a kernel counts to"),
    }
}

/// A tensor to be written by a kernel, with whatever is in its memory.
pub(crate) fn empty(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    if device.is_cpu() {
        return Tensor::zeros(shape, dtype, device);
    }
    // SAFETY: memory of a device that only kernels touch, and the first of them writes all of it.
    unsafe { Tensor::empty(shape, dtype, device) }
}
