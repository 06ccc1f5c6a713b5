//! Tables of images as CSV: one line per image, with its label, its name, and its candidate if a classifier chose it.

use std::collections::BTreeMap;
use std::path::Path;

use csv::{ReaderBuilder, Terminator, WriterBuilder};

use super::output::{Candidate, OutputPlan, Picture};
use crate::error::{Error, Result};

/// The first line; the first column is called `first`.
pub(super) fn head(plan: &OutputPlan, first: &str) -> String {
    format!("{first},label,name{}\n", if plan.chosen { ",candidate,probability" } else { "" })
}

/// The line of image `number`, which the first column calls `first`.
///
/// # Errors
/// Never in practice: it is written to memory.
pub(super) fn line(plan: &OutputPlan, number: usize, first: &str, picture: &Picture) -> Result<String> {
    let (label, name) = plan.class(number);
    // One line per image, whatever the name.
    let mut fields = vec![first.to_owned(), label.to_string(), name.replace(['\n', '\r'], " ")];
    if let Some(candidate) = picture.candidate {
        fields.extend([candidate.number.to_string(), candidate.probability.to_string()]);
    }
    let mut writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(Vec::new());
    let written = writer.write_record(&fields).map_err(|e| e.to_string());
    let bytes = written.and_then(|()| writer.into_inner().map_err(|e| e.to_string()));
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|e| e.to_string()));
    text.map_err(|e| Error::Config(format!("the line of image {number}: {e}")))
}

/// The text of a table with these lines, sorted by row.
pub(super) fn in_row_order(head: String, lines: Vec<String>) -> String {
    let by_row: BTreeMap<usize, String> =
        lines.into_iter().filter_map(|line| Some((row(&line)?, line))).collect();
    by_row.values().fold(head, |text, line| text + line + "\n")
}

/// The lines of images 0, 1, … of `plan`, up to the first missing one. `lines` can be in any order.
pub(super) fn by_number(plan: &OutputPlan, lines: Vec<String>) -> Vec<String> {
    let mut by_row: BTreeMap<usize, String> =
        lines.into_iter().filter_map(|line| Some((row(&line)?, line))).collect();
    (0..plan.pictures()).map_while(|number| by_row.remove(&plan.row(number))).collect()
}

/// The row that a line is about: its first field, a number or the name of an image, never in quotes.
pub(super) fn row(line: &str) -> Option<usize> {
    let first = line.split(',').next()?;
    first.strip_suffix(".png").unwrap_or(first).parse().ok()
}

/// The lines of a table after its first one, without their ends. Skips an incomplete last line.
pub(super) fn lines(path: &Path) -> Result<Vec<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text
            .split_inclusive('\n')
            .skip(1)
            .filter_map(|line| line.strip_suffix('\n'))
            .map(str::to_owned)
            .collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io(path, e)),
    }
}

/// The candidate in a line: its last two fields.
pub(super) fn candidate(line: &str) -> Option<Candidate> {
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let fields = reader.records().next()?.ok()?;
    let [.., number, probability] = fields.iter().collect::<Vec<_>>()[..] else { return None };
    Some(Candidate { number: number.parse().ok()?, probability: probability.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classes::ClassNames;
    use image::RgbImage;

    fn plan(name: &str, chosen: bool) -> OutputPlan {
        let names = ClassNames::new(vec![name.into()], 1).unwrap();
        OutputPlan { labels: vec![0], names, per_class: 2, side: 1, chosen }
    }

    #[test]
    fn names_with_commas_and_quotes_are_one_field_of_one_line() {
        let picture = Picture { image: RgbImage::new(1, 1), candidate: None };
        for (name, written) in [
            ("tiger shark", "tiger shark"),
            ("", ""),
            (" #;'\t", " #;'\t"),
            ("ant, emmet", "\"ant, emmet\""),
            ("12\" disc", "\"12\"\" disc\""),
            ("two\nlines\r", "two lines "),
            ("crâne", "crâne"),
        ] {
            let text = line(&plan(name, false), 1, "000001.png", &picture).unwrap();
            assert_eq!(text, format!("000001.png,0,{written}\n"));
            let mut reader = ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            let fields = reader.records().next().unwrap().unwrap();
            assert_eq!(fields, vec!["000001.png", "0", &name.replace(['\n', '\r'], " ")]);
            assert_eq!(row(&text), Some(1));
        }
    }

    #[test]
    fn a_candidate_comes_back_out_of_its_line_whatever_the_name() {
        let kept = Candidate { number: 7, probability: 0.1 + 0.2 };
        let picture = Picture { image: RgbImage::new(1, 1), candidate: Some(kept) };
        let text = line(&plan("a \"b\",\nc", true), 1, "000001.png", &picture).unwrap();
        assert_eq!(text, "000001.png,0,\"a \"\"b\"\", c\",7,0.30000000000000004\n");
        assert_eq!(candidate(text.trim_end()), Some(kept));
    }
}
