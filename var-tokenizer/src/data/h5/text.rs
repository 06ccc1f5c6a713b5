//! Text attributes, as UTF-8 of fixed length.
//!
//! HDF5 keeps text of variable length in a heap without checksums. A flipped bit there puts the library into an endless
//! loop. Text of fixed length is in the object header, which has a checksum.

use hdf5::types::{FixedUnicode, TypeDescriptor};
use hdf5::{Attribute, Container, File};

/// Maximum length of a text in bytes.
pub const MAX_TEXT: usize = 4096;

/// Writes one text, or a list of them, as attribute `name`.
///
/// # Errors
/// When a text is longer than [`MAX_TEXT`] or contains a zero byte, or HDF5 fails.
pub fn write(file: &File, name: &str, values: &[&str], scalar: bool) -> hdf5::Result<()> {
    match values.iter().map(|value| value.len()).max().unwrap_or(0) {
        0..=64 => write_as::<64>(file, name, values, scalar),
        65..=256 => write_as::<256>(file, name, values, scalar),
        257..=1024 => write_as::<1024>(file, name, values, scalar),
        _ => write_as::<MAX_TEXT>(file, name, values, scalar),
    }
}

fn write_as<const N: usize>(file: &File, name: &str, values: &[&str], scalar: bool) -> hdf5::Result<()> {
    let fixed = values
        .iter()
        .map(|value| value.parse::<FixedUnicode<N>>().map_err(|e| hdf5::Error::from(e.to_string())))
        .collect::<hdf5::Result<Vec<_>>>()?;
    match fixed.first() {
        Some(first) if scalar => file.new_attr::<FixedUnicode<N>>().create(name)?.write_scalar(first),
        _ => file.new_attr_builder().with_data(&fixed).create(name).map(|_| ()),
    }
}

/// Reads one text, or a list of at most `limit` texts.
///
/// # Errors
/// Says what is wrong, as the end of a sentence that starts with the name of the attribute.
pub(crate) fn read(attribute: &Attribute, limit: usize) -> std::result::Result<Vec<String>, String> {
    let descriptor = attribute.dtype().and_then(|dtype| dtype.to_descriptor());
    let Ok(TypeDescriptor::FixedUnicode(length) | TypeDescriptor::FixedAscii(length)) = descriptor else {
        return Err("is not text of fixed length".into());
    };
    if attribute.ndim() > 1 || attribute.size() > limit {
        return Err(format!("has shape {:?}", attribute.shape()));
    }
    match length {
        0..=64 => read_as::<64>(attribute),
        65..=256 => read_as::<256>(attribute),
        257..=1024 => read_as::<1024>(attribute),
        1025..=MAX_TEXT => read_as::<MAX_TEXT>(attribute),
        _ => Err(format!("has texts of {length} bytes")),
    }
}

fn read_as<const N: usize>(attribute: &Container) -> std::result::Result<Vec<String>, String> {
    let fixed = attribute.read_raw::<FixedUnicode<N>>().map_err(|_| "cannot be read".to_owned())?;
    // The library does not check that its strings are UTF-8.
    fixed
        .iter()
        .map(|text| String::from_utf8(text.as_bytes().to_vec()).map_err(|_| "is not UTF-8".to_owned()))
        .collect()
}
