//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// Everything that can go wrong around a sweep.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, a setting or libtorch: what all crates share.
    #[error(transparent)]
    Core(#[from] var_tokenizer::Error),
    /// A program that the sweep started failed.
    #[error("{what} failed: {message}{}", log_hint(log))]
    Stage {
        /// The stage, as in "encoding the images".
        what: String,
        /// The program's own words, or how it ended.
        message: String,
        /// Exit status of this program: 2 when the input was bad, else 1.
        code: u8,
        /// The log with the program's output.
        log: Option<PathBuf>,
    },
    /// Some sizes failed; the others finished.
    #[error("{failed} of {all} sizes did not finish; to complete them, run the same command again")]
    Incomplete {
        /// Sizes that failed.
        failed: usize,
        /// Sizes of the sweep.
        all: usize,
    },
    /// A signal stopped the sweep. Finished work is kept.
    #[error("interrupted; to resume, run the same command again")]
    Interrupted,
    /// Points carry no exponent.
    #[error("no power law: {reason}")]
    NoLaw {
        /// What the points lack.
        reason: String,
    },
    /// A plot could not be drawn.
    #[error("{}: cannot draw the plot: {message}", path.display())]
    Plot {
        /// The image.
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

    /// Exit status of a program that ends with this error: 1 the machine failed, 2 the input was bad, 3 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Core(e) => e.exit_code(),
            Self::NoLaw { .. } => 2,
            Self::Stage { code, .. } => *code,
            Self::Interrupted => 3,
            Self::Incomplete { .. } | Self::Plot { .. } => 1,
        }
    }
}
