//! The first images after every scale, coarse to fine: a strip, or an animation.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, RgbImage, RgbaImage};
use tch::Tensor;
use var_tokenizer::files::write_atomically;
use var_tokenizer::images::{Grid, from_tensor};

use super::encoded::png_bytes;
use crate::error::{Error, Result};
use crate::sampling::Sampler;

/// Maximum number of images to show.
pub(crate) const MOST_SHOWN: usize = 8;
/// Number of images side by side in an animation.
const COLUMNS: usize = 4;
/// Duration of a frame, and of the last one, in milliseconds.
const DELAYS: (u16, u16) = (500, 2500);

/// A file that shows the images after each scale, and its form by its ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScalesFile {
    /// `.png`: one row per image, one column per scale.
    Strip(PathBuf),
    /// `.gif`: an animation.
    Gif(PathBuf),
    /// `.apng`: an animation in all colours.
    Apng(PathBuf),
}

impl ScalesFile {
    /// The file that `path` means by its ending.
    ///
    /// # Errors
    /// When the ending is none of those known.
    pub fn of(path: PathBuf) -> Result<Self> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        match ending.as_str() {
            "png" => Ok(Self::Strip(path)),
            "gif" => Ok(Self::Gif(path)),
            "apng" => Ok(Self::Apng(path)),
            _ => {
                Err(Error::Config("the name must end in .png (a strip), .gif or .apng (an animation)".into()))
            }
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Strip(path) | Self::Gif(path) | Self::Apng(path) => path,
        }
    }
}

/// The images after each scale: one list of frames per image.
#[derive(Debug, Default)]
pub(crate) struct Scales {
    wanted: usize,
    pictures: Vec<Vec<RgbImage>>,
}

impl Scales {
    /// Collects the first images of `total`.
    pub(crate) fn new(total: usize) -> Self {
        Self { wanted: total.min(MOST_SHOWN), pictures: Vec::new() }
    }

    /// The images of `pictures` after each scale, at most as many as are shown.
    pub(crate) fn of(mut pictures: Vec<Vec<RgbImage>>) -> Self {
        pictures.truncate(MOST_SHOWN);
        Self { wanted: pictures.len(), pictures }
    }

    /// Images that are still missing, by number.
    pub(crate) fn missing(&self) -> std::ops::Range<usize> {
        self.pictures.len()..self.wanted
    }

    /// Takes the missing images from a sample that begins with image `first`; `latents`
    /// `[B, z, h, w]` after each scale.
    ///
    /// # Errors
    /// When an image is not finite, or libtorch fails.
    pub(crate) fn take(&mut self, first: usize, latents: &[Tensor], sampler: &Sampler) -> Result<()> {
        let missing = self.missing();
        let count = latents.first().map_or(0, |latent| latent.size().first().copied().unwrap_or(0) as usize);
        if first != missing.start || missing.is_empty() || count == 0 {
            return Ok(());
        }
        let count = count.min(missing.len());
        let mut taken = vec![Vec::with_capacity(latents.len()); count];
        for (k, latent) in latents.iter().enumerate() {
            let latent = latent.narrow(0, 0, count as i64);
            let what = || format!("images after scale {} of {}", k + 1, latents.len());
            let images = tch::no_grad(|| sampler.decode(&latent, what))?;
            for (frames, picture) in taken.iter_mut().zip(from_tensor(&images)?) {
                frames.push(picture);
            }
        }
        self.pictures.extend(taken);
        Ok(())
    }

    /// Writes one file: a strip with one row per image and one column per scale, or an animation.
    ///
    /// # Errors
    /// When the disk is full; an earlier file stays.
    pub(crate) fn write(&self, file: &ScalesFile) -> Result<()> {
        write_atomically(file.path(), &self.bytes(file)?)
    }

    /// The bytes of such a file.
    ///
    /// # Errors
    /// When the images differ in size, or are too large for a strip.
    pub(crate) fn bytes(&self, file: &ScalesFile) -> Result<Vec<u8>> {
        let bytes = match file {
            ScalesFile::Strip(_) => return png_bytes(self.strip()?.image()),
            ScalesFile::Gif(_) => self.gif().map_err(|e| e.to_string()),
            ScalesFile::Apng(_) => self.apng().map_err(|e| e.to_string()),
        };
        bytes.map_err(|e| Error::file(file.path(), format!("the animation cannot be made: {e}")))
    }

    fn strip(&self) -> Result<Grid> {
        let side = self.side();
        let mut grid = Grid::new(self.pictures.len(), self.scales(), side)?;
        for (row, frames) in self.pictures.iter().enumerate() {
            for (column, frame) in frames.iter().enumerate() {
                grid.put_image(row, column, frame)?;
            }
        }
        Ok(grid)
    }

    fn scales(&self) -> usize {
        self.pictures.first().map_or(0, Vec::len)
    }

    fn side(&self) -> usize {
        self.pictures.first().and_then(|frames| frames.first()).map_or(0, |frame| frame.width() as usize)
    }

    /// All images after each scale, with the milliseconds that they are shown.
    fn frames(&self) -> Result<Vec<(RgbImage, u16)>> {
        let columns = self.pictures.len().min(COLUMNS);
        (0..self.scales())
            .map(|scale| {
                let mut grid = Grid::new(self.pictures.len().div_ceil(columns.max(1)), columns, self.side())?;
                for (i, frame) in self.pictures.iter().filter_map(|frames| frames.get(scale)).enumerate() {
                    grid.put_image(i / columns, i % columns, frame)?;
                }
                let delay = if scale + 1 == self.scales() { DELAYS.1 } else { DELAYS.0 };
                Ok((grid.image().clone(), delay))
            })
            .collect()
    }

    fn gif(&self) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
        let mut bytes = Vec::new();
        let mut encoder = GifEncoder::new_with_speed(&mut bytes, 10);
        encoder.set_repeat(Repeat::Infinite)?;
        for (picture, delay) in self.frames()? {
            let (width, height) = picture.dimensions();
            let rgba = RgbaImage::from_fn(width, height, |x, y| {
                let [r, g, b] = picture.get_pixel(x, y).0;
                image::Rgba([r, g, b, 255])
            });
            let delay = Delay::from_numer_denom_ms(u32::from(delay), 1);
            encoder.encode_frame(Frame::from_parts(rgba, 0, 0, delay))?;
        }
        drop(encoder);
        Ok(bytes)
    }

    fn apng(&self) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
        let frames = self.frames()?;
        let (width, height) = frames.first().map_or((0, 0), |(picture, _)| picture.dimensions());
        let mut bytes = Cursor::new(Vec::new());
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_animated(frames.len() as u32, 0)?;
        let mut writer = encoder.write_header()?;
        for (picture, delay) in &frames {
            writer.set_frame_delay(*delay, 1000)?;
            writer.write_image_data(picture.as_raw())?;
        }
        writer.finish()?;
        Ok(bytes.into_inner())
    }
}
