//! What the comparisons share: medians, peak memory, and a child process that is measured.

use std::process::Command;

/// The middle of some numbers; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The largest resident memory of this process so far, in bytes; Linux only.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// Runs a program that prints numbers on its last line, and returns them; `None` where it cannot
/// be started, fails, or prints something else.
pub fn numbers_of(command: &mut Command) -> Option<Vec<f64>> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().last()?.split_whitespace().map(|word| word.parse().ok()).collect()
}
