//! From judged claims to the report.

use dina_report as page;
use dina_report::chart::{Forest, ForestPoint, ForestRow};

use super::basis::panels;
use super::calibration::{Calibration, Rate};
use super::{BandIdentification, Judged, Studied, Verdict};

/// The pieces of the report's section on claims.
pub(crate) fn section(studied: &Studied) -> page::Claims {
    page::Claims {
        claims: studied.claims.iter().map(|judged| claim(judged, studied)).collect(),
        beside: std::iter::once(spectrum(&studied.spectrum)).chain(panels(&studied.basis)).collect(),
        absent: studied.basis.absent.clone(),
        correction: "Holm over all tests of the study".into(),
        calibration: source(studied),
        registration: studied.registration.to_string(),
    }
}

fn spectrum(bands: &[BandIdentification]) -> page::Described {
    let point = |value, low, high| Some(ForestPoint { value, interval: Some([low, high]) });
    let row = |band: &BandIdentification| ForestRow {
        label: match (band.low, band.high) {
            (Some(low), Some(high)) => format!("{low} to {high} cycles per degree"),
            _ => "whole images".into(),
        },
        points: vec![
            point(band.sensitivity, band.ci_low, band.ci_high),
            band.candidates.as_ref().and_then(|c| point(c.value, c.ci_low, c.ci_high)),
        ],
        mark: None,
    };
    let images = bands.iter().map(|band| band.images).max().unwrap_or(0);
    page::Described {
        name: "claim-spectrum".into(),
        title: "Identification by spatial frequency".into(),
        text: format!(
            "Similarity of the image shown, in standard scores of the other test images of its category (of all, where none are known).              Retrained: towers trained and tested on images that hold one octave. Candidates filtered: towers trained on whole images, of              whose candidates one octave is left; where these fall behind, it may be the change of the images and not what the              responses hold. Each octave is standardised on the training images. 95\u{a0}% intervals, images resampled; n = {images} images."
        ),
        forest: Forest {
            of: "spatial frequency".into(),
            value: "sensitivity, standard scores".into(),
            series: vec!["retrained".into(), "candidates filtered".into()],
            rows: bands.iter().map(row).collect(),
            row_mark: String::new(),
            marks: vec![("chance".into(), 0.)],
        },
    }
}

fn source(studied: &Studied) -> String {
    let size = |calibration: &Calibration| {
        let scope = &calibration.scope;
        format!(
            "{} simulated recordings of {} neurons and {} images",
            calibration.cells.len(),
            scope.neurons,
            scope.images
        )
    };
    let reference = match &studied.reference {
        Some(reference) => format!("Both are of the calibration of this version, on {}.", size(reference)),
        None => "These claims have no full calibration (run the example `calibration`).".into(),
    };
    match &studied.here {
        Some(here) => {
            format!("{reference} At about the size of this recording {} were run beside it.", size(here))
        }
        None => reference,
    }
}

fn claim(judged: &Judged, studied: &Studied) -> page::Claim {
    let finding = &judged.measured;
    let experiment = &finding.experiment;
    let controls = finding.effect.iter().flat_map(|e| &e.controls);
    let details = finding.effect.iter().flat_map(|e| &e.details);
    let here = studied.here.iter().map(|calibration| (calibration, true));
    let calibrations = here.chain(studied.reference.iter().map(|calibration| (calibration, false)));
    let known = calibrations
        .flat_map(|(calibration, here)| calibration.cells.iter().map(move |cell| (cell, here)))
        .flat_map(|(cell, here)| cell.findings.iter().map(move |finding| (cell.population, finding, here)))
        .filter(|(_, finding, _)| finding.id == experiment.id)
        .filter_map(|(population, finding, of_this_size)| {
            Some(page::KnownEffect {
                population: population.to_string(),
                truth: experiment.truth(population),
                effect: finding.effect?,
                supported: finding.verdict == Verdict::Supported,
                of_this_size,
            })
        })
        .collect();
    page::Claim {
        id: experiment.id.clone(),
        heading: experiment.claim.clone(),
        statement: experiment.statement.clone(),
        verdict: verdict(judged.verdict),
        measured: verdict(finding.verdict),
        reason: finding.reason.clone(),
        unit: experiment.effect.clone(),
        smallest: experiment.smallest,
        effect: finding.effect.as_ref().map(|e| page::ClaimEffect {
            estimate: e.estimate,
            ci_low: e.low,
            ci_high: e.high,
            p_adjusted: finding.p_adjusted.unwrap_or(1.),
            images: e.images,
        }),
        power: judged.reference.power.map(rate),
        false_support: judged.reference.false_support.map(rate),
        statistic: experiment.statistic.clone(),
        null: experiment.null.clone(),
        exchangeable: experiment.exchangeable.clone(),
        controls: controls
            .map(|c| page::ClaimControl {
                name: c.name.clone(),
                value: c.value,
                ci_low: c.low,
                ci_high: c.high,
                passed: c.passed,
            })
            .collect(),
        details: details.map(|(name, value)| (name.clone(), *value)).collect(),
        known,
    }
}

fn verdict(verdict: Verdict) -> page::ClaimVerdict {
    match verdict {
        Verdict::Supported => page::ClaimVerdict::Supported,
        Verdict::Contradicted => page::ClaimVerdict::Contradicted,
        Verdict::Inconclusive => page::ClaimVerdict::Inconclusive,
        Verdict::InstrumentNotValidated => page::ClaimVerdict::NotValidated,
    }
}

fn rate(rate: Rate) -> page::ErrorRate {
    page::ErrorRate { hits: rate.hits, runs: rate.runs, low: rate.low, high: rate.high }
}
