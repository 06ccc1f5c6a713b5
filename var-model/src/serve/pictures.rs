//! Images for the page: PNGs in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use serde::Serialize;
use var_tokenizer::images::resize::{Filter, resize};

use super::answers::Refusal;
use super::limits::MOST_PHOTO_PIXELS;
use super::upload::image;
use crate::error::Result;
use crate::outputs::encoded::png_bytes;

/// Maximum side of the photo that the page shows.
const SHOWN_SIDE: u32 = 1024;

/// `image` as a PNG in base64.
///
/// # Errors
/// When memory runs out.
pub(super) fn png_text(image: &RgbImage) -> Result<String> {
    Ok(STANDARD.encode(png_bytes(image)?))
}

/// A photo for the page: its size, and a PNG of it that is not larger than a screen. The browser may not know the format
/// of the file, or may turn it in another way.
#[derive(Debug, Serialize)]
pub(super) struct Photo {
    width: u32,
    height: u32,
    image: String,
}

/// The photo in a file's `bytes`.
pub(super) fn photo(bytes: &[u8]) -> std::result::Result<Photo, Refusal> {
    let photo = image(bytes, "the photo", MOST_PHOTO_PIXELS)?;
    let (width, height) = photo.dimensions();
    let longest = width.max(height);
    let image = if longest <= SHOWN_SIDE {
        png_text(&photo)?
    } else {
        let fitting = |side: u32| {
            let shown = (u64::from(side) * u64::from(SHOWN_SIDE)).div_ceil(u64::from(longest));
            shown.max(1) as u32
        };
        png_text(&resize(&photo, fitting(width), fitting(height), Filter::Lanczos)?)?
    };
    Ok(Photo { width, height, image })
}
