use std::collections::{BTreeMap, BTreeSet};

use candle_core::Device;
use dina_core::{ContentHash, Seed};
use dina_stats::multiplicity::holm;
use serde::{Deserialize, Serialize};

use super::calibration::{Calibration, Rate, Rates};
use super::{
    Accuracy, BandIdentification, Bands, Basis, Case, CategoryBeyondLowLevel, DistributedRegions, Experiment,
    Interactions, Settings, SparseNeurons, Verdict, decide,
};
use crate::{Dataset, Error, JobConfig, Progress, RecordingSummary, Result, Silent, prepare};

/// A claim: an experiment with its measurement.
pub trait Claim: Sync {
    /// What is registered. The same on every call.
    fn experiment(&self) -> Experiment;

    /// Measures it on a case. Everything random comes from `seed`.
    ///
    /// # Errors
    /// When something breaks; that a case does not allow a measurement is [`Measured::Impossible`].
    fn measure(&self, case: &Case<'_>, seed: Seed) -> Result<Measured>;
}

/// What a measurement came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// An effect.
    Effect(Effect),
    /// Why there is none.
    Impossible(String),
}

/// A measured effect.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// The effect, in the unit of the experiment.
    pub estimate: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// p of the null, one-sided.
    pub p: f64,
    /// p of an effect of at least the smallest of interest, one-sided.
    pub p_small: f64,
    /// Images (or other units) that it is measured on.
    pub images: usize,
    /// What had to come out.
    pub controls: Vec<Control>,
    /// Further figures, by name.
    pub details: BTreeMap<String, f64>,
}

/// A control of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// What it is.
    pub name: String,
    /// What came out, in the unit of the experiment.
    pub value: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Whether it came out as it has to.
    pub passed: bool,
}

/// What a study found for one experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was registered.
    pub experiment: Experiment,
    /// The effect; `None` where it could not be measured.
    pub effect: Option<Effect>,
    /// p of the null, Holm-adjusted over all tests of the study.
    pub p_adjusted: Option<f64>,
    /// p of an effect as large as the smallest of interest, adjusted in the same family.
    pub p_small_adjusted: Option<f64>,
    /// The verdict, before the quality of the instrument is looked at.
    pub verdict: Verdict,
    /// Why it is inconclusive whatever the effect is, where that is so.
    pub reason: Option<String>,
}

/// The claims of the paper that are measured, in the order of the report.
pub fn standard() -> Vec<Box<dyn Claim>> {
    vec![
        Box::new(Accuracy),
        Box::new(Bands::CoarseOverFine),
        Box::new(Bands::FineAdds),
        Box::new(CategoryBeyondLowLevel),
        Box::new(DistributedRegions),
        Box::new(SparseNeurons),
        Box::new(Interactions),
    ]
}

/// What is registered for some claims.
pub fn experiments(claims: &[Box<dyn Claim>]) -> Vec<Experiment> {
    claims.iter().map(|claim| claim.experiment()).collect()
}

/// The study of a recording for itself, and the hash of its data: what a calibration does with every simulated recording, and
/// a cohort with every mouse.
pub(super) fn study_alone(
    config: &JobConfig,
    claims: &[Box<dyn Claim>],
    settings: Settings,
    seed: Seed,
    device: &Device,
) -> Result<(ContentHash, Vec<Finding>)> {
    let dataset = Dataset::load(&config.source, &Silent)?;
    let summary = RecordingSummary::new(&dataset.recording)?;
    summary.require_repeats()?;
    let folds = prepare(&dataset, config, &Silent)?;
    let case = Case::new(&dataset, &summary, &folds, (settings, config.profile), seed, device);
    Ok((dataset.hash, study(&case, claims, seed, &Silent)?))
}

/// Measures all claims on one case and decides them together.
///
/// # Errors
/// When two experiments have one id, one requires another that is not there, or a measurement breaks.
pub fn study(
    case: &Case<'_>,
    claims: &[Box<dyn Claim>],
    seed: Seed,
    progress: &dyn Progress,
) -> Result<Vec<Finding>> {
    let experiments = experiments(claims);
    check(&experiments)?;
    progress.begin("claims", claims.len());
    let mut measured = Vec::new();
    for (index, (claim, experiment)) in claims.iter().zip(&experiments).enumerate() {
        progress.advance(index, &experiment.id);
        measured.push(claim.measure(case, seed.child(&experiment.id))?);
    }
    progress.end();
    conclude(experiments, measured)
}

fn check(experiments: &[Experiment]) -> Result<()> {
    let mut known = BTreeSet::new();
    for experiment in experiments {
        if !known.insert(experiment.id.as_str()) {
            let id = &experiment.id;
            return Err(Error::Job(format!("two experiments are named `{id}`; give each a name of its own")));
        }
    }
    let missing = experiments
        .iter()
        .flat_map(|e| e.requires.iter().map(move |id| (e, id)))
        .find(|(_, id)| !known.contains(id.as_str()));
    match missing {
        None => Ok(()),
        Some((experiment, id)) => Err(Error::Job(format!(
            "experiment `{}` requires `{id}`, which is not part of the study; add it",
            experiment.id
        ))),
    }
}

/// Adjusts all p together, decides, and takes back what rests on something that is not supported.
fn conclude(experiments: Vec<Experiment>, measured: Vec<Measured>) -> Result<Vec<Finding>> {
    let tests: Vec<f64> = measured
        .iter()
        .flat_map(|m| match m {
            Measured::Effect(effect) => vec![effect.p, effect.p_small],
            Measured::Impossible(_) => Vec::new(),
        })
        .collect();
    let mut adjusted = if tests.is_empty() { Vec::new() } else { holm(&tests)? }.into_iter();
    let mut findings: Vec<Finding> = experiments
        .into_iter()
        .zip(measured)
        .map(|(experiment, measured)| match measured {
            Measured::Impossible(why) => Finding {
                experiment,
                effect: None,
                p_adjusted: None,
                p_small_adjusted: None,
                verdict: Verdict::Inconclusive,
                reason: Some(why),
            },
            Measured::Effect(effect) => {
                let (p, p_small) = (adjusted.next().unwrap_or(1.), adjusted.next().unwrap_or(1.));
                let failed: Vec<&str> =
                    effect.controls.iter().filter(|c| !c.passed).map(|c| c.name.as_str()).collect();
                let reason = (!failed.is_empty()).then(|| format!("a control failed: {}", failed.join(", ")));
                let verdict = match reason {
                    Some(_) => Verdict::Inconclusive,
                    None => decide(&effect, experiment.smallest, p, p_small),
                };
                Finding {
                    verdict,
                    reason,
                    experiment,
                    p_adjusted: Some(p),
                    p_small_adjusted: Some(p_small),
                    effect: Some(effect),
                }
            }
        })
        .collect();
    let supported: Vec<String> = findings
        .iter()
        .filter(|f| f.verdict == Verdict::Supported)
        .map(|f| f.experiment.id.clone())
        .collect();
    for finding in &mut findings {
        let lacking = finding.experiment.requires.iter().find(|id| !supported.contains(id));
        if let (Some(id), None) = (lacking, &finding.reason) {
            finding.reason = Some(format!("`{id}` is not supported, so that there is nothing to explain"));
            finding.verdict = Verdict::Inconclusive;
        }
    }
    Ok(findings)
}

/// What is known of the instrument of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Instrument {
    /// Right often enough on simulated populations: power at least 0.9, false support and false contradiction at
    /// most 0.05.
    Validated,
    /// Not so.
    NotValidated,
    /// It was run on too few simulated populations to say.
    NotCalibrated,
}

/// A finding beside the error rates of its instrument: an entry of `claims` in `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Name of the experiment.
    pub id: String,
    /// What is claimed.
    pub statement: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The effect, in the unit of the experiment.
    pub effect: Option<f64>,
    /// Lower end of its 95 % interval.
    pub ci_low: Option<f64>,
    /// Upper end.
    pub ci_high: Option<f64>,
    /// p of the null, one-sided.
    pub p: Option<f64>,
    /// The same, Holm-adjusted over all tests of the study.
    pub p_adjusted: Option<f64>,
    /// How often the instrument says `supported` where the statement is true.
    pub power: Option<f64>,
    /// How often it says so where the statement is false.
    pub false_support: Option<f64>,
    /// What is known of the instrument.
    pub instrument: Instrument,
    /// Its error rates at the default size and signal level, with counts and intervals.
    pub reference: Rates,
    /// The same on simulated recordings of about the size of this one.
    pub here: Rates,
    /// What the measurement alone says, whatever its instrument is worth.
    pub measured: Finding,
}

/// A study of one recording: what was registered, what was found, and what the instruments are worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Studied {
    /// Hash of the registered experiments.
    pub registration: ContentHash,
    /// One entry an experiment.
    pub claims: Vec<Judged>,
    /// Identification as a function of spatial frequency.
    pub spectrum: Vec<BandIdentification>,
    /// What decoding rests on.
    pub basis: Basis,
    /// The full calibration of these experiments, where there is one.
    pub reference: Option<Calibration>,
    /// The calibration at about the size of the recording.
    pub here: Option<Calibration>,
}

/// Puts findings beside the error rates of their instruments: those of the `reference` calibration, at the default size
/// and signal level, decide what an instrument is worth; those of a calibration `here`, at about the size of the
/// recording, can only take that back.
pub fn judge(
    findings: Vec<Finding>,
    reference: Option<&Calibration>,
    here: Option<&Calibration>,
) -> Vec<Judged> {
    let rates = |calibration: Option<&Calibration>, experiment: &Experiment| {
        calibration.map_or(Rates::default(), |calibration| calibration.rates(experiment))
    };
    let judged = |finding: Finding| {
        let reference = rates(reference, &finding.experiment);
        let here = rates(here, &finding.experiment);
        let instrument = Instrument::of(&reference, &here);
        let effect = finding.effect.as_ref();
        Judged {
            id: finding.experiment.id.clone(),
            statement: finding.experiment.statement.clone(),
            verdict: match instrument {
                Instrument::Validated => finding.verdict,
                _ => Verdict::InstrumentNotValidated,
            },
            effect: effect.map(|e| e.estimate),
            ci_low: effect.map(|e| e.low),
            ci_high: effect.map(|e| e.high),
            p: effect.map(|e| e.p),
            p_adjusted: finding.p_adjusted,
            power: reference.power.map(|rate| rate.estimate),
            false_support: reference.false_support.map(|rate| rate.estimate),
            instrument,
            reference,
            here,
            measured: finding,
        }
    };
    findings.into_iter().map(judged).collect()
}

/// Simulated recordings of either kind that an instrument has to be run on at least.
const LEAST_RUNS: usize = 20;

/// Power from which an instrument is validated.
const LEAST_POWER: f64 = 0.9;

/// Rate of false support, and of false contradiction, up to which it is.
const MOST_WRONG: f64 = 0.05;

impl Instrument {
    /// What an instrument with these rates is worth: those of the reference calibration decide, those at the size of the
    /// recording can only take it back.
    pub fn of(reference: &Rates, here: &Rates) -> Self {
        let Rates { power: Some(power), false_support: Some(wrong), false_contradiction: Some(missed) } =
            reference
        else {
            return Self::NotCalibrated;
        };
        if power.runs < LEAST_RUNS || wrong.runs < LEAST_RUNS {
            return Self::NotCalibrated;
        }
        let often_wrong = |rate: Option<Rate>| rate.is_some_and(|rate| rate.low > MOST_WRONG);
        let good = power.estimate >= LEAST_POWER && wrong.estimate.max(missed.estimate) <= MOST_WRONG;
        if good && !often_wrong(here.false_support) && !often_wrong(here.false_contradiction) {
            Self::Validated
        } else {
            Self::NotValidated
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment(id: &str, requires: &[&str]) -> Experiment {
        let requires = requires.iter().map(|&r| r.into()).collect();
        Experiment { smallest: 0.1, requires, ..Experiment::new(id, "", "") }
    }

    fn effect(estimate: f64, p: f64, passed: bool) -> Measured {
        let control = Control { name: "control".into(), value: 0., low: 0., high: 0., passed };
        Measured::Effect(Effect {
            estimate,
            low: estimate - 0.1,
            high: estimate + 0.1,
            p,
            p_small: 1. - p,
            controls: vec![control],
            ..Effect::default()
        })
    }

    fn verdicts(measured: Vec<Measured>) -> Vec<Verdict> {
        let experiments = vec![experiment("a", &[]), experiment("b", &["a"])];
        conclude(experiments, measured).unwrap().into_iter().map(|f| f.verdict).collect()
    }

    #[test]
    fn what_rests_on_nothing_says_nothing() {
        use Verdict::{Inconclusive, Supported};
        let (yes, no) = (|| effect(0.3, 0.001, true), || effect(0.3, 0.5, true));
        assert_eq!(verdicts(vec![yes(), yes()]), [Supported, Supported]);
        assert_eq!(verdicts(vec![no(), yes()]), [Inconclusive, Inconclusive]);
        assert_eq!(verdicts(vec![effect(0.3, 0.001, false), yes()]), [Inconclusive, Inconclusive]);
        assert_eq!(verdicts(vec![Measured::Impossible("no".into()), yes()]), [Inconclusive, Inconclusive]);
    }

    /// Alone, p = 0.02 would be enough; among four tests it is not.
    #[test]
    fn tests_are_corrected_together() {
        assert_eq!(
            verdicts(vec![effect(0.3, 0.02, true), effect(0.3, 0.02, true)]),
            [Verdict::Inconclusive; 2]
        );
    }

    #[test]
    fn names_are_checked() {
        assert!(check(&[experiment("a", &[]), experiment("a", &[])]).is_err());
        let error = check(&[experiment("a", &["b"])]).unwrap_err().to_string();
        assert!(error.contains("`a` requires `b`"), "{error}");
        check(&experiments(&standard())).unwrap();
    }

    #[test]
    fn an_instrument_has_to_be_right_often_enough() {
        let rates = |power: (usize, usize), wrong: (usize, usize), missed: usize| Rates {
            power: Rate::new(power.0, power.1).ok(),
            false_support: Rate::new(wrong.0, wrong.1).ok(),
            false_contradiction: Rate::new(missed, power.1).ok(),
        };
        let none = Rates::default();
        let good = rates((19, 20), (0, 20), 0);
        assert_eq!(Instrument::of(&good, &none), Instrument::Validated);
        assert_eq!(Instrument::of(&rates((15, 20), (0, 20), 0), &none), Instrument::NotValidated);
        assert_eq!(Instrument::of(&rates((20, 20), (3, 20), 0), &none), Instrument::NotValidated);
        assert_eq!(Instrument::of(&rates((18, 20), (0, 20), 2), &none), Instrument::NotValidated);
        assert_eq!(Instrument::of(&rates((4, 4), (0, 20), 0), &none), Instrument::NotCalibrated);
        assert_eq!(Instrument::of(&none, &good), Instrument::NotCalibrated);
        // Five false supports in six runs at the recording's own size are not chance; one may be.
        assert_eq!(Instrument::of(&good, &rates((6, 6), (5, 6), 0)), Instrument::NotValidated);
        assert_eq!(Instrument::of(&good, &rates((6, 6), (1, 6), 0)), Instrument::Validated);
    }
}
