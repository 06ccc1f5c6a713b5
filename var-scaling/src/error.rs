//! The one error type of this crate.

use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that can go wrong around a sweep.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, a setting or libtorch: the errors that all crates share.
    #[error(transparent)]
    Core(#[from] var_tokenizer::Error),
    /// A program that the sweep started failed.
    #[error("{what} failed: {message}{}", log_hint(log))]
    Stage {
        /// The stage, as in "encoding the images".
        what: String,
        /// The message of the program, or how it ended.
        message: String,
        /// Exit status of this program: 2 if the input was bad, else 1.
        code: u8,
        /// The log with the output of the program.
        log: Option<PathBuf>,
    },
    /// No size of a sweep finished.
    #[error("every size failed: {}{}", first_of(failed), log_hint(&Some(log.clone())))]
    NothingFinished {
        /// The sizes: name, and reason.
        failed: Vec<(String, String)>,
        /// The folder with their logs.
        log: PathBuf,
    },
    /// The work of an earlier call does not fit this one, or is lost.
    #[error("{}: {message}, or {remedy}", path.display())]
    CannotResume {
        /// The file or folder.
        path: PathBuf,
        /// What was found, and how to resume.
        message: String,
        /// How to continue without resuming.
        remedy: Remedy,
    },
    /// Neither the request nor its preset names images.
    #[error(
        "preset {preset} has no images; name them: class folders, a tar, WebDataset or Parquet shards, a text list, an npz, \
         CIFAR binaries, or emoji"
    )]
    NoImages {
        /// The preset.
        preset: String,
    },
    /// Some sizes failed; the others finished.
    #[error("{failed} of {all} sizes did not finish; to complete them, run the same command again")]
    Incomplete {
        /// Number of sizes that failed.
        failed: usize,
        /// Number of sizes of the sweep.
        all: usize,
    },
    /// A signal stopped the sweep. Finished work is kept.
    #[error("interrupted; to resume, run the same command again")]
    Interrupted,
    /// The points do not give an exponent.
    #[error("{reason}")]
    NoLaw {
        /// What the points lack.
        reason: String,
    },
    /// A plot could not be drawn.
    #[error("{}: cannot draw the plot: {message}", path.display())]
    Plot {
        /// The image.
        path: PathBuf,
        /// The message of the drawing library.
        message: String,
    },
}

/// How to continue when earlier work cannot be resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// A new sweep in another folder.
    NewSweep,
    /// The run of this name, or `tokens`, starts over.
    StartOver(String),
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewSweep => f.write_str("start a new sweep in another folder"),
            Self::StartOver(name) if name == "tokens" || name.ends_with("/tokens") => {
                f.write_str("encode the images again")
            }
            Self::StartOver(name) => write!(f, "train {name} from the beginning"),
        }
    }
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

fn first_of(failed: &[(String, String)]) -> String {
    failed.first().map_or_else(String::new, |(name, why)| format!("{name}: {why}"))
}

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

    /// Earlier work at `path` that cannot be resumed. `message` says how to resume, without a full stop.
    pub(crate) fn cannot_resume(path: impl AsRef<Path>, message: impl Into<String>, remedy: Remedy) -> Self {
        Self::CannotResume { path: path.as_ref().to_owned(), message: message.into(), remedy }
    }

    /// Exit status of a program that ends with this error: 1 machine failure, 2 bad input, 3 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Core(e) => e.exit_code(),
            Self::CannotResume { .. } | Self::NoImages { .. } | Self::NoLaw { .. } => 2,
            Self::Stage { code, .. } => *code,
            Self::Interrupted => 3,
            Self::NothingFinished { .. } | Self::Incomplete { .. } | Self::Plot { .. } => 1,
        }
    }
}
