use super::{Caption, Chart};
use crate::figures::{csv, raw};
use crate::svg::{Anchor, Drawing, Entry, Key, Marker, Plot, Scale, legend};

const WIDTH: f64 = 420.;
/// Corners of the polygon that an ellipse is drawn as.
const CORNERS: usize = 48;

/// A field in the visual field.
#[derive(Debug, Clone, PartialEq)]
pub struct Ellipse {
    /// Its name.
    pub label: String,
    /// Centre, degrees down from the upper edge of the screen.
    pub row: f64,
    /// Centre, degrees right from its left edge.
    pub column: f64,
    /// Longer and shorter half axis, in degrees.
    pub semi_axes: [f64; 2],
    /// Direction of the longer axis in radians: 0 is to the right, a quarter turn is down.
    pub orientation: f64,
    /// Whether it is significant: in colour, and over the others.
    pub strong: bool,
}

/// Fields on the screen.
#[derive(Debug, Clone, PartialEq)]
pub struct Screen {
    /// First row, first column, height and width that are drawn, in degrees.
    pub degrees: [f64; 4],
    /// The fields.
    pub ellipses: Vec<Ellipse>,
    /// What strong and other fields are called in the legend.
    pub names: [String; 2],
}

/// Draws fields at the places and in the sizes that they have on the screen, one degree being as long down as across.
pub fn screen(caption: Caption, chart: &Screen) -> Chart {
    let drawn = draw(chart).map(|drawing| (drawing, Some(table(chart))));
    Chart::new(caption, drawn, false)
}

fn draw(chart: &Screen) -> Result<Drawing, String> {
    let [top, left, height, width] = chart.degrees;
    if !chart.degrees.iter().all(|v| v.is_finite()) || height <= 0. || width <= 0. {
        return Err("the screen has no size".to_owned());
    }
    let entry = |fill: &str, name: &str| Entry {
        key: Key::Point(Marker::Circle),
        line: String::new(),
        fill: fill.to_owned(),
        name: name.to_owned(),
    };
    let looks =
        [("d-f-vermillion", "d-s-vermillion d-mid"), ("d-f-paper d-s-muted d-mid", "d-s-muted d-thin")];
    let entries: Vec<Entry> = looks
        .iter()
        .zip(&chart.names)
        .zip([true, false])
        .filter(|(_, strong)| chart.ellipses.iter().any(|e| e.strong == *strong))
        .map(|(((fill, _), name), _)| entry(fill, name))
        .collect();
    let mut drawing = Drawing::new(WIDTH, 0.);
    let above = 14. + legend(&mut drawing, 14., 4., WIDTH - 18., &entries);
    let across = WIDTH - 78.;
    let plot = Plot {
        frame: [62., above, across, across * height / width],
        x: Scale::linear(left, left + width),
        // Drawn downwards: the vertical scale is that of the negative row.
        y: Scale::linear(-(top + height), -top),
    };
    let [x, y, w, h] = plot.frame;
    drawing.rect([x, y, w, h], "d-f-panel");
    drawing.polyline(&[(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)], "d-s-ink d-thin");
    for strong in [false, true] {
        let (fill, line) = looks[usize::from(!strong)];
        for ellipse in chart.ellipses.iter().filter(|e| e.strong == strong) {
            drawing.polyline(&outline(&plot, ellipse), line);
            let at = plot.at(ellipse.column, -ellipse.row);
            drawing.marker(Marker::Circle, at, 2.4, fill, &ellipse.label);
            if strong {
                drawing.text((at.0 + 5., at.1 - 4.), Anchor::Start, "d-small d-f-ink", &ellipse.label);
            }
        }
    }
    let mut down = Scale::linear(top, top + height).ticks(4);
    down.iter_mut().for_each(|tick| tick.at = -tick.at);
    for tick in &down {
        let y = plot.y(tick.at);
        drawing.line([x - 4., y, x, y], "d-s-ink d-thin");
        drawing.text((x - 7., y + 4.), Anchor::End, "d-small d-f-ink", &tick.label);
    }
    drawing.upward_text((x - 42., y + h / 2.), "d-f-ink", "degrees down");
    plot.x_axis(&mut drawing, &plot.x.ticks(6), "degrees from the left edge of the screen");
    drawing.set_height(plot.bottom() + 44.);
    Ok(drawing)
}

/// Cut off at the frame.
fn outline(plot: &Plot, ellipse: &Ellipse) -> Vec<(f64, f64)> {
    let [long, short] = ellipse.semi_axes;
    let (sin, cos) = ellipse.orientation.sin_cos();
    let [x, y, width, height] = plot.frame;
    (0..=CORNERS)
        .map(|corner| {
            let (s, c) = (std::f64::consts::TAU * corner as f64 / CORNERS as f64).sin_cos();
            let (along, aside) = (long * c, short * s);
            let column = ellipse.column + along * cos - aside * sin;
            let row = ellipse.row + along * sin + aside * cos;
            let (px, py) = plot.at(column, -row);
            (px.clamp(x, x + width), py.clamp(y, y + height))
        })
        .collect()
}

fn table(chart: &Screen) -> String {
    let rows = chart.ellipses.iter().map(|e| {
        let numbers = [e.row, e.column, e.semi_axes[0], e.semi_axes[1], e.orientation].map(raw);
        let [row, column, long, short, orientation] = numbers;
        [e.label.clone(), row, column, long, short, orientation, e.strong.to_string()]
    });
    csv(["label", "row", "column", "semi_major", "semi_minor", "orientation", "significant"], rows)
}
