use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use dina_core::{Error, Parameter, Result};
use rayon::prelude::*;

use crate::TrainConfig;

/// AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) over all parameters, one pass over memory each, with moments that
/// can be read and set: candle's own optimiser keeps them to itself, and a resumed run would differ.
pub struct AdamW {
    parameters: Vec<Parameter>,
    moments: Vec<Moments>,
    step: usize,
}

/// First and second moment of one parameter.
#[derive(Clone)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

/// Elements that one task updates.
const CHUNK: usize = 1 << 15;

impl AdamW {
    /// An optimiser whose moments are zero.
    pub fn new(parameters: Vec<Parameter>) -> Self {
        let zeros = |parameter: &Parameter| vec![0.; parameter.var.elem_count()];
        let moments = parameters.iter().map(|p| Moments { first: zeros(p), second: zeros(p) }).collect();
        Self { parameters, moments, step: 0 }
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
        let gradients: Vec<Option<Vec<f32>>> = self
            .parameters
            .iter()
            .map(|parameter| gradients.get(&parameter.var).map(values).transpose())
            .collect::<Result<_>>()?;
        let norm = gradients.iter().flatten().map(|g| squared_norm(g)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(Error::value(
                "norm of the gradient",
                "finite; a lower learning rate or a look at the responses usually helps",
                norm,
            ));
        }
        self.step += 1;
        let scale = (config.clip / norm.max(config.clip)) as f32;
        for ((parameter, moments), gradient) in self.parameters.iter().zip(&mut self.moments).zip(gradients) {
            let Some(gradient) = gradient else { continue };
            let mut weights = values(&parameter.var)?;
            let update = Update::new(config, rate * parameter.rate, self.step, parameter.decay, scale);
            weights
                .par_chunks_mut(CHUNK)
                .zip(gradient.par_chunks(CHUNK))
                .zip(moments.first.par_chunks_mut(CHUNK).zip(moments.second.par_chunks_mut(CHUNK)))
                .for_each(|((weights, gradient), (first, second))| {
                    update.apply(weights, gradient, first, second)
                });
            set(parameter, weights)?;
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
            let device = &candle_core::Device::Cpu;
            let shape = parameter.var.shape();
            let tensor = |values: &Vec<f32>| Tensor::from_vec(values.clone(), shape, device);
            state.push((format!("adamw.first.{}", parameter.name), tensor(&moments.first)?));
            state.push((format!("adamw.second.{}", parameter.name), tensor(&moments.second)?));
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
        for (parameter, moments) in self.parameters.iter().zip(&mut self.moments) {
            let mut take = |kind: &str| -> Result<Vec<f32>> {
                let tensor = find(&format!("adamw.{kind}.{}", parameter.name))?;
                if tensor.dims() != parameter.var.dims() {
                    return Err(Error::shape(&parameter.name, parameter.var.dims(), tensor.dims()));
                }
                values(tensor)
            };
            *moments = Moments { first: take("first")?, second: take("second")? };
        }
        self.step = step;
        Ok(())
    }
}

/// The constants of one step.
struct Update {
    keep: f32,
    scale: f32,
    beta1: f32,
    beta2: f32,
    /// Rate over the bias correction of the first moment.
    rate: f32,
    /// Inverse bias correction of the second moment.
    correct: f32,
    epsilon: f32,
}

impl Update {
    fn new(config: &TrainConfig, rate: f64, step: usize, decay: bool, scale: f32) -> Self {
        let (beta1, beta2) = config.betas;
        let decay = if decay { rate * config.weight_decay } else { 0. };
        Self {
            keep: (1. - decay) as f32,
            scale,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            rate: (rate / (1. - beta1.powi(step as i32))) as f32,
            correct: (1. / (1. - beta2.powi(step as i32))) as f32,
            epsilon: config.epsilon as f32,
        }
    }

    fn apply(&self, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g * self.scale;
            *m = self.beta1 * *m + (1. - self.beta1) * g;
            *v = self.beta2 * *v + (1. - self.beta2) * g * g;
            *w = *w * self.keep - self.rate * *m / ((*v * self.correct).sqrt() + self.epsilon);
        }
    }
}

fn squared_norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
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
    use candle_core::{Device, Var};

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
        let mut optimiser = AdamW::new(vec![parameter.clone()]);
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
        let mut optimiser = AdamW::new(vec![still.clone()]);
        let loss = (still.var.as_tensor() * 0.).unwrap().sum_all().unwrap();
        optimiser.step(&loss.backward().unwrap(), 0.1, &config).unwrap();
        assert_eq!(values(&still.var).unwrap(), [5.]);
        let loss = (still.var.as_tensor() * 30.).unwrap().sum_all().unwrap();
        let norm = optimiser.step(&loss.backward().unwrap(), 0.1, &config).unwrap();
        assert!((norm - 30.).abs() < 1e-4);
        assert!((optimiser.moments[0].first[0] - 0.1).abs() < 1e-6, "clipped to 1");
        let loss = (still.var.as_tensor() * f64::NAN).unwrap().sum_all().unwrap();
        let error = optimiser.step(&loss.backward().unwrap(), 0.1, &config).unwrap_err();
        assert!(error.to_string().contains("learning rate"));
    }
}
