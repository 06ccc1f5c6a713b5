//! Class folders on disk.

use std::path::{Path, PathBuf};

use super::catalogue::catalogue;
use super::decode::{Decoded, Pixels, is_picture_name, read_pixels};
use super::source::{Listing, Pictures};
use crate::error::{Error, Result};

/// Folders nested deeper than this are a loop of links.
const MAX_DEPTH: usize = 16;

#[derive(Debug)]
struct Files(Vec<PathBuf>);

impl Pictures for Files {
    fn picture(&self, index: usize, pixels: Pixels) -> Result<Decoded> {
        let path = self.0.get(index).ok_or_else(|| Error::Config(format!("no picture {index}")))?;
        read_pixels(path, pixels)
    }
}

/// Opens the folder at `root`.
pub(crate) fn open(root: &Path) -> Result<Listing> {
    let mut found = Vec::new();
    walk(root, "", 0, &mut found)?;
    let (names, paths): (Vec<String>, Vec<PathBuf>) = found.into_iter().unzip();
    let catalogue = catalogue(root, &names)?;
    let files = catalogue.items.iter().filter_map(|item| paths.get(item.position).cloned()).collect();
    Ok(Listing::of_catalogue(&catalogue.items, catalogue.classes, &names, Box::new(Files(files))))
}

/// Collects pictures below `folder`, which is called `prefix` relative to the root.
fn walk(folder: &Path, prefix: &str, depth: usize, found: &mut Vec<(String, PathBuf)>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::file(
            folder,
            format!("folders nest deeper than {MAX_DEPTH}: a link in a circle?"),
        ));
    }
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        let base = entry.file_name().to_string_lossy().into_owned();
        if base.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let name = if prefix.is_empty() { base } else { format!("{prefix}/{base}") };
        // Links count as what they point to; one that points nowhere is a bad picture, found on reading.
        if path.is_dir() {
            walk(&path, &name, depth + 1, found)?;
        } else if is_picture_name(&name) {
            found.push((name, path));
        }
    }
    Ok(())
}
