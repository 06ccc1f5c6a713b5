//! What is refused before the expensive part, what a failure leaves, and what has no effect.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use ndarray::{Array2, array};
use npyz::WriterBuilder;
use npyz::npz::NpzWriter;
use serde_json::Value;
use tch::Tensor;
use tempfile::TempDir;
use var_eval::features::weights::{TensorSource, WeightsFile};
use var_tokenizer::weights::safetensors;

use crate::score::{fails_with, picture, pictures, program, report, score};

/// Features and spatial features of `colour-grid`.
const WIDTHS: (usize, usize) = (24, 6);

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Arrays of an npz: name, shape, numbers.
type Arrays<'a> = [(&'a str, Vec<u64>, Vec<f64>)];

fn npz(path: &Path, arrays: &Arrays<'_>, images: Option<(usize, &[u8])>) {
    let mut writer = NpzWriter::create(path).unwrap();
    for (name, shape, numbers) in arrays {
        let options = npyz::zip::write::FileOptions::default();
        let mut array =
            writer.array::<f64>(name, options).unwrap().default_dtype().shape(shape).begin_nd().unwrap();
        array.extend(numbers.iter().copied()).unwrap();
        array.finish().unwrap();
    }
    if let Some((side, bytes)) = images {
        let count = bytes.len() / (3 * side * side);
        let shape = [count as u64, side as u64, side as u64, 3];
        let options = npyz::zip::write::FileOptions::default();
        let mut array =
            writer.array::<u8>("arr_0", options).unwrap().default_dtype().shape(&shape).begin_nd().unwrap();
        array.extend(bytes.iter().copied()).unwrap();
        array.finish().unwrap();
    }
}

/// `mu` and `sigma` of `width` features, called with `suffix`.
fn gaussian(suffix: &str, sigma: &Array2<f64>) -> [(String, Vec<u64>, Vec<f64>); 2] {
    let width = sigma.nrows();
    [
        (format!("mu{suffix}"), vec![width as u64], vec![0.0; width]),
        (format!("sigma{suffix}"), vec![width as u64; 2], sigma.iter().copied().collect()),
    ]
}

fn statistics(path: &Path, pairs: &[(&str, Array2<f64>)], images: Option<(usize, &[u8])>) {
    let arrays: Vec<_> = pairs.iter().flat_map(|(suffix, sigma)| gaussian(suffix, sigma)).collect();
    let arrays: Vec<_> = arrays.iter().map(|(n, s, v)| (n.as_str(), s.clone(), v.clone())).collect();
    npz(path, &arrays, images);
}

/// Runs and returns standard error and standard output.
fn texts(mut command: Command, code: i32) -> (String, String) {
    let output = command.assert().code(code).get_output().clone();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stderr), text(output.stdout))
}

#[test]
fn an_invalid_covariance_is_refused_with_its_file_and_its_smallest_eigenvalue() {
    let root = folder();
    let a = pictures(root.path(), "a", &[30], 0);
    let path = root.path().join("bad.npz");
    let mut negative = Array2::eye(WIDTHS.0);
    negative[[3, 3]] = -0.25;
    statistics(&path, &[("", negative)], None);
    fails_with(score(&a, &path, &[]), &["bad.npz", "smallest eigenvalue is -2.5e-1"]);
    let mut skew = Array2::eye(WIDTHS.0);
    skew[[0, 1]] = 0.5;
    statistics(&path, &[("", skew)], None);
    fails_with(score(&a, &path, &[]), &["bad.npz", "not symmetric", "smallest eigenvalue"]);
    let mut hole = Array2::eye(WIDTHS.0);
    hole[[5, 5]] = f64::NAN;
    statistics(&path, &[("", hole)], None);
    fails_with(score(&a, &path, &[]), &["bad.npz", "1 of 576 numbers of the covariance are not finite"]);
    // The spatial one counts too.
    let spatial = array![[0.0, 1.0], [1.0, 0.0]];
    statistics(&path, &[("", Array2::eye(WIDTHS.0)), ("_s", spatial)], None);
    fails_with(score(&a, &path, &[]), &["bad.npz", "mu_s, sigma_s", "smallest eigenvalue is -"]);
    // Singular is valid.
    let mut singular = Array2::zeros((WIDTHS.0, WIDTHS.0));
    singular[[0, 0]] = 1.0;
    statistics(&path, &[("", singular)], None);
    score(&a, &path, &["--quiet"]).assert().success();
}

#[test]
fn statistics_of_one_image_are_refused() {
    let root = folder();
    let a = pictures(root.path(), "a", &[30], 0);
    let npz = root.path().join("b.npz");
    let stats = |source: &Path| {
        let mut command = program();
        command.args(["stats", "--network", "colour-grid", "--source"]).arg(source).arg("--out").arg(&npz);
        command
    };
    fails_with(stats(&pictures(root.path(), "one", &[1], 0)), &["one", "at least two"]);
    stats(&a).arg("--quiet").assert().success();
    let beside = root.path().join("b.npz.json");
    let text = std::fs::read_to_string(&beside).unwrap();
    std::fs::write(&beside, text.replace("\"pictures\": 30", "\"pictures\": 1")).unwrap();
    fails_with(score(&a, &npz, &[]), &["b.npz", "at least two images, got 1"]);
    std::fs::write(&beside, "{").unwrap();
    fails_with(score(&a, &npz, &[]), &["b.npz.json"]);
}

#[test]
fn metrics_that_cannot_be_computed_are_refused_before_any_image_is_read() {
    let root = folder();
    let a = pictures(root.path(), "a", &[12, 12], 0);
    let out = root.path().join("out");
    let refused = |samples: &Path, reference: &Path, metrics: &str, words: &[&str]| {
        fails_with(score(samples, reference, &["--metrics", metrics, "--out", out.to_str().unwrap()]), words);
        assert_eq!(std::fs::read_dir(&out).map_or(0, Iterator::count), 0, "{metrics}");
    };
    let npz = root.path().join("s.npz");
    statistics(&npz, &[("", Array2::eye(WIDTHS.0))], None);
    refused(&a, &npz, "fd,pr,kid", &["metric pr", "metric kid", "statistics alone", "s.npz"]);
    refused(&a, &npz, "sfid", &["metric sfid", "mu_s"]);
    refused(&a, &a, "accuracy", &["metric accuracy", "they have 2, colour-grid has 3"]);
    refused(&a, &pictures(root.path(), "other", &[1, 1], 0), "per-class", &["no class with two images"]);
    let three = pictures(root.path(), "three", &[3], 0);
    refused(&three, &a, "pr", &["metric pr needs at least 4 samples, there are 3"]);
    refused(&a, &three, "dc", &["metric dc needs at least 4 images of the reference, there are 3"]);
    refused(&three, &a, "is", &["metric is needs at least 10 samples"]);
    refused(&three, &a, "fd-inf", &["metric fd-inf needs at least 4"]);
    refused(&pictures(root.path(), "one", &[1], 0), &a, "fd", &["at least 2 samples, there are 1"]);
    refused(&a, &root.path().join("nowhere"), "fd", &["nowhere"]);
    statistics(&npz, &[("", Array2::eye(WIDTHS.0 + 1))], None);
    refused(&a, &npz, "fd", &["s.npz", "25 features", "colour-grid has 24"]);
    statistics(&npz, &[("", Array2::eye(WIDTHS.0)), ("_s", Array2::eye(WIDTHS.1 + 1))], None);
    refused(&a, &npz, "fd", &["s.npz", "7 spatial features", "colour-grid has 6"]);
}

#[test]
fn a_batch_of_statistics_and_images_serves_with_both() {
    let root = folder();
    let a = pictures(root.path(), "a", &[30], 0);
    let bytes: Vec<u8> = (0..20).flat_map(|i| picture(70_000 + i, 12).into_raw()).collect();
    let (batch, alone) = (root.path().join("batch.npz"), root.path().join("alone.npz"));
    let pairs = [("", Array2::eye(WIDTHS.0) * 90.0), ("_s", Array2::eye(WIDTHS.1))];
    statistics(&batch, &pairs, Some((12, &bytes)));
    statistics(&alone, &pairs, None);
    let figures = |report: &Value| -> BTreeMap<String, Value> {
        let all = report["metrics"].as_array().unwrap().iter();
        all.map(|f| (f["metric"].as_str().unwrap().to_owned(), f.clone())).collect()
    };
    // Without metrics that take rows the images are not read.
    let distances = report(&a, &batch, &[]);
    assert_eq!(figures(&distances)["fd"]["value"], figures(&report(&a, &alone, &[]))["fd"]["value"]);
    assert!(distances["protocol"]["reference_images"].is_null());
    let all = report(&a, &batch, &["--metrics", "fd,sfid,kid,pr"]);
    let found = figures(&all);
    for metric in ["fd", "sfid"] {
        assert_eq!(found[metric]["value"], figures(&distances)[metric]["value"]);
        assert!(found[metric]["n"][1].is_null());
    }
    assert_eq!(found["kid"]["n"][1], 20);
    assert_eq!(found["precision"]["n"][1], 20);
    assert_eq!(all["protocol"]["reference"]["kind"], "statistics");
    assert_eq!(all["protocol"]["reference_images"]["n"], 20);
    let (note, table) = texts(score(&a, &batch, &["--metrics", "fd,kid"]), 0);
    assert!(
        note.contains("Fréchet distances take its statistics, its images for the other metrics"),
        "{note}"
    );
    assert!(table.contains("reference images"), "{table}");
}

#[test]
fn one_failed_metric_does_not_lose_the_others_or_the_features() {
    let root = folder();
    let (a, b) = (pictures(root.path(), "a", &[4], 0), pictures(root.path(), "b", &[20], 50_000));
    std::fs::write(a.join("c0/000.png"), "no image").unwrap();
    let out = root.path().join("out");
    let (error, table) =
        texts(score(&a, &b, &["--metrics", "pr,fd", "--quiet", "--out", out.to_str().unwrap()]), 2);
    assert!(error.starts_with("error: 1 of 2 metrics failed: pr: ") && error.lines().count() == 1, "{error}");
    assert!(table.contains("| FD-colour-grid |") && table.contains("| pr | "), "{table}");
    let json: Value = serde_json::from_slice(&std::fs::read(out.join("metrics.json")).unwrap()).unwrap();
    assert_eq!((&json["metrics"][0]["metric"], &json["failed"][0]["metric"]), (&"fd".into(), &"pr".into()));
    assert!(out.join("samples.h5").is_file());
}

#[test]
fn no_message_names_a_temporary_file() {
    let root = folder();
    let temporary = root.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let a = pictures(root.path(), "a", &[3], 0);
    for name in ["c0/000.png", "c0/001.png"] {
        std::fs::write(a.join(name), "no image").unwrap();
    }
    let mut command = score(&a, &a, &[]);
    command.env("TMPDIR", &temporary);
    let (error, table) = texts(command, 2);
    assert!(error.contains("holds one image") && error.contains("2 bad images skipped"), "{error}");
    assert!(!error.contains("temporary") && !table.contains("temporary"), "{error}{table}");
}

#[test]
fn incomplete_files_of_either_kind_say_what_they_are() {
    let root = folder();
    let a = pictures(root.path(), "a", &[4], 0);
    let path = |name: &str| root.path().join(name);
    // Journals, as far as their first bytes.
    std::fs::write(path("tokens.h5.partial"), b"VARTOK1\n").unwrap();
    fails_with(score(&a, &path("tokens.h5"), &[]), &["tokens.h5", "encod"]);
    std::fs::write(path("features.h5.partial"), b"VARFEA2\n").unwrap();
    let next = "Run the same command to resume the extraction.";
    fails_with(score(&a, &path("features.h5"), &[]), &["features.h5", "incomplete", next]);
    fails_with(score(&a, &path("missing.h5"), &[]), &["missing.h5", "no such file", "features or tokens"]);
    // Files that are not marked as complete.
    for (name, set, words) in
        [("f.h5", "features", "not a complete file of features"), ("t.h5", "train", "encode it again")]
    {
        let file = hdf5::File::create(path(name)).unwrap();
        file.new_attr::<u32>().create("format_version").unwrap().write_scalar(&1_u32).unwrap();
        file.create_group(set).unwrap();
        file.close().unwrap();
        fails_with(score(&a, &path(name), &[]), &[name, words]);
    }
    // Features where images are expected.
    let mut stats = program();
    stats.args(["stats", "--network", "colour-grid", "--quiet", "--source"]).arg(&a);
    stats.arg("--out").arg(path("a.h5")).assert().success();
    let mut again = program();
    again.args(["stats", "--network", "colour-grid", "--source"]).arg(path("a.h5"));
    again.arg("--out").arg(path("b.h5"));
    fails_with(again, &["a.h5", "file of features"]);
}

#[test]
fn a_folder_that_is_gone_is_refused_with_what_is_kept_of_it() {
    let root = folder();
    let (a, b) = (pictures(root.path(), "a", &[8], 0), pictures(root.path(), "b", &[9], 50_000));
    let (out, aside) = (root.path().join("out"), root.path().join("aside"));
    let again = || score(&a, &b, &["--out", out.to_str().unwrap()]);
    again().arg("--quiet").assert().success();
    for (set, count, file) in [(&a, "8 of its 8", "samples.h5"), (&b, "9 of its 9", "reference-")] {
        std::fs::rename(set, &aside).unwrap();
        fails_with(again(), &[set.to_str().unwrap(), count, file, "restore it and run the same command"]);
        // Of images that are gone from the folder too.
        std::fs::create_dir(set).unwrap();
        fails_with(again(), &["holds no images", count]);
        std::fs::remove_dir(set).unwrap();
        std::fs::rename(&aside, set).unwrap();
    }
    again().arg("--quiet").assert().success();
    // Nothing is said where nothing was done.
    std::fs::rename(&a, &aside).unwrap();
    let (error, _) = texts(score(&a, &b, &["--quiet"]), 2);
    assert!(!error.contains("restore"), "{error}");
}

#[test]
fn settings_without_effect_are_said_once() {
    let root = folder();
    let a = pictures(root.path(), "a", &[20], 0);
    let h5: PathBuf = root.path().join("a.h5");
    let mut stats = program();
    stats.args(["stats", "--network", "colour-grid", "--limit", "50", "--source"]).arg(&a);
    stats.arg("--out").arg(&h5);
    let (said, _) = texts(stats, 0);
    assert!(said.contains("--limit 50 has no effect") && said.contains("has 20 images"), "{said}");
    let said = |reference: &Path, more: &[&str]| texts(score(&a, reference, more), 0).0;
    for (more, words) in [
        (&["--weights", "w.pth"][..], "--weights has no effect: network colour-grid has no weights"),
        (&["--limit", "21"], "--limit 21 has no effect"),
        (&["--reference-limit", "30"], "--reference-limit 30 has no effect"),
        (
            &["--bootstrap", "3", "--metrics", "fd,kid,is"],
            "--bootstrap has no effect: there are no intervals for kid, is",
        ),
    ] {
        let found = said(&a, more);
        assert_eq!(found.matches(words).count(), 1, "{words}: {found}");
    }
    assert!(!said(&a, &["--limit", "20", "--bootstrap", "3", "--metrics", "fd"]).contains("no effect"));
    let cache = root.path().join("cache");
    let found = said(&h5, &["--reference-cache", cache.to_str().unwrap()]);
    assert!(found.contains("--reference-cache has no effect"), "{found}");
    let (found, _) = texts(score(&h5, &h5, &["--batch", "4"]), 0);
    assert!(found.contains("--network, --batch have no effect: both sets are features"), "{found}");
    let npz = root.path().join("s.npz");
    statistics(&npz, &[("", Array2::eye(WIDTHS.0))], None);
    let found = said(&npz, &["--reference-split", "val", "--reference-limit", "3"]);
    assert!(found.contains("--reference-limit, --reference-split have no effect"), "{found}");
}

#[test]
fn json_and_quiet_together_give_the_result_alone_and_no_warning_is_printed_twice() {
    let root = folder();
    let a = pictures(root.path(), "a", &[20], 0);
    let (said, out) = texts(score(&a, &a, &["--json", "--quiet"]), 0);
    assert_eq!((said.as_str(), out.lines().count()), ("", 1));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["event"], "done");
    let (said, out) = texts(score(&a, &a, &[]), 0);
    for warning in json["warnings"].as_array().unwrap() {
        let line = format!(
            "| {} | {} | {} |",
            warning["code"].as_str().unwrap(),
            warning["side"].as_str().unwrap(),
            warning["message"].as_str().unwrap()
        );
        assert_eq!(out.matches(&line).count(), 1, "{line}\n{out}");
        assert!(!said.contains(warning["code"].as_str().unwrap()), "{said}");
    }
    let mut stats = program();
    stats.args(["stats", "--network", "colour-grid", "--json", "--quiet", "--source"]).arg(&a);
    stats.arg("--out").arg(root.path().join("a.h5"));
    let (said, out) = texts(stats, 0);
    assert_eq!((said.as_str(), out.lines().count()), ("", 1));
}

#[test]
fn a_nan_in_the_weights_is_refused_by_file_and_tensor() {
    let root = folder();
    let path = root.path().join("w.safetensors");
    let tensors = BTreeMap::from([("conv.weight".to_owned(), Tensor::from_slice(&[1.0_f32, f32::NAN]))]);
    safetensors::write(&path, &tensors, &BTreeMap::new()).unwrap();
    let mut file = WeightsFile::open(&path).unwrap();
    let message = file.take("conv.weight", &[2]).unwrap_err().to_string();
    assert!(message.contains("w.safetensors") && message.contains("conv.weight"), "{message}");
    assert!(message.contains("1 of 2 values are NaN"), "{message}");
}
