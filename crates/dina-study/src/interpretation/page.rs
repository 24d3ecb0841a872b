//! The page of an interpretation.

use dina_interp::trust::{Check, CheckKind, Verdict};
use dina_report::{Block, Cell, Page, Section, Summary, Table, Tone};

use super::{ALPHA, AttributionResult, Interpretation, Interpreted, NeuronAnalyses, figures, space};

/// Pairs of neurons in the table of interactions.
const PAIRS: usize = 8;

pub(super) fn build(found: &Interpreted) -> Page {
    let r = &found.results;
    let mut sections = vec![channels(r), space(found), causes(found)];
    match &r.neural {
        Some(neural) => sections.extend([neurons(r, neural), interactions(r, neural)]),
        None => sections.push(missing("Neurons", "The analyses of neurons", r, "neurons")),
    }
    sections.push(exciting(found));
    sections.push(methods(r));
    Page {
        title: "DINA: what the towers share".into(),
        subject: format!("{}, fold {}, model {}", r.recording, r.fold, r.model),
        notice: r.simulated.then(|| {
            "This recording is simulated. What is found in it says how the analyses do on a population whose truth is known, and \
             nothing about a brain."
                .into()
        }),
        summary: summary(r),
        sections,
    }
}

fn summary(r: &Interpretation) -> Summary {
    let aligned = r.alignability.significant(ALPHA).count();
    let of = r.alignability.channels.len();
    let flagged = r.attribution.iter().filter(|a| !a.trusted).count();
    let (tone, headline) = if aligned == 0 {
        (
            Tone::NotFound,
            format!("No evidence that the towers share any of {of} channels: nothing below means anything."),
        )
    } else {
        let flags = match (flagged, r.attribution.len()) {
            (_, 0) => String::new(),
            (0, all) => format!("; all {all} attributions passed their checks"),
            (flagged, all) => format!("; {flagged} of {all} attributions are flagged"),
        };
        let verb = if aligned == 1 { "is" } else { "are" };
        let tone = if flagged > 0 { Tone::Open } else { Tone::Found };
        (tone, format!("{aligned} of {of} channels {verb} shared by the two towers{flags}."))
    };
    let mut details = vec![format!("Alignability: {}.", r.alignability)];
    details.extend(r.profile.iter().map(|found| format!("Where: {}.", space::extents(found))));
    details.extend(
        r.footprints
            .iter()
            .map(|found| format!("Fields: {}.", space::seen(found, r.footprint_spread.as_ref()))),
    );
    if let Some(neural) = &r.neural {
        details.push(format!("Neurons: {}.", neural.contributions));
        details.extend(neural.concentration.iter().map(|found| format!("Concentration: {found}.")));
        details.extend(neural.interactions.iter().map(|found| format!("Interactions: {found}.")));
    }
    let details = details.iter().map(|text| text.replace("<=", "≤")).collect();
    Summary { tone, headline, details }
}

fn missing(title: &str, what: &str, r: &Interpretation, analysis: &str) -> Section {
    Section { title: title.into(), blocks: vec![absent(what, r, analysis)] }
}

/// The reason that was noted for an analysis.
fn absent(what: &str, r: &Interpretation, analysis: &str) -> Block {
    let reason = r.absent.iter().find(|text| text.starts_with(analysis));
    let reason =
        reason.map_or("it was not asked for", |text| text.split(": not measured: ").last().unwrap_or(text));
    Block::Absent { what: what.into(), reason: reason.into() }
}

fn words(text: impl Into<String>) -> Cell {
    Cell::Words(text.into())
}

fn number(value: f64) -> Cell {
    Cell::Number(dina_report::format::proportion(value))
}

fn p(value: f64) -> Cell {
    Cell::Number(dina_report::format::p_value(value))
}

fn numbers(names: &[&str]) -> Vec<Cell> {
    names.iter().map(|name| Cell::Number((*name).into())).collect()
}

fn channels(r: &Interpretation) -> Section {
    let mut head = vec![words("Channel")];
    head.extend(numbers(&["Position (row, column)", "r, choice", "r, test", "p"]));
    let rows = r
        .chosen
        .iter()
        .map(|c| {
            vec![
                words(format!("{} {}", c.level, c.channel)),
                Cell::Number(format!("{}, {}", c.position[0], c.position[1])),
                number(c.chosen_by),
                number(c.r),
                p(c.p_adjusted),
            ]
        })
        .collect();
    let table = Table {
        title: "Channels that are explained below".into(),
        text: format!(
            "Those with the largest alignability on {} {}; measured again on {} test images (p: {} permutations of the images, \
             one-sided, step-down maxT over all {} channels).",
            r.choice_images,
            r.chosen_on,
            r.images.len(),
            r.config.permutations,
            r.alignability.channels.len()
        ),
        head,
        rows,
    };
    Section {
        title: "Channels".into(),
        blocks: vec![Block::Charts(figures::alignability(r)), Block::Table(table)],
    }
}

fn space(found: &Interpreted) -> Section {
    let r = &found.results;
    let mut blocks = Vec::new();
    if r.profile.is_some() {
        blocks.push(Block::Charts(figures::profiles(r)));
    } else {
        blocks.push(absent("The spatial profile", r, "spatial profile"));
    }
    let mut pair = figures::spreads(r);
    if r.footprints.is_some() {
        pair.push(figures::footprints(found));
    }
    blocks.push(Block::Charts(pair));
    if r.footprints.is_none() {
        blocks.push(absent("Footprints", r, "footprints"));
    }
    Section { title: "Space".into(), blocks }
}

fn causes(found: &Interpreted) -> Section {
    let r = &found.results;
    if r.attribution.is_empty() {
        return missing("Attribution", "Attribution", r, "attribution");
    }
    let blocks = vec![
        Block::Charts(vec![figures::pixels(found)]),
        Block::Charts(figures::to_neurons(found)),
        Block::Table(checks(r)),
        Block::Charts(figures::cascades(r)),
        Block::Charts(figures::deletions(r)),
    ];
    Section { title: "Attribution".into(), blocks }
}

fn checks(r: &Interpretation) -> Table {
    let mut head = vec![words("Channel"), words("Method"), words("Verdict")];
    head.extend(numbers(&[
        "Completeness",
        "Redrawn",
        "Untrained",
        "Shuffled",
        "Seeds",
        "Deletion",
        "Insertion",
        "Gradients",
    ]));
    let rows = r
        .attribution
        .iter()
        .map(|a| {
            let input = match a.side {
                super::TowerSide::Image => "pixels",
                super::TowerSide::Neural => "neurons",
            };
            let mut row = vec![
                words(format!("{} {}, {input}", a.level, a.channel)),
                words(a.method.to_string()),
                if a.trusted { words("passed") } else { Cell::Failed("NOT trusted".into()) },
                complete(a),
            ];
            let kinds = [
                CheckKind::ParameterRandomisation,
                CheckKind::Untrained,
                CheckKind::LabelRandomisation,
                CheckKind::SeedAgreement,
                CheckKind::Deletion,
                CheckKind::Insertion,
                CheckKind::Gradient,
            ];
            row.extend(kinds.map(|kind| check(a.checks.iter().find(|c| c.kind == kind))));
            row
        })
        .collect();
    Table {
        title: "Whether the attributions can be believed".into(),
        text: format!(
            "Completeness: largest relative deviation of the sum from the change of the target. Redrawn, untrained, shuffled: rank \
             correlation of absolute attributions with those of the tower with all parameters redrawn, of one with random weights, and of one \
             trained on images dealt anew among the responses (all should be below {0}). Seeds: the same with towers trained from other seeds \
             (should be above {0}). Of other towers the channel is explained whose image maps correlate most with this one's. Deletion and insertion: gain of area over random order (should be above 0, with p ≤ 0.05 by {1} sign flips over images). \
             Gradients: largest deviation from finite differences. 95 % intervals over {2} images in brackets; an interval that holds its \
             limit leaves a check undecided, which does not count as passed.",
            dina_interp::trust::CascadeConfig::default().largest,
            r.config.permutations,
            r.config.items.min(r.images.len())
        ),
        head,
        rows,
    }
}

fn complete(a: &AttributionResult) -> Cell {
    match &a.completeness {
        None => Cell::Number("–".into()),
        Some(c) => {
            let text = format!("{:.0e}", c.worst());
            if c.complete { Cell::Number(text) } else { Cell::Failed(text) }
        }
    }
}

fn check(found: Option<&Check>) -> Cell {
    let Some(c) = found else { return Cell::Number("–".into()) };
    let text = if c.kind == CheckKind::Gradient {
        format!("{:.0e}", c.estimate)
    } else {
        format!("{:.2} [{:.2}, {:.2}]", c.estimate, c.low, c.high)
    };
    match c.verdict {
        Verdict::Passed => Cell::Number(text),
        Verdict::Undecided => Cell::Number(format!("{text}?")),
        Verdict::Failed => Cell::Failed(text),
    }
}

fn neurons(r: &Interpretation, found: &NeuronAnalyses) -> Section {
    let mut blocks =
        vec![Block::Charts(figures::curves(r, found)), Block::Charts(figures::properties(r, found))];
    if let Some(relations) = &found.relations {
        let mut head = vec![words("Property"), words("At equal")];
        head.extend(numbers(&["Partial", "95 % interval", "p", "Matched", "p", "Plain"]));
        let row = |f: &dina_interp::neurons::FactorRelation| {
            vec![
                words(f.factor.clone()),
                words(f.fixed.join(" and ")),
                number(f.partial.estimate),
                Cell::Number(dina_report::format::interval(f.partial.low, f.partial.high)),
                p(f.p_partial),
                number(f.matched),
                p(f.p_matched),
                number(f.plain),
            ]
        };
        blocks.push(Block::Table(Table {
            title: "What contribution goes with".into(),
            text: format!(
                "Rank correlations with contribution over n = {} neurons: partial, what ranks and squared ranks of the property held fixed \
                 leave; matched, the same within strata of neurons of about equal value; plain, nothing held fixed. {} permutations of \
                 neurons, two-sided, Holm over properties. Positions as recorded.",
                relations.neurons, r.config.permutations
            ),
            head,
            rows: relations.factors.iter().map(row).collect(),
        }));
    } else {
        blocks.push(absent("What contribution goes with", r, "strength against reliability"));
    }
    blocks.push(subsets(r, found));
    Section { title: "Neurons".into(), blocks }
}

fn subsets(r: &Interpretation, found: &NeuronAnalyses) -> Block {
    let mut head = vec![words("Choice")];
    head.extend(numbers(&[
        "Neurons",
        "Alignment, choice",
        "of",
        "Alignment, test",
        "Jaccard",
        "chance",
        "Kuncheva",
        "p",
    ]));
    head.push(words("Chosen, in order"));
    let chosen = [("forward selection", &found.greedy), ("non-negative garrote (L1)", &found.l1)];
    let rows: Vec<Vec<Cell>> = chosen
        .into_iter()
        .filter_map(|(name, subset)| {
            let subset = subset.as_ref()?;
            let (c, t) = (&subset.choice, &subset.test);
            let column = |&n: &usize| {
                let own = found.candidates.get(n).copied().unwrap_or(n);
                r.neurons.get(own).map_or(own, |n| *n).to_string()
            };
            Some(vec![
                words(name),
                Cell::Number(c.chosen.len().to_string()),
                number(c.alignment.last().copied().unwrap_or(0.)),
                number(c.full),
                Cell::Number(dina_report::format::with_interval(t.estimate, t.low, t.high)),
                Cell::Number(dina_report::format::with_interval(
                    c.jaccard.estimate,
                    c.jaccard.low,
                    c.jaccard.high,
                )),
                number(c.chance),
                number(c.kuncheva),
                p(c.p),
                words(c.chosen.iter().map(column).collect::<Vec<_>>().join(", ")),
            ])
        })
        .collect();
    if rows.is_empty() {
        return absent("Minimal subsets", r, "greedy subset");
    }
    Block::Table(Table {
        title: "Small sets that rebuild the alignment".into(),
        text: format!(
            "Chosen among the {} neurons that contribute most on {} {}, whose alignment there is in the column `of`; alignment on {} test images \
             with its 95 % interval. Jaccard and Kuncheva: overlap of the choices in {} halves of the images, and p of as large an overlap of \
             random sets.",
            found.candidates.len(),
            r.choice_images,
            r.chosen_on,
            r.images.len(),
            r.config.resamples
        ),
        head,
        rows,
    })
}

fn interactions(r: &Interpretation, found: &NeuronAnalyses) -> Section {
    let (Some(chart), Some(pairs)) = (figures::interactions(r, found), &found.interactions) else {
        return missing("Interactions", "Interactions", r, "interactions");
    };
    let mut order: Vec<_> = pairs.sets.iter().collect();
    order.sort_by(|a, b| {
        a.p_adjusted.total_cmp(&b.p_adjusted).then(b.estimate.abs().total_cmp(&a.estimate.abs()))
    });
    let mut head = vec![words("Neurons")];
    head.extend(numbers(&["Interaction", "95 % interval", "p"]));
    let name = |group: &usize| {
        let own = found.paired.get(*group).copied().unwrap_or(*group);
        r.neurons.get(own).map_or(own, |n| *n).to_string()
    };
    let small = |value: f64| Cell::Number(format!("{value:.2e}").replace('-', "−"));
    let table = Table {
        title: "The pairs with the smallest p".into(),
        text: format!("The first {PAIRS} of {}; test and correction as in the figure.", pairs.sets.len()),
        head,
        rows: order
            .iter()
            .take(PAIRS)
            .map(|set| {
                let between = format!("[{:.2e}, {:.2e}]", set.low, set.high).replace('-', "−");
                vec![
                    words(set.groups.iter().map(name).collect::<Vec<_>>().join(" and ")),
                    small(set.estimate),
                    Cell::Number(between),
                    p(set.p_adjusted),
                ]
            })
            .collect(),
    };
    Section { title: "Interactions".into(), blocks: vec![Block::Charts(vec![chart]), Block::Table(table)] }
}

fn exciting(found: &Interpreted) -> Section {
    let r = &found.results;
    let block = if r.exciting.is_empty() {
        absent("Most exciting images", r, "most exciting images")
    } else {
        Block::Charts(vec![figures::exciting(found)])
    };
    Section { title: "Most exciting images".into(), blocks: vec![block] }
}

fn methods(r: &Interpretation) -> Section {
    let mut blocks = vec![
        Block::Text(format!(
            "Channels, their positions and the order of neurons were chosen on {} {}. Every figure was measured on {} test images, which \
             had no part in training or choice; responses are means over repeats, and images, not trials, are what is resampled \
             and permuted. Every p counts the observed arrangement, so that the smallest possible is 1/{}. Of {} recorded columns {} neurons \
             were kept.",
            r.choice_images,
            r.chosen_on,
            r.images.len(),
            r.config.permutations + 1,
            r.neurons.iter().max().map_or(0, |last| last + 1),
            r.neurons.len()
        )),
        Block::Text(
            "All of it is about the towers: a neuron that carries the image in a way the read-in does not use contributes nothing, and silencing \
             a neuron in a tower is not silencing it in an animal. Labels were not randomised and towers of other seeds not compared, \
             which takes training them."
                .into(),
        ),
    ];
    blocks.extend(r.absent.iter().map(|text| Block::Text(format!("Left out: {text}."))));
    let row = |name: &str, value: String| vec![words(name), words(value)];
    blocks.push(Block::Table(Table {
        title: "Provenance".into(),
        text: String::new(),
        head: vec![words("Quantity"), words("Value")],
        rows: vec![
            row("recording", r.recording.clone()),
            row("data hash", r.hashes.data.to_string()),
            row("split hash", r.hashes.split.to_string()),
            row("configuration hash", r.hashes.configuration.to_string()),
            row("fold, model, seed", format!("{}, {}, {}", r.fold, r.model, r.seed)),
            row("version, schema", format!("{}, {}", r.version, r.schema)),
        ],
    }));
    Section { title: "Methods".into(), blocks }
}
