//! The claims: a page of verdicts, and a section each.

use maud::{Markup, html};

use super::{Numbered, absent};
use crate::figures::{Drawn, Panels};
use crate::format::{NONE, interval, p_value, proportion, signed};
use crate::{Claim, ClaimVerdict, Claims, ErrorRate};

/// A verdict in words, with the class that colours it.
fn words(verdict: ClaimVerdict) -> (&'static str, &'static str) {
    match verdict {
        ClaimVerdict::Supported => ("supported", "yes"),
        ClaimVerdict::Contradicted => ("contradicted", "no"),
        ClaimVerdict::Inconclusive => ("inconclusive", "open"),
        ClaimVerdict::NotValidated => ("instrument not validated", "open"),
    }
}

fn badge(verdict: ClaimVerdict) -> Markup {
    let (words, class) = words(verdict);
    html! { span class={ "badge " (class) } { (words) } }
}

fn rate(rate: Option<ErrorRate>) -> String {
    rate.map_or(NONE.into(), |r| {
        format!("{} ({} of {})", proportion(r.hits as f64 / r.runs as f64), r.hits, r.runs)
    })
}

/// All verdicts at a glance.
pub fn summary(claims: &Claims) -> Markup {
    html! {
        div.table tabindex="0" role="group" aria-label="Table of claims" {
            table {
                caption {
                    strong { "Verdicts. " }
                    "Effects with 95 % intervals, each in its own unit; p corrected: " (claims.correction) ". Power: how often the "
                    "same pipeline supports the statement where it is true; false support: where it is false. "
                    (claims.calibration)
                }
                thead {
                    tr {
                        th.words scope="col" { "Claim" }
                        th.words scope="col" { "Verdict" }
                        th scope="col" { "Effect [interval]" }
                        th scope="col" { "Corrected p" }
                        th scope="col" { "Power" }
                        th scope="col" { "False support" }
                    }
                }
                tbody {
                    @for claim in &claims.claims {
                        tr {
                            th.words scope="row" { a href={ "#claim-" (claim.id) } { (claim.statement) } }
                            td.words { (badge(claim.verdict)) }
                            @if let Some(e) = claim.effect {
                                td { (signed(e.estimate)) " " (interval(e.ci_low, e.ci_high)) }
                                td { (p_value(e.p_adjusted)) }
                            } @else { td { (NONE) } td { (NONE) } }
                            td { (rate(claim.power)) }
                            td { (rate(claim.false_support)) }
                        }
                    }
                }
            }
        }
        p.note { "Experiments, rule of decision and measurements were registered before the recording was looked at: "
            code { (claims.registration) } "." }
    }
}

/// A section a claim, under the headings that they belong to.
pub fn sections(claims: &Claims, panels: &[Drawn], figures: &mut Numbered) -> Markup {
    let pairs: Vec<(&Claim, &Drawn)> = claims.claims.iter().zip(panels).collect();
    html! {
        @for group in pairs.chunk_by(|a, b| a.0.heading == b.0.heading) {
            @if let Some((first, _)) = group.first() { h3.heading { (first.heading) } }
            @for (claim, panel) in group {
                article id={ "claim-" (claim.id) } {
                    h4 { (claim.statement) " " (badge(claim.verdict)) }
                    div.pair {
                        (figures.show(panel, "The figure of this claim"))
                        (text(claim))
                    }
                }
            }
        }
    }
}

fn text(claim: &Claim) -> Markup {
    html! {
        div {
            @if claim.verdict == ClaimVerdict::NotValidated {
                p { "The measurement alone says: " strong { (words(claim.measured).0) } ". Its instrument has not been shown to be "
                    "right often enough, so that this is no verdict." }
            }
            @if let Some(reason) = &claim.reason { p { "It says nothing here, because " (reason) "." } }
            p { strong { "Measured: " } (claim.statistic) "." }
            p { strong { "Null: " } (claim.null) ". " strong { "Exchanged: " } (claim.exchangeable) "." }
            @if !claim.controls.is_empty() {
                ul {
                    @for control in &claim.controls {
                        li {
                            "Control, " (control.name) ": " (signed(control.value)) " "
                            (interval(control.ci_low, control.ci_high)) ", "
                            @if control.passed { "as it has to be" } @else { span.failed { "failed" } }
                        }
                    }
                }
            }
            @if !claim.details.is_empty() {
                ul { @for (name, value) in &claim.details { li { (name.replace('_', " ")) ": " (proportion(*value)) } } }
            }
        }
    }
}

/// The section, or why there is none.
pub fn section(claims: Result<&Claims, String>, panels: &Panels, figures: &mut Numbered) -> Markup {
    match claims {
        Ok(claims) if claims.claims.is_empty() => absent("The claims", "none was put to the test"),
        Ok(claims) => html! {
            (summary(claims))
            (sections(claims, &panels.claims, figures))
            @if !panels.beside.is_empty() {
                h3.heading { "Beside the claims: what decoding rests on" }
                p { "A description: nothing is decided by these figures, and no instrument stands behind them." }
                div.pair {
                    @for (panel, described) in panels.beside.iter().zip(&claims.beside) {
                        (figures.show(panel, &described.title))
                    }
                }
                @for reason in &claims.absent { p.note { (reason) } }
            }
        },
        Err(reason) => absent("The claims", &reason),
    }
}
