//! The moving average of the weights: kept, resumed, published.

use std::path::Path;

use tch::Tensor;
use var_tokenizer::weights::safetensors;

use super::fixture::{Fixture, losses};

const SETTINGS: [&str; 8] =
    ["--set", "steps=24", "--set", "checkpoint_every=8", "--set", "keep_checkpoints=3", "--set", "ema=0.9"];

/// The largest entry of the difference of two files of weights. Panics at NaN, which no maximum shows.
fn apart(a: &Path, b: &Path) -> f64 {
    let read = |path: &Path| safetensors::open(path).unwrap().read_all().unwrap();
    let (a, b) = (read(a), read(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let largest = |(x, y): (&Tensor, &Tensor)| (x - y).abs().max().double_value(&[]);
    a.values().zip(b.values()).map(largest).inspect(|d| assert!(d.is_finite())).fold(0.0, f64::max)
}

#[test]
fn an_average_follows_the_weights_and_is_published_as_a_model_file() {
    let fixture = Fixture::new();
    assert!(fixture.model("run").args(SETTINGS).status().unwrap().success());
    let run = fixture.path("run");
    let (weights, average) = (run.join("model.safetensors"), run.join("model-ema.safetensors"));
    // Behind the weights, but on their way.
    let start = run.join("checkpoints/step-00000008/model.safetensors");
    assert!(apart(&weights, &average) > 1e-4);
    assert!(apart(&weights, &average) < apart(&weights, &start));
    let model = var_model::Transformer::load(&average, tch::Device::Cpu).unwrap();
    assert_eq!(model.config().depth, 2);
    let state = std::fs::read_to_string(run.join("checkpoints/step-00000024/state.json")).unwrap();
    assert!(state.contains("\"ema.safetensors\""), "{state}");

    // The validations score both: the log, and the result.
    let log = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let last = log.lines().rfind(|line| line.contains("\"kind\":\"val\"")).unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    let (plain, averaged) = (&last["loss_all"], &last["average"]["loss_all"]);
    assert!(plain.is_f64() && averaged.is_f64() && plain != averaged, "{last}");
    let result: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("result.json")).unwrap()).unwrap();
    assert_eq!(&result["val_average"]["loss_all"], averaged);
    // Two ranks score the same average.
    let mut again = fixture.model("again");
    again.args(SETTINGS).args(["--nproc", "2"]);
    assert!(again.status().unwrap().success());
    let result: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture.path("again/result.json")).unwrap()).unwrap();
    let (one, two) = (averaged.as_f64().unwrap(), result["val_average"]["loss_all"].as_f64().unwrap());
    let plain = plain.as_f64().unwrap();
    assert!((two - one).abs() < 0.01 * (plain - one).abs(), "one rank {one}, two {two}, the weights {plain}");

    assert!(fixture.model("without").args(["--set", "steps=3"]).status().unwrap().success());
    assert!(!fixture.path("without/model-ema.safetensors").exists());
    assert!(!fixture.path("without/checkpoints/step-00000003/ema.safetensors").exists());
}

#[test]
fn a_resume_goes_on_with_the_average_of_the_checkpoint_to_the_bit() {
    let fixture = Fixture::new();
    // With all that has to do with memory and stages at once.
    let more = ["--set", "recompute=true", "--set", "accumulation=2", "--set", "progressive=0.8"];
    let more = [&more[..], &["--set", "progressive_first=0", "--set", "progressive_warmup=6"]].concat();
    let train = |more: &[&str]| fixture.model("run").args(SETTINGS).args(more).status().unwrap();
    assert!(train(&more).success());
    let run = fixture.path("run");
    let read = |name: &str| std::fs::read(run.join(name)).unwrap();
    let expected = (losses(&run), read("model.safetensors"), read("model-ema.safetensors"));
    assert_eq!(expected.0.len(), 24);
    // As if it had been killed behind step 8.
    for name in [
        "checkpoints/step-00000016",
        "checkpoints/step-00000024",
        "model.safetensors",
        "model-ema.safetensors",
    ] {
        let path = run.join(name);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    assert!(train(&[&more[..], &["--resume"]].concat()).success());
    assert_eq!((losses(&run), read("model.safetensors"), read("model-ema.safetensors")), expected);
}
