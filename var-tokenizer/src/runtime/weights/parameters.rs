//! Named parameters: one ordered list a model, filled by an initialiser or from a file.
//!
//! Modules ask a [`Builder`] for their tensors while they are constructed; the order of asking is the
//! order of the released state dict, which is also the order of the optimizer's parameter groups.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::state_dict::StateDict;
use crate::runtime::error::{Error, Result};
use crate::runtime::random::Stream;

/// How many times their size in the file tensors may have in memory, and bytes that are never too many.
const MOST_EXPANDED: u64 = 8;
const SMALL: u64 = 1 << 20;

/// How the first value of a parameter is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Every entry the same.
    Constant(f64),
    /// Normal with mean 0 and this standard deviation, cut off at ±2 in absolute value.
    Normal(f64),
    /// Normal with this mean and standard deviation.
    Around {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        deviation: f64,
    },
    /// Uniform in ± this bound.
    Uniform(f64),
    /// As `Normal`, with one standard deviation for the first `count` entries in C order and another for
    /// the rest: gates and modulations that share a tensor.
    SplitNormal {
        /// Entries that take `first`.
        count: u64,
        /// Standard deviation of the first entries.
        first: f64,
        /// Standard deviation of the rest.
        rest: f64,
    },
}

/// The type that parameters are stored in.
#[derive(Debug, Clone, Copy)]
pub struct Storage {
    /// Of matrices and filters (two and more dimensions), for inference without casts in every product.
    pub matrices: Kind,
    /// Says which of them stay in `f32` all the same. Vectors always do.
    pub keep: fn(&str) -> bool,
}

impl Storage {
    /// Everything in `f32`: for training.
    pub const PLAIN: Self = Self { matrices: Kind::Float, keep: |_| true };

    fn kind(&self, name: &str, dimensions: usize) -> Kind {
        if dimensions >= 2 && !(self.keep)(name) { self.matrices } else { Kind::Float }
    }
}

/// One named tensor of a model.
#[derive(Debug)]
pub struct Parameter {
    /// Name in the released checkpoints.
    pub name: String,
    /// The values; modules hold shallow copies of the same storage.
    pub tensor: Tensor,
    /// False for buffers, which are saved but not trained.
    pub trainable: bool,
}

/// All parameters and buffers of a model, in the order in which it was built.
#[derive(Debug)]
pub struct Parameters {
    entries: Vec<Parameter>,
    index: HashMap<String, usize>,
    device: Device,
    /// Seed of the initial values; `None` leaves them zero for a file to fill.
    seed: Option<u64>,
    storage: Storage,
    /// Whether there are shapes only.
    outline: bool,
}

impl Parameters {
    /// An empty list on `device`. With a seed, parameters get their initial values from the streams of
    /// their own names; without one they stay zero until a file is loaded.
    pub fn new(device: Device, seed: Option<u64>, storage: Storage) -> Self {
        Self { entries: Vec::new(), index: HashMap::new(), device, seed, storage, outline: false }
    }

    /// An empty list for names and shapes alone: its tensors take no memory and are for nothing but
    /// [`Parameters::check`], which tells whether a file fits before memory is taken for it.
    pub fn outline() -> Self {
        Self { outline: true, ..Self::new(Device::Cpu, None, Storage::PLAIN) }
    }

    /// Where the tensors live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// A builder for the model's root.
    pub fn builder(&mut self) -> Builder<'_> {
        Builder { parameters: self, prefix: String::new() }
    }

    /// All entries in building order.
    pub fn entries(&self) -> &[Parameter] {
        &self.entries
    }

    /// Trainable entries in building order.
    pub fn trainable(&self) -> impl Iterator<Item = &Parameter> {
        self.entries.iter().filter(|p| p.trainable)
    }

    /// The entry called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.index.get(name).and_then(|&i| self.entries.get(i)).map(|p| &p.tensor)
    }

    /// Number of trainable scalars.
    pub fn count(&self) -> u64 {
        self.trainable().map(|p| p.tensor.numel() as u64).sum()
    }

    /// Turns gradients on or off for every trainable entry.
    pub fn set_requires_grad(&self, on: bool) {
        for p in self.trainable() {
            let _ = p.tensor.set_requires_grad(on);
        }
    }

    /// Forgets all gradients, so that the next backward pass writes instead of adding.
    pub fn zero_grad(&self) {
        for p in self.trainable() {
            let mut tensor = p.tensor.shallow_clone();
            tensor.zero_grad();
        }
    }

    /// Changes the storage of what is there.
    pub fn store_as(&mut self, storage: Storage) {
        self.storage = storage;
        tch::no_grad(|| {
            for p in &mut self.entries {
                let kind = storage.kind(&p.name, p.tensor.dim());
                if p.tensor.is_floating_point() && p.tensor.kind() != kind {
                    let converted = p.tensor.to_kind(kind);
                    p.tensor.set_data(&converted);
                }
            }
        });
    }

    /// Compares names and shapes. Names in `ignored` (a predicate on the name) may be missing, superfluous, or of
    /// another shape.
    ///
    /// # Errors
    /// One error that lists every missing, unexpected and mis-shaped tensor.
    pub fn check(&self, dict: &StateDict, ignored: impl Fn(&str) -> bool) -> Result<()> {
        let mut problems = Vec::new();
        for p in &self.entries {
            match dict.get(&p.name) {
                None if !ignored(&p.name) => problems.push(dict.missing(&p.name)),
                Some(t) if t.shape() != p.tensor.size() && !ignored(&p.name) => problems.push(format!(
                    "{} has shape {:?}, expected {:?}",
                    p.name,
                    t.shape(),
                    p.tensor.size()
                )),
                _ => {}
            }
        }
        for name in dict.tensors.keys() {
            if !self.index.contains_key(name) && !ignored(name) {
                problems.push(format!("unexpected {name}"));
            }
        }
        // Expanded tensors are larger in memory than in their file; a small file must not fill the memory.
        let used = self.entries.iter().filter_map(|p| dict.get(&p.name));
        let (wanted, there) =
            used.fold((0, 0), |(wanted, there), t| (wanted + t.bytes(), there + t.bytes_in_file()));
        if wanted > there.saturating_mul(MOST_EXPANDED).saturating_add(SMALL) {
            problems.push(format!("{wanted} bytes of tensors are expanded from {there} bytes in the file"));
        }
        if !problems.is_empty() {
            return Err(Error::Weights { file: dict.name.clone(), problems });
        }
        Ok(())
    }

    /// Copies tensors into the entries of the same names, whatever their types; `ignored` as for
    /// [`Parameters::check`].
    ///
    /// # Errors
    /// As [`Parameters::check`], before anything is copied; when a file cannot be read; when a value is not finite,
    /// in the file or in the type of its entry.
    pub fn load(&mut self, dict: &StateDict, ignored: impl Fn(&str) -> bool) -> Result<()> {
        self.check(dict, &ignored)?;
        for p in &self.entries {
            if let Some(stored) = dict.get(&p.name)
                && stored.shape() == p.tensor.size()
            {
                stored.copy_into(&p.tensor)?;
                if !ignored(&p.name) {
                    stored.check(&p.tensor, &dict.name, &p.name)?;
                }
            }
        }
        Ok(())
    }

    /// All entries by name, on the CPU, contiguous and in the kind they are stored in. An entry that is so
    /// already is not copied: it shares its memory with the model.
    pub fn to_map(&self) -> BTreeMap<String, Tensor> {
        tch::no_grad(|| {
            self.entries
                .iter()
                .map(|p| (p.name.clone(), p.tensor.detach().to_device(Device::Cpu).contiguous()))
                .collect()
        })
    }

    fn push(&mut self, name: String, shape: &[i64], init: Init, trainable: bool) -> Tensor {
        let kind = self.storage.kind(&name, shape.len());
        let tensor = match (self.seed, init) {
            _ if self.outline => {
                Tensor::zeros(vec![1; shape.len()], (kind, self.device)).expand(shape, false)
            }
            (_, Init::Constant(value)) => Tensor::full(shape, value, (kind, self.device)),
            (None, _) => Tensor::zeros(shape, (kind, self.device)),
            (Some(seed), _) => drawn(&name, seed, shape, init).to_device(self.device).to_kind(kind),
        };
        let tensor = if trainable { tensor.set_requires_grad(true) } else { tensor };
        self.index.insert(name.clone(), self.entries.len());
        self.entries.push(Parameter { name, tensor: tensor.shallow_clone(), trainable });
        tensor
    }
}

/// Random values of `shape` from the stream called after the parameter.
fn drawn(name: &str, seed: u64, shape: &[i64], init: Init) -> Tensor {
    let stream = Stream::new(name, seed);
    let count: i64 = shape.iter().product();
    let values: Vec<f32> = (0..count as u64)
        .into_par_iter()
        .map(|i| match init {
            Init::Constant(value) => value as f32,
            Init::Normal(std) => (stream.normal(i) * std).clamp(-2.0, 2.0) as f32,
            Init::Around { mean, deviation } => (mean + stream.normal(i) * deviation) as f32,
            Init::SplitNormal { count, first, rest } => {
                (stream.normal(i) * if i < count { first } else { rest }).clamp(-2.0, 2.0) as f32
            }
            Init::Uniform(bound) => ((2.0 * stream.draw(i) - 1.0) * bound) as f32,
        })
        .collect();
    Tensor::from_slice(&values).view(shape)
}

/// Adds parameters below a prefix.
#[derive(Debug)]
pub struct Builder<'a> {
    parameters: &'a mut Parameters,
    prefix: String,
}

impl Builder<'_> {
    /// A builder for the part called `name`.
    pub fn sub(&mut self, name: impl std::fmt::Display) -> Builder<'_> {
        let prefix = format!("{}{name}.", self.prefix);
        Builder { parameters: self.parameters, prefix }
    }

    /// A second builder for the same part.
    pub fn sub_here(&mut self) -> Builder<'_> {
        Builder { prefix: self.prefix.clone(), parameters: self.parameters }
    }

    /// A trainable parameter.
    pub fn parameter(&mut self, name: &str, shape: &[i64], init: Init) -> Tensor {
        let full = format!("{}{name}", self.prefix);
        self.parameters.push(full, shape, init, true)
    }

    /// A buffer: saved, not trained.
    pub fn buffer(&mut self, name: &str, shape: &[i64], value: f64) -> Tensor {
        let full = format!("{}{name}", self.prefix);
        self.parameters.push(full, shape, Init::Constant(value), false)
    }
}
