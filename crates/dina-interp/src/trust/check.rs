use std::fmt;

use serde::{Deserialize, Serialize};

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckKind {
    /// Gradients against finite differences.
    Gradient,
    /// Cascading randomisation of parameters.
    ParameterRandomisation,
    /// Against a tower trained with shuffled labels.
    LabelRandomisation,
    /// Against an untrained tower.
    Untrained,
    /// Deletion against random order.
    Deletion,
    /// Insertion against random order.
    Insertion,
    /// Agreement of towers trained with other seeds.
    SeedAgreement,
    /// Informative inputs found, on simulated data.
    Recovery,
    /// Overlap with the true field, on simulated data.
    Overlap,
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gradient => "gradients against finite differences",
            Self::ParameterRandomisation => "parameter randomisation",
            Self::LabelRandomisation => "label randomisation",
            Self::Untrained => "untrained tower",
            Self::Deletion => "deletion",
            Self::Insertion => "insertion",
            Self::SeedAgreement => "agreement across seeds",
            Self::Recovery => "recovery of informative inputs",
            Self::Overlap => "overlap with the true field",
        })
    }
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval is on the right side of the limit.
    Passed,
    /// The limit lies within the interval: more items are needed. This does not count as passed.
    Undecided,
    /// The whole interval is on the wrong side.
    Failed,
}

/// One check and its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub kind: CheckKind,
    /// The statistic.
    pub estimate: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
    /// Where passing ends.
    pub limit: f64,
    /// Whether the statistic has to be below the limit; otherwise above.
    pub below: bool,
    /// The p-value, where the check is a test.
    pub p: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
}

impl Check {
    /// A statistic that has to be below `limit`, with its interval.
    pub fn below(kind: CheckKind, [estimate, low, high]: [f64; 3], limit: f64) -> Self {
        let verdict = Self::judge(high < limit, low >= limit);
        Self { kind, estimate, low, high, limit, below: true, p: None, verdict }
    }

    /// A statistic that has to be above `limit`, with its interval.
    pub fn above(kind: CheckKind, [estimate, low, high]: [f64; 3], limit: f64) -> Self {
        let verdict = Self::judge(low > limit, high <= limit);
        Self { kind, estimate, low, high, limit, below: false, p: None, verdict }
    }

    /// The same with a test that has to be significant as well: p above `alpha` takes a pass back to undecided.
    pub fn with_p(mut self, p: f64, alpha: f64) -> Self {
        self.p = Some(p);
        if self.verdict == Verdict::Passed && p > alpha {
            self.verdict = Verdict::Undecided;
        }
        self
    }

    /// The gradient check of a tower: `error` of
    /// [`Explainer::gradient_error`](crate::attribution::Explainer::gradient_error) below `limit`, such as 0.05.
    pub fn gradient(error: f64, limit: f64) -> Self {
        Self::below(CheckKind::Gradient, [error; 3], limit)
    }

    fn judge(passed: bool, failed: bool) -> Verdict {
        match (passed, failed) {
            (true, _) => Verdict::Passed,
            (_, true) => Verdict::Failed,
            _ => Verdict::Undecided,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, estimate, low, high, limit, .. } = self;
        let verdict = match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Undecided => "undecided",
            Verdict::Failed => "FAILED",
        };
        let side = if self.below { "below" } else { "above" };
        write!(f, "{kind} {verdict}: {estimate:.3} [{low:.3}, {high:.3}], should be {side} {limit:.3}")?;
        self.p.map_or(Ok(()), |p| write!(f, ", p = {p:.2e}"))
    }
}

/// The checks made of one method on one model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Checks {
    checks: Vec<Check>,
}

impl Checks {
    /// No check yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more.
    pub fn with(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// The checks in the order in which they were made.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Check> {
        self.checks.iter()
    }

    /// Whether no check was made.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Whether there is a check and every one passed.
    pub fn passed(&self) -> bool {
        !self.is_empty() && self.flags().next().is_none()
    }

    /// The checks that did not pass.
    pub fn flags(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.verdict != Verdict::Passed)
    }
}

impl FromIterator<Check> for Checks {
    fn from_iter<I: IntoIterator<Item = Check>>(checks: I) -> Self {
        Self { checks: checks.into_iter().collect() }
    }
}

impl fmt::Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("not checked");
        }
        if self.passed() {
            return write!(f, "passed all of {} checks", self.checks.len());
        }
        write!(f, "FLAGGED by {} of {} checks", self.flags().count(), self.checks.len())?;
        self.flags().try_for_each(|check| write!(f, "; {check}"))
    }
}
