//! How well each channel aligns, against its null.

use super::{Drawn, Panel, csv, raw, slug};
use crate::chart::{IntervalItem, Intervals, draw_intervals};
use crate::format::{count, counted, p_equals};
use crate::{Alignability, ChannelAlignability};

pub fn panel(level: &Alignability) -> Drawn {
    let mut channels: Vec<&ChannelAlignability> = level.channels.iter().filter(|c| c.r.is_finite()).collect();
    if channels.is_empty() {
        return Err(format!("level `{}` has no channel that varies", level.level));
    }
    channels.sort_by(|a, b| b.r.total_cmp(&a.r).then(a.channel.cmp(&b.channel)));
    let significant = |c: &ChannelAlignability| c.p_adjusted < level.alpha;
    let passed = channels.iter().filter(|c| significant(c)).count();
    let drawing = draw_intervals(&Intervals {
        of: "channel, sorted by r".to_owned(),
        value: "correlation r".to_owned(),
        items: channels
            .iter()
            .map(|c| IntervalItem {
                label: c.channel.to_string(),
                value: c.r,
                interval: c.interval,
                null: Some([c.null_low, c.null_high]),
                strong: significant(c),
                note: format!("corrected {}", p_equals(c.p_adjusted)),
            })
            .collect(),
        names: [format!("corrected p < {}", level.alpha), "not significant".to_owned()],
        marks: Vec::new(),
    })?;
    let with_interval =
        if channels.iter().any(|c| c.interval.is_some()) { ", with its interval over images" } else { "" };
    Ok(Panel {
        name: format!("alignability-{}", slug(&level.level)),
        title: format!("Alignability of level {}", level.level),
        caption: format!(
            "Correlation of the two towers' maps over held-out images and positions, channel by \
             channel, best first{with_interval}. Gray: the central {:.0}\u{a0}% of the null under {} of the image \
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

fn table(channels: &[&ChannelAlignability]) -> String {
    csv(
        ["channel", "r", "low", "high", "null_low", "null_high", "p_adjusted"],
        channels.iter().map(|c| {
            let [low, high] = c.interval.unwrap_or([f64::NAN; 2]).map(raw);
            [c.channel.to_string(), raw(c.r), low, high, raw(c.null_low), raw(c.null_high), raw(c.p_adjusted)]
        }),
    )
}
