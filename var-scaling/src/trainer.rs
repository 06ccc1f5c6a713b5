//! Settings of the trainings of a sweep, as types of var-train.

use std::collections::BTreeMap;

use var_train::settings::{ModelRun, TokenizerRun};

use crate::error::{Error, Result};
use crate::ladder::Size;

/// The settings of the run `name` of `size`: the preset `preset`, changed by `set`.
///
/// # Errors
/// Names the run and the first setting that is unknown or out of range.
pub(crate) fn model(
    name: &str,
    preset: &str,
    size: &Size,
    set: &BTreeMap<String, String>,
) -> Result<ModelRun> {
    let size = [("depth", size.depth), ("width", size.width), ("heads", size.heads)];
    let size = size.map(|(key, value)| format!("model.{key}={value}"));
    let set = size.into_iter().chain(assignments(set));
    ModelRun::preset(preset, set).map_err(|e| Error::config(format!("{name}: {e}")))
}

/// The settings of the tokenizer: the preset `preset`, changed by `set`.
///
/// # Errors
/// Names the first setting that is unknown or out of range.
pub(crate) fn tokenizer(preset: &str, set: &BTreeMap<String, String>) -> Result<TokenizerRun> {
    TokenizerRun::preset(preset, assignments(set)).map_err(|e| Error::config(format!("tokenizer: {e}")))
}

/// `key=value` for each setting.
pub(crate) fn assignments(set: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    set.iter().map(|(key, value)| format!("{key}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_refused_with_the_training_and_the_setting() {
        let plan = crate::plan::SweepPlan::new(&crate::request::SweepRequest::default()).unwrap();
        let mut run = plan.runs[0].clone();
        let found = |run: &crate::request::PlannedRun| model(&run.name, &run.preset, &run.size, &run.set);
        assert_eq!(found(&run).unwrap().training.steps, run.steps);
        run.set.insert("nonsense".into(), "3".into());
        let message = found(&run).unwrap_err().to_string();
        assert!(message.starts_with("1x32: ") && message.contains("unknown key 'nonsense'"), "{message}");
        let set = BTreeMap::from([("channels".to_owned(), "wide".to_owned())]);
        let message = tokenizer("nano", &set).unwrap_err().to_string();
        assert!(message.starts_with("tokenizer: ") && message.contains("wide"), "{message}");
        assert!(tokenizer("nanno", &BTreeMap::new()).unwrap_err().to_string().contains("nano"));
    }
}
