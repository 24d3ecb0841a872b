//! Where the true candidate ranks.

use super::{Drawn, Panel, Series, condition_words, csv, raw};
use crate::format::{count, counted, rank};
use crate::svg::{Anchor, Drawing, Plot, Scale, Tick};
use crate::{Ranks, Report};

const WIDTH: f64 = 420.;
const HEIGHT: f64 = 66.;
const GAP: f64 = 30.;
const TOP: f64 = 22.;

/// Pools up to this size get a bar for every rank; in larger ones bars double in width.
const EVERY_RANK: usize = 24;

pub fn panel(report: &Report) -> Drawn {
    let all = report.ranks.get()?;
    let usable = |ranks: &&Ranks| ranks.pool > 0 && ranks.ranks.iter().any(|r| r.is_finite());
    let series = Series::all(report);
    // In the order of the series, which puts the decoder on trial first.
    let all: Vec<(&Series, &Ranks)> = series
        .iter()
        .flat_map(|s| all.iter().filter(usable).map(move |ranks| (s, ranks)))
        .filter(|(s, ranks)| s.decoder == ranks.decoder)
        .collect();
    let Some(pool) = all.iter().map(|(_, ranks)| ranks.pool).max() else {
        return Err("no query was ranked".to_owned());
    };
    let bins = Bins::of(pool);
    let shares: Vec<Vec<f64>> = all.iter().map(|(_, r)| bins.shares(&r.ranks)).collect();
    let chance: Vec<f64> = (0..bins.len()).map(|i| bins.chance(i)).collect();

    let mut drawing = Drawing::new(WIDTH, 0.);
    let highest = shares.iter().flatten().chain(&chance).copied();
    let mut plot = Plot {
        frame: [62., TOP, WIDTH - 72., HEIGHT],
        x: Scale::linear(0., bins.len() as f64),
        y: Scale::around(highest.chain([0.]), 3),
    };
    let width = plot.frame[2] / bins.len() as f64;
    for (i, ((series, ranks), shares)) in all.iter().zip(&shares).enumerate() {
        plot.frame[1] = TOP + i as f64 * (HEIGHT + GAP);
        draw_decoder(&mut drawing, &plot, (*series, *ranks), shares, &chance);
    }
    let middle = (TOP + plot.bottom()) / 2.;
    drawing.upward_text((14., middle), "d-f-ink", "fraction of queries");
    plot.x_axis(&mut drawing, &bins.ticks(width), bins.axis());
    drawing.set_height(plot.bottom() + 44.);

    let n = all.first().map_or(0, |(_, ranks)| ranks.ranks.len());
    Ok(Panel {
        name: "ranks".to_owned(),
        title: "Rank of the true candidate".to_owned(),
        caption: format!(
            "Fraction of queries ({}; {}) in which the true candidate takes each rank among {}; {}. \
             Dashed: chance. n = {} for each decoder.",
            condition_words(report.primary.trials, report.primary.direction),
            report.primary.split,
            count(pool as u64),
            bins.words(),
            counted(n, "query"),
        ),
        csv: Some(table(&bins, &all, &shares)),
        drawing,
    })
}

/// Ranges of ranks by their last rank, ascending.
struct Bins {
    pool: usize,
    last: Vec<usize>,
}

impl Bins {
    fn of(pool: usize) -> Self {
        let last = if pool <= EVERY_RANK {
            (1..=pool).collect()
        } else {
            let powers = std::iter::successors(Some(1usize), |last| last.checked_mul(2));
            powers.take_while(|&last| last < pool).chain([pool]).collect()
        };
        Self { pool, last }
    }

    fn len(&self) -> usize {
        self.last.len()
    }

    fn first(&self, bin: usize) -> usize {
        if bin == 0 { 1 } else { self.last[bin - 1] + 1 }
    }

    fn chance(&self, bin: usize) -> f64 {
        (self.last[bin] + 1 - self.first(bin)) as f64 / self.pool as f64
    }

    /// The fraction of the finite ranks in each bin. A mid-rank counts as the next whole rank.
    fn shares(&self, ranks: &[f64]) -> Vec<f64> {
        let mut shares = vec![0.; self.len()];
        let finite: Vec<f64> = ranks.iter().copied().filter(|r| r.is_finite()).collect();
        for &rank in &finite {
            let bin = self.last.partition_point(|&last| (last as f64) < rank);
            shares[bin.min(self.len() - 1)] += 1. / finite.len() as f64;
        }
        shares
    }

    fn ticks(&self, width: f64) -> Vec<Tick> {
        // A label needs some 26 units.
        let every = (26. / width).ceil().max(1.) as usize;
        let shown = |bin: usize| bin.is_multiple_of(every);
        (0..self.len())
            .filter(|&bin| shown(bin))
            .map(|bin| Tick { at: bin as f64 + 0.5, label: count(self.last[bin] as u64) })
            .collect()
    }

    fn every_rank(&self) -> bool {
        self.len() == self.pool
    }

    fn axis(&self) -> &'static str {
        if self.every_rank() { "rank of the true candidate" } else { "rank of the true candidate, up to" }
    }

    fn words(&self) -> &'static str {
        if self.every_rank() {
            "mid-ranks count as the next whole rank"
        } else {
            "each bar spans the ranks above the one before it, up to its label"
        }
    }
}

/// The median of the finite values; NaN where there is none.
pub fn median(values: &[f64]) -> f64 {
    let mut finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    finite.sort_by(f64::total_cmp);
    let middle = finite.len() / 2;
    match finite.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => finite[middle],
        _ => (finite[middle - 1] + finite[middle]) / 2.,
    }
}

/// The bars of one decoder, with chance across them.
fn draw_decoder(
    drawing: &mut Drawing,
    plot: &Plot,
    (series, ranks): (&Series, &Ranks),
    shares: &[f64],
    chance: &[f64],
) {
    plot.y_axis(drawing, &plot.y.ticks(3), "");
    let width = plot.frame[2] / shares.len() as f64;
    for (i, &share) in shares.iter().enumerate() {
        let (left, top) = plot.at(i as f64 + 0.1, share);
        let bar = [left, top, 0.8 * width, plot.bottom() - top];
        drawing.rect(bar, &series.fill());
    }
    for (i, &share) in chance.iter().enumerate() {
        let (left, y) = plot.at(i as f64, share);
        drawing.line([left, y, left + width, y], "d-s-ink d-thin d-dash");
    }
    let bottom = plot.bottom();
    drawing.line([plot.frame[0], bottom, plot.right(), bottom], "d-s-ink d-thin");
    let title = (plot.frame[0], plot.frame[1] - 8.);
    drawing.text(title, Anchor::Start, "d-strong d-f-ink", &series.name);
    let median = format!("median rank {}", rank(median(&ranks.ranks)));
    let at = (plot.right(), title.1);
    drawing.text(at, Anchor::End, "d-small d-f-ink", &median);
}

fn table(bins: &Bins, all: &[(&Series, &Ranks)], shares: &[Vec<f64>]) -> String {
    let rows = all.iter().zip(shares).flat_map(|((series, _), shares)| {
        shares.iter().enumerate().map(|(i, &share)| {
            [
                series.decoder.clone(),
                bins.first(i).to_string(),
                bins.last[i].to_string(),
                raw(share),
                raw(bins.chance(i)),
            ]
        })
    });
    csv(["decoder", "first_rank", "last_rank", "fraction", "chance"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_cover_every_rank_once() {
        for pool in [1, 2, 20, 24, 25, 560, 2800, 4096] {
            let bins = Bins::of(pool);
            let chance: f64 = (0..bins.len()).map(|i| bins.chance(i)).sum();
            assert!((chance - 1.).abs() < 1e-12, "{pool}");
            assert_eq!(bins.last.last(), Some(&pool));
            let ranks: Vec<f64> = (1..=pool).map(|r| r as f64).collect();
            for (i, share) in bins.shares(&ranks).into_iter().enumerate() {
                assert!((share - bins.chance(i)).abs() < 1e-9, "{pool} {i}");
            }
        }
        // Out of range, half and missing ranks.
        assert_eq!(Bins::of(2).shares(&[1., 1.5, 9., f64::NAN, 0.]), [0.5, 0.5]);
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[3., 1., f64::NAN, 2.]), 2.);
    }
}
