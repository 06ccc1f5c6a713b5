//! Values that are not finite: an error that names file and place, and nothing is written.

use std::path::{Path, PathBuf};
use std::process::Output;

use tch::{CModule, Device, Kind, Tensor};
use var_model::Transformer;
use var_tokenizer::VqVae;

use super::support::{program, refused, run_folder};

/// A finite number with which sums overflow.
const HUGE: f64 = 3e38;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: run_folder() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, command: &str, more: &[&str]) -> Output {
        let mut command = program(&[command, "--precision", "f32", "--run"]);
        command.current_dir(self.folder.path()).arg(".").args(more).output().unwrap()
    }

    /// Makes parameters of the model huge whose names begin with `name`; of one row only where `row` is given.
    fn spoil_model(&self, name: &str, row: Option<i64>) {
        let path = self.path("model.safetensors");
        let mut model = Transformer::load(&path, Device::Cpu).unwrap();
        fill(
            model.parameters_mut().entries().iter().map(|p| (p.name.clone(), p.tensor.shallow_clone())),
            name,
            row,
        );
        model.save(&path).unwrap();
    }

    fn spoil_tokenizer(&self, name: &str) {
        let path = self.path("tokenizer.safetensors");
        let mut vae = VqVae::load(&path, Device::Cpu).unwrap();
        fill(
            vae.parameters_mut().entries().iter().map(|p| (p.name.clone(), p.tensor.shallow_clone())),
            name,
            None,
        );
        vae.save(&path).unwrap();
    }

    fn written(&self, name: &str) -> bool {
        std::fs::read_dir(self.folder.path())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(name))
    }
}

fn fill(parameters: impl Iterator<Item = (String, Tensor)>, name: &str, row: Option<i64>) {
    let mut found = 0;
    for (_, tensor) in parameters.filter(|(found, _)| found.starts_with(name)) {
        let mut tensor = row.map_or(tensor.shallow_clone(), |row| tensor.narrow(0, row, 1));
        let _ = tch::no_grad(|| tensor.fill_(HUGE));
        found += 1;
    }
    assert!(found > 0, "no parameter {name}");
}

fn failed(output: &Output, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

#[test]
fn logits_that_are_not_finite_end_sampling_and_editing_and_nothing_is_written() {
    let place = Place::new();
    image::RgbImage::new(8, 8).save(place.path("photo.png")).unwrap();
    place.spoil_model("head.", None);
    let sampled = place
        .run("sample", &["--out", "out.png", "--out", "out.npz", "--out", "out", "--show-scales", "out.gif"]);
    failed(&sampled, &["model.safetensors: logits of scale 1 of 3", "values are"]);
    let edited = place.run(
        "edit",
        &["--image", "photo.png", "--box", "0,0,1,1", "--out", "out.png", "--strip", "out-s.png"],
    );
    failed(&edited, &["model.safetensors: logits of scale 1 of 3"]);
    assert!(!place.written("out"));
}

#[test]
fn latents_and_pictures_that_are_not_finite_are_the_tokenizers_fault() {
    for (name, part) in [("quantize.embedding", "latent after scale"), ("decoder.conv_out", "pictures")] {
        let place = Place::new();
        place.spoil_tokenizer(name);
        let output = place.run("sample", &["--out", "out.npz"]);
        failed(&output, &["tokenizer.safetensors", part, "values are"]);
        assert!(!place.written("out"));
    }
    // A photo's codes would all be number 0.
    let place = Place::new();
    image::RgbImage::new(8, 8).save(place.path("photo.png")).unwrap();
    place.spoil_tokenizer("encoder.conv_out");
    let output = place.run("edit", &["--image", "photo.png", "--box", "0,0,0.5,1", "--out", "out.png"]);
    failed(&output, &["tokenizer.safetensors: latent of the image"]);
    assert!(!place.written("out"));
}

#[test]
fn settings_that_make_finite_logits_infinite_are_refused_by_name() {
    let place = Place::new();
    for more in [&["--cfg", "1e300"][..], &["--temperature", "1e-300"]] {
        let output = place.run("sample", &[&["--out", "out.npz"], more].concat());
        refused(&output, &["guidance", "temperature", "are finite before them"]);
        assert!(!place.written("out"));
    }
}

#[test]
fn pictures_before_a_value_that_is_not_finite_stay() {
    let place = Place::new();
    place.spoil_model("class_emb.", Some(1));
    let args = ["--classes", "0,1", "--per-class", "4", "--batch", "4", "--out", "x.npz", "--out", "f"];
    failed(&place.run("sample", &args), &["model.safetensors: logits of scale 1 of 3"]);
    let raw = std::fs::read(place.path("x.npz.partial")).unwrap();
    assert_eq!(raw.len(), 4 * 3 * 8 * 8);
    refused(&place.run("sample", &args), &["x.npz", "resume it"]);
    failed(&place.run("sample", &[&args[..], &["--resume"]].concat()), &["scale 1 of 3"]);
    assert_eq!(std::fs::read(place.path("x.npz.partial")).unwrap(), raw);
    assert!(!place.path("x.npz").exists());
}

/// A classifier whose logits are not a number for dark pictures.
fn classifier(path: &Path, spoiled: f64) {
    let example = Tensor::rand([2, 3, 8, 8], (Kind::Float, Device::Cpu));
    let weights = Tensor::from_slice(&[spoiled as f32, 0.0, 0.0]).view([1, 3]);
    let mut judge = |inputs: &[Tensor]| {
        let mean = inputs[0].mean_dim([1_i64, 2, 3].as_slice(), true, Kind::Float).view([-1, 1]);
        vec![mean.matmul(&weights)]
    };
    CModule::create_by_tracing("Judge", "forward", &[example], &mut judge).unwrap().save(path).unwrap();
}

#[test]
fn probabilities_of_a_classifier_that_are_not_finite_are_refused_before_sampling() {
    let place = Place::new();
    classifier(&place.path("judge.pt"), f64::NAN);
    let args = ["--keep", "0.5", "--classifier", "judge.pt", "--classifier-size", "8", "--out", "out.npz"];
    failed(&place.run("sample", &args), &["judge.pt: probabilities of class 0"]);
    assert!(!place.written("out"));
}
