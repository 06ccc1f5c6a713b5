//! Puts images that the page has into one file: a grid, a strip of the scales, an animation. The bytes are those that the
//! command line writes.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use image::RgbImage;
use serde::Deserialize;
use var_tokenizer::images::Grid;

use super::answers::Refusal;
use super::limits::{MOST_IMAGES, MOST_SCALE_IMAGES};
use super::upload::image_in_base64;
use crate::outputs::encoded::png_bytes;
use crate::outputs::scales::{Scales, ScalesFile};

/// Maximum number of images of all frames.
const MOST_FRAMES: usize = 512;
/// Maximum number of pixels of all frames.
const MOST_PIXELS: u64 = 1 << 26;

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Form {
    Grid,
    Strip,
    Gif,
    Apng,
}

/// A request for a file. Images are PNGs in base64.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AssembleBody {
    form: Form,
    /// Images per row of a grid.
    columns: usize,
    /// The images, each after one or more scales. A grid shows the last one.
    images: Vec<Vec<String>>,
}

impl AssembleBody {
    /// The file. Decodes and encodes images: takes a while.
    pub(super) fn file(&self) -> Result<Response, Refusal> {
        let frames = self.images.iter().map(Vec::len).sum::<usize>();
        let (images, columns) = (self.images.len(), self.columns);
        if !(1..=MOST_IMAGES).contains(&images) || frames > MOST_FRAMES || !(1..=images).contains(&columns) {
            return Err(Refusal::bad(format!(
                "{images} images in {columns} columns, {frames} frames: 1 to {MOST_IMAGES} images and at most \
                 {MOST_FRAMES} frames are possible"
            )));
        }
        let (kind, bytes) = match self.form {
            Form::Grid => ("image/png", self.grid()?),
            Form::Strip => ("image/png", self.scales()?.bytes(&ScalesFile::Strip("strip.png".into()))?),
            Form::Gif => ("image/gif", self.scales()?.bytes(&ScalesFile::Gif("scales.gif".into()))?),
            Form::Apng => ("image/apng", self.scales()?.bytes(&ScalesFile::Apng("scales.apng".into()))?),
        };
        Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
    }

    fn grid(&self) -> Result<Vec<u8>, Refusal> {
        let last: Vec<&[String]> = self
            .images
            .iter()
            .map(|frames| frames.last().map(std::slice::from_ref).unwrap_or_default())
            .collect();
        let images = decoded(&last)?;
        let side = images.first().and_then(|frames| frames.first()).map_or(0, |image| image.width() as usize);
        let mut grid = Grid::new(images.len().div_ceil(self.columns), self.columns, side)?;
        for (number, image) in images.iter().flatten().enumerate() {
            grid.put_image(number / self.columns, number % self.columns, image)?;
        }
        Ok(png_bytes(grid.image())?)
    }

    fn scales(&self) -> Result<Scales, Refusal> {
        let shown: Vec<&[String]> = self.images.iter().take(MOST_SCALE_IMAGES).map(Vec::as_slice).collect();
        let images = decoded(&shown)?;
        let scales = images.first().map_or(0, Vec::len);
        if scales == 0 || images.iter().any(|frames| frames.len() != scales) {
            return Err(Refusal::bad("each image must come after the same number of scales, at least one"));
        }
        Ok(Scales::of(images))
    }
}

/// All images, of one size.
fn decoded(images: &[&[String]]) -> Result<Vec<Vec<RgbImage>>, Refusal> {
    let (mut left, mut size) = (MOST_PIXELS, None);
    let mut one = |text: &String| {
        let image = image_in_base64(text, "an image", left)?;
        left -= u64::from(image.width()) * u64::from(image.height());
        if *size.get_or_insert(image.dimensions()) != image.dimensions() {
            return Err(Refusal::bad("the images have different sizes"));
        }
        Ok(image)
    };
    images.iter().map(|frames| frames.iter().map(&mut one).collect()).collect()
}
