//! What a file of weights may be, and which network its tensors are for.

use std::fmt;

use super::state_dict::StateDict;

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
    pub(super) const ALL: [Self; 2] = [Self::Tokenizer, Self::Transformer];

    /// A tensor that the network always has, and the other never.
    pub(super) fn marker(self) -> &'static str {
        match self {
            Self::Tokenizer => "quantize.embedding.weight",
            Self::Transformer => "word_embed.weight",
        }
    }

    /// The role that the tensors of `dict` play, by their names.
    pub fn of(dict: &StateDict) -> Option<Self> {
        let has = |name: &str| dict.get(name).is_some() || dict.skipped.contains_key(name);
        Self::ALL.into_iter().find(|role| has(role.marker()))
    }

    /// The role that a word stands for where a part is asked for.
    pub(super) fn named(word: &str) -> Option<Self> {
        match word {
            "model" | "transformer" => Some(Self::Transformer),
            "tokenizer" => Some(Self::Tokenizer),
            _ => None,
        }
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
