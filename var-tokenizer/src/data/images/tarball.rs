//! Tars: an index of where each member lies, then random access without unpacking.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};

use tar::EntryType;

use super::blob::{Blob, BlobReader};
use super::decode::is_image_name;
use super::names::{few, text};
use super::stock::{Part, Stock};
use crate::runtime::error::{Error, Result};
use crate::runtime::panics::contained;

/// Size of a tar's blocks, in bytes.
const BLOCK: u64 = 512;
/// Bytes that a member's headers may take, long name and all: they are read into memory.
const MAX_HEADERS: u64 = 1 << 20;
/// Memory for a member without its name, in bytes.
const MEMBER_COST: u64 = 256;
/// Times that a name is kept: by the member, by its entry, and while they are sorted.
const NAMES: u64 = 5;
/// Links that lead to links are followed so often.
const MAX_LINKS: usize = 16;
/// Bytes that are looked at in one go for what follows the end mark.
const PIECE: u64 = 1 << 20;

/// Whether `head`, the first bytes of a file, begin a tar: by the checksum of its first header, which the oldest
/// tars have as well. Zeros alone are an empty tar.
pub(crate) fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.get(..BLOCK as usize) else { return false };
    if block.get(257..262) == Some(b"ustar".as_slice()) || block.iter().all(|&byte| byte == 0) {
        return true;
    }
    let field = block.get(148..156).unwrap_or_default();
    let text = String::from_utf8_lossy(field);
    let written = u32::from_str_radix(text.trim_matches(|c: char| c == '\0' || c == ' '), 8);
    let sum: u32 =
        block.iter().enumerate().map(|(i, &b)| if (148..156).contains(&i) { 32 } else { u32::from(b) }).sum();
    written == Ok(sum)
}

/// Lists the tar in `blob`. Also gives the memory that its list takes, in bytes.
pub(crate) fn read(blob: &Blob) -> Result<(Stock, u64)> {
    // Sizes and offsets are the file's, and the reader adds them up.
    contained(|| index(blob)).unwrap_or_else(|| {
        Err(Error::file(blob.path(), "damaged tar: a member of impossible size; pack it again"))
    })
}

/// What is collected of a tar.
#[derive(Default)]
struct Index {
    /// Offset and size of each regular file; of several with one name the last counts, as when unpacking.
    files: BTreeMap<String, (u64, u64)>,
    /// Where each link points, as a name in the tar; none for a place outside.
    links: BTreeMap<String, Option<String>>,
}

fn index(blob: &Blob) -> Result<(Stock, u64)> {
    let damaged = |e: std::io::Error| Error::file(blob.path(), format!("truncated or damaged tar: {e}"));
    let ration = Cell::new(MAX_HEADERS);
    let mut archive = tar::Archive::new(Rationed { reader: blob.reader(), left: &ration });
    let mut stock = Stock::new(blob.path());
    let mut found = Index::default();
    let (mut end, mut memory) = (0_u64, 0_u64);
    for entry in archive.entries_with_seek().map_err(damaged)? {
        ration.set(MAX_HEADERS);
        let mut entry = entry.map_err(damaged)?;
        let bytes = entry.path_bytes().into_owned();
        let name = normal(&text(&bytes));
        let kind = entry.header().entry_type();
        check_not_sparse(blob, &mut entry, kind, &name)?;
        let (offset, size) = (entry.raw_file_position(), entry.size());
        end = offset
            .checked_add(size)
            .filter(|&end| end <= blob.length())
            .ok_or_else(|| Error::file(blob.path(), format!("truncated tar: it ends within {name}")))?
            .next_multiple_of(BLOCK);
        memory = memory.saturating_add(MEMBER_COST + NAMES * bytes.len() as u64);
        blob.check_list(memory)?;
        if std::str::from_utf8(&bytes).is_err() {
            stock.skipped.foreign.insert(name.clone());
        }
        match kind {
            EntryType::Regular | EntryType::Continuous => {
                found.links.remove(&name);
                if found.files.insert(name.clone(), (offset, size)).is_some() {
                    stock.skipped.repeated.insert(name);
                }
            }
            EntryType::Link | EntryType::Symlink => {
                let target = text(&entry.link_name_bytes().unwrap_or_default());
                found.files.remove(&name);
                let target = target_of(&name, &target, kind == EntryType::Symlink);
                memory = memory.saturating_add(NAMES * target.as_ref().map_or(0, String::len) as u64);
                found.links.insert(name, target);
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                stock.skipped.special.insert(name);
            }
            _ => {}
        }
    }
    check_end(blob, end)?;
    follow_links(blob, &mut found, &mut stock, &mut memory)?;
    let archive = stock.add_archive(blob.clone());
    for (name, (offset, size)) in found.files {
        stock.add_part(&name, Part { archive, offset, size });
    }
    Ok((stock, memory))
}

/// `name` without `./`, and without what would lead out of the tar.
fn normal(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

/// The name in the tar that the link `name` points to; none for a place outside. A hard link's target counts from the
/// tar's root, a symbolic link's from its own folder.
fn target_of(name: &str, target: &str, symbolic: bool) -> Option<String> {
    if symbolic && target.starts_with('/') {
        return None;
    }
    let own = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = own.split('/').filter(|part| symbolic && !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Puts what links point to in their places: a file, or all files of a folder. `memory` is what the list takes.
fn follow_links(blob: &Blob, found: &mut Index, stock: &mut Stock, memory: &mut u64) -> Result<()> {
    for _ in 0..MAX_LINKS {
        let mut more: Vec<(String, (u64, u64))> = Vec::new();
        let mut followed: Vec<String> = Vec::new();
        for (name, target) in &found.links {
            let Some(target) = target else { continue };
            let folder = format!("{target}/");
            if target.is_empty() || name.starts_with(&folder) {
                stock.skipped.circles.insert(name.clone());
                followed.push(name.clone());
                continue;
            }
            let before = more.len();
            if let Some(&place) = found.files.get(target) {
                more.push((name.clone(), place));
            }
            for (file, &place) in
                found.files.range(folder.clone()..).take_while(|(file, _)| file.starts_with(&folder))
            {
                let file = format!("{name}/{}", file.get(folder.len()..).unwrap_or_default());
                *memory = memory.saturating_add(MEMBER_COST + NAMES * file.len() as u64);
                blob.check_list(*memory)?;
                more.push((file, place));
            }
            if more.len() > before {
                followed.push(name.clone());
            }
        }
        if followed.is_empty() {
            break;
        }
        found.files.extend(more);
        for name in followed {
            found.links.remove(&name);
        }
    }
    // Only links that may be images or class folders count.
    let lost: BTreeSet<&str> = found
        .links
        .keys()
        .map(String::as_str)
        .filter(|name| super::names::hidden_part(name).is_none())
        .filter(|name| is_image_name(name) || super::names::ending(name).is_none())
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    let message = format!(
        "has links to files outside of it: {}. Pack it again with tar --dereference",
        few(lost.iter().copied())
    );
    Err(Error::file(blob.path(), message))
}

/// Refuses files with holes: their bytes do not lie in one piece.
fn check_not_sparse<R: Read>(
    blob: &Blob,
    entry: &mut tar::Entry<'_, R>,
    kind: EntryType,
    name: &str,
) -> Result<()> {
    let extended = entry.pax_extensions().ok().flatten();
    let sparse = kind == EntryType::GNUSparse
        || extended.is_some_and(|mut fields| {
            fields.any(|field| field.is_ok_and(|field| field.key_bytes().starts_with(b"GNU.sparse.")))
        });
    if !sparse {
        return Ok(());
    }
    let message = format!(
        "{name} is stored as a sparse file, which is not read. Pack the tar again without --sparse (-S)"
    );
    Err(Error::file(blob.path(), message))
}

/// Makes sure that zeros alone follow the last member, which ends at `end`: without them the tar was cut between two
/// members, and another tar behind them would be lost.
fn check_end(blob: &Blob, end: u64) -> Result<()> {
    if end.checked_add(BLOCK).is_none_or(|mark| mark > blob.length())
        || !blob.read(end, BLOCK)?.iter().all(|&byte| byte == 0)
    {
        return Err(Error::file(
            blob.path(),
            "truncated tar: its end mark is missing; copy or pack it again",
        ));
    }
    let mut at = end;
    while at < blob.length() {
        let piece = blob.read(at, PIECE.min(blob.length() - at))?;
        if piece.iter().any(|&byte| byte != 0) {
            return Err(Error::file(
                blob.path(),
                "holds more after its end mark, as joined tars do. Put the tars into a folder, or pack one tar of all",
            ));
        }
        at += PIECE;
    }
    Ok(())
}

/// A reader that gives `left` bytes and then an error, wherever it is set to.
struct Rationed<'a> {
    reader: BlobReader<'a>,
    left: &'a Cell<u64>,
}

impl Read for Rationed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| std::io::Error::other("headers of more than 1 MB"))?);
        Ok(count)
    }
}

impl Seek for Rationed<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.reader.seek(to)
    }
}
