//! The settings of an edit, written beside its result: what was done, with what files.

use std::path::Path;

use serde_json::{Value, json};
use var_tokenizer::builtin;
use var_tokenizer::files::{sha256, sha256_of};

use super::AreaRequest;
use crate::error::Result;
use crate::source::ModelSource;

/// A file and its SHA-256.
pub(super) fn file(path: &Path) -> Result<Value> {
    Ok(json!({"path": path.display().to_string(), "sha256": sha256_of(path)?}))
}

/// What was to be generated.
pub(super) fn area(area: &AreaRequest) -> Result<Value> {
    Ok(match area {
        AreaRequest::Box { bounds, outpaint } => json!({"box": bounds, "outpaint": outpaint}),
        AreaRequest::Mask { path, invert } => json!({"mask": file(path)?, "inverted": invert}),
    })
}

/// The files that transformer and tokenizer came from.
pub(super) fn weights(source: &ModelSource) -> Result<Value> {
    let model = source.run.as_ref().map(|run| run.join("model.safetensors")).or_else(|| source.model.clone());
    let own = source.run.as_ref().map(|run| run.join("tokenizer.safetensors").display().to_string());
    let tokenizer = source.tokenizer.clone().or(own).unwrap_or_else(|| builtin::NAME.into());
    let sum = sha256(&builtin::bytes(&tokenizer)?);
    Ok(json!({
        "transformer": model.as_deref().map(file).transpose()?,
        "tokenizer": {"path": tokenizer, "sha256": sum},
    }))
}
