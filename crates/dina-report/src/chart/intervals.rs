use super::{Caption, Chart, draw_marks};
use crate::figures::{csv, raw};
use crate::format::{interval, proportion};
use crate::svg::{Drawing, Entry, Key, Marker, Plot, Scale, Tick, legend};

const WIDTH: f64 = 420.;
const HEIGHT: f64 = 230.;

/// Up to so many items are named on the axis.
const NAMED: usize = 20;

/// One item with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct IntervalItem {
    /// Its name, short: it stands on the axis.
    pub label: String,
    /// Its value.
    pub value: f64,
    /// The interval of the value.
    pub interval: Option<[f64; 2]>,
    /// The central range of its null.
    pub null: Option<[f64; 2]>,
    /// Whether it is significant: filled.
    pub strong: bool,
    /// What a pointer that rests on it is told, besides name and value.
    pub note: String,
}

/// Values of items, each with its interval and its null.
#[derive(Debug, Clone, PartialEq)]
pub struct Intervals {
    /// What the items are, and their order, such as "channel, sorted by r".
    pub of: String,
    /// The value and its unit.
    pub value: String,
    /// The items, in the order in which they are drawn.
    pub items: Vec<IntervalItem>,
    /// What filled and open points are called in the legend.
    pub names: [String; 2],
    /// Horizontal dotted lines: name and value.
    pub marks: Vec<(String, f64)>,
}

/// Draws values with their intervals over the range of their nulls.
pub fn intervals(caption: Caption, chart: &Intervals) -> Chart {
    let drawn = draw(chart).map(|drawing| (drawing, Some(table(chart))));
    Chart::new(caption, drawn, false)
}

pub(crate) fn draw(chart: &Intervals) -> Result<Drawing, String> {
    let items: Vec<&IntervalItem> = chart.items.iter().filter(|item| item.value.is_finite()).collect();
    if items.is_empty() {
        return Err("there is no finite value to draw".to_owned());
    }
    let mut drawing = Drawing::new(WIDTH, 0.);
    let top = 14. + legend(&mut drawing, 14., 4., WIDTH - 18., &entries(&items, chart));
    let ends = |item: &&IntervalItem| {
        item.interval.into_iter().chain(item.null).flatten().chain([item.value]).collect::<Vec<_>>()
    };
    let values = items.iter().flat_map(ends).chain(chart.marks.iter().map(|(_, value)| *value));
    let plot = Plot {
        frame: [62., top, WIDTH - 78., HEIGHT],
        x: Scale::linear(0., items.len() as f64),
        y: Scale::around(values.chain([0.]), 5),
    };
    plot.y_axis(&mut drawing, &plot.y.ticks(5), &chart.value);
    let width = plot.frame[2] / items.len() as f64;
    for (i, item) in items.iter().enumerate() {
        let Some([low, high]) = item.null else { continue };
        let (top, bottom) = (plot.y(low.max(high)), plot.y(low.min(high)));
        drawing.rect([plot.x(i as f64) + 0.08 * width, top, 0.84 * width, bottom - top], "d-f-band");
    }
    let zero = plot.y(0.);
    drawing.line([plot.frame[0], zero, plot.right(), zero], "d-s-ink d-hair");
    draw_marks(&mut drawing, &plot, &chart.marks);
    let radius = (0.36 * width).clamp(2., 4.6);
    for (i, item) in items.iter().enumerate() {
        let at = plot.at(i as f64 + 0.5, item.value);
        let mut about = format!("{}: {}", item.label, proportion(item.value));
        if let Some([low, high]) = item.interval {
            drawing.line([at.0, plot.y(low), at.0, plot.y(high)], "d-s-ink d-thin");
            about += &format!(" {}", interval(low, high));
        }
        if !item.note.is_empty() {
            about += &format!(", {}", item.note);
        }
        let class = if item.strong { "d-f-vermillion" } else { "d-f-paper d-s-muted d-mid" };
        drawing.marker(Marker::Circle, at, radius, class, &about);
    }
    let (ticks, name) = ticks(&items, &chart.of);
    plot.x_axis(&mut drawing, &ticks, &name);
    drawing.set_height(plot.bottom() + 44.);
    Ok(drawing)
}

fn ticks(items: &[&IntervalItem], of: &str) -> (Vec<Tick>, String) {
    if items.len() <= NAMED {
        let tick =
            |(i, item): (usize, &&IntervalItem)| Tick { at: i as f64 + 0.5, label: item.label.clone() };
        return (items.iter().enumerate().map(tick).collect(), of.to_owned());
    }
    let ticks = Scale::linear(1., items.len() as f64).ticks(6).into_iter();
    (ticks.map(|tick| Tick { at: tick.at - 0.5, ..tick }).collect(), format!("place, {of}"))
}

fn entries(items: &[&IntervalItem], chart: &Intervals) -> Vec<Entry> {
    let entry = |key, line: &str, fill: &str, name: &str| Entry {
        key,
        line: line.to_owned(),
        fill: fill.to_owned(),
        name: name.to_owned(),
    };
    let [strong, weak] = &chart.names;
    let mut entries = vec![
        entry(Key::Point(Marker::Circle), "", "d-f-vermillion", strong),
        entry(Key::Point(Marker::Circle), "", "d-f-paper d-s-muted d-mid", weak),
    ];
    if items.iter().any(|item| item.null.is_some()) {
        entries.push(entry(Key::Patch, "", "d-f-band", "null"));
    }
    entries
        .extend(chart.marks.iter().map(|(name, _)| entry(Key::Line(None), "d-s-ink d-thin d-dot", "", name)));
    entries
}

fn table(chart: &Intervals) -> String {
    let rows = chart.items.iter().map(|item| {
        let ends = |ends: Option<[f64; 2]>| ends.unwrap_or([f64::NAN; 2]).map(raw);
        let ([low, high], [null_low, null_high]) = (ends(item.interval), ends(item.null));
        [item.label.clone(), raw(item.value), low, high, null_low, null_high, item.strong.to_string()]
    });
    csv(["item", "value", "low", "high", "null_low", "null_high", "significant"], rows)
}
