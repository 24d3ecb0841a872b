use ndarray::{Array2, ArrayView2, Axis, Zip};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::reliability::{Keep, VarianceComponents};
use crate::linear::{moments, product, thin};
use crate::{Error, Recording, Result};

/// Added to the standard deviation of spontaneous activity, as the authors of the deposit do
/// (`loadProc2800.m` and `powerlaws.ipynb` of MouseLand/stringer-pachitariu-et-al-2018b).
const SPONTANEOUS_SD_FLOOR: f64 = 1e-6;

/// One step of preprocessing, before it is fitted.
///
/// Neurons that a z-score cannot scale, because the activity it is fitted on never changes, are
/// dropped, which [`notes`](super::FittedPreprocessing::notes) tell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Drops neurons that carry the red (interneuron) label. Does nothing, and notes it, where
    /// the recording has no such label.
    DropRedCells,
    /// Compresses large responses, neuron by neuron, around zero. The unit in which a response is
    /// large is the standard deviation of the neuron over training trials.
    Compress(Curve),
    /// Subtracts a mean and divides by a standard deviation (divided by n), neuron by neuron.
    ZScore(Reference),
    /// Removes the first principal components V of spontaneous activity (less its mean) from the
    /// responses: `x - (x V) Vᵀ`. Most activity that no stimulus drives lies in a few of them
    /// (Stringer et al. 2019).
    RemoveSpontaneous {
        /// Number of components. There have to be twice as many spontaneous time points and
        /// neurons.
        components: usize,
    },
    /// Subtracts the mean over training trials, neuron by neuron.
    Centre,
    /// Bounds responses to this many standard deviations around the mean over training trials,
    /// neuron by neuron.
    Clip {
        /// Standard deviations; above 0.
        deviations: f32,
    },
    /// Bounds responses to quantiles of the training trials, neuron by neuron, which single transients do
    /// not move as they move a standard deviation (winsorising; Tukey 1962).
    Winsorise {
        /// Share of the training trials below the lower bound, and above the upper; above 0, below 1/2.
        tail: f32,
    },
    /// Keeps the neurons whose responses to training images are the most reliable. This uses the
    /// training side up for questions about reliability, and no other:
    /// [`selections`](super::FittedPreprocessing::selections) tell.
    SelectReliable(Keep),
    /// Weighs neurons by their noise, around the mean over training trials. Neurons without
    /// measurable signal are dropped, which notes tell.
    Weigh(Weight),
}

/// What [`Step::Weigh`] multiplies the deviation of a response from its mean by. Signal and noise
/// variance are those of [`VarianceComponents`] over the training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// `signal / (signal + noise)`: the best linear estimate of the expected response from one
    /// presentation (Wiener), which draws noisy neurons to their mean.
    Wiener,
    /// `1 / sqrt(noise)`: every neuron has noise of variance 1, so that a sum of squared differences is
    /// the likelihood under independent noise.
    InverseNoise,
}

/// A variance-stabilising curve through the origin, of slope 1 (log) or 1/2 (sqrt) there, with `u`
/// the response in units of the standard deviation of the neuron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// `sign(u) ln(1 + |u|)`.
    SignedLog,
    /// `sign(u) (sqrt(1 + |u|) - 1)`.
    SignedSqrt,
}

impl Curve {
    fn value(self, u: f32) -> f32 {
        let compressed = match self {
            Self::SignedLog => u.abs().ln_1p(),
            Self::SignedSqrt => (1.0 + u.abs()).sqrt() - 1.0,
        };
        compressed.copysign(u)
    }
}

/// What the mean and standard deviation of a z-score are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// Spontaneous activity; the standard deviation is raised by 1e-6, as in the authors' code.
    Spontaneous,
    /// Training trials.
    Training,
}

/// What steps are fitted on: the activity as the steps before left it.
pub(super) struct Material<'a> {
    recording: &'a Recording,
    training: Array2<f32>,
    /// Per image its rows of `training`.
    trials: Vec<Vec<usize>>,
    spontaneous: Option<Array2<f32>>,
    red: Option<Vec<bool>>,
}

impl<'a> Material<'a> {
    pub(super) fn new(recording: &'a Recording, rows: &[usize]) -> Self {
        let mut trials = vec![Vec::new(); recording.images()];
        for (place, &row) in rows.iter().enumerate() {
            if let Some(image) = recording.stimulus()[row] {
                trials[image as usize].push(place);
            }
        }
        Self {
            recording,
            trials,
            training: recording.responses().select(Axis(0), rows),
            spontaneous: recording.spontaneous().cloned(),
            red: recording.red_cells().map(<[bool]>::to_vec),
        }
    }

    pub(super) fn apply(&mut self, step: &FittedStep) {
        step.apply(&mut self.training);
        if let Some(spontaneous) = &mut self.spontaneous {
            step.apply(spontaneous);
        }
        if let (FittedStep::Keep { columns }, Some(red)) = (step, &mut self.red) {
            *red = columns.iter().map(|&c| red[c]).collect();
        }
    }

    fn spontaneous(&self) -> Result<ArrayView2<'_, f32>> {
        match &self.spontaneous {
            Some(spontaneous) if spontaneous.nrows() > 1 => Ok(spontaneous.view()),
            _ => Err(self.refused(
                "stim.spont",
                "is missing, and the preprocessing asked for needs it".into(),
                "use the preset `standard`, or add spontaneous activity to the recording",
            )),
        }
    }

    fn components(&self) -> Result<VarianceComponents> {
        VarianceComponents::of(self.training.view(), &self.trials, self.recording.origin())
    }

    fn refused(&self, variable: &str, problem: String, remedy: &str) -> Error {
        Error::variable(self.recording.origin(), variable, problem, remedy)
    }

    fn keep(&self, keep: impl Fn(usize) -> bool, why: &str) -> Result<FittedStep> {
        let columns: Vec<usize> = (0..self.training.ncols()).filter(|&c| keep(c)).collect();
        if columns.is_empty() {
            return Err(self.refused(
                "stim.resp",
                format!("has no neuron left: all {} {why}", self.training.ncols()),
                "leave this step out, or check that the recording was exported whole",
            ));
        }
        Ok(FittedStep::Keep { columns })
    }
}

/// A step with what it learned. Columns are those that the steps before leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FittedStep {
    Keep {
        columns: Vec<usize>,
    },
    Compress {
        curve: Curve,
        unit: Vec<f32>,
    },
    /// `(x - mean) * factor`.
    Scale {
        mean: Vec<f32>,
        factor: Vec<f32>,
    },
    /// Orthonormal directions, one after the other.
    Remove {
        directions: Vec<Vec<f32>>,
    },
    Clip {
        low: Vec<f32>,
        high: Vec<f32>,
    },
}

impl Step {
    /// What this step learns; dropping neurons may come before.
    pub(super) fn fit(&self, material: &Material<'_>, notes: &mut Vec<String>) -> Result<Vec<FittedStep>> {
        let training = material.training.view();
        match *self {
            Self::DropRedCells => {
                let Some(red) = &material.red else {
                    notes.push("the recording does not say which neurons are red: none was dropped".into());
                    return Ok(Vec::new());
                };
                let dropped = red.iter().filter(|&&red| red).count();
                notes.push(format!("{dropped} red cells were dropped"));
                Ok(vec![material.keep(|c| !red[c], "are red")?])
            }
            Self::Compress(curve) => {
                let (_, sd) = moments(training);
                let unit = sd.iter().map(|&sd| sd as f32).collect();
                scalable(material, &sd, &[], "training trials", notes, |columns| {
                    FittedStep::Compress { curve, unit }.narrowed(columns)
                })
            }
            Self::ZScore(Reference::Training) => {
                let (mean, sd) = moments(training);
                let step = scale(&mean, &sd, 0.0);
                scalable(material, &sd, &mean, "training trials", notes, |columns| step.narrowed(columns))
            }
            Self::ZScore(Reference::Spontaneous) => {
                let (mean, sd) = moments(material.spontaneous()?);
                let step = scale(&mean, &sd, SPONTANEOUS_SD_FLOOR);
                scalable(material, &sd, &mean, "spontaneous activity", notes, |columns| {
                    step.narrowed(columns)
                })
            }
            Self::Centre => {
                let (mean, _) = moments(training);
                Ok(vec![FittedStep::Scale {
                    factor: vec![1.0; mean.len()],
                    mean: mean.iter().map(|&m| m as f32).collect(),
                }])
            }
            Self::RemoveSpontaneous { components } => Ok(vec![spontaneous_components(material, components)?]),
            Self::Clip { deviations } => {
                if !(deviations > 0.0 && deviations.is_finite()) {
                    return Err(material.refused(
                        "clip",
                        format!("is at {deviations} standard deviations"),
                        "give a number above 0",
                    ));
                }
                let (mean, sd) = moments(training);
                let bound = |sign: f64| {
                    let reach = sign * f64::from(deviations);
                    mean.iter().zip(&sd).map(|(m, sd)| (m + reach * sd) as f32).collect()
                };
                Ok(vec![FittedStep::Clip { low: bound(-1.0), high: bound(1.0) }])
            }
            Self::Winsorise { tail } => Ok(vec![winsorise(material, tail)?]),
            Self::SelectReliable(keep) => {
                let reliability = material.components()?.reliability();
                let chosen = keep.choose(&reliability)?;
                notes.push(format!(
                    "{} of {} neurons were kept for their reliability",
                    chosen.len(),
                    reliability.len()
                ));
                Ok(vec![
                    material
                        .keep(|c| chosen.binary_search(&c).is_ok(), "are less reliable than asked for")?,
                ])
            }
            Self::Weigh(weight) => weigh(material, weight, notes),
        }
    }
}

fn scale(mean: &[f64], sd: &[f64], floor: f64) -> FittedStep {
    FittedStep::Scale {
        mean: mean.iter().map(|&m| m as f32).collect(),
        factor: sd.iter().map(|sd| (1.0 / (sd + floor)) as f32).collect(),
    }
}

/// Drops the neurons whose standard deviation is nothing but rounding, then does `step`, which is
/// given the columns that stay.
fn scalable(
    material: &Material<'_>,
    sd: &[f64],
    mean: &[f64],
    over: &str,
    notes: &mut Vec<String>,
    step: impl FnOnce(&[usize]) -> FittedStep,
) -> Result<Vec<FittedStep>> {
    let level = |c: usize| mean.get(c).copied().unwrap_or(0.0).abs();
    let changes = |c: usize| sd[c] > 1e-9 * level(c) && (1.0 / sd[c] as f32).is_finite();
    let dropped = (0..sd.len()).filter(|&c| !changes(c)).count();
    if dropped == 0 {
        let all: Vec<usize> = (0..sd.len()).collect();
        return Ok(vec![step(&all)]);
    }
    let keep = material.keep(changes, &format!("never change over {over}"))?;
    notes.push(format!("{dropped} neurons that never change over {over} were dropped"));
    let columns = match &keep {
        FittedStep::Keep { columns } => columns.clone(),
        _ => Vec::new(),
    };
    let step = step(&columns);
    Ok(vec![keep, step])
}

/// Bounds at the quantiles `tail` and `1 - tail`, linear between order statistics.
fn winsorise(material: &Material<'_>, tail: f32) -> Result<FittedStep> {
    if !(tail > 0.0 && tail < 0.5) {
        return Err(material.refused(
            "winsorise",
            format!("has tails of {tail} of the trials"),
            "give a share above 0 and below 1/2",
        ));
    }
    let (low, high) = (0..material.training.ncols())
        .into_par_iter()
        .map(|c| {
            let mut sorted: Vec<f32> = material.training.column(c).to_vec();
            sorted.sort_by(f32::total_cmp);
            let quantile = |share: f64| {
                let place = share * (sorted.len() - 1) as f64;
                let below = sorted[place.floor() as usize];
                below + (place.fract() as f32) * (sorted[place.ceil() as usize] - below)
            };
            (quantile(f64::from(tail)), quantile(1.0 - f64::from(tail)))
        })
        .unzip();
    Ok(FittedStep::Clip { low, high })
}

fn weigh(material: &Material<'_>, weight: Weight, notes: &mut Vec<String>) -> Result<Vec<FittedStep>> {
    let components = material.components()?;
    let (mean, _) = moments(material.training.view());
    let factor: Vec<f64> = components
        .signal
        .iter()
        .zip(&components.noise)
        .map(|(&signal, &noise)| match weight {
            _ if signal <= 0.0 => 0.0,
            Weight::Wiener => signal / (signal + noise),
            Weight::InverseNoise => 1.0 / noise.sqrt(),
        })
        .collect();
    let usable = |c: usize| factor[c] > 0.0 && (factor[c] as f32).is_finite();
    let step = FittedStep::Scale {
        mean: mean.iter().map(|&m| m as f32).collect(),
        factor: factor.iter().map(|&f| f as f32).collect(),
    };
    let columns: Vec<usize> = (0..factor.len()).filter(|&c| usable(c)).collect();
    if columns.len() == factor.len() {
        return Ok(vec![step]);
    }
    let keep = material.keep(usable, "have no measurable signal, or no noise to weigh by")?;
    notes.push(format!("{} neurons without measurable signal were dropped", factor.len() - columns.len()));
    Ok(vec![keep, step.narrowed(&columns)])
}

fn spontaneous_components(material: &Material<'_>, components: usize) -> Result<FittedStep> {
    let spontaneous = material.spontaneous()?;
    let (bins, neurons) = spontaneous.dim();
    if components == 0 || bins < 2 * components || neurons < 2 * components {
        return Err(material.refused(
            "stim.spont",
            format!(
                "holds {bins} time points of {neurons} neurons, too few to remove \
                 {components} components"
            ),
            "ask for at least one and at most half as many components as there are of either, or use \
             the preset `standard`",
        ));
    }
    let (mean, _) = moments(spontaneous);
    let mut centred = spontaneous.to_owned();
    for mut row in centred.rows_mut() {
        row.iter_mut().zip(&mean).for_each(|(v, m)| *v -= *m as f32);
    }
    let right = thin(centred.view(), components)?.right;
    let directions = orthonormal(&right);
    Ok(FittedStep::Remove { directions })
}

/// Gram-Schmidt in f64, once more: the products that make the directions leave them orthogonal to
/// f32 accuracy only for the large components.
fn orthonormal(columns: &Array2<f32>) -> Vec<Vec<f32>> {
    let mut done: Vec<Vec<f64>> = Vec::new();
    for column in columns.columns() {
        let mut v: Vec<f64> = column.iter().map(|&x| f64::from(x)).collect();
        for u in &done {
            let along: f64 = u.iter().zip(&v).map(|(a, b)| a * b).sum();
            v.iter_mut().zip(u).for_each(|(v, u)| *v -= along * u);
        }
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= length);
        done.push(v);
    }
    done.into_iter().map(|v| v.into_iter().map(|x| x as f32).collect()).collect()
}

impl FittedStep {
    /// The same for these columns only.
    fn narrowed(self, columns: &[usize]) -> Self {
        let pick = |values: Vec<f32>| columns.iter().map(|&c| values[c]).collect();
        match self {
            Self::Compress { curve, unit } => Self::Compress { curve, unit: pick(unit) },
            Self::Scale { mean, factor } => Self::Scale { mean: pick(mean), factor: pick(factor) },
            other => other,
        }
    }

    /// Whether it can be applied to so many columns.
    pub(super) fn fits(&self, columns: usize) -> bool {
        match self {
            Self::Keep { columns: kept } => kept.iter().all(|&c| c < columns),
            Self::Compress { unit, .. } => unit.len() == columns,
            Self::Scale { mean, factor } => mean.len() == columns && factor.len() == columns,
            Self::Remove { directions } => directions.iter().all(|d| d.len() == columns),
            Self::Clip { low, high } => low.len() == columns && high.len() == columns,
        }
    }

    /// Applies it to trials x columns.
    pub(super) fn apply(&self, x: &mut Array2<f32>) {
        match self {
            Self::Keep { columns } => *x = x.select(Axis(1), columns),
            Self::Compress { curve, unit } => {
                each_row(x, |row| {
                    for (v, unit) in row.iter_mut().zip(unit) {
                        *v = curve.value(*v / unit);
                    }
                });
            }
            Self::Scale { mean, factor } => each_row(x, |row| {
                for ((v, mean), factor) in row.iter_mut().zip(mean).zip(factor) {
                    *v = (*v - mean) * factor;
                }
            }),
            Self::Remove { directions } => remove(x, directions),
            Self::Clip { low, high } => each_row(x, |row| {
                for ((v, low), high) in row.iter_mut().zip(low).zip(high) {
                    *v = v.clamp(*low, *high);
                }
            }),
        }
    }
}

fn each_row(x: &mut Array2<f32>, f: impl Fn(&mut [f32]) + Sync) {
    x.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut row| {
        if let Some(row) = row.as_slice_mut() {
            f(row);
        }
    });
}

/// Subtracts the projection on the directions.
fn remove(x: &mut Array2<f32>, directions: &[Vec<f32>]) {
    let columns = x.ncols();
    let v = Array2::from_shape_fn((directions.len(), columns), |(d, c)| directions[d][c]);
    let along = product(x.view(), v.t());
    Zip::from(x.rows_mut()).and(along.rows()).par_for_each(|mut row, along| {
        for (direction, along) in v.rows().into_iter().zip(along) {
            row.scaled_add(-along, &direction);
        }
    });
}
