//! The files of an interpretation.

use std::path::Path;

use candle_core::{Device, Tensor};
use dina_core::TensorFile;
use ndarray::{Array2, Array3, ArrayD};

use super::Interpretation;
use super::material::Material;
use super::page;
use crate::results::write_json;
use crate::{Error, Result};

/// What was found, with the arrays that do not go into a JSON file.
pub struct Interpreted {
    /// The results.
    pub results: Interpretation,
    pub(super) tensors: Vec<(String, ArrayD<f32>)>,
    /// Test images for the page, standardised.
    pub(super) pixels: Array3<f32>,
    /// Neurons x channels of the first level; empty where contributions do not divide into channels.
    pub(super) contributions: Array2<f32>,
}

impl Interpreted {
    pub(super) fn new(
        mut results: Interpretation,
        material: &Material<'_>,
        mut tensors: Vec<(String, ArrayD<f32>)>,
    ) -> Self {
        let matrix = results.neural.as_mut().map(|found| std::mem::take(&mut found.contributions.matrix));
        let matrix = matrix.unwrap_or_default();
        let columns = matrix.first().map_or(0, Vec::len);
        let contributions = Array2::from_shape_fn((matrix.len(), columns), |(n, c)| matrix[n][c] as f32);
        if columns > 0 {
            tensors.push(("contributions".into(), contributions.clone().into_dyn()));
        }
        let test = &material.test;
        for (level, (image, neural)) in material.levels.iter().zip(test.image.iter().zip(&test.neural)) {
            tensors.push((format!("image_maps.{}", level.name), image.clone().into_dyn()));
            tensors.push((format!("neural_maps.{}", level.name), neural.clone().into_dyn()));
        }
        if let Some(weights) = &material.weights {
            tensors.push(("read_in".into(), weights.clone().into_dyn()));
        }
        Self { results, tensors, pixels: test.pixels.clone(), contributions }
    }

    /// An array by its name in maps.safetensors.
    pub fn array(&self, name: &str) -> Option<&ArrayD<f32>> {
        self.tensors.iter().find(|(own, _)| own == name).map(|(_, values)| values)
    }

    /// Writes `interpretation.json`, `maps.safetensors`, `interpretation.html` and the figures under `figures/`, each whole or
    /// not at all.
    ///
    /// The tensors are, per level, `image_maps.LEVEL` and `neural_maps.LEVEL`, `[images, channels, height, width]`;
    /// `contributions`, `[neurons, channels]`; `read_in`, `[neurons, channels, height, width]`, the weights of a linear neural tower;
    /// `attribution.SIDE.LEVEL.CHANNEL.METHOD` and `exciting.OF`, which the results name; and `images` and
    /// `neurons`, the numbers of rows in the stimulus set and in the recording.
    ///
    /// # Errors
    /// With the path that could not be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let results = &self.results;
        let path = folder.join("interpretation.json");
        let mut file = TensorFile::default();
        let mut insert = |name: &str, tensor: Tensor| file.tensors.insert(name.into(), tensor);
        for (name, values) in &self.tensors {
            insert(name, Tensor::from_iter(values.iter().copied(), &Device::Cpu)?.reshape(values.shape())?);
        }
        let ids = |values: Vec<i64>| -> Result<Tensor> {
            let count = values.len();
            Ok(Tensor::from_vec(values, count, &Device::Cpu)?)
        };
        insert("images", ids(results.images.iter().map(|&i| i64::from(i)).collect())?);
        insert("neurons", ids(results.neurons.iter().map(|&n| n as i64).collect())?);
        let hashes = serde_json::to_string(&results.hashes)
            .map_err(|e| Error::Job(format!("hashes of {}: {e}", path.display())))?;
        file.metadata.insert("hashes".into(), hashes);
        file.write(folder.join("maps.safetensors"))?;
        page::build(self).write(folder, "interpretation")?;
        write_json(&path, results)
    }
}
