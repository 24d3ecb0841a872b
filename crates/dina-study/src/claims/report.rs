//! From judged claims to the report.

use dina_report as page;

use super::basis::panels;
use super::calibration::{Calibration, Rate};
use super::{BandIdentification, Judged, Studied, Verdict};

/// The pieces of the report's section on claims.
pub(crate) fn section(studied: &Studied) -> page::Claims {
    page::Claims {
        claims: studied.claims.iter().map(|judged| claim(judged, studied)).collect(),
        spectrum: studied.spectrum.iter().map(band).collect(),
        beside: panels(&studied.basis),
        absent: studied.basis.absent.clone(),
        correction: "Holm over all tests of the study".into(),
        calibration: source(studied),
        registration: studied.registration.to_string(),
    }
}

fn band(band: &BandIdentification) -> page::Band {
    page::Band {
        edges: band.low.zip(band.high).map(|(low, high)| [low, high]),
        sensitivity: band.sensitivity,
        ci_low: band.ci_low,
        ci_high: band.ci_high,
        images: band.images,
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
