//! Tars: an index of where each member lies, then random access without unpacking.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use super::blob::{Blob, BlobReader};
use super::catalogue::catalogue;
use super::cifar;
use super::decode::{Decoded, MAX_FILE, Pixels, decode_pixels, is_picture_name};
use super::source::{Listing, Pictures};
use crate::error::{Error, Result};
use crate::panics::contained;

/// Size of a tar's blocks, in bytes.
const BLOCK: u64 = 512;
/// Bytes that a member's headers may take, long name and all: they are read into memory.
const MAX_HEADERS: u64 = 1 << 20;
/// Memory that a member takes beside its name, in bytes.
const MEMBER_COST: u64 = 256;
/// Times that a name is kept: by the member, by its entry, and while they are sorted.
const NAMES: u64 = 5;

/// A file in a tar.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its path in the tar, without a leading `./`.
    pub(crate) name: String,
    /// Where its bytes begin.
    pub(crate) offset: u64,
    /// How many there are.
    pub(crate) size: u64,
}

#[derive(Debug)]
struct Members {
    blob: Blob,
    members: Vec<Member>,
}

impl Pictures for Members {
    fn picture(&self, index: usize, pixels: Pixels) -> Result<Decoded> {
        let member = self.members.get(index).ok_or_else(|| Error::Config(format!("no picture {index}")))?;
        let path = self.blob.path().join(&member.name);
        if member.size > MAX_FILE {
            return Err(Error::file(path, format!("{} bytes: too large for a picture file", member.size)));
        }
        let bytes = self.blob.read(member.offset, member.size)?;
        decode_pixels(&bytes, pixels).map_err(|reason| Error::file(path, reason))
    }
}

/// Opens the tar in `blob`: class folders, or CIFAR's batches.
pub(crate) fn open(blob: &Blob) -> Result<Listing> {
    // Sizes and offsets are the file's, and the reader adds them up.
    let members = contained(|| index(blob)).unwrap_or_else(|| {
        Err(Error::file(blob.path(), "damaged tar: a member of impossible size; pack it again"))
    })?;
    if let Some(listing) = cifar::open_tar(blob, &members)? {
        return Ok(listing);
    }
    let pictures: Vec<Member> = members.into_iter().filter(|m| is_picture_name(&m.name)).collect();
    let names: Vec<String> = pictures.iter().map(|m| m.name.clone()).collect();
    let catalogue = catalogue(blob.path(), &names)?;
    let members = catalogue.items.iter().filter_map(|item| pictures.get(item.position).cloned()).collect();
    let access = Members { blob: blob.clone(), members };
    Ok(Listing::of_catalogue(&catalogue.items, catalogue.classes, &names, Box::new(access)))
}

/// The regular files of a tar; of several with one name the last counts, as when unpacking.
fn index(blob: &Blob) -> Result<Vec<Member>> {
    let damaged = |e: std::io::Error| Error::file(blob.path(), format!("truncated or damaged tar: {e}"));
    let ration = Cell::new(MAX_HEADERS);
    let mut archive = tar::Archive::new(Rationed { reader: blob.reader(), left: &ration });
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    let (mut end, mut memory) = (0_u64, 0_u64);
    for entry in archive.entries_with_seek().map_err(damaged)? {
        ration.set(MAX_HEADERS);
        let entry = entry.map_err(damaged)?;
        let (offset, size) = (entry.raw_file_position(), entry.size());
        end = offset
            .checked_add(size)
            .filter(|&end| end <= blob.length())
            .ok_or_else(|| {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                Error::file(blob.path(), format!("truncated tar: it ends within {name}"))
            })?
            .next_multiple_of(BLOCK);
        memory = memory.saturating_add(MEMBER_COST + NAMES * entry.path_bytes().len() as u64);
        blob.check_list(memory)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = path.trim_start_matches("./").trim_start_matches('/').to_owned();
        members.insert(name.clone(), Member { name, offset, size });
    }
    // The end is marked by zeros: without them the tar was cut between two members.
    let marked = end + BLOCK <= blob.length() && blob.read(end, BLOCK)?.iter().all(|&byte| byte == 0);
    if !marked {
        return Err(Error::file(blob.path(), "truncated tar: its end mark is missing"));
    }
    Ok(members.into_values().collect())
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
