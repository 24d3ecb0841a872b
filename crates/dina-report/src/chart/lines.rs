use super::{Axis, Caption, Chart, draw_marks};
use crate::figures::{csv, raw};
use crate::format::{proportion, with_interval};
use crate::palette::SERIES;
use crate::svg::{Drawing, Entry, Key, Marker, Plot, Scale, legend};

const WIDTH: f64 = 420.;
const HEIGHT: f64 = 230.;

/// Up to so many points of a curve are marked.
const MARKED: usize = 40;

/// One point of a curve, with an interval where it has one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinePoint {
    /// Horizontal value.
    pub x: f64,
    /// Vertical value.
    pub y: f64,
    /// Lower and upper end of its interval.
    pub interval: Option<[f64; 2]>,
}

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineStyle {
    /// In the next colour, with points and a band.
    #[default]
    Measured,
    /// Gray, dashed, its band gray: a null, or chance.
    Null,
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// How it is drawn.
    pub style: LineStyle,
    /// Its points, from left to right.
    pub points: Vec<LinePoint>,
}

/// Curves over a common axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines {
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The curves; the first is the thickest.
    pub lines: Vec<Line>,
    /// Horizontal dotted lines: name and value.
    pub marks: Vec<(String, f64)>,
}

/// Draws curves with their intervals as bands.
pub fn lines(caption: Caption, chart: &Lines) -> Chart {
    let drawn = draw(chart).map(|drawing| (drawing, Some(table(chart))));
    Chart::new(caption, drawn, false)
}

fn draw(chart: &Lines) -> Result<Drawing, String> {
    let kept = |line: &Line| -> Vec<LinePoint> {
        let place = |p: &&LinePoint| chart.x.holds(p.x) && chart.y.holds(p.y);
        line.points.iter().filter(place).copied().collect()
    };
    let curves: Vec<(&Line, Vec<LinePoint>)> =
        chart.lines.iter().map(|l| (l, kept(l))).filter(|(_, points)| !points.is_empty()).collect();
    if curves.is_empty() {
        return Err("there is no finite value to draw".to_owned());
    }
    let points = || curves.iter().flat_map(|(_, points)| points);
    let heights = points()
        .flat_map(|p| [p.y].into_iter().chain(p.interval.into_iter().flatten()))
        .chain(chart.marks.iter().map(|(_, value)| *value));
    let looks = Look::of(&curves);
    let mut drawing = Drawing::new(WIDTH, 0.);
    let top = 14. + legend(&mut drawing, 14., 4., WIDTH - 18., &entries(&curves, &looks));
    let plot = Plot {
        frame: [62., top, WIDTH - 78., HEIGHT],
        x: across(&chart.x, points().map(|p| p.x)),
        y: chart.y.scale(heights),
    };
    plot.y_axis(&mut drawing, &plot.y.ticks(5), &chart.y.name);
    // Bands under all curves, so that none hides another.
    for ((_, points), look) in curves.iter().zip(&looks) {
        band(&mut drawing, &plot, points, look);
    }
    for ((line, points), look) in curves.iter().zip(&looks) {
        let path: Vec<_> = points.iter().map(|p| plot.at(p.x, p.y)).collect();
        drawing.polyline(&path, &look.line);
        let Some(marker) = look.marker.filter(|_| points.len() <= MARKED) else { continue };
        for p in points {
            let value =
                p.interval.map_or_else(|| proportion(p.y), |[low, high]| with_interval(p.y, low, high));
            let about = format!("{}, {} {}: {value}", line.name, chart.x.name, proportion(p.x));
            drawing.marker(marker, plot.at(p.x, p.y), 3., &look.fill, &about);
        }
    }
    draw_marks(&mut drawing, &plot, &chart.marks);
    let mut ticks = plot.x.ticks(6);
    if points().all(|p| p.x.fract() == 0.) {
        ticks.retain(|tick| tick.at.fract() == 0.);
        ticks.iter_mut().for_each(|tick| tick.label = crate::format::count(tick.at.round() as u64));
    }
    plot.x_axis(&mut drawing, &ticks, &chart.x.name);
    drawing.set_height(plot.bottom() + 44.);
    Ok(drawing)
}

/// Just as wide as the points.
fn across(axis: &Axis, values: impl Iterator<Item = f64>) -> Scale {
    if axis.log {
        return axis.scale(values);
    }
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    Scale::linear(low, high)
}

fn band(drawing: &mut Drawing, plot: &Plot, points: &[LinePoint], look: &Look) {
    let ends: Vec<(f64, [f64; 2])> = points.iter().filter_map(|p| Some((p.x, p.interval?))).collect();
    let low = ends.iter().map(|&(x, [low, _])| plot.at(x, low));
    let high = ends.iter().rev().map(|&(x, [_, high])| plot.at(x, high));
    drawing.polygon(&low.chain(high).collect::<Vec<_>>(), &look.band);
}

struct Look {
    line: String,
    fill: String,
    band: String,
    marker: Option<Marker>,
}

impl Look {
    fn of(curves: &[(&Line, Vec<LinePoint>)]) -> Vec<Self> {
        let mut place = 0;
        let look = |(line, _): &(&Line, Vec<LinePoint>)| match line.style {
            LineStyle::Null => Self {
                line: "d-s-muted d-mid d-dash".to_owned(),
                fill: "d-f-band".to_owned(),
                band: "d-f-band d-faint".to_owned(),
                marker: None,
            },
            LineStyle::Measured => {
                let colour = SERIES[place % SERIES.len()];
                let width = if place == 0 { "d-thick" } else { "d-mid" };
                let marker = Marker::SERIES[place % Marker::SERIES.len()];
                place += 1;
                Self {
                    line: format!("d-round {width} d-s-{colour}"),
                    fill: format!("d-f-{colour}"),
                    band: format!("d-wash d-f-{colour}"),
                    marker: Some(marker),
                }
            }
        };
        curves.iter().map(look).collect()
    }
}

fn entries(curves: &[(&Line, Vec<LinePoint>)], looks: &[Look]) -> Vec<Entry> {
    let entry = |((line, _), look): (&(&Line, Vec<LinePoint>), &Look)| Entry {
        key: Key::Line(look.marker),
        line: look.line.clone(),
        fill: look.fill.clone(),
        name: line.name.clone(),
    };
    curves.iter().zip(looks).map(entry).collect()
}

fn table(chart: &Lines) -> String {
    let rows = chart.lines.iter().flat_map(|line| {
        line.points.iter().map(|p| {
            let [low, high] = p.interval.map_or([f64::NAN; 2], |ends| ends).map(raw);
            [line.name.clone(), raw(p.x), raw(p.y), low, high]
        })
    });
    csv(["curve", "x", "y", "low", "high"], rows)
}
