//! The interface for programs, and the examples that use it, against the command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::{GenericImageView, Rgb, RgbImage};
use var_model::{Class, Edit, Sampling, Var};

use super::support::{run, run_folder};

fn png(path: &Path) -> RgbImage {
    image::open(path).unwrap().to_rgb8()
}

/// An example that cargo built next to this test.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples").join(name)
}

#[test]
fn images_are_those_of_the_command_line_by_name_and_by_number() {
    let folder = run_folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let out = path("samples");
    let flags = ["--classes", "bee,cat", "--per-class", "1", "--cfg", "2", "--top-k", "0", "--seed", "5"];
    let output =
        run(&[&["sample", "--run", &path(""), "--precision", "f32", "--out", &out], &flags[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files: Vec<PathBuf> = std::fs::read_dir(&out)
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "png"))
        .collect();
    files.sort();
    let expected: Vec<RgbImage> = files.iter().map(|file| png(file)).collect();
    let var = Var::open(folder.path()).unwrap();
    let sampling = Sampling { cfg: 2.0, top_k: 0, seed: 5, ..Default::default() };
    assert_eq!(expected.len(), 2);
    assert_eq!(var.sample(&["bee", "cat"], &sampling).unwrap(), expected);
    assert_eq!(var.sample(&[1, 2], &sampling).unwrap(), expected);
    // A model file with its tokenizer is the same.
    let named =
        Var::open(path("model.safetensors")).unwrap().with_tokenizer(path("tokenizer.safetensors")).unwrap();
    assert_eq!(named.sample(&[1, 2], &sampling).unwrap(), expected);
}

#[test]
fn the_last_scale_is_the_image_and_there_is_one_image_per_scale() {
    let folder = run_folder();
    let var = Var::open(folder.path()).unwrap();
    let sampling = Sampling { top_k: 0, ..Default::default() };
    let scales = var.sample_scales(Class::None, &sampling).unwrap();
    assert_eq!(scales.len(), 3);
    assert_eq!(scales.last(), var.sample(&[Class::None], &sampling).unwrap().first());
}

#[test]
fn an_edit_keeps_what_the_mask_keeps_and_gives_as_many_variants_as_asked() {
    let folder = run_folder();
    let var = Var::open(folder.path()).unwrap();
    let photo = RgbImage::from_fn(8, 8, |x, y| Rgb([(x * 30) as u8, (y * 30) as u8, 90]));
    let mask = RgbImage::from_fn(8, 8, |x, _| Rgb([if x < 4 { 255 } else { 0 }; 3]));
    let mut edit = Edit::inpaint(&mask).class("ant");
    (edit.variants, edit.feather) = (2, Some(0));
    let edited = var.edit(&photo, &edit).unwrap();
    assert_eq!(edited.len(), 2);
    assert_ne!(edited[0], edited[1]);
    for image in &edited {
        assert_eq!(image.view(4, 0, 4, 8).to_image(), photo.view(4, 0, 4, 8).to_image());
        assert_ne!(image.view(0, 0, 4, 8).to_image(), photo.view(0, 0, 4, 8).to_image());
    }
}

#[test]
fn what_does_not_fit_is_an_error_with_the_next_step() {
    let folder = run_folder();
    let path = |name: &str| folder.path().join(name);
    let says = |result: Result<(), var_model::Error>, part: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "'{part}' is not in: {message}");
    };
    says(Var::open(path("nothing.pth")).map(drop), "nothing.pth");
    says(Var::open(path("tokenizer.safetensors")).map(drop), "holds a tokenizer, not a transformer");
    let alone = Var::open(path("model.safetensors")).unwrap();
    says(alone.sample(&["ant"], &Sampling::default()).map(drop), "holds no tokenizer next to the model");
    says(alone.with_tokenizer("builtin").map(drop), "the model expects schedule");
    let var = Var::open(folder.path()).unwrap();
    says(var.sample(&["aunt"], &Sampling::default()).map(drop), "ant");
    says(var.sample(&[7], &Sampling::default()).map(drop), "7");
    says(var.sample(&["all"], &Sampling::default()).map(drop), "name one at a time");
    says(var.sample(&[0], &Sampling { cfg: -1.0, ..Default::default() }).map(drop), "cfg is -1");
}

#[test]
fn the_examples_write_images() {
    let folder = run_folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    RgbImage::from_pixel(12, 9, Rgb([200, 10, 10])).save(path("photo.png")).unwrap();
    RgbImage::from_fn(12, 9, |x, _| Rgb([if x < 5 { 255 } else { 0 }; 3])).save(path("mask.png")).unwrap();
    let runs = |name: &str, arguments: &[String], file: &str, size: (u32, u32)| {
        let output = Command::new(example(name)).current_dir(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(png(&folder.path().join(file)).dimensions(), size, "{name}");
    };
    runs("sample", &["flags".into()], "0.png", (32, 32));
    runs("scales", &["builtin".into(), "flags".into(), path("strip.png")], "strip.png", (192, 32));
    runs("scales", &[path(""), "bee".into(), path("strip.png")], "strip.png", (24, 8));
    let edit = [path("photo.png"), path("mask.png"), "objects".into(), path("edited.png")];
    runs("edit", &edit, "edited.png", (12, 9));
}
