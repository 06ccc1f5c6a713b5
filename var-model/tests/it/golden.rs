//! The committed golden cases, through the same code as `cargo xtask golden`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use var_model::golden::check;
use var_tokenizer::golden::Check;
use var_tokenizer::torch;
use var_tokenizer::weights::safetensors;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../var-tokenizer/tests/golden").join(name)
}

fn all_pass(name: &str, at_least: usize) {
    torch::start();
    let checks = check(&case(name)).unwrap();
    let failed: Vec<&Check> = checks.iter().filter(|c| !c.pass).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(checks.len() >= at_least, "only {} quantities were checked", checks.len());
}

#[test]
fn tiny_agrees_with_the_published_transformer() {
    all_pass("tiny", 40);
}

#[test]
fn without_qk_norm_it_agrees_with_the_published_transformer() {
    all_pass("tiny_nol2", 35);
}

#[test]
fn with_shared_adaln_it_agrees_with_the_published_transformer() {
    all_pass("tiny_saln", 35);
}

#[test]
fn with_shared_adaln_and_without_qk_norm_it_agrees_with_the_published_transformer() {
    all_pass("tiny_nol2_saln", 35);
}

#[test]
fn small_agrees_with_the_published_transformer() {
    all_pass("small", 25);
}

#[test]
fn files_of_the_published_code_hold_what_they_should_and_give_the_published_samples() {
    all_pass("checkpoints", 40);
}

#[test]
fn filters_agree_with_the_published_sampler() {
    all_pass("ops", 6);
}

/// Checks the case `name` with another manifest and those of its expected tensors that `keep` keeps.
fn changed(name: &str, change: impl FnOnce(&mut Value), keep: impl Fn(&str) -> bool) -> Vec<Check> {
    torch::start();
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read(case(name).join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_slice(&text).unwrap();
    change(&mut manifest);
    std::fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
    let expected = safetensors::open(&case(name).join("expected.safetensors")).unwrap();
    let mut tensors = expected.read_all().unwrap();
    tensors.retain(|name, _| keep(name));
    if !tensors.is_empty() {
        let path = folder.path().join("expected.safetensors");
        safetensors::write(&path, &tensors, &expected.metadata).unwrap();
    }
    check(folder.path()).unwrap()
}

fn failed(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter(|c| !c.pass).map(|c| c.quantity.as_str()).collect()
}

#[test]
fn a_manifest_alone_fails_in_every_quantity_that_it_promises() {
    let checks = changed("tiny", |_| (), |_| false);
    let failed = failed(&checks);
    for quantity in [
        "model_input",
        "logits",
        "loss",
        "loss_last_scale",
        "loss_per_scale",
        "smoothed_loss",
        "error_rate",
        "error_rate_last_scale",
        "grad_norms",
        "grad_heads",
    ] {
        assert!(failed.contains(&quantity), "{quantity} is not in {failed:?}");
    }
    for run in ["greedy", "topk_topp", "plain", "cfg4", "smooth"] {
        for part in ["ids", "image"] {
            assert!(failed.contains(&format!("sample.{run}.{part}").as_str()), "{run} {part}: {failed:?}");
        }
    }
}

#[test]
fn filters_that_are_missing_fail() {
    assert_eq!(failed(&changed("ops", |_| (), |name| !name.starts_with("filter."))), ["filters"]);
}

#[test]
fn only_a_big_case_may_lack_gradients() {
    let without = |name: &str| !name.starts_with("grad");
    let checks = changed("tiny_nol2", |_| (), without);
    assert_eq!(failed(&checks), ["grad_norms", "grad_heads"]);
    let checks = changed("tiny_nol2", |manifest| manifest["big"] = json!(true), without);
    assert_eq!(failed(&checks), [""; 0]);
}

#[test]
fn a_model_beyond_the_memory_of_the_machine_fails_and_says_so() {
    let larger = |manifest: &mut Value| {
        manifest["depth"] = json!(200);
        manifest["width"] = json!(65536);
    };
    let checks = changed("tiny_nol2", larger, |_| true);
    let note = checks.iter().filter_map(|c| c.note.as_deref()).find(|note| note.starts_with("not checked"));
    assert!(note.is_some_and(|note| note.contains("GB are free")), "{checks:?}");
    assert!(failed(&checks).contains(&"everything but the formula"));
}

#[test]
fn tensors_of_editing_that_are_missing_fail_and_so_do_tasks_without_a_number() {
    let checks = changed("tiny_nol2", |_| (), |name| !name.starts_with("edit."));
    for part in ["image", "tokens", "inpaint.mask", "outpaint.sampled_ids", "class.image"] {
        assert!(failed(&checks).contains(&format!("edit.{part}").as_str()), "{part}: {:?}", failed(&checks));
    }
    let checks = changed("tiny_nol2", |manifest| manifest["edit"] = json!({}), |_| true);
    assert_eq!(failed(&checks), ["edit", "tensors without a check"]);
}

#[test]
fn in_raster_order_it_agrees_with_the_published_class() {
    all_pass("raster_4x4", 40);
    all_pass("raster_6x6_nol2", 40);
}
