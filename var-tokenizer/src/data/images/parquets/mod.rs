//! Parquet files of images, as Hugging Face's library writes data sets: a column of images, a column of class numbers.
//!
//! Opening reads the classes, and of the images only where they lie.

mod chunks;
mod footer;
mod pages;
mod schema;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::column::reader::{ColumnReader, get_column_reader};
use ::parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use ::parquet::file::serialized_reader::SerializedPageReader;
use rayon::prelude::*;

use super::blob::Blob;
use super::division::divide;
use super::listing::{Entry, Listing};
use super::recent::Recent;
use crate::runtime::error::{Error, Result};
use crate::runtime::panics::contained;
use chunks::Chunks;
use pages::{Group, Shard, Table};
use schema::{Columns, class_names};

/// First and last bytes of a file.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";
/// Files that stay open.
const OPEN: u64 = 64;
/// Memory for the entry and label of an image, in bytes.
const IMAGE_COST: u64 = 32;
/// Labels must be smaller: they are class numbers, not identifiers.
const MAX_CLASSES: i64 = 1 << 20;
/// Labels that are read at once.
const STRIP: usize = 8192;

/// Whether `name` has the ending of a Parquet file.
pub(crate) fn is_parquet(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

/// A file and what was read of it.
struct Opened {
    name: String,
    blob: Blob,
    columns: Columns,
    class_names: Option<Vec<String>>,
    /// Rows and place of the images of each row group.
    groups: Vec<(usize, ColumnChunkMetaData)>,
    /// Class of each row; none when the file has no classes.
    labels: Vec<u32>,
}

/// Opens `files`, each by its name and path, as one source called `root`. The part of a file is in its name.
///
/// # Errors
/// When a file is truncated or damaged, its columns are unclear, or a label has no class.
pub(crate) fn open(root: &Path, files: Vec<(String, PathBuf)>) -> Result<Listing> {
    let stems: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let division = divide(&stems).map_err(|reason| Error::file(root, reason))?;
    let mut notes = division.notes;
    let kept: Vec<_> =
        division.kept.into_iter().filter_map(|(place, split)| Some((files.get(place)?, split))).collect();
    let open = Arc::new(Recent::new(OPEN));
    let opened: Vec<Result<Opened>> =
        kept.par_iter().enumerate().map(|(key, (file, _))| read(file, &open, key as u64)).collect();
    let opened = opened.into_iter().collect::<Result<Vec<_>>>()?;
    let classes = classes(root, &opened)?;
    notes.extend(opened.first().and_then(|file| file.columns.note()));
    let (mut entries, mut shards, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    for (file, (_, split)) in opened.into_iter().zip(kept) {
        let first = entries.len();
        let mut begin = first;
        for (rows, column) in file.groups {
            groups.push(Group { file: shards.len(), first: begin, rows, column });
            begin += rows;
        }
        let unlabelled = file.labels.is_empty();
        for row in 0..begin - first {
            let class = if unlabelled { 0 } else { file.labels.get(row).copied().unwrap_or(0) };
            entries.push(Entry { class, split, group: entries.len() as u32 });
        }
        shards.push(Shard { name: file.name, chunks: Arc::new(Chunks(file.blob)), first });
    }
    if entries.is_empty() {
        return Err(Error::file(root, "holds no images: its Parquet files have no rows"));
    }
    Ok(Listing { entries, classes, images: Box::new(Table::new(shards, groups)), notes })
}

/// Returns the class names, and checks that all files agree on them.
fn classes(root: &Path, files: &[Opened]) -> Result<Vec<String>> {
    let Some(first) = files.first() else { return Err(Error::file(root, "holds no Parquet file")) };
    if let Some(other) =
        files.iter().find(|file| file.columns != first.columns || file.class_names != first.class_names)
    {
        let what = if other.columns == first.columns { "class names" } else { "columns" };
        let message =
            format!("{} has other {what} than {}; give files of one data set", other.name, first.name);
        return Err(Error::file(root, message));
    }
    if first.columns.label.is_none() {
        let stem = root.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        return Ok(vec![stem.filter(|stem| !stem.is_empty()).unwrap_or_else(|| "all".into())]);
    }
    if let Some(names) = &first.class_names {
        return Ok(names.clone());
    }
    let last = files.iter().flat_map(|file| &file.labels).copied().max().unwrap_or(0);
    Ok((0..=last).map(|class| class.to_string()).collect())
}

/// Reads what is known of a file without its images.
fn read(file: &(String, PathBuf), open: &Arc<Recent<File>>, key: u64) -> Result<Opened> {
    let (name, path) = file;
    let mut blob = Blob::plain(path)?;
    blob.lend(open, key);
    let damaged = |reason: &dyn std::fmt::Display| {
        Error::file(path, format!("truncated or damaged Parquet file ({reason}); copy it again"))
    };
    let ends = |at: u64| blob.read(at, MAGIC.len() as u64).is_ok_and(|bytes| bytes == MAGIC);
    if !ends(0) || !ends(blob.length().saturating_sub(MAGIC.len() as u64)) {
        return Err(damaged(&"PAR1 is missing at its start or end"));
    }
    if !footer_of(&blob)?.is_some_and(|bytes| footer::is_whole(&bytes)) {
        return Err(damaged(&"its footer is not whole"));
    }
    // The library trusts most numbers of the file.
    let metadata = contained(|| ParquetMetaDataReader::new().parse_and_finish(&Chunks(blob.clone())));
    let metadata = metadata.ok_or_else(|| damaged(&"impossible numbers"))?.map_err(|e| damaged(&e))?;
    let columns = Columns::find(metadata.file_metadata()).map_err(|reason| Error::file(path, reason))?;
    check_packing(&metadata, &columns).map_err(|reason| Error::file(path, reason))?;
    let rows = metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0));
    blob.check_list(rows.fold(0, u64::saturating_add).saturating_mul(IMAGE_COST))?;
    let names = columns.label.as_ref().and_then(|label| class_names(metadata.file_metadata(), &label.name));
    let chunks = Arc::new(Chunks(blob.clone()));
    let mut groups = Vec::new();
    for group in metadata.row_groups() {
        let rows = usize::try_from(group.num_rows()).map_err(|e| damaged(&e))?;
        groups.push((
            rows,
            column(group, columns.image.place, &blob).ok_or_else(|| damaged(&"images past its end"))?,
        ));
    }
    let labels = match &columns.label {
        None => Vec::new(),
        Some(label) => {
            let found = contained(|| labels(&metadata, label.place, &chunks));
            let found = found.ok_or_else(|| damaged(&"impossible labels"))?.map_err(|e| damaged(&e))?;
            let limit = names.as_ref().map_or(MAX_CLASSES, |names| names.len() as i64);
            checked(&found, limit, &label.name).map_err(|reason| Error::file(path, reason))?
        }
    };
    Ok(Opened { name: name.clone(), blob, columns, class_names: names, groups, labels })
}

/// Refuses columns that are packed in a way that is not read.
fn check_packing(metadata: &ParquetMetaData, columns: &Columns) -> std::result::Result<(), String> {
    for column in [Some(&columns.image), columns.label.as_ref()].into_iter().flatten() {
        let packings = metadata.row_groups().iter().filter_map(|group| group.columns().get(column.place));
        for packing in packings.map(ColumnChunkMetaData::compression) {
            if !matches!(packing, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_)) {
                return Err(format!(
                    "column {} is packed with {packing}, which is not read; write the file again with Snappy or \
                     Zstandard",
                    column.name
                ));
            }
        }
    }
    Ok(())
}

/// Reads the footer: before the last eight bytes, of which the first four are its length.
fn footer_of(blob: &Blob) -> Result<Option<Vec<u8>>> {
    let Some(end) = blob.length().checked_sub(8) else { return Ok(None) };
    let length = blob.read(end, 4)?.first_chunk().copied().map_or(0, u32::from_le_bytes);
    let Some(begin) = end.checked_sub(u64::from(length)) else { return Ok(None) };
    blob.read(begin, u64::from(length)).map(Some)
}

/// Returns column `place` of a row group, if it lies within the file.
fn column(group: &RowGroupMetaData, place: usize, blob: &Blob) -> Option<ColumnChunkMetaData> {
    let column = group.columns().get(place)?;
    let (begin, length) = contained(|| column.byte_range())?;
    begin.checked_add(length).filter(|&end| end <= blob.length())?;
    Some(column.clone())
}

/// Reads a column of whole numbers; nothing for a null.
fn labels(
    metadata: &ParquetMetaData,
    place: usize,
    chunks: &Arc<Chunks>,
) -> ::parquet::errors::Result<Vec<Option<i64>>> {
    use ::parquet::errors::ParquetError;
    let mut all = Vec::new();
    for group in metadata.row_groups() {
        let column = column(group, place, &chunks.0);
        let column = column.ok_or_else(|| ParquetError::EOF("labels past its end".into()))?;
        let rows = usize::try_from(group.num_rows())?;
        let descriptor = column.column_descr_ptr();
        let full = descriptor.max_def_level();
        let pages = SerializedPageReader::new(Arc::clone(chunks), &column, rows, None)?;
        let mut reader = get_column_reader(descriptor, Box::new(pages));
        let end = all.len() + rows;
        while all.len() < end {
            let count = STRIP.min(end - all.len());
            let mut levels = Vec::new();
            let values: Vec<i64> = match &mut reader {
                ColumnReader::Int32ColumnReader(reader) => {
                    let mut values = Vec::new();
                    reader.read_records(count, Some(&mut levels), None, &mut values)?;
                    values.into_iter().map(i64::from).collect()
                }
                ColumnReader::Int64ColumnReader(reader) => {
                    let mut values = Vec::new();
                    reader.read_records(count, Some(&mut levels), None, &mut values)?;
                    values
                }
                _ => return Err(ParquetError::General("labels of another type".into())),
            };
            let before = all.len();
            let mut values = values.into_iter();
            if full == 0 {
                all.extend(values.map(Some));
            } else {
                all.extend(levels.into_iter().map(|level| if level == full { values.next() } else { None }));
            }
            if all.len() == before {
                return Err(ParquetError::EOF(format!("labels for {before} rows only")));
            }
        }
    }
    Ok(all)
}

/// Returns labels as class numbers.
///
/// # Errors
/// Names the first row whose label is missing, negative, or not below `limit`.
fn checked(labels: &[Option<i64>], limit: i64, column: &str) -> std::result::Result<Vec<u32>, String> {
    let number = |(row, label): (usize, &Option<i64>)| match label {
        Some(label) if (0..limit).contains(label) => Ok(*label as u32),
        Some(label) => Err(format!(
            "row {row}: {column} {label} is not from 0 to {}, the classes of the file",
            limit - 1
        )),
        None => Err(format!("row {row} has no {column} (null)")),
    };
    labels.iter().enumerate().map(number).collect()
}
