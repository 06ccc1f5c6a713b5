//! Any picture file to 8-bit RGB, upright, on white.
//!
//! Data sets hold grey, palette, 16-bit, CMYK and transparent pictures, pictures that a camera turned,
//! and broken ones. All that can be shown is shown; what cannot is an error with a reason, never an
//! abort: sizes are limited before memory is taken, and a decoder that panics is caught.

use std::io::{Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::error::{Error, Result};
use crate::panics::contained;

/// File name endings that are taken for pictures, in lower case.
pub const ENDINGS: [&str; 13] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm"];
/// Largest file that is read as a picture.
pub(crate) const MAX_FILE: u64 = 256 << 20;
/// Largest side of a picture.
const MAX_SIDE: u32 = 1 << 16;
/// Largest memory that one picture may take while it is decoded.
const MAX_MEMORY: u64 = 512 << 20;

/// Whether `name` ends like a picture file; hidden files do not count.
pub fn is_picture_name(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    let ending = base.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    !base.starts_with('.') && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// The picture in the file at `path`.
///
/// # Errors
/// When the file cannot be read, is larger than 256 MB, or holds no readable picture.
pub fn read_picture(path: &Path) -> Result<RgbImage> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut bytes = Vec::new();
    // What is no plain file does not tell its length.
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::file(path, format!("above {} MB: too large for a picture file", MAX_FILE >> 20)));
    }
    decode(&bytes).map_err(|reason| Error::file(path, reason))
}

/// The picture in the bytes of a PNG, JPEG, WebP, BMP, GIF (first frame), TIFF or PNM file.
///
/// # Errors
/// A reason in words: empty, truncated, damaged, of unknown kind, or too large.
pub fn decode(bytes: &[u8]) -> std::result::Result<RgbImage, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    // Decoders are other people's code fed with other people's files.
    contained(|| decode_trusting(bytes))
        .unwrap_or_else(|| Err("the decoder failed on it: the file is damaged".into()))
}

fn decode_trusting(bytes: &[u8]) -> std::result::Result<RgbImage, String> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let format = reader.format().ok_or("not a picture of a known kind")?;
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        // The decoder would fill the missing rest with grey.
        return Err("truncated JPEG: it has no end marker".into());
    }
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    limits.reserve(decoder.total_bytes()).map_err(|_| {
        let (width, height) = decoder.dimensions();
        format!("{width} × {height} pixels: too large to decode")
    })?;
    decoder.set_limits(limits).map_err(|e| e.to_string())?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    picture.apply_orientation(orientation);
    if picture.width() == 0 || picture.height() == 0 {
        return Err("it has no pixels".into());
    }
    Ok(on_white(picture))
}

/// Whether an end marker follows the picture's data: what a cut-off JPEG lacks. Bytes after it are
/// common; thumbnails with end markers of their own lie in the segments before the data.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, kind, high, low]) = bytes.get(at..at + 4) {
        if kind == 0xff {
            at += 1; // Padding before a marker.
        } else if kind == 0x01 || (0xd0..=0xd7).contains(&kind) {
            at += 2; // A marker that stands alone.
        } else if kind == 0xda {
            break;
        } else {
            at += 2 + usize::from(u16::from_be_bytes([high, low]));
        }
    }
    bytes.get(at..).is_some_and(|data| data.windows(2).any(|pair| pair == [0xff, 0xd9]))
}

/// `picture` in 8-bit RGB; what is transparent shows white.
fn on_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (to, from) in rgb.pixels_mut().zip(rgba.pixels()) {
        let alpha = u32::from(from.0[3]);
        for c in 0..3 {
            // Exact rounding of c·α + 255·(1 − α).
            to.0[c] = ((u32::from(from.0[c]) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
    }
    rgb
}
