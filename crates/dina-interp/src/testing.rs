//! What tests of several modules share.

use dina_core::Seed;
use ndarray::{Array2, Array4};
use rand_distr::{Distribution, StandardNormal};

pub fn noise4(name: &str, dims: [usize; 4]) -> Array4<f32> {
    let mut stream = Seed::new(3).stream(name);
    Array4::from_shape_simple_fn(dims, || StandardNormal.sample(&mut stream))
}

pub fn noise2(name: &str, dims: [usize; 2]) -> Array2<f32> {
    let mut stream = Seed::new(3).stream(name);
    Array2::from_shape_simple_fn(dims, || StandardNormal.sample(&mut stream))
}

pub fn normals(name: &str, count: usize) -> Vec<f64> {
    let mut stream = Seed::new(3).stream(name);
    (0..count).map(|_| StandardNormal.sample(&mut stream)).collect()
}

/// Runs with one and with two threads, and returns both results.
pub fn on_one_and_two_threads<T: Send>(run: impl Fn() -> T + Sync) -> [T; 2] {
    [1, 2].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(&run))
}
