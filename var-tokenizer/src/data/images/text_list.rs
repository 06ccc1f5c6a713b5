//! A text file that lists images: `path<TAB>class` in each line, or a path alone.
//!
//! Paths count from the folder of the list. The class is a number in all lines, or a name in all lines. If no line has a
//! tab, all images are one class, named after the list.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::catalogue::numbered;
use super::labels::{Class, Labels};
use super::listing::{Entry, Listing};
use super::names::text;
use super::stock::Stock;
use crate::runtime::error::{Error, Result};

/// Endings of text lists.
const ENDINGS: [&str; 2] = ["txt", "tsv"];
/// Maximum length of a line in bytes.
const MAX_LINE: u64 = 1 << 16;
/// Files that are looked for together, on all cores.
const AT_ONCE: usize = 4096;

/// Whether `path` has the ending of a text list.
pub(crate) fn is_list(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// A list while it is read.
struct Lines<'a> {
    path: &'a Path,
    stock: Stock,
    labels: Labels,
    /// Numbers of the lines, as many as there are images.
    numbers: Vec<u32>,
    /// Numbers of the first lines with and without a class.
    first: [Option<u32>; 2],
    /// Images by the hashes of their paths.
    known: HashMap<u64, u32>,
    /// Number of lines that repeat another one.
    repeats: usize,
    /// The first of these lines, and the one that it repeats.
    repeat: Option<(u32, u32)>,
}

/// Opens the list at `path`.
///
/// # Errors
/// When a line has no path, a class of another kind than the first, or none while others have one, or names a file
/// that is missing, or one that has another class in another line.
pub(crate) fn open(path: &Path) -> Result<Listing> {
    let root = path.parent().unwrap_or(Path::new(""));
    let labels = Labels::default();
    let mut lines = Lines {
        path,
        stock: Stock::new(root),
        labels,
        numbers: Vec::new(),
        first: [None, None],
        known: HashMap::new(),
        repeats: 0,
        repeat: None,
    };
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut rest = std::io::Read::take(&mut reader, MAX_LINE);
        if rest.read_until(b'\n', &mut line).map_err(|e| Error::io(path, e))? == 0 {
            break;
        }
        if line.len() as u64 == MAX_LINE {
            return Err(lines.wrong(number, "is longer than 65,535 bytes: not a list of images"));
        }
        let start = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        lines.add(number, start.strip_suffix(b"\n").unwrap_or(start))?;
    }
    lines.check_files()?;
    lines.listing()
}

impl Lines<'_> {
    fn wrong(&self, number: u32, message: impl std::fmt::Display) -> Error {
        Error::file(self.path, format!("line {number} {message}"))
    }

    /// Adds line `number`. Empty lines do not count.
    fn add(&mut self, number: u32, line: &[u8]) -> Result<()> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(());
        }
        if line.contains(&0) {
            return Err(self.wrong(number, "has a zero byte: not a text file"));
        }
        let mut fields = line.split(|&byte| byte == b'\t');
        let (path, class, more) = (fields.next().unwrap_or_default(), fields.next(), fields.next());
        if path.is_empty() || more.is_some() || class.is_some_and(<[u8]>::is_empty) {
            return Err(self.wrong(number, "is not a path, or a path, one tab and a class"));
        }
        self.first[usize::from(class.is_none())].get_or_insert(number);
        if let [Some(with), Some(without)] = self.first {
            let message = format!("has no class, but line {with} has one; give all images a class, or none");
            return Err(self.wrong(without, message));
        }
        let mut own = None;
        if let Some(class) = class {
            let class = Class::of_text(&text(class))
                .map_err(|reason| self.wrong(number, format_args!("has a wrong class: {reason}")))?;
            let other =
                |known: &Class| matches!(known, Class::Number(_)) != matches!(class, Class::Number(_));
            if let Some(known) = self.labels.classes.first().filter(|known| other(known)) {
                let kinds = |class: &Class| if matches!(class, Class::Number(_)) { "number" } else { "name" };
                let message = format!(
                    "has the class '{class}', a {}, but before it the class '{known}' is a {}; use one of the two",
                    kinds(&class),
                    kinds(known)
                );
                return Err(self.wrong(number, message));
            }
            own = Some(class);
        }
        if self.is_repeat(number, path, own.as_ref())? {
            return Ok(());
        }
        if let Some(class) = own {
            self.labels.push(class);
        }
        let own = std::str::from_utf8(path).is_err().then(|| self.stock.path().join(OsStr::from_bytes(path)));
        self.stock.add_file(&text(path), own);
        self.numbers.push(number);
        Ok(())
    }

    /// Whether the image at `path` with `class` is in a line before line `number`.
    ///
    /// # Errors
    /// When it has another class there.
    fn is_repeat(&mut self, number: u32, path: &[u8], class: Option<&Class>) -> Result<bool> {
        let place = plain(&self.stock.path().join(OsStr::from_bytes(path)));
        let mut hash = DefaultHasher::new();
        place.hash(&mut hash);
        let position = self.numbers.len() as u32;
        let known = *self.known.entry(hash.finish()).or_insert(position);
        if known == position || plain(&self.stock.place(known as usize)) != place {
            return Ok(false);
        }
        let before = self.numbers.get(known as usize).copied().unwrap_or(0);
        let of = self.labels.of.get(known as usize);
        let other = of.and_then(|&of| self.labels.classes.get(of as usize));
        if let (Some(other), Some(class)) = (other, class)
            && other != class
        {
            let message = format!(
                "gives {} the class '{class}', but line {before} the class '{other}'; keep one of the two lines",
                text(path)
            );
            return Err(self.wrong(number, message));
        }
        self.repeats += 1;
        self.repeat.get_or_insert((number, before));
        Ok(true)
    }

    /// Makes sure that all files exist.
    fn check_files(&self) -> Result<()> {
        let positions: Vec<usize> = (0..self.numbers.len()).collect();
        for some in positions.chunks(AT_ONCE) {
            let lost = some.par_iter().find_first(|&&position| !self.stock.place(position).is_file());
            if let Some(&position) = lost {
                let number = self.numbers.get(position).copied().unwrap_or(0);
                let place = self.stock.place(position);
                let what = if place.exists() { "is not a file" } else { "is missing" };
                let name = self.stock.names().get(position);
                let hint = if name.contains(' ') && self.labels.of.is_empty() {
                    "a tab separates the path from the class"
                } else {
                    "paths count from the folder of the list"
                };
                let message = format!("names {}, which {what}; {hint}", place.display());
                return Err(self.wrong(number, message));
            }
        }
        Ok(())
    }

    fn listing(mut self) -> Result<Listing> {
        let count = self.numbers.len();
        if count == 0 {
            return Err(Error::file(
                self.path,
                "lists no images; expected a path, a tab and a class in each line",
            ));
        }
        if self.labels.of.is_empty() {
            let stem = self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            self.labels.repeat(Class::named(stem.as_deref().unwrap_or("all")), count);
        }
        let found = self.labels.classes.iter().collect();
        let (classes, index) = numbered(&found).map_err(|reason| Error::file(self.path, reason))?;
        let of: Vec<u32> =
            self.labels.classes.iter().map(|class| index.get(class).copied().unwrap_or(0)).collect();
        let entries = self.labels.of.iter().zip(0..).map(|(&place, group)| Entry {
            class: of.get(place as usize).copied().unwrap_or(0),
            split: None,
            group,
        });
        let entries = entries.collect();
        let mut notes = self.stock.skipped.sentences();
        if let Some((number, before)) = self.repeat {
            let repeats = self.repeats;
            notes.push(format!(
                "skips {repeats} lines with images that are listed before; the first is line {number}, as line {before}"
            ));
        }
        Ok(Listing { entries, classes, images: self.stock.access((0..count as u32).collect()), notes })
    }
}

/// Returns `path` from the root on, without `.` and double slashes.
fn plain(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
