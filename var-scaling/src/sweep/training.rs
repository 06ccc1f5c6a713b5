//! Arguments of `var-train`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::request::PlannedRun;
use crate::trainer::assignments;

/// Size and settings of a run, as arguments of `var-train model`.
fn model_settings(run: &PlannedRun) -> Vec<String> {
    let mut arguments = Vec::new();
    for (flag, value) in [
        ("--preset", run.preset.clone()),
        ("--depth", run.size.depth.to_string()),
        ("--width", run.size.width.to_string()),
        ("--heads", run.size.heads.to_string()),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    arguments.extend(set_flags(&run.set));
    arguments
}

/// Settings of the tokenizer, as arguments of `var-train tokenizer`.
fn tokenizer_settings(preset: &str, set: &BTreeMap<String, String>) -> Vec<String> {
    let mut arguments = vec!["--preset".to_owned(), preset.to_owned()];
    arguments.extend(set_flags(set));
    arguments
}

fn set_flags(set: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    assignments(set).flat_map(|assignment| ["--set".to_owned(), assignment])
}

/// Arguments of `var-train model` for a run in `folder`.
pub(crate) fn model_arguments(
    run: &PlannedRun,
    tokens: &Path,
    tokenizer: &str,
    folder: &Path,
    place: &[String],
) -> Vec<String> {
    let tokens = tokens.display().to_string();
    let mut arguments = ["model", "--tokens", &tokens, "--tokenizer", tokenizer].map(str::to_owned).to_vec();
    arguments.extend(model_settings(run));
    in_folder(&mut arguments, folder, place);
    arguments
}

/// Arguments of `var-train tokenizer` for a run in `folder`.
pub(crate) fn tokenizer_arguments(
    data: &str,
    preset: &str,
    set: &BTreeMap<String, String>,
    folder: &Path,
    place: &[String],
) -> Vec<String> {
    let mut arguments = ["tokenizer", "--data", data].map(str::to_owned).to_vec();
    arguments.extend(tokenizer_settings(preset, set));
    in_folder(&mut arguments, folder, place);
    arguments
}

fn in_folder(arguments: &mut Vec<String>, folder: &Path, place: &[String]) {
    arguments.extend(["--out".to_owned(), folder.display().to_string()]);
    arguments.extend(place.iter().cloned());
    arguments.push("--json".into());
    if begun(folder) {
        arguments.push("--resume".into());
    }
}

/// Whether a run started in `folder`. A run that starts writes its configuration first.
pub(crate) fn begun(folder: &Path) -> bool {
    folder.join("config.toml").exists()
}
