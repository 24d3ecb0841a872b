//! The two towers, drawn from their layers.

use super::{Drawn, Panel};
use crate::format::{count, counted};
use crate::svg::{Anchor, Drawing, wrap};
use crate::{Level, Report, TowerDescription, Towers};

const WIDTH: f64 = 800.;
const BOX: f64 = 262.;
const LEFT: f64 = 8.;
const RIGHT: f64 = WIDTH - LEFT - BOX;
const MIDDLE: f64 = WIDTH / 2.;
/// The width of the text in the middle.
const CENTRE: f64 = 206.;
const LINE: f64 = 15.;
const ARROW: f64 = 20.;
const STACK: f64 = 52.;

pub fn panel(report: &Report) -> Drawn {
    let towers = report.towers.get()?;
    let centre = Centre::of(towers);
    let columns = [Column::of(&towers.image), Column::of(&towers.neural)];
    // Both columns end at the same height, beside the shared maps.
    let columns_height = columns.iter().map(Column::height).fold(0., f64::max);
    let meet = (30. + columns_height - 22.).max(centre.above() + 8.);
    let bottom = meet + 22.;

    let mut drawing = Drawing::new(WIDTH, 0.);
    let sides = [
        (LEFT, "Image tower", "blue", &towers.image, &columns[0]),
        (RIGHT, "Neural tower", "vermillion", &towers.neural, &columns[1]),
    ];
    for (x, name, colour, tower, column) in sides {
        let title = format!("{name}, {}", counted(tower.parameters, "trained value"));
        let top = bottom - column.height();
        let at = (x + BOX / 2., top - 10.);
        drawing.text(at, Anchor::Middle, "d-strong d-f-ink", &title);
        column.draw(&mut drawing, x, top, colour);
    }
    centre.draw(&mut drawing, meet);
    let height = (meet + centre.below()).max(bottom) + 10.;
    drawing.set_height(height);

    let levels: Vec<String> = towers.levels.iter().map(shape).collect();
    Ok(Panel {
        name: "towers".to_owned(),
        title: "The two towers".to_owned(),
        caption: format!(
            "The towers as configured for this run, read downwards from their inputs. Both end in \
             maps of the same shape ({}), which the objective draws together: A, from the image; B, \
             from the response. Similarity: {}. Objective: {}.",
            levels.join("; "),
            towers.similarity.trim_end_matches('.'),
            towers.objective.trim_end_matches('.'),
        ),
        drawing,
        csv: None,
    })
}

fn shape(level: &Level) -> String {
    format!("{}: {} channels, {} x {}", level.name, count(level.channels as u64), level.height, level.width)
}

/// The boxes of one tower, the input first, as lines of text.
struct Column(Vec<Vec<String>>);

impl Column {
    fn of(tower: &TowerDescription) -> Self {
        let texts = std::iter::once(&tower.input).chain(&tower.layers);
        Self(texts.map(|text| wrap(text, 11., BOX - 20.)).collect())
    }

    fn box_height(lines: &[String]) -> f64 {
        lines.len().max(1) as f64 * LINE + 13.
    }

    fn height(&self) -> f64 {
        let boxes: f64 = self.0.iter().map(|lines| Self::box_height(lines)).sum();
        boxes + ARROW * self.0.len().saturating_sub(1) as f64
    }

    fn draw(&self, drawing: &mut Drawing, x: f64, mut top: f64, colour: &str) {
        let middle = x + BOX / 2.;
        for (i, lines) in self.0.iter().enumerate() {
            if i > 0 {
                let shaft = [(middle, top + 2.), (middle, top + ARROW - 2.)];
                drawing.arrow(&shaft, "d-s-muted d-thin", "d-f-muted");
                top += ARROW;
            }
            let height = Self::box_height(lines);
            // The input is data, not a layer: it has round ends and no tint.
            let (radius, fill) = match i {
                0 => (height / 2., "d-f-panel".to_owned()),
                _ => (4., format!("d-f-tint-{colour}")),
            };
            let class = format!("{fill} d-s-{colour} d-thin");
            drawing.card([x, top, BOX, height], radius.min(16.), &class);
            for (line, text) in lines.iter().enumerate() {
                let at = (middle, top + 17. + line as f64 * LINE);
                drawing.text(at, Anchor::Middle, "d-small d-f-ink", text);
            }
            top += height;
        }
    }
}

/// What stands between the towers: level names above the maps, similarity and objective below.
struct Centre {
    levels: Vec<String>,
    similarity: Vec<String>,
    objective: Vec<String>,
}

impl Centre {
    fn of(towers: &Towers) -> Self {
        let lines = |text: &str| wrap(text, 11., CENTRE - 16.);
        Self {
            levels: towers.levels.iter().flat_map(|level| lines(&shape(level))).collect(),
            similarity: lines(&towers.similarity),
            objective: lines(&towers.objective),
        }
    }

    /// The height above the line on which the towers meet.
    fn above(&self) -> f64 {
        STACK / 2. + 16. + (self.levels.len() + 1) as f64 * LINE
    }

    /// The height below it.
    fn below(&self) -> f64 {
        STACK / 2. + 2. * ARROW + 2. * 32. + LINE * (self.similarity.len() + self.objective.len()) as f64
    }

    fn draw(&self, drawing: &mut Drawing, meet: f64) {
        let mut y = meet - self.above() + 12.;
        drawing.text((MIDDLE, y), Anchor::Middle, "d-strong d-f-ink", "shared feature maps");
        for line in &self.levels {
            y += LINE;
            drawing.text((MIDDLE, y), Anchor::Middle, "d-small d-f-ink", line);
        }
        let (a, b) = (MIDDLE - 48., MIDDLE + 48.);
        let reach = STACK / 2. + 8.;
        let arrows = [(LEFT + BOX, a - reach), (RIGHT, b + reach)];
        for (from, to) in arrows {
            drawing.arrow(&[(from, meet), (to, meet)], "d-s-muted d-thin", "d-f-muted");
        }
        draw_stack(drawing, (a, meet), "A", "blue");
        draw_stack(drawing, (b, meet), "B", "vermillion");
        let mut top = meet + STACK / 2.;
        for (name, lines) in [("similarity", &self.similarity), ("objective", &self.objective)] {
            let shaft = [(MIDDLE, top + 3.), (MIDDLE, top + ARROW - 2.)];
            drawing.arrow(&shaft, "d-s-muted d-thin", "d-f-muted");
            top += ARROW;
            let height = 30. + lines.len() as f64 * LINE;
            let at = [MIDDLE - CENTRE / 2., top, CENTRE, height - 4.];
            drawing.card(at, 4., "d-f-panel d-s-muted d-thin");
            drawing.text((MIDDLE, top + 17.), Anchor::Middle, "d-strong d-f-ink", name);
            for (i, line) in lines.iter().enumerate() {
                let at = (MIDDLE, top + 33. + i as f64 * LINE);
                drawing.text(at, Anchor::Middle, "d-small d-f-ink", line);
            }
            top += height;
        }
    }
}

/// A pile of maps seen from the front.
fn draw_stack(drawing: &mut Drawing, (x, y): (f64, f64), name: &str, colour: &str) {
    let side = STACK - 14.;
    for i in (0..4).rev() {
        let shift = i as f64 * 4. - 7.;
        let at = [x - side / 2. + shift, y - side / 2. - shift, side, side];
        drawing.rect(at, &format!("d-f-tint-{colour} d-s-{colour} d-thin"));
    }
    drawing.text((x - 7., y + 12.), Anchor::Middle, "d-strong d-f-ink", name);
}
