use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use dina_core::{ContentHash, Error, Parameter, Result, Seed};
use safetensors::tensor::Metadata;

use crate::init::normal;

/// What a tensor holds where the weights are random.
#[derive(Debug, Clone, Copy)]
pub(super) enum Init {
    /// Normal values of this standard deviation.
    Normal(f64),
    /// One value.
    Constant(f64),
}

/// Where the weights of a backbone come from. Only the tensors that are asked for are read.
pub(super) struct Weights {
    source: Source,
    device: Device,
    trainable: bool,
    parameters: Vec<Parameter>,
    hashes: Vec<String>,
}

enum Source {
    File(Box<TensorReader>),
    Random(Seed),
}

impl Weights {
    pub(super) fn open(path: &Path, trainable: bool, device: &Device) -> Result<Self> {
        Ok(Self::new(Source::File(Box::new(TensorReader::open(path)?)), trainable, device))
    }

    pub(super) fn random(seed: Seed, trainable: bool, device: &Device) -> Self {
        Self::new(Source::Random(seed), trainable, device)
    }

    fn new(source: Source, trainable: bool, device: &Device) -> Self {
        Self { source, device: device.clone(), trainable, parameters: Vec::new(), hashes: Vec::new() }
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Whether these are random weights.
    pub(super) fn are_random(&self) -> bool {
        matches!(self.source, Source::Random(_))
    }

    /// Whether there is a file, and a tensor of this name in it.
    pub(super) fn in_file(&self, name: &str) -> bool {
        matches!(&self.source, Source::File(file) if file.tensors.contains_key(name))
    }

    /// The shape of a tensor in the file; `None` for random weights.
    ///
    /// # Errors
    /// When the file has no such tensor.
    pub(super) fn shape(&self, name: &str) -> Result<Option<Vec<usize>>> {
        match &self.source {
            Source::File(file) => Ok(Some(file.entry(name)?.shape.clone())),
            Source::Random(_) => Ok(None),
        }
    }

    /// An error about a tensor, or, without one, about the file.
    pub(super) fn wrong(&self, name: Option<&str>, expected: impl Into<String>, found: &str) -> Error {
        let file = match &self.source {
            Source::File(file) => file.path.display().to_string(),
            Source::Random(_) => "random weights".into(),
        };
        let what = name.map_or(file.clone(), |name| format!("{file}: tensor `{name}`"));
        Error::value(what, expected, found)
    }

    /// A tensor of this shape, in single precision on the device.
    ///
    /// # Errors
    /// When the file does not hold it, holds it in another shape, or holds numbers that are not finite.
    pub(super) fn take(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let tensor = match &mut self.source {
            Source::File(file) => file.read(name, shape)?,
            Source::Random(seed) => match init {
                Init::Normal(sd) => normal(shape, sd, &mut seed.stream(name), &Device::Cpu)?,
                Init::Constant(value) => Tensor::full(value as f32, shape, &Device::Cpu)?,
            },
        };
        if let Source::File(_) = self.source {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(self.wrong(Some(name), "finite; load the file anew", &value.to_string()));
            }
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.hashes.push(ContentHash::of([name.as_bytes(), &bytes]).to_string());
        }
        let tensor = tensor.to_device(&self.device)?;
        if !self.trainable {
            return Ok(tensor);
        }
        let var = Var::from_tensor(&tensor)?;
        let held = var.as_tensor().clone();
        let parameter = Parameter::new(format!("image.{name}"), var);
        // Biases, norms and scales have one axis; tokens and positions are no weights either.
        let decays = shape.len() > 1 && !["class", "cls", "pos", "register"].iter().any(|n| name.contains(n));
        self.parameters.push(if decays { parameter } else { parameter.without_decay() });
        Ok(held)
    }

    /// What is trained, and the hash over all tensors that were read.
    pub(super) fn finish(self) -> (Vec<Parameter>, ContentHash) {
        (self.parameters, ContentHash::of(self.hashes.iter().map(String::as_bytes)))
    }
}

/// A safetensors file whose tensors are read one at a time: a file of CLIP holds its text encoder too.
struct TensorReader {
    path: PathBuf,
    file: File,
    tensors: BTreeMap<String, Entry>,
}

struct Entry {
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    /// First byte in the file, and their number.
    start: u64,
    len: usize,
}

/// A header of more bytes than this is no header.
const LONGEST_HEADER: u64 = 100_000_000;

impl TensorReader {
    fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_path_buf(), source };
        let invalid = |why: String| {
            io(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!(
                    "is no safetensors file ({why}); in PyTorch, write one with safetensors.torch.save_file(model.state_dict(), name)"
                ),
            ))
        };
        let mut file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| invalid("it has fewer than 8 bytes".into()))?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER || length + 8 > size {
            return Err(invalid(format!("a header of {length} bytes in a file of {size}")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| invalid(e.to_string()))?;
        let data = size - 8 - length;
        if metadata.data_len() as u64 != data {
            return Err(invalid(format!("{} bytes of tensors, {data} in the file", metadata.data_len())));
        }
        let entry = |info: &safetensors::tensor::TensorInfo| Entry {
            dtype: info.dtype,
            shape: info.shape.clone(),
            start: 8 + length + info.data_offsets.0 as u64,
            len: info.data_offsets.1 - info.data_offsets.0,
        };
        let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, entry(info))).collect();
        Ok(Self { path: path.to_path_buf(), file, tensors })
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.tensors.get(name).ok_or_else(|| {
            let first: Vec<&str> = self.tensors.keys().take(4).map(String::as_str).collect();
            Error::value(
                format!("{}: tensor `{name}`", self.path.display()),
                "in the file; is it a file of this network?",
                format!("missing among {} tensors, such as {}", self.tensors.len(), first.join(", ")),
            )
        })
    }

    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let entry = self.entry(name)?;
        if entry.shape != shape {
            let what = format!("{}: tensor `{name}`", self.path.display());
            return Err(Error::shape(what, shape, &entry.shape));
        }
        let (start, dtype) = (entry.start, DType::try_from(entry.dtype)?);
        let mut bytes = vec![0; entry.len];
        let io = |source| Error::Io { path: self.path.clone(), source };
        self.file.seek(SeekFrom::Start(start)).map_err(io)?;
        self.file.read_exact(&mut bytes).map_err(io)?;
        Ok(Tensor::from_raw_buffer(&bytes, dtype, shape, &Device::Cpu)?.to_dtype(DType::F32)?)
    }
}
