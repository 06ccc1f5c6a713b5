//! Models in raster order, and weights of the scales in the loss, through the command line.

use serde_json::Value;

use super::fixture::{Fixture, losses, refused, validation, values};

fn train_lines(fixture: &Fixture, run: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(fixture.path(run).join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == "train").collect()
}

#[test]
fn a_raster_model_learns_and_resumes_bit_equal() {
    let fixture = Fixture::one_map();
    let train = |run: &str, steps: &str, more: &[&str]| {
        let mut command = fixture.model(run);
        command.args(["--order", "raster", "--set", "checkpoint_every=20", "--set", steps]).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    train("whole", "steps=60", &["--set", "validate_every=30"]);
    let found = validation(&fixture.path("whole"));
    // The rule of the tokens leaves ln 3 of a token; without learning it is ln 32.
    assert!(found[1].1 < 0.8 * 32.0_f64.ln() && found[1].1 < found[0].1, "{found:?}");
    let config = std::fs::read_to_string(fixture.path("whole/config.toml")).unwrap();
    assert!(config.contains("order = \"raster\""), "{config}");
    // What a kill after step 40 leaves.
    let copied = fixture.path("cut");
    std::fs::create_dir_all(copied.join("checkpoints")).unwrap();
    let checkpoint = "checkpoints/step-00000040";
    std::fs::create_dir(copied.join(checkpoint)).unwrap();
    for entry in std::fs::read_dir(fixture.path("whole").join(checkpoint)).unwrap().flatten() {
        std::fs::copy(entry.path(), copied.join(checkpoint).join(entry.file_name())).unwrap();
    }
    for file in ["config.toml", "metrics.jsonl"] {
        std::fs::copy(fixture.path("whole").join(file), copied.join(file)).unwrap();
    }
    train("cut", "steps=60", &["--set", "validate_every=30", "--resume"]);
    assert_eq!(losses(&fixture.path("cut")), losses(&fixture.path("whole")));
    let read = |run: &str| std::fs::read(fixture.path(run).join("model.safetensors")).unwrap();
    assert!(read("cut") == read("whole"));
}

#[test]
fn an_order_that_does_not_fit_is_refused_with_what_to_do() {
    let fixture = Fixture::new();
    let told = |more: &[&str]| fixture.model("run").args(more).output().unwrap();
    refused(
        &told(&["--order", "raster"]),
        &["needs a tokenizer with one token map", "1,2,4", "`schedule=4`"],
    );
    refused(&told(&["--set", "order=diagonal"]), &["diagonal", "next-scale", "raster"]);
    refused(
        &told(&["--order", "raster", "--set", "progressive=0.5"]),
        &["model.progressive", "one scale", "progressive=0"],
    );
    assert!(!fixture.path("run").exists());
}

#[test]
fn only_the_weighted_scales_are_trained_and_the_loss_says_so() {
    let fixture = Fixture::new();
    let weights = ["--set", "scale_loss_weights=[1, 3, 0]", "--set", "steps=4", "--set", "validate_every=0"];
    assert!(fixture.model("run").args(weights).status().unwrap().success());
    for line in train_lines(&fixture, "run") {
        let scale = |k: usize| line["loss_per_scale"][k].as_f64().unwrap();
        let expected = 0.25 * scale(0) + 0.75 * scale(1);
        assert!((line["loss"].as_f64().unwrap() - expected).abs() < 1e-6, "{line}");
    }
    // Weights like the number of tokens are those of no weights.
    let plain = ["--set", "steps=6"];
    assert!(fixture.model("plain").args(plain).status().unwrap().success());
    let same = ["--set", "steps=6", "--set", "scale_loss_weights=[1, 4, 16]"];
    assert!(fixture.model("same").args(same).status().unwrap().success());
    for (a, b) in losses(&fixture.path("plain")).iter().zip(losses(&fixture.path("same"))) {
        assert!((a.1 - b.1).abs() < 1e-4, "{a:?} {b:?}");
    }
    let normal = ["--set", "steps=4", "--set", "scale_loss_weights=normal"];
    assert!(fixture.model("normal").args(normal).status().unwrap().success());
    assert_ne!(losses(&fixture.path("normal"))[0], losses(&fixture.path("plain"))[0]);
    assert_eq!(values(&fixture.path("normal"), "train", "loss_all")[0], losses(&fixture.path("plain"))[0]);
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let fixture = Fixture::new();
    for (weights, parts) in [
        ("[1, 2]", &["scale_loss_weights has 2 weights", "3 scales"][..]),
        ("[1, -2, 1]", &["scale_loss_weights", "from 0 on"]),
        ("[0, 0, 0]", &["not all 0"]),
        ("bell", &["scale_loss_weights"]),
    ] {
        let set = format!("scale_loss_weights={weights}");
        refused(&fixture.model("run").args(["--set", &set]).output().unwrap(), parts);
    }
    assert!(!fixture.path("run").exists());
}
