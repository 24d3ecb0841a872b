//! The files of a comparison of objectives.

use std::path::Path;

use dina_report::chart::{Caption, Chart, Forest, ForestPoint, ForestRow, forest};
use dina_report::format::{p_value, proportion, signed};
use dina_report::{Block, Cell, Page, Section, Summary, Table, Tone};
use serde::{Deserialize, Serialize};

use super::{ObjectiveComparison, ObjectiveFinding, ObjectiveRun};
use crate::claims::{Effect, Measured};
use crate::results::write_json;
use crate::{Result, Start};

/// What `objectives.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ObjectiveReport {
    /// Version of the form of the file; it grows when a field changes its meaning.
    pub schema: u32,
    /// Version of this crate.
    pub version: String,
    /// The recording.
    pub recording: String,
    /// Whether it is simulated.
    pub simulated: bool,
    /// The trainings, and the pairs of them.
    pub comparison: ObjectiveComparison,
    /// Claims, measured by towers that were trained for every objective.
    pub findings: Vec<ObjectiveFinding>,
}

impl ObjectiveReport {
    /// What was found in a recording.
    pub fn new(
        recording: &str,
        simulated: bool,
        comparison: ObjectiveComparison,
        findings: Vec<ObjectiveFinding>,
    ) -> Self {
        let version = env!("CARGO_PKG_VERSION").into();
        Self { schema: 1, version, recording: recording.into(), simulated, comparison, findings }
    }

    /// Writes `objectives.json`, `objectives.html` and the figures under `figures/`, each whole or not at all.
    ///
    /// # Errors
    /// With the path that could not be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.page().write(folder, "objectives")?;
        write_json(&folder.join("objectives.json"), self)
    }

    /// A sentence a claim: under how many objectives its effect is above 0, and under how many it is large enough to matter.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for group in self.by_claim() {
            let Some(first) = group.first() else { continue };
            let effects: Vec<(&Effect, f64)> = group.iter().filter_map(|finding| effect(finding)).collect();
            let found = effects.iter().filter(|(e, p)| *p <= 0.05 && e.low > 0.).count();
            let matters =
                effects.iter().filter(|(e, _)| e.low > 0. && e.estimate >= first.experiment.smallest).count();
            sentences.push(format!(
                "{} Above 0 under {found} of {} objectives (whole interval, corrected p at most 0.05), and large enough to matter under \
                 {matters}.",
                first.experiment.statement,
                group.len()
            ));
        }
        sentences
    }

    fn by_claim(&self) -> Vec<Vec<&ObjectiveFinding>> {
        let mut groups: Vec<Vec<&ObjectiveFinding>> = Vec::new();
        for finding in &self.findings {
            match groups.iter_mut().find(|group| group[0].experiment.id == finding.experiment.id) {
                Some(group) => group.push(finding),
                None => groups.push(vec![finding]),
            }
        }
        groups
    }

    fn page(&self) -> Page {
        let found = &self.comparison;
        let starts: Vec<Chart> =
            found.study.starts.iter().map(|&start| identification(found, start)).collect();
        let claims: Vec<Chart> = self.by_claim().iter().map(|group| claim(group)).collect();
        let details = vec![
            format!(
                "Same towers, data, split, optimiser and steps ({}) for all; {} training(s) of each from each start; none is tuned, and none \
                 stopped early.",
                found.study.steps, found.study.seeds
            ),
            "Towers in closed form are aligned before the objective has said anything: what objectives do shows from random weights."
                .into(),
        ];
        let headline = self.sentences().join(" ");
        Page {
            title: "DINA: under which objectives".into(),
            subject: self.recording.clone(),
            notice: self.simulated.then(|| "This recording is simulated.".into()),
            summary: Summary {
                tone: Tone::Open,
                headline: if headline.is_empty() { "Objectives compared.".into() } else { headline },
                details,
            },
            sections: vec![
                Section {
                    title: "Claims".into(),
                    blocks: vec![
                        Block::Text(
                            "Claims measured by towers that were trained from random weights for each objective. The error rates of the \
                             registered experiments are those of towers in closed form, and do not carry over."
                                .into(),
                        ),
                        Block::Charts(claims),
                    ],
                },
                Section {
                    title: "Identification".into(),
                    blocks: vec![Block::Charts(starts), Block::Table(runs(found)), Block::Table(pairs(found))],
                },
            ],
        }
    }
}

fn effect(finding: &ObjectiveFinding) -> Option<(&Effect, f64)> {
    match &finding.measured {
        Measured::Effect(effect) => Some((effect, finding.p_adjusted.unwrap_or(1.))),
        Measured::Impossible(_) => None,
    }
}

fn claim(group: &[&ObjectiveFinding]) -> Chart {
    let experiment = &group[0].experiment;
    let row = |finding: &&ObjectiveFinding| {
        let point =
            effect(finding).map(|(e, _)| ForestPoint { value: e.estimate, interval: Some([e.low, e.high]) });
        ForestRow { label: finding.objective.to_string(), points: vec![point], mark: None }
    };
    let images = group.iter().filter_map(|f| effect(f)).map(|(e, _)| e.images).max().unwrap_or(0);
    let text = format!(
        "{} Measured: {}. Towers trained from random weights. 95\u{a0}% intervals, images resampled; n = {images} images.",
        experiment.statement, experiment.statistic
    );
    let chart = Forest {
        of: "objective".into(),
        value: experiment.effect.clone(),
        series: vec!["effect".into()],
        rows: group.iter().map(row).collect(),
        row_mark: String::new(),
        marks: vec![("nothing".into(), 0.), ("smallest effect of interest".into(), experiment.smallest)],
    };
    let title = experiment.statement.trim_end_matches('.');
    forest(Caption::new(format!("objectives-{}", experiment.id), title, text), &chart)
}

fn identification(found: &ObjectiveComparison, start: Start) -> Chart {
    let study = &found.study;
    let of = |run: &ObjectiveRun| {
        Some(ForestPoint { value: run.identification.two_way, interval: Some(run.two_way_ci) })
    };
    let rows = study.objectives.iter().map(|&objective| ForestRow {
        label: objective.to_string(),
        points: found.runs.iter().filter(|r| r.objective == objective && r.start == start).map(of).collect(),
        mark: None,
    });
    let pool = found.runs.first().map_or(0, |run| run.identification.pool);
    let chart = Forest {
        of: "objective".into(),
        value: "two-way identification".into(),
        series: (1..=study.seeds).map(|seed| format!("seed {seed}")).collect(),
        rows: rows.collect(),
        row_mark: String::new(),
        marks: vec![("chance".into(), 0.5)],
    };
    let text = format!(
        "Two-way identification of {pool} test images by towers from a {start} start, trained for each objective. 95\u{a0}% intervals, images \
         resampled; chance is 0.5."
    );
    let name = format!("objectives-{}", start.name());
    forest(Caption::new(name, format!("Identification from a {start} start"), text), &chart)
}

fn words(text: impl Into<String>) -> Cell {
    Cell::Words(text.into())
}

fn number(value: f64) -> Cell {
    Cell::Number(proportion(value))
}

fn head(first: &[&str], numbers: &[&str]) -> Vec<Cell> {
    let numbers = numbers.iter().map(|name| Cell::Number((*name).into()));
    first.iter().map(|name| words(*name)).chain(numbers).collect()
}

fn runs(found: &ObjectiveComparison) -> Table {
    let row = |run: &ObjectiveRun| {
        vec![
            words(run.objective.to_string()),
            words(run.start.to_string()),
            Cell::Number((run.seed + 1).to_string()),
            number(run.identification.top1),
            number(run.alignability),
            Cell::Number(format!("{} of {}", run.aligned_channels, run.channels)),
            number(run.cka_towers),
            number(run.image.lifetime_sparseness),
            number(run.neural.lifetime_sparseness),
            Cell::Number(format!("{:.1}", run.image.participation_ratio)),
            Cell::Number(format!("{:.1}", run.neural.participation_ratio)),
        ]
    };
    let chance = found.runs.first().map_or(0., |run| run.identification.chance_top1);
    Table {
        title: "What the maps are like".into(),
        text: format!(
            "Top 1: chance {chance:.4}. Alignability: mean correlation of the towers' maps over channels; aligned at 0.05, step-down maxT over \
             channels, {} permutations. CKA (debiased) of image with neural maps. Sparseness over images (normal values: 0.363) and \
             effective dimension (participation ratio) of the maps of test images.",
            found.study.permutations
        ),
        head: head(
            &["Objective", "Start"],
            &[
                "Seed",
                "Top 1",
                "Alignability",
                "Aligned",
                "CKA",
                "Sparseness, image",
                "Neural",
                "Dimension, image",
                "Neural",
            ],
        ),
        rows: found.runs.iter().map(row).collect(),
    }
}

fn pairs(found: &ObjectiveComparison) -> Table {
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (sum, count) = values.fold((0., 0), |(sum, count), v| (sum + v, count + 1));
        sum / f64::from(count.max(1))
    };
    let rows = found.pairs.iter().map(|pair| {
        vec![
            words(format!("{} - {}", pair.first, pair.second)),
            words(pair.start.to_string()),
            Cell::Number(format!(
                "{} [{}, {}]",
                signed(pair.difference),
                signed(pair.ci_low),
                signed(pair.ci_high)
            )),
            Cell::Number(p_value(pair.p_adjusted)),
            number(mean(&mut pair.seeds.iter().map(|s| s.cka_image))),
            number(mean(&mut pair.seeds.iter().map(|s| s.cka_neural))),
        ]
    });
    let measure = found.study.measure.name();
    Table {
        title: "One objective against another".into(),
        text: format!(
            "Difference in {measure} identification, averaged over seeds, with its 95\u{a0}% interval over images; p of {} sign flips over images, \
             Holm-corrected over all pairs of all starts. CKA of the maps of both, mean over seeds.",
            found.study.permutations
        ),
        head: head(&["Objectives", "Start"], &["Difference", "p", "CKA, image", "CKA, neural"]),
        rows: rows.collect(),
    }
}
