//! The aligned maps of a few images, tower by tower.

use super::raster::{draw_picture, draw_values, end_of_scale, fit};
use super::{Drawn, Panel, slug};
use crate::format::{counted, proportion, sentence};
use crate::svg::{Anchor, Drawing, text_width, wrap};
use crate::{Alignability, MapExample, MapExamples, Maps, Report};

/// Channels that fit side by side.
const MOST_CHANNELS: usize = 8;
const LEFT: f64 = 10.;
const GAP: f64 = 8.;

pub fn panel(level: &MapExamples, report: &Report) -> Drawn {
    let Some(first) = level.images.first() else {
        return Err(format!("no image was kept for level `{}`", level.level));
    };
    let shape = |e: &MapExample| {
        let maps = [&e.image_tower, &e.neural_tower];
        maps.map(|m| (m.channels(), m.height(), m.width()))
    };
    let [(channels, height, width), _] = shape(first);
    if level.images.iter().any(|e| shape(e) != [(channels, height, width); 2]) {
        return Err(format!("the maps of level `{}` differ in shape between towers or images", level.level));
    }
    let alignability = report.alignability.get().into_iter().flatten();
    let alignability = alignability.into_iter().find(|a| a.level == level.level);
    let (shown, order) = choose(channels, alignability);
    let scales = Scales::of(level, &shown);
    let layout = Layout::of(level, width, height, shown.len());
    let mut drawing = Drawing::new(layout.width, 0.);
    for (column, channel) in shown.iter().enumerate() {
        let text = format!("ch {channel}");
        let x = layout.column(column) + layout.cell.0 / 2.;
        drawing.text((x, 16.), Anchor::Middle, "d-small d-f-muted", &text);
    }
    let mut top = 24.;
    for example in &level.images {
        top = draw_example(&mut drawing, &layout, example, &shown, &scales, top);
    }
    scales.key(&mut drawing, &layout, top);
    drawing.set_height(top + 34.);
    Ok(Panel {
        name: format!("maps-{}", slug(&level.level)),
        title: format!("Aligned feature maps of level {}", level.level),
        caption: format!(
            "Each of {} with the maps that the image tower makes of it and the neural tower makes of \
             the response to it, {} x {} pixels; under each pair its correlation r over positions. \
             {} {order} Within a channel and a tower, colours share one scale over the images; {}.",
            counted(level.images.len(), "held-out image"),
            height,
            width,
            sentence(&level.rule),
            scales.words(),
        ),
        drawing,
        csv: None,
    })
}

/// Which channels to draw, and the rule in words: even steps through the order of alignability, so
/// that the best is seen and the worst is not hidden.
fn choose(channels: usize, alignability: Option<&Alignability>) -> (Vec<usize>, String) {
    let mut order: Vec<usize> = (0..channels).collect();
    let mut sorted = "by number";
    if let Some(level) = alignability {
        let r = |channel: usize| {
            let found = level.channels.iter().find(|c| c.channel == channel);
            found.map_or(f64::NEG_INFINITY, |c| c.r)
        };
        order.sort_by(|&a, &b| r(b).total_cmp(&r(a)));
        sorted = "from the most to the least alignable";
    }
    if channels <= MOST_CHANNELS {
        return (order, format!("All channels are shown, {sorted}."));
    }
    let steps = (MOST_CHANNELS - 1) as f64;
    let shown = (0..MOST_CHANNELS)
        .map(|i| order[(i as f64 / steps * (channels - 1) as f64).round() as usize])
        .collect();
    let rule = format!("{MOST_CHANNELS} of {channels} channels are shown, at even steps {sorted}.");
    (shown, rule)
}

/// The end of the colour scale of each drawn channel, for the image and the neural tower: the 99th
/// percentile of the absolute values, because a single pixel should not fade all others.
struct Scales {
    ends: Vec<[f32; 2]>,
    signed: bool,
}

impl Scales {
    fn of(level: &MapExamples, shown: &[usize]) -> Self {
        let values = |tower: fn(&MapExample) -> &Maps, channel: usize| {
            level.images.iter().flat_map(move |e| tower(e).channel(channel)).copied()
        };
        let towers: [fn(&MapExample) -> &Maps; 2] = [|e| &e.image_tower, |e| &e.neural_tower];
        let ends = |&channel: &usize| towers.map(|tower| end_of_scale(values(tower, channel), 0.99));
        let mut drawn =
            shown.iter().flat_map(|&channel| towers.into_iter().flat_map(move |t| values(t, channel)));
        Self { signed: drawn.any(|value| value < 0.), ends: shown.iter().map(ends).collect() }
    }

    fn gradient(&self) -> colorous::Gradient {
        if self.signed { colorous::RED_BLUE } else { colorous::VIRIDIS }
    }

    /// Where a value lies on the gradient; a signed one is red above nought and blue below.
    fn unit(&self, value: f32, end: f32) -> f32 {
        let part = if end > 0. { value / end } else { value * 0. };
        if self.signed { 0.5 - part / 2. } else { part }
    }

    fn words(&self) -> &'static str {
        if self.signed {
            "white is nought, red above it, blue below; the ends are the 99th percentile of the \
             absolute values"
        } else {
            "dark is nought, bright the 99th percentile"
        }
    }

    fn key(&self, drawing: &mut Drawing, layout: &Layout, top: f64) {
        let bar: Vec<f32> = (0..64).map(|i| i as f32 / 63.).collect();
        let turned = |unit: f32| if self.signed { 1. - unit } else { unit };
        let (x, y) = (layout.column(0), top + 8.);
        let low = if self.signed { "−99 %" } else { "0" };
        let low_end = x + text_width(low, 11.) + 10.;
        drawing.text((x, y + 9.), Anchor::Start, "d-small d-f-ink", low);
        draw_values(drawing, [low_end, y, 90., 10.], (&bar, 64), self.gradient(), turned, "scale");
        drawing.text((low_end + 96., y + 9.), Anchor::Start, "d-small d-f-ink", "99 %");
    }
}

/// Where things lie.
struct Layout {
    width: f64,
    picture: (f64, f64),
    cell: (f64, f64),
    labels: f64,
}

impl Layout {
    fn of(level: &MapExamples, width: usize, height: usize, channels: usize) -> Self {
        let pictures = level.images.iter().map(|e| (e.image.width(), e.image.height()));
        let picture = pictures
            .map(|(w, h)| fit(w, h, 150., 110.))
            .fold((60., 0.), |a: (f64, f64), b| (a.0.max(b.0), a.1.max(b.1)));
        let labels = text_width("neural tower", 11.) + 8.;
        let mut layout = Self { width: 0., picture, cell: fit(width, height, 84., 64.), labels };
        layout.width = (layout.column(channels) + 2.).max(420.);
        layout
    }

    fn column(&self, column: usize) -> f64 {
        // Correlations need room even under narrow maps.
        let step = self.cell.0.max(38.) + GAP;
        LEFT + self.picture.0 + 16. + self.labels + column as f64 * step
    }
}

fn draw_example(
    drawing: &mut Drawing,
    layout: &Layout,
    example: &MapExample,
    shown: &[usize],
    scales: &Scales,
    top: f64,
) -> f64 {
    let (cell_width, cell_height) = layout.cell;
    let maps_height = 2. * cell_height + 4.;
    let (width, height) =
        fit(example.image.width(), example.image.height(), layout.picture.0, layout.picture.1);
    let at = [LEFT, top, width, height];
    draw_picture(drawing, at, &example.image, &example.label);
    drawing.rect(at, "d-none d-s-muted d-hair");
    let mut below = top + height + 14.;
    for line in wrap(&example.label, 11., layout.picture.0).iter().take(3) {
        drawing.text((LEFT, below), Anchor::Start, "d-small d-f-ink", line);
        below += 13.;
    }
    for (row, tower) in ["image tower", "neural tower"].into_iter().enumerate() {
        let y = top + row as f64 * (cell_height + 4.) + cell_height / 2. + 4.;
        let x = layout.column(0) - 8.;
        drawing.text((x, y), Anchor::End, "d-small d-f-muted", tower);
    }
    for (column, (&channel, ends)) in shown.iter().zip(&scales.ends).enumerate() {
        let x = layout.column(column);
        let towers = [&example.image_tower, &example.neural_tower];
        for (row, (maps, &end)) in towers.into_iter().zip(ends).enumerate() {
            let at = [x, top + row as f64 * (cell_height + 4.), cell_width, cell_height];
            let values = (maps.channel(channel), maps.width());
            let about = format!("{}, channel {channel}", ["image tower", "neural tower"][row]);
            let unit = |value| scales.unit(value, end);
            draw_values(drawing, at, values, scales.gradient(), unit, &about);
            drawing.rect(at, "d-none d-s-muted d-hair");
        }
        let [a, b] = towers.map(|maps| maps.channel(channel));
        let r = proportion(correlation(a, b));
        let at = (x + cell_width / 2., top + maps_height + 12.);
        drawing.text(at, Anchor::Middle, "d-small d-f-ink", &r);
    }
    below.max(top + maps_height + 18.) + 10.
}

/// Pearson's correlation; NaN where a side does not vary or is not finite.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let n = a.len().min(b.len()) as f64;
    let mean = |v: &[f32]| v.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0., 0., 0.);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f64::from(x) - mean_a, f64::from(y) - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    let scale = (aa * bb).sqrt();
    if scale > 0. { ab / scale } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChannelAlignability;

    #[test]
    fn channels_are_chosen_by_rule() {
        let (all, rule) = choose(3, None);
        assert_eq!(all, [0, 1, 2]);
        assert!(rule.contains("All channels"));
        let level = Alignability {
            level: "v1".into(),
            images: 10,
            permutations: 10,
            null_coverage: 0.95,
            correction: "Holm".into(),
            alpha: 0.05,
            channels: (0..64)
                .map(|channel| ChannelAlignability {
                    channel,
                    r: channel as f64 / 64.,
                    interval: None,
                    null_low: 0.,
                    null_high: 0.,
                    p_adjusted: 1.,
                })
                .collect(),
        };
        let (some, _) = choose(64, Some(&level));
        assert_eq!(some, [63, 54, 45, 36, 27, 18, 9, 0]);
    }

    #[test]
    fn correlation_of_a_line_is_one_and_of_a_constant_none() {
        assert!((correlation(&[1., 2., 3.], &[2., 4., 6.]) - 1.).abs() < 1e-12);
        assert!(correlation(&[1., 1.], &[1., 2.]).is_nan());
        assert!(correlation(&[], &[]).is_nan());
    }
}
