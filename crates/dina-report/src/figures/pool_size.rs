//! Identification against the number of candidates.

use super::{Drawn, Panel, Series, condition_words, csv, raw};
use crate::format::{count, counted};
use crate::svg::{Drawing, Entry, Key, Plot, Scale, Tick, legend};
use crate::{PoolPoint, PoolStudy, Report};

const WIDTH: f64 = 420.;
const HEIGHT: f64 = 250.;

pub fn panel(report: &Report) -> Drawn {
    let study = report.pool_size.get()?;
    let pools = pools(study);
    let (Some(&smallest), Some(&largest)) = (pools.first(), pools.last()) else {
        return Err("no pool size was evaluated".to_owned());
    };
    let series = Series::all(report);
    let mut drawing = Drawing::new(WIDTH, 0.);
    let top = 14. + legend(&mut drawing, 14., 4., WIDTH - 18., &entries(study, &series));
    let plot = Plot {
        frame: [62., top, WIDTH - 78., HEIGHT],
        x: Scale::log(pools.iter().map(|&pool| pool as f64)),
        y: Scale::linear(0., 1.),
    };
    plot.y_axis(&mut drawing, &plot.y.ticks(5), &format!("top-{} identification", study.k));
    plot.x_axis(&mut drawing, &ticks(&plot, &pools), "candidates in the pool");

    let chance = chance_curve(smallest as f64, largest as f64, study.k);
    let chance: Vec<_> = chance.map(|(pool, value)| plot.at(pool, value)).collect();
    drawing.polyline(&chance, "d-s-muted d-mid d-dash");
    let ceiling = curve(&plot, &study.ceiling);
    drawing.polyline(&ceiling, "d-s-ink d-mid d-dot");
    if let [point] = ceiling[..] {
        drawing.line([point.0 - 12., point.1, point.0 + 12., point.1], "d-s-ink d-mid d-dot");
    }
    for series in series.iter().rev() {
        for found in study.curves.iter().filter(|c| c.decoder == series.decoder) {
            draw_curve(&mut drawing, &plot, series, &found.points);
        }
    }
    drawing.set_height(plot.bottom() + 44.);

    let inference = &report.methods.inference;
    Ok(Panel {
        name: "pool-size".to_owned(),
        title: format!("Top-{} identification against pool size", study.k),
        caption: format!(
            "Fraction of queries whose true candidate {}, against the number of \
             candidates ({}; {}): {}. Shaded: {:.0}\u{a0}% intervals ({}). Dashed: chance, {} / pool.{} \
             n = {} at each size.",
            match study.k {
                1 => "ranks first".to_owned(),
                k => format!("is among the first {k}"),
            },
            condition_words(report.primary.trials, report.primary.direction),
            report.primary.split,
            study.drawn.trim_end_matches('.'),
            100. * inference.coverage,
            inference.interval,
            study.k,
            if study.ceiling.is_empty() { "" } else { " Dotted: self-retrieval in the same pools." },
            counted(study.n, "query"),
        ),
        csv: Some(table(study)),
        drawing,
    })
}

/// The pool sizes that occur, ascending.
fn pools(study: &PoolStudy) -> Vec<usize> {
    let curves = study.curves.iter().flat_map(|curve| &curve.points);
    let mut pools: Vec<usize> =
        curves.chain(&study.ceiling).map(|point| point.pool).filter(|&pool| pool > 0).collect();
    pools.sort_unstable();
    pools.dedup();
    pools
}

/// Ticks at the pool sizes themselves, as many as have room, the largest always.
fn ticks(plot: &Plot, pools: &[usize]) -> Vec<Tick> {
    let mut ticks: Vec<Tick> = Vec::new();
    for &pool in pools.iter().rev() {
        let at = pool as f64;
        let room = ticks.last().is_none_or(|next| plot.x(next.at) - plot.x(at) > 36.);
        if room {
            ticks.push(Tick { at, label: count(pool as u64) });
        }
    }
    ticks
}

fn chance_curve(low: f64, high: f64, k: usize) -> impl Iterator<Item = (f64, f64)> {
    const STEPS: usize = 60;
    (0..=STEPS).map(move |i| {
        let pool = low * (high / low).powf(i as f64 / STEPS as f64);
        (pool, (k as f64 / pool).min(1.))
    })
}

fn sorted(points: &[PoolPoint]) -> Vec<PoolPoint> {
    let mut points: Vec<_> = points.iter().copied().filter(|p| p.pool > 0).collect();
    points.sort_by_key(|point| point.pool);
    points
}

fn curve(plot: &Plot, points: &[PoolPoint]) -> Vec<(f64, f64)> {
    let points = sorted(points).into_iter();
    points.map(|p| plot.at(p.pool as f64, p.top_k)).collect()
}

fn draw_curve(drawing: &mut Drawing, plot: &Plot, series: &Series, points: &[PoolPoint]) {
    let points = sorted(points);
    let end = |value: fn(&PoolPoint) -> f64| points.iter().map(move |p| plot.at(p.pool as f64, value(p)));
    let low: Vec<_> = end(|p| p.ci_low).collect();
    let band: Vec<_> = end(|p| p.ci_high).chain(low.iter().copied().rev()).collect();
    drawing.polygon(&band, &format!("d-wash {}", series.fill()));
    if let [point] = points[..] {
        let x = plot.x(point.pool as f64);
        drawing.line([x, plot.y(point.ci_low), x, plot.y(point.ci_high)], &series.line());
    }
    drawing.polyline(&curve(plot, &points), &series.line());
    for point in &points {
        let about = format!(
            "{}, {}: {}",
            series.name,
            counted(point.pool, "candidate"),
            crate::format::with_interval(point.top_k, point.ci_low, point.ci_high)
        );
        let at = plot.at(point.pool as f64, point.top_k);
        drawing.marker(series.marker, at, 3.6, &series.fill(), &about);
    }
}

fn entries(study: &PoolStudy, series: &[Series]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = series
        .iter()
        .filter(|series| study.curves.iter().any(|c| c.decoder == series.decoder))
        .map(|series| Entry {
            key: Key::Line(Some(series.marker)),
            line: series.line(),
            fill: series.fill(),
            name: series.name.clone(),
        })
        .collect();
    let plain = |line: &str, name: &str| Entry {
        key: Key::Line(None),
        line: line.to_owned(),
        fill: String::new(),
        name: name.to_owned(),
    };
    if !study.ceiling.is_empty() {
        entries.push(plain("d-s-ink d-mid d-dot", "self-retrieval ceiling"));
    }
    entries.push(plain("d-s-muted d-mid d-dash", "chance"));
    entries
}

fn table(study: &PoolStudy) -> String {
    let ceiling = study.ceiling.iter().map(|point| ("self_retrieval", point));
    let rows = study
        .curves
        .iter()
        .flat_map(|curve| curve.points.iter().map(|point| (curve.decoder.as_str(), point)))
        .chain(ceiling);
    csv(
        ["decoder", "k", "pool", "chance", "top_k", "ci_low", "ci_high"],
        rows.map(|(decoder, point)| {
            [
                decoder.to_owned(),
                study.k.to_string(),
                point.pool.to_string(),
                raw((study.k as f64 / point.pool as f64).min(1.)),
                raw(point.top_k),
                raw(point.ci_low),
                raw(point.ci_high),
            ]
        }),
    )
}
