//! The known words nearest to a mistyped one.

use strsim::osa_distance;

/// Most edits that a typo has, in words of any length.
const MOST: usize = 3;

/// The candidate nearest to `word`, when one is near enough to be meant: at most a third of the shorter of the two,
/// and three letters, differ, or it begins with `word`, or it is the larger part of the beginning of `word`.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    near(word, candidates).min_by_key(|&(d, _)| d).map(|(_, c)| c)
}

/// `; did you mean 'x'?` for a message about `word`; empty when no candidate is near.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|meant| format!("; did you mean '{meant}'?")).unwrap_or_default()
}

/// As [`nearest`], but up to `count` of them, the nearest first; a candidate that has `word` among its own
/// words is near too.
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

/// The candidates that `word` may mean, with their distances.
fn near<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = (usize, &'a str)> {
    let length = word.chars().count();
    candidates.into_iter().filter_map(move |c| {
        let other = c.chars().count();
        let limit = (length.min(other) / 3).min(MOST);
        let begun =
            length > 2 && c.starts_with(word) || other > 2 && 2 * other > length && word.starts_with(c);
        let distance = if begun { 1 } else { osa_distance(word, c) };
        (distance <= limit).then_some((distance, c))
    })
}

/// Adds "did you mean" to a message about an unknown key as serde words it
/// (``unknown field `a`, expected one of `b`, `c` ``); other messages are returned as they are.
pub fn explain_unknown_key(message: &str) -> String {
    let message = message.trim_end().replace("unknown field", "unknown key");
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((word, known)) if message.starts_with("unknown key") => {
            match nearest(word, known.iter().copied()) {
                Some(meant) => format!("{message}; did you mean `{meant}`?"),
                None => message,
            }
        }
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (word, meant) in [("bach", "batch"), ("detph", "depth"), ("class-folder", "class-folders")] {
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
    fn serde_messages_gain_a_suggestion() {
        let text = explain_unknown_key("unknown field `stesp`, expected one of `steps`, `batch`");
        assert_eq!(text, "unknown key `stesp`, expected one of `steps`, `batch`; did you mean `steps`?");
        assert_eq!(explain_unknown_key("missing field `a`"), "missing field `a`");
    }
}
