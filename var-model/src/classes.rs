//! Classes as users name them: numbers, ranges, names, `all`, `none`.
//!
//! All programs use this rule. A text can mean numbers (`7`, `0-9`, `all`, `none`) or the name of a class, because names
//! can be numbers. A text with two different meanings is refused. `id:7` (or `#7`) is the number, `name:7` the name.

use std::collections::BTreeMap;
use std::path::Path;

use var_tokenizer::nearest::nearest_few;

use crate::error::{Error, Result};

/// ImageNet's names, one line per class, synonyms between commas; source and licence are in
/// `assets/imagenet-classes.md`.
static IMAGENET: &str = include_str!("../assets/imagenet-classes.txt");
/// A model with this number of classes and without names gets ImageNet's names.
const IMAGENET_CLASSES: usize = 1000;
/// If a class is not found among at most this number of classes, the message lists all.
const FEW: usize = 20;
/// Number of similar names in the message if a class is not found among many.
const SUGGESTIONS: usize = 6;
/// The name of the label for "no class".
pub const NONE: &str = "none";
/// All classes.
const ALL: &str = "all";
/// Prefix of a number, a range, `all` or `none`.
const BY_NUMBER: &str = "id:";
/// Prefix of a name.
const BY_NAME: &str = "name:";

/// The text that means class `number` whatever the names are.
pub fn by_number(number: usize) -> String {
    format!("{BY_NUMBER}{number}")
}

/// The names of a model's classes. A name may have synonyms, separated by commas.
#[derive(Debug, Clone)]
pub struct ClassNames {
    /// By number; empty without names.
    names: Vec<String>,
    /// Classes by name and by synonym, as [`key`] writes them.
    index: BTreeMap<String, Vec<i64>>,
    /// Classes whose name is a number, by its value: `007` is 7.
    numerals: BTreeMap<usize, Vec<i64>>,
    /// Maximum number of synonyms of a name.
    longest: usize,
    classes: usize,
}

impl ClassNames {
    /// The names of `classes` classes by number. Without names: ImageNet's for 1000 classes.
    ///
    /// # Errors
    /// When there are more or fewer names than classes.
    pub fn new(names: Vec<String>, classes: usize) -> Result<Self> {
        if !names.is_empty() && names.len() != classes {
            return Err(Error::Config(format!(
                "{} class names for a model of {classes} classes",
                names.len()
            )));
        }
        let names = if names.is_empty() && classes == IMAGENET_CLASSES {
            IMAGENET.lines().map(str::to_owned).collect()
        } else {
            names
        };
        let mut index: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut numerals: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        for (name, label) in names.iter().zip(0..) {
            let whole = Some(name.as_str()).filter(|name| name.contains(','));
            for synonym in name.split(',').chain(whole) {
                let known = index.entry(key(synonym)).or_default();
                if known.last() != Some(&label) {
                    known.push(label);
                }
            }
            if let Some(value) = value(name) {
                numerals.entry(value).or_default().push(label);
            }
        }
        index.remove("");
        let longest = names.iter().map(|name| name.split(',').count()).max().unwrap_or(1);
        Ok(Self { names, index, numerals, longest, classes })
    }

    /// Reads names from a file: a JSON list, or one name per line (empty lines at the end are skipped).
    ///
    /// # Errors
    /// When the file cannot be read, or holds more or fewer names than there are classes.
    pub fn read(path: &Path, classes: usize) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let wrong = |why: String| Error::file(path, why);
        let text = String::from_utf8(bytes)
            .map_err(|_| wrong("is not text; class names are a JSON list, or one name per line".into()))?;
        let text = text.trim_start_matches('\u{feff}');
        let names: Vec<String> = if text.trim_start().starts_with('[') {
            serde_json::from_str(text).map_err(|e| wrong(format!("is not a JSON list of names: {e}")))?
        } else {
            text.trim_end().lines().map(|line| line.trim().to_owned()).collect()
        };
        if names.len() != classes {
            return Err(wrong(format!("{} class names, but the model has {classes} classes", names.len())));
        }
        Self::new(names, classes)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The labels that `text` means: a number (`7`, `#7`, `id:7`), a range (`0-9`, `id:0-9`, both ends
    /// included), `all`, `none` (the label `classes`, which means "no class"), or a name or synonym (`bee`, `name:bee`).
    /// Upper and lower case are the same, unless names differ only in case.
    ///
    /// # Errors
    /// When a number is out of range; when a name is unknown (lists similar ones) or means several classes (lists their
    /// numbers); when `text` means one class as a number and another as a name.
    pub fn label(&self, text: &str) -> Result<Vec<i64>> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix(BY_NUMBER) {
            return self.numbers(rest.trim(), text).unwrap_or_else(|| {
                Err(Error::Config(format!(
                    "class '{text}': {BY_NUMBER} takes a number, a range, all or none"
                )))
            });
        }
        if let Some(rest) = text.strip_prefix(BY_NAME) {
            return self.only(self.named(rest.trim()), rest.trim());
        }
        let (digits, named) = (text.strip_prefix('#').unwrap_or(text), self.named(text));
        match (self.numbers(digits, text), named) {
            (None, named) => self.only(named, text),
            (Some(Err(_)), named) if !named.is_empty() => self.only(named, text),
            (Some(Ok(numbers)), named) if !named.is_empty() && numbers != named => {
                Err(self.two_meanings(text, digits, &numbers, named))
            }
            (Some(numbers), _) => {
                let numbers = numbers?;
                if digits == text && text != ALL {
                    self.refuse_other_numerals(text, &numbers)?;
                }
                Ok(numbers)
            }
        }
    }

    /// The labels of comma-separated lists, one list after the other. An entry is a text for [`ClassNames::label`]. A name
    /// that contains commas is one entry.
    ///
    /// # Errors
    /// As [`ClassNames::label`], also for an empty entry.
    pub fn labels<'a>(&self, lists: impl IntoIterator<Item = &'a String>) -> Result<Vec<i64>> {
        let mut labels = Vec::new();
        for list in lists {
            let entries: Vec<&str> = list.split(',').map(str::trim).collect();
            let mut rest = entries.as_slice();
            while let Some((first, others)) = rest.split_first() {
                match self.with_commas(rest)? {
                    Some((label, after)) => {
                        labels.push(label);
                        rest = after;
                    }
                    None => {
                        labels.extend(self.label(first)?);
                        rest = others;
                    }
                }
            }
        }
        Ok(labels)
    }

    /// The class whose name is the longest beginning of `entries` with at least one comma, and the entries after
    /// it.
    fn with_commas<'a, 'b>(&self, entries: &'a [&'b str]) -> Result<Option<(i64, &'a [&'b str])>> {
        for count in (2..=entries.len().min(self.longest)).rev() {
            let Some((parts, after)) = entries.split_at_checked(count) else { continue };
            let text = parts.join(", ");
            let name = text.strip_prefix(BY_NAME).unwrap_or(&text);
            let found = self.named(name);
            if found.is_empty() {
                continue;
            }
            let label = self.only(found, name)?.first().copied().unwrap_or(0);
            // If `b` and `c` are classes too, the list `b, c` is not the class `b, c`.
            let other = |part: &&str| self.whole(part).is_some_and(|other| other != label);
            if name == text && parts.iter().all(other) {
                let numbers: Vec<String> = parts
                    .iter()
                    .filter_map(|part| self.whole(part))
                    .map(|l| format!("{BY_NUMBER}{l}"))
                    .collect();
                return Err(Error::Config(format!(
                    "classes '{text}' have two meanings: class {label} ({}), and a list of {} classes; give \
                     {BY_NUMBER}{label} for the first, {} for the second",
                    self.name(label),
                    parts.len(),
                    numbers.join(",")
                )));
            }
            return Ok(Some((label, after)));
        }
        Ok(None)
    }

    /// The one class that `text` means by its number or its whole name.
    fn whole(&self, text: &str) -> Option<i64> {
        let named = self.names.iter().position(|name| key(name) == key(text));
        named.or_else(|| value(text).filter(|&number| number < self.classes)).map(|label| label as i64)
    }

    /// The classes with this name or synonym.
    fn named(&self, text: &str) -> &[i64] {
        self.index.get(&key(text)).map_or(&[], Vec::as_slice)
    }

    /// The only class of `found`, which `text` names.
    fn only(&self, found: &[i64], text: &str) -> Result<Vec<i64>> {
        let exact = |label: &&i64| {
            let name = self.name(**label);
            spaced(name) == spaced(text) || name.split(',').any(|synonym| synonym.trim() == text)
        };
        let as_written: Vec<i64> = found.iter().filter(exact).copied().collect();
        match (found, as_written.as_slice()) {
            ([], _) => Err(self.unknown(text)),
            (&[label], _) | (_, &[label]) => Ok(vec![label]),
            (several, _) => Err(Error::Config(format!(
                "class '{text}' may be one of {}; give its number, e.g. {BY_NUMBER}{}",
                several.iter().map(|&l| format!("{l} ({})", self.name(l))).collect::<Vec<_>>().join(", "),
                several.first().copied().unwrap_or(0)
            ))),
        }
    }

    /// The labels that `text` means as a number, a range, `all` or `none`; `None` if it is none of these. Messages show
    /// `asked`.
    fn numbers(&self, text: &str, asked: &str) -> Option<Result<Vec<i64>>> {
        match text {
            ALL => return Some(Ok((0..self.classes as i64).collect())),
            NONE => return Some(Ok(vec![self.classes as i64])),
            _ => {}
        }
        if is_number(text) {
            return Some(self.number(text, asked).map(|number| vec![number]));
        }
        let (from, to) = text.split_once('-').map(|(from, to)| (from.trim(), to.trim()))?;
        if !is_number(from) || !is_number(to) {
            return None;
        }
        let range = || {
            let (first, last) = (self.number(from, asked)?, self.number(to, asked)?);
            if first > last {
                return Err(Error::Config(format!("classes '{asked}': a range goes up, '{to}-{from}'")));
            }
            Ok((first..=last).collect())
        };
        Some(range())
    }

    /// Refuses `numbers` if a class has a number as its name that is not its own number.
    fn refuse_other_numerals(&self, text: &str, numbers: &[i64]) -> Result<()> {
        for &number in numbers {
            let named = usize::try_from(number).ok().and_then(|value| self.numerals.get(&value));
            let Some(named) = named.filter(|named| named.as_slice() != [number]) else { continue };
            if numbers.len() == 1 {
                return Err(self.two_meanings(text, text, numbers, named));
            }
            let other = named.iter().copied().find(|&label| label != number).unwrap_or(number);
            return Err(Error::Config(format!(
                "classes '{text}' have two meanings: names of classes are numbers too, and the class named '{}' is \
                 number {other}, while number {number} is named '{}'; give {BY_NUMBER}{text} for the numbers, or each \
                 name as {BY_NAME}NAME",
                self.name(other),
                self.name(number)
            )));
        }
        Ok(())
    }

    fn two_meanings(&self, text: &str, digits: &str, numbers: &[i64], named: &[i64]) -> Error {
        let number = match numbers {
            &[label] if label == self.classes as i64 => "no class".to_owned(),
            &[label] if self.name(label).is_empty() => format!("number {label}"),
            &[label] => format!("number {label} ('{}')", self.name(label)),
            many => format!("{} classes by number", many.len()),
        };
        let names: Vec<String> = named.iter().map(|&l| format!("number {l} ('{}')", self.name(l))).collect();
        let name = named.first().map(|&label| self.name(label)).unwrap_or_default();
        // A name with synonyms is shown as the user wrote it.
        let name = if value(name).is_some() { name } else { text };
        Error::Config(format!(
            "class '{text}' has two meanings: {number}, and by name {}; give {BY_NUMBER}{digits} for the first, \
             {BY_NAME}{name} for the second",
            names.join(", ")
        ))
    }

    /// The name of `label` with all its synonyms; `none` for no class; empty if the class has no name.
    pub fn name(&self, label: i64) -> &str {
        if label == self.classes as i64 {
            return NONE;
        }
        usize::try_from(label).ok().and_then(|l| self.names.get(l)).map_or("", String::as_str)
    }

    /// The class number in `text`, which is a part of `asked`.
    fn number(&self, text: &str, asked: &str) -> Result<i64> {
        match text.trim().parse::<usize>() {
            Ok(number) if number < self.classes => Ok(number as i64),
            _ => Err(Error::Config(format!("class '{asked}': {}", self.range()))),
        }
    }

    fn range(&self) -> String {
        format!("there are classes 0 to {}", self.classes.saturating_sub(1))
    }

    fn unknown(&self, text: &str) -> Error {
        let lower = text.to_lowercase();
        let near = nearest_few(&lower, self.index.keys().map(String::as_str), SUGGESTIONS);
        let hint = if self.names.is_empty() {
            " without names; give numbers, or a file of class names".to_owned()
        } else if self.names.len() <= FEW {
            let meant = near.first().map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            format!(": {}{meant}", self.names.join(", "))
        } else if near.is_empty() {
            " and none has a name like it".to_owned()
        } else {
            format!("; did you mean {}?", near.join(", "))
        };
        Error::Config(format!("unknown class '{text}': {}{hint}", self.range()))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The number that the digits of `text` mean.
fn value(text: &str) -> Option<usize> {
    Some(text.trim()).filter(|text| is_number(text)).and_then(|text| text.parse().ok())
}

/// A name with one space after each comma, and no other space around commas and ends.
fn spaced(name: &str) -> String {
    name.split(',').map(str::trim).collect::<Vec<_>>().join(", ")
}

/// The key for finding a name: [`spaced`], in lower case.
fn key(name: &str) -> String {
    spaced(name).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imagenet() -> ClassNames {
        ClassNames::new(Vec::new(), 1000).unwrap()
    }

    fn animals() -> ClassNames {
        ClassNames::new(["ant", "Bee", "sea-cow"].map(str::to_owned).to_vec(), 3).unwrap()
    }

    #[test]
    fn numbers_ranges_names_and_words_are_labels() {
        let names = animals();
        for (text, labels) in [
            ("1", vec![1]),
            (" 0-2 ", vec![0, 1, 2]),
            ("2-2", vec![2]),
            ("all", vec![0, 1, 2]),
            ("none", vec![3]),
            ("bee", vec![1]),
            ("ANT", vec![0]),
            ("sea-cow", vec![2]),
        ] {
            assert_eq!(names.label(text).unwrap(), labels, "{text}");
        }
        assert_eq!((names.name(1), names.name(3), names.name(9)), ("Bee", "none", ""));
    }

    #[test]
    fn what_is_no_class_is_refused_with_what_there_is() {
        for (text, part) in [
            ("3", "classes 0 to 2"),
            ("1-3", "'1-3': there are classes 0 to 2"),
            ("2-1", "'1-2'"),
            ("99999999999999999999", "classes 0 to 2"),
            ("bea", "ant, Bee, sea-cow; did you mean"),
            ("", "ant, Bee, sea-cow"),
            ("-1", "ant, Bee, sea-cow"),
        ] {
            let message = animals().label(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
        let nameless = ClassNames::new(Vec::new(), 5).unwrap().label("bee").unwrap_err().to_string();
        assert!(nameless.contains("a file of class names"), "{nameless}");
    }

    #[test]
    fn imagenet_is_built_in_with_every_synonym() {
        let names = imagenet();
        for (text, label) in [
            ("tench", 0),
            ("Tinca tinca", 0),
            ("GOLDFISH", 1),
            ("toilet paper", 999),
            ("tench, tinca tinca", 0),
        ] {
            assert_eq!(names.label(text).unwrap(), [label], "{text}");
        }
        assert_eq!(names.name(3), "tiger shark, Galeocerdo cuvieri");
    }

    #[test]
    fn a_name_of_several_classes_lists_their_numbers() {
        for (text, numbers) in [("crane", ["134", "517"]), ("maillot", ["638", "639"])] {
            let message = imagenet().label(text).unwrap_err().to_string();
            assert!(numbers.iter().all(|n| message.contains(n)), "{message}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_nearest_of_many() {
        for (text, meant) in [("goldfsh", "goldfish"), ("retriever", "golden retriever")] {
            let message = imagenet().label(text).unwrap_err().to_string();
            assert!(message.contains(meant) && message.len() < 300, "{message}");
        }
        assert!(imagenet().label("zzzzzzzzzz").unwrap_err().to_string().contains("none has a name like it"));
    }

    #[test]
    fn names_are_read_from_lists_and_lines_and_must_be_as_many_as_the_classes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names");
        for text in
            ["[\"a\", \"b, c\"]", "a\nb, c\n\n", "a\r\nb, c", "\u{feff}a\nb, c", "\u{feff}[\"a\", \"c\"]"]
        {
            std::fs::write(&path, text).unwrap();
            let names = ClassNames::read(&path, 2).unwrap();
            assert_eq!((names.label("c").unwrap(), names.name(0)), (vec![1], "a"), "{text}");
            let message = ClassNames::read(&path, 3).unwrap_err().to_string();
            assert!(message.contains("2 class names") && message.contains("3 classes"), "{message}");
        }
        for bad in [&b"[1, 2]"[..], b"\xff\xfe", b"[\"a\""] {
            std::fs::write(&path, bad).unwrap();
            assert!(ClassNames::read(&path, 2).unwrap_err().to_string().contains("names"), "{bad:?}");
        }
        assert!(ClassNames::new(vec!["a".into()], 2).is_err());
    }
}
