//! Precision, recall, density and coverage: the tools' figures, and what holds for any features.

use std::path::Path;

use ndarray::{Array2, Axis};
use proptest::prelude::*;
use serde_json::Value;
use var_eval::golden::check;
use var_eval::metrics::bootstrap::Bootstrap;
use var_eval::metrics::precision_recall::{NEIGHBOURS, compare, hits};
use var_tokenizer::random::Stream;

fn normals(name: &str, rows: usize, width: usize, factor: f64) -> Array2<f32> {
    let stream = Stream::new(name, 1);
    Array2::from_shape_fn((rows, width), |(i, j)| (factor * stream.normal((i * width + j) as u64)) as f32)
}

fn committed() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/eval/prc")
}

#[test]
fn counts_shares_and_radii_equal_exact_arithmetic_and_the_published_tools() {
    let checks = check(&committed());
    assert_eq!(checks.len(), 9 * (16 + 8 + 2 + 8));
    let failures: Vec<_> = checks.iter().filter(|check| !check.pass).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_count_that_is_off_by_one_and_another_seed_are_failures() {
    let text = std::fs::read_to_string(committed().join("manifest.json")).unwrap();
    let check_changed = |pointer: &str, value: Value| {
        let mut manifest: Value = serde_json::from_str(&text).unwrap();
        *manifest.pointer_mut(pointer).unwrap() = value;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
        check(folder.path()).into_iter().filter(|check| !check.pass).collect::<Vec<_>>()
    };
    let failures = check_changed("/cases/0/expected/exact_k3_counts_strict/recall", 59.into());
    let names: Vec<_> = failures.iter().map(|check| check.quantity.as_str()).collect();
    assert_eq!(names, ["d16_n200 exact_k3_counts_strict recall"]);
    let failures = check_changed("/seed", 2.into());
    assert!(failures.iter().all(|check| check.note.as_ref().unwrap().contains("SHA-256")));
    assert_eq!(failures.len(), 9);
    for (pointer, value) in [
        ("/cases/0/input/real", Value::Null),
        ("/cases/0/input/gen/recipe", "?".into()),
        ("/cases/0/input/real/n", 3.into()),
        ("/cases/0/k3_radii", Value::Null),
    ] {
        assert!(!check_changed(pointer, value).is_empty(), "{pointer}");
    }
}

#[test]
fn collapsed_samples_have_high_precision_and_low_recall() {
    let real = normals("real", 400, 8, 1.0);
    let collapsed = normals("collapsed", 400, 8, 0.05);
    let found = compare(real.view(), collapsed.view(), NEIGHBOURS).unwrap();
    for counts in [found.inclusive, found.strict] {
        assert!(found.precision(counts) > 0.95, "{found:?}");
        assert!(found.recall(counts) < 0.05, "{found:?}");
        assert!(found.coverage(counts) < 0.2, "{found:?}");
    }
}

#[test]
fn sets_larger_than_a_tile_equal_their_definition() {
    let (real, generated) = (normals("x", 1100, 5, 1.0), normals("y", 1030, 5, 0.9));
    let found = hits(real.view(), generated.view(), 3).unwrap();
    let square = |a: ndarray::ArrayView1<f32>, b: ndarray::ArrayView1<f32>| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
    };
    for i in (0..1100).step_by(7) {
        let mut all: Vec<f64> = real.rows().into_iter().map(|row| square(real.row(i), row)).collect();
        all.sort_by(f64::total_cmp);
        assert!((found.real_radii[i] - all[3].sqrt()).abs() < 1e-12);
        let inside = generated.rows().into_iter().filter(|row| square(real.row(i), *row) <= all[3]).count();
        assert_eq!(found.inside[i][0], inside as u64);
    }
}

#[test]
fn a_resampled_precision_has_an_interval_around_it() {
    let (real, generated) = (normals("x", 300, 4, 1.0), normals("y", 300, 4, 1.2));
    let found = hits(real.view(), generated.view(), 3).unwrap();
    let precise: Vec<f64> = found.precise.iter().map(|hit| f64::from(u8::from(hit[0]))).collect();
    let interval = Bootstrap::default().mean(&precise).unwrap();
    let comparison = found.comparison();
    let precision = comparison.precision(comparison.inclusive);
    assert!(interval.low < precision && precision < interval.high, "{interval:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_rows_and_of_memory_changes_nothing(n in 6_usize..60, m in 6_usize..60, seed in 0_u64..1000) {
        let (real, generated) = (normals(&format!("r{seed}"), n, 3, 1.0), normals(&format!("g{seed}"), m, 3, 1.0));
        let expected = compare(real.view(), generated.view(), 3).unwrap();
        let shuffled = |set: &Array2<f32>| {
            set.select(Axis(0), &Stream::new("order", seed).permutation(set.nrows()))
        };
        let (a, b) = (shuffled(&real), shuffled(&generated).reversed_axes());
        let b = b.as_standard_layout().into_owned();
        prop_assert_eq!(compare(a.view(), b.t(), 3).unwrap(), expected);
    }

    #[test]
    fn a_set_against_itself_has_everything(n in 6_usize..60, k in 1_usize..5, seed in 0_u64..1000) {
        let set = normals(&format!("s{seed}"), n, 4, 1.0);
        let found = compare(set.view(), set.view(), k).unwrap();
        for counts in [found.inclusive, found.strict] {
            prop_assert_eq!(found.precision(counts), 1.0);
            prop_assert_eq!(found.recall(counts), 1.0);
            prop_assert_eq!(found.coverage(counts), 1.0);
        }
        prop_assert_eq!(found.density(found.strict), 1.0);
    }
}

#[test]
fn features_that_cannot_be_compared_are_errors() {
    let good = normals("x", 6, 4, 1.0);
    let mut bad = good.clone();
    bad[[2, 1]] = f32::NAN;
    assert!(compare(good.view(), bad.view(), 3).is_err());
    assert!(compare(good.view(), normals("x", 6, 5, 1.0).view(), 3).is_err());
    assert!(compare(good.view(), good.view(), 6).is_err());
    assert!(compare(good.view(), good.view(), 0).is_err());
    assert!(compare(Array2::zeros((0, 4)).view(), good.view(), 3).is_err());
    assert!(compare(good.view(), good.view(), usize::MAX).is_err());
}
