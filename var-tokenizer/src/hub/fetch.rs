//! From the hub into the cache.

use std::path::{Path, PathBuf};

use super::cache::{Content, Place};
use super::client::{Client, Failure};
use super::download::{Download, patiently, size};
use super::environment::Hub;
use super::name::Remote;
use super::waiting::wait_for_lock;
use crate::runtime::error::{Error, Result};
use crate::runtime::files::make_folder;
use crate::runtime::progress::{self, Progress};

/// The file of `remote` in the cache of `hub`; fetches it if it is missing.
///
/// # Errors
/// When the hub or the disk refuses, or the sum of the file is wrong.
pub(super) fn fetch(hub: &Hub, remote: &Remote) -> Result<PathBuf> {
    let place = Place::of(hub, remote);
    if let Some(path) = place.find() {
        return Ok(path);
    }
    let client = Client::new(hub);
    let progress = Progress::new(progress::of_program());
    let name = remote.to_string();
    let without = |why: &str, error: fn(String) -> Error| match place.find_earlier().filter(|_| moves(remote))
    {
        Some((commit, path)) => {
            progress.note(&format!("{name}: {why}; using the file of commit {commit} in the cache"));
            Ok(path)
        }
        None => Err(error(advice(hub, remote, &client.address(remote), why))),
    };
    if hub.offline {
        return without("HF_HUB_OFFLINE is set", Error::Config);
    }
    let content = match patiently(&name, &progress, || client.content(remote))? {
        Ok(content) => content,
        Err(Failure::Passing(why, _) | Failure::Absent(why)) => return without(&why, Error::Check),
        Err(Failure::Final(why)) => return Err(Error::Config(why)),
    };
    let blob = place.blob(&content);
    let _lock = wait_for_lock(&place.lock(&content)?, &name, &progress)?;
    if !blob.exists() {
        announce(&client, remote, &content, &progress, &hub.cache);
        make_folder(blob.parent().unwrap_or(Path::new(".")))?;
        let download = Download {
            name: &name,
            to: &blob,
            bytes: Some(content.bytes),
            sha256: content.sha256(),
            zip: false,
        };
        download.run(|from| client.bytes(remote, &content.commit, from))?;
    }
    place.link(&content)
}

/// Whether the revision is a branch or a tag, which may be at another commit tomorrow.
fn moves(remote: &Remote) -> bool {
    !(remote.revision.len() == 40 && remote.revision.chars().all(|c| c.is_ascii_hexdigit()))
}

/// Says what comes, and under which licence.
fn announce(client: &Client<'_>, remote: &Remote, content: &Content, progress: &Progress, cache: &Path) {
    let licence = client.licence(remote);
    let licence =
        licence.as_deref().unwrap_or("not named by the model card; read its page before you use it");
    progress.note(&format!(
        "fetching {remote} ({}) into {}\nlicence: {licence}",
        size(content.bytes),
        cache.display()
    ));
    if content.sha256().is_none() {
        progress.note("the hub gives no SHA-256 of this file: only its size is checked");
    }
}

/// What to do without the hub.
fn advice(hub: &Hub, remote: &Remote, address: &str, why: &str) -> String {
    let name = remote.weights().map_or_else(|| remote.to_string(), |weights| weights.name.to_owned());
    format!(
        "{name} is not in the cache ({}), and cannot be fetched: {why}. Either save {address} as a file and name its path, \
         or run `var-model fetch {name}` on a machine with network and copy its cache here",
        hub.cache.display()
    )
}
