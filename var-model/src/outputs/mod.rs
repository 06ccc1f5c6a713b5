//! Where sampled pictures go: one grid, an npz archive, a folder of PNGs, and the settings next to each.
//!
//! All outputs of a call hold the same pictures. Pictures are numbered class by class, and made in this order. A
//! grid has one row per class. An archive and a folder go around the classes ([`Plan::row`]), so that every part
//! of them is balanced: evaluators score parts.
//!
//! An archive and a folder grow with the work and can be resumed; a grid is made at the end. The output with most
//! pictures fills up the others when a call resumes. Nothing is written before the first pictures are there.

mod folder;
mod grid;
mod npz;
mod output;
mod rows;
pub mod scales;
pub mod settings;

use std::path::{Path, PathBuf};

use serde_json::Value;
use var_tokenizer::files::{check_lasting_place, check_place};

use crate::error::{Error, Result};
use folder::Folder;
use grid::GridFile;
use npz::Npz;
use output::Output;
pub(crate) use output::beside;
pub use output::{Candidate, Picture, Plan};
use scales::MOST_SHOWN;

/// Endings of files that a person may take for something that is written; a folder is not called so.
const NOT_FOLDERS: [&str; 9] = ["jpg", "jpeg", "webp", "gif", "apng", "bmp", "npy", "tar", "zip"];

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
    let grids = !kinds.is_empty() && kinds.iter().all(|&kind| kind == Kind::Grid);
    if resume && grids && !paths.iter().any(|path| grid::settings_path(path).exists()) {
        return Err(grids_alone());
    }
    Ok(())
}

fn grids_alone() -> Error {
    Error::Config(
        "--resume: a grid is made at the end and has no pictures to resume from; add a folder or an .npz (--out), or \
         omit --resume"
            .into(),
    )
}

/// The settings that an earlier call left at one of the places, to learn from before anything is loaded.
///
/// # Errors
/// When a settings file cannot be read.
pub fn earlier_settings(paths: &[PathBuf]) -> Result<Option<Value>> {
    for path in paths {
        let found = match Kind::of(path)? {
            Kind::Grid => settings::read(&grid::settings_path(path))?,
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
    settings: Value,
    /// Pictures that are in all of them.
    done: usize,
    /// Numbers of the first pictures, all candidates counted.
    first: Vec<u64>,
    /// Whether files were opened to write.
    begun: bool,
    /// Whether an earlier call finished all of them.
    complete: bool,
    notes: Vec<String>,
}

impl Outputs {
    /// Opens the places for the pictures of `plan`. With `resume` continues with what is there, from a multiple of
    /// `unit` pictures, so that batches are cut as they would have been.
    ///
    /// # Errors
    /// When another process writes there, the settings there differ, there is nothing to resume from, or what there
    /// was is missing.
    pub fn open(paths: &[PathBuf], plan: &Plan, settings: &Value, unit: usize, resume: bool) -> Result<Self> {
        let mut outputs: Vec<Box<dyn Output>> = Vec::with_capacity(paths.len());
        let grids = !paths.is_empty() && paths.iter().all(|path| matches!(Kind::of(path), Ok(Kind::Grid)));
        for path in paths {
            outputs.push(match Kind::of(path)? {
                Kind::Grid => Box::new(GridFile::open(path, plan, resume, (!grids).then_some(settings))?),
                Kind::Npz => Box::new(Npz::open(path, plan, resume)?),
                Kind::Folder => Box::new(Folder::open(path, plan, resume)?),
            });
        }
        for output in outputs.iter().filter(|output| output.earlier().made) {
            if let Some(difference) =
                output.earlier().settings.as_ref().and_then(|before| settings::difference(before, settings))
            {
                return Err(Error::Config(format!(
                    "--resume: {} was started with other settings: {difference}; give the same settings, choose \
                     another --out, or delete it to start over",
                    output.path().display()
                )));
            }
        }
        let complete =
            resume && !outputs.is_empty() && outputs.iter().all(|output| output.earlier().finished);
        let mut opened = Self {
            outputs,
            settings: settings.clone(),
            done: 0,
            first: Vec::new(),
            begun: false,
            complete,
            notes: Vec::new(),
        };
        if resume && !paths.is_empty() {
            opened.check_something_is_there(grids)?;
        }
        let most = opened.outputs.iter().map(|output| output.earlier().done).max().unwrap_or(0);
        let unit = unit.max(1);
        opened.done = if complete || most >= plan.pictures() { plan.pictures() } else { most / unit * unit };
        opened.find_first(plan)?;
        if opened.done > 0 && !complete {
            opened.level()?;
        }
        Ok(opened)
    }

    /// Refuses to resume from nothing, and to start over where pictures were made that are missing now.
    fn check_something_is_there(&mut self, grids: bool) -> Result<()> {
        let earlier = || self.outputs.iter().map(|output| (output.path(), output.earlier()));
        let none_done = !self.complete && earlier().all(|(_, earlier)| earlier.done == 0);
        if none_done {
            if let Some((path, lost)) = earlier().find_map(|(path, e)| Some((path, e.lost.as_ref()?))) {
                return Err(var_tokenizer::Error::file(path, lost).into());
            }
            if grids {
                return Err(grids_alone());
            }
            if earlier().all(|(_, earlier)| earlier.is_nothing()) {
                return Err(Error::Config(
                    "--resume: no earlier call left pictures at these places; omit --resume to start".into(),
                ));
            }
        }
        let mut notes = Vec::new();
        for (path, earlier) in earlier() {
            if let Some(lost) = &earlier.lost {
                notes.push(format!("{}: {lost}; it is filled from the other outputs", path.display()));
            }
            notes.extend(earlier.note.iter().map(|note| format!("{}: {note}", path.display())));
        }
        self.notes = notes;
        Ok(())
    }

    /// The output that has most pictures.
    fn leader(&mut self) -> Option<&mut Box<dyn Output>> {
        self.outputs.iter_mut().max_by_key(|output| output.earlier().done)
    }

    /// Learns the numbers of the first pictures.
    fn find_first(&mut self, plan: &Plan) -> Result<()> {
        for number in 0..self.done.min(MOST_SHOWN) {
            let candidate = match self.leader().filter(|_| plan.chosen) {
                Some(leader) => leader.candidate(number)?,
                None => None,
            };
            self.first.push(candidate.map_or(number as u64, |c| c.number));
        }
        Ok(())
    }

    /// Brings all outputs to the same number of pictures.
    fn level(&mut self) -> Result<()> {
        let before: Vec<usize> = self.outputs.iter().map(|o| o.earlier().done.min(self.done)).collect();
        self.begin(&before)?;
        for number in before.iter().copied().min().unwrap_or(0)..self.done {
            let Some(leader) = self.leader() else { break };
            let picture = leader.read(number)?;
            for (output, &count) in self.outputs.iter_mut().zip(&before) {
                if number >= count {
                    output.add(std::slice::from_ref(&picture))?;
                }
            }
        }
        Ok(())
    }

    /// Opens the files to write; so many pictures of each stay.
    fn begin(&mut self, counts: &[usize]) -> Result<()> {
        for (output, &count) in self.outputs.iter_mut().zip(counts) {
            output.begin(count, &self.settings)?;
        }
        self.begun = true;
        Ok(())
    }

    /// Whether an earlier call finished all outputs: nothing is left to do.
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// What a person should know about what was found.
    pub fn notes(&self) -> &[String] {
        &self.notes
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
    /// When the disk is full, or another process writes there.
    pub fn add(&mut self, pictures: &[Picture]) -> Result<()> {
        if !self.begun {
            self.begin(&vec![0; self.outputs.len()])?;
        }
        let room = MOST_SHOWN.saturating_sub(self.first.len());
        let numbers = pictures.iter().zip(self.done as u64..).take(room);
        self.first.extend(numbers.map(|(picture, index)| picture.candidate.map_or(index, |c| c.number)));
        for output in &mut self.outputs {
            output.add(pictures)?;
        }
        self.done += pictures.len();
        Ok(())
    }

    /// Makes sure that what was added is on the disk; whether a later call can resume from it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&mut self) -> Result<bool> {
        for output in &mut self.outputs {
            output.sync()?;
        }
        Ok(self.done > 0 && self.outputs.iter().any(|output| output.keeps()))
    }

    /// Makes all outputs whole.
    ///
    /// # Errors
    /// When the disk is full; what was there before stays.
    pub fn finish(&mut self) -> Result<()> {
        self.outputs.iter_mut().try_for_each(|output| output.finish())
    }
}
