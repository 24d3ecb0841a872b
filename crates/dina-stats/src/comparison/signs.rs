//! Signs over mice: the plainest summary of all.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, distribution::fair_binomial_cdf, permutation::Tail, sentence::PValue};

/// The sign of an effect in each mouse, for several effects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignTable {
    /// The mice.
    pub mice: Vec<String>,
    /// One row an effect.
    pub rows: Vec<SignTest>,
}

/// The signs of one effect, and the sign test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignTest {
    /// Name of the effect.
    pub effect: String,
    /// The estimate of each mouse.
    pub estimates: Vec<f64>,
    /// Mice above zero.
    pub positive: usize,
    /// Mice below zero.
    pub negative: usize,
    /// Mice at exactly zero, which the test leaves out.
    pub zero: usize,
    /// p of the binomial test with one half.
    pub p: f64,
    /// The smallest p that so many mice can give.
    pub smallest_p: f64,
    /// Which counts were extreme.
    pub tail: Tail,
}

impl SignTest {
    /// The sign test of the estimates of several mice. Both two-sided tails double the smaller one.
    ///
    /// # Errors
    /// [`Error::TooFew`] without an estimate other than zero, [`Error::NotFinite`].
    pub fn new(effect: impl Into<String>, estimates: &[f64], tail: Tail) -> Result<Self> {
        Error::all_finite("estimates", estimates.iter().copied())?;
        let count = |holds: fn(&f64) -> bool| estimates.iter().filter(|e| holds(e)).count();
        let (positive, negative) = (count(|e| *e > 0.0), count(|e| *e < 0.0));
        let n = positive + negative;
        Error::at_least("estimates that are not zero", 1, n)?;
        // P(X >= k) = P(X <= n - k) for a fair coin.
        let at_least = |k: usize| fair_binomial_cdf(n - k, n);
        let p = match tail {
            Tail::Greater => at_least(positive),
            Tail::Less => at_least(negative),
            _ => (2.0 * at_least(positive.max(negative))).min(1.0),
        };
        let sides = if matches!(tail, Tail::Greater | Tail::Less) { 1.0 } else { 2.0 };
        Ok(Self {
            effect: effect.into(),
            estimates: estimates.to_vec(),
            positive,
            negative,
            zero: estimates.len() - n,
            p,
            smallest_p: (sides * 0.5_f64.powf(n as f64)).min(1.0),
            tail,
        })
    }
}

impl fmt::Display for SignTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} of {} positive, sign test {} ({}; smallest possible p {:.3})",
            self.effect,
            self.positive,
            self.estimates.len(),
            PValue(self.p),
            self.tail,
            self.smallest_p
        )
    }
}

impl SignTable {
    /// The table of several effects; each has a name and one estimate a mouse.
    ///
    /// # Errors
    /// As [`SignTest::new`]; [`Error::Shape`] where an effect has not one estimate a mouse.
    pub fn new(mice: &[&str], effects: &[(&str, &[f64])], tail: Tail) -> Result<Self> {
        let rows = effects.iter().map(|&(name, estimates)| {
            if estimates.len() != mice.len() {
                return Err(Error::shape(format!("estimates of {name}"), mice.len(), estimates.len()));
            }
            SignTest::new(name, estimates, tail)
        });
        Ok(Self {
            mice: mice.iter().map(|&name| name.to_owned()).collect(),
            rows: rows.collect::<Result<_>>()?,
        })
    }
}

impl fmt::Display for SignTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.effect.chars().count()).max().unwrap_or(0).max(6);
        writeln!(f, "{:width$}  {}", "effect", self.mice.join("  "))?;
        for (i, row) in self.rows.iter().enumerate() {
            write!(f, "{:width$}", row.effect)?;
            for (mouse, estimate) in self.mice.iter().zip(&row.estimates) {
                let sign = if *estimate > 0.0 {
                    "+"
                } else if *estimate < 0.0 {
                    "-"
                } else {
                    "0"
                };
                write!(f, "  {sign:^w$}", w = mouse.chars().count())?;
            }
            write!(f, "  {} of {}, {}", row.positive, row.estimates.len(), PValue(row.p))?;
            if i + 1 < self.rows.len() {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn six_mice_by_hand() {
        let five = [0.2, 0.1, 0.4, -0.1, 0.3, 0.2];
        let one = SignTest::new("gain", &five, Tail::Greater).unwrap();
        assert_relative_eq!(one.p, 7.0 / 64.0, max_relative = 1e-12);
        assert_relative_eq!(one.smallest_p, 1.0 / 64.0);
        let two = SignTest::new("gain", &five, Tail::TwoSidedDoubled).unwrap();
        assert_relative_eq!(two.p, 14.0 / 64.0, max_relative = 1e-12);
        assert_relative_eq!(SignTest::new("x", &[1.0, -1.0], Tail::TwoSidedAbsolute).unwrap().p, 1.0);
        let less = SignTest::new("gain", &five, Tail::Less).unwrap();
        assert_relative_eq!(less.p, 63.0 / 64.0, max_relative = 1e-12);
    }

    #[test]
    fn a_table_prints_signs() {
        let table =
            SignTable::new(&["m1", "m2", "m3"], &[("gain", &[0.1, -0.2, 0.0])], Tail::Greater).unwrap();
        assert_eq!(table.rows[0].zero, 1);
        assert_eq!(table.to_string(), "effect  m1  m2  m3\ngain    +   -   0   1 of 3, p = 0.750");
    }

    #[test]
    fn refuses_nonsense() {
        assert!(SignTest::new("x", &[0.0], Tail::Greater).is_err());
        assert!(SignTest::new("x", &[f64::NAN], Tail::Greater).is_err());
        assert!(SignTable::new(&["a"], &[("x", &[1.0, 2.0])], Tail::Greater).is_err());
    }
}
