//! The one error type of this crate.

/// Everything that can go wrong in the model crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tokenizer, a file or libtorch failed.
    #[error(transparent)]
    Tokenizer(#[from] var_tokenizer::Error),
    /// Settings that do not fit together.
    #[error("{0}")]
    Config(String),
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Exit status of a binary that ends with this error: 1 the machine failed, 2 the input was bad.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Tokenizer(e) => e.exit_code(),
            Self::Config(_) => 2,
        }
    }
}

impl From<tch::TchError> for Error {
    fn from(e: tch::TchError) -> Self {
        Self::Tokenizer(e.into())
    }
}
