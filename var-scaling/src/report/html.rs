//! Pieces of HTML: text, tables, embedded images.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Result};

/// Escapes the characters that HTML reads as markup.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A PNG file as an image inside the page; `None` if the file is missing.
pub(crate) fn image(path: &Path, alternative: &str) -> Result<Option<String>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    Ok(Some(format!(
        "<img alt=\"{}\" src=\"data:image/png;base64,{}\">",
        escape(alternative),
        STANDARD.encode(bytes)
    )))
}

/// A number as text, with its value, by which a table sorts.
pub(crate) fn number(value: f64, text: &str) -> String {
    format!("<data value=\"{value}\">{}</data>", escape(text))
}

/// A table. A title that starts with `#` marks a column of numbers, `~` one of sentences. Cells are HTML.
pub(crate) fn table(head: &[&str], rows: &[(bool, Vec<String>)]) -> String {
    let class = |i: usize| match head.get(i) {
        Some(h) if h.starts_with('#') => " class=\"n\"",
        Some(h) if h.starts_with('~') => " class=\"words\"",
        _ => "",
    };
    let mut text = String::from("<div class=\"scroll\"><table>\n<tr>");
    for (i, title) in head.iter().enumerate() {
        text.push_str(&format!("<th{}>{}</th>", class(i), escape(title.trim_start_matches(['#', '~']))));
    }
    text.push_str("</tr>\n");
    for (marked, cells) in rows {
        text.push_str(if *marked { "<tr class=\"best\">" } else { "<tr>" });
        for (i, cell) in cells.iter().enumerate() {
            text.push_str(&format!("<td{}>{cell}</td>", class(i)));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table></div>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_names_is_escaped() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
        let text = table(&["#n", "~w"], &[(true, vec!["1".into(), "x".into()])]);
        assert!(text.contains("<th class=\"n\">n</th>") && text.contains("class=\"best\""));
    }
}
