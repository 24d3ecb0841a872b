use candle_core::Tensor;

use crate::{Error, FeatureMaps, Parameter, Result};

/// What is known of a batch beyond its inputs. Row t of the neural maps belongs to `trials[t]`, row
/// i of the image maps to `images[i]`; both are stimulus identities, and equal ones are positives.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Identity of the image shown in each trial of the batch.
    pub trials: Vec<u32>,
    /// Identity of each image of the batch.
    pub images: Vec<u32>,
    /// Category of each image, counted from 0, for supervised objectives; `None` for an image whose category
    /// nobody knows.
    pub labels: Option<Vec<Option<u32>>>,
    /// The images themselves `[images, 1, height, width]`, for reconstruction objectives.
    pub pixels: Option<Tensor>,
}

/// Named, differentiable parts of a loss, each already weighted: the loss is their sum.
#[derive(Debug, Clone)]
pub struct LossTerms(Vec<(String, Tensor)>);

impl LossTerms {
    /// Keeps the terms in order.
    ///
    /// # Errors
    /// When there is no term or one is not a scalar.
    pub fn new<N: Into<String>>(terms: impl IntoIterator<Item = (N, Tensor)>) -> Result<Self> {
        let terms: Vec<_> = terms.into_iter().map(|(n, t)| (n.into(), t)).collect();
        if terms.is_empty() {
            return Err(Error::value("number of loss terms", "at least 1", 0));
        }
        for (name, term) in &terms {
            if term.rank() != 0 {
                return Err(Error::shape(format!("loss term `{name}`"), "[]", term.dims()));
            }
        }
        Ok(Self(terms))
    }

    /// The sum of all terms.
    ///
    /// # Errors
    /// When the terms lie on different devices.
    pub fn total(&self) -> Result<Tensor> {
        let mut total = self.0[0].1.clone();
        for (_, term) in &self.0[1..] {
            total = (total + term)?;
        }
        Ok(total)
    }

    /// Terms in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, term)| (name.as_str(), term))
    }
}

/// What two towers are trained for.
pub trait Objective: Send + Sync {
    /// The loss of a batch: image maps `A` and neural maps `B`, whose rows `targets` identifies.
    ///
    /// # Errors
    /// When maps and targets disagree, or something that the objective needs is missing.
    fn loss(&self, image: &FeatureMaps, neural: &FeatureMaps, targets: &Targets) -> Result<LossTerms>;

    /// Parameters of the objective itself, such as the temperature.
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    /// Called after every optimiser step, to bring parameters back into their range.
    ///
    /// # Errors
    /// When a parameter cannot be set.
    fn after_step(&self) -> Result<()> {
        Ok(())
    }
}
