//! The files of a folder on disk.

use std::fs::DirEntry;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::names::{is_hidden, text};
use super::stock::Stock;
use crate::runtime::error::{Error, Result};

/// Folders nested deeper than this are refused.
const MAX_DEPTH: usize = 64;
/// Folders that are listed at once, on all cores. Their names are in memory twice for a moment.
const AT_ONCE: usize = 64;

/// Lists the folder at `root`, and follows links. It skips a link to a folder above itself, and everything that is
/// neither file nor folder: to open a pipe may wait for ever.
///
/// The names are in their order, so that nothing is left to sort.
pub(crate) fn read(root: &Path) -> Result<Stock> {
    let mut stock = Stock::new(root);
    walk(&Folder { name: String::new(), path: root.to_owned(), foreign: false }, &[], &mut stock)?;
    Ok(stock)
}

/// A folder that is listed.
struct Folder {
    /// Its name below the root, with a slash; empty for the root.
    name: String,
    path: PathBuf,
    /// Whether a part of the path is not UTF-8. Then the name says less than the path.
    foreign: bool,
}

/// What a folder holds.
enum Found {
    File { name: String, path: Option<PathBuf> },
    Folder(Folder),
}

impl Found {
    /// The name by which it is ordered: the slash of a folder counts.
    fn name(&self) -> &str {
        match self {
            Self::File { name, .. } | Self::Folder(Folder { name, .. }) => name,
        }
    }
}

/// Lists `folder`, which is in the folders `above`.
fn walk(folder: &Folder, above: &[(u64, u64)], stock: &mut Stock) -> Result<()> {
    let io = |e: std::io::Error| Error::io(&folder.path, e);
    let own = std::fs::metadata(&folder.path).map_err(io)?;
    let own = (own.dev(), own.ino());
    if above.contains(&own) {
        stock.skipped.circles.insert(folder.name.trim_end_matches('/').to_owned());
        return Ok(());
    }
    if above.len() > MAX_DEPTH {
        let message = format!("folders nest deeper than {MAX_DEPTH}; move the images up");
        return Err(Error::file(&folder.path, message));
    }
    let above = [above, &[own]].concat();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder.path).map_err(io)? {
        found.extend(look(&entry.map_err(io)?, folder, stock));
    }
    found.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    let mut waiting = Vec::new();
    for one in found {
        match one {
            Found::Folder(below) => waiting.push(below),
            Found::File { name, path } => {
                walk_all(&mut waiting, &above, stock)?;
                stock.add_file(&name, path);
            }
        }
        if waiting.len() == AT_ONCE {
            walk_all(&mut waiting, &above, stock)?;
        }
    }
    walk_all(&mut waiting, &above, stock)
}

/// Lists all `folders` on all cores, and adds their files in order.
fn walk_all(folders: &mut Vec<Folder>, above: &[(u64, u64)], stock: &mut Stock) -> Result<()> {
    let root = stock.path();
    let list = |folder: Folder| {
        let mut below = Stock::new(root);
        walk(&folder, above, &mut below).map(|()| below)
    };
    let listed: Vec<Result<Stock>> = std::mem::take(folders).into_par_iter().map(list).collect();
    for below in listed {
        stock.append(below?);
    }
    Ok(())
}

/// Returns an entry of `folder`, or notes in `stock` why it is skipped.
fn look(entry: &DirEntry, folder: &Folder, stock: &mut Stock) -> Option<Found> {
    let bytes = entry.file_name();
    let base = text(bytes.as_bytes());
    let mut name = format!("{}{base}", folder.name);
    if is_hidden(&base) {
        stock.skipped.hidden.insert(name);
        return None;
    }
    if bytes.to_str().is_none() {
        stock.skipped.foreign.insert(name.clone());
    }
    let foreign = folder.foreign || bytes.to_str().is_none();
    // Only links cost a second look at the disk, and file systems that do not tell the kind.
    let kind = match entry.file_type() {
        Ok(kind) if kind.is_file() || kind.is_dir() => Some(kind),
        _ => std::fs::metadata(entry.path()).ok().map(|about| about.file_type()),
    };
    match kind {
        Some(kind) if kind.is_dir() => {
            name.push('/');
            Some(Found::Folder(Folder { name, path: entry.path(), foreign }))
        }
        Some(kind) if !kind.is_file() => {
            stock.skipped.special.insert(name);
            None
        }
        // Reading finds a link that points nowhere: it counts as an unreadable image.
        _ => Some(Found::File { name, path: foreign.then(|| entry.path()) }),
    }
}
