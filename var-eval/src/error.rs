//! The one error type of this crate.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Everything that can go wrong while scoring pictures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, a setting or libtorch: what all crates share.
    #[error(transparent)]
    Core(#[from] var_tokenizer::Error),
    /// Two folders do not hold the same pictures.
    #[error("{} has no picture for {}; every picture needs its partner of the same name", folder.display(), sample_of(names))]
    Unmatched {
        /// The folder in which they are missing.
        folder: PathBuf,
        /// Names without extension, sorted.
        names: Vec<String>,
    },
    /// Two pictures that were to be compared differ in shape.
    #[error(
        "picture sizes differ: reference {}×{} with {} channels, sample {}×{} with {}; resize or crop both sets alike first",
        reference.0, reference.1, reference.2, sample.0, sample.1, sample.2
    )]
    Shapes {
        /// Width, height and channels of the reference.
        reference: (usize, usize, usize),
        /// Width, height and channels of the sample.
        sample: (usize, usize, usize),
    },
    /// The window of SSIM does not fit into the picture.
    #[error("SSIM needs pictures of at least {least}×{least} pixels, this one has {width}×{height}")]
    TooSmall {
        /// Smallest side.
        least: usize,
        /// Width found.
        width: usize,
        /// Height found.
        height: usize,
    },
    /// Bytes that are no picture of the given shape.
    #[error(
        "a picture of {width}×{height} with {channels} channels has at least one byte and {expected} in all, got {found}"
    )]
    Bytes {
        /// Width asked for.
        width: usize,
        /// Height asked for.
        height: usize,
        /// Channels asked for.
        channels: usize,
        /// Bytes that such a picture has.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Features, logits or statistics that a measure cannot take.
    #[error("{0}")]
    Measure(String),
    /// Metrics that could not be computed, after the report of the others.
    #[error("{} of {asked} metrics failed: {}", failed.len(), failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Metrics {
        /// Which, and why.
        failed: Vec<Failure>,
        /// How many were asked for.
        asked: usize,
    },
    /// An error about one pair of pictures.
    #[error("'{name}': {source}")]
    Pair {
        /// Name of the pair, without extension.
        name: String,
        /// What is wrong with it.
        source: Box<Error>,
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

    /// Features, logits or statistics that a measure cannot take: what was expected and found.
    pub fn measure(message: impl Into<String>) -> Self {
        Self::Measure(message.into())
    }

    /// The same error for a person who knows nothing of `folder`, a temporary one: what the system refused is said of
    /// the folder above it, and what is wrong with a file in it is said of `label`.
    pub(crate) fn outside(self, folder: &Path, label: &Path) -> Self {
        use var_tokenizer::Error as Below;
        let above = || folder.parent().unwrap_or(folder).to_owned();
        match self {
            Self::Core(Below::Io { path, source }) if path.starts_with(folder) => Self::io(above(), source),
            Self::Core(Below::File { path, message }) if path.starts_with(folder) => {
                Self::file(label, message)
            }
            other => other,
        }
    }

    /// Exit status of a program that ends with this error: 1 the machine failed, 2 the input was bad, 3 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Core(e) => e.exit_code(),
            Self::Pair { source, .. } => source.exit_code(),
            Self::Metrics { failed, .. } => failed.iter().map(|failure| failure.exit_code).min().unwrap_or(2),
            _ => 2,
        }
    }
}

impl From<tch::TchError> for Error {
    fn from(e: tch::TchError) -> Self {
        Self::Core(e.into())
    }
}

/// The first few names, and how many more there are.
fn sample_of(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("'{name}'")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A metric that could not be computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The metric as the command line calls it.
    pub metric: &'static str,
    /// Why.
    pub reason: String,
    /// What a program that computed nothing else would end with.
    #[serde(skip)]
    pub exit_code: u8,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.metric, self.reason)
    }
}
