//! Inception Scores in blocks, KID over whole sets, and figures of files with damage in them.

use std::path::Path;

use serde_json::Value;
use var_eval::features::network::Identity;
use var_eval::features::store::{DIGEST, FeatureFile, FeatureWriter, Rows, StoreInfo};
use var_eval::inputs::pixels::PixelRule;
use var_eval::score::{Against, Request, score};
use var_eval::{Metric, Quantity, ScoreReport};

const CLASSES: usize = 10;

/// Features of `count` images at `path`, of which image i has class `class(i)`, by its label (where `labelled`)
/// and by what the network says.
fn features(path: &Path, count: usize, labelled: bool, class: &dyn Fn(usize) -> usize) -> FeatureFile {
    let names = if labelled { CLASSES } else { 1 };
    let info = StoreInfo {
        network: Identity {
            network: "made-up".into(),
            weights_sha256: "0".repeat(64),
            preprocessing: "none".into(),
            width: 2,
            classes: CLASSES,
            spatial: 0,
        },
        source: path.display().to_string(),
        source_sha256: "1".repeat(64),
        pixels: PixelRule::Stored,
        asked: count as u64,
        class_names: (0..names).map(|name| format!("c{name}")).collect(),
    };
    let noise = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / 1009.0;
    let rows = Rows {
        features: (0..2 * count).map(noise).collect(),
        logits: (0..count)
            .flat_map(|i| (0..CLASSES).map(move |c| (i, c)))
            .map(|(i, c)| if c == class(i) { 8.0 } else { 0.0 })
            .collect(),
        spatial: Vec::new(),
        labels: (0..count).map(|i| if labelled { class(i) as u32 } else { 0 }).collect(),
        indices: (0..count as u32).collect(),
        sizes: vec![8; 2 * count],
        digests: (0..count).flat_map(|i| (i as u128).to_le_bytes()).collect(),
        traits: vec![0; count],
    };
    assert_eq!(rows.digests.len(), DIGEST * count);
    let mut writer = FeatureWriter::create(path, info).unwrap();
    writer.append(&rows, count as u64, &[]).unwrap();
    writer.finish().unwrap();
    FeatureFile::open(path).unwrap()
}

fn scored(count: usize, labelled: bool, metrics: &[Metric], class: &dyn Fn(usize) -> usize) -> ScoreReport {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.h5");
    let samples = features(&path, count, labelled, class);
    let file = FeatureFile::open(&path).unwrap();
    let reference = Against::Features(&file);
    score(&samples, reference, &Request { metrics: metrics.to_vec(), ..Request::default() }).unwrap()
}

fn codes(report: &ScoreReport) -> Vec<String> {
    report.warnings.iter().map(|warning| warning.code.to_string()).collect()
}

#[test]
fn ordered_rows_are_warned_of_by_labels_and_without_labels_by_predicted_classes() {
    let (ordered, in_turn) = (|i: usize| i / 1000, |i: usize| i % CLASSES);
    let is = [Metric::InceptionScore];
    for labelled in [true, false] {
        let report = scored(10_000, labelled, &is, &ordered);
        assert!(codes(&report).contains(&"ordered-classes".to_owned()), "{:?}", codes(&report));
        let word = if labelled { "labels" } else { "predicts" };
        assert!(report.warnings.iter().any(|warning| warning.message.contains(word)));
        // The score of blocks is that of five classes each: half of the shuffled one.
        let value = |quantity| report.value(quantity).unwrap();
        assert!(
            value(Quantity::IsAdm) < 0.6 * value(Quantity::Is),
            "{} {}",
            value(Quantity::IsAdm),
            value(Quantity::Is)
        );
        let report = scored(10_000, labelled, &is, &in_turn);
        assert!(!codes(&report).contains(&"ordered-classes".to_owned()));
    }
    assert!(!codes(&scored(10_000, true, &[Metric::Fd], &ordered)).contains(&"ordered-classes".to_owned()));
}

#[test]
fn a_short_last_block_is_warned_of() {
    let in_turn = |i: usize| i % CLASSES;
    let report = scored(5_200, true, &[Metric::InceptionScore], &in_turn);
    let found = report.warnings.iter().find(|w| w.code.to_string() == "short-last-block").unwrap();
    assert!(found.message.contains("200 of 5000"), "{}", found.message);
    let report = scored(5_000, true, &[Metric::InceptionScore], &in_turn);
    assert!(!codes(&report).contains(&"short-last-block".to_owned()));
}

#[test]
fn kid_over_whole_sets_has_no_deviation() {
    let in_turn = |i: usize| i % CLASSES;
    let whole = scored(60, true, &[Metric::Kid], &in_turn);
    assert_eq!(whole.metrics[0].deviation, None);
    assert!(!whole.markdown().contains('±'), "{}", whole.markdown());
    assert!(whole.metrics[0].convention.contains("60 images each"));
    let drawn = scored(1_200, true, &[Metric::Kid], &in_turn);
    assert!(drawn.metrics[0].deviation.unwrap() > 0.0);
}

#[test]
fn features_that_are_no_numbers_fail_their_metric_by_file_and_the_others_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.h5");
    features(&path, 40, true, &|i| i % CLASSES);
    let file = hdf5::File::open_rw(&path).unwrap();
    let mut logits = file.dataset("logits").unwrap().read_2d::<f32>().unwrap();
    logits[[7, 3]] = f32::NAN;
    file.dataset("logits").unwrap().write(&logits).unwrap();
    file.close().unwrap();
    let samples = FeatureFile::open(&path).unwrap();
    let file = FeatureFile::open(&path).unwrap();
    let reference = Against::Features(&file);
    let metrics = vec![Metric::InceptionScore, Metric::Fd];
    let report = score(&samples, reference, &Request { metrics, ..Request::default() }).unwrap();
    assert_eq!(report.metrics.len(), 1);
    assert_eq!((report.failed.len(), report.failed[0].metric.as_str()), (1, "is"));
    let reason = &report.failed[0].reason;
    assert!(
        reason.contains("damaged.h5") && reason.contains("/logits") && reason.contains("row 7"),
        "{reason}"
    );
    report.write(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("metrics.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert!(json["metrics"][0]["value"].is_f64() && json["failed"][0]["metric"] == "is", "{text}");
    assert!(report.markdown().contains("| is | "), "{}", report.markdown());
    let failure = report.failure().unwrap();
    assert_eq!(failure.exit_code(), 2);
    assert!(failure.to_string().starts_with("1 of 2 metrics failed: is: "), "{failure}");
}
