//! Collectives on GPUs by NCCL, through the library that `cargo xtask setup --cuda` builds.
//!
//! Opens the library by name, after libtorch's CUDA half, whose symbols it needs. A program without GPUs needs neither.
//! Written and compiled for libtorch 2.11.0; not yet run on a GPU.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;
use std::time::Duration;

use super::ffi::{CGroup, CStore};
use super::group::Group;
use super::store::{Store, milliseconds};
use crate::error::{Error, Result};

/// Environment variable with the path of the library.
const VARIABLE: &str = "VAR_NCCL";
/// Path of the library in the clone.
const LIBRARY: &str = ".nccl/libvar_nccl.so";

type Join = unsafe extern "C" fn(*mut CGroup, *mut CStore, i32, i32, i32, i64) -> i32;
type Message = unsafe extern "C" fn() -> *const c_char;

/// Lets `group` work on tensors of GPU `device`. `store` must be a connection of its own.
///
/// # Errors
/// [`Error::config`] when the library is missing or does not fit the loaded libtorch, [`Error::Distributed`] when NCCL
/// fails.
pub(super) fn join(
    group: &Group,
    store: &Store,
    (rank, size): (usize, usize),
    device: usize,
    timeout: Duration,
) -> Result<()> {
    let path = find()?;
    let name = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| Error::config(format!("{} has a zero in its name", path.display())))?;
    let refused = |what: String| {
        Error::config(format!(
            "{} cannot be used: {what}; build it again with `cargo xtask setup --cuda`, for the libtorch that is loaded",
            path.display()
        ))
    };
    // SAFETY: a zero-terminated path. The library has no initialisers of its own; it is never closed.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        return Err(refused(last_dl_error()));
    }
    let symbol = |name: &CStr| -> Result<*mut c_void> {
        // SAFETY: an open library and a zero-terminated name.
        let found = unsafe { libc::dlsym(library, name.as_ptr()) };
        if found.is_null() { Err(refused(last_dl_error())) } else { Ok(found) }
    };
    let (join, message) = (symbol(c"var_nccl_join")?, symbol(c"var_nccl_error")?);
    // SAFETY: nccl.cpp, which the library is built from, gives both functions these types.
    let (join, message): (Join, Message) = unsafe {
        (std::mem::transmute::<*mut c_void, Join>(join), std::mem::transmute::<*mut c_void, Message>(message))
    };
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let (rank, size, device, timeout) = (number(rank), number(size), number(device), milliseconds(timeout));
    // SAFETY: a live group and store, of which C++ keeps references.
    if unsafe { join(group.handle(), store.handle(), rank, size, device, timeout) } == 0 {
        return Ok(());
    }
    // SAFETY: a zero-terminated string of this thread, copied before the next call.
    let text = unsafe { CStr::from_ptr(message()) }.to_string_lossy().into_owned();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown error");
    Err(Error::Distributed(format!("NCCL on GPU {device}: {line}")))
}

/// The library: the path in the variable, or the library in a folder above the program or above the current folder.
fn find() -> Result<PathBuf> {
    let missing = |what: String| {
        Error::config(format!(
            "{what}: several ranks on GPUs need it; build it with `cargo xtask setup --cuda`, or compute on the CPU"
        ))
    };
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(missing(format!("{VARIABLE} names {}, which is no file", path.display())))
        };
    }
    let starts = [std::env::current_exe(), std::env::current_dir()].into_iter().flatten().collect::<Vec<_>>();
    let above = starts.iter().flat_map(|start| start.ancestors());
    let found = above.map(|folder| folder.join(LIBRARY)).find(|path| path.is_file());
    found.ok_or_else(|| missing(format!("there is no {LIBRARY}")))
}

fn last_dl_error() -> String {
    // SAFETY: dlerror gives null or a zero-terminated string that lives until the next dl call.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "unknown error".into();
    }
    // SAFETY: as above; copied here.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
