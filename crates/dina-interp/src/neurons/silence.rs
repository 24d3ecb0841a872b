use dina_core::Error as CoreError;
use ndarray::{Array2, Array4, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::{Result, score::check_responses};

/// What takes the place of the response of a silenced neuron.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Baseline {
    /// Its mean over these images, so that it says nothing about any of them.
    #[default]
    Mean,
    /// Zero.
    Zero,
}

/// Responses in which neurons can be silenced, and the function from responses to maps.
///
/// `forward` takes images x neurons and returns `[images, channels, height, width]`: any tower, linear or not.
pub struct Silenced<'a, F> {
    forward: F,
    responses: ArrayView2<'a, f32>,
    baseline: Vec<f32>,
}

impl<'a, F> Silenced<'a, F>
where
    F: Fn(ArrayView2<'_, f32>) -> Result<Array4<f32>>,
{
    /// # Errors
    /// When there is no response, or one is not finite.
    pub fn new(forward: F, responses: ArrayView2<'a, f32>, baseline: Baseline) -> Result<Self> {
        check_responses(responses, responses.nrows().max(1))?;
        let count = responses.nrows() as f64;
        let baseline = responses
            .columns()
            .into_iter()
            .map(|column| match baseline {
                Baseline::Mean => (column.iter().map(|&v| f64::from(v)).sum::<f64>() / count) as f32,
                Baseline::Zero => 0.,
            })
            .collect();
        Ok(Self { forward, responses, baseline })
    }

    /// Number of neurons.
    pub fn neurons(&self) -> usize {
        self.baseline.len()
    }

    /// The maps with all neurons silenced but those of `kept`. Holds one copy of the responses.
    ///
    /// # Errors
    /// What the forward pass returns, and for a neuron that does not exist.
    pub fn maps(&self, kept: &[usize]) -> Result<Array4<f32>> {
        let mut responses = Array2::zeros(self.responses.raw_dim());
        for mut row in responses.outer_iter_mut() {
            row.iter_mut().zip(&self.baseline).for_each(|(to, from)| *to = *from);
        }
        for &neuron in kept {
            if neuron >= self.neurons() {
                return Err(CoreError::value("neuron", format!("below {}", self.neurons()), neuron).into());
            }
            responses.column_mut(neuron).assign(&self.responses.column(neuron));
        }
        (self.forward)(responses.view())
    }
}
