use super::{Anchor, Drawing, Scale, Tick};

/// A rectangle of a drawing with two scales.
#[derive(Debug, Clone, Copy)]
pub struct Plot {
    /// Left, top, width and height in units of the drawing.
    pub frame: [f64; 4],
    /// The horizontal scale.
    pub x: Scale,
    /// The vertical scale, upwards.
    pub y: Scale,
}

impl Plot {
    /// Where a horizontal value lies in the drawing.
    pub fn x(&self, value: f64) -> f64 {
        self.frame[0] + self.x.unit(value) * self.frame[2]
    }

    /// Where a vertical value lies in the drawing.
    pub fn y(&self, value: f64) -> f64 {
        self.frame[1] + (1. - self.y.unit(value)) * self.frame[3]
    }

    /// Where a point lies in the drawing.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.x(x), self.y(y))
    }

    /// The lower edge.
    pub fn bottom(&self) -> f64 {
        self.frame[1] + self.frame[3]
    }

    /// The right edge.
    pub fn right(&self) -> f64 {
        self.frame[0] + self.frame[2]
    }

    /// The horizontal axis with its ticks and name under the frame.
    pub fn x_axis(&self, drawing: &mut Drawing, ticks: &[Tick], name: &str) {
        let bottom = self.bottom();
        drawing.line([self.frame[0], bottom, self.right(), bottom], "d-s-ink d-thin");
        for tick in ticks {
            let x = self.x(tick.at);
            drawing.line([x, bottom, x, bottom + 4.], "d-s-ink d-thin");
            drawing.text((x, bottom + 16.), Anchor::Middle, "d-small d-f-ink", &tick.label);
        }
        drawing.text((self.frame[0] + self.frame[2] / 2., bottom + 34.), Anchor::Middle, "d-f-ink", name);
    }

    /// Faint lines across the frame at the ticks of the horizontal axis.
    pub fn x_rules(&self, drawing: &mut Drawing, ticks: &[Tick]) {
        for tick in ticks {
            let x = self.x(tick.at);
            drawing.line([x, self.frame[1], x, self.bottom()], "d-s-rule d-thin");
        }
    }

    /// The vertical axis with its ticks and name left of the frame, and faint lines across it.
    pub fn y_axis(&self, drawing: &mut Drawing, ticks: &[Tick], name: &str) {
        for tick in ticks {
            let y = self.y(tick.at);
            drawing.line([self.frame[0], y, self.right(), y], "d-s-rule d-thin");
            drawing.text((self.frame[0] - 7., y + 4.), Anchor::End, "d-small d-f-ink", &tick.label);
        }
        let middle = self.frame[1] + self.frame[3] / 2.;
        drawing.upward_text((self.frame[0] - 42., middle), "d-f-ink", name);
    }
}
