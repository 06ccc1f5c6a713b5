//! The one error type of this crate.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Everything that can fail when images are scored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, a setting or libtorch: the errors that all crates share.
    #[error(transparent)]
    Core(#[from] var_tokenizer::Error),
    /// Two folders do not hold the same images.
    #[error("{} has no image for {}; each image needs a partner of the same name in both folders", folder.display(), sample_of(names))]
    Unmatched {
        /// The folder that lacks them.
        folder: PathBuf,
        /// Names without extension, sorted.
        names: Vec<String>,
    },
    /// Two images of a pair differ in shape.
    #[error(
        "image sizes differ: reference {}×{} with {} channels, sample {}×{} with {}; resize or crop both sets in the same way",
        reference.0, reference.1, reference.2, sample.0, sample.1, sample.2
    )]
    Shapes {
        /// Width, height and channels of the reference.
        reference: (usize, usize, usize),
        /// Width, height and channels of the sample.
        sample: (usize, usize, usize),
    },
    /// The image is smaller than the window of SSIM.
    #[error("SSIM needs at least {least}×{least} pixels, the image has {width}×{height}")]
    TooSmall {
        /// Smallest side.
        least: usize,
        /// Width found.
        width: usize,
        /// Height found.
        height: usize,
    },
    /// The number of bytes does not fit the shape of the image.
    #[error(
        "an image of {width}×{height} with {channels} channels needs {expected} bytes and at least one, got {found}"
    )]
    Bytes {
        /// Width.
        width: usize,
        /// Height.
        height: usize,
        /// Channels.
        channels: usize,
        /// Expected number of bytes.
        expected: usize,
        /// Found number of bytes.
        found: usize,
    },
    /// A metric cannot use these features, logits or statistics.
    #[error("{0}")]
    Measure(String),
    /// Some metrics failed; the report has the others.
    #[error("{} of {asked} metrics failed: {}", failed.len(), failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Metrics {
        /// Which, and why.
        failed: Vec<Failure>,
        /// Number of requested metrics.
        asked: usize,
    },
    /// An error about one pair of images.
    #[error("'{name}': {source}")]
    Pair {
        /// Name of the pair, without extension.
        name: String,
        /// What is wrong with the pair.
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

    /// Settings that do not fit together, or an unknown word.
    pub fn config(message: impl Into<String>) -> Self {
        var_tokenizer::Error::config(message).into()
    }

    /// Features, logits or statistics that a metric cannot use: what was expected and found.
    pub fn measure(message: impl Into<String>) -> Self {
        Self::Measure(message.into())
    }

    /// The same error without the name of the temporary `folder`. An error of the system names the folder above it; an
    /// error about a file in it names `label`.
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

    /// Exit status of a program that ends with this error: 1 machine failure, 2 bad input, 3 interrupted.
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

/// The first names, and the number of the others.
fn sample_of(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("'{name}'")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A metric that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its name on the command line.
    pub metric: String,
    /// Why.
    pub reason: String,
    /// Exit status of a program that measures this metric alone: 2 where a report was read back.
    #[serde(skip, default = "bad_input")]
    pub exit_code: u8,
}

const fn bad_input() -> u8 {
    2
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.metric, self.reason)
    }
}
