//! `.safetensors` files: tensors by name with string metadata.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError};
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use super::byte_source::ByteSource;
use super::state_dict::{StateDict, Stored};
use crate::runtime::error::{Error, Result};
use crate::runtime::files::{hexadecimal, write_with};
use crate::runtime::torch::memory::read_bytes;

/// Bytes of the header's length.
const PREFIX: usize = 8;
/// Largest header that is read: a model of ten thousand tensors takes a twentieth of it.
const MAX_HEADER: u64 = 32 << 20;

/// Types that both sides know.
const KINDS: [(Dtype, Kind); 10] = [
    (Dtype::F32, Kind::Float),
    (Dtype::F64, Kind::Double),
    (Dtype::F16, Kind::Half),
    (Dtype::BF16, Kind::BFloat16),
    (Dtype::I64, Kind::Int64),
    (Dtype::I32, Kind::Int),
    (Dtype::I16, Kind::Int16),
    (Dtype::I8, Kind::Int8),
    (Dtype::U8, Kind::Uint8),
    (Dtype::BOOL, Kind::Bool),
];

fn kind_of(dtype: Dtype) -> Option<Kind> {
    KINDS.iter().find(|(d, _)| *d == dtype).map(|(_, kind)| *kind)
}

fn dtype_of(kind: Kind) -> Option<Dtype> {
    KINDS.iter().find(|(_, k)| *k == kind).map(|(dtype, _)| *dtype)
}

fn damaged(path: &Path, e: &SafeTensorError) -> Error {
    Error::file(path, format!("is not a whole safetensors file ({e}); was the copy cut short?"))
}

/// Reads names and shapes of the file at `path`; the values stay in it.
///
/// # Errors
/// When it cannot be read or is damaged. Tensors of types that libtorch lacks are skipped.
pub fn open(path: &Path) -> Result<StateDict> {
    open_in(&ByteSource::open(path)?)
}

pub(crate) fn open_in(source: &Arc<ByteSource>) -> Result<StateDict> {
    let (path, length) = (&source.path, source.length());
    let mut prefix = [0; PREFIX];
    if length < PREFIX as u64 {
        return Err(damaged(path, &SafeTensorError::HeaderTooSmall));
    }
    source.read(&mut prefix, 0)?;
    let header_length = u64::from_le_bytes(prefix);
    if header_length > MAX_HEADER || header_length > length - PREFIX as u64 {
        return Err(damaged(path, &SafeTensorError::InvalidHeaderLength));
    }
    let mut header = vec![0; header_length as usize];
    source.read(&mut header, PREFIX as u64)?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|e| damaged(path, &SafeTensorError::InvalidHeaderDeserialization(e)))?;
    let begin = PREFIX as u64 + header_length;
    if begin.checked_add(metadata.data_len() as u64) != Some(length) {
        return Err(damaged(path, &SafeTensorError::MetadataIncompleteBuffer));
    }
    let (mut tensors, mut skipped) = (BTreeMap::new(), BTreeMap::new());
    for (name, info) in metadata.tensors() {
        let Some(kind) = kind_of(info.dtype) else {
            skipped.insert(name, format!("a tensor of type {:?}", info.dtype));
            continue;
        };
        let shape = info.shape.iter().map(|&length| length as i64).collect();
        let stored = Stored::new(source, begin + info.data_offsets.0 as u64, kind, shape, None);
        tensors.insert(name, stored);
    }
    let metadata = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(StateDict { name: path.display().to_string(), tensors, metadata, skipped, notes: Vec::new() })
}

/// Writes the tensors beside `path`, flushes them to the disk and renames; the old file stays whole until
/// then. The same tensors give the same bytes, one tensor at a time passes through memory.
///
/// Returns the SHA-256 of the file in hexadecimal.
///
/// # Errors
/// When the disk is full, the folder cannot be written, or a tensor has a type that the format lacks.
pub fn write(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<String> {
    let mut sorted = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let kind = tensor.kind();
        let dtype = dtype_of(kind)
            .ok_or_else(|| Error::Torch(format!("tensor {name} of type {kind:?} cannot be saved")))?;
        sorted.push((dtype, name, tensor));
    }
    // The widest types first keeps every tensor aligned.
    sorted.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let mut end = 0;
    let infos = sorted
        .iter()
        .map(|(dtype, name, tensor)| {
            let begin = end;
            end += tensor.numel() * tensor.kind().elt_size_in_bytes();
            let shape = tensor.size().iter().map(|&d| d as usize).collect();
            ((*name).clone(), TensorInfo { dtype: *dtype, shape, data_offsets: (begin, end) })
        })
        .collect();
    let laid_out = |e: String| Error::Torch(format!("tensors cannot be laid out: {e}"));
    let header = Metadata::new(None, infos).map_err(|e| laid_out(e.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| laid_out(e.to_string()))?;
    if !metadata.is_empty() {
        // The crate holds metadata in a hash map; in the order of the keys the bytes are reproducible.
        let text = serde_json::to_string(metadata).map_err(|e| laid_out(e.to_string()))?;
        let comma = if tensors.is_empty() { "" } else { "," };
        let start = format!("{{\"__metadata__\":{text}{comma}");
        header.splice(..1, start.into_bytes());
    }
    header.resize(header.len().next_multiple_of(PREFIX), b' ');
    let mut sum = Sha256::new();
    write_with(path, |file| {
        let mut put = |bytes: &[u8]| {
            sum.update(bytes);
            file.write_all(bytes).map_err(|e| Error::io(path, e))
        };
        put(&(header.len() as u64).to_le_bytes())?;
        put(&header)?;
        for (_, _, tensor) in &sorted {
            let flat = tensor.detach().f_to_device(tch::Device::Cpu)?.f_contiguous()?;
            read_bytes(&flat, &mut put)?;
        }
        Ok(())
    })?;
    Ok(hexadecimal(&sum.finalize()))
}
