//! The kernels on the CPU, for the tests: a C++ compiler builds their text behind small headers (`tests/shim`) that give the words of CUDA and
//! Metal a meaning on the host.
//!
//! Every call runs the CUDA and the Metal form, lanes and blocks in order and in reverse, and fails unless all four results have the same
//! bits. What a kernel must not touch is filled with values that are no numbers.

use std::ffi::{c_int, c_uint, c_void};
use std::process::Command;
use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor, Var};

use super::launch::Argument;
use super::source::{BLOCK, CUDA, METAL, kernels, source};
use crate::check::normal;

/// Bytes before and after every tensor.
const GUARD: usize = 4096;

type Run = unsafe extern "C" fn(*mut *mut c_void, c_uint, c_uint, c_int) -> c_int;

#[derive(Clone, Copy)]
enum Platform {
    Cuda,
    Metal,
}

/// Whether there is a C++ compiler; says so where there is none.
pub(crate) fn available() -> bool {
    let found = compiler().is_some();
    if !found {
        println!("skipped: no C++ compiler (c++, g++ or clang++) to run the kernels on the CPU");
    }
    found
}

fn compiler() -> Option<&'static str> {
    static FOUND: OnceLock<Option<&'static str>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let works =
            |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
        ["c++", "g++", "clang++"].into_iter().find(works)
    })
}

fn library(platform: Platform, storage: DType) -> &'static libloading::Library {
    static LIBRARIES: [OnceLock<libloading::Library>; 4] = [const { OnceLock::new() }; 4];
    let index = 2 * usize::from(matches!(platform, Platform::Metal)) + usize::from(storage == DType::BF16);
    LIBRARIES[index].get_or_init(|| {
        let (words, entry) = match platform {
            Platform::Cuda => (format!("#include \"cuda_words.h\"\n{CUDA}"), "#include \"cuda_entry.h\"\n"),
            Platform::Metal => (METAL.to_owned(), "#include \"metal_entry.h\"\n"),
        };
        let text = source(&format!("#include \"host.h\"\n{words}\n{entry}"), storage);
        let entries: String =
            kernels(&text).iter().map(|(name, count)| format!("ENTRY({name}, {count})\n")).collect();
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("kernels.cpp"), folder.path().join("kernels.so"));
        std::fs::write(&from, text + &entries).unwrap();
        let shim = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shim");
        let output = Command::new(compiler().unwrap())
            .args([
                "-std=c++17",
                "-O1",
                "-U_FORTIFY_SOURCE",
                "-ffp-contract=off",
                "-fPIC",
                "-shared",
                "-w",
                "-I",
                shim,
                "-o",
            ])
            .args([&to, &from])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // SAFETY: the library has no initialisers.
        unsafe { libloading::Library::new(&to) }.unwrap()
    })
}

/// The bytes of a tensor between guards.
struct Guarded(Vec<u64>);

impl Guarded {
    fn new(bytes: &[u8]) -> Self {
        let mut guarded = Self(vec![u64::MAX; (2 * GUARD + bytes.len()).div_ceil(8)]);
        for (to, from) in guarded.0[GUARD / 8..].iter_mut().zip(bytes.chunks(8)) {
            let mut word = [0xff; 8];
            word[..from.len()].copy_from_slice(from);
            *to = u64::from_ne_bytes(word);
        }
        guarded
    }

    fn bytes(&self, len: usize) -> Vec<u8> {
        self.0[GUARD / 8..].iter().flat_map(|word| word.to_ne_bytes()).take(len).collect()
    }

    fn is_intact(&self, len: usize) -> bool {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes[..GUARD].iter().chain(&bytes[GUARD + len..]).all(|&byte| byte == 0xff)
    }
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { panic!("not on the CPU") };
    let (start, end) = layout.contiguous_offsets().unwrap();
    match storage {
        CpuStorage::F32(values) => values[start..end].iter().flat_map(|value| value.to_ne_bytes()).collect(),
        CpuStorage::BF16(values) => values[start..end].iter().flat_map(|value| value.to_ne_bytes()).collect(),
        CpuStorage::U32(values) => values[start..end].iter().flat_map(|value| value.to_ne_bytes()).collect(),
        other => panic!("no kernel takes {other:?}"),
    }
}

struct Write<'a>(&'a [u8]);

impl InplaceOp1 for Write<'_> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (start, end) = layout.contiguous_offsets().unwrap();
        match storage {
            CpuStorage::F32(values) => {
                for (value, bytes) in values[start..end].iter_mut().zip(self.0.as_chunks().0) {
                    *value = f32::from_ne_bytes(*bytes);
                }
            }
            CpuStorage::BF16(values) => {
                for (value, bytes) in values[start..end].iter_mut().zip(self.0.as_chunks().0) {
                    *value = half::bf16::from_ne_bytes(*bytes);
                }
            }
            other => panic!("no kernel writes {other:?}"),
        }
        Ok(())
    }
}

/// The bytes of everything that is written, after one run.
fn run(
    (platform, reverse): (Platform, bool),
    kernel: &str,
    storage: DType,
    arguments: &[Argument],
    (x, y): (usize, usize),
) -> Vec<Vec<u8>> {
    let mut memory: Vec<Guarded> = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Input(tensor) | Argument::Update(tensor) => Guarded::new(&bytes(tensor)),
            Argument::Output(tensor) => Guarded::new(&vec![0xff; bytes(tensor).len()]),
            _ => Guarded::new(&[]),
        })
        .collect();
    let mut pointers: Vec<*mut c_void> =
        memory.iter_mut().map(|memory| memory.0[GUARD / 8..].as_mut_ptr().cast()).collect();
    let mut values: Vec<*mut c_void> = arguments
        .iter()
        .zip(&mut pointers)
        .map(|(argument, pointer)| match argument {
            Argument::Count(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Total(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Value(value) => std::ptr::from_ref(value).cast_mut().cast(),
            _ => std::ptr::from_mut(pointer).cast(),
        })
        .collect();
    let library = library(platform, storage);
    // SAFETY: the function has this signature (`tests/shim`), reads one pointer for each parameter of the kernel, whose number
    // and kinds are those of the arguments if the code around the kernel is right, which is what the tests find out.
    let status = unsafe {
        let function: libloading::Symbol<Run> = library.get(format!("run_{kernel}")).unwrap();
        function(values.as_mut_ptr(), x as c_uint, y as c_uint, c_int::from(reverse))
    };
    assert_eq!(status, 0, "{kernel}: some lanes wait at a barrier that others never reach");
    let mut written = Vec::new();
    for (argument, memory) in arguments.iter().zip(&memory) {
        if let Argument::Input(tensor) | Argument::Output(tensor) | Argument::Update(tensor) = argument {
            let len = bytes(tensor).len();
            assert!(memory.is_intact(len), "{kernel}: wrote outside of a tensor");
            match argument {
                Argument::Input(_) => assert!(memory.bytes(len) == bytes(tensor), "{kernel}: wrote an input"),
                _ => written.push(memory.bytes(len)),
            }
        }
    }
    written
}

pub(super) fn launch(
    kernel: &str,
    storage: DType,
    arguments: &[Argument],
    blocks: (usize, usize),
) -> Result<()> {
    let text = source("", storage);
    let count = kernels(&text).iter().find(|(name, _)| *name == kernel).map(|(_, count)| *count);
    assert_eq!(count, Some(arguments.len()), "{kernel}: number of arguments");
    let written = run((Platform::Cuda, false), kernel, storage, arguments, blocks);
    for (name, way) in [
        ("CUDA in reverse", (Platform::Cuda, true)),
        ("Metal", (Platform::Metal, false)),
        ("Metal in reverse", (Platform::Metal, true)),
    ] {
        assert!(
            written == run(way, kernel, storage, arguments, blocks),
            "{kernel}: {name} differs from CUDA"
        );
    }
    let targets = arguments.iter().filter_map(|argument| match argument {
        Argument::Output(tensor) | Argument::Update(tensor) => Some(tensor),
        _ => None,
    });
    for (tensor, bytes) in targets.zip(&written) {
        tensor.inplace_op1(&Write(bytes))?;
    }
    Ok(())
}

/// Standard normal `f32` tensors.
pub(crate) fn f32s(shapes: &[(&str, &[usize])]) -> Vec<Tensor> {
    shapes.iter().map(|(name, dims)| normal(name, dims).unwrap().to_dtype(DType::F32).unwrap()).collect()
}

pub(crate) fn bf16(tensor: &Tensor) -> Tensor {
    tensor.to_dtype(DType::BF16).unwrap()
}

/// Largest difference over the largest value, at least 1.
fn gap(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let values = |tensor: &Tensor| {
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let (found, expected) = (values(found), values(expected));
    let scale = expected.iter().fold(1f32, |largest, value| largest.max(value.abs()));
    // Not `f32::max`, which passes over what is no number.
    found
        .iter()
        .zip(&expected)
        .map(|(f, e)| (f - e).abs() / scale)
        .fold(0., |largest, gap| if gap.is_nan() || gap > largest { gap } else { largest })
}

/// Holds results of `f` and its gradients by all inputs against those of `reference`.
pub(crate) fn agree(
    inputs: &[Tensor],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[Tensor]) -> Result<Tensor>,
    tolerance: f32,
) {
    let all = |f: &dyn Fn(&[Tensor]) -> Result<Tensor>| -> Vec<Tensor> {
        let vars: Vec<Var> = inputs.iter().map(|input| Var::from_tensor(input).unwrap()).collect();
        let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let result = f(&tensors).unwrap();
        let projection = normal("projection", result.dims()).unwrap().to_dtype(DType::F32).unwrap();
        let gradients = (&result * projection).unwrap().sum_all().unwrap().backward().unwrap();
        let gradients = vars.iter().map(|var| gradients.get(var).unwrap().clone());
        std::iter::once(result.clone()).chain(gradients).collect()
    };
    for (index, (found, expected)) in all(&f).iter().zip(&all(&reference)).enumerate() {
        let gap = gap(found, expected);
        assert!(gap < tolerance, "result 0 and gradients from 1: {index} differs by {gap}");
    }
}

/// Holds results of `f` of inputs in `bf16` against those of the same values in `f32`.
pub(crate) fn agree_in_bf16(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>) {
    let wide: Vec<Tensor> = inputs.iter().map(|input| input.to_dtype(DType::F32).unwrap()).collect();
    let (found, expected) = (f(inputs).unwrap(), f(&wide).unwrap());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        // A few roundings to 8 bits.
        let gap = gap(found, expected);
        assert!(gap < 1. / 64., "result {index} differs by {gap}");
    }
}

#[test]
fn every_kernel_is_found_in_the_text() {
    let text = source("", DType::F32);
    let found = kernels(&text);
    assert_eq!(found.len(), text.matches("KERNEL(").count());
    assert!(found.contains(&("unit_forward", 4)) && found.contains(&("adamw_step", 12)), "{found:?}");
    assert_eq!(BLOCK.count_ones(), 1, "sums over a block halve it");
}

#[test]
fn bf16_is_rounded_to_the_nearest() {
    if !available() {
        return;
    }
    // local (1 + tanh(0)) + shift - 0 is exact in single precision for values that are bf16, and rounded once. Multiples of 1/256 up to 8
    // meet ties to even in both directions.
    let mut values: Vec<f32> = (-2000..2000).map(|value| value as f32 / 256.).collect();
    values.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 3.38e38, 1e-40, -0.]);
    let device = candle_core::Device::Cpu;
    let local = bf16(&Tensor::from_vec(values.clone(), (1, 1, 1, values.len()), &device).unwrap());
    let center = local.zeros_like().unwrap();
    let shift = 1. / 256.;
    let context = bf16(&Tensor::new(&[[0f32, shift]], &device).unwrap());
    let found = super::streams::modulate(&local, &context, &center).unwrap();
    let local = local.flatten_all().unwrap().to_vec1::<half::bf16>().unwrap();
    let expected: Vec<u8> =
        local.into_iter().flat_map(|v| half::bf16::from_f32(v.to_f32() + shift).to_ne_bytes()).collect();
    assert!(bytes(&found) == expected);
}
