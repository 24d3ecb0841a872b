//! What was retrieved, as images.

use super::raster::{draw_picture, draw_values, fit};
use super::{Drawn, Panel, condition_words};
use crate::format::{count, proportion, rank, sentence};
use crate::svg::{Anchor, Drawing, text_width};
use crate::{Direction, Picture, Report, Retrieval};

const LEFT: f64 = 12.;
const GAP: f64 = 12.;
const BARCODE: f64 = 74.;
/// Bars in a bar code: neurons are averaged where there are more.
const BARS: usize = 74;
const MOST_WIDTH: f64 = 118.;
const MOST_HEIGHT: f64 = 78.;
const UNDER: f64 = 20.;

pub fn panel(report: &Report) -> Drawn {
    let retrievals = report.retrievals.get()?;
    let Some(first) = retrievals.queries.first() else {
        return Err("no query was kept as an example".to_owned());
    };
    let layout = Layout::of(first, &retrievals.queries);
    let mut drawing = Drawing::new(layout.width, 0.);
    let mut top = headers(&mut drawing, &layout, report.primary.direction);
    let (right, wrong): (Vec<_>, Vec<_>) = retrievals.queries.iter().partition(|q| q.rank == 1.);
    for (name, queries) in [("Identified (rank 1)", right), ("Not identified", wrong)] {
        if queries.is_empty() {
            continue;
        }
        drawing.text((LEFT, top + 14.), Anchor::Start, "d-strong d-f-ink", name);
        top += 22.;
        for query in queries {
            top = draw_query(&mut drawing, &layout, query, top);
        }
    }
    drawing.set_height(top + 2.);

    let seen = match report.primary.direction {
        Direction::NeuralToImage => {
            "Each row: a response asks for its image; the image that was shown; the best candidates."
        }
        Direction::ImageToNeural => {
            "Each row: an image asks for its response; the best candidates, which are responses, \
             drawn as the images that evoked them."
        }
    };
    let barcode = if layout.barcode {
        " Bar code: the response, one bar for each neuron (or the mean of neighbours in the list), \
         darker is stronger."
    } else {
        ""
    };
    Ok(Panel {
        name: "retrievals".to_owned(),
        title: "Example retrievals".to_owned(),
        caption: format!(
            "{seen} Numbers are similarities; a tick and a thick frame mark the right answer, whose \
             rank stands on the left.{barcode} {} {} candidates; {}.",
            sentence(&retrievals.rule),
            count(retrievals.pool as u64),
            condition_words(report.primary.trials, report.primary.direction),
        ),
        drawing,
        csv: None,
    })
}

/// Where the columns lie.
struct Layout {
    width: f64,
    label: f64,
    barcode: bool,
    picture: (f64, f64),
    retrieved: usize,
}

impl Layout {
    fn of(first: &Retrieval, queries: &[Retrieval]) -> Self {
        let (width, height) = (first.shown.width(), first.shown.height());
        let picture = fit(width, height, MOST_WIDTH, MOST_HEIGHT);
        let labels = queries.iter().map(|q| text_width(&short(&q.label), 11.));
        let mut layout = Self {
            width: 0.,
            label: labels.fold(70., f64::max) + 8.,
            barcode: queries.iter().any(|q| q.response.iter().any(|r| r.is_finite())),
            picture,
            retrieved: queries.iter().map(|q| q.retrieved.len()).max().unwrap_or(0),
        };
        layout.width = layout.column(layout.retrieved + 1) + 2.;
        layout
    }

    /// The left edge of a column of pictures: 0 is the image shown, then what was retrieved.
    fn column(&self, column: usize) -> f64 {
        let barcode = if self.barcode { BARCODE + GAP } else { 0. };
        // A wider gap sets the question apart from the answers.
        let apart = if column > 0 { 14. } else { 0. };
        // Similarities need room even under narrow pictures.
        let step = self.picture.0.max(40.) + GAP;
        LEFT + self.label + barcode + apart + column as f64 * step
    }

    fn box_at(&self, column: usize, top: f64, picture: &Picture) -> [f64; 4] {
        // Every picture keeps its own proportions.
        let (width, height) = fit(picture.width(), picture.height(), self.picture.0, self.picture.1);
        let [dx, dy] = [(self.picture.0 - width) / 2., (self.picture.1 - height) / 2.];
        [self.column(column) + dx, top + dy, width, height]
    }
}

fn headers(drawing: &mut Drawing, layout: &Layout, direction: Direction) -> f64 {
    let mut head = |x: f64, text: &str| {
        drawing.text((x, 16.), Anchor::Start, "d-small d-f-muted", text);
    };
    head(LEFT, "query");
    if layout.barcode {
        head(layout.column(0) - BARCODE - GAP, "response");
    }
    head(
        layout.column(0),
        match direction {
            Direction::NeuralToImage => "shown",
            Direction::ImageToNeural => "asked for",
        },
    );
    for place in 1..=layout.retrieved {
        let text = if place == 1 { "1st" } else { ["2nd", "3rd"].get(place - 2).copied().unwrap_or("") };
        let text = if text.is_empty() { format!("{place}th") } else { text.to_owned() };
        head(layout.column(place), &text);
    }
    22.
}

fn draw_query(drawing: &mut Drawing, layout: &Layout, query: &Retrieval, top: f64) -> f64 {
    let height = layout.picture.1;
    let middle = top + height / 2.;
    let label = short(&query.label);
    drawing.text((LEFT, middle - 2.), Anchor::Start, "d-small d-f-ink", &label);
    let place = format!("rank {}", rank(query.rank));
    drawing.text((LEFT, middle + 13.), Anchor::Start, "d-small d-f-muted", &place);
    if layout.barcode {
        let x = layout.column(0) - BARCODE - GAP;
        draw_barcode(drawing, [x, top, BARCODE, height], &query.response);
    }
    let shown = layout.box_at(0, top, &query.shown);
    draw_picture(drawing, shown, &query.shown, &query.label);
    frame(drawing, shown, false);
    under(drawing, shown, top + height, query.similarity, None);
    for (i, candidate) in query.retrieved.iter().enumerate() {
        let at = layout.box_at(i + 1, top, &candidate.image);
        let about = format!(
            "{} place, similarity {}, {}",
            i + 1,
            proportion(candidate.similarity),
            if candidate.correct { "right" } else { "wrong" }
        );
        draw_picture(drawing, at, &candidate.image, &about);
        frame(drawing, at, candidate.correct);
        under(drawing, at, top + height, candidate.similarity, Some(candidate.correct));
    }
    top + height + UNDER + 6.
}

fn frame(drawing: &mut Drawing, [x, y, width, height]: [f64; 4], correct: bool) {
    if correct {
        let around = [x - 2., y - 2., width + 4., height + 4.];
        drawing.rect(around, "d-none d-s-green d-thick");
    } else {
        drawing.rect([x, y, width, height], "d-none d-s-muted d-hair");
    }
}

/// The similarity under a picture, with a tick or a cross where it was retrieved.
fn under(
    drawing: &mut Drawing,
    [x, _, width, _]: [f64; 4],
    bottom: f64,
    similarity: f64,
    correct: Option<bool>,
) {
    let text = proportion(similarity);
    let sign = if correct.is_some() { 12. } else { 0. };
    let left = x + (width - text_width(&text, 11.) - sign) / 2.;
    let y = bottom + 10.;
    match correct {
        Some(true) => {
            let tick = [(left, y), (left + 3., y + 3.5), (left + 8.5, y - 4.)];
            drawing.polyline(&tick, "d-s-green d-thick d-round");
        }
        Some(false) => {
            drawing.line([left + 1., y - 3., left + 7., y + 3.], "d-s-muted d-mid");
            drawing.line([left + 1., y + 3., left + 7., y - 3.], "d-s-muted d-mid");
        }
        None => {}
    }
    drawing.text((left + sign, y + 4.), Anchor::Start, "d-small d-f-ink", &text);
}

/// The response as gray bars between its 2nd and 98th percentile.
fn draw_barcode(drawing: &mut Drawing, at: [f64; 4], response: &[f32]) {
    let finite: Vec<f32> = response.iter().copied().filter(|r| r.is_finite()).collect();
    if finite.is_empty() {
        return;
    }
    let together = finite.len().div_ceil(BARS);
    let bars: Vec<f32> =
        finite.chunks(together).map(|part| part.iter().sum::<f32>() / part.len() as f32).collect();
    let mut sorted = bars.clone();
    sorted.sort_by(f32::total_cmp);
    let quantile = |q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
    let (low, high) = (quantile(0.02), quantile(0.98));
    let unit = |value: f32| {
        if high > low { (value - low) / (high - low) } else { 0.5 }
    };
    let about = format!("response of {} neurons", count(finite.len() as u64));
    draw_values(drawing, at, (&bars, bars.len()), colorous::GREYS, unit, &about);
    frame(drawing, at, false);
}

fn short(label: &str) -> String {
    match label.char_indices().nth(26) {
        Some((cut, _)) => format!("{}…", &label[..cut]),
        None => label.to_owned(),
    }
}
