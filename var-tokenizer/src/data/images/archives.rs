//! Several tars as one source: a folder of tars, or a tar of tars.
//!
//! - One tar per part: `train.tar` and `val.tar` of class folders, or of one class.
//! - One tar per class, named after the class, like the training images of ImageNet.
//! - Shards of WebDataset, with a label next to each image.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use rayon::prelude::*;

use super::blob::Blob;
use super::catalogue::common_folder;
use super::decode::is_image_name;
use super::division::divide;
use super::labels::has_labels;
use super::names::few;
use super::recent::Recent;
use super::split::Split;
use super::stock::Stock;
use super::tarball;
use crate::runtime::error::{Error, Result};

/// Endings of tars that are opened.
const ENDINGS: [&str; 3] = [".tar", ".tar.gz", ".tgz"];

/// Tars that are listed at once, on all cores.
const AT_ONCE: usize = 64;
/// Tars of a folder that stay open.
const OPEN: u64 = 64;

/// A tar inside a folder or tar.
struct Inner {
    /// Its name without the ending.
    stem: String,
    /// The part that its name tells, when the tars are divided.
    side: Option<Split>,
    stock: Stock,
    /// Length of the folder around all its images, with the slash.
    root: usize,
}

/// How several tars belong together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Shards,
    Parts,
    Classes,
    One,
}

/// Returns the name of a tar without its ending, or `None` for other files.
fn stem(name: &str) -> Option<&str> {
    let lower = name.to_ascii_lowercase();
    ENDINGS
        .iter()
        .find(|ending| lower.ends_with(**ending))
        .and_then(|ending| name.get(..name.len() - ending.len()))
}

/// Returns the positions of the tars in `stock`, sorted by name.
pub(crate) fn tars(stock: &Stock) -> Vec<usize> {
    let names = stock.names().iter().enumerate();
    let mut tars: Vec<(&str, usize)> =
        names.filter(|(_, name)| stem(name).is_some()).map(|(i, name)| (name, i)).collect();
    tars.sort_unstable();
    tars.into_iter().map(|(_, i)| i).collect()
}

/// Lists the tar at `position` of `stock`, which belongs to `side`. Also gives the memory that its list takes, in bytes.
fn list(
    stock: &Stock,
    position: usize,
    side: Option<Split>,
    open: &Arc<Recent<File>>,
) -> Result<(Inner, u64)> {
    let name = stock.names().get(position);
    let mut blob = stock.blob(position)?;
    let head = blob.read(0, blob.length().min(512))?;
    if !tarball::is_tar(&head) {
        let message = format!("holds {name}, which is not a tar; unpack {} first", stock.path().display());
        return Err(Error::file(stock.path(), message));
    }
    // A process may have about a thousand files open.
    if stock.is_folder() {
        blob.lend(open, position as u64);
    }
    let (found, memory) = tarball::read(&blob)?;
    let root = common_folder(found.names().iter().filter(|name| is_image_name(name))).len();
    Ok((Inner { stem: stem(name).unwrap_or(name).to_owned(), side, stock: found, root }, memory))
}

/// Returns the images in the tars of `stock`, which holds no other images, and notes. `whole` is the archive around them,
/// if any.
pub(crate) fn open(stock: Stock, whole: Option<&Blob>) -> Result<(Stock, Vec<String>)> {
    let positions = tars(&stock);
    let names: Vec<&str> = positions.iter().map(|&position| stock.names().get(position)).collect();
    let stems: Vec<&str> = names.into_iter().map(|name| stem(name).unwrap_or(name)).collect();
    let division = divide(&stems).map_err(|reason| Error::file(stock.path(), reason))?;
    let kept: Vec<(usize, Option<Split>)> =
        division.kept.iter().filter_map(|&(place, side)| Some((*positions.get(place)?, side))).collect();
    let mut inner = Vec::new();
    let mut memory = 0_u64;
    let open = Arc::new(Recent::new(OPEN));
    for some in kept.chunks(AT_ONCE) {
        let listed: Vec<_> =
            some.par_iter().map(|&(position, side)| list(&stock, position, side, &open)).collect();
        for tar in listed {
            let (tar, more) = tar?;
            memory = memory.saturating_add(more);
            whole.map_or(Ok(()), |whole| whole.check_list(memory))?;
            inner.push(tar);
        }
    }
    let meaning = meaning(&stock, &inner)?;
    let mut all = Stock::new(stock.path());
    all.shards = meaning == Meaning::Shards;
    all.skipped.join(stock.skipped);
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for tar in inner {
        let part = tar.side.map_or(String::new(), |side| format!("{}/", side.name()));
        let last = tar.stem.rsplit('/').next().unwrap_or(&tar.stem).to_owned();
        let prefix = match meaning {
            Meaning::Shards => format!("{part}{}/", tar.stem),
            Meaning::Classes => format!("{part}{last}/"),
            Meaning::Parts => part,
            Meaning::One => String::new(),
        };
        let (root, mut found) = (tar.root, tar.stock);
        all.skipped.join(std::mem::take(&mut found.skipped));
        let (names, parts) = all.take_archives(found);
        for (name, part) in names.iter().zip(parts) {
            let name = format!("{prefix}{}", name.get(root..).unwrap_or(name));
            // Only images: each tar may hold a readme. Each shard has a folder of its own.
            if meaning != Meaning::Shards && is_image_name(&name) && !taken.insert(name.clone()) {
                return Err(Error::file(
                    all.path(),
                    format!("two of its tars hold {name}; remove one of them"),
                ));
            }
            all.add_part(&name, part);
        }
    }
    Ok((all, division.notes))
}

/// How the tars `inner` of `stock` belong together.
fn meaning(stock: &Stock, inner: &[Inner]) -> Result<Meaning> {
    let loose = |tar: &Inner| {
        let mut names = tar.stock.names().iter().filter(|name| is_image_name(name));
        names.all(|name| !name.get(tar.root..).unwrap_or(name).contains('/'))
    };
    let empty: Vec<&str> =
        inner.iter().filter(|tar| !tar.stock.has_images()).map(|tar| tar.stem.as_str()).collect();
    if !empty.is_empty() {
        let message =
            format!("holds tars without images: {}. Unpack them, or move them away", few(empty.into_iter()));
        return Err(Error::file(stock.path(), message));
    }
    let all_loose = inner.iter().all(loose);
    if all_loose && inner.iter().all(|tar| has_labels(&tar.stock)) {
        return Ok(Meaning::Shards);
    }
    let divided = inner.iter().any(|tar| tar.side.is_some());
    let names = || few(inner.iter().map(|tar| tar.stem.as_str()));
    let shard = |tar: &Inner| {
        let digits = tar.stem.trim_end_matches(|c: char| c.is_ascii_digit());
        digits.len() < tar.stem.len() && digits.ends_with(['-', '_'])
    };
    if all_loose && inner.iter().all(shard) {
        let message = format!(
            "holds shards without labels: {}. Each image needs its class next to it: 000.jpg, 000.cls",
            names()
        );
        return Err(Error::file(stock.path(), message));
    }
    match (all_loose, divided, inner.len()) {
        (true, true, 2) | (false, true, _) => Ok(Meaning::Parts),
        (true, _, _) => Ok(Meaning::Classes),
        (false, _, 1) => Ok(Meaning::One),
        _ => {
            let message = format!(
                "holds several tars with class folders: {}. Name them train.tar and val.tar, or unpack them into one \
                 folder",
                names()
            );
            Err(Error::file(stock.path(), message))
        }
    }
}
