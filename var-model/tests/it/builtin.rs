//! The built-in model: what `sample`, `edit`, `inspect` and `convert` do with it.

use std::path::Path;

use image::{GenericImageView, RgbImage};
use serde_json::Value;
use var_model::{Sampling, Var};

use super::support::{program, refused, run};

const CLASSES: [&str; 9] = [
    "smileys-emotion",
    "people-body",
    "animals-nature",
    "food-drink",
    "travel-places",
    "activities",
    "objects",
    "symbols",
    "flags",
];

/// An emoji that is not among the training images.
const DOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../var-tokenizer/assets/emoji/dog.png");

fn works(folder: &Path, args: &[&str]) -> (String, String) {
    let output = program(args).current_dir(folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_string();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn without_a_model_sample_uses_the_built_in_one_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let (_, told) =
        works(place.path(), &["sample", "--per-class", "1", "--out", "grid.png", "--out", "images"]);
    assert_eq!(told.matches("note:").count(), 1, "{told}");
    assert!(told.contains("no model is named: this is the built-in one"), "{told}");
    let settings = std::fs::read_to_string(place.path().join("images/settings.json")).unwrap();
    let settings: Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings["model"]["file"], "builtin");
    assert_eq!(settings["tokenizer"]["file"], "builtin");
    assert_eq!(settings["class_names"], serde_json::json!(CLASSES));
    // Named, it is the same, and there is nothing to say.
    let (_, told) =
        works(place.path(), &["sample", "--model", "builtin", "--per-class", "1", "--out", "named.png"]);
    assert_eq!(told.matches("note:").count(), 0, "{told}");
    let read = |name: &str| std::fs::read(place.path().join(name)).unwrap();
    assert_eq!(read("grid.png"), read("named.png"));
    refused(&run(&["sample", "--ema", "--out", "x.png"]), &["--run"]);
    let tokenizer = ["sample", "--tokenizer", "nowhere.safetensors", "--out", "x.png"];
    refused(&run(&tokenizer), &["nowhere.safetensors"]);
}

#[test]
fn converted_to_a_file_the_built_in_model_samples_the_same_images() {
    let place = tempfile::tempdir().unwrap();
    works(place.path(), &["convert", "builtin", "model.safetensors"]);
    let (table, _) = works(place.path(), &["inspect", "builtin", "--json"]);
    let (of_file, _) = works(place.path(), &["inspect", "model.safetensors", "--json"]);
    let [built_in, file] = [table, of_file].map(|text| serde_json::from_str::<Value>(&text).unwrap());
    assert_eq!(built_in, file);
    let path = place.path().join("model.safetensors");
    let file = Var::open(path).unwrap().with_tokenizer("builtin").unwrap();
    let sampling = Sampling { seed: 3, ..Default::default() };
    let images = Var::open("builtin").unwrap().sample(&["flags", "food-drink"], &sampling).unwrap();
    assert_eq!(images.len(), 2);
    assert_eq!(images, file.sample(&[8, 3], &sampling).unwrap());
}

#[test]
fn without_a_model_edit_changes_only_the_box() {
    let place = tempfile::tempdir().unwrap();
    let photo = image::open(DOG).unwrap().to_rgb8();
    let edit =
        ["edit", "--image", DOG, "--box", "0.5,0,1,1", "--blend", "--feather", "0", "--out", "edited.png"];
    let (_, told) = works(place.path(), &edit);
    assert!(told.contains("no model is named: this is the built-in one"), "{told}");
    let edited = image::open(place.path().join("edited.png")).unwrap().to_rgb8();
    let half = |image: &RgbImage, top: u32| image.view(0, top, 32, 16).to_image();
    assert_eq!(half(&edited, 0), half(&photo, 0));
    assert_ne!(half(&edited, 16), half(&photo, 16));
}
