//! `labels.csv` in a folder of samples: the class of each image.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};

/// Largest plausible label.
const MAX_LABEL: u32 = 1 << 20;

/// The label of each file of the flat folder `folder`, by file name; `None` if it has no `labels.csv`.
///
/// # Errors
/// When the table cannot be read, or a line has no label.
pub(super) fn read(folder: &Path) -> Result<Option<BTreeMap<String, u32>>> {
    let path = folder.join("labels.csv");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(&path, e)),
    };
    // A killed sampler leaves an incomplete last line.
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    let mut lines = whole.lines();
    if !lines.next().is_some_and(|head| head.starts_with("file,label")) {
        return Err(Error::file(&path, "expected a table that begins with file,label; repair or remove it"));
    }
    let mut labels = BTreeMap::new();
    for (number, line) in (2..).zip(lines) {
        let mut fields = line.split(',');
        let found = fields.next().zip(fields.next().and_then(|label| label.parse::<u32>().ok()));
        match found.filter(|&(_, label)| label <= MAX_LABEL) {
            Some((file, label)) => labels.insert(file.to_owned(), label),
            None => {
                let message =
                    format!("line {number}: expected a label from 0 to {MAX_LABEL}, found {line:.60}");
                return Err(Error::file(&path, message));
            }
        };
    }
    Ok(Some(labels))
}
