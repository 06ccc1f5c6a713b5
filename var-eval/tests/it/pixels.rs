//! The pixel rule on the command line. That stored pixels are Pillow's is tested where images are decoded.

use std::path::{Path, PathBuf};

use serde_json::Value;
use var_tokenizer::images::{Pixels, read_pixels, write_png};

use crate::score::{codes, fails_with, pictures, program, report, score};

/// A set of images that readers see differently, and the same as Pillow reads them.
fn sets(root: &Path) -> [PathBuf; 2] {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../var-tokenizer/tests/data/pixels");
    let [files, read] = ["files", "read"].map(|name| root.join(name));
    for (folder, class) in [(&files, "c"), (&read, "c")] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
    }
    let names = ["turned.png", "turned.jpg", "alpha.png", "key.gif", "grey16.png", "rgb.png"];
    for name in names {
        std::fs::copy(data.join(name), files.join("c").join(name)).unwrap();
        let stored = read_pixels(&data.join(name), Pixels::Stored).unwrap().image;
        write_png(&stored, &read.join("c").join(format!("{name}.png"))).unwrap();
    }
    [files, read]
}

fn distance(report: &Value) -> f64 {
    report["metrics"][0]["value"].as_f64().unwrap()
}

#[test]
fn scores_take_pixels_as_stored_unless_shown_is_asked_for_and_warn_where_it_matters() {
    let root = tempfile::tempdir().unwrap();
    let [files, read] = sets(root.path());
    let stored = report(&files, &read, &[]);
    assert!(distance(&stored) < 1e-6, "{}", distance(&stored));
    let shown = report(&files, &read, &["--pixels", "shown"]);
    assert!(distance(&shown) > 1.0, "{}", distance(&shown));
    for (report, rule) in [(&stored, "stored"), (&shown, "shown")] {
        assert!(report["protocol"]["pixels"].as_str().unwrap().contains(rule));
        assert_eq!(report["protocol"]["samples"]["pixels"], rule);
        let warnings = report["warnings"].as_array().unwrap();
        let found = warnings.iter().find(|w| w["code"] == "pixel-rule").unwrap();
        let message = found["message"].as_str().unwrap();
        for part in ["2 with an EXIF orientation", "2 with transparent pixels", "1 with 16-bit grey", rule] {
            assert!(message.contains(part), "{message}");
        }
        assert!(!codes(report).contains(&"reference pixel-rule".to_owned()));
    }
}

#[test]
fn features_and_statistics_of_another_pixel_rule_are_refused_with_the_next_step() {
    let root = tempfile::tempdir().unwrap();
    let [a, b] = [("a", 0), ("b", 50_000)].map(|(name, seed)| pictures(root.path(), name, &[20], seed));
    for ending in ["h5", "npz"] {
        let file = root.path().join(format!("b.{ending}"));
        let stats = |more: &[&str]| {
            let mut command = program();
            command.args(["stats", "--network", "colour-grid", "--source"]).arg(&b);
            command.arg("--out").arg(&file).args(more);
            command
        };
        stats(&["--pixels", "shown", "--quiet"]).assert().success();
        fails_with(
            score(&a, &file, &[]),
            &[file.to_str().unwrap(), "pixels as shown", "read the other set as shown"],
        );
        score(&a, &file, &["--pixels", "shown", "--quiet"]).assert().success();
        if ending == "h5" {
            // Nothing is read from images: the rule is the files'.
            assert_eq!(report(&file, &file, &[])["protocol"]["samples"]["pixels"], "shown");
            fails_with(score(&file, &file, &["--pixels", "stored"]), &["pixels as shown"]);
            fails_with(score(&file, &a, &[]), &[file.to_str().unwrap(), "read the other set as shown"]);
            fails_with(stats(&[]), &["pixels as shown, now as stored", "restart option"]);
            stats(&["--restart", "--quiet"]).assert().success();
            score(&a, &file, &["--quiet"]).assert().success();
        }
    }
}

#[test]
fn an_unknown_rule_is_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let a = pictures(root.path(), "a", &[4], 0);
    fails_with(score(&a, &a, &["--pixels", "show"]), &["'show'", "did you mean 'shown'?"]);
}
