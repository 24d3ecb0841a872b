use super::{Caption, Chart};
use crate::Picture;
use crate::figures::raster::{colour_key, diverging, draw_picture, draw_values, end_of_scale, fit};
use crate::svg::{Anchor, Drawing, text_width};

const LEFT: f64 = 10.;
const GAP: f64 = 9.;
/// The largest tile.
const CELL: (f64, f64) = (112., 78.);

/// One picture or map.
#[derive(Debug, Clone, PartialEq)]
pub enum Tile {
    /// A gray picture.
    Picture {
        /// The picture.
        picture: Picture,
        /// What stands under it.
        note: String,
    },
    /// A map of signed values, row by row.
    Values {
        /// Columns.
        width: usize,
        /// The values; not finite ones are gray.
        values: Vec<f32>,
        /// Positions that are outlined, as many as values; may be empty.
        marked: Vec<bool>,
        /// The value at the end of the colour scale; `None` for the 99th percentile of the tile's own absolute values.
        end: Option<f32>,
        /// What stands under it.
        note: String,
    },
    /// Nothing.
    Empty,
}

/// A row of tiles.
#[derive(Debug, Clone, PartialEq)]
pub struct TileRow {
    /// What stands left of it, in lines.
    pub label: Vec<String>,
    /// The tiles.
    pub tiles: Vec<Tile>,
}

/// Pictures and maps in rows and columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiles {
    /// What stands above the columns; may be empty.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<TileRow>,
    /// Name of the values where one colour scale is shared by all maps (their `end`s are then equal); `None` where each has its
    /// own, and the key says so.
    pub unit: Option<String>,
}

/// Draws pictures and maps side by side; maps are red above nought and blue below.
pub fn tiles(caption: Caption, chart: &Tiles) -> Chart {
    let drawn = draw(chart).map(|drawing| (drawing, None));
    Chart::new(caption, drawn, true)
}

fn draw(chart: &Tiles) -> Result<Drawing, String> {
    let columns = chart.rows.iter().map(|row| row.tiles.len()).max().unwrap_or(0).max(chart.columns.len());
    if columns == 0 {
        return Err("there is nothing to show".to_owned());
    }
    let labels = chart.rows.iter().flat_map(|row| &row.label).map(|l| text_width(l, 11.)).fold(0., f64::max);
    let left = LEFT + if labels > 0. { labels + GAP } else { 0. };
    let (cell, size) = cells(chart, columns);
    let width = (left + columns as f64 * (cell + GAP) + LEFT).max(420.);
    let mut drawing = Drawing::new(width, 0.);
    let mut top = 8.;
    if !chart.columns.is_empty() {
        for (column, name) in chart.columns.iter().enumerate() {
            let x = left + column as f64 * (cell + GAP) + cell / 2.;
            drawing.text((x, top + 10.), Anchor::Middle, "d-small d-f-ink", name);
        }
        top += 18.;
    }
    let mut shared = None;
    for row in &chart.rows {
        let sizes: Vec<(f64, f64)> = row.tiles.iter().map(&size).collect();
        let height = sizes.iter().map(|s| s.1).fold(0., f64::max);
        for (i, line) in row.label.iter().enumerate() {
            let y = top + height / 2. + 4. + 14. * (i as f64 - (row.label.len() as f64 - 1.) / 2.);
            drawing.text((LEFT, y), Anchor::Start, "d-small d-f-ink", line);
        }
        let mut noted = false;
        for (column, (tile, (w, h))) in row.tiles.iter().zip(sizes).enumerate() {
            let x = left + column as f64 * (cell + GAP) + (cell - w) / 2.;
            let note = one(&mut drawing, [x, top, w, h], tile, &mut shared);
            noted |= !note.is_empty();
            drawing.text((x + w / 2., top + height + 13.), Anchor::Middle, "d-small d-f-muted", note);
        }
        top += height + if noted { 22. } else { GAP };
    }
    if let Some(end) = shared {
        let (end, unit) = match &chart.unit {
            Some(unit) => (end, unit.as_str()),
            None => (f32::NAN, "each map on its own scale"),
        };
        top += 4.;
        top += colour_key(&mut drawing, (left, top), end, unit);
    }
    drawing.set_height(top);
    Ok(drawing)
}

/// Draws a tile and returns its note.
fn one<'a>(drawing: &mut Drawing, at: [f64; 4], tile: &'a Tile, shared: &mut Option<f32>) -> &'a str {
    match tile {
        Tile::Empty => "",
        Tile::Picture { picture, note } => {
            draw_picture(drawing, at, picture, note);
            note
        }
        Tile::Values { width, values, marked, end, note } => {
            let end = end.unwrap_or_else(|| end_of_scale(values.iter().copied(), 0.99));
            *shared = Some(end);
            let (gradient, unit) = diverging(end);
            draw_values(drawing, at, (values, *width), gradient, unit, note);
            outline(drawing, at, *width, marked);
            note
        }
    }
}

/// A line around marked positions.
fn outline(drawing: &mut Drawing, [x, y, w, h]: [f64; 4], width: usize, marked: &[bool]) {
    let height = marked.len() / width.max(1);
    if height == 0 {
        return;
    }
    let (dx, dy) = (w / width as f64, h / height as f64);
    let inside = |row: Option<usize>, column: Option<usize>| match (row, column) {
        (Some(row), Some(column)) => row < height && column < width && marked[row * width + column],
        _ => false,
    };
    let class = "d-s-dot d-thin";
    for row in 0..height {
        for column in (0..width).filter(|&column| marked[row * width + column]) {
            let (left, top) = (x + column as f64 * dx, y + row as f64 * dy);
            if !inside(row.checked_sub(1), Some(column)) {
                drawing.line([left, top, left + dx, top], class);
            }
            if !inside(Some(row + 1), Some(column)) {
                drawing.line([left, top + dy, left + dx, top + dy], class);
            }
            if !inside(Some(row), column.checked_sub(1)) {
                drawing.line([left, top, left, top + dy], class);
            }
            if !inside(Some(row), Some(column + 1)) {
                drawing.line([left + dx, top, left + dx, top + dy], class);
            }
        }
    }
}

/// The width of a column, and the size of every tile.
fn cells(chart: &Tiles, columns: usize) -> (f64, impl Fn(&Tile) -> (f64, f64)) {
    // Few columns may be larger.
    let scale = (6. / columns as f64).clamp(0.75, 1.6);
    let size = move |tile: &Tile| match tile {
        Tile::Empty => (0., 0.),
        Tile::Picture { picture, .. } => {
            fit(picture.width(), picture.height(), CELL.0 * scale, CELL.1 * scale)
        }
        Tile::Values { width, values, .. } => {
            fit(*width, values.len() / (*width).max(1), CELL.0 * scale, CELL.1 * scale)
        }
    };
    let names = chart.columns.iter().map(|name| text_width(name, 11.));
    let notes = chart.rows.iter().flat_map(|row| &row.tiles).map(|tile| match tile {
        Tile::Picture { note, .. } | Tile::Values { note, .. } => text_width(note, 11.),
        Tile::Empty => 0.,
    });
    let drawn = chart.rows.iter().flat_map(|row| &row.tiles).map(|tile| size(tile).0);
    (names.chain(notes).chain(drawn).fold(0., f64::max), size)
}
