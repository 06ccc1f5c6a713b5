//! Text as other programs save it: with a byte-order mark, with numbers that JSON does not have.

/// The text without the byte-order mark that some editors and PowerShell put at its beginning.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A line of JSON in which `NaN`, `Infinity` and `-Infinity`, as Python writes them, have become texts.
pub fn quote_non_finite(line: &str) -> String {
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
