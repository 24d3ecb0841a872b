//! The report on sound, degenerate and hostile input.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use dina_report::*;

mod checks;
#[path = "../examples/sample/mod.rs"]
mod sample;

fn all() -> [Report; 3] {
    [sample::HELD_OUT, sample::FOLDS, sample::WIDE].map(|e| sample::report(e).unwrap())
}

/// A report in which every part is there but empty, and every number is `value`.
fn empty(value: f64) -> Report {
    let mut report = sample::report(sample::FOLDS).unwrap();
    report.recording.signal_variance = Some(value);
    report.recording.self_retrieval = Some(SelfRetrieval { pool: 0, top1: value, top5: value });
    report.recording.reliability = Vec::new();
    report.identification = Vec::new();
    report.claims = Claims {
        claims: Vec::new(),
        beside: Vec::new(),
        absent: Vec::new(),
        correction: String::new(),
        calibration: String::new(),
        registration: String::new(),
    }
    .into();
    report.comparisons = Vec::new().into();
    report.ceilings = Vec::new().into();
    report.ranks = Vec::new().into();
    report.pool_size =
        PoolStudy { k: 1, n: 0, drawn: String::new(), curves: Vec::new(), ceiling: Vec::new() }.into();
    report.retrievals = Retrievals { rule: String::new(), pool: 0, queries: Vec::new() }.into();
    report.maps = Vec::new().into();
    report.alignability = Vec::new().into();
    report.training = Vec::new().into();
    report.leakage = Vec::new().into();
    report.provenance.stages = Vec::new();
    report.provenance.peak_memory_bytes = None;
    report
}

fn absent() -> Report {
    let mut report = empty(0.5);
    report.claims = Part::absent("the reason for claims");
    report.comparisons = Part::absent("the reason for comparisons");
    report.ceilings = Part::absent("the reason for ceilings");
    report.ranks = Part::absent("the reason for ranks");
    report.pool_size = Part::absent("the reason for pools");
    report.retrievals = Part::absent("the reason for retrievals");
    report.maps = Part::absent("the reason for maps");
    report.alignability = Part::absent("the reason for alignability");
    report.towers = Part::absent("the reason for towers");
    report.training = Part::absent("the reason for training");
    report.leakage = Part::absent("the reason for leakage");
    report
}

/// Every number of the sample replaced.
fn filled_with(value: f64) -> Report {
    let mut report = sample::report(sample::FOLDS).unwrap();
    report.recording.reliability.fill(value);
    for row in &mut report.identification {
        for number in [
            &mut row.chance_top1,
            &mut row.top1,
            &mut row.top5,
            &mut row.two_way,
            &mut row.median_rank,
            &mut row.ci_low,
            &mut row.ci_high,
            &mut row.p,
        ] {
            *number = value;
        }
    }
    if let Part::Present(ranks) = &mut report.ranks {
        ranks.iter_mut().for_each(|r| r.ranks.fill(value));
    }
    if let Part::Present(study) = &mut report.pool_size {
        let points = study.curves.iter_mut().flat_map(|c| &mut c.points);
        for point in points.chain(&mut study.ceiling) {
            (point.top_k, point.ci_low, point.ci_high) = (value, value, value);
        }
    }
    if let Part::Present(runs) = &mut report.training {
        for run in runs {
            let curves = [&mut run.train_loss, &mut run.validation_loss, &mut run.validation_top1];
            curves.into_iter().flatten().for_each(|s| s.value = value);
        }
    }
    if let Part::Present(claims) = &mut report.claims {
        for claim in &mut claims.claims {
            let images = 10;
            claim.effect = Some(ClaimEffect {
                estimate: value,
                ci_low: value,
                ci_high: value,
                p_adjusted: value,
                images,
            });
            claim.smallest = value;
            claim.controls.iter_mut().for_each(|c| c.value = value);
            claim.known.iter_mut().for_each(|k| k.effect = value);
        }
        for row in claims.beside.iter_mut().flat_map(|figure| &mut figure.forest.rows) {
            row.mark = Some(value);
            for point in row.points.iter_mut().flatten() {
                (point.value, point.interval) = (value, Some([value, value]));
            }
        }
    }
    if let Part::Present(levels) = &mut report.alignability {
        for channel in levels.iter_mut().flat_map(|level| &mut level.channels) {
            (channel.r, channel.null_low, channel.null_high) = (value, value, value);
            channel.p_adjusted = value;
        }
    }
    if let Part::Present(retrievals) = &mut report.retrievals {
        for query in &mut retrievals.queries {
            query.response.fill(value as f32);
            (query.similarity, query.rank) = (value, value);
            query.retrieved.iter_mut().for_each(|c| c.similarity = value);
        }
    }
    if let Part::Present(levels) = &mut report.maps {
        for image in levels.iter_mut().flat_map(|level| &mut level.images) {
            let maps = Maps::new(8, 17, 22, vec![value as f32; 8 * 17 * 22]).unwrap();
            (image.image_tower, image.neural_tower) = (maps.clone(), maps);
        }
    }
    report
}

/// One of everything.
fn single() -> Report {
    let mut report = sample::report(sample::FOLDS).unwrap();
    report.recording.reliability.truncate(1);
    report.identification.truncate(1);
    if let Part::Present(ranks) = &mut report.ranks {
        ranks.truncate(1);
        ranks[0].pool = 1;
        ranks[0].ranks = vec![1.];
    }
    if let Part::Present(study) = &mut report.pool_size {
        study.curves.iter_mut().for_each(|c| c.points.truncate(1));
        study.ceiling.truncate(1);
    }
    if let Part::Present(runs) = &mut report.training {
        runs.truncate(1);
        runs[0].train_loss.truncate(1);
        runs[0].validation_loss.clear();
        runs[0].validation_top1.truncate(1);
    }
    if let Part::Present(levels) = &mut report.alignability {
        levels[0].channels.truncate(1);
    }
    if let Part::Present(retrievals) = &mut report.retrievals {
        retrievals.queries.truncate(1);
        retrievals.queries[0].retrieved.truncate(1);
        retrievals.queries[0].response.truncate(1);
        retrievals.queries[0].shown = Picture::new(1, 1, vec![0]).unwrap();
    }
    if let Part::Present(levels) = &mut report.maps {
        let maps = Maps::new(1, 1, 1, vec![2.]).unwrap();
        levels[0].images.truncate(1);
        levels[0].images[0].image_tower = maps.clone();
        levels[0].images[0].neural_tower = maps;
    }
    report
}

const HOSTILE: &str = "<script src=\"http://x.y/z.js\">alert('1')</script>&amp;\u{0}\u{8}]]>\"'{}";

fn hostile() -> Report {
    let mut report = sample::report(sample::FOLDS).unwrap();
    let name = || HOSTILE.to_owned();
    report.title = name();
    report.subject = name();
    report.notice = Some(name());
    report.notes = vec![name()];
    report.recording.name = name();
    report.primary.split = name();
    for row in &mut report.identification {
        row.split = name();
    }
    let mut own = report.identification[0].clone();
    own.decoder = name();
    report.identification.push(own);
    if let Part::Present(claims) = &mut report.claims {
        for claim in &mut claims.claims {
            claim.id = format!("{HOSTILE} {}", claim.id);
            (claim.heading, claim.statement) = (name(), name());
            (claim.unit, claim.statistic, claim.reason) = (name(), name(), Some(name()));
            claim.known[0].population = name();
            claim.controls[0].name = name();
            claim.details[0].0 = name();
        }
        claims.registration = name();
    }
    if let Part::Present(comparisons) = &mut report.comparisons {
        comparisons[0].baseline = name();
    }
    if let Part::Present(study) = &mut report.pool_size {
        study.drawn = name();
        study.curves[1].decoder = name();
    }
    if let Part::Present(ranks) = &mut report.ranks {
        ranks[1].decoder = name();
    }
    if let Part::Present(retrievals) = &mut report.retrievals {
        retrievals.rule = name();
        retrievals.queries[0].label = name();
    }
    if let Part::Present(levels) = &mut report.maps {
        levels[0].level = name();
        levels[0].images[0].label = name();
    }
    if let Part::Present(levels) = &mut report.alignability {
        levels[0].level = name();
        levels[0].correction = name();
    }
    if let Part::Present(towers) = &mut report.towers {
        towers.image.layers.push(name());
        towers.image.input = name();
        towers.levels[0].name = name();
        towers.similarity = name();
        towers.objective = name();
    }
    if let Part::Present(runs) = &mut report.training {
        runs[0].label = name();
    }
    if let Part::Present(checks) = &mut report.leakage {
        checks[0].detail = name();
    }
    report.methods.data = name();
    report.methods.inference.interval = name();
    report.provenance.device = name();
    report.provenance.stages[0].name = name();
    report
}

fn check_figures(report: &Report) -> Vec<Figure> {
    checks::check_figures(figures(report))
}

fn check_page(report: &Report) -> String {
    checks::check_page(html(report))
}

#[test]
fn a_complete_report_has_every_figure() {
    for report in all() {
        let names: Vec<String> = check_figures(&report).into_iter().map(|f| f.name).collect();
        assert_eq!(
            names,
            [
                "identification",
                "pool-size",
                "ranks",
                "retrievals",
                "claim-accuracy",
                "claim-coarse",
                "claim-fine",
                "claim-category",
                "claim-sparse",
                "basis-conditions",
                "maps-v1",
                "alignability-v1",
                "towers",
                "training",
                "reliability"
            ]
        );
        let page = check_page(&report);
        assert_eq!(page.matches("<figcaption").count(), names.len());
        assert!(!page.contains("left out"));
    }
}

#[test]
fn degenerate_numbers_neither_panic_nor_reach_the_page() {
    for value in [0., 1., -1., 1e300, -1e300, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for report in [filled_with(value), empty(value)] {
            check_figures(&report);
            check_page(&report);
            verdict(&report);
        }
    }
    check_figures(&single());
    check_page(&single());
}

#[test]
fn what_is_missing_is_named_with_its_reason() {
    let report = absent();
    assert!(check_figures(&report).is_empty());
    let page = check_page(&report);
    for reason in [
        "comparisons",
        "ranks",
        "pools",
        "retrievals",
        "maps",
        "alignability",
        "towers",
        "training",
        "leakage",
    ] {
        let sentence = format!("left out, because the reason for {reason}.");
        assert!(page.contains(&sentence), "{reason}");
    }
}

#[test]
fn hostile_names_stay_text() {
    let report = hostile();
    let figures = check_figures(&report);
    assert_eq!(figures.len(), 15);
    let page = check_page(&report);
    assert!(page.contains("&lt;script"));
    let folder = tempfile::tempdir().unwrap();
    write(&report, folder.path()).unwrap();
    let written = std::fs::read_dir(folder.path().join("figures")).unwrap().count();
    let tables = figures.iter().filter(|f| f.csv.is_some()).count();
    assert_eq!(written, figures.len() + tables);
}

#[test]
fn figures_do_not_depend_on_the_run() {
    assert_eq!(figures(&all()[1]), figures(&all()[1]));
    assert_eq!(html(&all()[1]), html(&all()[1]));
}

#[test]
fn a_report_survives_json() {
    for report in all() {
        let text = serde_json::to_string(&report).unwrap();
        let again: Report = serde_json::from_str(&text).unwrap();
        // The parser may be off by the last bit of a number, which no page shows.
        assert!(html(&again) == html(&report));
    }
    let row = serde_json::to_value(&all()[0].identification[0]).unwrap();
    assert_eq!(row["trials"], "single");
    assert_eq!(row["direction"], "neural_to_image");
    let wrong = r#"{"width": 2, "height": 2, "pixels": [1, 2, 3]}"#;
    let error = serde_json::from_str::<Picture>(wrong).unwrap_err().to_string();
    assert!(error.contains("2 x 2") && error.contains("found 3"), "{error}");
}

#[test]
fn shapes_that_are_not_filled_are_refused() {
    assert!(Picture::new(0, 5, Vec::new()).is_err());
    assert!(Picture::new(2, 2, vec![0; 5]).is_err());
    assert!(Maps::new(usize::MAX, usize::MAX, 2, vec![0.]).is_err());
    let picture = Picture::from_values(1, 4, &[-9., 0., f32::NAN, 9.], -1., 1.).unwrap();
    assert_eq!(picture.pixels(), [0, 128, 0, 255]);
    let maps = Maps::new(2, 1, 3, vec![0., 1., 2., 3., 4., 5.]).unwrap();
    assert_eq!(maps.channel(1), [3., 4., 5.]);
    assert!(maps.channel(2).is_empty());
    assert!(maps.channel(usize::MAX).is_empty());
}

#[test]
fn maps_of_unequal_shape_are_left_out_with_the_reason() {
    let mut report = sample::report(sample::FOLDS).unwrap();
    if let Part::Present(levels) = &mut report.maps {
        levels[0].images[0].neural_tower = Maps::new(1, 1, 1, vec![0.]).unwrap();
    }
    assert!(check_figures(&report).iter().all(|f| f.name != "maps-v1"));
    assert!(check_page(&report).contains("differ in shape"));
}

mod the_verdict {
    use super::*;

    fn report() -> Report {
        sample::report(sample::HELD_OUT).unwrap()
    }

    fn dina(report: &mut Report) -> &mut Identification {
        &mut report.identification[0]
    }

    #[test]
    fn is_a_win_only_when_every_difference_is_significant() {
        assert_eq!(verdict(&report()).outcome, Outcome::BeatsAll);
        for spoil in [
            |c: &mut Comparison| c.p_adjusted = 0.05,
            |c: &mut Comparison| c.p_adjusted = f64::NAN,
            |c: &mut Comparison| c.ci_low = 0.,
            |c: &mut Comparison| c.baseline = "another".into(),
        ] {
            let mut report = report();
            if let Part::Present(comparisons) = &mut report.comparisons {
                spoil(&mut comparisons[0]);
            }
            let verdict = verdict(&report);
            assert_eq!(verdict.outcome, Outcome::AheadOfAll);
            assert!(verdict.headline.contains("ridge encoding is not significant"));
        }
        let mut untested = report();
        untested.comparisons = Part::absent("there was no time");
        let verdict = verdict(&untested);
        assert_eq!(verdict.outcome, Outcome::AheadOfAll);
        assert!(verdict.details.iter().any(|d| d.contains("because there was no time")));
    }

    #[test]
    fn says_so_when_a_baseline_is_as_good() {
        let mut report = report();
        // A tie with ridge encoding in the primary condition.
        dina(&mut report).top1 = report.identification[1].top1;
        let verdict = verdict(&report);
        assert_eq!(verdict.outcome, Outcome::DoesNotBeatAll);
        assert_eq!(
            verdict.headline,
            "DINA does not beat every baseline: ridge encoding is at least as good."
        );
        assert!(html(&report).contains(&verdict.headline));
    }

    #[test]
    fn a_baseline_that_is_given_test_responses_is_no_rival() {
        let mut report = report();
        let own = dina(&mut report).top1;
        for row in report.identification.iter_mut().filter(|row| row.decoder == "nearest_neighbour") {
            row.top1 = own + 0.05;
        }
        let found = verdict(&report);
        assert_eq!(found.outcome, Outcome::BeatsAll);
        assert_eq!(
            found.headline,
            "DINA beats every decoder of unseen images; nearest neighbour, given other responses to the test images, is \
             better."
        );
    }

    #[test]
    fn needs_a_decoder_above_chance() {
        for p in [0.05, 0.8, f64::NAN] {
            let mut report = report();
            dina(&mut report).p = p;
            assert_eq!(verdict(&report).outcome, Outcome::AtChance);
        }
    }

    #[test]
    fn is_open_without_rows() {
        let mut report = report();
        report.identification.retain(|row| row.decoder == "dina");
        assert_eq!(verdict(&report).outcome, Outcome::Undecided);
        report.identification.clear();
        assert_eq!(verdict(&report).outcome, Outcome::Undecided);
        assert!(verdict(&report).headline.contains("not evaluated"));
    }

    #[test]
    fn judges_the_measure_that_was_named() {
        let mut report = report();
        report.primary.measure = Measure::TwoWay;
        report.identification[1].two_way = 0.999;
        assert_eq!(verdict(&report).outcome, Outcome::DoesNotBeatAll);
        report.primary.measure = Measure::Top5;
        assert_eq!(verdict(&report).outcome, Outcome::BeatsAll);
    }
}
