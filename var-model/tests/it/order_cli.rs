//! `var-model` with models in raster order, guidance that ends, and a small model that continues.

use std::path::Path;

use image::{Rgb, RgbImage};
use serde_json::Value;
use var_model::{Order, Transformer};
use var_tokenizer::weights::portable;

use super::sample_cli::Place;
use super::support::{fill_run, refused, run, run_folder};

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn settings(place: &Place, name: &str) -> Value {
    serde_json::from_slice(&place.read(&format!("{name}/settings.json"))).unwrap()
}

/// A place whose run generates in raster order.
fn raster() -> Place {
    let place = Place::new();
    fill_run(place.run.path(), 3, &["ant", "bee", "cat"], "4", Order::Raster);
    place
}

#[test]
fn a_raster_run_is_sampled_inspected_and_converted_both_ways() {
    let place = raster();
    place.works(&["a", "a.png"], &["--classes", "bee", "--per-class", "2"]);
    let run_folder = place.run.path();
    let model = text(&run_folder.join("model.safetensors"));
    let (pth, back) = (text(&run_folder.join("m.pth")), text(&run_folder.join("back.safetensors")));
    assert!(run(&["convert", &model, &pth]).status.success());
    assert!(run(&["convert", &pth, &back, "--heads", "2"]).status.success());
    let read = |path: &str| std::fs::read(path).unwrap();
    assert_eq!(read(&back), read(&model));
    // Without our metadata, names and shapes tell the order.
    let told: Value = serde_json::from_slice(&run(&["inspect", &pth, "--json"]).stdout).unwrap();
    assert_eq!(told["parts"][0]["config"]["order"], "raster", "{told}");
    assert_eq!(told["parts"][0]["config"]["schedule"], serde_json::json!([4]));
    let tokenizer = text(&run_folder.join("tokenizer.safetensors"));
    let out = text(&run_folder.join("b"));
    let args = ["sample", "--model", &pth, "--tokenizer", &tokenizer, "--heads", "2", "--precision", "f32"];
    let output = run(&[&args[..], &["--classes", "1", "--per-class", "2", "--out", &out]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(read(&format!("{out}/000001.png")), place.read("a/000001.png"));
}

#[test]
fn what_raster_order_cannot_do_is_refused_before_weights_are_read() {
    let place = raster();
    for (more, part) in [
        (&["--more-smooth"][..], "cannot mix codes"),
        (&["--show-scales", "s.png"], "one scale only; omit --show-scales"),
        (&["--guide-scales", "1-1"], "has one scale"),
        (&["--temperature", "1,2"], "give one temperature"),
    ] {
        refused(&place.sample(&["x"], more), &["raster order", part]);
    }
    let photo = place.run.path().join("photo.png");
    RgbImage::from_pixel(8, 8, Rgb([200, 10, 10])).save(&photo).unwrap();
    let (folder, photo) = (text(place.run.path()), text(&photo));
    let edit = ["edit", "--run", &folder, "--image", &photo, "--box", "0,0,1,0.5", "--out", "x.png"];
    refused(&run(&edit), &["raster order", "cannot edit", "next-scale model"]);
    // A tokenizer with other token maps, in both directions.
    let other = run_folder();
    let tokenizer = |folder: &Path| text(&folder.join("tokenizer.safetensors"));
    refused(
        &place.sample(&["x"], &["--tokenizer", &tokenizer(other.path())]),
        &["the model expects schedule 4", "the tokenizer has 1,2,4"],
    );
    let scales = Place::new();
    refused(
        &scales.sample(&["x"], &["--tokenizer", &tokenizer(place.run.path())]),
        &["the model expects schedule 1,2,4", "the tokenizer has 4"],
    );
}

#[test]
fn cost_of_a_raster_model_has_one_level_and_one_start() {
    let cost = |more: &[&str]| -> Value {
        serde_json::from_slice(&run(&[&["cost", "--depth", "16", "--json"], more].concat()).stdout).unwrap()
    };
    let (scales, raster) = (cost(&[]), cost(&["--order", "raster"]));
    assert_eq!(raster["tokens"], 256);
    // 680 − 256 positions and 10 − 1 levels less, of 1024 channels.
    let less = scales["parameters"].as_u64().unwrap() - raster["parameters"].as_u64().unwrap();
    assert_eq!(less, (680 - 256 + 9) * 1024);
    let ratio = scales["forward_flops"].as_f64().unwrap() / raster["forward_flops"].as_f64().unwrap();
    assert!((2.6..2.95).contains(&ratio), "{ratio}");
    refused(&run(&["cost", "--depth", "2", "--order", "raster", "--schedule", "1,2"]), &["one token map"]);
}

#[test]
fn guidance_that_ends_is_in_the_settings_and_out_of_range_it_is_refused() {
    let place = Place::new();
    place.works(&["a"], &["--guide-scales", "1-2", "--temperature", "1.1,1,0.9", "--per-class", "1"]);
    let sampling = &settings(&place, "a")["sampling"];
    assert_eq!(sampling["guided_scales"], "1-2");
    assert_eq!(sampling["temperature"], serde_json::json!([1.1, 1.0, 0.9]));
    for (more, parts) in [
        (&["--guide-scales", "1-4"][..], &["guide-scales 1-4", "3 scales"][..]),
        (&["--guide-scales", "2"], &["'2'", "FROM-TO"]),
        (&["--temperature", "1,1"], &["2 temperatures for 3 scales"]),
        (&["--temperature", "warm"], &["'warm'", "temperature"]),
    ] {
        refused(&place.sample(&["x"], more), parts);
    }
    let output = place.works(&["b"], &["--guide-scales", "1-2", "--cfg", "0", "--per-class", "1"]);
    let told = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(told.contains("--guide-scales has no effect"), "{told}");
}

#[test]
fn a_small_model_continues_and_one_of_another_tokenizer_is_refused() {
    let place = Place::new();
    let small = run_folder();
    let path = small.path().join("model.safetensors");
    let mut other = Transformer::load(&path, tch::Device::Cpu).unwrap();
    portable::fill(other.parameters_mut(), 9);
    other.save(&path).unwrap();
    let plain = ["--per-class", "1", "--cfg", "2"];
    place.works(&["alone"], &plain);
    let (folder, file) = (text(small.path()), text(&path));
    for (name, model, scales) in [("run", &folder, "1"), ("file", &file, "1"), ("all", &folder, "3")] {
        let output =
            place.works(&[name], &[&plain[..], &["--small-model", model, "--large-scales", scales]].concat());
        assert_eq!(
            place.read(&format!("{name}/000000.png")) == place.read("alone/000000.png"),
            name == "all"
        );
        let told = String::from_utf8_lossy(&output.stderr).to_string();
        assert_eq!(told.contains("has no effect: --large-scales are all scales"), name == "all", "{told}");
    }
    assert_eq!(place.read("run/000000.png"), place.read("file/000000.png"));
    let recorded = &settings(&place, "run")["small"];
    assert_eq!(recorded["large_scales"], 1);
    assert_eq!(recorded["model"]["sha256"].as_str().unwrap().len(), 64);
    let asked =
        |model: &str, scales: &str| place.sample(&["x"], &["--small-model", model, "--large-scales", scales]);
    refused(&asked(&folder, "4"), &["large-scales is 4", "from 1 to 3"]);
    refused(&place.sample(&["x"], &["--small-model", &folder]), &["--large-scales"]);
    refused(&asked("nowhere", "1"), &["nowhere"]);
    // Another tokenizer of the same shape.
    let tokenizer = small.path().join("tokenizer.safetensors");
    let mut vae = var_tokenizer::VqVae::load(&tokenizer, tch::Device::Cpu).unwrap();
    portable::fill(vae.parameters_mut(), 5);
    vae.save(&tokenizer).unwrap();
    refused(&asked(&folder, "1"), &["different tokenizers", "mean nothing to the other"]);
    refused(&asked(&text(raster().run.path()), "1"), &["raster order", "next-scale models"]);
}

#[test]
fn speed_times_every_batch_and_knows_the_least_time() {
    let output = run(&["speed", "--batch", "1,2", "--rounds", "2", "--precision", "f32", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["batch"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    for row in rows {
        let number = |key: &str| row[key].as_f64().unwrap();
        assert_eq!((&row["model"], &row["order"]), (&"builtin".into(), &"next-scale".into()));
        assert!(number("transformer_seconds") > 0.0 && number("decoder_seconds") > 0.0, "{row}");
        assert!(
            (number("share_of_bound") * number("transformer_seconds") / number("bound_seconds") - 1.0).abs()
                < 1e-9
        );
    }
    // Guidance doubles the work, and half a pass less is less work.
    let flops = |more: &[&str]| -> f64 {
        let args = ["speed", "--batch", "1", "--rounds", "1", "--no-decoder", "--precision", "f32", "--json"];
        let output = run(&[&args[..], more].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        report["rows"][0]["flops_per_image"].as_f64().unwrap()
    };
    let (guided, plain, ends) = (flops(&[]), flops(&["--cfg", "0"]), flops(&["--guide-scales", "1-5"]));
    assert!((guided / plain - 2.0).abs() < 1e-9 && plain < ends && ends < guided, "{guided} {plain} {ends}");
    for (more, part) in [
        (&["--rounds", "0"][..], "rounds is 0"),
        (&["--batch", "0"], "from 1 to"),
        (&["--guide-scales", "1-9"], "6 scales"),
        (&["--order", "raster"], "--depth"),
        (&["--depth", "2", "--order", "diagonal"], "next-scale or raster"),
    ] {
        refused(&run(&[&["speed"], more].concat()), &[part]);
    }
}
