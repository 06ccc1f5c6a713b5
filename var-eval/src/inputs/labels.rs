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
    if !whole.starts_with("file,label") {
        return Err(Error::file(&path, "expected a table that begins with file,label; repair or remove it"));
    }
    let mut labels = BTreeMap::new();
    // A line may have more fields than the first.
    let mut table = csv::ReaderBuilder::new().flexible(true).from_reader(whole.as_bytes());
    for line in table.records() {
        let line = line.map_err(|e| Error::file(&path, format!("{e}; repair or remove it")))?;
        let label = line.get(1).and_then(|label| label.parse::<u32>().ok());
        match line.get(0).zip(label.filter(|&label| label <= MAX_LABEL)) {
            Some((file, label)) => labels.insert(file.to_owned(), label),
            None => {
                let number = line.position().map_or(0, csv::Position::line);
                let found = line.iter().collect::<Vec<_>>().join(",");
                let message =
                    format!("line {number}: expected a label from 0 to {MAX_LABEL}, found {found:.60}");
                return Err(Error::file(&path, message));
            }
        };
    }
    Ok(Some(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Option<BTreeMap<String, u32>>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("labels.csv"), text).unwrap();
        read(folder.path())
    }

    #[test]
    fn quoted_file_names_and_class_names_are_single_fields() {
        let text = "file,label,name\n\"a, b.png\",3,\"ant, emmet\"\n\"12\"\" disc.png\",4\nc.png,5,\"x\"\"y\"\nd.png,";
        let found = table(text).unwrap().unwrap();
        let expected = [("a, b.png", 3), ("12\" disc.png", 4), ("c.png", 5)];
        assert_eq!(found, expected.map(|(file, label)| (file.to_owned(), label)).into());
    }

    #[test]
    fn a_line_without_a_label_is_named() {
        for (text, line) in [("file,label\na.png,1\nb.png\n", "line 3"), ("file,label\na.png,-1\n", "line 2")]
        {
            let message = table(text).unwrap_err().to_string();
            assert!(message.contains(line) && message.contains("expected a label"), "{message}");
        }
        assert!(table("name,label\n").unwrap_err().to_string().contains("file,label"));
    }
}
