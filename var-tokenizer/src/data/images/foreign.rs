//! What is no source of pictures: said by its first bytes, with what to do about it.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::decode::ENDINGS;
use super::stock::Stock;
use crate::runtime::error::{Error, Result};

/// Kinds of endings that a message counts.
const KINDS: usize = 4;

const UNPACK: &str = "unpack it into a folder, or pack the pictures as a tar or tar.gz";
const EXPORT: &str = "export the pictures into class folders";
const PICKLE: &str =
    "if this is CIFAR's Python version, take the binary version, e.g. cifar-10-binary.tar.gz";

/// First bytes, what they begin, and what to do.
const MAGIC: [(&[u8], &str, &str); 16] = [
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"\x04\x22\x4d\x18", "an lz4 archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", UNPACK),
    (b"\x1f\x8b", "a gzip file in a gzip file", UNPACK),
    (b"PAR1", "a Parquet file", EXPORT),
    (b"ARROW1", "an Arrow file", EXPORT),
    (
        b"\x93NUMPY",
        "a single numpy array",
        "save it as an npz: numpy.savez('pictures.npz', arr_0=pictures, labels=labels)",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, from which no pictures are read",
        "save them as an npz with arr_0 (u8 [N, H, W, 3]) and labels",
    ),
    (b"\x80\x02", "a Python pickle", PICKLE),
    (b"\x80\x03", "a Python pickle", PICKLE),
    (b"\x80\x04", "a Python pickle", PICKLE),
    (b"\x80\x05", "a Python pickle", PICKLE),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch it with git lfs pull"),
];

/// What the file at `path` is, which begins with `head` and is no source of pictures.
pub(crate) fn refusal(path: &Path, head: &[u8]) -> Error {
    if let Some((_, what, advice)) = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Error::file(path, format!("this is {what}: {advice}"));
    }
    if image::guess_format(head).is_ok() {
        return Error::file(path, "this is a single picture; put it into a folder, and give the folder");
    }
    let text = String::from_utf8_lossy(head).trim_start().to_ascii_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Error::file(path, "this is a web page, not the file itself: download it again");
    }
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tar")) {
        return Error::file(path, "not a tar, or truncated within its first header; copy or pack it again");
    }
    Error::file(
        path,
        "neither a folder nor a tar, tar.gz or npz file; give a folder of class folders, or pack one",
    )
}

/// Refuses what is neither file nor folder: opening a pipe would wait for ever.
///
/// # Errors
/// When `metadata` is that of a pipe, socket or device.
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
    Err(Error::file(path, format!("is {what}, which cannot be read at any place; save it as a file first")))
}

/// That `stock` holds no pictures, and what it holds instead.
pub(crate) fn no_pictures(stock: &Stock) -> Error {
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
    // What most of them are, by the first bytes of one.
    let known = counts.first().and_then(|(_, (_, position))| {
        let head = stock.head(*position).ok()?;
        MAGIC.iter().find(|(magic, ..)| head.starts_with(magic))
    });
    let known = known.map_or(String::new(), |(_, what, advice)| format!("; e.g. {what}: {advice}"));
    let mut message =
        format!("holds no pictures{found}{known}. Expected class folders with {}", ENDINGS.join(", "));
    for sentence in stock.skipped.sentences() {
        message.push_str("; ");
        message.push_str(&sentence);
    }
    Error::file(stock.path(), message)
}
