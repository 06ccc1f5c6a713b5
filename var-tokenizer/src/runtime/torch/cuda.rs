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
/// What loading ended with, for messages.
static STATE: OnceLock<String> = OnceLock::new();

/// What became of the search for CUDA, in words.
pub(super) fn state() -> &'static str {
    STATE.get().map_or("the search for it did not run", String::as_str)
}

/// Looks for `libtorch_cuda` and opens it: `VAR_LIBTORCH_CUDA`, `LIBTORCH/lib`, beside the loaded
/// `libtorch_cpu`, `.libtorch/lib`, then the torch package of the Python at hand.
pub(super) fn load() {
    let state = search();
    let _ = STATE.set(state);
}

fn search() -> String {
    if std::env::var_os("CUDA_VISIBLE_DEVICES").is_some_and(|v| v.is_empty()) {
        return "CUDA_VISIBLE_DEVICES is empty".into();
    }
    // Without a driver the 0.2 s and 240 MB of the library are for nothing.
    if !["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"].iter().any(|d| Path::new(d).exists()) {
        return "no NVIDIA driver on this machine".into();
    }
    let mut tried = Vec::new();
    for find in [named, beside_libtorch, python_package] {
        for path in find() {
            if !path.is_file() {
                continue;
            }
            if let Some(other) = other_version(&path) {
                tried.push(format!("{} is of version {other}", path.display()));
                continue;
            }
            match open(&path) {
                Ok(()) => return format!("{} is loaded, but finds no device", path.display()),
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

/// The version written beside a library, where it is not ours: `build-version` of an archive,
/// `version.py` of a Python package.
fn other_version(library: &Path) -> Option<String> {
    let root = library.parent()?.parent()?;
    let text = std::fs::read_to_string(root.join("build-version"))
        .or_else(|_| std::fs::read_to_string(root.join("version.py")))
        .ok()?;
    let version =
        text.split(['\'', '"', '\n']).find(|part| part.starts_with(|c: char| c.is_ascii_digit()))?;
    (version.split('+').next() != Some(VERSION)).then(|| version.to_owned())
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
