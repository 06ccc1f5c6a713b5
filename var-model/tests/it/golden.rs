//! The committed golden cases, through the same code as `cargo xtask golden`.

use std::path::Path;

use var_model::golden::check;
use var_tokenizer::golden::Check;

fn all_pass(name: &str, at_least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../var-tokenizer/tests/golden").join(name);
    let checks = check(&folder).unwrap();
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
fn filters_agree_with_the_published_sampler() {
    all_pass("ops", 6);
}
