//! Memory of training: its plan, and recomputed blocks; through the command line.

use serde_json::Value;

use super::fixture::{Fixture, losses};
use super::made_up::network;
use super::tokenizer::{command, pictures};

#[test]
fn a_run_that_recomputes_blocks_ends_with_the_same_weights() {
    let fixture = Fixture::new();
    let settings = ["--set", "steps=12", "--set", "accumulation=2", "--set", "checkpoint_every=5"];
    for (name, recompute) in [("kept", "recompute=false"), ("again", "recompute=true")] {
        assert!(fixture.model(name).args(settings).args(["--set", recompute]).status().unwrap().success());
    }
    let losses = |name: &str| losses(&fixture.path(name));
    assert_eq!(losses("kept").len(), 12);
    assert_eq!(losses("kept"), losses("again"));
    let model = |name: &str| std::fs::read(fixture.path(name).join("model.safetensors")).unwrap();
    assert_eq!(model("kept"), model("again"));
}

#[test]
fn a_dry_run_tells_memory_with_and_without_recompute() {
    let fixture = Fixture::new();
    let plan = |setting: &str| -> Value {
        let output = fixture
            .model("none")
            .args(["--dry-run", "--set", "depth=6", "--set", "batch=64", "--set", setting])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (kept, again) = (plan("recompute=false"), plan("recompute=true"));
    let number = |plan: &Value, key: &str| plan[key].as_f64().unwrap();
    assert_eq!(number(&kept, "memory_bytes"), number(&kept, "memory_bytes_without_recompute"));
    assert_eq!(number(&again, "memory_bytes"), number(&again, "memory_bytes_with_recompute"));
    assert!(number(&again, "memory_bytes") < 0.6 * number(&kept, "memory_bytes"));
    assert!(number(&plan("accumulation=4"), "memory_bytes") < 0.6 * number(&kept, "memory_bytes"));
    assert!(!fixture.path("none").exists());
}

#[test]
fn a_dry_run_tells_what_a_rank_needs_and_what_sharing_the_optimizer_saves() {
    let fixture = Fixture::new();
    let plan = |more: &[&str]| -> Value {
        let output = fixture.model("none").args(["--dry-run"]).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let memory = |plan: &Value| plan["memory_bytes"].as_f64().unwrap();
    let (two, shared) = (plan(&["--nproc", "2"]), plan(&["--nproc", "2", "--zero"]));
    // Half of both moments, and the copy of the gradients in buckets.
    let saved = 8.0 * two["parameters"].as_f64().unwrap();
    assert!((memory(&two) - memory(&shared) - saved).abs() < 1.0, "{two} {shared}");
}

#[test]
fn the_plan_of_a_process_is_within_15_percent_of_its_peak() {
    let fixture = Fixture::new();
    // Some hundreds of megabytes: activations of many rows, or parameters and their moments.
    let many_rows = ["--set", "width=256", "--set", "heads=4", "--set", "batch=192"];
    let wide = ["--set", "width=768", "--set", "heads=12", "--set", "batch=16"];
    let again: &[&str] = &["--set", "recompute=true"];
    let cases: [(&[&str], &[&str]); 5] = [
        (&many_rows, &[]),
        (&many_rows, again),
        (&wide, &[]),
        (&many_rows, &["--nproc", "2"]),
        (&wide, &["--nproc", "2", "--zero"]),
    ];
    for (case, (size, more)) in cases.into_iter().enumerate() {
        let out = format!("run-{case}");
        let go = |last: &[&str]| -> Vec<u8> {
            let mut command = fixture.model(&out);
            command.args(size).args(more).args(["--set", "steps=2", "--set", "checkpoint_minutes=0"]);
            let output = command.args(last).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let number = |json: &[u8], key: &str| {
            let found: Value = serde_json::from_slice(json).unwrap();
            found[key].as_f64().unwrap()
        };
        let plan = number(&go(&["--dry-run"]), "process_bytes");
        go(&[]);
        let result = std::fs::read(fixture.path(&out).join("result.json")).unwrap();
        let peak = number(&result, "peak_memory_bytes");
        assert!(peak > 3e8, "{size:?} {more:?}: {peak} says little");
        assert!((plan / peak - 1.0).abs() < 0.15, "{size:?} {more:?}: planned {plan}, found {peak}");
    }
}

#[test]
fn the_plan_of_a_tokenizer_with_a_discriminator_is_within_15_percent_of_its_peak() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let (weights, out) = (network(folder.path()), folder.path().join("run"));
    let weights = format!("perceptual.weights={weights}");
    let settings = [
        "steps=2",
        "image_side=32",
        "schedule=1,2,4,16",
        "channels=64",
        "batch=128",
        "quantize_from=0",
        "validation_pictures=8",
        "perceptual.weight=1",
        &weights,
        "adversary.weight=0.5",
        "adversary.start=0",
        "adversary.width=64",
    ];
    let go = |last: &[&str]| {
        let mut command = command(&data, &out);
        let output = command.args(settings.iter().flat_map(|s| ["--set", s])).args(last).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let plan: Value = serde_json::from_slice(&go(&["--dry-run"])).unwrap();
    go(&[]);
    let result: Value = serde_json::from_slice(&std::fs::read(out.join("result.json")).unwrap()).unwrap();
    let (plan, peak) =
        (plan["process_bytes"].as_f64().unwrap(), result["peak_memory_bytes"].as_f64().unwrap());
    assert!(peak > 5e8, "{peak} says little");
    assert!((plan / peak - 1.0).abs() < 0.15, "planned {plan}, found {peak}");
}
