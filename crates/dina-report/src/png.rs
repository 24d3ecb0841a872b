//! Figures as pixels.

use std::sync::{Arc, OnceLock};

use resvg::{tiny_skia, usvg};

use crate::{Error, Figure, Result};

/// Pixels a unit of a drawing, of which 96 are an inch: 288 dots an inch.
const SCALE: f32 = 3.;

/// Families that figures are set in, the first that is there: with the widths that they are laid out for, then others.
const FAMILIES: [&str; 6] =
    ["Helvetica", "Arial", "Liberation Sans", "Nimbus Sans", "DejaVu Sans", "Noto Sans"];

impl Figure {
    /// The picture as PNG, three pixels a unit, on white.
    ///
    /// Text is set in a font of this machine: Helvetica, Arial, Liberation Sans or the next best, so that pixels may differ
    /// between machines where the SVG does not.
    ///
    /// # Errors
    /// [`Error::Png`] when the machine has no font or the picture cannot be drawn.
    pub fn png(&self) -> Result<Vec<u8>> {
        let wrong = |what: String| Error::Png { figure: self.name.clone(), what };
        let fonts = fonts();
        if fonts.is_empty() {
            return Err(wrong("this machine has no fonts; install some, such as Liberation Sans".into()));
        }
        let options = usvg::Options { fontdb: fonts, ..usvg::Options::default() };
        let tree = usvg::Tree::from_str(&self.svg, &options).map_err(|error| wrong(error.to_string()))?;
        let pixels = |length: f32| (length * SCALE).ceil() as u32;
        let size = tree.size();
        let (width, height) = (pixels(size.width()), pixels(size.height()));
        let mut pixmap = tiny_skia::Pixmap::new(width, height)
            .ok_or_else(|| wrong(format!("{width} x {height} pixels are too many")))?;
        let scale = tiny_skia::Transform::from_scale(SCALE, SCALE);
        resvg::render(&tree, scale, &mut pixmap.as_mut());
        pixmap.encode_png().map_err(|error| wrong(error.to_string()))
    }
}

/// The fonts of this machine, looked for once.
fn fonts() -> Arc<usvg::fontdb::Database> {
    static FONTS: OnceLock<Arc<usvg::fontdb::Database>> = OnceLock::new();
    let load = || {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_system_fonts();
        let has =
            |family: &str| fonts.faces().any(|face| face.families.iter().any(|(name, _)| name == family));
        let first = || Some(fonts.faces().next()?.families.first()?.0.clone());
        let known = FAMILIES.into_iter().find(|family| has(family)).map(str::to_owned);
        if let Some(family) = known.or_else(first) {
            // Text in no family that is there would otherwise be left out.
            fonts.set_sans_serif_family(&family);
            fonts.set_serif_family(&family);
        }
        Arc::new(fonts)
    };
    FONTS.get_or_init(load).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(body: &str) -> Result<Vec<u8>> {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"40\" height=\"20\" viewBox=\"0 0 40 20\">\
             <style>.d-text{{font-family:Helvetica,sans-serif;font-size:12px}}.d-f-paper{{fill:#fff}}</style>\
             <rect width=\"100%\" height=\"100%\" class=\"d-f-paper\"/>{body}</svg>"
        );
        let (name, text) = ("test".to_owned(), String::new());
        Figure { name, title: text.clone(), caption: text, svg, csv: None }.png()
    }

    fn pixels(png: &[u8]) -> image::RgbImage {
        image::load_from_memory(png).unwrap().to_rgb8()
    }

    #[test]
    fn shapes_and_words_become_pixels() {
        if fonts().is_empty() {
            println!("skipped: this machine has no fonts");
            assert!(drawn("").unwrap_err().to_string().contains("install"));
            return;
        }
        let empty = pixels(&drawn("").unwrap());
        assert_eq!(empty.dimensions(), (120, 60));
        assert!(empty.pixels().all(|pixel| pixel.0 == [255; 3]));
        let square =
            pixels(&drawn("<rect x=\"10\" y=\"5\" width=\"10\" height=\"10\" fill=\"#f00\"/>").unwrap());
        let red = square.pixels().filter(|pixel| pixel.0 == [255, 0, 0]).count();
        assert_eq!((red, square.get_pixel(30, 15).0), (900, [255, 0, 0]));
        let words = pixels(&drawn("<text x=\"2\" y=\"14\" class=\"d-text\">top-1</text>").unwrap());
        let ink = words.pixels().filter(|pixel| pixel.0[0] < 128).count();
        assert!((100..2000).contains(&ink), "{ink}");
        assert!(drawn("<rect").is_err());
        // An image inside the picture, as maps and retrievals have them.
        let mut blue = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_pixel(2, 2, image::Rgb([0, 0, 255]))
            .write_to(&mut blue, image::ImageFormat::Png)
            .unwrap();
        let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, blue.into_inner());
        let body = format!(
            "<image x=\"10\" y=\"5\" width=\"10\" height=\"10\" href=\"data:image/png;base64,{data}\"/>"
        );
        let inside = pixels(&drawn(&body).unwrap());
        assert_eq!(inside.get_pixel(45, 30).0, [0, 0, 255]);
    }
}
