//! Tables of pictures: a line each, with label, name and, where candidates were chosen from, which one it
//! was.

use std::path::Path;

use super::{Candidate, Picture, Plan};
use crate::error::Result;

/// The first line; the first column is called `first`.
pub(super) fn head(plan: &Plan, first: &str) -> String {
    format!("{first},label,name{}\n", if plan.chosen { ",candidate,probability" } else { "" })
}

/// The line of picture `index`, which the first column calls `first`.
pub(super) fn line(plan: &Plan, index: usize, first: &str, picture: &Picture) -> String {
    let (label, name) = plan.class(index);
    let candidate = picture.candidate.map(|c| format!(",{},{}", c.number, c.probability)).unwrap_or_default();
    format!("{first},{label},{}{candidate}\n", quoted(name))
}

/// A field of a CSV file: in quotes where it holds what separates fields.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}

/// The whole lines of a table behind its first one, without their ends; a torn last line is passed over.
pub(super) fn lines(path: &Path) -> Result<Vec<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text
            .split_inclusive('\n')
            .skip(1)
            .filter_map(|line| line.strip_suffix('\n'))
            .map(str::to_owned)
            .collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(var_tokenizer::Error::io(path, e).into()),
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
        let names = ClassNames::new(vec!["a \"b\", c".into()], 1).unwrap();
        let plan = Plan { labels: vec![0], names, per_class: 2, side: 1, chosen: true };
        let kept = Candidate { number: 7, probability: 0.1 + 0.2 };
        let picture = Picture { image: RgbImage::new(1, 1), candidate: Some(kept) };
        let text = line(&plan, 1, "000001.png", &picture);
        assert_eq!(text, "000001.png,0,\"a \"\"b\"\", c\",7,0.30000000000000004\n");
        assert_eq!(candidate(text.trim_end()), Some(kept));
    }
}
