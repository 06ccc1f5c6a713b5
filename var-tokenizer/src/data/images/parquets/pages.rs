//! Random access to the images of Parquet files.
//!
//! The unit of reading is a page: it is unpacked as a whole. Usual writers put all images of a row group, often a
//! hundred, into one page. Unpacked pages are kept up to [`KEPT`] bytes, shared by all threads. An encode reads in order
//! and unpacks each page about once. A training reads in random order and unpacks a page for almost every image.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ::parquet::column::page::PageReader;
use ::parquet::column::reader::{ColumnReaderImpl, get_column_reader, get_typed_column_reader};
use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::serialized_reader::SerializedPageReader;

use super::super::decode::{Decoded, MAX_FILE, Pixels, decode_pixels};
use super::super::listing::Images;
use super::super::recent::Recent;
use super::chunks::Chunks;
use crate::runtime::error::{Error, Result};
use crate::runtime::panics::contained;

/// Bytes of unpacked pages that are kept.
const KEPT: u64 = 256 << 20;
/// Numbers of pages that are kept.
const KEPT_PLACES: u64 = 1 << 20;

/// Images of a row group.
pub(super) struct Group {
    /// Which of the files.
    pub(super) file: usize,
    /// Index of its first image among those of all files.
    pub(super) first: usize,
    /// Number of its rows.
    pub(super) rows: usize,
    /// Where its images lie.
    pub(super) column: ColumnChunkMetaData,
}

/// A file, by the name that its images have before their row.
pub(super) struct Shard {
    pub(super) name: String,
    pub(super) chunks: Arc<Chunks>,
    /// Index of its first image among those of all files.
    pub(super) first: usize,
}

/// The images of all files.
pub(super) struct Table {
    files: Vec<Shard>,
    groups: Vec<Group>,
    /// First row of each page of a row group, and the end.
    places: Recent<Vec<usize>>,
    pages: Recent<Vec<Option<ByteArray>>>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("files", &self.files.len()).field("groups", &self.groups.len()).finish()
    }
}

impl Table {
    pub(super) fn new(files: Vec<Shard>, groups: Vec<Group>) -> Self {
        Self { files, groups, places: Recent::new(KEPT_PLACES), pages: Recent::new(KEPT) }
    }

    /// Returns the row group of image `index` with its number, and the file.
    fn find(&self, index: usize) -> Option<(usize, &Group, &Shard)> {
        let number = self.groups.partition_point(|group| group.first <= index).checked_sub(1)?;
        let group = self.groups.get(number).filter(|group| index - group.first < group.rows)?;
        Some((number, group, self.files.get(group.file)?))
    }

    /// Returns the page with `row` of a group, and the number of the row in it.
    fn page(
        &self,
        number: usize,
        group: &Group,
        file: &Shard,
        row: usize,
    ) -> Result<(Arc<Vec<Option<ByteArray>>>, usize)> {
        let places = self.places.get(number as u64, || {
            let places = guarded(group, file, || first_rows(group, file))?;
            let weight = places.len() as u64;
            Ok((places, weight))
        })?;
        let page = places.partition_point(|&first| first <= row).saturating_sub(1);
        let (Some(&begin), Some(&end)) = (places.get(page), places.get(page + 1)) else {
            return Err(damaged(group, file, &format!("row {row} of them is missing")));
        };
        let key = (number as u64) << 32 | page as u64;
        let images = self.pages.get(key, || {
            let images = guarded(group, file, || read_page(group, file, begin, end))?;
            let weight = images.iter().flatten().map(|image| image.len() as u64).sum();
            Ok((images, weight))
        })?;
        Ok((images, row - begin))
    }
}

/// Says that a row group is damaged, by its rows in the file.
fn damaged(group: &Group, file: &Shard, reason: &str) -> Error {
    let begin = group.first - file.first;
    let rows = format!("rows {begin} to {}", (begin + group.rows).saturating_sub(1));
    Error::file(file.chunks.0.path(), format!("damaged Parquet file: {rows}: {reason}"))
}

/// Lets the library work on a row group, which may be damaged.
fn guarded<T>(
    group: &Group,
    file: &Shard,
    work: impl FnOnce() -> std::result::Result<T, ParquetError>,
) -> Result<T> {
    match contained(work) {
        Some(done) => done.map_err(|e| damaged(group, file, &e.to_string())),
        None => Err(damaged(group, file, "the library fails on them")),
    }
}

fn general(message: &str) -> ParquetError {
    ParquetError::General(message.into())
}

/// Returns the first row of each page, and the number of rows, from the heads of the pages.
fn first_rows(group: &Group, file: &Shard) -> std::result::Result<Vec<usize>, ParquetError> {
    let mut reader = SerializedPageReader::new(Arc::clone(&file.chunks), &group.column, group.rows, None)?;
    let (mut rows, mut places) = (0_usize, vec![0]);
    while let Some(page) = reader.peek_next_page()? {
        if !page.is_dict {
            let more = page.num_rows.or(page.num_levels).ok_or_else(|| general("a page without rows"))?;
            rows = rows
                .checked_add(more)
                .filter(|&rows| rows <= group.rows)
                .ok_or_else(|| general("too many rows"))?;
            places.push(rows);
        }
        reader.skip_next_page()?;
    }
    Ok(places)
}

/// Reads the images of the rows from `begin` to `end`, which are one page.
fn read_page(
    group: &Group,
    file: &Shard,
    begin: usize,
    end: usize,
) -> std::result::Result<Vec<Option<ByteArray>>, ParquetError> {
    let pages = SerializedPageReader::new(Arc::clone(&file.chunks), &group.column, group.rows, None)?;
    let descriptor = group.column.column_descr_ptr();
    let full = descriptor.max_def_level();
    let mut reader: ColumnReaderImpl<ByteArrayType> =
        get_typed_column_reader(get_column_reader(descriptor, Box::new(pages)));
    reader.skip_records(begin)?;
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    reader.read_records(end - begin, Some(&mut levels), None, &mut values)?;
    if full == 0 {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    Ok(levels.into_iter().map(|level| if level == full { values.next() } else { None }).collect())
}

impl Images for Table {
    fn name(&self, index: usize) -> Cow<'_, str> {
        let found = self.find(index);
        found.map_or_else(Cow::default, |(_, _, file)| format!("{}/{}", file.name, index - file.first).into())
    }

    fn image(&self, index: usize, pixels: Pixels) -> Result<Decoded> {
        let (number, group, file) =
            self.find(index).ok_or_else(|| Error::Config(format!("no image {index}")))?;
        let (page, place) = self.page(number, group, file, index - group.first)?;
        let wrong = |reason: String| {
            Error::file(file.chunks.0.path(), format!("row {}: {reason}", index - file.first))
        };
        match page.get(place) {
            Some(Some(bytes)) if bytes.len() as u64 > MAX_FILE => {
                Err(wrong(format!("{} bytes: too large for an image file", bytes.len())))
            }
            Some(Some(bytes)) => decode_pixels(bytes.data(), pixels).map_err(wrong),
            Some(None) => Err(wrong("has no image (null)".into())),
            None => Err(wrong("is missing: the file is damaged".into())),
        }
    }
}
