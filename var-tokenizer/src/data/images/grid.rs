//! Grids of images in one PNG.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};

use super::transform::from_unit;
use crate::runtime::error::{Error, Result};
use crate::runtime::files::write_atomically;

/// Pixels between images.
const GAP: u32 = 2;
/// Maximum side of a grid. Viewers cannot open larger PNGs.
const MAX_SIDE: u32 = 1 << 16;

/// Square images of one size on a white background.
#[derive(Debug, Clone)]
pub struct Grid {
    side: u32,
    rows: u32,
    columns: u32,
    image: RgbImage,
}

impl Grid {
    /// Makes an empty grid of `rows` × `columns` images of `side` pixels.
    ///
    /// # Errors
    /// When the grid has no cell, or is wider or higher than 65,536 pixels.
    pub fn new(rows: usize, columns: usize, side: usize) -> Result<Self> {
        let length = |cells: usize| {
            let length = cells.checked_mul(side.checked_add(GAP as usize)?)?.checked_sub(GAP as usize)?;
            u32::try_from(length).ok().filter(|&length| length <= MAX_SIDE)
        };
        match (length(rows), length(columns)) {
            (Some(height), Some(width)) if rows * columns * side > 0 => Ok(Self {
                side: side as u32,
                rows: rows as u32,
                columns: columns as u32,
                image: RgbImage::from_pixel(width, height, Rgb([255; 3])),
            }),
            _ => Err(Error::Config(format!(
                "a grid of {rows} × {columns} images of side {side} is empty or larger than {MAX_SIDE} pixels"
            ))),
        }
    }

    /// Makes a grid of the images `pixels` `[N, 3, side, side]` in [−1, 1], row by row. The last row may be short.
    ///
    /// # Errors
    /// When the number of values is not a multiple of `3 · side²`, or as for [`Self::new`].
    pub fn of_pixels(pixels: &[f32], side: usize, columns: usize) -> Result<Self> {
        let size = 3 * side * side;
        let whole = size > 0 && columns > 0 && pixels.len().is_multiple_of(size);
        if !whole {
            return Err(Error::Config(format!(
                "grid of {columns} columns: {} values are not whole images of 3 × {side} × {side}",
                pixels.len()
            )));
        }
        let mut grid = Self::new((pixels.len() / size).div_ceil(columns), columns, side)?;
        for (i, image) in pixels.chunks_exact(size).enumerate() {
            grid.put(i / columns, i % columns, image)?;
        }
        Ok(grid)
    }

    /// Puts the image `pixels` `[3, side, side]` in [−1, 1] into a cell.
    ///
    /// # Errors
    /// When the cell is outside the grid, or the image has another size.
    pub fn put(&mut self, row: usize, column: usize, pixels: &[f32]) -> Result<()> {
        self.put_image(row, column, &from_unit(pixels, self.side as usize)?)
    }

    /// Puts an image into a cell.
    ///
    /// # Errors
    /// When the cell is outside the grid, or the image has another size.
    pub fn put_image(&mut self, row: usize, column: usize, image: &RgbImage) -> Result<()> {
        if row >= self.rows as usize || column >= self.columns as usize {
            return Err(Error::Config(format!(
                "cell ({row}, {column}) is outside a grid of {} × {}",
                self.rows, self.columns
            )));
        }
        if image.dimensions() != (self.side, self.side) {
            let (width, height) = image.dimensions();
            return Err(Error::Config(format!(
                "an image of {width} × {height} pixels does not fit a cell of side {}",
                self.side
            )));
        }
        let step = i64::from(self.side + GAP);
        image::imageops::replace(&mut self.image, image, column as i64 * step, row as i64 * step);
        Ok(())
    }

    /// Returns the grid as one image.
    pub fn image(&self) -> &RgbImage {
        &self.image
    }

    /// Writes the grid as a PNG. An existing file at `path` stays until the new one is complete.
    ///
    /// # Errors
    /// When the disk is full or the folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_png(&self.image, path)
    }
}

/// Writes `image` as a PNG. An existing file at `path` stays until the new one is complete.
///
/// # Errors
/// When the disk is full or the folder cannot be written.
pub fn write_png(image: &RgbImage, path: &Path) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|e| Error::file(path, format!("cannot be encoded as PNG: {e}")))?;
    write_atomically(path, &bytes.into_inner())
}
