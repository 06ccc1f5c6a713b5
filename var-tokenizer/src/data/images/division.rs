//! Which files of a data set are for training and which are held out, by words in their names.

use super::catalogue::{HELD_OUT, TRAIN};
use super::names::few;
use super::split::Split;

/// Which files of a source belong to which part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Division {
    /// Places of the files that are read, training files first, with their parts; no part when nothing is divided.
    pub(crate) kept: Vec<(usize, Option<Split>)>,
    /// A sentence on the files that are skipped.
    pub(crate) notes: Vec<String>,
}

/// Divides files by the words `train`, `val`, `test` in their names, as `train/` and `val/` divide folders. All files are one
/// set when their names do not tell both parts.
///
/// # Errors
/// When some names tell a part and others do not.
pub(crate) fn divide(names: &[&str]) -> std::result::Result<Division, String> {
    let word = |text: &str| {
        let known = |word: &str| {
            TRAIN.iter().chain(&HELD_OUT).copied().find(|known| word.eq_ignore_ascii_case(known))
        };
        text.split(|c: char| !c.is_alphabetic()).find_map(known)
    };
    // The name of the file says more than those of its folders.
    let word = |name: &str| word(name.rsplit('/').next().unwrap_or(name)).or_else(|| word(name));
    let words: Vec<Option<&str>> = names.iter().copied().map(word).collect();
    let training = |word: &Option<&str>| word.is_some_and(|word| TRAIN.contains(&word));
    let held_out = HELD_OUT.iter().find(|known| words.contains(&Some(**known)));
    let Some(held_out) = held_out.filter(|_| words.iter().any(training)) else {
        return Ok(Division {
            kept: (0..names.len()).map(|place| (place, None)).collect(),
            notes: Vec::new(),
        });
    };
    let places = |wanted: &dyn Fn(&Option<&str>) -> bool| -> Vec<usize> {
        words.iter().enumerate().filter(|(_, word)| wanted(word)).map(|(place, _)| place).collect()
    };
    let named = |places: &[usize]| {
        few(places.iter().filter_map(|&place| names.get(place)).copied().collect::<Vec<_>>().into_iter())
    };
    let unclear = places(&|word| word.is_none());
    if !unclear.is_empty() {
        return Err(format!(
            "some files are called train or {held_out}, but {} are not; give a pattern that names the wanted ones",
            named(&unclear)
        ));
    }
    let val = places(&|word| *word == Some(*held_out));
    let others = places(&|word| !training(word) && *word != Some(*held_out));
    let train = places(&training);
    let notes = (!others.is_empty())
        .then(|| format!("skips {} files next to train and {held_out}: {}", others.len(), named(&others)));
    let of = |places: Vec<usize>, split| places.into_iter().map(move |place| (place, Some(split)));
    Ok(Division {
        kept: of(train, Split::Train).chain(of(val, Split::Val)).collect(),
        notes: notes.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_divided_by_the_first_known_word_of_their_names() {
        let places = |names: &[&str]| divide(names).map(|division| division.kept);
        let (train, val) = (Some(Split::Train), Some(Split::Val));
        assert_eq!(places(&["a", "b"]).unwrap(), [(0, None), (1, None)]);
        assert_eq!(places(&["train-0", "train-1"]).unwrap(), [(0, None), (1, None)]);
        assert_eq!(places(&["test-0", "x/Train-0"]).unwrap(), [(1, train), (0, val)]);
        // The name of a file says more than its folder.
        assert_eq!(places(&["eval/train-0", "eval/val-0"]).unwrap(), [(0, train), (1, val)]);
        let three = divide(&["test-0", "train-0", "validation-0"]).unwrap();
        assert_eq!(three.kept, [(1, train), (2, val)]);
        assert_eq!(three.notes, ["skips 1 files next to train and validation: test-0"]);
        assert!(divide(&["train-0", "val-0", "more"]).unwrap_err().contains("more are not"));
    }
}
