/// The width of a text in a sans-serif face of this size, estimated from the usual proportions of
/// Helvetica; right to a few per cent, which is enough to keep labels apart.
pub fn text_width(text: &str, size: f64) -> f64 {
    text.chars().map(advance).sum::<f64>() * size
}

/// The advance of a character in units of the font size.
fn advance(character: char) -> f64 {
    match character {
        'i' | 'j' | 'l' | '\'' | '|' => 0.22,
        ' ' | '.' | ',' | ':' | ';' | '!' | '/' | 'f' | 't' | 'I' | '[' | ']' => 0.28,
        '(' | ')' | '-' | 'r' | '·' => 0.34,
        'm' | 'M' => 0.84,
        'w' => 0.72,
        'W' => 0.94,
        'A'..='Z' | '&' => 0.69,
        c if c.is_ascii() => 0.56,
        // Other scripts can be as wide as high.
        c if (c as u32) < 0x2e80 => 0.6,
        _ => 1.,
    }
}

/// The text in lines of at most this width, broken at spaces and inside words that are too long.
pub fn wrap(text: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        let joined = format!("{line} {word}");
        if !line.is_empty() && text_width(&joined, size) <= width {
            line = joined;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        while text_width(rest, size) > width {
            let cut = longest_prefix(rest, size, width);
            lines.push(rest[..cut].to_owned());
            rest = &rest[cut..];
        }
        line = rest.to_owned();
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// The byte length of the longest prefix that fits: at least one character, so that wrapping ends.
fn longest_prefix(word: &str, size: f64, width: f64) -> usize {
    let mut used = 0.;
    for (at, character) in word.char_indices() {
        used += advance(character) * size;
        if used > width && at > 0 {
            return at;
        }
    }
    word.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_within_the_width_and_lose_nothing() {
        let text = "conv 5x5, 32 channels, group norm, aVeryLongWordWithoutAnySpaceInIt, softplus";
        for width in [30., 60., 120.] {
            let lines = wrap(text, 12., width);
            assert!(lines.iter().all(|line| text_width(line, 12.) <= width));
            let letters = |s: &str| s.split_whitespace().collect::<String>();
            assert_eq!(letters(&lines.concat()), letters(text));
        }
        assert!(wrap("  ", 12., 50.).is_empty());
        assert_eq!(wrap("ab", 12., 0.), ["a", "b"]);
    }
}
