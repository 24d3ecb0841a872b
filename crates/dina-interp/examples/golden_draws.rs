//! The random draws of the attribution methods that `tests/golden/attribution.py` repeats in PyTorch, as JSON.
//!
//! `cargo run -p dina-interp --example golden_draws > draws.json`

use dina_core::Seed;
use dina_interp::attribution::{ExpectedGradients, Shapley, SmoothGrad};
use serde_json::{Value, json};

/// As in the test.
const ITEMS: usize = 2;
const BACKGROUND: usize = 5;
const GROUPS: usize = 4;

fn main() {
    let (smooth, expected) = (
        SmoothGrad { samples: 6, ..Default::default() },
        ExpectedGradients { samples: 10, ..Default::default() },
    );
    let shapley = Shapley { pairs: 3, ..Default::default() };
    let seed = Seed::new(7);
    let of = |inputs: usize| -> Value {
        let items = 0..ITEMS;
        let noise: Vec<Vec<Vec<f64>>> = items
            .clone()
            .map(|item| (0..smooth.samples).map(|sample| smooth.draws(item, sample, inputs, seed)).collect())
            .collect();
        let places: Vec<Vec<(usize, f64)>> =
            items.clone().map(|item| expected.draws(item, BACKGROUND, seed)).collect();
        let orders: Vec<Vec<Vec<usize>>> = items
            .map(|item| {
                (0..2 * shapley.pairs).map(|order| shapley.order(item, order, GROUPS, seed)).collect()
            })
            .collect();
        json!({ "noise": noise, "places": places, "orders": orders })
    };
    println!("{}", json!({ "image": of(80), "neural": of(12) }));
}
