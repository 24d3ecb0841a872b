//! What the numbers say about DINA and its rivals, in plain words.

use serde::{Deserialize, Serialize};

use crate::figures::{condition_words, decoder_name};
use crate::format::{count, interval, list, p_equals, proportion, signed, with_interval};
use crate::{Comparison, Identification, Measure, Report};

/// How DINA fares against its baselines in the primary condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Better than every baseline, each difference significant.
    BeatsAll,
    /// Better than every baseline, but at least one difference is not significant or not tested.
    AheadOfAll,
    /// At least one baseline is as good or better.
    DoesNotBeatAll,
    /// DINA itself is not significantly above chance, or was not tested against it.
    AtChance,
    /// There is no baseline, or DINA itself was not evaluated.
    Undecided,
}

/// The verdict at the top of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How DINA fares.
    pub outcome: Outcome,
    /// One sentence.
    pub headline: String,
    /// The numbers behind it, a sentence each.
    pub details: Vec<String>,
}

/// Judges the rows of the primary condition.
///
/// DINA *beats* a baseline when it is better in the primary measure, the corrected p of their
/// paired difference is below alpha and the interval of the difference lies above nought. Better
/// without that is *ahead*. A tie is not better. None of it counts unless DINA itself is
/// significantly above chance. A baseline that is given responses to the test images is no rival,
/// but where it does better the headline says so.
pub fn verdict(report: &Report) -> Verdict {
    let rows = primary_rows(report);
    let Some(dina) = rows.iter().find(|row| row.decoder == "dina") else {
        return undecided("DINA was not evaluated in the primary condition.");
    };
    let measure = report.primary.measure;
    let value = dina.value(measure);
    if !value.is_finite() {
        return undecided("DINA's result in the primary condition is not a number.");
    }
    let rivals: Vec<Rival<'_>> = rows
        .iter()
        .filter(|row| row.decoder != "dina" && row.value(measure).is_finite())
        .map(|row| Rival::of(row, value, report))
        .collect();
    let mut details = vec![own_result(dina, report)];
    details.extend(rivals.iter().map(|rival| rival.sentence(measure)));
    details.extend(of_ceiling(dina, report));
    if let (Err(reason), false) = (report.comparisons.get(), rivals.is_empty()) {
        details.push(format!("The differences were not tested, because {reason}."));
    }
    let above = dina.p < report.methods.inference.alpha;
    let (outcome, mut headline) = judge(&rivals, above);
    let given: Vec<String> =
        rivals.iter().filter(|r| r.given_test_responses && !r.ahead).map(Rival::name).collect();
    if !given.is_empty() {
        headline.pop();
        headline
            .push_str(&format!("; {}, given other responses to the test images, is better.", list(&given)));
    }
    Verdict { outcome, headline, details }
}

/// The rows that the verdict is about.
pub(crate) fn primary_rows(report: &Report) -> Vec<&Identification> {
    let primary = &report.primary;
    let wanted = |row: &&Identification| {
        (&row.split, row.trials, row.direction) == (&primary.split, primary.trials, primary.direction)
    };
    report.identification.iter().filter(wanted).collect()
}

fn undecided(headline: &str) -> Verdict {
    Verdict { outcome: Outcome::Undecided, headline: headline.to_owned(), details: Vec::new() }
}

/// A baseline next to DINA.
struct Rival<'a> {
    row: &'a Identification,
    ahead: bool,
    beaten: bool,
    given_test_responses: bool,
    comparison: Option<&'a Comparison>,
}

impl<'a> Rival<'a> {
    fn of(row: &'a Identification, dina: f64, report: &'a Report) -> Self {
        let comparisons = report.comparisons.get().into_iter().flatten();
        let comparison = comparisons.into_iter().find(|c| c.baseline == row.decoder);
        let ahead = dina > row.value(report.primary.measure);
        let significant = |c: &Comparison| {
            c.difference > 0. && c.ci_low > 0. && c.p_adjusted < report.methods.inference.alpha
        };
        let methods = &report.methods.baselines;
        let given_test_responses = methods.iter().any(|m| m.decoder == row.decoder && m.given_test_responses);
        let beaten = ahead && comparison.is_some_and(significant);
        Self { row, ahead, beaten, given_test_responses, comparison }
    }

    fn name(&self) -> String {
        decoder_name(&self.row.decoder)
    }

    fn sentence(&self, measure: Measure) -> String {
        let mut name = self.name();
        if let Some(first) = name.get(..1) {
            name = first.to_uppercase() + &name[1..];
        }
        let value = match measure {
            Measure::Top1 => with_interval(self.row.top1, self.row.ci_low, self.row.ci_high),
            _ => proportion(self.row.value(measure)),
        };
        let tested = self.comparison.map_or(String::new(), |c| {
            format!(
                " (DINA minus it: {} {}, corrected {})",
                signed(c.difference),
                interval(c.ci_low, c.ci_high),
                p_equals(c.p_adjusted)
            )
        });
        let given = if self.given_test_responses { ", given other responses to the test images" } else { "" };
        format!("{name}{given}: {value}{tested}.")
    }
}

fn judge(rivals: &[Rival<'_>], above_chance: bool) -> (Outcome, String) {
    let names = |wanted: &dyn Fn(&Rival<'_>) -> bool| -> Vec<String> {
        rivals.iter().filter(|r| wanted(r)).map(Rival::name).collect()
    };
    let not_behind = names(&|r| !r.given_test_responses && !r.ahead);
    let open = names(&|r| !r.given_test_responses && r.ahead && !r.beaten);
    let given = names(&|r| r.given_test_responses && !r.ahead);
    if !above_chance {
        let text = "DINA is not shown to be above chance, so it beats nothing.";
        (Outcome::AtChance, text.to_owned())
    } else if rivals.iter().all(|r| r.given_test_responses) {
        let text = "No baseline was evaluated, so whether DINA beats one is open.";
        (Outcome::Undecided, text.to_owned())
    } else if !not_behind.is_empty() {
        let verb = if not_behind.len() == 1 { "is" } else { "are" };
        let text =
            format!("DINA does not beat every baseline: {} {verb} at least as good.", list(&not_behind));
        (Outcome::DoesNotBeatAll, text)
    } else if !open.is_empty() {
        let text = format!(
            "DINA is ahead of every {}, but its lead over {} is not significant.",
            if given.is_empty() { "baseline" } else { "decoder of unseen images" },
            list(&open)
        );
        (Outcome::AheadOfAll, text)
    } else if given.is_empty() {
        (Outcome::BeatsAll, "DINA beats every baseline.".to_owned())
    } else {
        (Outcome::BeatsAll, "DINA beats every decoder of unseen images.".to_owned())
    }
}

fn own_result(dina: &Identification, report: &Report) -> String {
    let measure = report.primary.measure;
    let result = match measure {
        Measure::Top1 => format!(
            "ranks the true candidate first in {} of queries",
            with_interval(dina.top1, dina.ci_low, dina.ci_high)
        ),
        Measure::Top5 => {
            format!("ranks the true candidate among the first five in {} of queries", proportion(dina.top5))
        }
        Measure::TwoWay => {
            format!("prefers the true candidate to another one in {} of pairs", proportion(dina.two_way))
        }
    };
    let alpha = report.methods.inference.alpha;
    let above = if dina.p.is_nan() {
        "not tested against"
    } else if dina.p < alpha {
        "above"
    } else {
        "not significantly above"
    };
    format!(
        "In the primary condition ({}; {}; {} candidates; n = {}) DINA {result}, {above} the \
         chance of {} ({}).",
        condition_words(dina.trials, dina.direction),
        dina.split,
        count(dina.pool as u64),
        count(dina.n as u64),
        proportion(dina.chance(measure)),
        p_equals(dina.p),
    )
}

/// DINA as a fraction of self-retrieval in the same pool.
fn of_ceiling(dina: &Identification, report: &Report) -> Option<String> {
    let ceilings = report.ceilings.get().ok()?;
    let ceiling =
        ceilings.iter().find(|c| (&c.split, c.trials, c.pool) == (&dina.split, dina.trials, dina.pool))?;
    let (value, most) = match report.primary.measure {
        Measure::Top1 => (dina.top1, ceiling.top1),
        Measure::Top5 => (dina.top5, ceiling.top5),
        Measure::TwoWay => return None,
    };
    (most > 0.).then(|| {
        format!(
            "Self-retrieval, repeat to repeat in the same pool, reaches {}: DINA is at {} times that. Both sides of it \
             are noisy, so a decoder that predicts from the images can exceed it.",
            proportion(most),
            proportion(value / most)
        )
    })
}
