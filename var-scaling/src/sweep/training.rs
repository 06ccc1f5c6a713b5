//! What `var-train` is told, and asking it beforehand whether that is in order.

use std::collections::BTreeMap;
use std::path::Path;

use crate::request::Run;

/// Size and settings of a run, as `var-train model` takes them.
pub fn model_settings(run: &Run) -> Vec<String> {
    let mut arguments = Vec::new();
    for (flag, value) in [
        ("--preset", run.preset.clone()),
        ("--depth", run.size.depth.to_string()),
        ("--width", run.size.width.to_string()),
        ("--heads", run.size.heads.to_string()),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    arguments.extend(assignments(&run.set));
    arguments
}

/// Settings of the tokenizer, as `var-train tokenizer` takes them.
pub fn tokenizer_settings(preset: &str, set: &BTreeMap<String, String>) -> Vec<String> {
    let mut arguments = vec!["--preset".to_owned(), preset.to_owned()];
    arguments.extend(assignments(set));
    arguments
}

fn assignments(set: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")])
}

/// Arguments of `var-train model` for a run in `folder`.
pub fn model_arguments(
    run: &Run,
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
pub fn tokenizer_arguments(
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

/// Whether a run began in `folder`: `var-train` writes its configuration when all else is in order.
pub fn begun(folder: &Path) -> bool {
    folder.join("config.toml").exists()
}

/// Runs whose settings are worth a check, of those that are not done: the first seed of each size, as the
/// others differ in nothing else.
pub fn to_check(runs: &[Run], done: impl Fn(&Run) -> bool) -> Vec<&Run> {
    let mut chosen: Vec<&Run> = Vec::new();
    for run in runs.iter().filter(|run| !done(run)) {
        if !chosen.iter().any(|c| c.size == run.size) {
            chosen.push(run);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::request::Request;

    #[test]
    fn one_seed_of_each_size_that_is_not_done_is_checked() {
        let request = Request { sizes: Some("1x32,2x64,3x96".into()), seeds: 3, ..Request::default() };
        let plan = Plan::new(&request).unwrap();
        let chosen = to_check(&plan.runs, |run| run.name == "1x32-s0" || run.size.depth == 2);
        let names: Vec<&str> = chosen.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names, ["1x32-s1", "3x96-s0"]);
    }
}
