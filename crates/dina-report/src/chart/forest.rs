use serde::{Deserialize, Serialize};

use super::{Caption, Chart};
use crate::figures::{csv, raw};
use crate::format::{interval, proportion};
use crate::svg::{Anchor, Drawing, Entry, Key, Marker, Plot, Scale, legend, text_width, wrap};

const WIDTH: f64 = 460.;
/// Size of labels.
const SIZE: f64 = 11.;
/// Height of a line of a label, and of the room of a row beside its lines.
const LINE: f64 = 13.;
const GAP: f64 = 9.;
/// The widest label, before it is wrapped.
const LABEL: f64 = 150.;

/// A value with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ForestPoint {
    /// The value.
    pub value: f64,
    /// Both ends of its interval.
    pub interval: Option<[f64; 2]>,
}

/// A row of a forest plot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForestRow {
    /// What stands before it.
    pub label: String,
    /// A point a series, in the order of [`Forest::series`].
    pub points: Vec<Option<ForestPoint>>,
    /// A mark of this row alone, such as its own chance.
    pub mark: Option<f64>,
}

/// Values with intervals, a row each: effects of several studies, or of one study under several conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forest {
    /// What the rows are: the name of their column in the CSV.
    pub of: String,
    /// The value and its unit.
    pub value: String,
    /// What the points of a row are: one to three names. A single series needs no legend.
    pub series: Vec<String>,
    /// From top to bottom.
    pub rows: Vec<ForestRow>,
    /// What the marks of rows are.
    pub row_mark: String,
    /// Vertical lines: name and value.
    pub marks: Vec<(String, f64)>,
}

/// Draws rows of values with their intervals.
pub fn forest(caption: Caption, chart: &Forest) -> Chart {
    Chart::new(caption, draw(chart).map(|drawing| (drawing, Some(table(chart)))), false)
}

pub(crate) fn draw(chart: &Forest) -> Result<Drawing, String> {
    let shown = |row: &&ForestRow| row.points.iter().flatten().any(|p| p.value.is_finite());
    let rows: Vec<&ForestRow> = chart.rows.iter().filter(shown).collect();
    if rows.is_empty() {
        return Err("there is no finite value to draw".to_owned());
    }
    let labels: Vec<Vec<String>> = rows.iter().map(|row| wrap(&row.label, SIZE, LABEL)).collect();
    let widest = labels.iter().flatten().map(|line| text_width(line, SIZE)).fold(0., f64::max);
    let height = |row: usize| LINE * labels[row].len().max(chart.series.len()) as f64 + GAP;
    let whole: f64 = (0..rows.len()).map(height).sum();
    let mut drawing = Drawing::new(WIDTH, 0.);
    let top = 14. + legend(&mut drawing, 14., 4., WIDTH - 18., &entries(chart));
    let ends = |row: &&ForestRow| {
        let points = row.points.iter().flatten();
        let ends = points.flat_map(|p| p.interval.into_iter().flatten().chain([p.value]));
        ends.chain(row.mark).collect::<Vec<_>>()
    };
    let values = rows.iter().flat_map(ends).chain(chart.marks.iter().map(|(_, value)| *value));
    let left = widest + 22.;
    let plot = Plot {
        frame: [left, top, WIDTH - left - 16., whole],
        x: Scale::around(values.filter(|v| v.is_finite()), 5),
        y: Scale::linear(0., 1.),
    };
    let ticks = plot.x.ticks(5);
    plot.x_rules(&mut drawing, &ticks);
    for (_, value) in &chart.marks {
        let x = plot.x(*value);
        drawing.line([x, plot.frame[1], x, plot.bottom()], "d-s-ink d-thin d-dot");
    }
    let mut begin = plot.frame[1];
    for (place, row) in rows.iter().enumerate() {
        let middle = begin + height(place) / 2.;
        for (line, text) in labels[place].iter().enumerate() {
            let y = middle + LINE * (line as f64 - (labels[place].len() as f64 - 1.) / 2.) + 4.;
            drawing.text((left - 10., y), Anchor::End, "d-small d-f-ink", text);
        }
        if let Some(mark) = row.mark {
            let x = plot.x(mark);
            drawing.line([x, begin + 2., x, begin + height(place) - 2.], "d-s-ink d-mid");
        }
        points(&mut drawing, &plot, chart, row, middle);
        begin += height(place);
    }
    plot.x_axis(&mut drawing, &ticks, &chart.value);
    drawing.set_height(plot.bottom() + 44.);
    Ok(drawing)
}

fn points(drawing: &mut Drawing, plot: &Plot, chart: &Forest, row: &ForestRow, middle: f64) {
    let series = chart.series.len().max(1);
    for (place, point) in row.points.iter().enumerate() {
        let Some(point) = point.filter(|p| p.value.is_finite()) else { continue };
        let (marker, fill, line) = look(place);
        let y = middle + LINE * (place as f64 - (series as f64 - 1.) / 2.);
        let mut about = format!("{}: {}", row.label, proportion(point.value));
        if let Some(name) = chart.series.get(place).filter(|_| series > 1) {
            about = format!("{name}, {about}");
        }
        if let Some([low, high]) = point.interval {
            drawing.line([plot.x(low), y, plot.x(high), y], &format!("{line} d-mid"));
            about += &format!(" {}", interval(low, high));
        }
        drawing.marker(marker, (plot.x(point.value), y), 4.2, fill, &about);
    }
}

/// Told apart by shape as well as by colour.
fn look(series: usize) -> (Marker, &'static str, &'static str) {
    match series {
        0 => (Marker::Circle, "d-f-vermillion", "d-s-vermillion"),
        1 => (Marker::Diamond, "d-f-blue", "d-s-blue"),
        _ => (Marker::Square, "d-f-muted", "d-s-muted"),
    }
}

fn entries(chart: &Forest) -> Vec<Entry> {
    let mut entries = Vec::new();
    if chart.series.len() > 1 {
        for (place, name) in chart.series.iter().enumerate() {
            let (marker, fill, _) = look(place);
            entries.push(Entry {
                key: Key::Point(marker),
                line: String::new(),
                fill: fill.to_owned(),
                name: name.clone(),
            });
        }
    }
    let mut line = |class: &str, name: &str| {
        entries.push(Entry {
            key: Key::Line(None),
            line: class.to_owned(),
            fill: String::new(),
            name: name.to_owned(),
        });
    };
    if chart.rows.iter().any(|row| row.mark.is_some()) {
        line("d-s-ink d-mid", &chart.row_mark);
    }
    chart.marks.iter().for_each(|(name, _)| line("d-s-ink d-thin d-dot", name));
    entries
}

fn table(chart: &Forest) -> String {
    let single = chart.series.first().map_or("", String::as_str);
    let rows = chart.rows.iter().flat_map(|row| {
        row.points.iter().enumerate().filter_map(move |(place, point)| {
            let point = (*point)?;
            let [low, high] = point.interval.unwrap_or([f64::NAN; 2]);
            let series = chart.series.get(place).map_or(single, String::as_str).to_owned();
            let mark = raw(row.mark.unwrap_or(f64::NAN));
            Some([row.label.clone(), series, raw(point.value), raw(low), raw(high), mark])
        })
    });
    csv([&chart.of, "series", "value", "low", "high", "mark"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Forest {
        let point = |value| Some(ForestPoint { value, interval: Some([value - 0.1, value + 0.1]) });
        let row = |label: &str, points| ForestRow { label: label.into(), points, mark: Some(0.5) };
        Forest {
            of: "condition".into(),
            value: "two-way identification".into(),
            series: vec!["alone".into(), "unique".into()],
            rows: vec![row("a", vec![point(0.8), None]), row("b", vec![point(0.6), point(0.1)])],
            row_mark: "chance of the row".into(),
            marks: vec![("chance".into(), 0.5)],
        }
    }

    #[test]
    fn every_point_is_drawn_and_in_the_table() {
        let svg = draw(&chart()).unwrap().standalone("forest", "title", "text");
        for about in ["alone, a: 0.80", "alone, b: 0.60", "unique, b: 0.10"] {
            assert!(svg.contains(about), "{about}: {svg}");
        }
        let table = table(&chart());
        assert!(table.starts_with("condition,series,value,low,high,mark\n"), "{table}");
        assert_eq!(table.lines().count(), 4);
    }

    #[test]
    fn nothing_to_draw_is_said() {
        let mut chart = chart();
        chart.rows.clear();
        assert!(draw(&chart).is_err());
    }
}
