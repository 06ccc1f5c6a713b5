//! What files of HDF5 share: errors in the system's own words, attributes, data sets that must be whole.

pub mod check;
pub mod text;

use std::io::Read;
use std::path::Path;

use hdf5::{Dataset, File, H5Type};

use crate::runtime::error::{Error, Result};

/// Compression (by other tools) shrinks data at most this much; more is a damaged size.
const MAX_COMPRESSION: u64 = 1100;
/// Largest chunk of a data set, in bytes: the library takes that much memory to read one row of it.
const MAX_CHUNK: u64 = 64 << 20;

/// An error of the HDF5 library about `path`: the system's own words where it was the system, else `what` with the
/// library's.
pub fn error(path: &Path, what: &str, e: &hdf5::Error) -> Error {
    let text = e.to_string();
    let number = text.split_once("errno = ").map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()));
    match number.and_then(|mut parts| parts.next()?.parse::<i32>().ok()).filter(|&number| number > 0) {
        Some(number) => Error::io(path, std::io::Error::from_raw_os_error(number)),
        None => Error::file(path, format!("{what}: {}", text.lines().next().unwrap_or("unknown HDF5 error"))),
    }
}

/// Whether the file at `path` begins as HDF5 does.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn is_hdf5(path: &Path) -> Result<bool> {
    let mut magic = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(8).read_to_end(&mut magic).map_err(|e| Error::io(path, e))?;
    Ok(magic == b"\x89HDF\r\n\x1a\n")
}

/// Opens a finished file for reading. It never changes, so there is nothing to lock.
///
/// # Errors
/// When it cannot be read, or is no HDF5 file; `again` says what to do then.
pub fn open(path: &Path, again: &str) -> Result<File> {
    let file = File::with_options().with_fapl(|p| p.file_locking(false)).open(path);
    file.map_err(|e| error(path, &format!("truncated, damaged or no HDF5 file; {again}"), &e))
}

/// Checks shape, number type and chunks of the data set `name`, and that no row is missing.
///
/// # Errors
/// What is wrong with it, in words.
pub fn whole<T: H5Type>(set: &Dataset, name: &str, shape: &[usize]) -> std::result::Result<(), String> {
    if set.shape() != shape {
        return Err(format!("{name} has shape {:?}, expected {shape:?}", set.shape()));
    }
    if !set.dtype().is_ok_and(|dtype| dtype.is::<T>()) {
        return Err(format!("{name} has another number type than its format says"));
    }
    let product = |sides: &[usize]| sides.iter().try_fold(1_u64, |all, &side| all.checked_mul(side as u64));
    let bytes = |sides: &[usize]| product(sides).and_then(|count| count.checked_mul(size_of::<T>() as u64));
    if bytes(&set.chunk().unwrap_or_default()).is_none_or(|bytes| bytes > MAX_CHUNK) {
        return Err(format!("{name} has chunks above {} MB", MAX_CHUNK >> 20));
    }
    // Rows that were never written read as zeros, and would pass for data.
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

/// A scalar attribute of any whole-number type.
///
/// # Errors
/// What is wrong with it, in words.
pub fn number(file: &File, name: &str) -> std::result::Result<u64, String> {
    let attribute = file.attr(name).map_err(|_| format!("attribute {name} is missing"))?;
    attribute.read_scalar::<u64>().map_err(|_| format!("attribute {name} is no whole number"))
}

/// The same as a size in memory.
///
/// # Errors
/// What is wrong with it, in words.
pub fn size(file: &File, name: &str) -> std::result::Result<usize, String> {
    let number = number(file, name)?;
    usize::try_from(number).map_err(|_| format!("attribute {name} is {number}"))
}

/// An attribute of one dimension with at most `limit` elements.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn list<T: H5Type>(file: &File, name: &str, limit: usize) -> std::result::Result<Vec<T>, String> {
    let attribute = file.attr(name).map_err(|_| format!("attribute {name} is missing"))?;
    if attribute.ndim() != 1 || attribute.size() > limit {
        return Err(format!("attribute {name} has shape {:?}", attribute.shape()));
    }
    attribute.read_raw().map_err(|_| format!("attribute {name} has another type"))
}

/// A text attribute with at most `limit` texts.
///
/// # Errors
/// What is wrong with it, in words.
pub fn texts(file: &File, name: &str, limit: usize) -> std::result::Result<Vec<String>, String> {
    let attribute = file.attr(name).map_err(|_| format!("attribute {name} is missing"))?;
    text::read(&attribute, limit).map_err(|reason| format!("attribute {name} {reason}"))
}

/// A scalar text attribute.
///
/// # Errors
/// What is wrong with it, in words.
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
