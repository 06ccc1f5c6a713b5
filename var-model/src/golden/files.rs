//! Files of the published code in a case: each must contain the portable weights, bit for bit.

use std::path::{Path, PathBuf};

use var_tokenizer::golden::{Case, tokenizer_config};
use var_tokenizer::weights::{Checkpoint, Role, StateDict, portable};
use var_tokenizer::{Error, TokenizerConfig};

use super::transformer_config;
use crate::config::TransformerConfig;
use crate::error::Result;

/// Ends of the names of buffers without weights.
const BUFFERS: [&str; 2] = ["lvl_1L", "attn_bias_for_masking"];

/// Checks each weight file in the folder of the case.
///
/// # Errors
/// When the manifest is incomplete.
pub(super) fn check(case: &mut Case) -> Result<()> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(case.folder())
        .map_err(|e| Error::io(case.folder(), e))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "pth"))
        .collect();
    files.sort();
    for path in files {
        let quantity = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match differing(case, &path)? {
            Ok(note) => case.record(&quantity, Some(0.0), 0.0, Some(note)),
            Err(why) => case.fail(&quantity, why),
        }
    }
    Ok(())
}

/// Compares the file at `path`. Returns what was compared; the error says what differs.
fn differing(case: &Case, path: &Path) -> Result<std::result::Result<String, String>> {
    let checkpoint = match Checkpoint::open(path) {
        Ok(checkpoint) => checkpoint,
        Err(e) => return Ok(Err(e.to_string())),
    };
    let (seed, schedule) = (case.number("seed")?, tokenizer_config(case)?.schedule);
    let mut notes = Vec::new();
    for dict in checkpoint.parts.values() {
        let outcome = match Role::of(dict) {
            Some(Role::Tokenizer) => TokenizerConfig::of(dict, Some(&schedule))
                .map_err(|e| e.to_string())
                .and_then(|found| same(&found, &tokenizer_config(case)))
                .and_then(|()| values(dict, seed)),
            Some(Role::Transformer) => {
                let heads = transformer_config(case)?.heads;
                TransformerConfig::of(dict, None, Some(heads))
                    .map_err(|e| e.to_string())
                    .and_then(|found| same(&found, &transformer_config(case)))
                    .and_then(|()| values(dict, seed + 1))
            }
            None => Err(format!("{}: neither a tokenizer nor a transformer", dict.name)),
        };
        match outcome {
            Ok(count) => notes.push(format!("{count} tensors")),
            Err(why) => return Ok(Err(why)),
        }
    }
    if notes.is_empty() {
        return Ok(Err("holds no weights".into()));
    }
    Ok(Ok(format!("{}, {}", checkpoint.layout, notes.join(" and "))))
}

fn same<T: PartialEq + std::fmt::Debug, E>(
    found: &T,
    expected: &std::result::Result<T, E>,
) -> std::result::Result<(), String> {
    match expected {
        Ok(expected) if expected == found => Ok(()),
        Ok(expected) => Err(format!("configuration {found:?}, expected {expected:?}")),
        Err(_) => Err("the manifest is not whole".into()),
    }
}

/// Compares each tensor with the portable weights of its name. Returns the number of tensors.
fn values(dict: &StateDict, seed: u64) -> std::result::Result<usize, String> {
    for (name, stored) in &dict.tensors {
        if BUFFERS.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let found = stored.tensor().map_err(|e| e.to_string())?;
        let expected = portable::tensor(name, seed, stored.shape()).to_kind(stored.kind());
        if found != expected {
            return Err(format!("{name} differs"));
        }
    }
    Ok(dict.tensors.len())
}
