//! The files of a folder on disk.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::names::{is_hidden, text};
use super::stock::{Place, Stock};
use crate::runtime::error::{Error, Result};

/// Folders nested deeper than this are refused.
const MAX_DEPTH: usize = 64;

/// Lists the folder at `root`, and follows links. It skips a link to a folder above itself, and everything that is
/// neither file nor folder: to open a pipe may wait for ever.
pub(crate) fn read(root: &Path) -> Result<Stock> {
    let mut stock = Stock::new(root);
    walk(root, "", &mut Vec::new(), &mut stock)?;
    Ok(stock)
}

/// Lists `folder`, which has the name `prefix` below the root and is in the folders `above`.
fn walk(folder: &Path, prefix: &str, above: &mut Vec<(u64, u64)>, stock: &mut Stock) -> Result<()> {
    let own = std::fs::metadata(folder).map_err(|e| Error::io(folder, e))?;
    if above.contains(&(own.dev(), own.ino())) {
        stock.skipped.circles.insert(prefix.to_owned());
        return Ok(());
    }
    if above.len() > MAX_DEPTH {
        return Err(Error::file(folder, format!("folders nest deeper than {MAX_DEPTH}; move the images up")));
    }
    above.push((own.dev(), own.ino()));
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        let bytes = entry.file_name();
        let base = text(bytes.as_bytes());
        let name = if prefix.is_empty() { base.clone() } else { format!("{prefix}/{base}") };
        if is_hidden(&base) {
            stock.skipped.hidden.insert(name);
            continue;
        }
        if bytes.to_str().is_none() {
            stock.skipped.foreign.insert(name.clone());
        }
        let path = entry.path();
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => walk(&path, &name, above, stock)?,
            Ok(found) if !found.is_file() => {
                stock.skipped.special.insert(name);
            }
            // Reading finds a link that points nowhere: it counts as an unreadable image.
            _ => stock.add(name, Place::File(path)),
        }
    }
    above.pop();
    Ok(())
}
