//! Finds the known words nearest to a mistyped one.

use strsim::osa_distance;

/// Maximum number of edits in a typo, in words of any length.
const MOST: usize = 3;

/// Returns the candidate nearest to `word`, or `None` when no candidate is near.
///
/// A candidate is near in one of three cases: it starts with `word`; `word` starts with it and is less than twice as
/// long; at most three letters differ, and at most a third of the shorter of the two. Capitals count as small letters.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    near(word, candidates).min_by_key(|&(d, _)| d).map(|(_, c)| c)
}

/// Returns `; did you mean 'x'?` for a message about `word`, or nothing when no candidate is near.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|meant| format!("; did you mean '{meant}'?")).unwrap_or_default()
}

/// Returns up to `count` near candidates, the nearest first. A candidate that contains `word` as a whole word is near
/// too.
pub fn nearest_few<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let (within, others): (Vec<&str>, Vec<&str>) =
        candidates.into_iter().partition(|c| c.split([' ', '-', '_']).any(|part| part == word));
    let mut found: Vec<(usize, &str)> =
        within.into_iter().map(|c| (1, c)).chain(near(word, others)).collect();
    found.sort_by_key(|&(d, _)| d);
    found.into_iter().map(|(_, c)| c).take(count).collect()
}

/// Returns the near candidates with their distances.
fn near<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = (usize, &'a str)> {
    let (word, length) = (word.to_lowercase(), word.chars().count());
    candidates.into_iter().filter_map(move |c| {
        let (known, other) = (c.to_lowercase(), c.chars().count());
        let limit = (length.min(other) / 3).min(MOST);
        let begun = length > 2 && known.starts_with(&word)
            || other > 2 && 2 * other > length && word.starts_with(&known);
        let distance = if begun { 1 } else { osa_distance(&word, &known) };
        (distance <= limit).then_some((distance, c))
    })
}

/// Rewrites serde's message about an unknown key (``unknown field `a`, expected one of `b`, `c` ``): it names the
/// nearest known key, and lists all of them only when none is near. Returns other messages unchanged.
pub fn explain_unknown_key(message: &str) -> String {
    let message = message.trim_end().replace("unknown field", "unknown key");
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((word, known)) if message.starts_with("unknown key") => {
            match nearest(word, known.iter().copied()) {
                Some(meant) => format!("unknown key `{word}`; did you mean `{meant}`?"),
                None => message,
            }
        }
        _ => message,
    }
}

/// Rewrites serde's words about a value of the wrong type or an unknown word into those of a user. Returns other messages
/// unchanged.
pub fn explain_wrong_value(message: &str) -> String {
    let types = [
        ("expected usize", "expected a whole number from 0 on"),
        ("expected u64", "expected a whole number from 0 on"),
        ("expected u32", "expected a whole number from 0 on"),
        ("expected f64", "expected a number"),
        ("expected a boolean", "expected true or false"),
        ("expected a string", "expected a text in quotes"),
        ("expected a sequence", "expected a list, such as [1, 2]"),
        ("unknown variant", "unknown value"),
        (", expected one of", "; known:"),
        ("invalid type: string", "found"),
        ("invalid type: integer", "found"),
        ("invalid type: floating point", "found"),
        ("invalid type: boolean", "found"),
        ("invalid value: integer", "found"),
    ];
    let text = types.iter().fold(message.to_owned(), |text, (from, to)| text.replace(from, to));
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        // The last quoted word is the key.
        Some((word, [known @ .., _])) if text.starts_with("unknown value") => {
            let hint = did_you_mean(word, known.iter().copied());
            format!("{text}{hint}")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_told_without_names_of_types() {
        for (serde, ours) in [
            (
                r#"invalid type: string "many", expected u64 in `training.steps`"#,
                r#"found "many", expected a whole number from 0 on in `training.steps`"#,
            ),
            (
                "unknown variant `hinje`, expected one of `hinge`, `logistic` in `adversary.loss`",
                "unknown value `hinje`; known: `hinge`, `logistic` in `adversary.loss`; did you mean 'hinge'?",
            ),
            ("schedule 1,1: sides must rise", "schedule 1,1: sides must rise"),
        ] {
            assert_eq!(explain_wrong_value(serde), ours);
        }
    }

    #[test]
    fn a_typo_finds_its_word_and_nonsense_finds_none() {
        let known = ["steps", "batch", "learning_rate"];
        assert_eq!(nearest("stesp", known), Some("steps"));
        assert_eq!(nearest("learning-rate", known), Some("learning_rate"));
        assert_eq!(nearest("learn", known), Some("learning_rate"));
        assert_eq!(nearest("zzzzzz", known), None);
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["lr", "steps", "batch", "depth", "class-folders"];
        for word in ["", "a", "rl", "cat", "bits", "width", "stair", "grass-borders"] {
            assert_eq!(did_you_mean(word, known), "", "{word}");
        }
        let meant =
            [("bach", "batch"), ("detph", "depth"), ("class-folder", "class-folders"), ("BATCH", "batch")];
        for (word, meant) in meant {
            assert_eq!(did_you_mean(word, known), format!("; did you mean '{meant}'?"));
        }
    }

    #[test]
    fn a_few_are_listed_nearest_first_and_with_the_word_inside() {
        let known = ["sharp", "white shark", "shirk", "whale"];
        assert_eq!(nearest_few("shark", known, 9), ["white shark", "sharp", "shirk"]);
        assert_eq!(nearest_few("shark", known, 1), ["white shark"]);
        assert!(nearest_few("zzzzzz", known, 9).is_empty());
    }

    #[test]
    fn a_message_about_an_unknown_key_names_the_nearest_or_lists_all() {
        let text = explain_unknown_key("unknown field `stesp`, expected one of `steps`, `batch`");
        assert_eq!(text, "unknown key `stesp`; did you mean `steps`?");
        let text = explain_unknown_key("unknown field `colour`, expected one of `steps`, `batch`");
        assert_eq!(text, "unknown key `colour`, expected one of `steps`, `batch`");
        assert_eq!(explain_unknown_key("missing field `a`"), "missing field `a`");
    }
}
