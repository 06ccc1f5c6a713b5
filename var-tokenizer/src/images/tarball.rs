//! Tars: an index of where each member lies, then random access without unpacking.

use std::collections::BTreeMap;

use image::RgbImage;

use super::blob::Blob;
use super::catalogue::catalogue;
use super::cifar;
use super::decode::{MAX_FILE, decode, is_picture_name};
use super::source::{Listing, Pictures};
use crate::error::{Error, Result};

/// Size of a tar's blocks, in bytes.
const BLOCK: u64 = 512;

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
    fn picture(&self, index: usize) -> Result<RgbImage> {
        let member = self.members.get(index).ok_or_else(|| Error::Config(format!("no picture {index}")))?;
        let path = self.blob.path().join(&member.name);
        if member.size > MAX_FILE {
            return Err(Error::file(path, format!("{} bytes: too large for a picture file", member.size)));
        }
        decode(&self.blob.read(member.offset, member.size)?).map_err(|reason| Error::file(path, reason))
    }
}

/// Opens the tar in `blob`: class folders, or CIFAR's batches.
pub(crate) fn open(blob: &Blob) -> Result<Listing> {
    let members = index(blob)?;
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
    let mut archive = tar::Archive::new(blob.reader());
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(damaged)? {
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
