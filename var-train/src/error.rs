//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// Everything that can go wrong in training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, a setting or libtorch: what all crates share.
    #[error(transparent)]
    Core(#[from] var_tokenizer::Error),
    /// Loss or gradient is no longer a number.
    #[error("{0}")]
    Diverged(String),
    /// Ranks did not find each other, or this one cannot go on with them.
    #[error("{0}")]
    Distributed(String),
    /// Another rank failed, was killed or does not answer.
    #[error("{0}")]
    Rank(String),
    /// Interrupted by a signal after saving.
    #[error("interrupted at step {step}; saved {}; go on with --resume", checkpoint.display())]
    Interrupted {
        /// Steps done.
        step: u64,
        /// The checkpoint written on the way out.
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

    /// A missing, damaged or foreign file at `path`.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        var_tokenizer::Error::file(path, message).into()
    }

    /// Settings that do not fit together, or a word that is not known.
    pub fn config(message: impl Into<String>) -> Self {
        var_tokenizer::Error::config(message).into()
    }

    /// Whether values that are not finite are the reason.
    pub fn is_not_finite(&self) -> bool {
        use var_tokenizer::Error::NotFinite;
        matches!(self, Self::Diverged(_) | Self::Core(NotFinite { .. }))
    }

    /// Exit status of a program that ends with this error: 1 the machine failed, 2 the input was bad, 3 interrupted and
    /// saved, 4 another rank failed.
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
