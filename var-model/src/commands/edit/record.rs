//! The settings of an edit, written beside its result: what was done, with what files.

use std::path::Path;

use serde_json::{Value, json};
use var_tokenizer::files::sha256_of;

use super::AreaRequest;
use crate::error::Result;

/// A file and its SHA-256.
pub(super) fn file(path: &Path) -> Result<Value> {
    Ok(json!({"file": path.display().to_string(), "sha256": sha256_of(path)?}))
}

/// What was to be generated.
pub(super) fn area(area: &AreaRequest) -> Result<Value> {
    Ok(match area {
        AreaRequest::Box { bounds, outpaint } => json!({"box": bounds, "outpaint": outpaint}),
        AreaRequest::Mask { path, invert } => json!({"mask": file(path)?, "inverted": invert}),
    })
}
