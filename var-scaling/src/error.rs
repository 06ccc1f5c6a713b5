//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// Everything that can go wrong around a sweep.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a read or write.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is missing, damaged or does not belong here.
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
    /// The pictures cannot be opened, or standard output cannot be written.
    #[error(transparent)]
    Tokenizer(#[from] var_tokenizer::Error),
    /// A program that a stage of the sweep started did not succeed.
    #[error("{what} failed: {message}{}", log_hint(log))]
    Stage {
        /// The stage, as in "encoding the pictures".
        what: String,
        /// The program's own words, or how it ended.
        message: String,
        /// Exit status of this program: 2 when the input was bad, else 1.
        code: i32,
        /// Where everything that it said can be read.
        log: Option<PathBuf>,
    },
    /// Some sizes did not finish; the others did.
    #[error("{failed} of {all} sizes did not finish; run the same command again to complete them")]
    Incomplete {
        /// Sizes that failed.
        failed: usize,
        /// Sizes of the sweep.
        all: usize,
    },
    /// Stopped by a signal; what was done is kept.
    #[error("interrupted; run the same command again to go on")]
    Interrupted,
    /// A plot could not be drawn.
    #[error("{}: cannot draw: {message}", path.display())]
    Plot {
        /// The picture.
        path: PathBuf,
        /// What the drawing library said.
        message: String,
    },
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

fn log_hint(log: &Option<PathBuf>) -> String {
    log.as_ref().map_or_else(String::new, |path| format!(" (see {})", path.display()))
}

impl Error {
    /// An input or output error at `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// A missing, damaged or foreign file at `path`.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_owned(), message: message.into() }
    }

    /// Exit status of a binary that ends with this error: 2 the input was bad, 3 interrupted and saved,
    /// 1 anything else.
    pub fn exit_code(&self) -> i32 {
        use std::io::ErrorKind as K;
        match self {
            Self::Io { source, .. } => match source.kind() {
                K::NotFound | K::PermissionDenied | K::NotADirectory | K::IsADirectory => 2,
                _ => 1,
            },
            Self::File { .. } | Self::Config(_) => 2,
            Self::Tokenizer(e) => e.exit_code(),
            Self::Stage { code, .. } => *code,
            Self::Interrupted => 3,
            Self::Incomplete { .. } | Self::Plot { .. } => 1,
        }
    }
}
