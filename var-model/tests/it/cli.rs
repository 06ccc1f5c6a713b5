//! The command line: what it prints, and what it says about bad input.

use std::process::{Command, Output};

use tch::Device;
use var_model::transformer::Initialisation;
use var_model::{ScaleSchedule, Transformer, TransformerConfig};
use var_tokenizer::weights::portable;
use var_tokenizer::{PhiSharing, TokenizerConfig, VqVae};

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_var-model"));
    command.env("OMP_NUM_THREADS", "1").args(args).output().unwrap()
}

fn refused(output: &Output, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

/// A run folder as `var-train model` leaves it.
fn run_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let schedule = ScaleSchedule::new(vec![1, 2, 4]).unwrap();
    let tokenizer = TokenizerConfig {
        channels: 32,
        channel_multipliers: vec![1, 1],
        residual_blocks: 1,
        latent_channels: 4,
        vocabulary: 24,
        schedule: schedule.clone(),
        phi: PhiSharing::Partial(4),
        phi_ratio: 0.5,
        z_norm: false,
        commitment: 0.25,
    };
    let mut vae = VqVae::new(&tokenizer, Device::Cpu, None).unwrap();
    portable::fill(vae.parameters_mut(), 1);
    vae.save(&folder.path().join("tokenizer.safetensors")).unwrap();
    let config = TransformerConfig {
        depth: 1,
        width: 32,
        heads: 2,
        classes: 3,
        vocabulary: 24,
        latent_channels: 4,
        schedule,
        shared_adaln: false,
        qk_norm: true,
        input: None,
    };
    let mut model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, None).unwrap();
    portable::fill(model.parameters_mut(), 2);
    model.save(&folder.path().join("model.safetensors")).unwrap();
    std::fs::write(folder.path().join("classes.json"), r#"["ant","bee","cat"]"#).unwrap();
    folder
}

#[test]
fn cost_prints_the_published_totals() {
    let output = run(&["cost", "--depth", "16", "--json"]);
    let cost: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(cost["parameters"], 310_283_520_u64);
    assert_eq!(cost["tokens"], 680);
    refused(&run(&["cost", "--depth", "3", "--heads", "5"]), &["width 192", "heads 5"]);
    refused(&run(&["cost", "--depth", "3", "--schedule", "4,2"]), &["schedule"]);
}

#[test]
fn sample_writes_a_grid_with_a_row_a_class_whatever_the_batch() {
    let folder = run_folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run_dir = folder.path().display().to_string();
    for (batch, out) in [("1", "one.png"), ("5", "five.png")] {
        let args = ["sample", "--run", &run_dir, "--classes", "bee,0", "--per-class", "3", "--quiet"];
        let more = ["--precision", "f32", "--batch", batch, "--out", &path(out)];
        let output = run(&[&args[..], &more[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let (one, five) = (image::open(path("one.png")).unwrap(), image::open(path("five.png")).unwrap());
    assert!(one.width() >= 24 && one.height() >= 16);
    let off = one.to_rgb8().iter().zip(five.to_rgb8().iter()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(off <= Some(1), "{off:?}");
}

#[test]
fn bad_requests_are_refused_with_what_is_known() {
    let folder = run_folder();
    let run_dir = folder.path().display().to_string();
    let sample =
        |more: &[&str]| run(&[&["sample", "--run", &run_dir, "--out", "/nonexistent/x.png"], more].concat());
    refused(&sample(&["--classes", "dog"]), &["'dog'", "ant, bee, cat"]);
    refused(&sample(&["--classes", "3"]), &["classes 0 to 2"]);
    refused(&sample(&["--top-p", "2"]), &["top-p 2"]);
    refused(&sample(&["--per-class", "0"]), &["--per-class"]);
    refused(&sample(&["--classes", "0", "--per-class", "1"]), &["/nonexistent"]);
    refused(&run(&["sample", "--run", "nowhere", "--out", "x.png"]), &["nowhere", "no such run folder"]);
    refused(&run(&["sample", "--out", "x.png"]), &["--run"]);
    std::fs::write(folder.path().join("model.safetensors"), b"junk").unwrap();
    refused(&sample(&[]), &["model.safetensors"]);
}
