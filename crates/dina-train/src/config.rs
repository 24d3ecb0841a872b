use std::f64::consts::PI;

use dina_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How to train. The defaults are those of the field; see the fields for their sources.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Optimiser steps at most.
    pub steps: usize,
    /// Images per step.
    pub batch: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps over which the rate rises linearly.
    pub warm_up: usize,
    /// Decoupled weight decay (Loshchilov & Hutter 2019), per unit of learning rate.
    pub weight_decay: f64,
    /// Exponential decay rates of the first and second moment.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Largest global norm of the gradient.
    pub clip: f64,
    /// Decay of the running average of the weights, which is what is validated and kept. The average
    /// follows the weights closely at first: the decay in step n is at most `(1 + n) / (10 + n)`.
    pub average: f64,
    /// Steps between validations.
    pub validate_every: usize,
    /// Validations without a new best after which training ends.
    pub patience: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 500,
            batch: 256,
            learning_rate: 1e-3,
            warm_up: 20,
            weight_decay: 0.01,
            betas: (0.9, 0.98),
            epsilon: 1e-8,
            clip: 1.,
            average: 0.98,
            validate_every: 25,
            patience: 6,
        }
    }
}

impl TrainConfig {
    /// Refuses values that cannot train.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn check(&self) -> Result<()> {
        for (name, value) in
            [("batch", self.batch), ("validate_every", self.validate_every), ("patience", self.patience)]
        {
            if value == 0 {
                return Err(Error::value(name, "at least 1", value));
            }
        }
        for (name, value) in
            [("learning_rate", self.learning_rate), ("clip", self.clip), ("epsilon", self.epsilon)]
        {
            if !(value > 0. && value.is_finite()) {
                return Err(Error::value(name, "positive and finite", value));
            }
        }
        for (name, value) in [("beta1", self.betas.0), ("beta2", self.betas.1), ("average", self.average)] {
            if !(0. ..1.).contains(&value) {
                return Err(Error::value(name, "in [0, 1)", value));
            }
        }
        if !(self.weight_decay >= 0. && self.weight_decay.is_finite()) {
            return Err(Error::value("weight_decay", "not negative", self.weight_decay));
        }
        Ok(())
    }

    /// Learning rate of a step, counted from 0: linear warm-up, then half a cosine down to nothing.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warm_up {
            return self.learning_rate * (step + 1) as f64 / self.warm_up as f64;
        }
        let rest = (self.steps - self.warm_up.min(self.steps)).max(1);
        let done = (step - self.warm_up) as f64 / rest as f64;
        self.learning_rate * 0.5 * (1. + (PI * done.min(1.)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_nothing() {
        let config = TrainConfig { steps: 110, warm_up: 10, learning_rate: 2., ..Default::default() };
        assert!((config.rate(0) - 0.2).abs() < 1e-12);
        assert!((config.rate(9) - 2.).abs() < 1e-12);
        assert!((config.rate(60) - 1.).abs() < 1e-12);
        assert!(config.rate(110) < 1e-12);
        assert!(TrainConfig { clip: f64::NAN, ..config }.check().is_err());
        assert!(TrainConfig { average: 1., ..config }.check().is_err());
    }
}
