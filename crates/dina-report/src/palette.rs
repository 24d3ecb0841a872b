//! Colours, once: the page takes them as CSS variables, a figure file as they are.
//!
//! Series colours are those of Okabe and Ito (2008), which readers with any of the common colour
//! deficiencies tell apart; on a dark page they are lightened.

/// A named colour on light and on dark ground.
pub struct Colour {
    /// The name, also that of the CSS variable.
    pub name: &'static str,
    /// On white.
    pub light: &'static str,
    /// On a dark page.
    pub dark: &'static str,
}

const fn colour(name: &'static str, light: &'static str, dark: &'static str) -> Colour {
    Colour { name, light, dark }
}

/// Every colour of page and figures.
pub const COLOURS: [Colour; 17] = [
    colour("paper", "#ffffff", "#14171b"),
    colour("panel", "#f4f5f7", "#1e2329"),
    colour("ink", "#1b1f24", "#e8eaed"),
    colour("muted", "#59616b", "#a3abb5"),
    colour("rule", "#dde1e6", "#343b44"),
    colour("link", "#0b5394", "#8ab8ec"),
    colour("band", "#c9ced6", "#4a535e"),
    // Okabe-Ito
    colour("vermillion", "#d55e00", "#ff8a3d"),
    colour("blue", "#0072b2", "#56a8e0"),
    colour("green", "#009e73", "#2fc79c"),
    colour("purple", "#cc79a7", "#e39cc4"),
    colour("orange", "#e69f00", "#f2b632"),
    colour("sky", "#56b4e9", "#86ccf3"),
    colour("tint-vermillion", "#fbe9dc", "#3a2417"),
    colour("tint-blue", "#e0eef7", "#15293a"),
    // On maps, whose colours are those of light ground on both.
    colour("dot", "#1b1f24", "#1b1f24"),
    colour("halo", "#ffffff", "#ffffff"),
];

/// The colour names that series take, in order; the first is the decoder on trial.
pub const SERIES: [&str; 6] = ["vermillion", "blue", "green", "purple", "orange", "sky"];

/// The figures' style sheet; `value` turns a colour's name into what CSS is to see.
pub fn figure_style(value: impl Fn(&Colour) -> String) -> String {
    let mut style = String::from(
        ".d-text{font-family:Helvetica,Arial,'Liberation Sans',sans-serif;font-size:12px}\
         .d-small{font-size:11px}.d-strong{font-weight:bold}\
         .d-none{fill:none}.d-hair{stroke-width:.6}.d-thin{stroke-width:1}.d-mid{stroke-width:1.6}\
         .d-thick{stroke-width:2.4}.d-dash{stroke-dasharray:5 3}.d-dot{stroke-dasharray:1.5 2.5}\
         .d-faint{opacity:.45}.d-wash{opacity:.18}.d-round{stroke-linejoin:round;stroke-linecap:round}\
         .d-pixels{image-rendering:pixelated}",
    );
    for colour in &COLOURS {
        let (name, value) = (colour.name, value(colour));
        style.push_str(&format!(".d-f-{name}{{fill:{value}}}.d-s-{name}{{stroke:{value}}}"));
    }
    style
}
