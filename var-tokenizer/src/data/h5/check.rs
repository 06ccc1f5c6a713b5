//! Checks an `.h5` file in a child process before a program opens it.
//!
//! HDF5 is a C library. Some damaged files make it crash, loop without end, or ask for all memory. A program therefore
//! calls [`check_in_child`] for a file that the user names. It starts the same program with the hidden subcommand
//! [`CheckH5`], which reads the whole file with bounded memory and processor time, and verifies its checksums. If the
//! child ends well, the program opens the file itself.
//!
//! The check reads every byte once: a file of 1.28 million images (1.7 GB) takes seconds. It does not protect against
//! a file that changes after it, nor against a fault that HDF5 has only in the process of the program.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::runtime::error::{Error, Result};

/// The subcommand's name on the command line.
const SUBCOMMAND: &str = "check-h5";
/// Memory that the child may take beyond what the program has when it starts, in bytes.
const ROOM: u64 = 2 << 30;
/// Processor seconds that the child may take, plus one for each [`BYTES_PER_SECOND`] of the file.
const SECONDS: u64 = 60;
/// Reading is much faster: this only ends endless loops.
const BYTES_PER_SECOND: u64 = 8 << 20;

/// The hidden subcommand `check-h5` of each program that opens `.h5` files.
#[derive(clap::Args, Debug)]
pub struct CheckH5 {
    /// File to check
    file: PathBuf,
}

/// What the child found, as it prints it.
#[derive(Serialize, Deserialize)]
enum Found {
    Whole,
    /// The system refused, with this error number.
    System(i32),
    /// The file is at fault.
    File(String),
}

impl CheckH5 {
    /// Runs in the child: reads the file with `read`, and prints what was found.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn run(&self, read: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        limit(&self.file);
        let found = match read(&self.file) {
            Ok(()) => Found::Whole,
            Err(Error::Io { source, .. }) if source.raw_os_error().is_some() => {
                Found::System(source.raw_os_error().unwrap_or_default())
            }
            Err(Error::File { message, .. }) => Found::File(message),
            Err(e) => Found::File(e.to_string()),
        };
        let line = serde_json::to_string(&found).map_err(|e| Error::Config(e.to_string()))?;
        crate::runtime::progress::say(line)
    }
}

/// Bounds what this process may take. A limit that the system refuses stays as it was.
fn limit(file: &Path) {
    let set = |resource, limit| {
        let _ = setrlimit(resource, limit);
    };
    let at_most = |most| Rlimit { current: Some(most), maximum: Some(most) };
    set(Resource::Core, at_most(0));
    set(Resource::Cpu, seconds(std::fs::metadata(file).map_or(0, |metadata| metadata.len())));
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    if let Some(pages) = statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok()) {
        set(Resource::As, at_most(pages * rustix::param::page_size() as u64 + ROOM));
    }
}

/// The limit of processor seconds for a file of `bytes`. At the first number the kernel sends SIGXCPU, which says why
/// the child ended; at the second SIGKILL, which does not. With equal numbers it sends SIGKILL alone.
fn seconds(bytes: u64) -> Rlimit {
    let most = SECONDS + bytes / BYTES_PER_SECOND;
    Rlimit { current: Some(most), maximum: Some(most + 5) }
}

/// Checks the file at `path` in a child process of this program, which must have the subcommand [`CheckH5`]. A file
/// of another kind passes: the function that opens it says what it is.
///
/// # Errors
/// When the file is damaged, or HDF5 crashes or does not end on it.
pub fn check_in_child(path: &Path) -> Result<()> {
    // On Linux this name stays right when the program file is replaced meanwhile.
    let own = Path::new("/proc/self/exe");
    let program = if own.exists() { Ok(own.to_owned()) } else { std::env::current_exe() };
    check_in_child_of(&program.map_err(|e| Error::io(path, e))?, path)
}

/// As [`check_in_child`], with another `program` that has the subcommand.
///
/// # Errors
/// As [`check_in_child`].
pub fn check_in_child_of(program: &Path, path: &Path) -> Result<()> {
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) || !super::is_hdf5(path)? {
        return Ok(());
    }
    let mut command = Command::new(program);
    command.arg(SUBCOMMAND).arg("--").arg(path).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().map_err(|e| Error::io(program, e))?;
    let damaged = |how: String| Error::file(path, format!("damaged: {how}; make it again"));
    match output.status.signal() {
        None => {}
        Some(libc::SIGXCPU) => return Err(damaged("the HDF5 library never finishes reading it".into())),
        Some(libc::SIGINT | libc::SIGTERM | libc::SIGHUP) => {
            return Err(Error::Interrupted(format!("{} was not checked completely", path.display())));
        }
        Some(_) => return Err(damaged("the HDF5 library crashes on it".into())),
    }
    match serde_json::from_slice(&output.stdout) {
        Ok(Found::Whole) => Ok(()),
        Ok(Found::System(number)) => Err(Error::io(path, std::io::Error::from_raw_os_error(number))),
        Ok(Found::File(message)) => Err(Error::file(path, message)),
        // The child ran out of memory, or HDF5 ended it.
        Err(_) => Err(damaged("the HDF5 library fails on it".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_loop_gets_the_signal_that_says_so_before_it_is_killed() {
        for bytes in [0, 1 << 20, 1 << 40] {
            let Rlimit { current: Some(told), maximum: Some(killed) } = seconds(bytes) else {
                panic!("no limit")
            };
            assert!(told >= SECONDS && told < killed, "{told} {killed}");
        }
    }
}
