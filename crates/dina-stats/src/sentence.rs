//! How numbers read in the sentences that results print.

use std::fmt;

/// `p = 0.0123`, in three significant digits.
pub(crate) struct PValue(pub(crate) f64);

impl fmt::Display for PValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = self.0;
        if p >= 0.9995 {
            f.write_str("p = 1")
        } else if p >= 0.001 {
            let decimals = if p >= 0.1 {
                3
            } else if p >= 0.01 {
                4
            } else {
                5
            };
            write!(f, "p = {p:.decimals$}")
        } else {
            write!(f, "p = {p:.2e}")
        }
    }
}

/// `95 % CI [0.12, 0.56]`, in three decimals.
pub(crate) struct Ci {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) level: f64,
}

impl fmt::Display for Ci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % CI [{}, {}]", percent(self.level), Number(self.low), Number(self.high))
    }
}

/// A confidence level in percent, without trailing zeros.
pub(crate) fn percent(level: f64) -> f64 {
    (level * 1e6).round() / 1e4
}

/// Three decimals, or two in scientific notation where that would hide the number.
pub(crate) struct Number(pub(crate) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if size != 0.0 && !(0.001..100_000.0).contains(&size) {
            write!(f, "{:.2e}", self.0)
        } else {
            write!(f, "{:.3}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_significant_digits() {
        let text = |p| PValue(p).to_string();
        assert_eq!(text(0.5), "p = 0.500");
        assert_eq!(text(1.0 / 64.0), "p = 0.0156");
        assert_eq!(text(0.00123), "p = 0.00123");
        assert_eq!(text(0.000_012_3), "p = 1.23e-5");
        assert_eq!(text(1.0), "p = 1");
    }

    #[test]
    fn intervals_name_their_level() {
        let text = Ci { low: -0.00001, high: 2.0, level: 0.95 }.to_string();
        assert_eq!(text, "95 % CI [-1.00e-5, 2.000]");
        assert_eq!(percent(0.999), 99.9);
    }
}
