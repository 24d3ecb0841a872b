use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;

use crate::{Error, Result, write_atomic};

/// Named tensors and text in one safetensors file, which PyTorch opens with
/// `safetensors.torch.load_file`.
#[derive(Debug, Clone, Default)]
pub struct TensorFile {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The file's text fields, such as a configuration as JSON.
    pub metadata: BTreeMap<String, String>,
}

impl TensorFile {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written; the message names it.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        // Metadata is an unordered map inside the format; one key keeps files byte-identical.
        let text = json_object(&self.metadata);
        let metadata = HashMap::from([("dina".to_owned(), text)]);
        let tensors = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|e| invalid(path, e))?;
        write_atomic(path, |writer| writer.write_all(&bytes))
    }

    /// Reads a file that [`TensorFile::write`] or PyTorch wrote, onto `device`.
    ///
    /// # Errors
    /// When the file is missing or damaged; the message names it.
    pub fn read(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| invalid(path, e))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| invalid(path, e))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let dtype = view.dtype().try_into()?;
            let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), device)?;
            tensors.insert(name, tensor);
        }
        let metadata = match header.metadata().as_ref().and_then(|fields| fields.get("dina")) {
            Some(text) => parse_object(text).ok_or_else(|| invalid(path, "unreadable metadata"))?,
            None => BTreeMap::new(),
        };
        Ok(Self { tensors, metadata })
    }

    /// One tensor.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::value("tensor in the file", format!("`{name}`"), "nothing of that name"))
    }
}

fn invalid(path: &Path, error: impl std::fmt::Display) -> Error {
    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string());
    Error::Io { path: path.to_path_buf(), source }
}

fn json_object(fields: &BTreeMap<String, String>) -> String {
    serde_json::Value::from_iter(fields.iter().map(|(k, v)| (k.clone(), v.clone()))).to_string()
}

fn parse_object(text: &str) -> Option<BTreeMap<String, String>> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_damage_is_refused() {
        let path = std::env::temp_dir().join(format!("dina-tensors-{}.safetensors", std::process::id()));
        let file = TensorFile {
            tensors: BTreeMap::from([(
                "a".into(),
                Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu).unwrap(),
            )]),
            metadata: BTreeMap::from([("config".into(), "{\"x\": 1}".into()), ("step".into(), "3".into())]),
        };
        file.write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        file.write(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        let read = TensorFile::read(&path, &Device::Cpu).unwrap();
        assert_eq!(read.metadata, file.metadata);
        assert_eq!(read.tensor("a").unwrap().to_vec2::<f32>().unwrap(), [[1., 2.], [3., 4.]]);
        assert!(read.tensor("b").is_err());
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let error = TensorFile::read(&path, &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("dina-tensors"), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
}
