//! Names of many files in one: `shards/{000000..001281}.tar`, `data/train-*.parquet`.
//!
//! - `{000..012}` stands for all numbers from the first to the last, with leading zeros if one of the two has some.
//! - `{train,val}` stands for each word.
//! - `*` stands for any letters and `?` for one letter of a name, but not for the dot of a hidden file or a slash.
//!
//! Braces name files that must exist. `*` and `?` look for files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::names::{few, text};
use crate::runtime::error::{Error, Result};

/// Maximum number of names that braces stand for.
const MAX_NAMES: usize = 1 << 20;

/// Whether `spec` has signs of a pattern.
pub(crate) fn is_pattern(spec: &str) -> bool {
    spec.contains(['{', '*', '?'])
}

/// Returns the folder before the first sign of a pattern.
pub(crate) fn folder(spec: &str) -> &Path {
    let plain = spec.split(['{', '*', '?']).next().unwrap_or_default();
    Path::new(plain.rsplit_once('/').map_or(".", |(folder, _)| if folder.is_empty() { "/" } else { folder }))
}

/// What a pattern stands for, in the order of the numbers and words.
pub(crate) struct Found {
    pub(crate) files: Vec<PathBuf>,
    /// Folders that match too.
    pub(crate) folders: Vec<PathBuf>,
}

/// Returns the files that the pattern `spec` stands for.
///
/// # Errors
/// When the braces are wrong, a file is missing or named twice, nothing is found, or only folders.
pub(crate) fn files(spec: &str) -> Result<Found> {
    let wrong = |message: String| Error::file(spec, message);
    let names = expand(spec).map_err(wrong)?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &names {
        let matches = if name.contains(['*', '?']) { search(name)? } else { vec![PathBuf::from(name)] };
        let before = found.len();
        found.extend(matches.into_iter().filter(|path| path.exists()));
        if found.len() == before {
            missing.push(name.as_str());
        }
    }
    if found.is_empty() {
        let folder = folder(spec);
        let message = if folder.is_dir() {
            format!("no file matches; the first name is {}", names.first().map_or("", String::as_str))
        } else {
            format!("no file matches: there is no folder {}", folder.display())
        };
        return Err(wrong(message));
    }
    if !missing.is_empty() {
        return Err(wrong(format!(
            "{} of {} files are missing: {}. Copy them here, or name only those that exist",
            missing.len(),
            names.len(),
            few(missing.into_iter())
        )));
    }
    let mut sorted: Vec<&PathBuf> = found.iter().collect();
    sorted.sort_unstable();
    if let Some([twice, _]) = sorted.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(wrong(format!("names {} twice; name each file once", twice.display())));
    }
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = found.into_iter().partition(|path| path.is_dir());
    if files.is_empty() {
        return Err(wrong(format!(
            "matches folders; a pattern names files. Name the folder above: {}",
            folder(spec).display()
        )));
    }
    Ok(Found { files, folders })
}

/// Returns the names that the braces in `spec` stand for.
///
/// # Errors
/// Says what is wrong with the braces.
pub(crate) fn expand(spec: &str) -> std::result::Result<Vec<String>, String> {
    let mut names = vec![String::new()];
    let mut rest = spec;
    loop {
        let (plain, braces) = match rest.split_once('{') {
            None => (rest, None),
            Some((plain, after)) => {
                let (inside, after) = after
                    .split_once('}')
                    .ok_or_else(|| format!("the brace '{{{after}' is not closed; expected {{000..012}}"))?;
                rest = after;
                (plain, Some(inside))
            }
        };
        if plain.contains('}') {
            return Err("a brace is closed that was not opened".into());
        }
        names.iter_mut().for_each(|name| name.push_str(plain));
        let Some(inside) = braces else { return Ok(names) };
        let words = alternatives(inside)?;
        if names.len().saturating_mul(words.len()) > MAX_NAMES {
            return Err(format!(
                "stands for more than {MAX_NAMES} names; name fewer, or look for files with *"
            ));
        }
        names = names.iter().flat_map(|name| words.iter().map(move |word| format!("{name}{word}"))).collect();
    }
}

/// Returns what a pair of braces stands for.
fn alternatives(inside: &str) -> std::result::Result<Vec<String>, String> {
    if inside.contains('{') {
        return Err(format!("'{{{inside}}}': braces inside braces are not read"));
    }
    if let Some((first, last)) = inside.split_once("..") {
        return range(first, last).ok_or_else(|| {
            format!(
                "'{{{inside}}}': expected two numbers, the smaller one first and at most {MAX_NAMES} apart, as in \
                 {{000..012}}"
            )
        });
    }
    if !inside.contains(',') {
        return Err(format!("'{{{inside}}}': expected a range {{000..012}} or words {{train,val}}"));
    }
    Ok(inside.split(',').map(str::to_owned).collect())
}

/// Returns the numbers from `first` to `last`, in as many digits as the longer of the two if one has leading zeros.
fn range(first: &str, last: &str) -> Option<Vec<String>> {
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten()
    };
    let (begin, end) = (number(first)?, number(last)?);
    let count = end.checked_sub(begin)?;
    if count >= MAX_NAMES as u64 {
        return None;
    }
    let padded = [first, last].iter().any(|text| text.len() > 1 && text.starts_with('0'));
    let width = if padded { first.len().max(last.len()) } else { 0 };
    Some((begin..=end).map(|number| format!("{number:0width$}")).collect())
}

/// Returns the files whose paths match `pattern`, with `*` and `?`, sorted.
fn search(pattern: &str) -> Result<Vec<PathBuf>> {
    let mut places = vec![PathBuf::from(if pattern.starts_with('/') { "/" } else { "" })];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if !part.contains(['*', '?']) {
            places.iter_mut().for_each(|place| place.push(part));
            continue;
        }
        let mut below = Vec::new();
        for place in places {
            let folder = if place.as_os_str().is_empty() { Path::new(".") } else { &place };
            if !folder.is_dir() {
                continue;
            }
            let mut names: Vec<OsString> = Vec::new();
            for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
                names.push(entry.map_err(|e| Error::io(folder, e))?.file_name());
            }
            names.retain(|name| !name.as_bytes().starts_with(b".") && is_match(&text(name.as_bytes()), part));
            names.sort_unstable();
            below.extend(names.into_iter().map(|name| place.join(name)));
        }
        places = below;
    }
    Ok(places)
}

/// Whether `name` matches `pattern`, with `*` and `?`.
fn is_match(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) = (name.chars().collect(), pattern.chars().collect());
    // Place in the name and the pattern; and where to try again with a longer text for the last star.
    let (mut at, mut sign, mut star) = (0, 0, None);
    while let Some(letter) = name.get(at) {
        match pattern.get(sign) {
            Some('*') => {
                star = Some((at, sign));
                sign += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == letter => (at, sign) = (at + 1, sign + 1),
            _ => match star {
                Some((begin, place)) => {
                    star = Some((begin + 1, place));
                    (at, sign) = (begin + 1, place + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(sign).all(|sign| *sign == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_keep_leading_zeros_and_words_their_order() {
        assert_eq!(expand("s/{008..010}.tar").unwrap(), ["s/008.tar", "s/009.tar", "s/010.tar"]);
        assert_eq!(expand("{8..10}").unwrap(), ["8", "9", "10"]);
        assert_eq!(expand("{val,train}-{0..1}").unwrap(), ["val-0", "val-1", "train-0", "train-1"]);
        assert_eq!(expand("a{,b}").unwrap(), ["a", "ab"]);
        for (spec, part) in [
            ("{0..3", "not closed"),
            ("0..3}", "not opened"),
            ("{3..1}", "smaller one first"),
            ("{a..c}", "two numbers"),
            ("{x}", "expected a range"),
            ("{a,{b,c}}", "inside braces"),
            ("{0..9999999}", "apart"),
            ("{0..9999}{0..9999}", "more than"),
        ] {
            assert!(expand(spec).unwrap_err().contains(part), "{spec}");
        }
    }

    #[test]
    fn stars_and_question_marks_match_what_they_stand_for() {
        for (name, pattern, expected) in [
            ("train-00000.parquet", "train-*.parquet", true),
            ("train.parquet", "train-*.parquet", false),
            ("aXbXc", "a*b*c", true),
            ("aXbX", "a*b*c", false),
            ("ä1", "??", true),
            ("", "*", true),
        ] {
            assert_eq!(is_match(name, pattern), expected, "{name} {pattern}");
        }
    }

    proptest! {
        #[test]
        fn any_text_expands_or_is_refused(spec in r"[a{},.*?0-9/]{0,24}") {
            if let Ok(names) = expand(&spec) {
                prop_assert!(!names.is_empty());
                let plain = names.iter().all(|name| !name.contains(['{', '}']));
                prop_assert!(plain);
            }
        }

        #[test]
        fn a_range_has_every_number_once(first in 0_u64..2000, count in 0_u64..300, width in 0_usize..7) {
            let last = first + count;
            let names = expand(&format!("x-{{{first:0width$}..{last:0width$}}}.tar")).unwrap();
            // As many digits as the longer of the two, if one has leading zeros.
            let digits = |number: u64| number.to_string().len();
            let padded = digits(first).min(digits(last)) < width;
            let width = if padded { width.max(digits(last)) } else { 0 };
            let expected: Vec<String> = (first..=last).map(|n| format!("x-{n:0width$}.tar")).collect();
            prop_assert_eq!(names, expected);
        }

        #[test]
        fn words_multiply(words in prop::collection::vec("[a-z]{0,3}", 2..5), more in prop::collection::vec("[A-Z]{0,3}", 2..5)) {
            let names = expand(&format!("{{{}}}/{{{}}}", words.join(","), more.join(","))).unwrap();
            let expected: Vec<String> =
                words.iter().flat_map(|word| more.iter().map(move |other| format!("{word}/{other}"))).collect();
            prop_assert_eq!(names, expected);
        }
    }
}
