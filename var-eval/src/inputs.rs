//! Images, pairs of images with the same name, and sets of images from any source.

pub(crate) mod h5;
mod labels;
pub mod pixels;
pub mod sampler;
pub mod set;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::RgbImage;
use var_tokenizer::images::decode::is_image_name;
use var_tokenizer::images::{Decoded, Traits, read_pixels};

pub use self::h5::check_h5;
use self::pixels::PixelRule;
use crate::error::{Error, Result};

/// Folders nested deeper than this are refused.
const MAX_DEPTH: usize = 16;

/// An image of bytes, `[height, width, channels]`, at least one byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    bytes: Vec<u8>,
}

impl Picture {
    /// An image of `bytes` in the order row, column, channel.
    ///
    /// # Errors
    /// [`Error::Bytes`] when a side is 0 or the number of bytes does not fit the shape.
    pub fn new(width: usize, height: usize, channels: usize, bytes: Vec<u8>) -> Result<Self> {
        let expected = width.saturating_mul(height).saturating_mul(channels);
        if expected == 0 || bytes.len() != expected {
            return Err(Error::Bytes { width, height, channels, expected, found: bytes.len() });
        }
        Ok(Self { width, height, channels, bytes })
    }

    /// Reads an image file as 8-bit RGB by `rule`, and returns the traits of the file too. Grey becomes three equal
    /// channels, which changes neither PSNR nor SSIM.
    ///
    /// # Errors
    /// When the file cannot be read or decoded.
    pub fn read(path: &Path, rule: PixelRule) -> Result<(Self, Traits)> {
        let Decoded { image: picture, traits } = read_pixels(path, rule.pixels())?;
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Ok((Self::new(width, height, 3, picture.into_raw())?, traits))
    }

    /// Width, height and channels.
    pub fn shape(&self) -> (usize, usize, usize) {
        (self.width, self.height, self.channels)
    }

    /// The image as RGB; `None` if it does not have three channels.
    pub fn into_image(self) -> Option<RgbImage> {
        let side = |side: usize| u32::try_from(side).ok();
        if self.channels == 3 {
            RgbImage::from_raw(side(self.width)?, side(self.height)?, self.bytes)
        } else {
            None
        }
    }

    /// Bytes in the order row, column, channel.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Two files to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Subfolders and file name without extension.
    pub name: String,
    /// The original.
    pub reference: PathBuf,
    /// The reconstruction.
    pub sample: PathBuf,
}

/// Matches the images of two folders by subfolder and name without extension, sorted by name. A JPEG original and a PNG
/// reconstruction are partners.
///
/// # Errors
/// As [`pictures`], and [`Error::Unmatched`] when an image of one folder has no partner: to skip it would change the set.
pub(crate) fn pairs(reference: &Path, samples: &Path) -> Result<Vec<Pair>> {
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

/// The image files in `folder` and its subfolders, by name without extension, with `/` after each subfolder. Files
/// with other endings, and hidden ones, are skipped.
///
/// # Errors
/// When a folder cannot be read or holds no image, something with the name of an image is not a regular file, or two images
/// have the same name.
pub(crate) fn pictures(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    collect(folder, "", 0, &mut found)?;
    if found.is_empty() {
        return Err(Error::file(folder, "holds no images"));
    }
    Ok(found)
}

/// Adds the image files below `folder`, whose names begin with `prefix`.
fn collect(folder: &Path, prefix: &str, depth: usize, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::file(
            folder,
            format!("folders nest deeper than {MAX_DEPTH}; check for a symbolic link to a folder above"),
        ));
    }
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let subfolder = path.is_dir();
        if file_name.starts_with('.') || !subfolder && !is_image_name(&file_name) {
            continue;
        }
        // Opening a pipe or a device may block.
        if !subfolder && std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(Error::file(&path, "is not a regular file (a pipe, socket or device); remove it"));
        }
        let name = if subfolder { path.file_name() } else { path.file_stem() };
        let Some(name) = name.and_then(|name| name.to_str()) else {
            return Err(Error::file(&path, "has a name that is not UTF-8; rename it"));
        };
        let name = format!("{prefix}{name}");
        if subfolder {
            collect(&path, &format!("{name}/"), depth + 1, found)?;
        } else if let Some(other) = found.insert(name, path.clone()) {
            let message = format!("has the same name as {}; remove one", other.display());
            return Err(Error::file(&path, message));
        }
    }
    Ok(())
}
