//! Numbers that are not finite end training by name, and reach neither a checkpoint nor the log.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tch::{Device, Kind, Tensor};
use var_tokenizer::weights::{Init, Parameters, StateDict, Storage};
use var_train::average::Average;
use var_train::distributed::Ranks;
use var_train::engine::{self, Course, Task};
use var_train::records::{Losses, ModelScores, Scores, TokenizerLosses};
use var_train::run::RunFolder;
use var_train::settings::Training;
use var_train::throughput::Cost;
use var_train::{Error, Result};

/// Where the number turns up.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Nowhere,
    Loss,
    Logged,
    Gradient,
    Weight,
    Average,
    Extra,
    Score,
    ScoreOfAScale,
    AfterStep,
}

/// One weight; the number comes in step 5.
#[derive(Debug)]
struct Failing {
    place: Place,
    parameters: Parameters,
    weight: Tensor,
    average: Average,
    extra: Tensor,
}

impl Failing {
    fn new(place: Place) -> Self {
        let mut parameters = Parameters::new(Device::Cpu, Some(1), Storage::PLAIN);
        let weight = parameters.builder().parameter("a.weight", &[2], Init::Constant(1.0));
        let average = Average::new(&parameters, 0.5);
        Self { place, parameters, weight, average, extra: Tensor::zeros([2], (Kind::Float, Device::Cpu)) }
    }

    fn spoil(&self, tensor: &Tensor) {
        let _ = tch::no_grad(|| tensor.get(1).fill_(f64::NAN));
    }
}

impl Task for Failing {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn metadata(&self) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }

    fn step(&mut self, step: u64, _detailed: bool) -> Result<Losses> {
        let now = |place| step == 5 && self.place == place;
        let factor = if now(Place::Gradient) { f64::NAN } else { 1.0 };
        (self.weight.sum(Kind::Float) * factor).f_backward()?;
        let value = |place| if now(place) { f64::NAN } else { 1.0 };
        Ok(Losses::Tokenizer(TokenizerLosses {
            loss: value(Place::Loss),
            l1: value(Place::Logged),
            ..TokenizerLosses::default()
        }))
    }

    fn after_step(&mut self, step: u64) -> Result<()> {
        if step == 5 {
            match self.place {
                Place::Weight => self.spoil(&self.weight.detach()),
                Place::Average => self.average.to_map().values().for_each(|tensor| self.spoil(tensor)),
                Place::Extra => self.spoil(&self.extra),
                Place::AfterStep => {
                    let tensor = Tensor::from_slice(&[f32::INFINITY]);
                    var_tokenizer::torch::check_finite(&tensor, || "the codebook from k-means".into())?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn validate(&mut self, step: u64) -> Result<Scores> {
        let value = |place| if step == 6 && self.place == place { f64::NAN } else { 1.0 };
        Ok(Scores::Model(ModelScores {
            loss_all: value(Place::Score),
            loss_per_scale: vec![1.0, value(Place::ScoreOfAScale)],
            ..ModelScores::default()
        }))
    }

    fn extra(&self) -> BTreeMap<String, Tensor> {
        BTreeMap::from([("window".into(), self.extra.shallow_clone())])
    }

    fn average(&mut self) -> Option<&mut Average> {
        Some(&mut self.average)
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

fn train(task: &mut Failing, path: &std::path::Path, resume: bool) -> Result<()> {
    var_tokenizer::torch::start();
    let settings = Training {
        steps: 8,
        log_every: 1,
        validate_every: 3,
        checkpoint_every: 3,
        checkpoint_minutes: 0.0,
        ..Training::default()
    };
    let mut run = RunFolder::open(path, resume)?;
    std::fs::write(path.join("config.toml"), "").unwrap();
    let course = Course { settings: &settings, steps: 8, resume, ranks: Ranks::ALONE, zero: false };
    engine::train(task, &mut run, course, &mut |_| Ok(ControlFlow::Continue(()))).map(|_| ())
}

#[test]
fn every_number_that_is_not_finite_ends_training_by_name_and_the_good_checkpoint_stays() {
    for (place, what) in [
        (Place::Loss, "step 5: the loss is NaN"),
        (Place::Logged, "step 6: l1 is not finite"),
        (Place::Gradient, "step 5: the gradient's norm is NaN"),
        (Place::AfterStep, "step 5: the codebook from k-means: 1 of 1 values are infinite"),
        (Place::Score, "step 6: the validation's loss_all is not finite"),
        (Place::ScoreOfAScale, "step 6: the validation's loss_per_scale is not finite"),
        (Place::Weight, "step 6: a.weight of model.safetensors: 1 of 2 values are NaN"),
        (Place::Average, "step 6: a.weight of ema.safetensors: 1 of 2 values are NaN"),
        (Place::Extra, "step 6: extra.window of optimizer.safetensors: 1 of 2 values are NaN"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error = train(&mut Failing::new(place), folder.path(), false).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Diverged(_)) && error.exit_code() == 1, "{place:?}: {message}");
        assert!(message.starts_with(what), "{place:?}: {message}");
        for part in ["step-00000003", "lower learning rate", "Resume", "another run folder"] {
            assert!(message.contains(part), "'{part}' is not in: {message}");
        }
        let checkpoints = std::fs::read_dir(folder.path().join("checkpoints")).unwrap().flatten();
        let mut names: Vec<String> =
            checkpoints.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        assert_eq!(names, [".last", "step-00000003"], "{place:?}");
        let metrics = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        assert!(!metrics.contains("null") && !metrics.contains("NaN"), "{place:?}: {metrics}");
        // What went wrong once does not keep the run from going on.
        train(&mut Failing::new(Place::Nowhere), folder.path(), true).unwrap();
    }
}

#[test]
fn a_checkpoint_with_such_numbers_is_named_and_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    train(&mut Failing::new(Place::Nowhere), folder.path(), false).unwrap();
    let mut task = Failing::new(Place::Nowhere);
    // What an earlier version may have saved: `load` of this task keeps what is there.
    task.spoil(&task.weight.detach());
    let message = train(&mut task, folder.path(), true).unwrap_err().to_string();
    for part in
        ["step-00000008", "a.weight of model.safetensors: 1 of 2 values are NaN", "remove this checkpoint"]
    {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}
