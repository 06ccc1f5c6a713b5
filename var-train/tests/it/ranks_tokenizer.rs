//! Tokenizers on several ranks: the same training as one process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use tch::Tensor;
use var_tokenizer::weights::safetensors;

use super::fixture::values;
use super::tokenizer::{command, pictures};

/// Sums over a batch in another order: losses differ by rounding in f32, which training spreads. A loss on half of the
/// batch is off by a hundred times this.
const LOSS: f64 = 2e-4;
/// The same for parameters after the last step, where AdamW divides small moments by small ones.
const PARAMETER: f64 = 2e-3;

/// Everything that could depend on the part of a batch: k-means, replaced codes, a discriminator with batch norm in both passes,
/// LeCam's averages, the adaptive weight, augmentation, scale dropout and the average of the weights.
const SETTINGS: [&str; 15] = [
    "steps=24",
    // K-means is not continuous: after some steps, rounding would give other centres.
    "quantize_from=0",
    "replace_every=3",
    "validate_every=12",
    "checkpoint_every=12",
    "adversary.weight=0.5",
    "adversary.layers=2",
    "adversary.width=4",
    "adversary.start=0.1",
    "adversary.ramp=0.1",
    "adversary.consistency=1",
    "adversary.lecam=0.1",
    "adversary.running_statistics=false",
    "scale_dropout=0.3",
    "ema=0.9",
];

fn train(data: &Path, out: &Path, more: &[&str]) {
    let mut command = command(data, out);
    command.args(SETTINGS.iter().flat_map(|setting| ["--set", setting])).args(more);
    run(&mut command);
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn tensors(run: &Path, file: &str) -> BTreeMap<String, Tensor> {
    safetensors::open(&run.join("checkpoints/step-00000024").join(file)).unwrap().read_all().unwrap()
}

fn assert_equal_logs(one: &Path, other: &Path, keys: &[(&str, &str)]) {
    for (kind, key) in keys {
        let [a, b] = [one, other].map(|run| values(run, kind, key));
        assert!(!a.is_empty() && a.len() == b.len());
        for ((step, a), (_, b)) in a.iter().zip(&b) {
            assert!((a - b).abs() < LOSS * a.abs().max(1.0), "{key} after step {step}: {a} and {b}");
        }
    }
}

fn assert_equal_training(one: &Path, other: &Path) {
    assert_equal_logs(
        one,
        other,
        &[("train", "loss"), ("train", "vq"), ("val", "psnr"), ("val", "perplexity")],
    );
    for file in ["model.safetensors", "ema.safetensors", "optimizer.safetensors"] {
        let (a, b) = (tensors(one, file), tensors(other, file));
        assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
        // Biases are left out. A norm with one channel per group removes them, so their gradients are rounding errors.
        // AdamW turns even those into full steps.
        for (name, tensor) in a.iter().filter(|(name, _)| !name.ends_with("bias")) {
            let off = (tensor - &b[name]).abs().max().double_value(&[]);
            assert!(off < PARAMETER, "{file}: {name}: {off}");
        }
    }
}

#[test]
fn a_tokenizer_and_its_discriminator_train_on_two_and_four_ranks_as_on_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let out = |name: &str| folder.path().join(name);
    train(&data, &out("one"), &[]);
    for (name, more) in [
        ("two", ["--nproc", "2"].as_slice()),
        ("four", &["--nproc", "4"]),
        ("shared", &["--nproc", "2", "--zero"]),
    ] {
        train(&data, &out(name), more);
        assert_equal_training(&out("one"), &out(name));
    }
}

#[test]
fn two_ranks_train_as_one_before_there_is_a_codebook() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let settings = ["--set", "quantize_from=0.95", "--set", "steps=9"];
    train(&data, &one, &settings);
    train(&data, &two, &[settings.as_slice(), &["--nproc", "2"]].concat());
    assert_equal_logs(&one, &two, &[("train", "loss"), ("val", "psnr")]);
}

#[test]
fn a_tokenizer_of_one_process_is_resumed_by_two_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    train(&data, &one, &[]);
    train(&data, &two, &[]);
    std::fs::remove_dir_all(two.join("checkpoints/step-00000024")).unwrap();
    std::fs::remove_file(two.join("result.json")).unwrap();
    train(&data, &two, &["--resume", "--nproc", "2"]);
    assert_equal_training(&one, &two);
}

#[test]
fn a_batch_that_ranks_cannot_share_is_refused_before_the_run_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let out = folder.path().join("run");
    let output = command(&data, &out).args(["--nproc", "3"]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("training.batch 8 cannot be shared by 3 ranks"), "{message}");
    assert!(!out.exists());
}
