use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::palette::figure_style;

/// Where a text is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// The shape of a point; series differ in shape as well as in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Down,
    Cross,
}

impl Marker {
    /// The shapes that series take, in order.
    pub const SERIES: [Self; 6] =
        [Self::Circle, Self::Square, Self::Triangle, Self::Diamond, Self::Down, Self::Cross];
}

/// A picture in the making: shapes on a ground of so many units, which scale with the page.
///
/// Coordinates that are not finite or far off the page never get into it: the shape is left out. Text is escaped, and
/// characters that XML forbids are dropped.
#[derive(Debug, Clone)]
pub struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

impl Drawing {
    /// An empty picture.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// Makes the picture as high as what was drawn turned out to need.
    pub fn set_height(&mut self, height: f64) {
        self.height = height;
    }

    pub fn rect(&mut self, [x, y, width, height]: [f64; 4], class: &str) {
        self.shape("rect", class, &[("x", x), ("y", y), ("width", width), ("height", height)]);
    }

    /// A rectangle with round corners.
    pub fn card(&mut self, [x, y, width, height]: [f64; 4], radius: f64, class: &str) {
        self.shape(
            "rect",
            class,
            &[("x", x), ("y", y), ("width", width), ("height", height), ("rx", radius)],
        );
    }

    pub fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], class: &str) {
        self.shape("line", class, &[("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)]);
    }

    /// A line with a head at its end.
    pub fn arrow(&mut self, points: &[(f64, f64)], class: &str, head: &str) {
        let [.., (x0, y0), (x, y)] = *points else {
            return;
        };
        self.polyline(points, class);
        let length = (x - x0).hypot(y - y0);
        if length > 0. {
            let (dx, dy) = ((x - x0) / length, (y - y0) / length);
            let at = |along: f64, aside: f64| (x - along * dx - aside * dy, y - along * dy + aside * dx);
            self.polygon(&[(x, y), at(7., 3.5), at(7., -3.5)], head);
        }
    }

    fn shape(&mut self, name: &str, class: &str, attributes: &[(&str, f64)]) {
        if !attributes.iter().all(|(_, value)| drawable(*value)) {
            return;
        }
        self.body += &format!("<{name}");
        for (name, value) in attributes {
            self.body += &format!(" {name}=\"{}\"", number(*value));
        }
        self.body += &format!(" class=\"{class}\"/>\n");
    }

    /// A broken line through the points; it is interrupted where one is not finite.
    pub fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        for part in points.split(|&point| !on_page(point)) {
            if part.len() > 1 {
                let path = path(part);
                self.body += &format!("<path d=\"{path}\" class=\"d-none {class}\"/>\n");
            }
        }
    }

    /// A filled outline; left out where a point is not finite.
    pub fn polygon(&mut self, points: &[(f64, f64)], class: &str) {
        if points.iter().all(|&point| on_page(point)) && points.len() > 2 {
            let path = path(points);
            self.body += &format!("<path d=\"{path}Z\" class=\"{class}\"/>\n");
        }
    }

    /// A point of a series; `about` is what a pointer that rests on it is told.
    pub fn marker(&mut self, marker: Marker, (x, y): (f64, f64), r: f64, class: &str, about: &str) {
        if !on_page((x, y)) {
            return;
        }
        let corners: &[(f64, f64)] = match marker {
            Marker::Circle => {
                self.body += &format!(
                    "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" class=\"{class}\"><title>{}</title></circle>\n",
                    number(x),
                    number(y),
                    number(r),
                    escape(about)
                );
                return;
            }
            Marker::Square => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            Marker::Triangle => &[(0., -1.2), (1.1, 0.8), (-1.1, 0.8)],
            Marker::Diamond => &[(0., -1.25), (1.25, 0.), (0., 1.25), (-1.25, 0.)],
            Marker::Down => &[(0., 1.2), (1.1, -0.8), (-1.1, -0.8)],
            Marker::Cross => &[
                (-0.4, -1.1),
                (0.4, -1.1),
                (0.4, -0.4),
                (1.1, -0.4),
                (1.1, 0.4),
                (0.4, 0.4),
                (0.4, 1.1),
                (-0.4, 1.1),
                (-0.4, 0.4),
                (-1.1, 0.4),
                (-1.1, -0.4),
                (-0.4, -0.4),
            ],
        };
        let corners: Vec<_> = corners.iter().map(|(u, v)| (x + r * u, y + r * v)).collect();
        self.body += &format!(
            "<path d=\"{}Z\" class=\"{class}\"><title>{}</title></path>\n",
            path(&corners),
            escape(about)
        );
    }

    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        self.placed_text((x, y), "", anchor, class, text);
    }

    /// Text that reads upwards, centred on the point.
    pub fn upward_text(&mut self, (x, y): (f64, f64), class: &str, text: &str) {
        let turn = format!(" transform=\"rotate(-90 {} {})\"", number(x), number(y));
        self.placed_text((x, y), &turn, Anchor::Middle, class, text);
    }

    fn placed_text(&mut self, (x, y): (f64, f64), turn: &str, anchor: Anchor, class: &str, text: &str) {
        if !on_page((x, y)) || text.is_empty() {
            return;
        }
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.body += &format!(
            "<text x=\"{}\" y=\"{}\"{turn} text-anchor=\"{anchor}\" class=\"d-text {class}\">{}</text>\n",
            number(x),
            number(y),
            escape(text)
        );
    }

    /// A picture already encoded as PNG.
    pub fn image(&mut self, [x, y, width, height]: [f64; 4], png: &[u8], class: &str, about: &str) {
        self.body += &format!(
            "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" \
             class=\"{class}\" href=\"data:image/png;base64,{}\"><title>{}</title></image>\n",
            number(x),
            number(y),
            number(width),
            number(height),
            STANDARD.encode(png),
            escape(about)
        );
    }

    /// The picture inside a page that brings the style; `name` makes its ids unique.
    pub fn inline(&self, name: &str, title: &str, description: &str) -> String {
        let style = format!("style=\"max-width:{}px\"", number(self.width * 1.35));
        self.element(&style, "", name, title, description)
    }

    /// The picture as a file of its own, on white.
    pub fn standalone(&self, name: &str, title: &str, description: &str) -> String {
        let attributes = format!(
            "xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\"",
            number(self.width),
            number(self.height)
        );
        let ground = format!(
            "<style>{}</style>\n<rect width=\"100%\" height=\"100%\" class=\"d-f-paper\"/>\n",
            figure_style(|colour| colour.light.to_owned())
        );
        self.element(&attributes, &ground, name, title, description)
    }

    fn element(&self, attributes: &str, ground: &str, name: &str, title: &str, description: &str) -> String {
        let (width, height) = (number(self.width), number(self.height));
        let (title, description) = (escape(title), escape(description));
        format!(
            "<svg {attributes} viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{title}\" aria-describedby=\"{name}-desc\">\n\
             <title>{title}</title>\n<desc id=\"{name}-desc\">{description}</desc>\n\
             {ground}{}</svg>\n",
            self.body
        )
    }
}

/// Whether a coordinate can be drawn: finite, and not so far off the page that viewers choke on it.
fn drawable(value: f64) -> bool {
    value.abs() < 1e5
}

fn on_page((x, y): (f64, f64)) -> bool {
    drawable(x) && drawable(y)
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        path.push(if i == 0 { 'M' } else { 'L' });
        path += &format!("{} {}", number(*x), number(*y));
    }
    path
}

/// A coordinate with at most two decimals: finer than any printer, and short.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.to_owned()
}

/// Text for XML: special characters escaped, forbidden ones dropped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_not_drawn() {
        let mut drawing = Drawing::new(10., 10.);
        drawing.rect([0., f64::NAN, 1., 1.], "a");
        drawing.line([0., 0., f64::INFINITY, 1.], "a");
        drawing.polygon(&[(0., 0.), (f64::NAN, 0.), (1., 1.)], "a");
        drawing.marker(Marker::Square, (f64::NAN, 0.), 2., "a", "");
        drawing.text((f64::NAN, 0.), Anchor::Start, "a", "text");
        assert_eq!(drawing.body, "");
        drawing.polyline(&[(0., 0.), (1., 1.), (f64::NAN, 2.), (3., 3.), (4., 4.)], "a");
        assert_eq!(drawing.body.matches("<path").count(), 2);
    }

    #[test]
    fn text_is_escaped_and_cleaned() {
        assert_eq!(
            escape("<script a=\"1\">&'\u{0}\u{7}\u{ffff}</script>"),
            "&lt;script a=&quot;1&quot;&gt;&amp;&#39;&lt;/script&gt;"
        );
        assert_eq!(number(-0.001), "0");
        assert_eq!(number(12.340), "12.34");
    }
}
