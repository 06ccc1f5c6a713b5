//! Run folders that lost files, and attempts that failed: work is never taken for not done, and no failure lasts.

use std::path::Path;
use std::process::Output;

use super::fixture::{Fixture, losses, refused, said};

const SETTINGS: [&str; 4] = ["--set", "steps=6", "--set", "checkpoint_every=3"];

fn resumed(fixture: &Fixture, more: &[&str]) -> Output {
    fixture.model("run").args(SETTINGS).args(more).arg("--resume").output().unwrap()
}

/// A finished run.
fn finished() -> Fixture {
    let fixture = Fixture::new();
    assert!(fixture.model("run").args(SETTINGS).status().unwrap().success());
    fixture
}

fn remove(path: &Path) {
    if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
}

#[test]
fn each_file_of_a_finished_run_deleted_alone_is_refused_or_made_again() {
    let fixture = finished();
    let run = fixture.path("run");
    let model = std::fs::read(run.join("model.safetensors")).unwrap();
    let names: Vec<String> = std::fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "config.toml" && name != "checkpoints")
        .collect();
    assert!(names.len() >= 7, "{names:?}");
    for name in &names {
        remove(&run.join(name));
        let output = resumed(&fixture, &[]);
        assert!(output.status.success(), "without {name}: {}", said(&output));
        assert!(run.join(name).exists(), "{name} was not made again");
        assert_eq!(std::fs::read(run.join("model.safetensors")).unwrap(), model, "without {name}");
        // A new run is refused whatever is missing.
        remove(&run.join(name));
        let output = fixture.model("run").args(SETTINGS).output().unwrap();
        refused(&output, &["already holds a run", "resume it", "another run folder"]);
        assert!(resumed(&fixture, &[]).status.success());
    }
}

#[test]
fn a_lost_tokenizer_or_list_of_classes_is_written_again_with_a_word() {
    let fixture = finished();
    for name in ["tokenizer.safetensors", "classes.json"] {
        let path = fixture.path("run").join(name);
        let before = std::fs::read(&path).unwrap();
        remove(&path);
        let output = resumed(&fixture, &[]);
        assert!(
            output.status.success() && said(&output).contains(&format!("{name} was missing")),
            "{output:?}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[test]
fn checkpoints_that_are_gone_are_no_fresh_start() {
    for whole_folder in [true, false] {
        let fixture = finished();
        let run = fixture.path("run");
        // Not even when nothing but the log says that there was work.
        for name in ["result.json", "model.safetensors"] {
            remove(&run.join(name));
        }
        if whole_folder {
            remove(&run.join("checkpoints"));
        } else {
            for step in ["step-00000003", "step-00000006"] {
                remove(&run.join("checkpoints").join(step));
            }
        }
        let metrics = std::fs::read(run.join("metrics.jsonl")).unwrap();
        refused(
            &resumed(&fixture, &[]),
            &["run/checkpoints", "no checkpoint", "metrics.jsonl until step 6", "another run folder"],
        );
        refused(&resumed(&fixture, &["--dry-run"]), &["run/checkpoints"]);
        let output = fixture.model("run").args(SETTINGS).output().unwrap();
        refused(&output, &["already holds a run", "metrics.jsonl until step 6"]);
        assert_eq!(std::fs::read(run.join("metrics.jsonl")).unwrap(), metrics);
    }
}

#[test]
fn results_without_anything_else_are_no_fresh_start() {
    for name in ["result.json", "model.safetensors", "model-ema.safetensors", "tokenizer.safetensors"] {
        let fixture = Fixture::new();
        std::fs::create_dir(fixture.path("run")).unwrap();
        std::fs::write(fixture.path("run").join(name), "mine").unwrap();
        refused(&fixture.model("run").args(SETTINGS).output().unwrap(), &["already holds a run", name]);
        assert_eq!(std::fs::read(fixture.path("run").join(name)).unwrap(), b"mine");
    }
}

#[test]
fn a_lost_configuration_is_named_with_what_shows_the_work() {
    let fixture = finished();
    remove(&fixture.path("run/config.toml"));
    refused(&resumed(&fixture, &[]), &["config.toml: is missing", "checkpoint step-00000006", "restore"]);
    refused(&fixture.model("run").args(SETTINGS).output().unwrap(), &["already holds a run"]);
}

#[test]
fn a_run_of_the_other_trainer_is_not_resumed() {
    let fixture = finished();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_var-train"));
    command.args(["tokenizer", "--data", "emoji", "--resume", "--out"]).arg(fixture.path("run"));
    refused(&command.output().unwrap(), &["config.toml", "`var-train model`", "another run folder"]);
}

#[test]
fn a_lost_log_and_a_lost_newest_checkpoint_are_told() {
    let fixture = finished();
    let aloud = |more: &[&str]| {
        let mut command = fixture.model("run");
        command.args(SETTINGS).args(more).arg("--resume");
        let arguments: Vec<_> =
            command.get_args().filter(|a| *a != "--quiet").map(ToOwned::to_owned).collect();
        std::process::Command::new(command.get_program()).args(arguments).output().unwrap()
    };
    let output = aloud(&[]);
    assert!(said(&output).contains("the run is finished: its 6 steps are done"), "{output:?}");
    assert!(said(&output).contains("start one with other steps in another run folder"), "{output:?}");
    remove(&fixture.path("run/metrics.jsonl"));
    let output = aloud(&[]);
    assert!(
        output.status.success() && said(&output).contains("the lines until step 6 are missing"),
        "{output:?}"
    );
    remove(&fixture.path("run/checkpoints/step-00000006"));
    let output = aloud(&[]);
    assert!(said(&output).contains("checkpoint step-00000006, the last one saved, is missing"), "{output:?}");
    assert!(output.status.success() && losses(&fixture.path("run")).last().unwrap().0 == 6);
}

#[test]
fn a_byte_order_mark_before_the_log_loses_no_line() {
    let fixture = finished();
    let path = fixture.path("run/metrics.jsonl");
    let before = losses(&fixture.path("run"));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
    remove(&fixture.path("run/checkpoints/step-00000006"));
    assert!(resumed(&fixture, &[]).status.success());
    assert_eq!(losses(&fixture.path("run")), before);
}

#[test]
fn an_attempt_that_ended_before_its_first_checkpoint_starts_over_even_with_other_settings() {
    let fixture = Fixture::new();
    // The steps diverge before anything is saved.
    let wild =
        ["--set", "learning_rate=10", "--set", "clip=0", "--set", "warmup=0", "--set", "weight_decay=500000"];
    let wilder = ["--set", "epsilon=0", "--set", "beta1=0", "--set", "beta2=0", "--set", "steps=200"];
    let output = fixture.model("run").args(wild).args(wilder).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("The run has no checkpoint yet. Resume it"), "{}", said(&output));
    let output = fixture.model("run").args(SETTINGS).output().unwrap();
    refused(&output, &["ended before its first checkpoint", "metrics.jsonl until step", "resume"]);
    let output = resumed(&fixture, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(losses(&fixture.path("run")).len(), 6);
    // Now it has checkpoints, and its settings hold.
    refused(
        &resumed(&fixture, &["--set", "learning_rate=0.1"]),
        &["other settings", "training.learning_rate"],
    );
}

#[test]
fn bad_input_leaves_nothing_that_keeps_the_same_command_from_working_later() {
    let fixture = Fixture::new();
    let (tokens, kept) = (fixture.path("tokens.h5"), fixture.path("kept.h5"));
    std::fs::rename(&tokens, &kept).unwrap();
    let attempt = || fixture.model("run").args(SETTINGS).output().unwrap();
    refused(&attempt(), &["tokens.h5: no such file", "the token file of `var-tokenizer encode`"]);
    std::fs::write(&tokens, "no tokens").unwrap();
    refused(&attempt(), &["tokens.h5"]);
    std::fs::rename(&kept, &tokens).unwrap();
    let (tokenizer, kept) = (fixture.path("tokenizer.safetensors"), fixture.path("kept"));
    std::fs::rename(&tokenizer, &kept).unwrap();
    refused(&attempt(), &["tokenizer.safetensors: no such file", "the tokenizer that made the tokens"]);
    std::fs::rename(&kept, &tokenizer).unwrap();
    let output = attempt();
    assert!(output.status.success(), "{}", said(&output));
}
