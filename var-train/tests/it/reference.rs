//! A seeded short run against the losses of the day it was written.

use std::path::Path;

use super::fixture::{Fixture, losses};

/// Rounding differs between processors; the losses may by this much.
const TOLERANCE: f64 = 2e-3;

#[test]
fn a_seeded_run_matches_the_committed_losses() {
    let fixture = Fixture::new();
    assert!(fixture.model("run").args(["--set", "steps=40"]).status().unwrap().success());
    let found = losses(&fixture.path("run"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/seeded-losses.txt");
    if std::env::var_os("VAR_WRITE_REFERENCE").is_some() {
        let text: String = found.iter().map(|(step, loss)| format!("{step} {loss:.6}\n")).collect();
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let expected: Vec<f64> =
        text.lines().map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(expected.len(), found.len());
    for ((step, loss), expected) in found.iter().zip(&expected) {
        assert!((loss - expected).abs() < TOLERANCE, "step {step}: {loss}, committed {expected}");
    }
    // It learns: the end lies well below the start.
    assert!(expected[39] < expected[0] - 0.15, "{} {}", expected[0], expected[39]);
}
