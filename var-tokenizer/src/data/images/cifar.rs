//! The binary version of CIFAR-10 and CIFAR-100, packed or unpacked.
//!
//! A record is one label byte (CIFAR-100: two, coarse and fine) and 3072 bytes: the red plane of 32 × 32
//! pixels row by row, then green, then blue.

use std::borrow::Cow;
use std::path::Path;

use image::{Rgb, RgbImage};

use super::blob::Blob;
use super::decode::{Decoded, Pixels};
use super::listing::{Entry, Images, Listing};
use super::split::Split;
use super::stock::Stock;
use crate::runtime::error::{Error, Result};

const SIDE: u32 = 32;
const AREA: usize = (SIDE * SIDE) as usize;
/// Number of records that are read together for their labels.
const PIECE: u64 = 1024;
/// Memory for the entry and place of an image, in bytes.
const IMAGE_COST: u64 = 128;
/// Folders of the binary versions.
const FOLDERS: [&str; 3] = ["", "cifar-10-batches-bin", "cifar-100-binary"];

/// One of the two data sets.
struct Kind {
    first: &'static str,
    held_out: &'static str,
    names: &'static str,
    label_bytes: u64,
}

const KINDS: [Kind; 2] = [
    Kind { first: "data_batch_1.bin", held_out: "test_batch.bin", names: "batches.meta.txt", label_bytes: 1 },
    Kind { first: "train.bin", held_out: "test.bin", names: "fine_label_names.txt", label_bytes: 2 },
];

#[derive(Debug)]
struct Records {
    batches: Vec<Blob>,
    /// Batch and offset of the pixels of each image.
    places: Vec<(usize, u64)>,
    /// Name of each batch.
    names: Vec<String>,
}

impl Images for Records {
    fn name(&self, index: usize) -> Cow<'_, str> {
        let Some(&(batch, _)) = self.places.get(index) else { return Cow::default() };
        let first = self.places.partition_point(|&(other, _)| other < batch);
        format!("{}/{}", self.names.get(batch).map_or("", String::as_str), index - first).into()
    }

    fn image(&self, index: usize, _: Pixels) -> Result<Decoded> {
        let place = self.places.get(index).and_then(|&(batch, at)| Some((self.batches.get(batch)?, at)));
        let (batch, at) = place.ok_or_else(|| Error::Config(format!("no image {index}")))?;
        let planes = batch.read(at, 3 * AREA as u64)?;
        let image = RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let i = (y * SIDE + x) as usize;
            Rgb([planes[i], planes[AREA + i], planes[2 * AREA + i]])
        });
        Ok(image.into())
    }
}

/// Opens `folder` if it holds the binary version of CIFAR.
pub(crate) fn open_folder(folder: &Path) -> Result<Option<Listing>> {
    for sub in FOLDERS {
        let folder = folder.join(sub);
        for kind in &KINDS {
            if folder.join(kind.first).is_file() {
                let find = |name: &str| -> Result<Option<Blob>> {
                    let path = folder.join(name);
                    if path.is_file() { Blob::open(&path).map(Some) } else { Ok(None) }
                };
                return open(&folder, kind, find).map(Some);
            }
        }
    }
    Ok(None)
}

/// Opens a tar with the files `stock` if it is the binary version of CIFAR.
pub(crate) fn open_tar(stock: &Stock) -> Result<Option<Listing>> {
    let base = |name: &str| name.rsplit('/').next().unwrap_or("").to_owned();
    let Some(kind) = KINDS.iter().find(|kind| stock.names().iter().any(|name| base(name) == kind.first))
    else {
        return Ok(None);
    };
    let find = |wanted: &str| -> Result<Option<Blob>> {
        let position = stock.names().iter().position(|name| base(name) == wanted);
        position.map(|position| stock.blob(position)).transpose()
    };
    open(stock.path(), kind, find).map(Some)
}

/// Refuses the Python version of CIFAR, which only Python can read.
///
/// # Errors
/// When `stock` holds the files of the Python version.
pub(crate) fn check_not_pickled(stock: &Stock) -> Result<()> {
    let pickled = |name: &str| name.contains("batches-py/") || name.contains("cifar-100-python/");
    if !stock.names().iter().any(pickled) {
        return Ok(());
    }
    let message =
        "this is the Python version of CIFAR (pickles); use the binary version, e.g. cifar-10-binary.tar.gz";
    Err(Error::file(stock.path(), message))
}

fn open(path: &Path, kind: &Kind, find: impl Fn(&str) -> Result<Option<Blob>>) -> Result<Listing> {
    let mut files = vec![(kind.first.to_owned(), Split::Train)];
    if kind.label_bytes == 1 {
        files.extend((2..=5).map(|i| (format!("data_batch_{i}.bin"), Split::Train)));
    }
    files.push((kind.held_out.to_owned(), Split::Val));
    let mut classes = match find(kind.names)? {
        Some(blob) => class_names(&blob)?,
        None => Vec::new(),
    };
    let named = classes.len();
    let record = kind.label_bytes + 3 * AREA as u64;
    let mut entries: Vec<Entry> = Vec::new();
    let mut records = Records { batches: Vec::new(), places: Vec::new(), names: Vec::new() };
    for (name, split) in files {
        let Some(batch) = find(&name)? else {
            return Err(Error::file(
                path,
                format!("{name} is missing: the binary version of CIFAR is incomplete"),
            ));
        };
        if batch.length() == 0 || !batch.length().is_multiple_of(record) {
            return Err(Error::file(
                path,
                format!(
                    "{name} is truncated: {} bytes are not a multiple of a record of {record} bytes",
                    batch.length()
                ),
            ));
        }
        batch.check_list((entries.len() as u64 + batch.length() / record) * IMAGE_COST)?;
        let mut piece = Vec::new();
        for i in 0..batch.length() / record {
            if i % PIECE == 0 {
                let left = batch.length() - i * record;
                piece = batch.read(i * record, left.min(PIECE * record))?;
            }
            let place = (i % PIECE) * record + kind.label_bytes - 1;
            let class = piece.get(place as usize).copied().map_or(0, u32::from);
            if named > 0 && class as usize >= named {
                return Err(Error::file(
                    path,
                    format!("{name}: record {i} has label {class}, but there are {named} classes"),
                ));
            }
            let group = entries.len() as u32;
            entries.push(Entry { class, split: Some(split), group });
            records.places.push((records.batches.len(), i * record + kind.label_bytes));
        }
        records.batches.push(batch);
        records.names.push(name);
    }
    if named == 0 {
        let count = entries.iter().map(|entry| entry.class + 1).max().unwrap_or(0);
        classes = (0..count).map(|class| class.to_string()).collect();
    }
    Ok(Listing { entries, classes, images: Box::new(records), notes: Vec::new() })
}

/// Reads one name per line. Empty lines at the end do not count.
fn class_names(blob: &Blob) -> Result<Vec<String>> {
    let bytes = blob.read(0, blob.length().min(1 << 16))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}
