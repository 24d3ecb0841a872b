/// A tick of an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Where, in data units.
    pub at: f64,
    /// What it says.
    pub label: String,
}

/// How data map onto an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Equal steps for equal differences.
    Linear {
        /// The value at the start.
        low: f64,
        /// The value at the end.
        high: f64,
    },
    /// Equal steps for equal ratios; both ends are positive.
    Log {
        /// The value at the start.
        low: f64,
        /// The value at the end.
        high: f64,
    },
}

impl Scale {
    /// A linear scale over these limits, which are widened where they coincide.
    pub fn linear(low: f64, high: f64) -> Self {
        let (low, high) =
            if low.is_finite() && high.is_finite() { (low.min(high), low.max(high)) } else { (0., 1.) };
        // Apart enough for f64 to tell ticks apart.
        if high - low > 1e-9 * low.abs().max(high.abs()).max(1e-6) {
            return Self::Linear { low, high };
        }
        let pad = if low == 0. { 1. } else { low.abs() / 2. };
        Self::Linear { low: low - pad, high: high + pad }
    }

    /// A linear scale over the finite ones of these values, widened to round ticks.
    pub fn around(values: impl IntoIterator<Item = f64>, ticks: usize) -> Self {
        let (low, high) = limits(values).unwrap_or((0., 1.));
        let Self::Linear { low, high } = Self::linear(low, high) else {
            return Self::linear(0., 1.);
        };
        let step = nice_step(high - low, ticks);
        Self::linear((low / step).floor() * step, (high / step).ceil() * step)
    }

    /// A logarithmic scale over the positive ones of these values, with a little room at the ends.
    pub fn log(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = limits(values.into_iter().filter(|&v| v > 0.)).unwrap_or((1., 10.));
        let room = (high / low).max(1.5).powf(0.04);
        Self::Log { low: low / room, high: high * room }
    }

    /// Where a value lies: 0 at the start, 1 at the end.
    pub fn unit(&self, value: f64) -> f64 {
        match *self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Log { low, high } => (value / low).ln() / (high / low).ln(),
        }
    }

    /// The limits.
    pub fn ends(&self) -> (f64, f64) {
        match *self {
            Self::Linear { low, high } | Self::Log { low, high } => (low, high),
        }
    }

    /// About this many ticks at round values.
    pub fn ticks(&self, about: usize) -> Vec<Tick> {
        match *self {
            Self::Linear { low, high } => linear_ticks(low, high, about),
            Self::Log { low, high } => log_ticks(low, high, about),
        }
    }
}

/// The smallest and the largest finite value.
pub fn limits(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().filter(|v| v.is_finite()).fold(None, |limits, v| match limits {
        None => Some((v, v)),
        Some((low, high)) => Some((f64::min(low, v), f64::max(high, v))),
    })
}

/// The step of 1, 2 or 5 times a power of ten that gives at most about this many steps.
fn nice_step(span: f64, steps: usize) -> f64 {
    let raw = span / steps.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let factor =
        [1., 2., 5., 10.].into_iter().find(|factor| factor * power >= raw * (1. - 1e-9)).unwrap_or(10.);
    factor * power
}

fn linear_ticks(low: f64, high: f64, about: usize) -> Vec<Tick> {
    let step = nice_step(high - low, about);
    let decimals = (-step.log10().floor()).clamp(0., 12.) as usize;
    let first = (low / step - 1e-6).ceil();
    (0..=2 * about + 2)
        .map(|i| (first + i as f64) * step)
        .take_while(|&at| at <= high + step * 1e-6)
        .map(|at| Tick { at, label: label(at, decimals) })
        .collect()
}

fn log_ticks(low: f64, high: f64, about: usize) -> Vec<Tick> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let ticks = |factors: &[f64]| -> Vec<Tick> {
        decades
            .clone()
            .flat_map(|decade| factors.iter().map(move |f| f * 10f64.powi(decade)))
            .filter(|&at| at >= low && at <= high)
            .map(|at| Tick { at, label: label(at, (-at.log10().floor()).max(0.) as usize) })
            .collect()
    };
    [&[1., 2., 5.][..], &[1., 3.], &[1.]]
        .into_iter()
        .map(ticks)
        .find(|ticks| ticks.len() <= about + 2)
        .unwrap_or_else(|| ticks(&[1.]))
}

fn label(value: f64, decimals: usize) -> String {
    if decimals == 0 && value >= 0. {
        return crate::format::count(value.round() as u64);
    }
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| matches!(c, '0' | '.')) => rest.to_owned(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, about: usize) -> Vec<String> {
        scale.ticks(about).into_iter().map(|t| t.label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(Scale::linear(0., 1.), 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(Scale::linear(-0.1, 0.1), 2), ["−0.1", "0.0", "0.1"]);
        assert_eq!(labels(Scale::linear(0., 2000.), 4), ["0", "500", "1,000", "1,500", "2,000"]);
        assert_eq!(labels(Scale::log([10., 1000.]), 5), ["10", "20", "50", "100", "200", "500", "1,000"]);
        assert_eq!(Scale::around([0.13, 0.87], 5), Scale::linear(0., 1.));
    }

    #[test]
    fn degenerate_ranges_become_usable() {
        for scale in [
            Scale::around([], 5),
            Scale::around([f64::NAN, f64::INFINITY], 5),
            Scale::around([3., 3.], 5),
            Scale::around([0.], 5),
            Scale::around([1e300, -1e300], 5),
            Scale::around([5e-324], 5),
            Scale::log([]),
            Scale::log([7.]),
            Scale::log([-1., 0.]),
            Scale::linear(f64::NAN, 1.),
        ] {
            let (low, high) = scale.ends();
            assert!(low < high, "{scale:?}");
            assert!(scale.unit(low).abs() < 1e-9, "{scale:?}");
            assert!((scale.unit(high) - 1.).abs() < 1e-9, "{scale:?}");
            let ticks = scale.ticks(5);
            assert!(ticks.len() <= 13, "{scale:?} {ticks:?}");
        }
    }
}
