//! The cache of `huggingface_hub`: content by its checksum in `blobs/`, and links with names in `snapshots/COMMIT/`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::environment::Hub;
use super::name::Remote;
use crate::runtime::error::{Error, Result};
use crate::runtime::files::make_folder;

/// What the hub says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// The commit that the revision is at.
    pub commit: String,
    /// Names the content: its SHA-256 for large files, another sum for small ones.
    pub etag: String,
    /// Size in bytes.
    pub bytes: u64,
}

impl Content {
    /// The SHA-256 of the content, if the hub gives it.
    pub(super) fn sha256(&self) -> Option<&str> {
        (self.etag.len() == 64).then_some(&self.etag)
    }
}

/// The place of one file in the cache.
#[derive(Debug)]
pub(super) struct Place {
    cache: PathBuf,
    repository: CacheRepo,
    remote: Remote,
}

impl Place {
    pub(super) fn of(hub: &Hub, remote: &Remote) -> Self {
        let repo = Repo::with_revision(remote.repository.clone(), RepoType::Model, remote.revision.clone());
        let repository = Cache::new(hub.cache.clone()).repo(repo);
        Self { cache: hub.cache.clone(), repository, remote: remote.clone() }
    }

    /// The file, if the cache has it.
    pub(super) fn find(&self) -> Option<PathBuf> {
        // A commit has no entry among the references.
        let of_commit = || Some(self.named(&self.remote.revision)).filter(|path| path.exists());
        self.repository.get(&self.remote.file).or_else(of_commit)
    }

    /// The file in a snapshot of another commit, and that commit: an earlier call fetched it, and the branch has moved on.
    pub(super) fn find_earlier(&self) -> Option<(String, PathBuf)> {
        let snapshots = std::fs::read_dir(self.folder().join("snapshots")).ok()?;
        let commits = snapshots.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let found = commits.map(|commit| (self.named(&commit), commit)).filter(|(path, _)| path.exists());
        // The last one that was fetched.
        let time = |path: &Path| std::fs::symlink_metadata(path).and_then(|about| about.modified()).ok();
        found.max_by_key(|(path, _)| time(path)).map(|(path, commit)| (commit, path))
    }

    /// The file in the snapshot of `commit`.
    fn named(&self, commit: &str) -> PathBuf {
        self.repository.pointer_path(commit).join(&self.remote.file)
    }

    /// The folder of the repository.
    fn folder(&self) -> PathBuf {
        self.cache.join(folder_name(&self.remote))
    }

    /// Where `content` is once it is complete.
    pub(super) fn blob(&self, content: &Content) -> PathBuf {
        self.folder().join("blobs").join(&content.etag)
    }

    /// The file that Python's library locks, too, while it fetches `content`. Makes its folder.
    pub(super) fn lock(&self, content: &Content) -> Result<PathBuf> {
        let folder = self.cache.join(".locks").join(folder_name(&self.remote));
        make_folder(&folder)?;
        Ok(folder.join(format!("{}.lock", content.etag)))
    }

    /// Gives `content`, which is complete in its blob, its name. Returns the path with this name.
    pub(super) fn link(&self, content: &Content) -> Result<PathBuf> {
        let (blob, path) = (self.blob(content), self.named(&content.commit));
        let folder = path.parent().unwrap_or(Path::new("."));
        make_folder(folder)?;
        // From the folder of the link up to that of the repository, past `snapshots/` and the commit.
        let up = self.remote.file.split('/').count() + 1;
        let target: PathBuf = std::iter::repeat_n("..", up).chain(["blobs", content.etag.as_str()]).collect();
        if !path.exists() {
            let _ = std::fs::remove_file(&path);
            // A file system without links: the file itself, as Python's library does.
            symlink(&target, &path)
                .or_else(|_| if path.exists() { Ok(()) } else { std::fs::rename(&blob, &path) })
                .map_err(|e| Error::io(&path, e))?;
        }
        if self.remote.revision != content.commit {
            self.repository
                .create_ref(&content.commit)
                .map_err(|e| Error::io(self.folder().join("refs"), e))?;
        }
        Ok(path)
    }
}

fn folder_name(remote: &Remote) -> String {
    Repo::model(remote.repository.clone()).folder_name()
}
