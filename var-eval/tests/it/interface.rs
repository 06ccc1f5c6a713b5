//! The interface for programs, and the examples that use it, against the command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use var_eval::features::registry::{NetworkChoice, NetworkName};
use var_eval::inputs::set::Selection;
use var_eval::{Metric, PairReport, Quantity, Reconstruction, Reference, Score, ScoreReport};

use super::score::{picture, pictures, program, report, score};

fn colours() -> NetworkChoice {
    NetworkChoice { name: NetworkName::ColourGrid, ..NetworkChoice::default() }
}

/// An example that cargo built next to this test.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples").join(name)
}

/// Two flat folders with images of the same names.
fn flat(root: &Path) -> (PathBuf, PathBuf) {
    let folders = ["reconstructions", "originals"].map(|name| root.join(name));
    for (seed, folder) in (0..).zip(&folders) {
        std::fs::create_dir(folder).unwrap();
        for number in 0..4 {
            picture(seed + 10 * number, 16).save(folder.join(format!("{number}.png"))).unwrap();
        }
    }
    let [reconstructions, originals] = folders;
    (reconstructions, originals)
}

#[test]
fn scores_are_those_of_the_command_line_for_images_features_and_statistics() {
    let root = tempfile::tempdir().unwrap();
    let samples = pictures(root.path(), "samples", &[20, 20], 0);
    let images = pictures(root.path(), "reference", &[20, 20], 50_000);
    let stats = |name: &str| {
        let out = root.path().join(name);
        let mut command = program();
        command.args(["stats", "--network", "colour-grid", "--quiet", "--source"]).arg(&images);
        command.arg("--out").arg(&out).assert().success();
        out
    };
    for place in [images.clone(), stats("reference.h5"), stats("reference.npz")] {
        let reference = Reference::open(&place).unwrap();
        let found = Score::of(&samples, &reference).with_network(colours()).run().unwrap();
        let printed = report(&samples, &place, &[]);
        assert_eq!(serde_json::to_value(&found).unwrap(), printed, "{}", place.display());
        assert!(found.value(Quantity::Fd).unwrap() > 1.0);
        assert_eq!(found.value(Quantity::Precision), None);
    }
}

#[test]
fn metrics_selection_and_kept_features_are_as_asked() {
    let root = tempfile::tempdir().unwrap();
    let samples = pictures(root.path(), "samples", &[20, 20], 0);
    let reference = Reference::open(pictures(root.path(), "reference", &[20, 20], 50_000)).unwrap();
    let kept = root.path().join("kept");
    let score = Score::of(&samples, &reference)
        .with_network(colours())
        .with_metrics([Metric::PrecisionRecall, Metric::Kid])
        .with_selection(Selection { classes: vec!["c0".into()], ..Selection::default() })
        .with_features_in(&kept);
    let found = score.run().unwrap();
    let quantities: Vec<Quantity> = found.metrics.iter().map(|figure| figure.metric).collect();
    assert_eq!(quantities, [Quantity::Precision, Quantity::Recall, Quantity::Kid]);
    assert_eq!(found.protocol.samples.n, Some(20));
    assert!(kept.join("samples.h5").is_file());
    // The features are enough: the network does not run again.
    let again = Score::of(kept.join("samples.h5"), &reference)
        .with_network(colours())
        .with_metrics([Metric::PrecisionRecall, Metric::Kid])
        .run()
        .unwrap();
    assert_eq!(again.metrics, found.metrics);
}

/// A text without digits: serde_json may read a number with another last digit.
fn outline(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

#[test]
fn reports_are_read_back_as_they_were_written() {
    let root = tempfile::tempdir().unwrap();
    let samples = pictures(root.path(), "samples", &[12], 0);
    let reference = pictures(root.path(), "reference", &[3], 50_000);
    let out = root.path().join("out");
    score(&samples, &reference, &["--metrics", "fd,kid,per-class", "--bootstrap", "3", "--quiet", "--out"])
        .arg(&out)
        .assert()
        .success();
    let text = std::fs::read_to_string(out.join("metrics.json")).unwrap();
    let found: ScoreReport = serde_json::from_str(&text).unwrap();
    assert_eq!(outline(&serde_json::to_string_pretty(&found).unwrap()), outline(text.trim_end()));
    let begin = "{\n  \"event\": \"done\",\n  \"metrics\": [\n    {\n      \"metric\": \"fd\",\n";
    assert!(text.starts_with(begin), "{text}");
    // Identical pairs have an infinite PSNR, which JSON cannot hold.
    let found = Reconstruction::of(&samples, &samples).with_distance(colours()).run().unwrap();
    let text = serde_json::to_string(&found).unwrap();
    assert!(text.starts_with("{\"n\":12,\"psnr_db\":\"inf\",") && found.psnr_db.is_infinite(), "{text}");
    let back: PairReport = serde_json::from_str(&text).unwrap();
    assert_eq!((back.n, back.psnr_db, &back.protocol), (found.n, found.psnr_db, &found.protocol));
    assert_eq!(outline(&serde_json::to_string(&back).unwrap()), outline(&text));
}

#[test]
fn reconstructions_are_scored_as_by_the_command_line() {
    let root = tempfile::tempdir().unwrap();
    let (samples, originals) = flat(root.path());
    let mut command = program();
    command.args(["reconstruction", "--json", "--fd", "--network", "colour-grid", "--samples"]).arg(&samples);
    let printed = command.arg("--reference").arg(&originals).output().unwrap().stdout;
    let found = Reconstruction::of(&samples, &originals).with_distance(colours()).run().unwrap();
    assert_eq!(serde_json::to_string(&found).unwrap(), String::from_utf8(printed).unwrap().trim_end());
    assert_eq!(found.n, 4);
    assert!(found.sets.unwrap().metrics[0].name.starts_with("rFD-"));
}

#[test]
fn what_cannot_be_scored_is_an_error_and_no_panic() {
    let root = tempfile::tempdir().unwrap();
    let images = pictures(root.path(), "images", &[4], 0);
    let message = Reference::open(root.path().join("nowhere")).unwrap_err().to_string();
    assert!(message.contains("nowhere"), "{message}");
    let reference = Reference::open(&images).unwrap();
    let score = Score::of(&images, &reference).with_network(colours());
    let message = score.clone().with_batch(0).run().unwrap_err().to_string();
    assert!(message.contains("batch"), "{message}");
    let message = score.with_metrics([Metric::Accuracy]).run().unwrap_err().to_string();
    assert!(message.contains("metric accuracy needs"), "{message}");
    let other = pictures(root.path(), "other", &[3], 0);
    let message = Reconstruction::of(&other, &images).run().unwrap_err().to_string();
    assert!(message.contains("c0/003"), "{message}");
}

#[test]
fn the_examples_run() {
    let root = tempfile::tempdir().unwrap();
    let (samples, originals) = flat(root.path());
    let run = |name: &str, more: &[&str]| {
        let output = Command::new(example(name)).arg(&samples).arg(&originals).args(more).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run("score", &["colour-grid"]);
    assert!(text.contains("Recall Some(") && text.contains("| FD-colour-grid |"), "{text}");
    let text = run("reconstruction", &[]);
    assert!(text.starts_with("PSNR ") && text.contains(", 4 pairs"), "{text}");
}
