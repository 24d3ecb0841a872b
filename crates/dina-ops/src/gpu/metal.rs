//! Launches on Metal. The text is compiled by the system when first used.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;

use candle_core::{DType, MetalDevice, Result, Storage};
use candle_metal_kernels::metal::{ComputePipeline, Library};
use objc2_metal::MTLSize;

use super::launch::Argument;
use super::source::{BLOCK, METAL, source};

/// What was compiled: the text for one type of storage on one device, and single kernels of it.
#[derive(Default)]
struct Compiled {
    libraries: HashMap<(u64, DType), Library>,
    pipelines: HashMap<(u64, DType, &'static str), ComputePipeline>,
}

fn pipeline(device: &MetalDevice, kernel: &'static str, storage: DType) -> Result<ComputePipeline> {
    static COMPILED: Mutex<Option<Compiled>> = Mutex::new(None);
    let device = device.metal_device();
    let id = device.registry_id();
    let mut compiled = match COMPILED.lock() {
        Ok(compiled) => compiled,
        Err(poisoned) => poisoned.into_inner(),
    };
    let Compiled { libraries, pipelines } = compiled.get_or_insert_default();
    if let Some(pipeline) = pipelines.get(&(id, storage, kernel)) {
        return Ok(pipeline.clone());
    }
    let library = match libraries.entry((id, storage)) {
        Entry::Occupied(library) => library.into_mut(),
        Entry::Vacant(place) => place.insert(
            device
                .new_library_with_source(&source(METAL, storage), None)
                .map_err(candle_core::Error::wrap)?,
        ),
    };
    let function = library.get_function(kernel, None).map_err(candle_core::Error::wrap)?;
    let pipeline =
        device.new_compute_pipeline_state_with_function(&function).map_err(candle_core::Error::wrap)?;
    let lanes = pipeline.max_total_threads_per_threadgroup();
    if lanes < BLOCK {
        candle_core::bail!("{kernel}: needs {BLOCK} threads a group, and the device gives {lanes}")
    }
    pipelines.insert((id, storage, kernel), pipeline.clone());
    Ok(pipeline)
}

pub(super) fn launch(
    device: &MetalDevice,
    kernel: &'static str,
    storage: DType,
    arguments: &[Argument],
    (x, y): (usize, usize),
) -> Result<()> {
    let pipeline = pipeline(device, kernel, storage)?;
    let encoder = device.command_encoder()?;
    let encoder = encoder.as_ref();
    encoder.set_compute_pipeline_state(&pipeline);
    for (index, argument) in arguments.iter().enumerate() {
        match argument {
            Argument::Count(value) => encoder.set_bytes(index, value),
            Argument::Total(value) => encoder.set_bytes(index, value),
            Argument::Value(value) => encoder.set_bytes(index, value),
            Argument::Input(tensor) | Argument::Output(tensor) | Argument::Update(tensor) => {
                let (storage, layout) = tensor.storage_and_layout();
                let Storage::Metal(storage) = &*storage else {
                    candle_core::bail!("{kernel}: expected a tensor on Metal")
                };
                let offset = layout.start_offset() * tensor.dtype().size_in_bytes();
                match argument {
                    Argument::Input(_) => encoder.set_input_buffer(index, Some(storage.buffer()), offset),
                    _ => encoder.set_output_buffer(index, Some(storage.buffer()), offset),
                }
            }
        }
    }
    let size = |width, height| MTLSize { width, height, depth: 1 };
    encoder.dispatch_thread_groups(size(x, y), size(BLOCK, 1));
    Ok(())
}
