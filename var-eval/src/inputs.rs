//! Pictures, folders of pictures matched by file name, and sets of pictures from any source.

mod labels;
pub mod sampler;
pub mod set;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, ImageReader, RgbImage};

use crate::error::{Error, Result};

/// A picture of bytes, `[height, width, channels]`, at least one byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    bytes: Vec<u8>,
}

impl Picture {
    /// A picture of `bytes` in the order row, column, channel.
    ///
    /// # Errors
    /// [`Error::Bytes`] when a side is 0 or the number of bytes is another than the shape says.
    pub fn new(width: usize, height: usize, channels: usize, bytes: Vec<u8>) -> Result<Self> {
        let expected = width.saturating_mul(height).saturating_mul(channels);
        if expected == 0 || bytes.len() != expected {
            return Err(Error::Bytes { width, height, channels, expected, found: bytes.len() });
        }
        Ok(Self { width, height, channels, bytes })
    }

    /// Reads a PNG or JPEG file as 8-bit RGB. Grey becomes three equal channels, which changes neither
    /// PSNR nor SSIM. Orientation tags and colour profiles are not applied.
    ///
    /// # Errors
    /// When the file cannot be read or decoded, has 16 bits a sample (nothing here rounds behind your
    /// back), or has pixels that are not opaque.
    pub fn read(path: &Path) -> Result<Self> {
        let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
        let picture = reader.map_err(|e| Error::io(path, e))?.decode().map_err(|e| match e {
            image::ImageError::IoError(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
                Error::io(path, e)
            }
            e => Error::file(path, format!("not a readable PNG or JPEG: {e}")),
        })?;
        let depth = picture.color();
        if depth.bytes_per_pixel() != depth.channel_count() {
            return Err(Error::file(
                path,
                format!("has {depth:?} samples, expected 8 bits; convert it first"),
            ));
        }
        if has_transparency(&picture) {
            return Err(Error::file(path, "has transparent pixels; put it on a background first"));
        }
        let picture = picture.into_rgb8();
        Self::new(picture.width() as usize, picture.height() as usize, 3, picture.into_raw())
    }

    /// Width, height and channels.
    pub fn shape(&self) -> (usize, usize, usize) {
        (self.width, self.height, self.channels)
    }

    /// The picture as RGB; `None` when it has another number of channels.
    pub fn into_image(self) -> Option<RgbImage> {
        let side = |side: usize| u32::try_from(side).ok();
        if self.channels == 3 {
            RgbImage::from_raw(side(self.width)?, side(self.height)?, self.bytes)
        } else {
            None
        }
    }

    /// Samples in the order row, column, channel.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn has_transparency(picture: &DynamicImage) -> bool {
    match picture {
        DynamicImage::ImageLumaA8(pixels) => pixels.pixels().any(|p| p.0[1] != u8::MAX),
        DynamicImage::ImageRgba8(pixels) => pixels.pixels().any(|p| p.0[3] != u8::MAX),
        _ => false,
    }
}

/// Two files to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// File name without extension.
    pub name: String,
    /// The original.
    pub reference: PathBuf,
    /// What is scored.
    pub sample: PathBuf,
}

/// Matches the pictures of two folders by file name without extension, sorted by name. A JPEG original and
/// the PNG made from it are partners.
///
/// # Errors
/// As [`pictures`], and [`Error::Unmatched`] when a picture of either folder has no partner: a set that is
/// silently cut to what both hold would be another set.
pub fn pairs(reference: &Path, samples: &Path) -> Result<Vec<Pair>> {
    let references = pictures(reference)?;
    let mut partners = pictures(samples)?;
    let missing = |of: &BTreeMap<String, PathBuf>, within: &BTreeMap<String, PathBuf>| -> Vec<String> {
        of.keys().filter(|name| !within.contains_key(*name)).cloned().collect()
    };
    for (folder, names) in
        [(samples, missing(&references, &partners)), (reference, missing(&partners, &references))]
    {
        if !names.is_empty() {
            return Err(Error::Unmatched { folder: folder.to_owned(), names });
        }
    }
    Ok(references
        .into_iter()
        .filter_map(|(name, reference)| partners.remove(&name).map(|sample| Pair { name, reference, sample }))
        .collect())
}

/// The PNG and JPEG files in `folder`, by file name without extension. Files that are no pictures, and
/// hidden ones, are passed over.
///
/// # Errors
/// When the folder cannot be read or holds no picture; a subfolder, a picture of another format, or two
/// pictures of one name are errors too, for they would change the set unseen.
pub fn pictures(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            return Err(Error::file(&path, "is a folder; give a folder that holds the pictures themselves"));
        }
        match ImageFormat::from_path(&path) {
            Ok(ImageFormat::Png | ImageFormat::Jpeg) => {}
            Ok(_) => return Err(Error::file(&path, "is neither PNG nor JPEG; convert it first")),
            Err(_) => continue,
        }
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned) else {
            return Err(Error::file(&path, "has a name that is not UTF-8; rename it"));
        };
        if let Some(other) = found.insert(name, path.clone()) {
            let message = format!("has the same name as {}; remove one", other.display());
            return Err(Error::file(&path, message));
        }
    }
    if found.is_empty() {
        return Err(Error::file(folder, "holds no PNG or JPEG picture"));
    }
    Ok(found)
}
