//! Notes on a plan: settings without effect.

use std::collections::BTreeSet;

use crate::images::SweepImages;
use crate::ladder;
use crate::preset::SweepPreset;
use crate::request::{PlannedRun, SweepRequest, TokenizerSource};
use crate::settings;

/// The notes on `request` with the preset called `name`, one line each.
pub(crate) fn of(
    request: &SweepRequest,
    name: &str,
    preset: &SweepPreset,
    tokenizer: &TokenizerSource,
    images: &SweepImages,
    runs: &[PlannedRun],
) -> Vec<String> {
    let mut notes = Vec::new();
    let keys: Vec<&str> =
        request.set.iter().filter_map(|text| text.split('=').next()).map(settings::plain).collect();
    for key in repeated(keys.iter().copied()) {
        notes.push(format!("setting {key}: given more than once; the last value counts"));
    }
    if keys.contains(&"epochs") && keys.contains(&"steps") {
        notes.push("setting epochs has no effect: the setting steps gives the length".into());
    }
    let list = request.sizes.clone().unwrap_or_else(|| preset.ladder.sizes.join(","));
    for size in repeated(ladder::names_in(&list).iter().map(String::as_str)) {
        notes.push(format!(
            "{size}: given more than once, trained once; several seeds train it several times"
        ));
    }
    let own_file = name.ends_with(".toml") || name.contains('/');
    let unused: Vec<&str> = preset
        .sizes
        .keys()
        .map(String::as_str)
        .filter(|size| own_file && !runs.iter().any(|run| run.size.name == **size))
        .collect();
    if !unused.is_empty() {
        notes.push(format!(
            "[size.{}] of the preset has no effect: the sweep does not have this size",
            unused.join("], [size.")
        ));
    }
    if !matches!(tokenizer, TokenizerSource::Trained { .. }) && !preset.tokenizer.set.is_empty() {
        notes.push("[tokenizer.set] of the preset has no effect: the tokenizer is not trained".into());
    }
    let beyond: Vec<String> =
        preset.sample.classes.iter().filter(|c| **c >= images.classes).map(usize::to_string).collect();
    if !beyond.is_empty() {
        notes.push(format!(
            "sample classes {} are skipped: the images have {} classes",
            beyond.join(", "),
            images.classes
        ));
    }
    notes
}

/// The words that occur more than once, each once.
fn repeated<'a>(words: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    words.filter(|word| !seen.insert(*word)).collect()
}

#[cfg(test)]
mod tests {
    use crate::plan::SweepPlan;
    use crate::request::SweepRequest;

    fn notes(request: SweepRequest) -> Vec<String> {
        SweepPlan::new(&request).unwrap().notes
    }

    #[test]
    fn settings_without_effect_have_a_note_each() {
        assert!(notes(SweepRequest::default()).is_empty());
        let set = ["epochs=2", "steps=5", "training.steps=6"].map(str::to_owned).to_vec();
        let found =
            notes(SweepRequest { set, sizes: Some("1x32,2x64,1x32".into()), ..SweepRequest::default() });
        assert_eq!(found.len(), 3, "{found:?}");
        for part in [
            "setting steps: given more than once",
            "setting epochs has no effect",
            "1x32: given more than once",
        ] {
            assert!(found.iter().any(|note| note.contains(part)), "{part}: {found:?}");
        }
    }

    #[test]
    fn parts_of_a_preset_file_that_nothing_uses_are_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("mine.toml");
        let text =
            include_str!("../presets/emoji-nano.toml").replace("top_k = 0", "top_k = 0\nclasses = [3, 40]");
        let text = format!("\u{feff}{text}\n[tokenizer.set]\nsteps = 3\n[size.d20]\nsteps = 4\n");
        std::fs::write(&path, text).unwrap();
        let found =
            notes(SweepRequest { preset: Some(path.display().to_string()), ..SweepRequest::default() });
        for part in ["[size.d20]", "[tokenizer.set]", "sample classes 40"] {
            assert!(found.iter().any(|note| note.contains(part)), "{part}: {found:?}");
        }
    }
}
