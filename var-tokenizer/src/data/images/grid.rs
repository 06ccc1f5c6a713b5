//! Pictures side by side in one PNG.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};

use super::transform::from_unit;
use crate::runtime::error::{Error, Result};
use crate::runtime::files::write_atomically;

/// Pixels between neighbours.
const GAP: u32 = 2;
/// Largest side of a grid: what a PNG viewer still opens.
const MAX_SIDE: u32 = 1 << 16;

/// Squares of one size on a white ground, filled cell by cell.
#[derive(Debug, Clone)]
pub struct Grid {
    side: u32,
    rows: u32,
    columns: u32,
    picture: RgbImage,
}

impl Grid {
    /// An empty grid of `rows` × `columns` pictures of `side` pixels.
    ///
    /// # Errors
    /// When there is no cell, or the grid would be wider or higher than 65,536 pixels.
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
                picture: RgbImage::from_pixel(width, height, Rgb([255; 3])),
            }),
            _ => Err(Error::Config(format!(
                "a grid of {rows} × {columns} pictures of side {side} is empty or larger than {MAX_SIDE} pixels"
            ))),
        }
    }

    /// A grid of `pictures` `[N, 3, side, side]` in [−1, 1], row by row; the last row may be short.
    ///
    /// # Errors
    /// When the numbers make no whole pictures, or as for [`Self::new`].
    pub fn of_pixels(pixels: &[f32], side: usize, columns: usize) -> Result<Self> {
        let size = 3 * side * side;
        let whole = size > 0 && columns > 0 && pixels.len().is_multiple_of(size);
        if !whole {
            return Err(Error::Config(format!(
                "{} values make no whole pictures of 3 × {side} × {side} in {columns} columns",
                pixels.len()
            )));
        }
        let mut grid = Self::new((pixels.len() / size).div_ceil(columns), columns, side)?;
        for (i, picture) in pixels.chunks_exact(size).enumerate() {
            grid.put(i / columns, i % columns, picture)?;
        }
        Ok(grid)
    }

    /// Puts `pixels` `[3, side, side]` in [−1, 1] into a cell.
    ///
    /// # Errors
    /// When there is no such cell, or the picture has another size.
    pub fn put(&mut self, row: usize, column: usize, pixels: &[f32]) -> Result<()> {
        self.put_picture(row, column, &from_unit(pixels, self.side as usize)?)
    }

    /// Puts a picture into a cell.
    ///
    /// # Errors
    /// When there is no such cell, or the picture has another size.
    pub fn put_picture(&mut self, row: usize, column: usize, picture: &RgbImage) -> Result<()> {
        if row >= self.rows as usize || column >= self.columns as usize {
            return Err(Error::Config(format!(
                "cell ({row}, {column}) lies outside a grid of {} × {}",
                self.rows, self.columns
            )));
        }
        if picture.dimensions() != (self.side, self.side) {
            let (width, height) = picture.dimensions();
            return Err(Error::Config(format!(
                "a picture of {width} × {height} for cells of side {}",
                self.side
            )));
        }
        let step = i64::from(self.side + GAP);
        image::imageops::replace(&mut self.picture, picture, column as i64 * step, row as i64 * step);
        Ok(())
    }

    /// The grid as one picture.
    pub fn picture(&self) -> &RgbImage {
        &self.picture
    }

    /// Writes the grid as a PNG; what was at `path` stays until the new file is whole.
    ///
    /// # Errors
    /// When the disk is full or the folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_png(&self.picture, path)
    }
}

/// Writes `picture` as a PNG; what was at `path` stays until the new file is whole.
///
/// # Errors
/// When the disk is full or the folder cannot be written.
pub fn write_png(picture: &RgbImage, path: &Path) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|e| Error::file(path, format!("cannot be made into a PNG: {e}")))?;
    write_atomically(path, &bytes.into_inner())
}
