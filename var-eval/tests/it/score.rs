//! Scores through the program, on real files, with the network that needs no weights.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Pictures in class folders below `root/name`: `counts` a class; `seed` changes all of them.
pub fn pictures(root: &Path, name: &str, counts: &[usize], seed: u32) -> PathBuf {
    let set = root.join(name);
    for (class, &count) in counts.iter().enumerate() {
        let folder = set.join(format!("c{class}"));
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..count as u32 {
            picture(seed + 1000 * class as u32 + number, 12)
                .save(folder.join(format!("{number:03}.png")))
                .unwrap();
        }
    }
    set
}

pub fn picture(seed: u32, side: u32) -> RgbImage {
    let noise = |x: u32| (x.wrapping_mul(2_654_435_761) >> 24) as u8;
    RgbImage::from_fn(side, side, |x, y| {
        let at = seed.wrapping_mul(7919) + 31 * x + 17 * y;
        Rgb([noise(at), noise(at + 1) / 2, noise(seed)])
    })
}

pub fn program() -> Command {
    assert_cmd::cargo::cargo_bin_cmd!("var-eval")
}

pub fn score(samples: &Path, reference: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command
        .args(["score", "--network", "colour-grid", "--samples"])
        .arg(samples)
        .arg("--reference")
        .arg(reference);
    command.args(more);
    command
}

/// The last line of `--json`.
pub fn report(samples: &Path, reference: &Path, more: &[&str]) -> Value {
    let output = score(samples, reference, more).arg("--json").assert().success().get_output().stdout.clone();
    serde_json::from_str(String::from_utf8(output).unwrap().lines().last().unwrap()).unwrap()
}

pub fn codes(report: &Value) -> Vec<String> {
    let warnings = report["warnings"].as_array().unwrap();
    warnings
        .iter()
        .map(|w| format!("{} {}", w["side"].as_str().unwrap(), w["code"].as_str().unwrap()))
        .collect()
}

pub fn fails_with(mut command: Command, words: &[&str]) {
    let assert = command.arg("--quiet").assert().code(2).stdout("");
    let line = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(
        line.starts_with("error: ") && words.iter().all(|word| line.contains(word)),
        "{line} lacks one of {words:?}"
    );
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_set_is_at_distance_zero_from_itself_and_farther_from_another() {
    let root = folder();
    let (a, b) = (pictures(root.path(), "a", &[20, 20], 0), pictures(root.path(), "b", &[20, 20], 50_000));
    let value = |report: &Value| report["metrics"][0]["value"].as_f64().unwrap();
    let (same, other) = (report(&a, &a, &[]), report(&a, &b, &[]));
    assert!(value(&same) < 1e-6 && value(&other) > 1.0, "{} {}", value(&same), value(&other));
    assert_eq!(other["metrics"][0]["name"], "FD-colour-grid");
    assert_eq!(other["protocol"]["samples"]["n"], 40);
    assert_eq!(other["protocol"]["samples"]["per_class"], json!([20, 20]));
    assert_eq!(other["protocol"]["network"]["network"], "colour-grid");
    // However it was cut into batches.
    assert_eq!(value(&other), value(&report(&a, &b, &["--batch", "7"])));
}

/// Makes a set of pictures doubtful.
type Spoil<'a> = &'a dyn Fn(&Path);

#[test]
fn each_warning_is_caused_and_absent_without_its_cause() {
    let root = folder();
    let clean = pictures(root.path(), "clean", &[15, 15], 0);
    let reference = pictures(root.path(), "reference", &[15, 15], 90_000);
    let quiet = codes(&report(&clean, &reference, &[]));
    let (singular, quiet): (Vec<_>, Vec<_>) = quiet.into_iter().partition(|code| code.contains("singular"));
    assert_eq!(quiet, ["samples few-pictures", "reference few-pictures"]);
    // The regions of these pictures are alike: so are the features.
    assert!(singular.contains(&"samples singular-covariance".into()), "{singular:?}");
    let with = |change: &dyn Fn(&Path)| {
        let set = pictures(root.path(), "changed", &[15, 15], 0);
        change(&set);
        let found = codes(&report(&set, &reference, &[]));
        std::fs::remove_dir_all(&set).unwrap();
        found
    };
    let cases: [(&str, Spoil<'_>); 9] = [
        ("samples jpeg-inputs", &|set| picture(7, 12).save(set.join("c0/x.jpg")).unwrap()),
        // The content counts, not the name.
        ("samples jpeg-inputs", &|set| {
            picture(7, 12).save_with_format(set.join("c0/000.png"), image::ImageFormat::Jpeg).unwrap();
        }),
        ("samples different-sizes", &|set| picture(7, 13).save(set.join("c0/000.png")).unwrap()),
        ("samples pixel-rule", &|set| {
            image::RgbaImage::from_pixel(12, 12, image::Rgba([9, 9, 9, 0]))
                .save(set.join("c0/000.png"))
                .unwrap();
        }),
        ("samples mixed-sizes", &|set| picture(7, 13).save(set.join("c0/000.png")).unwrap()),
        ("samples unbalanced-classes", &|set| {
            (0..3).for_each(|n| std::fs::remove_file(set.join(format!("c0/{n:03}.png"))).unwrap());
        }),
        ("samples duplicated-pictures", &|set| {
            std::fs::copy(set.join("c0/000.png"), set.join("c0/001.png")).unwrap();
        }),
        ("samples shared-pictures", &|set| {
            std::fs::copy(reference.join("c0/000.png"), set.join("c0/001.png")).unwrap();
        }),
        ("samples bad-pictures", &|set| std::fs::write(set.join("c0/bad.png"), "no picture").unwrap()),
    ];
    for (code, change) in cases {
        let found = with(change);
        assert!(found.iter().any(|other| other == code), "{code}: {found:?}");
        assert!(!quiet.iter().any(|other| other == code), "{code}");
    }
    let few = codes(&report(&clean, &reference, &["--limit", "10"]));
    assert!(few.iter().any(|code| code == "samples fewer-pictures-than-features"), "{few:?}");
}

#[test]
fn samples_carry_their_sampler_and_labels_into_the_protocol() {
    let root = folder();
    let samples = root.path().join("samples");
    std::fs::create_dir(&samples).unwrap();
    let mut table = "file,label,name\n".to_owned();
    for number in 0..30 {
        picture(number, 12).save(samples.join(format!("{number:06}.png"))).unwrap();
        table.push_str(&format!("{number:06}.png,{},\"a, b\"\n", number % 2));
    }
    std::fs::write(samples.join("labels.csv"), &table).unwrap();
    let settings = json!({
        "program": "var-model 0", "seed": 3, "per_class": 15, "model": {"sha256": "m"}, "tokenizer": {"sha256": "t"},
        "sampling": {"cfg": 1.5, "guidance": "ramp", "temperature": 1.0, "top_k": 900, "top_p": 0.96, "more_smooth": true},
    });
    std::fs::write(samples.join("settings.json"), settings.to_string()).unwrap();
    let reference = pictures(root.path(), "reference", &[15, 15], 90_000);
    let found = report(&samples, &reference, &["--metrics", "fd,per-class"]);
    let sampler = &found["protocol"]["sampler"];
    assert_eq!((&sampler["cfg"], &sampler["top_k"], &sampler["seed"]), (&json!(1.5), &json!(900), &json!(3)));
    assert_eq!(found["protocol"]["samples"]["per_class"], json!([15, 15]));
    assert!(codes(&found).iter().any(|code| code == "samples more-smooth"));
    let classes: Vec<&Value> = found["metrics"].as_array().unwrap().iter().map(|m| &m["class"]).collect();
    assert_eq!(classes, [&Value::Null, &json!("c0"), &json!("c1")]);
    // A picture that the table does not know.
    picture(99, 12).save(samples.join("000099.png")).unwrap();
    fails_with(score(&samples, &reference, &[]), &["labels.csv", "000099.png"]);
}

#[test]
fn statistics_stand_for_their_pictures_and_know_their_network() {
    let root = folder();
    let a = pictures(root.path(), "a", &[30, 30], 0);
    let b = pictures(root.path(), "b", &[30, 30], 50_000);
    let npz = root.path().join("b.npz");
    let stats = |out: &Path| {
        let mut command = program();
        command.args(["stats", "--network", "colour-grid", "--source"]).arg(&b).arg("--out").arg(out);
        command
    };
    stats(&npz).args(["--adm", "--quiet"]).assert().success();
    let h5 = root.path().join("b.h5");
    stats(&h5).arg("--quiet").assert().success();
    let value = |report: &Value| report["metrics"][0]["value"].as_f64().unwrap();
    let direct = report(&a, &b, &[]);
    assert_eq!(value(&direct), value(&report(&a, &npz, &[])));
    assert_eq!(value(&direct), value(&report(&a, &h5, &[])));
    assert!(
        codes(&report(&a, &npz, &["--reconstructions"]))
            .iter()
            .any(|c| c == "reference reconstructions-against-adm")
    );
    // Metrics that need pictures.
    fails_with(score(&a, &npz, &["--metrics", "per-class"]), &["per-class", "statistics alone"]);
    // Of another network.
    let beside = root.path().join("b.npz.json");
    let text = std::fs::read_to_string(&beside).unwrap();
    std::fs::write(&beside, text.replace("\"bytes\"", "\"other\"")).unwrap();
    fails_with(score(&a, &npz, &[]), &["preprocessing other", "do not compare"]);
    std::fs::remove_file(&beside).unwrap();
    assert!(codes(&report(&a, &npz, &[])).iter().any(|c| c == "reference unstated-network"));
}

#[test]
fn metrics_are_written_with_a_table_and_features_are_used_again() {
    let root = folder();
    let (a, b) = (pictures(root.path(), "a", &[30], 0), pictures(root.path(), "b", &[30], 50_000));
    let out = root.path().join("out");
    score(&a, &b, &["--out"]).arg(&out).arg("--quiet").assert().success();
    let first = std::fs::read_to_string(out.join("metrics.json")).unwrap();
    let table = std::fs::read_to_string(out.join("metrics.md")).unwrap();
    assert!(table.contains("| FD-colour-grid |") && table.contains("weights e3b0c442"), "{table}");
    assert!(!table.contains("FID"), "{table}");
    let again = score(&a, &b, &["--out"]).arg(&out).assert().success();
    assert!(String::from_utf8_lossy(&again.get_output().stderr).contains("holds the features already"));
    assert_eq!(first, std::fs::read_to_string(out.join("metrics.json")).unwrap());
    // Another picture under the same name, and other pictures, are noticed.
    picture(1, 12).save(a.join("c0/029.png")).unwrap();
    fails_with(score(&a, &b, &["--out", out.to_str().unwrap()]), &["samples.h5", "changed"]);
    std::fs::remove_file(a.join("c0/029.png")).unwrap();
    fails_with(
        score(&a, &b, &["--out", out.to_str().unwrap()]),
        &["samples.h5", "other images", "restart option"],
    );
}

#[test]
fn bad_requests_are_explained() {
    let root = folder();
    let a = pictures(root.path(), "a", &[12, 12], 0);
    fails_with(
        score(&a, &a, &["--metrics", "per-clas"]),
        &["per-clas", "fd, sfid", "did you mean 'per-class'?"],
    );
    fails_with(score(&a, &a, &["--classes", "c7"]), &["class 'c7'", "classes 0 to 1"]);
    let empty = root.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    fails_with(score(&empty, &a, &[]), &["empty", "holds no images"]);
    for name in ["x.png", "y.png"] {
        std::fs::write(empty.join(name), "no picture").unwrap();
    }
    fails_with(score(&empty, &a, &[]), &["no image could be read", "x.png"]);
    fails_with(score(&root.path().join("nowhere"), &a, &[]), &["nowhere"]);
    let mut unknown = program();
    unknown.args(["score", "--network", "inception", "--samples"]).arg(&a).arg("--reference").arg(&a);
    fails_with(unknown, &["inception"]);
    // A flat folder is a set of one class.
    assert_eq!(report(&a.join("c0"), &a, &[])["protocol"]["samples"]["n"], 12);
    assert_eq!(report(&a, &a, &["--classes", "0"])["protocol"]["samples"]["n"], 12);
}
