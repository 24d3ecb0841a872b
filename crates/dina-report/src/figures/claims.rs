//! The effect of a claim, on the recording and on recordings whose truth is known.

use super::{Drawn, Panel, csv, raw, slug};
use crate::chart::{self, Caption};
use crate::format::{counted, interval, p_equals, signed};
use crate::svg::{Anchor, Drawing, Entry, Key, Marker, Plot, Scale, legend};
use crate::{Claim, ClaimEffect, Described, KnownEffect};

const WIDTH: f64 = 420.;
const ROW: f64 = 20.;

/// A row of points.
struct Row<'a> {
    name: String,
    truth: Option<bool>,
    known: Vec<&'a KnownEffect>,
}

pub fn panel(claim: &Claim) -> Drawn {
    if claim.effect.is_none() && claim.known.is_empty() {
        let reason = claim.reason.as_deref().unwrap_or("it could not be measured");
        return Err(reason.to_owned());
    }
    let rows = rows(&claim.known);
    let mut drawing = Drawing::new(WIDTH, 0.);
    let top = 14. + legend(&mut drawing, 14., 4., WIDTH - 18., &entries(claim));
    let own = claim.effect.into_iter().flat_map(|e| [e.estimate, e.ci_low, e.ci_high]);
    let values = claim.known.iter().map(|k| k.effect).chain(own).chain([0., claim.smallest]);
    let plot = Plot {
        frame: [112., top, WIDTH - 130., ROW * (rows.len() + 1) as f64 + 8.],
        x: Scale::around(values.filter(|v| v.is_finite()), 5),
        y: Scale::linear(0., 1.),
    };
    let ticks = plot.x.ticks(5);
    plot.x_rules(&mut drawing, &ticks);
    for (at, class) in [(0., "d-s-ink d-hair"), (claim.smallest, "d-s-muted d-mid d-dash")] {
        let x = plot.x(at);
        drawing.line([x, plot.frame[1], x, plot.bottom()], class);
    }
    recording(&mut drawing, &plot, claim);
    for (index, row) in rows.iter().enumerate() {
        let y = height(&plot, index + 1);
        drawing.text((plot.frame[0] - 8., y + 4.), Anchor::End, "d-small d-f-ink", &row.name);
        // Those of this size on top.
        for known in
            row.known.iter().filter(|k| !k.of_this_size).chain(row.known.iter().filter(|k| k.of_this_size))
        {
            let (marker, class) = mark(row.truth);
            // Points overlap where recordings agree; those of another size are in the background.
            let (radius, class) =
                if known.of_this_size { (4.2, class.to_owned()) } else { (3.4, format!("{class} d-wash")) };
            let verdict = if known.supported { "supported" } else { "not supported" };
            let about = format!("{}: {}, {verdict}", row.name, signed(known.effect));
            drawing.marker(marker, (plot.x(known.effect), y), radius, &class, &about);
        }
    }
    plot.x_axis(&mut drawing, &ticks, &claim.unit);
    drawing.set_height(plot.bottom() + 44.);
    Ok(Panel {
        name: format!("claim-{}", slug(&claim.id)),
        title: claim.statement.trim_end_matches('.').to_owned(),
        caption: caption(claim),
        csv: Some(table(claim)),
        drawing,
    })
}

/// A figure beside the claims.
pub fn beside(described: &Described) -> Drawn {
    let Described { name, title, text, forest } = described;
    chart::forest(Caption::new(name, title, text), forest).drawn
}

fn height(plot: &Plot, row: usize) -> f64 {
    plot.frame[1] + 4. + ROW * (row as f64 + 0.5)
}

/// The recording's own effect, on top.
fn recording(drawing: &mut Drawing, plot: &Plot, claim: &Claim) {
    let y = height(plot, 0);
    drawing.text((plot.frame[0] - 8., y + 4.), Anchor::End, "d-small d-strong d-f-ink", "this recording");
    let Some(effect) = claim.effect else {
        let x = plot.frame[0] + 4.;
        drawing.text((x, y + 4.), Anchor::Start, "d-small d-f-muted", "could not be measured");
        return;
    };
    drawing.line([plot.x(effect.ci_low), y, plot.x(effect.ci_high), y], "d-s-vermillion d-thick");
    let about =
        format!("this recording: {} {}", signed(effect.estimate), interval(effect.ci_low, effect.ci_high));
    drawing.marker(Marker::Circle, (plot.x(effect.estimate), y), 5., "d-f-vermillion", &about);
}

fn rows(known: &[KnownEffect]) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for effect in known.iter().filter(|k| k.effect.is_finite()) {
        match rows.iter_mut().find(|row| row.name == effect.population) {
            Some(row) => row.known.push(effect),
            None => {
                rows.push(Row { name: effect.population.clone(), truth: effect.truth, known: vec![effect] })
            }
        }
    }
    // Those where it is true, those where it is false, those where that is open.
    let order = |row: &Row<'_>| match row.truth {
        Some(true) => 0,
        Some(false) => 1,
        None => 2,
    };
    rows.sort_by_key(order);
    rows
}

fn mark(truth: Option<bool>) -> (Marker, &'static str) {
    match truth {
        Some(true) => (Marker::Circle, "d-f-blue"),
        Some(false) => (Marker::Diamond, "d-f-orange"),
        None => (Marker::Square, "d-f-muted"),
    }
}

fn entries(claim: &Claim) -> Vec<Entry> {
    let entry = |marker, fill: &str, name: &str| Entry {
        key: Key::Point(marker),
        line: String::new(),
        fill: fill.to_owned(),
        name: name.to_owned(),
    };
    let mut entries = vec![entry(Marker::Circle, "d-f-vermillion", "this recording")];
    let kinds =
        [(Some(true), "simulated, true"), (Some(false), "simulated, false"), (None, "simulated, open")];
    for (truth, name) in kinds {
        if claim.known.iter().any(|k| k.truth == truth) {
            let (marker, class) = mark(truth);
            entries.push(entry(marker, class, name));
        }
    }
    entries
}

fn caption(claim: &Claim) -> String {
    let own = match claim.effect {
        Some(e) => format!(
            "This recording: {} {} (95\u{a0}% interval), corrected {}, n = {}.",
            signed(e.estimate),
            interval(e.ci_low, e.ci_high),
            p_equals(e.p_adjusted),
            counted(e.images, "image"),
        ),
        None => "It could not be measured on this recording.".to_owned(),
    };
    let known = if claim.known.is_empty() {
        String::new()
    } else {
        format!(
            " The other rows are the same measurement on {} of populations whose truth is known, a point each{}.",
            counted(claim.known.len(), "simulated recording"),
            if claim.known.iter().any(|k| !k.of_this_size) { "; faint: of the default size" } else { "" }
        )
    };
    format!("{own}{known} Dashed: the smallest effect of interest, {}.", signed(claim.smallest))
}

fn table(claim: &Claim) -> String {
    let of = |value: fn(ClaimEffect) -> f64| claim.effect.map_or(String::new(), |e| raw(value(e)));
    let own =
        ["this recording".into(), String::new(), of(|e| e.estimate), of(|e| e.ci_low), of(|e| e.ci_high)];
    let known = claim.known.iter().map(|k| {
        let truth = k.truth.map_or(String::new(), |truth| truth.to_string());
        [k.population.clone(), truth, raw(k.effect), String::new(), String::new()]
    });
    csv(["recording", "true_of_it", "effect", "ci_low", "ci_high"], std::iter::once(own).chain(known))
}
