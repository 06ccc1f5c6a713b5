//! Files that `torch.load(weights_only=True)` reads: a dictionary of tensors in a zip archive.

use std::io::Write;
use std::path::Path;

use tch::{Device, Tensor};
use zip::{CompressionMethod, ZipWriter};

use super::globals::storage_name;
use crate::runtime::error::{Error, Result};
use crate::runtime::files::write_with;
use crate::runtime::torch::memory::read_bytes;
use crate::runtime::zips::{or_forget, undated};

/// Where values are aligned to, as PyTorch does for mapping files into memory.
const ALIGNMENT: u16 = 64;
/// The folder in the archive; its name does not matter.
const FOLDER: &str = "archive";

/// Writes the tensors in their order beside `path`, flushes and renames; one passes through memory at a time.
///
/// # Errors
/// When the disk is full, the folder cannot be written, or a tensor has a type that PyTorch had no storage
/// for.
pub fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let pickle = pickle(tensors)?;
    write_with(path, |file| {
        let failed = |e: std::io::Error| Error::io(path, e);
        or_forget(ZipWriter::new(file), |archive| {
            let options = undated().compression_method(CompressionMethod::Stored);
            let mut put = |name: &str, tensor: Option<&Tensor>, bytes: &[u8]| {
                let name = format!("{FOLDER}/{name}");
                let length = tensor.map_or(bytes.len(), |t| t.numel() * t.kind().elt_size_in_bytes());
                let options = options.large_file(u32::try_from(length).is_err());
                archive.start_file_aligned(name, options, ALIGNMENT).map_err(|e| failed(e.into()))?;
                let mut write = |bytes: &[u8]| archive.write_all(bytes).map_err(failed);
                match tensor {
                    Some(tensor) => read_bytes(tensor, write),
                    None => write(bytes),
                }
            };
            put("data.pkl", None, &pickle)?;
            put("byteorder", None, b"little")?;
            for (i, (_, tensor)) in tensors.iter().enumerate() {
                let flat = tensor.detach().f_to_device(Device::Cpu)?.f_contiguous()?;
                put(&format!("data/{i}"), Some(&flat), &[])?;
            }
            put("version", None, b"3\n")?;
            archive.finish().map_err(|e| failed(e.into()))?;
            Ok(())
        })
    })
}

/// The program that puts the dictionary together; storage `i` belongs to tensor `i`.
fn pickle(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let mut out = b"\x80\x02}(".to_vec();
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        let kind = tensor.kind();
        let storage = storage_name(kind)
            .ok_or_else(|| Error::Torch(format!("tensor {name} of type {kind:?} cannot be saved")))?;
        let shape = tensor.size();
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{storage}\n").bytes());
        text(&mut out, &i.to_string());
        text(&mut out, "cpu");
        integer(&mut out, tensor.numel() as i64);
        out.extend(b"tQK\x00");
        tuple(&mut out, &shape);
        tuple(&mut out, &strides(&shape));
        // Needs no gradient; no hooks.
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    out.extend(b"u.");
    Ok(out)
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.bytes());
}

fn integer(out: &mut Vec<u8>, value: i64) {
    match i32::try_from(value) {
        Ok(value) => {
            out.push(b'J');
            out.extend(value.to_le_bytes());
        }
        Err(_) => {
            out.extend(b"\x8a\x08");
            out.extend(value.to_le_bytes());
        }
    }
}

fn tuple(out: &mut Vec<u8>, values: &[i64]) {
    out.push(b'(');
    for &value in values {
        integer(out, value);
    }
    out.push(b't');
}

/// Strides of `shape` in C order.
fn strides(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i].max(1);
    }
    strides
}
