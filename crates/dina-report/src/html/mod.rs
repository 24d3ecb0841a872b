//! The page.

mod claims;
mod methods;
mod page;
mod tables;

use maud::{DOCTYPE, Markup, PreEscaped, html as markup};

use crate::figures::{Drawn, Panels};
use crate::palette::{COLOURS, Colour, figure_style};
pub(crate) use page::page;

use crate::{Outcome, Report, verdict};

/// The sections by their ids.
const CONTENTS: [(&str, &str); 8] = [
    ("claims", "Claims"),
    ("identification", "Identification"),
    ("examples", "Examples"),
    ("maps", "Feature maps"),
    ("recording", "Recording"),
    ("model", "Model"),
    ("methods", "Methods"),
    ("provenance", "Provenance"),
];

/// The report as one self-contained page: styles, figures and images are inside it, there is no
/// script, and nothing is fetched.
pub fn html(report: &Report) -> String {
    let panels = Panels::of(report);
    let mut figures = Numbered(0);
    let main = markup! {
        (verdict_box(report))
        section #claims {
            h2 { "Claims" }
            (claims::section(report.claims.get(), &panels, &mut figures))
        }
        section #identification {
            h2 { "Identification" }
            div.pair {
                (figures.show(&panels.identification, "The comparison of decoders"))
                (figures.show(&panels.ranks, "The distribution of ranks"))
            }
            (tables::identification(report))
            div.pair {
                (figures.show(&panels.pool_size, "Identification against pool size"))
                (tables::comparisons(report))
            }
        }
        section #examples {
            h2 { "Examples" }
            (figures.show_wide(&panels.retrievals, "Example retrievals"))
        }
        section #maps {
            h2 { "Shared feature maps" }
            @for panel in &panels.maps {
                (figures.show_wide(panel, "The feature maps"))
            }
            div.pair {
                @for panel in &panels.alignability {
                    (figures.show(panel, "Alignability"))
                }
            }
        }
        section #recording {
            h2 { "Recording" }
            div.pair {
                (tables::recording(&report.recording))
                (figures.show(&panels.reliability, "The reliability of single neurons"))
            }
        }
        section #model {
            h2 { "Model and training" }
            (figures.show_wide(&panels.towers, "The diagram of the towers"))
            (figures.show(&panels.training, "The training curves"))
        }
        section #methods {
            h2 { "Methods" }
            (methods::text(report))
        }
        section #provenance {
            h2 { "Leakage check and provenance" }
            (tables::leakage(report))
            div.pair {
                (tables::provenance(&report.provenance))
                (tables::stages(&report.provenance))
            }
        }
    };
    shell((&report.title, &report.subject, report.notice.as_deref()), &CONTENTS, &main)
}

/// Title, subject and notice, the sections by their ids, and what they hold.
fn shell(
    (title, subject, notice): (&str, &str, Option<&str>),
    contents: &[(&str, &str)],
    main: &Markup,
) -> String {
    let page = markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "dina-report " (env!("CARGO_PKG_VERSION")) };
                title { (title) ": " (subject) }
                style { (PreEscaped(style())) }
            }
            body {
                header {
                    h1 { (title) }
                    p.subject { (subject) }
                    @if let Some(notice) = notice { p.notice role="note" { (notice) } }
                    nav aria-label="Contents" {
                        @for (id, name) in contents { a href={ "#" (id) } { (name) } }
                    }
                }
                main { (main) }
            }
        }
    };
    page.into_string()
}

/// The number of the last figure shown.
struct Numbered(usize);

impl Numbered {
    fn show(&mut self, panel: &Drawn, what: &str) -> Markup {
        self.figure(panel, what, "")
    }

    /// A figure too wide for a phone: it keeps a readable size and scrolls.
    fn show_wide(&mut self, panel: &Drawn, what: &str) -> Markup {
        self.figure(panel, what, "wide")
    }

    fn figure(&mut self, panel: &Drawn, what: &str, class: &str) -> Markup {
        let panel = match panel {
            Ok(panel) => panel,
            Err(reason) => return absent(what, reason),
        };
        self.0 += 1;
        let svg = panel.drawing.inline(&panel.name, &panel.title, &panel.caption);
        markup! {
            figure id={ "figure-" (panel.name) } class=(class) {
                div.scroll tabindex=[(class == "wide").then_some("0")]
                    role=[(class == "wide").then_some("group")]
                    aria-label=[(class == "wide").then_some(&panel.title)] {
                    (PreEscaped(svg))
                }
                figcaption {
                    strong { "Figure " (self.0) ". " (panel.title) ". " }
                    (panel.caption)
                }
            }
        }
    }
}

/// The sentence that stands where something is missing.
fn absent(what: &str, reason: &str) -> Markup {
    let reason = reason.trim().trim_end_matches('.');
    let verb = if what.ends_with('s') && !what.ends_with("ss") { "are" } else { "is" };
    markup! { p.absent { (what) " " (verb) " left out, because " (reason) "." } }
}

fn verdict_box(report: &Report) -> Markup {
    let verdict = verdict(report);
    let class = match verdict.outcome {
        Outcome::BeatsAll => "verdict yes",
        Outcome::AheadOfAll => "verdict ahead",
        Outcome::DoesNotBeatAll | Outcome::AtChance => "verdict no",
        Outcome::Undecided => "verdict open",
    };
    markup! {
        section #verdict class=(class) aria-label="Verdict" {
            h2 { (verdict.headline) }
            @if let Some((own, others)) = verdict.details.split_first() {
                p { (own) }
                @if !others.is_empty() {
                    ul { @for detail in others { li { (detail) } } }
                }
            }
        }
        @for note in &report.notes { p.note { (note) } }
    }
}

/// Variables for light and dark ground, the page's own style, and that of the figures on top.
fn style() -> String {
    let variables = |shade: fn(&Colour) -> &'static str| -> String {
        let each = COLOURS.iter();
        each.map(|c| format!("--{}:{};", c.name, shade(c))).collect()
    };
    format!(
        ":root{{{}}}@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}{}{}",
        variables(|c| c.light),
        variables(|c| c.dark),
        include_str!("style.css"),
        figure_style(|colour| format!("var(--{})", colour.name)),
    )
}
