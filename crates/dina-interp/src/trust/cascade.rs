use std::fmt;

use candle_core::{Device, Tensor, Var};
use dina_core::{Error as CoreError, Parameter, Seed, Tower};
use dina_stats::bootstrap::{Bootstrap, Interval};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::{
    Check, CheckKind,
    agreement::{ends, mean_interval, rank_correlation},
};
use crate::{
    Result,
    attribution::{Attribution, host},
};

/// How [`cascade`] randomises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CascadeConfig {
    /// Names of the parameters that are drawn anew together, stage by stage from the output side. Empty: every
    /// parameter on its own, in the reverse of the tower's order.
    pub stages: Vec<Vec<String>>,
    /// Independent redraws, over which the similarity is averaged.
    pub redraws: usize,
    /// The largest similarity to the fully randomised tower with which the check is passed.
    pub largest: f64,
    /// The interval over items.
    pub bootstrap: Bootstrap,
}

impl Default for CascadeConfig {
    /// Every parameter on its own, three redraws. Passed below 0.75, halfway between a method that shows nothing but the
    /// input (1) and gradient x input of two unrelated linear towers (about 0.5, as |x| is common to both).
    fn default() -> Self {
        Self { stages: Vec::new(), redraws: 3, largest: 0.75, bootstrap: Bootstrap::default() }
    }
}

/// What one more stage of redrawn parameters leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CascadeStep {
    /// The parameters of this stage; those of all stages before are redrawn as well.
    pub parameters: Vec<String>,
    /// Those of them that were left as they are, because all their values are equal and have no scale.
    pub constant: Vec<String>,
    /// Mean rank correlation of absolute attributions with those of the intact tower, with its interval over items.
    pub similarity: Interval,
}

/// The outcome of [`cascade`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cascade {
    /// Stage after stage.
    pub steps: Vec<CascadeStep>,
    /// The verdict, by the last stage.
    pub check: Check,
}

impl fmt::Display for Cascade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; by stage", self.check)?;
        self.steps
            .iter()
            .try_for_each(|s| write!(f, " {} {:.3}", s.parameters.join("+"), s.similarity.estimate))
    }
}

/// Cascading randomisation (Adebayo et al. 2018): draws the parameters anew from the output side, normal with the
/// mean and standard deviation of their values, and follows the rank correlation of absolute attributions with those of the
/// intact tower.
///
/// `attribute` is called with the tower as it then is. The parameters are put back exactly as they were, also
/// when `attribute` fails. Meanwhile nobody else may use the tower.
///
/// # Errors
/// What `attribute` says; when it returns other shapes from call to call, has fewer than two items, a stage names a
/// parameter that the tower lacks, or there is no parameter or redraw.
pub fn cascade(
    tower: &dyn Tower,
    attribute: &dyn Fn(&dyn Tower) -> Result<Attribution>,
    config: &CascadeConfig,
    seed: Seed,
) -> Result<Cascade> {
    let stages = stages(tower, config)?;
    if config.redraws == 0 {
        return Err(CoreError::value("redraws", "1 or more", 0).into());
    }
    let intact = attribute(tower)?;
    let reference = intact.absolute();
    // Per stage and item the similarity, summed over redraws.
    let mut sums = vec![vec![0.; reference.len()]; stages.len()];
    for redraw in 0..config.redraws {
        let kept = Kept::new(stages.iter().flatten())?;
        for (stage, sums) in stages.iter().zip(&mut sums) {
            for parameter in stage {
                redrawn(parameter, seed.index(redraw).child(&parameter.name))?;
            }
            let found = attribute(tower)?;
            if found.values.shape() != intact.values.shape() {
                let shape = intact.values.shape();
                return Err(CoreError::shape(
                    "attribution by the randomised tower",
                    shape,
                    found.values.shape(),
                )
                .into());
            }
            for ((sum, a), b) in sums.iter_mut().zip(&reference).zip(&found.absolute()) {
                // A constant attribution has nothing in common with another.
                *sum += rank_correlation(a, b)?.unwrap_or(0.) / config.redraws as f64;
            }
        }
        kept.put_back()?;
    }
    let steps = stages
        .iter()
        .zip(&sums)
        .map(|(stage, items)| {
            let mut constant = Vec::new();
            for parameter in stage {
                if scale(parameter)?.1 == 0. {
                    constant.push(parameter.name.clone());
                }
            }
            Ok(CascadeStep {
                parameters: stage.iter().map(|p| p.name.clone()).collect(),
                constant,
                similarity: mean_interval(items, &config.bootstrap, seed.child("items"))?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let Some(last) = steps.last() else {
        return Err(CoreError::value("stages", "1 or more", 0).into());
    };
    let check = Check::below(CheckKind::ParameterRandomisation, ends(&last.similarity), config.largest);
    Ok(Cascade { steps, check })
}

fn stages(tower: &dyn Tower, config: &CascadeConfig) -> Result<Vec<Vec<Parameter>>> {
    let parameters = tower.parameters();
    if parameters.is_empty() {
        return Err(CoreError::value("parameters of the tower", "1 or more", 0).into());
    }
    if config.stages.is_empty() {
        return Ok(parameters.into_iter().rev().map(|parameter| vec![parameter]).collect());
    }
    let find = |name: &String| {
        parameters.iter().find(|p| p.name == *name).cloned().ok_or_else(|| {
            let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
            CoreError::value("stage of the cascade", format!("made of {names:?}"), name).into()
        })
    };
    config.stages.iter().map(|stage| stage.iter().map(find).collect()).collect()
}

/// Mean and standard deviation of a parameter's values.
fn scale(parameter: &Parameter) -> Result<(f64, f64)> {
    let values = host(parameter.var.as_tensor())?;
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    // Rounding of the mean is no spread.
    let sd = variance.sqrt();
    Ok((mean, if sd <= 1e-7 * mean.abs() { 0. } else { sd }))
}

fn redrawn(parameter: &Parameter, seed: Seed) -> Result<()> {
    let (mean, sd) = scale(parameter)?;
    if sd == 0. {
        return Ok(());
    }
    let var = &parameter.var;
    let mut stream = seed.stream("redraw");
    let values: Vec<f64> = (0..var.elem_count())
        .map(|_| {
            let value: f64 = StandardNormal.sample(&mut stream);
            mean + sd * value
        })
        .collect();
    let set = || -> candle_core::Result<()> {
        let tensor = Tensor::from_vec(values, var.shape(), &Device::Cpu)?;
        var.set(&tensor.to_dtype(var.dtype())?.to_device(var.device())?)
    };
    Ok(set().map_err(CoreError::from)?)
}

/// Parameters as they were; they are put back when this is dropped, on whatever way.
struct Kept(Vec<(Var, Tensor)>);

impl Kept {
    fn new<'a>(parameters: impl Iterator<Item = &'a Parameter>) -> Result<Self> {
        let copies = parameters.map(|p| Ok((p.var.clone(), p.var.as_tensor().copy()?.detach())));
        Ok(Self(copies.collect::<candle_core::Result<_>>().map_err(CoreError::from)?))
    }

    /// As dropping, but says when a device fails.
    fn put_back(mut self) -> Result<()> {
        for (var, values) in std::mem::take(&mut self.0) {
            var.set(&values).map_err(CoreError::from)?;
        }
        Ok(())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for (var, values) in &self.0 {
            // Only a failing device can refuse this, and then an error is already on its way.
            let _ = var.set(values);
        }
    }
}
