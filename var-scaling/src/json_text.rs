//! JSON from other programs, which can have a byte-order mark, NaN or infinities.

/// Removes the byte-order mark that some editors and PowerShell write.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Puts quotes around `NaN`, `Infinity` and `-Infinity`. Python writes them, but JSON does not have them.
pub(crate) fn quote_non_finite(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 8);
    let (mut inside, mut escaped, mut rest) = (false, false, line);
    while let Some(c) = rest.chars().next() {
        if !inside && let Some(word) = ["NaN", "-Infinity", "Infinity"].iter().find(|w| rest.starts_with(**w))
        {
            out.push_str(&format!("\"{word}\""));
            rest = rest.strip_prefix(*word).unwrap_or_default();
            continue;
        }
        inside ^= c == '"' && !escaped;
        escaped = inside && c == '\\' && !escaped;
        out.push(c);
        rest = rest.strip_prefix(c).unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_become_texts_and_names_stay() {
        let line = r#"{"name": "NaN \" Infinity", "a": NaN, "b": -Infinity, "c": 1}"#;
        let value: serde_json::Value = serde_json::from_str(&quote_non_finite(line)).unwrap();
        assert_eq!(value["name"], "NaN \" Infinity");
        assert_eq!((&value["a"], &value["b"], &value["c"]), (&"NaN".into(), &"-Infinity".into(), &1.into()));
        assert_eq!(without_mark("\u{feff}x"), "x");
    }
}
