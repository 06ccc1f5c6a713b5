//! A program of a sweep, with its arguments.

use std::path::PathBuf;

/// A program and its arguments.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The piece of the work, for file names and messages.
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// The run folder of a training, which may start on several ranks and resume.
    pub run: Option<PathBuf>,
    pub log: PathBuf,
}

impl Call {
    /// Whether the training continues an earlier one.
    pub(super) fn resumes(&self) -> bool {
        self.arguments.iter().any(|a| a == "--resume")
    }
}
