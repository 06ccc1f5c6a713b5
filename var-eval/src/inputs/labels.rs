//! `labels.csv` of a folder of samples: which class each picture was sampled for.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};

/// Largest label that is believed; larger ones are damage.
const MAX_LABEL: u32 = 1 << 20;

/// The label of each file of the flat folder `folder`, by file name, where `labels.csv` lies in it.
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
    // What follows the last line end is the torn line of a sampler that was killed.
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    let mut lines = whole.lines();
    if !lines.next().is_some_and(|head| head.starts_with("file,label")) {
        return Err(Error::file(
            &path,
            "expected a table that begins with file,label; take it away, or repair it",
        ));
    }
    let mut labels = BTreeMap::new();
    for (number, line) in (2..).zip(lines) {
        let mut fields = line.split(',');
        let found = fields.next().zip(fields.next().and_then(|label| label.parse::<u32>().ok()));
        match found.filter(|&(_, label)| label <= MAX_LABEL) {
            Some((file, label)) => labels.insert(file.to_owned(), label),
            None => {
                let message = format!("line {number} has no label from 0 to {MAX_LABEL}: {line:.60}");
                return Err(Error::file(&path, message));
            }
        };
    }
    Ok(Some(labels))
}
