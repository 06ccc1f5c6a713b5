//! Tensors by name, still in their file.
//!
//! Opening a file reads names and shapes only. The values go from the file straight into the tensors that
//! they are for, so that a model takes its own size and nothing beside. Plain reads, no mapping: a file
//! that shrinks meanwhile is an error then, and not the end of the process.

use std::collections::BTreeMap;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::byte_source::ByteSource;
use super::foreign::NUMPY;
use crate::runtime::error::NotFinite;
use crate::runtime::error::{Error, Result};
use crate::runtime::torch::memory::fill_bytes;

/// Most bytes that are read at once where values change their type on the way.
const PIECE: usize = 16 << 20;

/// A tensor whose values are still in their file.
#[derive(Debug)]
pub struct Stored {
    kind: Kind,
    shape: Vec<i64>,
    source: Arc<ByteSource>,
    /// Of the first value.
    offset: u64,
    /// In values; `None` in C order.
    strides: Option<Vec<i64>>,
}

impl Stored {
    /// Values in a file, whose extent the caller has checked against the file's length.
    pub(crate) fn new(
        source: &Arc<ByteSource>,
        offset: u64,
        kind: Kind,
        shape: Vec<i64>,
        strides: Option<Vec<i64>>,
    ) -> Self {
        let strides = strides.filter(|strides| !is_contiguous(&shape, strides));
        Self { kind, shape, source: source.clone(), offset, strides }
    }

    /// Type of the values.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Length of each dimension.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// Number of values.
    pub fn numel(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }

    /// Bytes of the values in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.numel() as u64 * self.kind.elt_size_in_bytes() as u64
    }

    /// Bytes of the values in the file: fewer where a tensor was expanded.
    pub(crate) fn bytes_in_file(&self) -> u64 {
        let values = self.strides.as_ref().map_or(self.numel() as u64, |s| span(&self.shape, s) as u64);
        values * self.kind.elt_size_in_bytes() as u64
    }

    /// Checks the values after their way into `tensor`, of whatever type: those of the file may be bad, or too large
    /// for the type. `file` and `name` are for the error.
    pub(crate) fn check(&self, tensor: &Tensor, file: &str, name: &str) -> Result<()> {
        let Some(found) = NotFinite::in_tensor(tensor)? else { return Ok(()) };
        let why = match NotFinite::in_tensor(&self.tensor()?)? {
            Some(own) => format!(
                "tensor {name}: {own}; the training diverged or the file is damaged: take another checkpoint"
            ),
            None => format!(
                "tensor {name}: {found} as {}, though all are finite in the file ({}); choose a wider type",
                type_name(tensor.kind()),
                type_name(self.kind)
            ),
        };
        Err(Error::file(file, why))
    }

    /// The values as a tensor on the CPU, in their own type.
    ///
    /// # Errors
    /// When the file cannot be read or was cut short meanwhile.
    pub fn tensor(&self) -> Result<Tensor> {
        let options = (self.kind, Device::Cpu);
        let Some(strides) = &self.strides else {
            let tensor = Tensor::f_empty(&self.shape, options)?;
            fill_bytes(&tensor, |bytes| self.source.read(bytes, self.offset))?;
            return Ok(tensor);
        };
        let flat = Tensor::f_empty([span(&self.shape, strides)], options)?;
        fill_bytes(&flat, |bytes| self.source.read(bytes, self.offset))?;
        Ok(flat.f_as_strided(&self.shape, strides, 0)?.f_contiguous()?)
    }

    /// Copies the values into `target` of the same shape, on its device and in its type.
    ///
    /// # Errors
    /// As [`Stored::tensor`].
    pub fn copy_into(&self, target: &Tensor) -> Result<()> {
        if self.strides.is_some() || !target.is_contiguous() {
            let (mut target, values) = (target.shallow_clone(), self.tensor()?);
            tch::no_grad(|| target.f_copy_(&values).map(|_| ()))?;
            return Ok(());
        }
        if target.kind() == self.kind && target.device() == Device::Cpu {
            return fill_bytes(target, |bytes| self.source.read(bytes, self.offset));
        }
        self.copy_in_pieces(target)
    }

    /// For a target that is contiguous, of another type or elsewhere.
    fn copy_in_pieces(&self, target: &Tensor) -> Result<()> {
        let size = self.kind.elt_size_in_bytes();
        let (all, most) = (self.numel(), (PIECE / size).max(1));
        tch::no_grad(|| {
            let flat = target.detach().view([-1]);
            let mut done = 0;
            while done < all {
                let count = most.min(all - done);
                let piece = Tensor::f_empty([count as i64], (self.kind, Device::Cpu))?;
                fill_bytes(&piece, |bytes| self.source.read(bytes, self.offset + (done * size) as u64))?;
                flat.f_narrow(0, done as i64, count as i64)?.f_copy_(&piece)?;
                done += count;
            }
            Ok(())
        })
    }
}

/// The short name of a type of floating-point numbers, as `--dtype` takes it; libtorch's for others.
pub fn type_name(kind: Kind) -> String {
    match kind {
        Kind::Double => "f64".into(),
        Kind::Float => "f32".into(),
        Kind::Half => "f16".into(),
        Kind::BFloat16 => "bf16".into(),
        other => format!("{other:?}"),
    }
}

/// Whether `strides` are those of `shape` in C order; dimensions of length 1 may have any.
fn is_contiguous(shape: &[i64], strides: &[i64]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&length, &stride)| {
        let fits = length == 1 || stride == expected;
        expected *= length.max(1);
        fits
    })
}

/// Values from the first to the last of a strided tensor; all lengths and strides are known to be sane.
fn span(shape: &[i64], strides: &[i64]) -> i64 {
    if shape.contains(&0) {
        return 0;
    }
    1 + shape.iter().zip(strides).map(|(length, stride)| (length - 1) * stride).sum::<i64>()
}

/// Tensors by name with string metadata.
#[derive(Debug, Default)]
pub struct StateDict {
    /// What it is called in messages: a file, and the part of it.
    pub name: String,
    /// The tensors.
    pub tensors: BTreeMap<String, Stored>,
    /// Text beside the tensors; for our files, the configuration.
    pub metadata: BTreeMap<String, String>,
    /// Tensors that are not read, and what they are: `a sparse tensor`.
    pub skipped: BTreeMap<String, String>,
    /// What a person should know about how the tensors were found; programs say it once.
    pub notes: Vec<String>,
}

impl StateDict {
    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    /// Lengths of the tensor called `name`.
    ///
    /// # Errors
    /// When there is none, or it has another number of dimensions than `N`.
    pub fn shape<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let stored = self
            .get(name)
            .ok_or_else(|| self.problem(format!("{}; is it another network?", self.missing(name))))?;
        let lengths: Vec<usize> = stored.shape.iter().map(|&length| length as usize).collect();
        lengths.try_into().map_err(|found: Vec<usize>| {
            self.problem(format!("{name} has shape {found:?}, expected {N} dimensions"))
        })
    }

    /// How many numbers 0, 1, … in a row stand between `before` and `after` in names of tensors.
    pub fn count(&self, before: &str, after: &str) -> usize {
        (0..)
            .take_while(|i| {
                let start = format!("{before}{i}{after}");
                self.tensors.range(start.clone()..).next().is_some_and(|(name, _)| name.starts_with(&start))
            })
            .count()
    }

    /// What is wrong when the tensor called `name` is not there.
    pub(crate) fn missing(&self, name: &str) -> String {
        match self.skipped.get(name) {
            Some(what) if what.contains("numpy") => format!("{name} is {what}: {NUMPY}"),
            Some(what) => format!("{name} is {what}, which is not read: save it as f32, f16 or bf16"),
            None => format!("missing {name}"),
        }
    }

    /// Notes which tensors are skipped.
    pub(crate) fn note_skipped(&mut self) {
        const LISTED: usize = 3;
        let names: Vec<String> =
            self.skipped.iter().take(LISTED).map(|(name, what)| format!("{name} ({what})")).collect();
        let more = if self.skipped.len() > LISTED { ", …" } else { "" };
        if !names.is_empty() {
            self.notes.push(format!("skips {} tensors: {}{more}", self.skipped.len(), names.join(", ")));
        }
    }

    /// As [`StateDict::read_all`], for tensors that are computed with: all values are finite.
    ///
    /// # Errors
    /// As [`Stored::tensor`]; names the file and a tensor that has other values.
    pub fn read_finite(&self) -> Result<BTreeMap<String, Tensor>> {
        let tensors = self.read_all()?;
        for (name, stored) in &self.tensors {
            tensors.get(name).map_or(Ok(()), |tensor| stored.check(tensor, &self.name, name))?;
        }
        Ok(tensors)
    }

    /// All tensors, read into memory.
    ///
    /// # Errors
    /// As [`Stored::tensor`].
    pub fn read_all(&self) -> Result<BTreeMap<String, Tensor>> {
        self.tensors.iter().map(|(name, stored)| Ok((name.clone(), stored.tensor()?))).collect()
    }

    /// The metadata entry `key`, parsed as JSON; `None` when there is no such entry.
    ///
    /// # Errors
    /// When it is not the JSON of a `T`.
    pub fn parsed<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.metadata.get(key) else { return Ok(None) };
        serde_json::from_str(text)
            .map(Some)
            .map_err(|e| Error::file(&self.name, format!("metadata '{key}' cannot be read: {e}")))
    }

    fn problem(&self, problem: String) -> Error {
        Error::Weights { file: self.name.clone(), problems: vec![problem] }
    }
}
