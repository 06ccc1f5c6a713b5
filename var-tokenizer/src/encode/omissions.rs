//! The pictures that `encode` leaves out: listed in a file, counted over all of its calls.
//!
//! `OUT.bad.txt` has a line per picture that cannot be read: its name, a tab, the reason. Which pictures these are is
//! always found in the rows themselves; the list adds the reasons.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::views::Item;
use crate::data::images::{Batch, Source};
use crate::data::tokens::{TokenWriter, partial_path};
use crate::runtime::error::{Error, Result};
use crate::runtime::files::{with_suffix, write_atomically};

/// How many reasons and classes a message gives.
const NAMED: usize = 5;

/// What is left out so far.
#[derive(Debug)]
pub(super) struct Omissions {
    list: PathBuf,
    /// Reasons by the index of the picture.
    bad: BTreeMap<usize, String>,
    /// Pictures that have rows.
    present: BTreeSet<usize>,
}

/// `OUT.bad.txt`
fn list_of(out: &Path) -> PathBuf {
    with_suffix(out, ".bad.txt")
}

/// Refuses a fresh start where something shows that work was done before.
///
/// # Errors
/// When both token file and journal of `out` are missing, but what goes with them is there.
pub(super) fn check_fresh(out: &Path) -> Result<()> {
    if out.exists() || partial_path(out).exists() {
        return Ok(());
    }
    let witnesses = [list_of(out), with_suffix(out, ".writing")];
    let Some(found) = witnesses.iter().find(|path| path.exists()) else { return Ok(()) };
    let message = format!(
        "this is of an earlier encode, but {} and {} are missing. Put the missing one back to resume, or pass --restart \
         to start over",
        out.display(),
        partial_path(out).display()
    );
    Err(Error::file(found, message))
}

impl Omissions {
    /// None yet; a list of an earlier file is removed.
    pub(super) fn start(out: &Path) -> Result<Self> {
        let list = list_of(out);
        if list.exists() {
            std::fs::remove_file(&list).map_err(|e| Error::io(&list, e))?;
        }
        Ok(Self { list, bad: BTreeMap::new(), present: BTreeSet::new() })
    }

    /// Those among the views that were dealt with before, which `writer` has rows of or not.
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
        let unknown = "could not be read before; the reason is not known any more";
        let bad: BTreeMap<usize, String> = dealt
            .iter()
            .filter(|item| !present.contains(&item.index))
            .map(|item| {
                let name = source.entries().get(item.index).map_or("", |entry| entry.name.as_str());
                let reason = reasons.get(one_line(name).as_str()).copied().map(str::to_owned);
                (item.index, reason.unwrap_or_else(|| format!("{name}: {unknown}")))
            })
            .collect();
        let resumed = Self { list, bad, present };
        // A kill may have left half a line, or pictures that come again.
        let lines: String = resumed.bad.iter().map(|(&index, reason)| line(source, index, reason)).collect();
        if lines != written {
            write_atomically(&resumed.list, lines.as_bytes())?;
        }
        Ok(resumed)
    }

    /// Adds those of a batch, also to the list.
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

    /// How many pictures of the whole file are left out.
    pub(super) fn count(&self) -> usize {
        self.bad.len()
    }

    /// The list.
    pub(super) fn list(&self) -> &Path {
        &self.list
    }

    /// What to say of them; nothing when there are none.
    pub(super) fn sentence(&self) -> Option<String> {
        if self.bad.is_empty() {
            return None;
        }
        let mut text = format!(
            "left out {} pictures that cannot be read, all listed in {}:",
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

    /// What to say of classes that lost all their pictures among `views`; nothing when there are none.
    pub(super) fn lost_classes(&self, source: &Source, views: &[Item]) -> Option<String> {
        let mut asked: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        let pictures: BTreeSet<usize> = views.iter().map(|item| item.index).collect();
        for index in pictures {
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
        Some(format!("warning: classes without any picture left, all of theirs are bad: {shown}{more}"))
    }
}

/// A name or reason without what would break its line.
fn one_line(text: &str) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}

fn line(source: &Source, index: usize, reason: &str) -> String {
    let name = source.entries().get(index).map_or("", |entry| entry.name.as_str());
    format!("{}\t{}\n", one_line(name), one_line(reason))
}
