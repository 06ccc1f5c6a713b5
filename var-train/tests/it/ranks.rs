//! Several ranks on one machine: the same training as one process, whatever their number.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tch::Tensor;
use var_tokenizer::weights::safetensors;

use super::fixture::{Fixture, losses, validation};

/// Sums over a batch in another order: losses differ by rounding in f32, which training spreads.
const LOSS: f64 = 2e-5;
/// The same for parameters after the last step, where AdamW divides small moments by small ones.
const PARAMETER: f64 = 5e-4;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn parameters(run: &Path) -> BTreeMap<String, Tensor> {
    safetensors::open(&run.join("model.safetensors")).unwrap().read_all().unwrap()
}

fn assert_equal_training(one: &Path, other: &Path) {
    let (a, b) = (losses(one), losses(other));
    assert_eq!(a.len(), b.len());
    for ((step, a), (_, b)) in a.iter().zip(&b) {
        assert!((a - b).abs() < LOSS, "step {step}: {a} and {b}");
    }
    let (a, b) = (validation(one), validation(other));
    assert!(!a.is_empty() && a.len() == b.len());
    for ((step, a), (_, b)) in a.iter().zip(&b) {
        assert!((a - b).abs() < LOSS, "validation after step {step}: {a} and {b}");
    }
    let (a, b) = (parameters(one), parameters(other));
    for (name, tensor) in &a {
        let off = (tensor - &b[name]).abs().max().double_value(&[]);
        assert!(off < PARAMETER, "{name}: {off}");
    }
}

const SETTINGS: [&str; 8] = [
    "--set",
    "steps=20",
    "--set",
    "validate_every=10",
    "--set",
    "condition_drop=0.3",
    "--set",
    "validation_drop=0.2",
];

#[test]
fn two_and_four_ranks_train_as_one_does() {
    let fixture = Fixture::new();
    run(fixture.model("one").args(SETTINGS));
    run(fixture.model("two").args(SETTINGS).args(["--nproc", "2"]));
    assert_equal_training(&fixture.path("one"), &fixture.path("two"));
    run(fixture.model("four").args(SETTINGS).args(["--nproc", "4"]));
    assert_equal_training(&fixture.path("one"), &fixture.path("four"));
}

#[test]
fn ranks_accumulate_micro_batches_as_one_process_does() {
    let fixture = Fixture::new();
    run(fixture.model("one").args(SETTINGS));
    run(fixture.model("two").args(SETTINGS).args(["--nproc", "2"]));
    let accumulating = ["--set", "accumulation=4"];
    run(fixture.model("two-four").args(SETTINGS).args(accumulating).args(["--nproc", "2"]));
    assert_equal_training(&fixture.path("one"), &fixture.path("two-four"));
}

#[test]
fn a_resume_with_other_numbers_of_ranks_goes_on_as_if_nothing_had_happened() {
    let fixture = Fixture::new();
    run(fixture.model("one").args(SETTINGS));
    // The same run, cut into pieces by checkpoints that are taken away.
    let pieces = [("2", "step-00000008"), ("4", "step-00000014"), ("1", "step-00000020")];
    for (round, (ranks, keep)) in pieces.into_iter().enumerate() {
        let mut command = fixture.model("changing");
        command.args(SETTINGS).args(["--nproc", ranks]);
        command.args(["--set", "checkpoint_every=2", "--set", "keep_checkpoints=100"]);
        if round > 0 {
            command.arg("--resume");
        }
        run(&mut command);
        let folder = fixture.path("changing/checkpoints");
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            if entry.file_name().to_string_lossy().as_ref() > keep {
                std::fs::remove_dir_all(entry.path()).unwrap();
            }
        }
    }
    assert_equal_training(&fixture.path("one"), &fixture.path("changing"));
}

#[test]
fn a_checkpoint_of_another_model_is_refused_before_ranks_are_started() {
    let fixture = Fixture::new();
    run(fixture.model("run").args(SETTINGS).args(["--nproc", "2"]));
    // A run that is done already is done again at once.
    run(fixture.model("run").args(SETTINGS).args(["--nproc", "2", "--resume"]));
    let mut other = fixture.model("run");
    other.args(SETTINGS).args(["--set", "width=64", "--nproc", "2", "--resume"]);
    let output = other.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.starts_with("error: ") && message.contains("model.width: 32 → 64"), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
}

#[test]
fn a_shared_optimizer_trains_as_a_whole_one_and_each_resumes_the_others_checkpoint() {
    let fixture = Fixture::new();
    let accumulating = ["--set", "accumulation=2"];
    run(fixture.model("whole").args(SETTINGS).args(accumulating).args(["--nproc", "2"]));
    run(fixture.model("shared").args(SETTINGS).args(accumulating).args(["--nproc", "2", "--zero"]));
    assert_equal_training(&fixture.path("whole"), &fixture.path("shared"));
    // Moments are stored whole: three ranks' shares do not divide evenly, and one rank needs none.
    let pieces = [
        (&["--nproc", "4", "--zero"][..], "step-00000006"),
        (&["--nproc", "2"], "step-00000012"),
        (&["--nproc", "2", "--zero"], "step-00000016"),
        (&["--nproc", "1", "--zero"], "step-00000020"),
    ];
    for (round, (ranks, keep)) in pieces.into_iter().enumerate() {
        let mut command = fixture.model("changing");
        command.args(SETTINGS).args(accumulating).args(ranks);
        command.args(["--set", "checkpoint_every=2", "--set", "keep_checkpoints=100"]);
        if round > 0 {
            command.arg("--resume");
        }
        run(&mut command);
        for entry in std::fs::read_dir(fixture.path("changing/checkpoints")).unwrap().flatten() {
            if entry.file_name().to_string_lossy().as_ref() > keep {
                std::fs::remove_dir_all(entry.path()).unwrap();
            }
        }
    }
    assert_equal_training(&fixture.path("whole"), &fixture.path("changing"));
}

#[test]
fn sharing_with_nobody_is_said_and_ignored() {
    let fixture = Fixture::new();
    let quiet = fixture.model("one");
    let mut command = Command::new(quiet.get_program());
    command.args(quiet.get_args().filter(|argument| *argument != "--quiet"));
    let output = command.args(["--set", "steps=1", "--zero"]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.success() && message.contains("--zero is ignored"), "{message}");
}

#[test]
fn the_log_tells_rates_of_all_ranks_together() {
    let fixture = Fixture::new();
    let rates = |out: &str, ranks: &str| {
        run(fixture.model(out).env("VAR_PEAK_FLOPS", "1e10").args(["--set", "steps=3", "--nproc", ranks]));
        let text = std::fs::read_to_string(fixture.path(out).join("metrics.jsonl")).unwrap();
        let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        ["images_per_second", "tokens_per_second", "flops_per_second", "mfu", "data_wait"]
            .map(|key| line[key].as_f64().unwrap_or_else(|| panic!("no {key} in {line}")))
    };
    for (out, ranks) in [("one", 1.0), ("two", 2.0)] {
        let [images, tokens, flops, mfu, wait] = rates(out, &format!("{ranks}"));
        assert!(images > 0.0 && (tokens / images - 21.0).abs() < 1e-6);
        // Of the peak of all ranks.
        assert!((flops / mfu / (ranks * 1e10) - 1.0).abs() < 1e-6);
        assert!((0.0..=1.0).contains(&wait), "{wait}");
    }
    let output = fixture.model("none").env("VAR_PEAK_FLOPS", "fast").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("VAR_PEAK_FLOPS is 'fast'"));
}

#[test]
fn a_resume_with_as_many_ranks_is_bit_equal() {
    let fixture = Fixture::new();
    let settings = ["--set", "checkpoint_every=5", "--set", "keep_checkpoints=100", "--nproc", "4"];
    let go = |more: &[&str]| run(fixture.model("run").args(SETTINGS).args(settings).args(more));
    go(&[]);
    let out = fixture.path("run");
    let whole = (losses(&out), validation(&out), std::fs::read(out.join("model.safetensors")).unwrap());
    for step in [10, 15, 20] {
        std::fs::remove_dir_all(out.join(format!("checkpoints/step-{step:08}"))).unwrap();
    }
    go(&["--resume"]);
    let again = (losses(&out), validation(&out), std::fs::read(out.join("model.safetensors")).unwrap());
    assert!(whole == again, "{:?} and {:?}", whole.0, again.0);
}

#[test]
fn a_run_that_diverges_is_told_once() {
    let fixture = Fixture::new();
    let wild = ["steps=200", "learning_rate=10", "clip=0", "warmup=0", "epsilon=0", "beta2=0", "beta1=0"];
    let mut command = fixture.model("run");
    for setting in wild.iter().chain(&["weight_decay=500000"]) {
        command.args(["--set", setting]);
    }
    let output = command.args(["--nproc", "2"]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    assert!(message.starts_with("[0] error: step ") && message.contains("lower learning rate"), "{message}");
}

#[test]
fn coarse_scales_first_and_averaged_weights_are_the_same_on_several_ranks() {
    let fixture = Fixture::new();
    // The first scale alone leaves parameters without a gradient.
    let settings = ["--set", "progressive=0.5", "--set", "progressive_first=0", "--set", "ema=0.9"];
    run(fixture.model("one").args(SETTINGS).args(settings));
    run(fixture.model("two").args(SETTINGS).args(settings).args(["--nproc", "2"]));
    assert_equal_training(&fixture.path("one"), &fixture.path("two"));
    let average = |out: &str| {
        safetensors::open(&fixture.path(out).join("model-ema.safetensors")).unwrap().read_all().unwrap()
    };
    let (a, b) = (average("one"), average("two"));
    assert!(!a.is_empty());
    for (name, tensor) in &a {
        let off = (tensor - &b[name]).abs().max().double_value(&[]);
        assert!(off < PARAMETER, "{name}: {off}");
    }
}
