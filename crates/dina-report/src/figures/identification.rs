//! Every decoder in every condition, with intervals, chance and the ceiling.

use super::{Drawn, Panel, Series, condition_words, csv, raw};
use crate::format::{count, counted, proportion, with_interval};
use crate::svg::{Anchor, Drawing, Entry, Key, Plot, Scale, legend, text_width};
use crate::{Ceiling, Identification, Report};

const WIDTH: f64 = 440.;
const ROW: f64 = 22.;
const HEADER: f64 = 24.;
const VALUES: f64 = 122.;

pub fn panel(report: &Report) -> Drawn {
    let facets = facets(report);
    if facets.is_empty() {
        return Err("no decoder was evaluated".to_owned());
    }
    let series = Series::all(report);
    let rows = facets.iter().flat_map(|facet| &facet.rows);
    let names = rows.clone().map(|row| text_width(&name(&series, row), 12.));
    let left = 14. + names.fold(60., f64::max).min(200.);
    let values = rows
        .flat_map(|row| [row.top1, row.ci_high, row.chance_top1])
        .chain(facets.iter().filter_map(|f| Some(f.ceiling?.top1)));
    let x = Scale::around(values.chain([0.]), 5);

    let mut drawing = Drawing::new(WIDTH, 0.);
    let mut top = 6. + key(&mut drawing, &facets);
    for facet in &facets {
        top = draw_facet(&mut drawing, facet, &series, left, top, x);
    }
    let frame = [left, top, WIDTH - left - VALUES, 0.];
    let plot = Plot { frame, x, y: Scale::linear(0., 1.) };
    plot.x_axis(&mut drawing, &x.ticks(5), "top-1 identification");
    drawing.set_height(top + 44.);

    let inference = &report.methods.inference;
    Ok(Panel {
        name: "identification".to_owned(),
        title: "Identification by decoder".to_owned(),
        caption: format!(
            "Fraction of queries whose true candidate ranks first, among the pool named in each \
             heading. Bars: {:.0}\u{a0}% intervals ({}, {}). Dashed: chance. {}P values are in the table.",
            100. * inference.coverage,
            inference.interval,
            counted(inference.bootstrap_samples, "sample"),
            if facets.iter().any(|facet| facet.ceiling.is_some()) {
                "Dotted: self-retrieval in the same pool, responses matched to other noisy responses; a \
                 decoder that predicts from the images can exceed it. "
            } else {
                ""
            },
        ),
        drawing,
        csv: Some(table(&report.identification)),
    })
}

/// The rows of one condition.
struct Facet<'a> {
    rows: Vec<&'a Identification>,
    ceiling: Option<&'a Ceiling>,
}

/// The conditions, the primary one first and the others as they come.
fn facets(report: &Report) -> Vec<Facet<'_>> {
    let key = |row: &Identification| (row.split.clone(), row.trials, row.direction, row.pool);
    let mut keys: Vec<_> = report.identification.iter().map(key).collect();
    let primary = &report.primary;
    keys.sort_by_key(|(split, trials, direction, _)| {
        (split, trials, direction) != (&primary.split, &primary.trials, &primary.direction)
    });
    let mut facets: Vec<Facet<'_>> = Vec::new();
    let mut done = Vec::new();
    for wanted in keys {
        if done.contains(&wanted) {
            continue;
        }
        let ceilings = report.ceilings.get().into_iter().flatten();
        facets.push(Facet {
            rows: report.identification.iter().filter(|row| key(row) == wanted).collect(),
            ceiling: ceilings.into_iter().find(|ceiling| {
                (&ceiling.split, ceiling.trials, ceiling.pool) == (&wanted.0, wanted.1, wanted.3)
            }),
        });
        done.push(wanted);
    }
    facets
}

fn key(drawing: &mut Drawing, facets: &[Facet<'_>]) -> f64 {
    let entry = |line: &str, name: &str| Entry {
        key: Key::Line(None),
        line: line.to_owned(),
        fill: String::new(),
        name: name.to_owned(),
    };
    let mut entries = vec![entry("d-s-muted d-mid d-dash", "chance")];
    if facets.iter().any(|facet| facet.ceiling.is_some()) {
        entries.push(entry("d-s-ink d-mid d-dot", "self-retrieval ceiling"));
    }
    legend(drawing, 10., 4., WIDTH - 20., &entries)
}

/// Draws one condition and returns where the next one starts.
fn draw_facet(
    drawing: &mut Drawing,
    facet: &Facet<'_>,
    series: &[Series],
    left: f64,
    top: f64,
    x: Scale,
) -> f64 {
    let Some(first) = facet.rows.first() else {
        return top;
    };
    let top = draw_head(drawing, first, top);
    let frame = [left, top, WIDTH - left - VALUES, ROW * facet.rows.len() as f64 + 6.];
    let plot = Plot { frame, x, y: Scale::linear(0., 1.) };
    for tick in x.ticks(5) {
        let at = plot.x(tick.at);
        drawing.line([at, frame[1], at, plot.bottom()], "d-s-rule d-thin");
    }
    let chance = plot.x(first.chance_top1);
    drawing.line([chance, frame[1], chance, plot.bottom()], "d-s-muted d-mid d-dash");
    if let Some(ceiling) = facet.ceiling {
        let at = plot.x(ceiling.top1);
        drawing.line([at, frame[1], at, plot.bottom()], "d-s-ink d-mid d-dot");
    }
    for (i, row) in facet.rows.iter().enumerate() {
        let y = frame[1] + 3. + ROW * (i as f64 + 0.5);
        draw_row(drawing, &plot, row, series, y);
    }
    plot.bottom() + 6.
}

/// Draws a condition's name and size, on two lines where one is too short, and returns where the
/// rows start.
fn draw_head(drawing: &mut Drawing, row: &Identification, top: f64) -> f64 {
    let condition = condition_words(row.trials, row.direction);
    let size = format!("{}, {}, n = {}", row.split, counted(row.pool, "candidate"), count(row.n as u64));
    let at = (10., top + 16.);
    drawing.text(at, Anchor::Start, "d-strong d-f-ink", &condition);
    // Bold letters are a tenth wider.
    let used = 1.1 * text_width(&condition, 12.) + text_width(&size, 11.);
    if used + 30. <= WIDTH {
        let at = (WIDTH - 4., top + 16.);
        drawing.text(at, Anchor::End, "d-small d-f-muted", &size);
        return top + HEADER;
    }
    let at = (10., top + 31.);
    drawing.text(at, Anchor::Start, "d-small d-f-muted", &size);
    top + HEADER + 14.
}

fn draw_row(drawing: &mut Drawing, plot: &Plot, row: &Identification, series: &[Series], y: f64) {
    let name = name(series, row);
    drawing.text((plot.frame[0] - 10., y + 4.), Anchor::End, "d-f-ink", &name);
    let value = with_interval(row.top1, row.ci_low, row.ci_high);
    if let Some(series) = series.iter().find(|s| s.decoder == row.decoder) {
        let ends = [plot.x(row.ci_low), y, plot.x(row.ci_high), y];
        drawing.line(ends, &series.line());
        let about = format!("{name}: {value}");
        drawing.marker(series.marker, (plot.x(row.top1), y), 4.6, &series.fill(), &about);
    }
    let shown = if row.top1.is_finite() { value } else { proportion(row.top1) };
    drawing.text((WIDTH - 4., y + 4.), Anchor::End, "d-small d-f-ink", &shown);
}

fn name(series: &[Series], row: &Identification) -> String {
    let found = series.iter().find(|s| s.decoder == row.decoder);
    let name = found.map_or(row.decoder.clone(), |s| s.name.clone());
    // A name of one's own may be of any length.
    match name.char_indices().nth(30) {
        Some((cut, _)) => format!("{}…", &name[..cut]),
        None => name,
    }
}

fn table(rows: &[Identification]) -> String {
    let header = [
        "decoder",
        "split",
        "trials",
        "direction",
        "pool",
        "n",
        "folds",
        "chance_top1",
        "top1",
        "ci_low",
        "ci_high",
        "top5",
        "two_way",
        "median_rank",
        "p",
    ];
    csv(
        header,
        rows.iter().map(|row| {
            [
                row.decoder.clone(),
                row.split.clone(),
                snake(format!("{:?}", row.trials)),
                snake(format!("{:?}", row.direction)),
                row.pool.to_string(),
                row.n.to_string(),
                row.folds.to_string(),
                raw(row.chance_top1),
                raw(row.top1),
                raw(row.ci_low),
                raw(row.ci_high),
                raw(row.top5),
                raw(row.two_way),
                raw(row.median_rank),
                raw(row.p),
            ]
        }),
    )
}

/// `NeuralToImage` as it is written in `results.json`.
fn snake(variant: String) -> String {
    let mut text = String::new();
    for character in variant.chars() {
        if character.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}
