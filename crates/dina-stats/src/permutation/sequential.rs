//! Sequential Monte-Carlo tests.

use super::{Tail, tail::Side};

/// Besag and Clifford's rule: a side stops at its `after`th exceedance.
pub(super) struct Sequential {
    after: usize,
    sides: Vec<Running>,
    pub(super) looked: usize,
}

struct Running {
    side: Side,
    exceedances: usize,
    stopped_at: Option<usize>,
}

impl Sequential {
    pub(super) fn new(after: usize, tail: Tail) -> Self {
        let sides: &[Side] = match tail {
            Tail::TwoSidedDoubled => &[Side::Up, Side::Down],
            _ => &[Side::of(tail)],
        };
        let sides = sides.iter().map(|&side| Running { side, exceedances: 0, stopped_at: None }).collect();
        Self { after, sides, looked: 0 }
    }

    /// Looks at the permutations that are new, one by one, and returns p once all sides stopped.
    pub(super) fn look(&mut self, observed: f64, null: &[f64]) -> Option<f64> {
        for &t in &null[self.looked..] {
            self.looked += 1;
            for running in self.sides.iter_mut().filter(|running| running.stopped_at.is_none()) {
                running.exceedances += usize::from(running.side.reaches(t, observed));
                if running.exceedances == self.after {
                    running.stopped_at = Some(self.looked);
                }
            }
            if self.sides.iter().all(|running| running.stopped_at.is_some()) {
                return Some(self.p(self.looked));
            }
        }
        None
    }

    /// h / l for a side that stopped at l, (1 + g) / (1 + B) for one that did not.
    pub(super) fn p(&self, looked: usize) -> f64 {
        let smallest = self
            .sides
            .iter()
            .map(|running| match running.stopped_at {
                Some(at) => self.after as f64 / at as f64,
                None => (1.0 + running.exceedances as f64) / (1.0 + looked as f64),
            })
            .fold(1.0, f64::min);
        (smallest * self.sides.len() as f64).min(1.0)
    }
}
