//! The place of an output, and its kind by the ending of its name.

use std::fmt;
use std::path::{Path, PathBuf};

use var_tokenizer::files::{check_lasting_place, check_place};

use super::output::{Output, OutputPlan};
use super::{folder, grid, npz};
use crate::error::{Error, Result};

/// Endings of files that a user may expect. No folder of PNGs has such a name.
const NOT_FOLDERS: [&str; 9] = ["jpg", "jpeg", "webp", "gif", "apng", "bmp", "npy", "tar", "zip"];

/// A place for images; its ending says which kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `.png`: one image of all.
    Grid(PathBuf),
    /// `.npz`: a numpy archive.
    Npz(PathBuf),
    /// Any other name: a folder of PNGs.
    Folder(PathBuf),
}

/// The space of an output on the disk.
#[derive(Debug, Clone, Copy)]
pub struct DiskBytes {
    /// Bytes when it is finished.
    pub finished: u64,
    /// Whether `finished` is exact. For PNGs, which are compressed, it is an upper bound.
    pub exact: bool,
    /// Maximum number of bytes while it is written.
    pub meanwhile: u64,
}

impl Target {
    /// The target for `path`, by its ending.
    ///
    /// # Errors
    /// When the ending is that of another kind of file.
    pub fn of(path: PathBuf) -> Result<Self> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        match ending.as_str() {
            "png" => Ok(Self::Grid(path)),
            "npz" => Ok(Self::Npz(path)),
            other if NOT_FOLDERS.contains(&other) => Err(Error::Config(format!(
                "expected .png (one grid), .npz (an archive) or a folder of PNGs, not .{other}"
            ))),
            _ => Ok(Self::Folder(path)),
        }
    }

    /// The place.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Grid(path) | Self::Npz(path) | Self::Folder(path) => path,
        }
    }

    /// Checks the place before any work: it can be written, and, unless the call resumes, no earlier call left anything
    /// there.
    ///
    /// # Errors
    /// When the place cannot be written, or is taken.
    pub(crate) fn check(&self, resume: bool) -> Result<()> {
        match self {
            Self::Grid(path) => check_place(path)?,
            Self::Npz(path) => {
                check_lasting_place(path)?;
                if !resume {
                    npz::refuse_begun(path)?;
                }
            }
            Self::Folder(path) => {
                folder::check(path)?;
                if !resume {
                    folder::refuse_begun(path)?;
                }
            }
        }
        Ok(())
    }

    /// The space that the images of `plan` take here.
    ///
    /// # Errors
    /// When they do not fit into a grid.
    pub(crate) fn disk_bytes(&self, plan: &OutputPlan) -> Result<DiskBytes> {
        let raw = (plan.pictures() * plan.picture_bytes()) as u64;
        match self {
            Self::Npz(_) => {
                let finished = npz::archive_bytes(plan);
                Ok(DiskBytes { finished, exact: true, meanwhile: finished + raw })
            }
            Self::Grid(_) => {
                grid::empty(plan)?;
                Ok(DiskBytes { finished: raw, exact: false, meanwhile: raw })
            }
            Self::Folder(_) => Ok(DiskBytes { finished: raw, exact: false, meanwhile: raw }),
        }
    }

    /// Opens the place for the images of `plan`. With `resume` reads what an earlier call left.
    pub(super) fn open(&self, plan: &OutputPlan, resume: bool) -> Result<Box<dyn Output>> {
        Ok(match self {
            Self::Grid(path) => Box::new(grid::GridFile::open(path, plan, resume)?),
            Self::Npz(path) => Box::new(npz::Npz::open(path, plan, resume)?),
            Self::Folder(path) => Box::new(folder::Folder::open(path, plan, resume)?),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}
