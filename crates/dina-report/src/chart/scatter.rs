use super::{Axis, Caption, Chart};
use crate::figures::{csv, raw};
use crate::palette::SERIES;
use crate::svg::{Drawing, Entry, Key, Marker, Plot, legend};

const WIDTH: f64 = 420.;
const HEIGHT: f64 = 260.;

/// One point.
#[derive(Debug, Clone, PartialEq)]
pub struct ScatterPoint {
    /// Horizontal value.
    pub x: f64,
    /// Vertical value.
    pub y: f64,
    /// What a pointer that rests on it is told, and its name in the CSV.
    pub label: String,
}

/// Points of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Their name.
    pub name: String,
    /// Whether they are those to look at: in colour, and over the others.
    pub strong: bool,
    /// The points.
    pub points: Vec<ScatterPoint>,
}

/// Points in a plane.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter {
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The points, group by group.
    pub groups: Vec<Group>,
}

/// Draws points.
pub fn scatter(caption: Caption, chart: &Scatter) -> Chart {
    let drawn = draw(chart).map(|drawing| (drawing, Some(table(chart))));
    Chart::new(caption, drawn, false)
}

fn draw(chart: &Scatter) -> Result<Drawing, String> {
    let kept = |p: &&ScatterPoint| chart.x.holds(p.x) && chart.y.holds(p.y);
    let points = || chart.groups.iter().flat_map(|g| &g.points).filter(kept);
    let count = points().count();
    if count == 0 {
        return Err("there is no finite value to draw".to_owned());
    }
    let looks = looks(&chart.groups);
    let entries: Vec<Entry> = chart
        .groups
        .iter()
        .zip(&looks)
        .filter(|(group, _)| group.points.iter().any(|p| kept(&p)))
        .map(|(group, (marker, fill))| Entry {
            key: Key::Point(*marker),
            line: String::new(),
            fill: fill.clone(),
            name: group.name.clone(),
        })
        .collect();
    let mut drawing = Drawing::new(WIDTH, 0.);
    let top = 14. + legend(&mut drawing, 14., 4., WIDTH - 18., &entries);
    let plot = Plot {
        frame: [62., top, WIDTH - 78., HEIGHT],
        x: chart.x.scale(points().map(|p| p.x)),
        y: chart.y.scale(points().map(|p| p.y)),
    };
    plot.y_axis(&mut drawing, &plot.y.ticks(5), &chart.y.name);
    let zero = plot.y(0.);
    if !chart.y.log && zero > plot.frame[1] && zero < plot.bottom() {
        drawing.line([plot.frame[0], zero, plot.right(), zero], "d-s-ink d-hair");
    }
    let radius = (40. / (count as f64).sqrt()).clamp(1.6, 4.);
    // The strong ones last, on top.
    let mut order: Vec<usize> = (0..chart.groups.len()).collect();
    order.sort_by_key(|&g| chart.groups[g].strong);
    for g in order {
        let (marker, fill) = &looks[g];
        for p in chart.groups[g].points.iter().filter(kept) {
            drawing.marker(*marker, plot.at(p.x, p.y), radius, fill, &p.label);
        }
    }
    plot.x_axis(&mut drawing, &plot.x.ticks(6), &chart.x.name);
    drawing.set_height(plot.bottom() + 44.);
    Ok(drawing)
}

fn looks(groups: &[Group]) -> Vec<(Marker, String)> {
    let mut place = 0;
    groups
        .iter()
        .map(|group| {
            if !group.strong {
                return (Marker::Circle, "d-f-paper d-s-muted d-thin".to_owned());
            }
            place += 1;
            let at = place - 1;
            (Marker::SERIES[at % Marker::SERIES.len()], format!("d-f-{}", SERIES[at % SERIES.len()]))
        })
        .collect()
}

fn table(chart: &Scatter) -> String {
    let rows = chart
        .groups
        .iter()
        .flat_map(|g| g.points.iter().map(|p| [g.name.clone(), p.label.clone(), raw(p.x), raw(p.y)]));
    csv(["group", "label", "x", "y"], rows)
}
