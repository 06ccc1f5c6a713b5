//! Scores of images by size: the reports of var-eval that `cargo xtask eval-fid` writes into the runs.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use var_eval::{Quantity, ScoreReport};

use crate::json_text::without_mark;
use crate::result_line::ResultLine;

/// Fréchet distances that compare: same network, reference, sampling and number of images.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageScores {
    /// Name of the distance, for example `FD-efficientnet-lite0`.
    pub name: String,
    /// Folder of the evaluation, named after the settings of sampling.
    pub settings: String,
    /// Number of samples, and number of images of the reference.
    pub counts: (Option<u64>, Option<u64>),
    /// Where the reference came from.
    pub reference: String,
    /// Distances by name of run.
    pub by_run: BTreeMap<String, f64>,
}

/// The scores of the runs in `folder` under one protocol: the one with the most sizes, then the newest. Also a sentence for
/// each report that is skipped.
pub(crate) fn read(folder: &Path, lines: &[ResultLine]) -> (Option<ImageScores>, Vec<String>) {
    let mut groups: BTreeMap<String, (ImageScores, SystemTime)> = BTreeMap::new();
    let mut skipped = Vec::new();
    for line in lines {
        let evaluations = std::fs::read_dir(folder.join(&line.run).join("evaluation"));
        for entry in evaluations.into_iter().flatten().flatten() {
            let settings = entry.file_name().to_string_lossy().into_owned();
            let (report, time) = match report(&entry.path().join("metrics.json")) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(why) => {
                    let place = line.run.join("evaluation").join(&settings).join("metrics.json");
                    skipped.push(format!("{}: skipped, {why}", place.display()));
                    continue;
                }
            };
            let Some(distance) = report.metrics.into_iter().find(|figure| figure.metric == Quantity::Fd)
            else {
                continue;
            };
            let (network, reference) = (report.protocol.network, report.protocol.reference);
            let key = format!("{settings} {:?} {network:?} {}", distance.n, reference.sha256);
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
    let best = groups.into_values().max_by_key(|(scores, time)| (scores.by_run.len(), *time));
    (best.map(|(scores, _)| scores), skipped)
}

/// The report at `path` and the time when it was written; `None` if there is none, the reason if it cannot be read.
fn report(path: &Path) -> Result<Option<(ScoreReport, SystemTime)>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    let time = path.metadata().and_then(|data| data.modified()).map_err(|e| e.to_string())?;
    let report = serde_json::from_str(without_mark(&text))
        .map_err(|e| format!("it is not a report of var-eval ({e}); score the samples again"))?;
    Ok(Some((report, time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report as var-eval writes it.
    const REPORT: &str = include_str!("../tests/data/metrics.json");

    #[test]
    fn scores_of_one_protocol_are_put_together_and_others_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let place = |run: &str, settings: &str| {
            let place = folder.path().join("runs").join(run).join("evaluation").join(settings);
            std::fs::create_dir_all(&place).unwrap();
            place.join("metrics.json")
        };
        let write = |run: &str, settings: &str, value: f64, reference: &str| {
            let mut report: ScoreReport = serde_json::from_str(REPORT).unwrap();
            report.metrics[0].value = value;
            report.protocol.reference.sha256 = reference.into();
            std::fs::write(place(run, settings), serde_json::to_string(&report).unwrap()).unwrap();
        };
        let lines = [ResultLine::example("a", 1), ResultLine::example("b", 2)];
        assert_eq!(read(folder.path(), &lines), (None, Vec::new()));
        write("a", "cfg1", 5.0, "r");
        write("a", "cfg2", 4.0, "r");
        write("b", "cfg2", 3.0, "r");
        write("b", "cfg1", 2.0, "another");
        std::fs::write(place("b", "cfg3"), "{torn").unwrap();
        let (found, skipped) = read(folder.path(), &lines);
        let found = found.unwrap();
        assert_eq!(
            (found.settings.as_str(), found.name.as_str(), found.counts),
            ("cfg2", "FD-colour-grid", (Some(12), Some(48)))
        );
        assert_eq!(found.reference, "val");
        assert_eq!(found.by_run, BTreeMap::from([("a".into(), 4.0), ("b".into(), 3.0)]));
        assert_eq!(skipped.len(), 1);
        let words = "runs/b/evaluation/cfg3/metrics.json: skipped, it is not a report of var-eval";
        assert!(skipped[0].starts_with(words), "{skipped:?}");
    }
}
