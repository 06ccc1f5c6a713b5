//! Decodes image files to 8-bit RGB, as a viewer shows them (upright, on white) or as they are stored.
//!
//! Data sets hold grey, palette, 16-bit, CMYK, transparent, turned and broken images. An image that cannot be decoded
//! is an error with a reason and never ends the process: sizes are checked before memory is taken, and panics of
//! decoders are caught.

use std::io::{Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

use crate::runtime::error::{Error, Result};
use crate::runtime::panics::contained;

/// Endings of image files, in lower case.
pub(crate) const ENDINGS: [&str; 13] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm"];
/// Maximum size of an image file, in bytes.
pub(crate) const MAX_FILE: u64 = 256 << 20;
/// Maximum side of an image.
const MAX_SIDE: u32 = 1 << 16;
/// Maximum memory to decode one image, in bytes.
const MAX_MEMORY: u64 = 512 << 20;

/// How the pixels of a file become 8-bit RGB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pixels {
    /// As a viewer shows them: turned by the EXIF orientation, transparent pixels on white, 16 bits rounded to 8.
    #[default]
    Shown,
    /// As Pillow's `Image.open(f).convert("RGB")` gives them to the usual evaluation tools: the EXIF orientation is not
    /// applied (except in TIFF), alpha is dropped, 16-bit grey is cut at 255, 16-bit colours lose their low byte.
    Stored,
}

/// Properties of a file on which tools differ, or that change its pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traits {
    /// The content is JPEG, with any name.
    pub jpeg: bool,
    /// An EXIF orientation turns or mirrors the image.
    pub turned: bool,
    /// A pixel is not opaque.
    pub transparent: bool,
    /// Grey values of 16 bits.
    pub deep: bool,
}

/// An image in 8-bit RGB, and the properties of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The pixels.
    pub image: RgbImage,
    /// Properties of the file.
    pub traits: Traits,
}

impl From<RgbImage> for Decoded {
    /// Wraps pixels that do not come from an image file.
    fn from(image: RgbImage) -> Self {
        Self { image, traits: Traits::default() }
    }
}

/// Whether `name` has the ending of an image file and is not hidden.
pub fn is_image_name(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    let ending = base.rsplit_once('.').map(|(_, ending)| ending);
    let known = |ending: &str| ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending));
    !base.starts_with('.') && ending.is_some_and(known)
}

/// Reads the image in the file at `path`, as a viewer shows it.
///
/// # Errors
/// As for [`read_pixels`].
pub fn read_image(path: &Path) -> Result<RgbImage> {
    Ok(read_pixels(path, Pixels::Shown)?.image)
}

/// Reads the image in the file at `path`, as `pixels` says.
///
/// # Errors
/// When the file cannot be read, is larger than 256 MB, or is not a readable image.
pub fn read_pixels(path: &Path, pixels: Pixels) -> Result<Decoded> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut bytes = Vec::new();
    // A pipe or device does not tell its length.
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::file(
            path,
            format!("larger than {} MB: too large for an image file", MAX_FILE >> 20),
        ));
    }
    decode_pixels(&bytes, pixels).map_err(|reason| Error::file(path, reason))
}

/// Decodes the bytes of a PNG, JPEG, WebP, BMP, GIF (first frame), TIFF or PNM file, as a viewer shows it.
///
/// # Errors
/// Says what is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> std::result::Result<RgbImage, String> {
    Ok(decode_pixels(bytes, Pixels::Shown)?.image)
}

/// Decodes the bytes of a file, as `pixels` says. The content tells the format.
///
/// # Errors
/// Says what is wrong: empty, truncated, damaged, of an unknown kind, or too large.
pub(crate) fn decode_pixels(bytes: &[u8], pixels: Pixels) -> std::result::Result<Decoded, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    // Decoders may panic on damaged files.
    contained(|| decode_trusting(bytes, pixels))
        .unwrap_or_else(|| Err("damaged: the decoder fails on it".into()))
}

fn decode_trusting(bytes: &[u8], pixels: Pixels) -> std::result::Result<Decoded, String> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let format = reader.format().ok_or("not an image of a known format")?;
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        // The decoder fills the missing part with grey.
        return Err("truncated JPEG: the end marker is missing".into());
    }
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    // One bit per pixel in the file becomes three bytes in memory.
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
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    // Every reader applies the orientation of a TIFF: it is a tag of the format.
    let turned = orientation != Orientation::NoTransforms && format != ImageFormat::Tiff;
    let deep = is_deep_grey(&image, format, bytes);
    let traits =
        Traits { jpeg: format == ImageFormat::Jpeg, turned, transparent: is_transparent(&image), deep };
    if pixels == Pixels::Shown || !turned {
        image.apply_orientation(orientation);
    }
    if image.width() == 0 || image.height() == 0 {
        return Err("it has no pixels".into());
    }
    let image = match pixels {
        Pixels::Shown => on_white(image),
        Pixels::Stored => as_stored(image, format, deep),
    };
    Ok(Decoded { image, traits })
}

/// Whether the file holds grey values of 16 bits. The decoder turns the transparent colour of a PNG into an alpha
/// channel.
fn is_deep_grey(image: &DynamicImage, format: ImageFormat, bytes: &[u8]) -> bool {
    // Bit depth and colour type of a PNG.
    let header = || bytes.get(24..26);
    match image {
        DynamicImage::ImageLuma16(_) => true,
        DynamicImage::ImageLumaA16(_) => format == ImageFormat::Png && header() == Some(&[16, 0]),
        _ => false,
    }
}

fn is_transparent(image: &DynamicImage) -> bool {
    match image {
        DynamicImage::ImageLumaA8(pixels) => pixels.pixels().any(|p| p.0[1] != u8::MAX),
        DynamicImage::ImageRgba8(pixels) => pixels.pixels().any(|p| p.0[3] != u8::MAX),
        DynamicImage::ImageLumaA16(pixels) => pixels.pixels().any(|p| p.0[1] != u16::MAX),
        DynamicImage::ImageRgba16(pixels) => pixels.pixels().any(|p| p.0[3] != u16::MAX),
        _ => false,
    }
}

/// Whether an end marker follows the data of the image. A truncated JPEG has none. Other bytes may follow the marker.
/// Thumbnails have end markers too, but in the segments before the data.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, kind, high, low]) = bytes.get(at..at + 4) {
        if kind == 0xff {
            at += 1; // Padding before a marker.
        } else if kind == 0x01 || (0xd0..=0xd7).contains(&kind) {
            at += 2; // A marker without a segment.
        } else if kind == 0xda {
            break;
        } else {
            at += 2 + usize::from(u16::from_be_bytes([high, low]));
        }
    }
    bytes.get(at..).is_some_and(|data| data.windows(2).any(|pair| pair == [0xff, 0xd9]))
}

/// Converts `image` to 8-bit RGB, with transparent pixels on white.
fn on_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
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

/// Converts `image` to 8-bit RGB as Pillow's `convert("RGB")` does.
fn as_stored(image: DynamicImage, format: ImageFormat, deep: bool) -> RgbImage {
    let cut = |grey: u16| Rgb([u8::try_from(grey).unwrap_or(u8::MAX); 3]);
    let high = |sample: u16| (sample >> 8) as u8;
    let (width, height) = (image.width(), image.height());
    match image {
        DynamicImage::ImageLuma16(from) => {
            RgbImage::from_fn(width, height, |x, y| cut(from.get_pixel(x, y).0[0]))
        }
        DynamicImage::ImageLumaA16(from) if deep => {
            RgbImage::from_fn(width, height, |x, y| cut(from.get_pixel(x, y).0[0]))
        }
        DynamicImage::ImageLumaA16(from) => {
            RgbImage::from_fn(width, height, |x, y| Rgb([high(from.get_pixel(x, y).0[0]); 3]))
        }
        // Pillow rounds the 16-bit colours of a PPM file, as `into_rgb8` does.
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
