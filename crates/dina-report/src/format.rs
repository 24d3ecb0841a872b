//! How numbers and names are written, the same in tables, captions and figures.

/// What stands where there is no number.
pub const NONE: &str = "–";

/// A proportion, a correlation or another number around one: three decimals, more where three
/// would read as nought.
pub fn proportion(value: f64) -> String {
    let size = value.abs();
    if size > 0. && size < 0.001 { minus(format!("{value:.5}")) } else { three_decimals(value) }
}

/// A difference: three decimals and its sign.
pub fn signed(value: f64) -> String {
    let text = three_decimals(value);
    if value >= 0.0005 { format!("+{text}") } else { text }
}

/// An interval in brackets; nothing where it has no ends.
pub fn interval(low: f64, high: f64) -> String {
    if low.is_finite() && high.is_finite() {
        format!("[{}, {}]", three_decimals(low), three_decimals(high))
    } else {
        String::new()
    }
}

fn three_decimals(value: f64) -> String {
    if value.is_finite() { minus(format!("{value:.3}")) } else { NONE.to_owned() }
}

/// A proportion and its interval.
pub fn with_interval(value: f64, low: f64, high: f64) -> String {
    format!("{} {}", proportion(value), interval(low, high)).trim_end().to_owned()
}

/// A p value by itself: `0.012`, `< 0.001`.
pub fn p_value(p: f64) -> String {
    if !p.is_finite() {
        NONE.to_owned()
    } else if p < 0.001 {
        "< 0.001".to_owned()
    } else {
        format!("{p:.3}")
    }
}

/// A p value with its letter: `p = 0.012`, `p < 0.001`.
pub fn p_equals(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {}", p_value(p)) }
}

/// A whole number with a comma at the thousands.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number in the fewest digits that name it, for settings such as a learning rate.
pub fn setting(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        NONE.to_owned()
    } else if size != 0. && !(1e-4..1e6).contains(&size) {
        minus(format!("{value:e}"))
    } else {
        minus(format!("{value}"))
    }
}

/// A rank, a whole number or a half.
pub fn rank(value: f64) -> String {
    if !value.is_finite() {
        NONE.to_owned()
    } else if value.fract() == 0. && value >= 0. {
        count(value as u64)
    } else {
        format!("{value:.1}")
    }
}

/// A duration: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0. {
        return NONE.to_owned();
    }
    if seconds < 10. {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A size in memory: `812 MiB`, `1.9 GiB`.
pub fn bytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / (1u64 << 20) as f64;
    if mebibytes < 1024. { format!("{mebibytes:.0} MiB") } else { format!("{:.1} GiB", mebibytes / 1024.) }
}

/// `1 image`, `2 images`.
pub fn counted(number: usize, noun: &str) -> String {
    let plural = match (number, noun.strip_suffix('y')) {
        (1, _) => noun.to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    };
    format!("{} {plural}", count(number as u64))
}

/// `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// The text as a sentence: with a capital and a full stop.
pub fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut letters = text.chars();
    let Some(first) = letters.next() else {
        return String::new();
    };
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
}

/// The typographic minus, as wide as the plus.
fn minus(text: String) -> String {
    // "-0.000" is nought.
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| matches!(c, '0' | '.')) => rest.to_owned(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_the_same_everywhere() {
        assert_eq!(proportion(0.5), "0.500");
        assert_eq!(proportion(1. / 2800.), "0.00036");
        assert_eq!(proportion(-0.25), "−0.250");
        assert_eq!(proportion(-1e-9), "0.00000");
        assert_eq!(proportion(f64::NAN), NONE);
        assert_eq!(signed(0.05), "+0.050");
        assert_eq!(signed(-0.0001), "0.000");
        assert_eq!(interval(0.0004, 0.5), "[0.000, 0.500]");
        assert_eq!(with_interval(0.5, 0.4, 0.6), "0.500 [0.400, 0.600]");
        assert_eq!(with_interval(0.5, f64::NAN, 0.6), "0.500");
        assert_eq!(p_value(0.0004), "< 0.001");
        assert_eq!(p_equals(0.0125), "p = 0.013");
        assert_eq!(p_equals(f64::NAN), "p = –");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(280), "280");
        assert_eq!(setting(3e-4), "0.0003");
        assert_eq!(setting(1e-5), "1e-5");
        assert_eq!(rank(1.5), "1.5");
        assert_eq!(rank(1400.), "1,400");
        assert_eq!(duration(125.), "2 min 05 s");
        assert_eq!(duration(59.7), "1 min 00 s");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(counted(1, "image"), "1 image");
        assert_eq!(counted(2800, "query"), "2,800 queries");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
        assert_eq!(sentence("all good"), "All good.");
    }
}
