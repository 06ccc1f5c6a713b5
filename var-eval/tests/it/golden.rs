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

/// The cases of a committed group whose id begins with `prefix`, after a change to its manifest.
fn check_group(group: &str, prefix: &str, change: impl FnOnce(&mut Value)) -> Vec<var_eval::golden::Check> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/eval").join(group);
    let text = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    let chosen = |case: &Value| case["id"].as_str().unwrap().starts_with(prefix);
    let cases = manifest["cases"].as_array_mut().unwrap();
    cases.retain(chosen);
    assert!(!cases.is_empty(), "{group} has no case that begins with '{prefix}'");
    change(&mut manifest);
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(&folder).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    std::fs::write(copy.path().join("manifest.json"), manifest.to_string()).unwrap();
    check(copy.path())
}

/// Groups, their small cases (`cargo xtask golden` checks all), and a figure of each.
const GROUPS: [(&str, &str, &str); 5] = [
    ("frechet", "d8", "/expected/best"),
    ("fdinf", "d16", "/expected/fd_infinity"),
    ("is", "n200", "/expected/adm_f64_mean"),
    ("kid", "d64_s", "/expected/torch_fidelity_f64/mean"),
    ("stats", "", "/expected/sigma/sum"),
];

#[test]
fn measures_of_sets_equal_the_published_tools() {
    for (group, prefix, _) in GROUPS {
        let checks = check_group(group, prefix, |_| {});
        assert!(checks.len() > 10, "{group}: {} checks", checks.len());
        let failures: Vec<_> = checks.iter().filter(|check| !check.pass).collect();
        assert!(failures.is_empty(), "{group}: {failures:#?}");
    }
}

#[test]
fn one_changed_figure_of_a_tool_is_one_failed_check_or_one_a_way_of_computing_it() {
    for (group, prefix, figure) in GROUPS {
        let checks = check_group(group, prefix, |manifest| {
            let figure = manifest["cases"][0].pointer_mut(figure).unwrap();
            *figure = (figure.as_f64().unwrap() * 1.001 + 0.001).into();
        });
        let failed = checks.iter().filter(|check| !check.pass).count();
        // Three ways lead to a Fréchet distance.
        assert_eq!(failed, if group == "frechet" { 3 } else { 1 }, "{group}");
    }
}

#[test]
fn features_of_another_seed_show_as_such_before_any_measure() {
    for (group, prefix, _) in &GROUPS[..4] {
        let checks = check_group(group, prefix, |manifest| manifest["seed"] = 2.into());
        let says = |check: &var_eval::golden::Check| {
            check.note.as_ref().is_some_and(|note| note.contains("SHA-256"))
        };
        assert!(checks.iter().all(|check| !check.pass && says(check)), "{group}: {checks:#?}");
    }
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
    assert!(check_changed(|manifest| manifest["group"] = "another".into()).is_empty());
    let checks = check(Path::new("no/such/folder"));
    assert_eq!(checks.len(), 1);
    assert!(!checks[0].pass);
}
