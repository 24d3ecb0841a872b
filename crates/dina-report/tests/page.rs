//! Pages that are composed of charts, on sound, degenerate and hostile input.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use dina_report::chart::{
    Axis, Caption, Chart, Ellipse, Group, IntervalItem, Intervals, Line, LinePoint, LineStyle, Lines, Matrix,
    Scatter, ScatterPoint, Screen, Tile, TileRow, Tiles, intervals, lines, matrix, scatter, screen, tiles,
};
use dina_report::{Block, Cell, Page, Picture, Section, Summary, Table, Tone};

mod checks;

const HOSTILE: &str = "<script src=\"http://x.y/z.js\">alert('1')</script>&amp;\u{0}\u{8}]]>\"'{}";

fn caption(name: &str) -> Caption {
    Caption::new(
        name,
        format!("Title of {name}"),
        "A caption that is long enough to say what is seen, n and the test.",
    )
}

/// One of each chart, every number being `value` and every text `text`.
fn charts(value: f64, text: &str) -> Vec<Chart> {
    let word = || text.to_owned();
    let points =
        || (0..4).map(|x| LinePoint { x: f64::from(x), y: value, interval: Some([value, value]) }).collect();
    let line = |style| Line { name: word(), style, points: points() };
    let item = |strong| IntervalItem {
        label: word(),
        value,
        interval: Some([value, value]),
        null: Some([-value, value]),
        strong,
        note: word(),
    };
    let point = |x| ScatterPoint { x, y: value, label: word() };
    let tile = Tile::Values {
        width: 2,
        values: vec![value as f32, 1., -1., 0.5],
        marked: vec![true, false, true, false],
        end: None,
        note: word(),
    };
    let picture = Tile::Picture { picture: Picture::new(1, 2, vec![0, 255]).unwrap(), note: word() };
    let ellipse = |strong| Ellipse {
        label: word(),
        row: value,
        column: 20.,
        semi_axes: [8., value],
        orientation: 0.4,
        strong,
    };
    vec![
        lines(
            caption("lines"),
            &Lines {
                x: Axis::linear(text),
                y: Axis::linear(text),
                lines: vec![line(LineStyle::Measured), line(LineStyle::Null)],
                marks: vec![(word(), value)],
            },
        ),
        intervals(
            caption("intervals"),
            &Intervals {
                of: word(),
                value: word(),
                items: vec![item(true), item(false)],
                names: [word(), word()],
                marks: vec![(word(), value)],
            },
        ),
        scatter(
            caption("scatter"),
            &Scatter {
                x: Axis::log(text),
                y: Axis::linear(text),
                groups: vec![
                    Group { name: word(), strong: true, points: vec![point(1.), point(0.)] },
                    Group { name: word(), strong: false, points: vec![point(10.)] },
                ],
            },
        ),
        screen(
            caption("screen"),
            &Screen {
                degrees: [0., 10., 60., 90.],
                ellipses: vec![ellipse(true), ellipse(false)],
                names: [word(), word()],
            },
        ),
        matrix(
            caption("matrix"),
            &Matrix {
                names: vec![word(), word()],
                of: word(),
                values: vec![f64::NAN, 1., value, f64::NAN],
                marked: vec![false, true, false, false],
                unit: word(),
            },
        ),
        tiles(
            caption("tiles"),
            &Tiles {
                columns: vec![word(), word()],
                rows: vec![TileRow { label: vec![word()], tiles: vec![picture, tile, Tile::Empty] }],
                unit: None,
            },
        ),
    ]
}

fn page(value: f64, text: &str) -> Page {
    let word = || text.to_owned();
    let table = Table {
        title: word(),
        text: word(),
        head: vec![Cell::Words(word()), Cell::Number(word())],
        rows: vec![
            vec![Cell::Words(word()), Cell::Number(word())],
            vec![Cell::Words(word()), Cell::Failed(word())],
        ],
    };
    Page {
        title: word(),
        subject: word(),
        notice: Some(word()),
        summary: Summary { tone: Tone::Open, headline: word(), details: vec![word()] },
        sections: vec![
            Section {
                title: "Figures".into(),
                blocks: vec![Block::Text(word()), Block::Charts(charts(value, text))],
            },
            Section {
                title: "Tables".into(),
                blocks: vec![Block::Table(table), Block::Absent { what: word(), reason: word() }],
            },
        ],
    }
}

#[test]
fn a_page_holds_every_chart_and_table() {
    let page = page(0.3, "some words");
    let figures = checks::check_figures(page.figures().collect());
    let names: Vec<&str> = figures.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["lines", "intervals", "scatter", "screen", "matrix", "tiles"]);
    // Numbers behind every figure that is drawn from numbers.
    assert!(figures.iter().all(|f| f.csv.is_some() != (f.name == "tiles")));
    let csv = figures[2].csv.as_deref().unwrap();
    assert_eq!(csv.lines().next(), Some("group,label,x,y"));
    assert_eq!(csv.lines().count(), 4, "also the point that a logarithmic axis cannot show");
    let text = checks::check_page(page.html());
    assert!(text.contains("href=\"#tables\"") && text.contains("id=\"tables\""));
    assert!(text.contains("left out, because some words"));
    assert_eq!(text.matches("<figcaption").count(), 6);
}

#[test]
fn degenerate_numbers_and_hostile_text_are_drawn_or_left_out() {
    for value in [0., -1., 1e300, 5e-324, f64::NAN, f64::INFINITY] {
        for text in ["", "words", HOSTILE] {
            let page = page(value, text);
            checks::check_figures(page.figures().collect());
            checks::check_page(page.html());
        }
    }
}

#[test]
fn what_cannot_be_drawn_says_why() {
    let empty = Lines { x: Axis::linear("x"), y: Axis::linear("y"), lines: Vec::new(), marks: Vec::new() };
    let wrong = Matrix {
        names: vec!["a".into()],
        of: "a".into(),
        values: vec![],
        marked: vec![],
        unit: String::new(),
    };
    let charts = vec![lines(caption("lines"), &empty), matrix(caption("matrix"), &wrong)];
    assert!(charts.iter().all(|chart| chart.figure().is_none()));
    let section = Section { title: "Figures".into(), blocks: vec![Block::Charts(charts)] };
    let summary = Summary { tone: Tone::NotFound, headline: "Nothing.".into(), details: Vec::new() };
    let page = Page {
        title: "Title".into(),
        subject: "Subject".into(),
        notice: None,
        summary,
        sections: vec![section],
    };
    let text = checks::check_page(page.html());
    assert!(text.contains("left out, because there is no finite value to draw."));
    assert!(text.contains("1 names do not fit 0 values"));
}

#[test]
fn a_written_page_lies_beside_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    page(0.3, "words").write(folder.path(), "interpretation").unwrap();
    assert!(folder.path().join("interpretation.html").exists());
    assert!(
        folder.path().join("figures/lines.svg").exists() && folder.path().join("figures/lines.csv").exists()
    );
}
