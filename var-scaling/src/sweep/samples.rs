//! The images of the report: reconstructions of the tokenizer, and a sample grid of each size.

use std::path::Path;

use var_model::classes::by_number;

use crate::json_text::without_mark;
use crate::plan::SweepPlan;
use crate::request::PlannedRun;

/// Number of rows of a sample grid if the preset names no classes.
const ROWS: usize = 10;

/// Arguments of `var-model sample` for a run.
pub(crate) fn sample_arguments(
    plan: &SweepPlan,
    run: &PlannedRun,
    folder: &Path,
    out: &Path,
    place: &[String],
) -> Vec<String> {
    let sample = &plan.preset.sample;
    let mut arguments: Vec<String> = ["sample", "--run"].map(str::to_owned).to_vec();
    arguments.extend([folder.display().to_string(), "--out".into(), out.display().to_string()]);
    let classes = classes(&sample.classes, class_count(folder));
    if !classes.is_empty() {
        arguments.extend(["--classes".into(), classes.join(",")]);
    }
    for (flag, value) in [
        ("--per-class", sample.each.to_string()),
        ("--cfg", sample.cfg.to_string()),
        ("--top-k", sample.top_k.to_string()),
        ("--top-p", sample.top_p.to_string()),
        ("--seed", run.seed.to_string()),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    arguments.push("--quiet".into());
    arguments.extend(place.iter().cloned());
    arguments
}

/// Arguments of `var-tokenizer reconstruct`.
pub(crate) fn reconstruct_arguments(
    data: &str,
    tokenizer: &str,
    out: &Path,
    place: &[String],
) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["reconstruct", "--data", data, "--tokenizer", tokenizer, "--json", "--out"]
            .map(str::to_owned)
            .to_vec();
    arguments.push(out.display().to_string());
    arguments.extend(place.iter().cloned());
    arguments
}

/// Number of classes of the model of a run, from the names in its folder.
fn class_count(folder: &Path) -> Option<usize> {
    let text = std::fs::read_to_string(folder.join("classes.json")).ok()?;
    Some(serde_json::from_str::<Vec<String>>(without_mark(&text)).ok()?.len())
}

/// The classes of the rows, by number: the wanted classes that exist, else the first ones.
fn classes(wanted: &[usize], known: Option<usize>) -> Vec<String> {
    let all = known.unwrap_or(if wanted.is_empty() { 0 } else { usize::MAX });
    let chosen: Vec<usize> = wanted.iter().copied().filter(|&c| c < all).collect();
    let chosen = if chosen.is_empty() && known.is_some() { (0..all.min(ROWS)).collect() } else { chosen };
    chosen.into_iter().map(by_number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_classes_that_the_model_has() {
        assert_eq!(classes(&[], Some(3)), ["id:0", "id:1", "id:2"]);
        assert_eq!(classes(&[], Some(1000)).len(), ROWS);
        assert_eq!(classes(&[22, 980], Some(100)), ["id:22"]);
        assert_eq!(classes(&[22], Some(3)), ["id:0", "id:1", "id:2"]);
        assert_eq!(classes(&[22], None), ["id:22"]);
        assert!(classes(&[], None).is_empty());
    }
}
