//! The error type that all crates share. `var-train`, `var-eval` and `var-scaling` wrap it in their own and add to it.

use std::fmt;
use std::path::{Path, PathBuf};

/// What can go wrong with files, settings and tensors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a read or write.
    #[error("{}: {}", path.display(), in_words(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is damaged or of another kind.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// Settings that do not fit together.
    #[error("{0}")]
    Config(String),
    /// Invalid scale schedule.
    #[error("schedule {0}")]
    Schedule(String),
    /// Tensors of a file do not fit the model.
    #[error("{file}: {} tensors do not fit the model: {}", problems.len(), a_few_of(problems))]
    Weights {
        /// The file.
        file: String,
        /// One line a tensor.
        problems: Vec<String>,
    },
    /// Values that were computed are not finite. (Those of a file are [`Error::File`].)
    #[error("{what}: {found}")]
    NotFinite {
        /// The tensor, and the step or file that it comes from.
        what: String,
        /// How many.
        found: NotFinite,
    },
    /// Stopped by a signal; nothing that was done is lost.
    #[error("interrupted; {0}")]
    Interrupted(String),
    /// libtorch reported an error.
    #[error("libtorch: {0}")]
    Torch(String),
    /// A check of this machine failed.
    #[error("{0}")]
    Check(String),
}

/// How many values of a tensor are not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFinite {
    /// Values that are not a number.
    pub nan: u64,
    /// Values that are infinite.
    pub infinite: u64,
    /// All values.
    pub of: u64,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.nan, self.infinite) {
            (nan, 0) => write!(f, "{nan} of {} values are NaN", self.of),
            (0, infinite) => write!(f, "{infinite} of {} values are infinite", self.of),
            (nan, infinite) => write!(f, "{nan} of {} values are NaN, {infinite} infinite", self.of),
        }
    }
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An input or output error at `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// Exit status of a program that ends with this error: 1 the machine failed (disk, memory), 2 the input was bad,
    /// 3 interrupted. A file that is missing or may not be read is input.
    pub fn exit_code(&self) -> u8 {
        use std::io::ErrorKind as Kind;
        match self {
            Self::Io { source, .. } => match source.kind() {
                Kind::NotFound
                | Kind::PermissionDenied
                | Kind::NotADirectory
                | Kind::IsADirectory
                | Kind::AlreadyExists => 2,
                _ => 1,
            },
            Self::Torch(_) | Self::Check(_) | Self::NotFinite { .. } => 1,
            Self::Interrupted(_) => 3,
            _ => 2,
        }
    }

    /// Settings that do not fit together, or a word that is not known.
    pub fn config(message: impl Into<String>) -> Self {
        Self::Config(message.into())
    }

    /// A damaged or foreign file at `path`.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_owned(), message: message.into() }
    }
}

impl From<tch::TchError> for Error {
    fn from(e: tch::TchError) -> Self {
        // A C++ exception carries a backtrace below its first line.
        Self::Torch(e.to_string().lines().next().unwrap_or("unknown").to_owned())
    }
}

/// What the system said, in words that a user knows, without its number.
fn in_words(source: &std::io::Error) -> String {
    use std::io::ErrorKind as Kind;
    match source.kind() {
        Kind::NotFound => "no such file or folder".into(),
        Kind::PermissionDenied => "no permission to read or write it".into(),
        Kind::AlreadyExists => "exists already".into(),
        Kind::IsADirectory => "is a folder; a file is needed".into(),
        Kind::NotADirectory => "a part of this path is not a folder".into(),
        _ => {
            let text = source.to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}

/// The first and the last few problems (what is missing comes first, what is unexpected last), and how many lie
/// between.
fn a_few_of(problems: &[String]) -> String {
    const FIRST: usize = 5;
    const LAST: usize = 3;
    if problems.len() <= FIRST + LAST {
        return problems.join("; ");
    }
    let (first, rest) = problems.split_at(FIRST);
    let (between, last) = rest.split_at(rest.len() - LAST);
    format!("{}; {} more; {}", first.join("; "), between.len(), last.join("; "))
}
