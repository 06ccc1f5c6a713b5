//! Finding golden cases below a folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::error::bad_use;

/// The files of which one makes a folder a case. One that lost its manifest is a case that no program can check, and
/// so a failure.
const MARKS: [&str; 2] = ["manifest.json", "expected.safetensors"];

/// Every case at or below `dir`, at any depth, in the order of their paths. Links to folders are
/// followed, each folder is looked at once.
///
/// # Errors
/// [`crate::error::BadUse`] when `dir` is no folder; an error that names the folder that cannot be read.
pub fn find(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Err(bad_use(format!(
            "{} is not a folder: give --dir a folder of golden cases",
            dir.display()
        )));
    }
    let mut cases = Vec::new();
    walk(dir, &mut BTreeSet::new(), &mut cases)?;
    cases.sort();
    Ok(cases)
}

fn walk(dir: &Path, seen: &mut BTreeSet<PathBuf>, cases: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = || format!("the folder {} cannot be read", dir.display());
    if !seen.insert(dir.canonicalize().with_context(unreadable)?) {
        return Ok(());
    }
    if MARKS.iter().any(|name| dir.join(name).is_file()) {
        cases.push(dir.to_path_buf());
    }
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    folders.iter().try_for_each(|folder| walk(folder, seen, cases))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_found_at_any_depth_and_once() {
        let dir = tempfile::tempdir().unwrap();
        for case in ["b", "a/deep/er", "a"] {
            std::fs::create_dir_all(dir.path().join(case)).unwrap();
            std::fs::write(dir.path().join(case).join(MARKS[0]), "{}").unwrap();
        }
        std::fs::create_dir(dir.path().join("no-case")).unwrap();
        std::os::unix::fs::symlink("..", dir.path().join("a/circle")).unwrap();
        let expected: Vec<PathBuf> = ["a", "a/deep/er", "b"].map(|case| dir.path().join(case)).into();
        assert_eq!(find(dir.path()).unwrap(), expected);
    }

    #[test]
    fn a_folder_that_is_a_case_itself_counts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MARKS[0]), "{}").unwrap();
        assert_eq!(find(dir.path()).unwrap(), [dir.path()]);
    }

    #[test]
    fn a_case_that_lost_its_manifest_is_still_a_case() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("expected.safetensors"), "").unwrap();
        assert_eq!(find(dir.path()).unwrap(), [dir.path()]);
    }

    #[test]
    fn a_missing_folder_is_bad_use() {
        let error = find(Path::new("/no/such/folder")).unwrap_err();
        assert!(error.is::<crate::error::BadUse>(), "{error}");
    }
}
