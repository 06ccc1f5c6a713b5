//! `reconstruct --folder`: what others score, and `inspect`, which goes by content.

use std::path::Path;

use var_tokenizer::images::{Source, read_image};

use crate::cli::{message, prepare, refused, run};

/// Files below `folder`, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[test]
fn a_folder_of_reconstructions_has_every_held_out_image_under_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, _) = prepare(folder.path());
    let images = folder.path().join("split");
    let image = |shade: u8| image::RgbImage::from_pixel(16, 16, image::Rgb([shade; 3]));
    for name in
        ["train/cats/0.png", "val/cats/a.png", "val/cats/b.bmp", "val/cats/a.bmp", "val/cats/deep/c.png"]
    {
        let path = images.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image(name.len() as u8 * 8).save(path).unwrap();
    }
    std::fs::write(images.join("val/cats/bad.png"), b"").unwrap();
    let out = folder.path().join("recon");
    // What a killed call left.
    let stale = folder.path().join("recon.partial/originals");
    std::fs::create_dir_all(&stale).unwrap();
    std::fs::write(stale.join("stale.png"), b"").unwrap();
    let (data, target) = (images.display().to_string(), out.display().to_string());
    let command = [
        "reconstruct",
        "--data",
        &data,
        "--tokenizer",
        &tokenizer,
        "--folder",
        &target,
        "--batch",
        "2",
        "--json",
    ];
    let output = run(&command);
    assert!(output.status.success(), "{}", message(&output));
    assert!(message(&output).contains("bad.png"), "{}", message(&output));
    let originals = files(&out.join("originals"));
    assert_eq!(originals.len(), 4, "{originals:?}");
    assert_eq!(originals, files(&out.join("reconstructions")));
    assert!(originals.contains(&"cats/b.png".into()) && originals.contains(&"cats/deep/c.png".into()));
    assert!(!folder.path().join("recon.partial").exists());
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("reconstruction.json")).unwrap()).unwrap();
    assert_eq!(record["tokenizer"], tokenizer.as_str());
    assert!(
        record["tokenizer_sha256"].as_str().unwrap().len() == 64 && record["perceptual_network"].is_null()
    );
    // 16 pixels already: the original is the image itself.
    let original = read_image(&out.join("originals/cats/b.png")).unwrap();
    assert_eq!(original, image("val/cats/b.bmp".len() as u8 * 8));
    let event: serde_json::Value =
        serde_json::from_slice(output.stdout.split(|&b| b == b'\n').rev().nth(1).unwrap()).unwrap();
    assert_eq!((&event["images"], &event["bad"]), (&4.into(), &1.into()));
    let keys: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["event", "scores", "images", "bad", "out", "folder"], "{event}");
    assert!(event["out"].is_null() && event["folder"] == target.as_str(), "{event}");
    // The scores are those of the files, but for rounding to bytes.
    let psnr = originals
        .iter()
        .map(|name| {
            let pair =
                ["originals", "reconstructions"].map(|part| read_image(&out.join(part).join(name)).unwrap());
            let squares =
                pair[0].iter().zip(pair[1].iter()).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
            10.0 * (255.0_f64.powi(2) / (squares.sum::<f64>() / pair[0].len() as f64)).log10()
        })
        .sum::<f64>()
        / 4.0;
    assert!((event["scores"]["psnr"].as_f64().unwrap() - psnr).abs() < 0.1, "{event} {psnr}");
    assert_eq!(Source::open(out.join("originals")).unwrap().classes(), ["cats"]);
    refused(&run(&command), &["recon", "is not empty"]);
}

#[test]
fn a_grid_with_another_ending_than_png_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    let out = folder.path().join("grid.jpg").display().to_string();
    let output = run(&["reconstruct", "--data", &images, "--tokenizer", &tokenizer, "--out", &out]);
    refused(&output, &["grid.jpg", "end its name with .png"]);
}

#[test]
fn inspect_goes_by_content_whatever_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, images) = prepare(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    assert!(
        run(&["encode", "--data", &images, "--tokenizer", &tokenizer, "--out", &path("t.h5")])
            .status
            .success()
    );
    std::fs::copy(path("t.h5"), path("tokens.safetensors")).unwrap();
    std::fs::copy(&tokenizer, path("weights.h5")).unwrap();
    let inspected = |name: &str| String::from_utf8_lossy(&run(&["inspect", &path(name)]).stdout).to_string();
    assert!(inspected("tokens.safetensors").starts_with("tokens "), "{}", inspected("tokens.safetensors"));
    assert!(inspected("weights.h5").starts_with("tokenizer "), "{}", inspected("weights.h5"));
    std::fs::rename(path("images"), path("images.pth")).unwrap();
    assert!(inspected("images.pth").starts_with("images "), "{}", inspected("images.pth"));
    std::fs::write(path("x.h5"), b"\x89HDF\r\n\x1a\n").unwrap();
    refused(&run(&["inspect", &path("x.h5")]), &["x.h5"]);
    std::fs::write(path("u.h5.partial"), b"VARTOK1\nrest").unwrap();
    refused(&run(&["inspect", &path("u.h5")]), &["u.h5", "not finished"]);
    refused(&run(&["inspect", &path("u.h5.partial")]), &["journal of an unfinished token file"]);
    std::fs::write(path("page.safetensors"), b"<!DOCTYPE html><html>").unwrap();
    assert_eq!(run(&["inspect", &path("page.safetensors")]).status.code(), Some(2));
}
