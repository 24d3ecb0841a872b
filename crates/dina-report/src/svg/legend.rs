use super::{Anchor, Drawing, Marker, text_width};

/// What stands before a name in a legend.
#[derive(Debug, Clone, Copy)]
pub enum Key {
    /// A line of this class, with or without a point.
    Line(Option<Marker>),
    /// A point.
    Point(Marker),
    /// A filled patch.
    Patch,
}

/// One entry of a legend.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key's shape.
    pub key: Key,
    /// The class of its line.
    pub line: String,
    /// The class of its point or patch.
    pub fill: String,
    /// Its name.
    pub name: String,
}

const KEY: f64 = 22.;
const GAP: f64 = 16.;
const ROW: f64 = 17.;

/// Draws the entries in rows from the left edge on, and returns the height used.
pub fn legend(drawing: &mut Drawing, left: f64, top: f64, width: f64, entries: &[Entry]) -> f64 {
    let (mut x, mut y) = (left, top);
    for entry in entries {
        let needed = KEY + 6. + text_width(&entry.name, 12.);
        if x > left && x + needed > left + width {
            x = left;
            y += ROW;
        }
        let middle = y + ROW / 2.;
        match entry.key {
            Key::Line(marker) => {
                drawing.line([x, middle, x + KEY, middle], &entry.line);
                if let Some(marker) = marker {
                    let at = (x + KEY / 2., middle);
                    drawing.marker(marker, at, 3.6, &entry.fill, &entry.name);
                }
            }
            Key::Point(marker) => {
                let at = (x + KEY / 2., middle);
                drawing.marker(marker, at, 4., &entry.fill, &entry.name);
            }
            Key::Patch => drawing.rect([x + 3., middle - 5., KEY - 6., 10.], &entry.fill),
        }
        drawing.text((x + KEY + 6., middle + 4.), Anchor::Start, "d-f-ink", &entry.name);
        x += needed + GAP;
    }
    if entries.is_empty() { 0. } else { y + ROW - top }
}
