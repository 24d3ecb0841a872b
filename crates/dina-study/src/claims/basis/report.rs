//! From the description to figures of the report.

use dina_report::Described;
use dina_report::chart::{Forest, ForestPoint, ForestRow};

use super::{Basis, Condition, Partition, Reading};

/// Its figures.
pub(in crate::claims) fn panels(basis: &Basis) -> Vec<Described> {
    let mut panels = vec![
        conditions(&basis.conditions),
        restricted(&basis.restricted),
        category(&basis.category),
        distractors(&basis.distractors),
        wrong(basis),
    ];
    panels.extend(basis.partition.as_ref().map(partition));
    panels.retain(|panel| !panel.forest.rows.is_empty());
    panels
}

fn point(reading: &Reading) -> Option<ForestPoint> {
    Some(ForestPoint { value: reading.value, interval: Some([reading.ci_low, reading.ci_high]) })
}

fn most_images<'a>(readings: impl IntoIterator<Item = &'a Reading>) -> String {
    let most = readings.into_iter().map(|reading| reading.images).max().unwrap_or(0);
    format!("95\u{a0}% intervals, images resampled; n = {most} images")
}

/// Two-way and top-1 identification, a row a condition.
fn shares(of: &str, found: &[Condition]) -> Forest {
    let rows = found.iter().map(|condition| ForestRow {
        label: condition.name.clone(),
        points: vec![point(&condition.two_way), point(&condition.top1)],
        mark: None,
    });
    Forest {
        of: of.into(),
        value: "share identified".into(),
        series: vec!["two-way".into(), "top 1".into()],
        rows: rows.collect(),
        row_mark: String::new(),
        marks: vec![("chance, two-way".into(), 0.5)],
    }
}

/// A row a reading; `chance` names the mark of a row's own chance, where it differs from row to row.
fn readings(
    [of, value, series]: [&str; 3],
    found: &[Reading],
    chance: Option<&str>,
    marks: Vec<(String, f64)>,
) -> Forest {
    let row = |reading: &Reading| ForestRow {
        label: reading.name.clone(),
        points: vec![point(reading)],
        mark: chance.map(|_| reading.chance),
    };
    Forest {
        of: of.into(),
        value: value.into(),
        series: vec![series.into()],
        rows: found.iter().map(row).collect(),
        row_mark: chance.unwrap_or_default().into(),
        marks,
    }
}

fn restricted(found: &[Condition]) -> Described {
    Described {
        name: "basis-restricted".into(),
        title: "Models that may use one thing only".into(),
        text: format!(
            "Identification by towers trained and tested on whole images, on low-pass and on high-pass images (0.05 cycles per degree), and by              what a ridge regression of the responses says of the category: candidates of one category are then the same. {}.",
            most_images(found.iter().map(|condition| &condition.two_way))
        ),
        forest: shares("what may be used", found),
    }
}

fn category(found: &[Reading]) -> Described {
    Described {
        name: "basis-category".into(),
        title: "From what the category can be decoded".into(),
        text: format!(
            "How often ridge regression on indicators of the categories names the category of a test image, from mean responses, from maps, and              from what is left of maps when the Gabor pyramid of the image is partialled out. Chance is that of the same answers dealt anew              among the images. {}.",
            most_images(found)
        ),
        forest: readings(["source", "share decoded", "category"], found, Some("chance"), Vec::new()),
    }
}

fn conditions(found: &[Condition]) -> Described {
    let top1 = found.first().map_or(0., |condition| condition.top1.chance);
    Described {
        name: "basis-conditions".into(),
        title: "Identification with and without something to rest on".into(),
        text: format!(
            "How often the image shown is more similar to the response than a random other one (two-way, chance 0.5), and than all \
             others (top 1, chance {top1:.4}). {}. Noise in place of every image is the same noise whenever the image is shown.",
            most_images(found.iter().map(|condition| &condition.two_way))
        ),
        forest: shares("condition", found),
    }
}

fn distractors(found: &[Reading]) -> Described {
    Described {
        name: "basis-distractors".into(),
        title: "Against which other images".into(),
        text: format!(
            "How often the image shown is more similar to the response than another test image of a kind. Most and least alike: the tenth \
             of the other images whose features are nearest to, or farthest from, those of the image shown (cosine). {}; chance is \
             0.5.",
            most_images(found)
        ),
        forest: readings(
            ["distractors", "two-way identification", "two-way"],
            found,
            None,
            vec![("chance".into(), 0.5)],
        ),
    }
}

fn wrong(basis: &Basis) -> Described {
    Described {
        name: "basis-wrong".into(),
        title: "What the best wrong answer shares with the image shown".into(),
        text: format!(
            "Of features: of the other wrong answers, the share that is less like the image shown than the best wrong answer is. Of \
             categories: how often they are the same. The best wrong answer beats the right one in {:.1}\u{a0}% of trials. {}.",
            100. * basis.wrong_share,
            most_images(&basis.wrong)
        ),
        forest: readings(["shared", "share", "best wrong answer"], &basis.wrong, Some("chance"), Vec::new()),
    }
}

fn partition(found: &Partition) -> Described {
    let mut rows = vec![ForestRow { label: "all".into(), points: vec![point(&found.all), None], mark: None }];
    rows.extend(found.sets.iter().map(|set| ForestRow {
        label: set.name.clone(),
        points: vec![point(&set.alone), set.unique.as_ref().and_then(point)],
        mark: None,
    }));
    Described {
        name: "basis-variance".into(),
        title: "What explains the responses".into(),
        text: format!(
            "Share of the explainable variance of all neurons, for held-out images, that ridge regression on a set of features explains \
             alone, and that all sets together explain beyond all but this one. Free of noise by products of two halves of the repeats; \
             weights of the sets and penalty chosen on left-out images among at most {} training images; negative where features do not \
             generalise. Networks of random weights are a control and no part of all. {}.",
            found.training_images,
            most_images([&found.all])
        ),
        forest: Forest {
            of: "features".into(),
            value: "explained share of explainable variance".into(),
            series: vec!["alone".into(), "beyond all others".into()],
            rows,
            row_mark: String::new(),
            marks: vec![("nothing".into(), 0.)],
        },
    }
}
