//! `var-model edit` on real files. The tiny model makes pictures of 8 × 8 pixels out of 4 × 4 cells.

use std::path::{Path, PathBuf};
use std::process::Output;

use image::{Rgb, RgbImage};
use serde_json::Value;
use tch::{Device, Tensor};
use var_model::commands::edit::{AreaRequest, EditRequest, edit};
use var_model::sampling::SamplingOptions;
use var_model::source::ModelSource;
use var_tokenizer::command_line::Given;
use var_tokenizer::images::{from_unit, to_unit};
use var_tokenizer::progress::{Progress, Show};
use var_tokenizer::{VqVae, builtin};

use crate::support::{refused, run, run_folder};

/// A run folder with photos in it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: run_folder() };
        photo(8, 8).save(place.path("square.png")).unwrap();
        photo(40, 20).save(place.path("long.png")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Runs `edit` on a photo; a word that ends with `.png` is a file of the folder.
    fn edit(&self, words: &str) -> Output {
        let mut args: Vec<String> =
            ["edit", "--run", &self.name(""), "--precision", "f32"].map(String::from).to_vec();
        args.extend(words.split_whitespace().map(|word| match word.ends_with(".png") {
            true => self.name(word),
            false => word.to_owned(),
        }));
        run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// As [`Self::edit`], to a result, and what was said on the way.
    fn edited(&self, words: &str) -> (RgbImage, String) {
        let output = self.edit(&format!("{words} --out out.png"));
        let said = String::from_utf8_lossy(&output.stderr).to_string();
        assert!(output.status.success(), "{words}: {said}");
        (read(&self.path("out.png")), said)
    }

    fn mask(&self, name: &str, width: u32, height: u32, white: impl Fn(u32, u32) -> bool) {
        RgbImage::from_fn(width, height, |x, y| Rgb([if white(x, y) { 255 } else { 0 }; 3]))
            .save(self.path(name))
            .unwrap();
    }

    fn record(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }
}

fn read(path: &Path) -> RgbImage {
    image::open(path).unwrap().to_rgb8()
}

fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 6) as u8, (y * 12) as u8, ((x * y) % 251) as u8]))
}

/// Where two pictures of one size differ.
fn differing(a: &RgbImage, b: &RgbImage) -> Vec<(u32, u32)> {
    assert_eq!(a.dimensions(), b.dimensions());
    a.enumerate_pixels().filter(|(x, y, p)| b.get_pixel(*x, *y) != *p).map(|(x, y, _)| (x, y)).collect()
}

#[test]
fn in_painting_with_blend_changes_the_inside_and_nothing_else() {
    let place = Place::new();
    let (result, _) = place.edited("--image square.png --box 0.25,0.5,0.75,1 --blend --seed 1");
    let changed = differing(&result, &photo(8, 8));
    assert!(!changed.is_empty());
    assert!(changed.iter().all(|&(x, y)| x >= 4 && (2..6).contains(&y)), "{changed:?}");
}

#[test]
fn out_painting_keeps_the_inside() {
    let place = Place::new();
    let (result, _) = place.edited("--image square.png --box 0.25,0.25,0.75,0.75 --outpaint --feather 0");
    let changed = differing(&result, &photo(8, 8));
    assert!(changed.len() > 24, "{changed:?}");
    assert!(changed.iter().all(|&(x, y)| !(2..6).contains(&x) || !(2..6).contains(&y)), "{changed:?}");
}

#[test]
fn a_photo_of_another_size_comes_back_whole_and_changes_only_under_the_mask() {
    let place = Place::new();
    place.mask("mask.png", 40, 20, |x, y| (28..33).contains(&x) && (4..9).contains(&y));
    let (result, said) = place.edited("--image long.png --mask mask.png");
    let changed = differing(&result, &photo(40, 20));
    assert!(changed.iter().all(|&(x, y)| (28..33).contains(&x) && (4..9).contains(&y)), "{changed:?}");
    assert!(changed.len() > 12 && !said.contains("note:"), "{changed:?} {said}");
    let record = place.record("out.png.json");
    assert_eq!(record["window"], serde_json::json!({"left": 20, "top": 0, "side": 20}));
    assert_eq!((&record["blend"], &record["generated_pixels"]), (&true.into(), &25.into()));

    let (square, said) = place.edited("--image long.png --mask mask.png --no-blend");
    assert_eq!(square.dimensions(), (8, 8));
    assert!(said.contains("20 × 20 pixels from column 20, row 0"), "{said}");
}

#[test]
fn inverting_a_mask_swaps_what_is_kept() {
    let place = Place::new();
    place.mask("mask.png", 8, 8, |x, _| x < 4);
    place.mask("other.png", 8, 8, |x, _| x >= 4);
    let (a, _) = place.edited("--image square.png --mask mask.png --invert-mask");
    let (b, _) = place.edited("--image square.png --mask other.png");
    let (c, _) = place.edited("--image square.png --box 0,0.5,1,1");
    assert!(a == b && a == c);
}

#[test]
fn a_mask_of_another_size_is_stretched_and_a_note_says_so() {
    let place = Place::new();
    place.mask("mask.png", 4, 2, |x, _| x == 3);
    let (result, said) = place.edited("--image long.png --mask mask.png");
    assert!(said.contains("4 × 2 pixels") && said.contains("40 × 20"), "{said}");
    let changed = differing(&result, &photo(40, 20));
    assert!(!changed.is_empty() && changed.iter().all(|&(x, _)| x >= 30), "{changed:?}");
    assert!(place.record("out.png.json")["notes"][0].as_str().unwrap().contains("stretched"));
}

#[test]
fn a_mask_that_keeps_all_gives_the_photo_or_its_reconstruction() {
    let place = Place::new();
    place.mask("black.png", 8, 8, |_, _| false);
    let (result, said) = place.edited("--image square.png --mask black.png --blend");
    assert_eq!(result, photo(8, 8));
    assert!(said.contains("nothing to generate") && said.contains("photo itself"), "{said}");

    let (result, said) = place.edited("--image square.png --mask black.png");
    assert!(said.contains("its reconstruction"), "{said}");
    let vae: VqVae =
        builtin::open(&place.name("tokenizer.safetensors"), None, Device::Cpu).unwrap().tokenizer;
    let pixels = Tensor::from_slice(&to_unit(&photo(8, 8))).view([1, 3, 8, 8]);
    let decoded = vae.decode(&vae.encode(&pixels).unwrap()).unwrap().contiguous().view([-1]);
    assert_eq!(result, from_unit(&Vec::<f32>::try_from(decoded).unwrap(), 8).unwrap());

    // A box so small that it holds no cell.
    let (result, said) = place.edited("--image square.png --box 0,0,0.1,0.1 --blend");
    assert!(result == photo(8, 8) && said.contains("nothing to generate"), "{said}");
    place.mask("long-black.png", 40, 20, |_, _| false);
    assert_eq!(place.edited("--image long.png --mask long-black.png").0, photo(40, 20));
}

#[test]
fn a_mask_that_generates_all_keeps_the_smallest_scales_and_a_note_says_so() {
    let place = Place::new();
    place.mask("white.png", 8, 8, |_, _| true);
    let (a, said) = place.edited("--image square.png --mask white.png --blend");
    assert!(said.contains("only the scales with at most 3 positions are those of the photo"), "{said}");
    // Nothing is kept, so blending has no border.
    assert_eq!(a, place.edited("--image square.png --mask white.png --no-blend").0);
    let (wide, said) = place.edited("--image long.png --box 0,0,1,1");
    assert!(said.contains("40 × 40") && said.contains("edge pixels are repeated"), "{said}");
    assert_eq!(wide.dimensions(), (40, 20));
}

#[test]
fn variants_differ_and_are_the_same_again_under_the_same_seed() {
    let place = Place::new();
    let words = "--image square.png --box 0,0,1,0.5 --quiet --cfg 0 --temperature 3";
    let output = place.edit(&format!("{words} --variants 3 --out a.png --strip strip.png --strip-zoom 2"));
    assert!(output.status.success() && output.stderr.is_empty());
    let of = |n: usize| read(&place.path(&format!("a-{n}.png")));
    assert!(of(0) != of(1) && of(1) != of(2) && of(0) != of(2));
    assert!(!place.path("a.png").exists());
    // Alone it is what it was among others.
    assert_eq!(place.edited(words).0, of(0));
    assert_ne!(place.edited(&format!("{words} --seed 1")).0, of(0));

    let strip = read(&place.path("strip.png"));
    assert_eq!(strip.dimensions(), (2 * (5 * 8 + 4 * 2), 2 * 8));
    let cell = |n: u32| RgbImage::from_fn(8, 8, |x, y| *strip.get_pixel(2 * (10 * n + x), 2 * y));
    assert_eq!(cell(0), photo(8, 8));
    assert!(differing(&cell(1), &photo(8, 8)).iter().all(|&(x, _)| x < 4) && cell(1) != photo(8, 8));
    assert!((0..3).all(|n| cell(n as u32 + 2) == of(n)));
}

#[test]
fn the_record_tells_how_to_make_it_again() {
    let place = Place::new();
    place.edited(
        "--image square.png --box 0,0.5,1,1 --class bee --seed 9 --no-more-smooth --top-k 5 --feather 2",
    );
    let record = place.record("out.png.json");
    assert_eq!(record["area"]["box"], serde_json::json!({"y0": 0.0, "x0": 0.5, "y1": 1.0, "x1": 1.0}));
    assert_eq!((&record["class"], &record["class_name"]), (&1.into(), &"bee".into()));
    assert_eq!((&record["seed"], &record["feather"], &record["blend"]), (&9.into(), &2.into(), &true.into()));
    assert_eq!((&record["options"]["top_k"], &record["options"]["more_smooth"]), (&5.into(), &false.into()));
    assert_eq!((&record["generated_cells"], &record["cells"]), (&8.into(), &16.into()));
    let sum = |name: &str| var_tokenizer::files::sha256_of(&place.path(name)).unwrap();
    assert_eq!(record["image"]["sha256"], sum("square.png").as_str());
    assert_eq!(record["model"]["sha256"], sum("model.safetensors").as_str());
    assert_eq!(record["tokenizer"]["sha256"], sum("tokenizer.safetensors").as_str());
    assert_eq!(record["results"][0]["file"]["sha256"], sum("out.png").as_str());
}

#[test]
fn the_class_steers_what_is_generated() {
    let place = Place::new();
    let of = |class: &str| place.edited(&format!("--image square.png --box 0,0,1,1 {class}")).0;
    let (none, ant, bee) = (of(""), of("--class ant"), of("--class 1"));
    assert!(none != ant && ant != bee && none != bee);
    assert_eq!(of("--class 0"), ant);
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let place = Place::new();
    let no = |words: &str, parts: &[&str]| refused(&place.edit(words), parts);
    no("--image square.png --out o.png", &["--mask", "--box"]);
    no("--image square.png --mask square.png --box 0,0,1,1 --out o.png", &["--mask", "--box"]);
    no("--image square.png --box -0.5,0,1,1 --out o.png", &["-0.5", "0 to 1"]);
    no("--image square.png --box 0,0,1,1", &["--out", "--strip"]);
    no("--image square.png --mask square.png --outpaint --out o.png", &["--outpaint", "--mask"]);
    no("--image square.png --box 0,0,1,1 --invert-mask --out o.png", &["--invert-mask", "--box"]);
    no("--image square.png --box 0,0,1,1 --variants 65 --out o.png", &["65", "1..=64"]);
    no("--image square.png --box 0,0,1,1 --no-blend --feather 3 --out o.png", &["--feather"]);
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    let place = Place::new();
    std::fs::write(place.path("text.png"), "no picture").unwrap();
    // Without a process of its own each: starting libtorch takes most of the time.
    let no = |change: &dyn Fn(&mut EditRequest), parts: &[&str]| {
        let mut request = EditRequest {
            source: ModelSource { run: Some(place.path("")), ..ModelSource::default() },
            image: place.path("square.png"),
            area: AreaRequest::Box { bounds: "0,0,1,1".parse().unwrap(), outpaint: false },
            class: None,
            options: SamplingOptions::default(),
            seed: 0,
            variants: 1,
            blend: None,
            feather: None,
            out: Some(place.path("o.png")),
            strip: None,
            strip_zoom: 1,
            given: Given::default(),
        };
        change(&mut request);
        let error = edit(&request, &mut Progress::new(Show::Quiet)).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.exit_code(), 2, "{message}");
        for part in parts {
            assert!(message.contains(part), "'{part}' is not in: {message}");
        }
    };
    let mask = |name: &str| AreaRequest::Mask { path: place.path(name), invert: false };
    no(&|r| r.image = place.path("text.png"), &["text.png", "not an image"]);
    no(&|r| r.area = mask("text.png"), &["text.png", "not an image"]);
    no(&|r| r.image = place.path("none.png"), &["none.png"]);
    no(&|r| r.class = Some("3".into()), &["class '3'", "0 to 2"]);
    no(&|r| r.class = Some("-1".into()), &["class '-1'"]);
    no(&|r| r.class = Some("dog".into()), &["'dog'", "ant, bee, cat"]);
    no(&|r| r.variants = 0, &["--variants is 0", "1 to 64"]);
    no(&|r| r.strip_zoom = 99, &["--strip-zoom is 99", "1 to 16"]);
    no(&|r| r.options.temperature = 0.0.into(), &["temperature is 0"]);
    no(&|r| r.options.cfg = f64::NAN, &["cfg is NaN"]);
    no(&|r| r.out = None, &["--out", "--strip"]);
    no(&|r| r.out = Some(place.path("square.png")), &["square.png", "overwritten"]);
    no(
        &|r| (r.area, r.strip) = (mask("long.png"), Some(place.path("long.png"))),
        &["long.png", "overwritten"],
    );
    no(&|r| r.out = Some(place.path("o.jpg")), &["o.jpg", ".png"]);
    no(&|r| r.strip = r.out.clone(), &["same file"]);
    no(&|r| r.out = Some("/nonexistent/o.png".into()), &["/nonexistent"]);
    no(&|r| r.source.tokenizer = Some("builtin".into()), &["schedule 1,2,4", "tokenizer"]);
    assert!(!place.path("o.png").exists() && !place.path("o.png.json").exists());
    assert_eq!(read(&place.path("square.png")), photo(8, 8));
    std::fs::write(place.path("model.safetensors"), "junk").unwrap();
    no(&|_| (), &["model.safetensors"]);
}

#[test]
fn a_class_whose_name_is_a_number_is_edited_to_by_id_or_by_name() {
    let place = Place::new();
    std::fs::write(place.path("classes.json"), r#"["1", "10", "2"]"#).unwrap();
    refused(
        &place.edit("--image square.png --box 0,0,1,1 --class 1 --out o.png"),
        &["class '1' has two meanings", "id:1 ", "name:1 "],
    );
    for (class, label) in [("id:1", 1), ("#1", 1), ("name:1", 0), ("10", 1)] {
        place.edited(&format!("--image square.png --box 0,0,1,1 --class {class}"));
        assert_eq!(place.record("out.png.json")["class"], label, "{class}");
    }
}

#[test]
fn settings_of_an_edit_without_effect_are_said() {
    let place = Place::new();
    for (more, part) in [
        ("--cfg 2", "--cfg 2 has no effect without a class"),
        ("--class 1 --top-k 99", "--top-k 99 has no effect: the model has 24 codes"),
    ] {
        let (_, said) = place.edited(&format!("--image square.png --box 0,0,0.5,1 {more}"));
        assert_eq!(said.matches("note:").count(), 1, "{said}");
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn the_whole_of_it_is_told_to_programs() {
    let place = Place::new();
    let output = place.edit("--image long.png --box 0,0,1,1 --json --variants 2 --out o.png");
    let events: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let done = events.last().unwrap();
    assert!(done["event"] == "done" && done["pictures"] == 2, "{done}");
    assert_eq!(done["out"][1], place.name("o-1.png").as_str());
    assert!(done["notes"][0].as_str().unwrap().contains("edge pixels"), "{done}");
    let help = String::from_utf8(run(&["edit", "--help"]).stdout).unwrap();
    assert!(help.contains("Examples:\n") && help.contains("--outpaint"));
}
