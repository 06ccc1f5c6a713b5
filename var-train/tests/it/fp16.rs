//! Training with a scaled loss: the losses of f32, steps whose gradients overflow, and where it is refused.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde_json::Value;
use tch::{Device, Kind, Tensor};
use var_model::TransformerConfig;
use var_tokenizer::builtin;
use var_tokenizer::images::Split;
use var_tokenizer::tokens::TokenFile;
use var_tokenizer::weights::{Init, Parameters, StateDict, Storage};
use var_train::Result;
use var_train::distributed::Ranks;
use var_train::engine::{self, Course, Task};
use var_train::loss_scale::LossScale;
use var_train::records::{Losses, ModelLosses, ModelScores, Scores};
use var_train::run::RunFolder;
use var_train::settings::{Model, ModelRun, Training};
use var_train::throughput::Cost;
use var_train::transformer::{ModelTask, TokenRows};

use super::fixture::{Fixture, losses};

fn training(steps: u64) -> Training {
    Training {
        steps,
        batch: 16,
        learning_rate: 3e-3,
        log_every: 1,
        checkpoint_minutes: 0.0,
        ..Training::default()
    }
}

fn train(task: &mut dyn Task, fixture: &Fixture, name: &str, steps: u64) {
    let mut run = RunFolder::open(&fixture.path(name), false).unwrap();
    let settings = training(steps);
    let course = Course { settings: &settings, steps, resume: false, ranks: Ranks::ALONE, zero: false };
    engine::train(task, &mut run, course, &mut |_| Ok(ControlFlow::Continue(()))).unwrap();
}

/// The log's values of `key` in training lines.
fn logged(fixture: &Fixture, name: &str, key: &str) -> Vec<Option<f64>> {
    let text = std::fs::read_to_string(fixture.path(name).join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == "train").map(|line| line[key].as_f64()).collect()
}

#[test]
fn fp16_with_a_scaled_loss_learns_as_f32_does() {
    var_tokenizer::torch::start();
    let fixture = Fixture::new();
    let file = TokenFile::open(&fixture.path("tokens.h5")).unwrap();
    let settings = ModelRun {
        training: training(20),
        model: Model { depth: 2, recompute: true, ..Model::default() },
        ..ModelRun::default()
    };
    for (name, kind) in [("f32", Kind::Float), ("fp16", Kind::Half)] {
        let tokenizer = fixture.path("tokenizer.safetensors").display().to_string();
        let tokenizer = builtin::open(&tokenizer, None, Device::Cpu).unwrap().tokenizer;
        let config = TransformerConfig {
            width: 32,
            heads: 2,
            classes: 3,
            vocabulary: 32,
            latent_channels: 4,
            schedule: file.info().schedule.clone(),
            order: var_model::Order::NextScale,
            ..TransformerConfig::published(2)
        };
        let rows = |split| TokenRows::new(file.read_split(split).unwrap());
        let (train_rows, held_out) = (rows(Split::Train), rows(Split::Val));
        let mut task = ModelTask::new(&config, tokenizer, train_rows, held_out, &settings, kind).unwrap();
        train(&mut task, &fixture, name, 20);
    }
    let (plain, brief) = (losses(&fixture.path("f32")), losses(&fixture.path("fp16")));
    assert!(plain[19].1 < plain[0].1 - 0.03, "{plain:?}");
    for ((_, a), (_, b)) in plain.iter().zip(&brief) {
        assert!((a / b - 1.0).abs() < 0.02, "{a} {b}");
    }
    assert_eq!(logged(&fixture, "fp16", "loss_scale"), vec![Some(2048.0); 20]);
    let state = std::fs::read_to_string(fixture.path("fp16/checkpoints/step-00000020/state.json")).unwrap();
    assert!(state.contains("\"loss_scale_steps\": 20.0"), "{state}");
}

/// One parameter whose gradient is 1, but overflows in steps 2 and 3.
#[derive(Debug)]
struct Overflowing {
    parameters: Parameters,
    weight: Tensor,
    scale: LossScale,
}

impl Task for Overflowing {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn metadata(&self) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }

    fn step(&mut self, step: u64, _detailed: bool) -> Result<Losses> {
        let factor = if (2..4).contains(&step) { f64::INFINITY } else { self.scale.factor() };
        (self.weight.sum(Kind::Float) * factor).f_backward()?;
        Ok(Losses::Model(ModelLosses {
            loss_all: 0.0,
            loss_last: None,
            err_all: 0.0,
            err_last: None,
            loss_per_scale: None,
            err_per_scale: None,
            loss: self.weight.double_value(&[0]),
            loss_scale: Some(self.scale.factor()),
            scales: None,
            newest_weight: None,
        }))
    }

    fn validate(&mut self, _step: u64) -> Result<Scores> {
        Ok(Scores::Model(ModelScores::default()))
    }

    fn loss_scale(&mut self) -> Option<&mut LossScale> {
        Some(&mut self.scale)
    }

    fn load(&mut self, _weights: &StateDict) -> Result<()> {
        Ok(())
    }

    fn sizes(&self) -> (usize, usize) {
        (1, 1)
    }

    fn cost(&self) -> Cost {
        Cost { flops: 1.0, compute: Kind::Float }
    }

    fn waited(&self) -> f64 {
        0.0
    }
}

#[test]
fn a_step_that_overflows_is_passed_over_and_halves_the_factor() {
    var_tokenizer::torch::start();
    let fixture = Fixture::new();
    let mut parameters = Parameters::new(Device::Cpu, Some(1), Storage::PLAIN);
    let weight = parameters.builder().parameter("a.weight", &[1], Init::Constant(1.0));
    let mut task = Overflowing { parameters, weight, scale: LossScale::default() };
    train(&mut task, &fixture, "run", 8);
    let factors = logged(&fixture, "run", "loss_scale");
    assert_eq!(factors, [2048.0, 2048.0, 2048.0, 1024.0, 512.0, 512.0, 512.0, 512.0].map(Some));
    // The norm is that of the gradient itself; a step that was passed over has none.
    let norms = logged(&fixture, "run", "grad_norm");
    assert_eq!(norms, [Some(1.0), Some(1.0), None, None, Some(1.0), Some(1.0), Some(1.0), Some(1.0)]);
    let values = losses(&fixture.path("run"));
    assert_eq!((values[3].1, values[4].1), (values[2].1, values[2].1));
    assert!(values[5].1 < values[4].1 && values[2].1 < values[0].1);
}

#[test]
fn fp16_on_a_processor_and_for_tokenizers_is_refused_with_what_to_do() {
    let refused = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_var-train");
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).to_string();
        assert_eq!(output.status.code(), Some(2), "{message}");
        message
    };
    let message = refused(&["model", "--check", "--device", "cpu", "--precision", "fp16"]);
    assert!(message.contains("fp16 needs a CUDA device") && message.contains("bf16"), "{message}");
    let message = refused(&["tokenizer", "--check", "--precision", "fp16"]);
    assert!(message.contains("fp16 is for transformers only"), "{message}");
    let message = refused(&["model", "--check", "--precision", "fp8"]);
    assert!(message.contains("auto, f32, bf16 or fp16"), "{message}");
}
