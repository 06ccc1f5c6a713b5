//! Weights in several files with an index, as large models are published: `model.safetensors.index.json` says which
//! tensor lies in which file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::checkpoint::Checkpoint;
use super::state_dict::StateDict;
use crate::runtime::error::{Error, Result};
use crate::runtime::files::{hexadecimal, sha256_of};

const ENDING: &str = ".index.json";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that hold the weights of `path`: itself, or those of the index that it is, that it belongs to, or that
/// lies in it.
///
/// # Errors
/// When the index is damaged, or `path` is one of several files without an index.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    match index_of(path)? {
        None => Ok(vec![path.to_owned()]),
        Some(index) => {
            let named: BTreeSet<String> = read(&index)?.weight_map.into_values().collect();
            Ok(named.into_iter().map(|name| index.with_file_name(name)).collect())
        }
    }
}

/// SHA-256 of the weights of `path` in hexadecimal: of the file, or of the sums of its several files in a row.
///
/// # Errors
/// As [`files`], or when one cannot be read.
pub fn digest(path: &Path) -> Result<String> {
    match files(path)?.as_slice() {
        [only] => sha256_of(only),
        several => {
            let sums = several.iter().map(|file| sha256_of(file)).collect::<Result<Vec<_>>>()?;
            Ok(hexadecimal(&Sha256::digest(sums.concat())))
        }
    }
}

/// The index that `path` is, that lies in the folder `path`, or that names the file `path`.
///
/// # Errors
/// When a folder holds several, or the index of one of several files is missing.
pub fn index_of(path: &Path) -> Result<Option<PathBuf>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.ends_with(ENDING) {
        return Ok(Some(path.to_owned()));
    }
    if path.is_dir() {
        return match indexes(path).as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only.clone())),
            _ => Err(Error::file(path, format!("holds several indexes (…{ENDING}); name one"))),
        };
    }
    let Some((number, count)) = shard_of(name).filter(|_| path.exists()) else { return Ok(None) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let whole = indexes(folder)
        .into_iter()
        .find(|index| read(index).is_ok_and(|index| index.weight_map.values().any(|file| file == name)));
    whole.map(Some).ok_or_else(|| {
        Error::file(
            path,
            format!(
                "is file {number} of {count} of one model, and the index of all is missing: get all {count} files \
                 and …{ENDING} into one folder"
            ),
        )
    })
}

/// `x-00001-of-00003.safetensors`: 1 and 3.
fn shard_of(name: &str) -> Option<(u32, u32)> {
    let (stem, _) = name.rsplit_once('.')?;
    let (before, count) = stem.rsplit_once("-of-")?;
    let number = before.rsplit('-').next()?;
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (count > 1).then_some((number, count))
}

/// Indexes in a folder.
fn indexes(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let named = |path: &PathBuf| path.to_str().is_some_and(|path| path.ends_with(ENDING));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(named).collect();
    found.sort();
    found
}

fn read(path: &Path) -> Result<Index> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|e| Error::file(path, format!("is not an index of weights ({e}); download it again")))?;
    match index.weight_map.values().find(|file| file.contains(['/', '\\']) || *file == "..") {
        Some(file) => Err(Error::file(path, format!("names the file {file} outside its folder"))),
        None if index.weight_map.is_empty() => Err(Error::file(path, "names no tensors")),
        None => Ok(index),
    }
}

/// Opens all files of the index and puts their tensors together.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let index = read(path)?;
    let mut whole: Option<Checkpoint> = None;
    let mut all = StateDict::default();
    let files: BTreeSet<&String> = index.weight_map.values().collect();
    for name in &files {
        let place = path.with_file_name(name);
        if !place.exists() {
            let why =
                format!("needs {name}, which is missing in its folder; download all {} files", files.len());
            return Err(Error::file(path, why));
        }
        let mut shard = Checkpoint::open_file(&place)?;
        let mut dict = shard.parts.remove("").unwrap_or_default();
        for (tensor, _) in index.weight_map.iter().filter(|(_, file)| file == name) {
            if let Some(what) = dict.skipped.remove(tensor) {
                all.skipped.insert(tensor.clone(), what);
                continue;
            }
            let stored = dict.tensors.remove(tensor).ok_or_else(|| {
                Error::file(path, format!("says that {tensor} lies in {name}, which does not hold it"))
            })?;
            all.tensors.insert(tensor.clone(), stored);
        }
        all.metadata.extend(dict.metadata);
        whole.get_or_insert(shard);
    }
    let mut whole = whole.ok_or_else(|| Error::file(path, "names no files"))?;
    all.name = path.display().to_string();
    all.notes.push(format!("reads {} files that {} names", files.len(), path.display()));
    whole.parts = BTreeMap::from([(String::new(), all)]);
    Ok(whole)
}
