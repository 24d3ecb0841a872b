use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use dina_core::{Error, Parameter, Result};
use dina_ops::{AdamWStep, adamw, squared_norms};

use crate::TrainConfig;

/// AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) over all parameters, one pass over memory each, with moments that
/// can be read and set: candle's own optimiser keeps them to itself, and a resumed run would differ.
pub struct AdamW {
    parameters: Vec<Parameter>,
    moments: Vec<Moments>,
    step: usize,
}

/// First and second moment of one parameter, where the parameter is.
struct Moments {
    first: Var,
    second: Var,
}

impl AdamW {
    /// An optimiser whose moments are zero.
    ///
    /// # Errors
    /// When the device of a parameter refuses them.
    pub fn new(parameters: Vec<Parameter>) -> Result<Self> {
        let zeros = |p: &Parameter| Var::zeros(p.var.shape(), DType::F32, p.var.device());
        let moments = parameters
            .iter()
            .map(|p| Ok(Moments { first: zeros(p)?, second: zeros(p)? }))
            .collect::<Result<_>>()?;
        Ok(Self { parameters, moments, step: 0 })
    }

    /// What is optimised.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Steps taken.
    pub fn step_count(&self) -> usize {
        self.step
    }

    /// Clips the gradient to `config.clip`, then moves every parameter that has one.
    /// Returns the norm before clipping.
    ///
    /// # Errors
    /// When the norm is not finite: nothing is moved, and the message says what usually helps.
    pub fn step(&mut self, gradients: &GradStore, rate: f64, config: &TrainConfig) -> Result<f64> {
        let gradients: Vec<Option<&Tensor>> =
            self.parameters.iter().map(|parameter| gradients.get(&parameter.var)).collect();
        let norm = squared_norms(gradients.iter().flatten().copied())?.sqrt();
        if !norm.is_finite() {
            return Err(Error::value(
                "norm of the gradient",
                "finite; a lower learning rate or a look at the responses usually helps",
                norm,
            ));
        }
        self.step += 1;
        for ((parameter, moments), gradient) in self.parameters.iter().zip(&self.moments).zip(gradients) {
            let Some(gradient) = gradient else { continue };
            let update = AdamWStep {
                rate: rate * parameter.rate,
                weight_decay: if parameter.decay { config.weight_decay } else { 0. },
                betas: config.betas,
                epsilon: config.epsilon,
                step: self.step,
                scale: config.clip / norm.max(config.clip),
            };
            adamw(&parameter.var, gradient, &moments.first, &moments.second, &update)?;
        }
        Ok(norm)
    }

    /// Moments as named tensors, for a checkpoint.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = Vec::new();
        for (parameter, moments) in self.parameters.iter().zip(&self.moments) {
            for (kind, moment) in [("first", &moments.first), ("second", &moments.second)] {
                // The moments go on being written in place.
                let copy = moment.as_tensor().to_device(&Device::Cpu)?.copy()?;
                state.push((format!("adamw.{kind}.{}", parameter.name), copy));
            }
        }
        Ok(state)
    }

    /// Takes over what [`AdamW::state`] gave, and the number of steps taken then.
    ///
    /// # Errors
    /// When a moment is missing or has another shape.
    pub fn restore<'a>(
        &mut self,
        step: usize,
        mut find: impl FnMut(&str) -> Result<&'a Tensor>,
    ) -> Result<()> {
        for (parameter, moments) in self.parameters.iter().zip(&self.moments) {
            for (kind, moment) in [("first", &moments.first), ("second", &moments.second)] {
                let tensor = find(&format!("adamw.{kind}.{}", parameter.name))?;
                if tensor.dims() != parameter.var.dims() {
                    return Err(Error::shape(&parameter.name, parameter.var.dims(), tensor.dims()));
                }
                moment.set(&tensor.to_device(moment.device())?)?;
            }
        }
        self.step = step;
        Ok(())
    }
}

/// The values of a tensor on the CPU as `f32`.
pub(crate) fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
}

/// Puts values into a parameter.
pub(crate) fn set(parameter: &Parameter, values: Vec<f32>) -> Result<()> {
    let var = &parameter.var;
    let tensor = Tensor::from_vec(values, var.shape(), var.device())?.to_dtype(var.dtype())?;
    Ok(var.set(&tensor)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(values: &[f32]) -> Parameter {
        Parameter::new("w", Var::from_tensor(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap())
    }

    /// Two steps on f = sum(c w), worked out by hand from the paper's algorithm 2.
    #[test]
    fn two_steps_match_the_algorithm() {
        let config = TrainConfig {
            weight_decay: 0.1,
            betas: (0.9, 0.99),
            clip: 100.,
            epsilon: 1e-8,
            ..Default::default()
        };
        let parameter = parameter(&[1., -2.]);
        let slope = Tensor::new(&[3f32, 0.5], &Device::Cpu).unwrap();
        let mut optimiser = AdamW::new(vec![parameter.clone()]).unwrap();
        for _ in 0..2 {
            let loss = (parameter.var.as_tensor() * &slope).unwrap().sum_all().unwrap();
            optimiser.step(&loss.backward().unwrap(), 0.01, &config).unwrap();
        }
        // A constant gradient: both corrected moments are exact, so each step is w (1 - 0.001) - 0.01 sign(g).
        let expected = [1f64, -2.].map(|w| (0..2).fold(w, |w, _| w * (1. - 0.001) - 0.01));
        let found = values(&parameter.var).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn clipping_and_exemption_from_decay() {
        let config = TrainConfig { weight_decay: 0.5, clip: 1., ..Default::default() };
        let still = parameter(&[5.]).without_decay();
        let mut optimiser = AdamW::new(vec![still.clone()]).unwrap();
        let loss = (still.var.as_tensor() * 0.).unwrap().sum_all().unwrap();
        optimiser.step(&loss.backward().unwrap(), 0.1, &config).unwrap();
        assert_eq!(values(&still.var).unwrap(), [5.]);
        let loss = (still.var.as_tensor() * 30.).unwrap().sum_all().unwrap();
        let norm = optimiser.step(&loss.backward().unwrap(), 0.1, &config).unwrap();
        assert!((norm - 30.).abs() < 1e-4);
        assert!((optimiser.moments[0].first.to_vec1::<f32>().unwrap()[0] - 0.1).abs() < 1e-6, "clipped to 1");
        let loss = (still.var.as_tensor() * f64::NAN).unwrap().sum_all().unwrap();
        let error = optimiser.step(&loss.backward().unwrap(), 0.1, &config).unwrap_err();
        assert!(error.to_string().contains("learning rate"));
    }
}
