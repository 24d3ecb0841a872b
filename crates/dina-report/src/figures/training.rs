//! Loss and validation over the optimiser's steps.

use super::{Drawn, Panel, csv, raw};
use crate::format::{count, counted};
use crate::svg::{Drawing, Entry, Key, Marker, Plot, Scale, legend};
use crate::{Report, Sample, TrainingRun};

const WIDTH: f64 = 420.;
const HEIGHT: f64 = 170.;

/// Longer curves are drawn as the means of consecutive steps: a page has no more room.
const MOST_POINTS: usize = 300;

pub fn panel(report: &Report) -> Drawn {
    let runs = report.training.get()?;
    let any = |curve: fn(&TrainingRun) -> &Vec<Sample>| {
        runs.iter().flat_map(curve).any(|sample| sample.value.is_finite())
    };
    if !any(|run| &run.train_loss) {
        return Err("no training loss was recorded".to_owned());
    }
    let validated = any(|run| &run.validation_top1);
    let validation_loss = any(|run| &run.validation_loss);
    let steps = runs
        .iter()
        .flat_map(|run| [&run.train_loss, &run.validation_loss, &run.validation_top1])
        .flatten()
        .map(|sample| sample.step as f64);
    let x = Scale::linear(0., steps.fold(0., f64::max));
    // Many runs are thin lines.
    let weight = if runs.len() > 1 { "d-thin" } else { "d-mid" };

    let mut drawing = Drawing::new(WIDTH, 0.);
    let used = legend(&mut drawing, 14., 4., WIDTH - 18., &entries(validation_loss, validated));
    let losses = runs.iter().flat_map(|run| [&run.train_loss, &run.validation_loss]);
    let shown = losses.flat_map(|curve| thin(curve)).map(|(_, value)| value);
    let loss = Plot { frame: [62., 14. + used, WIDTH - 78., HEIGHT], x, y: Scale::around(shown, 5) };
    loss.y_axis(&mut drawing, &loss.y.ticks(5), "loss");
    for run in runs {
        draw(&mut drawing, &loss, &run.train_loss, (weight, "blue", Marker::Circle));
        let dashed = format!("{weight} d-dash");
        draw(&mut drawing, &loss, &run.validation_loss, (&dashed, "green", Marker::Square));
    }
    let mut last = loss;
    if validated {
        last = draw_validation(&mut drawing, &loss, runs, weight);
    }
    last.x_axis(&mut drawing, &x.ticks(5), "optimiser step");
    drawing.set_height(last.bottom() + 44.);

    Ok(Panel {
        name: "training".to_owned(),
        title: "Training".to_owned(),
        caption: caption(runs, validation_loss, validated),
        csv: Some(table(runs)),
        drawing,
    })
}

fn draw_validation(drawing: &mut Drawing, above: &Plot, runs: &[TrainingRun], weight: &str) -> Plot {
    let [left, _, width, _] = above.frame;
    let values = runs.iter().flat_map(|run| &run.validation_top1).map(|s| s.value);
    let plot = Plot {
        frame: [left, above.bottom() + 22., width, HEIGHT],
        x: above.x,
        y: Scale::around(values.chain([0.]), 5),
    };
    drawing.line([left, above.bottom(), above.right(), above.bottom()], "d-s-ink d-thin");
    plot.y_axis(drawing, &plot.y.ticks(5), "validation top-1");
    for run in runs {
        let look = (weight, "vermillion", Marker::Circle);
        draw(drawing, &plot, &run.validation_top1, look);
        let kept = run.validation_top1.iter().find(|s| Some(s.step) == run.kept_step);
        if let Some(sample) = kept {
            let at = plot.at(sample.step as f64, sample.value);
            let about = format!("{}: kept step {}", run.label, count(sample.step));
            drawing.marker(Marker::Diamond, at, 4.4, "d-f-ink", &about);
        }
    }
    plot
}

fn draw(
    drawing: &mut Drawing,
    plot: &Plot,
    samples: &[Sample],
    (weight, colour, marker): (&str, &str, Marker),
) {
    let points: Vec<_> = thin(samples).into_iter().map(|(step, value)| plot.at(step, value)).collect();
    if let [point] = points[..] {
        drawing.marker(marker, point, 4., &format!("d-f-{colour}"), "");
    }
    drawing.polyline(&points, &format!("d-round {weight} d-s-{colour}"));
}

/// Means over equal runs of consecutive finite samples, so many that a page can show them.
fn thin(samples: &[Sample]) -> Vec<(f64, f64)> {
    let finite: Vec<&Sample> = samples.iter().filter(|s| s.value.is_finite()).collect();
    finite
        .chunks(together(finite.len()))
        .map(|part| {
            let mean = |value: fn(&Sample) -> f64| {
                part.iter().map(|sample| value(sample) / part.len() as f64).sum::<f64>()
            };
            (mean(|s| s.step as f64), mean(|s| s.value))
        })
        .collect()
}

fn together(samples: usize) -> usize {
    samples.div_ceil(MOST_POINTS).max(1)
}

fn entries(validation_loss: bool, validated: bool) -> Vec<Entry> {
    let line = |line: &str, name: &str| Entry {
        key: Key::Line(None),
        line: line.to_owned(),
        fill: String::new(),
        name: name.to_owned(),
    };
    let mut entries = vec![line("d-s-blue d-mid", "training loss")];
    if validation_loss {
        entries.push(line("d-s-green d-mid d-dash", "validation loss"));
    }
    if validated {
        entries.push(line("d-s-vermillion d-mid", "validation top-1"));
        entries.push(Entry {
            key: Key::Point(Marker::Diamond),
            line: String::new(),
            fill: "d-f-ink".to_owned(),
            name: "weights kept".to_owned(),
        });
    }
    entries
}

fn caption(runs: &[TrainingRun], validation_loss: bool, validated: bool) -> String {
    let longest = runs.iter().map(|run| run.train_loss.len()).max().unwrap_or(0);
    let mut caption = format!(
        "Training loss{} over the optimiser's steps",
        if validation_loss { " and validation loss" } else { "" },
    );
    match runs {
        [_] => caption.push('.'),
        _ => caption += &format!(", one line for each of {}.", counted(runs.len(), "run")),
    }
    if together(longest) > 1 {
        caption += &format!(" Points are means of {} recorded values.", together(longest));
    }
    caption += if validated {
        " Below: top-1 identification of validation images; the diamond marks the weights that were \
         kept and tested."
    } else {
        " Validation identification was not recorded."
    };
    caption
}

fn table(runs: &[TrainingRun]) -> String {
    let rows = runs.iter().flat_map(|run| {
        [
            ("train_loss", &run.train_loss),
            ("validation_loss", &run.validation_loss),
            ("validation_top1", &run.validation_top1),
        ]
        .into_iter()
        .flat_map(move |(quantity, samples)| {
            samples.iter().map(move |sample| {
                [run.label.clone(), quantity.to_owned(), sample.step.to_string(), raw(sample.value)]
            })
        })
    });
    csv(["run", "quantity", "step", "value"], rows)
}
