//! The record of a sweep folder, `sweep.json`, and a lock against a second sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use var_tokenizer::files::{lock, make_folder, write_atomically};
use var_tokenizer::locks::Lock;

use super::evidence;
use super::training::begun;
use crate::error::{Error, Result};
use crate::json_text::without_mark;
use crate::machine::Machine;

/// One finished stage other than a size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stage {
    /// Seconds it took, over all tries.
    pub seconds: f64,
    /// The last event of its program.
    pub result: Value,
}

/// `sweep.json`: the request, and the finished work except sizes, which are in `results.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Version of this format.
    pub version: u32,
    /// Name of the preset.
    pub preset: String,
    /// Seconds since 1970 at the first start.
    pub started: u64,
    /// The machine of the last call.
    pub machine: Machine,
    /// Settings that all runs share; empty before the first stage.
    #[serde(default)]
    pub shared: BTreeMap<String, String>,
    /// Settings of every size that was started, by its name.
    #[serde(default)]
    pub runs: BTreeMap<String, BTreeMap<String, String>>,
    /// Finished stages by name.
    #[serde(default)]
    pub stages: BTreeMap<String, Stage>,
    /// Trainings that have saved a checkpoint, finished ones among them.
    #[serde(default)]
    pub saved: BTreeSet<String>,
}

/// A sweep folder that this process alone may write to.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// The content of `sweep.json`.
    pub record: Record,
    /// Held as long as the folder is open.
    _lock: Lock,
}

impl Folder {
    /// Opens or creates the folder, takes its lock and reads `sweep.json`.
    ///
    /// # Errors
    /// When another sweep has it, its `sweep.json` is lost, or a file cannot be written.
    pub(crate) fn open(path: &Path, preset: &str) -> Result<Self> {
        make_folder(path)?;
        let lock_path = path.join("sweep.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| Error::io(&lock_path, e))?;
        let busy = "another sweep is running in this folder; wait for it, or choose another --out";
        let lock = lock(&file, &lock_path, busy)?;
        let record = read_record(path)?;
        if record.is_none() {
            evidence::without_record(path)?;
        }
        let record = record.unwrap_or_else(|| Record {
            version: 1,
            preset: preset.into(),
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            ..Record::default()
        });
        let mut folder = Self { path: path.to_owned(), record, _lock: lock };
        folder.record.machine = Machine::here();
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

    /// Remembers a finished stage.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn finish_stage(&mut self, name: &str, seconds: f64, result: Value) -> Result<()> {
        self.record.stages.insert(name.into(), Stage { seconds, result });
        self.save()
    }

    /// Whether a stage is done.
    pub(crate) fn has_stage(&self, name: &str) -> bool {
        self.record.stages.contains_key(name)
    }

    /// Remembers that a training has a checkpoint.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn note_saved(&mut self, name: &str) -> Result<()> {
        if self.record.saved.insert(name.into()) { self.save() } else { Ok(()) }
    }

    /// Whether a training is known to have saved a checkpoint.
    pub(crate) fn has_saved(&self, name: &str) -> bool {
        self.record.saved.contains(name)
    }

    /// Removes a run or stage that starts over.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn forget(&mut self, name: &str) -> Result<()> {
        self.record.runs.remove(name);
        self.record.saved.remove(name);
        self.record.stages.remove(name);
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
        Err(Error::file(
            &self.path,
            format!(
                "cannot resume {what}: started with different settings ({}); give the same settings, or another --out to start a \
                 new sweep",
                changed.join(", ")
            ),
        ))
    }
}

/// Reads `sweep.json` of a folder; `None` if it is missing.
///
/// # Errors
/// When it is damaged.
pub(crate) fn read_record(folder: &Path) -> Result<Option<Record>> {
    let path = folder.join("sweep.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(&path, e)),
    };
    serde_json::from_str(without_mark(&text)).map(Some).map_err(|e| {
        Error::file(
            &path,
            format!("is damaged ({e}); restore it to resume, or start a new sweep with another --out"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(steps: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("steps".to_owned(), steps.to_owned()), ("batch".into(), "32".into())])
    }

    #[test]
    fn a_second_sweep_in_the_folder_is_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = Folder::open(folder.path(), "x").unwrap();
        let error = Folder::open(folder.path(), "x").unwrap_err();
        assert!(error.to_string().contains("another sweep is running"), "{error}");
        assert_eq!(error.exit_code(), 2);
        drop(first);
        Folder::open(folder.path(), "x").unwrap();
    }

    #[test]
    fn other_settings_are_refused_with_both_values_once_something_is_done() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(place.path(), "x").unwrap();
        folder.agree_shared(&settings("1")).unwrap();
        folder.agree_shared(&settings("2")).unwrap();
        folder.begin_run("1x32", &settings("500")).unwrap();
        folder.check_run("1x32", &settings("800")).unwrap();
        // Now the run has started.
        make_folder(&place.path().join("runs/1x32")).unwrap();
        std::fs::write(place.path().join("runs/1x32/config.toml"), "").unwrap();
        drop(folder);
        let mut folder = Folder::open(place.path(), "x").unwrap();
        folder.check_run("1x32", &settings("500")).unwrap();
        folder.check_run("2x64", &settings("800")).unwrap();
        let message = folder.check_run("1x32", &settings("800")).unwrap_err().to_string();
        assert!(message.contains("steps 500 → 800") && message.contains("--out"), "{message}");
        assert!(folder.agree_shared(&settings("3")).unwrap_err().to_string().contains("steps 2 → 3"));
    }
}
