//! How reliable the neurons are.

use super::ranks::median;
use super::{Drawn, Panel, csv, raw};
use crate::Report;
use crate::format::{counted, proportion};
use crate::svg::{Anchor, Drawing, Plot, Scale};

const WIDTH: f64 = 420.;
const HEIGHT: f64 = 190.;

pub fn panel(report: &Report) -> Drawn {
    let values: Vec<f64> = report.recording.reliability.iter().copied().filter(|r| r.is_finite()).collect();
    if values.is_empty() {
        return Err("the reliability of single neurons was not computed".to_owned());
    }
    let x = Scale::around(values.iter().copied().chain([0., 1.]), 10);
    let (low, high) = x.ends();
    let bins = ((values.len() as f64).sqrt().round() as usize).clamp(8, 40);
    let width = (high - low) / bins as f64;
    let mut counts = vec![0usize; bins];
    for value in &values {
        counts[(((value - low) / width) as usize).min(bins - 1)] += 1;
    }
    let mut drawing = Drawing::new(WIDTH, 0.);
    let plot = Plot {
        frame: [62., 34., WIDTH - 78., HEIGHT],
        x,
        y: Scale::around(counts.iter().map(|&c| c as f64).chain([0.]), 4),
    };
    plot.y_axis(&mut drawing, &plot.y.ticks(4), "neurons");
    for (i, &count) in counts.iter().enumerate() {
        let (left, top) = plot.at(low + i as f64 * width, count as f64);
        let bar = [left + 0.5, top, plot.frame[2] / bins as f64 - 1., plot.bottom() - top];
        drawing.rect(bar, "d-f-blue");
    }
    let middle = median(&values);
    let at = plot.x(middle);
    drawing.line([at, 16., at, plot.bottom()], "d-s-ink d-mid d-dash");
    let label = format!("median {}", proportion(middle));
    // The label stands where there is room.
    let (label_x, anchor) =
        if at + 90. < plot.right() { (at + 6., Anchor::Start) } else { (at - 6., Anchor::End) };
    drawing.text((label_x, 24.), anchor, "d-small d-f-ink", &label);
    plot.x_axis(&mut drawing, &x.ticks(8), "split-half correlation r");
    drawing.set_height(plot.bottom() + 44.);
    Ok(Panel {
        name: "reliability".to_owned(),
        title: "Reliability of single neurons".to_owned(),
        caption: format!(
            "Correlation of a neuron's responses between halves of the repeats, over images, for \
             every neuron; not corrected for the halving. Dashed: median. n = {}.",
            counted(values.len(), "neuron")
        ),
        csv: Some(csv(
            ["low", "high", "neurons"],
            counts.iter().enumerate().map(|(i, count)| {
                let start = low + i as f64 * width;
                [raw(start), raw(start + width), count.to_string()]
            }),
        )),
        drawing,
    })
}
