//! Opens weights wherever they lie: one file, or several with an index.

use std::path::Path;

use super::checkpoint::Checkpoint;
use super::shards;
use crate::runtime::error::Result;

impl Checkpoint {
    /// Opens the file at `path`, whatever its name ends with, and reads names and shapes. Weights in several files
    /// are opened by their index (`model.safetensors.index.json`), by its folder, or by any of the files.
    ///
    /// # Errors
    /// When it cannot be read, is none of the known layouts, is damaged, or would run code.
    pub fn open(path: &Path) -> Result<Self> {
        let mut opened = match shards::index_of(path)? {
            Some(index) => shards::open(&index)?,
            None => return Self::open_file(path).map(Self::with_own_names),
        };
        opened.name = path.display().to_string();
        Ok(opened.with_own_names())
    }
}
