//! The directory of a zip archive: for reading what lies in it uncompressed where it lies, and for a look before
//! a reader that believes more.
//!
//! Nothing that the archive says is believed before it is checked against the archive's length: memory is
//! taken for bytes that are there, never for numbers of files that are announced.

use std::path::Path;

use zip::DateTime;
use zip::write::FileOptions;

use crate::runtime::error::{Error, Result};

/// How every archive of ours writes an entry: with a fixed date, so that the same content gives the same bytes.
pub fn undated() -> FileOptions {
    FileOptions::default().last_modified_time(DateTime::default())
}

/// Lets `fill` write and finish an archive. After an error the writer is forgotten and not dropped: dropped, it would
/// try once more to finish, fail again, and say so on standard error.
///
/// # Errors
/// Those of `fill`.
pub fn or_forget<A, T, E>(
    mut archive: A,
    fill: impl FnOnce(&mut A) -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let outcome = fill(&mut archive);
    if outcome.is_err() {
        std::mem::forget(archive);
    }
    outcome
}

/// Bytes that can be read at any place.
pub(crate) trait Bytes {
    /// How many there are.
    fn length(&self) -> u64;
    /// What they are called in messages.
    fn path(&self) -> &Path;
    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// When there are fewer, or the file cannot be read.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()>;
}

/// Length of the record that ends an archive, without its comment of up to 64 kB.
const END: usize = 22;
/// Length of the pointer before it, in archives above 4 GB.
const POINTER: u64 = 20;
/// Length of the larger record that the pointer leads to.
const LARGE_END: usize = 56;
/// Length of a file's part of the directory, without name, extra fields and comment.
const ENTRY: usize = 46;
/// Length of the header before a file's bytes, likewise.
const HEADER: usize = 30;
/// Largest directory that is read.
const MOST: u64 = 64 << 20;

/// A file in an archive.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name in the archive.
    pub name: String,
    /// Whether its bytes are stored as they are.
    pub plain: bool,
    /// Where its bytes begin.
    pub begin: u64,
    /// How many there are in the archive.
    pub length: u64,
}

/// All files of the archive `source`, in the order of its directory.
///
/// # Errors
/// When it is damaged, cut short, or encrypted.
pub(crate) fn directory(source: &impl Bytes) -> Result<Vec<Entry>> {
    let length = source.length();
    let damaged = |what: &str| {
        Error::file(source.path(), format!("is not a whole zip archive ({what}); was the copy cut short?"))
    };
    let tail_length = length.min(END as u64 + 65_535);
    let mut tail = vec![0; tail_length as usize];
    source.read_at(&mut tail, length - tail_length)?;
    // The last mark counts, for readers that look no further as well; its comment reaches to the end.
    let at = (0..(tail.len() + 1).saturating_sub(END))
        .rev()
        .find(|&at| tail.get(at..at + 4) == Some(b"PK\x05\x06"))
        .ok_or_else(|| damaged("no end record"))?;
    let (comment, behind) = (field(&tail, at + 20, 2), (tail.len() - at - END) as u64);
    if behind > comment {
        let why = format!("has {} bytes behind its end; copy or download it again", behind - comment);
        return Err(Error::file(source.path(), why));
    }
    if behind < comment {
        return Err(damaged("no end record"));
    }
    let end = length - tail_length + at as u64;
    let (mut count, mut size, mut offset) =
        (field(&tail, at + 10, 2), field(&tail, at + 12, 4), field(&tail, at + 16, 4));
    let mut pointer = [0; POINTER as usize];
    if let Some(before) = end.checked_sub(POINTER) {
        source.read_at(&mut pointer, before)?;
    }
    if pointer.starts_with(b"PK\x06\x07") {
        let mut record = [0; LARGE_END];
        source.read_at(&mut record, field(&pointer, 8, 8))?;
        if !record.starts_with(b"PK\x06\x06") {
            return Err(damaged("no large end record"));
        }
        (count, size, offset) = (field(&record, 32, 8), field(&record, 40, 8), field(&record, 48, 8));
    }
    if size > MOST || offset.checked_add(size).is_none_or(|past| past > end) {
        return Err(damaged("a directory beyond its end"));
    }
    let mut bytes = vec![0; size as usize];
    source.read_at(&mut bytes, offset)?;
    let mut entries = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (entry, used) = entry(source, rest).map_err(|what| damaged(&what))?;
        entries.push(entry);
        rest = rest.get(used..).unwrap_or_default();
    }
    if count != entries.len() as u64 {
        return Err(damaged("it announces another number of files than it has"));
    }
    Ok(entries)
}

/// The first entry of `bytes`, and how many bytes it takes.
fn entry(source: &impl Bytes, bytes: &[u8]) -> std::result::Result<(Entry, usize), String> {
    if !bytes.starts_with(b"PK\x01\x02") || bytes.len() < ENTRY {
        return Err("an entry of its directory".into());
    }
    let parts = [28, 30, 32].map(|at| field(bytes, at, 2) as usize);
    let [name, extra, comment] = parts;
    let used = ENTRY + name + extra + comment;
    if used > bytes.len() {
        return Err("an entry of its directory".into());
    }
    let name = String::from_utf8_lossy(bytes.get(ENTRY..ENTRY + name).unwrap_or_default()).into_owned();
    if field(bytes, 8, 2) & 1 != 0 {
        return Err(format!("{name} is encrypted"));
    }
    let mut numbers = [field(bytes, 24, 4), field(bytes, 20, 4), field(bytes, 42, 4)];
    let begin = ENTRY + parts[0];
    large_numbers(bytes.get(begin..begin + extra).unwrap_or_default(), &mut numbers);
    let [_, stored, header_at] = numbers;
    let mut header = [0; HEADER];
    let inside =
        |end: Option<u64>| end.filter(|&end| end <= source.length()).ok_or(format!("{name} beyond its end"));
    inside(header_at.checked_add(HEADER as u64))?;
    source.read_at(&mut header, header_at).map_err(|e| e.to_string())?;
    if !header.starts_with(b"PK\x03\x04") {
        return Err(format!("no header of {name}"));
    }
    let begin = header_at + HEADER as u64 + field(&header, 26, 2) + field(&header, 28, 2);
    inside(begin.checked_add(stored))?;
    Ok((Entry { name, plain: field(bytes, 10, 2) == 0, begin, length: stored }, used))
}

/// Numbers that are too large for 32 bits stand in an extra field: those of unpacked length, stored
/// length and place that are at their maximum, in this order.
fn large_numbers(mut extra: &[u8], numbers: &mut [u64; 3]) {
    while extra.len() >= 4 {
        let (kind, length) = (field(extra, 0, 2), field(extra, 2, 2) as usize);
        let body = extra.get(4..4 + length).unwrap_or_default();
        if kind == 1 {
            let mut at = 0;
            for number in numbers.iter_mut().filter(|number| **number == u64::from(u32::MAX)) {
                *number = field(body, at, 8);
                at += 8;
            }
            return;
        }
        extra = extra.get(4 + length..).unwrap_or_default();
    }
}

/// The little-endian number of `size` bytes at `at`; `None` beyond the end.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let digits = bytes.get(at..at + size)?;
    Some(digits.iter().rev().fold(0, |all, &digit| all << 8 | u64::from(digit)))
}

/// As [`number`], 0 beyond the end.
fn field(bytes: &[u8], at: usize, size: usize) -> u64 {
    number(bytes, at, size).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};
    use std::sync::Arc;

    use super::*;
    use crate::runtime::weights::byte_source::ByteSource;

    fn files() -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let plain = zip::write::FileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, text, options) in [("a/x", "text", plain), ("b", "more", plain.large_file(true))] {
            writer.start_file(name, options).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn read(bytes: &[u8]) -> Result<(Arc<ByteSource>, Vec<Entry>)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let source = ByteSource::open(file.path())?;
        let entries = directory(source.as_ref())?;
        Ok((source, entries))
    }

    #[test]
    fn files_are_found_where_they_lie() {
        let (source, entries) = read(&files()).unwrap();
        for (entry, (name, text)) in entries.iter().zip([("a/x", b"text"), ("b", b"more")]) {
            let mut bytes = vec![0; entry.length as usize];
            source.read(&mut bytes, entry.begin).unwrap();
            assert!(entry.plain && entry.name == name && bytes == text, "{entry:?}");
        }
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn a_directory_beyond_four_gigabytes_is_found() {
        let mut file = tempfile::tempfile().unwrap();
        // A hole: the disk has nothing of it.
        file.seek(SeekFrom::Start(5 << 30)).unwrap();
        let mut writer = zip::ZipWriter::new(file);
        let plain = zip::write::FileOptions::default().compression_method(zip::CompressionMethod::Stored);
        writer.start_file("far", plain).unwrap();
        writer.write_all(b"away").unwrap();
        let file = writer.finish().unwrap();
        let length = file.metadata().unwrap().len();
        let entries = directory(ByteSource::of_file(file, length, Path::new("far.zip")).as_ref()).unwrap();
        assert!(entries[0].begin > 5 << 30 && entries[0].length == 4, "{entries:?}");
    }

    #[test]
    fn an_archive_that_boasts_is_an_error() {
        let mut bytes = files();
        let end = bytes.len() - END;
        bytes[end + 8..end + 12].copy_from_slice(&[0xff; 4]);
        assert!(read(&bytes).unwrap_err().to_string().contains("another number of files"));
        // A mark in the comment, which other readers take for the end.
        let mut bytes = files();
        let end = bytes.len() - END;
        bytes[end + 20] = 30;
        bytes.extend([0; 4]);
        bytes.extend(b"PK\x05\x06");
        bytes.extend([0xff; 22]);
        assert!(read(&bytes).is_err());
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = files();
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{length}");
        }
    }
}
