//! Towers and objectives of a user's own, as the examples show them.

// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A built example, beside the folder of this test.
fn run(name: &str, arguments: &[&str]) -> Output {
    let folder = std::env::current_exe().unwrap();
    let folder = folder.parent().and_then(Path::parent).unwrap().join("examples");
    Command::new(folder.join(name)).args(arguments).output().unwrap()
}

/// Runs an example, and looks for its part in all that it writes.
fn check(name: &str, part: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.rs"));
    assert!(std::fs::read_to_string(source).unwrap().lines().count() < 60, "{name} has grown");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let output = run(name, &[out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("results.json")).unwrap()).unwrap();
    let dina = results["identification"].as_array().unwrap().iter().find(|row| row["decoder"] == "dina");
    assert!(dina.unwrap()["two_way"].as_f64().unwrap() > 0.5, "{dina:?}");
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains(part), "{name}: the report does not name its part");
    // The built-in model has no place in this folder, and neither has this one in a program that does not know its part.
    let other = run("decode", &["--profile", "smoke", "--out", out]);
    let error = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && error.contains(part) && error.contains("Parts"), "{error}");
}

#[test]
fn an_image_tower_of_ones_own() {
    check("custom_image_tower", "conv net 32-16");
}

#[test]
fn a_neural_tower_of_ones_own() {
    check("custom_neural_tower", "latent 24, gain 0.3");
}

#[test]
fn an_objective_of_ones_own() {
    check("custom_objective", "margin loss, margin 0.2");
}
