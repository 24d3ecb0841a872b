use candle_core::{DType, Device, Tensor, Var};
use dina_core::{Error, FeatureMaps, LossTerms, Objective, Parameter, Result, Targets};
use serde::{Deserialize, Serialize};

use crate::batch::{Pairs, as_dtype, check_ids, scalar};
use crate::numerics::softplus;
use crate::{Similarity, cosine_logits};

/// Settings of [`SigLip`]. The defaults of temperature and bias are those of Zhai et al. (2023).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SigLipConfig {
    /// How maps are compared.
    pub similarity: Similarity,
    /// Where the temperature starts; 0.1 by default.
    pub temperature: f64,
    /// Where the bias starts; -10 by default, so that most pairs count as unlike at first.
    pub bias: f64,
    /// The inverse temperature never exceeds this; 100 by default, as for InfoNCE.
    pub max_inverse_temperature: f64,
}

impl Default for SigLipConfig {
    fn default() -> Self {
        Self { similarity: Similarity::Flat, temperature: 0.1, bias: -10., max_inverse_temperature: 100. }
    }
}

/// The pairwise sigmoid loss of SigLIP (Zhai et al. 2023), with learnable temperature and bias.
///
/// With `l_ti = sim(B_t, A_i) exp(theta) + b`, and `z_ti` 1 where trial t shows image i, else -1,
/// `L = 1/T sum_t sum_i log(1 + e^(-z_ti l_ti))` over the T trials and all images of the batch.
///
/// Every pair is judged by itself, without the softmax over a batch that makes InfoNCE depend on its other members:
/// a finding under both is not one of the normalisation.
pub struct SigLip {
    config: SigLipConfig,
    log_scale: Var,
    bias: Var,
}

impl SigLip {
    /// An objective whose temperature and bias start where the configuration says.
    ///
    /// # Errors
    /// When the temperature is not positive or starts beyond its clamp, or the bias is not finite.
    pub fn new(config: SigLipConfig, device: &Device) -> Result<Self> {
        Self::with_dtype(config, DType::F32, device)
    }

    fn with_dtype(config: SigLipConfig, dtype: DType, device: &Device) -> Result<Self> {
        let inverse = 1. / config.temperature;
        if !(inverse > 0. && inverse <= config.max_inverse_temperature) {
            let least = 1. / config.max_inverse_temperature;
            return Err(Error::value("temperature", format!("at least {least}"), config.temperature));
        }
        if !config.bias.is_finite() {
            return Err(Error::value("bias", "finite", config.bias));
        }
        let (log_scale, bias) = (scalar(inverse.ln(), dtype, device)?, scalar(config.bias, dtype, device)?);
        Ok(Self { config, log_scale, bias })
    }
}

impl Objective for SigLip {
    fn loss(&self, image: &FeatureMaps, neural: &FeatureMaps, targets: &Targets) -> Result<LossTerms> {
        check_ids(image, neural, targets)?;
        // A batch without a positive would be silently about negatives alone.
        Pairs::new(targets)?;
        let cosine = cosine_logits(neural, image, self.config.similarity)?;
        let cosine = as_dtype(&cosine, self.log_scale.dtype())?;
        let logits = cosine.broadcast_mul(&self.log_scale.exp()?)?.broadcast_add(&self.bias)?;
        let sign = |trial: &u32, image: &u32| if trial == image { -1f32 } else { 1. };
        let signs: Vec<f32> = targets
            .trials
            .iter()
            .flat_map(|trial| targets.images.iter().map(move |image| sign(trial, image)))
            .collect();
        let signs = Tensor::from_vec(signs, logits.dims(), logits.device())?.to_dtype(logits.dtype())?;
        let sum = softplus(&(logits * signs)?)?.sum_all()?;
        LossTerms::new([("sig_lip", (sum * (1. / targets.trials.len() as f64))?)])
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![
            Parameter::new("objective.log_scale", self.log_scale.clone()).without_decay(),
            Parameter::new("objective.bias", self.bias.clone()).without_decay(),
        ]
    }

    fn after_step(&self) -> Result<()> {
        let highest = self.config.max_inverse_temperature.ln();
        Ok(self.log_scale.set(&self.log_scale.as_tensor().minimum(highest)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{maps, normal, objective_gradients_agree, total};

    fn objective(bias: f64) -> SigLip {
        let config = SigLipConfig { bias, ..Default::default() };
        SigLip::with_dtype(config, DType::F64, &Device::Cpu).unwrap()
    }

    fn targets(trials: &[u32], images: &[u32]) -> Targets {
        Targets { trials: trials.to_vec(), images: images.to_vec(), ..Default::default() }
    }

    #[test]
    fn orthogonal_maps_cost_what_the_bias_says() {
        let zero = Tensor::zeros((3, 1, 1, 2), DType::F64, &Device::Cpu).unwrap();
        let loss = total(&objective(-10.), &zero, &zero, &targets(&[0, 1, 2], &[0, 1, 2]));
        // One positive and two negatives a trial.
        let wanted = 10f64.exp().ln_1p() + 2. * (-10f64).exp().ln_1p();
        assert!((loss.to_scalar::<f64>().unwrap() - wanted).abs() < 1e-9);
    }

    #[test]
    fn equals_its_formula() {
        let (a, b) = (normal("a", &[3, 2, 1, 3]), normal("b", &[4, 2, 1, 3]));
        let (trials, images) = ([0, 1, 1, 5], [1, 0, 1]);
        let cosine = cosine_logits(&maps(&b), &maps(&a), Similarity::Flat).unwrap();
        let mut wanted = 0.;
        for (row, trial) in cosine.to_vec2::<f64>().unwrap().iter().zip(trials) {
            for (cosine, image) in row.iter().zip(images) {
                let logit = cosine * 10. - 0.5;
                wanted += (if trial == image { -logit } else { logit }).exp().ln_1p() / 4.;
            }
        }
        let found = total(&objective(-0.5), &a, &b, &targets(&trials, &images)).to_scalar::<f64>().unwrap();
        assert!((found - wanted).abs() < 1e-9, "{found} {wanted}");
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (a, b) = (normal("a", &[3, 2, 2, 2]), normal("b", &[4, 2, 2, 2]));
        objective_gradients_agree(&objective(-1.), &a, &b, &targets(&[0, 1, 1, 5], &[1, 0, 2]));
    }

    #[test]
    fn the_temperature_is_clamped_and_what_does_not_fit_is_refused() {
        let objective = objective(-10.);
        objective.log_scale.set(&Tensor::new(9f64, &Device::Cpu).unwrap()).unwrap();
        objective.after_step().unwrap();
        assert!((objective.log_scale.to_scalar::<f64>().unwrap() - 100f64.ln()).abs() < 1e-12);
        let maps = maps(&normal("a", &[2, 1, 1, 2]));
        assert!(objective.loss(&maps, &maps, &targets(&[0], &[0, 1])).is_err());
        assert!(objective.loss(&maps, &maps, &targets(&[0, 1], &[2, 3])).is_err());
        let made = |config| SigLip::new(config, &Device::Cpu);
        assert!(made(SigLipConfig { temperature: 0.001, ..Default::default() }).is_err());
        assert!(made(SigLipConfig { temperature: f64::NAN, ..Default::default() }).is_err());
        assert!(made(SigLipConfig { bias: f64::INFINITY, ..Default::default() }).is_err());
    }
}
