use super::{Caption, Chart};
use crate::figures::raster::{colour_key, diverging, draw_values, end_of_scale};
use crate::figures::{csv, raw};
use crate::format::proportion;
use crate::svg::{Anchor, Drawing, Marker};

const WIDTH: f64 = 420.;
const LEFT: f64 = 62.;

/// Values of pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Names of rows and of columns, which are the same.
    pub names: Vec<String>,
    /// What rows and columns are, such as "neuron".
    pub of: String,
    /// Value of each pair, row by row; NaN where there is none.
    pub values: Vec<f64>,
    /// Which of them are significant; those are marked.
    pub marked: Vec<bool>,
    /// Name of the value and its unit.
    pub unit: String,
}

/// Draws a matrix in colours, red above nought and blue below, with a point on what is significant.
pub fn matrix(caption: Caption, chart: &Matrix) -> Chart {
    let drawn = draw(chart).map(|drawing| (drawing, Some(table(chart))));
    Chart::new(caption, drawn, false)
}

fn draw(chart: &Matrix) -> Result<Drawing, String> {
    let count = chart.names.len();
    if count == 0 || chart.values.len() != count * count || chart.marked.len() != count * count {
        return Err(format!("{count} names do not fit {} values", chart.values.len()));
    }
    let values: Vec<f32> = chart.values.iter().map(|&v| v as f32).collect();
    if values.iter().all(|v| !v.is_finite()) {
        return Err("no pair has a value".to_owned());
    }
    let side = ((WIDTH - LEFT - 90.) / count as f64).min(34.);
    let extent = side * count as f64;
    let end = end_of_scale(values.iter().copied(), 1.);
    let mut drawing = Drawing::new(WIDTH, 0.);
    let top = 12.;
    let (gradient, unit) = diverging(end);
    draw_values(&mut drawing, [LEFT, top, extent, extent], (&values, count), gradient, unit, &chart.unit);
    for (place, value) in chart.values.iter().enumerate() {
        let (row, column) = (place / count, place % count);
        let centre = (LEFT + (column as f64 + 0.5) * side, top + (row as f64 + 0.5) * side);
        let name = format!("{} {} and {}", chart.of, chart.names[row], chart.names[column]);
        if !value.is_finite() {
            let corner = [centre.0 - side / 2., centre.1 - side / 2., side, side];
            drawing.rect(corner, "d-f-panel");
        } else if chart.marked[place] {
            let about = format!("{name}: {}", proportion(*value));
            let radius = (side / 6.).clamp(1.5, 3.5);
            // Cells are as dark as the dot at either end of the scale.
            drawing.marker(Marker::Circle, centre, radius + 1.5, "d-f-halo", &about);
            drawing.marker(Marker::Circle, centre, radius, "d-f-dot", &about);
        }
    }
    // As many names as have room.
    let step = (14. / side).ceil().max(1.) as usize;
    for (i, name) in chart.names.iter().enumerate().step_by(step) {
        let middle = (i as f64 + 0.5) * side;
        drawing.text((LEFT - 6., top + middle + 4.), Anchor::End, "d-small d-f-ink", name);
        let wide = crate::svg::text_width(name, 11.) > side * step as f64 - 2.;
        if !wide {
            let at = (LEFT + middle, top + extent + 14.);
            drawing.text(at, Anchor::Middle, "d-small d-f-ink", name);
        }
    }
    drawing.text((LEFT + extent / 2., top + extent + 32.), Anchor::Middle, "d-f-ink", &chart.of);
    let bottom = top + extent + 44.;
    let height = colour_key(&mut drawing, (LEFT, bottom), end, &chart.unit);
    drawing.set_height(bottom + height);
    Ok(drawing)
}

fn table(chart: &Matrix) -> String {
    let count = chart.names.len().max(1);
    let rows = chart.values.iter().zip(&chart.marked).enumerate().filter(|(_, (v, _))| v.is_finite());
    csv(
        ["row", "column", "value", "significant"],
        rows.map(|(place, (value, marked))| {
            let name = |at: usize| chart.names.get(at).cloned().unwrap_or_default();
            [name(place / count), name(place % count), raw(*value), marked.to_string()]
        }),
    )
}
