//! Classes as a person names them: numbers, ranges, names, `all`, `none`.

use std::collections::BTreeMap;
use std::path::Path;

use var_tokenizer::nearest::nearest_few;

use crate::error::{Error, Result};

/// ImageNet's names, a line a class, synonyms between commas; source and licence are in
/// `assets/imagenet-classes.md`.
static IMAGENET: &str = include_str!("../assets/imagenet-classes.txt");
/// Models of so many classes are taken for ImageNet's when nobody names their classes.
const IMAGENET_CLASSES: usize = 1000;
/// Up to so many classes are all listed when one is not found.
const FEW: usize = 20;
/// Near names that are listed when one is not found among many.
const SUGGESTIONS: usize = 6;
/// The name of the label that stands for no class.
pub const NONE: &str = "none";

/// The names of a model's classes. A name may have synonyms, separated by commas.
#[derive(Debug, Clone)]
pub struct ClassNames {
    /// By number; empty when nobody named them.
    names: Vec<String>,
    /// Classes by synonym in lower case.
    index: BTreeMap<String, Vec<i64>>,
    classes: usize,
}

impl ClassNames {
    /// The names of `classes` classes by number, or none of them: ImageNet's then for 1000 classes.
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
        for (name, number) in names.iter().zip(0..) {
            let whole = Some(name.as_str()).filter(|name| name.contains(','));
            for synonym in name.split(',').chain(whole) {
                let known = index.entry(synonym.trim().to_lowercase()).or_default();
                if known.last() != Some(&number) {
                    known.push(number);
                }
            }
        }
        index.remove("");
        Ok(Self { names, index, classes })
    }

    /// Names out of a file: a JSON list, or a name a line (empty lines at the end are passed over).
    ///
    /// # Errors
    /// When the file cannot be read, or holds more or fewer names than there are classes.
    pub fn read(path: &Path, classes: usize) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| var_tokenizer::Error::io(path, e))?;
        let wrong = |why: String| Error::from(var_tokenizer::Error::file(path, why));
        let text = String::from_utf8(bytes)
            .map_err(|_| wrong("is no text: class names come as a JSON list or a name a line".into()))?;
        let names: Vec<String> = if text.trim_start().starts_with('[') {
            serde_json::from_str(&text).map_err(|e| wrong(format!("is no JSON list of names: {e}")))?
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

    /// The labels that `text` stands for: a number (`7`), a range (`0-9`, both ends included), `all`, `none`
    /// (the label `classes`, which stands for no class), or a name or synonym in any case of letters.
    ///
    /// # Errors
    /// When a number is out of range, or a name is unknown (the nearest ones are listed) or that of several
    /// classes (their numbers are listed).
    pub fn label(&self, text: &str) -> Result<Vec<i64>> {
        let text = text.trim();
        match text {
            "all" => return Ok((0..self.classes as i64).collect()),
            NONE => return Ok(vec![self.classes as i64]),
            _ => {}
        }
        if is_number(text) {
            return Ok(vec![self.number(text, text)?]);
        }
        if let Some((from, to)) = text.split_once('-')
            && is_number(from.trim())
            && is_number(to.trim())
        {
            let (from, to) = (self.number(from, text)?, self.number(to, text)?);
            if from > to {
                return Err(Error::Config(format!("classes '{text}': a range goes up, '{to}-{from}'")));
            }
            return Ok((from..=to).collect());
        }
        match self.index.get(&text.to_lowercase()).map(Vec::as_slice) {
            Some(&[label]) => Ok(vec![label]),
            Some(several) => Err(Error::Config(format!(
                "class '{text}' may be one of {}; give its number",
                several.iter().map(|&l| format!("{l} ({})", self.name(l))).collect::<Vec<_>>().join(", ")
            ))),
            None => Err(self.unknown(text)),
        }
    }

    /// The labels of a list such as a person gives it, one after the other; empty entries are refused.
    ///
    /// # Errors
    /// As [`ClassNames::label`].
    pub fn labels<'a>(&self, texts: impl IntoIterator<Item = &'a String>) -> Result<Vec<i64>> {
        let mut labels = Vec::new();
        for text in texts {
            labels.extend(self.label(text)?);
        }
        Ok(labels)
    }

    /// The name of `label` with all its synonyms; `none` for no class, empty where nobody named it.
    pub fn name(&self, label: i64) -> &str {
        if label == self.classes as i64 {
            return NONE;
        }
        usize::try_from(label).ok().and_then(|l| self.names.get(l)).map_or("", String::as_str)
    }

    /// A class number out of `text`, part of what was asked for.
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
            " without names; give numbers, or names with --class-names".to_owned()
        } else if self.names.len() <= FEW {
            format!(": {}", self.names.join(", "))
        } else if near.is_empty() {
            " and none has a name like it".to_owned()
        } else {
            format!("; did you mean {}?", near.join(", "))
        };
        Error::Config(format!("class '{text}': {}{hint}", self.range()))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
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
            ("bea", "ant, Bee, sea-cow"),
            ("", "ant, Bee, sea-cow"),
            ("-1", "ant, Bee, sea-cow"),
        ] {
            let message = animals().label(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
        let nameless = ClassNames::new(Vec::new(), 5).unwrap().label("bee").unwrap_err().to_string();
        assert!(nameless.contains("--class-names"), "{nameless}");
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
        for text in ["[\"a\", \"b, c\"]", "a\nb, c\n\n", "a\r\nb, c"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(ClassNames::read(&path, 2).unwrap().label("c").unwrap(), [1], "{text}");
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
