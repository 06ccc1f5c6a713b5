//! Sources of the tensors of a network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};
use var_tokenizer::error::NotFinite;
use var_tokenizer::files::sha256_of;
use var_tokenizer::weights::{Checkpoint, StateDict};

use crate::error::{Error, Result};

/// A source of tensors by name: a file, or the recipes of the golden cases.
pub trait TensorSource {
    /// The tensor called `name`, of `shape`, in `f32` on the processor.
    ///
    /// # Errors
    /// When it cannot be read. A source may return zeros for a missing tensor and report it later.
    fn take(&mut self, name: &str, shape: &[i64]) -> Result<Tensor>;
}

/// A file of weights (`.pth` of `torch.save`, new or old, or `.safetensors`), told apart by content. Every
/// tensor that a network takes is compared by name and shape and must be finite, and [`WeightsFile::finish`] says all that was
/// wrong at once.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    dict: StateDict,
    sha256: String,
    taken: BTreeSet<String>,
    problems: Vec<String>,
}

impl WeightsFile {
    /// Opens the file. If it has several sets of tensors, the largest is used.
    ///
    /// # Errors
    /// When it cannot be read, is damaged or of another kind, or holds no tensors.
    pub fn open(path: &Path) -> Result<Self> {
        let parts = Checkpoint::open(path)?.parts;
        let dict = parts.into_values().max_by_key(|dict| dict.tensors.len());
        let dict = dict
            .filter(|dict| !dict.tensors.is_empty())
            .ok_or_else(|| Error::file(path, "holds no tensors; expected the weights of a network"))?;
        let sha256 = sha256_of(path)?;
        Ok(Self { path: path.to_owned(), dict, sha256, taken: BTreeSet::new(), problems: Vec::new() })
    }

    /// SHA-256 of the file, 64 hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Ends the reading. `ignored` says which of the remaining names are no error.
    ///
    /// # Errors
    /// One error with all missing, unexpected and wrongly shaped tensors.
    pub fn finish(mut self, ignored: impl Fn(&str) -> bool) -> Result<()> {
        let left = self.dict.tensors.keys().filter(|name| !self.taken.contains(*name) && !ignored(name));
        self.problems.extend(left.map(|name| format!("unexpected {name}")));
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(var_tokenizer::Error::Weights { file: self.dict.name, problems: self.problems }.into())
    }
}

impl TensorSource for WeightsFile {
    fn take(&mut self, name: &str, shape: &[i64]) -> Result<Tensor> {
        self.taken.insert(name.to_owned());
        let problem = match self.dict.get(name) {
            None => format!("missing {name}"),
            Some(stored) if stored.shape() != shape => {
                format!("{name} has shape {:?}, expected {shape:?}", stored.shape())
            }
            Some(stored) => {
                let tensor = stored.tensor()?.f_to_kind(Kind::Float)?;
                match NotFinite::in_tensor(&tensor)? {
                    None => return Ok(tensor),
                    Some(found) => return Err(Error::file(&self.path, format!("tensor {name}: {found}"))),
                }
            }
        };
        self.problems.push(problem);
        // A placeholder without memory, until `finish` reports it.
        let zero = Tensor::f_zeros(vec![1; shape.len()], (Kind::Float, Device::Cpu))?;
        Ok(zero.f_expand(shape, false)?)
    }
}

/// Counters that PyTorch stores with each batch norm; not used here.
pub(crate) fn is_counter(name: &str) -> bool {
    name.ends_with(".num_batches_tracked")
}
