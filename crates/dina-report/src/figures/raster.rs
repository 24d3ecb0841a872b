//! Pixels for drawings, as PNG.

use colorous::Gradient;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, GrayImage, ImageEncoder, imageops};

use crate::Picture;
use crate::svg::{Anchor, Drawing, text_width};

/// Pictures are drawn a hundred or so units wide: more pixels than this on a side only make the
/// page heavier.
const MOST_PIXELS: f64 = 300.;

/// Draws a gray picture into a box.
pub fn draw_picture(drawing: &mut Drawing, at: [f64; 4], picture: &Picture, about: &str) {
    draw_png(drawing, at, picture_png(picture), "", about);
}

/// The colours of signed values, red above nought and blue below, and where a value lies on them.
pub fn diverging(end: f32) -> (Gradient, impl Fn(f32) -> f32) {
    (colorous::RED_BLUE, move |value| if end > 0. { 0.5 - value / end / 2. } else { 0.5 + value * 0. })
}

/// Draws the key of [`diverging`] colours from a corner on, and returns its height. An end that is not finite is not named.
pub fn colour_key(drawing: &mut Drawing, (x, y): (f64, f64), end: f32, unit: &str) -> f64 {
    let bar: Vec<f32> = (0..64).map(|i| i as f32 / 31.5 - 1.).collect();
    let (gradient, place) = diverging(1.);
    let [low, high] = if end.is_finite() {
        [-end, end].map(|v| crate::format::proportion(f64::from(v)))
    } else {
        ["−".to_owned(), "+".to_owned()]
    };
    let left = x + text_width(&low, 11.) + 6.;
    drawing.text((x, y + 9.), Anchor::Start, "d-small d-f-ink", &low);
    draw_values(drawing, [left, y, 90., 10.], (&bar, 64), gradient, place, "scale");
    let text = format!("{high}  {unit}");
    drawing.text((left + 96., y + 9.), Anchor::Start, "d-small d-f-ink", &text);
    20.
}

/// A quantile of the finite absolute values; nought where there is none.
pub fn end_of_scale(values: impl Iterator<Item = f32>, quantile: f64) -> f32 {
    let mut sizes: Vec<f32> = values.filter(|v| v.is_finite()).map(f32::abs).collect();
    sizes.sort_by(f32::total_cmp);
    let place = (sizes.len() as f64 * quantile).ceil() as usize;
    sizes.get(place.saturating_sub(1)).copied().unwrap_or(0.)
}

/// Draws values in colour into a box, one hard-edged pixel each; `unit` takes a value to 0..1.
pub fn draw_values(
    drawing: &mut Drawing,
    at: [f64; 4],
    (values, width): (&[f32], usize),
    gradient: Gradient,
    unit: impl Fn(f32) -> f32,
    about: &str,
) {
    let pixels: Vec<u8> = values
        .iter()
        .flat_map(|&value| {
            let unit = f64::from(unit(value));
            // A value that is not finite has no place on the scale: mid gray.
            let colour = if unit.is_finite() {
                gradient.eval_continuous(unit.clamp(0., 1.))
            } else {
                colorous::Color { r: 128, g: 128, b: 128 }
            };
            [colour.r, colour.g, colour.b]
        })
        .collect();
    let height = values.len() / width.max(1);
    let png = encode(&pixels, width, height, ExtendedColorType::Rgb8);
    draw_png(drawing, at, png, "d-pixels", about);
}

fn draw_png(drawing: &mut Drawing, at: [f64; 4], png: Option<Vec<u8>>, class: &str, about: &str) {
    match png {
        Some(png) => drawing.image(at, &png, class, about),
        None => {
            let [x, y, width, height] = at;
            drawing.rect(at, "d-f-band");
            let middle = (x + width / 2., y + height / 2. + 4.);
            drawing.text(middle, Anchor::Middle, "d-small d-f-ink", "not drawable");
        }
    }
}

fn picture_png(picture: &Picture) -> Option<Vec<u8>> {
    let (width, height) = (u32::try_from(picture.width()).ok()?, u32::try_from(picture.height()).ok()?);
    let shrink = MOST_PIXELS / f64::from(width.max(height));
    if shrink >= 1. {
        return encode(picture.pixels(), picture.width(), picture.height(), ExtendedColorType::L8);
    }
    let image = GrayImage::from_raw(width, height, picture.pixels().to_vec())?;
    let side = |extent: u32| ((f64::from(extent) * shrink).round() as u32).max(1);
    let small = imageops::thumbnail(&image, side(width), side(height));
    encode(&small, small.width() as usize, small.height() as usize, ExtendedColorType::L8)
}

fn encode(pixels: &[u8], width: usize, height: usize, kind: ExtendedColorType) -> Option<Vec<u8>> {
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive)
        .write_image(pixels, u32::try_from(width).ok()?, u32::try_from(height).ok()?, kind)
        .ok()?;
    Some(png)
}

/// The size at which a picture of this shape is drawn: never larger than the box, its sides in
/// proportion, and never so thin that it vanishes.
pub fn fit(width: usize, height: usize, most_width: f64, most_height: f64) -> (f64, f64) {
    let (width, height) = (width.max(1) as f64, height.max(1) as f64);
    let scale = (most_width / width).min(most_height / height);
    ((width * scale).max(2.), (height * scale).max(2.))
}
