//! Where sampled images go: one grid, an npz archive, a folder of PNGs, and the settings next to each.
//!
//! All outputs of a call hold the same images. Images are numbered class by class, and made in this order. A
//! grid has one row per class. An archive and a folder go around the classes ([`OutputPlan::row`]), so that every part
//! of them is balanced: evaluators score parts.
//!
//! An archive and a folder grow with the work and can be resumed; a grid is made at the end. The output with most
//! images fills up the others when a call resumes. Nothing is written before the first images are there.

pub(crate) mod encoded;
mod folder;
mod grid;
mod npz;
mod output;
mod rows;
pub mod scales;
pub(crate) mod settings;
mod target;

use serde_json::Value;

use crate::error::{Error, Result};
use output::Output;
pub use output::{Candidate, OutputPlan, Picture};
use scales::MOST_SHOWN;
pub use target::{DiskBytes, Target};

/// Checks the places before any work. No two may be the same.
///
/// # Errors
/// When two are the same, a place cannot be written or is taken, or there is nothing to resume from.
pub fn check(targets: &[Target], resume: bool) -> Result<()> {
    for (i, target) in targets.iter().enumerate() {
        if targets.iter().take(i).any(|other| other == target) {
            return Err(Error::Config(format!(
                "{target} is given twice as a place for images; name it once"
            )));
        }
        target.check(resume)?;
    }
    if resume && only_grids(targets) && !targets.iter().any(|t| grid::settings_path(t.path()).exists()) {
        return Err(grids_alone());
    }
    Ok(())
}

fn only_grids(targets: &[Target]) -> bool {
    !targets.is_empty() && targets.iter().all(|target| matches!(target, Target::Grid(_)))
}

fn grids_alone() -> Error {
    Error::Config(
        "a grid is made at the end, and has no images to resume from; add a folder or an .npz, or start without \
         resuming"
            .into(),
    )
}

/// All outputs of a call.
#[derive(Debug)]
pub struct Outputs {
    outputs: Vec<Box<dyn Output>>,
    plan: OutputPlan,
    settings: Value,
    resume: bool,
    only_grids: bool,
    /// Number of images that all of them have.
    done: usize,
    /// Numbers of the first images among all candidates.
    first: Vec<u64>,
    /// Whether files are open for writing.
    begun: bool,
    /// Whether an earlier call finished all of them.
    complete: bool,
    notes: Vec<String>,
}

impl Outputs {
    /// Opens the places for the images of `plan`. With `resume` reads what an earlier call left there.
    ///
    /// # Errors
    /// When the images do not fit into a grid, or what an earlier call left cannot be read.
    pub fn open(targets: &[Target], plan: &OutputPlan, resume: bool) -> Result<Self> {
        let outputs = targets.iter().map(|target| target.open(plan, resume)).collect::<Result<_>>()?;
        Ok(Self {
            outputs,
            plan: plan.clone(),
            settings: Value::Null,
            resume,
            only_grids: only_grids(targets),
            done: 0,
            first: Vec::new(),
            begun: false,
            complete: false,
            notes: Vec::new(),
        })
    }

    /// The settings of the earlier call.
    pub(crate) fn earlier_settings(&self) -> Option<&Value> {
        self.outputs.iter().find_map(|output| output.earlier().settings.as_ref())
    }

    /// Starts, or resumes, with these settings. A resumed call continues at a multiple of `unit` images, so that its
    /// batches are the same as those of an uninterrupted call.
    ///
    /// # Errors
    /// When another process writes there, the settings there differ, there is nothing to resume from, or what was
    /// there is missing.
    pub fn start(&mut self, settings: &Value, unit: usize) -> Result<()> {
        self.settings = settings.clone();
        if self.resume && !self.outputs.is_empty() {
            self.forget_other_grids();
            self.refuse_other_settings()?;
            self.complete = self.outputs.iter().all(|output| output.earlier().finished);
            self.check_something_is_there()?;
        }
        let most = self.outputs.iter().map(|output| output.earlier().done).max().unwrap_or(0);
        let (unit, all) = (unit.max(1), self.plan.pictures());
        self.done = if self.complete || most >= all { all } else { most / unit * unit };
        self.find_first()?;
        if self.done > 0 && !self.complete {
            self.level()?;
        }
        Ok(())
    }

    /// A grid of other settings next to other outputs counts as nothing: it is made again from their images.
    fn forget_other_grids(&mut self) {
        if self.only_grids {
            return;
        }
        for output in &mut self.outputs {
            let earlier = output.earlier();
            let same =
                earlier.settings.as_ref().is_some_and(|s| settings::difference(s, &self.settings).is_none());
            if earlier.lost.is_some() || !same {
                output.forget();
            }
        }
    }

    fn refuse_other_settings(&self) -> Result<()> {
        for output in self.outputs.iter().filter(|output| output.earlier().made) {
            let before = output.earlier().settings.as_ref();
            if let Some(difference) = before.and_then(|b| settings::difference(b, &self.settings)) {
                return Err(Error::Config(format!(
                    "cannot resume {}: started with other settings: {difference}; give the same settings, choose another \
                     place, or delete it to start over",
                    output.path().display()
                )));
            }
        }
        Ok(())
    }

    /// Refuses to resume from nothing, and to start over where images were made that are missing now.
    fn check_something_is_there(&mut self) -> Result<()> {
        let earlier = || self.outputs.iter().map(|output| (output.path(), output.earlier()));
        let none_done = !self.complete && earlier().all(|(_, earlier)| earlier.done == 0);
        if none_done {
            if let Some((path, lost)) = earlier().find_map(|(path, e)| Some((path, e.lost.as_ref()?))) {
                return Err(Error::file(path, lost));
            }
            if self.only_grids {
                return Err(grids_alone());
            }
            if earlier().all(|(_, earlier)| earlier.is_nothing()) {
                return Err(Error::Config(
                    "nothing to resume: no earlier call left images at these places; start without resuming"
                        .into(),
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

    /// The output that has most images.
    fn leader(&mut self) -> Option<&mut Box<dyn Output>> {
        self.outputs.iter_mut().max_by_key(|output| output.earlier().done)
    }

    /// Finds the numbers of the first images.
    fn find_first(&mut self) -> Result<()> {
        let chosen = self.plan.chosen;
        for number in 0..self.done.min(MOST_SHOWN) {
            let candidate = match self.leader().filter(|_| chosen) {
                Some(leader) => leader.candidate(number)?,
                None => None,
            };
            self.first.push(candidate.map_or(number as u64, |c| c.number));
        }
        Ok(())
    }

    /// Brings all outputs to the same number of images.
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

    /// Opens the files for writing; `counts` says how many images each keeps.
    fn begin(&mut self, counts: &[usize]) -> Result<()> {
        for (output, &count) in self.outputs.iter_mut().zip(counts) {
            output.begin(count, &self.settings)?;
        }
        self.begun = true;
        Ok(())
    }

    /// Whether an earlier call finished all outputs.
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// Notes for the user about the earlier call.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Number of images that all outputs have.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Numbers of the first images among all candidates, at most [`MOST_SHOWN`].
    pub fn first(&self) -> &[u64] {
        &self.first
    }

    /// Appends images to all outputs.
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

    /// Writes all added images to the disk. Returns whether a later call can resume from them.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn sync(&mut self) -> Result<bool> {
        for output in &mut self.outputs {
            output.sync()?;
        }
        Ok(self.done > 0 && self.outputs.iter().any(|output| output.keeps()))
    }

    /// Completes all outputs.
    ///
    /// # Errors
    /// When the disk is full; earlier files stay.
    pub fn finish(&mut self) -> Result<()> {
        self.outputs.iter_mut().try_for_each(|output| output.finish())
    }
}
