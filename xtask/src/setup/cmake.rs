//! cmake, which builds HDF5: the machine's where it is new enough, else the one of a wheel.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::cache::{Cache, symlink};
use super::kit::{Kit, Wheel};
use super::{Part, State, tools};
use crate::error::bad_use;
use crate::project::Project;

/// What the bundled HDF5 asks for.
const OLDEST: (u32, u32) = (3, 26);

/// The link in the clone; `.cargo/config.toml` gives its path as CMAKE.
const LINK: &str = ".cmake/cmake";

static KIT: Kit = Kit {
    folder: "cmake-4.4.4",
    wheels: &[Wheel {
        requirement: "cmake==4.4.4",
        bytes: 30_245_729,
        sha256: "f773a0544c66370408f451acd487c2c643b0dfebb48c5d64f3638bc1bb820238",
        // cmake finds its modules from where it lies: bin and share stay neighbours.
        members: &[
            ("cmake/data/bin/cmake", "bin/cmake"),
            ("cmake/data/share/cmake-4.4/", "share/cmake-4.4/"),
        ],
    }],
    written: &[],
    landmarks: &[("bin/cmake", 21_251_640), ("share/cmake-4.4/Modules/CMakeCInformation.cmake", 5_807)],
    unpacked: 45_000_000,
    portable: false,
};

/// The part itself.
pub struct Cmake;

impl Part for Cmake {
    fn name(&self) -> &'static str {
        "cmake"
    }

    fn state(&self, project: &Project) -> Result<State> {
        if let Some(program) = project.own_setting("CMAKE", LINK) {
            let shown = Path::new(&program).display();
            return match usable(&program) {
                Ok(version) => Ok(State::Ready(format!("{version}, {shown} (CMAKE)"))),
                Err(why) => Err(bad_use(format!(
                    "CMAKE is \"{shown}\", which cannot be used: {why}. Correct it, or unset it to let the set-up \
                     find or fetch one"
                ))),
            };
        }
        let link = project.path(LINK);
        match (std::fs::read_link(&link), usable(link.as_os_str())) {
            (Ok(target), Ok(version)) => Ok(State::Ready(format!("{version}, {}", target.display()))),
            (Err(_), Ok(version)) => Ok(State::Ready(format!("{version}, {}", link.display()))),
            (Ok(_), Err(why)) => Ok(State::Missing(why)),
            (Err(_), Err(_)) => Ok(State::Missing("not set up in this clone".to_owned())),
        }
    }

    fn at_hand(&self, cache: &Cache) -> Option<PathBuf> {
        let of_machine = tools::on_path("cmake").filter(|path| usable(path.as_os_str()).is_ok());
        of_machine
            .and_then(|path| std::path::absolute(path).ok())
            .or_else(|| KIT.find(cache).map(|folder| folder.join("bin/cmake")))
    }

    fn kit(&self) -> &'static Kit {
        &KIT
    }

    fn link(&self, project: &Project, target: &Path) -> Result<()> {
        symlink(target, &project.path(LINK))
    }
}

/// The version of a cmake that runs and is new enough, or what is wrong with it.
fn usable(program: &OsStr) -> Result<String, String> {
    let shown = Path::new(program).display();
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{shown} does not start ({error})"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().find_map(|line| line.strip_prefix("cmake version ")).map(str::trim);
    match version.and_then(|version| Some((version, numbers(version)?))) {
        Some((version, pair)) if pair >= OLDEST => Ok(version.to_owned()),
        Some((version, _)) => Err(format!("{shown} is {version}, older than {}.{}", OLDEST.0, OLDEST.1)),
        None => Err(format!("{shown} does not say its version")),
    }
}

/// Major and minor number of `3.26.0-rc1` and the like.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("3.25.1").unwrap() < OLDEST);
        assert!(numbers("3.26.0-rc1").unwrap() >= OLDEST);
        assert!(numbers("4.4.4").unwrap() >= OLDEST);
        assert_eq!(numbers("unknown"), None);
    }
}
