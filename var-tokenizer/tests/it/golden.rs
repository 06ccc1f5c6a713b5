//! The committed golden cases, through the same code as `cargo xtask golden`.

use std::path::{Path, PathBuf};

use var_tokenizer::golden::{Check, check};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn all_pass(name: &str, at_least: usize) {
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

#[test]
fn a_wrong_number_fails_the_check() {
    // The comparison itself must be able to fail: the same case with one expected tensor disturbed.
    let folder = tempfile::tempdir().unwrap();
    for file in ["manifest.json", "expected.safetensors"] {
        std::fs::copy(case("phi_shared_vae").join(file), folder.path().join(file)).unwrap();
    }
    let path = folder.path().join("expected.safetensors");
    let mut contents = var_tokenizer::weights::safetensors::read(&path).unwrap();
    let f = contents.tensors.get("f").unwrap() + 1e-2;
    contents.tensors.insert("f".into(), f);
    var_tokenizer::weights::safetensors::write(&path, &contents.tensors, &contents.metadata).unwrap();
    let checks = check(folder.path()).unwrap();
    let failed: Vec<&str> = checks.iter().filter(|c| !c.pass).map(|c| c.quantity.as_str()).collect();
    assert_eq!(failed, ["f"]);
}
