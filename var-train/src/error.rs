//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// Everything that can go wrong in training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, a setting or libtorch: what all crates share.
    #[error(transparent)]
    Core(#[from] var_tokenizer::Error),
    /// A loss, gradient or weight is not finite.
    #[error("{0}")]
    Diverged(String),
    /// Ranks did not find each other, or cannot work together.
    #[error("{0}")]
    Distributed(String),
    /// Another rank failed, was killed or does not answer.
    #[error("{0}")]
    Rank(String),
    /// The caller or a signal stopped the run, after it saved a checkpoint.
    #[error("interrupted at step {step}; saved {}", checkpoint.display())]
    Interrupted {
        /// Steps done.
        step: u64,
        /// Folder of the checkpoint.
        checkpoint: PathBuf,
    },
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An input or output error at `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        var_tokenizer::Error::io(path, source).into()
    }

    /// A missing, damaged or unsuitable file at `path`.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        var_tokenizer::Error::file(path, message).into()
    }

    /// Settings that do not fit together, or an unknown name.
    pub fn config(message: impl Into<String>) -> Self {
        var_tokenizer::Error::config(message).into()
    }

    /// Whether values that are not finite are the reason.
    pub fn is_not_finite(&self) -> bool {
        use var_tokenizer::Error::NotFinite;
        matches!(self, Self::Diverged(_) | Self::Core(NotFinite { .. }))
    }

    /// Exit status of a program that ends with this error: 1 for a machine failure, 2 for bad input, 3 for an interruption
    /// after saving, 4 for the failure of another rank.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Core(e) => e.exit_code(),
            Self::Diverged(_) | Self::Distributed(_) => 1,
            Self::Interrupted { .. } => 3,
            Self::Rank(_) => 4,
        }
    }
}

impl From<tch::TchError> for Error {
    fn from(e: tch::TchError) -> Self {
        Self::Core(e.into())
    }
}

impl From<var_eval::Error> for Error {
    fn from(e: var_eval::Error) -> Self {
        match e {
            var_eval::Error::Core(e) => Self::Core(e),
            e => Self::config(e.to_string()),
        }
    }
}
