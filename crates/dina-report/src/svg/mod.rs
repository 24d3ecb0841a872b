//! Drawing: a picture in SVG, axes and scales, and the width of text.

mod drawing;
mod legend;
mod plot;
mod scale;
mod text;

pub use drawing::{Anchor, Drawing, Marker};
pub use legend::{Entry, Key, legend};
pub use plot::Plot;
pub use scale::{Scale, Tick};
pub use text::{text_width, wrap};
