//! The committed golden cases, through the same code as `cargo xtask golden`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::Tensor;
use var_tokenizer::golden::{Check, check};
use var_tokenizer::torch;
use var_tokenizer::weights::safetensors;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn all_pass(name: &str, at_least: usize) {
    torch::start();
    let checks = check(&case(name)).unwrap();
    let failed: Vec<&Check> = checks.iter().filter(|c| !c.pass).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(checks.len() >= at_least, "only {} quantities were checked", checks.len());
}

#[test]
fn tiny_vae_agrees_with_the_published_tokenizer() {
    all_pass("tiny_vae", 15);
}

#[test]
fn small_vae_agrees_with_the_published_tokenizer() {
    all_pass("small_vae", 15);
}

#[test]
fn one_shared_phi_agrees_with_the_published_tokenizer() {
    all_pass("phi_shared_vae", 15);
}

#[test]
fn one_phi_a_scale_and_cosine_lookup_agree_with_the_published_tokenizer() {
    all_pass("phi_each_vae", 15);
}

#[test]
fn interpolation_and_phi_indices_agree_with_the_published_code() {
    all_pass("ops", 40);
}

/// The quantities that fail when the expected tensors of the case `name` are changed.
fn failures(name: &str, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> Vec<String> {
    torch::start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(case(name).join("manifest.json"), folder.path().join("manifest.json")).unwrap();
    let expected = safetensors::open(&case(name).join("expected.safetensors")).unwrap();
    let mut tensors = expected.read_all().unwrap();
    change(&mut tensors);
    let path = folder.path().join("expected.safetensors");
    safetensors::write(&path, &tensors, &expected.metadata).unwrap();
    let checks = check(folder.path()).unwrap();
    checks.into_iter().filter(|c| !c.pass).map(|c| c.quantity).collect()
}

#[test]
fn a_wrong_number_fails_the_check() {
    let failed = failures("phi_shared_vae", |tensors| {
        let f = tensors.get("f").unwrap() + 1e-2;
        tensors.insert("f".into(), f);
    });
    assert_eq!(failed, ["f"]);
}

#[test]
fn a_tensor_that_is_missing_fails_under_its_name() {
    let failed = failures("phi_each_vae", |tensors| {
        tensors.remove("images");
        tensors.remove("vq_loss");
    });
    assert_eq!(failed, ["images", "vq_loss"]);
    assert_eq!(failures("ops", |tensors| drop(tensors.remove("area.16.3"))), ["area.16.3"]);
}

#[test]
fn a_tensor_that_nothing_compares_fails() {
    let failed = failures("phi_each_vae", |tensors| {
        tensors.insert("usage".into(), Tensor::from(1.0_f32));
    });
    assert_eq!(failed, ["tensors without a check"]);
}

#[test]
fn a_manifest_alone_fails_in_every_quantity_that_it_promises() {
    torch::start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(case("tiny_vae").join("manifest.json"), folder.path().join("manifest.json")).unwrap();
    let checks = check(folder.path()).unwrap();
    let failed: Vec<&str> = checks.iter().filter(|c| !c.pass).map(|c| c.quantity.as_str()).collect();
    let promised = [
        "f",
        "ids",
        "f_hat",
        "images",
        "model_input",
        "reconstruction",
        "vq_loss",
        "loss",
        "grad_norms",
        "grad_heads",
    ];
    assert_eq!(failed, promised);
}
