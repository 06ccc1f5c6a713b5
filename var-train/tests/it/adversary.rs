//! Tokenizers with perceptual and adversarial losses, through the command line on real files.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use var_tokenizer::weights::safetensors;

use super::fixture::{losses, refused};
use super::made_up::network;
use super::tokenizer::{command, kill_at, pictures};

/// A discriminator that starts at once, with all that it can have.
const ADVERSARY: [&str; 9] = [
    "adversary.weight=0.5",
    "adversary.layers=1",
    "adversary.width=4",
    "adversary.start=0",
    "adversary.ramp=0.0001",
    "adversary.consistency=1",
    "adversary.blur=0.0002",
    "scale_dropout=0.3",
    "ema=0.9",
];

fn with<'a>(command: &'a mut Command, settings: &[&str]) -> &'a mut Command {
    command.args(settings.iter().flat_map(|s| ["--set", s]))
}

/// The lines of training in `metrics.jsonl`.
fn lines(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == "train" || line.get("d_loss").is_some()).collect()
}

#[test]
fn an_adversarial_run_that_is_killed_and_resumed_is_bit_equal_to_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let settings = ["steps=100000", "quantize_from=0.0001", "checkpoint_every=3", "keep_checkpoints=100000"];
    let killed_at = |run: &Path, step: u64, resume: bool| {
        let mut command = command(&data, run);
        with(with(&mut command, &settings), &ADVERSARY).args(["--set", "accumulation=2"]);
        kill_at(&mut command, run, step, resume);
    };
    killed_at(&whole, 30, false);
    // After each of ten checkpoints, before and after the codebook starts.
    for step in (3..=30).step_by(3) {
        killed_at(&killed, step, step > 3);
    }
    assert_eq!(losses(&killed)[..30], losses(&whole)[..30]);
    for file in ["model.safetensors", "optimizer.safetensors", "ema.safetensors"] {
        let file = format!("checkpoints/step-00000030/{file}");
        let [a, b] = [&whole, &killed].map(|run| std::fs::read(run.join(&file)).unwrap());
        assert!(a == b, "{file}");
    }
    let numbers = [&whole, &killed].map(|run| {
        let text = std::fs::read_to_string(run.join("checkpoints/step-00000030/state.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["task"].clone()
    });
    assert_eq!(numbers[0], numbers[1]);
    assert!(numbers[0]["adversary.lecam_real"].as_f64().unwrap() != 0.0);
}

#[test]
fn the_discriminator_starts_when_its_share_of_the_run_is_over_and_its_weight_rises() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let run = folder.path().join("run");
    let mut command = command(&data, &run);
    let late = [
        "steps=20",
        "adversary.start=0.5",
        "adversary.ramp=0.25",
        "adversary.adaptive=false",
        "scale_dropout=0",
    ];
    assert!(with(with(&mut command, &ADVERSARY), &late).status().unwrap().success());
    let lines = lines(&run);
    let weights: Vec<Option<f64>> = lines.iter().map(|line| line["g_weight"].as_f64()).collect();
    assert!(weights[..10].iter().all(Option::is_none), "{weights:?}");
    let rising: Vec<f64> = weights[10..].iter().map(|w| w.unwrap()).collect();
    assert_eq!(rising, [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5].map(|w: f64| w));
    for key in
        ["g_loss", "d_loss", "d_real_logit", "d_fake_logit", "d_real_right", "d_fake_right", "d_grad_norm"]
    {
        assert!(lines.last().unwrap()[key].is_number(), "{key}");
    }
}

#[test]
fn a_batch_of_fewer_scales_has_no_perceptual_and_no_adversarial_loss() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let run = folder.path().join("run");
    let weights = format!("perceptual.weights={}", network(folder.path()));
    let settings = ["steps=20", "image_side=32", "schedule=1,2,4,16", "perceptual.weight=1", &weights];
    let dropout = ["quantize_from=0.25", "scale_dropout=0.5", "scale_dropout_keeps=2"];
    let mut command = command(&data, &run);
    assert!(with(with(with(&mut command, &ADVERSARY), &settings), &dropout).status().unwrap().success());
    let lines = lines(&run);
    let kept: Vec<Option<u64>> = lines.iter().map(|line| line["scales"].as_u64()).collect();
    assert!(kept[..5].iter().all(Option::is_none), "{kept:?}");
    let found = |n: Option<u64>| kept[5..].iter().filter(|kept| **kept == n).count();
    assert!(found(None) > 2 && found(Some(2)) > 0 && found(Some(3)) > 0, "{kept:?}");
    assert_eq!(found(None) + found(Some(2)) + found(Some(3)), 15);
    for line in &lines {
        let whole = line["scales"].is_null();
        assert_eq!((line["perceptual"].is_number(), line["g_weight"].is_number()), (whole, whole), "{line}");
    }
}

#[test]
fn a_perceptual_loss_starts_at_its_share_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let run = folder.path().join("run");
    let weights = format!("perceptual.weights={}", network(folder.path()));
    let settings = ["steps=8", "image_side=32", "schedule=1,2,4,16", "perceptual.weight=1", &weights];
    let mut command = command(&data, &run);
    assert!(with(with(&mut command, &settings), &["perceptual.start=0.75"]).status().unwrap().success());
    let found: Vec<bool> = lines(&run).iter().map(|line| line["perceptual"].is_number()).collect();
    assert_eq!(found, [false, false, false, false, false, false, true, true]);
}

#[test]
fn a_perceptual_loss_is_trained_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let run = folder.path().join("run");
    let weights = format!("perceptual.weights={}", network(folder.path()));
    let settings = ["steps=4", "image_side=32", "schedule=1,2,4,8,16", "perceptual.weight=1", &weights];
    let mut command = command(&data, &run);
    assert!(with(&mut command, &settings).status().unwrap().success());
    let lines = lines(&run);
    let sum = |line: &Value| {
        ["l1", "l2", "vq", "perceptual"].map(|key| line[key].as_f64().unwrap()).iter().sum::<f64>()
    };
    for line in &lines {
        assert!(line["perceptual"].as_f64().unwrap() > 0.0);
        assert!((line["loss"].as_f64().unwrap() - sum(line)).abs() < 1e-5, "{line}");
    }
    // The file names the network: a score by the same one is not fair.
    let dict = safetensors::open(&run.join("tokenizer.safetensors")).unwrap();
    assert_eq!(dict.metadata["perceptual_network"], "st-lpips-alex");
}

#[test]
fn images_too_small_for_a_network_or_a_discriminator_are_refused_with_what_fits() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let run = folder.path().join("run");
    let refuse = |settings: &[&str], parts: &[&str]| {
        refused(&with(&mut command(&data, &run), settings).output().unwrap(), parts);
        assert!(!run.exists());
    };
    refuse(&["perceptual.weight=1"], &["st-lpips-alex", "at least 21 pixels", "16"]);
    refuse(
        &["adversary.weight=1", "adversary.layers=3"],
        &["adversary.layers = 3", "no logit", "At most 2 fit"],
    );
    refuse(&["adversary.weight=1", "adversary.layers=0"], &["adversary.layers = 0"]);
    refuse(&["adversary.weight=1", "adversary.loss=hing"], &["adversary.loss"]);
    refuse(&["scale_dropout=0.1", "scale_dropout_keeps=9"], &["scale_dropout_keeps = 9", "1 to 3"]);
}

#[test]
fn a_missing_or_foreign_network_is_told_before_the_run_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let run = folder.path().join("run");
    let large = ["image_side=32", "schedule=1,2,4,8,16", "perceptual.weight=1"];
    let refuse = |settings: &[&str], parts: &[&str]| {
        let mut command = command(&data, &run);
        command.env("VAR_FEATURES", folder.path());
        refused(&with(with(&mut command, &large), settings).output().unwrap(), parts);
        assert!(!run.exists());
    };
    refuse(&[], &["st_lpips_alex.pth"]);
    let weights = format!("perceptual.weights={}", network(folder.path()));
    let both = ["lpips-vgg needs two files", "perceptual.weights", "perceptual.heads"];
    refuse(&["perceptual.network=lpips-vgg"], &both);
    refuse(&["perceptual.network=lpips-vgg", &weights], &both);
    refuse(&["perceptual.network=st-lpips-vgg", &weights], &["missing net.slice1.2.weight", "shape"]);
}

#[test]
fn every_validation_leaves_images_and_a_score_per_scale_of_the_average() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let run = folder.path().join("run");
    let mut command = command(&data, &run);
    let settings = ["steps=20", "quantize_from=0.5", "validate_every=5", "ema=0.9", "checkpoint_every=10"];
    assert!(with(&mut command, &settings).status().unwrap().success());
    // Eight rows; the original and the reconstruction, later one after each of the four scales.
    for (step, columns) in [(5, 2), (10, 2), (15, 5), (20, 5)] {
        let strip = image::open(run.join(format!("reconstructions/step-{step:08}.png"))).unwrap();
        assert_eq!((strip.width(), strip.height()), (columns * 18 - 2, 4 * 18 - 2), "step {step}");
    }
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let scores: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .filter(|l: &Value| l["kind"] == "val")
        .collect();
    assert!(scores[0].get("psnr_per_scale").is_none());
    let last = scores.last().unwrap();
    let per_scale: Vec<f64> =
        last["psnr_per_scale"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(per_scale.len(), 4);
    assert!((per_scale[3] - last["psnr"].as_f64().unwrap()).abs() < 1e-9);
    let read = |name: &str| std::fs::read(run.join(name)).unwrap();
    assert!(read("tokenizer.safetensors") == read("checkpoints/step-00000020/ema.safetensors"));
    assert!(read("tokenizer.safetensors") != read("checkpoints/step-00000020/model.safetensors"));
    let tokenizer = var_tokenizer::Tokenizer::open(run.join("tokenizer.safetensors")).unwrap();
    assert_eq!(tokenizer.config().vocabulary, 32);
}
