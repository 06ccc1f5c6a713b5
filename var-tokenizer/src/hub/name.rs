//! Names of files on a hub.

use std::fmt;
use std::path::Path;

use super::released::{Released, released};
use crate::runtime::error::{Error, Result};

/// Marks a file on a hub.
const PREFIX: &str = "hf:";
/// The branch that is meant if no revision is named.
const MAIN: &str = "main";

/// A file on a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// `OWNER/REPO`.
    pub repository: String,
    /// Path in the repository, with `/`.
    pub file: String,
    /// Branch, tag or commit.
    pub revision: String,
}

impl Remote {
    /// The file that `name` means: a name of `released` or `hf:OWNER/REPO/FILE[@REVISION]`. `None` if it is neither,
    /// or a file or folder has this name.
    ///
    /// # Errors
    /// When a text with `hf:` is malformed.
    pub fn named(name: &str) -> Result<Option<Self>> {
        if let Some(rest) = name.strip_prefix(PREFIX) {
            return Self::parse(rest).map(Some).ok_or_else(|| {
                Error::config(format!("'{name}': expected hf:OWNER/REPO/FILE or hf:OWNER/REPO/FILE@REVISION"))
            });
        }
        let known = released().iter().find(|weights| weights.name == name);
        Ok(known.filter(|_| !Path::new(name).exists()).map(Self::of))
    }

    /// The file of weights with a name.
    pub fn of(weights: &Released) -> Self {
        Self { repository: weights.repository.into(), file: weights.file.into(), revision: MAIN.into() }
    }

    /// The weights with a name that this file is, if any.
    pub fn weights(&self) -> Option<&'static Released> {
        released().iter().find(|known| known.repository == self.repository && known.file == self.file)
    }

    /// Reads `OWNER/REPO/FILE[@REVISION]`.
    fn parse(text: &str) -> Option<Self> {
        let (path, revision) = text.rsplit_once('@').unwrap_or((text, MAIN));
        let parts: Vec<&str> = path.split('/').collect();
        let [owner, name, file @ ..] = parts.as_slice() else { return None };
        // Parts become names of folders in the cache.
        let plain = |part: &&str| {
            !matches!(*part, "" | "." | "..")
                && part.chars().all(|c| c.is_alphanumeric() || "-_.+ ".contains(c))
        };
        let fine = !file.is_empty()
            && !owner.contains(' ')
            && !name.contains(' ')
            && parts.iter().all(plain)
            && revision.split('/').collect::<Vec<_>>().iter().all(plain);
        fine.then(|| Self {
            repository: format!("{owner}/{name}"),
            file: file.join("/"),
            revision: revision.to_owned(),
        })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.repository, self.file)?;
        if self.revision != MAIN { write!(f, "@{}", self.revision) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_name_and_a_full_one_mean_the_same_file() {
        let known = Remote::named("var-d16").unwrap().unwrap();
        let full = Remote::named("hf:FoundationVision/var/var_d16.pth").unwrap().unwrap();
        assert_eq!(known, full);
        let weights = full.weights().unwrap();
        assert_eq!((weights.name, weights.tokenizer().unwrap().name), ("var-d16", "var-vae"));
        let branch = Remote::named("hf:a/b/c/d.safetensors@refs/pr/3").unwrap().unwrap();
        assert_eq!((branch.file.as_str(), branch.revision.as_str()), ("c/d.safetensors", "refs/pr/3"));
    }

    #[test]
    fn names_are_unique_and_paths_are_not_names() {
        let mut names: Vec<&str> = released().iter().map(|weights| weights.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), released().len());
        for path in ["builtin", "var_d16.pth", "runs/var-d16", "./var-d16"] {
            assert_eq!(Remote::named(path).unwrap(), None, "{path}");
        }
    }

    #[test]
    fn a_name_that_leads_out_of_the_cache_is_refused() {
        for name in [
            "hf:",
            "hf:a",
            "hf:a/b",
            "hf:a/b/",
            "hf:a//c",
            "hf:a/b/../../c",
            "hf:../b/c",
            "hf:a/b/c@../x",
            "hf:a/b/c@",
            "hf:a/b/c?x=1",
            "hf:a/b/c\\d",
            "hf:my a/b/c",
        ] {
            let message = Remote::named(name).unwrap_err().to_string();
            assert!(message.contains("OWNER/REPO/FILE"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_is_written(
            repository in "[a-zA-Z0-9]{1,8}/[a-zA-Z0-9_.-]{0,8}[a-z]", file in "[a-z]{1,5}(/[a-z_0-9.]{0,6}[a-z]){0,3}",
            revision in "main|[0-9a-f]{40}|v[0-9]{1,3}",
        ) {
            let remote = Remote { repository, file, revision };
            prop_assert_eq!(Remote::named(&remote.to_string()).unwrap(), Some(remote));
        }
    }
}
