//! The figures of piq and scikit-image.

use std::path::{Path, PathBuf};

use serde_json::Value;
use var_eval::golden::check;

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../var-tokenizer/tests/golden/eval/psnr_ssim")
}

/// Checks the committed manifest after a change to it.
fn check_changed(change: impl FnOnce(&mut Value)) -> Vec<var_eval::golden::Check> {
    let text = std::fs::read_to_string(committed().join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    change(&mut manifest);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
    check(folder.path())
}

#[test]
fn psnr_and_ssim_equal_the_published_tools() {
    let checks = check(&committed());
    assert_eq!(checks.len(), 9 * 10);
    let failures: Vec<_> = checks.iter().filter(|check| !check.pass).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_wrong_expected_figure_fails_and_only_that() {
    let checks = check_changed(|manifest| {
        manifest["cases"][1]["expected"]["skimage_ssim_gaussian_wang"] = 0.866_885_9.into();
    });
    let failed: Vec<_> = checks.iter().filter(|check| !check.pass).map(|c| c.quantity.as_str()).collect();
    assert_eq!(failed, ["64x64_jitter32 skimage_ssim_gaussian_wang"]);
}

#[test]
fn a_finite_figure_is_not_infinite() {
    let checks = check_changed(|manifest| manifest["cases"][0]["expected"]["skimage_psnr"] = "inf".into());
    let failed: Vec<_> = checks.iter().filter(|check| !check.pass).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].difference, None);
}

#[test]
fn wrong_inputs_show_as_such_before_any_measure() {
    let checks = check_changed(|manifest| manifest["seed"] = 2.into());
    assert_eq!(checks.len(), 9);
    assert!(checks.iter().all(|check| !check.pass && check.note.as_ref().unwrap().contains("SHA-256")));
}

#[test]
fn damaged_manifests_are_failures_and_no_crash() {
    for (pointer, value) in [
        ("/seed", Value::Null),
        ("/cases", Value::Array(vec![])),
        ("/cases/0/input/h", 0.into()),
        ("/cases/0/input/w", u64::MAX.into()),
        ("/cases/0/input/c", (-1).into()),
        ("/cases/0/input/b/k", 300.into()),
        ("/cases/0/input/b/kind", "?".into()),
        ("/cases/0/input", Value::Null),
        ("/cases/0/expected", Value::Null),
        ("/cases/0/tolerance", Value::Null),
    ] {
        let checks = check_changed(|manifest| *manifest.pointer_mut(pointer).unwrap() = value);
        assert!(checks.iter().any(|check| !check.pass), "{pointer}");
    }
}

#[test]
fn other_groups_give_nothing_and_a_missing_manifest_a_failure() {
    assert!(check_changed(|manifest| manifest["group"] = "frechet".into()).is_empty());
    let checks = check(Path::new("no/such/folder"));
    assert_eq!(checks.len(), 1);
    assert!(!checks[0].pass);
}
