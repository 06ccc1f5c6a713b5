//! From the layers to the settings of a run.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;

use super::layers::{Given, from_table, overlay, set, to_table};
use super::model::ModelRun;
use super::presets::{self, Preset};
use super::tokenizer::TokenizerRun;
use crate::error::{Error, Result};

/// The layers over the defaults. Each one overrides those before it.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Name of a preset: `published` or `nano`.
    pub preset: String,
    /// A TOML file with settings, or the `config.toml` of another run.
    pub file: Option<PathBuf>,
    /// Single settings, `key=value` or `section.key=value`.
    pub set: Vec<String>,
}

impl Layers {
    /// A preset with single settings over it.
    pub fn new<S: Into<String>>(preset: &str, set: impl IntoIterator<Item = S>) -> Self {
        Self { preset: preset.into(), file: None, set: set.into_iter().map(Into::into).collect() }
    }
}

/// The settings of a run, and what the layers say about them.
#[derive(Debug, Clone)]
pub struct Resolved<T> {
    /// The settings, within their ranges.
    pub settings: T,
    /// The settings that come from the file or from single assignments.
    pub given: Given,
    /// Whether the file is the `config.toml` of another run. Only its settings count.
    pub from_run: bool,
}

impl ModelRun {
    /// The settings of a preset, with single settings (`key=value`) over it.
    ///
    /// # Errors
    /// As [`ModelRun::resolve`].
    pub fn preset<S: Into<String>>(preset: &str, set: impl IntoIterator<Item = S>) -> Result<Self> {
        Ok(Self::resolve(&Layers::new(preset, set))?.settings)
    }

    /// The settings that `layers` give. The published preset follows the depth.
    ///
    /// # Errors
    /// Names an unknown preset or key with the nearest known one, a value of another type, and the first setting that
    /// is out of range; or the file cannot be read.
    pub fn resolve(layers: &Layers) -> Result<Resolved<Self>> {
        // The depth may come from the last layer, and the published preset depends on it.
        let mut found: Resolved<Self> = resolve(layers, "model", &presets::MODEL, &Table::new())?;
        if layers.preset == presets::PUBLISHED {
            let depth = found.settings.model.depth;
            found = resolve(layers, "model", &presets::MODEL, &presets::published_at(depth)?)?;
            let training = &mut found.settings.training;
            if training.learning_rate == 0.0 {
                training.learning_rate = presets::published_rate(depth, training.batch);
            }
        }
        found.settings.validate()?;
        found.settings.follow_progressive();
        Ok(found)
    }
}

impl TokenizerRun {
    /// The settings of a preset, with single settings (`key=value`) over it.
    ///
    /// # Errors
    /// As [`ModelRun::resolve`].
    pub fn preset<S: Into<String>>(preset: &str, set: impl IntoIterator<Item = S>) -> Result<Self> {
        Ok(Self::resolve(&Layers::new(preset, set))?.settings)
    }

    /// The settings that `layers` give.
    ///
    /// # Errors
    /// As [`ModelRun::resolve`].
    pub fn resolve(layers: &Layers) -> Result<Resolved<Self>> {
        let found: Resolved<Self> = resolve(layers, "tokenizer", &presets::TOKENIZER, &Table::new())?;
        found.settings.validate()?;
        Ok(found)
    }
}

/// Puts the layers over the defaults of `T`, with `changes` right over the preset. `kind` is `model` or `tokenizer`.
fn resolve<T: Serialize + DeserializeOwned + Default>(
    layers: &Layers,
    kind: &str,
    known: &[Preset],
    changes: &Table,
) -> Result<Resolved<T>> {
    let mut given = Given::default();
    let mut from_run = false;
    let mut table = to_table(&T::default())?;
    overlay(&mut table, &presets::find(known, &layers.preset)?, &layers.preset)?;
    overlay(&mut table, changes, &layers.preset)?;
    if let Some(path) = &layers.file {
        let mut changes = read_toml(path)?;
        from_run = changes.contains_key("settings") && changes.contains_key("kind");
        if from_run {
            changes = settings_of_run(path, changes, kind)?;
        } else {
            given.add(&changes);
        }
        overlay(&mut table, &changes, &path.display().to_string())?;
        from_table::<T>(&table).map_err(|e| Error::file(path, e.to_string()))?;
    }
    for assignment in &layers.set {
        set(&mut table, assignment, &mut given)?;
    }
    Ok(Resolved { settings: from_table(&table)?, given, from_run })
}

/// Reads a TOML file, with or without a byte-order mark.
pub(crate) fn read_toml(path: &Path) -> Result<Table> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::file(path, "is not text in UTF-8; save the file in UTF-8"))?;
    text.trim_start_matches('\u{feff}').parse().map_err(|e: toml::de::Error| {
        Error::file(path, e.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

/// Takes the settings from the `config.toml` of a run of the same kind.
fn settings_of_run(path: &Path, mut tables: Table, kind: &str) -> Result<Table> {
    let found = tables.get("kind").and_then(toml::Value::as_str).unwrap_or_default();
    if found != kind {
        return Err(Error::file(
            path,
            format!("holds settings for `var-train {found}`, not for `var-train {kind}`; give another file"),
        ));
    }
    match tables.remove("settings") {
        Some(toml::Value::Table(settings)) => Ok(settings),
        _ => Err(Error::file(
            path,
            "is the config.toml of a run, but its settings are not a table; restore the file",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_with_single_settings_gives_the_settings_of_the_program() {
        let run = ModelRun::preset("nano", ["depth=3", "training.steps=7", "progressive=0.8"]).unwrap();
        assert_eq!((run.model.depth, run.training.steps, run.training.batch), (3, 7, 32));
        assert_eq!(run.training.shape.to_string(), "lin0.8");
        let deep = ModelRun::preset("published", ["depth=30"]).unwrap();
        assert_eq!((deep.training.batch, deep.training.epochs), (1024, 350.0));
        assert!((deep.training.learning_rate - 3.2e-4).abs() < 1e-12);
        let tokenizer = TokenizerRun::preset("published", ["vocabulary=1024"]).unwrap();
        assert_eq!((tokenizer.tokenizer.vocabulary, tokenizer.training.steps), (1024, 0));
    }

    #[test]
    fn unknown_names_and_values_out_of_range_are_refused_by_name() {
        for (preset, set, part) in [
            ("nanno", "steps=1", "unknown preset 'nanno'"),
            ("nano", "stepps=1", "did you mean 'training.steps'"),
            ("nano", "steps", "write key=value"),
            ("nano", "label_smoothing=7", "model.label_smoothing"),
            ("nano", "depth=two", "two"),
        ] {
            let message = ModelRun::preset(preset, [set]).unwrap_err().to_string();
            assert!(message.contains(part), "'{part}' is not in: {message}");
        }
    }
}
