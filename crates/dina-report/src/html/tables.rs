//! The tables.

use maud::{Markup, html};

use super::absent;
use crate::figures::{condition_words, decoder_name};
use crate::format::{
    NONE, bytes, count, duration, interval, p_value, proportion, rank, sentence, signed, with_interval,
};
use crate::{Ceiling, Identification, Measure, Provenance, RecordingSummary, Report};

/// Every decoder in every condition.
pub fn identification(report: &Report) -> Markup {
    if report.identification.is_empty() {
        return absent("The table of decoders", "no decoder was evaluated");
    }
    let inference = &report.methods.inference;
    let ceilings = report.ceilings.get();
    let mut groups: Vec<Vec<&Identification>> = Vec::new();
    for row in &report.identification {
        let key = |r: &Identification| (r.split.clone(), r.trials, r.direction, r.pool, r.n, r.folds);
        let same = groups.iter_mut().find(|g| g.first().is_some_and(|f| key(f) == key(row)));
        match same {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    html! {
        div.table tabindex="0" role="group" aria-label="Table of identification by decoder" {
            table {
                caption {
                    strong { "Identification by decoder. " }
                    "Intervals of top-1: " (percent(inference.coverage)) " (" (inference.interval) ", "
                    (count(inference.bootstrap_samples as u64)) " samples). p: against chance, "
                    (inference.null) ", " (count(inference.permutations as u64))
                    " permutations, not corrected over rows. Two-way: (N − mean rank) / (N − 1), chance 0.5."
                    @if let Err(reason) = &ceilings {
                        " The fraction of the ceiling is left out, because " (reason) "."
                    }
                }
                thead {
                    tr {
                        th scope="col" { "Decoder" }
                        th scope="col" { "Top-1 [interval]" }
                        th scope="col" { "Top-5" }
                        th scope="col" { "Two-way" }
                        th scope="col" { "Median rank" }
                        @if ceilings.is_ok() { th scope="col" { "Of ceiling" } }
                        th scope="col" { "p" }
                    }
                }
                @for group in &groups {
                    (identification_group(group, ceilings.as_ref().ok().map(|c| c.as_slice())))
                }
            }
        }
    }
}

fn identification_group(rows: &[&Identification], ceilings: Option<&[Ceiling]>) -> Markup {
    let Some(first) = rows.first() else {
        return html! {};
    };
    let ceiling = ceilings
        .into_iter()
        .flatten()
        .find(|c| (&c.split, c.trials, c.pool) == (&first.split, first.trials, first.pool));
    let columns = if ceilings.is_some() { 7 } else { 6 };
    html! {
        tbody {
            tr.group {
                th scope="rowgroup" colspan=(columns) {
                    span {
                        (condition_words(first.trials, first.direction)) " (" (first.split) "): "
                        (count(first.pool as u64)) " candidates, n = " (count(first.n as u64))
                        @if first.folds > 1 { ", " (first.folds) " folds" }
                        ", chance " (proportion(first.chance_top1))
                        @if let Some(ceiling) = ceiling { ", ceiling " (proportion(ceiling.top1)) }
                    }
                }
            }
            @for row in rows {
                tr class=[(row.decoder == "dina").then_some("own")] {
                    th scope="row" { (decoder_name(&row.decoder)) }
                    td { (with_interval(row.top1, row.ci_low, row.ci_high)) }
                    td { (proportion(row.top5)) }
                    td { (proportion(row.two_way)) }
                    td { (rank(row.median_rank)) }
                    @if ceilings.is_some() {
                        td { (ceiling.filter(|c| c.top1 > 0.).map_or(NONE.to_owned(), |c| proportion(row.top1 / c.top1))) }
                    }
                    td { (p_value(row.p)) }
                }
            }
        }
    }
}

/// DINA against each baseline.
pub fn comparisons(report: &Report) -> Markup {
    let comparisons = match report.comparisons.get() {
        Ok(comparisons) => comparisons,
        Err(reason) => return absent("The table of paired differences", &reason),
    };
    if comparisons.is_empty() {
        return absent("The table of paired differences", "there is no baseline");
    }
    let inference = &report.methods.inference;
    let primary = &report.primary;
    let condition = condition_words(primary.trials, primary.direction);
    let condition = format!("{condition} ({})", primary.split);
    let measure = match primary.measure {
        Measure::Top1 => "top-1",
        Measure::Top5 => "top-5",
        Measure::TwoWay => "two-way identification",
    };
    html! {
        div.table tabindex="0" role="group" aria-label="Table of paired differences" {
            table {
                caption {
                    strong { "DINA minus each baseline in " (measure) ". " }
                    (sentence(&condition)) " "  (percent(inference.coverage)) " intervals; p by "
                    (inference.comparison) ", corrected over the baselines (" (inference.correction) ")."
                }
                thead {
                    tr {
                        th scope="col" { "Baseline" }
                        th scope="col" { "Difference [interval]" }
                        th scope="col" { "Corrected p" }
                    }
                }
                tbody {
                    @for row in comparisons {
                        tr {
                            th scope="row" { (decoder_name(&row.baseline)) }
                            td { (signed(row.difference)) " " (interval(row.ci_low, row.ci_high)) }
                            td { (p_value(row.p_adjusted)) }
                        }
                    }
                }
            }
        }
    }
}

/// The recording in numbers.
pub fn recording(recording: &RecordingSummary) -> Markup {
    let number = |value: usize| count(value as u64);
    let optional = |value: Option<f64>| value.map_or(NONE.to_owned(), proportion);
    let own = recording.self_retrieval.as_ref();
    let own = own.map_or(NONE.to_owned(), |s| {
        format!(
            "top-1 {}, top-5 {} of {} candidates (chance {})",
            proportion(s.top1),
            proportion(s.top5),
            count(s.pool as u64),
            proportion(1. / s.pool as f64)
        )
    });
    facts(
        "The recording.",
        &[
            ("Name", recording.name.clone()),
            ("Neurons", number(recording.neurons)),
            ("Images", number(recording.stimuli)),
            ("Presentations", number(recording.presentations)),
            ("Gray screens", number(recording.gray_screens)),
            ("Repeats of an image, at least", number(recording.repeats)),
            ("Signal variance, mean", optional(recording.signal_variance)),
            ("Split-half r, median", optional(recording.split_half_r)),
            ("Self-retrieval, all images", own),
        ],
    )
}

/// Versions, seeds, hashes and cost.
pub fn provenance(provenance: &Provenance) -> Markup {
    let memory = provenance.peak_memory_bytes;
    let hashes = &provenance.hashes;
    facts(
        "Provenance.",
        &[
            ("Version", provenance.version.clone()),
            ("Profile", provenance.profile.clone()),
            ("Seed", provenance.seed.to_string()),
            ("Device", provenance.device.clone()),
            ("Threads", provenance.threads.to_string()),
            ("Data, SHA-256", hashes.data.to_string()),
            ("Split, SHA-256", hashes.split.to_string()),
            ("Configuration, SHA-256", hashes.configuration.to_string()),
            ("Peak memory", memory.map_or(NONE.to_owned(), bytes)),
        ],
    )
}

/// Time per stage.
pub fn stages(provenance: &Provenance) -> Markup {
    if provenance.stages.is_empty() {
        return absent("The time per stage", "no stage was timed");
    }
    let total: f64 = provenance.stages.iter().map(|stage| stage.seconds).sum();
    html! {
        div.table tabindex="0" role="group" aria-label="Table of time per stage" {
            table {
                caption { strong { "Time per stage." } }
                thead { tr { th scope="col" { "Stage" } th scope="col" { "Wall clock" } } }
                tbody {
                    @for stage in &provenance.stages {
                        tr { th scope="row" { (stage.name) } td { (duration(stage.seconds)) } }
                    }
                    tr.own { th scope="row" { "All" } td { (duration(total)) } }
                }
            }
        }
    }
}

/// What was checked and what was found.
pub fn leakage(report: &Report) -> Markup {
    let checks = match report.leakage.get() {
        Ok(checks) => checks,
        Err(reason) => return absent("The leakage check", &reason),
    };
    if checks.is_empty() {
        return absent("The leakage check", "nothing was checked");
    }
    let failed = checks.iter().filter(|check| !check.passed).count();
    html! {
        div.table tabindex="0" role="group" aria-label="Table of leakage checks" {
            table {
                caption {
                    strong { "Leakage check. " }
                    @if failed == 0 { "All of " (checks.len()) " checks passed." }
                    @else { span.failed { (failed) " of " (checks.len()) " checks failed: no result on this page stands." } }
                }
                thead {
                    tr {
                        th scope="col" { "Check" }
                        th.words scope="col" { "Result" }
                        th.words scope="col" { "Found" }
                    }
                }
                tbody {
                    @for check in checks {
                        tr {
                            th.words scope="row" { (check.name) }
                            td.words {
                                @if check.passed { "passed" } @else { span.failed { "FAILED" } }
                            }
                            td.words { (check.detail) }
                        }
                    }
                }
            }
        }
    }
}

fn facts(title: &str, rows: &[(&str, String)]) -> Markup {
    html! {
        div.table {
            table.facts {
                caption { strong { (title) } }
                thead { tr { th scope="col" { "Quantity" } th.words scope="col" { "Value" } } }
                tbody {
                    @for (name, value) in rows {
                        tr { th scope="row" { (name) } td.words { (value) } }
                    }
                }
            }
        }
    }
}

fn percent(part: f64) -> String {
    format!("{:.0}\u{a0}%", 100. * part)
}
