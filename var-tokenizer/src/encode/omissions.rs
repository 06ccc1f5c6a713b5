//! The images that `encode` cannot read: listed in a file, counted over all of its calls.
//!
//! `OUT.bad.txt` has a line per image that cannot be read: its name, a tab, the reason. A resumed call finds these
//! images by their missing rows. The list adds the reasons.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::views::Item;
use crate::data::images::{Batch, Source};
use crate::data::tokens::{START_OVER, TokenWriter, partial_path};
use crate::runtime::error::{Error, Result};
use crate::runtime::files::{with_suffix, write_atomically};

/// Number of reasons and classes that a message gives.
const NAMED: usize = 5;

/// The images that could not be read so far.
#[derive(Debug)]
pub(super) struct Omissions {
    list: PathBuf,
    /// Reasons by index of the image.
    bad: BTreeMap<usize, String>,
    /// Indices of images that have rows.
    present: BTreeSet<usize>,
}

/// `OUT.bad.txt`
pub(crate) fn list_of(out: &Path) -> PathBuf {
    with_suffix(out, ".bad.txt")
}

/// Refuses a fresh start when other files show earlier work.
///
/// # Errors
/// When the token file `out` and its journal are missing, but other files of an encode exist.
pub(super) fn check_fresh(out: &Path) -> Result<()> {
    if out.exists() || partial_path(out).exists() {
        return Ok(());
    }
    let witnesses = [list_of(out), with_suffix(out, ".writing")];
    let Some(found) = witnesses.iter().find(|path| path.exists()) else { return Ok(()) };
    let message = format!(
        "belongs to an earlier encode, but {} and {} are missing. Put the missing one back to resume, or {START_OVER}",
        out.display(),
        partial_path(out).display()
    );
    Err(Error::file(found, message))
}

impl Omissions {
    /// Starts without images, and removes the list of an earlier file.
    pub(super) fn start(out: &Path) -> Result<Self> {
        let list = list_of(out);
        if list.exists() {
            std::fs::remove_file(&list).map_err(|e| Error::io(&list, e))?;
        }
        Ok(Self { list, bad: BTreeMap::new(), present: BTreeSet::new() })
    }

    /// Finds the images among the earlier views `dealt` that have no rows in `writer`.
    pub(super) fn resume(out: &Path, source: &Source, dealt: &[Item], writer: &TokenWriter) -> Result<Self> {
        let list = list_of(out);
        let mut present = BTreeSet::new();
        writer.visit(|_, rows| {
            present.extend(rows.sources.iter().map(|&index| index as usize));
            Ok(())
        })?;
        let written = std::fs::read(&list).unwrap_or_default();
        let written = String::from_utf8_lossy(&written).into_owned();
        let reasons: HashMap<&str, &str> = written.lines().filter_map(|line| line.split_once('\t')).collect();
        let unknown = "an earlier call could not read it; the reason is lost";
        let bad: BTreeMap<usize, String> = dealt
            .iter()
            .filter(|item| !present.contains(&item.index))
            .map(|item| {
                let name = source.name(item.index);
                let reason = reasons.get(one_line(&name).as_str()).copied().map(str::to_owned);
                (item.index, reason.unwrap_or_else(|| format!("{name}: {unknown}")))
            })
            .collect();
        let resumed = Self { list, bad, present };
        // After a kill the list may end with half a line, or name images that are read again.
        let lines: String = resumed.bad.iter().map(|(&index, reason)| line(source, index, reason)).collect();
        if lines != written {
            write_atomically(&resumed.list, lines.as_bytes())?;
        }
        Ok(resumed)
    }

    /// Adds the unreadable images of a batch, also to the list.
    pub(super) fn add(&mut self, source: &Source, part: &[Item], batch: &Batch) -> Result<()> {
        self.present.extend(batch.items.iter().filter_map(|&item| part.get(item)).map(|item| item.index));
        let mut lines = String::new();
        for bad in &batch.bad {
            if self.bad.insert(bad.index, bad.reason.clone()).is_none() {
                lines.push_str(&line(source, bad.index, &bad.reason));
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        let open = std::fs::OpenOptions::new().create(true).append(true).open(&self.list);
        open.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(|e| Error::io(&self.list, e))
    }

    /// Returns the number of unreadable images of the whole file.
    pub(super) fn count(&self) -> usize {
        self.bad.len()
    }

    /// Returns the path of the list.
    pub(super) fn list(&self) -> &Path {
        &self.list
    }

    /// Returns a warning that names some of them, or `None` when all images could be read.
    pub(super) fn sentence(&self) -> Option<String> {
        if self.bad.is_empty() {
            return None;
        }
        let mut text = format!(
            "left out {} images that cannot be read, all listed in {}:",
            self.bad.len(),
            self.list.display()
        );
        for reason in self.bad.values().take(NAMED) {
            text.push_str(&format!("\n  {reason}"));
        }
        if self.bad.len() > NAMED {
            text.push_str(&format!("\n  and {} more", self.bad.len() - NAMED));
        }
        Some(text)
    }

    /// Returns a warning about classes without any readable image among `views`, if there are such classes.
    pub(super) fn lost_classes(&self, source: &Source, views: &[Item]) -> Option<String> {
        let mut asked: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        let images: BTreeSet<usize> = views.iter().map(|item| item.index).collect();
        for index in images {
            let class = source.entries().get(index).map_or(0, |entry| entry.class);
            let counts = asked.entry(class).or_default();
            counts.0 += 1;
            counts.1 += usize::from(self.present.contains(&index));
        }
        let lost: Vec<String> = asked
            .iter()
            .filter(|(_, (_, present))| *present == 0)
            .map(|(&class, (count, _))| {
                let name = source.classes().get(class as usize).map_or("", String::as_str);
                format!("'{name}' ({count})")
            })
            .collect();
        if lost.is_empty() {
            return None;
        }
        let shown = lost.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = lost.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!("warning: no image can be read of these classes: {shown}{more}"))
    }
}

/// Replaces tabs and line breaks in a name or reason.
fn one_line(text: &str) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}

fn line(source: &Source, index: usize, reason: &str) -> String {
    format!("{}\t{}\n", one_line(&source.name(index)), one_line(reason))
}
