//! Neural towers: from the responses of a population to maps.

mod dense;
mod factorised;

use candle_core::Tensor;
use dina_core::{Error, MapSpec, Mode, Result, Seed};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::dense::{Dense, Mlp};
pub use self::factorised::Factorised;

/// What every neural tower needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeuralTowerConfig {
    /// Number of neurons.
    pub neurons: usize,
    /// How the responses are read into the map.
    pub read_in: ReadInKind,
    /// Probability with which a neuron is silenced in a training batch.
    pub dropout: f64,
}

/// How responses are read into the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ReadInKind {
    /// `rank` pairs of a spatial mask and a channel vector per neuron.
    Factorised {
        /// Number of pairs.
        rank: usize,
    },
    /// A weight per neuron, channel and position.
    Dense,
    /// One hidden layer.
    Mlp {
        /// Hidden units.
        hidden: usize,
    },
}

/// Refuses responses of another shape and silences random neurons while training.
fn responses(input: &Tensor, neurons: usize, dropout: f64, mode: Mode<'_>) -> Result<Tensor> {
    let &[batch, found] = input.dims() else {
        return Err(Error::shape("responses", format!("[batch, {neurons}]"), input.dims()));
    };
    if found != neurons {
        return Err(Error::shape("responses", format!("[batch, {neurons}]"), input.dims()));
    }
    let Mode::Train(stream) = mode else { return Ok(input.clone()) };
    if dropout == 0. {
        return Ok(input.clone());
    }
    // What stays is scaled up, so that the expected map is the same in training and evaluation.
    let keep = 1. - dropout;
    let (scale, below) = ((1. / keep) as f32, (keep * 2f64.powi(32)) as u32);
    // A stream for every row: rows are drawn side by side, and the same for any number of threads.
    let seed = Seed::new(stream.random());
    let mut mask = vec![0.; batch * neurons];
    mask.par_chunks_mut(neurons).enumerate().for_each(|(row, mask)| {
        let mut stream = seed.index(row).stream("dropout");
        mask.iter_mut().for_each(|value| *value = if stream.random::<u32>() < below { scale } else { 0. });
    });
    let mask = Tensor::from_vec(mask, (batch, neurons), input.device())?.to_dtype(input.dtype())?;
    Ok((input * mask)?)
}

/// Refuses a level or channel that the tower does not have.
fn check_channel(level: &MapSpec, name: &str, channel: usize) -> Result<()> {
    if level.name != name {
        return Err(Error::Level(format!("no level `{name}`; there is `{}`", level.name)));
    }
    if channel >= level.channels {
        return Err(Error::value(
            format!("channel of level `{name}`"),
            format!("below {}", level.channels),
            channel,
        ));
    }
    Ok(())
}

fn check(neurons: usize, level: &MapSpec, dropout: f64) -> Result<()> {
    if neurons == 0 || level.is_empty() {
        return Err(Error::value(
            "neural tower sizes",
            "all at least 1",
            format!("{neurons} neurons, {level:?}"),
        ));
    }
    if !(0. ..1.).contains(&dropout) {
        return Err(Error::value("dropout", "in [0, 1)", dropout));
    }
    Ok(())
}

/// Every channel on its own is what all of them hold, and so is its gradient with respect to the input.
#[cfg(test)]
fn check_single_channels(tower: &dyn dina_core::Tower, input: &Tensor) {
    let var = candle_core::Var::from_tensor(input).unwrap();
    let gradient = |map: &Tensor| {
        let store = map.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        store.get(var.as_tensor()).unwrap().clone()
    };
    let all = tower.forward(var.as_tensor(), Mode::Eval).unwrap();
    for channel in 0..tower.levels()[0].channels {
        let one = tower.channel(var.as_tensor(), Mode::Eval, "v1", channel).unwrap();
        let part = all.get("v1").unwrap().narrow(1, channel, 1).unwrap();
        let gap = |a: &Tensor, b: &Tensor| {
            let gap = (a - b).unwrap().abs().unwrap().max_all().unwrap();
            gap.to_dtype(candle_core::DType::F64).unwrap().to_scalar::<f64>().unwrap()
        };
        assert_eq!(one.dims(), part.dims());
        assert!(gap(&one, &part) < 1e-5 && gap(&gradient(&one), &gradient(&part)) < 1e-4);
    }
    assert!(tower.channel(input, Mode::Eval, "v1", tower.levels()[0].channels).is_err());
    assert!(tower.channel(input, Mode::Eval, "v2", 0).is_err());
}
