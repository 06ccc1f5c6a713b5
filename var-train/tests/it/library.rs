//! The interface for programs, and the example that uses it.

use std::ops::ControlFlow;
use std::process::Command;

use serde_json::Value;
use var_train::records::{MetricsLine, ModelResult, StepReport};
use var_train::settings::{ModelRun, TokenizerRun};
use var_train::{Error, TrainModel, TrainTokenizer};

use super::fixture::{Fixture, said};
use super::tokenizer::pictures;

const SETTINGS: [&str; 7] =
    ["depth=1", "width=32", "heads=1", "steps=8", "batch=16", "log_every=2", "validate_every=4"];

fn training(fixture: &Fixture, out: &str, settings: ModelRun) -> TrainModel {
    let path = |name: &str| fixture.path(name);
    TrainModel::new(path("tokens.h5"), path("tokenizer.safetensors"), path(out)).settings(settings)
}

/// The steps and losses of a run that the callback stops after `stop` steps.
fn run(training: &TrainModel, stop: u64) -> (Vec<(u64, f64)>, Result<ModelResult, Error>) {
    let mut losses = Vec::new();
    let result = training.run(|report| {
        losses.push((report.step, report.loss()));
        if report.step == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (losses, result)
}

#[test]
fn a_run_that_the_callback_stops_is_saved_and_resumed_to_the_same_losses() {
    let fixture = Fixture::new();
    let settings = ModelRun::preset("nano", SETTINGS).unwrap();
    let (whole, result) = run(&training(&fixture, "whole", settings.clone()), u64::MAX);
    assert_eq!(whole.iter().map(|(step, _)| *step).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    let result = result.unwrap();
    assert_eq!((result.depth, result.tokens), (1, 8 * 16 * 21));
    let stopped = training(&fixture, "stopped", settings);
    let (first, error) = run(&stopped, 5);
    let Err(Error::Interrupted { step: 5, checkpoint }) = error else { panic!("{error:?}") };
    assert!(checkpoint.ends_with("step-00000005"));
    let (rest, resumed) = run(&stopped.resume(true), u64::MAX);
    assert_eq!([first, rest].concat(), whole);
    assert_eq!(resumed.unwrap().val_loss_all, result.val_loss_all);
}

#[test]
fn the_log_and_the_result_hold_what_the_callback_and_the_call_give() {
    let fixture = Fixture::new();
    let training = training(&fixture, "run", ModelRun::preset("nano", SETTINGS).unwrap());
    let mut reports: Vec<StepReport> = Vec::new();
    let result = training.run(|report| {
        reports.push(report.clone());
        ControlFlow::Continue(())
    });
    let read = |name: &str| std::fs::read_to_string(fixture.path("run").join(name)).unwrap();
    let text = read("metrics.jsonl");
    let lines: Vec<&str> = text.lines().collect();
    let logged: Vec<String> = reports
        .into_iter()
        .filter(|report| report.rates.is_some())
        .map(|report| serde_json::to_string(&MetricsLine::Train(report)).unwrap())
        .collect();
    assert_eq!(logged.len(), 5);
    assert_eq!(lines.iter().filter(|l| l.contains("\"train\"")).copied().collect::<Vec<_>>(), logged);
    assert_eq!(lines.iter().filter(|l| l.contains("\"val\"")).count(), 2);
    let result: Value = serde_json::to_value(result.unwrap()).unwrap();
    assert_eq!(serde_json::to_string_pretty(&result).unwrap(), read("result.json"));
    assert_eq!(result["event"], "done");
}

#[test]
fn what_does_not_fit_is_an_error_and_writes_nothing() {
    let fixture = Fixture::new();
    let settings = ModelRun::preset("nano", SETTINGS).unwrap();
    let refused = |training: TrainModel, part: &str| {
        let message = run(&training, u64::MAX).1.unwrap_err().to_string();
        assert!(message.contains(part), "'{part}' is not in: {message}");
        assert!(!fixture.path("run").exists());
    };
    let mut wrong = settings.clone();
    wrong.model.label_smoothing = 7.0;
    refused(training(&fixture, "run", wrong), "model.label_smoothing = 7");
    let mut wrong = settings.clone();
    (wrong.training.batch, wrong.training.accumulation) = (16, 0);
    refused(training(&fixture, "run", wrong), "training.accumulation 0");
    refused(training(&fixture, "run", settings.clone()).resume(true), "no run to resume");
    std::fs::remove_file(fixture.path("tokens.h5")).unwrap();
    refused(training(&fixture, "run", settings), "tokens.h5: no such file");
    let tokenizer = TrainTokenizer::new(fixture.path("none"), fixture.path("run"));
    let message = tokenizer.run(|_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(message.contains("none: no such file"), "{message}");
    let mut wrong = TokenizerRun::default();
    wrong.training.accumulation = 0;
    let message = tokenizer.settings(wrong).check().unwrap_err().to_string();
    assert!(message.contains("training.accumulation 0"), "{message}");
}

#[test]
fn the_example_prints_a_loss_per_step_and_writes_both_networks() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path()), folder.path().join("out"));
    let test = std::env::current_exe().unwrap();
    let example = test.parent().unwrap().parent().unwrap().join("examples/train");
    let output = Command::new(example).env("OMP_NUM_THREADS", "1").arg(data).arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("step ")).count(), 20, "{text}");
    assert!(text.contains("tokenizer: PSNR") && text.contains("held-out loss"), "{text}");
    assert!(
        out.join("tokenizer/tokenizer.safetensors").exists() && out.join("model/model.safetensors").exists()
    );
}
