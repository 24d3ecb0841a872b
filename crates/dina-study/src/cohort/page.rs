//! The page of a cohort.

use dina_report::chart::{
    Axis, Caption, Chart, IntervalItem, Intervals, Line, LinePoint, LineStyle, Lines, Matrix, intervals,
    lines, matrix,
};
use dina_report::format::{counted, interval, p_value, proportion, signed};
use dina_report::{Block, Cell, Page, Section, Summary, Table, Tone};
use dina_stats::comparison::SignTest;

use super::{Agreement, ChosenBy, OverMice, PairAgreement, Quantity, Shared};
use crate::Measure;
use crate::claims::{Cohort, CohortClaim, Verdict};

/// Significance level of the marks in figures.
const ALPHA: f64 = 0.05;

/// Images, responses and claims of a cohort on one page: verdicts with a forest plot each, signs, the shared tower, agreement.
///
/// `subject` is a line on what was analysed; `simulated` puts a warning on top.
pub fn page(cohort: &Cohort, subject: &str, simulated: bool) -> Page {
    let mut sections = vec![verdicts(cohort), forests(cohort), signs(cohort)];
    match &cohort.shared {
        Some(shared) => sections.extend([tower(shared), agreement(shared)]),
        None => sections.push(Section {
            title: "One image tower for all mice".into(),
            blocks: vec![Block::Absent {
                what: "The shared image tower".into(),
                reason: "it was not fitted; it needs two mice that saw the same images".into(),
            }],
        }),
    }
    Page {
        title: "DINA: a cohort of mice".into(),
        subject: subject.into(),
        notice: simulated.then(|| {
            "These mice are simulated. What is found in them says how the analyses do on a population whose truth is known, and \
             nothing about brains."
                .into()
        }),
        summary: summary(cohort),
        sections,
    }
}

fn summary(cohort: &Cohort) -> Summary {
    let with = |verdict: Verdict| cohort.claims.iter().filter(|claim| claim.verdict == verdict).count();
    let supported = with(Verdict::Supported);
    let headline = format!(
        "{} of {} supported over {}, {} contradicted, {} inconclusive.",
        supported,
        counted(cohort.claims.len(), "claim"),
        mice(cohort.mice.len()),
        with(Verdict::Contradicted),
        with(Verdict::Inconclusive)
    );
    let mut details = Vec::new();
    if let Some(shared) = &cohort.shared {
        details.push(format!(
            "Leave one mouse out: an image tower that never saw a mouse identifies its held-out images {}; its own tower {}, that of all \
             mice {}, random channels {}; chance {} (top-1 of {} images).",
            top1(shared, ChosenBy::Others),
            top1(shared, ChosenBy::Own),
            top1(shared, ChosenBy::All),
            top1(shared, ChosenBy::Random),
            proportion(shared.chance_top1),
            (1. / shared.chance_top1).round()
        ));
        let difference = |quantity| row(shared, quantity, Measure::Top1);
        if let Some(row) = difference(Quantity::Difference(ChosenBy::Others, ChosenBy::Own)) {
            details.push(format!(
                "What it costs not to have seen the mouse, in top-1: {} {}.",
                signed(row.mean.estimate),
                interval(row.mean.low, row.mean.high)
            ));
        }
        let neural = &shared.agreement.neural;
        details.push(format!(
            "Agreement: maps read from two brains have a debiased CKA of {} {} on the same held-out images.",
            proportion(neural.mean),
            interval(neural.low, neural.high)
        ));
    }
    Summary { tone: if supported > 0 { Tone::Found } else { Tone::Open }, headline, details }
}

fn mice(count: usize) -> String {
    if count == 1 { "1 mouse".into() } else { format!("{count} mice") }
}

fn top1(shared: &Shared, tower: ChosenBy) -> String {
    let found = row(shared, Quantity::AboveChance(tower), Measure::Top1);
    found.map_or("–".into(), |row| proportion(row.estimate + shared.chance_top1))
}

fn row(shared: &Shared, quantity: Quantity, measure: Measure) -> Option<&OverMice> {
    shared.identification.iter().find(|row| row.quantity == quantity && row.measure == measure)
}

fn words(text: impl Into<String>) -> Cell {
    Cell::Words(text.into())
}

fn number(text: impl Into<String>) -> Cell {
    Cell::Number(text.into())
}

fn of_signs(signs: Option<&SignTest>) -> String {
    signs.map_or("–".into(), |s| format!("{} of {}, p = {}", s.positive, s.estimates.len(), p_value(s.p)))
}

fn verdicts(cohort: &Cohort) -> Section {
    let row = |claim: &CohortClaim| {
        let mean = claim.mean.as_ref();
        let p = |p: Option<f64>| number(p.map_or("–".into(), p_value));
        vec![
            words(claim.experiment.id.clone()),
            words(claim.verdict.to_string()),
            number(mean.map_or("–".into(), |m| signed(m.estimate))),
            number(mean.map_or("–".into(), |m| interval(m.low, m.high))),
            number(proportion(claim.experiment.smallest)),
            p(claim.p_adjusted),
            p(claim.p_small_adjusted),
            number(of_signs(claim.signs.as_ref())),
            number(mean.map_or("–".into(), |m| format!("{:.0} %", 100. * m.i_squared))),
        ]
    };
    let mut columns = vec![words("Claim"), words("Verdict")];
    columns.extend(["Mean effect", "95 % interval", "Smallest", "p", "p, small", "Signs", "I²"].map(number));
    let table = Table {
        title: "Claims with mice as the sample".into(),
        text: format!(
            "Random-effects mean over n = {} (DerSimonian and Laird), interval and one-sided p by Hartung and Knapp; p of no effect and p of \
             an effect as large as the smallest of interest, Holm over both hypotheses of all claims. Signs: mice above 0, one-sided \
             sign test, not corrected. I²: share of the variance that is between mice.",
            mice(cohort.mice.len())
        ),
        head: columns,
        rows: cohort.claims.iter().map(row).collect(),
    };
    let experiments = Block::Text(
        "What is claimed, measured and decided was registered before; the error rates of the instruments are in the report of a single \
         recording, and hold for one mouse."
            .into(),
    );
    Section { title: "Verdicts".into(), blocks: vec![Block::Table(table), experiments] }
}

fn forests(cohort: &Cohort) -> Section {
    let charts: Vec<Chart> =
        cohort.claims.iter().enumerate().map(|(index, claim)| forest(cohort, index, claim)).collect();
    let mut blocks = Vec::new();
    let mut charts = charts.into_iter();
    while let Some(first) = charts.next() {
        blocks.push(Block::Charts(std::iter::once(first).chain(charts.next()).collect()));
    }
    Section { title: "Effects by mouse".into(), blocks }
}

fn forest(cohort: &Cohort, index: usize, claim: &CohortClaim) -> Chart {
    let item = |label: &str, value: f64, ends: [f64; 2], strong| IntervalItem {
        label: label.into(),
        value,
        interval: Some(ends),
        null: None,
        strong,
        note: String::new(),
    };
    let of_mice = cohort.mice.iter().enumerate().filter_map(|(place, mouse)| {
        let finding = &mouse.findings[index];
        let effect = finding.effect.as_ref().filter(|_| finding.reason.is_none())?;
        Some(item(&label(cohort, place), effect.estimate, [effect.low, effect.high], false))
    });
    let mean = claim.mean.iter().map(|m| item("mean", m.estimate, [m.low, m.high], true));
    let left_out = claim.effects.iter().filter(|effect| effect.is_none()).count();
    let chart = Intervals {
        of: if named(cohort) { "mouse" } else { "mouse, by number in the table of signs" }.into(),
        value: "effect".into(),
        items: of_mice.chain(mean).collect(),
        names: ["mean over mice".into(), "mouse".into()],
        marks: vec![("smallest of interest".into(), claim.experiment.smallest)],
    };
    let left_out =
        if left_out > 0 { format!(" {} without an effect left out.", mice(left_out)) } else { String::new() };
    let text = format!(
        "{} Effect: {}; 95 % intervals, of a mouse over images (percentile bootstrap), of the mean over n = {} (Hartung and Knapp).{left_out} Verdict: {}",
        claim.experiment.statement,
        claim.experiment.effect,
        mice(claim.effects.iter().flatten().count()),
        claim.verdict
    );
    let title = format!("{}: {}", claim.experiment.id, claim.verdict);
    intervals(Caption::new(format!("cohort-{}", claim.experiment.id), title, format!("{text}.")), &chart)
}

/// Whether the names of the mice have room on an axis.
fn named(cohort: &Cohort) -> bool {
    cohort.mice.len() <= 8 && cohort.mice.iter().all(|mouse| mouse.mouse.chars().count() <= 7)
}

/// Name or number.
fn label(cohort: &Cohort, place: usize) -> String {
    if named(cohort) { cohort.mice[place].mouse.clone() } else { (place + 1).to_string() }
}

fn signs(cohort: &Cohort) -> Section {
    let mut columns = vec![words("Effect")];
    columns.extend(
        cohort.mice.iter().enumerate().map(|(place, mouse)| number(format!("{} {}", place + 1, mouse.mouse))),
    );
    columns.push(number("Sign test"));
    let sign = |value: Option<f64>| {
        number(match value {
            None => "–".to_owned(),
            // Three decimals would hide the sign.
            Some(v) if v != 0. && v.abs() < 5e-4 => if v > 0. { "+0" } else { "−0" }.to_owned(),
            Some(v) => signed(v),
        })
    };
    let claim = |claim: &CohortClaim| {
        let mut cells = vec![words(claim.experiment.id.clone())];
        cells.extend(claim.effects.iter().map(|effect| sign(*effect)));
        cells.push(number(of_signs(claim.signs.as_ref())));
        cells
    };
    let shared = cohort.shared.iter().flat_map(|shared| &shared.identification);
    let shared = shared.filter(|row| row.measure == Measure::Top1).map(|row| {
        let mut cells = vec![words(format!("top-1, {}", name(row.quantity)))];
        cells.extend(row.mice.iter().map(|value| sign(Some(*value))));
        cells.push(number(of_signs(row.signs.as_ref())));
        cells
    });
    let smallest = 0.5f64.powf(cohort.mice.len() as f64);
    let table = Table {
        title: "Signs of all effects".into(),
        text: format!(
            "Sign and size in every mouse; sign test (one-sided for claims and what is above chance, two-sided for differences), not \
             corrected. The smallest one-sided p that {} can give is {}.",
            mice(cohort.mice.len()),
            p_value(smallest)
        ),
        head: columns,
        rows: cohort.claims.iter().map(claim).chain(shared).collect(),
    };
    Section { title: "Signs".into(), blocks: vec![Block::Table(table)] }
}

fn name(quantity: Quantity) -> String {
    let tower = |tower: ChosenBy| match tower {
        ChosenBy::Own => "own channels",
        ChosenBy::Others => "channels of the other mice",
        ChosenBy::All => "channels of all mice",
        ChosenBy::Random => "random channels",
    };
    match quantity {
        Quantity::AboveChance(of) => format!("{} above chance", tower(of)),
        Quantity::Difference(a, b) => format!("{} minus {}", tower(a), tower(b)),
    }
}

fn short(quantity: Quantity) -> String {
    match quantity {
        Quantity::AboveChance(tower) => tower.to_string(),
        Quantity::Difference(a, b) => format!("{a} − {b}"),
    }
}

fn tower(shared: &Shared) -> Section {
    let about = Block::Text(format!(
        "One image tower for all mice, in closed form: its channels are the leading directions of the covariance of image features with the \
         responses of all mice, every mouse counting alike; each mouse has a ridge read-in of its own, fitted on its training images. Leave \
         one mouse out: the channels are chosen by the other mice, and the mouse left out only gets a read-in. Random channels say what \
         the choice is worth. The {} test images ({}) are held out for all mice alike{}; all mice look at the same window of {:.0} by {:.0} \
         degrees, which holds the windows of all.",
        shared.images,
        counted(shared.image_folds, "fold"),
        if shared.clean { ", and no near duplicate of one is a training image of any mouse" } else { "" },
        shared.window[3],
        shared.window[2]
    ));
    let chart = |caption: (&str, &str), measure, differences: bool| {
        let rows = shared.identification.iter().filter(|row| {
            row.measure == measure && matches!(row.quantity, Quantity::Difference(..)) == differences
        });
        let items = rows.map(|row| IntervalItem {
            label: short(row.quantity),
            value: row.estimate,
            interval: Some([row.low, row.high]),
            null: None,
            strong: row.p_adjusted <= ALPHA,
            note: format!("p = {}", p_value(row.p_adjusted)),
        });
        let chart = Intervals {
            of: "channels chosen by".into(),
            value: if differences { "difference of top-1" } else { "top-1 above chance" }.into(),
            items: items.collect(),
            names: [format!("p ≤ {ALPHA}"), format!("p > {ALPHA}")],
            marks: Vec::new(),
        };
        let text = format!(
            "Mean over n = {} and {} images; 95 % hierarchical bootstrap intervals (mice, then images). p by the random-effects mean \
             (Hartung and Knapp), Holm over {} tests. Chance is {}.",
            mice(shared.mice.len()),
            shared.images,
            shared.identification.len(),
            proportion(shared.chance_top1)
        );
        intervals(Caption::new(caption.0, caption.1, text), &chart)
    };
    let charts = vec![
        chart(("cohort-towers", "Identification by towers of different mice"), Measure::Top1, false),
        chart(("cohort-tower-differences", "What sharing costs and gives"), Measure::Top1, true),
    ];
    Section {
        title: "One image tower for all mice".into(),
        blocks: vec![about, Block::Charts(charts), Block::Table(table(shared))],
    }
}

fn table(shared: &Shared) -> Table {
    let row = |row: &OverMice| {
        let chance = match (row.quantity, row.measure) {
            (Quantity::Difference(..), _) => "–".to_owned(),
            (_, Measure::Top1) => proportion(shared.chance_top1),
            (_, Measure::TwoWay) => proportion(0.5),
        };
        let mice: Vec<String> = row.mice.iter().map(|value| signed(*value)).collect();
        vec![
            words(name(row.quantity)),
            words(row.measure.name()),
            number(chance),
            number(mice.join(", ")),
            number(signed(row.mean.estimate)),
            number(interval(row.mean.low, row.mean.high)),
            number(interval(row.low, row.high)),
            number(p_value(row.p_adjusted)),
            number(of_signs(row.signs.as_ref())),
        ]
    };
    let mut columns = vec![words("Tower"), words("Measure")];
    columns.extend(["Chance", "By mouse", "Mean", "95 % interval", "Hierarchical", "p", "Signs"].map(number));
    let trials = match shared.trials {
        dina_decode::identification::Trials::Single => "single trials",
        dina_decode::identification::Trials::Mean => "means over repeats",
    };
    Table {
        title: "Identification of held-out images, above chance or as a difference".into(),
        text: format!(
            "{} images held out for all mice, from {trials}; differences are paired image by image. Mean and interval: random effects over \
             n = {} (Hartung and Knapp). Hierarchical: bootstrap of mice, then images, too narrow with few mice. p by the former, one-sided \
             above chance, two-sided for differences, Holm over {} tests.",
            shared.images,
            mice(shared.mice.len()),
            shared.identification.len()
        ),
        head: columns,
        rows: shared.identification.iter().map(row).collect(),
    }
}

fn agreement(shared: &Shared) -> Section {
    let Agreement { images, compared, permutations, channels, alignability, neural, image, image_random } =
        &shared.agreement;
    let count = shared.mice.len();
    let pairs = counted(count * (count - 1) / 2, "pair");
    let names: Vec<String> = (1..=count).map(|mouse| mouse.to_string()).collect();
    let square = |caption: Caption, of: &PairAgreement, unit: &str| {
        let mut values = vec![f64::NAN; count * count];
        let mut marked = vec![false; count * count];
        for pair in &of.pairs {
            let [a, b] = pair.mice;
            for place in [a * count + b, b * count + a] {
                (values[place], marked[place]) = (pair.value, pair.p_adjusted <= ALPHA);
            }
        }
        let chart = Matrix { names: names.clone(), of: "mouse".into(), values, marked, unit: unit.into() };
        matrix(caption, &chart)
    };
    let line = |(mouse, values): (usize, &Vec<f64>)| Line {
        name: shared.mice[mouse].clone(),
        style: LineStyle::Measured,
        points: values
            .iter()
            .enumerate()
            .map(|(channel, r)| LinePoint { x: (channel + 1) as f64, y: *r, interval: None })
            .collect(),
    };
    let by_channel = lines(
        Caption::new(
            "cohort-channels",
            "Which channels of the shared tower align",
            format!(
                "Alignability (correlation of image and neural map over {images} held-out images and all positions) of every channel of the \
                 tower of all mice, in every mouse."
            ),
        ),
        &Lines {
            x: Axis::linear("channel, by covariance with all responses"),
            y: Axis::linear("alignability r"),
            lines: channels.iter().enumerate().map(line).collect(),
            marks: Vec::new(),
        },
    );
    let mut first = vec![by_channel];
    if let Some(of) = alignability {
        let text = format!(
            "Pearson correlation over {} channels of the alignability in two mice: mean over {pairs} {} (95 %, mice drawn, images halved). Dots: \
             p ≤ {ALPHA}, {permutations} permutations of channels, one-sided, Holm over pairs.",
            channels.first().map_or(0, Vec::len),
            dina_report::format::with_interval(of.mean, of.low, of.high)
        );
        first.push(square(
            Caption::new("cohort-alignability", "The same channels align", text),
            of,
            "correlation",
        ));
    }
    let text = |of: &PairAgreement, what: &str, more: &str| {
        format!(
            "Debiased linear CKA of the {what} maps of two mice, each from its own tower, on {compared} held-out images: mean over {pairs} {} \
             (95 %, mice drawn, images halved). Dots: p ≤ {ALPHA}, {permutations} permutations of images, one-sided, Holm over pairs.{more}",
            dina_report::format::with_interval(of.mean, of.low, of.high)
        )
    };
    let random = format!(
        " Image maps of any two towers resemble each other: with those of random channels the mean is {}.",
        proportion(*image_random)
    );
    let second = vec![
        square(
            Caption::new("cohort-neural", "Two brains, one map", text(neural, "neural", "")),
            neural,
            "debiased CKA",
        ),
        square(
            Caption::new("cohort-image", "Towers of different mice", text(image, "image", &random)),
            image,
            "debiased CKA",
        ),
    ];
    Section { title: "Agreement of mice".into(), blocks: vec![Block::Charts(first), Block::Charts(second)] }
}
