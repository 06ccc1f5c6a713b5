//! Any picture file to 8-bit RGB: as it is shown (upright, on white), or as it is stored.
//!
//! Data sets hold grey, palette, 16-bit, CMYK and transparent pictures, pictures that a camera turned,
//! and broken ones. All that can be shown is shown; what cannot is an error with a reason, never an
//! abort: sizes are limited before memory is taken, and a decoder that panics is caught.

use std::io::{Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

use crate::runtime::error::{Error, Result};
use crate::runtime::panics::contained;

/// File name endings that are taken for pictures, in lower case.
pub(crate) const ENDINGS: [&str; 13] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm"];
/// Largest file that is read as a picture.
pub(crate) const MAX_FILE: u64 = 256 << 20;
/// Largest side of a picture.
const MAX_SIDE: u32 = 1 << 16;
/// Largest memory that one picture may take while it is decoded.
const MAX_MEMORY: u64 = 512 << 20;

/// How the pixels of a file become 8-bit RGB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pixels {
    /// As a viewer shows them: turned as the EXIF orientation says, on white where they are transparent, 16 bits
    /// rounded to 8.
    #[default]
    Shown,
    /// As Pillow's `Image.open(f).convert("RGB")` gives them, which the usual evaluation tools read: the EXIF
    /// orientation is not applied (except in TIFF), alpha is dropped, 16-bit grey is cut at 255, 16-bit colours
    /// lose their low byte.
    Stored,
}

/// What a file has in which tools differ, or that leaves traces in the pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traits {
    /// The content is JPEG, whatever the name says.
    pub jpeg: bool,
    /// An EXIF orientation turns or mirrors it.
    pub turned: bool,
    /// A pixel is not opaque.
    pub transparent: bool,
    /// Grey values of 16 bits.
    pub deep: bool,
}

/// A picture in 8-bit RGB, and what its file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The pixels.
    pub picture: RgbImage,
    /// What was found on the way to them.
    pub traits: Traits,
}

impl From<RgbImage> for Decoded {
    /// Pixels that do not come from a picture file.
    fn from(picture: RgbImage) -> Self {
        Self { picture, traits: Traits::default() }
    }
}

/// Whether `name` ends like a picture file; hidden files do not count.
pub fn is_picture_name(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    let ending = base.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    !base.starts_with('.') && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// The picture in the file at `path`, as it is shown.
///
/// # Errors
/// As for [`read_pixels`].
pub fn read_picture(path: &Path) -> Result<RgbImage> {
    Ok(read_pixels(path, Pixels::Shown)?.picture)
}

/// The picture in the file at `path`, read as `pixels` says.
///
/// # Errors
/// When the file cannot be read, is larger than 256 MB, or holds no readable picture.
pub fn read_pixels(path: &Path, pixels: Pixels) -> Result<Decoded> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut bytes = Vec::new();
    // What is no plain file does not tell its length.
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::file(path, format!("above {} MB: too large for a picture file", MAX_FILE >> 20)));
    }
    decode_pixels(&bytes, pixels).map_err(|reason| Error::file(path, reason))
}

/// The picture in the bytes of a PNG, JPEG, WebP, BMP, GIF (first frame), TIFF or PNM file, as it is shown.
///
/// # Errors
/// What is wrong with the bytes, in words.
pub fn decode(bytes: &[u8]) -> std::result::Result<RgbImage, String> {
    Ok(decode_pixels(bytes, Pixels::Shown)?.picture)
}

/// The picture in the bytes of a file, read as `pixels` says. The content tells the format.
///
/// # Errors
/// A reason in words: empty, truncated, damaged, of unknown kind, or too large.
pub(crate) fn decode_pixels(bytes: &[u8], pixels: Pixels) -> std::result::Result<Decoded, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    // Decoders are other people's code fed with other people's files.
    contained(|| decode_trusting(bytes, pixels))
        .unwrap_or_else(|| Err("the decoder failed on it: the file is damaged".into()))
}

fn decode_trusting(bytes: &[u8], pixels: Pixels) -> std::result::Result<Decoded, String> {
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
    let (width, height) = decoder.dimensions();
    // One bit a pixel in the file is three bytes in memory.
    let memory = decoder.total_bytes().max(3 * u64::from(width) * u64::from(height));
    limits.reserve(memory).map_err(|_| {
        format!(
            "{width} × {height} pixels: too large to decode ({} MB in memory, the limit is {} MB)",
            memory >> 20,
            MAX_MEMORY >> 20
        )
    })?;
    decoder.set_limits(limits).map_err(|e| e.to_string())?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    // Every reader turns a TIFF: its orientation is a tag of the format itself.
    let turned = orientation != Orientation::NoTransforms && format != ImageFormat::Tiff;
    let deep = is_deep_grey(&picture, format, bytes);
    let traits =
        Traits { jpeg: format == ImageFormat::Jpeg, turned, transparent: is_transparent(&picture), deep };
    if pixels == Pixels::Shown || !turned {
        picture.apply_orientation(orientation);
    }
    if picture.width() == 0 || picture.height() == 0 {
        return Err("it has no pixels".into());
    }
    let picture = match pixels {
        Pixels::Shown => on_white(picture),
        Pixels::Stored => as_stored(picture, format, deep),
    };
    Ok(Decoded { picture, traits })
}

/// Whether the file holds grey values of 16 bits. The decoder makes an alpha channel of a PNG's transparent colour.
fn is_deep_grey(picture: &DynamicImage, format: ImageFormat, bytes: &[u8]) -> bool {
    // Bit depth and colour type of a PNG.
    let header = || bytes.get(24..26);
    match picture {
        DynamicImage::ImageLuma16(_) => true,
        DynamicImage::ImageLumaA16(_) => format == ImageFormat::Png && header() == Some(&[16, 0]),
        _ => false,
    }
}

fn is_transparent(picture: &DynamicImage) -> bool {
    match picture {
        DynamicImage::ImageLumaA8(pixels) => pixels.pixels().any(|p| p.0[1] != u8::MAX),
        DynamicImage::ImageRgba8(pixels) => pixels.pixels().any(|p| p.0[3] != u8::MAX),
        DynamicImage::ImageLumaA16(pixels) => pixels.pixels().any(|p| p.0[1] != u16::MAX),
        DynamicImage::ImageRgba16(pixels) => pixels.pixels().any(|p| p.0[3] != u16::MAX),
        _ => false,
    }
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

/// `picture` in 8-bit RGB as Pillow's `convert("RGB")` makes it.
fn as_stored(picture: DynamicImage, format: ImageFormat, deep: bool) -> RgbImage {
    let cut = |grey: u16| Rgb([u8::try_from(grey).unwrap_or(u8::MAX); 3]);
    let high = |sample: u16| (sample >> 8) as u8;
    let (width, height) = (picture.width(), picture.height());
    match picture {
        DynamicImage::ImageLuma16(from) => {
            RgbImage::from_fn(width, height, |x, y| cut(from.get_pixel(x, y).0[0]))
        }
        DynamicImage::ImageLumaA16(from) if deep => {
            RgbImage::from_fn(width, height, |x, y| cut(from.get_pixel(x, y).0[0]))
        }
        DynamicImage::ImageLumaA16(from) => {
            RgbImage::from_fn(width, height, |x, y| Rgb([high(from.get_pixel(x, y).0[0]); 3]))
        }
        // Of the colours of a PPM file Pillow rounds 16 bits, as `into_rgb8` does.
        DynamicImage::ImageRgb16(from) if format != ImageFormat::Pnm => {
            RgbImage::from_fn(width, height, |x, y| Rgb(from.get_pixel(x, y).0.map(high)))
        }
        DynamicImage::ImageRgba16(from) => RgbImage::from_fn(width, height, |x, y| {
            let [r, g, b, _] = from.get_pixel(x, y).0.map(high);
            Rgb([r, g, b])
        }),
        // Drops alpha.
        other => other.into_rgb8(),
    }
}
