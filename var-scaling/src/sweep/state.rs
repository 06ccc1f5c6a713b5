//! The record of a sweep folder, `sweep.json`, and a lock against a second sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use var_tokenizer::files::{lock, make_folder, write_atomically};
use var_tokenizer::locks::Lock;

use super::evidence;
use super::finished::FinishedStages;
use super::training::begun;
use crate::error::{Error, Remedy, Result};
use crate::json_text::without_mark;
use crate::machine::SweepMachine;

/// `sweep.json`: the request and the finished stages. Finished sizes are in `results.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SweepRecord {
    /// Version of this format.
    pub version: u32,
    /// Name of the preset.
    pub preset: String,
    /// Seconds since 1970 at the first start.
    pub started: u64,
    /// The machine of the last call.
    pub machine: SweepMachine,
    /// Settings that all runs share; empty before the first stage starts.
    #[serde(default)]
    pub shared: BTreeMap<String, String>,
    /// Names of the runs that the last call planned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<String>,
    /// Settings of every size that was started, by name.
    #[serde(default)]
    pub runs: BTreeMap<String, BTreeMap<String, String>>,
    /// Finished stages.
    #[serde(default)]
    pub stages: FinishedStages,
    /// Trainings that have saved a checkpoint, finished ones included.
    #[serde(default)]
    pub saved: BTreeSet<String>,
}

/// A sweep folder that only this process may write to.
#[derive(Debug)]
pub(crate) struct SweepFolder {
    path: PathBuf,
    /// The content of `sweep.json`.
    pub record: SweepRecord,
    /// Held while the folder is open.
    _lock: Lock,
}

impl SweepFolder {
    /// Opens or creates the folder, takes its lock and reads `sweep.json`.
    ///
    /// # Errors
    /// When another sweep runs in it, its `sweep.json` is missing or damaged, or a file cannot be written.
    pub(crate) fn open(path: &Path, preset: &str) -> Result<Self> {
        evidence::no_images(path)?;
        make_folder(path)?;
        let lock_path = path.join("sweep.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| Error::io(&lock_path, e))?;
        let busy = "another sweep is running in this folder; wait for it, or choose another folder";
        let lock = lock(&file, &lock_path, busy)?;
        let record = read_record(path)?;
        if record.is_none() {
            evidence::without_record(path)?;
        }
        let record = record.unwrap_or_else(|| SweepRecord {
            version: 1,
            preset: preset.into(),
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            ..SweepRecord::default()
        });
        let mut folder = Self { path: path.to_owned(), record, _lock: lock };
        folder.record.machine = SweepMachine::here();
        folder.record.preset = preset.into();
        for part in ["runs", "samples", "plots", "logs"] {
            make_folder(&path.join(part))?;
        }
        folder.save()?;
        Ok(folder)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `sweep.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&self) -> Result<()> {
        let path = self.path.join("sweep.json");
        let text =
            serde_json::to_string_pretty(&self.record).map_err(|e| Error::file(&path, e.to_string()))?;
        Ok(write_atomically(&path, format!("{text}\n").as_bytes())?)
    }

    /// Remembers the shared settings, or compares them with those of the first start.
    ///
    /// # Errors
    /// When they differ.
    pub(crate) fn agree_shared(&mut self, settings: &BTreeMap<String, String>) -> Result<()> {
        if !self.record.stages.is_empty() || !self.record.runs.is_empty() {
            self.compare("the sweep", &self.record.shared, settings)?;
        }
        self.record.shared.clone_from(settings);
        self.save()
    }

    /// Compares the settings of a size with those of its first start. A size without a configuration never started, and
    /// may change.
    ///
    /// # Errors
    /// When they differ.
    pub(crate) fn check_run(&self, name: &str, settings: &BTreeMap<String, String>) -> Result<()> {
        match self.record.runs.get(name) {
            Some(old) if begun(&self.path.join("runs").join(name)) => self.compare(name, old, settings),
            _ => Ok(()),
        }
    }

    /// Remembers the settings of a size that is about to start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn begin_run(&mut self, name: &str, settings: &BTreeMap<String, String>) -> Result<()> {
        self.record.runs.insert(name.into(), settings.clone());
        self.save()
    }

    /// Remembers the runs of this call.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn plan(&mut self, names: Vec<String>) -> Result<()> {
        self.record.planned = names;
        self.save()
    }

    /// The finished stages.
    pub(crate) fn stages(&self) -> &FinishedStages {
        &self.record.stages
    }

    /// Remembers a stage that `finish` adds.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn finish_stage(&mut self, finish: impl FnOnce(&mut FinishedStages)) -> Result<()> {
        finish(&mut self.record.stages);
        self.save()
    }

    /// Remembers that a training has a checkpoint.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn note_saved(&mut self, name: &str) -> Result<()> {
        if self.record.saved.insert(name.into()) { self.save() } else { Ok(()) }
    }

    /// Whether `sweep.json` says that a training saved a checkpoint.
    pub(crate) fn has_saved(&self, name: &str) -> bool {
        self.record.saved.contains(name)
    }

    /// Forgets the run of this name, or `tokens`: it starts over.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn forget(&mut self, name: &str) -> Result<()> {
        self.record.runs.remove(name);
        self.record.saved.remove(name);
        if name == "tokens" {
            self.record.stages.tokens = None;
        }
        self.save()
    }

    fn compare(
        &self,
        what: &str,
        old: &BTreeMap<String, String>,
        new: &BTreeMap<String, String>,
    ) -> Result<()> {
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let text = |value: Option<&String>| value.map_or_else(|| "not set".to_owned(), Clone::clone);
        let changed: Vec<String> = keys
            .into_iter()
            .filter(|k| old.get(*k) != new.get(*k))
            .map(|k| format!("{k} {} → {}", text(old.get(k)), text(new.get(k))))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        Err(Error::cannot_resume(
            &self.path,
            format!(
                "cannot resume {what}: started with different settings ({}). Give the same settings",
                changed.join(", ")
            ),
            Remedy::NewSweep,
        ))
    }
}

/// Reads `sweep.json` of a folder; `None` if it is missing.
///
/// # Errors
/// When it is damaged.
pub(crate) fn read_record(folder: &Path) -> Result<Option<SweepRecord>> {
    let path = folder.join("sweep.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(&path, e)),
    };
    serde_json::from_str(without_mark(&text)).map(Some).map_err(|e| {
        Error::cannot_resume(&path, format!("is damaged ({e}). Restore it to resume"), Remedy::NewSweep)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(steps: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("steps".to_owned(), steps.to_owned()), ("batch".into(), "32".into())])
    }

    #[test]
    fn a_record_of_an_earlier_version_keeps_its_keys_in_their_order() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/before");
        let text = std::fs::read_to_string(folder.join("sweep.json")).unwrap();
        let record = read_record(&folder).unwrap().unwrap();
        // Reading may change the last digit of a number.
        let outline = |text: &str| -> String { text.chars().filter(|c| !c.is_ascii_digit()).collect() };
        assert_eq!(outline(&serde_json::to_string_pretty(&record).unwrap()), outline(text.trim_end()));
        assert_eq!(record.stages.tokens.unwrap().result.unwrap().train, 42);
        assert_eq!(record.stages.reconstruction.unwrap().result.unwrap().images, 6);
        assert_eq!(record.stages.samples.len(), 2);
    }

    #[test]
    fn a_second_sweep_in_the_folder_is_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = SweepFolder::open(folder.path(), "x").unwrap();
        let error = SweepFolder::open(folder.path(), "x").unwrap_err();
        assert!(error.to_string().contains("another sweep is running"), "{error}");
        assert_eq!(error.exit_code(), 2);
        drop(first);
        SweepFolder::open(folder.path(), "x").unwrap();
    }

    #[test]
    fn other_settings_are_refused_with_both_values_once_something_is_done() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = SweepFolder::open(place.path(), "x").unwrap();
        folder.agree_shared(&settings("1")).unwrap();
        folder.agree_shared(&settings("2")).unwrap();
        folder.begin_run("1x32", &settings("500")).unwrap();
        folder.check_run("1x32", &settings("800")).unwrap();
        // Now the run has started.
        make_folder(&place.path().join("runs/1x32")).unwrap();
        std::fs::write(place.path().join("runs/1x32/config.toml"), "").unwrap();
        drop(folder);
        let mut folder = SweepFolder::open(place.path(), "x").unwrap();
        folder.check_run("1x32", &settings("500")).unwrap();
        folder.check_run("2x64", &settings("800")).unwrap();
        let message = folder.check_run("1x32", &settings("800")).unwrap_err().to_string();
        assert!(message.contains("steps 500 → 800") && message.contains("in another folder"), "{message}");
        assert!(folder.agree_shared(&settings("3")).unwrap_err().to_string().contains("steps 2 → 3"));
    }
}
