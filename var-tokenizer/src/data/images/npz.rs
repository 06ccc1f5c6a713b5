//! NumPy archives of images: `arr_0` u8 `[N, H, W, 3]`, labels in `labels` or `arr_1`.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

use image::RgbImage;
use npyz::npz::NpzArchive;
use npyz::zip::CompressionMethod;
use npyz::{DType, NpyFile, NpyHeader, Order, TypeChar};

use super::blob::{Blob, check_room};
use super::decode::{Decoded, Pixels};
use super::listing::{Entry, Images, Listing};
use crate::runtime::error::{Error, Result};
use crate::runtime::panics::contained;
use crate::runtime::zips;

/// Labels must be smaller: they are class numbers, not identifiers.
const MAX_CLASSES: u32 = 1 << 20;
/// Maximum length of an array's header. NumPy writes about a hundred bytes.
const MAX_HEADER: usize = 1 << 14;
/// Maximum number of brackets in a header: its parser tries every way of pairing them. An array of images has two.
const MAX_BRACKETS: usize = 8;
/// Memory for the entry and label of an image, in bytes.
const IMAGE_COST: u64 = 128;
/// Name of the array of images.
const IMAGES: &str = "arr_0";
/// Possible names of the array of labels.
const LABELS: [&str; 2] = ["labels", "arr_1"];

#[derive(Debug)]
struct Array {
    /// The values only, without the header.
    data: Blob,
    width: u32,
    height: u32,
    channels: u32,
}

impl Images for Array {
    fn name(&self, index: usize) -> Cow<'_, str> {
        format!("{IMAGES}/{index}").into()
    }

    fn image(&self, index: usize, _: Pixels) -> Result<Decoded> {
        let size = u64::from(self.width) * u64::from(self.height) * u64::from(self.channels);
        let mut bytes = self.data.read(index as u64 * size, size)?;
        if self.channels == 1 {
            bytes = bytes.into_iter().flat_map(|byte| [byte; 3]).collect();
        }
        RgbImage::from_raw(self.width, self.height, bytes)
            .map(Decoded::from)
            .ok_or_else(|| Error::file(self.data.path(), format!("image {index} has the wrong size")))
    }
}

/// Opens the npz in `blob`.
pub(crate) fn open(blob: &Blob) -> Result<Listing> {
    // The reader multiplies the sides of any shape, which may overflow.
    contained(|| open_trusting(blob)).unwrap_or_else(|| {
        Err(Error::file(blob.path(), "damaged npz: an array has an impossible shape; save it again"))
    })
}

fn open_trusting(blob: &Blob) -> Result<Listing> {
    let wrong = |message: String| Error::file(blob.path(), message);
    let damaged = |e: std::io::Error| wrong(format!("truncated or damaged npz: {e}"));
    // The reader takes memory for as many arrays as the archive announces.
    check_arrays(blob, &zips::directory(blob)?)?;
    let mut archive = NpzArchive::new(blob.reader()).map_err(damaged)?;
    let mut names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    names.sort();
    if !names.iter().any(|name| name == IMAGES) {
        let found = if names.is_empty() { "nothing".into() } else { names.join(", ") };
        return Err(wrong(format!(
            "array {IMAGES} (u8 [N, H, W, 3]) is missing; found {found}. Save it again: numpy.savez('images.npz', \
             {IMAGES}=images, labels=labels)"
        )));
    }
    let (count, images) = images(blob, &mut archive)?;
    let labels = match LABELS.into_iter().find(|name| names.iter().any(|n| n == name)) {
        None => vec![0; count],
        Some(name) => {
            let failed = |reason: String| wrong(format!("array {name}: {reason}"));
            let file_name = npyz::npz::file_name_from_array_name(name);
            let mut file = archive.zip_archive().by_name(&file_name).map_err(|e| failed(e.to_string()))?;
            let header = header(&mut file).map_err(failed)?;
            labels(NpyFile::with_header(header, file), count).map_err(failed)?
        }
    };
    let classes = labels.iter().max().map_or(0, |&label| label + 1);
    let entries =
        labels.into_iter().zip(0..).map(|(class, group)| Entry { class, split: None, group }).collect();
    let classes = (0..classes).map(|class| class.to_string()).collect();
    Ok(Listing { entries, classes, images: Box::new(images), notes: Vec::new() })
}

/// Refuses zip archives without arrays.
fn check_arrays(blob: &Blob, files: &[zips::Entry]) -> Result<()> {
    if files.is_empty() || files.iter().any(|file| file.name.ends_with(".npy")) {
        return Ok(());
    }
    let message = if files.iter().any(is_torch) {
        "this is a weight file of PyTorch; expected images".to_owned()
    } else {
        format!("this is a zip archive of {} files; unpack it, or pack the images as a tar", files.len())
    };
    Err(Error::file(blob.path(), message))
}

/// Whether only `torch.save` puts this file into a zip archive.
fn is_torch(file: &zips::Entry) -> bool {
    file.name.ends_with("data.pkl")
}

/// Whether `torch.save` wrote the zip archive at `path`.
pub(crate) fn is_torch_zip(path: &Path) -> bool {
    Blob::plain(path).and_then(|blob| zips::directory(&blob)).is_ok_and(|files| files.iter().any(is_torch))
}

/// Returns the number of images and their array. An uncompressed array is read in place; a compressed one is unpacked
/// to a temporary file.
fn images<R: Read + Seek>(blob: &Blob, archive: &mut NpzArchive<R>) -> Result<(usize, Array)> {
    let wrong = |message: String| Error::file(blob.path(), format!("array {IMAGES}: {message}"));
    let file_name = npyz::npz::file_name_from_array_name(IMAGES);
    let mut file = archive.zip_archive().by_name(&file_name).map_err(|e| wrong(e.to_string()))?;
    let (start, size, stored) =
        (file.data_start(), file.size(), file.compression() == CompressionMethod::Stored);
    let header = header(&mut file).map_err(wrong)?;
    let is_bytes =
        matches!(header.dtype(), DType::Plain(t) if t.type_char() == TypeChar::Uint && t.size_field() == 1);
    if !is_bytes {
        return Err(wrong(format!(
            "expected u8 from 0 to 255, got {}; convert it and save it again",
            header.dtype().descr()
        )));
    }
    let (count, height, width, channels) = match *header.shape() {
        [n, h, w] => (n, h, w, 1),
        [n, h, w, c] if c == 1 || c == 3 => (n, h, w, c),
        [_, 3, h, w] if h > 4 && w > 4 => {
            return Err(wrong(format!(
                "expected shape [N, H, W, 3], got {:?}; save it with transpose(0, 2, 3, 1)",
                header.shape()
            )));
        }
        ref other => {
            return Err(wrong(format!("expected shape [N, H, W, 3], got {other:?}; save RGB alone")));
        }
    };
    if header.order() == Order::Fortran {
        return Err(wrong("stored in Fortran order; save it with numpy.ascontiguousarray".into()));
    }
    let side = |length: u64| u32::try_from(length).ok().filter(|&length| (1..=1 << 16).contains(&length));
    let (Some(height), Some(width)) = (side(height), side(width)) else {
        return Err(wrong(format!("images of {width} × {height} pixels; sides must be 1 to 65536")));
    };
    let channels = channels as u32;
    let image = u64::from(width) * u64::from(height) * u64::from(channels);
    let length = count.checked_mul(image).filter(|&length| length > 0);
    if count == 0 {
        return Err(wrong("holds no images".into()));
    }
    let length = length.ok_or_else(|| wrong(format!("cannot hold {count} images")))?;
    blob.check_list(count.saturating_mul(IMAGE_COST))?;
    let data = if stored {
        let begin = size.checked_sub(length).and_then(|header| start.checked_add(header));
        blob.slice(begin.ok_or_else(|| wrong("truncated".into()))?, length)?
    } else {
        check_room(blob.path(), 0, length)?;
        let data = Blob::unpack(blob.path(), blob.packed(), file.take(length), "npz")?;
        if data.length() != length {
            return Err(wrong(format!("truncated: {} of {length} bytes", data.length())));
        }
        data
    };
    Ok((usize::try_from(count).map_err(|e| wrong(e.to_string()))?, Array { data, width, height, channels }))
}

/// The archive at `path`, once its directory is known to be whole. What its arrays say of themselves is not
/// believed yet: see [`header`].
///
/// # Errors
/// When the file cannot be read or is not a complete zip archive.
pub fn archive(path: &Path) -> Result<NpzArchive<BufReader<File>>> {
    // The reader takes memory for as many arrays as the archive announces.
    zips::directory(&Blob::open(path)?)?;
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let damaged = |e: std::io::Error| Error::file(path, format!("truncated or damaged npz: {e}"));
    contained(|| NpzArchive::new(BufReader::new(file)))
        .ok_or_else(|| Error::file(path, "damaged npz; save it again"))?
        .map_err(damaged)
}

/// The header of an array, once it is known to be short and flat. `reader` is left at the array's bytes.
///
/// # Errors
/// What is wrong with it, in words: cut short, too long, an array of records, or an impossible shape.
pub fn header(reader: &mut impl Read) -> std::result::Result<NpyHeader, String> {
    let damaged = |e: std::io::Error| format!("truncated or damaged: {e}");
    // Magic and version, then the length in 2 bytes (version 1) or 4.
    let mut bytes = vec![0; 10];
    reader.read_exact(&mut bytes).map_err(damaged)?;
    let mut length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    if bytes[6] > 1 {
        bytes.resize(12, 0);
        reader.read_exact(&mut bytes[10..]).map_err(damaged)?;
        length |= usize::from(u16::from_le_bytes([bytes[10], bytes[11]])) << 16;
    }
    if length > MAX_HEADER {
        return Err(format!("damaged: a header of {length} bytes"));
    }
    let begin = bytes.len();
    bytes.resize(begin + length, 0);
    reader.read_exact(&mut bytes[begin..]).map_err(damaged)?;
    if bytes.iter().filter(|byte| b"([{".contains(byte)).count() > MAX_BRACKETS {
        return Err("damaged, or an array of records".into());
    }
    // Its parser multiplies whatever shape the file names.
    contained(|| NpyHeader::from_reader(Cursor::new(bytes)))
        .ok_or_else(|| "damaged: an array of impossible shape".to_owned())?
        .map_err(damaged)
}

/// Whole numbers of any width, one for each image.
fn labels<R: Read>(npy: NpyFile<R>, count: usize) -> std::result::Result<Vec<u32>, String> {
    let length = npy.shape().iter().try_fold(1_u64, |all, &side| all.checked_mul(side));
    if length != Some(count as u64) {
        return Err(format!("shape {:?} for {count} images; expected a class number per image", npy.shape()));
    }
    let dtype = npy.dtype();
    let DType::Plain(kind) = &dtype else { return Err("expected whole numbers".into()) };
    let read = |e: std::io::Error| format!("truncated or damaged: {e}");
    let wide: Vec<i128> = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Uint, 1) => widen(npy.into_vec::<u8>().map_err(read)?),
        (TypeChar::Uint, 2) => widen(npy.into_vec::<u16>().map_err(read)?),
        (TypeChar::Uint, 4) => widen(npy.into_vec::<u32>().map_err(read)?),
        (TypeChar::Uint, 8) => widen(npy.into_vec::<u64>().map_err(read)?),
        (TypeChar::Int, 1) => widen(npy.into_vec::<i8>().map_err(read)?),
        (TypeChar::Int, 2) => widen(npy.into_vec::<i16>().map_err(read)?),
        (TypeChar::Int, 4) => widen(npy.into_vec::<i32>().map_err(read)?),
        (TypeChar::Int, 8) => widen(npy.into_vec::<i64>().map_err(read)?),
        _ => return Err(format!("expected class numbers (an integer type), got {}", dtype.descr())),
    };
    wide.into_iter()
        .map(|label| match u32::try_from(label) {
            Ok(class) if class < MAX_CLASSES => Ok(class),
            _ => Err(format!("label {label} is not from 0 to {}", MAX_CLASSES - 1)),
        })
        .collect()
}

fn widen<T: Into<i128>>(values: Vec<T>) -> Vec<i128> {
    values.into_iter().map(Into::into).collect()
}
