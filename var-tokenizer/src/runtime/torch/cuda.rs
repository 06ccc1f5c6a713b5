//! Brings the CUDA half of libtorch into a process that was linked against the CPU half alone.
//!
//! The linker drops `libtorch_cuda` because no symbol of it is used, so it is opened by name. libtorch
//! asks once whether CUDA is there and keeps the answer: this must come before the first question.
//! Both halves must be of one build, which the version file beside the candidate tells.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The version that tch 0.24 is made for.
const VERSION: &str = "2.11.0";
/// The driver that libraries for CUDA 13 need.
const DRIVER: &str = "they need driver 580 or newer";
/// What loading ended with.
static SEARCH: OnceLock<Search> = OnceLock::new();

/// What a search for CUDA ended with, in words.
#[derive(Debug)]
enum Search {
    /// This machine has no GPU, or the user hides it.
    NotWanted(String),
    /// There is a driver: a GPU is expected.
    Expected(String),
}

/// What became of the search for CUDA, in words.
pub(super) fn state() -> &'static str {
    match SEARCH.get() {
        Some(Search::NotWanted(text) | Search::Expected(text)) => text,
        None => "the search for it did not run",
    }
}

/// Why a machine with a driver does not use it; `None` without a driver, and if the user hides the GPUs.
pub(super) fn why_not() -> Option<&'static str> {
    match SEARCH.get() {
        Some(Search::Expected(text)) => Some(text),
        _ => None,
    }
}

/// Looks for `libtorch_cuda` and opens it: `VAR_LIBTORCH_CUDA`, `LIBTORCH/lib`, beside the loaded
/// `libtorch_cpu`, `.libtorch/lib`, then the torch package of the Python at hand.
pub(super) fn load() {
    let _ = SEARCH.set(search());
}

fn search() -> Search {
    let hidden = |value: &str| value.is_empty() || value == "-1";
    if std::env::var("CUDA_VISIBLE_DEVICES").is_ok_and(|value| hidden(value.trim())) {
        return Search::NotWanted("CUDA_VISIBLE_DEVICES hides all GPUs".into());
    }
    // Without a driver the 0.2 s and 240 MB of the library are for nothing.
    if !["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"].iter().any(|d| Path::new(d).exists()) {
        return Search::NotWanted("no NVIDIA driver on this machine".into());
    }
    Search::Expected(load_first())
}

/// Opens the first candidate that fits; what came of it, in words.
fn load_first() -> String {
    let cpu = beside_libtorch().iter().find_map(|path| version_of(path));
    let mut tried = Vec::new();
    for find in [named, beside_libtorch, python_package] {
        for path in find() {
            if !path.is_file() {
                continue;
            }
            if let Some(why) = other_build(version_of(&path).as_deref(), cpu.as_deref()) {
                tried.push(format!("{} {why}", path.display()));
                continue;
            }
            match open(&path) {
                Ok(()) => {
                    open_companions(&path);
                    return format!(
                        "{} and its CUDA libraries are loaded, but find no device; {DRIVER}",
                        path.display()
                    );
                }
                Err(e) => tried.push(e),
            }
        }
    }
    if tried.is_empty() {
        return "no libtorch_cuda.so found: set VAR_LIBTORCH_CUDA to its path".into();
    }
    tried.join("; ")
}

/// The path that the user names.
fn named() -> Vec<PathBuf> {
    std::env::var_os("VAR_LIBTORCH_CUDA").map(PathBuf::from).into_iter().collect()
}

/// Where the CPU half lies.
fn beside_libtorch() -> Vec<PathBuf> {
    let from_env = std::env::var_os("LIBTORCH").map(|dir| PathBuf::from(dir).join("lib"));
    let loaded = std::fs::read_to_string("/proc/self/maps").ok().and_then(|maps| {
        maps.lines()
            .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])))
            .find(|path| path.file_name().is_some_and(|name| name == "libtorch_cpu.so"))
            .and_then(|path| path.parent().map(Path::to_owned))
    });
    [from_env, loaded, Some(PathBuf::from(".libtorch/lib"))]
        .into_iter()
        .flatten()
        .map(|dir| dir.join("libtorch_cuda.so"))
        .collect()
}

/// Where the torch package of `$VIRTUAL_ENV`'s Python or of `python3` lies.
fn python_package() -> Vec<PathBuf> {
    let python = std::env::var_os("VIRTUAL_ENV")
        .map_or_else(|| PathBuf::from("python3"), |dir| PathBuf::from(dir).join("bin/python"));
    let find = "import importlib.util as u; s = u.find_spec('torch'); \
                print(s.submodule_search_locations[0] if s else '')";
    let Ok(output) = Command::new(python).args(["-c", find]).output() else { return Vec::new() };
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if folder.is_empty() {
        return Vec::new();
    }
    vec![Path::new(&folder).join("lib/libtorch_cuda.so")]
}

/// The version written beside a library, such as 2.11.0+cu130: in `build-version` of an archive, in `version.py` of a
/// Python package.
fn version_of(library: &Path) -> Option<String> {
    let root = library.parent()?.parent()?;
    let text = std::fs::read_to_string(root.join("build-version"))
        .or_else(|_| std::fs::read_to_string(root.join("version.py")))
        .ok()?;
    let version =
        text.split(['\'', '"', '\n']).find(|part| part.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(version.trim().to_owned())
}

/// Why a CUDA half of version `found` does not go with a CPU half of version `cpu`; `None` if it does. Builds for different
/// CUDA versions differ in their libraries.
fn other_build(found: Option<&str>, cpu: Option<&str>) -> Option<String> {
    let found = found?;
    let (number, cuda) = found.split_once('+').unwrap_or((found, ""));
    if number != VERSION {
        return Some(format!("is of version {found}; libtorch {VERSION} is needed"));
    }
    let expected = cpu.and_then(|cpu| cpu.split_once('+')).map_or("", |(_, build)| build);
    let differ = expected.starts_with("cu") && cuda.starts_with("cu") && cuda != expected;
    differ.then(|| format!("is of version {found}, but the CPU half is of {}", cpu.unwrap_or(VERSION)))
}

/// Opens the libraries that `libtorch_cuda` opens by name when it first needs them: they lie in folders that only Python
/// knows. What is missing is missed by the operations that need it.
fn open_companions(library: &Path) {
    let Some(folder) = library.parent() else { return };
    let packages = folder.ancestors().nth(2).unwrap_or(folder).join("nvidia/cu13/lib");
    // NVRTC opens the first by name.
    for name in ["libnvrtc-builtins.so.13.0", "libnvrtc.so.13", "libtorch_cuda_linalg.so"] {
        if let Some(path) =
            [folder, &packages].map(|place| place.join(name)).into_iter().find(|path| path.is_file())
        {
            let _ = open(&path);
        }
    }
}

fn open(path: &Path) -> Result<(), String> {
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| e.to_string())?;
    // SAFETY: a zero-terminated path; the library's initialisers only register its operators, and no
    // libtorch call of ours runs meanwhile because `prepare` comes first.
    let opened = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !opened.is_null() {
        return Ok(());
    }
    // SAFETY: dlerror returns null or a zero-terminated string that lives until the next dl call.
    let message = unsafe {
        let text = libc::dlerror();
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy().into_owned()) }
    };
    Err(message.unwrap_or_else(|| format!("{} cannot be opened", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_must_be_of_one_build() {
        let cpu = Some("2.11.0+cu130");
        assert_eq!(other_build(Some("2.11.0+cu130"), cpu), None);
        assert_eq!(other_build(None, cpu), None, "nothing is known");
        assert_eq!(other_build(Some("2.11.0"), cpu), None, "a build of the user's own");
        assert_eq!(other_build(Some("2.11.0+cu128"), Some("2.11.0+cpu")), None);
        assert!(other_build(Some("2.11.0+cu128"), cpu).unwrap().contains("the CPU half is of 2.11.0+cu130"));
        assert!(other_build(Some("2.10.0+cu130"), cpu).unwrap().contains("libtorch 2.11.0 is needed"));
    }

    #[test]
    fn the_version_is_read_from_an_archive_and_from_a_package() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("lib")).unwrap();
        let library = place.path().join("lib/libtorch_cuda.so");
        assert_eq!(version_of(&library), None);
        let package = "from typing import Optional\n__version__ = '2.11.0+cu128'\ngit_version = '70d99e99'\n";
        std::fs::write(place.path().join("version.py"), package).unwrap();
        assert_eq!(version_of(&library).as_deref(), Some("2.11.0+cu128"));
        std::fs::write(place.path().join("build-version"), "2.11.0+cu130\n").unwrap();
        assert_eq!(version_of(&library).as_deref(), Some("2.11.0+cu130"));
    }
}
