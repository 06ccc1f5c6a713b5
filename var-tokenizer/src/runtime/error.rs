//! The one error type of this crate.

use std::path::{Path, PathBuf};

use crate::runtime::torch::NotFinite;

/// Everything that can go wrong in the tokenizer crate.
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
    /// A scale schedule that is none.
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
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An input or output error at `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// Exit status of a binary that ends with this error: 3 interrupted, 1 the machine failed (disk,
    /// memory), 2 the input was bad. A file that is missing or may not be read is input.
    pub fn exit_code(&self) -> i32 {
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
            Self::Torch(_) | Self::NotFinite { .. } => 1,
            Self::Interrupted(_) => 3,
            _ => 2,
        }
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

/// The first and the last few problems (what is missing comes first, what is unexpected last), and how many lie between.
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
