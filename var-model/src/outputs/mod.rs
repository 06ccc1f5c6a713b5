//! Where sampled pictures go: one grid, an npz archive, a folder of PNGs, and the settings beside each.
//!
//! All outputs of a call hold the same pictures in the same order. An archive and a folder grow with the work
//! and can be gone on with; a grid is made at the end. Whichever has most pictures fills the others up when a
//! call goes on.

mod folder;
mod grid;
mod npz;
mod rows;
pub mod scales;
pub mod settings;

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::Value;
use var_tokenizer::files::{check_lasting_place, check_place};

use crate::classes::ClassNames;
use crate::error::{Error, Result};
use folder::Folder;
use grid::GridFile;
use npz::Npz;
use scales::MOST_SHOWN;

/// Endings of files that a person may take for something that is written; a folder is not called so.
const NOT_FOLDERS: [&str; 9] = ["jpg", "jpeg", "webp", "gif", "apng", "bmp", "npy", "tar", "zip"];

/// Which pictures a call makes.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The label of each class, in the order of the pictures.
    pub labels: Vec<i64>,
    /// Names of the labels.
    pub names: ClassNames,
    /// Pictures a class.
    pub per_class: usize,
    /// Side of a picture in pixels.
    pub side: usize,
    /// Whether pictures are the best of several candidates.
    pub chosen: bool,
}

impl Plan {
    /// Pictures in all.
    pub fn pictures(&self) -> usize {
        self.labels.len() * self.per_class
    }

    /// Label and name of picture `index`.
    fn class(&self, index: usize) -> (i64, &str) {
        let label = self.labels.get(index / self.per_class.max(1)).copied().unwrap_or(0);
        (label, self.names.name(label))
    }

    /// Bytes of one picture.
    pub fn picture_bytes(&self) -> usize {
        3 * self.side * self.side
    }
}

/// A picture to be written.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Its pixels.
    pub image: RgbImage,
    /// Which candidate it was, where there were several.
    pub candidate: Option<Candidate>,
}

/// A candidate that was kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its number among all candidates of the call: what its draws depend on.
    pub number: u64,
    /// The classifier's probability of its class.
    pub probability: f64,
}

/// One place where the pictures of a call go.
trait Output: std::fmt::Debug {
    /// The place as it was named.
    fn path(&self) -> &Path;
    /// Whole pictures that an earlier call left here.
    fn done(&self) -> usize;
    /// The settings that the earlier call left here; `None` when there was none.
    fn settings(&self) -> Option<&Value>;
    /// Picture `index` of those that are here.
    fn read(&mut self, index: usize) -> Result<Picture>;
    /// Gets ready to write: the first `count` pictures stay, the rest goes.
    fn begin(&mut self, count: usize, settings: &Value) -> Result<()>;
    /// Appends pictures.
    fn add(&mut self, pictures: &[Picture]) -> Result<()>;
    /// Makes sure that what was added is on the disk.
    fn sync(&mut self) -> Result<()>;
    /// Makes the output whole.
    fn finish(&mut self) -> Result<()>;
    /// Whether an interrupted call can be gone on with from here.
    fn keeps(&self) -> bool;
}

/// What a path means by its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One picture of all.
    Grid,
    /// A numpy archive.
    Npz,
    /// A folder of PNGs.
    Folder,
}

impl Kind {
    /// The kind of `path`: `.png` a grid, `.npz` an archive, anything else a folder.
    ///
    /// # Errors
    /// When it ends as files of other kinds do.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        match ending.as_str() {
            "png" => Ok(Self::Grid),
            "npz" => Ok(Self::Npz),
            other if NOT_FOLDERS.contains(&other) => Err(Error::Config(format!(
                "--out {}: .png (one grid), .npz (an archive) or a folder of PNGs can be written, not .{other}",
                path.display()
            ))),
            _ => Ok(Self::Folder),
        }
    }
}

/// What the finished output at `path` takes on the disk in bytes, and the most while it is made; of a grid
/// and a folder at most so much, since PNGs are compressed.
///
/// # Errors
/// As [`Kind::of`].
pub fn disk_bytes(path: &Path, plan: &Plan) -> Result<(u64, u64)> {
    let raw = (plan.pictures() * plan.picture_bytes()) as u64;
    Ok(match Kind::of(path)? {
        Kind::Npz => (npz::archive_bytes(plan), npz::archive_bytes(plan) + raw),
        Kind::Grid | Kind::Folder => (raw, raw),
    })
}

/// Looks at the places before any work: their kinds, whether they can be written, and, unless a call goes on,
/// that nothing of an earlier one is there.
///
/// # Errors
/// When two are the same, a place cannot be written or is taken, or there is nothing to go on with.
pub fn check_places(paths: &[PathBuf], resume: bool) -> Result<()> {
    let mut kinds = Vec::new();
    for (i, path) in paths.iter().enumerate() {
        if paths.iter().take(i).any(|other| other == path) {
            return Err(Error::Config(format!("--out {} is given twice", path.display())));
        }
        let kind = Kind::of(path)?;
        kinds.push(kind);
        match kind {
            Kind::Grid => check_place(path)?,
            Kind::Npz => check_lasting_place(path)?,
            Kind::Folder => folder::check(path)?,
        }
        if !resume {
            match kind {
                Kind::Grid => {}
                Kind::Npz => npz::refuse_begun(path)?,
                Kind::Folder => folder::refuse_begun(path)?,
            }
        }
    }
    if resume && !kinds.is_empty() && kinds.iter().all(|&kind| kind == Kind::Grid) {
        return Err(Error::Config(
            "--resume: a grid is made in one go and alone has nothing to go on from; give --out a folder or an \
             .npz beside it, or leave --resume away"
                .into(),
        ));
    }
    Ok(())
}

/// The settings that an earlier call left at one of the places, to learn from before anything is loaded.
///
/// # Errors
/// When a settings file cannot be read.
pub fn earlier_settings(paths: &[PathBuf]) -> Result<Option<Value>> {
    for path in paths {
        let found = match Kind::of(path)? {
            Kind::Grid => None,
            Kind::Npz => npz::earlier_settings(path)?,
            Kind::Folder => settings::read(&folder::settings_path(path))?,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Makes sure that the pictures of `plan` fit those of the places that are grids.
///
/// # Errors
/// When there are too many for one picture.
pub fn check_grids(paths: &[PathBuf], plan: &Plan) -> Result<()> {
    for path in paths {
        if Kind::of(path)? == Kind::Grid {
            grid::empty(plan)?;
        }
    }
    Ok(())
}

/// All outputs of a call.
#[derive(Debug)]
pub struct Outputs {
    outputs: Vec<Box<dyn Output>>,
    /// Pictures that are in all of them.
    done: usize,
    /// Numbers of the first pictures, all candidates counted.
    first: Vec<u64>,
}

impl Outputs {
    /// Opens the places for the pictures of `plan`. With `resume` what is there is gone on with, from a
    /// multiple of `unit` pictures, so that batches are cut as they would have been.
    ///
    /// # Errors
    /// When a place cannot be written, another process writes there, or the settings there differ.
    pub fn open(paths: &[PathBuf], plan: &Plan, settings: &Value, unit: usize, resume: bool) -> Result<Self> {
        let mut outputs: Vec<Box<dyn Output>> = Vec::with_capacity(paths.len());
        for path in paths {
            outputs.push(match Kind::of(path)? {
                Kind::Grid => Box::new(GridFile::new(path, plan)?),
                Kind::Npz => Box::new(Npz::open(path, plan, resume)?),
                Kind::Folder => Box::new(Folder::open(path, plan, resume)?),
            });
        }
        for output in &outputs {
            if let Some(difference) =
                output.settings().and_then(|before| settings::difference(before, settings))
            {
                return Err(Error::Config(format!(
                    "--resume: {} was begun with other settings: {difference}; give the same, or another place",
                    output.path().display()
                )));
            }
        }
        if resume && !paths.is_empty() && outputs.iter().all(|output| output.settings().is_none()) {
            return Err(Error::Config(
                "--resume: no earlier call left anything at these places; leave --resume away to start"
                    .into(),
            ));
        }
        let most = outputs.iter().map(|output| output.done()).max().unwrap_or(0);
        let whole = if most >= plan.pictures() { plan.pictures() } else { most / unit.max(1) * unit.max(1) };
        let mut opened = Self { outputs, done: whole, first: Vec::new() };
        opened.level(settings)?;
        Ok(opened)
    }

    /// Brings all outputs to the same number of pictures.
    fn level(&mut self, settings: &Value) -> Result<()> {
        let leader = (0..self.outputs.len()).max_by_key(|&i| self.outputs.get(i).map_or(0, |o| o.done()));
        let before: Vec<usize> = self.outputs.iter().map(|o| o.done().min(self.done)).collect();
        for index in 0..self.done.min(MOST_SHOWN) {
            let Some(source) = leader.and_then(|i| self.outputs.get_mut(i)) else { break };
            let candidate = source.read(index)?.candidate;
            self.first.push(candidate.map_or(index as u64, |c| c.number));
        }
        for (output, &count) in self.outputs.iter_mut().zip(&before) {
            output.begin(count, settings)?;
        }
        for index in before.iter().copied().min().unwrap_or(0)..self.done {
            let Some(source) = leader.and_then(|i| self.outputs.get_mut(i)) else { break };
            let picture = source.read(index)?;
            for (output, &count) in self.outputs.iter_mut().zip(&before) {
                if index >= count {
                    output.add(std::slice::from_ref(&picture))?;
                }
            }
        }
        Ok(())
    }

    /// Pictures that all outputs have.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Numbers of the first pictures, at most [`MOST_SHOWN`], all candidates counted.
    pub fn first(&self) -> &[u64] {
        &self.first
    }

    /// Appends pictures to all outputs.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn add(&mut self, pictures: &[Picture]) -> Result<()> {
        let room = MOST_SHOWN.saturating_sub(self.first.len());
        let numbers = pictures.iter().zip(self.done as u64..).take(room);
        self.first.extend(numbers.map(|(picture, index)| picture.candidate.map_or(index, |c| c.number)));
        for output in &mut self.outputs {
            output.add(pictures)?;
        }
        self.done += pictures.len();
        Ok(())
    }

    /// Makes sure that what was added is on the disk; whether a later call can go on from it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&mut self) -> Result<bool> {
        for output in &mut self.outputs {
            output.sync()?;
        }
        Ok(self.outputs.iter().any(|output| output.keeps()))
    }

    /// Makes all outputs whole.
    ///
    /// # Errors
    /// When the disk is full; what was there before stays.
    pub fn finish(&mut self) -> Result<()> {
        self.outputs.iter_mut().try_for_each(|output| output.finish())
    }
}

/// `path` with `ending` behind its whole name.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |e| var_tokenizer::Error::io(path, e).into()
}
