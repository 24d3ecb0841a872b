//! Figures of any study, from plain numbers: curves, scatter plots, fields on a screen, matrices and tiles of maps.
//!
//! Each function draws one [`Chart`], for a [`Page`](crate::Page) or a file of its own. Values that are not finite are left out
//! of the picture and empty in its CSV. A chart that nothing can be drawn for keeps the reason, which the page prints in its place.

mod forest;
mod intervals;
mod lines;
mod matrix;
mod scatter;
mod screen;
mod tiles;

pub use forest::{Forest, ForestPoint, ForestRow, forest};
pub(crate) use intervals::draw as draw_intervals;
pub use intervals::{IntervalItem, Intervals, intervals};
pub use lines::{Line, LinePoint, LineStyle, Lines, lines};
pub use matrix::{Matrix, matrix};
pub use scatter::{Group, Scatter, ScatterPoint, scatter};
pub use screen::{Ellipse, Screen, screen};
pub use tiles::{Tile, TileRow, Tiles, tiles};

use crate::figures::{Drawn, Figure, Panel};
use crate::svg::{Anchor, Drawing, Plot, Scale};

/// What stands under a figure, and what its file is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    /// File name without its ending, and id in the page: lower-case letters, digits and hyphens.
    pub name: String,
    /// The title.
    pub title: String,
    /// What is seen: the quantities, n, the test and its correction.
    pub text: String,
}

impl Caption {
    /// A caption.
    pub fn new(name: impl Into<String>, title: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), title: title.into(), text: text.into() }
    }
}

/// A drawn figure, or the reason why there is none.
pub struct Chart {
    pub(crate) title: String,
    pub(crate) drawn: Drawn,
    /// Keeps a readable size on a phone and scrolls.
    pub(crate) wide: bool,
}

impl Chart {
    fn new(caption: Caption, drawn: Result<(Drawing, Option<String>), String>, wide: bool) -> Self {
        let Caption { name, title, text } = caption;
        let panel = drawn.map(|(drawing, csv)| Panel {
            name: crate::figures::slug(&name),
            title: title.clone(),
            caption: text,
            drawing,
            csv,
        });
        Self { title, drawn: panel, wide }
    }

    /// The figure as a file of its own; `None` where nothing could be drawn.
    pub fn figure(&self) -> Option<Figure> {
        self.drawn.as_ref().ok().map(Panel::figure)
    }
}

/// How well each channel of a level aligns, against its null.
pub fn alignability(level: &crate::Alignability) -> Chart {
    let title = format!("Alignability of level {}", level.level);
    Chart { title, drawn: crate::figures::alignability(level), wide: false }
}

/// Horizontal dotted lines with their names at the right end, above the line.
fn draw_marks(drawing: &mut Drawing, plot: &Plot, marks: &[(String, f64)]) {
    for (name, value) in marks {
        let y = plot.y(*value);
        drawing.line([plot.frame[0], y, plot.right(), y], "d-s-ink d-thin d-dot");
        drawing.text((plot.right() - 2., y - 4.), Anchor::End, "d-small d-f-muted", name);
    }
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// Quantity and unit.
    pub name: String,
    /// Whether equal ratios take equal steps; values that are not positive are then left out.
    pub log: bool,
}

impl Axis {
    /// A linear axis.
    pub fn linear(name: impl Into<String>) -> Self {
        Self { name: name.into(), log: false }
    }

    /// A logarithmic axis.
    pub fn log(name: impl Into<String>) -> Self {
        Self { name: name.into(), log: true }
    }

    fn scale(&self, values: impl IntoIterator<Item = f64>) -> Scale {
        if self.log { Scale::log(values) } else { Scale::around(values, 5) }
    }

    /// Whether a value has a place on it.
    fn holds(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value > 0.)
    }
}
