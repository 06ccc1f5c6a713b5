//! Tables of images: a line for each, with its label, its name, and the candidate where a classifier chose it.

use std::collections::BTreeMap;
use std::path::Path;

use super::output::{Candidate, OutputPlan, Picture};
use crate::error::{Error, Result};

/// The first line; the first column is called `first`.
pub(super) fn head(plan: &OutputPlan, first: &str) -> String {
    format!("{first},label,name{}\n", if plan.chosen { ",candidate,probability" } else { "" })
}

/// The line of image `number`, which the first column calls `first`.
pub(super) fn line(plan: &OutputPlan, number: usize, first: &str, picture: &Picture) -> String {
    let (label, name) = plan.class(number);
    let candidate = picture.candidate.map(|c| format!(",{},{}", c.number, c.probability)).unwrap_or_default();
    // One line per image, whatever the name.
    format!("{first},{label},{}{candidate}\n", quoted(&name.replace(['\n', '\r'], " ")))
}

/// A field of a CSV file: in quotes where it holds what separates fields.
fn quoted(text: &str) -> String {
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

/// Text of a table of these lines, in the order of their rows.
pub(super) fn in_row_order(head: String, lines: Vec<String>) -> String {
    let by_row: BTreeMap<usize, String> =
        lines.into_iter().filter_map(|line| Some((row(&line)?, line))).collect();
    by_row.values().fold(head, |text, line| text + line + "\n")
}

/// The lines of images 0, 1, … of `plan`, until the first one that is missing; `lines` name rows, in any order.
pub(super) fn by_number(plan: &OutputPlan, lines: Vec<String>) -> Vec<String> {
    let mut by_row: BTreeMap<usize, String> =
        lines.into_iter().filter_map(|line| Some((row(&line)?, line))).collect();
    (0..plan.pictures()).map_while(|number| by_row.remove(&plan.row(number))).collect()
}

/// The row that a line is about: its first field, a number or the name of a image.
pub(super) fn row(line: &str) -> Option<usize> {
    let first = line.split(',').next()?;
    first.strip_suffix(".png").unwrap_or(first).parse().ok()
}

/// The whole lines of a table after its first one, without their ends; skips a torn last line.
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

/// The candidate that a line speaks of.
pub(super) fn candidate(line: &str) -> Option<Candidate> {
    let mut fields = line.rsplit(',');
    let probability = fields.next()?.parse().ok()?;
    Some(Candidate { number: fields.next()?.parse().ok()?, probability })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classes::ClassNames;
    use image::RgbImage;

    #[test]
    fn a_candidate_comes_back_out_of_its_line_whatever_the_name() {
        let names = ClassNames::new(vec!["a \"b\",\nc".into()], 1).unwrap();
        let plan = OutputPlan { labels: vec![0], names, per_class: 2, side: 1, chosen: true };
        let kept = Candidate { number: 7, probability: 0.1 + 0.2 };
        let picture = Picture { image: RgbImage::new(1, 1), candidate: Some(kept) };
        let text = line(&plan, 1, "000001.png", &picture);
        assert_eq!(text, "000001.png,0,\"a \"\"b\"\", c\",7,0.30000000000000004\n");
        assert_eq!(candidate(text.trim_end()), Some(kept));
    }
}
