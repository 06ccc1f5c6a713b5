//! Helpers for HDF5 files: errors, attributes, checks of data sets.

pub mod check;
pub mod text;

use std::io::Read;
use std::path::Path;

use hdf5::{Dataset, File, H5Type};

use crate::runtime::error::{Error, Result};

/// Maximum compression factor of other tools. A larger factor means a damaged size.
const MAX_COMPRESSION: u64 = 1100;
/// Maximum size of a chunk in bytes. The library needs that much memory to read one row.
const MAX_CHUNK: u64 = 64 << 20;

/// Turns an error of the HDF5 library about `path` into ours: an error of the system, or `what` with the first line of
/// the library's message in brackets.
pub fn error(path: &Path, what: &str, e: &hdf5::Error) -> Error {
    let text = e.to_string();
    let number = text.split_once("errno = ").map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()));
    match number.and_then(|mut parts| parts.next()?.parse::<i32>().ok()).filter(|&number| number > 0) {
        Some(number) => Error::io(path, std::io::Error::from_raw_os_error(number)),
        None => {
            Error::file(path, format!("{what} (HDF5: {})", text.lines().next().unwrap_or("unknown error")))
        }
    }
}

/// Checks whether the file at `path` starts with the signature of HDF5.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn is_hdf5(path: &Path) -> Result<bool> {
    let mut magic = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(8).read_to_end(&mut magic).map_err(|e| Error::io(path, e))?;
    Ok(magic == b"\x89HDF\r\n\x1a\n")
}

/// Opens a finished file for reading, without a lock: the file never changes.
///
/// # Errors
/// When it cannot be read or is not an HDF5 file. `again` says what to do then.
pub fn open(path: &Path, again: &str) -> Result<File> {
    let file = File::with_options().with_fapl(|p| p.file_locking(false)).open(path);
    let empty = || path.metadata().is_ok_and(|found| found.len() == 0);
    file.map_err(|e| match is_hdf5(path) {
        Ok(false) if !empty() => Error::file(path, format!("is not an HDF5 file; {again}")),
        _ => error(path, &format!("truncated or damaged; copy it again, or {again}"), &e),
    })
}

/// Checks shape, number type and chunk size of the data set `name`, and that no row is missing.
///
/// # Errors
/// Says what is wrong with it.
pub fn whole<T: H5Type>(set: &Dataset, name: &str, shape: &[usize]) -> std::result::Result<(), String> {
    if set.shape() != shape {
        return Err(format!("{name} has shape {:?}, expected {shape:?}", set.shape()));
    }
    if !set.dtype().is_ok_and(|dtype| dtype.is::<T>()) {
        return Err(format!("{name} has the wrong number type"));
    }
    let product = |sides: &[usize]| sides.iter().try_fold(1_u64, |all, &side| all.checked_mul(side as u64));
    let bytes = |sides: &[usize]| product(sides).and_then(|count| count.checked_mul(size_of::<T>() as u64));
    if bytes(&set.chunk().unwrap_or_default()).is_none_or(|bytes| bytes > MAX_CHUNK) {
        return Err(format!("{name} has chunks above {} MB", MAX_CHUNK >> 20));
    }
    // HDF5 reads rows that were never written as zeros. They look like data.
    let stored = set.storage_size();
    let limit = if set.filters().iter().any(is_compression) {
        stored.saturating_mul(MAX_COMPRESSION)
    } else {
        stored
    };
    if bytes(shape).is_none_or(|needed| needed > limit) {
        return Err(format!("{name}: {stored} bytes on disk for shape {shape:?}: some rows are missing"));
    }
    Ok(())
}

fn is_compression(filter: &hdf5::filters::Filter) -> bool {
    !matches!(filter, hdf5::filters::Filter::Fletcher32 | hdf5::filters::Filter::Shuffle)
}

/// Reads a scalar attribute of any integer type.
///
/// # Errors
/// Says what is wrong with it.
pub fn number(file: &File, name: &str) -> std::result::Result<u64, String> {
    let attribute = file.attr(name).map_err(|_| format!("attribute {name} is missing"))?;
    attribute.read_scalar::<u64>().map_err(|_| format!("attribute {name} is not an integer"))
}

/// Reads a scalar attribute of any integer type as a size in memory.
///
/// # Errors
/// Says what is wrong with it.
pub fn size(file: &File, name: &str) -> std::result::Result<usize, String> {
    let number = number(file, name)?;
    usize::try_from(number).map_err(|_| format!("attribute {name} is {number}: too large"))
}

/// Reads an attribute of one dimension with at most `limit` elements.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn list<T: H5Type>(file: &File, name: &str, limit: usize) -> std::result::Result<Vec<T>, String> {
    let attribute = file.attr(name).map_err(|_| format!("attribute {name} is missing"))?;
    if attribute.ndim() != 1 || attribute.size() > limit {
        return Err(format!("attribute {name} has shape {:?}", attribute.shape()));
    }
    attribute.read_raw().map_err(|_| format!("attribute {name} has another type"))
}

/// Reads a text attribute with at most `limit` texts.
///
/// # Errors
/// Says what is wrong with it.
pub fn texts(file: &File, name: &str, limit: usize) -> std::result::Result<Vec<String>, String> {
    let attribute = file.attr(name).map_err(|_| format!("attribute {name} is missing"))?;
    text::read(&attribute, limit).map_err(|reason| format!("attribute {name} {reason}"))
}

/// Reads a scalar text attribute.
///
/// # Errors
/// Says what is wrong with it.
pub fn string(file: &File, name: &str) -> std::result::Result<String, String> {
    texts(file, name, 1)?.pop().ok_or_else(|| format!("attribute {name} is empty"))
}

/// Writes a scalar attribute.
///
/// # Errors
/// When HDF5 fails.
pub fn write_number<T: H5Type>(file: &File, name: &str, value: T) -> hdf5::Result<()> {
    file.new_attr::<T>().create(name)?.write_scalar(&value)
}
