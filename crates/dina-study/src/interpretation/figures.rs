//! The figures of an interpretation.

use dina_interp::attribution::Method;
use dina_interp::neurons::{OrderCurve, SubsetCurves};
use dina_interp::space::Extent;
use dina_report::chart::{
    Axis, Caption, Chart, Ellipse, Group, IntervalItem, Intervals, Line, LinePoint, LineStyle, Lines, Matrix,
    Scatter, ScatterPoint, Screen, Tile, TileRow, Tiles, alignability as alignability_chart, intervals,
    lines, matrix, scatter, screen, tiles,
};
use dina_report::format::{counted, interval, p_equals, proportion};
use dina_report::{Alignability, ChannelAlignability, Picture};
use ndarray::{ArrayD, ArrayView2, Axis as Of, s};

use super::{
    ALPHA, AttributionResult, ChosenChannel, Interpretation, Interpreted, NeuronAnalyses, TowerSide,
};

/// Channels of a profile that are drawn.
const PROFILES: usize = 12;
/// Images of an attribution figure.
const SHOWN: usize = 2;

/// Alignability, one chart a level.
pub(super) fn alignability(r: &Interpretation) -> Vec<Chart> {
    let found = &r.alignability;
    let mut levels: Vec<&str> = found.channels.iter().map(|c| c.level.as_str()).collect();
    levels.dedup();
    let over = if levels.len() > 1 { "channels of all levels" } else { "channels" };
    levels
        .into_iter()
        .map(|level| {
            let channels = found.channels.iter().filter(|c| c.level == level);
            alignability_chart(&Alignability {
                level: level.into(),
                images: found.images,
                permutations: found.permutations,
                null_coverage: found.coverage,
                correction: format!("step-down maxT over {over}"),
                alpha: ALPHA,
                channels: channels
                    .map(|c| ChannelAlignability {
                        channel: c.channel,
                        r: c.r.estimate,
                        interval: Some([c.r.low, c.r.high]),
                        null_low: c.null_low,
                        null_high: c.null_high,
                        p_adjusted: c.p_adjusted,
                    })
                    .collect(),
            })
        })
        .collect()
}

/// Maps of the correlation at each position, one chart a level.
pub(super) fn profiles(r: &Interpretation) -> Vec<Chart> {
    r.profile
        .iter()
        .flatten()
        .map(|level| {
            let aligned = |channel: usize| {
                let found = r.alignability.channels.iter().find(|c| c.level == level.level && c.channel == channel);
                found.map_or(f64::NEG_INFINITY, |c| c.r.estimate)
            };
            let mut order: Vec<_> = level.channels.iter().collect();
            order.sort_by(|a, b| aligned(b.channel).total_cmp(&aligned(a.channel)));
            let values = |p: &dina_interp::space::SpatialProfile| -> Vec<f32> {
                p.r.iter().map(|r| r.map_or(f32::NAN, |r| r as f32)).collect()
            };
            let shown = &order[..PROFILES.min(order.len())];
            let largest = shown.iter().flat_map(|p| values(p)).filter(|v| v.is_finite()).fold(0f32, |m, v| m.max(v.abs()));
            let tile = |p: &&dina_interp::space::SpatialProfile| Tile::Values {
                width: p.size[1],
                values: values(p),
                marked: p.p_adjusted.iter().map(|p| p.is_some_and(|p| p <= ALPHA)).collect(),
                end: Some(largest),
                note: format!("ch {}: {}", p.channel, extent(p.extent)),
            };
            let rows = shown.chunks(6).map(|row| TileRow { label: Vec::new(), tiles: row.iter().map(tile).collect() });
            let [height, width] = level.degrees;
            let caption = format!(
                "Correlation over n = {} test images of both towers' maps at each position, a position being {height:.1} x {width:.1} \
                 degrees, of {} of {} channels, the most alignable first. Outlined: p ≤ {ALPHA} (one-sided, {} permutations of \
                 the images, step-down maxT over positions and channels). Under each map whether what is outlined is local or \
                 distributed (see the spread).",
                r.images.len(),
                shown.len(),
                order.len(),
                r.config.permutations,
            );
            tiles(
                Caption::new(format!("profile-{}", level.level), format!("Where level {} is aligned", level.level), caption),
                &Tiles { columns: Vec::new(), rows: rows.collect(), unit: Some("correlation".into()) },
            )
        })
        .collect()
}

fn extent(extent: Extent) -> &'static str {
    match extent {
        Extent::Local => "local",
        Extent::Distributed => "distributed",
        Extent::NoEvidence => "no evidence",
        _ => "undecided",
    }
}

/// The spread of aligned positions, one chart a level.
pub(super) fn spreads(r: &Interpretation) -> Vec<Chart> {
    let limits = dina_interp::space::ExtentConfig::default();
    r.profile
        .iter()
        .flatten()
        .map(|level| {
            let mut found: Vec<_> = level.channels.iter().filter_map(|p| Some((p, p.spread?))).collect();
            found.sort_by(|(_, a), (_, b)| a.relative.total_cmp(&b.relative));
            let of = found.len();
            let items = found
                .into_iter()
                .map(|(p, spread)| IntervalItem {
                    label: p.channel.to_string(),
                    value: spread.relative,
                    interval: Some([spread.low, spread.high]),
                    null: Some([spread.null_low, spread.null_high]),
                    strong: matches!(spread.extent, Extent::Local | Extent::Distributed),
                    note: format!("{}, {} region(s)", extent(spread.extent), p.regions.len()),
                })
                .collect();
            let caption = format!(
                "Mean distance of two aligned positions, weighted by correlation, over that of the same weights at random places of \
                 the screen, for the {} of {} with three aligned positions or more; 95 % intervals over n = {} test images \
                 ({} resamples), gray: the central 95 % of random places. Local where all of the interval is below {}, \
                 distributed where all of it is above {}.",
                counted(of, "channel"),
                level.channels.len(),
                r.images.len(),
                r.config.replicates,
                limits.local_below,
                limits.distributed_above,
            );
            intervals(
                Caption::new(format!("spread-{}", level.level), format!("Spread of alignment of level {}", level.level), caption),
                &Intervals {
                    of: "channel, sorted by spread".into(),
                    value: "relative spread".into(),
                    items,
                    names: ["local or distributed".into(), "undecided".into()],
                    marks: vec![
                        ("local below".into(), limits.local_below),
                        ("distributed above".into(), limits.distributed_above),
                    ],
                },
            )
        })
        .collect()
}

/// Receptive fields on the screen.
pub(super) fn footprints(found: &Interpreted) -> Chart {
    let r = &found.results;
    let prints = r.footprints.as_deref().unwrap_or_default();
    let several = r.profile.as_ref().is_some_and(|levels| levels.len() > 1);
    let ellipses = prints
        .iter()
        .map(|f| Ellipse {
            label: if several { f.name() } else { f.channel.to_string() },
            row: f.footprint.row,
            column: f.footprint.column,
            semi_axes: f.footprint.semi_axes,
            orientation: f.footprint.orientation,
            strong: f.p_adjusted <= ALPHA,
        })
        .collect();
    let caption = format!(
        "Receptive field of one unit of each channel, the position with the largest correlation of both towers on {}: correlation \
         over n = {} test images of its neural map with local contrast (standard deviation of 3 x 3 pixels), as the ellipse of the \
         area above half of the largest value. In colour: p ≤ {ALPHA} ({} permutations of the images, two-sided, maxT over pixels, Holm \
         over {} channels). Natural images blur fields by their own correlation length, so that areas are upper bounds. The \
         frame is the part of the screen that the towers see.",
        r.chosen_on,
        r.images.len(),
        r.config.permutations,
        prints.len(),
    );
    screen(
        Caption::new("footprints", "What the channels see", caption),
        &Screen { degrees: r.window, ellipses, names: ["receptive field".into(), "no evidence".into()] },
    )
}

/// A standardised image from -2.5 to 2.5 standard deviations.
fn picture(pixels: ArrayView2<'_, f32>) -> Option<Picture> {
    let values: Vec<f32> = pixels.iter().copied().collect();
    Picture::from_values(pixels.nrows(), pixels.ncols(), &values, -2.5, 2.5).ok()
}

/// Attributions of the chosen channels to pixels.
pub(super) fn pixels(found: &Interpreted) -> Chart {
    let r = &found.results;
    let mut rows = Vec::new();
    let methods = methods(r, TowerSide::Image);
    let mut columns = vec!["image".to_owned()];
    columns.extend(methods.iter().map(Method::to_string));
    for chosen in &r.chosen {
        let own: Vec<&AttributionResult> = r
            .attribution
            .iter()
            .filter(|a| a.side == TowerSide::Image && a.level == chosen.level && a.channel == chosen.channel)
            .collect();
        let Some(first) = own.first() else { continue };
        for item in 0..SHOWN.min(first.images.len()) {
            let image = first.images[item];
            let place = r.images.iter().position(|&i| i == image);
            let shown = place.and_then(|place| picture(found.pixels.index_axis(Of(0), place)));
            let mut tiles =
                vec![shown.map_or(Tile::Empty, |picture| Tile::Picture { picture, note: String::new() })];
            for method in &methods {
                let result = own.iter().find(|a| a.method == *method);
                let values = result.and_then(|a| found.array(&a.tensor));
                tiles.push(match (result, values) {
                    (Some(result), Some(values)) => map(values, item, verdict(result)),
                    _ => Tile::Empty,
                });
            }
            let label =
                vec![format!("{} ch {}", chosen.level, chosen.channel), format!("image {}", image + 1)];
            rows.push(TileRow { label, tiles });
        }
    }
    let caption = format!(
        "How much each pixel adds to the dot product of a channel's image map with the neural map of the response to the same image (less \
         the mean over {}), for the channels most alignable on {} and {SHOWN} of {} test images at equal steps. Red raises it, \
         blue lowers it. Under each map whether the method passed its checks on this tower (table below).",
        r.chosen_on,
        r.chosen_on,
        r.images.len()
    );
    tiles(
        Caption::new("attribution-pixels", "Which pixels the channels owe it to", caption),
        &Tiles { columns, rows, unit: None },
    )
}

/// One item of `[items, 1, height, width]`.
fn map(values: &ArrayD<f32>, item: usize, note: &str) -> Tile {
    let of = values.index_axis(Of(0), item);
    let width = values.shape().last().copied().unwrap_or(1);
    Tile::Values {
        width,
        values: of.iter().copied().collect(),
        marked: Vec::new(),
        end: None,
        note: note.into(),
    }
}

pub(super) fn verdict(result: &AttributionResult) -> &'static str {
    if result.trusted { "checks passed" } else { "NOT trusted" }
}

fn methods(r: &Interpretation, side: TowerSide) -> Vec<Method> {
    let mut methods: Vec<Method> = Vec::new();
    for a in r.attribution.iter().filter(|a| a.side == side) {
        if !methods.contains(&a.method) {
            methods.push(a.method);
        }
    }
    methods
}

/// The attributions of one channel on one side.
fn of_channel<'a>(
    r: &'a Interpretation,
    side: TowerSide,
    chosen: &'a ChosenChannel,
) -> impl Iterator<Item = &'a AttributionResult> {
    r.attribution
        .iter()
        .filter(move |a| a.side == side && a.level == chosen.level && a.channel == chosen.channel)
}

/// What is left of attributions when parameters are redrawn, one chart a side.
pub(super) fn cascades(r: &Interpretation) -> Vec<Chart> {
    let Some(chosen) = r.chosen.first() else { return Vec::new() };
    [TowerSide::Image, TowerSide::Neural]
        .into_iter()
        .map(|side| {
            let own = of_channel(r, side, chosen);
            let mut stages = Vec::new();
            let curves: Vec<Line> = own
                .filter_map(|a| {
                    let cascade = a.cascade.as_ref()?;
                    stages = cascade.steps.iter().zip(1..).map(|(s, n): (_, usize)| format!("{n} {}", s.parameters.join(" + "))).collect();
                    let start = LinePoint { x: 0., y: 1., interval: None };
                    let steps = cascade.steps.iter().enumerate().map(|(i, s)| LinePoint {
                        x: (i + 1) as f64,
                        y: s.similarity.estimate,
                        interval: Some([s.similarity.low, s.similarity.high]),
                    });
                    let points = std::iter::once(start).chain(steps).collect();
                    Some(Line { name: a.method.to_string(), style: LineStyle::Measured, points })
                })
                .collect();
            let limit = dina_interp::trust::CascadeConfig::default().largest;
            let caption = format!(
                "Rank correlation of absolute attributions of {} channel {} with those of the intact tower, when its parameters are drawn \
                 anew one after the other from the output side ({}), with 95 % intervals over {} images, mean of {}. A method that \
                 stays above the limit at the end shows the input and not the tower, and is flagged.",
                chosen.level,
                chosen.channel,
                stages.join(", "),
                r.config.items.min(r.images.len()),
                counted(r.config.redraws, "redraw"),
            );
            lines(
                Caption::new(
                    format!("cascade-{}", side.name()),
                    format!("Randomisation of the {} tower", side.name()),
                    caption,
                ),
                &Lines {
                    x: Axis::linear("parameters redrawn"),
                    y: Axis::linear("rank correlation"),
                    lines: curves,
                    marks: vec![("limit".into(), limit)],
                },
            )
        })
        .collect()
}

/// Deletion of what counts most against random order, one chart a side.
pub(super) fn deletions(r: &Interpretation) -> Vec<Chart> {
    let Some(chosen) = r.chosen.first() else { return Vec::new() };
    [TowerSide::Image, TowerSide::Neural]
        .into_iter()
        .map(|side| {
            let own = of_channel(r, side, chosen);
            let mut curves = Vec::new();
            for a in own {
                let Some(found) = &a.perturbation else { continue };
                let line = |name: String, style, values: &[f64]| Line {
                    name,
                    style,
                    points: found
                        .fractions
                        .iter()
                        .zip(values)
                        .map(|(&x, &y)| LinePoint { x, y, interval: None })
                        .collect(),
                };
                if curves.is_empty() {
                    curves.push(line("random order".into(), LineStyle::Null, &found.deletion.random));
                }
                curves.push(line(a.method.to_string(), LineStyle::Measured, &found.deletion.curve));
            }
            let what = if side == TowerSide::Image { "pixels" } else { "neurons" };
            let caption = format!(
                "The target of {} channel {} as {what} go, those with the largest attribution first, in units of what the {} images \
                 change it by, mean over images; dashed: {} random orders an image. The lower a curve, the better the attribution. \
                 The tests are in the table.",
                chosen.level,
                chosen.channel,
                r.config.items.min(r.images.len()),
                r.config.orders,
            );
            lines(
                Caption::new(format!("deletion-{}", side.name()), format!("Deletion of {what}"), caption),
                &Lines {
                    x: Axis::linear(format!("share of {what} gone")),
                    y: Axis::linear("target"),
                    lines: curves,
                    marks: Vec::new(),
                },
            )
        })
        .collect()
}

/// Attributions to neurons against contributions, one chart a chosen channel of the first level.
pub(super) fn to_neurons(found: &Interpreted) -> Vec<Chart> {
    let r = &found.results;
    if found.contributions.is_empty() {
        return Vec::new();
    }
    let first = r.alignability.channels.first().map(|c| c.level.as_str());
    r.chosen
        .iter()
        .filter(|chosen| Some(chosen.level.as_str()) == first)
        .take(2)
        .map(|chosen| {
            let contribution = found.contributions.slice(s![.., chosen.channel]);
            let groups = r
                .attribution
                .iter()
                .filter(|a| {
                    a.side == TowerSide::Neural && a.level == chosen.level && a.channel == chosen.channel
                })
                .filter_map(|a| Some((a, found.array(&a.tensor)?.mean_axis(Of(0))?)))
                .map(|(a, mean)| Group {
                    name: a.method.to_string(),
                    strong: true,
                    points: mean
                        .iter()
                        .zip(&contribution)
                        .enumerate()
                        .map(|(n, (&y, &x))| ScatterPoint {
                            x: f64::from(x),
                            y: f64::from(y),
                            label: format!("neuron {}", r.neurons.get(n).map_or(n, |n| *n)),
                        })
                        .collect(),
                })
                .collect();
            let caption = format!(
                "Mean attribution to each of {} neurons over {} test images of the dot product of channel {}'s neural map with the image map, \
                 against what the neuron contributes to the alignability of the channel over all {} test images. Both say what a \
                 neuron adds: an attribution of single images, a contribution of their covariance.",
                r.neurons.len(),
                r.config.items.min(r.images.len()),
                chosen.channel,
                r.images.len(),
            );
            scatter(
                Caption::new(
                    format!("attribution-neurons-{}", chosen.channel),
                    format!("Which neurons channel {} owes it to", chosen.channel),
                    caption,
                ),
                &Scatter {
                    x: Axis::linear("contribution to alignability"),
                    y: Axis::linear("mean attribution"),
                    groups,
                },
            )
        })
        .collect()
}

/// Scores of subsets, for alignment and identification.
pub(super) fn curves(r: &Interpretation, found: &NeuronAnalyses) -> Vec<Chart> {
    let chart = |name: &str, what: &str, axis: &str, curves: &SubsetCurves| {
        let points = |of: &OrderCurve| -> Vec<LinePoint> {
            let ends = of.low.iter().zip(&of.high);
            let at = curves.counts.iter().zip(&of.score).zip(ends);
            at.map(|((&x, &y), (&low, &high))| LinePoint { x: x as f64, y, interval: Some([low, high]) })
                .collect()
        };
        let line = |name: &str, of: &OrderCurve| Line {
            name: name.into(),
            style: LineStyle::Measured,
            points: points(of),
        };
        let random = curves
            .counts
            .iter()
            .zip(&curves.random)
            .zip(curves.random_low.iter().zip(&curves.random_high))
            .map(|((&x, &y), (&low, &high))| LinePoint { x: x as f64, y, interval: Some([low, high]) });
        let lines_of = vec![
            line("contribution first", &curves.contribution),
            line("strongest first", &curves.strongest),
            line("weakest first", &curves.weakest),
            Line { name: "random".into(), style: LineStyle::Null, points: random.collect() },
        ];
        let needed: Vec<String> = curves
            .needed
            .iter()
            .map(|n| format!("{:.0} % takes {} ({} at random)", 100. * n.fraction, n.contribution, n.random))
            .collect();
        let caption = format!(
            "{what} of the first k of {} neurons, all others at their means, over n = {} test images, with 95 % intervals over images; \
             gray: the central 95 % of {} random orders. Contribution is measured on {}, strength is the mean response to \
             training images. By contribution {}.",
            curves.neurons,
            r.images.len(),
            curves.draws,
            r.chosen_on,
            if needed.is_empty() { "nothing is there to rebuild".to_owned() } else { needed.join(", ") },
        );
        lines(
            Caption::new(name, format!("{what} by few neurons"), caption),
            &Lines {
                x: Axis::log("neurons"),
                y: Axis::linear(axis),
                lines: lines_of,
                marks: vec![("chance".into(), curves.chance), ("all neurons".into(), curves.full)],
            },
        )
    };
    let aligned = found.curves.iter().map(|c| chart("curves-alignment", "Alignment", "alignment", c));
    let identified = found
        .identification
        .iter()
        .map(|c| chart("curves-identification", "Two-way identification", "correct", c));
    aligned.chain(identified).collect()
}

/// Concentration, and what contribution goes with.
pub(super) fn properties(r: &Interpretation, found: &NeuronAnalyses) -> Vec<Chart> {
    let estimates = found.contributions.estimates();
    let significant = found.contributions.significant(ALPHA);
    let mut charts = vec![lorenz(r, found, &estimates)];
    let named = [("strength", "mean recorded response", Some(&found.properties.strength))].into_iter().chain(
        [("reliability", "correlation of halves of the repeats", found.properties.reliability.as_ref())],
    );
    for (name, what, values) in named {
        let Some(values) = values else { continue };
        let group = |strong: bool, label: &str| Group {
            name: label.into(),
            strong,
            points: values
                .iter()
                .zip(&estimates)
                .enumerate()
                .filter(|(n, _)| significant.contains(n) == strong)
                .map(|(n, (&x, &y))| ScatterPoint {
                    x,
                    y,
                    label: format!("neuron {}", r.neurons.get(n).map_or(n, |n| *n)),
                })
                .collect(),
        };
        let relation = found.relations.as_ref().and_then(|all| all.factors.iter().find(|f| f.factor == name));
        let said = relation.map_or(String::new(), |f| {
            let fixed = f.fixed.join(" and ");
            format!(
                " Partial rank correlation at equal {fixed} {} {}, {}; within strata of equal {fixed} {}, {} ({} permutations, two-sided, \
                 Holm over properties).",
                proportion(f.partial.estimate),
                interval(f.partial.low, f.partial.high),
                p_equals(f.p_partial),
                proportion(f.matched),
                p_equals(f.p_matched),
                r.config.permutations,
            )
        });
        let caption = format!(
            "What each of n = {} neurons adds to the alignment of {} test images, against its {name} ({what}, training images). In \
             colour: p ≤ {ALPHA} ({} permutations, step-down maxT over neurons).{said}",
            estimates.len(),
            r.images.len(),
            r.config.permutations,
        );
        charts.push(scatter(
            Caption::new(format!("contribution-{name}"), format!("Contribution against {name}"), caption),
            &Scatter {
                x: Axis::linear(name),
                y: Axis::linear("contribution"),
                groups: vec![group(false, "not significant"), group(true, "contributes")],
            },
        ));
    }
    charts
}

/// Cumulative share of the positive contributions, strongest first.
fn lorenz(r: &Interpretation, found: &NeuronAnalyses, estimates: &[f64]) -> Chart {
    let mut positive: Vec<f64> = estimates.iter().map(|v| v.max(0.)).collect();
    positive.sort_by(|a, b| b.total_cmp(a));
    let total: f64 = positive.iter().sum();
    let count = positive.len() as f64;
    let mut sum = 0.;
    let mut points = vec![LinePoint { x: 0., y: 0., interval: None }];
    // About as many points as the picture has pixels.
    let step = positive.len().div_ceil(200).max(1);
    for (i, value) in positive.iter().enumerate() {
        sum += value;
        if (i + 1) % step == 0 || i + 1 == positive.len() {
            points.push(LinePoint { x: (i + 1) as f64 / count, y: sum / total, interval: None });
        }
    }
    let even = [0., 1.].map(|v| LinePoint { x: v, y: v, interval: None }).to_vec();
    let said = found.concentration.as_ref().map_or(String::new(), |c| {
        format!(
            " Effectively {:.0} neurons ({:.0} to {:.0}), noise taken off. Gini's index {} {}; with the contributions of each image dealt anew among neurons {} ({} to {}), {}. Vinje and Gallant's \
             sparseness {} {}.",
            c.effective.estimate,
            c.effective.low,
            c.effective.high,
            proportion(c.gini.estimate),
            interval(c.gini.low, c.gini.high),
            proportion(c.null_gini),
            proportion(c.null_low),
            proportion(c.null_high),
            p_equals(c.p),
            proportion(c.sparseness.estimate),
            interval(c.sparseness.low, c.sparseness.high),
        )
    });
    let caption = format!(
        "Share of all positive contributions that the strongest of n = {} neurons hold, over {} test images. Noise alone \
         makes it convex: the null says by how much.{said}",
        estimates.len(),
        r.images.len()
    );
    lines(
        Caption::new("concentration", "Concentration of contributions", caption),
        &Lines {
            x: Axis::linear("share of neurons"),
            y: Axis::linear("share of contributions"),
            lines: vec![
                Line { name: "contributions".into(), style: LineStyle::Measured, points },
                Line { name: "all equal".into(), style: LineStyle::Null, points: even },
            ],
            marks: Vec::new(),
        },
    )
}

/// Interactions of pairs.
pub(super) fn interactions(r: &Interpretation, found: &NeuronAnalyses) -> Option<Chart> {
    let pairs = found.interactions.as_ref()?;
    let count = found.paired.len();
    let mut values = vec![f64::NAN; count * count];
    let mut marked = vec![false; count * count];
    for set in &pairs.sets {
        let [a, b] = set.groups[..] else { continue };
        for place in [a * count + b, b * count + a] {
            values[place] = set.estimate;
            marked[place] = set.p_adjusted <= ALPHA;
        }
    }
    let column = |&n: &usize| r.neurons.get(n).map_or(n, |n| *n).to_string();
    let caption = format!(
        "What silencing two neurons takes from the alignment of n = {} test images beyond the sum of what silencing each takes, for \
         the {count} neurons that contribute most on {}. Red: each stands in for the other (redundancy); blue: they only work \
         together (synergy). Dots: p ≤ {ALPHA} ({} sign flips of images, two-sided, step-down maxT over {} pairs).",
        pairs.images,
        r.chosen_on,
        r.config.permutations,
        pairs.sets.len(),
    );
    Some(matrix(
        Caption::new("interactions", "Interactions of pairs of neurons", caption),
        &Matrix {
            names: found.paired.iter().map(column).collect(),
            of: "neuron".into(),
            values,
            marked,
            unit: "interaction (alignment)".into(),
        },
    ))
}

/// Most exciting images.
pub(super) fn exciting(found: &Interpreted) -> Chart {
    let r = &found.results;
    let starts = 3.min(r.config.starts);
    let rows = r
        .exciting
        .iter()
        .map(|e| {
            let values = found.array(&e.tensor);
            let tiles = (0..starts.min(e.targets.len()))
                .filter_map(|start| {
                    let one = values?.index_axis(Of(0), start).to_owned();
                    let (height, width) = (*one.shape().get(1)?, *one.shape().get(2)?);
                    let pixels = one.into_shape_with_order((height, width)).ok()?;
                    let mark = if e.converged[start] { "" } else { ", not converged" };
                    Some(Tile::Picture {
                        picture: picture(pixels.view())?,
                        note: format!("z = {:.1}{mark}", e.z(start)),
                    })
                })
                .collect();
            let best = format!("best test image z = {:.1}", e.z_of(e.natural_max));
            TileRow { label: vec![e.name(&r.neurons), best], tiles }
        })
        .collect();
    let caption = format!(
        "Images that raise the target most, by gradient ascent from {} random starts (the best {starts} shown), at the contrast of natural \
         images, within their range of gray, gradients smoothed by one pixel. The target is the map of a channel at its position in \
         the footprint figure, or, of a neuron, the match of all maps with the weights that read it in. z: standard deviations \
         of {} test images from their mean. These are images that the towers answer to, which no animal has seen.",
        r.config.starts,
        r.images.len(),
    );
    let columns = (1..=starts).map(|start| format!("start {start}")).collect();
    tiles(
        Caption::new("most-exciting", "Most exciting images", caption),
        &Tiles { columns, rows, unit: None },
    )
}
