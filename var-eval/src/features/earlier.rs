//! Features that an earlier call computed, when their images are missing now.

use std::path::{Path, PathBuf};

use super::store::{FeatureFile, begun, partial_path};
use crate::error::Error;

/// Extends the error `e` about the images `spec`: if one of `files` has features of them, it says so and how to resume.
pub fn with_earlier(e: Error, spec: &Path, files: &[PathBuf]) -> Error {
    let source = spec.display().to_string();
    for file in files {
        let (what, info, rows) = match (begun(file), FeatureFile::open(file)) {
            (Some((info, progress)), _) => (partial_path(file), info, progress.rows),
            (None, Ok(done)) => (file.clone(), done.info().clone(), done.len()),
            (None, Err(_)) => continue,
        };
        if info.source == source {
            return Error::config(format!(
                "{e}. Features of {rows} of its {} images are in {}: restore it and run the same command, or remove \
                 that file to start over",
                info.asked,
                what.display()
            ));
        }
    }
    e
}
