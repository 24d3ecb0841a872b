//! Launches on CUDA. The text is compiled by NVRTC when first used, to code for the oldest card that the compiler knows, which the driver
//! finishes for the card at hand.

use std::sync::OnceLock;

use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DevicePtr, LaunchConfig, PushKernelArg, SyncOnDrop,
};
use candle_core::cuda_backend::cudarc::nvrtc::compile_ptx;
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CudaDevice, CudaStorage, DType, Result, Storage};

use super::launch::Argument;
use super::source::{BLOCK, CUDA, source};

/// Name and code of the kernels of one type of storage.
fn module(storage: DType) -> Result<(&'static str, &'static str)> {
    static CODE: [OnceLock<std::result::Result<String, String>>; 2] = [const { OnceLock::new() }; 2];
    let (name, code) = if storage == DType::BF16 {
        (concat!("dina_ops_bf16_", env!("CARGO_PKG_VERSION")), &CODE[1])
    } else {
        (concat!("dina_ops_f32_", env!("CARGO_PKG_VERSION")), &CODE[0])
    };
    let compiled = code.get_or_init(|| {
        let compiled = compile_ptx(source(CUDA, storage)).map_err(|error| format!("{error:?}"))?;
        Ok(compiled.to_src())
    });
    match compiled {
        Ok(code) => Ok((name, code)),
        Err(message) => candle_core::bail!("NVRTC refuses the kernels of dina-ops: {message}"),
    }
}

fn address<T>(slice: &CudaSlice<T>, offset: usize) -> (u64, SyncOnDrop<'_>) {
    let (start, sync) = slice.device_ptr(slice.stream());
    (start + (offset * size_of::<T>()) as u64, sync)
}

pub(super) fn launch(
    device: &CudaDevice,
    kernel: &str,
    storage: DType,
    arguments: &[Argument],
    (x, y): (usize, usize),
) -> Result<()> {
    let (name, code) = module(storage)?;
    let function = device.get_or_load_custom_func(kernel, name, code)?;
    // Locks of the storages, then addresses in them: both are held until the kernel is in the queue.
    let mut storages = Vec::with_capacity(arguments.len());
    for argument in arguments {
        storages.push(match argument {
            Argument::Input(tensor) | Argument::Output(tensor) | Argument::Update(tensor) => {
                Some(tensor.storage_and_layout())
            }
            _ => None,
        });
    }
    let mut addresses = Vec::with_capacity(arguments.len());
    let mut syncs = Vec::with_capacity(arguments.len());
    for entry in &storages {
        let Some((storage, layout)) = entry else {
            addresses.push(0);
            continue;
        };
        let offset = layout.start_offset();
        let (address, sync) = match &**storage {
            Storage::Cuda(CudaStorage { slice: CudaStorageSlice::F32(slice), .. }) => address(slice, offset),
            Storage::Cuda(CudaStorage { slice: CudaStorageSlice::BF16(slice), .. }) => address(slice, offset),
            Storage::Cuda(CudaStorage { slice: CudaStorageSlice::U32(slice), .. }) => address(slice, offset),
            _ => candle_core::bail!("{kernel}: expected f32, bf16 or u32 on the GPU"),
        };
        addresses.push(address);
        syncs.push(sync);
    }
    let mut call = function.builder();
    for (argument, address) in arguments.iter().zip(&addresses) {
        match argument {
            Argument::Count(value) => call.arg(value),
            Argument::Total(value) => call.arg(value),
            Argument::Value(value) => call.arg(value),
            _ => call.arg(address),
        };
    }
    let config = LaunchConfig {
        grid_dim: (x as u32, y as u32, 1),
        block_dim: (BLOCK as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: number and kinds of the arguments are those of the kernel: the tests run the same calls on the CPU, where
    // both are checked, together with every access.
    unsafe { call.launch(config) }.w()?;
    drop(syncs);
    Ok(())
}

/// Moves a storage out; one element takes its place.
pub(super) fn take(storage: &mut CudaStorage) -> Result<CudaStorage> {
    let device = storage.device.clone();
    // SAFETY: never read.
    let small = unsafe { device.alloc::<f32>(1)? };
    Ok(std::mem::replace(storage, CudaStorage::wrap_cuda_slice(small, device)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::source::kernels;

    /// Needs NVRTC, which the feature does anyway, and no GPU.
    #[test]
    fn every_kernel_compiles() {
        for storage in [DType::F32, DType::BF16] {
            let (_, code) = module(storage).unwrap();
            for (kernel, _) in kernels(&source(CUDA, storage)) {
                assert!(code.contains(&format!(".entry {kernel}(")), "{kernel}");
            }
        }
    }
}
