//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// Everything that can go wrong in training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tokenizer, a file of tensors or libtorch failed.
    #[error(transparent)]
    Tokenizer(#[from] var_tokenizer::Error),
    /// The transformer failed.
    #[error(transparent)]
    Model(#[from] var_model::Error),
    /// The operating system refused a read or write.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is damaged or does not belong to this run.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// A setting that is unknown or out of range.
    #[error("{0}")]
    Config(String),
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
        Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// A damaged or foreign file at `path`.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_owned(), message: message.into() }
    }

    /// Whether values that are not finite are the reason.
    pub fn is_not_finite(&self) -> bool {
        use var_tokenizer::Error::NotFinite;
        matches!(
            self,
            Self::Diverged(_)
                | Self::Tokenizer(NotFinite { .. })
                | Self::Model(var_model::Error::Tokenizer(NotFinite { .. }))
        )
    }

    /// Exit status of a binary that ends with this error: 3 interrupted and saved, 1 the machine failed,
    /// 2 the input was bad, 4 another rank failed.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Interrupted { .. } => 3,
            Self::Diverged(_) | Self::Distributed(_) => 1,
            Self::Rank(_) => 4,
            Self::Tokenizer(e) => e.exit_code(),
            Self::Model(e) => e.exit_code(),
            Self::Io { path, source } => {
                // One place decides whose fault a system error is.
                let source = std::io::Error::from(source.kind());
                var_tokenizer::Error::io(path, source).exit_code()
            }
            Self::File { .. } | Self::Config(_) => 2,
        }
    }
}

impl From<tch::TchError> for Error {
    fn from(e: tch::TchError) -> Self {
        Self::Tokenizer(e.into())
    }
}
