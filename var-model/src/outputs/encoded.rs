//! Images as the bytes of a file.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};

use crate::error::{Error, Result};

/// The bytes of `image` as a PNG: those of the file that the program writes.
///
/// # Errors
/// When memory runs out.
pub(crate) fn png_bytes(image: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|e| Error::Config(format!("the image cannot be encoded as PNG: {e}")))?;
    Ok(bytes.into_inner())
}
