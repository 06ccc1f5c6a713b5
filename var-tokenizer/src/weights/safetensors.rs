//! Reading and writing `.safetensors` files as maps of tensors with string metadata.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, View};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::files::{sha256, write_atomically};

/// What a file holds: its tensors by name and its metadata (for our files, the configuration).
#[derive(Debug, Default)]
pub struct Contents {
    /// Tensors on the CPU as they are stored.
    pub tensors: BTreeMap<String, Tensor>,
    /// The `__metadata__` entries.
    pub metadata: BTreeMap<String, String>,
}

impl Contents {
    /// The metadata entry `key`, parsed as JSON.
    ///
    /// # Errors
    /// When it is missing or is not the JSON of a `T`.
    pub fn config<T: serde::de::DeserializeOwned>(&self, key: &str, path: &Path) -> Result<T> {
        let text = self.metadata.get(key).ok_or_else(|| {
            Error::file(path, format!("has no '{key}' in its metadata; is it a file of this program?"))
        })?;
        serde_json::from_str(text)
            .map_err(|e| Error::file(path, format!("metadata '{key}' cannot be read: {e}")))
    }
}

fn kind_of(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

fn dtype_of(kind: Kind) -> Option<Dtype> {
    Some(match kind {
        Kind::Float => Dtype::F32,
        Kind::Double => Dtype::F64,
        Kind::Half => Dtype::F16,
        Kind::BFloat16 => Dtype::BF16,
        Kind::Int64 => Dtype::I64,
        Kind::Int => Dtype::I32,
        Kind::Int16 => Dtype::I16,
        Kind::Int8 => Dtype::I8,
        Kind::Uint8 => Dtype::U8,
        Kind::Bool => Dtype::BOOL,
        _ => return None,
    })
}

/// Reads the whole file.
///
/// # Errors
/// When it cannot be read, is damaged, or holds a type that libtorch lacks.
pub fn read(path: &Path) -> Result<Contents> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse(&bytes, path)
}

/// Reads the metadata alone; tensors stay on the disk.
///
/// # Errors
/// When the file cannot be read, or its head is damaged.
pub fn read_metadata(path: &Path) -> Result<Contents> {
    let io = |e| Error::io(path, e);
    let damaged = || Error::file(path, "is not a safetensors file, or its head is cut short");
    let mut file = std::fs::File::open(path).map_err(io)?;
    let total = file.metadata().map_err(io)?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| damaged())?;
    let length = u64::from_le_bytes(length);
    if length > total.saturating_sub(8) {
        return Err(damaged());
    }
    let mut head = vec![0; length as usize];
    file.read_exact(&mut head).map_err(|_| damaged())?;
    let head: Head = serde_json::from_slice(&head).map_err(|_| damaged())?;
    Ok(Contents { tensors: BTreeMap::new(), metadata: head.metadata })
}

/// The part of a file's head that is no tensor.
#[derive(serde::Deserialize)]
struct Head {
    #[serde(default, rename = "__metadata__")]
    metadata: BTreeMap<String, String>,
}

/// Reads a file that is already in memory; `path` names it in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], path: &Path) -> Result<Contents> {
    let damaged = |e: safetensors::SafeTensorError| {
        Error::file(path, format!("is not a whole safetensors file ({e}); was the copy cut short?"))
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let kind = kind_of(view.dtype()).ok_or_else(|| {
            Error::file(path, format!("tensor {name} has type {:?}, which is not supported", view.dtype()))
        })?;
        let shape: Vec<i64> = view.shape().iter().map(|&d| d as i64).collect();
        tensors.insert(name.to_owned(), Tensor::f_from_data_size(view.data(), &shape, kind)?);
    }
    Ok(Contents { tensors, metadata })
}

struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for &Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }
    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// The file's bytes for these tensors; the same tensors give the same bytes.
///
/// # Errors
/// When a tensor has a type that the format lacks.
pub fn serialize(tensors: &BTreeMap<String, Tensor>, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let flat = tensor.detach().f_to_device(tch::Device::Cpu)?.f_contiguous()?;
        let kind = flat.kind();
        let dtype = dtype_of(kind)
            .ok_or_else(|| Error::Torch(format!("tensor {name} of type {kind:?} cannot be saved")))?;
        let mut data = vec![0_u8; flat.numel() * kind.elt_size_in_bytes()];
        flat.f_copy_data_u8(&mut data, flat.numel())?;
        let shape = flat.size().iter().map(|&d| d as usize).collect();
        views.push((name.as_str(), Bytes { dtype, shape, data }));
    }
    // One metadata key keeps the bytes reproducible: the crate writes a hash map.
    let metadata: Option<HashMap<String, String>> =
        (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    safetensors::serialize(views.iter().map(|(n, v)| (*n, v)), metadata)
        .map_err(|e| Error::Torch(format!("tensors cannot be laid out: {e}")))
}

/// Writes the tensors beside `path`, flushes them to the disk and renames; the old file stays whole until then.
///
/// Returns the SHA-256 of the file in hexadecimal.
///
/// # Errors
/// When the disk is full or the folder cannot be written.
pub fn write(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<String> {
    let bytes = serialize(tensors, metadata)?;
    write_atomically(path, &bytes)?;
    Ok(sha256(&bytes))
}
