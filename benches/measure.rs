use std::time::Instant;

use dina_core::Seed;
use ndarray::Array2;
use rand_distr::{Distribution, StandardNormal};

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

/// Median seconds of some calls, after one that is not counted.
///
/// # Errors
/// Of the first call that fails.
pub fn timed<E>(repeats: usize, mut work: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    work()?;
    let mut seconds = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let start = Instant::now();
        work()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(median(&seconds))
}

/// Lets the peak memory of this process start anew from what it holds now, where the system (Linux) can; elsewhere the peak
/// since its start stays.
pub fn reset_peak_memory() {
    // 5 is the peak of resident memory in the manual of proc(5).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// A repeatable matrix of standard normal values.
pub fn normal(name: &str, rows: usize, columns: usize) -> Array2<f32> {
    let mut stream = Seed::new(1).stream(name);
    Array2::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut stream))
}
