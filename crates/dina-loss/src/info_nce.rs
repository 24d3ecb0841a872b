use candle_core::{DType, Device, Tensor, Var};
use dina_core::{Error, FeatureMaps, LossTerms, Objective, Parameter, Result, Targets};
use dina_ops::{Positives, info_nce};
use serde::{Deserialize, Serialize};

use crate::{Similarity, cosine_logits};

/// Settings of [`InfoNce`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct InfoNceConfig {
    /// How maps are compared.
    pub similarity: Similarity,
    /// Where the temperature starts; CLIP's 0.07 by default (Radford et al. 2021).
    pub temperature: f64,
    /// The inverse temperature never exceeds this; 100 by default, as in CLIP.
    pub max_inverse_temperature: f64,
}

impl Default for InfoNceConfig {
    fn default() -> Self {
        Self { similarity: Similarity::Flat, temperature: 0.07, max_inverse_temperature: 100. }
    }
}

/// Symmetric InfoNCE with a learnable temperature and several positives.
///
/// With logits `S_ti = sim(B_t, A_i) exp(theta)` and positives `P` (equal stimulus identity),
/// `L = -1/2 [ mean_t log( sum_{i in P(t)} e^{S_ti} / sum_i e^{S_ti} ) + mean_i log( sum_{t in P(i)} e^{S_ti} / sum_t e^{S_ti} ) ]`.
/// A trial or image without a positive in the batch is a candidate only and not averaged over.
/// Logits are computed in `f32` whatever the maps' precision below it.
pub struct InfoNce {
    config: InfoNceConfig,
    log_scale: Var,
}

impl InfoNce {
    /// An objective whose temperature starts where the configuration says.
    ///
    /// # Errors
    /// When the temperature is not positive or starts beyond its clamp.
    pub fn new(config: InfoNceConfig, device: &Device) -> Result<Self> {
        Self::with_dtype(config, DType::F32, device)
    }

    fn with_dtype(config: InfoNceConfig, dtype: DType, device: &Device) -> Result<Self> {
        let inverse = 1. / config.temperature;
        if !(inverse > 0. && inverse <= config.max_inverse_temperature) {
            return Err(Error::value(
                "temperature",
                format!("at least {}", 1. / config.max_inverse_temperature),
                config.temperature,
            ));
        }
        let log_scale = Var::from_tensor(&Tensor::new(inverse.ln(), device)?.to_dtype(dtype)?)?;
        Ok(Self { config, log_scale })
    }

    /// The present temperature.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn temperature(&self) -> Result<f64> {
        // Not every device has f64.
        let theta = self.log_scale.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        Ok((-theta).exp())
    }
}

impl Objective for InfoNce {
    fn loss(&self, image: &FeatureMaps, neural: &FeatureMaps, targets: &Targets) -> Result<LossTerms> {
        let (trials, images) = (neural.batch(), image.batch());
        if targets.trials.len() != trials || targets.images.len() != images {
            return Err(Error::shape(
                "stimulus ids of a batch",
                [trials, images],
                [targets.trials.len(), targets.images.len()],
            ));
        }
        let mut cosine = cosine_logits(neural, image, self.config.similarity)?;
        if cosine.dtype() != self.log_scale.dtype() {
            cosine = cosine.to_dtype(self.log_scale.dtype())?;
        }
        let positives = Positives::new(&targets.trials, &targets.images)?;
        LossTerms::new([("info_nce", info_nce(&cosine, &self.log_scale, &positives)?)])
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter::new("objective.log_scale", self.log_scale.clone()).without_decay()]
    }

    fn after_step(&self) -> Result<()> {
        let highest = self.config.max_inverse_temperature.ln();
        Ok(self.log_scale.set(&self.log_scale.as_tensor().minimum(highest)?)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::similarity::tests::normal;

    fn objective() -> InfoNce {
        InfoNce::with_dtype(InfoNceConfig::default(), DType::F64, &Device::Cpu).unwrap()
    }

    fn loss(objective: &InfoNce, b: &Tensor, a: &Tensor, trials: &[u32], images: &[u32]) -> Tensor {
        let targets = Targets { trials: trials.to_vec(), images: images.to_vec(), ..Default::default() };
        let maps = |t: &Tensor| FeatureMaps::single("v1", t.clone()).unwrap();
        objective.loss(&maps(a), &maps(b), &targets).unwrap().total().unwrap()
    }

    /// The formula, term by term.
    fn by_hand(logits: &[Vec<f64>], trials: &[u32], images: &[u32]) -> f64 {
        let side = |value: &dyn Fn(usize, usize) -> f64, q: &[u32], c: &[u32]| {
            let mut terms = Vec::new();
            for (t, id) in q.iter().enumerate() {
                let all: f64 = (0..c.len()).map(|i| value(t, i).exp()).sum();
                let own: f64 = (0..c.len()).filter(|&i| c[i] == *id).map(|i| value(t, i).exp()).sum();
                if own > 0. {
                    terms.push(-(own / all).ln());
                }
            }
            terms.iter().sum::<f64>() / terms.len() as f64
        };
        0.5 * (side(&|t, i| logits[t][i], trials, images) + side(&|i, t| logits[t][i], images, trials))
    }

    #[test]
    fn indistinguishable_maps_cost_the_logarithm_of_the_candidates() {
        let same = Tensor::ones((4, 2, 1, 1), DType::F64, &Device::Cpu).unwrap();
        let value = loss(&objective(), &same, &same, &[0, 1, 2, 3], &[0, 1, 2, 3]);
        assert!((value.to_scalar::<f64>().unwrap() - 4f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let objective = objective();
        let b = Var::from_tensor(&normal("b", &[4, 2, 2, 2])).unwrap();
        let a = Var::from_tensor(&normal("a", &[3, 2, 2, 2])).unwrap();
        let value = || loss(&objective, &b, &a, &[0, 1, 1, 2], &[0, 1, 2]);
        let gradients = value().backward().unwrap();
        for var in [&b, &a, &objective.log_scale] {
            let analytic = gradients.get(var).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let original = var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for (index, analytic) in analytic.iter().enumerate() {
                let at = |delta: f64| {
                    let mut moved = original.clone();
                    moved[index] += delta;
                    var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                    value().to_scalar::<f64>().unwrap()
                };
                let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((numeric - analytic).abs() < 1e-7 + 1e-6 * analytic.abs(), "{numeric} {analytic}");
            }
            var.set(&Tensor::from_vec(original, var.shape(), &Device::Cpu).unwrap()).unwrap();
        }
    }

    #[test]
    fn the_temperature_is_clamped_after_a_step() {
        let objective = objective();
        assert!((objective.temperature().unwrap() - 0.07).abs() < 1e-12);
        objective.log_scale.set(&Tensor::new(9f64, &Device::Cpu).unwrap()).unwrap();
        objective.after_step().unwrap();
        assert!((objective.temperature().unwrap() - 0.01).abs() < 1e-12);
        let cold = InfoNceConfig { temperature: 0.001, ..Default::default() };
        assert!(InfoNce::new(cold, &Device::Cpu).is_err());
    }

    #[test]
    fn batches_that_do_not_fit_are_refused() {
        let maps = FeatureMaps::single("v1", normal("a", &[2, 1, 1, 2])).unwrap();
        let targets = |trials: &[u32], images: &[u32]| Targets {
            trials: trials.to_vec(),
            images: images.to_vec(),
            ..Default::default()
        };
        assert!(objective().loss(&maps, &maps, &targets(&[0], &[0, 1])).is_err());
        assert!(objective().loss(&maps, &maps, &targets(&[0, 1], &[2, 3])).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn equals_its_formula(trials in prop::collection::vec(0u32..4, 1..6), images in prop::collection::vec(0u32..4, 1..6)) {
            prop_assume!(trials.iter().any(|t| images.contains(t)));
            let (b, a) = (normal("b", &[trials.len(), 2, 1, 3]), normal("a", &[images.len(), 2, 1, 3]));
            let maps = |t: &Tensor| FeatureMaps::single("v1", t.clone()).unwrap();
            let cosine = cosine_logits(&maps(&b), &maps(&a), Similarity::Flat).unwrap();
            let logits = (cosine * (1. / 0.07)).unwrap().to_vec2::<f64>().unwrap();
            let value = loss(&objective(), &b, &a, &trials, &images).to_scalar::<f64>().unwrap();
            prop_assert!((value - by_hand(&logits, &trials, &images)).abs() < 1e-9);
        }
    }
}
