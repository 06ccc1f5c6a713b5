//! A file of weights of any of the layouts that people have, and the part of it that is wanted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::home::Home;
use super::pickle::torch_file;
use super::safetensors;
use super::state_dict::StateDict;
use crate::error::{Error, Result};
use crate::schedule::ScaleSchedule;

/// How a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `.safetensors`.
    Safetensors,
    /// `torch.save` since PyTorch 1.6.
    TorchZip,
    /// `torch.save` before, or with `_use_new_zipfile_serialization=False`.
    TorchLegacy,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::TorchZip => "PyTorch (zip)",
            Self::TorchLegacy => "PyTorch (legacy)",
        })
    }
}

/// Which network a set of weights is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The multi-scale VQ-VAE.
    Tokenizer,
    /// The VAR transformer.
    Transformer,
}

impl Role {
    /// A tensor that the network always has, and the other never.
    fn marker(self) -> &'static str {
        match self {
            Self::Tokenizer => "quantize.embedding.weight",
            Self::Transformer => "word_embed.weight",
        }
    }

    /// The role that `tensors` play, by their names.
    pub fn of(dict: &StateDict) -> Option<Self> {
        [Self::Tokenizer, Self::Transformer].into_iter().find(|role| dict.get(role.marker()).is_some())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tokenizer => "tokenizer",
            Self::Transformer => "transformer",
        })
    }
}

/// What other programs put before every name: data parallel training and compiled modules.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// An opened file of weights; the values are still in it.
#[derive(Debug)]
pub struct Checkpoint {
    /// How it is laid out.
    pub layout: Layout,
    /// Its sets of tensors by the keys that lead to them, joined by `/`; "" is the outermost.
    pub parts: BTreeMap<String, StateDict>,
    /// Sides of the token maps, where the file says them (trainers' checkpoints do).
    pub schedule: Option<ScaleSchedule>,
    name: String,
}

impl Checkpoint {
    /// Opens the file at `path`, whatever its name ends with, and reads names and shapes.
    ///
    /// # Errors
    /// When it cannot be read, is none of the known layouts, is damaged, or would run code.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_in(&Home::open(path)?)
    }

    /// As [`Checkpoint::open`] for the bytes of a file, which is called `path` in messages.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn in_memory(bytes: impl Into<Cow<'static, [u8]>>, path: &Path) -> Result<Self> {
        Self::open_in(&Home::in_memory(bytes, path))
    }

    fn open_in(home: &Arc<Home>) -> Result<Self> {
        let (path, length) = (&home.path, home.length());
        let mut start = [0; 16];
        let known = length.min(16) as usize;
        home.read(start.get_mut(..known).unwrap_or_default(), 0)?;
        let layout = match start {
            [b'P', b'K', 3, 4, ..] => Layout::TorchZip,
            [0x80, 1..=5, ..] => Layout::TorchLegacy,
            [_, _, _, _, _, _, _, _, b'{', ..] => Layout::Safetensors,
            _ if length == 0 => return Err(Error::file(path, "is empty")),
            _ => {
                return Err(Error::file(
                    path,
                    "is neither a safetensors file nor one of torch.save; is it the right file?",
                ));
            }
        };
        let name = path.display().to_string();
        let mut schedule = None;
        let mut parts = BTreeMap::new();
        if layout == Layout::Safetensors {
            parts.insert(String::new(), safetensors::open_in(home)?);
        } else {
            let (found, sides) = torch_file::open(home, layout)?;
            schedule = sides.and_then(|sides| ScaleSchedule::new(sides).ok());
            for (key, tensors) in found {
                let name = if key.is_empty() { name.clone() } else { format!("{name} ({key})") };
                parts.insert(key, StateDict { name, tensors, metadata: BTreeMap::new() });
            }
        }
        for dict in parts.values_mut() {
            unwrap_names(dict);
        }
        Ok(Self { layout, parts, schedule, name })
    }

    /// The tensors of `role`, wherever they are nested.
    ///
    /// # Errors
    /// When there are none; says what there is instead.
    pub fn part(&self, role: Role) -> Result<&StateDict> {
        self.parts.values().find(|dict| Role::of(dict) == Some(role)).ok_or_else(|| self.lacks(role))
    }

    /// As [`Checkpoint::part`], taken out.
    ///
    /// # Errors
    /// As [`Checkpoint::part`].
    pub fn take(&mut self, role: Role) -> Result<StateDict> {
        let key =
            self.parts.iter().find(|(_, dict)| Role::of(dict) == Some(role)).map(|(key, _)| key.clone());
        key.and_then(|key| self.parts.remove(&key)).ok_or_else(|| self.lacks(role))
    }

    fn lacks(&self, role: Role) -> Error {
        let other = self.parts.values().find_map(Role::of);
        Error::file(
            &self.name,
            match other {
                Some(other) => format!("holds a {other}, not a {role}; name the {role}'s file"),
                None => {
                    format!(
                        "holds no {role}: no tensor is called {}, {}; is it the right file?",
                        role.marker(),
                        self.summary()
                    )
                }
            },
        )
    }

    /// What is in it, in a few words.
    fn summary(&self) -> String {
        let count: usize = self.parts.values().map(|dict| dict.tensors.len()).sum();
        let first: Vec<&str> =
            self.parts.values().flat_map(|dict| dict.tensors.keys()).map(String::as_str).take(3).collect();
        if first.is_empty() {
            "it holds no tensors".into()
        } else {
            format!("it has {count} tensors: {}, …", first.join(", "))
        }
    }
}

/// Takes off what wrappers put before every name.
fn unwrap_names(dict: &mut StateDict) {
    while let Some(wrapper) = WRAPPERS
        .into_iter()
        .find(|w| !dict.tensors.is_empty() && dict.tensors.keys().all(|name| name.starts_with(w)))
    {
        dict.tensors = std::mem::take(&mut dict.tensors)
            .into_iter()
            .map(|(name, stored)| (name.split_at(wrapper.len()).1.to_owned(), stored))
            .collect();
    }
}
