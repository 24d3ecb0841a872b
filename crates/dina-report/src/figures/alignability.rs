//! How well each channel aligns, against its null.

use super::{Drawn, Panel, csv, raw, slug};
use crate::format::{count, counted, p_equals, proportion};
use crate::svg::{Drawing, Entry, Key, Marker, Plot, Scale, Tick, legend};
use crate::{Alignability, ChannelAlignability};

const WIDTH: f64 = 420.;
const HEIGHT: f64 = 230.;

/// Up to so many channels are named on the axis.
const NAMED: usize = 20;

pub fn panel(level: &Alignability) -> Drawn {
    let mut channels: Vec<&ChannelAlignability> = level.channels.iter().filter(|c| c.r.is_finite()).collect();
    if channels.is_empty() {
        return Err(format!("level `{}` has no channel that varies", level.level));
    }
    channels.sort_by(|a, b| b.r.total_cmp(&a.r).then(a.channel.cmp(&b.channel)));
    let significant = |c: &ChannelAlignability| c.p_adjusted < level.alpha;
    let passed = channels.iter().filter(|c| significant(c)).count();

    let mut drawing = Drawing::new(WIDTH, 0.);
    let top = 14. + legend(&mut drawing, 14., 4., WIDTH - 18., &entries(level));
    let values = channels.iter().flat_map(|c| [c.r, c.null_low, c.null_high]);
    let plot = Plot {
        frame: [62., top, WIDTH - 78., HEIGHT],
        x: Scale::linear(0., channels.len() as f64),
        y: Scale::around(values.chain([0.]), 5),
    };
    plot.y_axis(&mut drawing, &plot.y.ticks(5), "correlation r");
    let width = plot.frame[2] / channels.len() as f64;
    for (i, channel) in channels.iter().enumerate() {
        let high = plot.y(channel.null_high);
        let band = [plot.x(i as f64) + 0.08 * width, high, 0.84 * width, plot.y(channel.null_low) - high];
        drawing.rect(band, "d-f-band");
    }
    let zero = plot.y(0.);
    drawing.line([plot.frame[0], zero, plot.right(), zero], "d-s-ink d-hair");
    let radius = (0.36 * width).clamp(2., 4.6);
    for (i, channel) in channels.iter().enumerate() {
        let class = if significant(channel) { "d-f-vermillion" } else { "d-f-paper d-s-muted d-mid" };
        let about = format!(
            "channel {}: r = {}, corrected {}",
            channel.channel,
            proportion(channel.r),
            p_equals(channel.p_adjusted)
        );
        let at = plot.at(i as f64 + 0.5, channel.r);
        drawing.marker(Marker::Circle, at, radius, class, &about);
    }
    let (ticks, name) = ticks(&channels);
    plot.x_axis(&mut drawing, &ticks, name);
    drawing.set_height(plot.bottom() + 44.);

    Ok(Panel {
        name: format!("alignability-{}", slug(&level.level)),
        title: format!("Alignability of level {}", level.level),
        caption: format!(
            "Correlation of the two towers' maps over held-out images and positions, channel by \
             channel, best first. Gray: the central {:.0}\u{a0}% of the null under {} of the image \
             labels. Filled: corrected p < {} ({}): {} of {}. n = {}.",
            100. * level.null_coverage,
            counted(level.permutations, "permutation"),
            level.alpha,
            level.correction,
            count(passed as u64),
            counted(channels.len(), "channel"),
            counted(level.images, "image"),
        ),
        csv: Some(table(&channels)),
        drawing,
    })
}

fn ticks(channels: &[&ChannelAlignability]) -> (Vec<Tick>, &'static str) {
    if channels.len() <= NAMED {
        let ticks = channels
            .iter()
            .enumerate()
            .map(|(i, c)| Tick { at: i as f64 + 0.5, label: c.channel.to_string() });
        return (ticks.collect(), "channel, sorted by r");
    }
    let ticks = Scale::linear(1., channels.len() as f64).ticks(6).into_iter();
    let ticks = ticks.map(|tick| Tick { at: tick.at - 0.5, ..tick });
    (ticks.collect(), "place among the channels, sorted by r")
}

fn entries(level: &Alignability) -> Vec<Entry> {
    let entry = |key, fill: &str, name: &str| Entry {
        key,
        line: String::new(),
        fill: fill.to_owned(),
        name: name.to_owned(),
    };
    vec![
        entry(Key::Point(Marker::Circle), "d-f-vermillion", &format!("corrected p < {}", level.alpha)),
        entry(Key::Point(Marker::Circle), "d-f-paper d-s-muted d-mid", "not significant"),
        entry(Key::Patch, "d-f-band", "null"),
    ]
}

fn table(channels: &[&ChannelAlignability]) -> String {
    csv(
        ["channel", "r", "null_low", "null_high", "p_adjusted"],
        channels
            .iter()
            .map(|c| [c.channel.to_string(), raw(c.r), raw(c.null_low), raw(c.null_high), raw(c.p_adjusted)]),
    )
}
