use std::path::Path;

use candle_core::Device;
use dina_core::{ContentHash, Seed};
use dina_stats::comparison::SignTest;
use dina_stats::meta::{MetaAnalysis, random_effects};
use dina_stats::multiplicity::holm;
use dina_stats::permutation::Tail;
use serde::{Deserialize, Serialize};

use super::study::study_alone;
use super::{Claim, Experiment, Finding, Settings, Verdict, experiments, registration};
use crate::cohort::Shared;
use crate::jobs::{Engine, Shard, Store, Work};
use crate::results::write_json;
use crate::{Error, JobConfig, Progress, Result};

/// A mouse of a cohort: its name, and its recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Mouse {
    /// A name, unique in the cohort.
    pub name: String,
    /// The recording and everything that the study of it depends on.
    pub config: JobConfig,
}

/// What the study of one mouse found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MouseStudy {
    /// The mouse.
    pub mouse: String,
    /// Hash of its data.
    pub data: ContentHash,
    /// One entry an experiment.
    pub findings: Vec<Finding>,
}

/// One claim over all mice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CohortClaim {
    /// What was registered.
    pub experiment: Experiment,
    /// The verdict on every mouse, in the order of [`Cohort::mice`].
    pub verdicts: Vec<Verdict>,
    /// The effect in every mouse; `None` where it says nothing.
    pub effects: Vec<Option<f64>>,
    /// Mean effect over mice by random-effects meta-analysis (DerSimonian and Laird, interval by Hartung and Knapp);
    /// `None` below two mice with an effect.
    pub mean: Option<MetaAnalysis>,
    /// How many mice have an effect above 0.
    pub signs: Option<SignTest>,
    /// p of no mean effect, one-sided, Holm-adjusted over both hypotheses of all claims.
    pub p_adjusted: Option<f64>,
    /// p of a mean effect of at least the smallest of interest, adjusted in the same family.
    pub p_small_adjusted: Option<f64>,
    /// What the mice say together, before the quality of the instrument is looked at.
    pub verdict: Verdict,
}

/// The same study of several mice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cohort {
    /// Hash of the registered experiments.
    pub registration: ContentHash,
    /// The studies, one a mouse.
    pub mice: Vec<MouseStudy>,
    /// One entry an experiment.
    pub claims: Vec<CohortClaim>,
    /// One image tower for all mice ([`shared`](crate::cohort::shared)); `None` where it was not fitted.
    #[serde(default)]
    pub shared: Option<Shared>,
}

impl Cohort {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }
}

struct MouseWork<'a> {
    mouse: &'a Mouse,
    claims: &'a [Box<dyn Claim>],
    settings: Settings,
    registered: ContentHash,
    device: &'a Device,
}

impl Work for MouseWork<'_> {
    type Output = MouseStudy;

    fn key(&self) -> ContentHash {
        // Without the paths of files, whose content is not known before it is read: a file that was changed in place
        // needs another folder.
        let config = serde_json::to_string(&self.mouse.config).unwrap_or_default();
        let settings = serde_json::to_string(&self.settings).unwrap_or_default();
        let registered = self.registered.to_string();
        let name = self.mouse.name.as_bytes();
        let version = env!("CARGO_PKG_VERSION");
        ContentHash::of([
            registered.as_bytes(),
            config.as_bytes(),
            settings.as_bytes(),
            name,
            version.as_bytes(),
        ])
    }

    fn name(&self) -> String {
        self.mouse.name.clone()
    }

    /// What is known before a file is opened: that of a recording of the default size.
    fn memory(&self) -> u64 {
        3 << 30
    }

    fn run(&self) -> Result<MouseStudy> {
        let Mouse { name, config } = self.mouse;
        let seed = Seed::new(config.seed).child("claims").child(name);
        let (data, findings) = study_alone(config, self.claims, self.settings, seed, self.device)?;
        Ok(MouseStudy { mouse: name.clone(), data, findings })
    }
}

/// Studies every mouse, or a part of them, each as a [`Work`] of its own, and sums up over mice.
///
/// # Errors
/// When there is no mouse or two have one name, or one cannot be studied.
pub fn cohort(
    mice: &[Mouse],
    claims: &[Box<dyn Claim>],
    settings: Settings,
    (engine, store, shard): (&Engine, Option<&Store>, Shard),
    device: &Device,
    progress: &dyn Progress,
) -> Result<Cohort> {
    check(mice)?;
    let experiments = experiments(claims);
    let registered = registration(&experiments);
    let work: Vec<MouseWork<'_>> = shard
        .of(&mice.iter().collect::<Vec<_>>())
        .into_iter()
        .map(|mouse| MouseWork { mouse, claims, settings, registered, device })
        .collect();
    let mice = engine.run(&work, store, progress)?;
    let claims = sum_up(experiments, &mice)?;
    Ok(Cohort { registration: registered, mice, claims, shared: None })
}

pub(crate) fn check(mice: &[Mouse]) -> Result<()> {
    let mut names: Vec<&str> = mice.iter().map(|mouse| mouse.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let name = twice[0];
        return Err(Error::Job(format!(
            "two recordings are of the mouse `{name}`; recordings of one mouse are not independent: study one of them"
        )));
    }
    if mice.is_empty() {
        return Err(Error::Job("a cohort needs a mouse; give at least one".into()));
    }
    Ok(())
}

/// Effects of the mice that say something, with their sampling variances. The half width of a 95 % interval is 1.96
/// standard errors; an error below a tenth of the smallest effect of interest is taken for that, so that an interval
/// without width does not outweigh all other mice.
fn usable(findings: &[&Finding], smallest: f64) -> (Vec<f64>, Vec<f64>) {
    let effects = findings.iter().filter(|f| f.reason.is_none()).filter_map(|f| f.effect.as_ref());
    effects
        .map(|effect| {
            let error = ((effect.high - effect.low) / (2. * 1.96)).max(smallest / 10.);
            (effect.estimate, error * error)
        })
        .unzip()
}

fn sum_up(experiments: Vec<Experiment>, mice: &[MouseStudy]) -> Result<Vec<CohortClaim>> {
    let mut claims = Vec::new();
    let mut tests = Vec::new();
    for (index, experiment) in experiments.into_iter().enumerate() {
        let findings: Vec<&Finding> = mice.iter().map(|mouse| &mouse.findings[index]).collect();
        let (effects, variances) = usable(&findings, experiment.smallest);
        let mean =
            (effects.len() >= 2).then(|| random_effects(&effects, &variances, 0.95, true)).transpose()?;
        if let Some(mean) = &mean {
            tests.push(mean.p_above(0.));
            // Larger than the smallest of interest: the same test from the other side.
            tests.push(1. - mean.p_above(experiment.smallest));
        }
        claims.push(CohortClaim {
            verdicts: findings.iter().map(|finding| finding.verdict).collect(),
            effects: findings
                .iter()
                .map(|f| f.effect.as_ref().filter(|_| f.reason.is_none()).map(|e| e.estimate))
                .collect(),
            signs: SignTest::new(&experiment.id, &effects, Tail::Greater).ok(),
            mean,
            p_adjusted: None,
            p_small_adjusted: None,
            verdict: Verdict::Inconclusive,
            experiment,
        });
    }
    let mut adjusted = if tests.is_empty() { Vec::new() } else { holm(&tests)? }.into_iter();
    for claim in &mut claims {
        let Some(mean) = &claim.mean else { continue };
        let (p, p_small) = (adjusted.next().unwrap_or(1.), adjusted.next().unwrap_or(1.));
        let effect = super::Effect {
            estimate: mean.estimate,
            low: mean.low,
            high: mean.high,
            ..super::Effect::default()
        };
        claim.verdict = super::decide(&effect, claim.experiment.smallest, p, p_small);
        (claim.p_adjusted, claim.p_small_adjusted) = (Some(p), Some(p_small));
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Effect;
    use crate::{Profile, Source};

    fn mouse(name: &str) -> Mouse {
        Mouse { name: name.into(), config: JobConfig::simulated(Profile::Smoke, 1) }
    }

    fn study_of(name: &str, estimate: Option<f64>) -> MouseStudy {
        let experiment = Experiment { smallest: 0.1, ..Experiment::new("a", "", "") };
        let effect = estimate.map(|estimate| Effect {
            estimate,
            low: estimate - 0.05,
            high: estimate + 0.05,
            ..Effect::default()
        });
        let finding = Finding {
            experiment,
            reason: effect.is_none().then(|| "nothing".into()),
            effect,
            p_adjusted: None,
            p_small_adjusted: None,
            verdict: Verdict::Inconclusive,
        };
        MouseStudy { mouse: name.into(), data: ContentHash::of([b"".as_slice()]), findings: vec![finding] }
    }

    fn verdict(effects: &[Option<f64>]) -> CohortClaim {
        let mice: Vec<MouseStudy> =
            effects.iter().enumerate().map(|(k, e)| study_of(&k.to_string(), *e)).collect();
        let experiment = mice[0].findings[0].experiment.clone();
        sum_up(vec![experiment], &mice).unwrap().remove(0)
    }

    #[test]
    fn mice_are_the_sample() {
        let clear = verdict(&[Some(0.30), Some(0.31), Some(0.29), Some(0.32)]);
        assert_eq!(clear.verdict, Verdict::Supported);
        assert_eq!(clear.signs.unwrap().positive, 4);
        assert_eq!(verdict(&[Some(0.01), Some(0.), Some(-0.01), Some(0.)]).verdict, Verdict::Contradicted);
        // Significant in each of them, and not over mice.
        let mixed = verdict(&[Some(0.9), Some(-0.6), Some(0.8), Some(-0.5)]);
        assert_eq!(mixed.verdict, Verdict::Inconclusive);
        let (effects, variances) = {
            let study = study_of("a", Some(0.3));
            let mut finding = study.findings[0].clone();
            finding.effect = finding.effect.map(|e| Effect { low: e.estimate, high: e.estimate, ..e });
            usable(&[&finding], 0.1)
        };
        assert!(effects == [0.3] && (variances[0] - 1e-4).abs() < 1e-12);
        let few = verdict(&[Some(0.3), None, None, None]);
        assert!(few.mean.is_none() && few.verdict == Verdict::Inconclusive);
    }

    #[test]
    fn a_mouse_counts_once() {
        assert!(check(&[mouse("a"), mouse("b")]).is_ok());
        assert!(check(&[mouse("a"), mouse("a")]).unwrap_err().to_string().contains("`a`"));
        assert!(check(&[]).is_err());
        assert!(matches!(mouse("a").config.source, Source::Simulated(_)));
    }
}
