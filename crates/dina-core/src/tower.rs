use candle_core::{Tensor, Var};

use crate::{FeatureMaps, MapSpec, Result, Stream};

/// Whether a tower is being trained, and where its noise then comes from.
///
/// There is no hidden state: a tower that drops inputs or channels draws them from the stream it
/// is handed, so that a resumed run draws what the uninterrupted one would have.
#[derive(Debug)]
pub enum Mode<'a> {
    /// Dropout and the like are on and draw from this stream.
    Train(&'a mut Stream),
    /// Deterministic.
    Eval,
}

impl Mode<'_> {
    /// Whether this is training.
    pub fn is_train(&self) -> bool {
        matches!(self, Self::Train(_))
    }
}

/// A trainable tensor of a tower or an objective.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The name in checkpoints, such as `neural.masks`.
    pub name: String,
    /// The values.
    pub var: Var,
    /// Whether weight decay applies; not to biases, norms or temperatures.
    pub decay: bool,
    /// Factor on the learning rate, 1 by default.
    pub rate: f64,
}

impl Parameter {
    /// A parameter that decays and learns at the full rate.
    pub fn new(name: impl Into<String>, var: Var) -> Self {
        Self { name: name.into(), var, decay: true, rate: 1. }
    }

    /// The same without weight decay.
    pub fn without_decay(mut self) -> Self {
        self.decay = false;
        self
    }

    /// The same with its learning rate multiplied by `factor`.
    pub fn with_rate(mut self, factor: f64) -> Self {
        self.rate = factor;
        self
    }
}

/// A map from inputs to feature maps: one half of a dual-tower model.
///
/// The input is whatever the tower documents: images `[batch, 1, height, width]` for an image
/// tower, responses `[batch, neurons]` for a neural one. Two towers that are aligned return the
/// same levels. Object safe, so that a study can hold `Box<dyn Tower>`.
pub trait Tower: Send + Sync {
    /// Maps a batch.
    ///
    /// # Errors
    /// When the input has another shape than the tower takes, or a tensor operation fails.
    fn forward(&self, input: &Tensor, mode: Mode<'_>) -> Result<FeatureMaps>;

    /// The maps of one channel of a level, `[batch, 1, height, width]`: what [`Tower::forward`] returns for it. For explaining what a channel
    /// owes to the input: gradients reach the input, and need not reach the parameters.
    ///
    /// A tower whose channels do not depend on one another overrides this, so that one channel costs its share of all of them.
    ///
    /// # Errors
    /// As [`Tower::forward`]; when there is no such level or channel.
    fn channel(&self, input: &Tensor, mode: Mode<'_>, level: &str, channel: usize) -> Result<Tensor> {
        Ok(self.forward(input, mode)?.get(level)?.narrow(1, channel, 1)?)
    }

    /// Name and shape of every level that [`Tower::forward`] returns, in its order.
    fn levels(&self) -> Vec<MapSpec>;

    /// Everything that is trained, with stable names.
    fn parameters(&self) -> Vec<Parameter>;

    /// What the tower is made of, one line a layer, for diagrams and reports.
    fn describe(&self) -> Vec<String>;
}
