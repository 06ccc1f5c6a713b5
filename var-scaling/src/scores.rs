//! Scores of images by size, which `cargo xtask eval-fid` writes to the runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::json_text::without_mark;
use crate::result_line::ResultLine;

/// Comparable Fréchet distances: same network, reference, sampling and number of images.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageScores {
    /// Name of the distance, for example `FD-efficientnet-lite0`.
    pub name: String,
    /// Folder of the evaluation: it names the settings of sampling.
    pub settings: String,
    /// Images of samples and reference.
    pub counts: (Option<u64>, Option<u64>),
    /// Where the reference came from.
    pub reference: String,
    /// Distances by name of run.
    pub by_run: BTreeMap<String, f64>,
}

/// The part of `metrics.json` that is used here.
#[derive(Deserialize)]
struct MetricsFile {
    metrics: Vec<Entry>,
    protocol: Protocol,
}

#[derive(Deserialize)]
struct Entry {
    metric: String,
    name: String,
    value: f64,
    n: (Option<u64>, Option<u64>),
}

#[derive(Deserialize)]
struct Protocol {
    network: serde_json::Value,
    reference: Stamp,
}

#[derive(Deserialize)]
struct Stamp {
    source: PathBuf,
    sha256: String,
}

/// The scores of the runs in `folder` under one protocol: the one of most sizes, then the newest. Skips other files.
pub(crate) fn read(folder: &Path, lines: &[ResultLine]) -> Option<ImageScores> {
    let mut groups: BTreeMap<String, (ImageScores, std::time::SystemTime)> = BTreeMap::new();
    for line in lines {
        let evaluations = std::fs::read_dir(folder.join(&line.run).join("evaluation"));
        for entry in evaluations.into_iter().flatten().flatten() {
            let path = entry.path().join("metrics.json");
            let Some((found, time)) = file(&path) else { continue };
            let Some(distance) = found.metrics.into_iter().find(|entry| entry.metric == "fd") else {
                continue;
            };
            let Protocol { network, reference } = found.protocol;
            let settings = entry.file_name().to_string_lossy().into_owned();
            let key = format!("{settings} {:?} {network} {}", distance.n, reference.sha256);
            let scores = ImageScores {
                name: distance.name,
                settings,
                counts: distance.n,
                reference: reference.source.display().to_string(),
                by_run: BTreeMap::new(),
            };
            let (scores, newest) = groups.entry(key).or_insert((scores, time));
            scores.by_run.insert(line.name.clone(), distance.value);
            *newest = time.max(*newest);
        }
    }
    groups.into_values().max_by_key(|(scores, time)| (scores.by_run.len(), *time)).map(|(scores, _)| scores)
}

fn file(path: &Path) -> Option<(MetricsFile, std::time::SystemTime)> {
    let time = path.metadata().and_then(|data| data.modified()).ok()?;
    let found: MetricsFile = serde_json::from_str(without_mark(&std::fs::read_to_string(path).ok()?)).ok()?;
    Some((found, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> ResultLine {
        serde_json::from_value(serde_json::json!({
            "name": name, "depth": 1, "width": 32, "params": 1, "tokens": 10, "flops": 1e12,
            "val_loss_all": 5.0, "val_loss_last": 5.1, "val_err_all": 0.9, "val_err_last": 0.95,
            "seconds": 1.5, "run": format!("runs/{name}"),
        }))
        .unwrap()
    }

    #[test]
    fn scores_of_one_protocol_are_put_together_and_others_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |run: &str, settings: &str, value: f64, reference: &str| {
            let place = folder.path().join("runs").join(run).join("evaluation").join(settings);
            std::fs::create_dir_all(&place).unwrap();
            let text = serde_json::json!({
                "metrics": [{"metric": "fd", "name": "FD-x", "value": value, "n": [10, 20]}],
                "protocol": {"network": {"network": "x"}, "reference": {"source": "val", "sha256": reference}},
            });
            std::fs::write(place.join("metrics.json"), text.to_string()).unwrap();
        };
        let lines = [line("a"), line("b")];
        assert_eq!(read(folder.path(), &lines), None);
        write("a", "cfg1", 5.0, "r");
        write("a", "cfg2", 4.0, "r");
        write("b", "cfg2", 3.0, "r");
        write("b", "cfg1", 2.0, "another");
        std::fs::create_dir_all(folder.path().join("runs/b/evaluation/cfg3")).unwrap();
        std::fs::write(folder.path().join("runs/b/evaluation/cfg3/metrics.json"), "{torn").unwrap();
        let found = read(folder.path(), &lines).unwrap();
        assert_eq!(
            (found.settings.as_str(), found.name.as_str(), found.counts),
            ("cfg2", "FD-x", (Some(10), Some(20)))
        );
        assert_eq!(found.by_run, BTreeMap::from([("a".into(), 4.0), ("b".into(), 3.0)]));
    }
}
