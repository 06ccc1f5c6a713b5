//! The program on real files.

use std::path::Path;

use assert_cmd::Command;
use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with `reference/` and `samples/`.
struct Sets(TempDir);

impl Sets {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for set in ["reference", "samples"] {
            std::fs::create_dir(folder.path().join(set)).unwrap();
        }
        Self(folder)
    }

    /// Two sets of one equal pair, `one.png`.
    fn with_a_pair() -> Self {
        let sets = Self::new();
        sets.save("reference/one.png", 16, 12, 0);
        sets.save("samples/one.png", 16, 12, 0);
        sets
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Saves a colour picture; `shift` is added to every sample.
    fn save(&self, name: &str, width: u32, height: u32, shift: u8) {
        let pixel = |x, y| Rgb([(x * 7) as u8 + shift, (y * 9) as u8 + shift, (x + y) as u8 + shift]);
        RgbImage::from_fn(width, height, pixel).save(self.path(name)).unwrap();
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = program();
        command.arg("reconstruction").arg("--reference").arg(self.path("reference"));
        command.arg("--samples").arg(self.path("samples")).args(more);
        command
    }

    fn json(&self, more: &[&str]) -> Value {
        let output = self.command(&["--json"]).args(more).assert().success().get_output().stdout.clone();
        serde_json::from_slice(&output).unwrap()
    }

    /// Runs, expects exit status 2, nothing on standard output and one line on standard error; the line.
    fn error(&self) -> String {
        let assert = self.command(&[]).assert().code(2).stdout("");
        let line = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(line.starts_with("error: ") && line.lines().count() == 1, "{line}");
        line
    }

    fn fails_with(&self, words: &[&str]) {
        let line = self.error();
        assert!(words.iter().all(|word| line.contains(word)), "{line} lacks one of {words:?}");
    }
}

fn program() -> Command {
    assert_cmd::cargo::cargo_bin_cmd!("var-eval")
}

#[test]
fn a_set_is_scored_with_its_protocol() {
    let sets = Sets::new();
    for (name, shift) in [("one", 1), ("two", 10)] {
        sets.save(&format!("reference/{name}.png"), 20, 16, 0);
        sets.save(&format!("samples/{name}.png"), 20, 16, shift);
    }
    std::fs::write(sets.path("samples/notes.txt"), "no picture").unwrap();
    let report = sets.json(&[]);
    // A constant error of 1 has mean square 1, one of 10 has 100: 48.1308 and 28.1308 dB.
    let psnr = report["psnr_db"].as_f64().unwrap();
    assert!((psnr - 38.130_803_608_679_1).abs() < 1e-9, "{psnr}");
    let ssim = report["ssim"].as_f64().unwrap();
    assert!(ssim > 0.9 && ssim < 1.0, "{ssim}");
    assert_eq!((report["n"].as_u64(), report["identical"].as_u64()), (Some(2), Some(0)));
    let protocol = &report["protocol"];
    for key in ["program", "reference", "samples", "matched_by", "pixels", "mean_over", "ssim_window"] {
        assert!(protocol[key].is_string(), "{key}");
    }
    assert_eq!(protocol["data_range"], 255.0);
    assert_eq!((&protocol["ssim_taps"], &protocol["ssim_sigma"]), (&11.into(), &1.5.into()));
    assert_eq!(protocol["smallest"], serde_json::json!([20, 16]));
    assert_eq!(protocol["ssim_downsampling"], "none");
}

#[test]
fn text_holds_the_figures_and_the_protocol() {
    let sets = Sets::with_a_pair();
    sets.save("samples/one.png", 16, 12, 1);
    let output = sets.command(&[]).assert().success().get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    for part in
        ["48.1308 dB", "N           1 ", "data range  255", "11×11", "sigma 1.5", "16×12", "0.01", "0.03"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn identical_sets_have_infinite_psnr_and_ssim_one() {
    let report = Sets::with_a_pair().json(&[]);
    assert_eq!(report["psnr_db"], "inf");
    assert_eq!(report["ssim"], 1.0);
    assert_eq!(report["identical"], 1);
}

#[test]
fn partners_may_differ_in_format_and_in_grey_against_colour() {
    let sets = Sets::new();
    let flat = GrayImage::from_pixel(16, 16, Luma([128]));
    flat.save(sets.path("reference/a.jpg")).unwrap();
    flat.save(sets.path("samples/a.png")).unwrap();
    flat.save(sets.path("reference/b.PNG")).unwrap();
    RgbImage::from_pixel(16, 16, Rgb([128; 3])).save(sets.path("samples/b.png")).unwrap();
    RgbaImage::from_pixel(16, 16, Rgba([1, 2, 3, 255])).save(sets.path("reference/c.png")).unwrap();
    RgbImage::from_pixel(16, 16, Rgb([1, 2, 3])).save(sets.path("samples/c.png")).unwrap();
    let report = sets.json(&[]);
    assert_eq!((&report["n"], &report["identical"]), (&3.into(), &3.into()));
}

#[test]
fn downsampling_changes_ssim_of_large_pictures_and_is_in_the_protocol() {
    let sets = Sets::new();
    let noise =
        |x: u32, y: u32| (x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(40_503)) >> 13) as u8;
    GrayImage::from_fn(400, 390, |x, y| Luma([noise(x, y)])).save(sets.path("reference/a.png")).unwrap();
    GrayImage::from_fn(400, 390, |x, y| Luma([noise(y, x)])).save(sets.path("samples/a.png")).unwrap();
    let (full, blocks) = (sets.json(&[]), sets.json(&["--downsample"]));
    assert_ne!(full["ssim"], blocks["ssim"]);
    assert_eq!(full["psnr_db"], blocks["psnr_db"]);
    assert_ne!(full["protocol"]["ssim_downsampling"], blocks["protocol"]["ssim_downsampling"]);
}

#[test]
fn a_missing_partner_on_either_side_is_named() {
    let sets = Sets::with_a_pair();
    sets.save("reference/two.png", 16, 12, 0);
    sets.fails_with(&["samples", "'two'"]);
    std::fs::remove_file(sets.path("reference/two.png")).unwrap();
    for name in ["p", "q", "r", "s", "t"] {
        sets.save(&format!("samples/{name}.png"), 16, 12, 0);
    }
    sets.fails_with(&["reference", "'p', 'q', 'r' and 2 more"]);
}

#[test]
fn pictures_of_different_or_too_small_size_are_named() {
    let sets = Sets::with_a_pair();
    sets.save("samples/one.png", 12, 16, 0);
    sets.fails_with(&["'one'", "16×12", "12×16"]);
    for set in ["reference", "samples"] {
        sets.save(&format!("{set}/one.png"), 16, 10, 0);
    }
    sets.fails_with(&["'one'", "11×11", "16×10"]);
}

#[test]
fn files_that_are_no_such_pictures_are_named() {
    let sets = Sets::with_a_pair();
    let sample = sets.path("samples/one.png");
    let whole = std::fs::read(&sample).unwrap();
    for damaged in [&b""[..], b"not a picture at all", &whole[..whole.len() / 2], &whole[..8]] {
        std::fs::write(&sample, damaged).unwrap();
        sets.fails_with(&["one.png"]);
    }
}

#[test]
fn pairs_are_read_by_the_pixel_rule_and_what_it_matters_for_is_a_warning() {
    let sets = Sets::with_a_pair();
    let (reference, sample) = (sets.path("reference/one.png"), sets.path("samples/one.png"));
    RgbImage::from_pixel(16, 12, Rgb([1, 2, 3])).save(&reference).unwrap();
    RgbaImage::from_pixel(16, 12, Rgba([1, 2, 3, 0])).save(&sample).unwrap();
    let code = |report: &Value| report["warnings"][0]["code"].clone();
    let stored = sets.json(&[]);
    assert_eq!((&stored["identical"], code(&stored)), (&1.into(), "pixel-rule".into()));
    let shown = sets.json(&["--pixels", "shown"]);
    assert_eq!((&shown["identical"], code(&shown)), (&0.into(), "pixel-rule".into()));
    assert!(stored["protocol"]["pixels"].as_str().unwrap().contains("as stored"));
    assert!(shown["protocol"]["pixels"].as_str().unwrap().contains("as shown"));
    // 16 bits of grey above 255 are cut, by the rule of the usual tools.
    ImageBuffer::<Luma<u16>, _>::from_pixel(16, 12, Luma([9000_u16])).save(&sample).unwrap();
    RgbImage::from_pixel(16, 12, Rgb([255; 3])).save(&reference).unwrap();
    assert_eq!(sets.json(&[])["identical"], 1);
    let text = sets.command(&[]).assert().success().get_output().stdout.clone();
    assert_eq!(String::from_utf8_lossy(&text).matches("pixel-rule (samples): 1 with 16-bit grey").count(), 1);
    sets.command(&["--fd", "--network", "colour-grid"]).assert().code(2).stdout("");
    // Both sets as wholes warn of the same: once.
    for set in ["reference", "samples"] {
        sets.save(&format!("{set}/two.png"), 16, 12, 0);
    }
    let more = ["--fd", "--network", "colour-grid"];
    let output = sets.command(&more).assert().success().get_output().clone();
    let text = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&text).matches("1 with 16-bit grey").count(), 1);
    assert_eq!(sets.json(&[])["warnings"].as_array().unwrap().len(), 1);
    sets.command(&["--pixels", "store"]).assert().code(2);
}

#[test]
fn network_flags_without_fd_have_no_effect_and_say_so() {
    let sets = Sets::with_a_pair();
    let assert = sets.command(&["--weights", "w.pth", "--threads", "2"]).assert().success();
    let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(text.contains("--weights, --threads have no effect: only --fd takes a network"), "{text}");
}

#[test]
fn class_folders_are_matched_by_class_and_name() {
    let sets = Sets::new();
    for set in ["reference", "samples"] {
        for class in ["7", "10"] {
            std::fs::create_dir(sets.path(&format!("{set}/{class}"))).unwrap();
        }
    }
    // The same file name in two classes; only one pair differs.
    for (name, shift) in [("7/0.png", 0), ("10/0.png", 3)] {
        sets.save(&format!("reference/{name}"), 16, 12, 0);
        sets.save(&format!("samples/{name}"), 16, 12, shift);
    }
    // By file name alone the second would replace the first, or be compared with the other class.
    let found = sets.json(&[]);
    assert_eq!((&found["n"], &found["identical"]), (&2.into(), &1.into()), "{found}");
    std::fs::remove_file(sets.path("samples/7/0.png")).unwrap();
    sets.fails_with(&["samples", "7/0"]);
}

#[test]
fn folders_that_would_change_the_set_unseen_are_errors() {
    let sets = Sets::new();
    sets.fails_with(&["reference", "holds no images"]);
    let sets = Sets::with_a_pair();
    sets.save("samples/one.jpg", 16, 12, 0);
    sets.fails_with(&["one.jpg", "one.png", "same name"]);
    let sets = Sets::with_a_pair();
    std::fs::write(sets.path("samples/two.webp"), "").unwrap();
    sets.save("reference/two.png", 16, 12, 0);
    sets.fails_with(&["two.webp", "empty"]);
    let sets = Sets::with_a_pair();
    std::os::unix::net::UnixListener::bind(sets.path("samples/two.png")).unwrap();
    sets.fails_with(&["two.png", "not a regular file"]);
    let sets = Sets::with_a_pair();
    std::os::unix::fs::symlink(sets.path("reference"), sets.path("reference/class")).unwrap();
    sets.fails_with(&["class", "nest deeper"]);
    std::fs::remove_dir_all(sets.path("reference")).unwrap();
    sets.fails_with(&["reference"]);
    std::fs::write(sets.path("reference"), "a file").unwrap();
    sets.fails_with(&["reference"]);
}

#[test]
fn usage_errors_end_with_two() {
    for arguments in [&["reconstruction"][..], &["reconstruction", "--reference", "x"], &["unknown"], &[]] {
        program().args(arguments).assert().code(2);
    }
}

#[test]
fn golden_prints_checks_as_json_lines_and_passes_over_other_cases() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../var-tokenizer/tests/golden");
    let (ours, other) = (cases.join("eval/psnr_ssim"), cases.join("sched"));
    let assert = program().args(["golden", "--json"]).arg(&other).arg(&ours).assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 90);
    for line in text.lines() {
        let check: Value = serde_json::from_str(line).unwrap();
        assert_eq!(check["case"], ours.to_str().unwrap());
        assert_eq!(check["pass"], true, "{line}");
        assert!(check["difference"].is_f64() && check["tolerance"].is_f64(), "{line}");
    }
}
