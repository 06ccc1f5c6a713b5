//! Errors for files that are not a source of images: they tell the kind by the first bytes, and what to do.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::decode::ENDINGS;
use super::stock::Stock;
use crate::runtime::error::{Error, Result};

/// Number of endings that a message lists.
const KINDS: usize = 4;

const UNPACK: &str = "unpack it into a folder, or pack the images as a tar or tar.gz";
const EXPORT: &str = "export the images into class folders";
const PICKLE: &str =
    "if this is the Python version of CIFAR, use the binary version, e.g. cifar-10-binary.tar.gz";

/// First bytes, kind of file, and what to do.
const MAGIC: [(&[u8], &str, &str); 16] = [
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"\x04\x22\x4d\x18", "an lz4 archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", UNPACK),
    (b"\x1f\x8b", "a gzip file in a gzip file", UNPACK),
    (b"PAR1", "a Parquet file", "give it by itself, or in a folder"),
    (b"ARROW1", "an Arrow file", EXPORT),
    (
        b"\x93NUMPY",
        "a single numpy array",
        "save it as an npz: numpy.savez('images.npz', arr_0=images, labels=labels)",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, which is not read as images",
        "save them as an npz with arr_0 (u8 [N, H, W, 3]) and labels",
    ),
    (b"\x80\x02", "a Python pickle", PICKLE),
    (b"\x80\x03", "a Python pickle", PICKLE),
    (b"\x80\x04", "a Python pickle", PICKLE),
    (b"\x80\x05", "a Python pickle", PICKLE),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch it with git lfs pull"),
];

/// Says what the file at `path` is, which starts with `head` and is not a source of images.
pub(crate) fn refusal(path: &Path, head: &[u8]) -> Error {
    if let Some((_, what, advice)) = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Error::file(path, format!("this is {what}: {advice}"));
    }
    if image::guess_format(head).is_ok() {
        return Error::file(path, "this is a single image; put it into a folder and give the folder");
    }
    let text = String::from_utf8_lossy(head).trim_start().to_ascii_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Error::file(path, "this is a web page, not the file itself; download it again");
    }
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tar")) {
        return Error::file(path, "not a tar, or truncated within its first header; copy or pack it again");
    }
    Error::file(
        path,
        "neither a folder nor a tar, tar.gz, Parquet or npz file; give a folder of class folders, or pack one",
    )
}

/// Refuses everything that is neither file nor folder. To open a pipe may wait for ever.
///
/// # Errors
/// When `metadata` belongs to a pipe, socket or device.
pub(crate) fn check_plain(path: &Path, metadata: &std::fs::Metadata) -> Result<()> {
    let kind = metadata.file_type();
    let what = if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_file() || kind.is_dir() {
        return Ok(());
    } else {
        "a device"
    };
    Err(Error::file(path, format!("is {what}, which has no random access; save it as a file first")))
}

/// Says that `stock` holds no images, and what it holds instead.
pub(crate) fn no_images(stock: &Stock) -> Error {
    let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (position, name) in stock.names().iter().enumerate() {
        let ending =
            super::names::ending(name).map_or("without an ending".into(), |ending| format!(".{ending}"));
        kinds.entry(ending).or_insert((0, position)).0 += 1;
    }
    let mut counts: Vec<(&String, &(usize, usize))> = kinds.iter().collect();
    counts.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let list: Vec<String> =
        counts.iter().take(KINDS).map(|(ending, (count, _))| format!("{count} {ending}")).collect();
    let found = if list.is_empty() { String::new() } else { format!(" (files: {})", list.join(", ")) };
    // The kind of most files, by the first bytes of one.
    let known = counts.first().and_then(|(_, (_, position))| {
        let head = stock.head(*position).ok()?;
        MAGIC.iter().find(|(magic, ..)| head.starts_with(magic))
    });
    let known = known.map_or(String::new(), |(_, what, advice)| format!("; e.g. {what}: {advice}"));
    let mut message =
        format!("holds no images{found}{known}. Expected class folders with {}", ENDINGS.join(", "));
    for sentence in stock.skipped.sentences() {
        message.push_str("; ");
        message.push_str(&sentence);
    }
    Error::file(stock.path(), message)
}
